"""The viewfinder: a camera's frames, now, for whoever watches. It costs nothing while nobody does.

    camera --show--> Viewfinder --one part for all--> Watcher: the newest one --> whoever asks for the next

A frame is wrapped once, however many watch. A watcher holds the newest part and no other: who is slow skips frames, and
delays nobody. While the camera is offline there are none, and watchers wait.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from dog.cameras import Camera

__all__ = ["BOUNDARY", "END", "NEXT_HEADER", "Part", "Preview", "Watcher"]

BOUNDARY = "frame"
DELIMITER = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n".encode()
NEXT_HEADER = DELIMITER + b"\r\n"
"""The header of a part whose length is not known yet."""
END = f"--{BOUNDARY}--\r\n".encode()


class Part:
    """A frame as a part of a multipart answer (RFC 2046, section 5.1), in two forms that are views of the same bytes.

    `with_header` is the part with its header. `ahead` begins after the header, which has been sent by then, and ends with the
    next one's.
    """

    __slots__ = ("ahead", "whole")

    def __init__(self, frame: bytes) -> None:
        header = b"%bContent-Length: %d\r\n\r\n" % (DELIMITER, len(frame))
        view = memoryview(b"%b%b\r\n%b" % (header, frame, NEXT_HEADER))
        self.with_header = view[: -len(NEXT_HEADER)]
        self.after_header = view[len(header) :]


class Watcher:
    """Somebody who watches: iterates over the newest parts, each time the one that is newest when it is asked for."""

    def __init__(self) -> None:
        self._newest: Part | None = None
        self._ended = False
        self._changed = asyncio.Event()

    def offer(self, part: Part) -> None:
        """This one is the newest now."""
        self._newest = part
        self._changed.set()

    def end(self) -> None:
        """There will be no more."""
        self._ended = True
        self._changed.set()

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
    """One camera's. It has the camera show its frames from the first who watches until the last has left."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._watchers: set[Watcher] = set()
        self._closed = False

    @property
    def has_preview(self) -> bool:
        """Whether the camera shows anything at all."""
        return self._camera.has_preview

    @property
    def count(self) -> int:
        """How many watch."""
        return len(self._watchers)

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Watch from now on. Parts end when the viewfinder is closed; there are none when it was closed before."""
        watcher = Watcher()
        if self._closed:
            watcher.end()
        else:
            self._watchers.add(watcher)
            if self.count == 1:
                self._camera.show(self._offer)
        try:
            yield watcher
        finally:
            self._remove(watcher)

    def close(self) -> None:
        """Send everybody away: the server stops."""
        self._closed = True
        for watcher in list(self._watchers):
            watcher.end()
            self._remove(watcher)

    def _remove(self, watcher: Watcher) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)
            if not self._watchers:
                self._camera.show(None)

    def _offer(self, frame: bytes) -> None:
        part = Part(frame)
        for watcher in self._watchers:
            watcher.offer(part)
