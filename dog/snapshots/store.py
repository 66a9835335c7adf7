"""SnapshotStore: the blocking store in threads, for the event loop.

One thread has the album and runs calls in order. One thread for each camera inspects its images, which takes the
longest, so that neither other cameras nor queries wait for it. A few threads read images. Work that has begun in a
thread is completed even if its caller is cancelled; work that has not begun is dropped.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import functools
import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from dog.clock import Clock, Doubt, from_milliseconds, to_milliseconds, utc_now
from dog.errors import StorageError
from dog.images import add_missing_end, inspect, load_simplejpeg, walk_structure
from dog.images.exif import write_exif
from dog.protocol import Removal
from dog.snapshots.blocking_store import BlockingStore
from dog.snapshots.durable_facts import Share
from dog.snapshots.image_files import (
    MAX_CACHE_BYTES,
    ByteCache,
    StoredImage,
    check_image,
    make_stamp,
    read_image,
    read_part,
    read_thumbnail,
)
from dog.snapshots.index import Index
from dog.snapshots.names import SUFFIXES, UNKNOWN, Origin, Snapshot, SnapshotName, image_path, thumbnail_path
from dog.snapshots.reconcile import make_snapshot
from dog.snapshots.retention import Limits

__all__ = ["SnapshotStore", "make_stamp"]

_MAX_CACHED_SNAPSHOTS = 64
"""Rows in memory: every viewer requests a new snapshot at once, and a hit needs no thread."""
_READER_THREADS = 3
"""More than one, so that a slow file does not delay all others."""

P = ParamSpec("P")
T = TypeVar("T")


class SnapshotStore:
    """The snapshots in one folder, which is locked from `open` to `close`.

    A closed store can't be opened again. The newest images and thumbnails are cached, at most `max_cache_bytes`.
    Retention keeps the `limits`. With `exif`, JPEGs get EXIF with time and camera. `clock` decides if old photos may be
    deleted; `open` starts it. `on_removed` is called in the event loop with removed snapshots. All methods except
    `open` and `close` raise StorageError if the disk or the index fails, or if the store is not open.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_cache_bytes: int = MAX_CACHE_BYTES,
        limits: Limits | None = None,
        exif: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.on_removed: Callable[[list[Snapshot], Removal], object] = lambda _snapshots, _reason: None
        self._limits = limits
        self._exif = exif
        self._loop: asyncio.AbstractEventLoop | None = None
        self._root = folder.absolute()
        self._album = BlockingStore(self._root, clock)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="album")
        self._inspectors: dict[str, ThreadPoolExecutor] = {}
        self._readers = ThreadPoolExecutor(_READER_THREADS, thread_name_prefix="reading")
        self._closer = ThreadPoolExecutor(1, thread_name_prefix="closing")
        self._closed: Future[None] | None = None
        self._snapshot_cache: dict[str, Snapshot] = {}
        self._removals = 0
        self._image_cache = ByteCache(max_cache_bytes)

    @property
    def epoch(self) -> int:
        """Return this server's start in ms since 1970. It always rises."""
        return self._album.epoch

    @property
    def clock(self) -> Clock:
        """Return the clock that decides if old photos may be deleted."""
        return self._album.clock

    @property
    def last_capture(self) -> int:
        """Return the highest capture number, also of removed snapshots, or 0."""
        return self._album.last_capture

    @property
    def totals(self) -> tuple[int, int]:
        """Return the number of snapshots and the bytes of their images."""
        return self._album.totals

    @property
    def incoming(self) -> Path:
        """Return the folder of unfinished images. Each start empties it."""
        return self._album.incoming

    async def open(self) -> None:
        """Lock the folder, clean up, and check the index. Raises StartError."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._run(self._thread, self._album.open)
        except BaseException:
            # The start may be cancelled while the thread still opens: the folder must not stay locked.
            await self.close()
            raise
        self._readers.submit(load_simplejpeg)  # so that the first capture need not wait for it

    async def close(self) -> None:
        """Finish running work and release the folder. May be called again."""
        if self._closed is None:
            self._closed = self._closer.submit(self._close)
            self._closer.shutdown(wait=False)
            self._readers.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(self._closed))

    async def save(
        self, data: bytes, *, camera: str, capture: int, captured_at: dt.datetime, origin: Origin = UNKNOWN
    ) -> Snapshot:
        """Save an image. It is synced and in the index when this returns.

        `captured_at` is aware, and truncated to milliseconds. Raises BadImage for an incomplete image, StorageFull and
        StorageError, and then leaves no file; ValueError for an invalid camera name, number or time. If it is
        cancelled, the image is saved completely or not at all.
        """
        inspector = self._inspectors.get(camera)
        if inspector is None:
            inspector = self._inspectors[camera] = ThreadPoolExecutor(1, thread_name_prefix="inspecting")
        at = from_milliseconds(to_milliseconds(captured_at))
        return await self._run(inspector, self._save, data, camera, capture, at, origin)

    async def get(self, snapshot_id: str) -> Snapshot | None:
        """Return a snapshot by its id. The file is not checked."""
        snapshot = self._snapshot_cache.get(snapshot_id)
        if snapshot is None:
            removals = self._removals
            snapshot = await self._read_index(lambda index: index.get(snapshot_id))
            if snapshot is not None and removals == self._removals:
                self._cache_snapshot(snapshot)
        return snapshot

    async def latest(self, camera: str | None = None) -> Snapshot | None:
        """Return the newest snapshot of one camera, or of all."""
        newest = await self.recent(limit=1, camera=camera)
        return newest[0] if newest else None

    async def recent(
        self,
        *,
        limit: int,
        camera: str | None = None,
        before: str | None = None,
        between: tuple[dt.datetime, dt.datetime] | None = None,
    ) -> list[Snapshot]:
        """Return snapshots, newest first: by capture, then time, then id.

        `before` is an id: return only older snapshots, or none if it is unknown. `between` is half-open.
        """
        return await self._read_index(lambda index: index.recent(max(limit, 0), camera, before, between))

    async def find_name(self, snapshot_id: str) -> SnapshotName | None:
        """Return the name of a snapshot, present or removed within a year."""
        return await self._read_index(lambda index: index.find_name(snapshot_id))

    async def requested(self, camera: str, since: dt.datetime) -> list[Snapshot]:
        """Return a camera's snapshots with an idempotency key, oldest first."""
        return await self._read_index(lambda index: index.requested(camera, since))

    async def newer(self, snapshot: Snapshot | SnapshotName) -> Snapshot | None:
        """Return the camera's next snapshot, or None for the newest."""
        return await self._read_index(lambda index: index.newer(snapshot))

    async def count(self) -> int:
        return await self._read_index(lambda index: index.count())

    # ---- decisions of people and of retention; synced when they return

    async def remove(self, snapshot_id: str) -> bool:
        """Delete a snapshot. Return True if it existed."""
        return bool(await self._run(self._thread, self._remove, snapshot_id))

    async def purge(self) -> None:
        """Remove the snapshots that exceed the limits."""
        while await self._run(self._thread, self._make_room, 0):
            pass  # other calls run between two steps

    async def check_clock(self) -> Doubt | None:
        """Return the doubt about the clock, or None if it is trusted."""
        return await self._run(self._thread, self._album.check_clock)

    async def pin(self, snapshot: Snapshot, pinned: bool) -> bool:
        """Pin or unpin a snapshot. Return False if it does not exist."""

        def pin(index: Index) -> bool:
            if index.get(snapshot.id) is None:
                return False
            with index.facts.synced_transaction():
                index.facts.set_pinned(snapshot.id, pinned)
            return True

        exists = await self._run(self._thread, self._album.write, pin)
        if snapshot.id in self._snapshot_cache:
            self._snapshot_cache[snapshot.id] = dataclasses.replace(snapshot, pinned=pinned)
        return exists

    async def share(self, snapshot: Snapshot, expires_at: dt.datetime) -> Share:
        """Create a share link that expires at a time."""
        now = utc_now()
        return await self._run(
            self._thread, self._album.write, lambda index: index.facts.share(snapshot.id, now, expires_at)
        )

    async def shares_of(self, snapshot: Snapshot) -> list[Share]:
        """Return a snapshot's share links, also expired ones, oldest first."""
        return await self._read_index(lambda index: index.facts.shares_of(snapshot.id))

    async def find_share(self, share_id: str) -> Share | None:
        return await self._read_index(lambda index: index.facts.find_share(share_id))

    async def revoke(self, share_id: str) -> bool:
        """Revoke a share link. Return True if it existed."""
        return await self._run(self._thread, self._album.write, lambda index: index.facts.revoke(share_id))

    async def secret(self) -> bytes:
        """Return the album's permanent key that signs share links: 32 bytes."""
        return await self._run(self._thread, self._album.write, lambda index: index.facts.secret())

    # ---- files

    async def check_writable(self) -> None:
        """Write, sync and remove a small file. Raises StorageFull, StorageError."""
        await self._run(self._thread, self._album.check_writable)

    async def read(self, snapshot: Snapshot) -> bytes:
        """Return the image. Raise SnapshotGone if its file is missing or damaged.

        The newest images come from the cache, without checking the file.
        """
        data = self._image_cache.get(snapshot.id)
        if data is None:
            data = await self._run(self._readers, read_image, self.image_path(snapshot), snapshot.bytes)
        return data

    async def open_image(self, snapshot: Snapshot) -> bytes | StoredImage:
        """Return the cached image, or its file to read in parts. Else as `read`."""
        data = self._image_cache.get(snapshot.id)
        if data is not None:
            return data
        path, size = self.image_path(snapshot), snapshot.bytes
        await self._run(self._readers, check_image, path, size)
        return StoredImage(size, lambda start, stop: self._run(self._readers, read_part, path, size, start, stop))

    async def read_thumbnail(self, snapshot: Snapshot) -> bytes:
        """Return the thumbnail, a JPEG. Otherwise like `read`."""
        data = self._image_cache.get(_thumbnail_key(snapshot))
        if data is None:
            data = await self._run(self._readers, read_thumbnail, self.thumbnail_path(snapshot))
        return data

    def image_path(self, snapshot: Snapshot) -> Path:
        """Return the absolute path of the image, which may be missing."""
        return self._root / image_path(snapshot)

    def thumbnail_path(self, snapshot: Snapshot) -> Path:
        """Return the absolute path of the thumbnail, a JPEG, which may be missing."""
        return self._root / thumbnail_path(image_path(snapshot))

    def _cache_snapshot(self, snapshot: Snapshot) -> None:
        self._snapshot_cache[snapshot.id] = snapshot
        if len(self._snapshot_cache) > _MAX_CACHED_SNAPSHOTS:
            del self._snapshot_cache[next(iter(self._snapshot_cache))]

    def _save(self, data: bytes, camera: str, capture: int, captured_at: dt.datetime, origin: Origin) -> Snapshot:
        """Inspect an image while another thread writes it, then add it.

        The inspecting thread waits for the album's thread, so that saves keep their order.
        """
        data = add_missing_end(data)
        content_type, _ = walk_structure(data)
        snapshot_id = self._thread.submit(self._album.make_free_id).result()
        name = SnapshotName(snapshot_id, camera, capture, captured_at, SUFFIXES[content_type])
        if self._exif and content_type == "image/jpeg":
            stamp = make_stamp(id=snapshot_id, camera=camera, captured_at=captured_at, exposure=origin.exposure)
            data = write_exif(data, stamp)
        staging = self._thread.submit(self._stage, data)
        try:
            info = inspect(data)
            digest = hashlib.sha256(data).hexdigest()
        except BaseException:
            if staging.exception() is None:
                self._thread.submit(self._album.discard, staging.result()).result()
            raise
        snapshot = make_snapshot(name, info, len(data), digest, origin)
        self._thread.submit(self._save_staged, staging.result(), snapshot, data, info.thumbnail).result()
        return snapshot

    # ---- in the album's thread

    def _stage(self, data: bytes) -> Path:
        while self._make_room(len(data)):
            pass
        return self._album.stage(data)

    def _save_staged(self, staged: Path, snapshot: Snapshot, data: bytes, thumbnail: bytes) -> None:
        self._album.save(staged, snapshot, thumbnail)
        # In this order, the event loop adds it to its caches before it may remove it from them.
        self._call_in_loop(self._cache_saved, snapshot, data, thumbnail)
        with contextlib.suppress(StorageError):  # the image is saved, even if no other can be removed
            self._make_room(0)

    def _make_room(self, room: int) -> bool:
        """Remove some snapshots for an image of `room` bytes. Return True if any."""
        if self._limits is None:
            return False
        removed = self._album.purge(self._limits, room)
        self._notify_removed(removed, "retention")
        return bool(removed)

    def _remove(self, snapshot_id: str) -> list[Snapshot]:
        removed = self._album.remove([snapshot_id])
        self._notify_removed(removed, "deleted")
        return removed

    def _notify_removed(self, removed: list[Snapshot], reason: Removal) -> None:
        if removed:
            self._call_in_loop(self._evict_removed, removed, reason)

    def _call_in_loop(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        assert self._loop is not None, "the store is open"
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(functools.partial(function, *args, **kwargs))

    # ---- in the event loop

    def _cache_saved(self, snapshot: Snapshot, data: bytes, thumbnail: bytes) -> None:
        self._cache_snapshot(snapshot)
        self._image_cache.add(_thumbnail_key(snapshot), thumbnail)
        self._image_cache.add(snapshot.id, data)

    def _evict_removed(self, removed: list[Snapshot], reason: Removal) -> None:
        self._removals += 1
        for snapshot in removed:
            self._snapshot_cache.pop(snapshot.id, None)
            self._image_cache.remove(snapshot.id)
            self._image_cache.remove(_thumbnail_key(snapshot))
        self.on_removed(removed, reason)

    def _close(self) -> None:
        for inspector in list(self._inspectors.values()):
            inspector.shutdown()  # waits for every save
        closing = self._thread.submit(self._album.close)
        self._thread.shutdown(wait=False)
        closing.result()

    async def _read_index(self, query: Callable[[Index], T]) -> T:
        return await self._run(self._thread, self._album.read, query)

    async def _run(self, thread: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._closed is not None:
            raise StorageError("The album is closed, because the server is stopping. Try again in a moment.")
        return await asyncio.wrap_future(thread.submit(function, *args, **kwargs))


def _thumbnail_key(snapshot: Snapshot) -> str:
    """Return a thumbnail's key in the cache. An image's key is its id."""
    return f"{snapshot.id}/thumbnail"
