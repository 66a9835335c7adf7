"""Mount file systems, and fill them."""

import errno
import subprocess
from pathlib import Path

import pytest

__all__ = ["fill_disk", "run_mount", "unmount"]


def run_mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount {' '.join(arguments[:2])} is not possible here: {done.stderr.strip()}")


def unmount(folder: Path) -> None:
    # --lazy, because a failed test may have left files open.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return ballast
