"""Server-Sent Events at /events: the push for clients that only listen.

The hub treats such a response as a viewer with another encoding: the messages, numbers and replay are the same as at
/ws (HTML standard, section 9.2; docs/protocol.md).
"""

import asyncio
import contextlib
import email.utils
import logging
import math
import socket
from typing import Annotated

from aiohttp import web
from msgspec import Struct, field

from dog.protocol import EXAMPLE_CURSOR, doc
from dog.push.encodings import EVENT_STREAM
from dog.push.hub import SILENCE_TIMEOUT
from dog.push.viewer import Viewer
from dog.web.app_keys import APP_STATE
from dog.web.connections.aiohttp_internals import TakenOverResponse, take_over
from dog.web.connections.connection_limits import CONNECTIONS
from dog.web.http.requests import PushQuery, read_query
from dog.web.middleware.authentication import IDENTITY
from dog.web.middleware.origins import check_origin, cors_headers
from dog.web.middleware.security_headers import header_lines

__all__ = ["EventStreamHeaders", "stream_events"]

RETRY_MS = 2000
"""Delay before a browser reconnects: about as long as a restart takes."""
CONTENT_TYPE = "text/event-stream"
HEADERS = {
    "Content-Type": CONTENT_TYPE,
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # or nginx would buffer the events
}

log = logging.getLogger(__name__)


class EventStreamHeaders(Struct, frozen=True):
    """The header of GET /events. It only documents: a handler reads one text."""

    last: Annotated[
        str | None,
        doc("The cursor of the last event that you received. Browsers send it by themselves.", EXAMPLE_CURSOR),
    ] = field(default=None, name="Last-Event-ID")


class EventStreamViewer(Viewer):
    """A viewer that only receives. TCP_USER_TIMEOUT detects a lost client."""

    encoding = EVENT_STREAM

    __slots__ = ("_release_connection", "_unregister")

    def __init__(self, request: web.Request, transport: asyncio.Transport) -> None:
        identity = request[IDENTITY]
        service = request.app[APP_STATE]
        super().__init__(service.hub, transport, request.remote or "", identity.role or "view")
        self._unregister = service.live_sessions.register(identity, self.close)
        self.last_received_at = math.inf
        self._release_connection = request.app[CONNECTIONS].register_viewer(self.address)
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(SILENCE_TIMEOUT * 1000))

    def data_received(self, _data: bytes) -> None:
        """Disconnect a client that sends again despite `Connection: close`."""
        self.close(0)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._release_connection()
        self._unregister()


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Send `hello`, and then every event (GET /events).

    Resume after the `Last-Event-ID` that a reconnecting browser sends, or else after `since`.
    """
    check_origin(request, only_views=True)
    headers = HEADERS | cors_headers(request)
    if request.method == "HEAD":
        return web.Response(headers=headers)
    service = request.app[APP_STATE]
    request.app[CONNECTIONS].count_as_viewer(request)
    transport, early = take_over(request)
    viewer = EventStreamViewer(request, transport)
    since = request.headers.get("Last-Event-ID") or read_query(request, PushQuery).since
    try:
        service.hub.join(viewer, service.camera_statuses(), since, preface=_build_head(request, headers))
        if early:
            viewer.data_received(early)
    except Exception:
        log.exception("viewer %s: disconnected by an internal error", viewer.address)  # too late for a 500
        viewer.abort()
    return TakenOverResponse(status=200)


def _build_head(request: web.Request, headers: dict[str, str]) -> bytes:
    """Build the head. The body is not chunked: all viewers get the same bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"HTTP/1.1 200 OK\r\nDate: {email.utils.formatdate(usegmt=True)}\r\nConnection: close\r\n"
        f"{lines}{header_lines(request, headers)}\r\nretry: {RETRY_MS}\n\n"
    ).encode()
