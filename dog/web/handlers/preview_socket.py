"""The live view as a WebSocket at /preview, for pages (docs/protocol.md).

    Preview --frame--> binary messages, and an empty one --> client
                     <-- an empty message when it is drawn --

A browser has few HTTP connections to a server, and no script sees what arrives in an image. It has many WebSockets, and
a script gets each message. The next frame is sent only when the client has drawn the last one. So a slow client gets
fewer frames, and a client that draws none gets none.
"""

import asyncio
import logging

from aiohttp import web

from dog.captures.preview import Preview
from dog.push.hub import SILENCE_TIMEOUT
from dog.push.websocket_frames import BINARY, PROTOCOL_ERROR, TEXT, build_frame
from dog.web.app_keys import APP_STATE
from dog.web.connections.aiohttp_internals import TakenOverResponse, take_over
from dog.web.connections.connection_limits import CONNECTIONS
from dog.web.handlers.preview import find_preview
from dog.web.handlers.websocket import RATE_LIMITED_CODE, WebSocketConnection, accept_handshake
from dog.web.http.requests import CameraQuery, read_query
from dog.web.middleware.authentication import IDENTITY
from dog.web.middleware.origins import check_origin
from dog.web.rate_limits import client_key

__all__ = ["open_preview"]

HEARTBEAT_INTERVAL = 2.0
"""Seconds without a frame after which the empty message is sent alone (docs/protocol.md)."""
RESTARTING = 1012
"""The close code at a shutdown: reconnect."""
END_OF_FRAME = build_frame(BINARY, b"")

log = logging.getLogger(__name__)


class PreviewViewer(WebSocketConnection):
    """A client of the live view. It is not in the hub: it receives no events."""

    __slots__ = ("_drained", "_drawn", "_task", "_unregister")

    def __init__(self, request: web.Request, transport: asyncio.Transport) -> None:
        self._drained, self._drawn = asyncio.Event(), asyncio.Event()
        self._drained.set()  # unless bytes wait in the transport
        self._drawn.set()  # unless the client has to acknowledge a frame
        address = request.remote or ""
        end = request.app[CONNECTIONS].register_viewer(address)
        super().__init__(request.app[APP_STATE], transport, address, request[IDENTITY], end)

    def start(self, preview: Preview, handshake: bytes) -> None:
        """Send the handshake, and then frames."""
        self._unregister = self._service.live_sessions.register(self._identity, self.close)
        self.write(handshake)
        self._task = asyncio.create_task(self._send_frames(preview), name=f"live view of {self.address}")

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._unregister()
        self._task.cancel()

    def _on_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT and not payload and not self._drawn.is_set():  # it answers ours, so it has no rate limit
            self._drawn.set()
        else:
            super()._on_frame(opcode, payload)

    def _on_text(self, _text: str) -> None:
        self.close(PROTOCOL_ERROR, "send an empty message when a frame is drawn, and no other")

    async def _send_frames(self, preview: Preview) -> None:
        client, download = client_key(self._identity, self.address), self._service.rate_limits.download
        try:
            with preview.watch(on_end=lambda: self.close(RESTARTING, "restarting")) as parts:
                while not download.is_exhausted(client):
                    try:
                        async with asyncio.timeout(HEARTBEAT_INTERVAL):
                            messages = (await anext(parts)).messages
                    except TimeoutError:
                        messages = []
                    async with asyncio.timeout(SILENCE_TIMEOUT):
                        await self._send(messages)
                    download.spend(client, sum(map(len, messages)))
            self.close(RATE_LIMITED_CODE, "download limit")
        except StopAsyncIteration:
            pass
        except TimeoutError:
            log.info("live view of %s: disconnected, because it draws no frame", self.address)
            self.abort()
        except Exception:
            log.exception("live view of %s: disconnected by an internal error", self.address)
            self.abort()

    async def _send(self, messages: list[bytes]) -> None:
        """Send a frame, one message at a time, until the client has drawn it."""
        for message in messages:
            self.write(message)
            await self._drained.wait()
        self._drawn.clear()
        self.write(END_OF_FRAME)
        await self._drawn.wait()


async def open_preview(request: web.Request) -> web.StreamResponse:
    """Take over a connection, and send it the live view (GET /preview)."""
    check_origin(request)
    handshake = accept_handshake(request)
    service = request.app[APP_STATE]
    preview = find_preview(service.find_camera(read_query(request, CameraQuery).camera))
    service.rate_limits.download.check(client_key(request[IDENTITY], request.remote))
    request.app[CONNECTIONS].count_as_viewer(request)
    transport, early = take_over(request)
    viewer = PreviewViewer(request, transport)
    viewer.start(preview, handshake)
    viewer.data_received(early)
    return TakenOverResponse(status=101)
