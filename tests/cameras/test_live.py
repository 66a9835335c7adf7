"""LiveCamera: which frame a capture gets, when a camera is lost, and what the preview shows.

The source is in the test's hand: it gives the frames that the test puts in, each with the moment its exposure began.
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

from dog.cameras import Still, live
from dog.cameras import source_reader as reader
from dog.cameras.frame_quality import FrameInspector, FrameStats, Thresholds
from dog.cameras.live import LiveCamera
from dog.cameras.pixel_formats import shrink
from dog.cameras.source import Frame
from dog.errors import BadImage, CameraBusy, CameraFault, CameraOffline, CameraTimeout, CaptureError
from tests.support.cameras import make_picture
from tests.support.pictures import draw, encode
from tests.support.running import until

FIXED = Thresholds(warm_up=0)
BLACK = make_picture("black")


@dataclass
class HandFrame:
    """A frame of the test's making; a callable `began` is asked when the frame is."""

    data: bytes = field(default_factory=make_picture)
    began: float = 0.0
    raw: bytes = b""
    decoded: int = 0

    def picture(self) -> bytes:
        self.decoded += 1
        return self.data

    @property
    def exposure(self) -> float | None:
        return None

    def preview(self) -> bytes:
        return shrink(self.picture())


class HandSource:
    """Gives what the test puts into `frames`: frames, or errors to raise; `hang` is an event it then waits for."""

    streams = True
    settles = False

    def __init__(self) -> None:
        self.frames: queue.SimpleQueue[HandFrame | Exception | threading.Event] = queue.SimpleQueue()
        self.trouble: CaptureError | None = None
        self.there = True
        self.opened = self.closed = self.read_count = 0
        self.serial = 0

    def open(self) -> None:
        self.opened += 1
        if self.trouble is not None:
            raise self.trouble

    def read(self, _patience: float) -> Frame:
        given = self.frames.get()
        if isinstance(given, threading.Event):
            given.wait()
            given = self.frames.get()
        if isinstance(given, Exception):
            raise given
        assert isinstance(given, HandFrame)
        self.read_count += 1
        return given

    def close(self) -> None:
        self.closed += 1

    def is_back(self) -> bool:
        return self.there

    def give(self, data: bytes | None = None, *, age: float = 0.0, raw: bytes | None = None) -> HandFrame:
        """A frame whose exposure began so many seconds ago."""
        self.serial += 1
        frame = HandFrame(
            make_picture() if data is None else data,
            time.monotonic() - age,
            b"frame %d" % self.serial if raw is None else raw,
        )
        self.frames.put(frame)
        return frame


class Live(LiveCamera):
    """A LiveCamera of one HandSource, with what it said of being lost."""

    def __init__(self, source: HandSource, thresholds: Thresholds, timeout: float) -> None:
        super().__init__(lambda: source, thresholds=thresholds, timeout=timeout, preview_rate=60)
        self.source = source
        self.lost: list[CaptureError] = []

    async def start(self) -> None:
        """Open it, and give the first frame."""
        self.source.give()
        await self.open(self.lost.append)

    async def asking(self) -> asyncio.Task[Still]:
        """A capture that waits for its frame."""
        capture = asyncio.create_task(self.capture())
        await until(lambda: self._reader is None or self._reader._wish is not None)
        return capture


Make = Callable[..., Live]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Live] = []

    def make_live(thresholds: Thresholds = FIXED, timeout: float = 60.0, **about: bool) -> Live:
        source = HandSource()
        for name, value in about.items():
            setattr(source, name, value)
        made.append(Live(source, thresholds, timeout))
        return made[-1]

    yield make_live
    for one in made:
        readers = [thread for thread in threading.enumerate() if isinstance(thread, reader.Reader)]
        for thread in readers:
            if thread._source is one.source:
                thread.stop()
                one.source.frames.put(CameraOffline("The test is over."))
        await one.close()


