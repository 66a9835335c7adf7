"""Whether a camera is there: what is noted and told, and when it is tried again."""

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


class Kept(Availability):
    """One that remembers what it told, and how long it paused; its pauses end when the camera gives a sign."""

    def __init__(self, camera: HandCamera) -> None:
        self.camera = camera
        self.told: list[str | None] = []
        self.pauses: list[float] = []
        self.hasty = False
        super().__init__("main", camera, open_timeout=60.0, on_change=self._remember)

    def _remember(self) -> None:
        self.told.append(self.offline.message if self.offline else None)

    async def _pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return await super()._pause(0 if self.hasty else 60)


@pytest.fixture
async def kept() -> AsyncIterator[Kept]:
    one = Kept(HandCamera())
    task = asyncio.create_task(one.run())
    yield one
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_it_opens_the_camera_once_and_tells_nobody_while_all_is_well(kept: Kept) -> None:
    await kept.first_attempt_done.wait()
    kept.set_state(None)
    await asyncio.sleep(0)
    assert (kept.camera.opened, kept.told, kept.offline, kept.since, kept.retry_after) == (1, [], None, None, 0)


async def test_a_camera_that_is_lost_is_told_at_once_with_since_when_and_why(kept: Kept) -> None:
    await kept.first_attempt_done.wait()
    before = availability.utc_now()
    kept.camera.lost(CameraOffline("Unplugged."))
    assert kept.told == ["Unplugged."]
    assert kept.since is not None
    assert before <= kept.since <= availability.utc_now()
    assert 0 < kept.retry_after <= availability.MIN_RETRY_INTERVAL
    kept.camera.sign.set()
    await until(lambda: kept.offline is None)
    assert kept.told == ["Unplugged.", None]
    await until(lambda: kept.since is None)


async def test_an_offline_camera_is_tried_again_with_growing_waits(kept: Kept) -> None:
    await kept.first_attempt_done.wait()
    kept.camera.offline = kept.hasty = True
    kept.camera.lost(CameraOffline("Unplugged."))
    await until(lambda: kept.camera.opened >= 9)
    kept.camera.offline = False
    await until(lambda: kept.offline is None)
    assert kept.pauses[:8] == [0.5, 1, 2, 4, 8, 10, 10, 10]
    assert kept.told == ["Unplugged.", "The camera is not plugged in.", None]


async def test_the_waits_begin_anew_when_the_camera_is_gone_once_more(kept: Kept) -> None:
    await kept.first_attempt_done.wait()
    for _ in range(2):
        kept.pauses.clear()
        kept.camera.offline = kept.hasty = True
        kept.camera.lost(CameraOffline("Unplugged."))
        await until(lambda: len(kept.pauses) >= 3)
        kept.camera.offline = False
        await until(lambda: kept.offline is None)
        assert kept.pauses[:3] == [0.5, 1, 2]


async def test_a_sign_of_the_camera_ends_the_wait(kept: Kept) -> None:
    await kept.first_attempt_done.wait()
    kept.camera.offline = True
    kept.camera.lost(CameraOffline("Unplugged."))
    await until(lambda: len(kept.pauses) == 1)
    assert kept.camera.opened == 1
    kept.camera.offline = False
    kept.camera.sign.set()
    await until(lambda: kept.offline is None)
    assert kept.camera.opened == 2


async def test_a_camera_that_is_not_there_at_the_start_is_left_alone_for_as_long(kept: Kept) -> None:
    """The first look is not followed by another one at once."""
    other = Kept(HandCamera())
    other.camera.offline = True
    task = asyncio.create_task(other.run())
    await until(lambda: len(other.pauses) == 1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert (other.camera.opened, other.pauses) == (1, [0.5])
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_driver_that_fails_to_wait_for_a_sign_is_not_asked_without_end(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    await kept.first_attempt_done.wait()
    monkeypatch.setattr(kept.camera, "wait_for_device", fail)
    kept.camera.lost(CameraOffline("Unplugged."))
    await until(lambda: "failed to wait" in caplog.text)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(kept.pauses) == 1


async def test_a_camera_that_gave_a_sign_and_was_not_ready_is_tried_again_soon(kept: Kept) -> None:
    await kept.first_attempt_done.wait()
    kept.camera.offline = kept.hasty = True
    kept.camera.lost(CameraOffline("Unplugged."))
    await until(lambda: len(kept.pauses) >= 6)
    kept.hasty = False
    await until(lambda: kept.pauses[-1] == 10)
    kept.camera.sign.set()
    await until(lambda: kept.pauses[-1] != 10)
    assert kept.pauses[-1] == availability.MIN_RETRY_INTERVAL


async def test_a_driver_may_say_when_to_try_again(kept: Kept) -> None:
    await kept.first_attempt_done.wait()
    error = CameraOffline("The password is wrong.")
    error.next_try = 60.0
    kept.camera.lost(error)
    await until(lambda: len(kept.pauses) == 1)
    assert kept.pauses == [60.0]
    assert 59 < kept.retry_after <= 60


async def test_a_capture_that_found_the_camera_ends_the_wait(kept: Kept) -> None:
    await kept.first_attempt_done.wait()
    kept.camera.lost(CameraOffline("Unplugged."))
    await until(lambda: len(kept.pauses) == 1)
    kept.set_state(None)
    for _ in range(10):
        await asyncio.sleep(0)
    assert (kept.camera.opened, kept.told) == (1, ["Unplugged.", None])


async def test_the_newest_reason_is_the_one_that_is_known(kept: Kept) -> None:
    await kept.first_attempt_done.wait()
    kept.set_state(CameraOffline("Unplugged."))
    since = kept.since
    kept.set_state(CameraBusy("Another program has it."))
    assert isinstance(kept.offline, CameraBusy)
    assert (kept.told, kept.since) == (["Unplugged.", "Another program has it."], since)


async def test_a_driver_that_breaks_is_tried_again(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    await kept.first_attempt_done.wait()
    troubles: list[Exception] = [ZeroDivisionError(), CameraFault("Odd."), TimeoutError()]
    reasons: list[str] = []
    opened = kept.camera.open

    async def open_oddly(lost: OnLost) -> None:
        assert kept.offline is not None
        reasons.append(kept.offline.message)
        if troubles:
            raise troubles.pop(0)
        await opened(lost)

    monkeypatch.setattr(kept.camera, "open", open_oddly)
    kept.hasty = True
    kept.camera.lost(CameraOffline("Gone."))
    await until(lambda: kept.offline is None)
    assert reasons == [
        "Gone.",
        "The camera's driver failed. See the server's log.",
        "Odd.",
        "The camera could not be opened within 60 s. Turn it off and on.",
    ]


async def test_a_driver_that_hangs_while_it_opens_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Kept(HandCamera())
    opening = asyncio.Event()

    async def hang(_lost: OnLost) -> None:
        opening.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(one.camera, "open", hang)
    task = asyncio.create_task(one.run())
    await opening.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not one.first_attempt_done.is_set()
