"""Users, tokens and sessions in one SQLite file with mode 0600.

    <snapshots>/.dog/access.sqlite3    unlike the index next to it, it can't be rebuilt

Passwords are stored as Argon2 hashes, tokens and sessions as SHA-256 digests. Commands and the server have the file
open at the same time. It is changed in transactions, and opened again if it was replaced. It uses a rollback journal,
not WAL: the journal gets the mode of the file, and no shared-memory file is needed. Deleted data is overwritten. A
damaged or foreign file is refused, never replaced. All methods block. Use an Accounts object only in the thread that
opened it.
"""

import contextlib
import datetime as dt
import math
import os
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from dog.auth.name_and_password_rules import AccountsError, check_name, check_password, fold_name
from dog.auth.password_verifier import Hasher
from dog.auth.roles import ROLES, Role
from dog.auth.secrets import TOKEN_PREFIX, make_secret, secret_digest
from dog.clock import from_milliseconds as to_time
from dog.clock import to_milliseconds
from dog.clock import utc_now as now
from dog.database import describe, read_identity, read_value, transaction
from dog.errors import StartError, short_reason
from dog.files import make_private_folder, restrict_to_owner, sync_folder

__all__ = ["SCHEMA", "Accounts", "AccountsData", "NoAccounts", "Session", "Token", "User", "accounts_path"]

_APPLICATION_ID = 0x444F4741
"""'DOGA' in the file's header."""
_SCHEMA_VERSION = 1
_BUSY_TIMEOUT_SECONDS = 5.0
"""Maximum wait for another transaction, which takes milliseconds."""
_DAMAGED_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
"""SQLITE_ERROR: a statement does not match the tables, so they are not ours."""

OWNER_NAME = "owner"
"""Name of the user that the setup link creates."""
MAX_SESSIONS_PER_USER = 50
"""A login beyond it removes the user's oldest session, so that endless logins can't fill the disk."""
_ROLE = f"TEXT NOT NULL CHECK (role IN {ROLES})"
_HASH = "BLOB {} CHECK (typeof(hash) = 'blob' AND length(hash) = 32)"
SCHEMA = f"""
CREATE TABLE users (
    key TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    role {_ROLE},
    password TEXT,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE tokens (
    key TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    role {_ROLE},
    hash {_HASH.format("NOT NULL UNIQUE")},
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) WITHOUT ROWID;
CREATE TABLE sessions (
    hash {_HASH.format("PRIMARY KEY NOT NULL")},
    user TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_of ON sessions (user);
"""


class DamagedDatabase(sqlite3.DatabaseError):
    """A database of another program, or a damaged one of ours."""


