"""Build and parse WebSocket frames (RFC 6455, section 5), without I/O.

After the handshake, only this module parses a viewer's bytes. Everything that RFC 6455 forbids is refused, including
unmasked frames; only a length in more bytes than needed is accepted, as in other servers.
"""

from collections.abc import Iterator

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "PROTOCOL_ERROR",
    "TEXT",
    "FrameError",
    "FrameReader",
    "build_close",
    "build_frame",
    "close_reply_code",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FINAL, RESERVED, MASKED, CONTROL = 0x80, 0x70, 0x80, 0x8
MAX_CONTROL_BYTES = 125

PROTOCOL_ERROR, UNSUPPORTED_DATA, INVALID_TEXT, TOO_BIG = 1002, 1003, 1007, 1009
RESERVED_CODES = (1004, 1005, 1006, 1015)
"""Close codes that must not be sent (RFC 6455, section 7.4.1)."""


class FrameError(Exception):
    """A protocol violation by the client, with its close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def build_frame(opcode: int, payload: bytes) -> bytes:
    """Build one unmasked, unfragmented WebSocket frame, as a server sends it."""
    size = len(payload)
    if size < 126:
        header = bytes((FINAL | opcode, size))
    elif size < 65536:
        header = bytes((FINAL | opcode, 126)) + size.to_bytes(2, "big")
    else:
        header = bytes((FINAL | opcode, 127)) + size.to_bytes(8, "big")
    return header + payload


def build_close(code: int, reason: str = "") -> bytes:
    """Build a close frame. A reason that is too long is truncated."""
    text = reason.encode()[: MAX_CONTROL_BYTES - 2].decode(errors="ignore")
    return build_frame(CLOSE, code.to_bytes(2, "big") + text.encode())


def close_reply_code(payload: bytes) -> int:
    """Return the close code to echo, or 1000. Raise FrameError if invalid."""
    if not payload:
        return 1000
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not 1000 <= code <= 4999 or 1015 < code < 3000 or code in RESERVED_CODES:
        raise FrameError(PROTOCOL_ERROR, "invalid close code")
    _check_text(payload[2:])
    return code


class FrameReader:
    """Parser of one viewer's WebSocket frames, for messages up to `limit`."""

    __slots__ = ("_limit", "_message", "_rest")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self._message: bytes | None = None

    def read(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the messages that `data` completes: opcode and payload, in order.

        Opcodes are TEXT (valid UTF-8), CLOSE, PING, PONG, and CONTINUATION with no payload for each fragment of an
        unfinished message. Exhaust the iterator. Raise FrameError on a violation; read nothing after it.
        """
        data = self._rest + data if self._rest else data
        start = 0
        while True:
            opcode, payload, end = self._parse(data, start)
            if payload is None:
                break
            start = end
            if opcode & CONTROL:
                yield opcode & 0xF, payload
                continue
            message = payload if self._message is None else self._message + payload
            if opcode & FINAL:
                self._message = None
                _check_text(message)
                yield TEXT, message
            else:
                self._message = message
                yield CONTINUATION, b""
        self._rest = data[start:]

    def _parse(self, data: bytes, start: int) -> tuple[int, bytes | None, int]:
        """Parse a frame: first byte, payload (None if incomplete) and end."""
        size = len(data) - start
        if size == 0:
            return 0, None, start
        first = data[start]
        self._check_opcode(first)
        if size == 1:
            return first, None, start
        size = data[start + 1] & 0x7F
        if not data[start + 1] & MASKED:
            raise FrameError(PROTOCOL_ERROR, "unmasked frame")
        if first & CONTROL and size > MAX_CONTROL_BYTES:
            raise FrameError(PROTOCOL_ERROR, "control frame too long")
        body = start + 2
        if size > 125:
            body += 2 if size == 126 else 8
            if len(data) < body:
                return first, None, start
            size = int.from_bytes(data[start + 2 : body], "big")
        if size + len(self._message or b"") > self._limit and not first & CONTROL:
            raise FrameError(TOO_BIG, f"message longer than {self._limit} bytes")
        end = body + 4 + size
        if len(data) < end:
            return first, None, start
        return first, _unmask(data[body + 4 : end], data[body : body + 4]), end

    def _check_opcode(self, first: int) -> None:
        opcode, final = first & 0xF, first & FINAL
        if first & RESERVED:
            raise FrameError(PROTOCOL_ERROR, "reserved bit without an extension")
        if opcode == BINARY:
            raise FrameError(UNSUPPORTED_DATA, "binary messages are not supported")
        if opcode not in (CONTINUATION, TEXT, CLOSE, PING, PONG):
            raise FrameError(PROTOCOL_ERROR, "unknown opcode")
        if opcode & CONTROL and not final:
            raise FrameError(PROTOCOL_ERROR, "fragmented control frame")
        if not opcode & CONTROL and (opcode == CONTINUATION) is (self._message is None):
            raise FrameError(PROTOCOL_ERROR, "fragments out of order")


def _unmask(payload: bytes, mask: bytes) -> bytes:
    """XOR with the repeated mask (RFC 6455, section 5.3), as one integer."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def _check_text(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise FrameError(INVALID_TEXT, "text is not UTF-8") from None
