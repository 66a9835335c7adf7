"""One client connection, from its acceptance to its end.

    accept -> Connection: idle -> waits for a place -> reads a head -> Handler responds -> idle -> ...
                   |                    |                 |               `-> a viewer takes it over (take_over)
                   `--------------------+-----------------+-> Refusal: 503, 431 or 408, and the end

connection_limits.py counts connections and places. If a client has no place left, its requests wait in a queue, and
are not read before their turn.
"""

import asyncio
import functools
import logging
import math
import re
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from dog.web.connections.aiohttp_internals import Handler
from dog.web.connections.refusals import END_OF_HEAD, Reason, Refusal
from dog.web.loop_time import MESSAGE_MS, Stopwatch

if TYPE_CHECKING:
    from dog.web.connections.connection_limits import Client, Connections, Place

__all__ = ["HTTP_SETTINGS", "Connection"]


HEAD_TIMEOUT = 20.0
"""Seconds that the head of a request may take to arrive."""


READ_BYTES = 16 * 1024
"""Bytes that are read from a connection at once, and that are kept of the data after a request."""
MAX_HEAD_BYTES = 16 * 1024
MAX_HEAD_BYTES_WITH_COOKIE = 32 * 1024
HTTP_SETTINGS: dict[str, Any] = {
    "max_line_size": MAX_HEAD_BYTES_WITH_COOKIE,  # `_read_head` limits the whole head
    "max_field_size": MAX_HEAD_BYTES_WITH_COOKIE,
    "read_bufsize": 4 * 1024,  # bytes of a body after which aiohttp waits for a reader; it keeps at most twice as many
    "lingering_time": 0.5,  # seconds in which an unread body still arrives, so that its sender gets the response
    "handler_cancellation": True,  # a client that disconnects frees its place at once
    "auto_decompress": False,  # no client has a reason to compress a body
}
"""Options for aiohttp's handler."""
COOKIE = re.compile(rb"\ncookie:", re.IGNORECASE)
REQUEST_START = re.compile(rb"[\r\n]*(?:[A-Za-z-]{0,32}\Z|[A-Za-z-]{1,32} )")
"""The beginning of a request line, as far as it has arrived."""

MIN_BYTES_PER_SECOND = 1024
"""The least that a client must read of a response, on the average of STALL_SECONDS."""
STALL_SECONDS = 30.0


log = logging.getLogger(__name__)


class State(Enum):
    """The state of a connection. IDLE, WAITING and READING have a deadline."""

    IDLE = auto()
    WAITING = auto()
    """A request has begun, and has no place yet."""
    READING = auto()
    """The head of a request is arriving."""
    RESPONDING = auto()
    """aiohttp has the request."""
    CLOSED = auto()
    """It is closed, or another protocol has it."""