@dataclass(frozen=True, slots=True)
class User:
    """A user. `key` is the folded name, `password` a hash or None."""

    key: str
    name: str
    role: Role
    password: str | None = field(repr=False)
    created_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Token:
    """A script's token. `key` is the folded name, `hash` the digest."""

    key: str
    name: str
    role: Role
    hash: bytes = field(repr=False)
    created_at: dt.datetime
    expires_at: dt.datetime | None

    def is_expired(self, moment: dt.datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= moment


@dataclass(frozen=True, slots=True)
class Session:
    """A login. `user` is the user's key, `hash` the digest of the secret."""

    hash: bytes = field(repr=False)
    user: str
    created_at: dt.datetime
    expires_at: dt.datetime


@dataclass(frozen=True)
class AccountsData:
    """All accounts at one time: users by key, tokens and sessions by digest."""

    users: dict[str, User]
    tokens: dict[bytes, Token]
    sessions: dict[bytes, Session]

    def has_manager(self, moment: dt.datetime) -> bool:
        """Return True if a user with a password, or a token, has the role manage."""
        return any(each.role == "manage" and each.password is not None for each in self.users.values()) or any(
            each.role == "manage" and not each.is_expired(moment) for each in self.tokens.values()
        )

    def without_expired(self, moment: dt.datetime) -> "AccountsData":
        """Return the data without expired sessions and tokens."""
        return AccountsData(
            self.users,
            {key: token for key, token in self.tokens.items() if not token.is_expired(moment)},
            {key: session for key, session in self.sessions.items() if session.expires_at > moment},
        )

    def next_expiry(self) -> float:
        """Return the time of the next expiry in seconds since 1970, or infinity."""
        expiries = [session.expires_at for session in self.sessions.values()]
        expiries += [token.expires_at for token in self.tokens.values() if token.expires_at is not None]
        return min(expiries).timestamp() if expiries else math.inf


def load_accounts(database: sqlite3.Connection) -> AccountsData:
    """Read all accounts, or raise sqlite3.Error."""
    users = database.execute("SELECT key, name, role, password, created_at FROM users")
    tokens = database.execute("SELECT key, name, role, hash, created_at, expires_at FROM tokens")
    sessions = database.execute("SELECT hash, user, created_at, expires_at FROM sessions")
    try:
        return AccountsData(
            {key: User(key, name, role, password, to_time(made)) for key, name, role, password, made in users},
            {
                hash: Token(key, name, role, hash, to_time(made), None if ends is None else to_time(ends))
                for key, name, role, hash, made, ends in tokens
            },
            {hash: Session(hash, user, to_time(made), to_time(ends)) for hash, user, made, ends in sessions},
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise DamagedDatabase(str(error)) from error


def accounts_path(snapshots: Path) -> Path:
    """Return the path of the accounts file in a folder of snapshots."""
    return snapshots / ".dog" / "access.sqlite3"


class NoAccounts(AccountsError):
    """The accounts file does not exist yet."""


class Accounts:
    """The accounts in their open file, read and changed.

    If the file is missing, create it, or without `create` raise NoAccounts. Names are compared without case; times are
    stored in milliseconds. Methods raise AccountsError with one line for a person's mistake, and StartError if the file
    can't be used.
    """

    def __init__(self, path: Path, *, create: bool = True, hasher: Hasher | None = None) -> None:
        self.path = path.absolute()
        self._hasher = hasher or Hasher()
        self._open_count = 0
        self._open(create)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
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
        restrict_to_owner(self.path, 0o600)
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
            cause: Exception = error
            reason = short_reason(error)
        except sqlite3.ProgrammingError:
            raise  # a mistake of the caller, not of the file
        except (sqlite3.Error, UnicodeDecodeError) as error:
            cause, reason = error, _describe(error)
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
        ) from cause

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one durable transaction. Roll it back if it raises."""
        with self._translate_errors():
            self._reopen_if_replaced()
            with transaction(self._database):
                yield self._database

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

    def users(self) -> list[User]:
        """Return the users by name."""
        return sorted(self.read().users.values(), key=lambda user: user.key)

    def tokens(self) -> list[Token]:
        """Return the tokens by name."""
        return sorted(self.read().tokens.values(), key=lambda token: token.key)

    def sessions(self) -> list[Session]:
        """Return the sessions, oldest first, including expired ones."""
        return sorted(self.read().sessions.values(), key=lambda session: session.created_at)

    def find_user(self, name: str) -> User:
        user = self.read().users.get(_name_key(name))
        if user is None:
            raise _not_found("user", name)
        return user

    def has_manager(self) -> bool:
        return self.read().has_manager(now())

    def check_new_user(self, name: str) -> None:
        """Raise AccountsError if the name is invalid or exists already."""
        _, key = check_name(name)
        if key in self.read().users:
            raise _user_exists(name)

    def add_user(self, name: str, role: Role, password: str | None) -> None:
        """Add a user. Without a password, the user can't log in."""
        name, key = check_name(name)
        hashed = None if password is None else self._hasher.hash(check_password(password, name))
        with self._transaction() as database:
            if _exists(database, "users", key):
                raise _user_exists(name)
            _insert_user(database, key, name, role, hashed)

    def set_password(self, name: str, password: str) -> None:
        """Set a new password and remove all sessions of the user."""
        hashed = self._hasher.hash(check_password(password, name))
        with self._transaction() as database:
            key = _name_key(name)
            if not database.execute("UPDATE users SET password = ? WHERE key = ?", (hashed, key)).rowcount:
                raise _not_found("user", name)
            database.execute("DELETE FROM sessions WHERE user = ?", (key,))

    def set_role(self, name: str, role: Role) -> None:
        self._set_role("user", name, role)

    def remove_user(self, name: str) -> None:
        """Remove a user and their sessions."""
        self._remove("user", name)

    def add_token(self, name: str, role: Role, expires_at: dt.datetime | None) -> str:
        """Add a token and return its secret, of which only the digest is stored."""
        name, key = check_name(name)
        secret = make_secret(TOKEN_PREFIX)
        ends = None if expires_at is None else to_milliseconds(expires_at)
        with self._transaction() as database:
            if _exists(database, "tokens", key):
                raise AccountsError(f"The token {name!r} exists already. Remove it first, or use another name.")
            row = (key, name, role, secret_digest(secret, TOKEN_PREFIX), to_milliseconds(now()), ends)
            database.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)", row)
        return secret

    def set_token_role(self, name: str, role: Role) -> None:
        self._set_role("token", name, role)

    def remove_token(self, name: str) -> None:
        self._remove("token", name)

    def _set_role(self, kind: str, name: str, role: Role) -> None:
        with self._transaction() as database:
            changed = database.execute(f"UPDATE {kind}s SET role = ? WHERE key = ?", (role, _name_key(name)))
            if not changed.rowcount:
                raise _not_found(kind, name)

    def _remove(self, kind: str, name: str) -> None:
        with self._transaction() as database:
            if not database.execute(f"DELETE FROM {kind}s WHERE key = ?", (_name_key(name),)).rowcount:
                raise _not_found(kind, name)

    def add_session(self, name: str, expires_at: dt.datetime) -> str:
        """Add a session and return its secret."""
        with self._transaction() as database:
            if not _exists(database, "users", _name_key(name)):
                raise _not_found("user", name)
            return _insert_session(database, _name_key(name), expires_at)

    def log_in(self, user: User, renewed: str | None, expires_at: dt.datetime) -> str | None:
        """Add a session after the password was verified.

        Return None if the password has changed since. `renewed` replaces its hash: a newer one of the same password.
        """
        with self._transaction() as database:
            condition = "key = ? AND password = ?", (user.key, user.password)
            if database.execute(f"SELECT 1 FROM users WHERE {condition[0]}", condition[1]).fetchone() is None:
                return None
            if renewed is not None:
                database.execute(f"UPDATE users SET password = ? WHERE {condition[0]}", (renewed, *condition[1]))
            return _insert_session(database, user.key, expires_at)

    def create_owner_session(self, expires_at: dt.datetime) -> str | None:
        """Add a session of a user with the role manage.

        Return None if a user can already log in with that role. The user of an earlier setup link is used again. Any
        other user with that name is left unchanged.
        """
        with self._transaction() as database:
            data = load_accounts(database)
            if data.has_manager(now()):
                return None
            names = (OWNER_NAME, *(f"{OWNER_NAME}-{number}" for number in range(2, len(data.users) + 3)))
            key = next(name for name in names if name not in data.users or data.users[name].role == "manage")
            if key not in data.users:
                _insert_user(database, key, key, "manage", None)
            return _insert_session(database, key, expires_at)

    def remove_session(self, secret: str) -> None:
        """Remove the session of a secret, if there is one."""
        if (hashed := secret_digest(secret)) is not None:
            with self._transaction() as database:
                database.execute("DELETE FROM sessions WHERE hash = ?", (hashed,))

    def remove_sessions(self, name: str) -> int:
        """Remove all sessions of a user and return their number."""
        with self._transaction() as database:
            if not _exists(database, "users", _name_key(name)):
                raise _not_found("user", name)
            return database.execute("DELETE FROM sessions WHERE user = ?", (_name_key(name),)).rowcount

    def remove_expired_sessions(self, moment: dt.datetime) -> None:
        """Remove the sessions that have expired at that time."""
        with self._transaction() as database:
            database.execute("DELETE FROM sessions WHERE expires_at <= ?", (to_milliseconds(moment),))


