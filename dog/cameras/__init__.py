"""Cameras: the Camera protocol, and one file for each driver.

A driver takes one image per call, and returns the bytes of an image file exactly as the camera made them.
The store checks whether the image is whole. A driver never blocks the event loop: blocking calls run in a thread or a
process of their own. For failures of the camera, it raises only `dog.errors.CaptureError`s.

A camera that sends frames, or one frame per request, is a Source (source.py). LiveCamera makes a Camera of it: fresh,
good frames for captures, and the frames of the preview.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dog.errors import CameraOffline, CaptureError
from dog.protocol import Quality

__all__ = ["Camera", "CapturedImage", "Control", "OnFrame", "OnLost", "join_limited", "parse_control"]

OnLost = Callable[[CaptureError], None]
"""Callback for the loss of an open camera, with the reason. It runs in the event loop."""
OnFrame = Callable[[bytes], None]
"""Callback for each frame of the preview, a JPEG. It runs in the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedImage:
    """The image file of one capture, and its metadata.

    `exposure_start` is a time.monotonic() that is never later than the true start; None if it is unknown.
    `exposure` is in seconds, or None if unknown. `quality` is set if the driver inspects frames.
    """

    data: bytes
    exposure_start: float | None = None
    exposure: float | None = None
    quality: Quality | None = None


class Camera(Protocol):
    """The interface of every driver. One task opens it, another captures."""

    @property
    def has_preview(self) -> bool:
        """True if `set_preview` has an effect."""

    async def open(self, on_lost: OnLost) -> None:
        """Open the camera. Called again to test whether an offline camera is back.

        `on_lost` is called if the open camera is lost. Raises CameraOffline, with the remedy.
        """

    async def wait_for_device(self) -> None:
        """Wait until a closed camera may be back, if the driver can notice that."""

    async def capture(self) -> CapturedImage:
        """Take an image now. The exposure begins after the call.

        Raises CameraTimeout past the driver's time limit, CameraOffline if the camera is lost, CameraFault for an error
        that it reports, and BadImage without a file to read. If cancelled, it first ends everything that it started.
        """

    def set_preview(self, on_frame: OnFrame | None) -> None:
        """Send preview frames to `on_frame`, also during captures. None: stop."""

    async def close(self) -> None:
        """Release the camera, and end all that runs, except a driver that hangs."""

    def kill(self) -> None:
        """End everything that runs, without waiting: the process is about to exit."""


MAX_LISTED = 20
"""Items of a list in a message."""


class Control(Protocol):
    """The interface of a camera's control."""

    @property
    def name(self) -> str: ...

    @property
    def default(self) -> object: ...

    @property
    def limits(self) -> str:
        """The allowed values in words: "from 0 to 255"."""

    def parse(self, value: bool | int | str) -> Any:
        """Convert a value for the driver. Raises ValueError outside the limits."""


def parse_control(name: str, value: bool | int | str, offered: Mapping[str, Control]) -> Any:
    """Convert a value for the driver, or raise CameraOffline with the choices."""
    if name not in offered:
        raise CameraOffline(
            f"The camera has no control {name}. Its controls are: {join_limited(sorted(offered) or ['none'])}."
        )
    try:
        return offered[name].parse(value)
    except ValueError:
        raise CameraOffline(f"The control {name} can't be {value}. It can be {offered[name].limits}.") from None


def join_limited(words: list[str], separator: str = ", ") -> str:
    """Join the first words, and add how many more there are."""
    more = f" and {len(words) - MAX_LISTED} more" if len(words) > MAX_LISTED else ""
    return separator.join(words[:MAX_LISTED]) + more
