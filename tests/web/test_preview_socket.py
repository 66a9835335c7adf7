"""GET /preview on real sockets: frames, answers, access and shutdown.

The `websockets` library is the client. tests/web/test_preview.py tests what /preview.mjpg and /preview share.
"""

import asyncio
import contextlib
import json
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets import Origin
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection as BlockingConnection
from websockets.sync.client import connect as connect_blocking

from dog.captures.preview import MAX_MESSAGE_BYTES
from dog.errors import CameraOffline
from dog.web.app import drain
from dog.web.app_keys import APP_STATE
from dog.web.connections.connection_limits import CONNECTIONS
from dog.web.handlers import preview_socket
from dog.web.handlers.preview_socket import PreviewViewer
from tests.conftest import Serve
from tests.support.accounts import add_session, add_token, add_user, bearer, open_accounts
from tests.support.preview_service import (
    PreviewClient,
    PreviewService,
    View,
    send_frame,
    wait_for_no_preview,
    wait_for_preview,
)
from tests.support.raw_requests import fetch
from tests.support.running import until
from tests.support.server_process import ServerProcess
from tests.support.websocket_frames import build_client_frame

HANDSHAKE = (
    b"GET /preview HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def make_frame(number: int, size: int) -> bytes:
    """Return `size` bytes, which need not be an image."""
    return random.Random(number).randbytes(size)


def preview_url(service: PreviewService | ServerProcess, query: str = "") -> str:
    return f"{service.url.replace('http', 'ws', 1)}/preview{query}"


@contextlib.asynccontextmanager
async def watch(service: PreviewService, query: str = "") -> AsyncIterator[ClientConnection]:
    """Connect a client, and wait until its camera has it."""
    before = service.preview().count
    async with connect(preview_url(service, query), max_size=None) as client:
        await until(lambda: service.preview().count == before + 1)
        yield client


async def read_frame(client: ClientConnection) -> bytes:
    """Return the next frame; b"" if there was none for a while."""
    pieces = []
    while piece := await client.recv():
        assert isinstance(piece, bytes)
        assert len(piece) <= MAX_MESSAGE_BYTES
        pieces.append(piece)
    return b"".join(pieces)


async def close_code(client: ClientConnection) -> int:
    """Return the code with which the server closes. Ignore messages before it."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await client.recv()
    assert client.close_code is not None
    return client.close_code


def read_to_close(client: BlockingConnection) -> int:
    """Acknowledge all frames until the server closes. Return their bytes."""
    received = 0
    with contextlib.suppress(ConnectionClosed):
        while True:
            message = client.recv(timeout=30)
            received += len(message)
            if not message:
                client.send("")
    return received


async def open_raw(service: PreviewService, *, receive_buffer: int = 0) -> PreviewClient:
    """Return a client that reads only when it is told to."""
    client = await service.connect(receive_buffer=receive_buffer)
    await client.send(HANDSHAKE)
    await client.read_head()
    assert client.status == 101
    return client


@pytest.fixture
def viewers(monkeypatch: pytest.MonkeyPatch) -> list[PreviewViewer]:
    """Return the server's ends of all connections, as they are opened."""
    opened: list[PreviewViewer] = []
    start = PreviewViewer.start

    def record(viewer: PreviewViewer, *arguments: object) -> None:
        opened.append(viewer)
        start(viewer, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PreviewViewer, "start", record)
    return opened


# ---- frames and acknowledgements


@pytest.mark.parametrize("size", [1, MAX_MESSAGE_BYTES - 1, MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1, 300_000])
async def test_each_frame_arrives_whole_in_messages_of_bounded_size(view: View, size: int) -> None:
    service = await view()
    async with watch(service) as client:
        for number in range(3):
            send_frame(service.camera, make_frame(number, size))
            assert await read_frame(client) == make_frame(number, size)
            await client.send("")


async def test_the_next_frame_is_the_newest_and_comes_after_the_acknowledgement(view: View) -> None:
    service = await view()
    async with watch(service) as slow, watch(service) as quick:
        for number in range(5):
            send_frame(service.camera, make_frame(number, 40_000))
            assert await read_frame(quick) == make_frame(number, 40_000)
            await quick.send("")
        assert await read_frame(slow) == make_frame(0, 40_000)
        await slow.send("")
        assert await read_frame(slow) == make_frame(4, 40_000)


async def test_during_a_pause_of_the_camera_empty_messages_are_sent(
    view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview_socket, "HEARTBEAT_INTERVAL", 0.01)
    service = await view()
    async with watch(service) as client:
        for _ in range(4):
            assert await read_frame(client) == b""
            await client.send("")
        send_frame(service.camera, make_frame(3, 33_000))
        async with asyncio.timeout(20):
            while await read_frame(client) != make_frame(3, 33_000):
                await client.send("")


async def test_a_client_that_acknowledges_nothing_gets_one_frame_and_is_disconnected(
    view: View, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dog")
    service = await view()
    async with watch(service) as client, watch(service) as other:
        monkeypatch.setattr(preview_socket, "SILENCE_TIMEOUT", 0.2)
        for number in range(3):
            send_frame(service.camera, make_frame(number, 5000))
            assert await read_frame(other) == make_frame(number, 5000)
            await other.send("")
        assert await read_frame(client) == make_frame(0, 5000)
        assert await close_code(client) == 1006
        assert "live view of 127.0.0.1: disconnected, because it draws no frame" in caplog.messages
        await until(lambda: service.preview().count == 1)
        assert service.app[CONNECTIONS].count == 1


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", 1002),  # too early
        (" ", 1002),
        ('{"type":"capture"}', 1002),
        ("null", 1002),
        ("x" * 4096, 1002),
        ("x" * 4097, 1009),
        (b"", 1003),
        (b"\0", 1003),
    ],
)
@pytest.mark.parametrize("after_a_frame", [False, True])
async def test_other_messages_and_early_acknowledgements_close_the_connection(
    view: View, message: str | bytes, code: int, after_a_frame: bool
) -> None:
    service = await view()
    async with watch(service) as client:
        if after_a_frame:
            send_frame(service.camera, make_frame(1, 70_000))
            assert await read_frame(client) == make_frame(1, 70_000)
            if message == "":
                await client.send("")
        await client.send(message)
        assert await close_code(client) == code
    await wait_for_no_preview(service.camera)
    assert service.camera.captures == 0


