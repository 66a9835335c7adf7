"""Exit statuses of the commands and their meanings (docs/clients.md)."""

import contextlib
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

from dog.errors import DogError, SettingError, StartError, short_reason

__all__ = ["MEANINGS", "STATUSES_HELP", "OutputError", "Status", "exit_status", "explain_write_errors"]


class Status(IntEnum):
    """Exit statuses of all commands."""

    SUCCESS = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
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


def exit_status(error: DogError) -> Status:
    """Return the status that a command exits with after this error."""
    if isinstance(error, SettingError | StartError):
        return Status.USAGE
    from dog.client import AddressError, Forbidden, Unreachable

    if isinstance(error, AddressError):
        return Status.USAGE
    return Status.UNREACHABLE if isinstance(error, Unreachable | Forbidden) else Status.FAILED
