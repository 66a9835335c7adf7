"""`dog album backup`: a consistent copy of the databases, as a tar.

If no server runs, the command makes the copy. Otherwise, the running server does, because it has the databases locked:

    <folder>/.dog/backup                        locked by a command that waits for a copy; it has the request's id
    <folder>/.dog/incoming/<id>.unfinished/     the copy, while the server makes it
    <folder>/.dog/incoming/<id>.copy/           the complete copy, or the file `error`

Only users with access to these private folders can request or read a copy, and they send it no path. The
command writes the tar with its own permissions, and removes the copy. If it is killed, its lock ends, and the server
removes the copy. A start of the server empties `incoming`. Everything here blocks.
"""

import contextlib
import fcntl
import functools
import grp
import io
import logging
import os
import pwd
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from dog.database import check_integrity, copy_database, describe, is_disk_full, is_environment_error
from dog.errors import DISK_FULL_MESSAGE, CaptureError, StorageError, explain_os_error
from dog.files import remove_file
from dog.remove_tree import remove_tree
from dog.snapshots.facts_file import FACTS_FILE, INDEX_FILE
from dog.snapshots.lock import AlbumInUse, Lock, explain_errors, lock_album
from dog.snapshots.names import is_snapshot_id, make_id
from dog.snapshots.verify import Progress, open_existing_index

__all__ = ["BackupServer", "add_accounts", "copy_databases", "write_tar"]

_ANSWER_TIMEOUT_SECONDS = 15.0
"""The server checks for requests every second."""
_SERVER_CHECK_SECONDS = 1.0
_POLL_SECONDS = 0.05
_COPIED_BYTES = 1024 * 1024
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_ERROR_FILE = "error"
_NO_ANSWER = (
    "The program that uses {!r} makes no copy. If it is another command, or a server that is starting, wait and try"
    " again. If it is a server of an earlier version, stop it."
)

log = logging.getLogger(__name__)

_CopyDatabases = Callable[[Path, Callable[[], object]], object]
"""Copies the databases into a folder, and calls a function between its steps."""


# ---- the running server


class _Abandoned(Exception):
    """The command has ended, or the server is stopping."""


