"""Redirect URLs that end with a slash, as people type them, to the page."""

from aiohttp import web
from aiohttp.typedefs import Handler

__all__ = ["trailing_slash_middleware"]

_PATHS = ("/snapshots/", "/api/")


@web.middleware
async def trailing_slash_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Redirect /snapshots/ and /api/ to the gallery and the API's page."""
    if request.rel_url.raw_path not in _PATHS or request.method not in ("GET", "HEAD"):
        return await handler(request)
    query = f"?{request.rel_url.raw_query_string}" if request.query_string else ""
    return web.Response(status=301, headers={"Location": f"..{request.path.rstrip('/')}{query}"})
