"""WebSocket frames (RFC 6455, section 5): a client's side, without I/O.

Frames of the server are read strictly; those of a client may be wrong.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from dog.push import websocket_frames as server

__all__ = [
    "CLOSE",
    "CONTINUATION",
    "MAX_MESSAGE_BYTES",
    "PING",
    "PONG",
    "TEXT",
    "UPGRADE",
    "Frame",
    "FrameReader",
    "build_client_frame",
    "mutate",
    "read_messages",
]

CONTINUATION, TEXT, CLOSE, PING, PONG = 0x0, 0x1, 0x8, 0x9, 0xA
MAX_MESSAGE_BYTES = 4096
MASK = b"\x37\xfa\x21\x3d"

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Frame:
    opcode: int
    payload: bytes


class FrameReader:
    """Parse bytes into frames.

    Raises AssertionError for a frame that this server must not send.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._closed = False

    def feed(self, data: bytes) -> list[Frame]:
        self._rest += data
        frames: list[Frame] = []
        while (frame := self._next()) is not None:
            assert not self._closed, f"{frame} came after the close frame"
            self._closed = frame.opcode == CLOSE
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        rest = self._rest
        if len(rest) < 2:
            return None
        opcode, size, start = rest[0] & 0x0F, rest[1], 2
        assert rest[0] & 0xF0 == 0x80, f"a fragment, or a reserved bit: {rest[:16].hex(' ')}"
        assert opcode in (TEXT, CLOSE, PING, PONG), f"an opcode that it never sends: {rest[:16].hex(' ')}"
        assert size < 0x80, f"a masked frame: {rest[:16].hex(' ')}"
        assert opcode == TEXT or size < 126, f"a long control frame: {rest[:16].hex(' ')}"
        if size >= 126:
            start += 2 if size == 126 else 8
            if len(rest) < start:
                return None
            least = 126 if size == 126 else 65536
            size = int.from_bytes(rest[2:start], "big")
            assert size >= least, f"a length that is not written in the shortest way: {rest[:16].hex(' ')}"
        if len(rest) < start + size:
            return None
        payload = bytes(rest[start : start + size])
        del rest[: start + size]
        return Frame(opcode, payload)


def build_client_frame(
    opcode: int, payload: bytes = b"", *, final: bool = True, key: bytes = MASK, width: int = 0
) -> bytes:
    """Build a client's frame, whose length has `width` bits.

    That is 7, 16 or 64; by default the fewest.
    """
    size = len(payload)
    width = width or (7 if size < 126 else 16 if size < 65536 else 64)
    first = (0x80 if final else 0) | opcode
    match width:
        case 7:
            head = bytes((first, 0x80 | size))
        case 16:
            head = struct.pack("!BBH", first, 0x80 | 126, size)
        case _:
            head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + key + bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))


def read_messages(
    chunks: Iterable[bytes], limit: int = MAX_MESSAGE_BYTES
) -> tuple[list[tuple[int, bytes]], int | None]:
    """Return what the service reads: all messages, and the close code.

    The code is None if the connection stays open.
    """
    reader = server.FrameReader(limit)
    received: list[tuple[int, bytes]] = []
    try:
        for chunk in chunks:
            for opcode, payload in reader.read(chunk):
                if opcode == CONTINUATION:
                    continue
                if opcode == CLOSE:
                    return received, server.close_reply_code(payload)
                received.append((opcode, payload))
    except server.FrameError as error:
        return received, error.code
    return received, None


def mutate(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    """Overwrite bytes, each at a place modulo the length."""
    changed = bytearray(data)
    for place, byte in changes:
        if changed:
            changed[place % len(changed)] = byte
    return bytes(changed)
