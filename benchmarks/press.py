"""Time from a press to `ready`, in turn with the camera program alone."""

import subprocess
import time
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.load import Load
from benchmarks.processes import SERVER_CORE, pinned
from benchmarks.rows import Row, Spread
from benchmarks.servers import Trigger, dog, make_photo, write_script

__all__ = ["measure_press"]

READY = Trigger('{"type":"capture","max_age":0}', '"type":"ready"')


LARGE_SIZE, LARGE_BYTES = (4000, 3000), 3_500_000
"""A photo of a camera with 12 megapixels."""


def measure_press(bench: Bench) -> list[Row]:
    large = make_photo(bench.folder / "large.jpg", LARGE_SIZE, LARGE_BYTES)
    label = "from a press to `ready`, minus the script's own time"
    return [
        _measure(bench, make_photo(bench.folder / "photo.jpg"), label, target=15, stretch=8),
        _measure(bench, large, f"{label}, with a photo of 12 megapixels", target=45),
    ]


def _measure(bench: Bench, photo: Path, label: str, *, target: float, stretch: float | None = None) -> Row:
    body = f"exec cp '{photo}' \"$1\""
    alone = bench.new_folder("script")
    script = write_script(alone, body)
    rounds = bench.rounds(60, 15)
    pairs = []
    with dog(bench, body) as server, Load(bench, server, READY, viewers=1) as viewer:
        for number in range(rounds + 1):
            pairs.append((_time_script(script, alone / "picture.jpg"), viewer.round().last))
            bench.show_progress("the script and a press in turn", number, rounds)
    scripts, presses = zip(*pairs[1:], strict=True)  # the first round is to warm up
    beyond_script = Spread.of([press - script for script, press in pairs[1:]])
    return Row(
        label=label,
        dog=Spread.of(presses),
        rival_name="the script alone",
        rival=Spread.of(scripts),
        measured_unit="ms",
        value=beyond_script.median,
        unit="ms",
        target=target,
        stretch=stretch,
        note=f"{photo.stat().st_size:,} bytes: from {beyond_script.minimum:.1f} to {beyond_script.maximum:.1f} ms",
    )


def _time_script(script: Path, picture: Path) -> float:
    """Return the milliseconds that the program runs, on the server's core."""
    picture.unlink(missing_ok=True)
    with pinned(SERVER_CORE):
        began = time.perf_counter()
        subprocess.run(
            [script, picture], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True, check=True
        )
        return (time.perf_counter() - began) * 1000
