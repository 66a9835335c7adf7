"""A TCP proxy whose connections a test can cut, for the real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["CuttingProxy", "start_proxy"]


PIECE = 4096
"""Bytes of a torn response: its head, and the beginning of its body."""


class CuttingProxy:
    """Forwards all bytes until `cut()`. `prefix` is removed from each path.

    While it is `shut`, it aborts new connections; while it is `deaf`, it discards all bytes. If a request contains
    `torn`, its connection is reset within the response.
    """

    def __init__(self, target: int, prefix: str) -> None:
        self.port = 0
        self.shut = False
        self.deaf = False
        self.torn: bytes | None = None
        self.accepted = 0
        self._target = target
        self._prefix = f" {prefix}/".encode()
        self._accepted_more = asyncio.Condition()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()

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
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers |= {writer, to_server}
            torn = asyncio.Event()
            await asyncio.gather(
                self._forward(reader, to_server, self._prefix, torn), self._forward_back(from_server, writer, torn)
            )
        self._writers.discard(writer)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, prefix: bytes, torn: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.deaf:
                    continue
                if self.torn is not None and self.torn in data:
                    torn.set()
                writer.write(data.replace(prefix, b" /", 1) if len(prefix) > 2 else data)
                await writer.drain()
        writer.transport.abort()

    async def _forward_back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, torn: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.deaf:
                    continue
                writer.write(data[:PIECE] if torn.is_set() else data)
                await writer.drain()
                if torn.is_set():
                    break
        writer.transport.abort()


@asynccontextmanager
async def start_proxy(target: int, *, prefix: str = "") -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(target, prefix)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    yield proxy
    server.close()
    proxy.cut()
    await server.wait_closed()
