"""The limits of open connections: in all, and for each client address.

    connection -> idle -> its request waits, or has a place -> idle -> ...
                                                         `---> viewer, which has no place

A request needs a place from its first byte until its response has been sent. If its client has none left, it waits in
that client's queue. Idle connections have no place, so that they never delay a request. An idle connection is closed
after IDLE_TIMEOUT, or earlier if its descriptor is needed.

Descriptors are the scarcest resource. Some are reserved, for a burst of connections, images and cameras, and because a
connection must be accepted before it can be refused with a response. Client, Place and Places have no I/O and no clock.
"""

import asyncio
import contextlib
import functools
import ipaddress
import logging
import math
import resource
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from aiohttp import web

from dog.client_addresses import client_network, is_within
from dog.errors import RequestError
from dog.memory_trimmer import MemoryTrimmer
from dog.metrics import Metrics
from dog.settings import Settings
from dog.tls import Tls
from dog.web.connections.aiohttp_internals import Handler
from dog.web.connections.connection import HEAD_TIMEOUT, Connection
from dog.web.connections.refusals import MESSAGES, RETRY_AFTER, Reason, Refusals
from dog.web.loop_time import LoopTime
from dog.web.rate_limits import address_key

__all__ = [
    "CONNECTIONS",
    "RESERVED_DESCRIPTORS",
    "Client",
    "ClientLimits",
    "Connections",
    "Idle",
    "Place",
    "Places",
    "Waiter",
]

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
SWEEP_INTERVAL = 0.5
"""Seconds between two searches for connections past their deadline."""
TRIM_MIN_CONNECTIONS = 64
"""Connections that must close before their memory is trimmed: up to 100 KiB each."""
TRIM_DELAY_SWEEPS = 4
"""Sweeps until memory is trimmed: aiohttp reads the rest of a body for a while."""
LOG_INTERVAL = 10.0
"""Seconds between two lines of the log about refusals."""
UNLIMITED = 1 << 60

log = logging.getLogger(__name__)


# ---- the places of each client


class Waiter(Protocol):
    """A request that waits for a place."""

    def start(self, place: "Place") -> None: ...


