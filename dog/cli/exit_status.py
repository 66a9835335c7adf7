"""Exit statuses (docs/clients.md; of `dog serve`: docs/settings.md)."""

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

from dog.database import is_environment_error
from dog.errors import DogError, SettingError, StartError, short_reason

__all__ = ["MEANINGS", "STATUSES_HELP", "OutputError", "Status", "exit_status", "explain_write_errors"]

_PERMANENT_ERRNOS = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)
"""Errors of a wrong path or value, which does not change by waiting."""


class Status(IntEnum):
    """Exit statuses of all commands."""

    SUCCESS = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    TEMPORARY = 75
    """Only of `dog serve`: EX_TEMPFAIL of sysexits.h. The systemd unit tries again."""
    INTERRUPTED = 130


MEANINGS = {
    Status.SUCCESS: "success",
    Status.FAILED: "the server refused, there is no photo, or it can't be saved",
    Status.USAGE: "the command line is wrong",
    Status.UNREACHABLE: "the server can't be reached, or denies access",
    Status.INTERRUPTED: "stopped by Ctrl-C",
}
STATUSES_HELP = "Exit status: " + "; ".join(f"{status:d} {meaning}" for status, meaning in MEANINGS.items()) + "."
"""The last line in the help of a command that sends requests to a server."""


class OutputError(DogError):
    """A photo or an archive can't be written. `str()` is one line."""


@contextlib.contextmanager
def explain_write_errors(path: Path, advice: str) -> Iterator[None]:
    """Raise OSError of the block as OutputError with this advice."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{str(path)!r} can't be written: {short_reason(error)}. {advice}") from None


def exit_status(error: DogError, command: str | None) -> Status:
    """Return the exit status of a command, such as "serve", after an error."""
    if isinstance(error, SettingError | StartError):
        return Status.TEMPORARY if command == "serve" and _is_temporary(error) else Status.USAGE
    from dog.client import AddressError, Forbidden, Unreachable

    if isinstance(error, AddressError):
        return Status.USAGE
    return Status.UNREACHABLE if isinstance(error, Unreachable | Forbidden) else Status.FAILED


def _is_temporary(error: DogError) -> bool:
    """Return True if a start that failed with this error may work later.

    The cause is then the operating system's or SQLite's error: a disk is not mounted yet, another program uses the
    port, or an address is missing. A wrong value has no such cause. Without its disk, a mount point often belongs to
    root, so a file that is not permitted is temporary, unlike a port.
    """
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, PermissionError):
            return cause.filename is not None
        if isinstance(cause, OSError):
            return cause.errno not in _PERMANENT_ERRNOS
        if isinstance(cause, sqlite3.Error):
            return is_environment_error(cause)
        cause = cause.__cause__
    return False
