"""What the server says in the tests, held to what it says of itself: each message to its schema in AsyncAPI.

The document lets messages grow; here they have the fields that it names, and no others.
"""

import contextlib
import functools
import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import websockets.asyncio.client
import websockets.sync.client

from dog.web.apidocs.asyncapi import make_asyncapi
from dog.web.routes import OPERATIONS

__all__ = ["check_message", "checked_messages"]


def check_message(text: str | bytes) -> None:
    """Raises AssertionError where no message of the document looks like this."""
    said = json.loads(text)
    kind = said.get("type") if isinstance(said, dict) else None
    validators = _validators()
    assert kind in validators, f"the AsyncAPI document has no message like {said}"
    error = next(validators[kind].iter_errors(said), None)
    assert error is None, f"{error} (the AsyncAPI document of {said})"


@contextlib.contextmanager
def checked_messages() -> Iterator[None]:
    """Meanwhile every message that a client of `websockets` hears at /ws is checked."""
    with pytest.MonkeyPatch.context() as patch:
        hears = websockets.asyncio.client.ClientConnection.recv

        async def hear(self: websockets.asyncio.client.ClientConnection, *arguments: Any, **options: Any) -> Any:
            return _check(self, await hears(self, *arguments, **options))

        patch.setattr(websockets.asyncio.client.ClientConnection, "recv", hear)
        hears_and_waits = websockets.sync.client.ClientConnection.recv

        def hear_and_wait(self: websockets.sync.client.ClientConnection, *arguments: Any, **options: Any) -> Any:
            return _check(self, hears_and_waits(self, *arguments, **options))

        patch.setattr(websockets.sync.client.ClientConnection, "recv", hear_and_wait)
        yield


def _check(connection: Any, message: Any) -> Any:
    if connection.request.path.partition("?")[0].endswith("/ws"):
        check_message(message)
    return message


@functools.cache
def _validators() -> dict[str, jsonschema_rs.Draft7Validator]:
    """By a message's type: made once."""
    by_path = {operation.path: operation for operation in OPERATIONS}
    document = make_asyncapi(by_path["/ws"], by_path["/events"], None)
    components = document["components"]
    tellings = [operation for operation in document["operations"].values() if operation["action"] == "send"]
    for schema in components["schemas"].values():
        schema["additionalProperties"] = False
    validators = {}
    for name in {one["$ref"].rpartition("/")[2] for telling in tellings for one in telling["messages"]}:
        schema = {**components["messages"][name]["payload"], "components": components}
        validators[name] = jsonschema_rs.Draft7Validator(schema, validate_formats=True)
    return validators
