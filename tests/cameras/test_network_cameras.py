"""Network cameras with LiveCamera: captures, a lost camera, its return."""

import asyncio
import contextlib
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.sync.client import connect

from dog.cameras.http import HttpSource
from dog.cameras.rtsp import RtspSource
from dog.cameras.source import LiveCamera, Source
from dog.errors import CameraOffline, CaptureError
from tests.conftest import Serve
from tests.support.pushes import read_until
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
    """A kind of network camera: its program, its URL, and its clock.

    The clock is a function that reads an image's time.
    """

    def __init__(
        self, program: Callable[[], SourceProcess], address: str, source: type[HttpSource | RtspSource], stamp: Any
    ) -> None:
        self.program = program
        self.address = address
        self.source = source
        self.read_made: Callable[[bytes], float] = stamp


def read_made(image: bytes) -> float:
    return read_comment(image)[1]


KINDS = {
    "mjpeg": Kind(lambda: make_http_camera("--rate", "10"), "http://127.0.0.1:{}/stream", HttpSource, read_made),
    "still": Kind(make_http_camera, "http://127.0.0.1:{}/still", HttpSource, read_made),
    "h264": Kind(lambda: make_rtsp_camera("h264"), "rtsp://127.0.0.1:{}/cam", RtspSource, read_stamp),
    "jpeg": Kind(lambda: make_rtsp_camera("jpeg"), "rtsp://127.0.0.1:{}/cam", RtspSource, read_stamp),
}
STREAMS = [
    "mjpeg",
    pytest.param("h264", marks=needs_gstreamer),
    pytest.param("jpeg", marks=needs_gstreamer),
]
ALL = [*STREAMS, "still"]


class WatchedCamera:
    """A LiveCamera of such a source, with its reported losses."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.process = kind.program().start()
        self.url = kind.address.format(self.process.port)
        self.lost: asyncio.Queue[CaptureError] = asyncio.Queue()
        self.camera = LiveCamera(self.make_source)

    def make_source(self) -> Source:
        return self.kind.source(self.url)

    async def open(self) -> None:
        """Open the camera, again until it gives a frame, as the camera task does."""
        async with asyncio.timeout(90):
            while True:
                with contextlib.suppress(CameraOffline):
                    return await self.try_to_open()

    async def try_to_open(self) -> None:
        await self.camera.open(self.lost.put_nowait)

    async def capture_fresh(self) -> None:
        pressed = time.monotonic()
        captured = await self.camera.capture()
        assert self.kind.read_made(captured.data) >= pressed
        assert captured.exposure_start is not None
        assert pressed <= captured.exposure_start <= self.kind.read_made(captured.data) + 0.001


@pytest.fixture
async def watched(request: pytest.FixtureRequest) -> AsyncIterator[WatchedCamera]:
    one = WatchedCamera(KINDS[request.param])
    yield one
    await one.camera.close()
    one.process.kill()


@pytest.mark.parametrize("watched", ALL, indirect=True)
async def test_each_capture_is_newer_than_its_request(watched: WatchedCamera) -> None:
    await watched.open()
    for _ in range(5):
        await watched.capture_fresh()


@pytest.mark.parametrize("watched", STREAMS, indirect=True)
async def test_a_killed_camera_is_lost_and_sends_fresh_frames_when_it_is_back(watched: WatchedCamera) -> None:
    await watched.open()
    for _ in range(2):
        await watched.capture_fresh()
        watched.process.kill()
        assert "ended" in (await watched.lost.get()).message
        with pytest.raises(CameraOffline, match="ended"):
            await watched.camera.capture()
        with pytest.raises(CameraOffline, match="refused the connection"):
            await watched.try_to_open()
        watched.process.start()
        await watched.open()
        await watched.capture_fresh()
    assert watched.lost.empty()


@pytest.mark.parametrize("watched", STREAMS, indirect=True)
async def test_a_waiting_capture_of_a_killed_camera_fails_with_the_reason(watched: WatchedCamera) -> None:
    await watched.open()
    await watched.capture_fresh()
    watched.process.send_command("freeze")
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
async def test_a_frozen_camera_is_lost_and_works_again_afterwards(watched: WatchedCamera) -> None:
    await watched.open()
    await watched.capture_fresh()
    watched.process.send_command("freeze")
    assert "no frame for 2 s" in (await watched.lost.get()).message
    watched.process.send_command("thaw")
    await watched.open()
    await watched.capture_fresh()


@pytest.mark.parametrize("watched", ["still"], indirect=True)
async def test_a_lost_still_camera_is_noticed_by_the_next_capture(watched: WatchedCamera) -> None:
    await watched.open()
    watched.process.kill()
    with pytest.raises(CameraOffline, match="refused the connection"):
        await watched.camera.capture()
    assert "refused the connection" in (await watched.lost.get()).message
    watched.process.start()
    await watched.open()
    await watched.capture_fresh()


@pytest.mark.parametrize("watched", ["mjpeg"], indirect=True)
async def test_cut_off_frames_are_retaken(watched: WatchedCamera) -> None:
    await watched.open()
    await watched.capture_fresh()
    watched.process.send_command("cut 20")
    captured = await watched.camera.capture()
    assert captured.quality is not None
    assert "damaged" in captured.quality.found
    assert captured.quality.verdict == "good"


async def test_wait_for_device_returns_when_the_camera_listens_again() -> None:
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


@pytest.mark.parametrize("name", ALL)
def test_a_viewer_sees_a_camera_go_offline_and_return_without_old_images(name: str, serve: Serve) -> None:
    kind = KINDS[name]
    with kind.program() as source:
        server = serve("--camera", kind.address.format(source.port), "--dead-time", "0", "--exif", "false")
        with connect(f"ws://127.0.0.1:{server.port}/ws") as viewer:

            def capture() -> None:
                pressed = time.monotonic()
                viewer.send('{"type":"capture","max_age":0}')
                ready = read_until(viewer, "ready")
                image = urllib.request.urlopen(server.url + ready["url"]).read()
                assert kind.read_made(image) >= pressed

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
def test_logs_and_messages_of_the_service_contain_no_password(serve: Serve, tmp_path: Any) -> None:
    with make_rtsp_camera("jpeg", "--user", "admin", "--password", PASSWORD) as source:
        address = f"rtsp://admin:{SECRET}@127.0.0.1:{source.port}/cam"
        (tmp_path / "dog.toml").write_text(f'camera = "{address}"\nlog_level = "debug"\n')
        server = serve()
        texts: list[str] = []
        with connect(f"ws://127.0.0.1:{server.port}/ws") as viewer:
            viewer.send('{"type":"capture"}')
            while not texts or '"ready"' not in texts[-1]:
                texts.append(str(viewer.recv(timeout=30)))
            source.kill()
            while '"offline"' not in texts[-1]:
                texts.append(str(viewer.recv(timeout=30)))
        for path in ("/", "/healthz", "/metrics", "/api/cameras"):
            try:
                texts.append(urllib.request.urlopen(server.url + path).read().decode())
            except OSError as error:
                texts.append(str(error))
        server.stop()
    texts += [server.stderr, *(log.read_text() for log in tmp_path.rglob("*.log"))]
    assert any("***@" in text for text in texts)
    for secret in ("admin:", SECRET, PASSWORD):
        assert not any(secret in text for text in texts), [text for text in texts if secret in text]
