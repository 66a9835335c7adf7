"""The browser's side of safety: which pages may talk to us, and what our own may do."""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from dog import __version__
from dog.errors import RequestError
from dog.settings import Settings
from dog.web.service import SERVICE

__all__ = [
    "SECURITY_HEADERS",
    "SECURITY_LINES",
    "add_security_headers",
    "allow_origin",
    "check_origin",
    "make_security_headers",
    "refuse_foreign_posts",
]

SECURITY_HEADERS = web.AppKey("security_headers", dict[str, str])
SECURITY_LINES = web.AppKey("security_lines", str)
"""The same as they stand in an answer."""
EXPOSED = "Age, Location, Retry-After, X-Captured-At, X-Outcome, X-Snapshot"
"""What a page of another origin may read beside the body and what every page may."""
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def check_origin(request: web.Request) -> None:
    """Raise RequestError `forbidden` where another site's page is behind the request.

    A browser always says its page's origin when it opens a WebSocket or posts; it must be the host that was asked, the
    public address, or listed. A script says none, and passes.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return
    settings = request.app[SERVICE].settings
    own = {_strip_port(f"{request.scheme}://{request.host}".lower()), *settings.origins}
    if settings.base_url:
        public = urlsplit(settings.base_url)
        own.add(f"{public.scheme}://{public.netloc}")
    if _strip_port(origin.lower()) not in own:
        raise RequestError(
            "forbidden",
            f"Pages from {origin[:80]!r} may not use this camera; the setting `origins` can allow them,"
            " and behind a proxy `base_url` has to say the address that people use.",
        )


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
    return {"Vary": "Origin", "Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED}


def _strip_port(origin: str) -> str:
    """Without the port that its scheme means anyway: browsers leave it out, some proxies write it."""
    for scheme, port in (("http://", ":80"), ("https://", ":443")):
        if origin.startswith(scheme):
            return origin.removesuffix(port)
    return origin


@web.middleware
def refuse_foreign_posts(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> Awaitable[web.StreamResponse]:
    """No other site's page may make a visitor's browser take a photo."""
    if request.method not in SAFE_METHODS:
        check_origin(request)
    return handler(request)


def make_security_headers(settings: Settings) -> dict[str, str]:
    """The headers that every answer gets: nothing inline, nothing from elsewhere, no framing, no guessing of types."""
    public = urlsplit(settings.base_url or "")
    elsewhere = f" {public.scheme}://{public.netloc}" if public.netloc else ""
    policy = "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src 'self'{elsewhere}",
            "connect-src 'self'",
            "manifest-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )
    return {
        "Server": f"dog/{__version__}",
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    stricter = response.headers.get("Referrer-Policy")
    response.headers.update(request.app[SECURITY_HEADERS])
    if stricter is not None:
        response.headers["Referrer-Policy"] = stricter
    response.headers.update(allow_origin(request))
    if response.status >= 400:
        response.headers["Cache-Control"] = "no-store"
