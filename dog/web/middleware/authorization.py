"""Wrap handlers: check role and, for unsafe methods, the origin (CSRF)."""

import functools
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler

from dog.auth import Identity, allows
from dog.errors import RequestError
from dog.protocol import Role
from dog.web.app_keys import APP_STATE
from dog.web.middleware.authentication import IDENTITY, count_wrong_basic, identify
from dog.web.middleware.errors import relative_root
from dog.web.middleware.origins import check_origin, is_listed

__all__ = ["access_denied", "recheck_access", "require_role"]

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def require_role(needed: Role | None, handler: Handler) -> Handler:
    """Wrap a handler to require a role (or None). It gets `request[IDENTITY]`."""

    @functools.wraps(handler)
    async def check_and_handle(request: web.Request) -> web.StreamResponse:
        identity = identify(request)
        if is_listed(request):
            identity = identity.limit_to_capture()
        request[IDENTITY] = identity
        if request.method not in SAFE_METHODS:
            check_origin(request)
        if allows(identity.role, needed):
            return await handler(request)
        wants_page = request.method == "GET" and "text/html" in request.headers.get("Accept", "")
        if identity.kind == "anonymous" and wants_page and not request.path.startswith("/api/"):
            login_url = f"{relative_root(request)}login?next={quote(request.path_qs.lstrip('/'), safe='')}"
            return web.Response(status=303, headers={"Location": login_url, "Cache-Control": "no-store"})
        if identity.kind == "anonymous":
            count_wrong_basic(request)
        raise access_denied(identity, needed)

    return check_and_handle


def access_denied(identity: Identity, needed: Role | None, request: str | None = None) -> RequestError:
    """Return the error for a missing role. `request`: a capture request's key."""
    if identity.kind == "anonymous":
        return RequestError("unauthorized", "You must log in, or send a token, to do this.", request=request)
    if identity.is_foreign and needed == "manage":
        text = "Pages of other sites may only watch and take photos. Use the pages of this service."
    elif identity.kind == "local":
        text = "Only users who are logged in may do this. Start the service with --auth."
    else:
        command = f"dog {'token' if identity.kind == 'token' else 'user'} role"
        text = f"{identity.name} has the role {identity.role}, but this requires {needed}. Change it with `{command}`."
    return RequestError("forbidden", text, request=request)


def recheck_access(request: web.Request) -> None:
    """Raise RequestError `unauthorized` if the session or token has ended."""
    auth = request.app[APP_STATE].auth
    if auth is not None and not allows(auth.current_role(request[IDENTITY]), "view"):
        raise RequestError("unauthorized", "Your session or token has expired. Log in again, or send another token.")
