"""What went wrong, in HTTP: every error becomes RFC 9457 `application/problem+json`, or a page for who asks for pages.

The codes are those of docs/protocol.md, the same as in `error` and `failed`.
"""

import functools
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import aiohttp_jinja2
from aiohttp import HttpVersion11, web
from aiohttp.http import RawRequestMessage
from yarl import URL

from dog import __version__
from dog.errors import CaptureError, RequestError
from dog.protocol import encode
from dog.web.middleware.authentication import IDENTITY, describe_identity
from dog.web.problems import STATUS, Problem, error_headers, problem_details

__all__ = [
    "error_middleware",
    "patch_aiohttp_server",
    "relative_root",
]

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)


def relative_root(request: web.BaseRequest) -> str:
    """The way from the asked page to the site's root: pages work below any prefix that a proxy takes off."""
    return "../" * (request.path.count("/") - 1) or "./"


@web.middleware
async def error_middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn whatever a handler raised into an answer that says what was wrong and what to do."""
    try:
        return await handler(request)
    except Problem as problem:
        return _error_response(request, problem.code, problem.message, headers=problem.headers)
    except RequestError as error:
        return _error_response(request, error.code, error.message, retry_after=error.retry_after)
    except CaptureError as error:
        return _error_response(
            request, error.code, error.message, retry_after=error.retry_after, heading="No photo was taken"
        )
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        return _http_exception_response(request, answer)
    except ConnectionError:
        return web.Response(status=400)  # nobody is left to be answered
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _error_response(request, "internal_error", "Internal error. See the server's log.")


def patch_aiohttp_server(server: web.Server, headers: dict[str, str]) -> None:
    """Answer what aiohttp lets through, or refuses before the middlewares, and would fail over with a traceback.

    What it answers itself gets these headers, too: its own would tell which version of it this is.
    """

    class Request(web.Request):
        async def _prepare_hook(self, response: web.StreamResponse) -> None:
            if self._match_info is None:
                response.headers.update(headers)
            await super()._prepare_hook(response)

    server.request_handler = _reject_expectations(server.request_handler)
    make: Callable[..., web.BaseRequest] = server.request_factory
    server.request_factory = _replace_missing_urls(functools.partial(make, _cls=Request))


def _reject_expectations(handle: Handler) -> Handler:
    """An Expect that nobody knows (RFC 9110, section 10.1.1): aiohttp fails where it is no text."""

    async def reject() -> web.StreamResponse:
        body = encode(
            problem_details(
                "expectation_failed", "This Expect header is not supported. Leave it out, or send 100-continue."
            )
        )
        return web.Response(status=417, body=body, content_type="application/problem+json")

    def answer(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        expected = request.headers.get("Expect")
        if expected and expected.lower() != "100-continue" and request.version >= HttpVersion11:
            return reject()
        return handle(request)

    return answer


def _replace_missing_urls(make_request: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """aiohttp reads on after an address that is none, and what it makes of that may have no address at all."""

    def make(message: RawRequestMessage, *parts: Any) -> web.BaseRequest:
        if message.url is None:
            message = message._replace(method="GET", path="*", url=URL("*"), should_close=True)
        return make_request(message, *parts)

    return make


def _http_exception_response(request: web.Request, answer: web.HTTPException) -> web.Response:
    """aiohttp's own refusals: no such route, the wrong method, a body that is too large."""
    match answer.status:
        case 404:
            return _error_response(request, "not_found", "There is nothing at this URL. Check it for mistakes.")
        case 405:
            allowed = answer.headers.get("Allow", "")
            message = f"{request.method} is not allowed here. Use {allowed.replace(',', ' or ')}."
            return _error_response(request, "method_not_allowed", message, headers={"Allow": allowed})
        case 413:
            return _error_response(
                request, "too_big", f"The body is too large. Send at most {request.client_max_size // 1024} KiB."
            )
        case status:
            return _error_response(request, "bad_request", answer.reason, status=status)


def _error_response(
    request: web.Request,
    code: str,
    message: str,
    *,
    status: int | None = None,
    retry_after: float | None = None,
    headers: dict[str, str] | None = None,
    heading: str | None = None,
) -> web.Response:
    """The problem as JSON or as a page."""
    status = status or STATUS[code]
    extra = error_headers(code, retry_after)
    title = HTTPStatus(status).phrase
    if "text/html" in request.headers.get("Accept", "") and not request.path.startswith("/api/"):
        context = {
            "root": relative_root(request),
            "version": __version__,
            **describe_identity(request.get(IDENTITY)),
            "status": status,
            "title": title,
            "heading": heading or title,
            "detail": message,
            "code": code,
            "retry_after": extra.get("Retry-After"),
            "repeats": code == "overloaded" and request.method in ("GET", "HEAD"),
        }
        response = aiohttp_jinja2.render_template("error.html", request, context, status=status)
    else:
        body = encode(problem_details(code, message, status))
        response = web.Response(status=status, body=body, content_type="application/problem+json")
    response.headers.update(extra)
    response.headers.update(headers or {})
    return response
