"""The camera task: its events, its errors and its stop."""

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

from dog.cameras import CapturedImage
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


class RecordingHub(Hub):
    """A hub without viewers that records its events."""

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
        self.hub = RecordingHub(self.metrics)
        self.store = store
        self.task = CameraTask(
            "main",
            self.camera,
            queue=CaptureQueue(dead_time, itertools.count(1).__next__),
            store=store,
            hub=self.hub,
            urls=UrlBuilder(None),
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


async def test_a_capture_publishes_two_events_and_returns_its_snapshot(make: Make) -> None:
    parts = await make()
    reply, snapshot = await parts.task.capture_and_wait()
    assert (reply.outcome, reply.capture) == ("started", 1)
    assert parts.hub.types == ["capturing", "ready"]
    assert parts.hub.events[1]["snapshot"] == snapshot.id
    assert parts.hub.events[0]["at"] == parts.hub.events[1]["captured_at"]
    assert parts.task.latest == snapshot


async def test_a_key_that_joins_during_the_exposure_is_saved_with_the_snapshot(make: Make) -> None:
    parts = await make(dead_time=5.0)
    parts.camera.held = True
    first = asyncio.create_task(parts.task.capture_and_wait())
    await parts.camera.exposing.wait()
    assert parts.task.request(key="door").outcome == "joined"
    await parts.camera.release()
    _, snapshot = await first
    assert snapshot.origin.request == "door"


async def test_all_requests_of_a_failed_capture_get_its_error(make: Make) -> None:
    parts = await make()
    parts.camera.held = True
    parts.camera.results.append(CameraFault("No light."))
    requests = [asyncio.create_task(parts.task.capture_and_wait()) for _ in range(3)]
    await parts.camera.release()
    for request in requests:
        with pytest.raises(CameraFault, match="No light"):
            await request
    assert parts.hub.types == ["capturing", "failed"]


async def test_a_cancelled_request_does_not_cancel_the_capture_of_others(make: Make) -> None:
    parts = await make()
    parts.camera.held = True
    waiting, cancelled = (asyncio.create_task(parts.task.capture_and_wait()) for _ in range(2))
    await parts.camera.exposing.wait()
    cancelled.cancel()
    await parts.camera.release()
    assert (await waiting)[0].capture == 1
    assert cancelled.cancelled()


async def test_a_driver_that_misses_its_time_limit_is_cancelled(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_task, "TIMEOUT_GRACE", 0.01)
    parts = await make(capture_timeout=0.01)
    parts.camera.held = True
    with pytest.raises(CaptureError, match=r"did not answer within 0\.01 s"):
        await parts.task.capture_and_wait()
    assert parts.hub.events[-1]["code"] == "timeout"
    parts.camera.held = False
    await parts.task.capture_and_wait()


async def test_an_exception_of_a_driver_fails_the_capture(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    parts = await make()
    parts.camera.results.append(ZeroDivisionError("inside"))
    with pytest.raises(CameraFault, match="See the server's log"):
        await parts.task.capture_and_wait()
    assert parts.hub.types == ["capturing", "failed"]
    assert "inside" in caplog.text
    await parts.task.capture_and_wait()


async def test_a_failed_capture_keeps_its_message_but_no_frames(make: Make) -> None:
    """Its stack frames refer to the image: 256 of them would fill the memory."""
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


async def test_an_os_error_is_reported_with_its_text(make: Make) -> None:
    parts = await make()
    parts.camera.results.append(OSError(24, "Too many open files"))
    with pytest.raises(CameraFault, match="Too many open files"):
        await parts.task.capture_and_wait()


async def test_only_the_results_of_the_last_captures_are_remembered(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "MAX_REMEMBERED", 3)
    parts = await make()
    for _ in range(5):
        await parts.task.capture_and_wait(max_age=0)
    assert [parts.task.results.find(number) is None for number in range(1, 6)] == [True, True, False, False, False]


async def test_cached_requests_do_not_open_an_offline_camera(make: Make) -> None:
    parts = await make()
    await parts.task.capture_and_wait()
    parts.camera.offline = True
    with pytest.raises(CameraOffline):
        await parts.task.capture_and_wait(max_age=0)
    for _ in range(50):
        assert parts.task.request(max_age=3600).outcome == "cached"
        await asyncio.sleep(0)
    assert parts.camera.opened == 1


async def test_a_snapshot_that_is_being_saved_at_the_stop_is_saved_and_published(
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
    await until(lambda: parts.task._capturer.is_stopping)
    for _ in range(10):
        await asyncio.sleep(0)
    go.set()
    await stop
    assert (await press)[1] == parts.task.latest
    assert parts.hub.types == ["capturing", "ready"]


async def test_a_camera_with_frames_retakes_an_image_that_the_store_rejects(make: Make) -> None:
    parts = await make()
    whole, damaged = make_picture(), b"no picture"
    quality = Quality(verdict="good", brightness=0.5, retaken=1, found=("black",))
    parts.camera.results += [CapturedImage(data=damaged, quality=quality)] * 2 + [
        CapturedImage(data=whole, quality=quality)
    ]
    await parts.task.capture_and_wait()
    assert parts.hub.types == ["capturing", "ready"]
    assert parts.hub.events[-1]["quality"] == {
        "verdict": "good",
        "brightness": 0.5,
        "retaken": 3,
        "found": ["black", "damaged"],
    }
    parts.camera.results.append(damaged)  # a program takes only one image
    with pytest.raises(BadImage):
        await parts.task.capture_and_wait(max_age=0)


async def test_requests_to_an_offline_camera_share_a_failure(make: Make) -> None:
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


async def test_a_camera_lost_while_its_image_is_saved_stays_offline(
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


async def test_an_exception_that_ends_the_task_is_logged_and_the_stop_closes_the_camera(
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
    parts.task._tasks = ()  # the fixture stops it again


async def test_a_stop_fails_the_running_capture_and_refuses_waiting_requests(make: Make) -> None:
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


def test_a_snapshot_of_an_earlier_run_has_its_age_by_the_wall_clock() -> None:
    restored = restore_latest(make_snapshot(utc_now() - dt.timedelta(seconds=30)), 1000.0)
    assert restored is not None
    assert restored.started_at == pytest.approx(970, abs=5)
    assert restore_latest(None, 1000.0) is None


def test_a_snapshot_from_the_future_is_too_old_for_any_max_age() -> None:
    restored = restore_latest(make_snapshot(utc_now() + dt.timedelta(hours=1)), 1000.0)
    queue = CaptureQueue(1.0, itertools.count(8).__next__, restored)
    assert queue.request(1000.0, max_age=1e9).outcome == "started"
