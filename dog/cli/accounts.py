"""Who may come in where `auth` is on: `dog user`, `dog token`. A server that runs knows it within a second."""

import contextlib
import datetime as dt
import getpass
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from dog.cli.options import find_folder, folder_options
from dog.cli.photos import show_time
from dog.cli.stdout import StdoutFailed
from dog.clock import utc_now
from dog.errors import StartError
from dog.logs import escape
from dog.protocol import Role, encode, timestamp

if TYPE_CHECKING:
    from dog.auth import Accounts

__all__ = ["token", "user"]

_STATUSES = (
    "Exit status: 0 success; 1 {}; 2 the command line is wrong, or the accounts can't be used; 130 stopped by Ctrl-C."
)
_UNKNOWN = _STATUSES.format("the name does not exist")
_UNKNOWN_OR_BAD = _STATUSES.format("the name does not exist, or the password is not allowed")
_TAKEN = _STATUSES.format("the name exists already or is not allowed")
_TAKEN_OR_BAD = _STATUSES.format("the name exists already or is not allowed, or the password is not allowed")
_LIST = _STATUSES.format("standard output can't be written")
_ROLE = click.Choice(get_args(Role))
_LONGEST_FILE = 65_536


class _Days(click.ParamType[dt.timedelta]):
    name = "days"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.timedelta:
        try:
            days = float(str(value))
        except ValueError:
            days = math.nan
        if not 0 < days <= 36500:  # nor is nan
            self.fail(f"{value!r} is not a number of days. Write a number above 0, at most 36500.", param, ctx)
        return dt.timedelta(days=days)


def _find_place(snapshots: str | None, config: str | None) -> Path:
    from dog.auth import find_place

    return find_place(find_folder(snapshots, config))


@contextlib.contextmanager
def _changing(snapshots: str | None, config: str | None, *, make: bool = False) -> "Iterator[Accounts]":
    """The accounts; where they are the first ones of a folder, or nobody may manage after that, a line says so."""
    from dog.auth import Accounts

    place = _find_place(snapshots, config)
    is_first = not place.exists()
    with Accounts(place, make=make) as accounts:
        before = accounts.has_manager()
        yield accounts
        if is_first:
            folder = str(place.parent.parent.absolute())
            _tell(f"These are the first accounts in {folder!r}. Only a service that stores its photos there uses them.")
        if before and not accounts.has_manager():
            _tell(
                "No user with the role manage can log in any more. The service prints a setup link when it starts next."
            )


@contextlib.contextmanager
def _reading(snapshots: str | None, config: str | None) -> "Iterator[Accounts | None]":
    """The accounts, if there are any."""
    from dog.auth import Accounts, NoAccounts

    try:
        accounts = Accounts(_find_place(snapshots, config), make=False)
    except NoAccounts as error:
        _tell(str(error))
        yield None
        return
    with accounts:
        yield accounts


def _tell(line: str) -> None:
    click.echo(f"dog: {escape(line)}", err=True)


# ---- passwords


def _read_password(file: str | None) -> str:
    """What stands in the file, but for the end of its line. Raises AccessError and StartError."""
    from dog.auth import AccessError

    if file is None:
        return _ask_password()
    place = "standard input" if file == "-" else repr(file)
    try:
        data = _read(file)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StartError(f"--password-file: {place} can't be read: {reason}. Name a file that can be read.") from None
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise AccessError(f"--password-file: {place} is not UTF-8 text. Save it as UTF-8.") from None
    if "\n" in text:
        raise AccessError(f"--password-file: {place} has more than one line. Write only the password into it.")
    return text


def _read(file: str) -> bytes:
    if file == "-":
        return b"" if sys.stdin is None else sys.stdin.buffer.read(_LONGEST_FILE)
    with open(file, "rb") as opened:
        return opened.read(_LONGEST_FILE)


def _ask_password() -> str:
    """Twice, without showing it. Raises AccessError where they differ, and UsageError where nobody can be asked."""
    from dog.auth import AccessError

    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask for the password. Use --password-file.")
    try:
        password = getpass.getpass("Password: ")
        again = getpass.getpass("Repeat the password: ")
    except (EOFError, UnicodeDecodeError):
        raise AccessError("No password was entered. Nothing was changed.") from None
    if password != again:
        raise AccessError("The passwords differ. Nothing was changed.")
    return password


_password_file = click.option(
    "--password-file",
    metavar="FILE",
    help="File that contains only the password; - reads standard input. Without this option, you are asked.",
)


# ---- users


@click.group(no_args_is_help=False)
def user() -> None:
    """Manage the users who can log in, if the setting auth is on."""


@user.command("add", params=folder_options(), epilog=_TAKEN_OR_BAD)
@click.argument("name")
@click.option(
    "--role", type=_ROLE, required=True, help="view: see photos; capture: also take photos; manage: everything."
)
@_password_file
def add_user(snapshots: str | None, config: str | None, name: str, role: Role, password_file: str | None) -> None:
    """Add a user. The password needs at least 8 characters."""
    with _changing(snapshots, config, make=True) as accounts:
        accounts.check_new_user(name)
        accounts.add_user(name, role, _read_password(password_file))
    click.echo(f"{name} can log in with the role {role}.")


