"""A file lock: one server or command at a time uses the folder."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from dog.database import describe, is_environment_error
from dog.errors import DogError, StartError, StorageError, short_reason
from dog.snapshots.day_folders import list_days

__all__ = ["AlbumInUse", "IndexUnavailable", "Lock", "explain_errors", "lock_album"]


class AlbumInUse(StartError):
    """The folder is locked by another server."""


class IndexUnavailable(DogError):
    """The index is missing or can't be read. The text has the advice."""


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
                f"The folder of snapshots {str(root)!r} is in use by a running server."
                " Stop that server, or name another folder with --snapshots."
            ) from error

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


@contextlib.contextmanager
def lock_album(root: Path) -> Iterator[Path]:
    """Lock an album, yield its private folder. StartError if that fails."""
    private = root / ".dog"
    try:
        if not root.is_dir() or not (private.is_dir() or list_days(root)[0]):
            raise StartError(f"There are no snapshots in {str(root)!r}. Name the right folder with --snapshots.")
        for folder in private, private / "incoming":
            if folder.is_symlink():
                raise StartError(f"{str(folder)!r} is a symbolic link, and must be a folder. Remove it.")
            folder.mkdir(exist_ok=True)
        lock = Lock(root, private / "lock")
    except OSError as error:
        problem = f"The folder of snapshots {str(root)!r} can't be used: {short_reason(error)}."
        remedy = "Name another one with --snapshots."
        if isinstance(error, PermissionError):
            remedy = "Run the command as the owner of the folder, or name another one with --snapshots."
        raise StartError(f"{problem} {remedy}") from error
    try:
        with explain_errors(root):
            yield private
    finally:
        lock.release()


@contextlib.contextmanager
def explain_errors(root: Path) -> Iterator[None]:
    """Raise a command's errors of SQLite and of the disk with advice."""
    try:
        yield
    except sqlite3.Error as error:
        remedy = "Rebuild them with `dog album rebuild`."
        if is_environment_error(error):
            remedy = "Correct that, then run the command again."
        raise IndexUnavailable(f"The databases of {str(root)!r} can't be used: {describe(error)}. {remedy}") from error
    except OSError as error:
        raise StorageError(
            f"{str(error.filename or root)!r}: {short_reason(error)}. Correct that, then run the command again."
        ) from error
