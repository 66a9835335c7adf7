"""Limit the requests of a client address, by a token bucket.

A refused one waits before its response, because a client that floods would only send the next one. This machine's own
address has no limits.
"""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

from dog.errors import RequestError
from dog.web.app_keys import APP_STATE
from dog.web.connections.connection_limits import CONNECTIONS
from dog.web.rate_limits import address_key

__all__ = ["REFUSAL_DELAY", "UNCOUNTED_PATHS", "limit_requests"]

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


@web.middleware
async def limit_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count a request. Raises RequestError `rate_limited`.

    It follows the middleware that finds the client address.
    """
    client = address_key(request.remote)
    if client is None:
        return await handler(request)
    resource = request.match_info.route.resource
    if resource is None or resource.canonical not in UNCOUNTED_PATHS:
        try:
            request.app[APP_STATE].rate_limits.requests.take(client)
        except RequestError:
            request.app[CONNECTIONS].record_refusal(client, "rate")
            await asyncio.sleep(REFUSAL_DELAY)
            raise
    return await handler(request)
