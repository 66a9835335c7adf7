"""The push as one stream of events that reconnects and resumes.

    connect -> hello -> events ... lost -> (full jitter) -> connect with the cursor -> hello, missed events

Each event is passed on once, in order; repeats are detected by `seq`. Events that can't be replayed are reported as
Missed. Unknown messages and fields are ignored. Only the close codes 4401 and 4403 end the stream.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, get_args

import aiohttp
import msgspec

from dog.client.errors import Unreachable
from dog.client.http import CONNECT_TIMEOUT, READ_TIMEOUT, Server, read_retry_after, retry_delays
from dog.protocol import Error, Event, Hello, Viewers

__all__ = ["Lost", "Missed", "Push", "PushEvent"]

STABLE_SECONDS = 10.0
"""Seconds after which a connection counts as stable, and the retry delays start again at the first."""
WEBSOCKET_CLOSE_TIMEOUT = 1.0
"""Seconds that the server has to reply to our close frame."""
_FORBIDDEN_CODES = (4401, 4403)
_MAX_EVENT_BYTES = 64 * 1024 * 1024
"""Maximum size of a message, such as a `hello` of very many cameras."""

log = logging.getLogger(__name__)


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag="lost"):
    """The connection is lost; the client reconnects. Not sent by the server."""

    reason: str


class Missed(msgspec.Struct, frozen=True, kw_only=True, tag="missed"):
    """Events after the cursor `since` are lost. Not sent by the server.

    It follows a Hello, which has the state after them. `Client.snapshots` lists the photos among them.
    """

    since: str


PushEvent = Event | Viewers | Hello | Lost | Missed
_EVENT_TYPES: dict[str, Any] = {str(kind.__struct_config__.tag): kind for kind in (*get_args(Event), Viewers)}


class _Envelope(msgspec.Struct):
    """The fields that every message may have, also an unknown one."""

    type: str
    seq: int | None = None
    cursor: str | None = None


class Push:
    """Events from now on or after cursor `since`, passed to `on_event`."""

    def __init__(
        self, server: Server, on_event: Callable[[PushEvent], Awaitable[None]], since: str | None = None
    ) -> None:
        self._server = server
        self._on_event = on_event
        self._cursor = since
        self._epoch = -1
        self._seq = -1
        self._has_hello = False
        self._lost_reported = False
        self._delays = retry_delays()

    async def run(self) -> None:
        """Receive events until cancelled. Raise Forbidden, at first Unreachable."""
        while True:
            wait = 0.0
            try:
                reason = await self._listen()
            except aiohttp.WSServerHandshakeError as error:
                reason, wait = self._classify(error)
            except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                reason = str(self._server.unreachable(error))
            except (msgspec.DecodeError, RecursionError) as error:
                raise self._server.not_a_dog_server() from error
            if not self._server.reached:
                raise Unreachable(reason)
            if self._has_hello or not self._lost_reported:
                await self._on_event(Lost(reason=reason))
            self._has_hello, self._lost_reported = False, True
            await asyncio.sleep(max(wait, next(self._delays)))

    def _classify(self, error: aiohttp.WSServerHandshakeError) -> tuple[str, float]:
        """Return why a handshake failed, and its Retry-After. Raise if permanent."""
        if error.status in (401, 403):
            raise self._server.forbidden(f"status {error.status}.") from None
        seconds = read_retry_after(error.headers or {}) or 0.0
        full = f"{self._server.display_url} has too many viewers; try again later."
        if not self._server.reached:
            raise (Unreachable(full) if error.status == 503 else self._server.not_a_dog_server()) from None
        return full, seconds

    async def _listen(self) -> str:
        """Receive events of one connection until it is lost. Return the reason."""
        loop = asyncio.get_running_loop()
        query = {} if self._cursor is None else {"since": self._cursor}
        connecting = self._server.session.ws_connect(
            self._server.base_url / "ws",
            params=query,
            heartbeat=READ_TIMEOUT,
            max_msg_size=_MAX_EVENT_BYTES,
            timeout=aiohttp.ClientWSTimeout(ws_close=WEBSOCKET_CLOSE_TIMEOUT),
        )
        async with asyncio.timeout(CONNECT_TIMEOUT):
            socket = await connecting
        connected_at = loop.time()
        try:
            while True:
                message = await socket.receive(None if self._has_hello else CONNECT_TIMEOUT)
                if message.type is aiohttp.WSMsgType.TEXT:
                    await self._on_message(message.data)
                elif message.type is not aiohttp.WSMsgType.BINARY:
                    break
        finally:
            if self._has_hello and loop.time() - connected_at > STABLE_SECONDS:
                self._delays = retry_delays()
            await socket.close()
        if socket.close_code in _FORBIDDEN_CODES:
            raise self._server.forbidden(f"close code {socket.close_code}.")
        return f"The connection to {self._server.display_url} was lost."

    async def _on_message(self, text: str) -> None:
        """Pass on a new event. Raise msgspec.DecodeError if it is invalid."""
        envelope = msgspec.json.decode(text, type=_Envelope)
        if envelope.type == "error" and not self._has_hello:  # sent to clients that must authenticate
            raise self._server.forbidden(msgspec.json.decode(text, type=Error).message)
        if envelope.type == "hello":
            await self._on_hello(msgspec.json.decode(text, type=Hello))
            return
        before = self._cursor
        if envelope.seq is not None:
            if envelope.seq <= self._seq:
                return
            self._seq = envelope.seq
            self._cursor = envelope.cursor or before
        kind = _EVENT_TYPES.get(envelope.type)
        if kind is None:
            return
        try:
            message: PushEvent = msgspec.json.decode(text, type=kind)
        except msgspec.ValidationError as error:
            log.warning("A message %r of %s is not valid: %s", envelope.type, self._server.display_url, error)
            message = Missed(since=before or "")
        await self._on_event(message)

    async def _on_hello(self, hello: Hello) -> None:
        since = self._cursor
        self._has_hello = self._server.reached = True
        if not (hello.recovered and hello.epoch == self._epoch):
            self._seq = hello.seq
        self._epoch = hello.epoch
        self._cursor = hello.cursor
        await self._on_event(hello)
        if since is not None and not hello.recovered:
            await self._on_event(Missed(since=since))
