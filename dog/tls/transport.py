"""The transport of a TLS connection, used like TCP's transport.

    accept -> TlsTransport calls on_accepted -> handshake -> the protocol's connection_made

asyncio's own TLS transport is not used, for four reasons. It reports a connection only after the handshake, so open
handshakes can't be counted. It hides 64 KiB and more of its send buffer, and with a limit of 0 it reports every write.
It can't close only its own half, as a closing handshake must. It takes 280 KiB of memory; this one takes 20.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import Any

__all__ = ["TlsTransport"]

HANDSHAKE_TIMEOUT_SECONDS = 10.0
"""Enough for two round trips and a slow phone's arithmetic."""
MAX_RECORD_BYTES = 16 * 1024
"""Maximum size of a TLS record (RFC 8446, section 5.1)."""
PLAIN_HTTP_RESPONSE = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 53\r\nConnection: close\r\n\r\n"
    b"This server requires HTTPS. Use https:// in the URL.\n"
)
"""The response to plain HTTP, the only mistake here that people make."""

CLOSED_PROTOCOL = asyncio.Protocol()
"""The protocol of a closed connection. It replaces the real one, which refers to the transport: without the cycle, the
memory of both is released at once, without the garbage collector."""

log = logging.getLogger(__name__)


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """A server's TLS connection, between TCP's transport and its protocol.

    Data is encrypted at once and sent by TCP, so the send buffer and its limits are TCP's. `on_accepted` is called with
    the new connection and may abort it. The protocol's connection_made follows after the handshake, its connection_lost
    in any case.
    """

    __slots__ = (
        "_closing",
        "_context",
        "_eof",
        "_incoming",
        "_on_accepted",
        "_open",
        "_outgoing",
        "_paused",
        "_protocol",
        "_sent_close_notify",
        "_tcp",
        "_timer",
        "_tls",
    )

    def __init__(
        self, context: ssl.SSLContext, protocol: asyncio.Protocol, on_accepted: Callable[[asyncio.Transport], None]
    ) -> None:
        super().__init__()
        self._context = context
        self._on_accepted = on_accepted
        self._protocol: asyncio.BaseProtocol = protocol
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._open = self._closing = self._paused = self._eof = self._sent_close_notify = False

    # ---- the protocol of the TCP transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._tcp = transport
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT_SECONDS, transport.abort)
        self._on_accepted(transport)

    def data_received(self, data: bytes) -> None:
        if self._sent_close_notify:
            return  # discard it: the client must be able to send everything
        self._incoming.write(data)
        if self._open or self._do_handshake():
            self._read()

    def eof_received(self) -> bool | None:
        """The client has closed its half, with or without a close_notify alert."""
        if not self._open or self._notify_eof():
            return self._open
        self._send_close_notify()
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
        protocol, self._protocol, self._on_accepted = self._protocol, CLOSED_PROTOCOL, _do_nothing
        protocol.connection_lost(error)

    def _do_handshake(self) -> bool:
        """Continue the handshake. Return True if it is complete."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            log.debug("%s: TLS handshake failed: %s", self._tcp.get_extra_info("peername"), error)
            if error.reason == "HTTP_REQUEST":
                self._tcp.write(PLAIN_HTTP_RESPONSE)
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
        """Pass all decrypted data to the protocol."""
        try:
            while not (self._paused or self._sent_close_notify or self.is_closing()):
                data = self._tls.read(MAX_RECORD_BYTES)
                if not data:
                    if not self._notify_eof():
                        self.close()
                    return
                assert isinstance(self._protocol, asyncio.Protocol)
                self._protocol.data_received(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            log.debug("%s: TLS connection cut off: %s", self._tcp.get_extra_info("peername"), error)
            self._flush()
            self._tcp.close()
        self._flush()

    def _notify_eof(self) -> bool:
        """Call eof_received once. Return True if our half stays open."""
        if self._eof:
            return False
        self._eof = True
        assert isinstance(self._protocol, asyncio.Protocol)
        return bool(self._protocol.eof_received())

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._tcp.write(self._outgoing.read())

    def _send_close_notify(self) -> None:
        """Send close_notify, to mark the response as complete."""
        if self._open and not self._sent_close_notify:
            self._sent_close_notify = True
            with contextlib.suppress(ssl.SSLError):  # it expects the client's close_notify
                self._tls.unwrap()
            self._flush()

    # ---- the transport of the protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        try:
            while rest and not self._sent_close_notify:
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError:  # the client has ended the connection with an alert
            self.abort()
        self._flush()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._send_close_notify()
        self._tcp.write_eof()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._send_close_notify()
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
        """Resume reading. Decrypted data follows in a later callback."""
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
