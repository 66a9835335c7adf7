"""Cameras: one small protocol, and one file a driver behind it.

A driver takes one picture at a time, when it is told to, and gives back the bytes of an image file exactly as the
camera made them; whether they are a whole picture is for the store to say. It never blocks the event loop: what blocks
has a thread or a process of its own. It raises only `dog.errors.CaptureError`s for what a camera can do wrong.

A camera that gives frames all the time, or one whenever it is asked, is a Source (source.py); LiveCamera (live.py)
makes a Camera of it: fresh frames for captures, good ones, and the frames of the preview.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dog.errors import CaptureError
from dog.protocol import Quality

__all__ = ["Camera", "OnFrame", "OnLost", "Still"]

OnLost = Callable[[CaptureError], None]
"""Told, in the event loop, that an open camera went by itself, and why."""
OnFrame = Callable[[bytes], None]
"""Given, in the event loop, each frame of the preview: a JPEG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Still:
    """What a capture gave: an image file's bytes, and what is known of them.

    `began` is when the exposure began, by time.monotonic(): never later than it really did; None where the camera does
    not say. `exposure` is its time in seconds, where the driver knows it. `quality` is what was found, where frames are
    looked at.
    """

    data: bytes
    began: float | None = None
    exposure: float | None = None
    quality: Quality | None = None


class Camera(Protocol):
    """What every driver is. One task opens it, another captures and closes."""

    @property
    def has_preview(self) -> bool:
        """Whether `show` does anything."""

    async def open(self, lost: OnLost) -> None:
        """Make ready to take pictures. Called again to see whether an offline camera came back.

        `lost` is called when the open camera goes by itself. Raises CameraOffline, with what to do.
        """

    async def wait_for_device(self) -> None:
        """Wait until a closed camera gives a sign that it may be opened again, such as being plugged in.

        Where there are no such signs, for ever.
        """

    async def capture(self) -> Still:
        """Take a picture now. The exposure begins after the call.

        Raises a CaptureError: CameraTimeout past the driver's own time limit, CameraOffline when the camera is not
        there, CameraFault for what it reported, BadImage where there is no file to read. Cancelled, it ends whatever it
        started before it lets the cancellation through.
        """

    def show(self, show: OnFrame | None) -> None:
        """Give the frames of the preview from now on, also while a capture is taken; None: no longer."""

    async def close(self) -> None:
        """Let go of the camera. Nothing of it runs any more afterwards, but for a driver that hangs."""

    def kill(self) -> None:
        """End at once whatever runs, without waiting: the process is about to exit."""
