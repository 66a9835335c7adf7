"""Who may be connected at once: counted in all and by address, so that one client can't take every place.

    accept -> Connection -> too many -> 503, and good-bye
                      `---> aiohttp's handler, until the connection ends or a viewer takes it over (sockets.take_over)

Under TLS a connection has its place, or is one too many, from before its handshake on.

The file descriptors are what really runs out, so as many are kept back as a burst of connections, the pictures and the
cameras need: a client that is too many is told so, for which it has to be accepted first.
"""

import asyncio
import contextlib
import functools
import ipaddress
import logging
import math
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

from aiohttp import web

from dog.errors import RequestError
from dog.messages import encode
from dog.metrics import Metrics
from dog.networks import find_network
from dog.settings import Settings
from dog.tls import Tls
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

    A trusted proxy is no client: its connections count in all alone, and those who ask it by their own address.
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
        self._trusted = [ipaddress.ip_network(one) for one in settings.trusted_proxies]
        self._lingering = 0
        self._said_at = -math.inf
        self._metrics = metrics
        metrics.connections.set_function(lambda: self.count)

    def guard(
        self, make_handler: Callable[[], asyncio.Protocol], tls: Tls | None = None
    ) -> Callable[[], asyncio.Protocol]:
        """What makes the protocol of each accepted connection: counted, or refused; under TLS where there is one."""

        def make() -> asyncio.Protocol:
            connection = Connection(self, make_handler)
            return connection if tls is None else tls.wrap(connection, connection.come)

        return make

    def find_refusal(self, address: str) -> Reason | None:
        """Why one more from this address would be too many, or None."""
        if self.count >= self.most:
            return "total"
        return "address" if self._is_full(address) else None

    def enter(self, address: str) -> None:
        self.count += 1
        self._enter_client(address)

    def leave(self, address: str) -> None:
        self.count -= 1
        self._leave_client(address)

    def trusts(self, address: str) -> bool:
        """Whether it is one of the setting `trusted_proxies`."""
        return bool(self._trusted) and _is_within(address, self._trusted)

    @contextlib.contextmanager
    def hold_place(self, address: str) -> Iterator[None]:
        """A place for who asks through a proxy, while the request is answered. Raises RequestError `overloaded`."""
        if self._is_full(address):
            self._tell(address, "address")
            raise RequestError("overloaded", MESSAGES["address"], retry_after=RETRY_AFTER)
        self._enter_client(address)
        try:
            yield
        finally:
            self._leave_client(address)

    def _is_full(self, address: str) -> bool:
        return not self.trusts(address) and self._by_client[find_network(address)] >= self.most_per_address

    def _enter_client(self, address: str) -> None:
        if not self.trusts(address):
            self._by_client[find_network(address)] += 1

    def _leave_client(self, address: str) -> None:
        if not self.trusts(address):
            client = find_network(address)
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

    def refuse(self, address: str, reason: Reason) -> bool:
        """Count and log it. Whether there is room to tell it so, which `forget_refusal` gives back."""
        self._tell(address, reason)
        if self._lingering >= self.refusals:
            return False
        self._lingering += 1
        return True

    def forget_refusal(self) -> None:
        self._lingering -= 1

    def _tell(self, address: str, reason: Reason) -> None:
        self._metrics.connections_refused.labels(reason).inc()
        now = asyncio.get_running_loop().time()
        if now - self._said_at >= SAID_AGAIN:
            self._said_at = now
            limit = f"{self.most} in all" if reason == "total" else f"{self.most_per_address} from one address"
            log.warning("Refused a connection from %s: there are %s already", address, limit)


class Connection(asyncio.Protocol):
    """One connection while it speaks HTTP: counted, handed through to aiohttp, and cut off where it takes no answer."""

    __slots__ = ("_address", "_connections", "_handler", "_leave", "_make_handler", "_reason", "_stall", "_transport")

    def __init__(self, connections: Connections, make_handler: Callable[[], asyncio.Protocol]) -> None:
        self._connections = connections
        self._make_handler = make_handler
        self._handler = NOBODY
        self._address: str | None = None
        self._reason: Reason | None = None
        self._leave: Callable[[], None] | None = None
        self._stall: asyncio.TimerHandle | None = None

    def come(self, transport: asyncio.Transport) -> None:
        """Take a place, or one of those who are refused, or be cut off without a word. Under TLS it comes first."""
        peer = transport.get_extra_info("peername")
        self._address = address = peer[0] if peer else ""
        self._reason = self._connections.find_refusal(address)
        if self._reason is None:
            self._connections.enter(address)
            self._leave = functools.partial(self._connections.leave, address)
        elif self._connections.refuse(address, self._reason):
            self._leave = self._connections.forget_refusal
        else:
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._address is None:
            self.come(transport)
        if self._leave is None:
            return
        if self._reason is not None:
            transport.set_protocol(Refusal(transport, REFUSALS[self._reason], self._leave))
            return
        self._handler = self._make_handler()
        self._handler.connection_made(transport)
        transport.set_write_buffer_limits(0)  # it tells of any byte that waits, for a single one holds a closed place

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
        if self._leave is not None:
            self._leave()
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


def _is_within(address: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in networks)


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


NOBODY = asyncio.Protocol()
"""Who handles a connection that has none to handle it, yet or any more."""
MESSAGES: dict[Reason, str] = {
    "total": "Too many are connected; come back in a moment.",
    "address": "Too many are connected from your address; close some, or come back in a moment.",
}
REFUSALS: dict[Reason, bytes] = {reason: _build_refusal(message) for reason, message in MESSAGES.items()}

CONNECTIONS = web.AppKey("connections", Connections)
