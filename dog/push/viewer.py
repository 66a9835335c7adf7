"""A viewer: a connected client and the write side of its socket."""

import asyncio
import contextlib
import socket
from enum import Enum, auto
from typing import TYPE_CHECKING, ClassVar

from dog.protocol import Message, Role, encode
from dog.push.encodings import WEBSOCKET, Encoding

if TYPE_CHECKING:
    from dog.push.hub import Hub

__all__ = ["Viewer", "WritePath"]

MAX_BACKLOG_BYTES = 64 * 1024
"""Bytes that may wait for a viewer; with more, it is dropped (docs/protocol.md)."""
SEND_BUFFER_BYTES = 64 * 1024
"""Size of a viewer's socket buffer. By default Linux buffers megabytes there before the backlog grows."""
VIEWER_CLOSE_TIMEOUT = 1.0
"""Seconds that a viewer has to read its close frame and disconnect."""


class WritePath(Enum):
    """The way in which the hub writes to a viewer."""

    DIRECT = auto()  # to its descriptor: its send buffer is empty
    BUFFERED = auto()  # through its transport: bytes wait there, or it uses TLS
    CLOSED = auto()  # not at all: the close frame was the last, or the connection has ended


class Viewer(asyncio.Protocol):
    """A connected client and the write side of its socket.

    No method waits. A subclass that reads from the connection overrides `data_received`.
    """

    encoding: ClassVar[Encoding] = WEBSOCKET

    __slots__ = (
        "_behind_since",
        "_close_timer",
        "_hub",
        "_max_backlog",
        "_transport",
        "address",
        "descriptor",
        "last_received_at",
        "ping_group",
        "role",
        "slot",
        "write_path",
    )

    def __init__(self, hub: "Hub", transport: asyncio.Transport, address: str, role: Role) -> None:
        self.address = address
        self.role = role
        self.last_received_at = hub.now()
        self.write_path = WritePath.BUFFERED
        self.descriptor = -1  # with TLS, only the transport may write to the socket
        self.ping_group: set[Viewer] | None = None  # set by the hub until the viewer leaves
        self.slot = -1  # set by the hub while it writes directly
        self._close_timer: asyncio.TimerHandle | None = None
        self._hub = hub
        self._max_backlog = MAX_BACKLOG_BYTES
        self._transport = transport
        connection = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES // 2)  # the kernel doubles it
        if transport.get_extra_info("sslcontext") is None:
            self.descriptor = connection.fileno()
            self.write_path = WritePath.DIRECT
        transport.set_protocol(self)
        transport.set_write_buffer_limits(0)  # report the first byte that waits, and when the buffer is empty again
        if transport.get_write_buffer_size():  # if an earlier protocol was paused, only that was told
            self.pause_writing()

    # ---- called by the hub and the handlers

    def send(self, message: Message) -> None:
        """Send a message to this viewer alone."""
        self.write(self.encoding.build(message, encode(message)))

    def write(self, frame: bytes) -> None:
        """Write a frame, or the rest of one. Drop the viewer if it is too slow."""
        if self.write_path is WritePath.CLOSED or self._transport.is_closing():
            return
        self._transport.write(frame)
        if self._transport.get_write_buffer_size() > self._max_backlog:
            self._hub.drop(self, "slow")

    def write_hello(self, frames: bytes) -> None:
        """Write a `hello` and its replay, which do not count as backlog."""
        self._max_backlog = max(self._max_backlog, MAX_BACKLOG_BYTES + len(frames))
        self.write(frames)
        if not self._transport.get_write_buffer_size():
            self._max_backlog = MAX_BACKLOG_BYTES

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame and shut down writing. Abort after a timeout.

        Incoming data is still read and discarded: closing a socket with unread bytes resets the connection, and the
        close frame would be lost.
        """
        if self.write_path is WritePath.CLOSED:
            return
        self.write(self.encoding.build_close(code, reason))
        if self._transport.is_closing():
            return
        self._close_later()
        if self._transport.can_write_eof():
            try:
                self._transport.write_eof()
            except OSError:  # it has just disconnected
                self.abort()

    def abort(self) -> None:
        """Abort the connection, and discard all that waits for it."""
        self._set_write_path(WritePath.CLOSED)
        self._transport.abort()

    def _close_later(self) -> None:
        """Refuse new writes, and abort the connection after VIEWER_CLOSE_TIMEOUT."""
        self._set_write_path(WritePath.CLOSED)
        self._close_timer = asyncio.get_running_loop().call_later(VIEWER_CLOSE_TIMEOUT, self._transport.abort)

    def _set_write_path(self, path: WritePath) -> None:
        """Change the write path. CLOSED is final."""
        if self.write_path is not WritePath.CLOSED:
            self.write_path = path
            self._hub.update_write_path(self)

    # ---- called by the transport

    def pause_writing(self) -> None:
        self._behind_since = self._hub.now()
        self._set_write_path(WritePath.BUFFERED)

    def resume_writing(self) -> None:
        self._max_backlog = MAX_BACKLOG_BYTES
        self._hub.metrics.event_lag.observe(self._hub.now() - self._behind_since)
        self._set_write_path(WritePath.DIRECT if self.descriptor >= 0 else WritePath.BUFFERED)

    def eof_received(self) -> None:
        if self.write_path is not WritePath.CLOSED:
            self._close_later()

    def connection_lost(self, _error: Exception | None) -> None:
        self._set_write_path(WritePath.CLOSED)
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._hub.leave(self)