class Idle(Protocol):
    """A connection without a request, which can be closed to make room."""

    def close_idle(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """The limits of one client address, each at least 1."""

    connections: int = UNLIMITED
    """Open connections, viewers included."""
    requests: int = UNLIMITED
    viewers: int = UNLIMITED


class Client:
    """The open connections, requests and viewers of one client address."""

    __slots__ = ("_is_starting", "_limits", "_waiting", "connections", "idle", "requests", "viewers")

    def __init__(self, limits: ClientLimits) -> None:
        self._limits = limits
        self._waiting: dict[Waiter, None] = {}
        self._is_starting = False
        self.connections = self.requests = self.viewers = 0
        self.idle: dict[Idle, None] = {}
        """The idle connections, in the order in which they became so."""

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_empty(self) -> bool:
        return not (self.connections or self.requests or self.viewers or self._waiting)

    @property
    def is_full(self) -> bool:
        return self.connections >= self._limits.connections

    @property
    def has_room_for_viewer(self) -> bool:
        return self.viewers < self._limits.viewers

    def request_place(self, waiter: Waiter) -> None:
        """Start the waiter with its place, now or after those that wait already."""
        if self.requests < self._limits.requests:
            waiter.start(self._take_place())
        else:
            self._waiting[waiter] = None

    def stop_waiting(self, waiter: Waiter) -> None:
        self._waiting.pop(waiter, None)

    def _take_place(self) -> "Place":
        self.requests += 1
        return Place(self)

    def release(self) -> None:
        """Give back one place. Call it by Place alone."""
        self.requests -= 1
        if self._is_starting:
            return  # the waiter that the loop below has started gives its place back at once: no recursion
        self._is_starting = True
        try:
            while self._waiting and self.requests < self._limits.requests:
                waiter = next(iter(self._waiting))
                del self._waiting[waiter]
                waiter.start(self._take_place())
        finally:
            self._is_starting = False


class Place:
    """The place of a request, until released or turned into a viewer."""

    __slots__ = ("_client", "_is_viewer")

    def __init__(self, client: Client) -> None:
        self._client: Client | None = client
        self._is_viewer = False

    @property
    def can_become_viewer(self) -> bool:
        return self._client is not None and (self._is_viewer or self._client.has_room_for_viewer)

    def count_as_viewer(self) -> None:
        """Count this request as a viewer, and free its place for the next request."""
        if self._client is not None and not self._is_viewer:
            self._is_viewer = True
            self._client.viewers += 1
            self._client.release()

    def release(self) -> None:
        """Give the place back. Further calls do nothing."""
        client, self._client = self._client, None
        if client is None:
            return
        if self._is_viewer:
            client.viewers -= 1
        else:
            client.release()


class Places:
    """The clients that have a connection, a request or a viewer."""

    def __init__(self, limits: ClientLimits) -> None:
        self._limits = limits
        self._clients: dict[str, Client] = {}

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def waiting(self) -> int:
        """The number of requests that wait for a place."""
        return sum(client.waiting for client in self._clients.values())

    def find(self, address: str) -> Client:
        """Return the client of an IP address; call `forget` when it may have gone."""
        network = client_network(address)
        client = self._clients.get(network)
        if client is None:
            client = self._clients[network] = Client(self._limits)
        return client

    def forget(self, address: str) -> None:
        """Forget the client of this address if nothing of it is left."""
        network = client_network(address)
        client = self._clients.get(network)
        if client is not None and client.is_empty:
            del self._clients[network]


# ---- all connections


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
        self.loop_time = LoopTime(time.monotonic, _call_later)
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
        self.loop_time.close()
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

    def register_waiting(self, address: str) -> Callable[[], None] | None:
        """Count a waiting connection. Return its end callback; None if too many."""
        client = self._find_client(address)
        if client.is_full or self.count >= self.max_connections:
            self._places.forget(address)
            return None
        self.count += 1
        client.connections += 1

        def unregister() -> None:
            self.count -= 1
            client.connections -= 1
            self._places.forget(address)

        return unregister

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

    def limited_address(self, address: str) -> str | None:
        """Return the key of an address in `loop_time`; None: it has no limit."""
        return None if self.trusts(address) else address_key(address)

    def trusts(self, address: str) -> bool:
        """Return True if it is one of the setting `trusted_proxies`."""
        return bool(self._trusted) and is_within(address, self._trusted)

    def get_queue_timeout(self) -> float:
        return MAX_QUEUE_SECONDS

    def get_idle_timeout(self, client: Client) -> float:
        return PROXY_IDLE_TIMEOUT if client is self._proxies else IDLE_TIMEOUT

    def _find_client(self, address: str) -> Client:
        return self._proxies if self.trusts(address) else self._places.find(address)

    # ---- requests

    @contextlib.asynccontextmanager
    async def hold_place(self, request: web.Request) -> AsyncIterator[None]:
        """Hold a place of the client that a proxy names, until the response.

        The place comes in the client's turn, and the request is charged to the client. Raises RequestError `overloaded`
        after MAX_QUEUE_SECONDS without a place.
        """
        address = request.remote or ""
        client = self._find_client(address)
        limited_address = self.limited_address(address)
        waiter = _PlaceWaiter(self.loop_time, limited_address)
        client.request_place(waiter)
        try:
            async with asyncio.timeout(MAX_QUEUE_SECONDS):
                request[PLACE] = await waiter.place
            if (connection := _find_connection(request)) is not None:
                connection.charge_to(limited_address, waiter.charged_ms)
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
        self.record_refusal(address, reason)
        if len(self._refused) >= self.max_refusals:
            return None
        self._refused.add(transport)
        return functools.partial(self._refused.discard, transport)

    def _refuse_request(self, address: str) -> RequestError:
        self.record_refusal(address, "address")
        return RequestError("overloaded", MESSAGES["address"], retry_after=RETRY_AFTER)

    def record_refusal(self, address: str, reason: Reason | Literal["rate"]) -> None:
        """Count and log a refusal, also one that is sent as any other response."""
        self._metrics.connections_refused.labels(reason).inc()
        now = asyncio.get_running_loop().time()
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            log.warning("Refused a request from %s: %s", address, self._describe_refusal(reason))

    def _describe_refusal(self, reason: Reason | Literal["rate"]) -> str:
        match reason:
            case "total":
                return f"{self.max_connections} connections are open already (max_connections, ulimit -n)"
            case "address":
                return (
                    f"it has {self.limits.requests} requests (max_connections_per_address), "
                    f"{self.limits.viewers} viewers (max_viewers_per_address) or {self.limits.connections} connections"
                )
            case "rate":
                return "it sends more requests than requests_per_minute"
            case "head_too_big":
                return "its head is too large"
            case "head_timeout":
                return f"its head did not arrive within {HEAD_TIMEOUT:g} s"


class _PlaceWaiter:
    """A request through a trusted proxy that waits for its place and its turn."""

    def __init__(self, loop_time: LoopTime, address: str | None) -> None:
        self.place: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self.charged_ms = 0.0
        self._loop_time = loop_time
        self._address = address
        self._place_to_release: Place | None = None

    def start(self, place: Place) -> None:
        self._place_to_release = place
        self._loop_time.begin_request(self._address, self)

    def take_turn(self, charged_ms: float) -> None:
        assert self._place_to_release is not None
        self.charged_ms = charged_ms
        if not self.place.done():
            self.place.set_result(self._place_to_release)

    def end(self) -> None:
        self._loop_time.cancel(self._address, self)
        if self._place_to_release is not None:
            self._place_to_release.release()


def _call_later(seconds: float, call: Callable[[], None]) -> Callable[[], None]:
    return asyncio.get_running_loop().call_later(seconds, call).cancel


def _find_place(request: web.Request) -> Place | None:
    """Return a request's place. None without a Connection, as in some tests."""
    if PLACE in request:
        return request[PLACE]
    connection = _find_connection(request)
    return None if connection is None else connection.place


def _find_connection(request: web.Request) -> Connection | None:
    connection = None if request.transport is None else request.transport.get_protocol()
    return connection if isinstance(connection, Connection) else None


def _close_oldest(idle: dict[Idle, None]) -> bool:
    """Close the longest idle connection. Return False without one."""
    oldest = next(iter(idle), None)
    if oldest is not None:
        oldest.close_idle()
    return oldest is not None


CONNECTIONS = web.AppKey("connections", Connections)
PLACE = web.RequestKey("place", Place)
"""The place of a request through a trusted proxy."""
