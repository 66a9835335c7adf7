"""Handshakes a second, beside a bare aiohttp WebSocket server, in turn."""

from benchmarks.bench import Bench
from benchmarks.load import Load
from benchmarks.processes import Server
from benchmarks.rows import Row, Spread, ratios
from benchmarks.servers import BARE_AIOHTTP, CAPTURE, dog

__all__ = ["measure_handshakes"]

VIEWERS = 4000
"""So many come at once, 256 of them at a time, and go again."""


def measure_handshakes(bench: Bench) -> list[Row]:
    rounds = bench.rounds(9, 3)
    mine, theirs = [], []
    with dog(bench) as own, BARE_AIOHTTP.start(bench) as bare:
        for number in range(rounds + 1):
            theirs.append(_handshakes(bench, bare))
            mine.append(_handshakes(bench, own))
            bench.say(f"{bare.name} and D.O.G. in turn", number, rounds)
    mine, theirs = mine[1:], theirs[1:]  # the first round is to warm up
    return [
        Row(
            what="handshakes a second",
            dog=Spread.of(mine),
            beside=bare.name,
            rival=Spread.of(theirs),
            measured="/s",
            value=ratios(mine, theirs),
            target=0.8,
            beyond=1.0,
            at_least=True,
        )
    ]


def _handshakes(bench: Bench, server: Server) -> float:
    viewers = min(VIEWERS, bench.viewers)
    with Load(bench, server, CAPTURE, viewers=viewers) as load:
        rate = viewers / load.seconds
    server.wait_until_idle()
    return rate
