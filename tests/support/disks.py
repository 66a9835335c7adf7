"""Mount file systems, and fill them."""

import errno
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["fill_disk", "mount_without_permissions", "run_mount", "unmount"]


def run_mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount {' '.join(arguments[:2])} is not possible here: {done.stderr.strip()}")


def mount_without_permissions(image: Path, folder: Path) -> None:
    """Mount a new NTFS disk, where chmod succeeds and changes nothing."""
    if not shutil.which("ntfs-3g"):
        pytest.skip("ntfs-3g is not installed")
    with image.open("wb") as file:
        file.truncate(8 * 2**20)
    subprocess.run(["mkntfs", "--force", "--quick", "--quiet", image], check=True, capture_output=True)
    done = subprocess.run(["ntfs-3g", image, folder, "-o", "umask=022"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"ntfs-3g is not possible here: {done.stderr.strip()}")


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
