"""Output of the commands: times, sizes, tables, JSON, and the files that they write."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from dog.logs import escape
from dog.protocol import encode, parse_timestamp

__all__ = ["check_output", "encode_photo", "format_size", "format_time", "photo_urls", "print_json", "print_table"]

if TYPE_CHECKING:
    from rich.text import Text

PIPE_WIDTH = 200
"""Columns of a table that is not printed on a terminal: wide enough for every row."""


def format_time(timestamp: str) -> str:
    """Return a timestamp in local time, or unchanged if it is invalid."""
    try:
        return f"{parse_timestamp(timestamp).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return timestamp


def format_size(size: float) -> str:
    """Return a number of bytes with a unit: `53 KB`."""
    for unit in ("bytes", "KB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.0f} GB"


def print_json(**fields: object) -> None:
    """Print one JSON object on a line."""
    click.echo(encode(fields).decode())


def print_table(
    titles: Sequence[str], rows: "Sequence[Sequence[str | Text]]", *, empty: str, right_aligned: Sequence[str] = ()
) -> None:
    """Print a table on standard output, or the line `empty` if it has no rows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=True, justify="right" if title in right_aligned else "left")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(escape(cell)) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)


def check_output(output: str, force: bool, *, noun: str, folder: bool = False) -> None:
    """Raise click.UsageError if the output can't or must not be written.

    `-` is standard output. `folder` allows an existing folder, for a new file in it.
    """
    path = Path(output)
    if output == "-":
        if sys.stdout.isatty():
            raise click.UsageError(f"{noun} can't be shown in a terminal. Name a file, or redirect the output to one.")
        return
    if not path.parent.is_dir():
        raise click.UsageError(f"The folder {str(path.parent)!r} does not exist. Create it first.")
    if (folder and path.is_dir()) or not path.exists():
        return
    if not path.is_file():
        raise click.UsageError(f"{output!r} is not a file. Name a file.")
    if not force:
        raise click.UsageError(f"{output!r} exists already. Name another file, or add --force to replace it.")


if TYPE_CHECKING:
    from dog.client import Photo


def encode_photo(photo: "Photo", **more: object) -> str:
    """Return a photo and the values `more` that are not None as JSON."""
    more = {name: value for name, value in more.items() if value is not None}
    return encode(msgspec.to_builtins(photo.body) | photo_urls(photo) | more).decode()


def photo_urls(photo: "Photo") -> dict[str, str]:
    """Return the photo's absolute URLs. The server may have sent paths."""
    return {"url": photo.url, "page": photo.page, "thumbnail": photo.thumbnail}
