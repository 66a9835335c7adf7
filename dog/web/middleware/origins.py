"""The browser's side of safety: which pages may talk to us, and what our own may do."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from dog.errors import RequestError
from dog.web.service import SERVICE

__all__ = [
    "COOKIE_AUTH",
    "allow_origin",
    "answer_preflight",
    "check_origin",
    "is_public",
    "is_secure",
]

EXPOSED_HEADERS = "Age, Location, Retry-After, X-Captured-At, X-Outcome, X-Snapshot"
"""What a page of another origin may read beside the body and what every page may."""
COOKIE_AUTH = web.RequestKey("by_cookie", bool)
"""Is there where a cookie alone says who asks: a browser sends it along, whoever makes it ask."""
PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Prefer",
    "Access-Control-Max-Age": "600",
}


def is_public(request: web.Request) -> bool:
    """Whether it was asked at the public address: by its visitor, as a proxy says, or passes on."""
    public = request.app[SERVICE].settings.base_url
    if public is None:
        return False
    origin = _origin_of(public)
    return _strip_port(f"{origin.partition(':')[0]}://{request.host}".lower()) == origin


def is_secure(request: web.Request) -> bool:
    """Whether the browser came by HTTPS: to us, to a proxy that says so, or to the public address."""
    public = request.app[SERVICE].settings.base_url or ""
    return request.secure or (public.startswith("https:") and is_public(request))


def check_origin(request: web.Request) -> None:
    """Raise RequestError `forbidden` where another site's page is behind the request.

    A browser says whose page it is: in Origin when it opens a WebSocket or posts, else in Sec-Fetch-Site or Referer. It
    must be of the host that was asked, of the public address, or listed. A script says nothing and passes. Where a
    cookie alone says who asks, silence does not do, for it may be a browser's, nor a listed page, which shows a token.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        site = request.headers.get("Sec-Fetch-Site")
        if site in ("same-origin", "none") or (
            site is None and COOKIE_AUTH not in request and "Referer" not in request.headers
        ):
            return
        origin = _origin_of(request.headers.get("Referer", ""))
    settings = request.app[SERVICE].settings
    own = {_strip_port(f"{request.scheme}://{request.host}".lower())}
    if COOKIE_AUTH not in request:
        own.update(settings.origins)
    if settings.base_url:
        own.add(_origin_of(settings.base_url))
    if _strip_port(origin.lower()) not in own:
        raise RequestError(
            "forbidden",
            f"Pages from {origin[:80]!r} may not use this camera. Allow them with the setting `origins`."
            " Behind a proxy, set `trusted_proxies` or `base_url`."
            if origin
            else "The request has a session cookie but no Origin. Scripts should send a token instead.",
        )


def _origin_of(url: str) -> str:
    """An address's scheme, host and port; empty where it has none."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].partition("?")[0]
    return f"{scheme}://{host}" if host else ""


def allow_origin(request: web.Request) -> dict[str, str]:
    """What lets a page of a listed origin read the answer, and import a module (CORS); it never carries a cookie.

    Whatever the origin, caches are told that the answer depends on it: a picture is kept for ever, and may have been
    shown by a page before another one reads it.
    """
    origins = request.app[SERVICE].settings.origins
    if not origins:
        return {}
    origin = request.headers.get("Origin", "")
    if _strip_port(origin.lower()) not in origins:
        return {"Vary": "Origin"}
    return {"Vary": "Origin", "Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED_HEADERS}


def _strip_port(origin: str) -> str:
    """Without the port that its scheme means anyway: browsers leave it out, some proxies write it."""
    for scheme, port in (("http://", ":80"), ("https://", ":443")):
        if origin.startswith(scheme):
            return origin.removesuffix(port)
    return origin


@web.middleware
async def answer_preflight(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """A browser asks before a page of a listed origin sends what no form could (CORS)."""
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return await handler(request)
    allowed = "Access-Control-Allow-Origin" in allow_origin(request)
    return web.Response(status=204, headers=PREFLIGHT_HEADERS if allowed else {})
