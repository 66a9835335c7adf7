"""The newest photo by HTTP, beside nginx with the same file, in turn: wrk, one thread, 64 connections."""

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.processes import LOAD_CORE, Broken, Skipped, pinned
from benchmarks.rows import Row, Spread, ratios
from benchmarks.servers import dog, make_photo, nginx

__all__ = ["measure_photo"]

CONNECTIONS = 64


def measure_photo(bench: Bench) -> list[Row]:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise Skipped("wrk is not installed (Debian: wrk)")
    photo = make_photo(bench.folder / "photo.jpg")
    rounds, seconds = bench.rounds(5, 2), bench.rounds(4, 2)
    script = f"exec cp '{photo}' \"$1\""
    same = ("--exif", "false")  # the very same bytes as nginx
    with dog(bench, script, *same) as own, nginx(bench, push=False, file=photo) as other:
        urls = [f"{other.url}/photo.jpg", f"{own.url}/latest.jpg", own.url + _take(own.url)]
        for url in urls:
            _check(url, photo)
        rates: list[list[float]] = [[], [], []]
        for number in range(1, rounds + 1):
            for url, found in zip(urls, rates, strict=True):
                found.append(_request(wrk, url, seconds))
            bench.say("nginx and D.O.G. in turn", number, rounds)
    theirs, *ours = rates
    note = f"{photo.stat().st_size:,} bytes"
    return [
        Row(
            what=what,
            dog=Spread.of(mine),
            beside="nginx",
            rival=Spread.of(theirs),
            measured="/s",
            value=ratios(mine, theirs),
            target=0.35,
            beyond=0.5,
            at_least=True,
            note=note,
        )
        for what, mine in zip(
            ("`/latest.jpg`, requests a second", "`/snapshots/ID.jpg`, requests a second"), ours, strict=True
        )
    ]


def _take(url: str) -> str:
    """Have a photo taken, and say where it is."""
    request = urllib.request.Request(f"{url}/api/captures", data=b"{}", headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        where: str = json.load(answer)["url"]
        return where


def _check(url: str, photo: Path) -> None:
    with urllib.request.urlopen(url, timeout=30) as answer:
        if answer.read() != photo.read_bytes() or answer.headers["Content-Type"] != "image/jpeg":
            raise Broken(f"{url} does not give the photo")


def _request(wrk: str, url: str, seconds: int) -> float:
    with pinned(LOAD_CORE):
        command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", url]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if trouble := re.search(r"Non-2xx.*|Socket errors.*", said):
        raise Broken(f"wrk at {url}: {trouble[0]}")
    rate = re.search(r"Requests/sec:\s*([\d.]+)", said)
    if rate is None:
        raise Broken(f"wrk at {url} gave no rate")
    return float(rate[1])
