"""Cameras: one small protocol, and one file a driver behind it.

A driver takes one picture at a time, when it is told to, and gives back the bytes of an image file exactly as the
camera made them; whether they are a whole picture is for the store to say. It never blocks the event loop: what blocks
has a thread or a process of its own. It raises only `dog.errors.CaptureError`s for what a camera can do wrong.
"""

from typing import Protocol

__all__ = ["Camera"]


class Camera(Protocol):
    """What every driver is. One task calls it, never two methods at once, but for `kill`."""

    async def open(self) -> None:
        """Make ready to take pictures. Called again to see whether an offline camera came back.

        Raises CameraOffline, with what to do.
        """

    async def capture(self) -> bytes:
        """Take a picture now and return the image file's bytes. The exposure begins after the call.

        Raises a CaptureError: CameraTimeout past the driver's own time limit, CameraOffline when the camera is not
        there, CameraFault for what it reported, BadImage where there is no file to read. Cancelled, it ends whatever it
        started before it lets the cancellation through.
        """

    async def close(self) -> None:
        """Let go of the camera. Nothing of it runs any more afterwards."""

    def kill(self) -> None:
        """End at once whatever runs, without waiting: the process is about to exit."""
