"""A connection under TLS, as a transport: like TCP's own, so that nobody above has to know.

    accept -> TlsTransport: told of at once -> handshake -> its protocol's connection_made

asyncio's own transport for TLS is not used. It tells a protocol of a connection only when the handshake is done, so
that those who never finish it can't be counted. It hides 64 KiB and more of what waits for a client, and where any byte
is to be told of (a limit of 0) it tells of every write. It can't end its own half alone, which a farewell needs. And it
takes 280 KiB of memory a connection, where this takes 20.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import Any

__all__ = ["TlsTransport"]

HANDSHAKE = 10.0
"""Seconds that a handshake may take: two ways there and back, and a slow phone's arithmetic."""
RECORD = 16 * 1024
"""Bytes of the longest record (RFC 8446, section 5.1)."""
NO_HTTPS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 48\r\nConnection: close\r\n\r\n"
    b"This address needs https:// in place of http://\n"
)
"""For who speaks HTTP all the same: the one mistake here that a person makes."""

NOBODY = asyncio.Protocol()
"""The protocol of a connection that has ended. Its own one refers to the transport: without the cycle, the memory of
both is released now, and not when Python looks for cycles the next time."""

log = logging.getLogger(__name__)


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """A server's connection under TLS: to TCP a protocol, and a transport to its own protocol.

    What is written is encrypted at once and is TCP's to send, so that what waits for a client, and its limits, are
    TCP's own. `come` is told of the connection when it is there, and may abort it; the protocol's connection_made
    follows when the handshake is done, its connection_lost in any case.
    """

    __slots__ = (
        "_closing",
        "_come",
        "_context",
        "_eof",
        "_incoming",
        "_open",
        "_outgoing",
        "_paused",
        "_protocol",
        "_said_goodbye",
        "_tcp",
        "_timer",
        "_tls",
    )

    def __init__(
        self, context: ssl.SSLContext, protocol: asyncio.Protocol, come: Callable[[asyncio.Transport], None]
    ) -> None:
        super().__init__()
        self._context = context
        self._come = come
        self._protocol: asyncio.BaseProtocol = protocol
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._open = self._closing = self._paused = self._eof = self._said_goodbye = False

    # ---- what TCP says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._tcp = transport
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE, transport.abort)
        self._come(transport)

    def data_received(self, data: bytes) -> None:
        if self._said_goodbye:
            return  # it is read, so that the other side can say all it has to, and thrown away
        self._incoming.write(data)
        if self._open or self._shake_hands():
            self._read()

    def eof_received(self) -> bool | None:
        """The other side has hung up, at most after its goodbye."""
        if not self._open or self._hear_end():
            return self._open
        self._say_goodbye()
        return None

    def pause_writing(self) -> None:
        if self._open:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._open:
            self._protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self._timer.cancel()
        protocol, self._protocol, self._come = self._protocol, NOBODY, _do_nothing
        protocol.connection_lost(error)

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            log.debug("%s: no handshake: %s", self._tcp.get_extra_info("peername"), error)
            if error.reason == "HTTP_REQUEST":
                self._tcp.write(NO_HTTPS)
            else:
                self._flush()  # the alert
            self._tcp.close()
            return False
        self._timer.cancel()
        self._open = True
        self._flush()
        self._protocol.connection_made(self)
        return True

    def _read(self) -> None:
        """Hand on all that has come whole."""
        try:
            while not (self._paused or self._said_goodbye or self.is_closing()):
                data = self._tls.read(RECORD)
                if not data:
                    if not self._hear_end():
                        self.close()
                    return
                assert isinstance(self._protocol, asyncio.Protocol)
                self._protocol.data_received(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            log.debug("%s: cut off: %s", self._tcp.get_extra_info("peername"), error)
            self._flush()
            self._tcp.close()
        self._flush()

    def _hear_end(self) -> bool:
        """The other side says nothing more; whether the protocol wants to go on speaking all the same."""
        if self._eof:
            return False
        self._eof = True
        assert isinstance(self._protocol, asyncio.Protocol)
        return bool(self._protocol.eof_received())

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._tcp.write(self._outgoing.read())

    def _say_goodbye(self) -> None:
        """Nothing follows: who gets this knows that nobody has cut the answer off."""
        if self._open and not self._said_goodbye:
            self._said_goodbye = True
            with contextlib.suppress(ssl.SSLError):  # it would wait for the other side's
                self._tls.unwrap()
            self._flush()

    # ---- what the protocol says

    def write(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        try:
            while rest and not self._said_goodbye:
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError:  # the other side has ended it with an alert
            self.abort()
        self._flush()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._say_goodbye()
        self._tcp.write_eof()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._say_goodbye()
            self._tcp.close()

    def abort(self) -> None:
        self._closing = True
        self._tcp.abort()

    def is_closing(self) -> bool:
        return self._closing or self._tcp.is_closing()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_reading(self) -> bool:
        return not self._paused and self._tcp.is_reading()

    def pause_reading(self) -> None:
        self._paused = True
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        """What was decrypted is handed on later, as everything is: not while the protocol is speaking."""
        if self._paused:
            self._paused = False
            self._tcp.resume_reading()
            asyncio.get_running_loop().call_soon(self._read)

    def get_write_buffer_size(self) -> int:
        return self._tcp.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._tcp.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._tcp.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        match name:
            case "sslcontext":
                return self._context
            case "ssl_object":
                return self._tls
        return self._tcp.get_extra_info(name, default)


def _do_nothing(_transport: asyncio.Transport) -> None:
    pass
