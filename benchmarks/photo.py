"""Requests per second for the newest photo, in turn with rivals, by wrk."""

import json
import re
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.processes import LOAD_CORE, Broken, Server, Skipped, pinned
from benchmarks.rows import Row, Spread, ratios
from benchmarks.servers import bare_asyncio, dog, make_photo, nginx

__all__ = ["measure_photo"]

CONNECTIONS = 64


def measure_photo(bench: Bench) -> list[Row]:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise Skipped("wrk is not installed (Debian: wrk)")
    photo = make_photo(bench.folder / "photo.jpg")
    rounds, seconds = bench.rounds(5, 2), bench.rounds(4, 2)
    script = f"exec cp '{photo}' \"$1\""
    same = ("--exif", "false")  # the same bytes as from nginx
    with dog(bench, script, *same) as own, nginx(bench, push=False, file=photo) as other:
        path = _take_photo(own.url)
        with bare_asyncio(bench, _read_response(own, path)) as bare:
            urls = [f"{other.url}/photo.jpg", f"{own.url}/latest.jpg", own.url + path, bare.url + path]
            for url in urls:
                _check_photo(url, photo)
            rates: list[list[float]] = [[], [], [], []]
            for number in range(1, rounds + 1):
                for url, found in zip(urls, rates, strict=True):
                    found.append(_measure_rate(wrk, url, seconds))
                bench.show_progress("nginx, D.O.G. and asyncio in turn", number, rounds)
    nginx_rates, *dog_rates, limit = rates
    note = f"{photo.stat().st_size:,} bytes"
    rows = [
        Row(
            label=label,
            dog=Spread.of(mine),
            rival_name="nginx",
            rival=Spread.of(nginx_rates),
            measured_unit="/s",
            value=ratios(mine, nginx_rates),
            target=0.35,
            stretch=0.5,
            at_least=True,
            note=note,
        )
        for label, mine in zip(
            ("`/latest.jpg`, requests per second", "`/snapshots/ID.jpg`, requests per second"), dog_rates, strict=True
        )
    ]
    rows.append(
        Row(
            label="`/snapshots/ID.jpg`, of the language's limit",
            dog=Spread.of(dog_rates[1]),
            rival_name=bare.name,
            rival=Spread.of(limit),
            measured_unit="/s",
            value=ratios(dog_rates[1], limit),
            target=0.95,
            at_least=True,
            note=note,
        )
    )
    return rows


def _take_photo(url: str) -> str:
    """Take a photo and return its path."""
    request = urllib.request.Request(f"{url}/api/captures", data=b"{}", headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        where: str = json.load(answer)["url"]
        return where


def _read_response(server: Server, path: str) -> bytes:
    """Return a whole response, with its head."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        received = b""
        while (length := re.search(rb"Content-Length: (\d+)\r\n", received)) is None or (
            len(received.partition(b"\r\n\r\n")[2]) < int(length[1])
        ):
            received += connection.recv(1 << 20)
        return received


def _check_photo(url: str, photo: Path) -> None:
    with urllib.request.urlopen(url, timeout=30) as answer:
        if answer.read() != photo.read_bytes() or answer.headers["Content-Type"] != "image/jpeg":
            raise Broken(f"{url} does not send the photo")


def _measure_rate(wrk: str, url: str, seconds: int) -> float:
    with pinned(LOAD_CORE):
        command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", url]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if trouble := re.search(r"Non-2xx.*|Socket errors.*", output):
        raise Broken(f"wrk at {url}: {trouble[0]}")
    rate = re.search(r"Requests/sec:\s*([\d.]+)", output)
    if rate is None:
        raise Broken(f"wrk at {url} printed no rate")
    return float(rate[1])
