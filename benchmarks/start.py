"""Time until `dog serve` listens, in turn with the imports alone."""

import subprocess
import sys
import time

from benchmarks.bench import Bench
from benchmarks.processes import SERVER_CORE, Server, pinned
from benchmarks.rows import Row, Spread, ratios
from benchmarks.servers import dog

__all__ = ["measure_start"]

IMPORTS = "import asyncio, sqlite3, aiohttp.web, aiohttp_jinja2, click, jinja2, msgspec, PIL.Image"
"""The packages that the service uses, without its own modules."""


def measure_start(bench: Bench) -> list[Row]:
    rounds = bench.rounds(15, 5)
    server = dog(bench)
    pairs = []
    for number in range(rounds + 1):
        pairs.append((_time_imports(), _time_listening(server)))
        bench.show_progress("imports and D.O.G. in turn", number, rounds)
    imports, listening = zip(*pairs[1:], strict=True)
    return [
        Row(
            label="from the start until `dog serve` listens",
            dog=Spread.of(listening),
            rival_name="the imports alone",
            rival=Spread.of(imports),
            measured_unit="ms",
            value=ratios(listening, imports),
            target=2,
        )
    ]


def _time_imports() -> float:
    with pinned(SERVER_CORE):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", IMPORTS], check=True)
        return (time.perf_counter() - began) * 1000


def _time_listening(server: Server) -> float:
    began = time.perf_counter()
    with server:
        return (time.perf_counter() - began) * 1000
