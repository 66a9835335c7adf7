"""The one task that owns a camera: what it tells, what it does when things go wrong, and how it ends."""

import asyncio
import datetime as dt
import itertools
import json
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dog.cameras import Still
from dog.captures import camera_task, results
from dog.captures.availability import utc_now
from dog.captures.camera_task import CameraTask, restore_latest
from dog.captures.queue import CaptureQueue
from dog.errors import BadImage, CameraFault, CameraOffline, CaptureError, RequestError
from dog.metrics import Metrics
from dog.protocol import Event, Quality
from dog.push.hub import Hub
from dog.snapshots import Snapshot, SnapshotStore
from dog.urls import UrlBuilder
from tests.support.cameras import HandCamera, make_picture
from tests.support.running import until


class Told(Hub):
    """A hub without viewers that remembers what it was told."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(1, "dog/test", metrics, clock=time.monotonic)
        self.events: list[dict[str, Any]] = []

    def publish(self, event: Event) -> None:
        import msgspec

        self.events.append(json.loads(msgspec.json.encode(event)))
        super().publish(event)

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


class Parts:
    def __init__(self, store: SnapshotStore, dead_time: float, capture_timeout: float) -> None:
        self.camera = HandCamera()
        self.metrics = Metrics("test")
        self.hub = Told(self.metrics)
        self.store = store
        self.task = CameraTask(
            "main",
            self.camera,
            queue=CaptureQueue(dead_time, itertools.count(1).__next__),
            store=store,
            hub=self.hub,
            links=UrlBuilder(None),
            metrics=self.metrics,
            capture_timeout=capture_timeout,
        )
        self.task.start()


Make = Callable[..., Awaitable[Parts]]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Parts] = []

    async def start(dead_time: float = 0.0, capture_timeout: float = 60.0) -> Parts:
        store = SnapshotStore(tmp_path / str(len(made)))
        await store.open()
        made.append(Parts(store, dead_time, capture_timeout))
        return made[-1]

    yield start
    for parts in made:
        await parts.task.stop(0)
        await parts.store.close()


async def test_what_is_asked_for_comes_with_its_two_events(make: Make) -> None:
    parts = await make()
    reply, snapshot = await parts.task.capture_and_wait()
    assert (reply.outcome, reply.capture) == ("started", 1)
    assert parts.hub.types == ["capturing", "ready"]
    assert parts.hub.events[1]["snapshot"] == snapshot.id
    assert parts.hub.events[0]["at"] == parts.hub.events[1]["captured_at"]
    assert parts.task.latest == snapshot


async def test_everybody_who_waits_for_a_failed_capture_is_told_why(make: Make) -> None:
    parts = await make()
    parts.camera.held = True
    parts.camera.results.append(CameraFault("No light."))
    waiting = [asyncio.create_task(parts.task.capture_and_wait()) for _ in range(3)]
    await parts.camera.release()
    for one in waiting:
        with pytest.raises(CameraFault, match="No light"):
            await one
    assert parts.hub.types == ["capturing", "failed"]


async def test_who_gives_up_waiting_takes_the_photo_from_nobody(make: Make) -> None:
    parts = await make()
    parts.camera.held = True
    patient, hasty = (asyncio.create_task(parts.task.capture_and_wait()) for _ in range(2))
    await parts.camera.exposing.wait()
    hasty.cancel()
    await parts.camera.release()
    assert (await patient)[0].capture == 1
    assert hasty.cancelled()


async def test_a_driver_that_forgets_its_time_limit_is_cut_off(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_task, "TIMEOUT_GRACE", 0.01)
    parts = await make(capture_timeout=0.01)
    parts.camera.held = True
    with pytest.raises(CaptureError, match=r"did not answer within 0\.01 s"):
        await parts.task.capture_and_wait()
    assert parts.hub.events[-1]["code"] == "timeout"
    parts.camera.held = False
    await parts.task.capture_and_wait()


async def test_a_driver_that_breaks_is_an_end_like_any_other(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    parts = await make()
    parts.camera.results.append(ZeroDivisionError("inside"))
    with pytest.raises(CameraFault, match="See the server's log"):
        await parts.task.capture_and_wait()
    assert parts.hub.types == ["capturing", "failed"]
    assert "inside" in caplog.text
    await parts.task.capture_and_wait()


async def test_a_failed_capture_keeps_its_message_but_no_frames(make: Make) -> None:
    """Its frames hold the refused picture, and 256 of them would fill the memory."""
    parts = await make()
    parts.camera.results.append(b"no picture" * 1000)
    with pytest.raises(BadImage):
        await parts.task.capture_and_wait()
    future = parts.task.results.find(1)
    assert future is not None
    error = future.exception()
    assert error is not None
    assert (error.__cause__, error.__context__) == (None, None)
    frames = {frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)}
    assert frames <= {"capture_and_wait", "test_a_failed_capture_keeps_its_message_but_no_frames"}


async def test_what_the_system_refuses_is_told_in_its_words(make: Make) -> None:
    parts = await make()
    parts.camera.results.append(OSError(24, "Too many open files"))
    with pytest.raises(CameraFault, match="Too many open files"):
        await parts.task.capture_and_wait()


async def test_what_became_of_a_capture_is_remembered_for_a_while_and_not_for_ever(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "MAX_REMEMBERED", 3)
    parts = await make()
    for _ in range(5):
        await parts.task.capture_and_wait(max_age=0)
    assert [parts.task.results.find(number) is None for number in range(1, 6)] == [True, True, False, False, False]


async def test_presses_that_an_existing_photo_answers_do_not_bother_an_offline_camera(make: Make) -> None:
    parts = await make()
    await parts.task.capture_and_wait()
    parts.camera.offline = True
    with pytest.raises(CameraOffline):
        await parts.task.capture_and_wait(max_age=0)
    for _ in range(50):
        assert parts.task.request(max_age=3600).outcome == "cached"
        await asyncio.sleep(0)
    assert parts.camera.opened == 1


async def test_a_photo_that_is_being_saved_at_the_stop_is_saved_and_told(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = await make()
    saving, go = asyncio.Event(), asyncio.Event()
    save = parts.store.save

    async def save_slowly(data: bytes, **about: Any) -> Snapshot:
        saving.set()
        await go.wait()
        return await save(data, **about)

    monkeypatch.setattr(parts.store, "save", save_slowly)
    press = asyncio.create_task(parts.task.capture_and_wait())
    await saving.wait()
    stop = asyncio.create_task(parts.task.stop(0))
    await until(lambda: parts.task._stopping)
    for _ in range(10):
        await asyncio.sleep(0)
    go.set()
    await stop
    assert (await press)[1] == parts.task.latest
    assert parts.hub.types == ["capturing", "ready"]


async def test_damage_that_only_the_store_finds_is_taken_again_where_the_camera_gives_frames(make: Make) -> None:
    parts = await make()
    with_header, damaged = make_picture(), b"no picture"
    seen = Quality(verdict="good", brightness=0.5, retaken=1, found=("black",))
    parts.camera.results += [Still(data=damaged, quality=seen)] * 2 + [Still(data=with_header, quality=seen)]
    await parts.task.capture_and_wait()
    assert parts.hub.types == ["capturing", "ready"]
    assert parts.hub.events[-1]["quality"] == {
        "verdict": "good",
        "brightness": 0.5,
        "retaken": 3,
        "found": ["black", "damaged"],
    }
    parts.camera.results.append(damaged)  # a program takes one picture, and that is it
    with pytest.raises(BadImage):
        await parts.task.capture_and_wait(max_age=0)


async def test_presses_at_an_offline_camera_share_their_failures(make: Make) -> None:
    parts = await make()
    await parts.task.availability.first_attempt_done.wait()
    parts.camera.offline = True
    parts.camera.lost(CameraOffline("Unplugged."))
    for _ in range(3):
        presses = [asyncio.create_task(parts.task.capture_and_wait(max_age=0)) for _ in range(100)]
        for press in presses:
            with pytest.raises(CameraOffline):
                await press
    assert parts.camera.captures <= 6


async def test_a_camera_that_goes_while_its_picture_is_saved_is_gone(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = await make()
    await parts.task.availability.first_attempt_done.wait()
    save = parts.store.save

    async def save_and_lose(data: bytes, **about: Any) -> Snapshot:
        parts.camera.lost(CameraOffline("Unplugged."))
        return await save(data, **about)

    monkeypatch.setattr(parts.store, "save", save_and_lose)
    await parts.task.capture_and_wait()
    assert parts.hub.types == ["capturing", "camera", "ready"]
    assert parts.task.status().state == "offline"


async def test_a_mistake_that_ends_the_task_is_in_the_log_and_the_camera_is_closed_at_the_stop(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parts = await make()

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(parts.task._queue, "finish", fail)
    parts.task.request()
    await until(lambda: "the task 'camera main' has ended" in caplog.text)
    with pytest.raises(ZeroDivisionError):
        await parts.task.stop(0)
    assert parts.camera.closed
    parts.task._task = None  # the fixture stops it again


async def test_a_stop_ends_the_exposure_as_failed_and_sends_away_who_waits_for_the_next(make: Make) -> None:
    parts = await make()
    parts.camera.held = True
    first = asyncio.create_task(parts.task.capture_and_wait())
    await parts.camera.exposing.wait()
    second = asyncio.create_task(parts.task.capture_and_wait(max_age=0))
    await until(lambda: parts.task._queue.pending is not None)
    await parts.task.stop(0)
    with pytest.raises(CameraFault, match="stopped during"):
        await first
    with pytest.raises(RequestError) as refused:
        await second
    assert refused.value.code == "overloaded"
    assert parts.hub.types == ["capturing", "failed"]
    assert parts.camera.closed
    with pytest.raises(RequestError) as refused:
        parts.task.request(key="late")
    assert (refused.value.code, refused.value.request) == ("overloaded", "late")


def make_snapshot(captured_at: dt.datetime) -> Snapshot:
    return Snapshot("a" * 24, "main", 7, captured_at, 1, 1, 1, "image/jpeg")


def test_a_photo_of_an_earlier_run_is_as_old_as_the_clock_says() -> None:
    restored = restore_latest(make_snapshot(utc_now() - dt.timedelta(seconds=30)), 1000.0)
    assert restored is not None
    assert restored.started_at == pytest.approx(970, abs=5)
    assert restore_latest(None, 1000.0) is None


def test_a_photo_from_the_future_is_older_than_anybody_allows() -> None:
    restored = restore_latest(make_snapshot(utc_now() + dt.timedelta(hours=1)), 1000.0)
    queue = CaptureQueue(1.0, itertools.count(8).__next__, restored)
    assert queue.request(1000.0, max_age=1e9).outcome == "started"
