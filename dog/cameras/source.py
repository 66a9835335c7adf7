"""What a driver of frames is: a Source that is opened, read frame by frame, and closed, all in one thread of its own.

A source knows its device and nothing else: who wants a frame, whether one is good, and what to do when the device is
gone is all for live.py. So a driver is one file with a dozen lines for each of these methods.
"""

from typing import Protocol

from dog.cameras.pixel_formats import shrink_to_preview

__all__ = ["LOGIN_RETRY_SECONDS", "Frame", "ImageFrame", "Source"]

LOGIN_RETRY_SECONDS = 60.0
"""Seconds for which a camera that refused a password is left alone: cameras lock an account that is tried too often."""


class Frame(Protocol):
    """One frame. It may be looked at until its source has been read twice more, in the source's own thread."""

    @property
    def exposure_start(self) -> float:
        """When its exposure began, by time.monotonic(): never later than it really did."""

    @property
    def exposure(self) -> float | None:
        """How long it was exposed, in seconds; None where the driver does not know."""

    @property
    def raw(self) -> bytes | memoryview:
        """The bytes as they came from the camera: two frames of a live sensor never have the same."""

    def image(self) -> bytes:
        """The image file: what the camera made, untouched, where it makes JPEGs.

        Raises BadImage where the source knows that the frame is not whole.
        """

    def preview(self) -> bytes:
        """A JPEG of it at most PREVIEW_WIDTH wide, which may cost less than the picture. Raises BadImage likewise."""


class ImageFrame:
    """A frame that came as an image file."""

    exposure = None

    def __init__(self, data: bytes, exposure_start: float) -> None:
        self.raw = data
        self.exposure_start = exposure_start

    def image(self) -> bytes:
        return self.raw

    def preview(self) -> bytes:
        return shrink_to_preview(self.raw)


class Source(Protocol):
    """A device or an address that gives frames. Made anew for each opening; all but `is_back` block, in one thread."""

    @property
    def streams(self) -> bool:
        """Whether frames come whether or not anybody wants them, so that all must be read. If not, reading takes one.

        It is looked at once the source is open.
        """

    @property
    def settles(self) -> bool:
        """Whether its exposure has to settle after it was opened."""

    def open(self) -> None:
        """Open the device and have it give frames. Raises CameraOffline, or CameraBusy, with what to do."""

    def read(self, timeout: float) -> Frame:
        """The next frame, in order; it comes within `timeout` seconds. What a frame costs is paid by its `image`.

        Raises CameraOffline where none came in time, or none will come any more: the source is closed then.
        """

    def close(self) -> None:
        """Let go of the device, whatever state it is in; also when `open` failed. Raises nothing."""

    def is_back(self) -> bool:
        """A quick look whether a device that was gone is there again; always False where none can be had."""
