"""Files of photos: written beside, synced and renamed, so that a name never stands for half a photo.

Every function blocks, and raises OSError.
"""

import contextlib
import errno
import os
from pathlib import Path

__all__ = ["write_durably"]

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)


def write_durably(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Keep the data under this name, for good once this returns.

    Raises FileExistsError where something has the name: whatever it is, or with `overwrite` what is no plain file.
    """
    if overwrite:
        path = path.resolve()  # a link stays one, and what it leads to is replaced
    if path.exists() and not (overwrite and path.is_file()):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _write(beside, data)
        if overwrite:
            os.replace(beside, path)
        else:
            _rename_to_new(beside, path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _rename_to_new(beside: Path, path: Path) -> None:
    """As rename, but never over something that came meanwhile; where the disk has no hard links, nearly never."""
    try:
        os.link(beside, path)
    except OSError as error:
        if error.errno not in _NO_LINKS or path.exists():
            raise
        os.rename(beside, path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
