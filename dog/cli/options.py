"""Options that several commands share."""

import datetime as dt
import math
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from dog.errors import short_reason
from dog.logs import escape
from dog.settings import CONFIG, RETIRED_SETTINGS, SETTINGS, Setting, load
from dog.settings.fields import flag_of

__all__ = [
    "DAY",
    "DAYS",
    "SECONDS",
    "SettingOption",
    "SettingsCommand",
    "certificate_option",
    "find_folder",
    "folder_options",
    "read_token",
    "token_option",
]

_MAX_DAYS = 36_500

T = TypeVar("T")


class SettingOption(click.Option):
    """A setting as an option whose value is plain text."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        info = setting.info
        switch: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if setting.kind is bool else {}
        super().__init__(
            [setting.flag],
            **switch,
            metavar=info.metavar,
            help=f"{info.meaning} Write {info.expected}. [{setting.variable}; default: {setting.default}]",
        )


def folder_options() -> list[click.Parameter]:
    """Return the options that choose the folder of snapshots."""
    return [SettingOption(SETTINGS["snapshots"]), SettingOption(CONFIG)]


def find_folder(snapshots: str | None, config: str | None) -> Path:
    """Return the folder that these options choose, or raise SettingError."""
    return load({"snapshots": snapshots, "config": config}, os.environ, Path()).snapshots


_ALL_HELP = "dog.all_help"
"""The key in `Context.meta` that makes the help show all settings."""


def _print_all_help(ctx: click.Context, _option: click.Parameter, is_given: bool) -> None:
    if is_given and not ctx.resilient_parsing:
        ctx.meta[_ALL_HELP] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


class SettingsCommand(click.Command):
    """A command whose options are settings, in groups.

    --help shows the common ones, --help-all shows all. Neither shows the retired settings, which are still accepted.
    """

    def __init__(self, *, params: Iterable[click.Parameter], **attributes: Any) -> None:
        params = [
            *params,
            *(click.Option([flag_of(name)], hidden=True) for name in RETIRED_SETTINGS),
            click.Option(
                ["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_print_all_help,
                help="Show all settings and exit.",
            ),
        ]
        super().__init__(params=params, **attributes)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, SettingOption) and not (param.setting.info.common or _ALL_HELP in ctx.meta):
                continue
            record = param.get_help_record(ctx)
            if record is not None:
                group = param.setting.info.group if isinstance(param, SettingOption) else "Help"
                groups.setdefault(group, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)


MAX_TOKEN_FILE_BYTES = 4096


token_option = click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File with the token to send, if the server requires one. [or the token itself in DOG_TOKEN]",
)
"""The token for a server: never on the command line, which all users of this computer can read."""


def _check_certificate(_ctx: click.Context, _option: click.Parameter, file: Path | None) -> Path | None:
    """Raise click.BadParameter if the file is not a certificate."""
    if file is not None:
        import ssl  # slow to import, and rarely needed

        try:
            ssl.create_default_context(cafile=file)
        except ssl.SSLError:
            raise click.BadParameter(
                f"{str(file)!r} contains no certificate in PEM format. Name one that `dog cert` made."
            ) from None
        except OSError as error:
            raise click.BadParameter(
                f"{str(file)!r} can't be read: {short_reason(error)}. Name a file that can be read."
            ) from None
    return file


certificate_option = click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_check_certificate,
    metavar="FILE",
    help="Trust this certificate and no other, if URL is https. `dog cert` makes one on the server.",
)
"""The certificate of a server that no authority vouches for."""


def read_token(file: Path | None) -> str | None:
    """Return the token in the file or in DOG_TOKEN, if it is valid."""
    source = "DOG_TOKEN" if file is None else f"--token-file: {str(file)!r}"
    text = os.environ.get("DOG_TOKEN", "")
    try:
        if file is not None:
            with file.open("rb") as stream:
                text = stream.read(MAX_TOKEN_FILE_BYTES).decode()
    except (OSError, UnicodeError) as error:
        raise click.UsageError(
            f"{source} can't be read: {getattr(error, 'strerror', None) or error}. Use another file or value."
        ) from None
    token = text.strip()
    if token and not re.fullmatch(r"[\x21-\x7e]+", token):
        raise click.UsageError(f"{source} contains no valid token. Use the single word that `dog token add` prints.")
    if file is not None and file.is_file() and file.stat().st_mode & 0o077:
        click.echo(
            f"dog: {escape(str(file))} can be read by other users of this computer. Run: chmod 600 {escape(str(file))}",
            err=True,
        )
    if file is not None and not token:
        raise click.UsageError(f"{source} is empty. Write the token into it that `dog token add` prints.")
    return token or None


class _Parsed(click.ParamType[T]):
    """Values that a function parses, or refuses with ValueError."""

    def __init__(self, name: str, parse: Callable[[str], T], refusal: str) -> None:
        self.name = name
        self._parse = parse
        self._refusal = refusal

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> T:
        try:
            return self._parse(str(value))
        except ValueError:
            self.fail(f"{value!r} {self._refusal}", param, ctx)


def _parse_seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError
    return seconds


def _parse_days(text: str) -> dt.timedelta:
    days = float(text)
    if not 0 < days <= _MAX_DAYS:  # also false for nan
        raise ValueError
    return dt.timedelta(days=days)


def _parse_day(text: str) -> dt.date:
    return dt.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=dt.UTC).date()


SECONDS = _Parsed("seconds", _parse_seconds, "is not a number of seconds. Write 0 or more.")
DAYS = _Parsed("days", _parse_days, f"is not a number of days. Write a number above 0, at most {_MAX_DAYS}.")
DAY = _Parsed("day", _parse_day, "is not a date. Write one such as 2026-11-22.")
