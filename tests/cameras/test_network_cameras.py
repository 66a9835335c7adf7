"""Network cameras as whole cameras: captures, the end of a camera in the middle of one, and its return."""

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from dog.cameras.http import HttpSource
from dog.cameras.live import LiveCamera
from dog.cameras.rtsp import StreamSource
from dog.cameras.source import Source
from dog.errors import CameraOffline, CaptureError
from tests.conftest import Serve
from tests.support.sources import (
    SourceProcess,
    make_http_camera,
    make_rtsp_camera,
    needs_gstreamer,
    read_comment,
    read_stamp,
)

PASSWORD = "s@cr/et:1"
SECRET = "s%40cr%2Fet%3A1"


class Kind:
    """One kind of network camera: its program, its address, and how its pictures say when they were made."""

    def __init__(
        self, program: Callable[[], SourceProcess], address: str, source: type[HttpSource | StreamSource], stamp: Any
    ) -> None:
        self.program = program
        self.address = address
        self.source = source
        self.read_made: Callable[[bytes], float] = stamp


def read_made(picture: bytes) -> float:
    return read_comment(picture)[1]


KINDS = {
    "mjpeg": Kind(lambda: make_http_camera("--rate", "10"), "http://127.0.0.1:{}/stream", HttpSource, read_made),
    "still": Kind(make_http_camera, "http://127.0.0.1:{}/still", HttpSource, read_made),
    "h264": Kind(lambda: make_rtsp_camera("h264"), "rtsp://127.0.0.1:{}/cam", StreamSource, read_stamp),
    "jpeg": Kind(lambda: make_rtsp_camera("jpeg"), "rtsp://127.0.0.1:{}/cam", StreamSource, read_stamp),
}
STREAMS = [
    "mjpeg",
    pytest.param("h264", marks=needs_gstreamer),
    pytest.param("jpeg", marks=needs_gstreamer),
]
ALL = [*STREAMS, "still"]


