"""Users and tokens of a server, which may be running."""

from pathlib import Path

from dog.auth import Accounts, Role, accounts_path

__all__ = ["PASSWORD", "add_token", "add_user", "bearer"]

PASSWORD = "correct horse battery"


def add_user(folder: Path, name: str, role: Role, password: str | None = PASSWORD) -> None:
    """Add a user to the accounts of the server in this folder."""
    with Accounts(accounts_path(folder / "snapshots")) as accounts:
        accounts.add_user(name, role, password)


def add_token(folder: Path, name: str, role: Role) -> str:
    """Add a token, and return it."""
    with Accounts(accounts_path(folder / "snapshots")) as accounts:
        return accounts.add_token(name, role, None)


def bearer(token: str) -> dict[str, str]:
    """Return the header that sends a token."""
    return {"Authorization": f"Bearer {token}"}
