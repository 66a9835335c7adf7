"""Everything that goes wrong and is told to somebody, as one tree.

    DogError
    ├── SettingError            a setting is wrong: the start ends with one line and status 2
    ├── StartError              the surroundings are wrong (port in use, folder not writable): likewise
    ├── RequestError            a viewer's or a script's mistake, or one it can do nothing about: told to it alone
    └── CaptureError            a capture that gave no snapshot: told to everybody as the event `failed`
        ├── CameraTimeout       the camera did not answer within the capture timeout
        ├── CameraFault         the camera answered, and what it said was an error
        ├── CameraOffline       the camera is not there
        ├── CameraBusy          somebody else has the camera
        ├── BadImage            what the camera left is not a whole picture
        ├── StorageFull         no space is left for the snapshot
        └── StorageError        the snapshot could not be saved for another reason

The codes are those of docs/protocol.md. A message names the thing, what was wrong and what to do, fit to show a person;
it never holds a path or a secret that a viewer should not see: such details go to the log.
"""

import shlex
import sys
from typing import ClassVar

__all__ = [
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
    "install_command",
]


def install_command(package: str) -> str:
    """Return the shell command that installs a package for the Python that runs this program."""
    return f"{shlex.quote(sys.executable)} -m pip install {package}"


class DogError(Exception):
    """The root: whatever this service raises on purpose."""


class SettingError(DogError):
    """A setting is wrong. `str()` is one line: the setting, its source, what was wrong and what would be right."""

    def __init__(self, setting: str, source: str, problem: str) -> None:
        super().__init__(f"{setting} ({source}): {problem}")
        self.setting = setting
        self.source = source
        self.problem = problem


class StartError(DogError):
    """The service can't start where it is. `str()` is one line that says what to do."""


class RequestError(DogError):
    """A request that can't be served; `code` is one of docs/protocol.md's, `retry_after` is in seconds."""

    def __init__(
        self, code: str, message: str, *, request: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request = request
        self.retry_after = retry_after


class CaptureError(DogError):
    """A capture that gave no snapshot.

    `message` is short and goes to every viewer; `detail` (a program's last words, a path) goes only to the log.
    `retry_after` is in seconds, once it is known when the next try may be worth it.
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
    """`next_try` is how many seconds the driver wants to be left alone, where it knows better than the usual waits."""

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
