"""What an operation of the service is: an address, who answers it, what it is given, and all that it may answer.

routes.py has the table of them. The service adds its routes from it, and documents.py writes from it what tools and
people read; so nothing is served that is not written down.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from aiohttp import web
from msgspec import Meta, Struct

from dog.protocol import Role
from dog.snapshots.names import ID_PATTERN, SUFFIXES
from dog.web.handlers.share_links import TOKEN_PATTERN
from dog.web.http.bodies import FORM_TYPE
from dog.web.middleware.authorization import require_role
from dog.web.problems import STATUS

__all__ = [
    "FILE_ERRORS",
    "FORM_TYPE",
    "JSON",
    "PARTS",
    "PICTURES",
    "SNAPSHOT_ERRORS",
    "Operation",
    "PathParam",
    "ResponseDoc",
    "file",
    "json_response",
    "no_content",
    "page",
]

COMMON = ("bad_request", "internal_error", "overloaded", "unknown_host")
"""Problems that anybody may meet anywhere."""
JSON = "application/json"
OF_A_FORM = ("bad_message", "request_timeout", "too_big")
OF_A_BODY = {JSON: ("bad_json", *OF_A_FORM), FORM_TYPE: OF_A_FORM}
"""Problems that who sends a body may meet."""
FILE_ERRORS = ("bad_range", "precondition_failed", "rate_limited")
SNAPSHOT_ERRORS = ("gone_snapshot", "unknown_snapshot")
PICTURES = tuple(SUFFIXES)


@dataclass(frozen=True, slots=True)
class PathParam:
    """A part of an address that stands in braces: what it may look like for aiohttp, and what it has to be."""

    pattern: str
    type: Any
    example: str | int


PARTS = {
    "id": PathParam(
        "[^/.]+",
        Annotated[str, Meta(pattern=f"^{ID_PATTERN}$", description="The id of a snapshot.")],
        "dpfgal6exjlb46kbidaazznh",
    ),
    "suffix": PathParam(
        "[a-z]+",
        Annotated[Literal[tuple(sorted(SUFFIXES.values()))], Meta(description="The suffix of its type.")],
        "jpg",
    ),
    "number": PathParam(
        "[0-9]{1,18}", Annotated[int, Meta(ge=0, lt=10**18, description="The number of a capture.")], 7
    ),
    "link": PathParam(
        "[^/.]+",
        Annotated[str, Meta(pattern=f"^{ID_PATTERN}$", description="The id of a link.")],
        "q3w7hk2mzt5c6rjx4dnebfva",
    ),
    "token": PathParam(
        "[^/]+",
        Annotated[str, Meta(pattern=f"^{TOKEN_PATTERN}$", description="The token of a share link.")],
        "q3w7hk2mzt5c6rjx4dnebfva.0m9XGd2bq7hYvU4pWc1sZk8TnRfEaJ3LoI5VxQyKz6A",
    ),
    "invitation": PathParam(
        "[^/]+",
        Annotated[str, Meta(min_length=1, description="The token of the setup link.")],
        "S2m0VbV1o0Yq3mJcM1yX9u4nq0mUoQ8x1Yp3Zq7r5sE",
    ),
    "name": PathParam("[^/]+", Annotated[str, Meta(min_length=1, description="The name of a file.")], "dog.css"),
}
"""By name: one thing, wherever it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseDoc:
    """One way to be answered. `body` is a type, told as JSON, or else the content types that it may have.

    `headers` are names; documents.py has a word for each.
    """

    status: int = 200
    what: str
    body: Any | tuple[str, ...] = ()
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`query` and `headers` are structs whose fields are the parameters, `body` the type that the body is parsed with.

    `body_type` is its content type, and `needs_body` whether there must be one. `path` has its parts in braces, each of
    PARTS. `problems` are codes of docs/protocol.md beside those that all operations share. `tag` is the chapter that it
    stands in. `role` is what it takes, None for what everybody may. `head` is whether HEAD works as well as GET. `name`
    is for a handler that answers several.
    """

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    tag: str
    summary: str
    answers: tuple[ResponseDoc, ...]
    problems: tuple[str, ...] = ()
    description: str = ""
    query: type[Struct] | None = None
    headers: type[Struct] | None = None
    body: type[Struct] | None = None
    body_type: str = JSON
    needs_body: bool = False
    role: Role | None = "view"
    head: bool = True
    name: str = ""

    @property
    def id(self) -> str:
        """A name of its own in the documents: its handler's, unless it has one."""
        return self.name or self.handler.__name__.lstrip("_")

    @property
    def parts(self) -> dict[str, PathParam]:
        """What stands in braces in the path."""
        return {name: PARTS[name] for name in re.findall(r"\{(\w+)\}", self.path)}

    @property
    def error_codes(self) -> dict[int, list[str]]:
        """All codes of problems that it may answer, by their status."""
        own = (*self.problems, *COMMON)
        if self.role is not None:
            own += ("forbidden", "unauthorized")
        elif self.method not in ("GET", "HEAD"):
            own += ("forbidden",)
        if self.body is not None:
            own += OF_A_BODY[self.body_type]
        if self.parts:
            own += ("not_found",)  # what does not look like one
        found: dict[int, list[str]] = {}
        for code in sorted(set(own)):
            found.setdefault(STATUS[code], []).append(code)
        return dict(sorted(found.items()))

    def make_route(self) -> web.RouteDef:
        path = re.sub(r"\{(\w+)\}", lambda name: f"{{{name[1]}:{PARTS[name[1]].pattern}}}", self.path)
        options = {"allow_head": self.head} if self.method == "GET" else {}
        return web.RouteDef(self.method, path, require_role(self.role, self.handler), options)


# ---- what is answered alike


def page(what: str) -> tuple[ResponseDoc, ...]:
    return (ResponseDoc(what=what, body=("text/html",)),)


def json_response(what: str, body: Any) -> tuple[ResponseDoc, ...]:
    """A value of that type, as JSON."""
    return (ResponseDoc(what=what, body=body),)


def no_content(what: str) -> tuple[ResponseDoc, ...]:
    return (ResponseDoc(status=204, what=what),)


def file(what: str, *types: str, headers: tuple[str, ...] = ()) -> tuple[ResponseDoc, ...]:
    """Bytes with a validator, as dog.web.http.content answers."""
    headers = ("Accept-Ranges", "Cache-Control", "ETag", *headers)
    return (
        ResponseDoc(what=what, body=types, headers=headers),
        ResponseDoc(status=206, what="The requested range.", body=types, headers=(*headers, "Content-Range")),
        ResponseDoc(status=304, what="Your copy is up to date.", headers=headers),
    )
