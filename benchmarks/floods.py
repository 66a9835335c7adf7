"""Time from a press to `ready` while another client floods a URL, by wrk."""

import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.load import Load
from benchmarks.press import READY
from benchmarks.processes import LOAD_CORE, Server, Skipped, pinned
from benchmarks.rows import Row, Spread
from benchmarks.servers import dog, make_photo

__all__ = ["measure_floods"]

CONNECTIONS = 200
PHOTOS = 210
"""More than the longest list has."""
FLOODS = {
    "the check for readiness": "/readyz",
    "the list of 200 photos": "/api/snapshots?limit=200",
    "the gallery": "/snapshots",
    "the live page": "/",
    "the metrics": "/metrics",
    "a photo": "{photo}.jpg",
    "a thumbnail": "{photo}/thumbnail.jpg",
    "a script": "/static/live.js",
    "an unknown URL": "/nothing",
}
CLIENT = "X-Forwarded-For: 192.0.2.7"
"""This machine's own address has no limits, so the flood comes through a trusted proxy."""
ARGUMENTS = ("--trusted-proxies", "127.0.0.1", "--open")
WARM_UP_SECONDS = 0.2


def measure_floods(bench: Bench) -> list[Row]:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise Skipped("wrk is not installed (Debian: wrk)")
    photo = make_photo(bench.folder / "photo.jpg")
    rounds = bench.rounds(20, 8)
    rows = []
    with dog(bench, f"exec cp '{photo}' \"$1\"", *ARGUMENTS) as server, Load(bench, server, READY, viewers=1) as viewer:
        for _ in range(PHOTOS):
            where = _take_photo(server)
        for number, (name, path) in enumerate(FLOODS.items(), 1):
            peace = [viewer.round().last for _ in range(rounds)]
            with _flood(wrk, server, path.format(photo=where)):
                flood = [viewer.round().last for _ in range(rounds)]
            server.wait_until_idle()
            bench.show_progress("presses without and with a flood", number, len(FLOODS))
            rows.append(_make_row(name, peace, flood))
    return rows


def _make_row(name: str, peace: list[float], flood: list[float]) -> Row:
    return Row(
        label=f"a press during a flood of {name}, minus one without",
        dog=Spread.of(flood),
        rival_name="without a flood",
        rival=Spread.of(peace),
        measured_unit="ms",
        value=round(Spread.of(flood).median - Spread.of(peace).median, 1),
        unit="ms",
        target=50,
        stretch=20,
        note=f"each flood has {CONNECTIONS} connections of one client address",
    )


def _take_photo(server: Server) -> str:
    """Take a photo and return the path of its page."""
    request = urllib.request.Request(f"{server.url}/api/captures", data=b'{"max_age":0}')
    with urllib.request.urlopen(request, timeout=30) as answer:
        where: str = json.load(answer)["page"]
        return where


@contextlib.contextmanager
def _flood(wrk: str, server: Server, path: str) -> Iterator[None]:
    """Flood a URL from one client until the block ends."""
    command = [wrk, "-t1", f"-c{CONNECTIONS}", "-d600s", "-H", CLIENT, server.url + path]
    with pinned(LOAD_CORE), subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        time.sleep(WARM_UP_SECONDS)
        try:
            yield
        finally:
            process.terminate()
