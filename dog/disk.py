"""Names on the disk: seen to it, and given only to what is whole. Every function blocks, and raises OSError."""

import errno
import os
from pathlib import Path

__all__ = ["rename_to_new", "sync_folder"]

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)


def rename_to_new(beside: Path, path: Path) -> None:
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
