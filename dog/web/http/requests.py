"""Queries, bodies and forms, parsed as types, and JSON responses."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError
from msgspec import Struct

from dog.protocol import EXAMPLE_CURSOR, EXAMPLE_ID, CameraName, doc, encode, explain_mismatch
from dog.web.problems import Problem

__all__ = [
    "BODY_TIMEOUT",
    "FORM_TYPE",
    "CameraQuery",
    "ListStart",
    "PushQuery",
    "read_body",
    "read_form",
    "read_query",
    "respond_json",
]

BODY_TIMEOUT = 20.0
"""Seconds that a body may take to arrive."""
FORM_TYPE = "application/x-www-form-urlencoded"
MAX_FORM_FIELDS = 20

T = TypeVar("T", bound=Struct)
ListStart = Annotated[str, doc("The id of a snapshot. The list has those taken before it.", EXAMPLE_ID)]


class CameraQuery(Struct, frozen=True):
    """The query `?camera=`."""

    camera: CameraName | None = None


class PushQuery(Struct, frozen=True):
    """The query of GET /ws and GET /events."""

    since: Annotated[str | None, doc("The cursor of the last event that you received.", EXAMPLE_CURSOR)] = None


def read_query(request: web.Request, kind: type[T]) -> T:
    """Parse the query as this type, or raise Problem `bad_message`.

    The first of repeated parameters counts. A number that may be left out has the default UNSET, because msgspec reads
    the text `null` as None.
    """
    return _convert(dict(request.query), kind)


async def read_body(request: web.Request, kind: type[T]) -> T:
    """Parse a JSON body as this type. An empty body gives its defaults.

    Raises Problem `request_timeout`, `bad_json` and `bad_message`.
    """
    body = await _read(request)
    if not body:
        return kind()
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Problem("bad_message", explain_mismatch(error)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Problem("bad_json", f"The body is not valid JSON: {error}. Send a JSON object.") from None


async def read_form(request: web.Request, kind: type[T]) -> T:
    """Parse a URL-encoded form as this type. An empty body gives its defaults.

    Raises Problem `request_timeout` and `bad_message`.
    """
    if request.body_exists and request.content_type != FORM_TYPE:
        raise Problem("bad_message", f"The body is not a form. Send it as {FORM_TYPE}.")
    body = await _read(request)
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError:  # a UnicodeDecodeError is one
        raise Problem(
            "bad_message", f"The form cannot be read. Send UTF-8 text with at most {MAX_FORM_FIELDS} fields."
        ) from None
    return _convert(dict(fields), kind)


def _convert(fields: Mapping[str, str], kind: type[T]) -> T:
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Problem("bad_message", explain_mismatch(error)) from None


async def _read(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await request.read()
    except TimeoutError:
        raise Problem("request_timeout", f"The body did not arrive within {BODY_TIMEOUT:g} s. Send it again.") from None
    except (web.RequestPayloadError, PayloadEncodingError) as error:
        raise Problem("bad_message", f"The body cannot be read: {error}. Send it again.") from None


def respond_json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=encode(body),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
