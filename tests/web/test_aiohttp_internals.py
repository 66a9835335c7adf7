"""The behaviour of aiohttp that `take_over` (websocket.py) needs.

It uses two undocumented parts of aiohttp: a handler's `set_parser` and `transport`. Two more, a server's
`request_handler` and `request_factory`, are used by `patch_aiohttp_server`, and tested in test_server.py.
"""

import asyncio
import gc
import importlib.metadata
import json
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp.web_protocol import RequestHandler

from tests.conftest import Run, Serve
from tests.support.running import Running, until
from tests.support.server_process import ROOT, clean_environment
from tests.support.websocket_frames import UPGRADE, build_client_frame


class UpgradingClient:
    """A client that writes raw bytes and reads the push."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read_response(self) -> tuple[bytes, bytes]:
        """Read a response: its status line and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        size = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
        return head.split(b"\r\n")[0], await self.reader.readexactly(size)

    async def read_message(self, kind: str) -> dict[str, Any]:
        while True:
            _, size = await self.reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            message: dict[str, Any] = json.loads(await self.reader.readexactly(size))
            if message["type"] == kind:
                return message


async def connect(running: Running) -> UpgradingClient:
    return UpgradingClient(*await asyncio.open_connection("127.0.0.1", running.client.port))


def write_ping(request: str) -> bytes:
    return build_client_frame(1, json.dumps({"type": "ping", "request": request}).encode())


def test_aiohttp_has_the_version_that_the_takeover_was_written_for() -> None:
    version = importlib.metadata.version("aiohttp")
    assert version.startswith("3.14."), f"aiohttp is {version}: compare its web_protocol.py with take_over again"


OTHER_AIOHTTP = """
import sys
import aiohttp
aiohttp.__version__ = "3.13.5"
from dog.cli import main
main(prog_name="dog")
"""


def test_the_service_refuses_another_aiohttp_and_the_client_does_not(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    command = [sys.executable, "-c", OTHER_AIOHTTP]
    environment = clean_environment({"PYTHONPATH": str(ROOT)})
    refused, taken = (
        subprocess.run([*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        for words in (["serve", "--port", "0"], ["snap", server.url, "-o", "photo.jpg"])
    )
    line = "dog: The service needs aiohttp 3.14, and 3.13.5 is installed. Install 3.14: "
    assert refused.stderr.startswith(line)
    assert (refused.stderr.count("\n"), refused.returncode) == (1, 2)
    assert (taken.stderr, taken.returncode) == ("", 0)


async def test_messages_in_the_same_packet_as_the_handshake_are_received(run: Run) -> None:
    raw = await connect(await run())
    late = write_ping("late")
    raw.writer.write(UPGRADE + write_ping("early") + late[:5])
    assert (await raw.read_response())[0] == b"HTTP/1.1 101 Switching Protocols"
    assert (await raw.read_message("pong"))["request"] == "early"
    raw.writer.write(late[5:])
    assert (await raw.read_message("pong"))["request"] == "late"
    raw.writer.close()


async def test_more_early_bytes_than_aiohttp_buffers_are_all_received(run: Run) -> None:
    raw = await connect(await run(message_burst=10_000))
    silent = build_client_frame(1, json.dumps({"type": "auth", "token": "t" * 90}).encode())
    raw.writer.write(UPGRADE + silent * 5000 + write_ping("last"))
    await raw.read_response()
    assert (await raw.read_message("pong"))["request"] == "last"
    raw.writer.close()


async def test_responses_before_the_handshake_arrive_complete_and_first(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await events.say(type="capture")
        ready = (await events.read_until("ready"))[-1]
    raw = await connect(running)
    raw.writer.write(f"GET {ready['url']} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() * 3 + UPGRADE)
    for _ in range(3):
        status, body = await raw.read_response()
        assert status == b"HTTP/1.1 200 OK"
        assert len(body) == ready["bytes"]
    assert b" 101 " in (await raw.read_response())[0]
    assert (await raw.read_message("hello"))["viewers"] == 1
    raw.writer.close()


async def test_aiohttp_releases_the_connection_without_closing_it(run: Run) -> None:
    def count_handlers() -> int:
        gc.collect()
        return sum(type(found) is RequestHandler for found in gc.get_objects())

    before = count_handlers()
    running = await run()
    async with AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(running.watch()) for _ in range(5)]
        assert running.service.hub.count == 5
        await until(lambda: count_handlers() <= before)
        for viewer in viewers:
            await viewer.say(type="ping")
            assert (await viewer.read())["type"] == "pong"


@pytest.mark.parametrize(
    "handshake",
    [
        UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + b"12345",
        UPGRADE.replace(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 12"),
        UPGRADE.replace(b"AAAAAAAAAAAAAAAAAAAAAA==", b"AAAA"),
        UPGRADE.replace(b"AAAAAAAAAAAAAAAAAAAAAA==", b"!" * 24),
        UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        UPGRADE.replace(b"Connection: Upgrade", b"Connection: keep-alive"),
        UPGRADE.replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Lock: "),
    ],
    ids=["a body", "version", "short key", "odd key", "another protocol", "no upgrade", "no key"],
)
async def test_an_invalid_handshake_gets_426_over_http(run: Run, handshake: bytes) -> None:
    raw = await connect(await run())
    raw.writer.write(handshake)
    status, body = await raw.read_response()
    assert (status, json.loads(body)["code"]) == (b"HTTP/1.1 426 Upgrade Required", "upgrade_required")
    raw.writer.close()


async def test_the_accept_key_matches_the_example_of_rfc_6455(run: Run) -> None:
    raw = await connect(await run())
    raw.writer.write(UPGRADE.replace(b"AAAAAAAAAAAAAAAAAAAAAA==", b"dGhlIHNhbXBsZSBub25jZQ=="))
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in await raw.reader.readuntil(b"\r\n\r\n")
    raw.writer.close()


async def test_a_disconnect_during_the_handshake_leaves_no_viewer_and_no_log(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    running = await run()
    for _ in range(20):
        raw = await connect(running)
        raw.writer.write(UPGRADE)
        raw.writer.transport.abort()
    async with running.watch() as events:
        await until(lambda: running.service.hub.count == 1)
        await events.say(type="ping")
        assert (await events.read())["type"] == "pong"
    assert [record.message for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []
