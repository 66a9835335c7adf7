"""The OpenAPI and AsyncAPI documents and page, made at the first request."""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import msgspec
from aiohttp import web

from dog import __version__
from dog.web.apidocs.asyncapi import make_asyncapi
from dog.web.apidocs.openapi import make_openapi
from dog.web.apidocs.operation import Operation
from dog.web.apidocs.schemas import Schema, name_of
from dog.web.http.content import Content, respond
from dog.web.middleware.authentication import describe_identity

__all__ = ["DOCUMENTS", "Documents", "show_api_page", "show_asyncapi", "show_openapi"]

REVALIDATE = {"Cache-Control": "no-cache"}
JSON = "application/json"
WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}


@dataclass
class Documents:
    """The documents of one service."""

    operations: Sequence[Operation]
    tags: Mapping[str, str]
    base_url: str | None
    template: jinja2.Template

    @functools.cached_property
    def openapi(self) -> Content:
        return Content.from_bytes(msgspec.json.encode(self._openapi), JSON)

    @functools.cached_property
    def asyncapi(self) -> Content:
        return Content.from_bytes(msgspec.json.encode(self._asyncapi), JSON)

    @functools.cached_property
    def page(self) -> Content:
        context = {
            "root": "./",
            "version": __version__,
            **describe_identity(None),
            "openapi": self._openapi,
            "asyncapi": self._asyncapi,
            "chapters": list(self._chapters()),
            "pieces": _type_words,
            "name_of": name_of,
            "show": _to_json,
        }
        return Content.from_bytes(self.template.render(context).encode(), "text/html; charset=utf-8")

    @functools.cached_property
    def _openapi(self) -> dict[str, Any]:
        return make_openapi(self.operations, self.tags, self.base_url)

    @functools.cached_property
    def _asyncapi(self) -> dict[str, Any]:
        by_path = {operation.path: operation for operation in self.operations}
        return make_asyncapi(by_path["/ws"], by_path["/events"], by_path["/preview"], self.base_url)

    def _chapters(self) -> Any:
        """Yield each tag with its operations, and their methods and paths."""
        for tag in self._openapi["tags"]:
            inside = [
                {"method": method.upper(), "path": path, **operation}
                for path, operations in self._openapi["paths"].items()
                for method, operation in operations.items()
                if tag["name"] in operation["tags"]
            ]
            yield {**tag, "operations": inside}


DOCUMENTS = web.AppKey("documents", Documents)


async def show_openapi(request: web.Request) -> web.StreamResponse:
    """Send the OpenAPI document (GET /api/openapi.json)."""
    return await _respond(request, "openapi")


async def show_asyncapi(request: web.Request) -> web.StreamResponse:
    """Send the AsyncAPI document (GET /api/asyncapi.json)."""
    return await _respond(request, "asyncapi")


async def show_api_page(request: web.Request) -> web.StreamResponse:
    """Show the API reference (GET /api)."""
    return await _respond(request, "page")


async def _respond(request: web.Request, name: str) -> web.StreamResponse:
    """Send a document. The first time, it is made in a thread."""
    return await respond(request, await asyncio.to_thread(getattr, request.app[DOCUMENTS], name), REVALIDATE)


def _type_words(schema: Schema) -> list[str]:
    """Describe the values of a schema. Every second item is a type's name."""
    if "anyOf" in schema:
        found = [_type_words(choice) for choice in schema["anyOf"]]
        return functools.reduce(lambda before, after: _join(_join(before, [" or "]), after), found)
    if name := name_of(schema):
        return ["", name, ""]
    if schema.get("type") == "array":
        return _join(["list of "], _type_words(schema["items"]))
    if "const" in schema:
        return [_to_json(schema["const"])]
    if "enum" in schema:
        return ["one of " + ", ".join(map(_to_json, schema["enum"]))]
    if schema.get("format") == "date-time":
        return ["time"]
    words = [WORDS.get(schema.get("type", ""), "object")]
    for key, text in (("minimum", "at least"), ("maximum", "at most"), ("exclusiveMaximum", "below")):
        if key in schema:
            words.append(f"{text} {schema[key]}")
    if "maxLength" in schema:
        words.append(f"of at most {schema['maxLength']} characters")
    if schema.get("default") is not None:
        words.append(f"({_to_json(schema['default'])} if left out)")
    return [" ".join(words)]


def _join(before: list[str], after: list[str]) -> list[str]:
    """Concatenate two lists, joining the two items that meet."""
    return [*before[:-1], before[-1] + after[0], *after[1:]]


def _to_json(value: Any) -> str:
    """Encode a value as JSON, on several lines if it is long."""
    text = msgspec.json.encode(value)
    return (msgspec.json.format(text, indent=2) if len(text) > 72 else text).decode()
