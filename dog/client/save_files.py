"""Files of photos: written beside, synced and renamed, so that a name never stands for half a photo.

Every function blocks, and raises OSError.
"""

import contextlib
import errno
import os
from pathlib import Path

from dog.files import link_new, sync_folder

__all__ = ["write_durably"]


def write_durably(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Keep the data under this name, for good once this returns.

    Raises FileExistsError where something has the name: whatever it is, or with `overwrite` what is no plain file.
    """
    if overwrite:
        path = path.resolve()  # a link stays one, and what it leads to is replaced
    if path.exists() and not (overwrite and path.is_file()):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    temp_path = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _write(temp_path, data)
        if overwrite:
            os.replace(temp_path, path)
        else:
            link_new(temp_path, path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temp_path)


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
