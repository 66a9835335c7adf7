"""The live view: a camera's frames as one answer that goes on, which a browser shows as an image that moves.

`multipart/x-mixed-replace`, each part a JPEG. The next part is written when the one before has left for the client, and
the system holds little for it: who is slow sees fewer frames, none of them old.
"""

import contextlib
import socket

from aiohttp import web

from dog.captures.preview import BOUNDARY, END, NEXT_HEADER
from dog.errors import RequestError
from dog.web.connections.connection import CONNECTIONS
from dog.web.http.content import cut
from dog.web.middleware.authentication import IDENTITY
from dog.web.middleware.errors import Problem
from dog.web.middleware.origins import check_origin
from dog.web.rate_limits import client_key
from dog.web.service import SERVICE

__all__ = ["show_preview"]

BUFFER = 64 * 1024
"""Bytes of SO_SNDBUF: a frame or two. Left to itself, Linux keeps up to 4 MiB for a connection: many seconds."""
UNSENT = 16 * 1024
"""Bytes of them that may wait for their turn, the others being on their way."""
HEADERS = {
    "Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would collect what is to be seen now
}


class Endless(web.StreamResponse):
    """An answer without a length whose bytes go out as they are: all watchers' are the same, so none are chunked."""

    _length_check = False  # as in aiohttp's own WebSocketResponse

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__(headers=headers)
        self.force_close()


async def show_preview(request: web.Request) -> web.StreamResponse:
    """GET /preview.mjpg: what the camera sees, until the client has gone or the server stops.

    With `ahead=1` each part's header comes with the part before, and so without its length: Chromium shows a part only
    when it has seen the next one's header. Raises Problem `no_preview`, and RequestError where the camera is offline.
    """
    check_origin(request)
    service = request.app[SERVICE]
    camera = service.find_camera(request.query.get("camera"))
    if not camera.preview.has_preview:
        raise Problem("no_preview", f"The camera {camera.name} has no live view. Take photos instead.")
    if camera.offline is not None:
        raise RequestError(camera.offline.code, camera.offline.message, retry_after=camera.retry_after)
    ahead = request.query.get("ahead") == "1"
    answer = Endless(HEADERS)
    if request.method == "HEAD":
        return answer
    transport = request.transport

    def end(_code: int, _reason: str) -> None:
        if transport is not None:
            transport.abort()

    request.app[CONNECTIONS].count_as_viewer(request)
    client, download = client_key(request[IDENTITY], request.remote), service.allowances.download
    download.check(client)
    with service.presence.registered(request[IDENTITY], end), camera.preview.watch() as parts:
        await answer.prepare(request)
        _limit_buffer(request)
        with contextlib.suppress(ConnectionError):  # it has gone
            if ahead:
                await answer.write(NEXT_HEADER)
            async for part in parts:
                data = part.after_header if ahead else part.with_header
                for piece in cut(data):
                    await answer.write(piece)
                    await request.writer.drain()  # waits for the last byte: see Connection
                download.spend(client, len(data))
                if download.is_exhausted(client):
                    break
            await answer.write(END)
    return answer


def _limit_buffer(request: web.Request) -> None:
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
