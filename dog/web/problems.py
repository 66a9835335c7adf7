"""What went wrong, in HTTP: every error becomes RFC 9457 `application/problem+json`, or a page for who asks for pages.

The codes are those of docs/protocol.md, the same as in `error` and `failed`.
"""

import logging
import math
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import aiohttp_jinja2
from aiohttp import web

from dog import __version__
from dog.errors import CaptureError, RequestError
from dog.messages import encode
from dog.web.service import SERVICE

__all__ = ["Problem", "answer_problems", "relative_root"]

STATUS = {
    "bad_json": 400,
    "bad_message": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "unknown_camera": 404,
    "unknown_capture": 404,
    "unknown_snapshot": 404,
    "precondition_failed": 412,
    "too_big": 413,
    "bad_range": 416,
    "upgrade_required": 426,
    "rate_limited": 429,
    "storage_error": 500,
    "camera_error": 502,
    "bad_image": 502,
    "overloaded": 503,
    "camera_offline": 503,
    "camera_busy": 503,
    "timeout": 504,
    "storage_full": 507,
}
TEMPORARY = {"rate_limited", "overloaded", "camera_offline", "camera_busy", "camera_error", "bad_image", "timeout"}
"""What may be different in a moment: told with Retry-After."""

log = logging.getLogger(__name__)


class Problem(RequestError):
    """A RequestError with headers of its own for the answer."""

    def __init__(self, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(code, message)
        self.headers = headers or {}


def relative_root(request: web.BaseRequest) -> str:
    """The way from the asked page to the site's root: pages work below any prefix that a proxy takes off."""
    return "../" * (request.path.count("/") - 1) or "./"


@web.middleware
async def answer_problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn whatever a handler raised into an answer that says what was wrong and what to do."""
    try:
        return await handler(request)
    except Problem as problem:
        return _answer(request, problem.code, problem.message, problem.retry_after, problem.headers)
    except RequestError as error:
        return _answer(request, error.code, error.message, error.retry_after)
    except CaptureError as error:
        wait = max((camera.retry_after for camera in request.app[SERVICE].cameras.values()), default=0)
        return _answer(request, error.code, error.message, max(wait, 1), heading="No photo was taken")
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        return _answer_status(request, answer)
    except ConnectionError:
        raise  # nobody is left to be answered
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _respond(request, 500, "internal_error", "Something is wrong here; the server's log says what.")


def _answer(
    request: web.Request,
    code: str,
    message: str,
    retry_after: float | None = None,
    headers: dict[str, str] | None = None,
    heading: str | None = None,
) -> web.Response:
    if code not in TEMPORARY:
        retry_after = None
    elif retry_after is None:
        retry_after = 1
    return _respond(request, STATUS.get(code, 500), code, message, retry_after, headers, heading)


def _answer_status(request: web.Request, answer: web.HTTPException) -> web.Response:
    """aiohttp's own refusals: no such route, the wrong method, a body that is too large."""
    headers = {"Allow": answer.headers["Allow"]} if "Allow" in answer.headers else None
    match answer.status:
        case 404:
            code, message = "not_found", "There is nothing at this address."
        case 405:
            allowed = answer.headers.get("Allow", "").replace(",", ", ")
            code, message = "method_not_allowed", f"{request.method} does not work here; what does: {allowed}."
        case 413:
            code, message = "too_big", "What was sent is too large."
        case _:
            code, message = "bad_request", answer.reason
    return _respond(request, answer.status, code, message, None, headers)


def _respond(
    request: web.Request,
    status: int,
    code: str,
    message: str,
    retry_after: float | None = None,
    headers: dict[str, str] | None = None,
    heading: str | None = None,
) -> web.Response:
    title = HTTPStatus(status).phrase
    if "text/html" in request.headers.get("Accept", "") and not request.path.startswith("/api/"):
        context = {
            "root": relative_root(request),
            "version": __version__,
            "status": status,
            "title": title,
            "heading": heading or title,
            "detail": message,
            "code": code,
            "retry_after": None if retry_after is None else math.ceil(retry_after),
        }
        response = aiohttp_jinja2.render_template("error.html", request, context, status=status)
    else:
        body = {"type": "about:blank", "title": title, "status": status, "detail": message, "code": code}
        response = web.Response(status=status, body=encode(body), content_type="application/problem+json")
    if retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(retry_after))
    response.headers.update(headers or {})
    return response
