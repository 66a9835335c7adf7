"""The lock file by which one server has the folder of snapshots."""

import fcntl
import os
from pathlib import Path

from dog.errors import StartError, StorageError

__all__ = ["AlbumInUse", "Lock"]


class AlbumInUse(StartError):
    """The folder is locked by another server."""


class Lock:
    """A lock on `root`. Raises AlbumInUse if another server holds it."""

    def __init__(self, root: Path, path: Path) -> None:
        self._root = root
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            self.release()
            if not isinstance(error, BlockingIOError):
                raise
            raise AlbumInUse(
                f"The folder of snapshots {str(root)!r} is in use by another server."
                " Stop that one, or give this one another folder."
            ) from None

    def release(self) -> None:
        os.close(self._descriptor)

    def check(self) -> None:
        """Raise StorageError if the folder was replaced.

        Another server may use the new one. Raise OSError if the folder is missing: it may be mounted again.
        """
        try:
            status = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            if not self._root.is_dir():
                raise
            status = None
        if status is None or not os.path.samestat(status, os.fstat(self._descriptor)):
            raise StorageError(
                "The folder of snapshots was replaced. Restart the server.",
                detail=f"{self._path} is not the file that was locked at the start",
            )
