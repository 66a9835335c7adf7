"""Login and logout, the setup link, tickets, and the request's identity."""

import datetime as dt
import logging
from typing import Annotated, Any
from urllib.parse import quote, unquote

from aiohttp import web
from msgspec import Meta, Struct

from dog.auth import AuthService
from dog.clock import utc_now
from dog.errors import RequestError
from dog.protocol import Role, doc
from dog.web.app_keys import APP_STATE
from dog.web.http.page_rendering import redirect, render
from dog.web.http.requests import read_form, read_query, respond_json
from dog.web.middleware.authentication import IDENTITY, cookie_path, session_cookie_name
from dog.web.middleware.errors import relative_root
from dog.web.middleware.origins import is_secure
from dog.web.problems import STATUS, Problem, error_headers

__all__ = [
    "LoginForm",
    "LoginQuery",
    "SetupForm",
    "TicketBody",
    "VisitorBody",
    "create_ticket",
    "log_out_browser",
    "show_login_page",
    "show_setup_page",
    "show_visitor",
    "submit_login_form",
    "submit_setup_form",
]

log = logging.getLogger(__name__)

ERRORS_ON_LOGIN_PAGE = ("bad_request", "wrong_password", "rate_limited", "overloaded")
"""Errors that are shown on the login page."""
TEST_COOKIE = "dog_cookies"
"""A cookie that the login pages set. If their form arrives without it, the browser blocks cookies."""
NextPage = Annotated[str, doc("The page to go to after the login, below the site's root.", "snapshots")]

CookieTest = Annotated[str, doc("The pages send `tested`: without their cookie, the login is refused.", "tested")]


class LoginQuery(Struct, frozen=True):
    """The query of GET /login."""

    next: NextPage | None = None


class LoginForm(Struct, frozen=True):
    """The login form."""

    name: Annotated[str, Meta(max_length=200), doc("Your user name.", "ada")]
    password: Annotated[str, Meta(max_length=2000), doc("The password.", "correct horse battery staple")]
    next: NextPage = ""
    cookies: CookieTest = ""


class SetupForm(Struct, frozen=True):
    """The form of the setup link."""

    cookies: CookieTest = ""


