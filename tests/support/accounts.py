"""Users and tokens of a server, which may be running."""

import datetime as dt
from pathlib import Path

from dog.auth import Accounts, Role, accounts_path
from dog.auth.password_verifier import Hasher

__all__ = ["PASSWORD", "add_session", "add_token", "add_user", "bearer"]

PASSWORD = "correct horse battery"


class _RememberingHasher(Hasher):
    """Hashes each password once, because that takes a fifth of a second."""

    def __init__(self) -> None:
        super().__init__()
        self._hashes: dict[bytes, str] = {}

    def hash(self, password: bytes) -> str:
        if password not in self._hashes:
            self._hashes[password] = super().hash(password)
        return self._hashes[password]


_HASHER = _RememberingHasher()


def add_user(folder: Path, name: str, role: Role, password: str | None = PASSWORD) -> None:
    """Add a user to the accounts of the server in this folder."""
    with Accounts(accounts_path(folder / "snapshots"), hasher=_HASHER) as accounts:
        accounts.add_user(name, role, password)


def add_session(folder: Path, name: str) -> str:
    """Log a user in without a password. Return the cookie's value."""
    with Accounts(accounts_path(folder / "snapshots")) as accounts:
        return accounts.add_session(name, dt.datetime.now(dt.UTC) + dt.timedelta(days=1))


def add_token(folder: Path, name: str, role: Role) -> str:
    """Add a token, and return it."""
    with Accounts(accounts_path(folder / "snapshots")) as accounts:
        return accounts.add_token(name, role, None)


def bearer(token: str) -> dict[str, str]:
    """Return the header that sends a token."""
    return {"Authorization": f"Bearer {token}"}