class Watched:
    """A camera on such a source, and what is told of it."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.process = kind.program().start()
        self.url = kind.address.format(self.process.port)
        self.lost: asyncio.Queue[CaptureError] = asyncio.Queue()
        self.camera = LiveCamera(self.make_source)

    def make_source(self) -> Source:
        return self.kind.source(self.url)

    async def open(self) -> None:
        await self.camera.open(self.lost.put_nowait)

    async def capture_fresh(self) -> None:
        pressed = time.monotonic()
        still = await self.camera.capture()
        assert self.kind.read_made(still.data) >= pressed
        assert still.began is not None
        assert pressed <= still.began <= self.kind.read_made(still.data) + 0.001


@pytest.fixture
async def watched(request: pytest.FixtureRequest) -> AsyncIterator[Watched]:
    one = Watched(KINDS[request.param])
    yield one
    await one.camera.close()
    one.process.kill()


@pytest.mark.parametrize("watched", ALL, indirect=True)
async def test_each_capture_is_newer_than_its_press(watched: Watched) -> None:
    await watched.open()
    for _ in range(5):
        await watched.capture_fresh()


@pytest.mark.parametrize("watched", STREAMS, indirect=True)
async def test_a_camera_that_is_killed_is_told_as_lost_and_is_fresh_when_it_is_back(watched: Watched) -> None:
    await watched.open()
    for _ in range(2):
        await watched.capture_fresh()
        watched.process.kill()
        assert "ended" in (await watched.lost.get()).message
        with pytest.raises(CameraOffline, match="ended"):
            await watched.camera.capture()
        with pytest.raises(CameraOffline, match="refused the connection"):
            await watched.open()
        watched.process.start()
        await watched.open()
        await watched.capture_fresh()
    assert watched.lost.empty()


@pytest.mark.parametrize("watched", STREAMS, indirect=True)
async def test_a_capture_that_waits_when_the_camera_is_killed_fails_with_the_reason(watched: Watched) -> None:
    await watched.open()
    await watched.capture_fresh()
    watched.process.say("freeze")
    waiting = asyncio.create_task(watched.camera.capture())
    await asyncio.sleep(0)
    watched.process.kill()
    with pytest.raises(CameraOffline, match="ended"):
        await waiting
    assert "ended" in (await watched.lost.get()).message
    watched.process.start()
    await watched.open()
    await watched.capture_fresh()


@pytest.mark.parametrize("watched", STREAMS, indirect=True)
async def test_a_camera_that_freezes_is_told_as_lost_and_works_again_when_it_thaws(watched: Watched) -> None:
    await watched.open()
    await watched.capture_fresh()
    watched.process.say("freeze")
    assert "no picture for 2 s" in (await watched.lost.get()).message
    watched.process.say("thaw")
    await watched.open()
    await watched.capture_fresh()


@pytest.mark.parametrize("watched", ["still"], indirect=True)
async def test_a_still_camera_that_is_gone_is_found_out_by_the_next_capture(watched: Watched) -> None:
    await watched.open()
    watched.process.kill()
    with pytest.raises(CameraOffline, match="refused the connection"):
        await watched.camera.capture()
    assert "refused the connection" in (await watched.lost.get()).message
    watched.process.start()
    await watched.open()
    await watched.capture_fresh()


@pytest.mark.parametrize("watched", ["mjpeg"], indirect=True)
async def test_frames_that_are_cut_off_are_taken_again(watched: Watched) -> None:
    await watched.open()
    await watched.capture_fresh()
    watched.process.say("cut 20")
    still = await watched.camera.capture()
    assert still.quality is not None
    assert "damaged" in still.quality.found
    assert still.quality.verdict == "good"


async def test_a_camera_that_listens_again_gives_a_sign() -> None:
    process = make_http_camera().start()
    looked = threading.Event()

    class Looking(HttpSource):
        def is_back(self) -> bool:
            found = super().is_back()
            looked.set()
            return found

    camera = LiveCamera(lambda: Looking(f"http://127.0.0.1:{process.port}/stream"))
    await camera.open(lambda _error: None)
    process.kill()
    sign = asyncio.create_task(camera.wait_for_device())
    await asyncio.to_thread(looked.wait)
    process.start()
    await sign
    await camera.open(lambda _error: None)
    await camera.close()
    process.kill()


# ---- through the service


def read_until(viewer: ClientConnection, kind: str, **fields: object) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads(viewer.recv(timeout=30))
        if message["type"] == kind and fields.items() <= message.items():
            return message


@pytest.mark.parametrize("name", ALL)
def test_a_viewer_sees_the_camera_go_and_come_back_and_gets_no_old_picture(name: str, serve: Serve) -> None:
    kind = KINDS[name]
    with kind.program() as source:
        server = serve("--camera", kind.address.format(source.port), "--dead-time", "0", "--exif", "false")
        with connect(f"ws://127.0.0.1:{server.port}/ws") as viewer:

            def capture() -> None:
                pressed = time.monotonic()
                viewer.send('{"type":"capture","max_age":0}')
                ready = read_until(viewer, "ready")
                picture = urllib.request.urlopen(server.url + ready["url"]).read()
                assert kind.read_made(picture) >= pressed

            capture()
            source.kill()
            if name == "still":
                viewer.send('{"type":"capture","max_age":0}')
            offline = read_until(viewer, "camera", state="offline")
            assert "127.0.0.1" not in offline["reason"]
            source.start()
            read_until(viewer, "camera", state="idle")
            capture()
        assert server.stop() == 0


@needs_gstreamer
def test_no_log_and_no_message_of_the_service_holds_the_password(serve: Serve, tmp_path: Any) -> None:
    with make_rtsp_camera("jpeg", "--user", "admin", "--password", PASSWORD) as source:
        address = f"rtsp://admin:{SECRET}@127.0.0.1:{source.port}/cam"
        (tmp_path / "dog.toml").write_text(f'camera = "{address}"\nlog_level = "debug"\n')
        server = serve()
        said: list[str] = []
        with connect(f"ws://127.0.0.1:{server.port}/ws") as viewer:
            viewer.send('{"type":"capture"}')
            while not said or '"ready"' not in said[-1]:
                said.append(str(viewer.recv(timeout=30)))
            source.kill()
            while '"offline"' not in said[-1]:
                said.append(str(viewer.recv(timeout=30)))
        for path in ("/", "/healthz", "/metrics", "/api/cameras"):
            try:
                said.append(urllib.request.urlopen(server.url + path).read().decode())
            except OSError as error:
                said.append(str(error))
        server.stop()
    said += [server.stderr, *(log.read_text() for log in tmp_path.rglob("*.log"))]
    assert any("***@" in text for text in said)
    for secret in ("admin:", SECRET, PASSWORD):
        assert not any(secret in text for text in said), [text for text in said if secret in text]
