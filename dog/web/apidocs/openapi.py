"""The OpenAPI 3.1 document, made from the table of operations."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

import msgspec

from dog import __version__
from dog.protocol import ErrorCode, doc
from dog.web.apidocs.operation import JSON, Operation, ResponseDoc
from dog.web.apidocs.response_headers import HEADERS
from dog.web.apidocs.schemas import Schema, Schemas
from dog.web.problems import TEMPORARY, problem_details

__all__ = ["make_openapi"]

DESCRIPTION = (
    "A press anywhere, the photo everywhere. To take a photo, use `POST /api/captures` or `GET /latest.jpg`. The push"
    " sends the events; the AsyncAPI document describes it. Times are RFC 3339 in UTC with milliseconds, durations are"
    " in seconds. Ignore fields that you do not know. Fields without a value are left out. HEAD works like GET,"
    " except for `/ws`. Errors are RFC 9457; a browser that asks for a page receives a page."
)
PROBLEM = "application/problem+json"
DETAIL = "The camera is offline. Try again in a moment."


class Problem(msgspec.Struct, frozen=True):
    """An error, as in RFC 9457."""

    type: Annotated[str, doc("Always about:blank. See `code`.", "about:blank")]
    title: Annotated[str, doc("The status, in words.", "Service Unavailable")]
    status: Annotated[int, doc("The HTTP status.", 503)]
    detail: Annotated[str, doc("The error and its remedy, for people.", DETAIL)]
    code: ErrorCode


def make_openapi(operations: Sequence[Operation], tags: Mapping[str, str], base_url: str | None) -> dict[str, Any]:
    """Make the document. Without `base_url`, the server's URL is relative."""
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "D.O.G.", "version": __version__, "description": DESCRIPTION},
        "servers": [{"url": base_url or ".."}],
        "tags": [{"name": name, "description": description} for name, description in tags.items()],
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.components.items()))},
    }


def _operation(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    result: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": list(_parameters(operation, schemas)),
        "responses": {
            **{str(response.status): _response(response, schemas) for response in operation.responses},
            **{
                str(status): _error_response(operation, status, error_codes, schemas)
                for status, error_codes in operation.error_codes.items()
            },
        },
    }
    if operation.description:
        result["description"] = operation.description
    if operation.body is not None:
        schema, fields = schemas.request_schema(operation.body), msgspec.structs.fields(operation.body)
        content = {operation.body_type: {"schema": schema, "example": schemas.example(schema)}}
        result["requestBody"] = {"content": content, "required": any(field.required for field in fields)}
    return result


def _parameters(operation: Operation, schemas: Schemas) -> list[dict[str, Any]]:
    parameters = []
    for name, param in operation.path_params.items():
        schema = {**msgspec.json.schema(param.type), "examples": [param.example]}
        parameters.append({"name": name, "in": "path", "required": True, **_split(schema)})
    for location, struct in (("query", operation.query), ("header", operation.headers)):
        for name, required, schema in schemas.parameters(struct) if struct is not None else ():
            parameters.append({"name": name, "in": location, "required": required, **_split(schema)})
    return parameters


def _split(schema: Schema) -> dict[str, Any]:
    """Return a schema, and next to it its description and example."""
    description, (example,) = schema.pop("description"), schema.pop("examples")
    return {"description": description, "schema": schema, "example": example}


def _response(response: ResponseDoc, schemas: Schemas) -> dict[str, Any]:
    result: dict[str, Any] = {"description": response.description}
    if response.headers:
        result["headers"] = {name: _split(msgspec.json.schema(HEADERS[name])) for name in sorted(response.headers)}
    if isinstance(response.body, tuple):
        content: dict[str, Any] = {kind: {} for kind in response.body}
    else:
        schema = schemas.response_schema(response.body)
        content = {JSON: {"schema": schema, "example": schemas.example(schema)}}
    if content:
        result["content"] = content
    return result


def _error_response(operation: Operation, status: int, error_codes: list[str], schemas: Schemas) -> dict[str, Any]:
    """Describe the errors with one status, and their codes."""
    schema = {
        **schemas.response_schema(Problem),
        "properties": {"code": {"enum": error_codes}, "status": {"const": status}},
    }
    examples = {code: {"value": problem_details(code, DETAIL)} for code in error_codes}
    content: dict[str, Any] = {PROBLEM: {"schema": schema, "examples": examples}}
    if not operation.path.startswith("/api/"):
        content["text/html"] = {}
    names = ", ".join(f"`{code}`" for code in error_codes)
    result = {"description": f"{HTTPStatus(status).phrase}: {names}.", "content": content}
    if TEMPORARY.intersection(error_codes):
        result["headers"] = {"Retry-After": _split(msgspec.json.schema(HEADERS["Retry-After"]))}
    return result
