"""Copies of the repository."""

import shutil
import subprocess
from pathlib import Path

from tests.support.server_process import ROOT

__all__ = ["copy_checkout"]


def copy_checkout(folder: Path) -> Path:
    """Copy the files of the repository, without ignored files.

    Return the folder.
    """
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder
