"""Users, tokens and sessions in one SQLite file.

    <snapshots>/.dog/access.sqlite3    unlike the index next to it, it can't be rebuilt

Passwords are stored as Argon2 hashes, tokens and sessions as SHA-256 digests. All methods block. Use an Accounts object
only in the thread that opened it.
"""

import datetime as dt
import sqlite3
from pathlib import Path

from dog.auth.accounts_data import AccountsData, Session, Token, User, load_accounts
from dog.auth.database import AccountsFile, NoAccounts, accounts_path
from dog.auth.name_and_password_rules import AccountsError, check_name, check_password, fold_name
from dog.auth.password_verifier import Hasher
from dog.auth.roles import Role
from dog.auth.secrets import TOKEN_PREFIX, make_secret, secret_digest
from dog.clock import to_milliseconds
from dog.clock import utc_now as now

__all__ = ["Accounts", "AccountsData", "NoAccounts", "Session", "Token", "User", "accounts_path"]

OWNER_NAME = "owner"
"""Name of the user that the setup link creates."""
MAX_SESSIONS_PER_USER = 50
"""A login beyond it removes the user's oldest session, so that endless logins can't fill the disk."""


class Accounts(AccountsFile):
    """The accounts, read and changed.

    Names are compared without case; times are stored in milliseconds. Methods raise AccountsError with one line for a
    person's mistake, and StartError if the file can't be used.
    """

    def __init__(self, path: Path, *, create: bool = True, hasher: Hasher | None = None) -> None:
        super().__init__(path, create=create)
        self._hasher = hasher or Hasher()

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
