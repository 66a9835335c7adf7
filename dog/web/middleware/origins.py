"""Origin checks (CSRF) and CORS: the pages that may send and read."""

from aiohttp import web
from aiohttp.typedefs import Handler

from dog.errors import RequestError
from dog.web.app_keys import APP_STATE

__all__ = [
    "AUTOMATIC_AUTH",
    "check_origin",
    "cors_headers",
    "is_from_browser",
    "is_listed",
    "is_public",
    "is_secure",
    "preflight_middleware",
]

EXPOSED_HEADERS = "Age, Location, Retry-After, X-Captured-At, X-Outcome, X-Snapshot"
"""Headers that a page of another origin may read, besides the ones that CORS always allows."""
AUTOMATIC_AUTH = web.RequestKey("by_cookie", str)
"""The credentials, if a browser sends them by itself with any site's request: a session cookie, or HTTP Basic."""
BROWSER_HEADERS = ("Sec-Fetch-Site", "Origin", "Referer", "Cookie", "Accept-Language")
"""Every request of a browser has one of these, over plain HTTP and without a Referer at least the last one."""
PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Prefer",
    "Access-Control-Max-Age": "600",
}


def is_public(request: web.Request) -> bool:
    """Return True if the request's host is that of the setting `base_url`."""
    public = request.app[APP_STATE].settings.base_url
    if public is None:
        return False
    origin = _origin_of(public)
    return _strip_port(f"{origin.partition(':')[0]}://{request.host}".lower()) == origin


def is_secure(request: web.Request) -> bool:
    """Return True if the browser uses HTTPS, also by a proxy or `base_url`."""
    public = request.app[APP_STATE].settings.base_url or ""
    return request.secure or (public.startswith("https:") and is_public(request))


def is_from_browser(request: web.Request) -> bool:
    """Return True if a browser may have sent the request."""
    return any(name in request.headers for name in BROWSER_HEADERS)


def check_origin(request: web.Request, *, only_views: bool = False) -> None:
    """Raise RequestError `forbidden` if another site's page sent it (CSRF).

    The origin must be the host of the request or of `base_url`, or in the setting `origins`. A script sends none, and
    passes. With credentials that a browser sends by itself, an origin is required, and `origins` does not count: pages
    listed there send a token. A request that `only_views` passes with HTTP Basic if no browser sent it.
    """
    origin = _foreign_origin(request)
    if origin is None or (AUTOMATIC_AUTH not in request and is_listed(request)):
        return
    if only_views and request.get(AUTOMATIC_AUTH) == "HTTP Basic" and not is_from_browser(request):
        return
    raise RequestError("forbidden", _explain_refusal(request, origin))


def _explain_refusal(request: web.Request, origin: str) -> str:
    """Return why a page or a script of this origin ("": unknown) is refused."""
    if request.headers.get("Sec-Fetch-Dest") == "image":
        site = f"a page from {origin[:80]!r}" if origin else "a page that hides its site (Referrer-Policy: no-referrer)"
        advice = "Show a share link of the camera there: its live page has the button Share camera."
        return f"This image is on {site}. {advice}"
    if origin:
        return (
            f"Pages from {origin[:80]!r} may not use this camera. Allow them with the setting `origins`."
            " Behind a proxy, set `trusted_proxies` or `base_url`."
        )
    if AUTOMATIC_AUTH in request:
        return (
            f"The request has {request[AUTOMATIC_AUTH]} but no Origin."
            " Scripts should send a token as `Authorization: Bearer` instead."
        )
    return "The page hides its site. Remove its Referrer-Policy, and name the site in the setting `origins`."


def is_listed(request: web.Request) -> bool:
    """Return True if a page of the setting `origins` sent the request.

    It may only watch and take photos.
    """
    return _foreign_origin(request) in request.app[APP_STATE].settings.origins


def _foreign_origin(request: web.Request) -> str | None:
    """Return the origin of another site's page; None for ours and for scripts.

    A browser sends the page's origin: in Origin when it opens a WebSocket or posts, or else in Sec-Fetch-Site or
    Referer. It is "" if unknown.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        site = request.headers.get("Sec-Fetch-Site")
        if site in ("same-origin", "none") or (
            site is None and AUTOMATIC_AUTH not in request and "Referer" not in request.headers
        ):
            return None
        origin = _origin_of(request.headers.get("Referer", ""))
    origin = _strip_port(origin.lower())
    public = request.app[APP_STATE].settings.base_url
    own = {_strip_port(f"{request.scheme}://{request.host}".lower()), _origin_of(public) if public else None}
    return None if origin in own else origin


def _origin_of(url: str) -> str:
    """Return the scheme, host and port of a URL, or "" if it has no host."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].partition("?")[0]
    return f"{scheme}://{host}" if host else ""


def cors_headers(request: web.Request) -> dict[str, str]:
    """Return the CORS headers for a listed origin's page, without cookies.

    `Vary: Origin` is always sent: an image is cached without a limit, and pages of several origins may read it.
    """
    origins = request.app[APP_STATE].settings.origins
    if not origins:
        return {}
    origin = request.headers.get("Origin", "")
    if _strip_port(origin.lower()) not in origins:
        return {"Vary": "Origin"}
    return {"Vary": "Origin", "Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED_HEADERS}


def _strip_port(origin: str) -> str:
    """Remove the default port, which browsers omit but some proxies send."""
    for scheme, port in (("http://", ":80"), ("https://", ":443")):
        if origin.startswith(scheme):
            return origin.removesuffix(port)
    return origin


@web.middleware
async def preflight_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Respond to CORS preflight requests."""
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return await handler(request)
    allowed = "Access-Control-Allow-Origin" in cors_headers(request)
    return web.Response(status=204, headers=PREFLIGHT_HEADERS if allowed else {})
