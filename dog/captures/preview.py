"""The live view of a camera. It costs nothing without watchers.

    camera --set_preview--> Preview --one part for all--> Watcher: the newest part --> its client

A frame is wrapped once for all watchers. A watcher holds only the newest part: a slow client skips frames and delays
no other. While the camera is offline, watchers wait.
"""

import asyncio
import functools
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dog.cameras import Camera
from dog.push.websocket_frames import BINARY, build_frame

__all__ = ["BOUNDARY", "END", "MAX_MESSAGE_BYTES", "NEXT_HEADER", "Part", "Preview", "Watcher"]

BOUNDARY = f"frame-{secrets.token_hex(16)}"
"""Random, because browsers find the end of a part by it. A camera could send a next part inside of a frame, such as a
page with a script."""
DELIMITER = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n".encode()
NEXT_HEADER = DELIMITER + b"\r\n"
"""Header of a part, without its length."""
END = f"--{BOUNDARY}--\r\n".encode()
MAX_MESSAGE_BYTES = 16 * 1024
"""The most bytes of a frame in one WebSocket message. A script sees no part of a message, so each is a sign of life."""


class Part:
    """A frame as a multipart part (RFC 2046, 5.1): two views of its bytes.

    `with_header` is the part with its header. `after_header` is the part without it, and the next part's header: it
    follows a header that was sent before.
    """

    def __init__(self, frame: bytes) -> None:
        self._frame = frame
        header = b"%bContent-Length: %d\r\n\r\n" % (DELIMITER, len(frame))
        view = memoryview(b"%b%b\r\n%b" % (header, frame, NEXT_HEADER))
        self.with_header = view[: -len(NEXT_HEADER)]
        self.after_header = view[len(header) :]

    @functools.cached_property
    def messages(self) -> list[bytes]:
        """The frame in binary WebSocket messages, each with its header."""
        starts = range(0, len(self._frame), MAX_MESSAGE_BYTES)
        return [build_frame(BINARY, self._frame[start : start + MAX_MESSAGE_BYTES]) for start in starts]


class Watcher:
    """A client of the live view: an iterator over the newest parts."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._newest: Part | None = None
        self._on_end = on_end
        self._ended = False
        self._changed = asyncio.Event()

    def offer(self, part: Part) -> None:
        """Replace the newest part."""
        self._newest = part
        self._changed.set()

    def end(self) -> None:
        """End the iteration."""
        self._ended = True
        self._changed.set()
        self._on_end()

    def __aiter__(self) -> "Watcher":
        return self

    async def __anext__(self) -> Part:
        while self._newest is None and not self._ended:
            await self._changed.wait()
            self._changed.clear()
        if self._newest is None or self._ended:
            raise StopAsyncIteration
        part, self._newest = self._newest, None
        return part


class Preview:
    """The live view of a camera, which sends frames only to watchers."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._watchers: set[Watcher] = set()
        self._closed = False

    @property
    def has_preview(self) -> bool:
        """Return True if the camera has a live view."""
        return self._camera.has_preview

    @property
    def count(self) -> int:
        """Number of watchers."""
        return len(self._watchers)

    @contextmanager
    def watch(self, on_end: Callable[[], None] = lambda: None) -> Iterator[Watcher]:
        """Add a watcher. Its parts end when the live view is closed."""
        watcher = Watcher(on_end)
        if self._closed:
            watcher.end()
        else:
            self._watchers.add(watcher)
            if self.count == 1:
                self._camera.set_preview(self._offer)
        try:
            yield watcher
        finally:
            self._remove(watcher)

    def close(self) -> None:
        """End all watchers, because the server stops."""
        self._closed = True
        for watcher in list(self._watchers):
            watcher.end()
            self._remove(watcher)

    def _remove(self, watcher: Watcher) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)
            if not self._watchers:
                self._camera.set_preview(None)

    def _offer(self, frame: bytes) -> None:
        if BOUNDARY.encode() in frame:  # the camera has read it in our own live view
            return
        part = Part(frame)
        for watcher in self._watchers:
            watcher.offer(part)