async def test_a_flood_of_acknowledgements_is_disconnected(view: View) -> None:
    service = await view()
    client = await open_raw(service)
    await client.send(build_client_frame(1, b"") * 10_000)
    assert b"\x03\xeasend an empty message" in await client.read_to_end()
    await wait_for_no_preview(service.camera)


async def test_pings_are_answered_between_messages_and_limited(view: View) -> None:
    service = await view()
    async with watch(service) as client:
        for number in range(4):
            send_frame(service.camera, make_frame(number, 100_000))
            await (await client.ping(b"here"))
            assert await read_frame(client) == make_frame(number, 100_000)
            await client.send("")
        for _ in range(100):
            await client.ping()
        assert await close_code(client) == 4029


async def test_a_client_that_does_not_read_costs_one_message_and_delays_nobody(
    view: View, viewers: list[PreviewViewer]
) -> None:
    service = await view()
    slow = await open_raw(service, receive_buffer=4096)
    await until(lambda: service.preview().count == 1)
    async with watch(service) as quick:
        frames = [make_frame(number, 2_000_000) for number in range(4)]
        for frame in frames:
            send_frame(service.camera, frame)
            assert await read_frame(quick) == frame
            await quick.send("")
            assert 0 < viewers[0]._transport.get_write_buffer_size() <= MAX_MESSAGE_BYTES + 4
        whole = b""
        while len(whole) < len(frames[0]):
            header = await slow.reader.readexactly(2)
            size = header[1] if header[1] < 126 else int.from_bytes(await slow.reader.readexactly(2), "big")
            whole += await slow.reader.readexactly(size)
        assert whole == frames[0]
        assert await slow.reader.readexactly(2) == b"\x82\x00"
        await slow.send(build_client_frame(1, b""))
        assert (await slow.reader.readexactly(8))[4:] == frames[3][:4], "the newest follows, with no backlog"
    slow.reset()
    await wait_for_no_preview(service.camera)


@pytest.mark.parametrize("way", ["close", "reset", "end"])
@pytest.mark.parametrize("after_a_frame", [False, True])
async def test_a_client_that_leaves_is_noticed_without_a_frame(
    view: View, way: str, after_a_frame: bool, caplog: pytest.LogCaptureFixture
) -> None:
    service = await view()
    client = await open_raw(service)
    await wait_for_preview(service.camera)
    if after_a_frame:
        send_frame(service.camera, make_frame(0, 10))
        await client.reader.readexactly(14)
    if way == "end":
        client.writer.write_eof()
    else:
        getattr(client, way)()
    await wait_for_no_preview(service.camera)
    await until(lambda: service.app[CONNECTIONS].count == 0)
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


# ---- the handshake


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("?camera=attic", 404, "unknown_camera"),
        ("?camera=mute", 404, "no_preview"),
        ("?camera=away", 503, "camera_offline"),
    ],
)
async def test_a_camera_without_a_live_view_refuses_the_handshake(
    view: View, query: str, status: int, code: str
) -> None:
    service = await view("main", "mute", "away")
    service.cameras["mute"].has_preview = False
    service.cameras["away"].offline = True
    service.cameras["away"].lost(CameraOffline("It was unplugged."))
    await until(lambda: service.app[APP_STATE].find_camera("away").offline is not None)
    with pytest.raises(InvalidStatus) as refused:
        await connect(preview_url(service, query)).__aenter__()
    answer = refused.value.response
    assert (answer.status_code, json.loads(answer.body or b"")["code"]) == (status, code)


