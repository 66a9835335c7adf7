"""A service with a preview, its cameras, and clients that watch it."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from aiohttp import web

from dog.captures.preview import NEXT_HEADER, Preview
from dog.settings import Settings
from dog.web.app import create_app, drain
from dog.web.app_keys import APP_STATE
from dog.web.connections.connection_limits import CONNECTIONS
from tests.support.cameras import HandCamera
from tests.support.raw_client import RawClient
from tests.support.running import until

__all__ = [
    "HOST",
    "PreviewClient",
    "PreviewService",
    "View",
    "run_preview_service",
    "send_frame",
    "wait_for_no_preview",
    "wait_for_preview",
]

HOST = "127.0.0.1"


@dataclass
class PreviewClient(RawClient):
    """A client of a preview."""

    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)

    async def begin(self, path: str, method: str = "GET", version: str = "1.1") -> "PreviewClient":
        self.writer.write(f"{method} {path} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        return self

    async def read_head(self) -> "PreviewClient":
        status_line, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        self.status = int(status_line.split()[1])
        self.fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return self

    async def read_problem(self) -> tuple[int, str]:
        """Return the status and code of an error."""
        await self.read_head()
        body = await self.reader.readexactly(int(self.fields["content-length"]))
        return self.status, json.loads(body)["code"]

    async def read_frame(self) -> bytes:
        """Return the next part's frame. Raise IncompleteReadError at the end."""
        header = await self.reader.readuntil(b"\r\n\r\n")
        assert header.startswith(NEXT_HEADER.removesuffix(b"\r\n")), header
        length = re.search(rb"Content-Length: (\d+)\r\n", header)
        assert length, header
        frame = await self.reader.readexactly(int(length[1]))
        assert await self.reader.readexactly(2) == b"\r\n"
        return frame


@dataclass
class PreviewService:
    """The service, its cameras by name, and its clients."""

    app: web.Application
    runner: web.AppRunner
    port: int
    cameras: dict[str, HandCamera]
    clients: list[PreviewClient]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def camera(self) -> HandCamera:
        return next(iter(self.cameras.values()))

    def preview(self, name: str | None = None) -> Preview:
        return self.app[APP_STATE].find_camera(name).preview

    @property
    def waiting(self) -> int:
        """Bytes of responses that the kernel has not taken yet."""
        assert self.runner.server is not None
        transports = [handler.transport for handler in self.runner.server.connections]
        return sum(transport.get_write_buffer_size() for transport in transports if transport is not None)

    async def connect(self, *, receive_buffer: int = 0) -> PreviewClient:
        connection = socket.socket()
        connection.setblocking(False)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(connection, (HOST, self.port))
        client = PreviewClient(*await asyncio.open_connection(sock=connection, limit=1 << 16))
        self.clients.append(client)
        return client

    async def watch(self, query: str = "", *, receive_buffer: int = 0) -> PreviewClient:
        """Return a client that receives the preview already."""
        client = await (await self.connect(receive_buffer=receive_buffer)).begin(f"/preview.mjpg{query}")
        await client.read_head()
        assert client.status == 200
        return client


class View(Protocol):
    """`await view("main", "porch", dead_time=0.0)`: start such a service."""

    def __call__(self, *names: str, **settings: object) -> Awaitable[PreviewService]: ...


@contextlib.asynccontextmanager
async def run_preview_service(folder: Path, *names: str, **settings: object) -> AsyncIterator[PreviewService]:
    """Run the service with these cameras and settings, as dog.web.server does."""
    cameras = {name: HandCamera() for name in names}
    for camera in cameras.values():
        camera.has_preview = True
    made = iter(cameras.values())
    own = {name: Settings(**settings) for name in cameras}  # type: ignore[arg-type]
    chosen = Settings(snapshots=folder / "snapshots", cameras=own, **settings)  # type: ignore[arg-type]
    app = create_app(chosen, lambda _settings, _folder: next(made))
    runner = web.AppRunner(app, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    assert runner.server is not None
    guard = app[CONNECTIONS].make_protocol_factory(runner.server)
    server = await asyncio.get_running_loop().create_server(guard, HOST, 0)
    service = PreviewService(app, runner, server.sockets[0].getsockname()[1], cameras, [])
    try:
        yield service
    finally:
        for client in service.clients:
            client.close()
        server.close()
        await drain(app)
        await runner.cleanup()


def send_frame(camera: HandCamera, frame: bytes) -> None:
    assert camera.shown_to is not None, "there is no viewer"
    camera.shown_to(frame)


async def wait_for_preview(camera: HandCamera) -> None:
    await until(lambda: camera.shown_to is not None)


async def wait_for_no_preview(camera: HandCamera) -> None:
    await until(lambda: camera.shown_to is None)
