"""The security headers of every response, such as CSP and HSTS."""

import base64
import functools
import hashlib
from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp import web

from dog import __version__
from dog.settings import Settings
from dog.web.middleware.origins import cors_headers, is_public

__all__ = [
    "SECURITY_HEADERS",
    "SENDS_HSTS",
    "SHARE_POLICY",
    "add_security_headers",
    "header_lines",
    "make_security_headers",
    "make_share_policy",
    "sends_hsts",
]

SECURITY_HEADERS = web.AppKey("security_headers", dict[str, str])
SHARE_POLICY = web.AppKey("share_policy", str)
"""The Content-Security-Policy of the pages of share links, which other sites may embed."""
REPLACEABLE = frozenset(("Content-Security-Policy", "Cross-Origin-Resource-Policy", "Referrer-Policy"))
"""Headers that a response may have itself."""
SENDS_HSTS = web.AppKey("keeps_https", bool)
DENIED_FEATURES = ("camera", "display-capture", "geolocation", "microphone", "midi", "payment", "usb")
"""Browser features that no page of ours uses."""
_NO_FRAMES = "frame-ancestors 'none'"
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
            _NO_FRAMES,
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


def make_share_policy(settings: Settings, headers: dict[str, str]) -> str:
    """Return the policy that lets the sites of `embed` show a page in a frame."""
    policy = headers["Content-Security-Policy"]
    return policy.replace(_NO_FRAMES, f"frame-ancestors {' '.join(settings.embed)}") if settings.embed else policy


def header_lines(request: web.Request, own: Mapping[str, str]) -> str:
    """Return the security headers as lines of a head, except those in `own`."""
    headers = request.app[SECURITY_HEADERS]
    if REPLACEABLE.isdisjoint(own):
        return _join_lines(tuple(headers.items()))
    return _join_lines(tuple(item for item in headers.items() if item[0] not in own))


@functools.lru_cache(maxsize=8)
def _join_lines(headers: tuple[tuple[str, str], ...]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers)


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
    """Add security and CORS headers. A response keeps its REPLACEABLE ones."""
    own = {name: response.headers[name] for name in REPLACEABLE if name in response.headers}
    response.headers.update(request.app[SECURITY_HEADERS] | own)
    if request.app[SENDS_HSTS] and is_public(request):
        response.headers["Strict-Transport-Security"] = f"max-age={HSTS_MAX_AGE_SECONDS}"
    cors = cors_headers(request)
    if "Vary" in cors and "Vary" in response.headers:
        cors["Vary"] = ", ".join({"Origin": None, **dict.fromkeys(response.headers["Vary"].split(", "))})
    response.headers.update(cors)
    if response.status >= 400:
        response.headers["Cache-Control"] = "no-store"
