"""The WebSocket at /ws (docs/protocol.md), taken over from aiohttp.

GET /ws -> open_websocket -> take_over -> PendingViewer: a client without a role, until it sends a token
                                      `-> WebSocketViewer: WebSocket frames -> messages -> camera and replies
                                                         `<- the hub's events
"""

import asyncio
import base64
import functools
import hashlib
import logging
import math
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator

from aiohttp import HttpVersion11, web

from dog.auth import Identity, allows
from dog.errors import RequestError
from dog.protocol import Auth, Capture, Error, Ping, Pong, Reply, Resume, parse_request
from dog.push.viewer import Viewer, WritePath
from dog.push.websocket_frames import CLOSE, PING, PONG, TEXT, FrameError, FrameReader, build_frame, close_reply_code
from dog.web.app_keys import APP_STATE, AppState
from dog.web.close_on_role_change import UNAUTHORIZED
from dog.web.connections.aiohttp_internals import TakenOverResponse, take_over
from dog.web.connections.connection_limits import CONNECTIONS
from dog.web.http.requests import PushQuery, read_query
from dog.web.loop_time import MESSAGE_MS
from dog.web.middleware.authentication import IDENTITY
from dog.web.middleware.authorization import access_denied
from dog.web.middleware.origins import check_origin
from dog.web.problems import TEMPORARY, Problem
from dog.web.rate_limits import TokenBucket, address_key, client_key

__all__ = ["RATE_LIMITED_CODE", "WebSocketConnection", "accept_handshake", "open_websocket"]

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
SUBPROTOCOL = "dog.v1"
"""The only subprotocol (RFC 6455, section 1.9). Clients need not ask for it."""
KEY_PATTERN = re.compile(r"[A-Za-z0-9+/]{22}==")
"""A Sec-WebSocket-Key: sixteen bytes in Base64."""

log = logging.getLogger(__name__)


class WebSocketConnection(Viewer):
    """A client whose messages are limited, parsed and answered in order."""

    __slots__ = (
        "_bucket",
        "_end",
        "_identity",
        "_limited_address",
        "_reader",
        "_received",
        "_refused_in_a_row",
        "_service",
    )

    def __init__(
        self, service: AppState, transport: asyncio.Transport, address: str, identity: Identity, end: Callable[[], None]
    ) -> None:
        self._service = service
        self._identity = identity
        self._end = end
        self._reader = FrameReader(MAX_REQUEST_BYTES)
        self._bucket = TokenBucket(service.settings.message_rate, service.settings.message_burst)
        self._refused_in_a_row = 0
        self._limited_address = address_key(address)
        """The address that the loop's time is charged to."""
        self._received = b""
        """Bytes that have arrived, and wait for the address's turn."""
        super().__init__(service.hub, transport, address, identity.role or "view")

    def data_received(self, data: bytes) -> None:
        self.last_received_at = self._service.hub.now()
        self._received += data
        if not self._service.loop_time.request_turn(self._limited_address, self, MESSAGE_MS):
            self._transport.pause_reading()

    def take_turn(self, _charged_ms: float) -> None:
        """Handle the messages that have arrived, and read on."""
        received, self._received = self._received, b""
        self._transport.resume_reading()
        self._receive(self._reader.read(received))

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._service.loop_time.cancel(self._limited_address, self)
        self._end()

    def _receive(self, frames: Iterator[tuple[int, bytes]]) -> None:
        try:
            while self.write_path is not WritePath.CLOSED and (frame := next(frames, None)):
                self._on_frame(*frame)
        except FrameError as error:
            self.close(error.code, error.reason)
        except Exception:
            log.exception("viewer %s: disconnected by an internal error", self.address)
            self.abort()

    def _on_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self.close(close_reply_code(payload))
            return
        wait = self._bucket.take(self.last_received_at)
        self._refused_in_a_row = self._refused_in_a_row + 1 if wait else 0
        if self._refused_in_a_row > MAX_REFUSED_IN_A_ROW:
            self.close(RATE_LIMITED_CODE, "too many messages")
        elif wait:
            text = f"You send too many messages. Send the next one in {wait:.1f} s."
            self._send_error(RequestError("rate_limited", text, retry_after=round(wait, 3)))
        elif opcode == PING:
            self.write(build_frame(PONG, payload))
        elif opcode == TEXT:
            self._service.loop_time.note_activity(self._limited_address)
            try:
                self._on_text(payload.decode())
            except RequestError as error:
                self._send_error(error)

    @abstractmethod
    def _on_text(self, text: str) -> None:
        """Answer a message, or raise RequestError."""

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

    def _identify(self, message: Auth) -> Identity:
        """Return the identity of a token. Raise RequestError `unauthorized`."""
        assert self._service.auth is not None
        identity = self._service.auth.identify_token(message.token or "")
        if identity is None:
            text = "This token is unknown or has expired. Send another one."
            raise RequestError("unauthorized", text, request=message.request)
        return identity.limit_to_capture() if self._identity.is_foreign else identity


