"""Operation: a method and path with its handler and its documentation.

dog/web/routes.py has the table of all operations. The routes and the documents are both made from it, so that
everything that is served is documented.
"""

import re
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import Meta, Struct

from dog.protocol import EXAMPLE_ID, SCALED_WIDTHS, Role, ScaledWidth
from dog.snapshots.names import ID_PATTERN, SUFFIXES
from dog.web.handlers.share_links import EXAMPLE_TOKEN, TOKEN_PATTERN
from dog.web.http.content import ConditionalHeaders
from dog.web.http.requests import FORM_TYPE
from dog.web.middleware.authorization import require_role
from dog.web.problems import STATUS

__all__ = [
    "FORM_TYPE",
    "IMAGE_TYPES",
    "JSON",
    "PATH_PARAMS",
    "SNAPSHOT_ERRORS",
    "Operation",
    "PathParam",
    "ResponseDoc",
    "file_responses",
    "json_response",
    "no_content",
    "page_response",
    "redirect",
]

COMMON_ERRORS = ("bad_request", "internal_error", "overloaded", "rate_limited", "unknown_host")
"""Errors of every operation."""
JSON = "application/json"
FORM_ERRORS = ("bad_message", "request_timeout", "too_big")
BODY_ERRORS = {JSON: ("bad_json", *FORM_ERRORS), FORM_TYPE: FORM_ERRORS}
"""Errors of an operation with a body, by its type."""
FILE_ERRORS = ("bad_range", "precondition_failed", "rate_limited")
"""Errors of an operation that sends a file."""
SNAPSHOT_ERRORS = ("gone_snapshot", "unknown_snapshot", "storage_error")
CHANGE_ERRORS = ("storage_error", "storage_full")
"""Errors of an operation that changes the album."""
IMAGE_TYPES = tuple(SUFFIXES)


@dataclass(frozen=True, slots=True)
class PathParam:
    """A parameter in a path: aiohttp's pattern, its type, example and errors."""

    pattern: str
    type: Any
    example: str | int
    errors: tuple[str, ...] = ()


