"""Open the accounts file for `dog user` and `dog token`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from dog.cli.options import find_folder
from dog.logs import escape
from dog.protocol import Role

if TYPE_CHECKING:
    from dog.auth import Accounts

__all__ = ["EXIT_STATUSES", "ROLE", "change_accounts", "print_note", "read_accounts", "role_option"]

EXIT_STATUSES = (
    "Exit status: 0 success; 1 {}; 2 the command line is wrong, or the accounts can't be used; 130 stopped by Ctrl-C."
)
ROLE = click.Choice(get_args(Role))
role_option = click.option(
    "--role", type=ROLE, required=True, help="view: see photos; capture: also take photos; manage: everything."
)


def _accounts_path(snapshots: str | None, config: str | None) -> Path:
    from dog.auth import accounts_path

    return accounts_path(find_folder(snapshots, config))


@contextlib.contextmanager
def change_accounts(snapshots: str | None, config: str | None, *, create: bool = False) -> "Iterator[Accounts]":
    """Open the accounts to change them.

    Print a note if they are the first in their folder, or if no user can manage the service after the change.
    """
    from dog.auth import Accounts

    path = _accounts_path(snapshots, config)
    is_first = not path.exists()
    with Accounts(path, create=create) as accounts:
        had_manager = accounts.has_manager()
        yield accounts
        if is_first:
            folder = str(path.parent.parent.absolute())
            print_note(
                f"These are the first accounts in {folder!r}. Only a service that stores its photos there uses them."
            )
        if had_manager and not accounts.has_manager():
            print_note(
                "No user with the role manage can log in any more. The service prints a setup link when it starts next."
            )


@contextlib.contextmanager
def read_accounts(snapshots: str | None, config: str | None) -> "Iterator[Accounts | None]":
    """Open the accounts to list them; yield None if they do not exist."""
    from dog.auth import Accounts, NoAccounts

    try:
        accounts = Accounts(_accounts_path(snapshots, config), create=False)
    except NoAccounts as error:
        print_note(str(error))
        yield None
        return
    with accounts:
        yield accounts


def print_note(line: str) -> None:
    """Print a line on standard error."""
    click.echo(f"dog: {escape(line)}", err=True)
