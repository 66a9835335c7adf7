"""Who may be connected at once: the caps in all and by address, the 503 beyond them, and answers that nobody takes.

The real application behind its guard, on real sockets in the test's own event loop; the settings as a process.
"""

import asyncio
import contextlib
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
from PIL import Image
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from dog.metrics import Metrics
from dog.settings import Settings
from dog.web.app import create_app
from dog.web.connections.connection import CONNECTIONS, HTTP_SETTINGS, OWN_DESCRIPTORS, Connection, Connections
from dog.web.connections.http_handler import Handler
from dog.web.connections.places import ClientLimits, Places
from dog.web.connections.refusals import RETRY_AFTER
from dog.web.service import SERVICE
from tests.conftest import Serve
from tests.support.cameras import HandCamera
from tests.support.pictures import encode
from tests.support.running import until
from tests.web.test_shutdown import read_until, watch
from tests.web.test_websocket import UPGRADE, mask

HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
BEGINNING, REST = REQUEST[:-1], REQUEST[-1:]


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

    async def begin(self, address: str = HERE) -> Client:
        """Come, and begin a request, which takes a place or waits for one. `ask(REST)` ends it."""
        client = await self.come(address)
        busy, waiting = self.count_busy(), self.count_waiting()
        await client.say(BEGINNING)
        await until(lambda: self.count_busy() > busy or self.count_waiting() > waiting)
        return client

    def count_busy(self) -> int:
        """Count the connections that have a place."""
        return sum(connection.place is not None for connection in self.connections._open)

    def count_waiting(self) -> int:
        return self.connections._places.waiting

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
    """`await guard(max_connections=3)`: the service with those settings, as dog.web.server has it listen."""
    stack = contextlib.AsyncExitStack()
    clients: list[Client] = []

    async def start(**settings: Any) -> Guarded:
        camera = HandCamera()
        app = create_app(Settings(snapshots=tmp_path / "snapshots", **settings), lambda _settings, _folder: camera)
        runner = web.AppRunner(app, shutdown_timeout=0.5, **HTTP_SETTINGS)
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


# ---- the limits


async def test_one_too_many_in_all_is_refused_whatever_its_address(guard: Guard) -> None:
    guarded = await guard(max_connections=3)
    busy = [await guarded.begin(address) for address in (HERE, HERE, ELSEWHERE)]
    assert await guarded.is_refused(HERE)
    assert await guarded.is_refused(ELSEWHERE)
    assert guarded.count_refused("total") == 2
    assert [await client.ask(REST) for client in busy] == [200] * 3


async def test_an_idle_connection_is_closed_for_a_new_one_the_oldest_first(guard: Guard) -> None:
    guarded = await guard(max_connections=3)
    idle = [await guarded.come_in(address) for address in (HERE, ELSEWHERE, HERE)]
    assert await idle[0].ask() == 200  # so it is the youngest now
    newcomers = [await guarded.begin() for _ in range(2)]
    assert await idle[1].read_to_the_end() == await idle[2].read_to_the_end() == b""
    assert await idle[0].ask() == 200
    assert [await client.ask(REST) for client in newcomers] == [200] * 2
    assert guarded.count_refused("total") == 0


async def test_a_client_leaves_room_for_others(guard: Guard) -> None:
    guarded = await guard(max_connections=4, max_connections_per_address=1)
    assert guarded.connections.limits.connections == 2
    for _ in range(2):
        await guarded.begin()
    assert await guarded.is_refused(HERE)
    assert not await guarded.is_refused(ELSEWHERE)
    assert (guarded.count_refused("address"), guarded.count_refused("total")) == (1, 0)


async def test_requests_of_one_address_wait_in_order_and_those_of_others_do_not(guard: Guard) -> None:
    guarded = await guard(max_connections_per_address=2)
    busy = [await guarded.begin() for _ in range(2)]
    order: list[int] = []

    async def wait_for_turn(number: int, client: Client) -> None:
        assert await client.ask(REST) == 200
        order.append(number)

    waiting = []
    for number in range(5):
        client = await guarded.begin()
        await until(lambda expected=number + 1: guarded.count_waiting() == expected)  # type: ignore[misc]
        waiting.append(asyncio.create_task(wait_for_turn(number, client)))
    assert not await guarded.is_refused(ELSEWHERE)
    assert await busy[0].ask(REST) == 200
    await asyncio.gather(*waiting)
    assert order == sorted(order)
    assert guarded.count_waiting() == 0
    assert guarded.count_refused("address") == 0


