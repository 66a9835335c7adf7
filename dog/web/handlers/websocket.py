"""The WebSocket at /ws (docs/protocol.md), taken over from aiohttp.

GET /ws -> open_websocket -> take_over -> WebSocketViewer: bytes -> WebSocket frames -> messages -> camera and replies
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
from dog.push.viewer import Viewer, WritePath
from dog.push.websocket_frames import CLOSE, PING, PONG, TEXT, FrameError, FrameReader, build_frame, close_reply_code
from dog.web.app_state import APP_STATE
from dog.web.close_on_role_change import UNAUTHORIZED
from dog.web.connections.aiohttp_internals import TakenOverResponse, take_over
from dog.web.connections.limits import CONNECTIONS
from dog.web.middleware.authentication import IDENTITY
from dog.web.middleware.authorization import access_denied
from dog.web.middleware.origins import check_origin
from dog.web.problems import TEMPORARY, Problem
from dog.web.rate_limits import TokenBucket, client_key

__all__ = ["RATE_LIMITED_CODE", "open_websocket"]

MAX_REQUEST_BYTES = 4096
"""Size of the longest message that a viewer may send."""
RATE_LIMITED_CODE = 4029
"""The close code of a viewer that sends too many messages."""
MAX_REFUSED_IN_A_ROW = 20
"""Messages in a row that are answered with `rate_limited` before the viewer is disconnected."""
AUTH_TIMEOUT = 10.0
"""Seconds within which an unauthenticated client has to send a token."""
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""The constant that is hashed with the client's key (RFC 6455, section 1.3)."""
KEY_PATTERN = re.compile(r"[A-Za-z0-9+/]{22}==")
"""A Sec-WebSocket-Key: sixteen bytes in Base64."""

log = logging.getLogger(__name__)


