"""Source: the interface of a driver for frames, used in one thread.

A source knows only its device. source_reader.py distributes the frames and reconnects. So a driver
is one file with a dozen lines for each method.
"""

from typing import Protocol

from dog.cameras.pixel_formats import shrink_to_preview

__all__ = ["LOGIN_RETRY_SECONDS", "Frame", "ImageFrame", "Source"]

LOGIN_RETRY_SECONDS = 60.0
"""Pause after a refused password. Cameras lock an account after too many attempts."""


class Frame(Protocol):
    """A frame, valid in its thread until the source has been read twice more."""

    @property
    def exposure_start(self) -> float:
        """The start of its exposure (time.monotonic()), never after the true one."""

    @property
    def exposure(self) -> float | None:
        """Its exposure time in seconds. None if unknown."""

    @property
    def raw(self) -> bytes | memoryview:
        """The bytes from the camera. Two frames of a live sensor are never equal."""

    def image(self) -> bytes:
        """Return the image file, a JPEG unchanged. Raises BadImage if incomplete."""

    def preview(self) -> bytes:
        """Return a cheaper JPEG, at most MAX_PREVIEW_WIDTH wide. Raises BadImage."""


class ImageFrame:
    """A frame that arrived as an image file."""

    exposure = None

    def __init__(self, data: bytes, exposure_start: float) -> None:
        self.raw = data
        self.exposure_start = exposure_start

    def image(self) -> bytes:
        return self.raw

    def preview(self) -> bytes:
        return shrink_to_preview(self.raw)


class Source(Protocol):
    """A device or a URL that sends frames, for one opening. Its calls block."""

    @property
    def streams(self) -> bool:
        """True if all frames must be read, else a read takes one. Valid once open."""

    @property
    def settles(self) -> bool:
        """True if the exposure must settle after the opening."""

    def open(self) -> None:
        """Open the device and start it. Raises CameraOffline or CameraBusy."""

    def read(self, timeout: float) -> Frame:
        """Return the next frame, not decoded yet, within `timeout` seconds.

        Raises CameraOffline if no frame arrives in time, or the stream has ended. The source is closed then.
        """

    def close(self) -> None:
        """Release the device, also after a failed `open`. Raises nothing."""

    def is_back(self) -> bool:
        """Return True if a lost device is back. Quick; always False if unknown."""
