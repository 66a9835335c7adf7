"""Durable and safe file operations: write, sync and rename; private folders; remove a tree.

Every function blocks. Those that write raise OSError; `explain_os_error` makes it an error whose message is for
everybody, so that a path is only in its `detail`.

`remove_tree` works on folders that others filled, however deep or wide: it reaches everything from an open folder,
step by step, follows no symbolic link, not even one that replaces a folder at that moment, and has at most two folders
open at a time.
"""

import contextlib
import errno
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from dog.errors import CaptureError, StorageError, StorageFull

__all__ = [
    "FULL",
    "empty_folder",
    "explain",
    "link_new",
    "make_folders",
    "make_private_folder",
    "reason",
    "remove",
    "remove_empty",
    "remove_tree",
    "replace_durably",
    "sync_folder",
    "write_synced",
]

log = logging.getLogger(__name__)

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)


def make_private_folder(folder: Path) -> None:
    """A folder that its owner alone may look into, also where it is there already and others could."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        with contextlib.suppress(PermissionError):  # another's, who has decided that we may use it
            folder.chmod(0o700)
            log.warning("%s could be looked into by others; now it can't.", folder)


def link_new(beside: Path, path: Path) -> None:
    """As a rename, but never over something that came meanwhile; where the disk has no hard links, nearly never.

    Where it has, the file keeps its first name, too, which is to be removed. Raises FileExistsError.
    """
    try:
        os.link(beside, path)
    except OSError as error:
        if error.errno not in _NO_LINKS or path.exists():
            raise
        os.rename(beside, path)


def sync_folder(folder: Path) -> None:
    """See the names in a folder to the disk. A file system that can't do that is trusted to do it unasked."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


# ---- files that survive a power cut

FULL = "The disk is full, and nothing was saved. Make room, then try again."
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_REASONS = {
    errno.EROFS: "The disk is read-only. Make it writable again.",
    errno.EACCES: "The server may not write to the folder of snapshots. Give it the permission.",
    errno.EPERM: "The server may not write to the folder of snapshots. Give it the permission.",
    errno.EIO: "The disk reports an error. See the system's log.",
    errno.ENOENT: "The folder of snapshots is gone. Restore it, or restart the server.",
    errno.EEXIST: "A file is in the place of a folder of snapshots. Move it elsewhere.",
    errno.ENOTDIR: "A file is in the place of the folder of snapshots. Move it elsewhere.",
    errno.EMFILE: "The server has too many open files. Raise its limit.",
    errno.EFBIG: "The picture is larger than the server may write. Raise its limit on the size of files.",
}


def explain(error: OSError) -> CaptureError:
    """The system's error as one that everybody may be told."""
    if error.errno in _NO_ROOM:
        return StorageFull(FULL, detail=str(error))
    return StorageError(f"Nothing was saved. {reason(error)}", detail=str(error))


def reason(error: OSError) -> str:
    """A sentence that everybody may be told, and what to do."""
    return _REASONS.get(error.errno or 0, f"The operating system reports: {error.strerror or 'unknown error'}.")


def write_synced(path: Path, data: bytes) -> None:
    """Make a new file and see it to the disk. Raises FileExistsError where there is one; leaves none when it fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        remove(path)
        raise


def replace_durably(path: Path, data: bytes, *, temporary: Path) -> None:
    """Put a file in place of what was there: after a crash it is either the old one or the new one, whole."""
    remove(temporary)
    write_synced(temporary, data)
    try:
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        remove(temporary)
        raise


def make_folders(root: Path, below: Path) -> None:
    """Make a folder some levels below the root, and see each name on the way to the disk.

    A symbolic link on the way is refused: what lies behind one is not looked at when the folder is read.
    """
    folder = root
    for part in below.relative_to(root).parts:
        parent, folder = folder, folder / part
        if folder.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "A symbolic link, not a folder", str(folder))
        folder.mkdir(exist_ok=True)
        sync_folder(parent)


def remove(path: Path) -> None:
    """Remove a file, if it is there and can be removed."""
    try:
        os.unlink(path)
    except OSError:
        return


def remove_empty(root: Path, folder: Path) -> None:
    """Remove a folder below the root where it is empty, and then those above it."""
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def empty_folder(folder: Path) -> tuple[int, list[Path]]:
    """Remove what is in a folder. Returns how many entries there were, and what of them could not be removed."""
    entries = list(folder.iterdir())
    return len(entries), [path for entry in entries for path in remove_tree(entry)]


# ---- removing

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
