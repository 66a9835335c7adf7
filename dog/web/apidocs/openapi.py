"""All addresses in a document that tools can read: OpenAPI 3.1, made of the table of operations and its types."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from dog import __version__
from dog.web.apidocs.descriptions import FIELDS, HEADERS
from dog.web.apidocs.operation import JSON, Operation, ResponseDoc
from dog.web.apidocs.schemas import Schemas
from dog.web.problems import TEMPORARY, problem_details

__all__ = ["make_openapi"]

DESCRIPTION = (
    "A press anywhere, the photo everywhere. To take a photo, use `POST /api/captures` or `GET /latest.jpg`. The push"
    " sends the events; the AsyncAPI document describes it. Times are RFC 3339 in UTC with milliseconds, durations are"
    " in seconds. Ignore fields that you do not know. Fields without a value are left out. HEAD works where GET does,"
    " except for `/ws`. Errors are RFC 9457; a browser that asks for a page receives a page."
)
PROBLEM = "application/problem+json"


class Problem(msgspec.Struct, frozen=True):
    """As problems.describe_problem makes it."""

    type: str
    title: str
    status: int
    detail: str
    code: str


def make_openapi(operations: Sequence[Operation], tags: Mapping[str, str], base_url: str | None) -> dict[str, Any]:
    """The document. Without a public address the server is found from where the document lies."""
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "D.O.G.", "version": __version__, "description": DESCRIPTION},
        "servers": [{"url": base_url or ".."}],
        "tags": [{"name": name, "description": what} for name, what in tags.items()],
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.components.items()))},
    }


def _describe(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": list(_parameters(operation, schemas)),
        "responses": {
            **{str(answer.status): _answer(answer, schemas) for answer in operation.answers},
            **{
                str(status): _problems(operation, status, error_codes, schemas)
                for status, error_codes in operation.error_codes.items()
            },
        },
    }
    if operation.description:
        found["description"] = operation.description
    if operation.body is not None:
        schema = schemas.request_schema(operation.body)
        content = {operation.body_type: {"schema": schema, "example": schemas.example(schema)}}
        found["requestBody"] = {"content": content, "required": operation.needs_body}
    return found


def _parameters(operation: Operation, schemas: Schemas) -> list[dict[str, Any]]:
    parameters = []
    for name, part in operation.parts.items():
        schema = msgspec.json.schema(part.type)
        what = schema.pop("description")
        parameters.append(
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": what,
                "schema": schema,
                "example": part.example,
            }
        )
    for place, struct in (("query", operation.query), ("header", operation.headers)):
        for name, required, schema, word in schemas.fields(struct) if struct is not None else ():
            parameters.append(
                {
                    "name": name,
                    "in": place,
                    "required": required,
                    "description": word.what,
                    "schema": {**schema, **word.more},
                    "example": word.example,
                }
            )
    return parameters


def _answer(answer: ResponseDoc, schemas: Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.what}
    if answer.headers:
        found["headers"] = {name: _header(name) for name in sorted(answer.headers)}
    if isinstance(answer.body, tuple):
        content: dict[str, Any] = {kind: {} for kind in answer.body}
    else:
        schema = schemas.response_schema(answer.body)
        content = {JSON: {"schema": schema, "example": schemas.example(schema)}}
    if content:
        found["content"] = content
    return found


def _header(name: str) -> dict[str, Any]:
    word = HEADERS[name]
    kind = "integer" if isinstance(word.example, int) else "string"
    return {"description": word.what, "schema": {"type": kind, **word.more}, "example": word.example}


def _problems(operation: Operation, status: int, error_codes: list[str], schemas: Schemas) -> dict[str, Any]:
    """The problems of one status: which codes it may have."""
    schema = {
        **schemas.response_schema(Problem),
        "properties": {"code": {"enum": error_codes}, "status": {"const": status}},
    }
    examples = {code: {"value": problem_details(code, FIELDS["detail"].example)} for code in error_codes}
    content: dict[str, Any] = {PROBLEM: {"schema": schema, "examples": examples}}
    if not operation.path.startswith("/api/"):
        content["text/html"] = {}
    names = ", ".join(f"`{code}`" for code in error_codes)
    found = {"description": f"{HTTPStatus(status).phrase}: {names}.", "content": content}
    if TEMPORARY.intersection(error_codes):
        found["headers"] = {"Retry-After": _header("Retry-After")}
    return found
