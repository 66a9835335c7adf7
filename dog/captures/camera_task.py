"""The camera task: it owns a camera and takes its captures, one by one.

    request -> queue -> (wake) -> capturing -> camera -> store -> ready
                                           `--------`-------> failed

Every `capturing` is followed by exactly one `ready` or `failed`, also when the server stops.
Only this task changes the queue. The camera's Availability runs in another task, which opens the camera and reopens
it when it is lost. A capture of an offline camera fails.
"""

import asyncio
import contextlib
import datetime as dt
import functools
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from dog.cameras import Camera, CapturedImage
from dog.captures.availability import MIN_RETRY_INTERVAL, Availability, utc_now
from dog.captures.preview import Preview
from dog.captures.queue import CaptureQueue, Finished, Permit, Running, no_permit
from dog.captures.results import CaptureResults
from dog.errors import BadImage, CameraFault, CameraOffline, CameraTimeout, CaptureError, RequestError
from dog.metrics import Metrics
from dog.protocol import CameraChanged, CameraState, CameraStatus, Capturing, Failed, Ready, Reply, timestamp
from dog.push.hub import Hub
from dog.snapshots import Origin, Snapshot, SnapshotStore
from dog.urls import UrlBuilder

__all__ = ["CameraTask", "restore_answered", "restore_latest"]

CAMERA_OPEN_TIMEOUT = 30.0
"""Seconds after which opening is cancelled if a driver misses its own time limit, which may be the capture timeout."""
TIMEOUT_GRACE = 3.0
"""Seconds beyond a driver's own time limit after which its capture is cancelled."""
STOPPED_MESSAGE = "The server stopped during this capture. Press again when it is back."

log = logging.getLogger(__name__)


def stopping_error(request: str | None = None) -> RequestError:
    """Return the error for capture requests when the server stops."""
    return RequestError("overloaded", "The server is stopping. Try again in a moment.", request=request, retry_after=1)


@dataclass(slots=True)
class Capturer:
    """Take and save the images of one camera.

    `timeout` is in seconds. `settings` are the camera's, as JSON, and are saved with each snapshot.
    """

    name: str
    camera: Camera
    store: SnapshotStore
    timeout: float
    settings: str | None
    is_stopping: bool = False
    exposure: asyncio.Task[CapturedImage] | None = None

    def cancel(self) -> None:
        """Cancel the running exposure, but not the saving of its image."""
        if self.exposure is not None:
            self.exposure.cancel()

    async def take(
        self, running: Running, began: dt.datetime, find_key: Callable[[], str | None]
    ) -> tuple[Snapshot, float]:
        """Return the snapshot, and the seconds from capture start to exposure.

        `find_key` returns the first idempotency key: a request with one may join during the exposure.
        If the store finds damage that the frame inspector missed, a camera with frames takes another one.
        """
        damaged = 0
        while True:
            image = await self._expose()
            delay = 0.0 if image.exposure_start is None else max(0.0, image.exposure_start - running.started_at)
            captured_at = began + dt.timedelta(seconds=delay)
            try:
                snapshot = await self.store.save(
                    image.data,
                    camera=self.name,
                    capture=running.capture,
                    captured_at=captured_at,
                    origin=self._make_origin(find_key(), captured_at, image, damaged),
                )
            except BadImage:
                if image.quality is None or self.is_stopping or delay >= self.timeout:
                    raise
                damaged += 1
                continue
            return snapshot, delay

    def _make_origin(self, key: str | None, captured_at: dt.datetime, image: CapturedImage, damaged: int) -> Origin:
        """Return how the image was made. An unknown exposure ended before now."""
        quality = image.quality
        if damaged and quality is not None:
            found = tuple(dict.fromkeys((*quality.found, "damaged")))
            quality = msgspec.structs.replace(quality, retaken=quality.retaken + damaged, found=found)
        known = image.exposure is not None
        return Origin(
            request=key,
            exposed_until=captured_at + dt.timedelta(seconds=image.exposure or 0.0) if known else utc_now(),
            exposure=image.exposure,
            settings=self.settings,
            quality=quality,
        )

    async def _expose(self) -> CapturedImage:
        exposure = self.exposure = asyncio.create_task(self.camera.capture())
        try:
            async with asyncio.timeout(self.timeout + TIMEOUT_GRACE):
                return await exposure
        except TimeoutError:
            raise CameraTimeout(
                f"The camera did not answer within {self.timeout:g} s. Check it, then press again."
            ) from None
        except asyncio.CancelledError:
            if self.is_stopping and exposure.cancelled():
                raise CameraFault(STOPPED_MESSAGE) from None
            raise
        finally:
            self.exposure = None


