"""Users and tokens of a server, which may be running."""

import datetime as dt
import functools
from pathlib import Path

from dog.auth import Accounts, Role, accounts_path
from dog.auth.password_verifier import Hasher

__all__ = ["PASSWORD", "add_session", "add_token", "add_user", "bearer", "open_accounts"]

PASSWORD = "correct horse battery"


class KeepingHasher(Hasher):
    """A hasher that hashes each password once, which takes 0.2 s."""

    @functools.cache  # noqa: B019 - there is one hasher
    def hash(self, password: bytes) -> str:
        return super().hash(password)


HASHER = KeepingHasher()


def open_accounts(folder: Path) -> Accounts:
    """Open the accounts of the server in this folder, for a `with`."""
    return Accounts(accounts_path(folder / "snapshots"), hasher=HASHER)


def add_user(folder: Path, name: str, role: Role, password: str | None = PASSWORD) -> None:
    """Add a user to the accounts of the server in this folder."""
    with open_accounts(folder) as accounts:
        accounts.add_user(name, role, password)


def add_session(folder: Path, name: str) -> str:
    """Log a user in without a password. Return the cookie's value."""
    with open_accounts(folder) as accounts:
        return accounts.add_session(name, dt.datetime.now(dt.UTC) + dt.timedelta(days=1))


def add_token(folder: Path, name: str, role: Role) -> str:
    """Add a token, and return it."""
    with open_accounts(folder) as accounts:
        return accounts.add_token(name, role, None)


def bearer(token: str) -> dict[str, str]:
    """Return the header that sends a token."""
    return {"Authorization": f"Bearer {token}"}
