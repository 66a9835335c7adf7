"""All code that depends on undocumented parts of aiohttp.

Compare it with each new version of aiohttp.

- Handler gives aiohttp one request at a time. By itself, aiohttp parses up to 32 requests ahead, even without a
  response. Here its parser gets the head of a request, then its body, and nothing more until the response has been
  sent. connection.py keeps the bytes that follow.
- `patch_aiohttp_server` handles requests on which aiohttp would fail.
- `take_over` takes a connection from aiohttp, for a viewer or a live view.
- `override_request` sets a request's client address, scheme and host.

tests/web/test_aiohttp_internals.py checks the assumptions.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.hdrs import CONTENT_LENGTH
from aiohttp.http import RawRequestMessage
from yarl import URL

from dog.protocol import encode
from dog.web.loop_time import Stopwatch
from dog.web.problems import problem_details

__all__ = ["Handler", "TakenOverResponse", "override_request", "patch_aiohttp_server", "take_over"]

MAX_FRAMING_BYTES = 32 * 1024
"""The limit of all that is not data in a chunked body: sizes, extensions and trailers."""

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Handler(web.RequestHandler):
    """aiohttp's handler. It calls `on_response` after each complete response."""

    __slots__ = ("_body", "_body_left", "_framing", "on_response", "stopwatch", "take_received")

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.on_response: Callable[[], None] = _do_nothing
        self.take_received: Callable[[], bytes] = bytes
        """Return the bytes after the request, for another protocol."""
        self._body: StreamReader | None = None
        self._body_left: int | None = 0
        """Bytes of the body that have not arrived. None if its length is unknown (chunked)."""
        self._framing = 0
        self.stopwatch: Stopwatch | None = None
        """It runs while requests are handled, if there is one."""

    async def start(self) -> None:
        """Handle requests until the connection ends."""
        if self.stopwatch is None:
            await super().start()
        else:
            await self.stopwatch.time(super().start())

    def feed_head(self, head: bytes) -> bool:
        """Parse a complete head, or bytes that are not HTTP (answered with 400).

        Return False if aiohttp will neither call the handler nor send 400.
        """
        self._body, self._framing = None, 0
        self.data_received(head)
        if not self._messages:  # as after HTTP/2's first line: a wrong byte after it makes it an error
            self.data_received(b"\0")
        if not self._messages:  # the connection is being closed
            return False
        message, body = self._messages[-1]
        if not isinstance(message, RawRequestMessage):  # this is not HTTP
            message.exc.__traceback__ = None  # its frames refer to the error and to the connection
            return True
        if body.is_eof():  # no body
            return True
        self._body = body
        length = message.headers.get(CONTENT_LENGTH)
        # The parser has checked the value, but int() refuses more than 4300 digits.
        self._body_left = None if message.chunked or length is None else int(length.lstrip("0") or "0")
        if self._body_left is None:
            # The parser keeps the bytes after the last chunk, so this is the last request of the connection.
            self._messages[-1] = (message._replace(should_close=True), body)
        return True

    def feed_body(self, data: bytes) -> bytes:
        """Parse bytes of the body. Return those that follow it."""
        body, left = self._body, self._body_left
        if body is None:
            return data
        if left is None:
            self._feed_chunks(body, data)
            return b""
        self._body_left = left - min(left, len(data))
        if not self._body_left:
            self._body = None
        self.data_received(data[:left])
        return data[left:]

    def _feed_chunks(self, body: StreamReader, data: bytes) -> None:
        """Parse a part of a chunked body. Errors are raised at its reader."""
        if body.is_eof():
            return
        before, count = body.total_bytes, self._request_count
        self.data_received(data)
        self._framing += len(data) - (body.total_bytes - before)
        unexpected = self._request_count - count
        for _ in range(unexpected):  # the parser's error, in the form of another request, or other requests
            message, _ = self._messages.pop()
            if not isinstance(message, RawRequestMessage):
                message.exc.__traceback__ = None
        if body.is_eof():
            return
        if unexpected or self._framing > MAX_FRAMING_BYTES:
            body.set_exception(web.RequestPayloadError("its chunks are malformed, or their framing is too long"))
            body.feed_eof()

    def connection_lost(self, error: BaseException | None) -> None:
        """Drop the reference cycle with the connection, to free both now."""
        super().connection_lost(error)
        self._body, self.on_response, self.take_received = None, _do_nothing, bytes

    def detach(self) -> None:
        """End the handler without closing the connection."""
        self.transport = None
        self.connection_lost(None)

    async def finish_response(self, request: web.BaseRequest, *arguments: Any) -> tuple[web.StreamResponse, bool]:
        """Send a response. `on_response` is called then, or at the body's end."""
        sent = await super().finish_response(request, *arguments)
        request.content.on_eof(self._end_request)
        return sent

    def _end_request(self) -> None:
        """Call `on_response` a step later: aiohttp's parser is not reentrant."""
        asyncio.get_running_loop().call_soon(self.on_response)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Log an error and return its response, unless the client disconnected."""
        if isinstance(exc, ConnectionError):  # as in the response to `Expect: 100-continue`, which aiohttp sends itself
            raise exc
        return super().handle_error(request, status, exc, message)


def _do_nothing() -> None:
    pass


def patch_aiohttp_server(server: web.Server, headers: dict[str, str]) -> None:
    """Handle requests on which aiohttp would fail before middlewares run.

    aiohttp's own responses get these headers too, instead of one with its version.
    """

    class Request(web.Request):
        async def _prepare_hook(self, response: web.StreamResponse) -> None:
            if self._match_info is None:
                response.headers.update(headers)
            await super()._prepare_hook(response)

    server.request_handler = _reject_expectations(server.request_handler)
    make: Callable[..., web.BaseRequest] = server.request_factory
    server.request_factory = _replace_missing_urls(functools.partial(make, _cls=Request))


def _reject_expectations(handle: Handle) -> Handle:
    """Send 417 for an unknown Expect (RFC 9110, 10.1.1): aiohttp may fail."""

    async def reject() -> web.StreamResponse:
        body = encode(
            problem_details(
                "expectation_failed", "This Expect header is not supported. Leave it out, or send 100-continue."
            )
        )
        return web.Response(status=417, body=body, content_type="application/problem+json")

    def check_expect(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        expected = request.headers.get("Expect")
        if expected and expected.lower() != "100-continue" and request.version >= HttpVersion11:
            return reject()
        return handle(request)

    return check_expect


def _replace_missing_urls(make_request: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """Give requests without a URL the URL `*`: their target was invalid."""

    def make(message: RawRequestMessage, *parts: Any) -> web.BaseRequest:
        if message.url is None:
            message = message._replace(method="GET", path="*", url=URL("*"), should_close=True)
        return make_request(message, *parts)

    return make


def take_over(request: web.Request) -> tuple[asyncio.Transport, bytes]:
    """Take a connection over from aiohttp. Return it and its received bytes.

    From now on, only the transport's next protocol may read or write. Raise ConnectionResetError if the client has
    disconnected.
    """
    transport, handler = request.transport, request.protocol
    if transport is None or transport.is_closing():
        raise ConnectionResetError("The client has disconnected.")
    early = EarlyBytes()
    handler.set_parser(early)  # type: ignore[arg-type]
    received = early.data + (handler.take_received() if isinstance(handler, Handler) else b"")
    protocol = transport.get_protocol()  # a Connection, or the handler itself
    assert isinstance(protocol, asyncio.Protocol)
    handler.transport = None  # or aiohttp would close it
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


def override_request(request: web.Request, *, remote: str | None, scheme: str | None, host: str | None) -> None:
    """Set the known values. A clone would change neither response nor log."""
    values = {"remote": remote, "scheme": scheme, "host": host}
    for derived in ("secure", "url"):
        request._cache.pop(derived, None)
    request._cache.update((name, value) for name, value in values.items() if value is not None)