@user.command("list", params=folder_options(), epilog=_LIST)
@click.option("--json", "as_json", is_flag=True, help="Print each user as one JSON object per line.")
def list_users(snapshots: str | None, config: str | None, as_json: bool) -> None:
    """List the users and their roles."""
    with _reading(snapshots, config) as accounts:
        users = accounts.users() if accounts else []
        now = utc_now()
        sessions = [each.user for each in accounts.sessions() if each.expires_at > now] if accounts else []
    if as_json:
        for each in users:
            told = {
                "name": each.name,
                "role": each.role,
                "has_password": each.password is not None,
                "created_at": timestamp(each.created_at),
                "sessions": sessions.count(each.key),
            }
            click.echo(encode(told).decode())
        return
    _print_table(
        ("Name", "Role", "Password", "Created", "Logged in"),
        [
            (
                each.name,
                each.role,
                "none" if each.password is None else "yes",
                show_time(timestamp(each.created_at)),
                f"{sessions.count(each.key)} times" if sessions.count(each.key) != 1 else "once",
            )
            for each in users
        ],
        "There are no users yet.",
    )


@user.command("role", params=folder_options(), epilog=_UNKNOWN)
@click.argument("name")
@click.argument("role", type=_ROLE)
def set_role(snapshots: str | None, config: str | None, name: str, role: Role) -> None:
    """Change the role of a user, immediately and in all sessions."""
    with _changing(snapshots, config) as accounts:
        accounts.set_role(name, role)
    click.echo(f"{name} has the role {role}.")


@user.command("password", params=folder_options(), epilog=_UNKNOWN_OR_BAD)
@click.argument("name")
@_password_file
def set_password(snapshots: str | None, config: str | None, name: str, password_file: str | None) -> None:
    """Set a new password and log the user out everywhere."""
    with _changing(snapshots, config) as accounts:
        accounts.find_user(name)
        accounts.set_password(name, _read_password(password_file))
    click.echo(f"{name} has a new password and is logged out everywhere.")


@user.command("logout", params=folder_options(), epilog=_UNKNOWN)
@click.argument("name")
def log_out(snapshots: str | None, config: str | None, name: str) -> None:
    """Log a user out everywhere. The password does not change."""
    with _changing(snapshots, config) as accounts:
        has_password = accounts.find_user(name).password is not None
        accounts.remove_sessions(name)
    click.echo(f"{name} is logged out everywhere.")
    if not has_password:
        _tell(f"{name} has no password and can't log in again. Set one with `dog user password`.")


@user.command("remove", params=folder_options(), epilog=_UNKNOWN)
@click.argument("name")
def remove_user(snapshots: str | None, config: str | None, name: str) -> None:
    """Remove a user and log them out everywhere."""
    with _changing(snapshots, config) as accounts:
        accounts.remove_user(name)
    click.echo(f"{name} is removed and logged out everywhere.")


# ---- tokens


@click.group(no_args_is_help=False)
def token() -> None:
    """Manage the tokens for scripts, if the setting auth is on."""


@token.command("add", params=folder_options(), epilog=_TAKEN)
@click.argument("name")
@click.option(
    "--role", type=_ROLE, required=True, help="view: see photos; capture: also take photos; manage: everything."
)
@click.option(
    "--days", type=_Days(), metavar="DAYS", help="Lifetime of the token. Without this option, it never expires."
)
def add_token(snapshots: str | None, config: str | None, name: str, role: Role, days: dt.timedelta | None) -> None:
    """Create a token and print it. It is shown only this once.

    NAME says what the token is for.
    """
    from dog.auth import KNOWN_WITHIN

    ends = None if days is None else (utc_now() + days).replace(microsecond=0)
    with _changing(snapshots, config, make=True) as accounts:
        secret = accounts.add_token(name, role, ends)
    try:
        click.echo(secret)
    except StdoutFailed:
        with _changing(snapshots, config) as accounts:
            accounts.remove_token(name)  # which nobody has seen
        raise
    until = "" if ends is None else f" It expires at {show_time(timestamp(ends))}."
    _tell(
        f"This is the token {name}. It is shown only this once: store it where only the script can read it, and send it"
        f" as 'Authorization: Bearer TOKEN'.{until}"
    )
    time.sleep(KNOWN_WITHIN)  # whoever waits for this command can show it at once


@token.command("list", params=folder_options(), epilog=_LIST)
@click.option("--json", "as_json", is_flag=True, help="Print each token as one JSON object per line.")
def list_tokens(snapshots: str | None, config: str | None, as_json: bool) -> None:
    """List the tokens with their roles and expiry times."""
    with _reading(snapshots, config) as accounts:
        tokens = accounts.tokens() if accounts else []
    now = utc_now()
    if as_json:
        for each in tokens:
            told = {
                "name": each.name,
                "role": each.role,
                "created_at": timestamp(each.created_at),
                "expires_at": None if each.expires_at is None else timestamp(each.expires_at),
            }
            click.echo(encode(told).decode())
        return
    _print_table(
        ("Name", "Role", "Created", "Expires"),
        [
            (
                each.name,
                each.role,
                show_time(timestamp(each.created_at)),
                "never"
                if each.expires_at is None
                else ("expired " if each.has_ended(now) else "") + show_time(timestamp(each.expires_at)),
            )
            for each in tokens
        ],
        "There are no tokens yet.",
    )


@token.command("role", params=folder_options(), epilog=_UNKNOWN)
@click.argument("name")
@click.argument("role", type=_ROLE)
def set_token_role(snapshots: str | None, config: str | None, name: str, role: Role) -> None:
    """Change the role of a token, immediately."""
    with _changing(snapshots, config) as accounts:
        accounts.set_token_role(name, role)
    click.echo(f"{name} has the role {role}.")


@token.command("remove", params=folder_options(), epilog=_UNKNOWN)
@click.argument("name")
def remove_token(snapshots: str | None, config: str | None, name: str) -> None:
    """Remove a token. Requests with it are refused from then on."""
    with _changing(snapshots, config) as accounts:
        accounts.remove_token(name)
    click.echo(f"{name} is removed.")


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]], nothing: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        click.echo(nothing)
        return
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(escape(cell)) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:  # whoever reads it on wants all of it
        console.width = 200
    console.print(table)
