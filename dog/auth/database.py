"""The SQLite file of the accounts, readable only by its owner.

It is changed in transactions, and opened again if it was replaced. Commands and the server have it open at the same
time. It uses a rollback journal, to which SQLite gives the file's own mode, and no shared memory. Deleted data is
overwritten. A damaged or foreign file is refused, never replaced.
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

from dog.auth.accounts_data import SCHEMA, AccountsData, DamagedDatabase, load_accounts
from dog.auth.name_and_password_rules import AccountsError
from dog.errors import StartError, short_reason
from dog.files import make_private_folder, sync_folder

__all__ = ["AccountsFile", "NoAccounts", "accounts_path"]

_APPLICATION_ID = 0x444F4741
"""'DOGA' in the file's header."""
_SCHEMA_VERSION = 1
_BUSY_TIMEOUT_SECONDS = 5.0
"""Maximum wait for another transaction, which takes milliseconds."""
_DAMAGED_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
"""SQLITE_ERROR: a statement does not match the tables, so they are not ours."""

log = logging.getLogger(__name__)


def accounts_path(snapshots: Path) -> Path:
    """Return the path of the accounts file in a folder of snapshots."""
    return snapshots / ".dog" / "access.sqlite3"


class NoAccounts(AccountsError):
    """The accounts file does not exist yet."""


class AccountsFile:
    """The open accounts file.

    If missing, create it, or without `create` raise NoAccounts. Methods raise StartError (one line) if it is unusable.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path.absolute()
        self._open_count = 0
        self._open(create)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def _open(self, create: bool) -> None:
        with self._translate_errors():
            identity = self._check_file(create)
            # mode=rw: SQLite must not create the file, which others could read.
            uri = f"{self.path.as_uri()}?mode=rw"
            database = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT_SECONDS)
            try:
                _prepare_database(database)
            except BaseException:
                database.close()
                raise
        self._database = database
        self._identity = identity
        self._open_count += 1

    def _check_file(self, create: bool) -> tuple[int, int]:
        if create and not os.path.lexists(self.path):
            self._create_folder()
            with contextlib.suppress(FileExistsError):  # another process has created it
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            sync_folder(self.path.parent)
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            raise NoAccounts(
                f"There are no accounts in {str(self.path.parent.parent)!r}. Add the first user with `dog user add`."
            ) from None
        if not stat.S_ISREG(status.st_mode):
            raise StartError(f"{str(self.path)!r} is not a file. Remove it.")
        if stat.S_IMODE(status.st_mode) & 0o077:
            os.chmod(self.path, 0o600)
            log.warning("Other users could read %s. Its permissions are now 0600.", self.path)
        return status.st_dev, status.st_ino

    def _create_folder(self) -> None:
        """Create the private folder as the snapshot store does."""
        private = self.path.parent
        missing = [folder for folder in (private.parent, *private.parent.parents) if not folder.exists()]
        private.parent.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)
        if private.is_symlink():
            raise StartError(f"{str(private)!r} is a symbolic link, not a folder. Remove it.")
        make_private_folder(private)
        sync_folder(private.parent)

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise errors of the disk and of SQLite as StartError."""
        try:
            yield
        except OSError as error:
            reason = short_reason(error)
        except sqlite3.ProgrammingError:
            raise  # a mistake of the caller, not of the file
        except (sqlite3.Error, UnicodeDecodeError) as error:
            reason = _describe(error)
            if _is_damaged(error):
                raise StartError(
                    f"The accounts in {str(self.path)!r} are damaged ({reason}), so nobody can log in. Restore the file"
                    " from a backup, or remove it and add the users again with `dog user add`."
                ) from None
        else:
            return
        raise StartError(
            f"The accounts in {str(self.path)!r} can't be used: {reason}."
            " Make room, allow this user to read and write there, or try again."
        ) from None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one durable transaction. Roll it back if it raises."""
        with self._translate_errors():
            self._reopen_if_replaced()
            database = self._database
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # SQLite may have rolled back by itself
                    database.execute("ROLLBACK")
                raise

    def _reopen_if_replaced(self) -> None:
        """Open the file again if another one has replaced it."""
        status = os.lstat(self.path)
        if (status.st_dev, status.st_ino) != self._identity:
            replaced = self._database
            self._open(create=False)
            replaced.close()

    def version(self) -> tuple[int, int]:
        """Return a value that changes if another process changes the file."""
        with self._translate_errors():
            self._reopen_if_replaced()
            (version,) = self._database.execute("PRAGMA data_version").fetchone()
            return self._open_count, version

    def read(self) -> AccountsData:
        """Read all accounts in one transaction."""
        with self._translate_errors():
            self._reopen_if_replaced()
            self._database.execute("BEGIN")
            try:
                return load_accounts(self._database)
            finally:
                self._database.execute("ROLLBACK")


def _prepare_database(database: sqlite3.Connection) -> None:
    for pragma in ("foreign_keys = ON", "secure_delete = ON", "synchronous = EXTRA", "trusted_schema = OFF"):
        database.execute(f"PRAGMA {pragma}")
    if _fetch_value(database, "PRAGMA page_count") == 0:
        database.execute("BEGIN IMMEDIATE")
        try:
            if _fetch_value(database, "SELECT count(*) FROM sqlite_master") == 0:  # not made by another process
                for statement in SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
    version = _fetch_value(database, "PRAGMA application_id"), _fetch_value(database, "PRAGMA user_version")
    if version != (_APPLICATION_ID, _SCHEMA_VERSION):
        raise DamagedDatabase("another program or another version made it")
    verdict = _fetch_value(database, "PRAGMA integrity_check(1)")
    if verdict != "ok":
        raise DamagedDatabase(" ".join(str(verdict).split()))
    load_accounts(database)


def _is_damaged(error: sqlite3.Error | UnicodeDecodeError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGED_CODES  # without a code, the stored data is invalid


def _describe(error: sqlite3.Error | UnicodeDecodeError) -> str:
    """Return the reason in one line, without data from the file."""
    if hasattr(error, "sqlite_errorcode") or isinstance(error, DamagedDatabase):
        return " ".join(str(error).split())
    return "a text in it is not UTF-8"  # str(error) has its bytes, perhaps a password's hash


def _fetch_value(database: sqlite3.Connection, query: str) -> object:
    row = database.execute(query).fetchone()
    return None if row is None else row[0]
