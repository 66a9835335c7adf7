"""Cameras for tests: drivers whose images and failures the test controls."""

import asyncio
import io
from collections import deque

from PIL import Image

from dog.cameras import CapturedImage, OnFrame, OnLost
from dog.errors import CameraOffline

__all__ = ["HandCamera", "make_picture"]


def make_picture(colour: str = "orange", size: tuple[int, int] = (64, 48), kind: str = "JPEG") -> bytes:
    """Make an image of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


class HandCamera:
    """A camera that captures when the test calls `release`.

    If `held` is False, it captures at once. `results` are images to return or errors to raise; after them, it returns
    plain images. `exposing` is set during a held capture.
    """

    def __init__(self) -> None:
        self.held = False
        self.offline = False
        self.results: deque[bytes | CapturedImage | BaseException] = deque()
        self.lost: OnLost = lambda _error: None
        self.sign = asyncio.Event()
        self.has_preview = False
        self.shown_to: OnFrame | None = None
        self.captures = 0
        self.at_once = 0
        self.most_at_once = 0
        self.opened = 0
        self.closed = False
        self.killed = False
        self.exposing = asyncio.Event()
        self._go = asyncio.Event()

    async def open(self, lost: OnLost) -> None:
        self.opened += 1
        self.lost = lost
        if self.offline:
            raise CameraOffline("The camera is not plugged in.")

    async def wait_for_device(self) -> None:
        await self.sign.wait()
        self.sign.clear()

    def set_preview(self, on_frame: OnFrame | None) -> None:
        self.shown_to = on_frame

    async def capture(self) -> CapturedImage:
        self.captures += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.held:
                self._go.clear()
                self.exposing.set()
                await self._go.wait()
            if self.offline:
                raise CameraOffline("The camera is not plugged in.")
            result = self.results.popleft() if self.results else make_picture()
            if isinstance(result, BaseException):
                raise result
            return result if isinstance(result, CapturedImage) else CapturedImage(data=result)
        finally:
            self.exposing.clear()
            self.at_once -= 1

    async def release(self) -> None:
        """Wait until a capture is held, and let it continue."""
        await self.exposing.wait()
        self.exposing.clear()
        self._go.set()

    async def close(self) -> None:
        self.closed = True

    def kill(self) -> None:
        self.killed = True