class BackupServer:
    """Copies the databases for a command that waits. Call `poll` regularly."""

    def __init__(self, private: Path, copy_databases: _CopyDatabases) -> None:
        self._incoming = private / "incoming"
        self._copy_databases = copy_databases
        self._request_file = os.open(
            private / "backup", os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE
        )
        self._answered: str | None = None
        self._is_stopping = False

    def stop(self) -> None:
        """Abandon a copy that another thread makes."""
        self._is_stopping = True

    def close(self) -> None:
        """Remove the last copy."""
        self._remove_answer()
        os.close(self._request_file)

    def poll(self) -> None:
        """Answer a new request, and remove the copy of one that has ended."""
        request = self._find_request()
        if request == self._answered:
            return
        self._remove_answer()
        if request is not None:
            self._answered = request
            self._answer(request)

    def _find_request(self) -> str | None:
        """Return the id that a waiting command has written, if there is one."""
        try:
            fcntl.flock(self._request_file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            request = os.pread(self._request_file, 100, 0).decode(errors="replace")
            return request if is_snapshot_id(request) else None
        fcntl.flock(self._request_file, fcntl.LOCK_UN)
        return None

    def _answer(self, request: str) -> None:
        folder = self._incoming / f"{request}.unfinished"
        try:
            folder.mkdir(_FOLDER_MODE)
            try:
                self._copy_databases(folder, functools.partial(self._check_wanted, request))
            except (OSError, sqlite3.Error, CaptureError) as error:
                reason = _explain(error)
                log.warning("The databases can't be copied for `dog album backup`: %s (%s)", reason, error)
                for path in folder.iterdir():
                    remove_file(path)
                (folder / _ERROR_FILE).write_text(reason)
            else:
                log.info("The databases were copied for `dog album backup`.")
            folder.rename(folder.with_suffix(".copy"))
        except _Abandoned:
            remove_tree(folder)
        except OSError as error:
            log.warning("The request of `dog album backup` can't be answered: %s", error)
            remove_tree(folder)

    def _check_wanted(self, request: str) -> None:
        if self._is_stopping or self._find_request() != request:
            raise _Abandoned

    def _remove_answer(self) -> None:
        if self._answered is not None:
            remove_tree(self._incoming / f"{self._answered}.copy")
            self._answered = None


def _explain(error: Exception) -> str:
    """Return a problem of copying and its remedy in one line."""
    if isinstance(error, OSError):
        return explain_os_error(error).message
    if isinstance(error, sqlite3.Error):
        return DISK_FULL_MESSAGE if is_disk_full(error) else f"The databases can't be copied: {describe(error)}."
    return str(error)


# ---- the command


@contextlib.contextmanager
def copy_databases(root: Path, progress: Progress) -> Iterator[Path]:
    """Yield a folder with a consistent copy of an album's databases.

    At the end, it is removed. Raises StartError, StorageError and IndexUnavailable.
    """
    with contextlib.ExitStack() as stack:
        try:
            private = stack.enter_context(lock_album(root))
        except AlbumInUse:
            stack.enter_context(explain_errors(root))
            folder = stack.enter_context(_copy_by_server(root, progress))
        else:
            folder = stack.enter_context(_copy_here(private, progress))
        for name in (FACTS_FILE, INDEX_FILE):
            _check_copy(folder / name)
        yield folder


@contextlib.contextmanager
def _copy_here(private: Path, progress: Progress) -> Iterator[Path]:
    """Copy the databases, which no other process uses."""
    folder = private / "incoming" / f"{make_id()}.copy"
    try:
        folder.mkdir(_FOLDER_MODE)
        if os.geteuid() == 0:  # so that the server can remove it if this command is killed
            owner = private.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)
        progress.begin(2 * _estimate_size(private))
        with contextlib.closing(open_existing_index(private)) as index:
            index.copy(folder, _make_reporter(folder, progress))
        yield folder
    finally:
        remove_tree(folder)


@contextlib.contextmanager
def _copy_by_server(root: Path, progress: Progress) -> Iterator[Path]:
    """Request a copy from the running server."""
    private = root / ".dog"
    with _send_request(private) as request:
        folder = private / "incoming" / f"{request}.copy"
        try:
            progress.begin(2 * _estimate_size(private))  # the command writes them again into the tar
            _wait_for_copy(root, folder, progress)
            if (error := folder / _ERROR_FILE).exists():
                raise StorageError(error.read_text())
            yield folder
        finally:
            remove_tree(folder)


@contextlib.contextmanager
def _send_request(private: Path) -> Iterator[str]:
    """Lock the file of requests, and write a new id into it."""
    try:
        descriptor = os.open(private / "backup", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StorageError(_NO_ANSWER.format(str(private.parent))) from None
    try:
        deadline = time.monotonic() + _SERVER_CHECK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # also for an instant while the server checks
                if time.monotonic() >= deadline:
                    raise StorageError("Another backup of this album is running. Wait until it ends.") from None
                time.sleep(_POLL_SECONDS)
        request = make_id()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, request.encode(), 0)
        yield request
    finally:
        os.close(descriptor)


def _wait_for_copy(root: Path, folder: Path, progress: Progress) -> None:
    """Wait until the server has renamed its copy to `folder`."""
    unfinished = folder.with_suffix(".unfinished")
    report = _make_reporter(unfinished, progress)
    last_sign = last_check = time.monotonic()
    while not folder.exists():
        now = time.monotonic()
        report()
        if unfinished.exists():
            last_sign = now
        elif now >= last_sign + _ANSWER_TIMEOUT_SECONDS:
            raise StorageError(_NO_ANSWER.format(str(root)))
        if now >= last_check + _SERVER_CHECK_SECONDS:
            last_check = now
            if not _is_in_use(root):
                raise StorageError("The server stopped before its copy was complete. Run the command again.")
        time.sleep(_POLL_SECONDS)


