"""Floods by one client address, of each kind: they alone wait.

The floods come from an address that is not this machine's own, in a network of its own. The time of their address is
used up after 5 ms, and never comes back.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from websockets.asyncio.client import connect

from benchmarks.private_network import OTHER_CLIENT, private_network
from benchmarks.processes import Skipped
from dog.settings import Settings
from dog.web import loop_time
from dog.web.app import create_app
from dog.web.connections.connection import HTTP_SETTINGS
from dog.web.connections.connection_limits import CONNECTIONS, Connections
from dog.web.connections.listener import listen
from tests.support.cameras import HandCamera
from tests.support.raw_client import REQUEST
from tests.support.running import Events, until
from tests.support.websocket_frames import TEXT, UPGRADE, build_client_frame

HERE = "127.0.0.1"
UNITS = 400
"""Requests, connections or messages of a flood. In 5 ms, less than half of them are handled."""
VIEWERS = 10
PRESSES = 3


class Flood:
    """The connections of a flood, and the number of their responses."""

    def __init__(self, port: int, stack: contextlib.AsyncExitStack) -> None:
        self.port = port
        self.responses = 0
        self._stack = stack

    async def connect(self, host: str = OTHER_CLIENT) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(host, self.port)
        self._stack.callback(writer.close)
        return reader, writer

    async def send_requests(self, request: bytes, host: str = OTHER_CLIENT) -> None:
        """Send each request on its own connection, and count the responses."""
        for _ in range(UNITS):
            reader, writer = await self.connect(host)
            writer.write(request)
            self._count(reader, b"HTTP/1.")

    async def open_viewers(self) -> list[asyncio.StreamWriter]:
        """Open viewers, and count the pongs that they receive."""
        viewers = []
        for _ in range(VIEWERS):
            reader, writer = await self.connect()
            writer.write(UPGRADE)
            await reader.readuntil(b'"type":"hello"')
            self._count(reader, b'"type":"pong"')
            viewers.append(writer)
        return viewers

    def _count(self, reader: asyncio.StreamReader, response: bytes) -> None:
        async def read() -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    await reader.readuntil(response)
                    self.responses += 1

        self._stack.callback(asyncio.create_task(read()).cancel)


class Attacked:
    """The service in this event loop, with a flood and a viewer elsewhere."""

    def __init__(self, connections: Connections, flood: Flood, viewer: Events) -> None:
        self.connections = connections
        self.flood = flood
        self._viewer = viewer

    async def press(self) -> None:
        for _ in range(PRESSES):
            await self._viewer.say(type="capture", max_age=0)
            await self._viewer.read_until("ready")

    def count_accepted(self) -> int:
        return len(self.connections._open)


@pytest.fixture
async def attacked(tmp_path: Path) -> AsyncIterator[Attacked]:
    settings = Settings(snapshots=tmp_path, open=True, trusted_proxies=(HERE,), dead_time=0.0)
    async with contextlib.AsyncExitStack() as stack:
        try:
            stack.enter_context(private_network())
        except Skipped as reason:
            pytest.skip(str(reason))
        app = create_app(settings, lambda _settings, _folder: HandCamera())
        runner = web.AppRunner(app, shutdown_timeout=0.5, **HTTP_SETTINGS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        assert runner.server is not None
        listener = await listen(app[CONNECTIONS], runner.server, "0.0.0.0", 0)
        stack.callback(listener.close)
        port = listener.sockets[0].getsockname()[1]
        viewer = Events(await stack.enter_async_context(connect(f"ws://{HERE}:{port}/ws", compression=None)))
        yield Attacked(app[CONNECTIONS], Flood(port, stack), viewer)


@pytest.fixture
def use_up_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after which no address gets new time."""

    def set_rates() -> None:
        for name in ("ALONE_MS_PER_SECOND", "SHARED_MS_PER_SECOND"):
            monkeypatch.setattr(loop_time, name, 1e-3)

    return set_rates


REQUESTS = {
    "of a page": (b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n", OTHER_CLIENT),
    "of an unknown URL": (b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", OTHER_CLIENT),
    "that are not HTTP": (b"\x16\x03\x01 hello\r\n\r\n", OTHER_CLIENT),
    "with a head that is too large": (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, OTHER_CLIENT),
    "through a proxy": (REQUEST[:-2] + b"X-Forwarded-For: 198.51.100.3\r\n\r\n", HERE),
    "through a proxy, with malformed headers": (REQUEST[:-2] + b"Forwarded: for=a;for=b\r\n\r\n", HERE),
}


@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_flood_of_requests_waits_and_delays_no_press(
    attacked: Attacked, use_up_time: Callable[[], None], kind: str
) -> None:
    use_up_time()
    await attacked.flood.send_requests(*REQUESTS[kind])
    await attacked.press()
    assert attacked.flood.responses < UNITS / 2


async def test_connections_of_a_flood_are_not_accepted_and_delay_no_press(
    attacked: Attacked, use_up_time: Callable[[], None]
) -> None:
    use_up_time()
    before = attacked.count_accepted()
    for _ in range(UNITS):
        await attacked.flood.connect()
    await attacked.press()
    assert attacked.count_accepted() - before < UNITS / 2


async def test_messages_of_many_viewers_wait_and_delay_no_press(
    attacked: Attacked, use_up_time: Callable[[], None]
) -> None:
    viewers = await attacked.flood.open_viewers()
    use_up_time()
    for number in range(UNITS):
        viewers[number % VIEWERS].write(build_client_frame(TEXT, b'{"type":"ping"}'))
        await asyncio.sleep(0)  # so that each is read alone
    await attacked.press()
    assert attacked.flood.responses < UNITS / 2


async def test_a_flood_that_has_waited_is_served(attacked: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_time, "SHARED_MS_PER_SECOND", 200.0)
    await attacked.flood.send_requests(REQUEST)
    await attacked.press()
    await until(lambda: attacked.flood.responses == UNITS)