class CameraTask:
    """The owner of a camera: its capture requests, captures and results.

    `capture_timeout` and `settings` are those of Capturer; the queue has the dead time. `start()` starts its tasks;
    `stop()` ends them.
    """

    def __init__(
        self,
        name: str,
        camera: Camera,
        *,
        queue: CaptureQueue[Snapshot],
        store: SnapshotStore,
        hub: Hub,
        urls: UrlBuilder,
        metrics: Metrics,
        capture_timeout: float,
        settings: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.availability = Availability(
            name,
            camera,
            open_timeout=max(CAMERA_OPEN_TIMEOUT, capture_timeout + 2 * TIMEOUT_GRACE),
            on_change=self._publish_availability,
            clock=clock,
        )
        self.preview = Preview(camera)
        self.results = CaptureResults()
        self._capturer = Capturer(name, camera, store, capture_timeout, settings)
        self._camera = camera
        self._queue = queue
        self._store = store
        self._hub = hub
        self._urls = urls
        self._metrics = metrics
        self._clock = clock
        self._wake = asyncio.Event()
        self._failed_at = -math.inf
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        """The one that takes captures, and the one that opens the camera."""
        metrics.add_camera(name, lambda: self.offline is None, lambda: self.preview.count)

    def request(self, max_age: float | None = None, key: str | None = None, permit: Permit = no_permit) -> Reply:
        """Decide which capture serves a request. `max_age` None is the dead time.

        Raise RequestError as CaptureQueue.request does, and `overloaded` while the server is stopping.
        """
        return self._request(max_age, key, permit)[0]

    async def capture_and_wait(
        self, max_age: float | None = None, key: str | None = None, permit: Permit = no_permit
    ) -> tuple[Reply, Snapshot]:
        """Request a capture and wait for it. Raise as `request`, and CaptureError."""
        reply, snapshot = self._request(max_age, key, permit)
        if snapshot is None:
            snapshot = await asyncio.shield(self.results.expect(reply.capture))
        return reply, snapshot

    def _request(self, max_age: float | None, key: str | None, permit: Permit) -> tuple[Reply, Snapshot | None]:
        if self._capturer.is_stopping:
            raise stopping_error(key)
        decision = self._queue.request(self._clock(), max_age=max_age, key=key, permit=permit)
        self._metrics.presses.labels(self.name, decision.outcome).inc()
        if decision.snapshot is None:
            self.results.expect(decision.capture)
            self._wake.set()
        reply = Reply(
            request=key,
            outcome=decision.outcome,
            capture=decision.capture,
            snapshot=decision.snapshot.id if decision.snapshot else None,
            url=self._urls.image(decision.snapshot) if decision.snapshot else None,
            captured_at=timestamp(decision.snapshot.captured_at) if decision.snapshot else None,
            age=round(self.age_of(decision.snapshot), 3) if decision.snapshot else None,
            retry_after=None if decision.wait is None else round(decision.wait, 3),
        )
        return reply, decision.snapshot

    @property
    def running(self) -> Running | None:
        return self._queue.running

    @property
    def offline(self) -> CaptureError | None:
        """The error while the camera is offline or first being opened, or None."""
        if not self.availability.first_attempt_done.is_set():
            return CameraOffline("The camera is being opened. Try again in a moment.")
        return self.availability.offline

    @property
    def retry_after(self) -> float:
        """Seconds until the next exposure, or attempt to open an offline camera."""
        return max(0.0, self._queue.ready_at - self._clock(), self.availability.retry_after)

    async def forget(self, snapshots: list[Snapshot]) -> None:
        """Forget removed snapshots. The newest one that is left is the latest."""
        captures = {snapshot.capture for snapshot in snapshots}
        running = self._queue.running
        if running is not None and running.capture in captures:  # saved, but not published yet
            await asyncio.wait({self.results.expect(running.capture)})
        latest = self._queue.latest
        if latest is None or latest.capture not in captures:
            self._queue.forget(captures, latest)
            return
        newest = restore_latest(await self._store.latest(self.name), self._clock())
        self._queue.forget(captures, newest)

    @property
    def latest(self) -> Snapshot | None:
        return self._queue.latest.snapshot if self._queue.latest else None

    def age_of(self, snapshot: Snapshot) -> float:
        """Return a snapshot's age in seconds, monotonic for the latest one."""
        latest = self._queue.latest
        if latest is not None and latest.snapshot.id == snapshot.id:
            return self._clock() - latest.started_at
        return (utc_now() - snapshot.captured_at).total_seconds()

    def status(self) -> CameraStatus:
        """Return the camera's status for `hello`."""
        running, wait = self._queue.running, self.retry_after
        ready_at = utc_now() + dt.timedelta(seconds=wait)
        state: CameraState = "idle"
        if running is not None:
            state = "capturing"
        elif self.offline is not None:
            state = "offline"
        elif wait > 0:
            state = "cooling"
        return CameraStatus(
            name=self.name,
            state=state,
            dead_time=self._queue.dead_time,
            ready_at=timestamp(ready_at),
            latest=self._urls.describe(self.latest) if self.latest else None,
            capture=running.capture if running else None,
            since=timestamp(self.availability.since) if self.availability.since else None,
            reason=self.offline.message if self.offline else None,
            preview=self._camera.has_preview,
        )

    def start(self) -> None:
        """Start the tasks that open the camera and take captures."""
        self._tasks = (
            asyncio.create_task(self._run(), name=f"camera {self.name}"),
            asyncio.create_task(self.availability.run(), name=f"availability {self.name}"),
        )
        for task in self._tasks:
            task.add_done_callback(self._log_unexpected_end)

    async def stop(self, timeout: float) -> None:
        """Refuse requests. Fail the running capture after `timeout` seconds."""
        self._capturer.is_stopping = True
        self._wake.set()
        self.preview.close()
        if not self._tasks:
            return
        captures, opening = self._tasks
        opening.cancel()
        done, _ = await asyncio.wait({captures}, timeout=timeout)
        if not done:
            self._capturer.cancel()
        try:
            for task in self._tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        finally:
            self.results.close(stopping_error())
            await self._camera.close()

    def _log_unexpected_end(self, task: "asyncio.Task[None]") -> None:
        """Log it if a camera's task ended by an exception."""
        if not task.cancelled() and task.exception() is not None:
            name = task.get_name()
            log.critical("the task %r has ended with an error; restart D.O.G.", name, exc_info=task.exception())

    def kill(self) -> None:
        """Kill the camera's processes, without waiting."""
        self._camera.kill()

    async def _run(self) -> None:
        while not self._capturer.is_stopping:
            start = self._queue.next_start()
            wait = None if start is None else max(start, self._backoff_until()) - self._clock()
            if wait is not None and wait <= 0:
                await self._capture()
            else:
                await self._sleep(wait)

    def _backoff_until(self) -> float:
        """Return when an offline camera may fail again, for all requests at once."""
        return self._failed_at + MIN_RETRY_INTERVAL if self.availability.offline is not None else -math.inf

    async def _sleep(self, seconds: float | None) -> None:
        """Wait for a request, or for so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _capture(self) -> None:
        running = self._queue.begin(self._clock())
        began = utc_now()
        was_offline = self.availability.offline
        self._hub.publish(Capturing(at=timestamp(began), camera=self.name, capture=running.capture))
        try:
            snapshot, delay = await self._capturer.take(
                running, began, functools.partial(self._queue.first_key, running.capture)
            )
        except CaptureError as error:
            self._fail(running, error)
        except OSError as error:
            reason = error.strerror or str(error)
            self._fail(running, CameraFault(f"The operating system refused the capture: {reason}. Press again."))
        except asyncio.CancelledError:
            self._fail(running, CameraFault(STOPPED_MESSAGE))
            raise
        except Exception:
            log.exception("capture %d: the driver of camera %s failed", running.capture, self.name)
            self._fail(running, CameraFault("The camera's driver failed. See the server's log."))
        else:
            self._queue.finish(snapshot, delay=delay)
            self._count(running, "ready")
            log.info("capture %d: snapshot %s", running.capture, snapshot.id)
            body = msgspec.structs.asdict(self._urls.describe(snapshot))
            self._hub.publish(Ready(at=timestamp(utc_now()), **body))
            self.results.succeed(running.capture, snapshot)
            if self.availability.offline is was_offline:  # not lost while the image was saved
                self.availability.set_state(None)

    def _fail(self, running: Running, error: CaptureError) -> None:
        self._queue.fail()
        if self.availability.offline is not None:
            self._failed_at = self._clock()
        went_offline = isinstance(error, CameraOffline)
        error.retry_after = round(max(self.retry_after, MIN_RETRY_INTERVAL if went_offline else 0), 3)
        self._count(running, error.code)
        log.warning(
            "capture %d failed, %s: %s%s",
            running.capture,
            error.code,
            error.message,
            f" ({error.detail})" if error.detail else "",
        )
        self._hub.publish(
            Failed(
                at=timestamp(utc_now()),
                camera=self.name,
                capture=running.capture,
                code=error.code,
                message=error.message,
                retry_after=error.retry_after,
            )
        )
        self.results.fail(running.capture, error)
        if went_offline:
            self.availability.set_state(error)

    def _count(self, ended: Running, outcome: str) -> None:
        self._metrics.captures.labels(self.name, outcome).inc()
        self._metrics.capture_duration.labels(self.name).observe(self._clock() - ended.started_at)

    def _publish_availability(self) -> None:
        """Publish that the camera went offline or came back."""
        since, offline = self.availability.since, self.availability.offline
        state: CameraState = "offline" if offline else self.status().state
        self._hub.publish(
            CameraChanged(
                at=timestamp(since or utc_now()),
                camera=self.name,
                state=state,
                reason=offline.message if offline else None,
            )
        )


def restore_latest(snapshot: Snapshot | None, now: float) -> Finished[Snapshot] | None:
    """Convert an earlier run's newest snapshot to this run's monotonic clock.

    Its age is by the wall clock. If it lies in the future, the snapshot is too old for any `max_age`.
    """
    if snapshot is None:
        return None
    age = (utc_now() - snapshot.captured_at).total_seconds()
    return Finished(snapshot.capture, now - age if age >= 0 else float("-inf"), snapshot)


def restore_answered(snapshots: list[Snapshot], now: float) -> dict[str, Finished[Snapshot]]:
    """Return the captures that served an earlier run's requests, by key."""
    restored = ((snapshot.origin.request, restore_latest(snapshot, now)) for snapshot in snapshots)
    return {key: finished for key, finished in restored if key is not None and finished is not None}