def _prepare_database(database: sqlite3.Connection) -> None:
    for pragma in ("foreign_keys = ON", "secure_delete = ON", "synchronous = EXTRA", "trusted_schema = OFF"):
        database.execute(f"PRAGMA {pragma}")
    if read_value(database, "PRAGMA page_count") == 0:
        with transaction(database):
            if read_value(database, "SELECT count(*) FROM sqlite_master") == 0:  # not made by another process
                for statement in SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    if read_identity(database) != (_APPLICATION_ID, _SCHEMA_VERSION):
        raise DamagedDatabase("another program or another version made it")
    verdict = read_value(database, "PRAGMA integrity_check(1)")
    if verdict != "ok":
        raise DamagedDatabase(" ".join(str(verdict).split()))
    load_accounts(database)


def _is_damaged(error: sqlite3.Error | UnicodeDecodeError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGED_CODES  # without a code, the stored data is invalid


def _describe(error: sqlite3.Error | UnicodeDecodeError) -> str:
    """Return the reason in one line, without data from the file."""
    if isinstance(error, sqlite3.Error) and (hasattr(error, "sqlite_errorcode") or isinstance(error, DamagedDatabase)):
        return describe(error)
    return "a text in it is not UTF-8"  # str(error) has its bytes, perhaps a password's hash


def _exists(database: sqlite3.Connection, table: str, key: str) -> bool:
    return database.execute(f"SELECT 1 FROM {table} WHERE key = ?", (key,)).fetchone() is not None


def _insert_user(database: sqlite3.Connection, key: str, name: str, role: Role, password: str | None) -> None:
    # A person who edited the file by hand may have left sessions of an earlier user with this name.
    database.execute("DELETE FROM sessions WHERE user = ?", (key,))
    row = (key, name, role, password, to_milliseconds(now()))
    database.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?)", row)


def _insert_session(database: sqlite3.Connection, user: str, expires_at: dt.datetime) -> str:
    oldest = "SELECT hash FROM sessions WHERE user = ? ORDER BY created_at DESC LIMIT -1 OFFSET ?"
    database.execute(f"DELETE FROM sessions WHERE hash IN ({oldest})", (user, MAX_SESSIONS_PER_USER - 1))
    secret = make_secret()
    row = (secret_digest(secret), user, to_milliseconds(now()), to_milliseconds(expires_at))
    database.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", row)
    return secret


def _name_key(name: str) -> str:
    """Return the key of a user's or a token's name; empty if it is invalid."""
    return fold_name(name) or ""


def _user_exists(name: str) -> AccountsError:
    return AccountsError(f"The user {name!r} exists already. Change it with `dog user role` or `dog user password`.")


def _not_found(kind: str, name: str) -> AccountsError:
    return AccountsError(f"The {kind} {name[:80]!r} does not exist. `dog {kind} list` shows all.")
