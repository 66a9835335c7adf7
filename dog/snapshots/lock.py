"""The lock by which one server has the folder of snapshots for itself. It is let go of when the process ends."""

import fcntl
import os
from pathlib import Path

from dog.errors import StartError, StorageError

__all__ = ["InUse", "Lock"]


class InUse(StartError):
    """Another server has the folder."""


class Lock:
    """A held lock on `root`, from its making to `release`. Raises InUse where another server has it."""

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
            raise InUse(
                f"The folder of snapshots {str(root)!r} is in use by another server."
                " Stop that one, or give this one another folder."
            ) from None

    def release(self) -> None:
        os.close(self._descriptor)

    def check(self) -> None:
        """Whether the folder is still the one that is locked: one made anew in its place may be another server's.

        Raises StorageError where it is not, and OSError where there is no folder: that one may come back.
        """
        try:
            there = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            if not self._root.is_dir():
                raise
            there = None
        if there is None or not os.path.samestat(there, os.fstat(self._descriptor)):
            raise StorageError(
                "The folder of snapshots was replaced. Restart the server.",
                detail=f"{self._path} is not the file that was locked at the start",
            )
