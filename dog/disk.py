"""Names on the disk: seen to it, and given only to what is whole. Every function blocks, and raises OSError."""

import contextlib
import errno
import logging
import os
import stat
from pathlib import Path

__all__ = ["make_private_folder", "rename_to_new", "sync_folder"]

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
