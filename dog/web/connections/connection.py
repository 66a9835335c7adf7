"""Client connections: limited in all and per client, queued, timed out.

    accept -> Connection: idle -> waits for a place -> reads a head -> Handler responds -> idle -> ...
                   |                    |                 |               `-> a viewer takes it over (take_over)
                   `--------------------+-----------------+-> Refusal: 503, 431 or 408, and the end

places.py counts. If a client has no place left, its requests wait in a queue, and are not read before their turn.
An idle connection is closed after IDLE_TIMEOUT, or earlier if its descriptor is needed: it never keeps another out.

Descriptors are the scarcest resource. Some are reserved, for a burst of connections, images and cameras, and because a
connection must be accepted before it can be refused with a response.
"""

import asyncio
import contextlib
import functools
import ipaddress
import logging
import math
import re
import resource
from collections.abc import AsyncIterator, Callable
from enum import Enum, auto
from typing import Any

from aiohttp import web

from dog.allocator import MemoryTrimmer
from dog.errors import RequestError
from dog.metrics import Metrics
from dog.settings import Settings
from dog.tls import Tls
from dog.web.connections.http_handler import Handler
from dog.web.connections.places import Client, ClientLimits, Idle, Place, Places
from dog.web.connections.refusals import END_OF_HEAD, MESSAGES, RETRY_AFTER, Reason, Refusal, Refusals

__all__ = ["CONNECTIONS", "HTTP_SETTINGS", "Connection", "Connections"]

MAX_ACCEPT_BACKLOG = 1024
"""Connections that may wait to be accepted, and that asyncio accepts in a row.

They are many, because every viewer reconnects at once after a restart."""
ACCEPT_ROUNDS = 3
"""Backlogs of descriptors that asyncio may open before it handles the first connection."""
RESERVED_DESCRIPTORS = 64
"""Descriptors for all but connections: the index, images, the camera's pipes, the log."""

MAX_IDLE_PER_CLIENT = 4096
"""Connections of one client that may be idle or wait, besides its requests and viewers."""
MAX_QUEUE_SECONDS = 10.0
"""The time that a request may wait for a place."""
IDLE_TIMEOUT = 10.0
"""Seconds until a connection without a request is closed."""
PROXY_IDLE_TIMEOUT = 75.0
"""The same for a trusted proxy. It must exceed the proxy's own timeout (nginx: 60 s)."""
HEAD_TIMEOUT = 20.0
"""Seconds that the head of a request may take to arrive."""
SWEEP_INTERVAL = 0.5
"""Seconds between two searches for connections past their deadline."""

TRIM_MIN_CONNECTIONS = 64
"""Connections that must close before their memory is trimmed: up to 100 KiB each."""
TRIM_DELAY_SWEEPS = 4
"""Sweeps until memory is trimmed: aiohttp reads the rest of a body for a while."""

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

LOG_INTERVAL = 10.0
"""Seconds between two lines of the log about refusals."""

log = logging.getLogger(__name__)


