"""Handshakes per second, in turn with a bare aiohttp WebSocket server."""

from benchmarks.bench import Bench
from benchmarks.load import Load
from benchmarks.processes import Server
from benchmarks.rows import Row, Spread, ratios
from benchmarks.servers import BARE_AIOHTTP, CAPTURE, dog

__all__ = ["measure_handshakes"]

VIEWERS = 4000
"""Viewers of a round: wsload opens 256 at a time."""


def measure_handshakes(bench: Bench) -> list[Row]:
    rounds = bench.rounds(9, 3)
    mine, theirs = [], []
    with dog(bench) as own, BARE_AIOHTTP.start(bench) as bare:
        for number in range(rounds + 1):
            theirs.append(_handshakes(bench, bare))
            mine.append(_handshakes(bench, own))
            bench.show_progress(f"{bare.name} and D.O.G. in turn", number, rounds)
    mine, theirs = mine[1:], theirs[1:]  # the first round is to warm up
    return [
        Row(
            label="handshakes per second",
            dog=Spread.of(mine),
            rival_name=bare.name,
            rival=Spread.of(theirs),
            measured_unit="/s",
            value=ratios(mine, theirs),
            target=0.8,
            stretch=1.0,
            at_least=True,
        )
    ]


def _handshakes(bench: Bench, server: Server) -> float:
    viewers = min(VIEWERS, bench.viewers)
    with Load(bench, server, CAPTURE, viewers=viewers) as load:
        rate = viewers / load.seconds
    server.wait_until_idle()
    return rate
