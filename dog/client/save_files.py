"""Save files by temporary file, fsync, rename. Blocks; raises OSError."""

import errno
import os
from pathlib import Path

from dog.files import link_new, remove_file, sync_folder, write_synced

__all__ = ["write_durably"]


def write_durably(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file durably: the data is on the disk when this returns.

    Raise FileExistsError if the path exists; with `overwrite`, only if it is not a regular file.
    """
    if overwrite:
        path = path.resolve()  # keep a symbolic link, and replace its target
    if path.exists() and not (overwrite and path.is_file()):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    temp_path = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        remove_file(temp_path)
        write_synced(temp_path, data)
        if overwrite:
            os.replace(temp_path, path)
        else:
            link_new(temp_path, path)
        sync_folder(path.parent)
    finally:
        remove_file(temp_path)
