"""Who is known here: users, tokens and sessions, in one SQLite file that its owner alone may read.

    <snapshots>/.dog/access.sqlite3    beside the index, which can be thrown away and made again; this can't

Passwords are kept as Argon2 hashes, tokens and sessions as SHA-256. Everything here blocks; whoever opens Accounts uses
it in the same thread.
"""

import datetime as dt
import sqlite3
from pathlib import Path

from dog.auth.accounts_data import AccountsData, Session, Token, User, milliseconds, now, read_known
from dog.auth.database import AccountsFile, NoAccounts, find_place
from dog.auth.name_and_password_rules import AccessError, check_name, check_password, fold_name
from dog.auth.passwords import Hasher
from dog.auth.roles import Role
from dog.auth.secrets import TOKEN, make_secret, secret_digest

__all__ = ["Accounts", "AccountsData", "NoAccounts", "Session", "Token", "User", "find_place"]

OWNER = "owner"
"""The user that the start's link makes."""
MOST_SESSIONS = 50
"""Of one user; the oldest goes. Nobody has so many browsers, and who logs in without end fills no disk."""


class Accounts(AccountsFile):
    """Names are compared without case. Methods raise AccessError for what a person got wrong, in one line, and
    StartError where the file can't be read or written. Times are aware, and kept in milliseconds.
    """

    def __init__(self, path: Path, *, make: bool = True, hasher: Hasher | None = None) -> None:
        super().__init__(path, make=make)
        self._hasher = hasher or Hasher()

    # ---- reading

    def users(self) -> list[User]:
        """By name."""
        return sorted(self.read().users.values(), key=lambda user: user.key)

    def tokens(self) -> list[Token]:
        return sorted(self.read().tokens.values(), key=lambda token: token.key)

    def sessions(self) -> list[Session]:
        """The oldest first; those that have ended may be among them."""
        return sorted(self.read().sessions.values(), key=lambda session: session.created_at)

    def find_user(self, name: str) -> User:
        user = self.read().users.get(_find_key(name))
        if user is None:
            raise _unknown("user", name)
        return user

    def has_manager(self) -> bool:
        return self.read().has_manager(now())

    # ---- users

    def check_new_user(self, name: str) -> None:
        """Raises AccessError where there can't be a new user of that name."""
        _, key = check_name(name)
        if key in self.read().users:
            raise _taken_user(name)

    def add_user(self, name: str, role: Role, password: str | None) -> None:
        """Without a password, nobody logs in by it."""
        name, key = check_name(name)
        hashed = None if password is None else self._hasher.hash(check_password(password, name))
        with self._changing() as database:
            if _exists(database, "users", key):
                raise _taken_user(name)
            _insert_user(database, key, name, role, hashed)

    def set_password(self, name: str, password: str) -> None:
        """A new one ends every session of the user."""
        hashed = self._hasher.hash(check_password(password, name))
        with self._changing() as database:
            key = _find_key(name)
            if not database.execute("UPDATE users SET password = ? WHERE key = ?", (hashed, key)).rowcount:
                raise _unknown("user", name)
            database.execute("DELETE FROM sessions WHERE user = ?", (key,))

    def set_role(self, name: str, role: Role) -> None:
        self._set_role("user", name, role)

    def remove_user(self, name: str) -> None:
        """And with it its sessions."""
        self._remove("user", name)

    # ---- tokens

    def add_token(self, name: str, role: Role, expires_at: dt.datetime | None) -> str:
        """The secret, which nobody can find out again."""
        name, key = check_name(name)
        secret = make_secret(TOKEN)
        ends = None if expires_at is None else milliseconds(expires_at)
        with self._changing() as database:
            if _exists(database, "tokens", key):
                raise AccessError(f"There is a token {name!r} already; remove it first, or take another name.")
            row = (key, name, role, secret_digest(secret, TOKEN), milliseconds(now()), ends)
            database.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)", row)
        return secret

    def set_token_role(self, name: str, role: Role) -> None:
        self._set_role("token", name, role)

    def remove_token(self, name: str) -> None:
        self._remove("token", name)

    def _set_role(self, kind: str, name: str, role: Role) -> None:
        with self._changing() as database:
            changed = database.execute(f"UPDATE {kind}s SET role = ? WHERE key = ?", (role, _find_key(name)))
            if not changed.rowcount:
                raise _unknown(kind, name)

    def _remove(self, kind: str, name: str) -> None:
        with self._changing() as database:
            if not database.execute(f"DELETE FROM {kind}s WHERE key = ?", (_find_key(name),)).rowcount:
                raise _unknown(kind, name)

    # ---- sessions

    def add_session(self, name: str, expires_at: dt.datetime) -> str:
        """The secret of a new one."""
        with self._changing() as database:
            if not _exists(database, "users", _find_key(name)):
                raise _unknown("user", name)
            return _insert_session(database, _find_key(name), expires_at)

    def log_in(self, user: User, renewed: str | None, expires_at: dt.datetime) -> str | None:
        """A session of a user whose password was just checked; None where it is not that password any more.

        `renewed` is a newer hash of the same password, which takes the place of the one that there is.
        """
        with self._changing() as database:
            condition = "key = ? AND password = ?", (user.key, user.password)
            if database.execute(f"SELECT 1 FROM users WHERE {condition[0]}", condition[1]).fetchone() is None:
                return None
            if renewed is not None:
                database.execute(f"UPDATE users SET password = ? WHERE {condition[0]}", (renewed, *condition[1]))
            return _insert_session(database, user.key, expires_at)

    def create_owner_session(self, expires_at: dt.datetime) -> str | None:
        """A session of a user who may manage and has no password; None where somebody can come in who may.

        One that an earlier link made has one session more; any other user of that name stays as it is.
        """
        with self._changing() as database:
            known = read_known(database)
            if known.has_manager(now()):
                return None
            names = (OWNER, *(f"{OWNER}-{number}" for number in range(2, len(known.users) + 3)))
            key = next(name for name in names if name not in known.users or known.users[name].role == "manage")
            if key not in known.users:
                _insert_user(database, key, key, "manage", None)
            return _insert_session(database, key, expires_at)

    def remove_session(self, secret: str) -> None:
        """Where there is none, nothing happens."""
        if (hashed := secret_digest(secret)) is not None:
            with self._changing() as database:
                database.execute("DELETE FROM sessions WHERE hash = ?", (hashed,))

    def remove_sessions(self, name: str) -> int:
        """All of a user's; how many there were."""
        with self._changing() as database:
            if not _exists(database, "users", _find_key(name)):
                raise _unknown("user", name)
            return database.execute("DELETE FROM sessions WHERE user = ?", (_find_key(name),)).rowcount

    def remove_ended(self, moment: dt.datetime) -> None:
        """Delete the sessions that have expired by that moment."""
        with self._changing() as database:
            database.execute("DELETE FROM sessions WHERE expires_at <= ?", (milliseconds(moment),))


