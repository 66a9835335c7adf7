"""Identify a client by token, ticket or session cookie, without waiting.

A token in `Authorization` takes precedence over a ticket in the URL, and that over the session cookie. Clients that
only know HTTP Basic send the token as the password. Any other password is ignored: it may be for a proxy in front.
"""

import base64
import binascii
import logging
from urllib.parse import urlsplit

from aiohttp import web

from dog.auth import ROLES, TOKEN_PREFIX, AuthService, Identity, allows
from dog.client_addresses import is_loopback
from dog.errors import RequestError
from dog.protocol import Role
from dog.settings import Settings
from dog.web.app_keys import APP_STATE
from dog.web.middleware.forwarded import check_direct
from dog.web.middleware.origins import AUTOMATIC_AUTH, is_from_browser, is_public, is_secure

__all__ = [
    "IDENTITY",
    "anonymous_identity",
    "cookie_path",
    "count_wrong_basic",
    "describe_identity",
    "identify",
    "session_cookie_name",
    "wants_basic",
]

IDENTITY = web.RequestKey("identity", Identity)
"""The identity of a request that matched a route."""
SESSION_COOKIE = "dog_session"
BASIC_PATHS = frozenset(("/latest.jpg", "/preview.mjpg", "/snapshots/{id}.{suffix}", "/snapshots/{id}/thumbnail.jpg"))
"""URLs of images and live views. Programs such as wget and ffmpeg send HTTP Basic only when asked for it."""

log = logging.getLogger(__name__)


def anonymous_identity(settings: Settings) -> Identity:
    """Return the identity of requests without credentials."""
    if settings.auth:
        role: Role | None = None if settings.anonymous == "nothing" else settings.anonymous
        return Identity(role=role, name=None, kind="anonymous", key=b"")
    return Identity(role="capture" if settings.open else "manage", name=None, kind="local", key=b"")


def identify(request: web.Request) -> Identity:
    """Return a request's identity. Raises `unauthorized`, but not for cookies."""
    service = request.app[APP_STATE]
    auth = service.auth
    if auth is None:
        check_direct(request, service.settings)
        return service.anonymous
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return _require_identity(auth.identify_token(token.strip()), "token")
    if (password := _read_basic_password(request)).startswith(TOKEN_PREFIX):
        return _identify_basic(request, auth, password)
    if "ticket=" in request.query_string and (ticket := request.query.get("ticket")) is not None:
        return _require_identity(auth.use_ticket(ticket), "ticket")
    return _identify_session(request, auth) or service.anonymous


def _require_identity(identity: Identity | None, kind: str) -> Identity:
    if identity is None:
        raise RequestError("unauthorized", f"This {kind} is unknown or has expired. Send another one.")
    return identity


def _read_basic_password(request: web.Request) -> str:
    """Return the password of HTTP Basic (RFC 7617), or "" if there is none."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _identify_basic(request: web.Request, auth: AuthService, token: str) -> Identity:
    service = request.app[APP_STATE]
    address = request.remote or ""
    if not (is_secure(request) or is_loopback(address)):
        service.warnings.warn(
            log,
            "%s sends its token as a password over plain HTTP, where others in the network can read it. Use HTTPS.",
            address,
        )
    identity = auth.identify_token(token)
    if identity is None:
        auth.count_wrong_token(address)
    request[AUTOMATIC_AUTH] = "HTTP Basic"
    return _require_identity(identity, "token")


def count_wrong_basic(request: web.Request) -> None:
    """Count a password that gave no access, except a browser's for a proxy.

    Raises `rate_limited`.
    """
    auth = request.app[APP_STATE].auth
    if auth is not None and _read_basic_password(request) and not is_from_browser(request):
        auth.count_wrong_token(request.remote or "")


def wants_basic(request: web.BaseRequest) -> bool:
    """Return True if a 401 may ask for HTTP Basic.

    It must not for a browser, which would ask its user in a dialog of its own.
    """
    if not isinstance(request, web.Request) or is_from_browser(request):
        return False
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical in BASIC_PATHS


def _identify_session(request: web.Request, auth: AuthService) -> Identity | None:
    secret = request.cookies.get(session_cookie_name(request))
    identity = auth.identify_session(secret) if secret else None
    if identity is not None:
        request[AUTOMATIC_AUTH] = "a session cookie"
    return identity


def session_cookie_name(request: web.Request) -> str:
    """Return the cookie's name. HTTPS has a host-binding prefix (RFC 6265bis)."""
    if not is_secure(request):
        return SESSION_COOKIE
    return f"__Host-{SESSION_COOKIE}" if cookie_path(request) == "/" else f"__Secure-{SESSION_COOKIE}"


def cookie_path(request: web.Request) -> str:
    """Return the path of our cookies: that of `base_url` if in use, or `/`."""
    if not is_public(request):
        return "/"
    return urlsplit(request.app[APP_STATE].settings.base_url or "").path.rstrip("/") + "/"


def describe_identity(identity: Identity | None) -> dict[str, object]:
    """Return the identity's data for templates. None: an unknown client."""
    return {
        "may": [role for role in ROLES if identity and allows(identity.role, role)],
        "user": identity.name if identity else None,
        "may_log_out": identity is not None and identity.kind == "session",
        "may_log_in": identity is not None and identity.kind == "anonymous",
    }
