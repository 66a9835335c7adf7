"""Limits of connections, refusals, heads, and unread responses.

The limits are in all, and for each address. The real application, on real sockets in the test's own event loop. The
last test starts a process.
"""

import asyncio
import contextlib
import json
import random
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
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
from dog.web.app_keys import APP_STATE
from dog.web.connections.aiohttp_internals import Handler
from dog.web.connections.connection import HTTP_SETTINGS, Connection
from dog.web.connections.connection_limits import CONNECTIONS, RESERVED_DESCRIPTORS, ClientLimits, Connections, Places
from dog.web.connections.refusals import RETRY_AFTER
from tests.conftest import Serve
from tests.support.cameras import HandCamera
from tests.support.connection_ends import (
    WAYS_TO_END,
)
from tests.support.guarded_service import (
    HERE,
    OTHER_ADDRESS,
    GuardedService,
    request_and_read_nothing,
)
from tests.support.pictures import encode
from tests.support.pushes import read_until, watch
from tests.support.raw_client import REQUEST, REQUEST_END, RawClient
from tests.support.running import until


class Guard(Protocol):
    def __call__(self, **settings: Any) -> Awaitable[GuardedService]: ...


@pytest.fixture
async def guard(tmp_path: Path) -> AsyncIterator[Guard]:
    """Return a function that starts it: `await guard(max_connections=3)`."""
    stack = contextlib.AsyncExitStack()
    clients: list[RawClient] = []

    async def start(**settings: Any) -> GuardedService:
        camera = HandCamera()
        app = create_app(Settings(snapshots=tmp_path / "snapshots", **settings), lambda _settings, _folder: camera)
        runner = web.AppRunner(app, shutdown_timeout=0.5, **HTTP_SETTINGS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        assert runner.server is not None
        connections = app[CONNECTIONS]
        server = await asyncio.get_running_loop().create_server(
            connections.make_protocol_factory(runner.server), HERE, 0, backlog=connections.backlog
        )
        stack.callback(server.close)
        return GuardedService(app, camera, runner.server, server.sockets[0].getsockname()[1], clients)

    async with stack:
        yield start
        for client in clients:
            client.close()


# ---- the limits


async def test_a_connection_above_the_total_limit_is_refused_from_any_address(guard: Guard) -> None:
    guarded = await guard(max_connections=3)
    busy = [await guarded.begin_request(address) for address in (HERE, HERE, OTHER_ADDRESS)]
    assert await guarded.is_refused(HERE)
    assert await guarded.is_refused(OTHER_ADDRESS)
    assert guarded.count_refused("total") == 2
    assert [await client.request(REQUEST_END) for client in busy] == [200] * 3


async def test_the_oldest_idle_connection_is_closed_for_a_new_one(guard: Guard) -> None:
    guarded = await guard(max_connections=3)
    idle = [await guarded.connect_and_request(address) for address in (HERE, OTHER_ADDRESS, HERE)]
    assert await idle[0].request() == 200  # so it is the newest now
    newcomers = [await guarded.begin_request() for _ in range(2)]
    assert await idle[1].read_to_end() == await idle[2].read_to_end() == b""
    assert await idle[0].request() == 200
    assert [await client.request(REQUEST_END) for client in newcomers] == [200] * 2
    assert guarded.count_refused("total") == 0


async def test_one_client_cannot_use_all_connections(guard: Guard) -> None:
    guarded = await guard(max_connections=4, max_connections_per_address=1)
    assert guarded.connections.limits.connections == 2
    for _ in range(2):
        await guarded.begin_request()
    assert await guarded.is_refused(HERE)
    assert not await guarded.is_refused(OTHER_ADDRESS)
    assert (guarded.count_refused("address"), guarded.count_refused("total")) == (1, 0)


async def test_requests_of_one_address_wait_in_order_without_delaying_other_addresses(guard: Guard) -> None:
    guarded = await guard(max_connections_per_address=2)
    busy = [await guarded.begin_request() for _ in range(2)]
    order: list[int] = []

    async def wait_for_turn(number: int, client: RawClient) -> None:
        assert await client.request(REQUEST_END) == 200
        order.append(number)

    waiting = []
    for number in range(5):
        client = await guarded.begin_request()
        await until(lambda expected=number + 1: guarded.count_waiting() == expected)  # type: ignore[misc]
        waiting.append(asyncio.create_task(wait_for_turn(number, client)))
    assert not await guarded.is_refused(OTHER_ADDRESS)
    assert await busy[0].request(REQUEST_END) == 200
    await asyncio.gather(*waiting)
    assert order == sorted(order)
    assert guarded.count_waiting() == 0
    assert guarded.count_refused("address") == 0


async def test_a_request_that_waits_too_long_is_refused(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.web.connections.connection_limits.MAX_QUEUE_SECONDS", 0.2)
    guarded = await guard(max_connections_per_address=1)
    busy = await guarded.begin_request()
    client = await guarded.connect_client()
    await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n")
    status, fields, page = await client.read_response()
    assert (status, fields["retry-after"]) == (503, str(RETRY_AFTER))
    assert b"This page tries again by itself" in page
    assert await client.reader.read() == b""
    assert guarded.count_refused("address") == 1
    assert await busy.request(REQUEST_END) == 200
    assert await (await guarded.connect_client()).request() == 200, "the place is free again"


async def test_a_client_that_disconnects_while_waiting_leaves_the_queue(guard: Guard) -> None:
    guarded = await guard(max_connections_per_address=1)
    busy = await guarded.begin_request()
    impatient, patient = await guarded.begin_request(), await guarded.begin_request()
    await until(lambda: guarded.count_waiting() == 2)
    impatient.reset()
    assert await busy.request(REQUEST_END) == 200
    assert await patient.request(REQUEST_END) == 200
    await until(lambda: guarded.count_waiting() == 0)


async def test_viewers_are_counted_separately_from_requests(guard: Guard) -> None:
    guarded = await guard(max_connections_per_address=1, max_viewers_per_address=2)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(connect(f"ws://{HERE}:{guarded.port}/ws"))
        events = await guarded.connect_client()
        assert await events.request(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n") == 200
        assert not await guarded.is_refused()
        for path in (b"/events", b"/latest.jpg?max_age=0"):
            assert (
                await (await guarded.connect_client()).request(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
                == 503
            )
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{HERE}:{guarded.port}/ws").__aenter__()
        answer = refused.value.response
        assert (answer.status_code, json.loads(answer.body or b"")["code"]) == (503, "overloaded")
        other = await guarded.connect_client(OTHER_ADDRESS)
        assert await other.request(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n") == 200
        events.close()
        await until(lambda: guarded.app[APP_STATE].hub.count == 2)
        async with connect(f"ws://{HERE}:{guarded.port}/ws"):
            pass


async def test_a_request_that_waits_for_a_photo_does_not_block_others(guard: Guard) -> None:
    guarded = await guard(max_connections_per_address=1)
    guarded.camera.held = True
    press = await guarded.connect_client()
    await press.send(b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    assert not await guarded.is_refused()
    assert not await guarded.is_refused()
    await guarded.camera.release()
    assert (await press.read_response())[0] == 201


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
def test_one_client_is_one_ipv4_address_or_one_ipv6_64(address: str, same: str, another: str) -> None:
    places = Places(ClientLimits())
    assert places.find(address) is places.find(same)
    assert places.find(address) is not places.find(another)


@pytest.mark.parametrize("descriptors", [16, 64, 256, 1024, 20_000, 1_000_000, resource.RLIM_INFINITY])
def test_descriptors_are_reserved_for_a_burst_and_for_the_service_itself(
    descriptors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (descriptors, descriptors))
    connections = Connections(Settings(max_connections=20_000), Metrics("test"), {})
    assert 1 <= connections.max_connections <= 20_000
    assert connections.backlog >= 1
    if descriptors == resource.RLIM_INFINITY or descriptors == 1_000_000:
        assert connections.max_connections == 20_000
    elif descriptors >= 256:
        assert (
            connections.max_connections + 3 * connections.backlog + connections.max_refusals + RESERVED_DESCRIPTORS
            <= descriptors
        )


# ---- the 503


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: loc", REQUEST, b"\x16\x03\x01\x02"])
async def test_the_503_names_the_reason_and_retry_after_and_closes_the_connection(
    guard: Guard, head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dog.web.connections.refusals.REFUSAL_TIMEOUT", 1000.0 if head == REQUEST else 0.2)
    guarded = await guard(max_connections=1)
    await guarded.begin_request()
    client = await guarded.connect_client()
    await client.send(head)
    status, fields, body = await client.read_response()
    assert (status, fields["content-type"]) == (503, "application/problem+json")
    assert fields["retry-after"] == str(RETRY_AFTER)
    assert fields["connection"] == "close"
    problem = json.loads(body)
    assert (problem["status"], problem["code"], problem["title"]) == (503, "overloaded", "Service Unavailable")
    assert "Try again in a moment" in problem["detail"]
    assert await client.reader.read() == b""
    client.close()


async def test_a_refused_browser_gets_a_page(guard: Guard) -> None:
    guarded = await guard(max_connections=1)
    await guarded.begin_request()
    client = await guarded.connect_client()
    await client.send(b"GET /?camera=main HTTP/1.1\r\nHost: localhost\r\nAcc")
    await client.send(b"ept: text/html,*/*\r\n\r\n")
    status, fields, body = await client.read_response()
    assert (status, fields["content-type"]) == (503, "text/html; charset=utf-8")
    assert b"Too many people are connected" in body


@pytest.mark.parametrize("size", [0, 100_000, 5_000_000])
async def test_the_503_reaches_a_client_that_sends_its_whole_request_first(guard: Guard, size: int) -> None:
    """Closing a socket with unread bytes would lose the response (reset)."""
    guarded = await guard(max_connections=1)
    await guarded.begin_request()
    for _ in range(20):
        client = await guarded.connect_client()
        head = b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
        await client.send(head + bytes(size))
        assert (await client.read_response())[0] == 503
        assert await client.reader.read() == b""
        client.close()


async def test_a_refused_client_that_stays_is_disconnected(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = await guard(max_connections=1)
    await guarded.begin_request()
    for _ in range(5):
        monkeypatch.setattr("dog.web.connections.refusals.REFUSAL_TIMEOUT", 1000.0)
        client = await guarded.connect_client()
        await until(lambda: len(guarded.connections._refused) == 1)
        monkeypatch.setattr("dog.web.connections.refusals.REFUSAL_TIMEOUT", 0.05)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while True:
                    await client.send(b"more" * 100)
                    await asyncio.sleep(0)
        await until(lambda: len(guarded.connections._refused) == 0)
    assert guarded.connections.count == 1


async def test_a_refusal_above_the_limit_of_refusals_has_no_response(guard: Guard) -> None:
    guarded = await guard(max_connections=1)
    guarded.connections.max_refusals = 2
    await guarded.begin_request()
    refused = [await guarded.connect_client() for _ in range(2)]
    await until(lambda: len(guarded.connections._refused) == 2)
    assert await (await guarded.connect_client()).read_to_end() == b""
    assert [(await client.read_response())[0] for client in refused] == [503, 503]
    for client in refused:
        client.close()
    await until(lambda: len(guarded.connections._refused) == 0)
    assert await guarded.is_refused()
    assert guarded.count_refused("total") == 4


async def test_many_refusals_are_logged_once(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    guarded = await guard(max_connections=1)
    await guarded.begin_request()
    assert all([await guarded.is_refused() for _ in range(20)])
    assert len([record for record in caplog.records if "Refused a request" in record.message]) == 1


# ---- every way to end a connection


@pytest.mark.parametrize("leave", WAYS_TO_END, ids=lambda leave: leave.__name__.strip("_").replace("_", " "))
async def test_a_place_is_released_for_every_way_a_connection_can_end(
    guard: Guard, leave: Callable[[RawClient, GuardedService], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    guarded = await guard(max_connections_per_address=1, message_rate=1000, message_burst=10_000)
    for _ in range(3):
        client = await guarded.connect_client()
        await until(lambda: guarded.connections.count == 1)
        await leave(client, guarded)
        client.close()
        await until(lambda: guarded.connections.count == 0)
    assert len(guarded.connections._places) == 0
    await guarded.connect_and_request()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("sent", [b"", REQUEST, REQUEST * 3])
async def test_an_idle_connection_is_closed(guard: Guard, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr("dog.web.connections.connection_limits.IDLE_TIMEOUT", 0.1)
    guarded = await guard()
    client = await guarded.connect_client()
    await client.send(sent)
    assert (await client.read_to_end()).count(b"HTTP/1.1 200 OK") == sent.count(b"GET")
    await until(lambda: guarded.connections.count == 0)


async def test_an_idle_connection_of_a_trusted_proxy_stays_open_longer(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dog.web.connections.connection_limits.IDLE_TIMEOUT", 0.1)
    guarded = await guard(trusted_proxies=(OTHER_ADDRESS,), open=True)
    proxy, client = await guarded.connect_and_request(OTHER_ADDRESS), await guarded.connect_and_request()
    await client.read_to_end()
    assert await proxy.request() == 200


@pytest.mark.parametrize("sent", [b"G", b"\r\n\r", b"GET / HTTP/1.1\r\nHost: localhost\r\n", REQUEST + REQUEST[:-1]])
async def test_a_head_that_does_not_end_is_refused_with_408(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr("dog.web.connections.connection.HEAD_TIMEOUT", 0.2)
    monkeypatch.setattr("dog.web.connections.refusals.REFUSAL_TIMEOUT", 0.2)
    guarded = await guard()
    client = await guarded.connect_client()
    await client.send(sent)
    answers = await client.read_to_end()
    assert answers.count(b"HTTP/1.1 200 OK") == sent.count(b"GET /healthz") // 2
    assert b"HTTP/1.1 408 Request Timeout\r\n" in answers
    await until(lambda: guarded.connections.count == 0)
    assert guarded.count_refused("head_timeout") == 1
    assert not await guarded.is_refused()


async def test_a_head_that_arrives_byte_by_byte_gets_a_response(guard: Guard) -> None:
    guarded = await guard()
    client = await guarded.connect_client()
    for byte in b"\r\n" + REQUEST:
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.read_response())[0] == 200


# ---- heads and pipelines


BEGINNING_OF_A_LARGE_HEAD = b"GET /" + b"a" * 16_379


async def test_a_queue_of_heads_that_are_too_large_is_refused(guard: Guard) -> None:
    """Each passes its place to the next.

    This once raised RecursionError and lost the places.
    """
    guarded = await guard(max_connections_per_address=1)
    busy = await guarded.begin_request()
    clients = []
    for _ in range(250):
        client = await guarded.connect_client()
        await client.send(REQUEST + BEGINNING_OF_A_LARGE_HEAD)
        clients.append(client)
    await until(lambda: guarded.count_waiting() == 250)
    for client in clients:
        await client.send(b"b" * 16_000)
    assert await busy.request(REQUEST_END) == 200
    for client in clients:
        assert (await client.read_response())[0] == 200
        assert (await client.read_response())[0] == 431
        client.close()
    await until(lambda: guarded.connections.count == 1 and not guarded.connections._refused)
    assert await busy.request() == 200
    assert (guarded.count_busy(), guarded.count_waiting()) == (0, 0)


async def test_an_internal_error_in_one_request_ends_no_other(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = await guard(max_connections_per_address=1)
    busy = await guarded.begin_request()
    unlucky = await guarded.connect_client()
    await unlucky.send(b"GET /healthz HTTP/1.1\r\nX: unlucky\r\n\r\n")
    await until(lambda: guarded.count_waiting() == 1)
    waiting = await guarded.begin_request()
    feed_head = Handler.feed_head

    def fail_once(self: Handler, head: bytes) -> bool:
        if b"unlucky" in head:
            raise ZeroDivisionError
        return feed_head(self, head)

    monkeypatch.setattr(Handler, "feed_head", fail_once)
    assert await busy.request(REQUEST_END) == 200
    assert await unlucky.read_to_end() == b""
    assert await waiting.request(REQUEST_END) == 200
    assert "127.0.0.1: connection closed after an internal error" in caplog.messages


async def test_a_client_is_counted_if_its_only_connection_is_closed_for_its_next(guard: Guard) -> None:
    guarded = await guard(max_connections=1, max_connections_per_address=1)
    idle = await guarded.connect_and_request()
    busy = await guarded.begin_request()
    assert await idle.read_to_end() == b""
    assert guarded.connections._places.find(HERE).connections == 1
    assert await guarded.is_refused(OTHER_ADDRESS)
    await until(lambda: not guarded.connections._refused)
    assert len(guarded.connections._places) == 1, "the refused address is not kept"
    assert await busy.request(REQUEST_END) == 200


async def test_the_preface_of_http_2_gets_400(guard: Guard) -> None:
    guarded = await guard()
    client = await guarded.connect_client()
    await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert (await client.read_to_end()).startswith(b"HTTP/1.0 400 Bad Request\r\n")
    await until(lambda: guarded.connections.count == 0)


async def test_a_content_length_with_5000_zeros_is_valid(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    guarded = await guard()
    client = await guarded.connect_client()
    length = b"0" * 5000 + b"3"
    await client.send(b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: %b\r\n\r\n{x}" % length)
    assert (await client.read_response())[0] == 400
    assert await client.request() == 200
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def write_head(size: int, *fields: bytes) -> bytes:
    """Return a head of this size, in lines of at most 8000 bytes."""
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
async def test_the_size_of_a_head_is_limited(guard: Guard, head: bytes, status: int) -> None:
    assert head.endswith(b"\r\n")
    guarded = await guard()
    client = await guarded.connect_client()
    await client.send(head)
    answered, _, body = await client.read_response()
    assert answered == status
    if status == 431:
        assert json.loads(body)["code"] == "head_too_big"
        assert await client.reader.read() == b""
        assert guarded.count_refused("head_too_big") == 1


async def test_a_browser_with_too_large_cookies_gets_a_page_about_them(guard: Guard) -> None:
    guarded = await guard()
    client = await guarded.connect_client()
    await client.send(write_head(60_000, b"Accept: text/html\r\n", LARGE_COOKIE))
    status, fields, body = await client.read_response()
    assert (status, fields["content-type"]) == (431, "text/html; charset=utf-8")
    assert b"Delete this site" in body


async def test_pipelined_requests_are_handled_in_order_one_at_a_time(guard: Guard) -> None:
    guarded = await guard()
    client = await guarded.connect_client()
    paths = [b"/healthz", b"/nothing", b"/api/cameras", b"/healthz"] * 30
    body = b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n{x}"
    await client.send(b"".join(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path + body for path in paths))
    for path in paths:
        assert (await client.read_response())[0] == (404 if path == b"/nothing" else 200)
        assert (await client.read_response())[0] == 400
    assert guarded.server.requests_count == 2 * len(paths)


@pytest.mark.parametrize("size", [9_000, 17_000, 40_000])
@pytest.mark.parametrize(("path", "status"), [(b"/latest.jpg", 405), (b"/nowhere", 404)])
async def test_a_request_after_a_large_unread_body_gets_a_response(
    guard: Guard, path: bytes, status: int, size: int
) -> None:
    """aiohttp pauses such a body, and finishes it after the response.

    It reaches the end inside its parser.
    """
    client = await (await guard()).connect_client()
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path, size)
    await client.send(head + bytes(size) + REQUEST * 3)
    assert [(await client.read_response())[0] for _ in range(4)] == [status, 200, 200, 200]


async def test_a_client_that_expects_100_and_disconnects_is_not_logged(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = await guard()
    for _ in range(20):
        client = await guarded.connect_client()
        await client.send(b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n")
        client.reset()
    await until(lambda: not guarded.connections._open)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_no_request_is_parsed_before_the_previous_response_was_read(guard: Guard) -> None:
    guarded = await guard()
    client = await guarded.connect_client(receive_buffer=1)
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
    client = await guarded.connect_client()
    await client.send(CHUNKED + body + REQUEST)
    answered, fields, text = await client.read_response()
    assert (answered, fields["connection"]) == (status, "close")
    assert json.loads(text).get("code") == code
    assert await client.read_to_end() == b""
    await until(lambda: guarded.connections.count == 0)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


# ---- unread responses


async def test_a_response_that_is_never_read_to_its_end_is_cut_off(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dog.web.connections.connection.STALL_SECONDS", 0.2)
    caplog.set_level("INFO", "dog")
    guarded = await guard()
    client = await request_and_read_nothing(guarded, b"/static/icon-512.png")
    await until(lambda: guarded.connections.count == 0)
    assert f"{HERE} reads its response too slowly: disconnected" in caplog.messages
    client.close()


async def test_a_response_that_is_read_fast_enough_may_take_any_time(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test itself checks the progress, after reading some bytes."""
    monkeypatch.setattr("dog.web.connections.connection.STALL_SECONDS", 1000.0)
    monkeypatch.setattr("dog.web.connections.connection.MIN_BYTES_PER_SECOND", 10)
    guarded = await guard()
    noise = Image.frombytes("RGB", (1500, 1000), random.Random(0).randbytes(4_500_000))
    guarded.camera.results.append(encode(noise, "PNG", compress_level=0))
    client = await request_and_read_nothing(guarded, b"/latest.jpg?max_age=3600")
    (handler,) = guarded.server.connections
    assert handler.transport is not None
    connection = handler.transport.get_protocol()
    assert isinstance(connection, Connection)
    connection._check_progress(0)  # as if only the head was written before: more bytes wait now
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
def test_the_flags_set_the_limits_of_the_real_service(serve: Serve, flags: tuple[str, ...], reason: str) -> None:
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