class Connections:
    """All open connections, with limits in all and for each client address.

    A trusted proxy is not a client: its connections count in all alone, and its requests count for the address that
    it names. `backlog` connections may wait to be accepted, and `max_refusals` may get their refusal at the same time.
    """

    def __init__(self, settings: Settings, metrics: Metrics, responses: dict[Reason, Refusals]) -> None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.backlog = self.max_refusals = MAX_ACCEPT_BACKLOG
        self.max_connections = settings.max_connections
        if descriptors != resource.RLIM_INFINITY:
            self.backlog = min(MAX_ACCEPT_BACKLOG, max(1, descriptors // 16))
            self.max_refusals = min(MAX_ACCEPT_BACKLOG, descriptors // 4)
            reserved = ACCEPT_ROUNDS * self.backlog + self.max_refusals + RESERVED_DESCRIPTORS
            self.max_connections = min(self.max_connections, max(1, descriptors - reserved))
        requests, viewers = settings.max_connections_per_address, settings.max_viewers_per_address
        share = max(self.max_connections // 2, requests)  # one client leaves room for others
        self.limits = ClientLimits(min(share, requests + viewers + MAX_IDLE_PER_CLIENT), requests, viewers)
        self.responses = responses
        self.count = 0
        self.idle: dict[Idle, None] = {}
        """The idle connections of all clients, in the order in which they became so."""
        self._open: set[Connection] = set()
        self._places = Places(self.limits)
        self._proxies = Client(ClientLimits())
        self._trusted = [ipaddress.ip_network(network) for network in settings.trusted_proxies]
        self._refused: set[asyncio.Transport] = set()
        """Connections that are being sent a refusal."""
        self._logged_at = -math.inf
        self._metrics = metrics
        metrics.connections.set_function(lambda: self.count)
        metrics.requests_waiting.set_function(lambda: self._places.waiting)

    def make_protocol_factory(self, server: web.Server, tls: Tls | None = None) -> Callable[[], asyncio.Protocol]:
        """Return the protocol factory for connections, with TLS if `tls` is given."""

        def make_handler() -> Handler:
            return Handler(server, loop=asyncio.get_running_loop(), **server._kwargs)

        def make_connection() -> asyncio.Protocol:
            connection = Connection(self, make_handler)
            return connection if tls is None else tls.wrap(connection, connection.accept)

        return make_connection

    async def run(self) -> None:
        """Close overdue connections, and trim the memory of closed ones."""
        loop = asyncio.get_running_loop()
        trimmer = MemoryTrimmer(TRIM_MIN_CONNECTIONS, TRIM_DELAY_SWEEPS)
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            now = loop.time()
            for connection in [connection for connection in self._open if connection.deadline <= now]:
                if connection.deadline <= now:  # not if it got the place of the one before
                    connection.expire()
            trimmer.observe(self.count + len(self._refused))

    async def close(self) -> None:
        """Close connections without a request, or refused: aiohttp does not."""
        for connection in [connection for connection in self._open if connection.deadline < math.inf]:
            connection.close_idle()
        for transport in tuple(self._refused):
            transport.abort()
        await asyncio.sleep(0)  # asyncio closes their sockets in its next step

    # ---- connections

    def register(self, connection: "Connection", address: str) -> Client | Reason:
        """Count a connection. Return its client, or the reason to refuse it."""
        client = self._find_client(address)
        if client.is_full and not _close_oldest(client.idle):
            return "address"
        if self.count >= self.max_connections and not _close_oldest(self.idle):
            self._places.forget(address)
            return "total"
        client = self._find_client(address)  # again: it was forgotten if its only connection was closed
        self._open.add(connection)
        self.count += 1
        client.connections += 1
        return client

    def unregister(self, connection: "Connection", client: Client, address: str) -> None:
        self._open.discard(connection)
        self.count -= 1
        client.connections -= 1
        self._places.forget(address)

    def register_viewer(self, address: str) -> Callable[[], None]:
        """Count a viewer that took over its connection. Return its end callback."""
        client = self._places.find(address)
        self.count += 1
        client.connections += 1
        client.viewers += 1

        def unregister() -> None:
            self.count -= 1
            client.connections -= 1
            client.viewers -= 1
            self._places.forget(address)

        return unregister

    def trusts(self, address: str) -> bool:
        """Return True if it is one of the setting `trusted_proxies`."""
        return bool(self._trusted) and _is_within(address, self._trusted)

    def get_idle_timeout(self, client: Client) -> float:
        return PROXY_IDLE_TIMEOUT if client is self._proxies else IDLE_TIMEOUT

    def _find_client(self, address: str) -> Client:
        return self._proxies if self.trusts(address) else self._places.find(address)

    # ---- requests

    @contextlib.asynccontextmanager
    async def hold_place(self, request: web.Request) -> AsyncIterator[None]:
        """Hold a place of the client that a proxy names, until the response.

        Raises RequestError `overloaded` if no place is free within MAX_QUEUE_SECONDS.
        """
        address = request.remote or ""
        client = self._find_client(address)
        waiter = _PlaceWaiter()
        client.request_place(waiter)
        try:
            async with asyncio.timeout(MAX_QUEUE_SECONDS):
                request[PLACE] = await waiter.place
            yield
        except TimeoutError:
            if PLACE in request:
                raise
            raise self._refuse_request(address) from None
        finally:
            client.stop_waiting(waiter)
            waiter.end()
            self._places.forget(address)

    def count_as_viewer(self, request: web.Request) -> None:
        """Count the request as a viewer and free its place, or raise `overloaded`."""
        place = _find_place(request)
        if place is not None:
            if not place.can_become_viewer:
                raise self._refuse_request(request.remote or "")
            place.count_as_viewer()

    # ---- refusals

    def refuse(self, transport: asyncio.Transport, address: str, reason: Reason) -> Callable[[], None] | None:
        """Count and log a refusal. Return its end callback; None if too many."""
        self._record_refusal(address, reason)
        if len(self._refused) >= self.max_refusals:
            return None
        self._refused.add(transport)
        return functools.partial(self._refused.discard, transport)

    def _refuse_request(self, address: str) -> RequestError:
        self._record_refusal(address, "address")
        return RequestError("overloaded", MESSAGES["address"], retry_after=RETRY_AFTER)

    def _record_refusal(self, address: str, reason: Reason) -> None:
        self._metrics.connections_refused.labels(reason).inc()
        now = asyncio.get_running_loop().time()
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            log.warning("Refused a request from %s: %s", address, self._describe_refusal(reason))

    def _describe_refusal(self, reason: Reason) -> str:
        match reason:
            case "total":
                return f"{self.max_connections} connections are open already (max_connections, ulimit -n)"
            case "address":
                return (
                    f"it has {self.limits.requests} requests (max_connections_per_address), "
                    f"{self.limits.viewers} viewers (max_viewers_per_address) or {self.limits.connections} connections"
                )
            case "head_too_big":
                return "its head is too large"
            case "head_timeout":
                return f"its head did not arrive within {HEAD_TIMEOUT:g} s"


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
        "_client",
        "_connections",
        "_handler",
        "_make_handler",
        "_on_end",
        "_received",
        "_refusal",
        "_stall_timer",
        "_state",
        "_transport",
        "deadline",
        "place",
    )

    def __init__(self, connections: Connections, make_handler: Callable[[], Handler]) -> None:
        self._connections = connections
        self._make_handler = make_handler
        self._handler: Handler | None = None
        self._address: str | None = None
        self._client: Client | None = None
        self._refusal: Reason | None = None
        self._on_end: Callable[[], None] = _do_nothing
        self._received = b""
        """Bytes that have arrived and were not parsed: of a head, or after a request."""
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
        client_or_reason = self._connections.register(self, address)
        if isinstance(client_or_reason, Client):
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
        if self._state is State.RESPONDING and not self._received:
            assert self._handler is not None
            data = self._handler.feed_body(data)
        self._received += data
        if self._state is State.IDLE:
            self._request_place()
        elif self._state is State.READING:
            self._read_head()
        elif len(self._received) >= READ_BYTES:
            self._transport.pause_reading()

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

    def take_received(self) -> bytes:
        """Return and forget the bytes after the request, for another protocol."""
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
        self.deadline = asyncio.get_running_loop().time() + MAX_QUEUE_SECONDS
        self._client.request_place(self)
        if self._state is State.WAITING:
            self._transport.pause_reading()

    def start(self, place: Place) -> None:
        """Read the request: its client has a place for it now."""
        self.place = place
        self._state = State.READING
        self.deadline = asyncio.get_running_loop().time() + HEAD_TIMEOUT
        try:
            self._read_head()
        except Exception:  # the caller may be another connection, which has just released its place
            log.exception("%s: connection closed after an internal error", self._address)
            self._transport.abort()

    def _read_head(self) -> None:
        received = self._received
        end = END_OF_HEAD.search(received, _skip_blank_lines(received))
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
            handler.connection_made(self._transport)
            self._transport.set_write_buffer_limits(0)  # `pause_writing` is called for any byte that waits
        if handler.feed_head(head):
            self._received = handler.feed_body(rest) if rest else b""
            if len(self._received) < READ_BYTES:
                self._transport.resume_reading()
        else:
            self._transport.close()

    def _on_response(self) -> None:
        """Continue after a response: with the next request, if it has arrived."""
        if self._state is not State.RESPONDING:
            return
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
            self._handler.transport = None  # or it would close the connection
            self._handler.connection_lost(None)
            self._handler = None

    def _release_all(self) -> None:
        """Release the place, leave the queue, and unregister the connection."""
        self._state = State.CLOSED
        self.deadline = math.inf
        self._received = b""
        self._stop_being_idle()
        if self._client is not None:
            self._client.stop_waiting(self)
        self._release_place()
        self._take_on_end()()

    def _take_on_end(self) -> Callable[[], None]:
        end, self._on_end = self._on_end, _do_nothing
        return end

    def _release_place(self) -> None:
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


class _PlaceWaiter:
    """A request through a trusted proxy that waits for its place."""

    def __init__(self) -> None:
        self.place: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._place_to_release: Place | None = None

    def start(self, place: Place) -> None:
        self._place_to_release = place
        if not self.place.done():
            self.place.set_result(place)

    def end(self) -> None:
        if self._place_to_release is not None:
            self._place_to_release.release()


def _find_place(request: web.Request) -> Place | None:
    """Return a request's place. None without a Connection, as in some tests."""
    if PLACE in request:
        return request[PLACE]
    connection = None if request.transport is None else request.transport.get_protocol()
    return connection.place if isinstance(connection, Connection) else None


def _close_oldest(idle: dict[Idle, None]) -> bool:
    """Close the longest idle connection. Return False without one."""
    oldest = next(iter(idle), None)
    if oldest is not None:
        oldest.close_idle()
    return oldest is not None


def _skip_blank_lines(received: bytes) -> int:
    """Skip the blank lines before a request line (RFC 9112, section 2.2)."""
    return len(received) - len(received.lstrip(b"\r\n"))


def _is_within(address: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in networks)


def _do_nothing() -> None:
    pass


CONNECTIONS = web.AppKey("connections", Connections)
PLACE = web.RequestKey("place", Place)
"""The place of a request through a trusted proxy."""
