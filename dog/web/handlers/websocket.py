"""The push at /ws: aiohttp reads the handshake, and then the connection is the viewer's (docs/protocol.md).

GET /ws -> watch -> take_over -> WebSocketViewer: bytes -> frames -> messages -> the camera, and its answers
                                              `<- the hub's events
"""

import asyncio
import base64
import functools
import hashlib
import logging
import re
from collections.abc import Callable

from aiohttp import HttpVersion11, web

from dog.auth import allows
from dog.errors import RequestError
from dog.protocol import Auth, Capture, Error, Ping, Pong, Reply, Resume, parse_request
from dog.push.hub import Viewer
from dog.push.websocket_frames import CLOSE, PING, TEXT, FrameError, FrameReader, close_reply_code
from dog.web.connections.connection import CONNECTIONS, Connection
from dog.web.live_sessions import UNAUTHORIZED
from dog.web.middleware.authentication import IDENTITY
from dog.web.middleware.authorization import access_denied
from dog.web.middleware.errors import TEMPORARY, Problem
from dog.web.middleware.origins import check_origin
from dog.web.rate_limits import TokenBucket, client_key
from dog.web.service import SERVICE

__all__ = ["RATE_LIMITED", "take_over", "watch"]

MESSAGE_SIZE = 4096
"""Bytes of the longest message that a viewer may send."""
RATE_LIMITED = 4029
PATIENCE = 20
"""Messages in a row that are answered with `rate_limited` before the viewer is closed."""
INTRODUCTION = 10.0
"""Seconds that somebody who is not known has to say a token."""
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""What RFC 6455 has the server hash with the client's key (section 1.3)."""
KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
"""Sixteen bytes in Base64."""

log = logging.getLogger(__name__)