async def test_a_request_that_is_no_handshake_is_refused(view: View) -> None:
    service = await view()
    client = await (await service.connect()).begin("/preview")
    assert await client.read_problem() == (426, "upgrade_required")


def test_the_live_view_needs_a_role_and_takes_a_token_or_one_ticket(serve: Serve, tmp_path: Path) -> None:
    token = bearer(add_token(tmp_path, "hall", "view"))
    server = serve("--auth")
    with pytest.raises(InvalidStatus, match="401"):
        connect_blocking(preview_url(server))
    with connect_blocking(preview_url(server), additional_headers=token) as client:
        assert client.recv(timeout=30)
    ticket = json.loads(fetch(server, "/api/tickets", "POST", token).body)["ticket"]
    with connect_blocking(preview_url(server, f"?ticket={ticket}")) as client:
        assert client.recv(timeout=30)
    with pytest.raises(InvalidStatus, match="401"):
        connect_blocking(preview_url(server, f"?ticket={ticket}"))


def test_only_our_own_pages_open_the_live_view_with_their_visitors_cookie(serve: Serve, tmp_path: Path) -> None:
    add_user(tmp_path, "ada", "manage", None)
    cookie = {"Cookie": f"dog_session={add_session(tmp_path, 'ada')}"}
    server = serve("--auth", "--origins", "https://listed.example")
    for origin in ("https://listed.example", "https://evil.example", "null", f"http://127.0.0.1:{server.port + 1}"):
        with pytest.raises(InvalidStatus, match="403"):
            connect_blocking(preview_url(server), origin=Origin(origin), additional_headers=cookie)
    with pytest.raises(InvalidStatus, match="403"):
        connect_blocking(preview_url(server), additional_headers=cookie)
    with connect_blocking(preview_url(server), origin=Origin(server.url), additional_headers=cookie) as client:
        assert client.recv(timeout=30)


@pytest.mark.parametrize(("role", "code"), [(None, 4401), ("capture", 1012)])
def test_a_changed_role_closes_the_live_view(serve: Serve, tmp_path: Path, role: str | None, code: int) -> None:
    add_user(tmp_path, "ada", "view", None)
    headers = {"Cookie": f"dog_session={add_session(tmp_path, 'ada')}"}
    server = serve("--auth")
    with connect_blocking(preview_url(server), origin=Origin(server.url), additional_headers=headers) as client:
        assert client.recv(timeout=30)
        with open_accounts(tmp_path) as accounts:
            if role is None:
                accounts.remove_user("ada")
            else:
                accounts.set_role("ada", "capture")
        read_to_close(client)
        assert client.close_code == code


def test_live_views_count_as_viewers_of_their_address(serve: Serve) -> None:
    server = serve("--max-viewers-per-address", "2")
    with connect_blocking(preview_url(server)) as first, connect_blocking(preview_url(server)) as second:
        for client in (first, second):
            assert client.recv(timeout=30)
        with pytest.raises(InvalidStatus, match="503"):
            connect_blocking(preview_url(server))


def test_the_live_view_is_closed_at_the_download_limit(serve: Serve, tmp_path: Path) -> None:
    token = bearer(add_token(tmp_path, "hall", "view"))
    server = serve("--auth", "--download-per-hour", "1", "--preview-rate", "60")
    with connect_blocking(preview_url(server), additional_headers=token) as client:
        received = read_to_close(client)
        assert client.close_code == 4029
    assert 2**20 <= received < 1.5 * 2**20
    with pytest.raises(InvalidStatus, match="429"):
        connect_blocking(preview_url(server), additional_headers=token)


# ---- shutdown


async def test_shutdown_closes_idle_waiting_and_stalled_clients(view: View) -> None:
    service = await view()
    stalled = await open_raw(service, receive_buffer=4096)
    async with watch(service) as waiting, watch(service) as owing:
        send_frame(service.camera, make_frame(0, 400_000))
        for client in (waiting, owing):
            assert await read_frame(client) == make_frame(0, 400_000)
        await waiting.send("")
        await drain(service.app)
        assert [await close_code(client) for client in (waiting, owing)] == [1012, 1012]
    await until(lambda: service.app[CONNECTIONS].count == 0)
    assert service.preview().count == 0
    rest = await stalled.read_to_end()
    assert len(rest) < 400_000
    async with connect(preview_url(service)) as late:
        assert await close_code(late) == 1012


def test_a_server_with_clients_that_acknowledge_nothing_exits_in_time(serve: Serve) -> None:
    server = serve("--preview-rate", "60")
    with connect_blocking(preview_url(server)) as first, connect_blocking(preview_url(server)) as second:
        assert first.recv(timeout=30)
        assert second.recv(timeout=30)
        assert server.stop() == 0
        for client in (first, second):
            read_to_close(client)
            assert client.close_code == 1012
    assert re.search("Traceback|ERROR", server.stderr) is None
