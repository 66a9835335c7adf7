"""LiveCamera: the frame of a capture, a lost camera, and the preview.

The test controls the source: it adds each frame, with the start of its exposure.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from PIL import Image

from dog.cameras import CapturedImage
from dog.cameras import source as live
from dog.cameras import source as reader
from dog.cameras.frame_selection import Frame, FrameInspector, FrameStats, Thresholds
from dog.cameras.pixel_formats import shrink_to_preview
from dog.cameras.source import LiveCamera
from dog.errors import BadImage, CameraBusy, CameraFault, CameraOffline, CameraTimeout, CaptureError
from tests.support.cameras import make_picture
from tests.support.pictures import draw, encode
from tests.support.running import until

FIXED = Thresholds(warm_up=0)
BLACK = make_picture("black")


@dataclass
class ManualFrame:
    """A frame made by the test, which counts how often it is decoded."""

    data: bytes = field(default_factory=make_picture)
    exposure_start: float = 0.0
    raw: bytes = b""
    decoded: int = 0

    def image(self) -> bytes:
        self.decoded += 1
        return self.data

    @property
    def exposure(self) -> float | None:
        return None

    def preview(self) -> bytes:
        return shrink_to_preview(self.image())


class ManualSource:
    """A source of the `frames` that the test adds.

    They are frames, errors to raise, or events to wait for.
    """

    streams = True
    settles = False

    def __init__(self) -> None:
        self.frames: queue.SimpleQueue[ManualFrame | Exception | threading.Event] = queue.SimpleQueue()
        self.open_error: CaptureError | None = None
        self.there = True
        self.opened = self.closed = self.read_count = 0
        self.serial = 0

    def open(self) -> None:
        self.opened += 1
        if self.open_error is not None:
            raise self.open_error

    def read(self, _timeout: float) -> Frame:
        given = self.frames.get()
        if isinstance(given, threading.Event):
            given.wait()
            given = self.frames.get()
        if isinstance(given, Exception):
            raise given
        assert isinstance(given, ManualFrame)
        self.read_count += 1
        return given

    def close(self) -> None:
        self.closed += 1

    def is_back(self) -> bool:
        return self.there

    def add_frame(self, data: bytes | None = None, *, age: float = 0.0, raw: bytes | None = None) -> ManualFrame:
        """Add a frame whose exposure started `age` seconds ago."""
        self.serial += 1
        frame = ManualFrame(
            make_picture() if data is None else data,
            time.monotonic() - age,
            b"frame %d" % self.serial if raw is None else raw,
        )
        self.frames.put(frame)
        return frame


class Live(LiveCamera):
    """A LiveCamera of one ManualSource, with its reported losses."""

    def __init__(self, source: ManualSource, thresholds: Thresholds, timeout: float) -> None:
        super().__init__(lambda: source, thresholds=thresholds, timeout=timeout, preview_rate=60)
        self.source = source
        self.lost: list[CaptureError] = []

    async def start(self) -> None:
        """Open the camera, and add its first frame."""
        self.source.add_frame()
        await self.open(self.lost.append)

    async def start_capture(self) -> asyncio.Task[CapturedImage]:
        """Start a capture, and wait until it waits for its frame."""
        capture = asyncio.create_task(self.capture())
        await until(lambda: self._reader is None or self._reader._request is not None)
        return capture


Make = Callable[..., Live]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Live] = []

    def make_live(thresholds: Thresholds = FIXED, timeout: float = 60.0, **about: bool) -> Live:
        source = ManualSource()
        for name, value in about.items():
            setattr(source, name, value)
        made.append(Live(source, thresholds, timeout))
        return made[-1]

    yield make_live
    for one in made:
        readers = [thread for thread in threading.enumerate() if isinstance(thread, reader.SourceReader)]
        for thread in readers:
            if thread._source is one.source:
                thread.stop()
                one.source.frames.put(CameraOffline("The test is over."))
        await one.close()


async def test_a_capture_gets_the_first_frame_exposed_after_the_request(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.start_capture()
    for age in (0.5, 0.3, 0.1):
        camera.source.add_frame(make_picture("red"), age=age)
    fresh = camera.source.add_frame(make_picture("green"))
    camera.source.add_frame(make_picture("blue"))
    captured = await capture
    assert (captured.data, captured.exposure_start) == (fresh.data, fresh.exposure_start)
    assert captured.quality is not None
    assert (captured.quality.verdict, captured.quality.retaken) == ("good", 0)


async def test_nothing_is_decoded_without_a_request(make: Make) -> None:
    camera = make()
    await camera.start()
    frames = [camera.source.add_frame() for _ in range(20)]
    await until(lambda: camera.source.read_count == 21)
    assert [frame.decoded for frame in frames] == [0] * 20
    capture = await camera.start_capture()
    stale, fresh, late = camera.source.add_frame(age=1), camera.source.add_frame(), camera.source.add_frame()
    await capture
    await until(lambda: camera.source.read_count == 24)
    assert (stale.decoded, fresh.decoded, late.decoded) == (1, 1, 0)  # the preceding frame is inspected during the wait


async def test_cut_off_frames_are_retaken_and_reported(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.start_capture()
    camera.source.add_frame(age=1)
    for _ in range(20):
        camera.source.add_frame(make_picture("red")[:-20])
    camera.source.add_frame(make_picture("green"))
    captured = await capture
    assert captured.data == make_picture("green")
    assert captured.quality is not None
    assert (captured.quality.verdict, captured.quality.retaken, captured.quality.found) == ("good", 20, ("damaged",))


async def test_a_camera_with_only_damaged_frames_fails_at_the_time_limit(make: Make) -> None:
    camera = make(timeout=0.05)
    await camera.start()
    capture = await camera.start_capture()
    while not capture.done():
        camera.source.add_frame(make_picture()[:-20])
        await asyncio.sleep(0.01)
    with pytest.raises(BadImage, match="cut off") as caught:
        await capture
    assert "frames were rejected" in caught.value.detail


async def test_a_frame_similar_to_the_preceding_one_is_not_decoded_during_a_capture(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bytes] = []
    look = FrameInspector.inspect

    def note(judge: FrameInspector, image: bytes) -> FrameStats:
        looks.append(image)
        return look(judge, image)

    monkeypatch.setattr(FrameInspector, "inspect", note)
    one, two, three = (encode(draw(640, 480, seed=seed), quality=95) for seed in (1, 2, 3))
    black = encode(Image.new("RGB", (640, 480)), quality=95)
    camera = make()
    await camera.start()
    for frames, looked_at in (
        ([two], [one]),
        ([two[:-20], three], [one, three]),
        ([black, three], [one, black]),
    ):
        looks.clear()
        capture = await camera.start_capture()
        camera.source.add_frame(one, age=1, raw=one)
        for frame in frames:
            camera.source.add_frame(frame, raw=frame)
        assert (await capture).data == frames[-1]
        assert looks[-len(looked_at) :] == looked_at  # the very first frame may have been inspected, too


async def test_a_black_frame_is_retaken_until_a_brighter_one_arrives(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.start_capture()
    camera.source.add_frame(age=1)
    for _ in range(3):
        camera.source.add_frame(BLACK)
    camera.source.add_frame(make_picture("white"))
    captured = await capture
    assert captured.quality is not None
    assert (captured.quality.verdict, captured.quality.found, captured.quality.retaken) == ("good", ("black",), 3)
    assert captured.quality.brightness == 1.0


async def test_a_black_image_is_returned_with_its_verdict_if_it_stays_dark(make: Make) -> None:
    camera = make(Thresholds(warm_up=0, retake=0))
    await camera.start()
    capture = await camera.start_capture()
    camera.source.add_frame(age=1)
    camera.source.add_frame(BLACK)
    captured = await capture
    assert captured.quality is not None
    assert (captured.data, captured.quality.verdict, captured.quality.brightness) == (BLACK, "black", 0.0)


async def test_a_frame_equal_to_the_previous_one_is_rejected(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.start_capture()
    camera.source.add_frame(age=1, raw=b"same")
    for _ in range(3):
        camera.source.add_frame(raw=b"same")
    moved = camera.source.add_frame(make_picture("green"), raw=b"moved")
    captured = await capture
    assert captured.data == moved.data
    assert captured.quality is not None
    assert (captured.quality.found, captured.quality.retaken) == (("frozen",), 3)


async def test_a_frozen_camera_fails_instead_of_returning_an_old_frame(make: Make) -> None:
    camera = make(Thresholds(warm_up=0, retake=0))
    await camera.start()
    capture = await camera.start_capture()
    camera.source.add_frame(age=1, raw=b"same")
    camera.source.add_frame(raw=b"same")
    with pytest.raises(CameraFault, match="is frozen"):
        await capture


async def test_equal_frames_are_accepted_if_frozen_is_false(make: Make) -> None:
    camera = make(Thresholds(warm_up=0, frozen=False))
    await camera.start()
    for _ in range(2):
        capture = await camera.start_capture()
        camera.source.add_frame(raw=b"same")
        assert (await capture).quality is not None


async def test_no_frame_is_taken_before_the_exposure_has_settled(make: Make) -> None:
    camera = make(Thresholds(warm_up=60), settles=True)
    await camera.start()
    capture = await camera.start_capture()
    for grey in (20, 90, 140, 170, 190, 190, 190):
        camera.source.add_frame(make_picture(f"#{grey:02x}{grey:02x}{grey:02x}"))
    settled = camera.source.add_frame(make_picture("#bebebe"))
    after = camera.source.add_frame(make_picture("#bfbfbf"))
    captured = await capture
    assert captured.data in (settled.data, after.data)
    assert captured.quality is not None
    assert captured.quality.brightness > 0.7


async def test_waiting_for_a_settled_exposure_is_limited_by_warm_up(make: Make) -> None:
    camera = make(Thresholds(warm_up=0.05), settles=True)
    await camera.start()
    capture = await camera.start_capture()
    turn = 0
    while not capture.done():
        turn += 1
        camera.source.add_frame(make_picture("white" if turn % 2 else "gray"))
        await asyncio.sleep(0.01)
    assert (await capture).quality is not None


async def test_a_lost_camera_is_reported_at_once_and_its_capture_fails(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.start_capture()
    camera.source.frames.put(CameraOffline("It was unplugged."))
    with pytest.raises(CameraOffline, match="unplugged"):
        await capture
    await until(lambda: len(camera.lost) == 1)
    assert camera.lost[0].message == "It was unplugged."
    with pytest.raises(CameraOffline, match="unplugged"):
        await camera.capture()
    await until(lambda: camera.source.closed == 1)


async def test_a_lost_camera_can_be_opened_again(make: Make) -> None:
    camera = make()
    for turn in range(3):
        await camera.start()
        capture = await camera.start_capture()
        camera.source.add_frame(age=1)
        camera.source.add_frame(make_picture("green"))
        assert (await capture).data == make_picture("green")
        camera.source.frames.put(CameraOffline("It was unplugged."))
        await until(lambda turn=turn: len(camera.lost) == turn + 1)  # type: ignore[misc]
    assert camera.source.opened == 3
    await until(lambda: camera.source.closed == 3)


async def test_a_failed_opening_raises_the_reason_and_is_not_a_loss(make: Make) -> None:
    camera = make()
    camera.source.open_error = CameraBusy("Another program has it.")
    with pytest.raises(CameraBusy):
        await camera.open(camera.lost.append)
    with pytest.raises(CameraBusy):
        await camera.capture()
    assert camera.lost == []
    await until(lambda: camera.source.closed == 1)


async def test_a_capture_during_the_opening_waits_for_it(make: Make) -> None:
    camera = make()
    opening = asyncio.create_task(camera.open(camera.lost.append))
    await until(lambda: camera.source.opened == 1)
    capture = asyncio.create_task(camera.capture())
    await asyncio.sleep(0)
    camera.source.add_frame()
    await opening
    await until(lambda: camera._reader is not None and camera._reader._request is not None)
    camera.source.add_frame(age=1)
    camera.source.add_frame(make_picture("green"))
    assert (await capture).data == make_picture("green")


async def test_an_unexpected_error_of_a_driver_is_a_loss_and_is_logged(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    camera = make()
    await camera.start()
    camera.source.frames.put(ZeroDivisionError("inside"))
    await until(lambda: len(camera.lost) == 1)
    assert camera.lost[0].message == "The camera's driver failed. See the server's log."
    assert "inside" in caplog.text


async def test_a_driver_that_hangs_is_given_up_and_the_camera_can_be_opened_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "READER_CLOSE_TIMEOUT", 0.05)
    camera = make()
    await camera.start()
    capture = await camera.start_capture()
    hang = threading.Event()
    camera.source.frames.put(hang)
    assert camera._reader is not None
    # it counts as hanging at the next check, when the capture waits
    camera._reader.read_limit = -live.READ_GRACE_SECONDS
    with pytest.raises(CameraOffline, match="has not answered for"):
        await capture
    assert len(camera.lost) == 1
    threads = threading.active_count()
    for _ in range(3):
        with pytest.raises(CameraOffline, match="driver hangs"):
            await camera.open(camera.lost.append)
    assert threading.active_count() == threads
    hang.set()
    camera.source.frames.put(ManualFrame())
    await until(lambda: camera.source.closed == 1)
    await camera.start()
    again = await camera.start_capture()
    camera.source.add_frame(age=1)
    camera.source.add_frame(make_picture("green"))
    assert (await again).data == make_picture("green")
    assert len(camera.lost) == 1


async def test_a_camera_lost_during_its_opening_is_not_open(make: Make) -> None:
    camera = make()
    for _ in range(20):
        camera.source.add_frame()
        camera.source.frames.put(CameraOffline("It was unplugged."))
        with contextlib.suppress(CameraOffline):
            await camera.open(camera.lost.append)
            await until(lambda: camera._reader is None)
        with pytest.raises(CameraOffline, match="unplugged"):
            await camera.capture()


async def test_a_capture_during_a_new_attempt_of_an_offline_camera_fails_at_once(make: Make) -> None:
    camera = make()
    await camera.start()
    camera.source.frames.put(CameraOffline("It was unplugged."))
    await until(lambda: len(camera.lost) == 1)
    opening = asyncio.create_task(camera.open(camera.lost.append))
    await until(lambda: camera.source.opened == 2)
    with pytest.raises(CameraOffline, match="unplugged"):
        await camera.capture()
    camera.source.add_frame()
    await opening


async def test_a_loss_is_reported_even_if_closing_the_device_hangs(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = make()
    await camera.start()
    hang = threading.Event()
    monkeypatch.setattr(camera.source, "close", hang.wait)
    capture = await camera.start_capture()
    camera.source.frames.put(CameraOffline("It was unplugged."))
    with pytest.raises(CameraOffline, match="unplugged"):
        await capture
    await until(lambda: len(camera.lost) == 1)
    hang.set()


async def test_a_cancelled_opening_leaves_no_reader(make: Make) -> None:
    camera = make()
    opening = asyncio.create_task(camera.open(camera.lost.append))
    await until(lambda: camera.source.opened == 1)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    camera.source.add_frame()
    await until(lambda: camera.source.closed == 1)


async def test_warm_up_begins_with_the_first_frame(make: Make) -> None:
    camera = make(Thresholds(warm_up=0.5), settles=True)
    opening = asyncio.create_task(camera.open(camera.lost.append))
    await asyncio.sleep(0.6)
    camera.source.add_frame(make_picture("#202020"))
    await opening
    capture = await camera.start_capture()
    for grey in (60, 120, 190, 190, 190, 190):
        camera.source.add_frame(make_picture(f"#{grey:02x}{grey:02x}{grey:02x}"))
    camera.source.add_frame(make_picture("#bebebe"))
    captured = await capture
    assert captured.quality is not None
    assert captured.quality.brightness > 0.7


async def test_a_capture_that_timed_out_is_no_longer_served(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.start_capture()
    camera.source.add_frame(age=1)
    capture.cancel()
    with pytest.raises(asyncio.CancelledError):
        await capture
    read = camera.source.read_count
    frames = [camera.source.add_frame() for _ in range(3)]
    await until(lambda: camera.source.read_count >= read + 3)
    assert [frame.decoded for frame in frames] == [0, 0, 0]


async def test_a_failing_is_back_counts_as_a_missing_device(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "DEVICE_POLL_INTERVAL", 0.001)
    camera = make()
    await camera.start()
    monkeypatch.setattr(camera.source, "is_back", lambda: 1 / 0)
    sign = asyncio.create_task(camera.wait_for_device())
    await until(lambda: "ZeroDivisionError" in caplog.text)
    assert not sign.done()
    sign.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sign


async def test_a_camera_with_only_old_frames_times_out(make: Make) -> None:
    camera = make(timeout=0.05)
    await camera.start()
    capture = await camera.start_capture()
    while not capture.done():
        camera.source.add_frame(age=10)
        await asyncio.sleep(0.01)
    with pytest.raises(CameraTimeout, match="older than the press"):
        await capture


async def test_a_cancelled_capture_does_not_affect_the_camera(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.start_capture()
    capture.cancel()
    with pytest.raises(asyncio.CancelledError):
        await capture
    again = asyncio.create_task(camera.capture())
    await asyncio.sleep(0)
    await until(lambda: camera._reader is not None and camera._reader._request is not None)
    camera.source.add_frame(age=1)
    camera.source.add_frame(make_picture("green"))
    assert (await again).data == make_picture("green")


async def test_the_preview_runs_only_while_it_is_set_and_during_a_capture(make: Make) -> None:
    camera = make()
    await camera.start()
    shown: list[bytes] = []
    camera.set_preview(shown.append)
    while len(shown) < 2:
        camera.source.add_frame(make_picture("red"))
        await asyncio.sleep(0.01)
    capture = await camera.start_capture()
    seen = len(shown)
    while not capture.done() or len(shown) < seen + 2:
        camera.source.add_frame(make_picture("green"))
        await asyncio.sleep(0.01)
    camera.set_preview(None)
    await until(lambda: camera.source.frames.empty())
    seen = len(shown)
    read = camera.source.read_count
    frames = [camera.source.add_frame() for _ in range(5)]
    await until(lambda: camera.source.read_count == read + 5)
    assert len(shown) == seen
    assert [frame.decoded for frame in frames][-1] == 0


async def test_the_preview_continues_after_a_new_opening(make: Make) -> None:
    camera = make()
    shown: list[bytes] = []
    camera.set_preview(shown.append)
    await camera.start()
    camera.source.frames.put(CameraOffline("It was unplugged."))
    await until(lambda: len(camera.lost) == 1)
    await camera.start()
    seen = len(shown)
    while len(shown) == seen:
        camera.source.add_frame(make_picture("green"))
        await asyncio.sleep(0.01)


async def test_a_damaged_frame_is_left_out_of_the_preview(make: Make) -> None:
    camera = make()
    await camera.start()
    shown: list[bytes] = []
    camera.set_preview(shown.append)
    for data in (b"no picture", make_picture("red")[:-20], make_picture("green")) * 3:
        frames = [camera.source.add_frame(data)]
        while not any(frame.decoded for frame in frames):  # until the preview's next frame is due
            await asyncio.sleep(0.005)
            frames.append(camera.source.add_frame(data))
    await until(lambda: len(shown) >= 3)
    assert not {b"no picture", make_picture("red")[:-20]} & set(shown)


async def test_a_source_that_does_not_stream_is_read_only_on_request(make: Make) -> None:
    camera = make(streams=False)
    await camera.open(camera.lost.append)
    capture = await camera.start_capture()
    camera.source.frames.put(ManualFrame(make_picture("green"), time.monotonic(), b"a"))
    assert (await capture).data == make_picture("green")
    assert camera.source.read_count == 1
    again = await camera.start_capture()
    camera.source.add_frame(make_picture("red"), raw=b"a")  # the same response as before: a cached one
    camera.source.add_frame(make_picture("blue"), raw=b"b")
    captured = await again
    assert captured.data == make_picture("blue")
    assert captured.quality is not None
    assert captured.quality.found == ("frozen",)


async def test_a_source_that_does_not_stream_is_not_flooded_after_bad_frames(make: Make) -> None:
    camera = make(streams=False, timeout=0.7)
    await camera.open(camera.lost.append)
    for _ in range(100):
        camera.source.add_frame(b"\xff\xd8 cut off", age=-60)
    with pytest.raises(BadImage):
        await camera.capture()
    assert 2 <= camera.source.read_count <= 1 + 0.7 / reader.RETRY_INTERVAL + 1


async def test_wait_for_device_returns_when_the_device_is_back(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "DEVICE_POLL_INTERVAL", 0.001)
    camera = make()
    await camera.start()
    camera.source.there = False
    sign = asyncio.create_task(camera.wait_for_device())
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not sign.done()
    camera.source.there = True
    await sign


async def test_closing_ends_the_thread_and_closes_the_source(make: Make) -> None:
    camera = make()
    await camera.start()
    thread = camera._reader
    assert thread is not None
    closing = asyncio.create_task(camera.close())
    await asyncio.sleep(0)
    camera.source.add_frame()
    await closing
    assert not thread.is_alive()
    assert (camera.source.closed, camera.lost) == (1, [])
