"""Limit the requests of a client address, and its share of the event loop.

Requests are counted by a token bucket. A refused one waits before its response, because a client that floods would only
send the next one. A second bucket has milliseconds of the event loop: a client that uses up its share waits, so that
its requests delay no other client's press. This machine's own address has no limits.
"""

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dog.errors import RequestError
from dog.web.app_keys import APP_STATE
from dog.web.connections.connection_limits import CONNECTIONS
from dog.web.rate_limits import address_key

__all__ = ["REFUSAL_DELAY", "UNCOUNTED_PATHS", "make_request_limits"]

UNCOUNTED_PATHS = frozenset(
    (
        "/snapshots/{id}.{suffix}",
        "/snapshots/{id}/{width}.jpg",
        "/snapshots/{id}/thumbnail.jpg",
        "/static/{name}",
        "/ws",
        "/events",
    )
)
"""Files that never change, of which a page has dozens, and the push, whose viewers have a limit of their own."""
REFUSAL_DELAY = 1.0
"""Seconds until a refused request gets its response."""
OVERHEAD_MS = 0.25
"""The work for a request outside of its handler: to parse it, and to send the response."""

T = TypeVar("T")


def make_request_limits() -> Middleware:
    """Return the middleware, after the one that finds the client address.

    It raises RequestError `rate_limited`.
    """
    queues = WeakValueDictionary[str, asyncio.Lock]()

    @web.middleware
    async def limit_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
        client = address_key(request.remote)
        if client is None:
            return await handler(request)
        limits = request.app[APP_STATE].rate_limits
        async with queues.setdefault(client, asyncio.Lock()):
            await asyncio.sleep(limits.loop_ms.seconds_to_wait(client))
            limits.loop_ms.spend(client, OVERHEAD_MS)
        resource = request.match_info.route.resource
        if resource is None or resource.canonical not in UNCOUNTED_PATHS:
            try:
                limits.requests.take(client)
            except RequestError:
                request.app[CONNECTIONS].record_refusal(client, "rate")
                await asyncio.sleep(REFUSAL_DELAY)
                raise
        handling = _Timed(handler(request))
        try:
            return await handling
        finally:
            limits.loop_ms.spend(client, handling.seconds * 1000)

    return limit_requests


class _Timed(Generic[T]):
    """Await a coroutine, and add up the `seconds` of its steps."""

    def __init__(self, awaitable: Awaitable[T]) -> None:
        assert isinstance(awaitable, Coroutine)
        self.seconds = 0.0
        self._coroutine: Coroutine[Any, Any, T] = awaitable

    def __await__(self) -> Generator[Any, Any, T]:
        sent: Any = None
        error: BaseException | None = None
        while True:
            began = time.perf_counter()
            try:
                waiting = self._coroutine.send(sent) if error is None else self._coroutine.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                self.seconds += time.perf_counter() - began
            try:
                sent, error = (yield waiting), None
            except BaseException as raised:
                error = raised
