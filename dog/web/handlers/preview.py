"""The live view: a camera's frames in one endless response.

It is `multipart/x-mixed-replace`, which browsers show as a moving image; each part is a JPEG. The next part is written
when the previous one was sent, and the kernel buffers little. So a slow client sees fewer frames, but no old ones.
"""

import contextlib
import socket
from collections.abc import Callable
from typing import Annotated

from aiohttp import web
from msgspec import Struct

from dog.captures.camera_task import CameraTask
from dog.captures.preview import BOUNDARY, END, NEXT_HEADER, Preview
from dog.errors import RequestError
from dog.protocol import doc
from dog.web.app_keys import APP_STATE
from dog.web.connections.connection_limits import CONNECTIONS
from dog.web.http.content import chunks
from dog.web.http.requests import CameraQuery, read_query
from dog.web.middleware.authentication import IDENTITY
from dog.web.middleware.origins import check_origin
from dog.web.problems import Problem
from dog.web.rate_limits import client_key

__all__ = ["PreviewQuery", "SharedPreviewQuery", "disconnect", "find_preview", "show_preview", "stream_preview"]

SEND_BUFFER_BYTES = 64 * 1024
"""SO_SNDBUF: a frame or two. By default, Linux buffers up to 4 MiB, which is many seconds of video."""
MAX_UNSENT_BYTES = 16 * 1024
"""TCP_NOTSENT_LOWAT: bytes in the send buffer that are not sent yet."""
HEADERS = {
    "Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # or nginx would buffer the frames
}


Ahead = Annotated[str | None, doc("`1` sends each part's header with the part before it, for Chromium.", "1")]


class SharedPreviewQuery(Struct, frozen=True):
    """The query of GET /shared/{token}/preview.mjpg."""

    ahead: Ahead = None


class PreviewQuery(CameraQuery, frozen=True):
    """The query of GET /preview.mjpg."""

    ahead: Ahead = None


class EndlessResponse(web.StreamResponse):
    """A response without a length, not chunked: the same bytes for all."""

    _length_check = False  # as in aiohttp's own WebSocketResponse

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__(headers=headers)
        self.force_close()


def find_preview(camera: CameraTask) -> Preview:
    """Return the camera's live view. Raise Problem `no_preview`, RequestError."""
    if not camera.preview.has_preview:
        raise Problem("no_preview", f"The camera {camera.name} has no live view. Take photos instead.")
    if camera.offline is not None:
        raise RequestError(camera.offline.code, camera.offline.message, retry_after=camera.retry_after)
    return camera.preview


async def show_preview(request: web.Request) -> web.StreamResponse:
    """Show the live view of a camera (GET /preview.mjpg)."""
    check_origin(request, only_views=True)
    service = request.app[APP_STATE]
    query = read_query(request, PreviewQuery)
    camera = service.find_camera(query.camera)
    with service.live_sessions.registered(request[IDENTITY], disconnect(request)):
        return await stream_preview(request, camera, query.ahead == "1")


def disconnect(request: web.Request) -> Callable[[int, str], None]:
    """Return a function that ends the response at once."""
    transport = request.transport

    def abort(_code: int, _reason: str) -> None:
        if transport is not None:
            transport.abort()

    return abort


async def stream_preview(
    request: web.Request, camera: CameraTask, ahead: bool, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """Send frames until either side disconnects.

    With `ahead`, each part's header is sent with the previous part, without a length: Chromium shows a part only
    after the next header. Raise Problem `no_preview`, or RequestError if the camera is offline.
    """
    preview = find_preview(camera)
    response = EndlessResponse(HEADERS | (headers or {}))
    if request.method == "HEAD":
        return response
    request.app[CONNECTIONS].count_as_viewer(request)
    client, download = client_key(request[IDENTITY], request.remote), request.app[APP_STATE].rate_limits.download
    download.check(client)
    with preview.watch() as parts:
        await response.prepare(request)
        _limit_send_buffer(request)
        with contextlib.suppress(ConnectionError):
            if ahead:
                await response.write(NEXT_HEADER)
            async for part in parts:
                data = part.after_header if ahead else part.with_header
                for piece in chunks(data):
                    await response.write(piece)
                    await request.writer.drain()  # until the last byte is sent: see Connection
                download.spend(client, len(data))
                if download.is_exhausted(client):
                    break
            await response.write(END)
    return response


def _limit_send_buffer(request: web.Request) -> None:
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)
