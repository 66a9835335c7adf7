"""The security headers of every response: CSP, HSTS and their like."""

import base64
import hashlib
from urllib.parse import urlsplit

from aiohttp import web

from dog import __version__
from dog.settings import Settings
from dog.web.middleware.origins import allow_origin, is_public

__all__ = [
    "SENDS_HSTS",
    "SECURITY_HEADERS",
    "SECURITY_HEADER_LINES",
    "add_security_headers",
    "make_security_headers",
    "sends_hsts",
]

SECURITY_HEADERS = web.AppKey("security_headers", dict[str, str])
SECURITY_HEADER_LINES = web.AppKey("security_lines", str)
"""The same as they stand in an answer."""
SENDS_HSTS = web.AppKey("keeps_https", bool)
DENIED_FEATURES = ("camera", "display-capture", "geolocation", "microphone", "midi", "payment", "usb")
"""Powers of a browser that no page of ours asks for."""
HSTS_MAX_AGE_SECONDS = 180 * 24 * 3600


def make_security_headers(settings: Settings, inline_style: str, inline_script: str) -> dict[str, str]:
    """Return the headers of every response: nothing from elsewhere, no framing, no guessing of types.

    Inside a page exactly one style and one script are allowed, these, by their hashes. Pages of other sites may show
    the pictures only if some are listed.
    """
    public = urlsplit(settings.base_url or "")
    public_source = f" {public.scheme}://{public.netloc}" if public.netloc else ""
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' {_hash_source(inline_script)}",
            f"style-src 'self' {_hash_source(inline_style)}",
            f"img-src 'self'{public_source}",
            "connect-src 'self'",
            "manifest-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )
    headers = {
        "Server": f"dog/{__version__}",
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Permissions-Policy": ", ".join(f"{power}=()" for power in DENIED_FEATURES),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "cross-origin" if settings.origins else "same-origin",
    }
    return headers


def _hash_source(text: str) -> str:
    """Return what allows an inline script or style with this text (CSP Level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def sends_hsts(settings: Settings) -> bool:
    """Whether browsers that came to the public address are to come by HTTPS alone from then on: where it is a name.

    By plain HTTP nobody may be told so (RFC 6797, section 7.2), and where there is no public address, the certificate
    may be one that nobody vouches for, and HTTPS be given up again.
    """
    public = urlsplit(settings.base_url or "")
    host = public.hostname or ""
    return public.scheme == "https" and not (":" in host or host == "localhost" or host.rpartition(".")[2].isdigit())


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    referrer_policy = response.headers.get("Referrer-Policy")
    response.headers.update(request.app[SECURITY_HEADERS])
    if referrer_policy is not None:
        response.headers["Referrer-Policy"] = referrer_policy
    if request.app[SENDS_HSTS] and is_public(request):
        response.headers["Strict-Transport-Security"] = f"max-age={HSTS_MAX_AGE_SECONDS}"
    response.headers.update(allow_origin(request))
    if response.status >= 400:
        response.headers["Cache-Control"] = "no-store"
