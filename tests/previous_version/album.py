"""The recorded album, and the cameras that its server has."""

import sys
import tarfile
from pathlib import Path

__all__ = ["CONFIG", "RECORDED", "unpack", "write_cameras"]

RECORDED = Path(__file__).parent / "recorded"
CONFIG = """\
camera = "script:camera"
dead_time = 0
auth = true
session_days = 3650

[cameras.side]
camera = "script:camera"
image_type = "webp"

[cameras.card]
camera = "test"

[cameras.broken]
camera = "script:broken"
"""
"""dog.toml for the album."""
_CAMERAS = {
    "camera": f"""#!{sys.executable}
import os, pathlib, sys, time
from PIL import Image
while pathlib.Path(__file__).with_name("hold").exists():
    time.sleep(0.01)
Image.frombytes("RGB", (8, 6), os.urandom(144)).resize((160, 120)).save(sys.argv[1], quality=60)
""",
    "broken": "#!/bin/sh\nexit 1\n",
}


def write_cameras(folder: Path) -> None:
    """Write CONFIG's programs.

    The first takes a small photo, but waits while there is a file `hold` in the folder.
    """
    for name, program in _CAMERAS.items():
        (folder / name).write_text(program)
        (folder / name).chmod(0o755)


def unpack(name: str, folder: Path) -> None:
    """Unpack a recorded archive into a folder, with its files' permissions."""
    with tarfile.open(RECORDED / name) as tar:
        tar.extraction_filter = getattr(tarfile, "tar_filter", None)  # not in the first releases of Python 3.11
        tar.extractall(folder)
