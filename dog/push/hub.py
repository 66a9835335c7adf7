"""The hub: numbers, replay and fan-out of events.

After the handshake, events reach a viewer only through the hub. It builds each message once in each encoding, and
writes it whole. `publish()` never awaits. A viewer that does not read is dropped without a close frame when more than
`MAX_BACKLOG_BYTES` wait for it, so no viewer delays another. One timer pings all viewers.

Most of the time of a fan-out is the kernel's send, and touching ten thousand scattered objects costs as much again. So
the descriptors of all viewers with an empty send buffer are one flat list, and are written to directly. A viewer leaves
the list as soon as its transport buffers a byte, or its connection ends: before its descriptor is closed and reused.
"""

import asyncio
import logging
import os
from array import array
from collections import deque
from collections.abc import Callable
from itertools import cycle, islice

import msgspec

from dog.clock import utc_now
from dog.metrics import DropReason, Metrics
from dog.protocol import PROTOCOL, CameraStatus, Event, Hello, Message, Viewers, encode, timestamp
from dog.push.encodings import ENCODINGS, Encoding
from dog.push.viewer import Viewer, WritePath

__all__ = ["Hub"]

REPLAY_EVENTS = 256
"""Number of events that are kept for viewers that resume (docs/protocol.md)."""
PING_INTERVAL = 25.0
"""Seconds between two pings to one viewer (docs/protocol.md)."""
PING_GROUPS = 25
"""Groups of viewers that are pinged in turn: ten thousand pongs at once would delay an event."""
SILENCE_TIMEOUT = 60.0
"""Seconds without any data, even a pong, after which a viewer is dropped (docs/protocol.md)."""

log = logging.getLogger(__name__)


class _DirectWriters:
    """Viewers with an empty send buffer, and their descriptors in this order."""

    def __init__(self) -> None:
        self._descriptors = array("i")
        self._viewers: list[Viewer] = []

    def add(self, viewer: Viewer) -> None:
        viewer.slot = len(self._viewers)
        self._viewers.append(viewer)
        self._descriptors.append(viewer.descriptor)

    def discard(self, viewer: Viewer) -> None:
        """Remove a viewer, if it is in the list. The last one gets its slot."""
        slot, viewer.slot = viewer.slot, -1
        if slot < 0:
            return
        last, descriptor = self._viewers.pop(), self._descriptors.pop()
        if last is not viewer:
            self._viewers[slot], self._descriptors[slot] = last, descriptor
            last.slot = slot

    def write(self, frame: bytes) -> list[tuple[Viewer, bytes]]:
        """Write the frame to all. Return viewers with the rest they did not take."""
        size = len(frame)
        left = []
        write = os.write
        for slot, descriptor in enumerate(self._descriptors):
            try:
                taken = write(descriptor, frame)
            except OSError:  # its buffer is full, or it is closed: its transport finds out which
                taken = 0
            if taken != size:
                left.append((self._viewers[slot], frame[taken:]))
        return left


Frames = dict[Encoding, bytes]
"""A message in every encoding."""


def _build(message: Message | Event) -> Frames:
    text = encode(message)
    return {encoding: encoding.build(message, text) for encoding in ENCODINGS}


