"""The push over WebSockets: connect, send and receive messages.

`watch` and `read_...` block. They are for a server in another process. The others are for the test's event loop.
"""

import json
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.sync import client as blocking

from tests.support.accounts import bearer
from tests.support.server_process import ServerProcess

__all__ = [
    "open_push",
    "read_close_code",
    "read_until",
    "receive",
    "send_message",
    "take_photo",
    "take_photos",
    "watch",
]


def watch(server: ServerProcess, query: str = "") -> blocking.ClientConnection:
    return blocking.connect(f"ws://127.0.0.1:{server.port}/ws{query}")


def read_until(push: blocking.ClientConnection, *types: str, **fields: object) -> dict[str, Any]:
    """Return the next message of one of these types, with these fields."""
    while True:
        message: dict[str, Any] = json.loads(push.recv(timeout=30))
        if message["type"] in types and fields.items() <= message.items():
            return message


def read_close_code(push: blocking.ClientConnection) -> int | None:
    try:
        while True:
            push.recv(timeout=30)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def open_push(url: str, query: str = "", token: str | None = None) -> connect:
    """Connect a viewer: `async with open_push(url) as push`.

    Its queue is unlimited, because a full one would delay closing by ten seconds.
    """
    headers = None if token is None else bearer(token)
    return connect(f"{url.replace('http', 'ws', 1)}/ws{query}", additional_headers=headers, max_queue=None)


async def receive(push: ClientConnection, *types: str) -> dict[str, Any]:
    """Return the next message of one of these types."""
    while True:
        message: dict[str, Any] = json.loads(await push.recv())
        if message["type"] in types:
            return message


async def send_message(push: ClientConnection, **message: object) -> None:
    await push.send(json.dumps(message))


async def take_photo(url: str, **options: Any) -> dict[str, Any]:
    """Take a photo. Return its `ready`."""
    async with open_push(url) as push:
        await send_message(push, type="capture", max_age=0, **options)
        return await receive(push, "ready")


async def take_photos(url: str, count: int) -> list[dict[str, Any]]:
    """Take photos one after the other. Return each `ready`, newest first."""
    taken: list[dict[str, Any]] = []
    async with open_push(url) as push:
        for _ in range(count):
            await send_message(push, type="capture", max_age=0)
            taken.insert(0, await receive(push, "ready"))
    return taken
