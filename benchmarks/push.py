"""Time from a press until the last viewer has the event."""

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

STUCK_VIEWERS = 500
FILLING_BYTES = 90_000
"""More than the kernel buffers for a stuck viewer, but too few for D.O.G. to drop it."""


def measure_push(bench: Bench) -> list[Row]:
    with _dog_with_viewers(bench) as (mine, size):
        return [_measure_in_turn(bench, mine, floor(bench, size), FLOOR, size, target=1.25, stretch=1.0)]


def measure_stuck(bench: Bench) -> list[Row]:
    with _dog_with_viewers(bench, STUCK_VIEWERS) as (mine, size):
        other = floor(bench, size)
        row = _measure_in_turn(bench, mine, other, FLOOR, size, target=1.3, stretch=1.05, stuck=STUCK_VIEWERS)
    note = f"{row.note}; {STUCK_VIEWERS - mine.stuck} of the {STUCK_VIEWERS} were dropped by D.O.G. before the end"
    return [msgspec.structs.replace(row, note=note)]


def measure_rivals(bench: Bench) -> list[Row]:
    rows = []
    with _dog_with_viewers(bench) as (mine, size):
        for rival in RIVALS:
            try:
                rows.append(_measure_in_turn(bench, mine, rival.start(bench), rival.trigger(size), size, target=1.0))
            except Skipped as reason:
                rows.append(Row(label=_label(bench), rival_name=rival.name, skipped=str(reason)))
            except Broken as reason:
                rows.append(Row(label=_label(bench), rival_name=rival.name, skipped=f"{FAILED}{reason}"))
    return rows


@contextlib.contextmanager
def _dog_with_viewers(bench: Bench, stuck: int = 0) -> Iterator[tuple[Load, int]]:
    """Start D.O.G. with its viewers.

    Yield them and the size of its `capturing` frame.
    """
    photo = make_photo(bench.folder / "photo.jpg")
    with dog(bench, f"exec cp '{photo}' \"$1\"") as server:
        frame_bytes = _measure_frame(bench, server, CAPTURE)
        hello_bytes = _measure_frame(bench, server, replace(CAPTURE, text=CAPTURE.filling, match='"hello"', settled=""))
        bench.show_progress("connecting viewers to D.O.G.")
        fillings = FILLING_BYTES // hello_bytes
        with Load(bench, server, CAPTURE, viewers=bench.viewers, stuck=stuck, fillings=fillings) as load:
            load.wait_until_settled()
            yield load, frame_bytes


def _measure_frame(bench: Bench, server: Server, trigger: Trigger) -> int:
    """Return the frame's size after ten rounds.

    From then on, its numbers have two digits.
    """
    with Load(bench, server, trigger, viewers=1) as one:
        return [one.round().bytes for _ in range(10)][-1]


def _label(bench: Bench, stuck: int = 0) -> str:
    return f"the last of {bench.viewers:,} viewers" + (f", with {stuck} more that never read" if stuck else "")


def _measure_in_turn(
    bench: Bench,
    mine: Load,
    server: Server,
    trigger: Trigger,
    frame_bytes: int,
    *,
    target: float,
    stretch: float | None = None,
    stuck: int = 0,
) -> Row:
    rounds = bench.rounds(21, 7)
    bench.show_progress(f"connecting viewers to {server.name}")
    with server, Load(bench, server, trigger, viewers=bench.viewers, stuck=stuck, fillings=1) as theirs:
        theirs.wait_until_settled()
        pairs = []
        for number in range(rounds + 1):
            pairs.append((theirs.round(), mine.round()))
            bench.show_progress(f"{server.name} and D.O.G. in turn", number, rounds)
    others, own = zip(*pairs[1:], strict=True)  # the first round is to warm up
    own_last, other_last = ([one.last for one in side] for side in (own, others))
    return Row(
        label=_label(bench, stuck),
        dog=Spread.of(own_last),
        rival_name=server.name,
        rival=Spread.of(other_last),
        measured_unit="ms",
        value=ratios(own_last, other_last),
        target=target,
        stretch=stretch,
        note=f"frames of {own[-1].bytes} and {others[-1].bytes} bytes",
    )
