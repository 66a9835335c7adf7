"""Odd RTSP cameras, with real sockets. tests/load presses longer."""

import asyncio
import contextlib
import gc
import io
import os
import time
import weakref
from collections.abc import Callable, Iterator

import pytest
from PIL import Image

from dog.cameras.frame_selection import Frame
from dog.cameras.rtsp import RtspSource
from dog.cameras.source import LiveCamera
from dog.errors import BadImage, CameraOffline
from tests.support.odd_rtsp import CAMERAS, press
from tests.support.sources import SourceProcess, make_odd_rtsp_cameras, read_stamp

pytest.importorskip("av")

TIMEOUT = 20.0
"""Time limit for a frame on a busy computer, in seconds."""
PASSWORD = "s%40cr%2Fet%3A1"

Open = Callable[..., RtspSource]


@pytest.fixture(scope="module")
def odd() -> Iterator[SourceProcess]:
    with make_odd_rtsp_cameras() as cameras:
        yield cameras


@pytest.fixture
def open_odd(odd: SourceProcess) -> Iterator[Open]:
    """Return `open(options)`, which opens a source of such a camera."""
    with contextlib.ExitStack() as stack:

        def start(options: str, *, user: str = "", open_timeout: float = TIMEOUT) -> RtspSource:
            source = RtspSource(f"rtsp://{user}127.0.0.1:{odd.port}/cam?{options}", open_timeout=open_timeout)
            stack.callback(source.close)
            source.open()
            return source

        yield start


def read_frames(source: RtspSource, count: int) -> Iterator[Frame]:
    for _ in range(count):
        yield source.read(TIMEOUT)


def read_image(source: RtspSource) -> bytes:
    """Return the first image that is whole."""
    while True:
        with contextlib.suppress(BadImage):
            return source.read(TIMEOUT).image()


# ---- photos


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.documented(
    "RTSP camera whose timestamps run at half to twice the real speed, jump, stand still or change with the frame rate",
    "each photo is fresh, and dated within a frame interval",
)
async def test_each_photo_of_an_odd_camera_is_fresh_whole_and_dated(name: str, odd: SourceProcess) -> None:
    await press(odd.port, CAMERAS[name], presses=3, pause=0.05)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("lost", ["frame", "first", "middle", "last", "keyframe"])
@pytest.mark.documented(
    "RTSP camera whose network loses packets",
    "no photo shows a frame that depends on a lost one; the next keyframe is awaited",
)
def test_no_image_depends_on_a_lost_packet(codec: str, lost: str, open_odd: Open) -> None:
    source = open_odd(f"lose={lost}&codec={codec}&rate=60&gop=6")
    bad = 0
    stamps = []
    for frame in read_frames(source, 60):
        try:
            stamps.append(read_stamp(frame.image()))
        except BadImage:
            bad += 1
    assert stamps == sorted(stamps)
    assert bad >= 5
    assert len(stamps) >= 20


@pytest.mark.documented("RTSP camera that refreshes columns and sends no keyframes", "each frame after the refresh")
def test_a_stream_without_keyframes_is_decoded(open_odd: Open) -> None:
    source = open_odd("refresh=1&rate=60")
    stamps = [read_stamp(frame.image()) for frame in read_frames(source, 40)]
    assert stamps == sorted(stamps)


@pytest.mark.documented("RTSP camera that marks each slice as the end of a frame", "whole frames")
def test_slices_that_are_marked_as_frames_are_joined(open_odd: Open) -> None:
    source = open_odd("slices=3&rate=60")
    stamps = [read_stamp(frame.image()) for frame in read_frames(source, 30)]
    assert stamps == sorted(set(stamps))


@pytest.mark.parametrize(("aspect", "size"), [("4:3", (171, 144)), ("3:4", (128, 192)), ("1:1", (128, 144))])
@pytest.mark.documented("RTSP camera whose pixels are not square", "the photo has square pixels")
def test_images_have_square_pixels(aspect: str, size: tuple[int, int], open_odd: Open) -> None:
    frame = open_odd(f"aspect={aspect}").read(TIMEOUT)
    assert Image.open(io.BytesIO(frame.image())).size == size
    assert Image.open(io.BytesIO(frame.preview())).size == size


