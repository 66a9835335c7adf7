"""A TCP proxy whose connections a test can cut, for the real server."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

__all__ = ["CuttingProxy", "start_proxy"]


PIECE = 4096
"""Bytes of a torn response: its head, and the beginning of its body."""


SLOW_PIECE = 512
"""Bytes that a slow link sends at once."""


@dataclass(eq=False)
class _Connection:
    """A client's connection and the server's. `request` has its first bytes."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    request: bytes = b""
    is_torn: bool = False
    is_frozen: bool = False


class CuttingProxy:
    """Forwards all bytes until `cut()`. `prefix` is removed from each path.

    While it is `shut`, it aborts new connections; while it is `deaf`, it discards all bytes. If a request contains
    `torn`, its connection is reset within the response; if it contains `refused`, before it. With `bytes_per_second`,
    responses are slow. `cut`, `end` and `freeze` concern the connections whose first request is for `path`, or all.
    """

    def __init__(self, target: int, prefix: str) -> None:
        self.port = 0
        self.shut = False
        self.deaf = False
        self.torn: bytes | None = None
        self.refused: bytes | None = None
        self.bytes_per_second = 0
        self.accepted = 0
        self._target = target
        self._prefix = f" {prefix}/".encode()
        self._accepted_more = asyncio.Condition()
        self._connections: set[_Connection] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self, path: str = "") -> None:
        """Reset the connections."""
        for connection in self._find(path):
            for writer in (connection.client, connection.server):
                with suppress(OSError):  # it is closed already
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1" + bytes(7))
                writer.transport.abort()

    def end(self, path: str) -> None:
        """Close the connections, as their server would."""
        for connection in self._find(path):
            connection.client.close()
            connection.server.close()

    def freeze(self, path: str) -> None:
        """Forward nothing more on the connections, and leave them open."""
        for connection in self._find(path):
            connection.is_frozen = True

    def _find(self, path: str) -> list[_Connection]:
        return [connection for connection in self._connections if connection.request.startswith(f"GET {path}".encode())]

    async def wait_for(self, accepted: int) -> None:
        """Wait until this number of connections was accepted in total."""
        async with self._accepted_more:
            await self._accepted_more.wait_for(lambda: self.accepted >= accepted)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._accepted_more:
            self.accepted += 1
            self._accepted_more.notify_all()
        if self.shut:
            writer.transport.abort()
            return
        with suppress(OSError):
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target, limit=65536)
            if self.bytes_per_second:
                to_server.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
            connection = _Connection(writer, to_server)
            self._connections.add(connection)
            await asyncio.gather(self._forward(reader, connection), self._forward_back(from_server, connection))
            self._connections.discard(connection)

    async def _forward(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        writer = connection.server
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.deaf or connection.is_frozen:
                    continue
                data = data.replace(self._prefix, b" /", 1) if len(self._prefix) > 2 else data
                connection.request = connection.request or data
                if self.refused is not None and self.refused in data:
                    connection.client.transport.abort()
                    break
                if self.torn is not None and self.torn in data:
                    connection.is_torn = True
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def _forward_back(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        writer = connection.client
        with suppress(OSError):
            while data := await reader.read(SLOW_PIECE if self.bytes_per_second else 65536):
                if self.deaf or connection.is_frozen:
                    continue
                writer.write(data[:PIECE] if connection.is_torn else data)
                await writer.drain()
                if connection.is_torn:
                    break
                if self.bytes_per_second:
                    await asyncio.sleep(len(data) / self.bytes_per_second)
        writer.transport.abort()


@asynccontextmanager
async def start_proxy(target: int, *, prefix: str = "") -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(target, prefix)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
