"""Report failures of standard output, distinct from those of other files."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from dog.cli.exit_status import Status
from dog.logs import print_line

__all__ = ["StdoutFailed", "report_stdout_failures"]


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
