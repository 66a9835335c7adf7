"""A bare asyncio protocol: `writev` of the same bytes for each request.

The file of the argument has the whole response. This is the limit of the language.
"""

import asyncio
import os
import sys
from pathlib import Path

from benchmarks.rivals.listening import listen


class Writer(asyncio.Protocol):
    """A connection that gets the response for each request."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self._head, self._body = head, body
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._descriptor = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        self._received += data
        *requests, self._received = self._received.split(b"\r\n\r\n")
        for _ in requests:
            self._respond()

    def _respond(self) -> None:
        sent = 0
        if not self._transport.get_write_buffer_size():
            try:
                sent = os.writev(self._descriptor, (self._head, self._body))
            except BlockingIOError:
                sent = 0
        if sent < len(self._head):
            self._transport.write(self._head[sent:])
        rest = memoryview(self._body)[max(0, sent - len(self._head)) :]
        if rest:
            self._transport.write(rest)


async def serve(response: bytes) -> None:
    head, separator, body = response.partition(b"\r\n\r\n")
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Writer(head + separator, body), sock=listen())
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]).read_bytes()))
