"""The push at /ws: aiohttp does the handshake and the reading; all writing is the hub's (docs/protocol.md)."""

import asyncio
import logging
import time

from aiohttp import WSCloseCode, WSMsgType, web

from dog.errors import RequestError
from dog.hub import LINGER, Viewer
from dog.messages import Auth, Capture, Error, Ping, Pong, Reply, Resume, parse_request
from dog.web.problems import TEMPORARY, Problem
from dog.web.security import check_origin
from dog.web.service import SERVICE, Service

__all__ = ["RATE_LIMITED", "TokenBucket", "watch"]

MESSAGE_SIZE = 4096
"""Bytes of the longest message that a viewer may send."""
RATE_LIMITED = 4029
PATIENCE = 20
"""Messages in a row that are answered with `rate_limited` before the viewer is closed."""

log = logging.getLogger(__name__)


class TokenBucket:
    """So many messages a second, and so many at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled_at: float | None = None

    def take(self, now: float) -> float:
        """Take a token at `now` seconds: 0, or the seconds until there is one again."""
        if self._filled_at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0


class Socket(web.WebSocketResponse):
    """aiohttp's side of a viewer's connection, which only reads: when it wants to close, the hub's viewer does."""

    viewer: Viewer | None = None

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        if self.viewer is not None:
            self.viewer.close(code, message.decode(errors="replace"))
        return True


async def watch(request: web.Request) -> web.StreamResponse:
    """GET /ws: a viewer comes, is told the whole state, and stays."""
    check_origin(request)
    service = request.app[SERVICE]
    # One byte more than the longest: aiohttp refuses what reaches its limit.
    connection = Socket(autoping=False, autoclose=False, compress=False, max_msg_size=MESSAGE_SIZE + 1)
    if not connection.can_prepare(request).ok:
        raise Problem(
            "upgrade_required",
            "This address speaks WebSocket (RFC 6455).",
            {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
        )
    try:
        await connection.prepare(request)
    except ConnectionError:
        return connection  # it is gone already
    transport = request.transport
    if transport is None:
        return connection
    viewer = connection.viewer = Viewer(transport, request.remote or "", time.monotonic())
    try:
        service.hub.join(viewer, service.statuses(), request.query.get("since"))
        await _listen(connection, viewer, service)
    except Exception:
        log.exception("viewer %s: dropped by a mistake of ours", viewer.address)  # it speaks HTTP no more: no 500
        viewer.abort()
    finally:
        service.hub.leave(viewer)
    return connection


async def _listen(connection: Socket, viewer: Viewer, service: Service) -> None:
    """Answer the viewer until it goes, or until it has taken the close frame that it was sent."""
    settings = service.settings
    bucket = TokenBucket(settings.message_rate, settings.message_burst)
    refused = 0
    while True:
        message = await connection.receive()
        now = viewer.heard_at = time.monotonic()
        if message.type is WSMsgType.CLOSE:
            viewer.close(_answer_code(message.data))
            return
        if message.type is WSMsgType.ERROR:
            await asyncio.sleep(LINGER)  # let it read why: returning would reset the connection under the close frame
            return
        if message.type in (WSMsgType.CLOSED, WSMsgType.CLOSING):
            return
        if viewer.closing:
            continue
        wait = bucket.take(now)
        if wait:
            refused += 1
            _refuse(viewer, wait, final=refused > PATIENCE)
            continue
        refused = 0
        if message.type is WSMsgType.PING:
            viewer.pong(message.data)
        elif message.type is WSMsgType.BINARY:
            viewer.close(WSCloseCode.UNSUPPORTED_DATA, "messages are text")
        elif message.type is WSMsgType.TEXT:
            _answer(message.data, viewer, service)


def _answer_code(code: int | None) -> int:
    """The client's own close code back, unless it is one that must not be sent (RFC 6455, section 7.4)."""
    if not code:
        return WSCloseCode.OK
    return code if code <= 4999 and code not in (1005, 1006, 1015) else WSCloseCode.PROTOCOL_ERROR


def _refuse(viewer: Viewer, wait: float, *, final: bool) -> None:
    if final:
        viewer.close(RATE_LIMITED, "too many messages")
        return
    text = f"Too many messages; the next may come in {wait:.1f} s."
    viewer.send(Error(code="rate_limited", message=text, temporary=True, retry_after=round(wait, 3)))


def _answer(text: str, viewer: Viewer, service: Service) -> None:
    try:
        said = parse_request(text)
        match said:
            case Capture():
                viewer.send(_capture(said, service))
            case Resume():
                service.hub.resume(viewer, service.statuses(), said.cursor)
            case Ping():
                viewer.send(Pong(request=said.request))
            case Auth():
                pass  # nobody asked for a token: whoever says one all the same is as welcome as before
    except RequestError as error:
        viewer.send(
            Error(
                request=error.request,
                code=error.code,
                message=error.message,
                temporary=error.code in TEMPORARY,
                retry_after=error.retry_after,
            )
        )


def _capture(said: Capture, service: Service) -> Reply:
    camera = service.find_camera(said.camera, request=said.request)
    return camera.request(max_age=said.max_age, key=said.request)
