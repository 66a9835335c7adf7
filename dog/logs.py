"""The log: short lines on standard error, full lines in a rotated file.

A logger only puts a record in a queue. One thread writes, so that the event loop never waits for a disk or a terminal.
If the log can't be written (a full disk, a closed terminal), lines are lost and the service continues. A record is one
line: its control characters are escaped, so that it can't forge another line. The lines of a traceback are indented.
"""

import copy
import datetime as dt
import logging
import os
import queue
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from typing import Self

from dog.protocol import timestamp

__all__ = ["LimitedWarnings", "Log", "escape", "print_line", "start_logging"]

MAX_LOG_FILE_BYTES = 1_000_000
"""Size at which the log file is rotated."""
MAX_OLD_FILES = 5
MAX_QUEUED_RECORDS = 10_000
"""Maximum number of records that wait to be written: a stopped terminal (Ctrl-S) must not fill the memory."""
FLUSH_TIMEOUT = 1.0
"""Seconds to write the last lines when the log stops."""

# control characters, line separators (U+2028, U+2029) and marks that change the direction of text
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def escape(text: str) -> str:
    """Return the text with control characters escaped: `\\n`, `\\x1b`."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


class LimitedWarnings:
    """Warnings that many requests cause: each text at most once per interval."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logged_at: dict[str, float] = {}

    def warn(self, log: logging.Logger, text: str, *values: object, interval: float = 10.0) -> None:
        """Log a constant text with these values, unless it was just logged."""
        now = self._clock()
        if text not in self._logged_at or now - self._logged_at[text] >= interval:
            self._logged_at[text] = now
            log.warning(text, *values)


def print_line(text: str) -> None:
    """Write one line to standard error, unbuffered. Do nothing if closed."""
    if sys.stderr is None:  # closed from the start; descriptor 2 may be another file by now
        return
    line = text.encode("utf-8", "backslashreplace") + b"\n"
    try:
        while line:
            line = line[os.write(2, line) :]
    except OSError:
        pass


class _Queue(QueueHandler):
    """Queue handler that formats each record in the thread that logs."""

    queue: "queue.SimpleQueue[logging.LogRecord]"
    lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record = copy.copy(record)
        record.msg = escape(record.getMessage())
        record.args = None
        parts = []
        if record.exc_info:
            parts.append("".join(traceback.format_exception(*record.exc_info)))
        if record.stack_info:
            parts.append(record.stack_info)
        lines = "\n".join(part.rstrip("\n") for part in parts).split("\n") if parts else []
        record.exc_text = "\n".join(f"    {escape(line)}" for line in lines) or None
        record.exc_info = record.stack_info = None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        if self.queue.qsize() < MAX_QUEUED_RECORDS:
            self.queue.put_nowait(record)
        else:
            self.lost += 1


class _Writer(QueueListener):
    """The thread that writes. Its stop has a timeout: a terminal may block."""

    ended = False

    def stop(self) -> None:
        self.enqueue_sentinel()
        if self._thread is not None:
            self._thread.join(FLUSH_TIMEOUT)
            self.ended = not self._thread.is_alive()


class _FileFormatter(logging.Formatter):
    """`2026-11-22T11:14:38.123Z INFO dog.cli ...`, in UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return timestamp(dt.datetime.fromtimestamp(record.created, dt.UTC))


class _File(RotatingFileHandler):
    """The rotated log file. It reports once if writes fail or work again."""

    broken = False
    _failed = False

    def _open(self) -> TextIOWrapper:
        """Open the file, without access for other users of the computer."""
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        stream = self.stream
        if stream is not None and not self._is_open_file(stream):
            stream.close()
            self.stream = None  # it is opened again
        return bool(super().shouldRollover(record))

    def _is_open_file(self, stream: TextIOWrapper) -> bool:
        """Return False if logrotate or a person has moved or removed the file."""
        try:
            return os.path.samestat(os.stat(self.baseFilename), os.fstat(stream.fileno()))
        except FileNotFoundError:
            return False

    def emit(self, record: logging.LogRecord) -> None:
        self._failed = False
        super().emit(record)
        if self.broken and not self._failed:
            self.broken = False
            print_line(f"dog: the log file {escape(self.baseFilename)} can be written again")

    def handleError(self, record: logging.LogRecord) -> None:
        self._failed = True
        if not self.broken:
            self.broken = True
            reason = sys.exc_info()[1]
            print_line(f"dog: the log file {escape(self.baseFilename)} can't be written, and lines are lost: {reason}")

    def close(self) -> None:
        with suppress(OSError):  # unflushed lines are lost, and that was reported
            super().close()


class _NoLock(nullcontext[None]):
    """A lock that never blocks."""

    def acquire(self) -> None:
        pass

    release = acquire


class _Terminal(logging.Handler):
    def createLock(self) -> None:
        self.lock = _NoLock()  # type: ignore[assignment]  # only one thread writes; if it blocks, no other waits

    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(record, "terminal", True)

    def emit(self, record: logging.LogRecord) -> None:
        print_line(self.format(record))


class Log:
    """The running log. `stop` writes queued records and resets root's level."""

    def __init__(self, handlers: list[logging.Handler], level: int) -> None:
        self._root = logging.getLogger()
        self._previous_level = self._root.level
        self._handlers = handlers
        self.handler = _Queue(queue.SimpleQueue())
        self._writer = _Writer(self.handler.queue, *handlers)
        self._writer.start()
        self._root.addHandler(self.handler)
        self._root.setLevel(level)
        logging.getLogger("PIL").setLevel(logging.INFO)  # at debug it logs every chunk of every image

    def stop(self) -> None:
        """Write queued records, for at most a second, and close. Can be repeated."""
        if self.handler not in self._root.handlers:
            return
        self._root.removeHandler(self.handler)
        self._root.setLevel(self._previous_level)
        self._writer.stop()
        if not self._writer.ended:
            return
        for handler in self._handlers:
            handler.close()
        if self.handler.lost:
            print_line(f"dog: {self.handler.lost} lines of the log were lost, because they were written too slowly")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


def start_logging(file: Path | None, level: str) -> Log:
    """Log to standard error and to the file, if any, from this level on.

    A record with `extra={"terminal": False}` goes only to the file, because its line is already on the terminal. Raise
    OSError, and start nothing, if the file can't be opened.
    """
    handlers: list[logging.Handler] = [_Terminal()]
    handlers[0].setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s  %(message)s", "%H:%M:%S"))
    if file is not None:
        handlers.append(
            _File(
                file,
                maxBytes=MAX_LOG_FILE_BYTES,
                backupCount=MAX_OLD_FILES,
                encoding="utf-8",
                errors="backslashreplace",
            )
        )
        handlers[1].setFormatter(_FileFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    return Log(handlers, logging.getLevelName(level.upper()))
