"""Limits per client address: connections, concurrent requests, viewers.

    connection -> idle -> its request waits, or has a place -> idle -> ...
                                                         `---> viewer, which has no place

A request needs a place from its first byte until its response has been sent. If its client has none left, it waits in
that client's queue. Idle connections have no place, so that they never delay a request.
"""

from dataclasses import dataclass
from typing import Protocol

from dog.client_addresses import client_network

__all__ = ["Client", "ClientLimits", "Idle", "Place", "Places", "Waiter"]

UNLIMITED = 1 << 60


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
