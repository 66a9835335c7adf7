"""A client with one connection, in the test's event loop."""

import asyncio
import contextlib
import socket
from dataclasses import dataclass

__all__ = ["REQUEST", "REQUEST_END", "REQUEST_START", "RawClient", "connect_socket"]

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
REQUEST_START, REQUEST_END = REQUEST[:-1], REQUEST[-1:]


async def connect_socket(port: int, address: str, receive_buffer: int = 0) -> socket.socket:
    """Connect to this machine from an address, with a receive buffer if not 0."""
    connection = socket.socket()
    connection.setblocking(False)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.bind((address, 0))
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return connection


@dataclass
class RawClient:
    """A client with one connection, which sends raw bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_response(self) -> tuple[int, dict[str, str], bytes]:
        """Read a response: status, header fields and body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status_line, *lines = head.strip().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self.reader.readexactly(int(fields.get("content-length", 0)))
        return int(status_line.split()[1]), fields, body

    async def request(self, request: bytes = REQUEST) -> int:
        await self.send(request)
        return (await self.read_response())[0]

    async def read_to_end(self) -> bytes:
        """Read until the server closes or resets the connection."""
        received = b""
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65536):
                received += data
        return received

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1" + bytes(7))
        self.writer.transport.abort()
