"""The hub: numbers the events, keeps the last of them, and hands each to every viewer without waiting for any.

The hub owns the write side of a viewer's connection, and nobody else writes to it: frames are built here and given to
the transport whole. `publish()` never awaits. A viewer that does not read is dropped, at once and quietly, when
more than `BACKLOG` bytes wait for it; so no viewer delays another. One timer pings all viewers.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import socket
from collections import deque
from collections.abc import Callable
from itertools import islice

import msgspec

from dog.messages import PROTOCOL, CameraStatus, Event, Hello, Message, Viewers, encode, timestamp

__all__ = ["Hub", "Viewer", "build_frame"]

RING = 256
"""Events kept for those who resume (docs/protocol.md)."""
BACKLOG = 64 * 1024
"""Bytes that may wait for a viewer before it is dropped (docs/protocol.md)."""
SEND_BUFFER = 64 * 1024
"""Bytes of a viewer's socket buffer: left to itself, Linux hides megabytes of lag in it before the backlog shows."""
PING_INTERVAL = 25.0
SILENCE = 60.0
"""Seconds after which a viewer that said nothing, not even a pong, is gone (docs/protocol.md)."""
LINGER = 1.0
"""Seconds a viewer has to take its close frame and hang up."""

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA

log = logging.getLogger(__name__)


def build_frame(opcode: int, payload: bytes) -> bytes:
    """One unmasked, unfragmented frame as a server sends it (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        header = bytes((0x80 | opcode, size))
    elif size < 65536:
        header = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    else:
        header = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
    return header + payload


class Viewer:
    """One connected viewer: the write side of its connection. Every method is done before it returns."""

    def __init__(self, transport: asyncio.Transport, address: str, now: float) -> None:
        self.address = address
        self.heard_at = now
        self.closing = False
        self._limit = BACKLOG
        self._transport = transport
        connection = transport.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER // 2)  # the kernel doubles it

    def send(self, message: Message) -> None:
        """Say something to this viewer alone."""
        self.write(build_frame(TEXT, encode(message)))

    def pong(self, payload: bytes) -> None:
        self.write(build_frame(PONG, payload))

    def write(self, frame: bytes) -> None:
        """Hand over one whole frame, or drop the viewer where too much waits already."""
        if self.closing or self._transport.is_closing():
            return
        self._transport.write(frame)
        waiting = self._transport.get_write_buffer_size()
        if waiting > self._limit:
            log.info("viewer %s does not read: dropped", self.address)
            self.abort()
        elif waiting <= BACKLOG:
            self._limit = BACKLOG

    def write_greeting(self, frames: bytes) -> None:
        """Hand over a `hello` and its replay. They don't count as a backlog: a slow line must be able to catch up."""
        self._limit = BACKLOG + len(frames)
        self.write(frames)

    def close(self, code: int, reason: str = "") -> None:
        """Send the close frame and hang up once it is gone. Who does not take it within LINGER seconds is cut off.

        Only the sending half is shut, and what still comes in is read and thrown away: closing a socket with unread
        bytes resets the connection, and the close frame would be lost with it.
        """
        if self.closing:
            return
        self.write(build_frame(CLOSE, code.to_bytes(2, "big") + reason.encode()[:123]))
        self.closing = True
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            try:
                self._transport.write_eof()
            except OSError:  # it hung up in this very moment
                self.abort()
                return
        asyncio.get_running_loop().call_later(LINGER, self._transport.abort)

    def abort(self) -> None:
        """Cut the connection, whatever waits for it."""
        self.closing = True
        self._transport.abort()

    @property
    def gone(self) -> bool:
        return self._transport.is_closing()