def _exists(database: sqlite3.Connection, table: str, key: str) -> bool:
    return database.execute(f"SELECT 1 FROM {table} WHERE key = ?", (key,)).fetchone() is not None


def _insert_user(database: sqlite3.Connection, key: str, name: str, role: Role, password: str | None) -> None:
    # Whoever edits the file by hand may have left sessions of one that was called so.
    database.execute("DELETE FROM sessions WHERE user = ?", (key,))
    row = (key, name, role, password, milliseconds(now()))
    database.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?)", row)


def _insert_session(database: sqlite3.Connection, user: str, expires_at: dt.datetime) -> str:
    oldest = "SELECT hash FROM sessions WHERE user = ? ORDER BY created_at DESC LIMIT -1 OFFSET ?"
    database.execute(f"DELETE FROM sessions WHERE hash IN ({oldest})", (user, MOST_SESSIONS - 1))
    secret = make_secret()
    row = (secret_digest(secret), user, milliseconds(now()), milliseconds(expires_at))
    database.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", row)
    return secret


def _find_key(name: str) -> str:
    """By what a user or a token is found; nobody has the empty one."""
    return fold_name(name) or ""


def _taken_user(name: str) -> AccessError:
    return AccessError(f"There is a user {name!r} already; `dog user role` or `dog user password` changes it.")


def _unknown(kind: str, name: str) -> AccessError:
    return AccessError(f"There is no {kind} {name[:80]!r}; `dog {kind} list` shows them.")
