"""Time from a press to the image of an open webcam, and ustreamer's.

Both run in a guest with the kernel's uvcvideo, in the same run. The guest's processor is emulated, so both are slower
than on a real machine.
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

FRAME_INTERVAL_MS = 1000 / 15
"""The rig's webcam sends 15 frames per second."""
GUEST_TIMEOUT = "900"
"""Seconds for the whole run of the guest."""


def measure_webcam(bench: Bench) -> list[Row]:
    missing = [*find_missing(), *([] if shutil.which("ustreamer") else ["ustreamer"])]
    if missing:
        raise Skipped(f"not installed: {', '.join(missing)}")
    rounds = bench.rounds(50, 10)
    bench.show_progress("presses in the guest")
    measured = _run_guest(bench, rounds)
    driver, service, rival = (
        [entry["seconds"] * 1000 for entry in measured[label] if "seconds" in entry]
        for label in ("driver", "dog serve", "ustreamer")
    )
    again = {label: sum(entry.get("attempts", 1) > 1 for entry in measured[label]) for label in measured}
    idle = {label: [entry["idle"] * 100 for entry in measured[label] if "idle" in entry] for label in measured}
    note = f"{len(driver)} presses each; requests repeated for a frame made after the press: {again['driver']} of the"
    note += f" driver, {again['dog serve']} of the service, {again['ustreamer']} of ustreamer"
    return [
        Row(
            label="from a press to the image of an open webcam, minus one frame interval (66.7 ms)",
            dog=Spread.of(driver),
            measured_unit="ms",
            value=round(statistics.median(driver) - FRAME_INTERVAL_MS, 1),
            unit="ms",
            target=10,
            note=note,
        ),
        Row(
            label="from a press to the image / ustreamer's snapshot",
            dog=Spread.of(driver),
            rival_name="ustreamer",
            rival=Spread.of(rival),
            measured_unit="ms",
            value=round(statistics.median(driver) / statistics.median(rival), 2),
            target=1,
        ),
        Row(
            label="the same through the whole service, saved and synced / ustreamer's snapshot",
            dog=Spread.of(service),
            rival_name="ustreamer",
            rival=Spread.of(rival),
            measured_unit="ms",
            value=round(statistics.median(service) / statistics.median(rival), 2),
        ),
        Row(
            label="CPU time with an open webcam and no requests / ustreamer's",
            dog=Spread.of(idle["dog serve"]),
            rival_name="ustreamer",
            rival=Spread.of(idle["ustreamer"]),
            measured_unit="% of a core",
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
            "LIMIT": str(GUEST_TIMEOUT),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    measured: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in guest.stdout.splitlines():
        if line.startswith("measured: "):
            entry = json.loads(line.removeprefix("measured: "))
            measured[entry["what"]].append(entry)
    if guest.returncode or len(measured) != 3:
        raise Broken(f"the guest exited with status {guest.returncode}: {guest.stdout[-500:]}{guest.stderr[-500:]}")
    return measured
