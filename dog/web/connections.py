"""Who may be connected at once: counted in all and by address, so that one client can't take every place.

    accept -> Guard -> too many -> 503, and good-bye
                 `---> aiohttp's handler, until the connection ends or a viewer takes it over (sockets.take_over)

The file descriptors are what really runs out, so as many are kept back as a burst of connections, the pictures and the
cameras need: a client that is too many is told so, for which it has to be accepted first.
"""

import asyncio
import contextlib
import ipaddress
import logging
import math
import resource
from collections import Counter
from collections.abc import Callable
from typing import Literal

from aiohttp import web

from dog.messages import encode
from dog.metrics import Metrics
from dog.settings import Settings
from dog.web.problems import describe_problem

__all__ = ["CONNECTIONS", "Connections"]

BACKLOG = 1024
"""Connections that may wait to be accepted: everybody comes back at once after a restart. asyncio accepts as many in a
row."""
ROWS = 3
"""Rows of them that hold descriptors before the first is looked at, or gone: asyncio takes so many steps meanwhile."""
OWN_DESCRIPTORS = 64
"""Descriptors for everything that is not a connection: the index, pictures, the camera's pipes, the log."""
LINGER = 1.0
"""Seconds a refused client has to read why."""
RETRY_AFTER = 10
"""Seconds after which a refused client may try again."""
SLOWEST = 1024
"""Bytes a second that a client has to take of an answer, on the average of PATIENCE seconds."""
PATIENCE = 30.0

SAID_AGAIN = 10.0
"""Seconds between two lines of the log about refusals."""

Reason = Literal["total", "address"]

log = logging.getLogger(__name__)


class Connections:
    """The places: `most` in all, `most_per_address` for one client. Who is in is counted, whoever it is.

    `backlog` may wait to be accepted, and `refusals` be told 503 at once.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.backlog = self.refusals = BACKLOG
        self.most = settings.max_connections
        if descriptors != resource.RLIM_INFINITY:
            self.backlog = min(BACKLOG, max(1, descriptors // 16))
            self.refusals = min(BACKLOG, descriptors // 4)
            kept_back = ROWS * self.backlog + self.refusals + OWN_DESCRIPTORS
            self.most = min(self.most, max(1, descriptors - kept_back))
        self.most_per_address = settings.max_connections_per_address
        self.count = 0
        self._by_client: Counter[str] = Counter()
        self._lingering = 0
        self._said_at = -math.inf
        self._metrics = metrics
        metrics.connections.set_function(lambda: self.count)

    def guard(self, make_handler: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """What makes the protocol of each accepted connection: counted, or refused."""
        return lambda: Connection(self, make_handler)

    def find_refusal(self, address: str) -> Reason | None:
        """Why one more from this address would be too many, or None."""
        if self.count >= self.most:
            return "total"
        if self._by_client[_client(address)] >= self.most_per_address:
            return "address"
        return None

    def enter(self, address: str) -> None:
        self.count += 1
        self._by_client[_client(address)] += 1

    def leave(self, address: str) -> None:
        client = _client(address)
        self.count -= 1
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]

    def refuse(self, transport: asyncio.Transport, address: str, reason: Reason) -> None:
        """Say 503 and hang up; without a word where too many are being told so already."""
        self._metrics.connections_refused.labels(reason).inc()
        now = asyncio.get_running_loop().time()
        if now - self._said_at >= SAID_AGAIN:
            self._said_at = now
            limit = f"{self.most} in all" if reason == "total" else f"{self.most_per_address} from one address"
            log.warning("Refused a connection from %s: there are %s already", address, limit)
        if self._lingering >= self.refusals:
            transport.set_protocol(asyncio.Protocol())
            transport.abort()
        else:
            self._lingering += 1
            transport.set_protocol(Refusal(transport, REFUSALS[reason], self._forget_refusal))

    def _forget_refusal(self) -> None:
        self._lingering -= 1


class Connection(asyncio.Protocol):
    """One connection while it speaks HTTP: counted, handed through to aiohttp, and cut off where it takes no answer."""

    __slots__ = ("_address", "_connections", "_handler", "_make_handler", "_stall", "_transport")

    def __init__(self, connections: Connections, make_handler: Callable[[], asyncio.Protocol]) -> None:
        self._connections = connections
        self._make_handler = make_handler
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("peername")
        self._transport = transport
        self._address = peer[0] if peer else ""
        reason = self._connections.find_refusal(self._address)
        if reason is not None:
            self._connections.refuse(transport, self._address, reason)
            return
        self._connections.enter(self._address)
        transport.set_write_buffer_limits(0)  # it tells of any byte that waits, for a single one holds a closed place
        self._handler = self._make_handler()
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()
        self._watch_progress(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._forget_progress()
        self._handler.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._forget_progress()
        self._connections.leave(self._address)
        self._handler.connection_lost(error)

    def _watch_progress(self, waiting: int) -> None:
        self._stall = asyncio.get_running_loop().call_later(PATIENCE, self._check_progress, waiting)

    def _forget_progress(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _check_progress(self, waited: int) -> None:
        waiting = self._transport.get_write_buffer_size()
        if 0 <= waited - waiting < SLOWEST * PATIENCE:  # below 0 where more was written since
            log.info("%s takes its answer too slowly: cut off", self._address)
            self._transport.abort()
        else:
            self._watch_progress(waiting)


class Refusal(asyncio.Protocol):
    """A connection that is told 503. What it says is read and thrown away: closing before would lose the answer."""

    def __init__(self, transport: asyncio.Transport, answer: bytes, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._end_timer = asyncio.get_running_loop().call_later(LINGER, transport.abort)
        transport.write(answer)
        if transport.can_write_eof():
            with contextlib.suppress(OSError):  # it has hung up already
                transport.write_eof()

    def connection_lost(self, _error: Exception | None) -> None:
        self._end_timer.cancel()
        self._ended()


def _client(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 network that a client of IPv6 has to itself."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


def _build_refusal(message: str) -> bytes:
    body = encode(describe_problem("overloaded", message))
    head = (
        "HTTP/1.1 503 Service Unavailable\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Retry-After: {RETRY_AFTER}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


REFUSALS: dict[Reason, bytes] = {
    "total": _build_refusal("Too many are connected; come back in a moment."),
    "address": _build_refusal("Too many are connected from your address; close some, or come back in a moment."),
}

CONNECTIONS = web.AppKey("connections", Connections)
