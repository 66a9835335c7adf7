"""GET /preview.mjpg on real sockets: everyone sees the newest frame, nobody waits for anybody, and it ends in order.

The real application behind its guard, with cameras whose frames the test gives; and as a process, with the test card.
"""

import asyncio
import contextlib
import http.client
import io
import json
import random
import re
import socket
import threading
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
from aiohttp import web
from PIL import Image

from dog.captures.preview import END, Preview
from dog.settings import Settings
from dog.web.app import create_app, drain
from dog.web.connections.connection import CONNECTIONS, Connection
from dog.web.http.content import PIECE
from dog.web.service import SERVICE
from tests.conftest import Serve
from tests.support.cameras import HandCamera
from tests.support.pictures import make_picture
from tests.support.running import until
from tests.support.server_process import ServerProcess

HERE = "127.0.0.1"
SMALL = [make_picture(seed=seed) for seed in range(8)]


def make_frame(number: int, size: int) -> bytes:
    """So many bytes, with a number to be known by: what they show is nobody's business on the way."""
    return b"%08d" % number + random.Random(number).randbytes(size - 8)


@dataclass
class Eye:
    """One client of a preview, by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)

    async def ask(self, address: str, method: str = "GET", version: str = "1.1") -> "Eye":
        self.writer.write(f"{method} {address} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        return self

    async def read_head(self) -> "Eye":
        status_line, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        self.status = int(status_line.split()[1])
        self.fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return self

    async def read_problem(self) -> tuple[int, str]:
        """Status and code of what is no preview."""
        await self.read_head()
        body = await self.reader.readexactly(int(self.fields["content-length"]))
        return self.status, json.loads(body)["code"]

    async def read_frame(self) -> bytes:
        """The next part's. Raises IncompleteReadError at the end."""
        header = await self.reader.readuntil(b"\r\n\r\n")
        assert header.startswith(b"--frame\r\nContent-Type: image/jpeg\r\n"), header
        length = re.search(rb"Content-Length: (\d+)\r\n", header)
        assert length, header
        frame = await self.reader.readexactly(int(length[1]))
        assert await self.reader.readexactly(2) == b"\r\n"
        return frame

    async def read_to_the_end(self) -> bytes:
        """What comes until the server has hung up, however it did."""
        rest = b""
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65536):
                rest += data
        return rest

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1" + bytes(7))
        self.writer.transport.abort()


@dataclass
class Viewing:
    """The service, its cameras by name, and who looks."""

    app: web.Application
    runner: web.AppRunner
    port: int
    cameras: dict[str, HandCamera]
    eyes: list[Eye]

    @property
    def url(self) -> str:
        return f"http://{HERE}:{self.port}"

    @property
    def camera(self) -> HandCamera:
        return next(iter(self.cameras.values()))

    def preview(self, name: str | None = None) -> Preview:
        return self.app[SERVICE].find_camera(name).preview

    @property
    def waiting(self) -> int:
        """Bytes of answers that the system has not taken yet."""
        assert self.runner.server is not None
        transports = [handler.transport for handler in self.runner.server.connections]
        return sum(transport.get_write_buffer_size() for transport in transports if transport is not None)

    async def come(self, *, receive_buffer: int = 0) -> Eye:
        connection = socket.socket()
        connection.setblocking(False)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(connection, (HERE, self.port))
        eye = Eye(*await asyncio.open_connection(sock=connection, limit=1 << 16))
        self.eyes.append(eye)
        return eye

    async def watch(self, query: str = "", *, receive_buffer: int = 0) -> Eye:
        """Someone who watches, for sure, by now."""
        eye = await (await self.come(receive_buffer=receive_buffer)).ask(f"/preview.mjpg{query}")
        await eye.read_head()
        assert eye.status == 200
        return eye


class View(Protocol):
    def __call__(self, *names: str, **settings: object) -> Awaitable[Viewing]: ...


