"""Check every message of the server against the AsyncAPI document.

The document allows unknown fields; these checks do not.
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
    """Raise AssertionError if the message does not match its schema."""
    message = json.loads(text)
    kind = message.get("type") if isinstance(message, dict) else None
    validators = _validators()
    assert kind in validators, f"the AsyncAPI document has no message like {message}"
    error = next(validators[kind].iter_errors(message), None)
    assert error is None, f"{error} (the AsyncAPI document of {message})"


@contextlib.contextmanager
def checked_messages() -> Iterator[None]:
    """Check every message that `websockets` receives at /ws in this context."""
    with pytest.MonkeyPatch.context() as patch:
        receive = websockets.asyncio.client.ClientConnection.recv

        async def checked(self: websockets.asyncio.client.ClientConnection, *arguments: Any, **options: Any) -> Any:
            return _check(self, await receive(self, *arguments, **options))

        patch.setattr(websockets.asyncio.client.ClientConnection, "recv", checked)
        receive_sync = websockets.sync.client.ClientConnection.recv

        def checked_sync(self: websockets.sync.client.ClientConnection, *arguments: Any, **options: Any) -> Any:
            return _check(self, receive_sync(self, *arguments, **options))

        patch.setattr(websockets.sync.client.ClientConnection, "recv", checked_sync)
        yield


def _check(connection: Any, message: Any) -> Any:
    if connection.request.path.partition("?")[0].endswith("/ws"):
        check_message(message)
    return message


@functools.cache
def _validators() -> dict[str, jsonschema_rs.Draft7Validator]:
    """Return the validators by message type. They are made once."""
    by_path = {operation.path: operation for operation in OPERATIONS}
    document = make_asyncapi(by_path["/ws"], by_path["/events"], by_path["/preview"], None)
    components = document["components"]
    sends = [
        operation
        for operation in document["operations"].values()
        if operation["action"] == "send" and operation["channel"]["$ref"] != "#/channels/preview"
    ]
    for schema in components["schemas"].values():
        schema["additionalProperties"] = False
    validators = {}
    for name in {one["$ref"].rpartition("/")[2] for operation in sends for one in operation["messages"]}:
        schema = {**components["messages"][name]["payload"], "components": components}
        validators[name] = jsonschema_rs.Draft7Validator(schema, validate_formats=True)
    return validators
