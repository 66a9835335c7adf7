"""The security headers of every response, such as CSP and HSTS."""

import base64
import hashlib
from urllib.parse import urlsplit

from aiohttp import web

from dog import __version__
from dog.settings import Settings
from dog.web.middleware.origins import cors_headers, is_public

__all__ = [
    "SECURITY_HEADERS",
    "SECURITY_HEADER_LINES",
    "SENDS_HSTS",
    "add_security_headers",
    "make_security_headers",
    "sends_hsts",
]

SECURITY_HEADERS = web.AppKey("security_headers", dict[str, str])
SECURITY_HEADER_LINES = web.AppKey("security_lines", str)
"""The same as lines of a response's head."""
SENDS_HSTS = web.AppKey("keeps_https", bool)
DENIED_FEATURES = ("camera", "display-capture", "geolocation", "microphone", "midi", "payment", "usb")
"""Browser features that no page of ours uses."""
HSTS_MAX_AGE_SECONDS = 180 * 24 * 3600


def make_security_headers(settings: Settings, inline_style: str, inline_script: str) -> dict[str, str]:
    """Return the headers: no foreign content, no framing, no type sniffing.

    The one inline style and script are allowed by hash. Only listed `origins` let pages of other sites show images.
    """
    public = urlsplit(settings.base_url or "")
    public_source = f" {public.scheme}://{public.netloc}" if public.netloc else ""
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' {_hash_source(inline_script)}",
            f"style-src 'self' {_hash_source(inline_style)}",
            f"img-src 'self' blob:{public_source}",  # the frames of the live view, which our script has received
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
        "Permissions-Policy": ", ".join(f"{power}=()" for power in DENIED_FEATURES),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "cross-origin" if settings.origins else "same-origin",
    }


def _hash_source(text: str) -> str:
    """Return the source that allows an inline script or style (CSP 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def sends_hsts(settings: Settings) -> bool:
    """Return True if responses have HSTS: `base_url` is https and a name.

    HSTS must not be sent over plain HTTP (RFC 6797, section 7.2). Without a `base_url` it is not sent, because the
    certificate may be self-signed, and HTTPS may be given up again.
    """
    public = urlsplit(settings.base_url or "")
    host = public.hostname or ""
    return public.scheme == "https" and not (":" in host or host == "localhost" or host.rpartition(".")[2].isdigit())


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add security and CORS headers. A response keeps its Referrer-Policy."""
    referrer_policy = response.headers.get("Referrer-Policy")
    response.headers.update(request.app[SECURITY_HEADERS])
    if referrer_policy is not None:
        response.headers["Referrer-Policy"] = referrer_policy
    if request.app[SENDS_HSTS] and is_public(request):
        response.headers["Strict-Transport-Security"] = f"max-age={HSTS_MAX_AGE_SECONDS}"
    cors = cors_headers(request)
    if "Vary" in cors and "Vary" in response.headers:
        cors["Vary"] = ", ".join({"Origin": None, **dict.fromkeys(response.headers["Vary"].split(", "))})
    response.headers.update(cors)
    if response.status >= 400:
        response.headers["Cache-Control"] = "no-store"
