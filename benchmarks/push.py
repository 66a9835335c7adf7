"""The push: the time from a press until the last viewer knows, beside the C floor and other servers, in turn."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from benchmarks.bench import Bench
from benchmarks.load import Load
from benchmarks.processes import Broken, Server, Skipped
from benchmarks.rows import FAILED, Row, Spread, ratios
from benchmarks.servers import CAPTURE, FLOOR, RIVALS, Trigger, dog, floor, make_photo

__all__ = ["measure_push", "measure_rivals", "measure_stuck"]

STUCK = 500
FILLING = 90_000
"""Bytes sent before to a viewer that never reads: more than the kernel takes for it, less than it is dropped for."""


def measure_push(bench: Bench) -> list[Row]:
    with _watched_dog(bench) as (mine, size):
        return [_in_turn(bench, mine, floor(bench, size), FLOOR, size, target=1.25, beyond=1.0)]


def measure_stuck(bench: Bench) -> list[Row]:
    with _watched_dog(bench, STUCK) as (mine, size):
        row = _in_turn(bench, mine, floor(bench, size), FLOOR, size, target=1.3, beyond=1.05, stuck=STUCK)
    note = f"{row.note}; {STUCK - mine.stuck} of the {STUCK} were dropped by D.O.G. before the end"
    return [msgspec.structs.replace(row, note=note)]


def measure_rivals(bench: Bench) -> list[Row]:
    rows = []
    with _watched_dog(bench) as (mine, size):
        for rival in RIVALS:
            try:
                rows.append(_in_turn(bench, mine, rival.start(bench), rival.trigger(size), size, target=1.0))
            except Skipped as reason:
                rows.append(Row(what=_what(bench), beside=rival.name, skipped=str(reason)))
            except Broken as reason:
                rows.append(Row(what=_what(bench), beside=rival.name, skipped=f"{FAILED}{reason}"))
    return rows


@contextlib.contextmanager
def _watched_dog(bench: Bench, stuck: int = 0) -> Iterator[tuple[Load, int]]:
    """D.O.G. with all its viewers, and how many bytes its `capturing` frame has."""
    photo = make_photo(bench.folder / "photo.jpg")
    with dog(bench, f"exec cp '{photo}' \"$1\"") as server:
        frame_bytes = _measure_frame(bench, server, CAPTURE)
        hello_bytes = _measure_frame(bench, server, replace(CAPTURE, text=CAPTURE.filling, match='"hello"', settled=""))
        bench.say("the viewers of D.O.G. come")
        with Load(bench, server, CAPTURE, viewers=bench.viewers, stuck=stuck, fillings=FILLING // hello_bytes) as load:
            load.wait_until_all_is_said()
            yield load, frame_bytes


def _measure_frame(bench: Bench, server: Server, trigger: Trigger) -> int:
    """After ten rounds: the numbers in it have two digits from then on."""
    with Load(bench, server, trigger, viewers=1) as one:
        return [one.round().bytes for _ in range(10)][-1]


def _what(bench: Bench, stuck: int = 0) -> str:
    return f"the last of {bench.viewers:,} viewers" + (f", beside {stuck} that never read" if stuck else "")


def _in_turn(
    bench: Bench,
    mine: Load,
    server: Server,
    trigger: Trigger,
    frame_bytes: int,
    *,
    target: float,
    beyond: float | None = None,
    stuck: int = 0,
) -> Row:
    rounds = bench.rounds(21, 7)
    bench.say(f"the viewers of {server.name} come")
    with server, Load(bench, server, trigger, viewers=bench.viewers, stuck=stuck, fillings=1) as theirs:
        theirs.wait_until_all_is_said()
        pairs = []
        for number in range(rounds + 1):
            pairs.append((theirs.round(), mine.round()))
            bench.say(f"{server.name} and D.O.G. in turn", number, rounds)
    beside, own = zip(*pairs[1:], strict=True)  # the first round is to warm up
    own_last, beside_last = ([one.last for one in side] for side in (own, beside))
    return Row(
        what=_what(bench, stuck),
        dog=Spread.of(own_last),
        beside=server.name,
        rival=Spread.of(beside_last),
        measured="ms",
        value=ratios(own_last, beside_last),
        target=target,
        beyond=beyond,
        note=f"frames of {own[-1].bytes} and {beside[-1].bytes} bytes",
    )