class PendingViewer(WebSocketConnection):
    """A client without a role. It must authenticate within AUTH_TIMEOUT."""

    __slots__ = ("_auth_timer", "_frames", "_since")

    def start(self, since: str | None, handshake: bytes) -> None:
        """Send the handshake, and ask for a token."""
        self._since = since
        loop = asyncio.get_running_loop()
        self._auth_timer = loop.call_later(AUTH_TIMEOUT, self.close, UNAUTHORIZED, "authentication timeout")
        self.write(handshake)
        self._send_error(access_denied(self._identity, "view"))

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._auth_timer.cancel()

    def _receive(self, frames: Iterator[tuple[int, bytes]]) -> None:
        self._frames = frames
        super()._receive(frames)

    def _on_text(self, text: str) -> None:
        message = parse_request(text)
        if not isinstance(message, Auth):
            raise access_denied(self._identity, "view", message.request)
        try:
            identity = self._identify(message)
        except RequestError as error:
            self._send_error(error)
            self.close(UNAUTHORIZED, "unknown token")
            return
        self._auth_timer.cancel()
        self._set_write_path(WritePath.CLOSED)
        # the new viewer goes on with the frames that follow, and with what is left of the message rate
        viewer = WebSocketViewer(self._service, self._transport, self.address, identity, self._end)
        viewer._reader, viewer._bucket = self._reader, self._bucket
        viewer.start(self._since)
        viewer._receive(self._frames)


class WebSocketViewer(WebSocketConnection):
    """A client with a role. It receives all events, and sends requests."""

    __slots__ = ("_unregister",)

    def start(self, since: str | None, handshake: bytes = b"") -> None:
        """Send the handshake, and join the hub."""
        self._unregister = self._service.live_sessions.register(self._identity, self.close)
        self._service.hub.join(self, self._service.camera_statuses(), since, preface=handshake)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._unregister()

    def _on_text(self, text: str) -> None:
        service, message = self._service, parse_request(text)
        match message:
            case Capture():
                self.send(self._capture(message))
            case Resume():
                sent = service.hub.resume(self, service.camera_statuses(), message.cursor)
                self._bucket.spend(sent / MAX_REQUEST_BYTES)  # a replay counts by its size
            case Ping():
                self.send(Pong(request=message.request))
            case Auth() if service.auth is not None:
                self._identity = identity = self._identify(message)
                self.role = identity.role or "view"
                self._unregister()
                self._unregister = service.live_sessions.register(identity, self.close)
                service.hub.resume(self, service.camera_statuses(), service.hub.cursor)

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
    if "Sec-WebSocket-Key" in request.headers and "Upgrade" not in request.headers:
        _warn_about_proxy(request)
    check_origin(request)
    handshake = accept_handshake(request)
    since = read_query(request, PushQuery).since
    service, connections = request.app[APP_STATE], request.app[CONNECTIONS]
    address, identity = request.remote or "", request[IDENTITY]
    connections.count_as_viewer(request)
    transport, early = take_over(request)
    make_viewer: type[PendingViewer] | type[WebSocketViewer]
    make_viewer = PendingViewer if identity.role is None else WebSocketViewer
    viewer = make_viewer(service, transport, address, identity, connections.register_viewer(address))
    try:
        viewer.start(since, handshake)
        viewer.data_received(early)
    except Exception:
        log.exception("viewer %s: disconnected by an internal error", address)  # too late for a 500
        viewer.abort()
    return TakenOverResponse(status=101)


def _warn_about_proxy(request: web.Request) -> None:
    """Tell the administrator once that a proxy removes hop-by-hop headers."""
    peer = request.transport and request.transport.get_extra_info("peername")
    request.app[APP_STATE].warnings.warn(
        log,
        "The proxy at %s does not pass WebSockets on, so pages use Server-Sent Events instead. Let it pass the headers"
        " Upgrade and Connection, as docs/deploying.md shows for nginx and Apache.",
        peer[0] if peer else "an unknown address",
        interval=math.inf,
    )


def accept_handshake(request: web.Request) -> bytes:
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
    offered = [one.strip() for line in headers.getall("Sec-WebSocket-Protocol", ()) for one in line.split(",")]
    subprotocol = f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n".encode() if SUBPROTOCOL in offered else b""
    accepted = base64.b64encode(hashlib.sha1(key.encode() + ACCEPT_GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accepted + b"\r\n" + subprotocol + b"\r\n"
    )