class VisitorBody(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """Your identity on this server."""

    role: Annotated[
        Role | None, doc("Your role: `view`, `capture` or `manage`. Each includes those before it.", "manage")
    ] = None
    """Without a role, a request may do nothing."""
    name: Annotated[str | None, doc("Your name, or your token's.", "ada")] = None


class TicketBody(Struct, frozen=True, kw_only=True):
    """A ticket: it authenticates one request."""

    ticket: Annotated[str, doc("The ticket.", "kW3mBq0yq3YH8lq5rIuT2u6tP1n4Zf7cXv9sDwGaEho")]
    expires_in: Annotated[float, doc("Its lifetime in seconds.", 30)]


async def show_login_page(request: web.Request) -> web.StreamResponse:
    """Show the login page, or redirect a logged-in browser (GET /login)."""
    _require_auth_service(request)
    next_page = read_query(request, LoginQuery).next or ""
    if request[IDENTITY].kind == "session":
        return _redirect(request, next_page)
    return _render_page(request, next_page)


async def submit_login_form(request: web.Request) -> web.StreamResponse:
    """Start a new session, and redirect to the page in `next` (POST /login)."""
    auth = _require_auth_service(request)
    form = await read_form(request, LoginForm)
    try:
        _check_cookies(request, form.cookies)
        secret, expires_at = await auth.log_in(form.name, form.password, request.remote or "")
    except RequestError as error:
        if error.code not in ERRORS_ON_LOGIN_PAGE or "text/html" not in request.headers.get("Accept", ""):
            raise
        response = _render_page(request, form.next, name=form.name, error=error)
        response.set_status(STATUS[error.code])
        response.headers.update(error_headers(error.code, error.retry_after))
        return response
    return await _start_session(request, auth, secret, expires_at, form.next)


async def log_out_browser(request: web.Request) -> web.StreamResponse:
    """End the session; delete its cookie and browser cache (POST /logout)."""
    auth = _require_auth_service(request)
    await _end_session(request, auth)
    response = _redirect(request, "login")
    response.headers["Clear-Site-Data"] = '"cache"'  # it has photos, for a year
    response.del_cookie(
        session_cookie_name(request), path=cookie_path(request), secure=is_secure(request), httponly=True
    )
    return response


async def show_setup_page(request: web.Request) -> web.StreamResponse:
    """Show the setup link's page without using it (GET /enter/{invitation})."""
    if not _require_auth_service(request).is_setup_secret(request.match_info["invitation"]):
        raise _gone_invitation()
    response = _set_test_cookie(request, render(request, "enter.html", {}))
    response.headers["Referrer-Policy"] = "strict-origin"  # proxies log the Referer
    return response


async def submit_setup_form(request: web.Request) -> web.StreamResponse:
    """Log one browser in by the setup link (POST /enter/{invitation})."""
    auth = _require_auth_service(request)
    _check_cookies(request, (await read_form(request, SetupForm)).cookies)
    accepted = await auth.accept_setup_secret(request.match_info["invitation"])
    if accepted is None:
        raise _gone_invitation()
    secret, expires_at = accepted
    log.info("A browser at %s has logged in by the setup link", request.remote)
    return await _start_session(request, auth, secret, expires_at, "")


async def create_ticket(request: web.Request) -> web.StreamResponse:
    """Create a ticket for a request without a token (POST /api/tickets)."""
    auth, identity = _require_auth_service(request), request[IDENTITY]
    if identity.kind == "anonymous":
        raise Problem("unauthorized", "Anonymous requests do not need a ticket. Send them without one.")
    ticket, seconds = auth.make_ticket(identity)
    return respond_json(TicketBody(ticket=ticket, expires_in=seconds), 201)


async def show_visitor(request: web.Request) -> web.StreamResponse:
    """Show the identity of the request (GET /api/visitor)."""
    identity = request[IDENTITY]
    return respond_json(VisitorBody(role=identity.role, name=identity.name))


def _gone_invitation() -> Problem:
    return Problem(
        "gone_invitation",
        "This link was used or replaced, or a user has a password now. Log in, or use the link of the last start.",
    )


def _require_auth_service(request: web.Request) -> AuthService:
    """Return the service of logins, or raise Problem `not_found`."""
    auth = request.app[APP_STATE].auth
    if auth is None:
        raise Problem("not_found", "This service has no logins. Use it without one.")
    return auth


async def _start_session(
    request: web.Request, auth: AuthService, secret: str, expires_at: dt.datetime, next_page: str
) -> web.StreamResponse:
    await _end_session(request, auth)
    response = _redirect(request, next_page)
    response.set_cookie(
        session_cookie_name(request),
        secret,
        max_age=max(0, int((expires_at - utc_now()).total_seconds())),
        path=cookie_path(request),
        **_cookie_attributes(request),
    )
    return response


def _cookie_attributes(request: web.Request) -> dict[str, Any]:
    return {"secure": is_secure(request), "httponly": True, "samesite": "Lax"}


async def _end_session(request: web.Request, auth: AuthService) -> None:
    """End the browser's present session, if there is one."""
    if secret := request.cookies.get(session_cookie_name(request)):
        await auth.log_out(secret)


def _redirect(request: web.Request, path: str) -> web.Response:
    """Redirect to a page of this site; `path` cannot lead to another site."""
    if ".." in unquote(path.partition("?")[0]).split("/"):
        path = ""
    return redirect(relative_root(request) + quote(path.lstrip("/\\"), safe="/?&=%~+:@!$'()*,;"))


def _render_page(
    request: web.Request, next_page: str, *, name: str = "", error: RequestError | None = None
) -> web.Response:
    message = None if error is None else error.message
    return _set_test_cookie(request, render(request, "login.html", {"next": next_page, "name": name, "error": message}))


def _set_test_cookie(request: web.Request, response: web.Response) -> web.Response:
    """Set a cookie like the session's, to find out if the browser keeps it."""
    response.set_cookie(TEST_COOKIE, "1", path=cookie_path(request), **_cookie_attributes(request))
    return response


def _check_cookies(request: web.Request, tested: str) -> None:
    """Raise Problem `bad_request` if the browser blocks our cookies.

    Then a login would succeed, and the next page would ask for it again. A script sends no `tested`.
    """
    if tested and TEST_COOKIE not in request.cookies:
        advice = f"Allow cookies for {request.host}, then load this page again."
        if is_secure(request) and not request.secure:  # `base_url` is https, and browsers drop Secure cookies here
            advice = f"Open {request.app[APP_STATE].settings.base_url} instead, because cookies need HTTPS here."
        raise Problem(
            "bad_request",
            f"Your browser did not keep this site's cookie, so you would not stay logged in. {advice}",
        )
