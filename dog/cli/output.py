"""Output of the commands: tables, JSON, files, and standard output."""

import contextlib
import errno
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from dog.cli.exit_status import Status
from dog.logs import escape, print_line
from dog.protocol import encode, parse_timestamp

__all__ = [
    "StdoutFailed",
    "StdoutStream",
    "check_output",
    "encode_photo",
    "format_size",
    "format_time",
    "photo_urls",
    "print_json",
    "print_table",
    "report_stdout_failures",
    "to_json",
]

if TYPE_CHECKING:
    from rich.text import Text

    from dog.client import Photo

_NOT_ASCII = re.compile(r"[^ -~]")
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
    click.echo(to_json(fields))


def to_json(value: object) -> str:
    """Return JSON without characters that change a terminal or text's order.

    Names and messages may come from another server or a camera.
    """
    return _NOT_ASCII.sub(
        lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], encode(value).decode()
    )


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


def encode_photo(photo: "Photo", **more: object) -> str:
    """Return a photo and the values `more` that are not None as JSON."""
    more = {name: value for name, value in more.items() if value is not None}
    return to_json(msgspec.to_builtins(photo.body) | photo_urls(photo) | more)


def photo_urls(photo: "Photo") -> dict[str, str]:
    """Return the photo's absolute URLs. The server may have sent paths."""
    return {"url": photo.url, "page": photo.page, "thumbnail": photo.thumbnail}


class StdoutStream(io.RawIOBase):
    """Standard output as a binary stream without a buffer. Raises OSError."""

    def __init__(self) -> None:
        self._descriptor = sys.stdout.fileno()

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview", /) -> int:  # type: ignore[override]
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        return len(data)


class StdoutFailed(Exception):
    """Standard output failed. Handlers of OSError must not catch it."""


class _Output(io.FileIO):
    """Standard output's descriptor. After a failure, it discards data."""

    _failed = False

    def write(self, data: Any, /) -> int:
        if self._failed:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._failed = True
            raise StdoutFailed from error


@contextlib.contextmanager
def report_stdout_failures() -> Iterator[None]:
    """Exit with one line if standard output fails; silently if it is closed."""
    before = sys.stdout
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY) if before is None else before.fileno()
    except OSError:  # a test or another program has replaced sys.stdout
        yield
        return
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor, "wb", closefd=before is None)),
        encoding=before.encoding if before else "utf-8",
        errors=before.errors if before else "backslashreplace",
        line_buffering=bool(before and before.line_buffering),
    )
    output = sys.stdout
    try:
        try:
            yield
        finally:
            output.flush()
    except StdoutFailed as failure:
        if isinstance(reason := failure.__cause__, OSError) and reason.errno != errno.EPIPE:
            print_line(f"dog: Standard output can't be written: {os.strerror(reason.errno or 0).lower()}.")
        sys.exit(Status.FAILED)
    finally:
        sys.stdout = before
