"""Responses to refused connections: HTML if a client accepts it, or JSON.

They are built at the start, so that a refusal costs no work, and chosen by the head of the request. It may be
incomplete, or not HTTP at all.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

import jinja2

from dog.protocol import encode
from dog.web.problems import STATUS, problem_details

__all__ = ["END_OF_HEAD", "MESSAGES", "RETRY_AFTER", "Reason", "Refusal", "Refusals", "build_refusals"]

END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
REQUEST_LINE = re.compile(rb"(?:\r?\n)*([A-Za-z]+) (?:https?://[^/ \r\n]*)?(/[^ \r\n]*) HTTP/")
ACCEPT = re.compile(rb"^Accept:(.*)$", re.IGNORECASE | re.MULTILINE)
RETRY_AFTER = 10
"""Seconds after which a refused client may try again."""
MAX_HEAD_BYTES = 16 * 1024
"""Bytes of a head that are read to choose the response."""
REFUSAL_TIMEOUT = 1.0
"""Time that a refused client has to send its head, and then again to read the response."""

Reason = Literal["total", "address", "head_too_big", "head_timeout"]
MESSAGES: dict[Reason, str] = {
    "total": "Too many clients are connected. Try again in a moment.",
    "address": "Too many requests come from your address. Try again in a moment.",
    "head_too_big": "The head of the request is larger than 16 KiB, or 32 KiB with cookies."
    " Delete this site's cookies, or send shorter header fields.",
    "head_timeout": "The request did not arrive in time. Send it again.",
}
CODES: dict[Reason, str] = {
    "total": "overloaded",
    "address": "overloaded",
    "head_too_big": "head_too_big",
    "head_timeout": "request_timeout",
}
TITLES = {
    "overloaded": "Too many people are connected",
    "head_too_big": "The request is too large",
    "request_timeout": "The request took too long",
}
HEADINGS = TITLES | {"overloaded": "Too many people are connected right now"}


@dataclass(frozen=True, slots=True)
class Refusals:
    """The complete HTTP responses of one reason."""

    page: bytes
    """If its status is 503, the page tries again by itself."""
    form_page: bytes
    """The same for a method other than GET and HEAD, which a browser must not repeat by itself."""
    problem: bytes

    def choose(self, head: bytes) -> bytes:
        """Choose the response by the bytes so far: a part of the head, or more."""
        request = REQUEST_LINE.match(head)
        if request is None:
            return self.problem
        method, path = request.groups()
        fields = END_OF_HEAD.split(head[request.end() :], maxsplit=1)[0]
        response = self.problem
        if not path.startswith(b"/api/") and any(
            b"text/html" in accepted.lower() for accepted in ACCEPT.findall(fields)
        ):
            response = self.page if method in (b"GET", b"HEAD") else self.form_page
        return response if method != b"HEAD" else response[: response.index(b"\r\n\r\n") + 4]


def build_refusals(
    templates: jinja2.Environment, security_headers: Mapping[str, str], reason: Reason, retry_after: int = RETRY_AFTER
) -> Refusals:
    """Return the responses of one reason. Status 503 has a Retry-After (s)."""
    template = templates.get_template("refused.html")
    # The page has an empty icon, because otherwise a browser requests /favicon.ico.
    policy = re.sub("img-src [^;]*", "img-src data:", security_headers["Content-Security-Policy"])
    code, message = CODES[reason], MESSAGES[reason]
    status = HTTPStatus(STATUS[code])
    waits = status == HTTPStatus.SERVICE_UNAVAILABLE

    def build(body: bytes, content_type: str) -> bytes:
        headers = {
            **security_headers,
            "Content-Security-Policy": policy,
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            **({"Retry-After": str(retry_after)} if waits else {}),
            "Cache-Control": "no-store",
            "Connection": "close",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {status} {status.phrase}\r\n{lines}\r\n".encode() + body

    def build_refusal_page(*, repeats: bool) -> bytes:
        page = template.render(
            title=TITLES[code],
            heading=HEADINGS[code],
            message=message,
            retry_after=retry_after if waits else None,
            repeats=repeats,
        )
        return build(page.encode(), "text/html; charset=utf-8")

    return Refusals(
        page=build_refusal_page(repeats=True),
        form_page=build_refusal_page(repeats=False),
        problem=build(encode(problem_details(code, message)), "application/problem+json"),
    )


class Refusal(asyncio.Protocol):
    """A refused connection: read its head, respond, discard the rest.

    Closing the connection before the request was read would lose the response.
    """

    def __init__(
        self, transport: asyncio.Transport, refusals: Refusals, received: bytes, on_end: Callable[[], None]
    ) -> None:
        """Start with the bytes so far. `on_end` is called at the close."""
        self._transport = transport
        self._refusals = refusals
        self._received: bytes | None = b""
        self._on_end = on_end
        self._timer = asyncio.get_running_loop().call_later(REFUSAL_TIMEOUT, self._respond)
        transport.resume_reading()
        self.data_received(received)

    def data_received(self, data: bytes) -> None:
        if self._received is not None:
            self._received += data
            if END_OF_HEAD.search(self._received) or len(self._received) >= MAX_HEAD_BYTES:
                self._respond()

    def eof_received(self) -> None:
        self._respond()

    def connection_lost(self, _error: Exception | None) -> None:
        self._received = None
        self._timer.cancel()
        self._on_end()

    def _respond(self) -> None:
        if self._received is None:
            return
        head, self._received = self._received, None
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(REFUSAL_TIMEOUT, self._transport.abort)
        self._transport.write(self._refusals.choose(head))
        if self._transport.can_write_eof():
            with contextlib.suppress(OSError):  # the client has closed the connection
                self._transport.write_eof()
