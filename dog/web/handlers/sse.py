"""The push at /events: Server-Sent Events, for who only listens (HTML standard, 9.2; docs/protocol.md).

The same messages, numbers and replay as on /ws, and the same hub: an answer that goes on is a viewer in another form.
"""

import asyncio
import contextlib
import email.utils
import logging
import math
import socket

from aiohttp import web

from dog.push.encodings import EVENT_STREAM
from dog.push.hub import SILENCE_TIMEOUT, Viewer
from dog.web.connections.connection import CONNECTIONS
from dog.web.handlers.websocket import TakenOver, take_over
from dog.web.middleware.authentication import IDENTITY
from dog.web.middleware.origins import SECURITY_LINES, allow_origin, check_origin
from dog.web.service import SERVICE

__all__ = ["stream"]

RETRY = 2000
"""Milliseconds after which a browser comes back: a restart takes about as long."""
CONTENT_TYPE = "text/event-stream"
HEADERS = {
    "Content-Type": CONTENT_TYPE,
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would collect what is to be known now
}

log = logging.getLogger(__name__)


class EventStreamViewer(Viewer):
    """A viewer that only listens. That it is gone is known by what it does not acknowledge."""

    encoding = EVENT_STREAM

    __slots__ = ("_leave", "_leave_connections")

    def __init__(self, request: web.Request, transport: asyncio.Transport) -> None:
        visitor = request[IDENTITY]
        service = request.app[SERVICE]
        super().__init__(service.hub, transport, request.remote or "", visitor.role or "view")
        self._leave = service.presence.enter(visitor, self.close)
        self.last_received_at = math.inf
        self._leave_connections = request.app[CONNECTIONS].enter_viewer(self.address)
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux has it
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(SILENCE_TIMEOUT * 1000))

    def data_received(self, _data: bytes) -> None:
        """Another request, where `Connection: close` was said: nobody answers it, and nobody is to read it for ever."""
        self.close(0)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._leave_connections()
        self._leave()


async def stream(request: web.Request) -> web.StreamResponse:
    """GET /events: a viewer comes, is told the whole state, and stays.

    It resumes by the header `Last-Event-ID`, which a browser sends when it comes back, or else by `since`.
    """
    check_origin(request)
    headers = HEADERS | allow_origin(request)
    if request.method == "HEAD":
        return web.Response(headers=headers)
    service = request.app[SERVICE]
    request.app[CONNECTIONS].count_as_viewer(request)
    transport, early = take_over(request)
    viewer = EventStreamViewer(request, transport)
    since = request.headers.get("Last-Event-ID") or request.query.get("since")
    try:
        service.hub.join(viewer, service.statuses(), since, preface=_build_head(request, headers))
        if early:
            viewer.data_received(early)
    except Exception:
        log.exception("viewer %s: dropped by a mistake of ours", viewer.address)  # it has its 200: no 500
        viewer.abort()
    return TakenOver(status=200)


def _build_head(request: web.Request, headers: dict[str, str]) -> bytes:
    """The answer's head. Its end is the connection's: what is written to all can't be cut into chunks for some."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"HTTP/1.1 200 OK\r\nDate: {email.utils.formatdate(usegmt=True)}\r\nConnection: close\r\n"
        f"{lines}{request.app[SECURITY_LINES]}\r\nretry: {RETRY}\n\n"
    ).encode()