class Hub:
    """All viewers, and the events' numbers.

    `epoch` is the server's start in ms since 1970, always above the one before; `server` names the software in `hello`.
    """

    def __init__(self, epoch: int, server: str, *, clock: Callable[[], float]) -> None:
        self.epoch = epoch
        self.seq = 0
        self.viewers: set[Viewer] = set()
        self._server = server
        self._clock = clock
        self._ring: deque[bytes] = deque(maxlen=RING)
        self._count_told_at = -1.0
        self._count_timer: asyncio.TimerHandle | None = None
        self._farewell: tuple[int, str] | None = None

    @property
    def cursor(self) -> str:
        return f"{self.epoch}-{self.seq}"

    def publish(self, event: Event) -> None:
        """Number the event, keep it, and hand it to every viewer."""
        self.seq += 1
        numbered = msgspec.structs.replace(event, seq=self.seq, cursor=self.cursor)
        frame = build_frame(TEXT, encode(numbered))
        self._ring.append(frame)
        self._write_to_all(frame)

    def join(self, viewer: Viewer, cameras: list[CameraStatus], since: str | None = None) -> None:
        """Register the viewer, tell it the whole state, and then all events after the cursor `since`.

        That is one step: no event falls between.
        """
        if self._farewell is not None:
            viewer.close(*self._farewell)
            return
        self.viewers.add(viewer)
        self._greet(viewer, cameras, self._missed(since))
        self._tell_count()

    def resume(self, viewer: Viewer, cameras: list[CameraStatus], cursor: str | None) -> None:
        """The same for a viewer that is here already."""
        self._greet(viewer, cameras, self._missed(cursor))

    def leave(self, viewer: Viewer) -> None:
        if viewer in self.viewers:
            self.viewers.discard(viewer)
            self._tell_count()

    def close(self, code: int, reason: str) -> None:
        """Send everybody away, and whoever still comes."""
        self._farewell = (code, reason)
        if self._count_timer is not None:
            self._count_timer.cancel()
        for viewer in tuple(self.viewers):
            viewer.close(code, reason)

    async def keep_alive(self) -> None:
        """Ping all viewers for ever, and drop those that have gone silent."""
        ping = build_frame(PING, b"")
        while True:
            await asyncio.sleep(PING_INTERVAL)
            silent_since = self._clock() - SILENCE
            for viewer in tuple(self.viewers):
                if viewer.heard_at < silent_since:
                    log.info("viewer %s is silent: dropped", viewer.address)
                    viewer.abort()
                else:
                    viewer.write(ping)

    def _greet(self, viewer: Viewer, cameras: list[CameraStatus], missed: list[bytes] | None) -> None:
        replayed = len(missed) if missed else 0
        hello = Hello(
            protocol=PROTOCOL,
            server=self._server,
            at=timestamp(dt.datetime.now(dt.UTC)),
            epoch=self.epoch,
            seq=self.seq - replayed,
            cursor=f"{self.epoch}-{self.seq - replayed}",
            recovered=missed is not None,
            cameras=cameras,
            viewers=len(self.viewers),
        )
        viewer.write_greeting(b"".join((build_frame(TEXT, encode(hello)), *(missed or ()))))

    def _missed(self, cursor: str | None) -> list[bytes] | None:
        """The frames after the cursor, in order; None where they are not all here, or the cursor is not ours."""
        epoch, _, seq = (cursor or "").partition("-")
        if epoch != str(self.epoch) or not (seq.isascii() and seq.isdigit() and len(seq) < 20):
            return None
        behind = self.seq - int(seq)
        if not 0 <= behind <= len(self._ring):
            return None
        return list(islice(self._ring, len(self._ring) - behind, None))

    def _write_to_all(self, frame: bytes) -> None:
        for viewer in self.viewers:
            viewer.write(frame)

    def _tell_count(self) -> None:
        """Tell all how many are watching, at most once a second."""
        if self._count_timer is None:
            loop = asyncio.get_running_loop()
            wait = max(0.0, self._count_told_at + 1.0 - self._clock())
            self._count_timer = loop.call_later(wait, self._send_count)

    def _send_count(self) -> None:
        self._count_timer = None
        self._count_told_at = self._clock()
        self._write_to_all(build_frame(TEXT, encode(Viewers(count=len(self.viewers)))))
