"""JSON that comes as the body of a request, and that goes as the body of an answer."""

import asyncio
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError
from msgspec import Struct

from dog.messages import encode, explain_mismatch
from dog.web.problems import Problem

__all__ = ["BODY_PATIENCE", "read_body", "respond_json"]

BODY_PATIENCE = 20.0
"""Seconds that a body of a few bytes may take to come."""

T = TypeVar("T", bound=Struct)


async def read_body(request: web.Request, kind: type[T]) -> T:
    """What was sent, as that type; none at all is one with all its defaults.

    Raises Problem `request_timeout`, `bad_json` and `bad_message`.
    """
    try:
        async with asyncio.timeout(BODY_PATIENCE):
            body = await request.read()
    except TimeoutError:
        raise Problem("request_timeout", f"The body did not come within {BODY_PATIENCE:g} s.") from None
    except (web.RequestPayloadError, PayloadEncodingError) as error:
        raise Problem("bad_message", f"The body can't be read: {error}.") from None
    if not body:
        return kind()
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Problem("bad_message", explain_mismatch(error)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Problem("bad_json", f"The body is not JSON: {error}.") from None


def respond_json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=encode(body),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