PATH_PARAMS = {
    "id": PathParam(
        "[^/.]+",
        Annotated[str, Meta(pattern=f"^{ID_PATTERN}$", description="The id of a snapshot.")],
        EXAMPLE_ID,
        SNAPSHOT_ERRORS,
    ),
    "suffix": PathParam(
        "[a-z]+",
        Annotated[Literal[tuple(sorted(SUFFIXES.values()))], Meta(description="The suffix of its type.")],
        "jpg",
    ),
    "width": PathParam(
        "|".join(map(str, SCALED_WIDTHS)),
        Annotated[ScaledWidth, Meta(description="The width in pixels.")],
        1280,
    ),
    "number": PathParam(
        "[0-9]{1,18}",
        Annotated[int, Meta(ge=0, lt=10**18, description="The number of a capture.")],
        7,
        ("unknown_capture",),
    ),
    "camera": PathParam(
        "[^/.]+",
        Annotated[str, Meta(min_length=1, description="The name of a camera.")],
        "main",
        ("unknown_camera",),
    ),
    "link": PathParam(
        "[^/.]+",
        Annotated[str, Meta(pattern=f"^{ID_PATTERN}$", description="The id of a link.")],
        "q3w7hk2mzt5c6rjx4dnebfva",
        ("unknown_link",),
    ),
    "token": PathParam(
        "[^/]+",
        Annotated[str, Meta(pattern=f"^{TOKEN_PATTERN}$", description="The token of a share link.")],
        EXAMPLE_TOKEN,
        ("gone_link", "unknown_link", *CHANGE_ERRORS),
    ),
    "invitation": PathParam(
        "[^/]+",
        Annotated[str, Meta(min_length=1, description="The token of the setup link.")],
        "S2m0VbV1o0Yq3mJcM1yX9u4nq0mUoQ8x1Yp3Zq7r5sE",
        ("gone_invitation",),
    ),
    "name": PathParam("[^/]+", Annotated[str, Meta(min_length=1, description="The name of a file.")], "dog.css"),
}
"""The parameters by name: one name means the same in all paths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseDoc:
    """A response. `body` is a type sent as JSON, or a tuple of content types.

    `headers` are names; dog.web.apidocs.response_headers describes each.
    """

    status: int = 200
    description: str
    body: Any | tuple[str, ...] = ()
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """A method and path of the service, and its documentation.

    `route` is the method and the path, which has parameters of PATH_PARAMS in braces. `query` and `headers` are structs
    whose fields are the parameters. `body` is the type that the body is parsed with: JSON below /api/, otherwise a
    form. `errors` are codes of docs/protocol.md, without those that follow from the rest. `tag` is its chapter. `role`
    is the required role, or None for everybody. `head` adds HEAD to GET. `name` replaces the handler's name as the
    operationId, which must not change.
    """

    route: str
    handler: Handler
    summary: str
    _: KW_ONLY
    tag: str
    responses: tuple[ResponseDoc, ...]
    errors: tuple[str, ...] = ()
    description: str = ""
    query: type[Struct] | None = None
    headers: type[Struct] | None = None
    body: type[Struct] | None = None
    role: Role | None = "view"
    head: bool = True
    name: str = ""

    @property
    def method(self) -> str:
        return self.route.partition(" ")[0]

    @property
    def path(self) -> str:
        return self.route.partition(" ")[2]

    @property
    def body_type(self) -> str:
        """The content type of the body."""
        return JSON if self.path.startswith("/api/") else FORM_TYPE

    @property
    def id(self) -> str:
        """The unique operationId."""
        return self.name or self.handler.__name__.lstrip("_")

    @property
    def path_params(self) -> dict[str, PathParam]:
        """The parameters in the path."""
        return {name: PATH_PARAMS[name] for name in re.findall(r"\{(\w+)\}", self.path)}

    @property
    def error_codes(self) -> dict[int, list[str]]:
        """All error codes by status, sorted."""
        own = (*self.errors, *COMMON_ERRORS)
        for param in self.path_params.values():
            own += ("not_found", *param.errors)  # not_found: it does not match its pattern
        if self.headers is ConditionalHeaders:
            own += FILE_ERRORS
        if self.role == "manage" and self.method != "GET":
            own += CHANGE_ERRORS
        if self.role is not None:
            own += ("forbidden", "unauthorized")
        elif self.method not in ("GET", "HEAD"):
            own += ("forbidden",)
        if self.body is not None:
            own += BODY_ERRORS[self.body_type]
        by_status: dict[int, list[str]] = {}
        for code in sorted(set(own)):
            by_status.setdefault(STATUS[code], []).append(code)
        return dict(sorted(by_status.items()))

    def make_route(self) -> web.RouteDef:
        path = re.sub(r"\{(\w+)\}", lambda name: f"{{{name[1]}:{PATH_PARAMS[name[1]].pattern}}}", self.path)
        options = {"allow_head": self.head} if self.method == "GET" else {}
        return web.RouteDef(self.method, path, require_role(self.role, self.handler), options)


def page_response(description: str) -> tuple[ResponseDoc, ...]:
    return (ResponseDoc(description=description, body=("text/html",)),)


def json_response(description: str, body: Any) -> tuple[ResponseDoc, ...]:
    """Describe a value of that type, as JSON."""
    return (ResponseDoc(description=description, body=body),)


def redirect(description: str, *headers: str) -> tuple[ResponseDoc, ...]:
    return (ResponseDoc(status=303, description=description, headers=("Location", *headers)),)


def no_content(description: str) -> tuple[ResponseDoc, ...]:
    return (ResponseDoc(status=204, description=description),)


def file_responses(description: str, *types: str, headers: tuple[str, ...] = ()) -> tuple[ResponseDoc, ...]:
    """Describe the responses of dog.web.http.content: ETag, range, 304."""
    headers = ("Accept-Ranges", "Cache-Control", "ETag", *headers)
    return (
        ResponseDoc(description=description, body=types, headers=headers),
        ResponseDoc(status=206, description="The requested range.", body=types, headers=(*headers, "Content-Range")),
        ResponseDoc(status=304, description="Your copy is up to date.", headers=headers),
    )
