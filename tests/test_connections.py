"""Who may be connected at once: the caps in all and by address, the 503 beyond them, and answers that nobody takes.

The real application behind its guard, on real sockets in the test's own event loop; the settings as a process.
"""

import asyncio
import contextlib
import http.client
import json
import random
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from dog.metrics import Metrics
from dog.settings import Settings
from dog.web.app import create_app
from dog.web.connections import CONNECTIONS, OWN_DESCRIPTORS, RETRY_AFTER, Connection, Connections
from dog.web.service import SERVICE
from tests.cameras import HandCamera
from tests.conftest import Serve
from tests.pictures import encode
from tests.running import until
from tests.test_ending import read_until, watch
from tests.test_sockets import UPGRADE, mask

HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Client:
    """One connection, by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, header fields and body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status_line, *lines = head.strip().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self.reader.readexactly(int(fields.get("content-length", 0)))
        return int(status_line.split()[1]), fields, body

    async def ask(self, request: bytes = REQUEST) -> int:
        await self.say(request)
        return (await self.read_answer())[0]

    async def read_to_the_end(self) -> bytes:
        """What comes until the server has hung up, however it did."""
        said = b""
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65536):
                said += data
        return said

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1" + bytes(7))
        self.writer.transport.abort()


@dataclass
class Guarded:
    """The service behind its guard."""

    app: web.Application
    camera: HandCamera
    server: web.Server
    port: int
    clients: list[Client]

    @property
    def waiting(self) -> int:
        """Bytes of answers that the kernel has not taken yet."""
        transports = [handler.transport for handler in self.server.connections]
        return sum(transport.get_write_buffer_size() for transport in transports if transport is not None)

    @property
    def connections(self) -> Connections:
        return self.app[CONNECTIONS]

    def count_refused(self, reason: str) -> float | None:
        registry = self.app[SERVICE].hub._metrics.registry
        return registry.get_sample_value("dog_connections_refused_total", {"reason": reason})

    async def come(self, address: str = HERE, *, receive_buffer: int = 0) -> Client:
        connection = socket.socket()
        connection.setblocking(False)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.bind((address, 0))
        await asyncio.get_running_loop().sock_connect(connection, (HERE, self.port))
        client = Client(*await asyncio.open_connection(sock=connection))
        self.clients.append(client)
        return client

    async def come_in(self, address: str = HERE) -> Client:
        """Come, and be answered, so that the place is taken for sure."""
        client = await self.come(address)
        assert await client.ask() == 200
        return client

    async def is_refused(self, address: str = HERE) -> bool:
        client = await self.come(address)
        status = await client.ask()
        await client.read_to_the_end() if status == 503 else client.close()
        client.close()
        assert status in (200, 503)
        return status == 503


class Guard(Protocol):
    def __call__(self, **settings: Any) -> Awaitable[Guarded]: ...


@pytest.fixture
async def guard(tmp_path: Path) -> AsyncIterator[Guard]:
    """`await guard(max_connections=3)`: the service with those settings, as dog.serving has it listen."""
    stack = contextlib.AsyncExitStack()
    clients: list[Client] = []

    async def start(*, keep_alive: float = 75.0, **settings: Any) -> Guarded:
        camera = HandCamera()
        app = create_app(Settings(snapshots=tmp_path / "snapshots", **settings), lambda _settings, _folder: camera)
        runner = web.AppRunner(app, keepalive_timeout=keep_alive, shutdown_timeout=0.5)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        assert runner.server is not None
        connections = app[CONNECTIONS]
        server = await asyncio.get_running_loop().create_server(
            connections.guard(runner.server), HERE, 0, backlog=connections.backlog
        )
        stack.callback(server.close)
        return Guarded(app, camera, runner.server, server.sockets[0].getsockname()[1], clients)

    async with stack:
        yield start
        for client in clients:
            client.close()


# ---- the caps


async def test_one_too_many_in_all_is_told_503_whoever_it_is(guard: Guard) -> None:
    guarded = await guard(max_connections=3)
    inside = [await guarded.come_in(address) for address in (HERE, HERE, ELSEWHERE)]
    assert await guarded.is_refused(HERE)
    assert await guarded.is_refused(ELSEWHERE)
    assert guarded.count_refused("total") == 2
    assert [await client.ask() for client in inside] == [200] * 3


async def test_one_too_many_from_an_address_is_told_503_and_others_come_in(guard: Guard) -> None:
    guarded = await guard(max_connections_per_address=2)
    inside = [await guarded.come_in() for _ in range(2)]
    assert await guarded.is_refused(HERE)
    assert not await guarded.is_refused(ELSEWHERE)
    assert guarded.count_refused("address") == 1
    assert [await client.ask() for client in inside] == [200] * 2


async def test_a_viewer_and_a_script_count_alike(guard: Guard) -> None:
    guarded = await guard(max_connections_per_address=2)
    async with connect(f"ws://{HERE}:{guarded.port}/ws"):
        assert not await guarded.is_refused()
        await until(lambda: guarded.connections.count == 1)
        script = await guarded.come_in()
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{HERE}:{guarded.port}/ws").__aenter__()
        answer = refused.value.response
        assert (answer.status_code, json.loads(answer.body or b"")["code"]) == (503, "overloaded")
        script.close()
        await until(lambda: guarded.connections.count == 1)
        assert not await guarded.is_refused()


@pytest.mark.parametrize(
    ("address", "same", "another"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::1"),
        ("2001:db8::1", "2001:0db8:0000:0000:ffff::", "2001:db9::1"),
        ("fe80::1%lo", "fe80::2%lo", "fe80:0:0:1::1%lo"),
        ("::1", "::2", "::1:0:0:0:1"),
    ],
)
def test_one_client_is_one_ipv4_address_or_one_64_of_ipv6(address: str, same: str, another: str) -> None:
    connections = Connections(Settings(max_connections_per_address=1), Metrics("test"))
    connections.enter(address)
    assert connections.find_refusal(same) == "address"
    assert connections.find_refusal(another) is None
    connections.leave(same)
    assert connections.find_refusal(address) is None


@given(
    st.lists(
        st.tuples(st.ip_addresses(v=4) | st.ip_addresses(v=6, network="2001:db8::/62"), st.integers(0, 10)), max_size=30
    )
)
def test_whoever_comes_and_goes_in_whatever_order_nobody_is_counted_in_the_end(
    visits: list[tuple[Any, int]],
) -> None:
    connections = Connections(Settings(max_connections=5, max_connections_per_address=2), Metrics("test"))
    inside: list[str] = []
    for address, leaver in visits:
        if connections.find_refusal(str(address)) is None:
            connections.enter(str(address))
            inside.append(str(address))
        if leaver < len(inside):
            connections.leave(inside.pop(leaver))
        assert connections.count == len(inside) <= 5
    for address in inside:
        connections.leave(address)
    assert connections.count == 0
    assert not connections._by_client, "memory for clients that have gone"


@pytest.mark.parametrize("descriptors", [16, 64, 256, 1024, 20_000, 1_000_000, resource.RLIM_INFINITY])
def test_descriptors_are_kept_back_for_a_burst_and_for_the_service_itself(
    descriptors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (descriptors, descriptors))
    connections = Connections(Settings(max_connections=20_000), Metrics("test"))
    assert 1 <= connections.most <= 20_000
    assert connections.backlog >= 1
    if descriptors == resource.RLIM_INFINITY or descriptors == 1_000_000:
        assert connections.most == 20_000
    elif descriptors >= 256:
        assert connections.most + 3 * connections.backlog + connections.refusals + OWN_DESCRIPTORS <= descriptors


# ---- the 503


@pytest.mark.parametrize("setting", ["max_connections", "max_connections_per_address"])
async def test_the_503_says_why_and_when_to_come_back_and_hangs_up(guard: Guard, setting: str) -> None:
    guarded = await guard(**{setting: 1})
    await guarded.come_in()
    client = await guarded.come()
    status, fields, body = await client.read_answer()  # before it has said anything
    assert (status, fields["content-type"]) == (503, "application/problem+json")
    assert fields["retry-after"] == str(RETRY_AFTER)
    assert fields["connection"] == "close"
    problem = json.loads(body)
    assert (problem["status"], problem["code"], problem["title"]) == (503, "overloaded", "Service Unavailable")
    assert "come back" in problem["detail"]
    assert await client.reader.read() == b""
    client.close()


@pytest.mark.parametrize("size", [0, 100_000, 5_000_000])
async def test_the_503_is_read_by_a_client_that_has_sent_its_whole_request_first(guard: Guard, size: int) -> None:
    """Closing a socket with unread bytes resets the connection, and the answer would be lost with it."""
    guarded = await guard(max_connections=1)
    await guarded.come_in()
    for _ in range(20):
        client = await guarded.come()
        head = b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
        await client.say(head + bytes(size))
        assert (await client.read_answer())[0] == 503
        assert await client.reader.read() == b""
        client.close()


async def test_who_is_refused_and_stays_is_cut_off(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.web.connections.LINGER", 0.05)
    guarded = await guard(max_connections=1)
    await guarded.come_in()
    staying = [await guarded.come() for _ in range(5)]
    for client in staying:
        assert (await client.read_answer())[0] == 503
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while True:
                    await client.say(b"let me in")
                    await asyncio.sleep(0)
    await until(lambda: guarded.connections._lingering == 0)
    assert guarded.connections.count == 1


async def test_where_too_many_are_being_told_the_next_is_refused_without_a_word(guard: Guard) -> None:
    guarded = await guard(max_connections=1)
    guarded.connections.refusals = 2
    await guarded.come_in()
    told = [await guarded.come() for _ in range(2)]
    await until(lambda: guarded.connections._lingering == 2)
    assert await (await guarded.come()).read_to_the_end() == b""
    assert [(await client.read_answer())[0] for client in told] == [503, 503]
    for client in told:
        client.close()
    await until(lambda: guarded.connections._lingering == 0)
    assert await guarded.is_refused()
    assert guarded.count_refused("total") == 4


async def test_a_crowd_that_is_refused_is_told_in_the_log_once(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    guarded = await guard(max_connections=1)
    await guarded.come_in()
    assert all([await guarded.is_refused() for _ in range(20)])
    assert len([record for record in caplog.records if "Refused a connection" in record.message]) == 1


# ---- every way out


async def _hang_up(client: Client, _guarded: Guarded) -> None:
    client.close()


async def _hang_up_after_answers(client: Client, _guarded: Guarded) -> None:
    assert [await client.ask(), await client.ask()] == [200, 200]
    client.close()


async def _shut_down_the_sending_half(client: Client, _guarded: Guarded) -> None:
    client.writer.write_eof()
    await client.read_to_the_end()


async def _ask_to_be_closed(client: Client, _guarded: Guarded) -> None:
    assert await client.ask(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") == 200
    assert await client.reader.read() == b""


async def _speak_http_1_0(client: Client, _guarded: Guarded) -> None:
    assert await client.ask(b"GET /healthz HTTP/1.0\r\n\r\n") == 200
    assert await client.reader.read() == b""


async def _be_reset(client: Client, _guarded: Guarded) -> None:
    client.reset()


async def _be_reset_within_a_head(client: Client, _guarded: Guarded) -> None:
    await client.say(REQUEST[:20])
    client.reset()


async def _be_reset_within_a_body(client: Client, _guarded: Guarded) -> None:
    await client.say(b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
    client.reset()


async def _be_reset_while_a_photo_is_taken(client: Client, guarded: Guarded) -> None:
    camera = guarded.app[SERVICE].find_camera(None)
    await client.say(b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    await until(lambda: camera.running is not None or camera.latest is not None)
    client.reset()


async def _say_what_is_no_http(client: Client, _guarded: Guarded) -> None:
    assert await client.ask(b"\0\r\n\r\n") == 400
    await client.read_to_the_end()


async def _ask_for_no_upgrade(client: Client, _guarded: Guarded) -> None:
    assert await client.ask(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") == 426
    await client.read_to_the_end()


async def _come_as_another_sites_page(client: Client, _guarded: Guarded) -> None:
    assert await client.ask(UPGRADE.replace(b"\r\n\r\n", b"\r\nOrigin: http://evil.example\r\n\r\n")) == 403
    client.close()


async def _shake_hands(client: Client) -> None:
    assert await client.ask(UPGRADE) == 101


async def _watch_and_close(client: Client, _guarded: Guarded) -> None:
    await _shake_hands(client)
    await client.say(mask(8, b"\x03\xe8"))
    await client.read_to_the_end()


async def _watch_and_hang_up(client: Client, _guarded: Guarded) -> None:
    await _shake_hands(client)
    client.close()


async def _watch_and_be_reset(client: Client, _guarded: Guarded) -> None:
    await _shake_hands(client)
    client.reset()


async def _hang_up_with_the_handshake(client: Client, _guarded: Guarded) -> None:
    await client.say(UPGRADE)
    client.reset()


async def _say_goodbye_with_the_handshake(client: Client, _guarded: Guarded) -> None:
    await client.say(UPGRADE + mask(8, b"\x03\xe8"))
    client.writer.write_eof()
    await client.read_to_the_end()


async def _watch_and_say_what_no_viewer_may(client: Client, _guarded: Guarded) -> None:
    await _shake_hands(client)
    await client.say(b"\x83\x80")
    await client.read_to_the_end()


async def _watch_and_be_dropped(client: Client, guarded: Guarded) -> None:
    await _shake_hands(client)
    (viewer,) = (viewer for lane in guarded.app[SERVICE].hub._lanes for viewer in lane)
    guarded.app[SERVICE].hub.drop(viewer, "silent")
    await client.read_to_the_end()


async def _watch_and_read_nothing(client: Client, guarded: Guarded) -> None:
    await _shake_hands(client)
    resume = mask(1, b'{"type":"resume"}') * 1000
    with contextlib.suppress(ConnectionError):
        while guarded.app[SERVICE].hub.count:
            await client.say(resume)
    client.close()


WAYS_OUT = [
    _hang_up,
    _hang_up_after_answers,
    _shut_down_the_sending_half,
    _ask_to_be_closed,
    _speak_http_1_0,
    _be_reset,
    _be_reset_within_a_head,
    _be_reset_within_a_body,
    _be_reset_while_a_photo_is_taken,
    _say_what_is_no_http,
    _ask_for_no_upgrade,
    _come_as_another_sites_page,
    _watch_and_close,
    _watch_and_hang_up,
    _watch_and_be_reset,
    _hang_up_with_the_handshake,
    _say_goodbye_with_the_handshake,
    _watch_and_say_what_no_viewer_may,
    _watch_and_be_dropped,
    _watch_and_read_nothing,
]


@pytest.mark.parametrize("leave", WAYS_OUT, ids=lambda leave: leave.__name__.strip("_").replace("_", " "))
async def test_a_place_is_free_again_however_its_connection_ended(
    guard: Guard, leave: Callable[[Client, Guarded], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    guarded = await guard(max_connections_per_address=1, message_rate=1000, message_burst=10_000)
    for _ in range(3):
        client = await guarded.come()
        await until(lambda: guarded.connections.count == 1)
        await leave(client, guarded)
        client.close()
        await until(lambda: guarded.connections.count == 0)
    assert not guarded.connections._by_client
    await guarded.come_in()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_who_says_nothing_more_loses_its_place(guard: Guard) -> None:
    guarded = await guard(keep_alive=0.05)
    for request in (b"", REQUEST[:-2], REQUEST):
        client = await guarded.come()
        await client.say(request)
        await client.read_to_the_end()
        await until(lambda: guarded.connections.count == 0)
        client.close()


# ---- answers that nobody takes


async def ask_and_read_nothing(guarded: Guarded, path: bytes) -> Client:
    """Until some bytes of an answer wait, however few."""
    client = await guarded.come(receive_buffer=1)  # the kernel makes it the least it can do
    while not guarded.waiting:
        asked = guarded.server.requests_count
        await client.say(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
        while guarded.server.requests_count == asked and not guarded.waiting:  # noqa: ASYNC110 - as in `until`
            await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0)  # for what is answered without a file or a thread
    return client


@pytest.mark.parametrize("keep_alive", [75.0, 0.05], ids=["while it is answered", "when it is hung up on"])
async def test_an_answer_of_which_some_bytes_are_never_taken_is_cut_off(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, keep_alive: float
) -> None:
    monkeypatch.setattr("dog.web.connections.PATIENCE", 0.2)
    caplog.set_level("INFO", "dog")
    guarded = await guard(keep_alive=keep_alive)
    client = await ask_and_read_nothing(guarded, b"/static/icon-512.png")
    await until(lambda: guarded.connections.count == 0)
    assert f"{HERE} takes its answer too slowly: cut off" in caplog.messages
    client.close()


async def test_an_answer_that_is_taken_fast_enough_is_left_alone_however_long_it_takes(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is the test's: it looks at the connection's progress when so many bytes have been read."""
    monkeypatch.setattr("dog.web.connections.PATIENCE", 1000.0)
    monkeypatch.setattr("dog.web.connections.SLOWEST", 20)
    guarded = await guard()
    noise = Image.frombytes("RGB", (1500, 1000), random.Random(0).randbytes(4_500_000))
    guarded.camera.results.append(encode(noise, "PNG", compress_level=0))
    client = await ask_and_read_nothing(guarded, b"/latest.jpg?max_age=3600")
    (handler,) = guarded.server.connections
    assert handler.transport is not None
    connection = handler.transport.get_protocol()
    assert isinstance(connection, Connection)
    connection._check_progress(0)  # as when the head was written before the body: what waits has grown since
    for _ in range(5):
        while (waited := guarded.waiting) < 20 * 1000:
            await client.reader.readexactly(10_000)
        while waited - 20 * 1000 < guarded.waiting <= waited:
            await client.reader.readexactly(10_000)
        connection._check_progress(waited)
    while guarded.waiting < 20 * 1000:
        await client.reader.readexactly(10_000)
    assert guarded.connections.count == 1
    connection._check_progress(guarded.waiting + 20 * 1000)
    assert not handler.transport.is_closing()
    connection._check_progress(guarded.waiting + 20 * 1000 - 1)
    await until(lambda: guarded.connections.count == 0)
    client.close()


# ---- the settings


def test_the_flags_are_the_caps_of_the_real_service(serve: Serve) -> None:
    server = serve("--max-connections", "3", "--max-connections-per-address", "2")

    def ask(address: str) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(HERE, server.port, timeout=20, source_address=(address, 0))

    def get(connection: http.client.HTTPConnection) -> tuple[int, str | None]:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Retry-After")

    with contextlib.ExitStack() as stack:
        viewer = stack.enter_context(watch(server))
        script = stack.enter_context(contextlib.closing(ask(HERE)))
        assert get(script) == (200, None)
        assert get(ask(HERE)) == (503, str(RETRY_AFTER))
        other = stack.enter_context(contextlib.closing(ask(ELSEWHERE)))
        assert get(other) == (200, None)
        assert get(ask(ELSEWHERE)) == (503, str(RETRY_AFTER))
        server.wait_for("Refused a connection from 127.0.0.1: there are 2 from one address already")
        viewer.send('{"type":"ping"}')
        assert read_until(viewer, "pong")
    assert server.stop() == 0
