"""Who is behind a request, and what they may do. Nothing here waits: accounts are in memory (dog.auth).

A token in `Authorization` counts before a ticket in the address, and that before the cookie of who has logged in.
"""

from urllib.parse import urlsplit

from aiohttp import web

from dog.auth import ROLES, AuthService, Identity, allows
from dog.errors import RequestError
from dog.protocol import Role
from dog.settings import Settings
from dog.web.middleware.origins import COOKIE_AUTH, is_public, is_secure
from dog.web.service import SERVICE

__all__ = ["IDENTITY", "anonymous_identity", "describe_identity", "cookie_path", "identify", "session_cookie_name"]

IDENTITY = web.RequestKey("identity", Identity)
"""Whoever is behind a request, once its address is known to be one of ours."""
SESSION_COOKIE = "dog_session"
PROXY_HEADERS = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
"""Headers that a proxy adds, and nobody else has reason to."""


def anonymous_identity(settings: Settings) -> Identity:
    """What those are who have not said who they are."""
    if settings.auth:
        role: Role | None = None if settings.anonymous == "nothing" else settings.anonymous
        return Identity(role=role, name=None, kind="anonymous", key=b"")
    return Identity(role="capture" if settings.open else "manage", name=None, kind="local", key=b"")


def identify(request: web.Request) -> Identity:
    """Raises RequestError `unauthorized` for a token or a ticket that is none; a cookie that is none is let be."""
    service = request.app[SERVICE]
    access = service.access
    if access is None:
        _check_proxy(request, service.settings)
        return service.anonymous
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return _require_identity(access.identify_token(token.strip()), "token")
    if "ticket=" in request.query_string and (ticket := request.query.get("ticket")) is not None:
        return _require_identity(access.use_ticket(ticket), "ticket")
    return _identify_session(request, access) or service.anonymous


def _check_proxy(request: web.Request, settings: Settings) -> None:
    """Raises RequestError `forbidden` where a proxy lets others in, and nobody has said that they may come."""
    if not settings.open and any(name in request.headers for name in PROXY_HEADERS):
        raise RequestError(
            "forbidden",
            "This request came through a proxy, and the service has no logins. Start it with --auth or --open,"
            " and name the proxy with --trusted-proxies.",
        )


def _require_identity(identity: Identity | None, kind: str) -> Identity:
    if identity is None:
        raise RequestError("unauthorized", f"This {kind} is unknown or has expired. Send another one.")
    return identity


def _identify_session(request: web.Request, access: AuthService) -> Identity | None:
    secret = request.cookies.get(session_cookie_name(request))
    identity = access.identify_session(secret) if secret else None
    if identity is not None:
        request[COOKIE_AUTH] = True
    return identity


def session_cookie_name(request: web.Request) -> str:
    """The session's cookie. By HTTPS its name has browsers take it from nobody but this very host (RFC 6265bis)."""
    if not is_secure(request):
        return SESSION_COOKIE
    return f"__Host-{SESSION_COOKIE}" if cookie_path(request) == "/" else f"__Secure-{SESSION_COOKIE}"


def cookie_path(request: web.Request) -> str:
    """What a cookie of ours is for: all below the public address; where one came by another way, all of that host."""
    if not is_public(request):
        return "/"
    return urlsplit(request.app[SERVICE].settings.base_url or "").path.rstrip("/") + "/"


def describe_identity(identity: Identity | None) -> dict[str, object]:
    """What every page shows of who sees it; None for anybody."""
    return {
        "may": [role for role in ROLES if identity and allows(identity.role, role)],
        "user": identity.name if identity else None,
        "may_log_out": identity is not None and identity.kind == "session",
        "may_log_in": identity is not None and identity.kind == "anonymous",
    }
