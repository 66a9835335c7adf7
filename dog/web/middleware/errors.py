"""Turn errors into responses: JSON (RFC 9457), or a page for browsers."""

import logging
from http import HTTPStatus

import aiohttp_jinja2
from aiohttp import web
from aiohttp.typedefs import Handler

from dog import __version__
from dog.errors import CaptureError, RequestError
from dog.protocol import encode
from dog.web.middleware.authentication import IDENTITY, describe_identity, wants_basic
from dog.web.problems import STATUS, Problem, error_headers, problem_details

__all__ = ["error_middleware", "relative_root"]

BASIC_CHALLENGE = 'Basic realm="D.O.G. (the password is a token)", charset="UTF-8"'
"""On a line of its own: some clients read only the first challenge of a line."""

log = logging.getLogger(__name__)


def relative_root(request: web.BaseRequest) -> str:
    """Return the relative URL of the root, for any prefix of a proxy."""
    return "../" * (request.path.count("/") - 1) or "./"


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn any exception of a handler into a response."""
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
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _http_exception_response(request, error)
    except ConnectionError:
        return web.Response(status=400)  # the client has disconnected
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _error_response(request, "internal_error", "Internal error. See the server's log.")


def _http_exception_response(request: web.Request, error: web.HTTPException) -> web.Response:
    """Return the response to aiohttp's errors: no route, wrong method, size."""
    match error.status:
        case 404:
            return _error_response(request, "not_found", "There is nothing at this URL. Check it for mistakes.")
        case 405:
            allowed = error.headers.get("Allow", "")
            message = f"{request.method} is not allowed here. Use {allowed.replace(',', ' or ')}."
            return _error_response(request, "method_not_allowed", message, headers={"Allow": allowed})
        case 413:
            return _error_response(
                request, "too_big", f"The body is too large. Send at most {request.client_max_size // 1024} KiB."
            )
        case status:
            return _error_response(request, "bad_request", error.reason, status=status)


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
    """Return the problem as a page if the client accepts HTML, else as JSON."""
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
    if status == 401 and wants_basic(request):
        response.headers.add("WWW-Authenticate", BASIC_CHALLENGE)
    return response
