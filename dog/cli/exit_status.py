"""With which status a command ends, and what that means (docs/clients.md)."""

from enum import IntEnum

from dog.errors import DogError, SettingError, StartError

__all__ = ["MEANINGS", "OutputError", "Status", "describe_statuses", "find_status"]


class Status(IntEnum):
    """Statuses of the commands that talk to a server; those of `dog serve` and `dog check` agree with them."""

    WELL = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


MEANINGS = {
    Status.WELL: "success",
    Status.FAILED: "the server refused, there is no photo, or it can't be saved",
    Status.USAGE: "the command line is wrong",
    Status.UNREACHABLE: "the server can't be reached, or denies access",
    Status.INTERRUPTED: "stopped by Ctrl-C",
}


class OutputError(DogError):
    """What was fetched can't be kept or shown. `str()` is one line that says what to do."""


def describe_statuses(*statuses: Status) -> str:
    """The end of a command's help."""
    return "Exit status: " + "; ".join(f"{status:d} {MEANINGS[status]}" for status in statuses or Status) + "."


def find_status(error: DogError) -> Status:
    if isinstance(error, SettingError | StartError):
        return Status.USAGE
    from dog.client import AddressError, Forbidden, Unreachable

    if isinstance(error, AddressError):
        return Status.USAGE
    return Status.UNREACHABLE if isinstance(error, Unreachable | Forbidden) else Status.FAILED
