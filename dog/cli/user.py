"""Manage the users who can log in: `dog user`."""

import getpass
import sys

import click

from dog.cli.accounts_file import EXIT_STATUSES, ROLE, change_accounts, print_note, read_accounts, role_option
from dog.cli.options import folder_options
from dog.cli.output import format_time, print_json, print_table
from dog.clock import utc_now
from dog.errors import StartError, short_reason
from dog.protocol import Role, timestamp

__all__ = ["user"]

_UNKNOWN = EXIT_STATUSES.format("the name does not exist")
_UNKNOWN_OR_BAD = EXIT_STATUSES.format("the name does not exist, or the password is not allowed")
_EXISTS_OR_BAD = EXIT_STATUSES.format("the name exists already or is not allowed, or the password is not allowed")
_LIST = EXIT_STATUSES.format("standard output can't be written")
_MAX_PASSWORD_FILE_BYTES = 65_536


def _read_password(file: str | None) -> str:
    """Return the password in the file. Raise AccountsError or StartError."""
    from dog.auth import AccountsError

    if file is None:
        return _prompt_for_password()
    source = "standard input" if file == "-" else repr(file)
    try:
        data = _read_bytes(file)
    except OSError as error:
        raise StartError(
            f"--password-file: {source} can't be read: {short_reason(error)}. Name a file that can be read."
        ) from None
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise AccountsError(f"--password-file: {source} is not UTF-8 text. Save it as UTF-8.") from None
    if "\n" in text:
        raise AccountsError(f"--password-file: {source} has more than one line. Write only the password into it.")
    return text


def _read_bytes(file: str) -> bytes:
    if file == "-":
        return b"" if sys.stdin is None else sys.stdin.buffer.read(_MAX_PASSWORD_FILE_BYTES)
    with open(file, "rb") as stream:
        return stream.read(_MAX_PASSWORD_FILE_BYTES)


def _prompt_for_password() -> str:
    """Ask twice for the password, without showing it.

    Raise AccountsError if the two differ, or click.UsageError without a terminal.
    """
    from dog.auth import AccountsError

    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask for the password. Use --password-file.")
    try:
        password = getpass.getpass("Password: ")
        again = getpass.getpass("Repeat the password: ")
    except (EOFError, UnicodeDecodeError):
        raise AccountsError("No password was entered. Nothing was changed.") from None
    if password != again:
        raise AccountsError("The passwords differ. Nothing was changed.")
    return password


_password_file = click.option(
    "--password-file",
    metavar="FILE",
    help="File that contains only the password; - reads standard input. Without this option, you are asked.",
)


@click.group(no_args_is_help=False)
def user() -> None:
    """Manage the users who can log in, if the setting auth is on."""


@user.command("add", params=folder_options(), epilog=_EXISTS_OR_BAD)
@click.argument("name")
@role_option
@_password_file
def add_user(snapshots: str | None, config: str | None, name: str, role: Role, password_file: str | None) -> None:
    """Add a user. The password needs at least 8 characters."""
    with change_accounts(snapshots, config, create=True) as accounts:
        accounts.check_new_user(name)
        accounts.add_user(name, role, _read_password(password_file))
    click.echo(f"{name} can log in with the role {role}.")


@user.command("list", params=folder_options(), epilog=_LIST)
@click.option("--json", "as_json", is_flag=True, help="Print each user as one JSON object per line.")
def list_users(snapshots: str | None, config: str | None, as_json: bool) -> None:
    """List the users and their roles."""
    with read_accounts(snapshots, config) as accounts:
        users = accounts.users() if accounts else []
        now = utc_now()
        sessions = [each.user for each in accounts.sessions() if each.expires_at > now] if accounts else []
    if as_json:
        for each in users:
            print_json(
                name=each.name,
                role=each.role,
                has_password=each.password is not None,
                created_at=timestamp(each.created_at),
                sessions=sessions.count(each.key),
            )
        return
    print_table(
        ("Name", "Role", "Password", "Created", "Logged in"),
        [
            (
                each.name,
                each.role,
                "none" if each.password is None else "yes",
                format_time(timestamp(each.created_at)),
                f"{sessions.count(each.key)} times" if sessions.count(each.key) != 1 else "once",
            )
            for each in users
        ],
        empty="There are no users yet.",
    )


@user.command("role", params=folder_options(), epilog=_UNKNOWN)
@click.argument("name")
@click.argument("role", type=ROLE)
def set_role(snapshots: str | None, config: str | None, name: str, role: Role) -> None:
    """Change the role of a user, immediately and in all sessions."""
    with change_accounts(snapshots, config) as accounts:
        accounts.set_role(name, role)
    click.echo(f"{name} has the role {role}.")


@user.command("password", params=folder_options(), epilog=_UNKNOWN_OR_BAD)
@click.argument("name")
@_password_file
def set_password(snapshots: str | None, config: str | None, name: str, password_file: str | None) -> None:
    """Set a new password and log the user out everywhere."""
    with change_accounts(snapshots, config) as accounts:
        accounts.find_user(name)
        accounts.set_password(name, _read_password(password_file))
    click.echo(f"{name} has a new password and is logged out everywhere.")


@user.command("logout", params=folder_options(), epilog=_UNKNOWN)
@click.argument("name")
def log_out(snapshots: str | None, config: str | None, name: str) -> None:
    """Log a user out everywhere. The password does not change."""
    with change_accounts(snapshots, config) as accounts:
        has_password = accounts.find_user(name).password is not None
        accounts.remove_sessions(name)
    click.echo(f"{name} is logged out everywhere.")
    if not has_password:
        print_note(f"{name} has no password and can't log in again. Set one with `dog user password`.")


@user.command("remove", params=folder_options(), epilog=_UNKNOWN)
@click.argument("name")
def remove_user(snapshots: str | None, config: str | None, name: str) -> None:
    """Remove a user and log them out everywhere."""
    with change_accounts(snapshots, config) as accounts:
        accounts.remove_user(name)
    click.echo(f"{name} is removed and logged out everywhere.")
