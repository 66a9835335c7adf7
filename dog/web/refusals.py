"""The response to a connection that is one too many: a page for a browser that asks for one, JSON for everybody else.

It is built at the start, so that a refusal costs no work, and chosen by the head of the request. That may be
incomplete, or not HTTP at all.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import jinja2

from dog.messages import encode
from dog.web.problems import describe_problem

__all__ = ["Refusals", "build_refusals"]

REQUEST_LINE = re.compile(rb"(?:\r?\n)*([A-Za-z]+) (?:https?://[^/ \r\n]*)?(/[^ \r\n]*) HTTP/")
ACCEPT = re.compile(rb"^Accept:(.*)$", re.IGNORECASE | re.MULTILINE)
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Refusals:
    """Complete HTTP responses with the status 503."""

    page: bytes
    """It tries again by itself."""
    page_of_form: bytes
    """The same for a method other than GET and HEAD, which a browser must not repeat by itself."""
    problem: bytes

    def choose(self, head: bytes) -> bytes:
        """Return the response to a request of which these bytes have arrived, a part of its head or more."""
        request = REQUEST_LINE.match(head)
        if request is None:
            return self.problem
        method, path = request.groups()
        fields = END_OF_HEAD.split(head[request.end() :], maxsplit=1)[0]
        response = self.problem
        if not path.startswith(b"/api/") and any(
            b"text/html" in accepted.lower() for accepted in ACCEPT.findall(fields)
        ):
            response = self.page if method in (b"GET", b"HEAD") else self.page_of_form
        return response if method != b"HEAD" else response[: response.index(b"\r\n\r\n") + 4]


def build_refusals(
    templates: jinja2.Environment, security_headers: Mapping[str, str], message: str, retry_after: int
) -> Refusals:
    """Return the responses of one refusal: `message` is its JSON's detail, `retry_after` is in whole seconds."""
    template = templates.get_template("overloaded.html")
    # The page has an empty icon, because a browser asks for /favicon.ico if there is none.
    policy = re.sub("img-src [^;]*", "img-src data:", security_headers["Content-Security-Policy"])

    def build(body: bytes, content_type: str) -> bytes:
        headers = {
            **security_headers,
            "Content-Security-Policy": policy,
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Retry-After": str(retry_after),
            "Cache-Control": "no-store",
            "Connection": "close",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 503 Service Unavailable\r\n{lines}\r\n".encode() + body

    def build_page(*, repeats: bool) -> bytes:
        return build(template.render(retry_after=retry_after, repeats=repeats).encode(), "text/html; charset=utf-8")

    return Refusals(
        page=build_page(repeats=True),
        page_of_form=build_page(repeats=False),
        problem=build(encode(describe_problem("overloaded", message)), "application/problem+json"),
    )
