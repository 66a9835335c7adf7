"""The accounts' file: made and opened so that its owner alone may read it, changed in whole steps, and followed.

The commands and the server have it open at once. It has a rollback journal, to which SQLite gives the file's own mode,
and no shared memory; what is removed is overwritten. A file that is not whole, or not ours, is refused, never replaced.
"""

import contextlib
import logging
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from dog.auth.accounts_data import SCHEMA, AccountsData, Damaged, read_known
from dog.auth.name_and_password_rules import AccessError
from dog.errors import StartError
from dog.files import make_private_folder, sync_folder

__all__ = ["AccountsFile", "NoAccounts", "find_place"]

_APPLICATION = 0x444F4741
"""'DOGA', in the file's header."""
_VERSION = 1
_BUSY = 5.0
"""Seconds that one change waits for another's, which takes milliseconds."""
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
"""The last is said of a statement that does not fit the tables; ours fit ours."""

log = logging.getLogger(__name__)


def find_place(snapshots: Path) -> Path:
    """Where the accounts of a folder of snapshots are."""
    return snapshots / ".dog" / "access.sqlite3"


class NoAccounts(AccessError):
    """There is no file of accounts yet."""


class AccountsFile:
    """The open file; where there is none, one is made, unless `make` is false: then NoAccounts is raised.

    Methods raise StartError where it can't be read or written, in one line that says what to do.
    """

    def __init__(self, path: Path, *, make: bool = True) -> None:
        self.path = path.absolute()
        self._openings = 0
        self._open(make)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def _open(self, make: bool) -> None:
        with self._explaining():
            identity = self._find_file(make)
            # Not made here: it would be readable by others.
            place = f"{self.path.as_uri()}?mode=rw"
            database = sqlite3.connect(place, uri=True, isolation_level=None, timeout=_BUSY)
            try:
                _prepare(database)
            except BaseException:
                database.close()
                raise
        self._database = database
        self._identity = identity
        self._openings += 1

    def _find_file(self, make: bool) -> tuple[int, int]:
        if make and not os.path.lexists(self.path):
            self._make_folder()
            with contextlib.suppress(FileExistsError):  # another process was quicker
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            sync_folder(self.path.parent)
        try:
            there = os.lstat(self.path)
        except FileNotFoundError:
            raise NoAccounts(
                f"There are no accounts in {str(self.path.parent.parent)!r}; `dog user add` makes the first one."
            ) from None
        if not stat.S_ISREG(there.st_mode):
            raise StartError(f"{str(self.path)!r} must be a file, and is none; remove it.")
        if stat.S_IMODE(there.st_mode) & 0o077:
            os.chmod(self.path, 0o600)
            log.warning("%s could be read by others; now it can't.", self.path)
        return there.st_dev, there.st_ino

    def _make_folder(self) -> None:
        """As the archive does."""
        private = self.path.parent
        missing = [folder for folder in (private.parent, *private.parent.parents) if not folder.exists()]
        private.parent.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)
        if private.is_symlink():
            raise StartError(f"{str(private)!r} is a symbolic link, and must be a folder; remove it.")
        make_private_folder(private)
        sync_folder(private.parent)

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        """What the disk or SQLite says, as a StartError."""
        try:
            yield
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
        except sqlite3.ProgrammingError:
            raise  # whoever uses it is wrong, not the file
        except (sqlite3.Error, UnicodeDecodeError) as error:
            reason = _describe(error)
            if _is_damaged(error):
                raise StartError(
                    f"The accounts in {str(self.path)!r} are damaged ({reason}), and nobody is let in by them. Put the"
                    " file back from a backup, or remove it and add the users again with `dog user add`."
                ) from None
        else:
            return
        raise StartError(
            f"The accounts in {str(self.path)!r} can't be used: {reason}."
            " Make room, give whoever runs this the right to read and write there, or try again."
        ) from None

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """All of it or, when it fails, none; and on the disk when it returns."""
        with self._explaining():
            self._follow()
            database = self._database
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # SQLite may have rolled back by itself
                    database.execute("ROLLBACK")
                raise

    def _follow(self) -> None:
        """Another file may have been put in the place of the one that is open."""
        there = os.lstat(self.path)
        if (there.st_dev, there.st_ino) != self._identity:
            before = self._database
            self._open(make=False)
            before.close()

    def version(self) -> tuple[int, int]:
        """Another than before where another connection has changed the file, or somebody has replaced it."""
        with self._explaining():
            self._follow()
            (version,) = self._database.execute("PRAGMA data_version").fetchone()
            return self._openings, version

    def read(self) -> AccountsData:
        """All that is in the file, as it is at one moment."""
        with self._explaining():
            self._follow()
            self._database.execute("BEGIN")
            try:
                return read_known(self._database)
            finally:
                self._database.execute("ROLLBACK")


def _prepare(database: sqlite3.Connection) -> None:
    for pragma in ("foreign_keys = ON", "secure_delete = ON", "synchronous = EXTRA", "trusted_schema = OFF"):
        database.execute(f"PRAGMA {pragma}")
    if _ask(database, "PRAGMA page_count") == 0:
        database.execute("BEGIN IMMEDIATE")
        try:
            if _ask(database, "SELECT count(*) FROM sqlite_master") == 0:  # another process may have been quicker
                for statement in SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {_APPLICATION}")
                database.execute(f"PRAGMA user_version = {_VERSION}")
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
    version = _ask(database, "PRAGMA application_id"), _ask(database, "PRAGMA user_version")
    if version != (_APPLICATION, _VERSION):
        raise Damaged("it is none of this version's")
    verdict = _ask(database, "PRAGMA integrity_check(1)")
    if verdict != "ok":
        raise Damaged(" ".join(str(verdict).split()))
    read_known(database)


def _is_damaged(error: sqlite3.Error | UnicodeDecodeError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGED  # without a code it is ours or Python's, of what was read


def _describe(error: sqlite3.Error | UnicodeDecodeError) -> str:
    """In one line. Of what is no text Python shows all of it, and it may be a password's hash."""
    if hasattr(error, "sqlite_errorcode") or isinstance(error, Damaged):
        return " ".join(str(error).split())
    return "a text in it is not UTF-8"


def _ask(database: sqlite3.Connection, question: str) -> object:
    row = database.execute(question).fetchone()
    return None if row is None else row[0]
