"""Availability: the state of a camera, its notifications and its retries."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from dog.cameras import OnLost
from dog.captures import availability
from dog.captures.availability import Availability
from dog.errors import CameraBusy, CameraFault, CameraOffline
from tests.support.cameras import HandCamera
from tests.support.running import until


class Recorder(Availability):
    """An Availability that records its notifications and pauses.

    A pause ends when the device appears.
    """

    def __init__(self, camera: HandCamera) -> None:
        self.camera = camera
        self.changes: list[str | None] = []
        self.pauses: list[float] = []
        self.skip_pauses = False
        super().__init__("main", camera, open_timeout=60.0, on_change=self._record)

    def _record(self) -> None:
        self.changes.append(self.offline.message if self.offline else None)

    async def _pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return await super()._pause(0 if self.skip_pauses else 60)


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    recorder = Recorder(HandCamera())
    task = asyncio.create_task(recorder.run())
    yield recorder
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_working_camera_is_opened_once_and_nothing_is_published(recorder: Recorder) -> None:
    await recorder.first_attempt_done.wait()
    recorder.set_state(None)
    await asyncio.sleep(0)
    assert (recorder.camera.opened, recorder.changes, recorder.offline, recorder.since, recorder.retry_after) == (
        1,
        [],
        None,
        None,
        0,
    )


async def test_a_lost_camera_is_published_at_once_with_time_and_reason(recorder: Recorder) -> None:
    await recorder.first_attempt_done.wait()
    before = availability.utc_now()
    recorder.camera.lost(CameraOffline("Unplugged."))
    assert recorder.changes == ["Unplugged."]
    assert recorder.since is not None
    assert before <= recorder.since <= availability.utc_now()
    assert 0 < recorder.retry_after <= availability.MIN_RETRY_INTERVAL
    recorder.camera.sign.set()
    await until(lambda: recorder.offline is None)
    assert recorder.changes == ["Unplugged.", None]
    await until(lambda: recorder.since is None)


async def test_an_offline_camera_is_opened_again_with_growing_delays(recorder: Recorder) -> None:
    await recorder.first_attempt_done.wait()
    recorder.camera.offline = recorder.skip_pauses = True
    recorder.camera.lost(CameraOffline("Unplugged."))
    await until(lambda: recorder.camera.opened >= 9)
    recorder.camera.offline = False
    await until(lambda: recorder.offline is None)
    assert recorder.pauses[:8] == [0.5, 1, 2, 4, 8, 10, 10, 10]
    assert recorder.changes == ["Unplugged.", "The camera is not plugged in.", None]


async def test_the_retry_delays_restart_when_the_camera_is_lost_again(recorder: Recorder) -> None:
    await recorder.first_attempt_done.wait()
    for _ in range(2):
        recorder.pauses.clear()
        recorder.camera.offline = recorder.skip_pauses = True
        recorder.camera.lost(CameraOffline("Unplugged."))
        await until(lambda: len(recorder.pauses) >= 3)
        recorder.camera.offline = False
        await until(lambda: recorder.offline is None)
        assert recorder.pauses[:3] == [0.5, 1, 2]


async def test_the_wait_ends_when_the_device_appears(recorder: Recorder) -> None:
    await recorder.first_attempt_done.wait()
    recorder.camera.offline = True
    recorder.camera.lost(CameraOffline("Unplugged."))
    await until(lambda: len(recorder.pauses) == 1)
    assert recorder.camera.opened == 1
    recorder.camera.offline = False
    recorder.camera.sign.set()
    await until(lambda: recorder.offline is None)
    assert recorder.camera.opened == 2


async def test_a_camera_that_is_offline_at_the_start_is_retried_after_the_first_delay(
    recorder: Recorder,
) -> None:
    """The first attempt is not followed by another one at once."""
    other = Recorder(HandCamera())
    other.camera.offline = True
    task = asyncio.create_task(other.run())
    await until(lambda: len(other.pauses) == 1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert (other.camera.opened, other.pauses) == (1, [0.5])
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_driver_that_fails_to_wait_for_the_device_is_not_called_in_a_loop(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    await recorder.first_attempt_done.wait()
    monkeypatch.setattr(recorder.camera, "wait_for_device", fail)
    recorder.camera.lost(CameraOffline("Unplugged."))
    await until(lambda: "failed while it waited" in caplog.text)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(recorder.pauses) == 1


async def test_a_device_that_appeared_but_was_not_ready_is_retried_soon(recorder: Recorder) -> None:
    await recorder.first_attempt_done.wait()
    recorder.camera.offline = recorder.skip_pauses = True
    recorder.camera.lost(CameraOffline("Unplugged."))
    await until(lambda: len(recorder.pauses) >= 6)
    recorder.skip_pauses = False
    await until(lambda: recorder.pauses[-1] == 10)
    recorder.camera.sign.set()
    await until(lambda: recorder.pauses[-1] != 10)
    assert recorder.pauses[-1] == availability.MIN_RETRY_INTERVAL


async def test_a_driver_may_set_the_retry_delay(recorder: Recorder) -> None:
    await recorder.first_attempt_done.wait()
    error = CameraOffline("The password is wrong.")
    error.next_try = 60.0
    recorder.camera.lost(error)
    await until(lambda: len(recorder.pauses) == 1)
    assert recorder.pauses == [60.0]
    assert 59 < recorder.retry_after <= 60


async def test_a_successful_capture_ends_the_wait(recorder: Recorder) -> None:
    await recorder.first_attempt_done.wait()
    recorder.camera.lost(CameraOffline("Unplugged."))
    await until(lambda: len(recorder.pauses) == 1)
    recorder.set_state(None)
    for _ in range(10):
        await asyncio.sleep(0)
    assert (recorder.camera.opened, recorder.changes) == (1, ["Unplugged.", None])


async def test_the_latest_error_is_the_reason(recorder: Recorder) -> None:
    await recorder.first_attempt_done.wait()
    recorder.set_state(CameraOffline("Unplugged."))
    since = recorder.since
    recorder.set_state(CameraBusy("Another program has it."))
    assert isinstance(recorder.offline, CameraBusy)
    assert (recorder.changes, recorder.since) == (["Unplugged.", "Another program has it."], since)


async def test_a_driver_that_raises_is_opened_again(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    await recorder.first_attempt_done.wait()
    errors: list[Exception] = [ZeroDivisionError(), CameraFault("Odd."), TimeoutError()]
    reasons: list[str] = []
    opened = recorder.camera.open

    async def open_with_errors(lost: OnLost) -> None:
        assert recorder.offline is not None
        reasons.append(recorder.offline.message)
        if errors:
            raise errors.pop(0)
        await opened(lost)

    monkeypatch.setattr(recorder.camera, "open", open_with_errors)
    recorder.skip_pauses = True
    recorder.camera.lost(CameraOffline("Gone."))
    await until(lambda: recorder.offline is None)
    assert reasons == [
        "Gone.",
        "The camera's driver failed. See the server's log.",
        "Odd.",
        "The camera could not be opened within 60 s. Turn it off and on.",
    ]


async def test_a_driver_that_hangs_during_open_does_not_delay_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(HandCamera())
    opening = asyncio.Event()

    async def hang(_lost: OnLost) -> None:
        opening.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(recorder.camera, "open", hang)
    task = asyncio.create_task(recorder.run())
    await opening.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not recorder.first_attempt_done.is_set()