async def test_a_request_that_waited_too_long_is_refused(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.web.connections.connection.MAX_QUEUE_SECONDS", 0.2)
    guarded = await guard(max_connections_per_address=1)
    busy = await guarded.begin()
    client = await guarded.come()
    await client.say(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n")
    status, fields, page = await client.read_answer()
    assert (status, fields["retry-after"]) == (503, str(RETRY_AFTER))
    assert b"This page tries again by itself" in page
    assert await client.reader.read() == b""
    assert guarded.count_refused("address") == 1
    assert await busy.ask(REST) == 200
    assert await (await guarded.come()).ask() == 200, "the place is free again"


async def test_who_hangs_up_while_waiting_leaves_the_queue(guard: Guard) -> None:
    guarded = await guard(max_connections_per_address=1)
    busy = await guarded.begin()
    impatient, patient = await guarded.begin(), await guarded.begin()
    await until(lambda: guarded.count_waiting() == 2)
    impatient.reset()
    assert await busy.ask(REST) == 200
    assert await patient.ask(REST) == 200
    await until(lambda: guarded.count_waiting() == 0)


async def test_viewers_count_apart_from_requests(guard: Guard) -> None:
    guarded = await guard(max_connections_per_address=1, max_viewers_per_address=2)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(connect(f"ws://{HERE}:{guarded.port}/ws"))
        events = await guarded.come()
        assert await events.ask(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n") == 200
        assert not await guarded.is_refused()
        for path in (b"/events", b"/latest.jpg?max_age=0"):
            assert await (await guarded.come()).ask(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path) == 503
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{HERE}:{guarded.port}/ws").__aenter__()
        answer = refused.value.response
        assert (answer.status_code, json.loads(answer.body or b"")["code"]) == (503, "overloaded")
        other = await guarded.come(ELSEWHERE)
        assert await other.ask(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n") == 200
        events.close()
        await until(lambda: guarded.app[SERVICE].hub.count == 2)
        async with connect(f"ws://{HERE}:{guarded.port}/ws"):
            pass


async def test_a_request_that_waits_for_a_photo_keeps_no_other_from_being_answered(guard: Guard) -> None:
    guarded = await guard(max_connections_per_address=1)
    guarded.camera.held = True
    press = await guarded.come()
    await press.say(b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    assert not await guarded.is_refused()
    assert not await guarded.is_refused()
    await guarded.camera.release()
    assert (await press.read_answer())[0] == 201


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
    places = Places(ClientLimits())
    assert places.find(address) is places.find(same)
    assert places.find(address) is not places.find(another)


@pytest.mark.parametrize("descriptors", [16, 64, 256, 1024, 20_000, 1_000_000, resource.RLIM_INFINITY])
def test_descriptors_are_kept_back_for_a_burst_and_for_the_service_itself(
    descriptors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (descriptors, descriptors))
    connections = Connections(Settings(max_connections=20_000), Metrics("test"), {})
    assert 1 <= connections.most <= 20_000
    assert connections.backlog >= 1
    if descriptors == resource.RLIM_INFINITY or descriptors == 1_000_000:
        assert connections.most == 20_000
    elif descriptors >= 256:
        assert connections.most + 3 * connections.backlog + connections.refusals + OWN_DESCRIPTORS <= descriptors


# ---- the 503


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: loc", REQUEST, b"\x16\x03\x01\x02"])
async def test_the_503_says_why_and_when_to_come_back_and_hangs_up(
    guard: Guard, head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dog.web.connections.refusals.LINGER_SECONDS", 1000.0 if head == REQUEST else 0.2)
    guarded = await guard(max_connections=1)
    await guarded.begin()
    client = await guarded.come()
    await client.say(head)
    status, fields, body = await client.read_answer()
    assert (status, fields["content-type"]) == (503, "application/problem+json")
    assert fields["retry-after"] == str(RETRY_AFTER)
    assert fields["connection"] == "close"
    problem = json.loads(body)
    assert (problem["status"], problem["code"], problem["title"]) == (503, "overloaded", "Service Unavailable")
    assert "Try again in a moment" in problem["detail"]
    assert await client.reader.read() == b""
    client.close()


async def test_a_browser_that_is_refused_gets_a_page(guard: Guard) -> None:
    guarded = await guard(max_connections=1)
    await guarded.begin()
    client = await guarded.come()
    await client.say(b"GET /?camera=main HTTP/1.1\r\nHost: localhost\r\nAcc")
    await client.say(b"ept: text/html,*/*\r\n\r\n")
    status, fields, body = await client.read_answer()
    assert (status, fields["content-type"]) == (503, "text/html; charset=utf-8")
    assert b"Too many people are connected" in body


@pytest.mark.parametrize("size", [0, 100_000, 5_000_000])
async def test_the_503_is_read_by_a_client_that_has_sent_its_whole_request_first(guard: Guard, size: int) -> None:
    """Closing a socket with unread bytes resets the connection, and the answer would be lost with it."""
    guarded = await guard(max_connections=1)
    await guarded.begin()
    for _ in range(20):
        client = await guarded.come()
        head = b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
        await client.say(head + bytes(size))
        assert (await client.read_answer())[0] == 503
        assert await client.reader.read() == b""
        client.close()


async def test_who_is_refused_and_stays_is_cut_off(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = await guard(max_connections=1)
    await guarded.begin()
    for _ in range(5):
        monkeypatch.setattr("dog.web.connections.refusals.LINGER_SECONDS", 1000.0)
        client = await guarded.come()
        await until(lambda: len(guarded.connections._refused) == 1)
        monkeypatch.setattr("dog.web.connections.refusals.LINGER_SECONDS", 0.05)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while True:
                    await client.say(b"let me in")
                    await asyncio.sleep(0)
        await until(lambda: len(guarded.connections._refused) == 0)
    assert guarded.connections.count == 1


async def test_where_too_many_are_being_told_the_next_is_refused_without_a_word(guard: Guard) -> None:
    guarded = await guard(max_connections=1)
    guarded.connections.refusals = 2
    await guarded.begin()
    told = [await guarded.come() for _ in range(2)]
    await until(lambda: len(guarded.connections._refused) == 2)
    assert await (await guarded.come()).read_to_the_end() == b""
    assert [(await client.read_answer())[0] for client in told] == [503, 503]
    for client in told:
        client.close()
    await until(lambda: len(guarded.connections._refused) == 0)
    assert await guarded.is_refused()
    assert guarded.count_refused("total") == 4


async def test_a_crowd_that_is_refused_is_told_in_the_log_once(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    guarded = await guard(max_connections=1)
    await guarded.begin()
    assert all([await guarded.is_refused() for _ in range(20)])
    assert len([record for record in caplog.records if "Refused a request" in record.message]) == 1


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
    (viewer,) = (viewer for lane in guarded.app[SERVICE].hub._ping_groups for viewer in lane)
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
    assert len(guarded.connections._places) == 0
    await guarded.come_in()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("said", [b"", REQUEST, REQUEST * 3])
async def test_an_idle_connection_is_closed(guard: Guard, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr("dog.web.connections.connection.IDLE_TIMEOUT", 0.1)
    guarded = await guard()
    client = await guarded.come()
    await client.say(said)
    assert (await client.read_to_the_end()).count(b"HTTP/1.1 200 OK") == said.count(b"GET")
    await until(lambda: guarded.connections.count == 0)


async def test_an_idle_connection_of_a_trusted_proxy_stays_longer(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dog.web.connections.connection.IDLE_TIMEOUT", 0.1)
    guarded = await guard(trusted_proxies=(ELSEWHERE,), open=True)
    proxy, client = await guarded.come_in(ELSEWHERE), await guarded.come_in()
    await client.read_to_the_end()
    assert await proxy.ask() == 200


@pytest.mark.parametrize("said", [b"G", b"\r\n\r", b"GET / HTTP/1.1\r\nHost: localhost\r\n", REQUEST + REQUEST[:-1]])
async def test_a_head_that_does_not_end_is_refused_with_408(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr("dog.web.connections.connection.HEAD_TIMEOUT", 0.2)
    monkeypatch.setattr("dog.web.connections.refusals.LINGER_SECONDS", 0.2)
    guarded = await guard()
    client = await guarded.come()
    await client.say(said)
    answers = await client.read_to_the_end()
    assert answers.count(b"HTTP/1.1 200 OK") == said.count(b"GET /healthz") // 2
    assert b"HTTP/1.1 408 Request Timeout\r\n" in answers
    await until(lambda: guarded.connections.count == 0)
    assert guarded.count_refused("head_timeout") == 1
    assert not await guarded.is_refused()


async def test_a_head_that_arrives_byte_by_byte_is_answered(guard: Guard) -> None:
    guarded = await guard()
    client = await guarded.come()
    for byte in b"\r\n" + REQUEST:
        await client.say(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.read_answer())[0] == 200


# ---- heads and pipelines


BEGINNING_OF_A_LARGE_HEAD = b"GET /" + b"a" * 16_379


async def test_a_queue_of_heads_that_are_too_large_is_refused(guard: Guard) -> None:
    """Each gives its place to the next one: so many in a row were a RecursionError, and the places were lost."""
    guarded = await guard(max_connections_per_address=1)
    busy = await guarded.begin()
    clients = []
    for _ in range(250):
        client = await guarded.come()
        await client.say(REQUEST + BEGINNING_OF_A_LARGE_HEAD)
        clients.append(client)
    await until(lambda: guarded.count_waiting() == 250)
    for client in clients:
        await client.say(b"b" * 16_000)
    assert await busy.ask(REST) == 200
    for client in clients:
        assert (await client.read_answer())[0] == 200
        assert (await client.read_answer())[0] == 431
        client.close()
    await until(lambda: guarded.connections.count == 1 and not guarded.connections._refused)
    assert await busy.ask() == 200
    assert (guarded.count_busy(), guarded.count_waiting()) == (0, 0)


async def test_a_mistake_of_ours_with_one_request_ends_no_other(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = await guard(max_connections_per_address=1)
    busy = await guarded.begin()
    unlucky = await guarded.come()
    await unlucky.say(b"GET /healthz HTTP/1.1\r\nX: unlucky\r\n\r\n")
    await until(lambda: guarded.count_waiting() == 1)
    waiting = await guarded.begin()
    feed_head = Handler.feed_head

    def fail_once(self: Handler, head: bytes) -> bool:
        if b"unlucky" in head:
            raise ZeroDivisionError
        return feed_head(self, head)

    monkeypatch.setattr(Handler, "feed_head", fail_once)
    assert await busy.ask(REST) == 200
    assert await unlucky.read_to_the_end() == b""
    assert await waiting.ask(REST) == 200
    assert "127.0.0.1: dropped by a mistake of ours" in caplog.messages


async def test_a_client_is_counted_though_its_only_connection_made_room_for_the_next(guard: Guard) -> None:
    guarded = await guard(max_connections=1, max_connections_per_address=1)
    idle = await guarded.come_in()
    busy = await guarded.begin()
    assert await idle.read_to_the_end() == b""
    assert guarded.connections._places.find(HERE).connections == 1
    assert await guarded.is_refused(ELSEWHERE)
    await until(lambda: not guarded.connections._refused)
    assert len(guarded.connections._places) == 1, "the address that was refused is not remembered"
    assert await busy.ask(REST) == 200


async def test_the_beginning_of_http_2_is_answered_with_400(guard: Guard) -> None:
    guarded = await guard()
    client = await guarded.come()
    await client.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert (await client.read_to_the_end()).startswith(b"HTTP/1.0 400 Bad Request\r\n")
    await until(lambda: guarded.connections.count == 0)


async def test_a_content_length_with_very_many_zeros_is_a_number(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = await guard()
    client = await guarded.come()
    length = b"0" * 5000 + b"3"
    await client.say(b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: %b\r\n\r\n{x}" % length)
    assert (await client.read_answer())[0] == 400
    assert await client.ask() == 200
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def write_head(size: int, *fields: bytes) -> bytes:
    """Return a head of so many bytes, in lines of at most 8000."""
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"".join(fields)
    number = 0
    while size - len(head) - 2 > 8000:
        line = b"X-%d: " % (number := number + 1)
        head += line + b"a" * (4000 - len(line)) + b"\r\n"
    rest = size - len(head) - 2 - len(b"X-Rest: \r\n")
    return head + b"X-Rest: " + b"b" * rest + b"\r\n\r\n"


COOKIE = b"cookie: dog=x\r\n"
LARGE_COOKIE = b"Cookie: dog=" + b"c" * 20_000 + b"\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (write_head(16 * 1024), 200),
        (write_head(16 * 1024 + 1), 431),
        (write_head(32 * 1024, COOKIE), 200),
        (write_head(32 * 1024, LARGE_COOKIE), 200),
        (write_head(32 * 1024 + 1, COOKIE), 431),
        (write_head(30_000, b"X-Cookie: a\r\n"), 431),
        (write_head(200_000), 431),
        (write_head(200_000, COOKIE)[:-2], 431),
    ],
    ids=["16 KiB", "more", "32 KiB with a cookie", "a large cookie", "more", "no cookie", "200 kB", "200 kB, no end"],
)
async def test_a_head_is_limited(guard: Guard, head: bytes, status: int) -> None:
    assert head.endswith(b"\r\n")
    guarded = await guard()
    client = await guarded.come()
    await client.say(head)
    answered, _, body = await client.read_answer()
    assert answered == status
    if status == 431:
        assert json.loads(body)["code"] == "head_too_big"
        assert await client.reader.read() == b""
        assert guarded.count_refused("head_too_big") == 1


async def test_a_browser_whose_cookies_are_too_large_gets_a_page_that_says_so(guard: Guard) -> None:
    guarded = await guard()
    client = await guarded.come()
    await client.say(write_head(60_000, b"Accept: text/html\r\n", LARGE_COOKIE))
    status, fields, body = await client.read_answer()
    assert (status, fields["content-type"]) == (431, "text/html; charset=utf-8")
    assert b"Delete this site" in body


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(guard: Guard) -> None:
    guarded = await guard()
    client = await guarded.come()
    paths = [b"/healthz", b"/nothing", b"/api/cameras", b"/healthz"] * 30
    body = b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n{x}"
    await client.say(b"".join(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path + body for path in paths))
    for path in paths:
        assert (await client.read_answer())[0] == (404 if path == b"/nothing" else 200)
        assert (await client.read_answer())[0] == 400
    assert guarded.server.requests_count == 2 * len(paths)


@pytest.mark.parametrize("size", [9_000, 17_000, 40_000])
@pytest.mark.parametrize(("path", "status"), [(b"/latest.jpg", 405), (b"/nowhere", 404)])
async def test_a_request_behind_a_large_body_that_nobody_reads_is_answered(
    guard: Guard, path: bytes, status: int, size: int
) -> None:
    """aiohttp stops reading such a body, goes on when the response is sent, and so meets its end within its parser."""
    client = await (await guard()).come()
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path, size)
    await client.say(head + bytes(size) + REQUEST * 3)
    assert [(await client.read_answer())[0] for _ in range(4)] == [status, 200, 200, 200]


async def test_whoever_expects_a_100_and_hangs_up_leaves_nothing_in_the_log(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = await guard()
    for _ in range(20):
        client = await guarded.come()
        await client.say(b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n")
        client.reset()
    await until(lambda: not guarded.connections._open)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_no_request_is_parsed_before_the_response_to_the_last_one_was_read(guard: Guard) -> None:
    guarded = await guard()
    client = await guarded.come(receive_buffer=1)
    picture = b"GET /static/icon-512.png HTTP/1.1\r\nHost: localhost\r\n\r\n"
    client.writer.write(picture * 2000)
    await until(lambda: guarded.waiting > 0)
    [handler] = guarded.server.connections
    assert handler.transport is not None
    for _ in range(20):
        await asyncio.sleep(0.01)  # while more could be parsed
        assert len(handler._messages) == 0
    connection = handler.transport.get_protocol()
    assert isinstance(connection, Connection)
    assert len(connection._received) < 3 * 16 * 1024


CHUNKED = b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"2\r\n{}\r\n0\r\n\r\n", 201, None),
        (b"1\r\n{\r\n1\r\n}\r\n0\r\nX-Trailer: a\r\n\r\n", 201, None),
        (b"zz\r\n", 400, "bad_message"),
        (b"2\r\n{}1\r\n", 400, "bad_message"),
        (b'2;a="\r\n"\r\n{}\r\n0\r\n\r\n', 400, "bad_message"),
        (b"4000\r\n" + b"x" * 0x4000 + b"\r\n1\r\nx\r\n0\r\n\r\n", 413, "too_big"),
        (b"2;" + b"a" * 50_000 + b"\r\n{}\r\n0\r\n\r\n", 400, "bad_message"),
        (b"2\r\n{}\r\n0\r\n" + b"X-Trailer: %b\r\n" % (b"a" * 4000) * 20 + b"\r\n", 400, "bad_message"),
    ],
    ids=[
        "one chunk",
        "two and a trailer",
        "no size",
        "no end",
        "a quoted line end",
        "too big",
        "extension",
        "trailers",
    ],
)
async def test_a_chunked_body_is_the_last_request_of_its_connection(
    guard: Guard, body: bytes, status: int, code: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = await guard()
    client = await guarded.come()
    await client.say(CHUNKED + body + REQUEST)
    answered, fields, text = await client.read_answer()
    assert (answered, fields["connection"]) == (status, "close")
    assert json.loads(text).get("code") == code
    assert await client.read_to_the_end() == b""
    await until(lambda: guarded.connections.count == 0)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


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


async def test_an_answer_of_which_some_bytes_are_never_taken_is_cut_off(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dog.web.connections.connection.STALL_SECONDS", 0.2)
    caplog.set_level("INFO", "dog")
    guarded = await guard()
    client = await ask_and_read_nothing(guarded, b"/static/icon-512.png")
    await until(lambda: guarded.connections.count == 0)
    assert f"{HERE} reads its response too slowly: disconnected" in caplog.messages
    client.close()


async def test_an_answer_that_is_taken_fast_enough_is_left_alone_however_long_it_takes(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is the test's: it looks at the connection's progress when so many bytes have been read."""
    monkeypatch.setattr("dog.web.connections.connection.STALL_SECONDS", 1000.0)
    monkeypatch.setattr("dog.web.connections.connection.MIN_BYTES_PER_SECOND", 10)
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
        while (waited := guarded.waiting) < 10 * 1000:
            await client.reader.readexactly(5_000)
        while waited - 10 * 1000 < guarded.waiting <= waited:
            await client.reader.readexactly(5_000)
        connection._check_progress(waited)
    while guarded.waiting < 10 * 1000:
        await client.reader.readexactly(5_000)
    assert guarded.connections.count == 1
    connection._check_progress(guarded.waiting + 10 * 1000)
    assert not handler.transport.is_closing()
    connection._check_progress(guarded.waiting + 10 * 1000 - 1)
    await until(lambda: guarded.connections.count == 0)
    client.close()


# ---- the settings


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--max-connections", "2"), "2 connections are open already"),
        (
            ("--max-connections-per-address", "1", "--max-viewers-per-address", "2"),
            r"it has 1 requests \(max_connections_per_address\), 2 viewers \(max_viewers_per_address\)",
        ),
    ],
)
def test_the_flags_are_the_limits_of_the_real_service(serve: Serve, flags: tuple[str, ...], reason: str) -> None:
    server = serve(*flags)
    with contextlib.ExitStack() as stack:
        viewers = [stack.enter_context(watch(server)) for _ in range(2)]
        with pytest.raises(InvalidStatus) as refused:
            stack.enter_context(watch(server))
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"] == str(RETRY_AFTER)
        server.wait_for(f"Refused a request from 127.0.0.1: {reason}")
        viewers[0].send('{"type":"ping"}')
        assert read_until(viewers[0], "pong")
    assert server.stop() == 0
