"""WebSocket frames of a client (RFC 6455, section 5).

Those of the server are checked strictly. No I/O.
"""

import os
from dataclasses import dataclass

__all__ = ["CLOSE", "PING", "PONG", "TEXT", "Frame", "FrameReader", "build_masked"]

CONTINUATION, TEXT, CLOSE, PING, PONG = 0x0, 0x1, 0x8, 0x9, 0xA


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


def build_masked(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """Return a masked frame, as clients send it."""
    size, mask = len(payload), os.urandom(4)
    header = bytes(((0x80 if final else 0) | opcode, 0x80 | (size if size < 126 else 126)))
    if size >= 126:
        header += size.to_bytes(2, "big")
    return header + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