class WebSocketViewer(Viewer):
    """A viewer that sends messages, which are answered in their order.

    Without the role `view`, it does not join the hub yet: it may only send a token.
    """

    __slots__ = (
        "_auth_timer",
        "_bucket",
        "_identity",
        "_reader",
        "_refused_in_a_row",
        "_release_connection",
        "_service",
        "_since",
        "_unregister",
    )

    def __init__(self, request: web.Request, transport: asyncio.Transport) -> None:
        service = request.app[APP_STATE]
        settings = service.settings
        self._service = service
        self._reader = FrameReader(MAX_REQUEST_BYTES)
        self._bucket = TokenBucket(settings.message_rate, settings.message_burst)
        self._refused_in_a_row = 0
        self._since = request.query.get("since")
        self._identity = identity = request[IDENTITY]
        self._unregister: Callable[[], None] | None = None
        self._auth_timer: asyncio.TimerHandle | None = None
        super().__init__(service.hub, transport, request.remote or "", identity.role or "view")
        self._release_connection = request.app[CONNECTIONS].register_viewer(self.address)

    def data_received(self, data: bytes) -> None:
        now = self.last_received_at = self._service.hub.now()
        if self.write_path is WritePath.CLOSED:
            return
        try:
            for opcode, payload in self._reader.read(data):
                self._on_frame(opcode, payload, now)
                if self.write_path is WritePath.CLOSED:
                    return
        except FrameError as error:
            self.close(error.code, error.reason)
        except Exception:
            log.exception("viewer %s: disconnected by an internal error", self.address)
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._release_connection()
        self._cancel_auth_timer()
        if self._unregister is not None:
            self._unregister()

    def start(self, handshake: bytes) -> None:
        """Send the handshake and join the hub, or wait for a token."""
        if self._identity.role is not None:
            self._join(handshake)
            return
        self.write(handshake)
        self._send_error(access_denied(self._identity, "view"))
        loop = asyncio.get_running_loop()
        self._auth_timer = loop.call_later(AUTH_TIMEOUT, self.close, UNAUTHORIZED, "authentication timeout")

    def _join(self, handshake: bytes = b"") -> None:
        service = self._service
        self._unregister = service.live_sessions.register(self._identity, self.close)
        service.hub.join(self, service.camera_statuses(), self._since, preface=handshake)

    def _cancel_auth_timer(self) -> None:
        if self._auth_timer is not None:
            self._auth_timer.cancel()
            self._auth_timer = None

    def _authenticate(self, message: Auth) -> None:
        """Change the identity to the token's. A joined viewer gets a new `hello`."""
        access = self._service.auth
        if access is None:
            return  # this server has no logins: ignore the token
        identity = access.identify_token(message.token or "")
        if identity is None:
            text = "This token is unknown or has expired. Send another one."
            self._send_error(RequestError("unauthorized", text, request=message.request))
            if self._auth_timer is not None:
                self.close(UNAUTHORIZED, "unknown token")
            return
        is_viewer = self._unregister is not None
        self._cancel_auth_timer()
        if self._unregister is not None:
            self._unregister()
        self._identity, self.role = identity, identity.role or "view"
        if not is_viewer:
            self._join()
            return
        self._unregister = self._service.live_sessions.register(identity, self.close)
        self._service.hub.resume(self, self._service.camera_statuses(), self._service.hub.cursor)

    def _send_error(self, error: RequestError) -> None:
        self.send(
            Error(
                request=error.request,
                code=error.code,
                message=error.message,
                temporary=error.code in TEMPORARY,
                retry_after=error.retry_after,
            )
        )

    def _on_frame(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == CLOSE:
            self.close(close_reply_code(payload))
            return
        wait = self._bucket.take(now)
        if wait:
            self._refused_in_a_row += 1
            self._send_rate_limited(wait)
            return
        self._refused_in_a_row = 0
        if opcode == PING:
            self.write(build_frame(PONG, payload))
        elif opcode == TEXT:
            self._on_message(payload.decode())

    def _send_rate_limited(self, wait: float) -> None:
        if self._refused_in_a_row > MAX_REFUSED_IN_A_ROW:
            self.close(RATE_LIMITED_CODE, "too many messages")
            return
        text = f"You send too many messages. Send the next one in {wait:.1f} s."
        self.send(Error(code="rate_limited", message=text, temporary=True, retry_after=round(wait, 3)))

    def _on_message(self, text: str) -> None:
        service = self._service
        try:
            message = parse_request(text)
            if self._unregister is None and not isinstance(message, Auth):
                raise access_denied(self._identity, "view", message.request)
            match message:
                case Capture():
                    self.send(self._capture(message))
                case Resume():
                    sent = service.hub.resume(self, service.camera_statuses(), message.cursor)
                    self._bucket.spend(sent / MAX_REQUEST_BYTES)  # a replay counts by its size
                case Ping():
                    self.send(Pong(request=message.request))
                case Auth():
                    self._authenticate(message)
        except RequestError as error:
            self._send_error(error)

    def _capture(self, message: Capture) -> Reply:
        key = message.request
        if not allows(self._identity.role, "capture"):
            raise access_denied(self._identity, "capture", key)
        camera = self._service.find_camera(message.camera, request=key)
        client = client_key(self._identity, self.address)
        captures = self._service.rate_limits.captures
        return camera.request(message.max_age, key, functools.partial(captures.take, client, key))


async def open_websocket(request: web.Request) -> web.StreamResponse:
    """Take over a connection, and start its viewer (GET /ws)."""
    check_origin(request)
    handshake = _accept_handshake(request)
    request.app[CONNECTIONS].count_as_viewer(request)
    transport, early = take_over(request)
    viewer = WebSocketViewer(request, transport)
    try:
        viewer.start(handshake)
        viewer.data_received(early)
    except Exception:
        log.exception("viewer %s: disconnected by an internal error", viewer.address)  # too late for a 500
        viewer.abort()
    return TakenOverResponse(status=101)


def _accept_handshake(request: web.Request) -> bytes:
    """Build the response to a handshake (RFC 6455, 4.2), or raise Problem."""
    headers = request.headers
    key = headers.get("Sec-WebSocket-Key", "").strip()
    is_valid = (
        headers.get("Upgrade", "").strip().lower() == "websocket"
        and "upgrade" in [word.strip() for word in headers.get("Connection", "").lower().split(",")]
        and request.version >= HttpVersion11
        and headers.get("Sec-WebSocket-Version", "").strip() == "13"
        and KEY_PATTERN.fullmatch(key)
        and not request.can_read_body
    )
    if not is_valid:
        raise Problem(
            "upgrade_required",
            "This URL accepts only WebSocket handshakes. Connect with a WebSocket client.",
            {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"},
        )
    accepted = base64.b64encode(hashlib.sha1(key.encode() + ACCEPT_GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n"
    )
