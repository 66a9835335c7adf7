"""The push, as one stream that heals itself: it comes back after a loss and goes on behind the last event it had.

    connect -> hello -> events ... lost -> (full jitter) -> connect with the cursor -> hello, and what was missed

An event is handed on once, in order: `seq` tells repeats. What can't be had again is told as Missed. Messages and
fields that are not known are ignored. The close codes 4401 and 4403 end it, every other loss is temporary.
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
"""Seconds after which a connection counts as a good one: the waits begin anew behind it."""
CLOSE_TIMEOUT = 1.0
"""Seconds that the server has to answer our close."""
_FORBIDDEN = (4401, 4403)
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Bytes of the longest message that is taken: a `hello` of very many cameras."""

log = logging.getLogger(__name__)


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag="lost"):
    """Said on this side: the connection is gone, and is being made again. `reason` is for a person."""

    reason: str


class Missed(msgspec.Struct, frozen=True, kw_only=True, tag="missed"):
    """Said on this side, right behind a Hello: the events after the cursor `since` can't be had again.

    The Hello is the state that they led to; `Client.snapshots` lists the photos among them.
    """

    since: str


PushEvent = Event | Viewers | Hello | Lost | Missed
_EVENT_TYPES: dict[str, Any] = {str(kind.__struct_config__.tag): kind for kind in (*get_args(Event), Viewers)}


class _Envelope(msgspec.Struct):
    """What is read of every message, known or not."""

    type: str
    seq: int | None = None
    cursor: str | None = None


class Push:
    """The events after the cursor `since`, or from now on, handed on one by one."""

    def __init__(
        self, server: Server, on_event: Callable[[PushEvent], Awaitable[None]], since: str | None = None
    ) -> None:
        self._server = server
        self._on_event = on_event
        self._cursor = since
        self._epoch = -1
        self._seq = -1
        self._has_hello = False
        self._lost_reported = False  # that the connection is lost
        self._delays = retry_delays()

    async def run(self) -> None:
        """Go on until cancelled. Raises Unreachable where the server was never reached, and Forbidden."""
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
        """A server that did not let us in: why, and how many seconds it wants to be left alone."""
        if error.status in (401, 403):
            raise self._server.forbidden(f"status {error.status}.") from None
        seconds = read_retry_after(error.headers or {}) or 0.0
        full = f"{self._server.display_url} has no room for another viewer now; try again later."
        if not self._server.reached:
            raise (Unreachable(full) if error.status == 503 else self._server.not_a_dog_server()) from None
        return full, seconds

    async def _listen(self) -> str:
        """One connection, until it is lost: why it was."""
        loop = asyncio.get_running_loop()
        query = {} if self._cursor is None else {"since": self._cursor}
        connecting = self._server.session.ws_connect(
            self._server.address / "ws",
            params=query,
            heartbeat=READ_TIMEOUT,
            max_msg_size=_MAX_MESSAGE_BYTES,
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
        )
        async with asyncio.timeout(CONNECT_TIMEOUT):
            socket = await connecting
        since = loop.time()
        try:
            while True:
                message = await socket.receive(None if self._has_hello else CONNECT_TIMEOUT)
                if message.type is aiohttp.WSMsgType.TEXT:
                    await self._on_message(message.data)
                elif message.type is not aiohttp.WSMsgType.BINARY:
                    break
        finally:
            if self._has_hello and loop.time() - since > STABLE_SECONDS:
                self._delays = retry_delays()
            await socket.close()
        if socket.close_code in _FORBIDDEN:
            raise self._server.forbidden(f"close code {socket.close_code}.")
        return f"The connection to {self._server.display_url} was lost."

    async def _on_message(self, text: str) -> None:
        """Hand on what is new to whoever listens. Raises msgspec.DecodeError for what no D.O.G. says."""
        envelope = msgspec.json.decode(text, type=_Envelope)
        if envelope.type == "error" and not self._has_hello:  # it says nothing else to who does not say who they are
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
            log.warning("A message %r of %s can't be understood: %s", envelope.type, self._server.display_url, error)
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
