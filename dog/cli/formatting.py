"""Format and print times, sizes, tables and JSON."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dog.logs import escape
from dog.protocol import encode, parse_timestamp

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["format_size", "format_time", "print_json", "print_table"]

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