async def test_a_capture_gets_the_first_frame_whose_exposure_began_after_it(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.asking()
    for age in (0.5, 0.3, 0.1):
        camera.source.give(make_picture("red"), age=age)
    fresh = camera.source.give(make_picture("green"))
    camera.source.give(make_picture("blue"))
    still = await capture
    assert (still.data, still.began) == (fresh.data, fresh.began)
    assert still.quality is not None
    assert (still.quality.verdict, still.quality.retaken) == ("good", 0)


async def test_nothing_is_decoded_while_nobody_asks(make: Make) -> None:
    camera = make()
    await camera.start()
    frames = [camera.source.give() for _ in range(20)]
    await until(lambda: camera.source.read_count == 21)
    assert [frame.decoded for frame in frames] == [0] * 20
    capture = await camera.asking()
    stale, fresh, late = camera.source.give(age=1), camera.source.give(), camera.source.give()
    await capture
    await until(lambda: camera.source.read_count == 24)
    assert (stale.decoded, fresh.decoded, late.decoded) == (1, 1, 0)  # there is time to look at the one before


async def test_frames_that_are_cut_off_are_taken_again_and_said(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.asking()
    camera.source.give(age=1)
    for _ in range(20):
        camera.source.give(make_picture("red")[:-20])
    camera.source.give(make_picture("green"))
    still = await capture
    assert still.data == make_picture("green")
    assert still.quality is not None
    assert (still.quality.verdict, still.quality.retaken, still.quality.found) == ("good", 20, ("damaged",))


async def test_a_camera_that_only_gives_damaged_frames_fails_at_the_time_limit(make: Make) -> None:
    camera = make(timeout=0.05)
    await camera.start()
    capture = await camera.asking()
    while not capture.done():
        camera.source.give(make_picture()[:-20])
        await asyncio.sleep(0.01)
    with pytest.raises(BadImage, match="cut off") as caught:
        await capture
    assert "frames were let go" in caught.value.detail


async def test_a_frame_like_the_one_before_is_not_decoded_while_the_press_waits(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bytes] = []
    look = FrameInspector.look

    def note(judge: FrameInspector, picture: bytes) -> FrameStats:
        looks.append(picture)
        return look(judge, picture)

    monkeypatch.setattr(FrameInspector, "look", note)
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
        capture = await camera.asking()
        camera.source.give(one, age=1, raw=one)
        for frame in frames:
            camera.source.give(frame, raw=frame)
        assert (await capture).data == frames[-1]
        assert looks[-len(looked_at) :] == looked_at  # the very first frame may have been looked at, too


async def test_a_black_frame_is_taken_again_and_a_brighter_one_counts(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.asking()
    camera.source.give(age=1)
    for _ in range(3):
        camera.source.give(BLACK)
    camera.source.give(make_picture("white"))
    still = await capture
    assert still.quality is not None
    assert (still.quality.verdict, still.quality.found, still.quality.retaken) == ("good", ("black",), 3)
    assert still.quality.brightness == 1.0


async def test_where_it_stays_dark_the_black_picture_is_given_and_said_to_be_black(make: Make) -> None:
    camera = make(Thresholds(warm_up=0, retake=0))
    await camera.start()
    capture = await camera.asking()
    camera.source.give(age=1)
    camera.source.give(BLACK)
    still = await capture
    assert still.quality is not None
    assert (still.data, still.quality.verdict, still.quality.brightness) == (BLACK, "black", 0.0)


async def test_a_frame_that_is_the_very_same_as_the_one_before_is_not_taken(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.asking()
    camera.source.give(age=1, raw=b"same")
    for _ in range(3):
        camera.source.give(raw=b"same")
    moved = camera.source.give(make_picture("green"), raw=b"moved")
    still = await capture
    assert still.data == moved.data
    assert still.quality is not None
    assert (still.quality.found, still.quality.retaken) == (("frozen",), 3)


async def test_a_camera_that_stays_frozen_fails_rather_than_give_an_old_picture(make: Make) -> None:
    camera = make(Thresholds(warm_up=0, retake=0))
    await camera.start()
    capture = await camera.asking()
    camera.source.give(age=1, raw=b"same")
    camera.source.give(raw=b"same")
    with pytest.raises(CameraFault, match="is frozen"):
        await capture


async def test_what_stands_still_may_be_taken_where_the_setting_says_so(make: Make) -> None:
    camera = make(Thresholds(warm_up=0, frozen=False))
    await camera.start()
    for _ in range(2):
        capture = await camera.asking()
        camera.source.give(raw=b"same")
        assert (await capture).quality is not None


async def test_no_frame_is_taken_before_the_exposure_has_settled(make: Make) -> None:
    camera = make(Thresholds(warm_up=60), settles=True)
    await camera.start()
    capture = await camera.asking()
    for grey in (20, 90, 140, 170, 190, 190, 190):
        camera.source.give(make_picture(f"#{grey:02x}{grey:02x}{grey:02x}"))
    settled = camera.source.give(make_picture("#bebebe"))
    after = camera.source.give(make_picture("#bfbfbf"))
    still = await capture
    assert still.data in (settled.data, after.data)
    assert still.quality is not None
    assert still.quality.brightness > 0.7


async def test_an_exposure_that_never_settles_is_waited_for_no_longer_than_warm_up(make: Make) -> None:
    camera = make(Thresholds(warm_up=0.05), settles=True)
    await camera.start()
    capture = await camera.asking()
    turn = 0
    while not capture.done():
        turn += 1
        camera.source.give(make_picture("white" if turn % 2 else "gray"))
        await asyncio.sleep(0.01)
    assert (await capture).quality is not None


async def test_a_camera_that_goes_by_itself_is_lost_at_once_and_its_capture_fails(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.asking()
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
        capture = await camera.asking()
        camera.source.give(age=1)
        camera.source.give(make_picture("green"))
        assert (await capture).data == make_picture("green")
        camera.source.frames.put(CameraOffline("It was unplugged."))
        await until(lambda turn=turn: len(camera.lost) == turn + 1)  # type: ignore[misc]
    assert camera.source.opened == 3
    await until(lambda: camera.source.closed == 3)


async def test_a_camera_that_can_t_be_opened_says_why_and_is_not_lost(make: Make) -> None:
    camera = make()
    camera.source.trouble = CameraBusy("Another program has it.")
    with pytest.raises(CameraBusy):
        await camera.open(camera.lost.append)
    with pytest.raises(CameraBusy):
        await camera.capture()
    assert camera.lost == []
    await until(lambda: camera.source.closed == 1)


async def test_a_press_while_the_camera_is_being_opened_waits_for_it(make: Make) -> None:
    camera = make()
    opening = asyncio.create_task(camera.open(camera.lost.append))
    await until(lambda: camera.source.opened == 1)
    capture = asyncio.create_task(camera.capture())
    await asyncio.sleep(0)
    camera.source.give()
    await opening
    await until(lambda: camera._reader is not None and camera._reader._wish is not None)
    camera.source.give(age=1)
    camera.source.give(make_picture("green"))
    assert (await capture).data == make_picture("green")


async def test_a_driver_that_breaks_is_lost_and_the_log_says_how(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    camera = make()
    await camera.start()
    camera.source.frames.put(ZeroDivisionError("inside"))
    await until(lambda: len(camera.lost) == 1)
    assert camera.lost[0].message == "The camera's driver failed. See the server's log."
    assert "inside" in caplog.text


async def test_a_driver_that_never_comes_back_is_given_up_and_the_camera_opened_anew(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CLOSING", 0.05)
    camera = make()
    await camera.start()
    capture = await camera.asking()
    hang = threading.Event()
    camera.source.frames.put(hang)
    assert camera._reader is not None
    camera._reader.read_limit = -live.SLACK  # so that it hangs at the next look, and not before the capture waits
    with pytest.raises(CameraOffline, match="has not answered for"):
        await capture
    assert len(camera.lost) == 1
    threads = threading.active_count()
    for _ in range(3):
        with pytest.raises(CameraOffline, match="driver hangs"):
            await camera.open(camera.lost.append)
    assert threading.active_count() == threads
    hang.set()
    camera.source.frames.put(HandFrame())
    await until(lambda: camera.source.closed == 1)
    await camera.start()
    again = await camera.asking()
    camera.source.give(age=1)
    camera.source.give(make_picture("green"))
    assert (await again).data == make_picture("green")
    assert len(camera.lost) == 1


async def test_a_camera_that_goes_in_the_moment_it_was_opened_is_not_open(make: Make) -> None:
    camera = make()
    for _ in range(20):
        camera.source.give()
        camera.source.frames.put(CameraOffline("It was unplugged."))
        with contextlib.suppress(CameraOffline):
            await camera.open(camera.lost.append)
            await until(lambda: camera._reader is None)
        with pytest.raises(CameraOffline, match="unplugged"):
            await camera.capture()


async def test_a_press_while_an_offline_camera_is_tried_again_fails_at_once(make: Make) -> None:
    camera = make()
    await camera.start()
    camera.source.frames.put(CameraOffline("It was unplugged."))
    await until(lambda: len(camera.lost) == 1)
    opening = asyncio.create_task(camera.open(camera.lost.append))
    await until(lambda: camera.source.opened == 2)
    with pytest.raises(CameraOffline, match="unplugged"):
        await camera.capture()
    camera.source.give()
    await opening


async def test_a_device_that_does_not_let_go_is_told_as_gone_all_the_same(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = make()
    await camera.start()
    hang = threading.Event()
    monkeypatch.setattr(camera.source, "close", hang.wait)
    capture = await camera.asking()
    camera.source.frames.put(CameraOffline("It was unplugged."))
    with pytest.raises(CameraOffline, match="unplugged"):
        await capture
    await until(lambda: len(camera.lost) == 1)
    hang.set()


async def test_an_opening_that_is_given_up_leaves_no_reader(make: Make) -> None:
    camera = make()
    opening = asyncio.create_task(camera.open(camera.lost.append))
    await until(lambda: camera.source.opened == 1)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    camera.source.give()
    await until(lambda: camera.source.closed == 1)


async def test_the_exposure_has_as_long_to_settle_when_the_first_frame_is_late(make: Make) -> None:
    camera = make(Thresholds(warm_up=0.5), settles=True)
    opening = asyncio.create_task(camera.open(camera.lost.append))
    await asyncio.sleep(0.6)
    camera.source.give(make_picture("#202020"))
    await opening
    capture = await camera.asking()
    for grey in (60, 120, 190, 190, 190, 190):
        camera.source.give(make_picture(f"#{grey:02x}{grey:02x}{grey:02x}"))
    camera.source.give(make_picture("#bebebe"))
    still = await capture
    assert still.quality is not None
    assert still.quality.brightness > 0.7


async def test_a_capture_that_is_given_up_is_looked_for_no_longer(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.asking()
    camera.source.give(age=1)
    capture.cancel()
    with pytest.raises(asyncio.CancelledError):
        await capture
    read = camera.source.read_count
    frames = [camera.source.give() for _ in range(3)]
    await until(lambda: camera.source.read_count >= read + 3)
    assert [frame.decoded for frame in frames] == [0, 0, 0]


async def test_a_source_whose_look_fails_gives_no_sign(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "SIGN", 0.001)
    camera = make()
    await camera.start()
    monkeypatch.setattr(camera.source, "is_back", lambda: 1 / 0)
    sign = asyncio.create_task(camera.wait_for_device())
    await until(lambda: "ZeroDivisionError" in caplog.text)
    assert not sign.done()
    sign.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sign


async def test_a_camera_whose_frames_are_all_too_old_times_out(make: Make) -> None:
    camera = make(timeout=0.05)
    await camera.start()
    capture = await camera.asking()
    while not capture.done():
        camera.source.give(age=10)
        await asyncio.sleep(0.01)
    with pytest.raises(CameraTimeout, match="older than the press"):
        await capture


async def test_a_capture_that_is_cancelled_leaves_the_camera_as_it_was(make: Make) -> None:
    camera = make()
    await camera.start()
    capture = await camera.asking()
    capture.cancel()
    with pytest.raises(asyncio.CancelledError):
        await capture
    again = asyncio.create_task(camera.capture())
    await asyncio.sleep(0)
    await until(lambda: camera._reader is not None and camera._reader._wish is not None)
    camera.source.give(age=1)
    camera.source.give(make_picture("green"))
    assert (await again).data == make_picture("green")


async def test_the_preview_shows_frames_only_while_it_is_wanted_and_goes_on_through_a_capture(make: Make) -> None:
    camera = make()
    await camera.start()
    shown: list[bytes] = []
    camera.show(shown.append)
    while len(shown) < 2:
        camera.source.give(make_picture("red"))
        await asyncio.sleep(0.01)
    capture = await camera.asking()
    seen = len(shown)
    while not capture.done() or len(shown) < seen + 2:
        camera.source.give(make_picture("green"))
        await asyncio.sleep(0.01)
    camera.show(None)
    await until(lambda: camera.source.frames.empty())
    seen = len(shown)
    read = camera.source.read_count
    frames = [camera.source.give() for _ in range(5)]
    await until(lambda: camera.source.read_count == read + 5)
    assert len(shown) == seen
    assert [frame.decoded for frame in frames][-1] == 0


async def test_the_preview_goes_on_after_the_camera_came_back(make: Make) -> None:
    camera = make()
    shown: list[bytes] = []
    camera.show(shown.append)
    await camera.start()
    camera.source.frames.put(CameraOffline("It was unplugged."))
    await until(lambda: len(camera.lost) == 1)
    await camera.start()
    seen = len(shown)
    while len(shown) == seen:
        camera.source.give(make_picture("green"))
        await asyncio.sleep(0.01)


async def test_a_damaged_frame_is_left_out_of_the_preview(make: Make) -> None:
    camera = make()
    await camera.start()
    shown: list[bytes] = []
    camera.show(shown.append)
    while len(shown) < 3:
        camera.source.give(b"no picture")
        camera.source.give(make_picture("red")[:-20])
        camera.source.give(make_picture("green"))
        await asyncio.sleep(0.01)
    assert not {b"no picture", make_picture("red")[:-20]} & set(shown)


async def test_a_source_that_does_not_stream_is_read_only_when_somebody_asks(make: Make) -> None:
    camera = make(streams=False)
    await camera.open(camera.lost.append)
    capture = await camera.asking()
    camera.source.frames.put(HandFrame(make_picture("green"), time.monotonic(), b"a"))
    assert (await capture).data == make_picture("green")
    assert camera.source.read_count == 1
    again = await camera.asking()
    camera.source.give(make_picture("red"), raw=b"a")  # the very same answer as before: a cached one
    camera.source.give(make_picture("blue"), raw=b"b")
    still = await again
    assert still.data == make_picture("blue")
    assert still.quality is not None
    assert still.quality.found == ("frozen",)


async def test_a_source_that_does_not_stream_is_not_flooded_when_its_pictures_are_bad(make: Make) -> None:
    camera = make(streams=False, timeout=0.7)
    await camera.open(camera.lost.append)
    for _ in range(100):
        camera.source.give(b"<html>", age=-60)
    with pytest.raises(BadImage):
        await camera.capture()
    assert 2 <= camera.source.read_count <= 1 + 0.7 / reader.AGAIN + 1


async def test_a_sign_is_a_device_that_is_there_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SIGN", 0.001)
    camera = make()
    await camera.start()
    camera.source.there = False
    sign = asyncio.create_task(camera.wait_for_device())
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not sign.done()
    camera.source.there = True
    await sign


async def test_closing_ends_the_thread_and_lets_go_of_the_source(make: Make) -> None:
    camera = make()
    await camera.start()
    thread = camera._reader
    assert thread is not None
    closing = asyncio.create_task(camera.close())
    await asyncio.sleep(0)
    camera.source.give()
    await closing
    assert not thread.is_alive()
    assert (camera.source.closed, camera.lost) == (1, [])