class WebSocketViewer(Viewer):
    """A viewer that may also speak: what it says is answered as it comes.

    Who may not even watch is no viewer yet: the connection waits for a token, and for nothing else.
    """

    __slots__ = (
        "_bucket",
        "_leave",
        "_leave_connections",
        "_reader",
        "_refused",
        "_service",
        "_since",
        "_visitor",
        "_waiting",
    )

    def __init__(self, request: web.Request, transport: asyncio.Transport) -> None:
        service = request.app[SERVICE]
        settings = service.settings
        self._service = service
        self._reader = FrameReader(MESSAGE_SIZE)
        self._bucket = TokenBucket(settings.message_rate, settings.message_burst)
        self._refused = 0
        self._since = request.query.get("since")
        self._visitor = visitor = request[IDENTITY]
        self._leave: Callable[[], None] | None = None
        self._waiting: asyncio.TimerHandle | None = None
        super().__init__(service.hub, transport, request.remote or "", visitor.role or "view")
        self._leave_connections = request.app[CONNECTIONS].enter_viewer(self.address)

    def data_received(self, data: bytes) -> None:
        now = self.last_received_at = self._service.hub.now()
        if self.closing:
            return
        try:
            for opcode, payload in self._reader.read(data):
                self._hear(opcode, payload, now)
                if self.closing:
                    return
        except FrameError as error:
            self.close(error.code, error.reason)
        except Exception:
            log.exception("viewer %s: dropped by a mistake of ours", self.address)
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._leave_connections()
        self._stop_waiting()
        if self._leave is not None:
            self._leave()

    def come(self, handshake: bytes) -> None:
        """Be a viewer, or wait for a token until it is clear who this is."""
        if self._visitor.role is not None:
            self._join(handshake)
            return
        self.write(handshake)
        self._tell(access_denied(self._visitor, "view"))
        loop = asyncio.get_running_loop()
        self._waiting = loop.call_later(INTRODUCTION, self.close, UNAUTHORIZED, "authentication timeout")

    def _join(self, handshake: bytes = b"") -> None:
        service = self._service
        self._leave = service.presence.enter(self._visitor, self.close)
        service.hub.join(self, service.statuses(), self._since, preface=handshake)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _introduce(self, said: Auth) -> None:
        """Who they are from now on. A viewer that may do more than before is told so by another `hello`."""
        access = self._service.access
        if access is None:
            return  # nobody asked for a token: whoever says one all the same is as welcome as before
        visitor = access.identify_token(said.token or "")
        if visitor is None:
            self._tell(
                RequestError(
                    "unauthorized", "This token is unknown or has expired. Send another one.", request=said.request
                )
            )
            if self._waiting is not None:
                self.close(UNAUTHORIZED, "unknown token")
            return
        is_viewer = self._leave is not None
        self._stop_waiting()
        if self._leave is not None:
            self._leave()
        self._visitor, self.role = visitor, visitor.role or "view"
        if not is_viewer:
            self._join()
            return
        self._leave = self._service.presence.enter(visitor, self.close)
        self._service.hub.resume(self, self._service.statuses(), self._service.hub.cursor)

    def _tell(self, error: RequestError) -> None:
        self.send(
            Error(
                request=error.request,
                code=error.code,
                message=error.message,
                temporary=error.code in TEMPORARY,
                retry_after=error.retry_after,
            )
        )

    def _hear(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == CLOSE:
            self.close(close_reply_code(payload))
            return
        wait = self._bucket.take(now)
        if wait:
            self._refused += 1
            self._refuse(wait)
            return
        self._refused = 0
        if opcode == PING:
            self.pong(payload)
        elif opcode == TEXT:
            self._answer(payload.decode())

    def _refuse(self, wait: float) -> None:
        if self._refused > PATIENCE:
            self.close(RATE_LIMITED, "too many messages")
            return
        text = f"You send too many messages. Send the next one in {wait:.1f} s."
        self.send(Error(code="rate_limited", message=text, temporary=True, retry_after=round(wait, 3)))

    def _answer(self, text: str) -> None:
        service = self._service
        try:
            said = parse_request(text)
            if self._leave is None and not isinstance(said, Auth):
                raise access_denied(self._visitor, "view", said.request)
            match said:
                case Capture():
                    self.send(self._capture(said))
                case Resume():
                    sent = service.hub.resume(self, service.statuses(), said.cursor)
                    self._bucket.spend(sent / MESSAGE_SIZE)  # or it would draw a thousand times what it says
                case Ping():
                    self.send(Pong(request=said.request))
                case Auth():
                    self._introduce(said)
        except RequestError as error:
            self._tell(error)

    def _capture(self, said: Capture) -> Reply:
        if not allows(self._visitor.role, "capture"):
            raise access_denied(self._visitor, "capture", said.request)
        camera = self._service.find_camera(said.camera, request=said.request)
        client = client_key(self._visitor, self.address)
        presses = self._service.allowances.presses
        return camera.request(said.max_age, said.request, functools.partial(presses.take, client, said.request))


async def watch(request: web.Request) -> web.StreamResponse:
    """GET /ws: a viewer comes, is told the whole state, and stays."""
    check_origin(request)
    answer = _answer_handshake(request)
    request.app[CONNECTIONS].count_as_viewer(request)
    transport, early = take_over(request)
    viewer = WebSocketViewer(request, transport)
    try:
        viewer.come(answer)
        viewer.data_received(early)
    except Exception:
        log.exception("viewer %s: dropped by a mistake of ours", viewer.address)  # it speaks HTTP no more: no 500
        viewer.abort()
    return TakenOver(status=101)


def take_over(request: web.Request) -> tuple[asyncio.Transport, bytes]:
    """Take a connection from aiohttp. Return it and the bytes that have arrived after the handshake.

    Nothing may read from it or write to it but the transport's next protocol. tests/web/test_takeover.py checks
    what this stands on. Raises ConnectionResetError where the client has gone.
    """
    transport, handler = request.transport, request.protocol
    if transport is None or transport.is_closing():
        raise ConnectionResetError("The client has gone.")
    early = EarlyBytes()
    handler.set_parser(early)  # type: ignore[arg-type]
    handler.transport = None  # or it would close it
    protocol = transport.get_protocol()  # a Connection, or the handler itself
    assert isinstance(protocol, asyncio.Protocol)
    received = early.data + protocol.take_received() if isinstance(protocol, Connection) else early.data
    protocol.connection_lost(None)
    return transport, received


class EarlyBytes:
    """What aiohttp gives the bytes to that followed a handshake: as its WebSocketReader, but it only keeps them."""

    data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass


class TakenOver(web.StreamResponse):
    """The handler's answer when there is nobody left whom aiohttp could answer."""

    async def prepare(self, request: web.BaseRequest) -> None:
        raise ConnectionResetError("The connection is a viewer's now.")


def _answer_handshake(request: web.Request) -> bytes:
    """The answer to a handshake (RFC 6455, section 4.2). Raises Problem `upgrade_required`."""
    asked = request.headers
    key = asked.get("Sec-WebSocket-Key", "").strip()
    sound = (
        asked.get("Upgrade", "").strip().lower() == "websocket"
        and "upgrade" in [word.strip() for word in asked.get("Connection", "").lower().split(",")]
        and request.version >= HttpVersion11
        and asked.get("Sec-WebSocket-Version", "").strip() == "13"
        and KEY.fullmatch(key)
        and not request.can_read_body
    )
    if not sound:
        raise Problem(
            "upgrade_required",
            "This URL accepts only WebSocket handshakes. Connect with a WebSocket client.",
            {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"},
        )
    accepted = base64.b64encode(hashlib.sha1(key.encode() + GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n"
    )
