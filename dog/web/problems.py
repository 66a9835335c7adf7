"""Problems of HTTP (RFC 9457): statuses of error codes, and JSON members.

The codes are those of docs/protocol.md, the same as in the events `error` and `failed`.
"""

import math
from http import HTTPStatus

from dog.errors import RequestError

__all__ = ["STATUS", "TEMPORARY", "Problem", "error_headers", "problem_details"]

STATUS = {
    "bad_json": 400,
    "bad_message": 400,
    "bad_request": 400,
    "unauthorized": 401,
    "wrong_password": 401,
    "forbidden": 403,
    "no_preview": 404,
    "not_found": 404,
    "unknown_camera": 404,
    "unknown_capture": 404,
    "unknown_link": 404,
    "unknown_snapshot": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "gone_invitation": 410,
    "gone_link": 410,
    "gone_snapshot": 410,
    "precondition_failed": 412,
    "too_big": 413,
    "bad_range": 416,
    "expectation_failed": 417,
    "unknown_host": 421,
    "upgrade_required": 426,
    "rate_limited": 429,
    "head_too_big": 431,
    "internal_error": 500,
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
"""Codes of errors that may end in a moment. Their responses have a Retry-After."""


class Problem(RequestError):
    """A RequestError with additional headers for the response."""

    def __init__(self, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(code, message)
        self.headers = headers or {}


def error_headers(code: str, retry_after: float | None) -> dict[str, str]:
    """Return an error's headers: Retry-After, and WWW-Authenticate for 401."""
    headers = {}
    if code in TEMPORARY:
        headers["Retry-After"] = str(math.ceil(max(retry_after or 0, 1)))
    if STATUS.get(code) == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def problem_details(code: str, message: str, status: int | None = None) -> dict[str, str | int]:
    """Return the members of RFC 9457, and our code."""
    status = status or STATUS[code]
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "detail": message, "code": code}
