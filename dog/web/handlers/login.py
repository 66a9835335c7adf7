"""Coming in and going: the page to log in, the start's link, logging out, and tickets where no token is shown."""

import datetime as dt
import logging
from typing import Annotated
from urllib.parse import quote, unquote

from aiohttp import web
from msgspec import Meta, Struct

from dog.auth import AuthService
from dog.clock import utc_now
from dog.errors import RequestError
from dog.protocol import Role
from dog.web.handlers.pages import render
from dog.web.http.bodies import read_form, respond_json
from dog.web.middleware.authentication import IDENTITY, find_cookie_path, name_cookie
from dog.web.middleware.errors import STATUS, Problem, error_headers, relative_root
from dog.web.middleware.origins import is_secure
from dog.web.service import SERVICE

__all__ = [
    "LoginForm",
    "LoginQuery",
    "TicketBody",
    "VisitorBody",
    "create_ticket",
    "press_enter",
    "press_login",
    "press_logout",
    "show_enter",
    "show_login",
    "show_visitor",
]

log = logging.getLogger(__name__)

WRONG = ("wrong_password", "rate_limited", "overloaded")
"""What the page of the login says itself."""


class LoginQuery(Struct, frozen=True):
    """The query of GET /login."""

    next: str | None = None


class LoginForm(Struct, frozen=True):
    """The form of that page; `next` is where to go then, below the site's root."""

    name: Annotated[str, Meta(max_length=200)]
    password: Annotated[str, Meta(max_length=2000)]
    next: str = ""


class VisitorBody(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """Who asks, as the service knows them; a role that is left out is none."""

    role: Role | None = None
    name: str | None = None


class TicketBody(Struct, frozen=True, kw_only=True):
    """A ticket as it is told, once; it is good for one request, within so many seconds."""

    ticket: str
    expires_in: float


async def show_login(request: web.Request) -> web.StreamResponse:
    """GET /login. Who is in already goes on."""
    _find_access(request)
    if request[IDENTITY].kind == "session":
        return _lead(request, request.query.get("next", ""))
    return _render(request, request.query.get("next", ""))


async def press_login(request: web.Request) -> web.StreamResponse:
    """POST /login: the form of that page. A new session whatever was there before, and back to where they came from."""
    access = _find_access(request)
    said = await read_form(request, LoginForm)
    try:
        secret, expires_at = await access.log_in(said.name, said.password, request.remote or "")
    except RequestError as error:
        if error.code not in WRONG or "text/html" not in request.headers.get("Accept", ""):
            raise
        response = _render(request, said.next, name=said.name, error=error)
        response.set_status(STATUS[error.code])
        response.headers.update(error_headers(error.code, error.retry_after))
        return response
    return await _let_in(request, access, secret, expires_at, said.next)


async def press_logout(request: web.Request) -> web.StreamResponse:
    """POST /logout: the session ends, here and for whoever else has its cookie."""
    access = _find_access(request)
    await _forget(request, access)
    response = _lead(request, "login")
    response.headers["Clear-Site-Data"] = '"cache"'  # photos are kept there for a year
    response.del_cookie(name_cookie(request), path=find_cookie_path(request), secure=is_secure(request), httponly=True)
    return response


async def show_enter(request: web.Request) -> web.StreamResponse:
    """GET /enter/{invitation}: the link that a start prints. A look uses nothing up: mail programs take one."""
    if not _find_access(request).is_setup_secret(request.match_info["invitation"]):
        raise _explain_invitation()
    response = render(request, "enter.html", {})
    response.headers["Referrer-Policy"] = "strict-origin"  # a proxy's log has what is referred to
    return response


async def press_enter(request: web.Request) -> web.StreamResponse:
    """POST /enter/{invitation}: the button of that page; it lets one browser in."""
    access = _find_access(request)
    accepted = await access.accept_setup_secret(request.match_info["invitation"])
    if accepted is None:
        raise _explain_invitation()
    secret, expires_at = accepted
    log.info("The link of the start let a browser in from %s", request.remote)
    return await _let_in(request, access, secret, expires_at, "")


async def create_ticket(request: web.Request) -> web.StreamResponse:
    """POST /api/tickets: for an address that is opened where no token can be shown."""
    access, visitor = _find_access(request), request[IDENTITY]
    if visitor.kind == "anonymous":
        raise Problem("unauthorized", "Anonymous requests do not need a ticket. Send them without one.")
    ticket, seconds = access.make_ticket(visitor)
    return respond_json(TicketBody(ticket=ticket, expires_in=seconds), 201)


async def show_visitor(request: web.Request) -> web.StreamResponse:
    """GET /api/visitor: who I am here."""
    visitor = request[IDENTITY]
    return respond_json(VisitorBody(role=visitor.role, name=visitor.name))


def _explain_invitation() -> Problem:
    return Problem(
        "gone_invitation",
        "This link was used or replaced, or a user has a password now. Log in, or use the link of the last start.",
    )


def _find_access(request: web.Request) -> AuthService:
    """Raises Problem `not_found` where nobody has to log in."""
    access = request.app[SERVICE].access
    if access is None:
        raise Problem("not_found", "This service has no logins. Use it without one.")
    return access


async def _let_in(
    request: web.Request, access: AuthService, secret: str, expires_at: dt.datetime, where: str
) -> web.StreamResponse:
    await _forget(request, access)
    response = _lead(request, where)
    response.set_cookie(
        name_cookie(request),
        secret,
        max_age=max(0, int((expires_at - utc_now()).total_seconds())),
        path=find_cookie_path(request),
        secure=is_secure(request),
        httponly=True,
        samesite="Lax",
    )
    return response


async def _forget(request: web.Request, access: AuthService) -> None:
    """The session that the browser came with ends."""
    if secret := request.cookies.get(name_cookie(request)):
        await access.log_out(secret)


def _lead(request: web.Request, where: str) -> web.Response:
    """To a page below the root: what stands before it leaves no way to another site."""
    if ".." in unquote(where.partition("?")[0]).split("/"):
        where = ""
    way = relative_root(request) + quote(where.lstrip("/\\"), safe="/?&=%~+:@!$'()*,;")
    return web.Response(status=303, headers={"Location": way, "Cache-Control": "no-store"})


def _render(request: web.Request, where: str, *, name: str = "", error: RequestError | None = None) -> web.Response:
    said = None if error is None else error.message
    return render(request, "login.html", {"next": where, "name": name, "error": said})