# ---- connections


@pytest.mark.documented("RTSP camera that speaks only UDP", "photos over UDP")
def test_a_camera_that_refuses_tcp_sends_by_udp(open_odd: Open) -> None:
    source = open_odd("udp=1")
    made = read_stamp(read_image(source))
    assert read_stamp(read_image(source)) > made
    threads = len(os.listdir("/proc/self/task"))
    source.close()
    assert len(os.listdir("/proc/self/task")) <= threads


@pytest.mark.parametrize("challenges", ["MD5", "SHA-256", "SHA-256,MD5", "MD5,Basic", "SHA-256,MD5,Basic", "Basic"])
@pytest.mark.documented("RTSP camera with Digest by SHA-256, or with several challenges", "the strongest is answered")
def test_the_strongest_challenge_is_answered(challenges: str, open_odd: Open) -> None:
    assert read_image(open_odd(f"auth={challenges}", user=f"admin:{PASSWORD}@"))
    with pytest.raises(CameraOffline, match="refuses the user or the password"):
        open_odd(f"auth={challenges}", user="admin:wrong@")
    with pytest.raises(CameraOffline, match="asks for a user and a password"):
        open_odd(f"auth={challenges}")


def test_a_session_is_kept_alive_with_its_login(open_odd: Open) -> None:
    source = open_odd("session=1&rate=30&auth=SHA-256", user=f"admin:{PASSWORD}@")
    begun = time.monotonic()
    while time.monotonic() < begun + 2.2:
        source.read(TIMEOUT)


def test_a_camera_that_starts_late_has_the_open_timeout(open_odd: Open) -> None:
    assert read_image(open_odd("late=0.4", open_timeout=TIMEOUT))
    with pytest.raises(CameraOffline, match=r"no frame for 0\.3 s.*set `frame_rate`"):
        open_odd("late=5", open_timeout=0.3)


@pytest.mark.documented(
    "RTSP camera with one frame in many seconds",
    "the error names `frame_rate`, which is the remedy",
)
async def test_a_camera_with_few_frames_works_if_its_pauses_are_allowed(odd: SourceProcess) -> None:
    def make_camera(frozen_after: float) -> LiveCamera:
        url = f"rtsp://127.0.0.1:{odd.port}/cam?rate=1.6"
        return LiveCamera(lambda: RtspSource(url), frozen_after=frozen_after)

    lost: asyncio.Queue[Exception] = asyncio.Queue()
    camera = make_camera(0.2)
    await camera.open(lost.put_nowait)
    assert "set `frame_rate`" in str(await lost.get())
    await camera.close()
    camera = make_camera(5)
    await camera.open(lost.put_nowait)
    pressed = time.monotonic()
    captured = await camera.capture()
    assert pressed <= read_stamp(captured.data) - 1 / 1.6 + 0.1
    await camera.close()


# ---- resources


@pytest.mark.documented("RTSP camera that ends its stream again and again", "opened again with the same memory")
async def test_reopening_a_stream_keeps_no_decoder(odd: SourceProcess) -> None:
    """tests/load counts threads over 500 openings; here, a few come and go."""
    sources: list[weakref.ref[RtspSource]] = []

    def make_source() -> RtspSource:
        source = RtspSource(f"rtsp://127.0.0.1:{odd.port}/cam?codec=hevc&rate=100&end-after=30")
        sources.append(weakref.ref(source))
        return source

    camera = LiveCamera(make_source)
    gc.collect()
    gc.disable()
    try:
        for _ in range(6):
            lost = asyncio.Event()
            camera.set_preview(lambda _frame: None)  # decodes
            await camera.open(lambda _error, lost=lost: lost.set())  # type: ignore[misc]
            await lost.wait()
        await camera.close()
        alive = [source for source in sources if source() is not None]
    finally:
        gc.enable()
    assert len(alive) <= 1  # LiveCamera's own
