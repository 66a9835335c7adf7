"""What is known of users, tokens and sessions, and how it is read from the tables."""

import datetime as dt
import math
import sqlite3
from dataclasses import dataclass, field

from dog.auth.roles import ROLES, Role
from dog.clock import utc_now as now

__all__ = ["SCHEMA", "AccountsData", "Damaged", "Session", "Token", "User", "milliseconds", "now", "read_known"]

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


class Damaged(sqlite3.DatabaseError):
    """A whole database that is not ours, or one of ours that is not whole."""


@dataclass(frozen=True, slots=True)
class User:
    """`key` is the name as names are compared, and `password` the hash; who has none can't log in by it."""

    key: str
    name: str
    role: Role
    password: str | None = field(repr=False)
    created_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Token:
    key: str
    name: str
    role: Role
    hash: bytes = field(repr=False)
    created_at: dt.datetime
    expires_at: dt.datetime | None

    def has_ended(self, moment: dt.datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= moment


@dataclass(frozen=True, slots=True)
class Session:
    """`user` is the key of the user that it is of."""

    hash: bytes = field(repr=False)
    user: str
    created_at: dt.datetime
    expires_at: dt.datetime


@dataclass(frozen=True)
class AccountsData:
    """All of them at one moment: users by key, tokens and sessions by hash."""

    users: dict[str, User]
    tokens: dict[bytes, Token]
    sessions: dict[bytes, Session]

    def has_manager(self, moment: dt.datetime) -> bool:
        """Whether anybody who may manage can come in again: a session that is lost with its cookie doesn't count."""
        return any(each.role == "manage" and each.password is not None for each in self.users.values()) or any(
            each.role == "manage" and not each.has_ended(moment) for each in self.tokens.values()
        )

    def without_ended(self, moment: dt.datetime) -> "AccountsData":
        """Without the sessions and tokens whose time is over."""
        return AccountsData(
            self.users,
            {key: token for key, token in self.tokens.items() if not token.has_ended(moment)},
            {key: session for key, session in self.sessions.items() if session.expires_at > moment},
        )

    def find_next_end(self) -> float:
        """When the next session or token ends, in seconds since 1970."""
        ends = [session.expires_at for session in self.sessions.values()]
        ends += [token.expires_at for token in self.tokens.values() if token.expires_at is not None]
        return min(ends).timestamp() if ends else math.inf


def read_known(database: sqlite3.Connection) -> AccountsData:
    """All of them. Raises sqlite3.Error, which is Damaged where a row makes no sense."""
    users = database.execute("SELECT key, name, role, password, created_at FROM users")
    tokens = database.execute("SELECT key, name, role, hash, created_at, expires_at FROM tokens")
    sessions = database.execute("SELECT hash, user, created_at, expires_at FROM sessions")
    try:
        return AccountsData(
            {key: User(key, name, role, password, _moment(made)) for key, name, role, password, made in users},
            {
                hash: Token(key, name, role, hash, _moment(made), None if ends is None else _moment(ends))
                for key, name, role, hash, made, ends in tokens
            },
            {hash: Session(hash, user, _moment(made), _moment(ends)) for hash, user, made, ends in sessions},
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise Damaged(str(error)) from error


def milliseconds(moment: dt.datetime) -> int:
    """As times stand in the tables: since 1970."""
    return int(moment.timestamp() * 1000)


def _moment(milliseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
