"""Manage the tokens for scripts: `dog token`."""

import datetime as dt
import time

import click

from dog.cli.accounts_file import EXIT_STATUSES, ROLE, change_accounts, print_note, read_accounts, role_option
from dog.cli.options import DAYS, folder_options
from dog.cli.output import StdoutFailed, format_time, print_json, print_table
from dog.clock import utc_now
from dog.protocol import Role, timestamp

__all__ = ["token"]

_UNKNOWN = EXIT_STATUSES.format("the name does not exist")
_EXISTS = EXIT_STATUSES.format("the name exists already or is not allowed")
_LIST = EXIT_STATUSES.format("standard output can't be written")


@click.group(no_args_is_help=False)
def token() -> None:
    """Manage the tokens for scripts, if the setting auth is on."""


@token.command("add", params=folder_options(), epilog=_EXISTS)
@click.argument("name")
@role_option
@click.option("--days", type=DAYS, metavar="DAYS", help="Lifetime of the token. Without this option, it never expires.")
def add_token(snapshots: str | None, config: str | None, name: str, role: Role, days: dt.timedelta | None) -> None:
    """Create a token and print it. It is shown only this once.

    NAME describes the token's purpose.
    """
    from dog.auth import MAX_PROPAGATION_SECONDS

    expires_at = None if days is None else (utc_now() + days).replace(microsecond=0)
    with change_accounts(snapshots, config, create=True) as accounts:
        secret = accounts.add_token(name, role, expires_at)
    try:
        click.echo(secret)
    except StdoutFailed:
        with change_accounts(snapshots, config) as accounts:
            accounts.remove_token(name)  # its secret was never shown
        raise
    until = "" if expires_at is None else f" It expires at {format_time(timestamp(expires_at))}."
    print_note(
        f"This is the token {name}. It is shown only this once: store it where only the script can read it, and send it"
        f" as 'Authorization: Bearer TOKEN'.{until}"
    )
    time.sleep(MAX_PROPAGATION_SECONDS)  # so that a running server accepts it when this command ends


@token.command("list", params=folder_options(), epilog=_LIST)
@click.option("--json", "as_json", is_flag=True, help="Print each token as one JSON object per line.")
def list_tokens(snapshots: str | None, config: str | None, as_json: bool) -> None:
    """List the tokens with their roles and expiry times."""
    with read_accounts(snapshots, config) as accounts:
        tokens = accounts.tokens() if accounts else []
    now = utc_now()
    if as_json:
        for each in tokens:
            print_json(
                name=each.name,
                role=each.role,
                created_at=timestamp(each.created_at),
                expires_at=None if each.expires_at is None else timestamp(each.expires_at),
            )
        return
    print_table(
        ("Name", "Role", "Created", "Expires"),
        [
            (
                each.name,
                each.role,
                format_time(timestamp(each.created_at)),
                "never"
                if each.expires_at is None
                else ("expired " if each.is_expired(now) else "") + format_time(timestamp(each.expires_at)),
            )
            for each in tokens
        ],
        empty="There are no tokens yet.",
    )


@token.command("role", params=folder_options(), epilog=_UNKNOWN)
@click.argument("name")
@click.argument("role", type=ROLE)
def set_token_role(snapshots: str | None, config: str | None, name: str, role: Role) -> None:
    """Change the role of a token, immediately."""
    with change_accounts(snapshots, config) as accounts:
        accounts.set_token_role(name, role)
    click.echo(f"{name} has the role {role}.")


@token.command("remove", params=folder_options(), epilog=_UNKNOWN)
@click.argument("name")
def remove_token(snapshots: str | None, config: str | None, name: str) -> None:
    """Remove a token. Requests with it are refused from then on."""
    with change_accounts(snapshots, config) as accounts:
        accounts.remove_token(name)
    click.echo(f"{name} is removed.")
