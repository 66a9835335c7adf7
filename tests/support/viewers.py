"""Viewers of a hub on real sockets: a test controls both ends."""

import asyncio
import contextlib
import datetime as dt
import json
import socket
import ssl
import time
from typing import Any

import trustme

from dog.metrics import Metrics
from dog.protocol import Capturing, timestamp
from dog.push.hub import Hub
from dog.push.viewer import Viewer, WritePath

__all__ = ["Connect", "Connection", "make_event", "make_hub"]


def make_event(capture: int) -> Capturing:
    return Capturing(at=timestamp(dt.datetime.now(dt.UTC)), camera="main", capture=capture)


def make_hub(epoch: int = 1000) -> Hub:
    return Hub(epoch, "dog/test", Metrics("test"), clock=time.monotonic)


class Connection:
    """Both ends of a TCP connection: server transport and client reader."""

    def __init__(
        self, viewer: Viewer, transport: asyncio.Transport, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.viewer = viewer
        self.transport = transport
        self.reader = reader
        self.writer = writer

    def write_path(self) -> WritePath:
        return self.viewer.write_path

    async def read_frame(self) -> tuple[int, bytes]:
        first, size = await self.reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self.reader.readexactly(8), "big")
        return first & 0x0F, await self.reader.readexactly(size)

    async def read(self) -> dict[str, Any]:
        """Read the next text message that is not the count of viewers."""
        while True:
            opcode, payload = await self.read_frame()
            assert opcode == 1, (opcode, payload)
            message: dict[str, Any] = json.loads(payload)
            if message["type"] != "viewers":
                return message

    async def read_to_the_end(self, send: bytes = b"") -> None:
        """Read until the server has closed the connection.

        Raise TimeoutError if it stays open.
        """
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while await self.reader.read(1024) or send:
                    self.writer.write(send)
                    await self.writer.drain()
                    await asyncio.sleep(0)


class Connect:
    """Makes a viewer with its own connection at each call."""

    def __init__(self) -> None:
        self._connections: list[Connection] = []
        self._servers: list[asyncio.Server] = []
        self._accepted: asyncio.Queue[asyncio.Transport] = asyncio.Queue()

    async def __call__(
        self,
        hub: Hub,
        *,
        receive_buffer: int | None = None,
        secure: bool = False,
        unsent: int = 0,
        make: type[Viewer] = Viewer,
    ) -> Connection:
        """Make a viewer whose client has that SO_RCVBUF. If `secure`, it uses TLS.

        `unsent` bytes were written to its connection before it became a viewer.
        """
        loop = asyncio.get_running_loop()
        server_context, client_context = _make_contexts() if secure else (None, None)
        accepted = self._accepted

        class Accepting(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                accepted.put_nowait(transport)

        server = await loop.create_server(Accepting, "127.0.0.1", 0, ssl=server_context)
        self._servers.append(server)
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        reader, writer = await asyncio.open_connection(
            sock=client, limit=1024, ssl=client_context, server_hostname="localhost" if secure else None
        )
        transport = await accepted.get()
        if unsent:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            transport.write(bytes(unsent))
        connection = Connection(make(hub, transport, "test", "manage"), transport, reader, writer)
        self._connections.append(connection)
        return connection

    async def stop(self) -> None:
        for connection in self._connections:
            transport = connection.transport
            if not transport.is_closing() or transport.get_write_buffer_size():  # a closed one has no loop
                transport.abort()
            connection.writer.transport.abort()
        for server in self._servers:
            server.close()
            await server.wait_closed()


def _make_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make the TLS contexts of the server and the client."""
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    return server_context, client_context
