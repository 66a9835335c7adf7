"""Progress of a command on standard error: a bar, or lines in a file."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from dog.cli.output import format_size

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import Task
    from rich.text import Text

    from dog.snapshots.verify import Progress

__all__ = ["ProgressLines", "describe_progress", "format_photos", "show_progress"]

LINE_INTERVAL = 10.0
"""Seconds between two lines of progress."""


def format_photos(count: float) -> str:
    return f"{count:,.0f} photos"


def describe_progress(done: float, total: float, seconds: float, format: Callable[[float], str]) -> str:
    """Return the amount, the rate and the remaining time in one line."""
    text = f"{format(done)} of {format(total)}"
    if done <= 0 or seconds <= 0:
        return text
    left = round(max(total - done, 0) * seconds / done)
    return f"{text}, {format(done / seconds)} per second, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"


class ProgressLines:
    """Progress as lines, at most one each LINE_INTERVAL."""

    def __init__(
        self,
        text: str,
        format: Callable[[float], str],
        write: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._text = text
        self._format = format
        self._write = write
        self._clock = clock
        self._done = self._total = 0
        self._began = self._written = clock()

    def begin(self, total: int) -> None:
        self._total = total
        self._began = self._written = self._clock()

    def advance(self, by: int) -> None:
        self._done += by
        now = self._clock()
        if now - self._written >= LINE_INTERVAL:
            self._written = now
            status = describe_progress(self._done, self._total, now - self._began, self._format)
            self._write(f"dog: {self._text}: {status}")


class _ProgressBar:
    def __init__(self, bars: "Bars", text: str) -> None:
        self._bars = bars
        self._task = bars.add_task(text, total=None)

    def begin(self, total: int) -> None:
        self._bars.reset(self._task, total=total)

    def advance(self, by: int) -> None:
        self._bars.advance(self._task, by)


@contextlib.contextmanager
def show_progress(text: str, format: Callable[[float], str] = format_size) -> "Iterator[Progress]":
    """Show the progress of a block. `format` writes an amount with its unit."""
    if not sys.stderr.isatty():
        yield ProgressLines(text, format, lambda line: click.echo(line, err=True))
        return
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Status(ProgressColumn):
        def render(self, task: "Task") -> "Text":
            return Text(describe_progress(task.completed, task.total or 0, task.elapsed or 0, format))

    columns = TextColumn("{task.description}"), BarColumn(20), TaskProgressColumn(), Status()
    with Bars(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bars:
        yield _ProgressBar(bars, text)
