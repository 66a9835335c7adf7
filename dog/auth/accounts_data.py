"""The data of users, tokens and sessions, and their tables in SQLite."""

import datetime as dt
import math
import sqlite3
from dataclasses import dataclass, field

from dog.auth.roles import ROLES, Role
from dog.clock import from_milliseconds as to_time

__all__ = ["SCHEMA", "AccountsData", "DamagedDatabase", "Session", "Token", "User", "load_accounts"]

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
