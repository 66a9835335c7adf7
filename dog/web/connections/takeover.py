"""Take a connection over from aiohttp, for a viewer or a live view."""

import asyncio

from aiohttp import web

from dog.web.connections.connection import Connection

__all__ = ["TakenOverResponse", "take_over"]


def take_over(request: web.Request) -> tuple[asyncio.Transport, bytes]:
    """Take a connection over from aiohttp. Return it and its received bytes.

    From now on, only the transport's next protocol may read or write. tests/web/test_takeover.py checks the
    assumptions about aiohttp. Raise ConnectionResetError if the client has disconnected.
    """
    transport, handler = request.transport, request.protocol
    if transport is None or transport.is_closing():
        raise ConnectionResetError("The client has disconnected.")
    early = EarlyBytes()
    handler.set_parser(early)  # type: ignore[arg-type]
    handler.transport = None  # or aiohttp would close it
    protocol = transport.get_protocol()  # a Connection, or the handler itself
    assert isinstance(protocol, asyncio.Protocol)
    received = early.data + protocol.take_received() if isinstance(protocol, Connection) else early.data
    protocol.connection_lost(None)
    return transport, received


class EarlyBytes:
    """A substitute for aiohttp's WebSocketReader that keeps early bytes."""

    data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass


class TakenOverResponse(web.StreamResponse):
    """The handler's response after a takeover: it makes aiohttp write nothing."""

    async def prepare(self, request: web.BaseRequest) -> None:
        raise ConnectionResetError("The connection was taken over.")
