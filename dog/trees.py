"""Removing folders that a stranger filled: however deep or wide, and whatever its links point to.

Everything is reached from an open folder, step by step, and no symbolic link is followed, not even one that is put in
a folder's place while this is at work. At most two folders are open at a time.
"""

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

__all__ = ["remove_tree"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH_ONLY = getattr(os, "O_PATH", None)
"""Linux's way to hold a folder that may not be read. Elsewhere one that is closed to us stays, and is told."""


def remove_tree(path: Path) -> list[Path]:
    """Remove a folder with all that is in it, or a file, or a link and not what it points to. Blocks.

    Folders in it that are closed to us are opened first. Returns what could not be removed: empty when nothing is
    left, or nothing was there. Raises nothing for what the disk or the stranger does.
    """
    left: list[Path] = []
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return left
        _empty(path, left)
        os.rmdir(path)
    except FileNotFoundError:
        return left
    except OSError:
        if not left:
            left.append(path)
    return left


@dataclass(slots=True)
class _Level:
    """A folder on the way down: its name, which folder it is, those in it still to do, and how much was left before."""

    name: str
    identity: tuple[int, int]
    folders: list[str]
    left_before: int


def _empty(path: Path, left: list[Path]) -> None:
    """Remove what is in the folder. Raises OSError where it can't be entered, or was moved away meanwhile."""
    levels: list[_Level] = []

    def locate(name: str = "") -> Path:
        return Path(*(level.name for level in levels), name)

    def enter(name: str, folder: int) -> None:
        before = len(left)
        levels.append(_Level(name, _identify(folder), [], before))
        files, levels[-1].folders = _list(folder)
        for file in files:
            try:
                os.unlink(file, dir_fd=folder)
            except FileNotFoundError:
                continue
            except OSError:
                left.append(locate(file))

    here = _open_folder(str(path), None)
    try:
        enter(str(path), here)
        while True:
            if levels[-1].folders:
                name = levels[-1].folders.pop()
                try:
                    below = _open_folder(name, here)
                except FileNotFoundError:
                    continue
                except OSError:
                    left.append(locate(name))
                    continue
                os.close(here)
                here = below
                enter(name, here)
            elif len(levels) == 1:
                return
            else:
                above = os.open("..", _FOLDER, dir_fd=here)
                os.close(here)
                here = above
                done = levels.pop()
                if _identify(here) != levels[-1].identity:
                    # Somebody moved it while we were in it: what is around it now is not ours.
                    left.append(locate(done.name))
                    return
                try:
                    os.rmdir(done.name, dir_fd=here)
                except FileNotFoundError:
                    continue
                except OSError:
                    if len(left) == done.left_before:
                        left.append(locate(done.name))
    finally:
        os.close(here)


def _list(folder: int) -> tuple[list[str], list[str]]:
    """The names of what is no folder, and of the folders; neither where it can't be read: removing it will tell."""
    files: list[str] = []
    folders: list[str] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            (folders if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
    return files, folders


def _open_folder(name: str, above: int | None) -> int:
    """A descriptor of a real folder, which is made ours to change. Raises OSError, for a link too."""
    try:
        folder = os.open(name, _FOLDER, dir_fd=above)
    except PermissionError:
        _allow(name, above)
        folder = os.open(name, _FOLDER, dir_fd=above)
    if os.fstat(folder).st_mode & stat.S_IRWXU != stat.S_IRWXU:
        with contextlib.suppress(OSError):
            os.fchmod(folder, stat.S_IRWXU)
    return folder


def _allow(name: str, above: int | None) -> None:
    """Give ourselves the right to read a folder, by a descriptor: a link that takes its place changes nothing."""
    if _PATH_ONLY is None:
        return
    held = os.open(name, _PATH_ONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        # A descriptor of this kind can't be given to fchmod; its name in /proc is the folder itself.
        os.chmod(f"/proc/self/fd/{held}", stat.S_IRWXU)
    finally:
        os.close(held)


def _identify(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino
