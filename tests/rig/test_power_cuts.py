"""Power cuts: the album after a cut at any write to its disk.

A guest records every write to a disk while `dog serve` captures, and people pin and delete (cut_power.py). Then it
starts the album on the disk as it was after some write, again and again. The seed chooses the cuts: SEED=4 repeats
those of an earlier run, although not the same writes.
"""

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.rig.guest import PATH, ROOT, find_missing

pytestmark = [pytest.mark.power_cuts, pytest.mark.timeout(3700)]

DISK_BYTES = 320 * 1024**2
"""XFS needs 300 MiB. The file is sparse."""
LOG_BYTES = 4 * 1024**3
CUTS = 100
MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q")}
TOOLS = {"dmsetup": "dmsetup", "mkfs.ext4": "e2fsprogs", "mkfs.xfs": "xfsprogs"}


@pytest.fixture(params=MAKE)
def facts(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> dict[str, list[dict[str, Any]]]:
    """Run cut_power.py in a guest, and return its facts by their names."""
    if sys.platform != "linux":
        pytest.skip("the rig boots a Linux guest from a Debian host")
    if missing := find_missing(TOOLS):
        pytest.skip(f"the rig needs: apt-get install --no-install-recommends {' '.join(missing)}")
    seed = os.environ.get("SEED") or str(random.randrange(10**6))
    with capsys.disabled():
        print(f"\n{request.param}: SEED={seed}", end=" ", flush=True)
    disks = [tmp_path / name for name in ("album", "cut", "log", "changes")]
    for disk in disks:
        disk.touch()
        os.truncate(disk, LOG_BYTES if disk.name == "log" else DISK_BYTES)
    subprocess.run([*MAKE[request.param], disks[0]], check=True, env=os.environ | {"PATH": PATH})
    subprocess.run(["cp", "--sparse=always", *disks[:2]], check=True)
    command = [sys.executable, ROOT / "tests/rig/cut_power.py", request.param, seed, str(CUTS)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DOG_")} | {
        "CAM": "none",
        "DISKS": " ".join(map(str, disks)),
        "SHARE": str(tmp_path),
        "LIMIT": "3600",
        "PATH": PATH,
    }
    script = f"export DM_DISABLE_UDEV=1 PYTHONPATH={shlex.quote(str(ROOT))} PYTHONDONTWRITEBYTECODE=1\n"
    guest = subprocess.run(
        [ROOT / "tests/rig/run.sh", script + shlex.join(map(str, command)) + " 2>&1"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert guest.returncode == 0, guest.stdout + guest.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for line in guest.stdout.splitlines():
        if line.startswith("{"):
            found.setdefault((fact := json.loads(line)).pop("fact"), []).append(fact)
    shutil.rmtree(tmp_path)
    return found


def test_after_a_cut_at_any_write_no_photo_is_lost_torn_or_back_and_pins_hold(
    facts: dict[str, list[dict[str, Any]]],
) -> None:
    (recorded,) = facts["recorded"]
    assert all(recorded[change] >= 5 for change in ("ready", "pins", "unpins", "deleted", "retention")), recorded
    assert len(facts["cut"]) == CUTS
    assert [cut for cut in facts["cut"] if cut["problems"]] == []