def _is_in_use(root: Path) -> bool:
    try:
        Lock(root, root / ".dog" / "lock").release()
    except AlbumInUse:
        return True
    return False


def _estimate_size(private: Path) -> int:
    """Return the size of the copies, or a little more."""
    return sum(path.stat().st_size for name in (FACTS_FILE, INDEX_FILE) for path in private.glob(f"{name}*"))


def _folder_size(folder: Path) -> int:
    size = 0
    with contextlib.suppress(FileNotFoundError):  # it does not exist yet, or was just renamed
        size = sum(entry.stat().st_size for entry in os.scandir(folder))
    return size


def _make_reporter(folder: Path, progress: Progress) -> Callable[[], None]:
    """Return a function that reports how much the folder grew."""
    reported = 0

    def report() -> None:
        nonlocal reported
        size = _folder_size(folder)
        if size > reported:
            progress.advance(size - reported)
            reported = size

    return report


def _check_copy(path: Path) -> None:
    """Raise StorageError if a copy is damaged, as its database then is."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            check_integrity(database)
    except sqlite3.Error as error:
        if is_environment_error(error):
            raise
        raise StorageError(
            f"The album's file {path.name} is damaged: {describe(error)}. Stop the server, repair the file with"
            " `dog album rebuild`, then run the command again."
        ) from error


# ---- the tar


def add_accounts(accounts: Path, folder: Path) -> None:
    """Add the accounts to the copy, if there are any. Raises StorageError.

    The server and commands share this file, so that it is copied without the server.
    """
    if accounts.is_file() and not accounts.is_symlink():
        try:
            with contextlib.closing(sqlite3.connect(f"{accounts.absolute().as_uri()}?mode=rw", uri=True)) as database:
                copy_database(database, "main", folder / accounts.name, lambda: None)
        except sqlite3.Error as error:
            raise StorageError(f"The accounts in {str(accounts)!r} can't be copied: {describe(error)}.") from error


def write_tar(folder: Path, private: Path, sink: IO[bytes], progress: Progress) -> int:
    """Write the databases of a copy, for `tar -x` in the folder of snapshots.

    They get the owner of the private folder. Return their size. Raises OSError.
    """
    status = private.stat()
    paths = sorted(folder.iterdir())
    size = _folder_size(folder)
    progress.begin(2 * size)
    _write_member(sink, ".dog", status, None, progress)
    for path in paths:
        # What another database left there must not be applied to this one.
        for end in "-wal", "-journal":
            _write_member(sink, f".dog/{path.name}{end}", status, io.BytesIO(), progress)
    for path in paths:
        with path.open("rb") as file:
            _write_member(sink, f".dog/{path.name}", status, file, progress)
    sink.write(bytes(2 * tarfile.BLOCKSIZE))
    return size


def _write_member(
    sink: IO[bytes], name: str, owner: os.stat_result, file: IO[bytes] | None, progress: Progress
) -> None:
    """Write a file, or without one, a folder."""
    member = tarfile.TarInfo(name)
    member.mtime = int(time.time())
    member.uid, member.gid = owner.st_uid, owner.st_gid
    with contextlib.suppress(KeyError):  # a number without a name
        member.uname = pwd.getpwuid(owner.st_uid).pw_name
        member.gname = grp.getgrgid(owner.st_gid).gr_name
    if file is None:
        member.type, member.mode = tarfile.DIRTYPE, _FOLDER_MODE
    else:
        member.mode, member.size = _FILE_MODE, file.seek(0, os.SEEK_END)
        file.seek(0)
    sink.write(member.tobuf(tarfile.PAX_FORMAT))
    if file is not None:
        while data := file.read(_COPIED_BYTES):
            sink.write(data)
            progress.advance(len(data))
        sink.write(bytes(-member.size % tarfile.BLOCKSIZE))
