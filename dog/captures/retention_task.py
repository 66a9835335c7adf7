"""The retention task: delete old snapshots, and publish every removal.

a user, or retention -> store -> RetentionTask -> the camera forgets it -> `removed` -> hub -> every viewer
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from dog.captures.camera_task import CameraTask
from dog.clock import utc_now
from dog.errors import CaptureError
from dog.metrics import Metrics
from dog.protocol import Removal, Removed, timestamp
from dog.push.hub import Hub
from dog.snapshots import Snapshot, SnapshotStore

__all__ = ["RetentionTask"]

CLOCK_CHECK_INTERVAL = 1.0
"""Seconds between two checks of the wall clock and, if it is in doubt, for a user's confirmation."""
CHECK_DELAY = 1.0
"""Seconds until the check of the databases, so that the end of the start does not compete with it."""
PURGE_INTERVAL = 60.0
"""Seconds between two checks for snapshots that are too old, or too many for the free space."""
MAX_IDS_PER_EVENT = 100
"""Maximum number of ids in one event (docs/protocol.md)."""

log = logging.getLogger(__name__)


class RetentionTask:
    """Retention of snapshots. Start `run()` and `watch_clock()` as tasks."""

    def __init__(self, store: SnapshotStore, hub: Hub, cameras: Mapping[str, CameraTask], metrics: Metrics) -> None:
        self._store = store
        self._hub = hub
        self._cameras = cameras
        self._metrics = metrics
        self._notifications: set[asyncio.Task[None]] = set()
        self._purge_due = asyncio.Event()
        store.on_removed = self._on_removed

    async def run(self) -> None:
        """Check the databases, then delete what exceeds the limits.

        No damage must decide what is deleted.
        """
        await asyncio.sleep(CHECK_DELAY)
        await self._store.check()
        while True:
            try:
                await self._store.purge()
            except CaptureError as error:
                log.warning("old photos can't be deleted: %s (%s)", error.message, error.detail)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PURGE_INTERVAL):
                    await self._purge_due.wait()
            self._purge_due.clear()

    async def watch_clock(self) -> None:
        """Check the wall clock until cancelled. Start a purge if it is corrected."""
        corrections, is_failing = self._store.clock.corrections, False
        while True:
            try:
                await self._store.check_clock()
            except CaptureError as error:
                if not is_failing:
                    log.warning("the state of the clock can't be saved: %s (%s)", error.message, error.detail)
                is_failing = True
            else:
                is_failing = False
            if corrections != self._store.clock.corrections:
                corrections = self._store.clock.corrections
                self._purge_due.set()
            await asyncio.sleep(CLOCK_CHECK_INTERVAL)

    async def wait_published(self) -> None:
        """Wait until all removals are published."""
        while self._notifications:
            await asyncio.wait(self._notifications)

    def _on_removed(self, snapshots: list[Snapshot], reason: Removal) -> None:
        self._metrics.snapshots_removed.labels(reason).inc(len(snapshots))
        first, last = snapshots[0], snapshots[-1]
        if reason == "deleted":
            log.info("snapshot %s was deleted", first.id)
        else:
            log.info("%d old photos were deleted, from %s to %s", len(snapshots), first.captured_at, last.captured_at)
        task = asyncio.create_task(self._publish(snapshots, reason), name="publish removed photos")
        self._notifications.add(task)
        task.add_done_callback(self._notifications.discard)

    async def _publish(self, snapshots: list[Snapshot], reason: Removal) -> None:
        by_camera: dict[str, list[Snapshot]] = {}
        for snapshot in snapshots:
            by_camera.setdefault(snapshot.camera, []).append(snapshot)
        for camera, gone in by_camera.items():
            if camera in self._cameras:
                await self._cameras[camera].forget(gone)
            at = timestamp(utc_now())
            for start in range(0, len(gone), MAX_IDS_PER_EVENT):
                ids = [snapshot.id for snapshot in gone[start : start + MAX_IDS_PER_EVENT]]
                self._hub.publish(Removed(at=at, camera=camera, snapshots=ids, reason=reason))