class Hub:
    """All viewers, the replay buffer and the number of the last event.

    `epoch` is the server's start in ms since 1970, larger than at earlier starts. `server` is the software's name.
    """

    def __init__(self, epoch: int, server: str, metrics: Metrics, *, clock: Callable[[], float]) -> None:
        self.epoch = epoch
        self.seq = 0
        self.count = 0
        self.now = clock
        self.metrics = metrics
        self._server = server
        self._ping_groups: list[set[Viewer]] = [set() for _ in range(PING_GROUPS)]
        self._next_ping_group = cycle(self._ping_groups)
        self._direct_writers = {encoding: _DirectWriters() for encoding in ENCODINGS}
        self._buffered: set[Viewer] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._replay: deque[Frames] = deque(maxlen=REPLAY_EVENTS)
        self._count_sent_at = -1.0
        self._count_timer: asyncio.TimerHandle | None = None
        self._closed_with: tuple[int, str] | None = None
        metrics.viewers.set_function(lambda: self.count)

    @property
    def cursor(self) -> str:
        return f"{self.epoch}-{self.seq}"

    def publish(self, event: Event) -> None:
        """Number the event, keep it for replay, and send it to every viewer."""
        self.seq += 1
        numbered = msgspec.structs.replace(event, seq=self.seq, cursor=self.cursor)
        frames = _build(numbered)
        self._replay.append(frames)
        with self.metrics.fanout.time():
            self._write_to_all(frames)

    # ---- viewers that join and leave

    def join(
        self, viewer: Viewer, cameras: list[CameraStatus], since: str | None = None, *, preface: bytes = b""
    ) -> None:
        """Register the viewer. Send `hello` and the events after cursor `since`.

        No event is lost in between. `preface` is sent first: the response to the viewer's handshake.
        """
        if self._closed_with is not None:
            viewer.write(preface)
            viewer.close(*self._closed_with)
            return
        viewer.ping_group = next(self._next_ping_group)
        viewer.ping_group.add(viewer)
        self.count += 1
        self._empty.clear()
        self.update_write_path(viewer)
        self.resume(viewer, cameras, since, preface=preface)
        self._schedule_count()

    def resume(self, viewer: Viewer, cameras: list[CameraStatus], cursor: str | None, *, preface: bytes = b"") -> int:
        """Send `hello` and the events after the cursor. Return the bytes sent."""
        missed = self._events_since(cursor)
        if cursor is not None:
            self.metrics.resumes.labels("false" if missed is None else "true").inc()
        replayed = len(missed) if missed else 0
        hello = Hello(
            protocol=PROTOCOL,
            server=self._server,
            at=timestamp(utc_now()),
            epoch=self.epoch,
            seq=self.seq - replayed,
            cursor=f"{self.epoch}-{self.seq - replayed}",
            recovered=missed is not None,
            cameras=cameras,
            viewers=self.count,
            role=viewer.role,
        )
        encoding = viewer.encoding
        replay = (frames[encoding] for frames in missed or ())
        data = b"".join((preface, encoding.build(hello, encode(hello)), *replay))
        viewer.write_hello(data)
        return len(data)

    def leave(self, viewer: Viewer) -> None:
        """Unregister the viewer, if registered: nothing more is written to it."""
        if viewer.ping_group is None:
            return
        viewer.ping_group.discard(viewer)
        viewer.ping_group = None
        self.update_write_path(viewer)
        self.count -= 1
        if self.count == 0:
            self._empty.set()
        self._schedule_count()

    def drop(self, viewer: Viewer, reason: DropReason) -> None:
        """Abort a viewer that does not read (`slow`) or sends nothing (`silent`)."""
        log.info("viewer %s was dropped: it is %s", viewer.address, reason)
        self.metrics.viewers_dropped.labels(reason).inc()
        viewer.abort()

    def close(self, code: int, reason: str) -> None:
        """Close all viewers, and every viewer that joins later."""
        self._closed_with = (code, reason)
        if self._count_timer is not None:
            self._count_timer.cancel()
        for ping_group in self._ping_groups:
            for viewer in tuple(ping_group):
                viewer.close(code, reason)

    async def wait_closed(self) -> None:
        """Wait until all have left: VIEWER_CLOSE_TIMEOUT at most after `close`."""
        await self._empty.wait()

    async def keep_alive(self) -> None:
        """Ping all viewers and drop silent ones, group after group, forever."""
        for ping_group in cycle(self._ping_groups):
            await asyncio.sleep(PING_INTERVAL / PING_GROUPS)
            silent_since = self.now() - SILENCE_TIMEOUT
            for viewer in tuple(ping_group):
                if viewer.last_received_at < silent_since:
                    self.drop(viewer, "silent")
                else:
                    viewer.write(viewer.encoding.ping)

    # ---- direct or buffered writes

    def update_write_path(self, viewer: Viewer) -> None:
        """Move a viewer to the list of its write path, or out of both lists."""
        direct_writers = self._direct_writers[viewer.encoding]
        direct_writers.discard(viewer)
        self._buffered.discard(viewer)
        if viewer.ping_group is None:
            return
        if viewer.write_path is WritePath.DIRECT:
            direct_writers.add(viewer)
        elif viewer.write_path is WritePath.BUFFERED:
            self._buffered.add(viewer)

    def _write_to_all(self, frames: Frames) -> None:
        left = [one for encoding, writers in self._direct_writers.items() for one in writers.write(frames[encoding])]
        for viewer in tuple(self._buffered):
            viewer.write(frames[viewer.encoding])
        for viewer, rest in left:
            viewer.write(rest)

    def _events_since(self, cursor: str | None) -> list[Frames] | None:
        """Return the events after the cursor; None if they can't be replayed."""
        epoch, _, seq = (cursor or "").partition("-")
        if epoch != str(self.epoch) or not (seq.isascii() and seq.isdigit() and len(seq) < 20):
            return None
        missed = self.seq - int(seq)
        if not 0 <= missed <= len(self._replay):
            return None
        return list(islice(self._replay, len(self._replay) - missed, None))

    def _schedule_count(self) -> None:
        """Send the count of viewers to all, at most once a second."""
        if self._count_timer is None and self._closed_with is None:
            loop = asyncio.get_running_loop()
            wait = max(0.0, self._count_sent_at + 1.0 - self.now())
            self._count_timer = loop.call_later(wait, self._send_count)

    def _send_count(self) -> None:
        self._count_timer = None
        self._count_sent_at = self.now()
        self._write_to_all(_build(Viewers(count=self.count)))
