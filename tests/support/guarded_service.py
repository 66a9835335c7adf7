"""The service with its connections, and clients that send raw bytes."""

import asyncio
from dataclasses import dataclass

from aiohttp import web

from dog.web.app_keys import APP_STATE
from dog.web.connections.connection_limits import CONNECTIONS, Connections
from tests.support.cameras import HandCamera
from tests.support.raw_client import REQUEST_START, RawClient, connect_socket
from tests.support.running import until

__all__ = ["HERE", "OTHER_ADDRESS", "GuardedService", "request_and_read_nothing"]

HERE, OTHER_ADDRESS = "127.0.0.1", "127.0.0.2"


@dataclass
class GuardedService:
    """The running service with its connections and clients."""

    app: web.Application
    camera: HandCamera
    server: web.Server
    port: int
    clients: list[RawClient]

    @property
    def waiting(self) -> int:
        """Return the bytes of responses that the kernel has not taken yet."""
        transports = [handler.transport for handler in self.server.connections]
        return sum(transport.get_write_buffer_size() for transport in transports if transport is not None)

    @property
    def connections(self) -> Connections:
        return self.app[CONNECTIONS]

    def count_refused(self, reason: str) -> float | None:
        registry = self.app[APP_STATE].hub.metrics.registry
        return registry.get_sample_value("dog_connections_refused_total", {"reason": reason})

    async def connect_client(self, address: str = HERE, *, receive_buffer: int = 0) -> RawClient:
        connection = await connect_socket(self.port, address, receive_buffer)
        client = RawClient(*await asyncio.open_connection(sock=connection))
        self.clients.append(client)
        return client

    async def connect_and_request(self, address: str = HERE) -> RawClient:
        """Connect and get a response, so that the connection is counted for sure."""
        client = await self.connect_client(address)
        assert await client.request() == 200
        return client

    async def begin_request(self, address: str = HERE) -> RawClient:
        """Connect and begin a request, which takes a place or waits.

        `request(REQUEST_END)` ends it.
        """
        client = await self.connect_client(address)
        busy, waiting = self.count_busy(), self.count_waiting()
        await client.send(REQUEST_START)
        await until(lambda: self.count_busy() > busy or self.count_waiting() > waiting)
        return client

    def count_busy(self) -> int:
        """Count the connections that have a place."""
        return sum(connection.place is not None for connection in self.connections._open)

    def count_waiting(self) -> int:
        return self.connections._places.waiting

    async def is_refused(self, address: str = HERE) -> bool:
        client = await self.connect_client(address)
        status = await client.request()
        await client.read_to_end() if status == 503 else client.close()
        client.close()
        assert status in (200, 503)
        return status == 503


async def request_and_read_nothing(guarded: GuardedService, path: bytes) -> RawClient:
    """Send requests without reading until a part of a response waits."""
    client = await guarded.connect_client(receive_buffer=1)  # the kernel raises this to its minimum
    while not guarded.waiting:
        asked = guarded.server.requests_count
        await client.send(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
        while guarded.server.requests_count == asked and not guarded.waiting:  # noqa: ASYNC110 - as in `until`
            await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0)  # for responses without a file or a thread
    return client
