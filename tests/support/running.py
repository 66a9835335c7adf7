"""The service in the test's event loop, a controlled camera, and clients."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient
from websockets.asyncio.client import ClientConnection, connect

from dog.settings import Settings
from dog.web.app import create_app
from dog.web.app_keys import APP_STATE, AppState
from tests.support.cameras import HandCamera

__all__ = ["Client", "Events", "Running", "run_service", "until"]

Client = TestClient[web.Request, web.Application]


class Events:
    """A client of the push, with another library."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.hello: dict[str, Any] = {}

    async def say(self, **message: object) -> None:
        await self.connection.send(json.dumps(message))

    async def read(self) -> dict[str, Any]:
        """Read the next message that is not the count of viewers."""
        while True:
            message: dict[str, Any] = json.loads(await self.connection.recv())
            if message["type"] != "viewers":
                return message

    async def read_until(self, *types: str) -> list[dict[str, Any]]:
        """Read and return all messages up to the first of one of these types."""
        messages = [await self.read()]
        while messages[-1]["type"] not in types:
            messages.append(await self.read())
        return messages


@dataclass
class Running:
    """A running service: its HTTP client, its camera, and its parts."""

    client: Client
    camera: HandCamera
    service: AppState

    @property
    def app(self) -> web.Application:
        assert self.client.app is not None
        return self.client.app

    @property
    def url(self) -> str:
        return str(self.client.make_url("/")).rstrip("/")

    async def connect_slowly(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect a client with a small receive buffer."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.client.port))
        return await asyncio.open_connection(sock=client, limit=8192)

    @asynccontextmanager
    async def watch(self, query: str = "", **options: Any) -> AsyncIterator[Events]:
        async with connect(f"{self.url.replace('http', 'ws', 1)}/ws{query}", **options) as connection:
            events = Events(connection)
            events.hello = await events.read()
            yield events


async def until(condition: Callable[[], bool]) -> None:
    """Poll a condition until it is true, or the test times out."""
    while not condition():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.001)


async def run_service(make_client: Callable[[web.Application], Awaitable[Client]], settings: Settings) -> Running:
    camera = HandCamera()
    client = await make_client(create_app(settings, lambda _settings, _folder: camera))
    app = client.app
    assert app is not None
    return Running(client, camera, app[APP_STATE])
