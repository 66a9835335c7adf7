"""Remove folders that other programs filled, however deep or wide.

It follows no symbolic link, not even one that replaces a folder at that moment, and has at most two folders open.
Folders below the first level are moved up before they are emptied, so that no path is too long. One that can't be
removed stays there under another name. shutil.rmtree fails on deep trees: before Python 3.13 it needs a descriptor and
a level of recursion for each folder on the way.
"""

import contextlib
import os
import secrets
import stat
from pathlib import Path

__all__ = ["empty_folder", "remove_tree"]

_OPEN_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_O_PATH = getattr(os, "O_PATH", None)
"""Linux's flag to open a folder that may not be read. Other systems leave such folders, and report them."""


def empty_folder(folder: Path) -> tuple[int, list[Path]]:
    """Remove everything in a folder. Return the count and the paths left."""
    entries = list(folder.iterdir())
    return len(entries), [path for entry in entries for path in remove_tree(entry)]


def remove_tree(path: Path) -> list[Path]:
    """Remove a folder and everything in it, or a file, or a link.

    Folders in it without permissions are made accessible first. Return the paths that can't be removed. A missing path
    is not an error. Raises nothing for errors of the disk, or for actions of other programs.
    """
    left: list[Path] = []
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return left
        top = _open_folder(str(path), None)
        try:
            _empty_tree(path, top, left)
        finally:
            os.close(top)
        os.rmdir(path)
    except FileNotFoundError:
        return left
    except OSError:
        if not left:
            left.append(path)
    return left


def _empty_tree(path: Path, top: int, left: list[Path]) -> None:
    """Empty the open folder `top`, which is at `path`."""
    folders = _remove_files(path, top, left)
    while folders:
        name = folders.pop()
        try:
            folder = _open_folder(name, top)
        except FileNotFoundError:
            continue
        except OSError:
            left.append(path / name)
            continue
        left_before = len(left)
        try:
            for below in _remove_files(path / name, folder, left):
                try:
                    folders.append(_move_up(below, folder, top))
                except FileNotFoundError:
                    continue
                except OSError:
                    left.append(path / name / below)
            if not _remove_folder(name, top, folder) and len(left) == left_before:
                left.append(path / name)
        finally:
            os.close(folder)


def _move_up(name: str, folder: int, top: int) -> str:
    """Move a folder to `top`. Return its new name, or raise OSError.

    An empty one is removed, and FileNotFoundError raised: another user's can't be moved.
    """
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=folder)
    os.close(_open_folder(name, folder))  # only a writable folder can be moved
    moved = secrets.token_hex(8)
    os.rename(name, moved, src_dir_fd=folder, dst_dir_fd=top)
    return moved


def _remove_folder(name: str, top: int, folder: int) -> bool:
    """Remove an open folder. Return False if it is still there."""
    try:
        os.rmdir(name, dir_fd=top)
    except OSError:
        with contextlib.suppress(OSError):
            return os.fstat(folder).st_nlink == 0
        return False
    return True


def _remove_files(path: Path, folder: int, left: list[Path]) -> list[str]:
    """Remove the files of an open folder. Return the names of its folders."""
    files, folders = _list_folder(folder)
    for file in files:
        try:
            os.unlink(file, dir_fd=folder)
        except FileNotFoundError:
            continue
        except OSError:
            left.append(path / file)
    return folders


def _list_folder(folder: int) -> tuple[list[str], list[str]]:
    """List the names of files and of folders. Both are empty after an error."""
    files: list[str] = []
    folders: list[str] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            (folders if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
    return files, folders


def _open_folder(name: str, above: int | None) -> int:
    """Open a folder and make it writable. Raise OSError, also for a link."""
    try:
        folder = os.open(name, _OPEN_FOLDER_FLAGS, dir_fd=above)
    except PermissionError:
        _make_accessible(name, above)
        folder = os.open(name, _OPEN_FOLDER_FLAGS, dir_fd=above)
    if os.fstat(folder).st_mode & stat.S_IRWXU != stat.S_IRWXU:
        with contextlib.suppress(OSError):
            os.fchmod(folder, stat.S_IRWXU)
    return folder


def _make_accessible(name: str, above: int | None) -> None:
    """Give us all rights on a folder, but not through a link in its place."""
    if _O_PATH is None:
        return
    descriptor = os.open(name, _O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        # fchmod refuses an O_PATH descriptor. Its name in /proc is the folder itself.
        os.chmod(f"/proc/self/fd/{descriptor}", stat.S_IRWXU)
    finally:
        os.close(descriptor)
