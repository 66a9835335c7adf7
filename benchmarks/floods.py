"""Time from a press to `ready` while another client floods the service."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import ROOT, Bench
from benchmarks.load import Load
from benchmarks.press import READY
from benchmarks.private_network import OTHER_CLIENT, private_network
from benchmarks.processes import LOAD_CORE, Server, Skipped, pinned
from benchmarks.rows import Row, Spread
from benchmarks.servers import dog, make_photo

__all__ = ["measure_floods"]

CONNECTIONS = 200
PHOTOS = 210
"""More than the longest list has."""
URLS = {
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
"""Floods of ordinary requests."""
PROXY_OPTIONS = ("--trusted-proxies", "127.0.0.1", "--open", "--host", "0.0.0.0")
WARM_UP_SECONDS = 0.5
Command = list[str | Path]


def measure_floods(bench: Bench) -> list[Row]:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise Skipped("wrk is not installed (Debian: wrk)")
    photo = make_photo(bench.folder / "photo.jpg")
    script = f"exec cp '{photo}' \"$1\""
    rounds = bench.rounds(20, 8)
    rows = []
    with (
        private_network(),
        dog(bench, script, *PROXY_OPTIONS) as server,
        Load(bench, server, READY, viewers=1) as viewer,
    ):
        for _ in range(PHOTOS):
            where = _take_photo(server)
        floods = _make_commands(wrk, server, where)
        for number, (name, command) in enumerate(floods.items(), 1):
            peace = [viewer.round().last for _ in range(rounds)]
            with _run(command):
                flood = [viewer.round().last for _ in range(rounds)]
            server.wait_until_idle()
            bench.show_progress("presses without and with a flood", number, len(floods))
            rows.append(_make_row(name, peace, flood))
    return rows


def _make_commands(wrk: str, server: Server, photo: str) -> dict[str, Command]:
    """Return the program of each flood. All but one come from OTHER_CLIENT."""
    load: Command = [wrk, "-t1", f"-c{CONNECTIONS}", "-d600s"]
    url = f"http://{OTHER_CLIENT}:{server.port}"
    own: Command = [sys.executable, "-m", "benchmarks.flood"]
    return {
        **{name: [*load, url + path.format(photo=photo)] for name, path in URLS.items()},
        "malformed requests": [*own, "malformed", OTHER_CLIENT, str(server.port)],
        "requests with a malformed X-Forwarded-For": [*load, "-H", "X-Forwarded-For: nobody", server.url],
        "connections without a request": [*own, "connections", OTHER_CLIENT, str(server.port)],
        "messages of 500 viewers": [*own, "messages", OTHER_CLIENT, str(server.port)],
    }


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
        note=f"each flood of requests has {CONNECTIONS} connections of one client address",
    )


def _take_photo(server: Server) -> str:
    """Take a photo and return the path of its page."""
    request = urllib.request.Request(f"{server.url}/api/captures", data=b'{"max_age":0}')
    with urllib.request.urlopen(request, timeout=30) as answer:
        where: str = json.load(answer)["page"]
        return where


@contextlib.contextmanager
def _run(command: Command) -> Iterator[None]:
    """Run a flood until the block ends."""
    with pinned(LOAD_CORE), subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT) as process:
        time.sleep(WARM_UP_SECONDS)
        try:
            yield
        finally:
            process.terminate()
