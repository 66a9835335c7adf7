"""The errors that users and clients see, as one tree.

    DogError
    ├── SettingError            a setting is wrong: the start ends with one line (dog/cli/serve.py has the status)
    ├── StartError              the environment is wrong (port in use, folder not writable): likewise
    ├── RequestError            a request can't be served: sent to its client alone
    └── CaptureError            a capture failed: published to all viewers as the event `failed`
        ├── CameraTimeout       the camera did not respond within the capture timeout
        ├── CameraFault         the camera responded with an error
        ├── CameraOffline       the camera is not connected, or can't be reached
        ├── CameraBusy          another program uses the camera
        ├── BadImage            the camera's image is incomplete or damaged
        ├── StorageFull         no space is left for the snapshot
        └── StorageError        the snapshot could not be saved for another reason

The codes are in docs/protocol.md. A message names the problem and its remedy. It never contains a path or a
secret that a viewer must not see: such details go to the log.
"""

import errno
import shlex
import sys
from typing import ClassVar

__all__ = [
    "DISK_FULL_MESSAGE",
    "BadImage",
    "CameraBusy",
    "CameraFault",
    "CameraOffline",
    "CameraTimeout",
    "CaptureError",
    "DogError",
    "RequestError",
    "SettingError",
    "StartError",
    "StorageError",
    "StorageFull",
    "explain_os_error",
    "install_command",
    "os_error_reason",
    "short_reason",
]


def install_command(package: str) -> str:
    """Return the shell command that installs a package for this Python."""
    return f"{shlex.quote(sys.executable)} -m pip install {package}"


def short_reason(error: OSError) -> str:
    """Return an OSError's reason in lower case, without its path."""
    return (error.strerror or str(error)).lower()


class DogError(Exception):
    """The base class of all errors that D.O.G. raises."""


class SettingError(DogError):
    """A wrong setting. `str()` is one line: setting, source and problem."""

    def __init__(self, setting: str, source: str, problem: str) -> None:
        super().__init__(f"{setting} ({source}): {problem}")
        self.setting = setting
        self.source = source
        self.problem = problem


class StartError(DogError):
    """The service can't start here. `str()` is one line with the remedy."""


class RequestError(DogError):
    """A refused request. `code`: see docs/protocol.md; `retry_after`: seconds."""

    def __init__(
        self, code: str, message: str, *, request: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request = request
        self.retry_after = retry_after


class CaptureError(DogError):
    """A failed capture.

    `message` is short and is sent to every viewer. `detail` (a program's output, a path) goes only to the log.
    `retry_after` is in seconds; the camera task sets it.
    """

    code: ClassVar[str] = "camera_error"
    retry_after: float | None = None

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class CameraTimeout(CaptureError):
    code = "timeout"


class CameraFault(CaptureError):
    code = "camera_error"


class CameraOffline(CaptureError):
    """The camera is offline. A driver may set `next_try`, the retry delay."""

    code = "camera_offline"
    next_try: float | None = None


class CameraBusy(CaptureError):
    code = "camera_busy"


class BadImage(CaptureError):
    code = "bad_image"


class StorageFull(CaptureError):
    code = "storage_full"


class StorageError(CaptureError):
    code = "storage_error"


# ---- errors of the operating system

DISK_FULL_MESSAGE = "The disk is full, and nothing was saved. Make room, then try again."

_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_ERRNO_REASONS = {
    errno.EROFS: "The disk is read-only. Make it writable again.",
    errno.EACCES: "The server may not write to the folder of snapshots. Give it the permission.",
    errno.EPERM: "The server may not write to the folder of snapshots. Give it the permission.",
    errno.EIO: "The disk reports an error. See the system's log.",
    errno.ENOENT: "The folder of snapshots is gone. Restore it, or restart the server.",
    errno.EEXIST: "A file is in the place of a folder of snapshots. Move it elsewhere.",
    errno.ENOTDIR: "A file is in the place of the folder of snapshots. Move it elsewhere.",
    errno.EMFILE: "The server has too many open files. Raise its limit.",
    errno.EFBIG: "The photo is larger than the server may write. Raise its limit on the size of files.",
}


def explain_os_error(error: OSError) -> CaptureError:
    """Return StorageFull or StorageError, with a message for everybody."""
    if error.errno in _DISK_FULL_ERRNOS:
        return StorageFull(DISK_FULL_MESSAGE, detail=str(error))
    return StorageError(f"Nothing was saved. {os_error_reason(error)}", detail=str(error))


def os_error_reason(error: OSError) -> str:
    """Return the problem and its remedy, without paths."""
    return _ERRNO_REASONS.get(error.errno or 0, f"The operating system reports: {error.strerror or 'unknown error'}.")
