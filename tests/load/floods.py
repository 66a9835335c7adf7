"""Floods that fill the service's buffers: each kind, and one connection."""

import asyncio
import contextlib
import dataclasses
import random
import socket
import ssl
from typing import Literal

from tests.load.health import LOOPBACK
from tests.support.server_process import ServerProcess
from tests.support.websocket_frames import CONTINUATION, PING, TEXT, build_client_frame

__all__ = ["FLOODS", "Attacker", "Flood"]

KIB, MIB = 1024, 1024 * 1024
RECEIVE_BUFFER = 4 * KIB
"""SO_RCVBUF of clients that do not read."""
PIECE_BYTES = 64 * KIB


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flood:
    """Data that each connection sends.

    `{photo}` stands for the path of a large photo. `handshake` is sent first, and its response is read. After `start`,
    `repeated` is sent until `max_bytes` are sent; with a `pause`, one byte at a time.
    """

    start: bytes = b""
    repeated: bytes = b""
    max_bytes: int = 2 * MIB
    pause: float = 0.0
    handshake: bytes = b""
    reads: bool = False
    """True to read everything until the service closes the connection."""
    max_read_bytes: int = 0
    """Each connection reads a random number of bytes up to this."""
    status: int = 0
    """The status that each connection must receive; 0 for any."""
    where: Literal["memory", "disk", "link"] = "memory"
    """Source of the photo: `link` is a share link."""


def build_request(*lines: bytes, path: bytes = b"/healthz", method: bytes = b"GET", ends: bool = True) -> bytes:
    head = b"\r\n".join((b"%b %b HTTP/1.1" % (method, path), b"Host: 127.0.0.1", *lines, b""))
    return head + b"\r\n" if ends else head


