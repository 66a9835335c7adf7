"""Replace files as other programs do, and make deep folders."""

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["make_deep_folders", "replace_by_link", "replace_file"]


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file by a rename, as most programs do."""
    other = path.with_suffix(".new")
    other.write_bytes(data)
    other.replace(path)


def make_deep_folders(folder: Path, depth: int, at_the_bottom: Callable[[], None]) -> None:
    """Make nested folders, deeper than a path may be long."""
    folder.mkdir()
    start = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        for _ in range(depth):
            os.mkdir("down")
            os.chdir("down")
        at_the_bottom()
    finally:
        os.fchdir(start)
        os.close(start)


def replace_by_link(path: Path) -> None:
    """Replace a file by a link to the same bytes."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
