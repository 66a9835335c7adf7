"""Programs that tests run, most of them as cameras."""

import os
from pathlib import Path

from tests.support.cameras import make_picture

__all__ = ["write_copying_camera", "write_program", "write_script", "write_waiting_camera"]


def write_program(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def write_script(folder: Path, body: str) -> Path:
    """Write a camera program.

    $1 is the path of the new image, $PICTURE an image to copy.
    """
    picture = folder / "picture.jpg"
    picture.write_bytes(make_picture())
    return write_program(folder / "camera.sh", f"#!/bin/sh\nPICTURE='{picture}'\n{body}\n")


def write_waiting_camera(folder: Path) -> str:
    """Return the setting of a camera that waits for a write to the FIFO `go`."""
    os.mkfifo(folder / "go")
    script = write_script(folder, f'read line < \'{folder}/go\'; cp "$PICTURE" "$1"')
    return f"script:{script}"


def write_copying_camera(picture: Path) -> str:
    """Return the setting of a camera that copies this file at each press."""
    script = write_program(picture.with_name("camera.sh"), f"#!/bin/sh\nexec cp '{picture}' \"$1\"\n")
    return f"script:{script}"
