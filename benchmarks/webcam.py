"""A press on a webcam that is open, to the picture's bytes, beside ustreamer: in a guest with the kernel's uvcvideo.

The guest's processor is emulated, so that both are slower than anywhere else; they are so in the same run.
"""

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from typing import Any

from PIL import Image

from benchmarks.bench import HERE, ROOT, Bench
from benchmarks.processes import Broken, Skipped
from benchmarks.rows import Row, Spread
from benchmarks.servers import make_photo
from tests.rig.guest import find_missing

__all__ = ["measure_webcam"]

INTERVAL = 1000 / 15
"""Milliseconds from frame to frame of the rig's webcam."""
LIMIT = "900"
"""Seconds for all of it."""


def measure_webcam(bench: Bench) -> list[Row]:
    missing = [*find_missing(), *([] if shutil.which("ustreamer") else ["ustreamer"])]
    if missing:
        raise Skipped(f"it needs {', '.join(missing)}")
    rounds = bench.rounds(50, 10)
    bench.say("presses in the guest")
    told = _run_guest(bench, rounds)
    driver, service, rival = (
        [entry["seconds"] * 1000 for entry in told[what] if "seconds" in entry]
        for what in ("driver", "dog serve", "ustreamer")
    )
    again = {what: sum(entry.get("asked", 1) > 1 for entry in told[what]) for what in told}
    idle = {what: [entry["idle"] * 100 for entry in told[what] if "idle" in entry] for what in told}
    note = f"of {len(driver)} presses each, asked again for a frame made after the press: {again['driver']}"
    note += f" of the driver's, {again['dog serve']} of the service's, {again['ustreamer']} of ustreamer's"
    return [
        Row(
            what="a press to the bytes, of an open webcam, beyond one frame's interval (66.7 ms)",
            dog=Spread.of(driver),
            measured="ms",
            value=round(statistics.median(driver) - INTERVAL, 1),
            unit="ms",
            target=10,
            note=note,
        ),
        Row(
            what="a press to the bytes / ustreamer's snapshot",
            dog=Spread.of(driver),
            beside="ustreamer",
            rival=Spread.of(rival),
            measured="ms",
            value=round(statistics.median(driver) / statistics.median(rival), 2),
            target=1,
        ),
        Row(
            what="the same through the whole service, saved and synced / ustreamer's snapshot",
            dog=Spread.of(service),
            beside="ustreamer",
            rival=Spread.of(rival),
            measured="ms",
            value=round(statistics.median(service) / statistics.median(rival), 2),
        ),
        Row(
            what="processor time while the webcam is open and nobody asks / ustreamer's",
            dog=Spread.of(idle["dog serve"]),
            beside="ustreamer",
            rival=Spread.of(idle["ustreamer"]),
            measured="% of a core",
            value=round(statistics.median(idle["dog serve"]) / statistics.median(idle["ustreamer"]), 2),
        ),
    ]


def _run_guest(bench: Bench, rounds: int) -> dict[str, list[dict[str, Any]]]:
    share = bench.new_folder("guest")
    with Image.open(make_photo(share / "photo.jpg")) as photo:
        photo.resize((640, 480)).save(share / "frame.jpg", quality=90)
    words = [sys.executable, str(HERE / "in_guest.py"), "/dev/video0", "/run/bench", str(rounds)]
    root = shlex.quote(str(ROOT))
    command = f"mkdir /run/bench; export PYTHONPATH={root} PYTHONDONTWRITEBYTECODE=1; {shlex.join(words)}"
    guest = subprocess.run(
        [ROOT / "tests/rig/run.sh", command],
        env={
            **os.environ,
            "CAM": "uvc",
            "UVCCAM": f"--jpeg {share}/frame.jpg",
            "SHARE": str(share),
            "LIMIT": str(LIMIT),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    told: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in guest.stdout.splitlines():
        if line.startswith("measured: "):
            entry = json.loads(line.removeprefix("measured: "))
            told[entry["what"]].append(entry)
    if guest.returncode or len(told) != 3:
        raise Broken(f"the guest ended with status {guest.returncode}: {guest.stdout[-500:]}{guest.stderr[-500:]}")
    return told
