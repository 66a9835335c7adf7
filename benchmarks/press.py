"""From a press to `ready`, beside the run of the camera's program alone, in turn."""

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


def measure_press(bench: Bench) -> list[Row]:
    photo = make_photo(bench.folder / "photo.jpg")
    body = f"exec cp '{photo}' \"$1\""
    alone = bench.new_folder("script")
    script = write_script(alone, body)
    rounds = bench.rounds(60, 15)
    pairs = []
    with dog(bench, body) as server, Load(bench, server, READY, viewers=1) as viewer:
        for number in range(rounds + 1):
            pairs.append((_run(script, alone / "picture.jpg"), viewer.round().last))
            bench.say("the script and a press in turn", number, rounds)
    scripts, presses = zip(*pairs[1:], strict=True)  # the first round is to warm up
    beyond_script = Spread.of([press - script for script, press in pairs[1:]])
    return [
        Row(
            what="a press to `ready`, beyond the script's own time",
            dog=Spread.of(presses),
            beside="the script alone",
            rival=Spread.of(scripts),
            measured="ms",
            value=beyond_script.median,
            unit="ms",
            target=15,
            beyond=8,
            note=f"from {beyond_script.minimum:.1f} to {beyond_script.maximum:.1f} ms",
        )
    ]


def _run(script: Path, picture: Path) -> float:
    """Milliseconds from the start of the program to its end, on the server's core."""
    picture.unlink(missing_ok=True)
    with pinned(SERVER_CORE):
        began = time.perf_counter()
        subprocess.run(
            [script, picture], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True, check=True
        )
        return (time.perf_counter() - began) * 1000