class Connection(asyncio.Protocol):
    """One HTTP connection. A client that does not read is disconnected."""

    __slots__ = (
        "_address",
        "_charged",
        "_client",
        "_connections",
        "_handler",
        "_limited_address",
        "_make_handler",
        "_on_end",
        "_received",
        "_refusal",
        "_stall_timer",
        "_state",
        "_stopwatch",
        "_transport",
        "deadline",
        "place",
    )

    def __init__(self, connections: "Connections", make_handler: Callable[[], Handler]) -> None:
        self._connections = connections
        self._make_handler = make_handler
        self._handler: Handler | None = None
        self._address: str | None = None
        self._limited_address: str | None = None
        """The address that the loop's time is charged to. None: it has no limit."""
        self._client: Client | None = None
        self._refusal: Reason | None = None
        self._on_end: Callable[[], None] = _do_nothing
        self._received = b""
        """Bytes that have arrived and were not parsed: of a head, or after a request."""
        self._stopwatch: Stopwatch | None = None
        self._charged: tuple[str | None, float] | None = None
        """The address that the present request is charged to, and the time that was charged in advance."""
        self._state = State.IDLE
        self._stall_timer: asyncio.TimerHandle | None = None
        self.place: Place | None = None
        self.deadline = math.inf
        """The event loop's time at which `expire` is to be called."""

    def accept(self, transport: asyncio.Transport) -> None:
        """Register the connection, or refuse it: with TLS, before the handshake."""
        self._transport = transport
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # asyncio's limit of one read, 256 KiB by default
        peer = transport.get_extra_info("peername")
        self._address = address = peer[0] if peer else ""
        self._limited_address = self._connections.limited_address(address)
        if self._limited_address is not None or self._connections.trusts(address):
            self._stopwatch = Stopwatch()
        client_or_reason = self._connections.register(self, address)
        if not isinstance(client_or_reason, str):
            self._client = client_or_reason
            self._on_end = functools.partial(self._connections.unregister, self, client_or_reason, address)
            self._become_idle()
        else:
            self._refusal = client_or_reason
            end = self._connections.refuse(transport, address, client_or_reason)
            if end is None:
                transport.abort()
            else:
                self._on_end = end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._address is None:
            self.accept(transport)
        self._transport = transport
        if self._refusal is not None and self._on_end is not _do_nothing:
            self._hand_over(Refusal(transport, self._connections.responses[self._refusal], b"", self._take_on_end()))
        elif self._client is not None and self._state is State.IDLE:
            self._become_idle()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._state is State.IDLE:
            self._request_place()
        elif not self._connections.loop_time.request_turn(self._limited_address, self, MESSAGE_MS):
            self._transport.pause_reading()

    def take_turn(self, charged_ms: float) -> None:
        """Parse what has arrived, and read on."""
        if self._state is State.WAITING:
            self._state = State.READING
            self.charge_to(self._limited_address, charged_ms)
            self.deadline = asyncio.get_running_loop().time() + HEAD_TIMEOUT
        try:
            if self._state is State.READING:
                self._read_head()
            elif self._state is State.RESPONDING:
                self._feed_body()
        except Exception:  # the caller may be another connection, which has just released its place
            log.exception("%s: connection closed after an internal error", self._address)
            self._transport.abort()

    def charge_to(self, address: str | None, charged_ms: float) -> None:
        """Charge the time of the present request to an address, at its end."""
        self._charged = address, charged_ms

    def pause_writing(self) -> None:
        if self._handler is not None:
            self._handler.pause_writing()
        self._watch_progress(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._forget_progress()
        if self._handler is not None:
            self._handler.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._forget_progress()
        self._release_all()
        if self._handler is not None:
            self._handler.connection_lost(error)
            self._handler = None

    def _take_received(self) -> bytes:
        received, self._received = self._received, b""
        self._transport.resume_reading()
        return received

    def expire(self) -> None:
        """End a connection past its deadline: idle, waiting, or sending a head."""
        match self._state:
            case State.WAITING:
                self._refuse("address")
            case State.READING:
                self._refuse("head_timeout")
            case State.IDLE:
                self.close_idle()

    def close_idle(self) -> None:
        """Close the connection now, without a response."""
        self._release_all()
        self._transport.close()

    # ---- from state to state

    def _become_idle(self) -> None:
        assert self._client is not None
        self._state = State.IDLE
        self._transport.resume_reading()
        self.deadline = asyncio.get_running_loop().time() + self._connections.get_idle_timeout(self._client)
        self._connections.idle[self] = self._client.idle[self] = None

    def _stop_being_idle(self) -> None:
        self._connections.idle.pop(self, None)
        if self._client is not None:
            self._client.idle.pop(self, None)

    def _request_place(self) -> None:
        """Wait for a place. Nothing more is read until there is one."""
        assert self._client is not None
        self._stop_being_idle()
        self._state = State.WAITING
        self.deadline = asyncio.get_running_loop().time() + self._connections.get_queue_timeout()
        self._client.request_place(self)
        if self._state is State.WAITING:
            self._transport.pause_reading()

    def start(self, place: "Place") -> None:
        """Read the request in its turn: its client has a place for it now."""
        self.place = place
        self._connections.loop_time.begin_request(self._limited_address, self)

    def _read_head(self) -> None:
        received = self._received
        blank = len(received) - len(received.lstrip(b"\r\n"))  # lines before a request line (RFC 9112, section 2.2)
        end = END_OF_HEAD.search(received, blank)
        size = len(received) if end is None else end.end()
        if size > MAX_HEAD_BYTES and (size > MAX_HEAD_BYTES_WITH_COOKIE or not COOKIE.search(received, 0, size)):
            self._refuse("head_too_big")
        elif end is not None or not REQUEST_START.match(received):
            self._start_request(received[:size], received[size:])
        else:
            self._transport.resume_reading()

    def _start_request(self, head: bytes, rest: bytes) -> None:
        self._state = State.RESPONDING
        self.deadline = math.inf
        handler = self._handler
        if handler is None:
            self._handler = handler = self._make_handler()
            handler.on_response = self._on_response
            handler.take_received = self._take_received
            handler.stopwatch = self._stopwatch
            handler.connection_made(self._transport)
            self._transport.set_write_buffer_limits(0)  # `pause_writing` is called for any byte that waits
        self._received = rest
        if handler.feed_head(head):
            self._feed_body()
        else:
            self._transport.close()

    def _feed_body(self) -> None:
        """Pass the body on. What follows it waits for the response."""
        assert self._handler is not None
        if self._received:
            self._received = self._handler.feed_body(self._received)
        if len(self._received) < READ_BYTES:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _on_response(self) -> None:
        """Continue after a response: with the next request, if it has arrived."""
        if self._state is not State.RESPONDING:
            return
        self._connections.loop_time.cancel(self._limited_address, self)
        self._release_place()
        if self._received:
            self._request_place()
        else:
            self._become_idle()

    def _refuse(self, reason: Reason) -> None:
        received = self._received
        address = self._address or ""
        self._release_all()
        end = self._connections.refuse(self._transport, address, reason)
        if end is None:
            self._transport.abort()
        else:
            self._hand_over(Refusal(self._transport, self._connections.responses[reason], received, end))

    def _hand_over(self, protocol: asyncio.Protocol) -> None:
        self._state = State.CLOSED
        self._transport.set_protocol(protocol)
        if self._handler is not None:
            self._handler.detach()
            self._handler = None

    def _release_all(self) -> None:
        """Release the place, leave the queue, and unregister the connection."""
        self._state = State.CLOSED
        self.deadline = math.inf
        self._received = b""
        self._stop_being_idle()
        if self._client is not None:
            self._client.stop_waiting(self)
        self._connections.loop_time.cancel(self._limited_address, self)
        self._release_place()
        self._take_on_end()()

    def _take_on_end(self) -> Callable[[], None]:
        end, self._on_end = self._on_end, _do_nothing
        return end

    def _release_place(self) -> None:
        if self._charged is not None and self._stopwatch is not None:
            self._connections.loop_time.end_request(*self._charged, self._stopwatch.reset())
        self._charged = None
        if self.place is not None:
            self.place.release()
            self.place = None

    # ---- clients that do not read

    def _watch_progress(self, waiting: int) -> None:
        self._stall_timer = asyncio.get_running_loop().call_later(STALL_SECONDS, self._check_progress, waiting)

    def _forget_progress(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _check_progress(self, waited: int) -> None:
        waiting = self._transport.get_write_buffer_size()
        if 0 <= waited - waiting < MIN_BYTES_PER_SECOND * STALL_SECONDS:  # below 0 if more was written since
            log.info("%s reads its response too slowly: disconnected", self._address)
            self._transport.abort()
        else:
            self._watch_progress(waiting)


def _do_nothing() -> None:
    pass