def build_fields(size: int, name: bytes = b"X", value: int = 8000) -> bytes:
    """Return header lines of so many bytes in all, or a little less."""
    lines = (b"%b-%06d: %b" % (name, number, b"a" * value) for number in range(size // (value + len(name) + 11)))
    return b"\r\n".join(lines)


PHOTO = build_request(path=b"{photo}")
EVENTS = build_request(path=b"/events")
PREVIEW = build_request(path=b"/preview.mjpg")
LARGE_HEAD = build_request(build_fields(MIB))
ALLOWED_HEAD = build_request(build_fields(15 * KIB, value=1000))
ALLOWED_COOKIE = build_request(b"Cookie: dog_snapshot=" + b"a" * 7 * KIB, build_fields(22 * KIB, value=1000))
CHUNKED = build_request(b"Transfer-Encoding: chunked", path=b"/api/captures", method=b"POST")
UPGRADE = build_request(
    *(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    path=b"/ws",
)
HUGE_FRAME = b"\x81\xff" + (1 << 40).to_bytes(8) + b"mask"

FLOODS: dict[str, Flood] = {
    "heads of 1 MB behind a response that is not read": Flood(start=PHOTO, repeated=LARGE_HEAD),
    "heads of 1 MB behind the events": Flood(start=EVENTS, repeated=LARGE_HEAD),
    "heads of 1 MB behind a handshake": Flood(start=UPGRADE, repeated=LARGE_HEAD),
    "heads of 1 MB that do not end": Flood(start=build_request(build_fields(MIB), ends=False), reads=True),
    "heads of many short lines": Flood(start=build_request(build_fields(MIB, value=1), ends=False), reads=True),
    "one long URL": Flood(start=build_request(path=b"/" + b"a" * MIB), reads=True),
    "one long line": Flood(start=build_request(b"X: " + b"a" * MIB), reads=True),
    "one long cookie": Flood(start=build_request(b"Cookie: a=" + b"a" * MIB), reads=True),
    "many cookies": Flood(start=build_request(build_fields(MIB, b"Cookie: a", 4000)), reads=True),
    "blank lines and no head": Flood(repeated=b"\r\n" * 4096, reads=True),
    "heads just below the limit that do not end": Flood(start=ALLOWED_HEAD[:-2], reads=True, status=408),
    "heads with a cookie just below the limit that do not end": Flood(
        start=ALLOWED_COOKIE[:-2], reads=True, status=408
    ),
    "heads just below the limit that come slowly": Flood(
        start=ALLOWED_HEAD[: 12 * KIB], repeated=b"a", max_bytes=4 * KIB, pause=0.05, reads=True, status=408
    ),
    "heads just below the limit, one after the other": Flood(repeated=ALLOWED_HEAD),
    "heads just below the limit behind a response that is not read": Flood(start=PHOTO, repeated=ALLOWED_COOKIE),
    "many short requests": Flood(repeated=build_request() * 1000),
    "many requests of a large photo": Flood(repeated=PHOTO * 1000),
    "a large photo that is not read": Flood(start=PHOTO),
    "a large photo from the disk that is not read": Flood(start=PHOTO, where="disk"),
    "a large photo behind a share link that is not read": Flood(start=PHOTO, where="link"),
    "a large document that is not read": Flood(start=build_request(path=b"/api/openapi.json")),
    "pages that are not read": Flood(start=build_request(path=b"/snapshots")),
    "bodies that nobody wants": Flood(
        start=build_request(b"Content-Length: %d" % (1 << 40)), repeated=b"a" * PIECE_BYTES, max_bytes=2 * MIB
    ),
    "bodies behind a response that is not read": Flood(
        start=build_request(b"Content-Length: %d" % (1 << 40), path=b"{photo}"), repeated=b"a" * PIECE_BYTES
    ),
    "a body that is too large": Flood(
        start=build_request(b"Content-Length: %d" % (1 << 40), path=b"/api/captures", method=b"POST"),
        repeated=b" " * PIECE_BYTES,
        reads=True,
    ),
    "extensions of chunks": Flood(start=CHUNKED, repeated=b"1;a=" + b"a" * 4000 + b"\r\n \r\n", reads=True),
    "one endless extension of a chunk": Flood(start=CHUNKED + b"1;a=", repeated=b"a" * PIECE_BYTES, reads=True),
    "chunks of one byte": Flood(start=CHUNKED, repeated=b"1\r\n \r\n" * 1000, reads=True),
    "trailers": Flood(start=CHUNKED + b"0\r\n", repeated=b"X: " + b"a" * 4000 + b"\r\n", reads=True),
    "live views that are not read": Flood(start=PREVIEW),
    "live views that stop at different frames": Flood(start=PREVIEW, max_read_bytes=2 * MIB),
    "viewers that send huge messages": Flood(
        handshake=UPGRADE, start=HUGE_FRAME, repeated=b"a" * PIECE_BYTES, reads=True
    ),
    "viewers that send fragments": Flood(
        handshake=UPGRADE,
        start=build_client_frame(TEXT, b" " * 100, final=False),
        repeated=build_client_frame(CONTINUATION, b" " * 100, final=False) * 100,
        reads=True,
    ),
    "viewers that ping and do not read": Flood(handshake=UPGRADE, repeated=build_client_frame(PING, b"a" * 125) * 100),
    "viewers that ask and do not read": Flood(
        handshake=UPGRADE, repeated=build_client_frame(TEXT, b'{"type":"resume"}') * 100
    ),
    "viewers that send heads": Flood(handshake=UPGRADE, repeated=LARGE_HEAD, reads=True),
    "viewers of the events that send heads": Flood(
        handshake=build_request(path=b"/events"), repeated=LARGE_HEAD, reads=True
    ),
}


class Attacker:
    """One connection of a flood."""

    def __init__(self, server: ServerProcess, flood: Flood, address: str) -> None:
        self.sent = 0
        """Bytes that the service, or the kernel, has taken."""
        self.status = 0
        self._server = server
        self._flood = flood
        self._address = address
        self._writer: asyncio.StreamWriter | None = None

    async def run(self, photo: str) -> None:
        """Send everything.

        If the flood reads, read until the service closes the connection.
        """
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            reader = await self._connect()
            if self._flood.handshake:
                await self._send(self._flood.handshake)
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith((b"HTTP/1.1 101 ", b"HTTP/1.1 200 ")), head
            if not self._flood.reads:
                await self._send_all(photo)
                await reader.readexactly(random.randint(0, self._flood.max_read_bytes))
                return
            sending = asyncio.create_task(self._send_all(photo))
            try:
                if self._flood.status:
                    self.status = int((await reader.readline()).split()[1])
                while await reader.read(PIECE_BYTES):
                    pass
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async def _connect(self) -> asyncio.StreamReader:
        client, tls = socket.socket(), self._server.tls
        try:
            client.setblocking(False)
            if not self._flood.reads:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            client.bind((self._address, 0))
            await asyncio.get_running_loop().sock_connect(client, (LOOPBACK, self._server.port))
            reader, self._writer = await asyncio.open_connection(
                sock=client, limit=4 * KIB, ssl=tls, server_hostname=LOOPBACK if tls else None
            )
        except BaseException:
            client.close()
            raise
        return reader

    async def _send_all(self, photo: str) -> None:
        flood = self._flood
        await self._send(flood.start.replace(b"{photo}", photo.encode()))
        repeated = flood.repeated.replace(b"{photo}", photo.encode())
        while repeated and self.sent < flood.max_bytes:
            await self._send(repeated)
            if flood.pause:
                await asyncio.sleep(flood.pause)

    async def _send(self, data: bytes) -> None:
        assert self._writer is not None
        for start in range(0, len(data), PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            self._writer.write(piece)
            await self._writer.drain()
            self.sent += len(piece)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