@contextlib.asynccontextmanager
async def run_viewing(folder: Path, *names: str, **settings: object) -> AsyncIterator[Viewing]:
    """The service with these cameras, and these settings for each, as dog.web.server has it listen."""
    cameras = {name: HandCamera() for name in names}
    for camera in cameras.values():
        camera.has_preview = True
    made = iter(cameras.values())
    own = {name: Settings(**settings) for name in cameras}  # type: ignore[arg-type]
    app = create_app(Settings(snapshots=folder / "snapshots", cameras=own), lambda _settings, _folder: next(made))
    runner = web.AppRunner(app, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    assert runner.server is not None
    guard = app[CONNECTIONS].guard(runner.server)
    server = await asyncio.get_running_loop().create_server(guard, HERE, 0)
    viewing = Viewing(app, runner, server.sockets[0].getsockname()[1], cameras, [])
    try:
        yield viewing
    finally:
        for eye in viewing.eyes:
            eye.writer.close()
        server.close()
        await drain(app)
        await runner.cleanup()


@pytest.fixture
async def view(tmp_path: Path) -> AsyncIterator[View]:
    """`await view("main", "porch", dead_time=0.0)`: such a service; without names, with the camera `main`."""
    async with contextlib.AsyncExitStack() as stack:

        def start(*names: str, **settings: object) -> Awaitable[Viewing]:
            return stack.enter_async_context(run_viewing(tmp_path, *(names or ("main",)), **settings))

        yield start


def show(camera: HandCamera, frame: bytes) -> None:
    assert camera.shown_to is not None, "nobody watches"
    camera.shown_to(frame)


async def wait_for_watchers(camera: HandCamera) -> None:
    await until(lambda: camera.shown_to is not None)


async def wait_for_no_watchers(camera: HandCamera) -> None:
    await until(lambda: camera.shown_to is None)


# ---- what is answered


async def test_each_frame_comes_as_a_part_with_its_type_and_length(view: View) -> None:
    viewing = await view()
    eye = await viewing.watch()
    assert eye.fields["content-type"] == "multipart/x-mixed-replace; boundary=frame"
    assert eye.fields["cache-control"] == "no-store"
    assert eye.fields["x-accel-buffering"] == "no"
    assert eye.fields["connection"] == "close"
    assert "content-security-policy" in eye.fields
    assert not {"transfer-encoding", "content-length"} & eye.fields.keys()
    for frame in SMALL:
        show(viewing.camera, frame)
        assert await eye.read_frame() == frame


async def test_with_ahead_the_next_parts_header_comes_with_each_frame(view: View) -> None:
    viewing = await view()
    eye = await viewing.watch("?ahead=1")
    header = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"
    assert await eye.reader.readexactly(len(header)) == header
    for frame in SMALL:
        show(viewing.camera, frame)
        expected = frame + b"\r\n" + header
        assert await eye.reader.readexactly(len(expected)) == expected


async def test_a_client_of_http_1_0_is_shown_the_same(view: View) -> None:
    viewing = await view()
    eye = await (await (await viewing.come()).ask("/preview.mjpg", version="1.0")).read_head()
    show(viewing.camera, SMALL[0])
    assert await eye.read_frame() == SMALL[0]


async def test_who_asks_for_the_head_alone_is_answered_and_watches_nothing(view: View) -> None:
    viewing = await view()
    eye = await (await (await viewing.come()).ask("/preview.mjpg", method="HEAD")).read_head()
    assert (eye.status, eye.fields["content-type"]) == (200, "multipart/x-mixed-replace; boundary=frame")
    assert await eye.read_to_the_end() == b""
    assert viewing.camera.shown_to is None


async def test_a_camera_that_is_not_there_or_shows_nothing_is_a_problem(view: View) -> None:
    viewing = await view("main", "porch", "yard")
    viewing.cameras["porch"].has_preview = False
    for name, expected in {"attic": (404, "unknown_camera"), "porch": (404, "no_preview")}.items():
        eye = await (await viewing.come()).ask(f"/preview.mjpg?camera={name}")
        assert await eye.read_problem() == expected
    viewing.cameras["yard"].offline = True
    task = viewing.app[SERVICE].cameras["yard"]
    with contextlib.suppress(Exception):
        await task.capture_and_wait(max_age=0)
    assert task.offline is not None
    eye = await (await viewing.come()).ask("/preview.mjpg?camera=yard")
    assert await eye.read_problem() == (503, "camera_offline")
    assert int(eye.fields["retry-after"]) >= 1
    assert all(camera.shown_to is None for camera in viewing.cameras.values())


# ---- who watches, and how fast


async def test_each_camera_has_viewers_of_its_own(view: View) -> None:
    viewing = await view("main", "porch")
    first, main, porch = [await viewing.watch(query) for query in ("", "?camera=main", "?camera=porch")]
    assert (viewing.preview("main").count, viewing.preview("porch").count) == (2, 1)
    show(viewing.cameras["main"], SMALL[0])
    show(viewing.cameras["porch"], SMALL[1])
    assert [await eye.read_frame() for eye in (first, main, porch)] == [SMALL[0], SMALL[0], SMALL[1]]
    porch.reset()
    await wait_for_no_watchers(viewing.cameras["porch"])
    show(viewing.cameras["main"], SMALL[2])
    assert [await eye.read_frame() for eye in (first, main)] == [SMALL[2], SMALL[2]]


async def test_who_does_not_read_holds_nobody_up_and_goes_on_with_the_newest_frame(view: View) -> None:
    viewing = await view()
    slow, quick = await viewing.watch(receive_buffer=4096), await viewing.watch()
    frames = [make_frame(number, 400_000) for number in range(30)]
    for frame in frames:
        show(viewing.camera, frame)
        assert await quick.read_frame() == frame
        assert viewing.waiting <= len(frame) + 1000  # the slow one's first, and nothing after it
    assert [await slow.read_frame(), await slow.read_frame()] == [frames[0], frames[-1]]
    show(viewing.camera, frames[0])
    assert await slow.read_frame() == frames[0]


async def test_the_system_keeps_little_for_who_does_not_read(view: View) -> None:
    """Of small frames too, which the system would take by the hundred, and aiohttp by the dozen."""
    viewing = await view()
    slow, quick = await viewing.watch(receive_buffer=4096), await viewing.watch()
    frames = [make_frame(number, 10_000) for number in range(300)]
    for frame in frames:
        show(viewing.camera, frame)
        assert await quick.read_frame() == frame
        assert viewing.waiting <= len(frame) + 1000
    late = [int((await slow.read_frame())[:8])]
    while late[-1] != 299:
        late.append(int((await slow.read_frame())[:8]))
    assert len(late) < 30
    assert late == sorted(late)


async def test_who_is_slow_but_reads_stays_and_who_takes_nothing_is_cut_off(
    view: View, caplog: pytest.LogCaptureFixture
) -> None:
    """The clock is the test's: each piece of a frame that is taken begins the time of the next one."""
    viewing = await view()
    slow = await viewing.watch(receive_buffer=4096)
    assert viewing.runner.server is not None
    (handler,) = viewing.runner.server.connections
    assert handler.transport is not None
    connection = handler.transport.get_protocol()
    assert isinstance(connection, Connection)
    frames = [make_frame(number, 400_000) for number in range(4)]
    for frame in frames:
        show(viewing.camera, frame)
        await until(lambda: viewing.waiting > 0)
        assert viewing.waiting <= PIECE, "who does not read costs a piece, and not a frame"
        timer = connection._stall_timer
        assert timer is not None
        reading = asyncio.create_task(slow.read_frame())
        await until(timer.cancelled)
        assert await reading == frame
        await until(lambda: viewing.waiting == 0)
        assert connection._stall_timer is None, "a frame that has left is no reason to look again"
    show(viewing.camera, frames[0])
    await until(lambda: viewing.waiting > 0)
    caplog.set_level("INFO", "dog")
    connection._check_progress(viewing.waiting)
    await wait_for_no_watchers(viewing.camera)
    assert f"{HERE} reads its response too slowly: disconnected" in caplog.messages


# ---- who goes


async def _hang_up(eye: Eye) -> None:
    eye.writer.close()


async def _be_reset(eye: Eye) -> None:
    eye.reset()


async def _shut_down_the_sending_half(eye: Eye) -> None:
    eye.writer.write_eof()
    assert await eye.read_to_the_end() == b""


@pytest.mark.parametrize("watched", [True, False], ids=["after a frame", "before the first frame"])
@pytest.mark.parametrize(
    "leave",
    [_hang_up, _be_reset, _shut_down_the_sending_half],
    ids=lambda leave: leave.__name__.strip("_").replace("_", " "),
)
async def test_who_has_gone_is_noticed_though_no_frame_comes(
    view: View, leave: Callable[[Eye], Awaitable[None]], watched: bool, caplog: pytest.LogCaptureFixture
) -> None:
    viewing = await view()
    for _ in range(2):
        eye = await viewing.watch()
        assert viewing.camera.shown_to is not None
        if watched:
            show(viewing.camera, SMALL[0])
            await eye.read_frame()
        await leave(eye)
        await wait_for_no_watchers(viewing.camera)
        assert viewing.preview().count == 0
        await until(lambda: viewing.app[CONNECTIONS].count == 0)
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


async def test_who_goes_in_the_middle_of_a_frame_has_left(view: View, caplog: pytest.LogCaptureFixture) -> None:
    viewing = await view()
    eye = await viewing.watch(receive_buffer=4096)
    show(viewing.camera, make_frame(0, 400_000))
    await until(lambda: viewing.waiting > 0)
    eye.reset()
    await wait_for_no_watchers(viewing.camera)
    await until(lambda: viewing.app[CONNECTIONS].count == 0)
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


# ---- presses and the end


async def test_an_offline_camera_keeps_its_viewers_and_goes_on_with_them_when_it_is_back(view: View) -> None:
    viewing = await view()
    eye = await viewing.watch()
    show(viewing.camera, SMALL[0])
    assert await eye.read_frame() == SMALL[0]
    viewing.camera.offline = True
    task = viewing.app[SERVICE].find_camera(None)
    with contextlib.suppress(Exception):
        await task.capture_and_wait(max_age=0)
    assert task.offline is not None
    viewing.camera.offline = False
    viewing.camera.sign.set()
    await until(lambda: task.offline is None)
    show(viewing.camera, SMALL[1])
    assert await eye.read_frame() == SMALL[1]


async def test_frames_go_on_while_a_photo_is_taken(view: View) -> None:
    viewing = await view(dead_time=0.0)
    viewing.camera.held = True
    eye = await viewing.watch()
    press = asyncio.create_task(viewing.app[SERVICE].find_camera(None).capture_and_wait(max_age=0))
    await viewing.camera.exposing.wait()
    for frame in SMALL:
        show(viewing.camera, frame)
        assert await eye.read_frame() == frame
    await viewing.camera.release()
    assert (await press)[0].outcome == "started"
    show(viewing.camera, SMALL[0])
    assert await eye.read_frame() == SMALL[0]


async def test_when_the_server_stops_everyone_is_told_that_this_was_the_last_part(view: View) -> None:
    viewing = await view()
    waiting, deaf = await viewing.watch(), await viewing.watch(receive_buffer=4096)
    show(viewing.camera, make_frame(0, 400_000))
    await waiting.read_frame()
    await drain(viewing.app)
    assert await waiting.read_to_the_end() == END
    assert viewing.preview().count == 0
    await viewing.runner.cleanup()
    rest = await deaf.read_to_the_end()
    assert END not in rest
    assert viewing.camera.closed


# ---- the real thing: a process, and the test card


def open_preview(server: ServerProcess) -> http.client.HTTPResponse:
    answer = urllib.request.urlopen(f"{server.url}/preview.mjpg", timeout=20)
    assert isinstance(answer, http.client.HTTPResponse)
    return answer


def read_picture(answer: http.client.HTTPResponse) -> Image.Image:
    """The next frame, decoded."""
    assert answer.readline() == b"--frame\r\n"
    fields = {}
    while line := answer.readline().strip():
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    picture = Image.open(io.BytesIO(answer.read(int(fields[b"content-length"]))))
    picture.load()
    assert answer.readline() == b"\r\n"
    return picture


def test_the_test_card_is_seen_live_also_while_a_photo_is_taken(serve: Serve) -> None:
    server = serve("--dead-time", "0", "--preview-rate", "50")
    seen: list[bytes] = []
    with open_preview(server) as answer:

        def press() -> None:
            request = urllib.request.Request(f"{server.url}/api/captures", data=b'{"max_age":0}', method="POST")
            with urllib.request.urlopen(request, timeout=20) as photo:
                taken.append(json.load(photo))

        taken: list[dict[str, object]] = []
        presses = [threading.Thread(target=press) for _ in range(3)]
        for one in presses:
            one.start()
            seen.append(read_picture(answer).tobytes())
            one.join()
            seen.append(read_picture(answer).tobytes())
        assert len({photo["snapshot"] for photo in taken}) == 3
        assert len(set(seen)) == len(seen), "a frame was shown twice"
    assert server.stop() == 0


def test_a_stop_ends_previews_in_order_those_that_nobody_reads_too(serve: Serve) -> None:
    server = serve("--preview-rate", "60")
    deaf = []
    for _ in range(5):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect((HERE, server.port))
        connection.sendall(b"GET /preview.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        deaf.append(connection)
    with open_preview(server) as answer:
        for _ in range(10):
            read_picture(answer)
        # The server ends itself with status 1 when its own limit of less than five seconds has passed.
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert answer.read().endswith(END)
        stopping.join()
    assert server.wait() == 0
    for connection in deaf:
        connection.close()
