"""Files that survive a power cut: written, synced, renamed, their folder synced; and what the system's errors mean.

Every function blocks. Messages of the errors are for everybody, so that a path is only ever in their
`detail`.
"""

import errno
import os
from pathlib import Path

from dog.disk import sync_folder
from dog.errors import CaptureError, StorageError, StorageFull
from dog.trees import remove_tree

__all__ = [
    "FULL",
    "empty_folder",
    "explain",
    "make_folders",
    "reason",
    "remove",
    "remove_empty",
    "replace_durably",
    "write_synced",
]

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
