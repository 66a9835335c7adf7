"""SnapshotStore: the snapshots behind threads of their own, so that the event loop never touches a file.

One thread has the folder and its index; what is asked of it happens in the order it was asked in. One for each camera
looks whether its pictures are whole, which takes the longest: no other camera waits for it, and nobody who lists
snapshots. A few read pictures, so that showing them waits for neither. What has begun in a thread is done to its end,
also when whoever asked is cancelled; what has not begun by then does not happen.
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

from dog import __version__
from dog.clock import Clock, Doubt, utc_now
from dog.errors import StorageError
from dog.images import add_missing_end, inspect, load_simplejpeg, walk_structure
from dog.images.exif import Stamp, write_exif
from dog.protocol import Removal
from dog.snapshots.album import Archive
from dog.snapshots.durable_facts import Share
from dog.snapshots.image_files import (
    LARGEST_MEMORY,
    ByteCache,
    StoredPicture,
    check_picture,
    read_part,
    read_picture,
    read_thumbnail,
)
from dog.snapshots.index import Index
from dog.snapshots.names import (
    SUFFIXES,
    UNKNOWN,
    Origin,
    Snapshot,
    SnapshotName,
    from_milliseconds,
    milliseconds,
    picture_name,
    thumbnail_name,
)
from dog.snapshots.reconcile import describe
from dog.snapshots.retention import Limits

__all__ = ["SnapshotStore", "make_stamp"]

_REMEMBERED = 64
"""Snapshots kept in memory: a new one is asked for by every viewer at once, and no thread is needed to answer that."""
_READERS = 3
"""Threads that read pictures: one slow file does not keep all others waiting."""

P = ParamSpec("P")
T = TypeVar("T")


class SnapshotStore:
    """The snapshots in one folder, which it has for itself from `open` to `close`. A closed store is not opened again.

    At most `memory` bytes of the newest pictures and thumbnails are kept in memory. `limits` says what is kept; the
    oldest go first. With `exif`, each JPEG is told when and by which camera it was taken. `clock` says if what is old
    may be deleted; it is started here. `removed` is told, in the event loop, which snapshots went.
    Every method but `open` and `close` raises StorageError where the disk or the index fails, and when the
    store is not open.
    """

    def __init__(
        self,
        folder: Path,
        *,
        memory: int = LARGEST_MEMORY,
        limits: Limits | None = None,
        exif: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.removed: Callable[[list[Snapshot], Removal], object] = lambda _snapshots, _reason: None
        self._limits = limits
        self._exif = exif
        self._loop: asyncio.AbstractEventLoop | None = None
        self._root = folder.absolute()
        self._archive = Archive(self._root, clock)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snapshots")
        self._looking: dict[str, ThreadPoolExecutor] = {}
        self._reading = ThreadPoolExecutor(_READERS, thread_name_prefix="pictures")
        self._closing = ThreadPoolExecutor(1, thread_name_prefix="closing")
        self._closed: Future[None] | None = None
        self._remembered: dict[str, Snapshot] = {}
        self._removals = 0
        self._memory = ByteCache(memory)

    @property
    def epoch(self) -> int:
        """The start of this server, in milliseconds since 1970; always above that of the one before in this folder."""
        return self._archive.epoch

    @property
    def clock(self) -> Clock:
        """The clock that says if what is old may be deleted."""
        return self._archive.clock

    @property
    def last_capture(self) -> int:
        """The highest number of a capture that left a snapshot, as far as is known; 0 when there is none."""
        return self._archive.last_capture

    @property
    def kept(self) -> tuple[int, int]:
        """How many snapshots the index holds, and how many bytes their pictures have; no file is looked at for it."""
        return self._archive.kept

    @property
    def incoming(self) -> Path:
        """An absolute path on the snapshots' file system, where a camera's program may write. Emptied at the start."""
        return self._archive.incoming

    async def open(self) -> None:
        """Make and lock the folder, clean up what a crash left, check the index. Raises StartError, in one line."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._run(self._thread, self._archive.open)
        except BaseException:
            # Also where the start is cancelled while the thread is still at it: the folder must not stay locked.
            await self.close()
            raise
        self._reading.submit(load_simplejpeg)  # so that no capture waits for it

    async def close(self) -> None:
        """Wait for what was asked for, bring the index into its file and let go of the folder. May be called again."""
        if self._closed is None:
            self._closed = self._closing.submit(self._close)
            self._closing.shutdown(wait=False)
            self._reading.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(self._closed))

    async def save(
        self, data: bytes, *, camera: str, capture: int, captured_at: dt.datetime, origin: Origin = UNKNOWN
    ) -> Snapshot:
        """Keep a picture; when this returns it is safely on disk and found by `get`.

        `captured_at` is aware, and cut off to milliseconds. Raises BadImage where
        it is not a whole picture, StorageFull and StorageError, and then nothing of it is left; ValueError
        for a camera's name, a number or a time that can't be one. Cancelled, the picture is either wholly
        kept or not there at all.
        """
        looking = self._looking.get(camera)
        if looking is None:
            looking = self._looking[camera] = ThreadPoolExecutor(1, thread_name_prefix="images")
        at = from_milliseconds(milliseconds(captured_at))
        return await self._run(looking, self._save, data, camera, capture, at, origin)

    async def get(self, snapshot_id: str) -> Snapshot | None:
        """The snapshot of this id. Whether somebody has removed its file since the start is not looked at."""
        snapshot = self._remembered.get(snapshot_id)
        if snapshot is None:
            removals = self._removals
            snapshot = await self._ask(lambda index: index.get(snapshot_id))
            if snapshot is not None and removals == self._removals:
                self._remember(snapshot)
        return snapshot

    async def latest(self, camera: str | None = None) -> Snapshot | None:
        """The newest of one camera, or of all."""
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
        """At most `limit`, newest first: by `capture`, then `captured_at`, then id.

        `before` is the id of a snapshot: only what comes after it in this order. Of an unknown one that is
        nothing. `between` has the first moment and the one after the last.
        """
        return await self._ask(lambda index: index.recent(max(limit, 0), camera, before, between))

    async def find_taken(self, snapshot_id: str) -> SnapshotName | None:
        """By which camera and when the snapshot of this id was taken, also of one that was removed within a year."""
        return await self._ask(lambda index: index.find_taken(snapshot_id))

    async def requested(self, camera: str, since: dt.datetime) -> list[Snapshot]:
        """Those of a camera since then that were asked for with a key, the oldest first."""
        return await self._ask(lambda index: index.requested(camera, since))

    async def newer(self, snapshot: Snapshot | SnapshotName) -> Snapshot | None:
        """The next one of the same camera, in the order of `recent`; None for the newest."""
        return await self._ask(lambda index: index.newer(snapshot))

    async def count(self) -> int:
        return await self._ask(lambda index: index.count())

    # ---- what somebody decides of a snapshot; on the disk when it returns

    async def remove(self, snapshot_id: str) -> bool:
        """Delete a snapshot. Whether there was one."""
        return bool(await self._run(self._thread, self._remove, snapshot_id))

    async def purge(self) -> None:
        """Remove what is too old or too much, by the limits."""
        while await self._run(self._thread, self._make_room, 0):
            pass  # between two steps, others have their turn

    async def check_clock(self) -> Doubt | None:
        """Return why the clock is in doubt, so that nothing is deleted because of its age; None if it is trusted."""
        return await self._run(self._thread, self._archive.check_clock)

    async def pin(self, snapshot: Snapshot, pinned: bool) -> bool:
        """Have it never removed to make room, or no longer so. False where it is gone."""

        def pin(index: Index) -> bool:
            if index.get(snapshot.id) is None:
                return False
            with index.ledger.durably():
                index.ledger.pin(snapshot.id, pinned)
            return True

        is_there = await self._run(self._thread, self._archive.tell, pin)
        if snapshot.id in self._remembered:
            self._remembered[snapshot.id] = dataclasses.replace(snapshot, pinned=pinned)
        return is_there

    async def share(self, snapshot: Snapshot, expires_at: dt.datetime) -> Share:
        """Give a link to it away, until then."""
        now = utc_now()
        return await self._run(
            self._thread, self._archive.tell, lambda index: index.ledger.share(snapshot.id, now, expires_at)
        )

    async def shares_of(self, snapshot: Snapshot) -> list[Share]:
        """The links that were given away and not revoked, also those that have expired; the oldest first."""
        return await self._ask(lambda index: index.ledger.shares_of(snapshot.id))

    async def find_share(self, share_id: str) -> Share | None:
        return await self._ask(lambda index: index.ledger.find_share(share_id))

    async def revoke(self, share_id: str) -> bool:
        """Take a link back. Whether there was one."""
        return await self._run(self._thread, self._archive.tell, lambda index: index.ledger.revoke(share_id))

    async def secret(self) -> bytes:
        """What links are signed with, the same for ever: 32 bytes."""
        return await self._run(self._thread, self._archive.tell, lambda index: index.ledger.secret())

    # ---- files

    async def check_writable(self) -> None:
        """Write a small file, see it to the disk and remove it again. Raises StorageFull and StorageError."""
        await self._run(self._thread, self._archive.check_writable)

    async def read(self, snapshot: Snapshot) -> bytes:
        """The picture, bit for bit. Raises SnapshotGone where its file is not there any more as it was saved.

        One of the newest comes from memory, and its file is not looked at.
        """
        data = self._memory.get(snapshot.id)
        if data is None:
            data = await self._run(self._reading, read_picture, self.picture_path(snapshot), snapshot.bytes)
        return data

    async def open_picture(self, snapshot: Snapshot) -> bytes | StoredPicture:
        """The picture's bytes if they are in memory, else its file, to be read in parts. Otherwise like `read`."""
        data = self._memory.get(snapshot.id)
        if data is not None:
            return data
        path, size = self.picture_path(snapshot), snapshot.bytes
        await self._run(self._reading, check_picture, path, size)
        return StoredPicture(size, lambda start, stop: self._run(self._reading, read_part, path, size, start, stop))

    async def read_thumbnail(self, snapshot: Snapshot) -> bytes:
        """The thumbnail, a JPEG. Otherwise like `read`."""
        data = self._memory.get(_thumbnail_of(snapshot))
        if data is None:
            data = await self._run(self._reading, read_thumbnail, self.thumbnail_path(snapshot))
        return data

    def picture_path(self, snapshot: Snapshot) -> Path:
        """Where the picture lies, absolute. Does not look whether it is there."""
        return self._root / picture_name(snapshot)

    def thumbnail_path(self, snapshot: Snapshot) -> Path:
        """Where the thumbnail lies, a JPEG, absolute. Does not look whether it is there."""
        return self._root / thumbnail_name(picture_name(snapshot))

    def _remember(self, snapshot: Snapshot) -> None:
        self._remembered[snapshot.id] = snapshot
        if len(self._remembered) > _REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    def _save(self, data: bytes, camera: str, capture: int, captured_at: dt.datetime, origin: Origin) -> Snapshot:
        """The snapshot that was kept.

        The thread that looks waits for the other, so that saves keep their order. The picture is on its way to the disk
        while it is looked at: either takes some milliseconds.
        """
        data = add_missing_end(data)
        content_type, _ = walk_structure(data)
        snapshot_id = self._thread.submit(self._archive.make_free_id).result()
        taken = SnapshotName(snapshot_id, camera, capture, captured_at, SUFFIXES[content_type])
        if self._exif and content_type == "image/jpeg":
            stamp = make_stamp(id=snapshot_id, camera=camera, captured_at=captured_at, exposure=origin.exposure)
            data = write_exif(data, stamp)
        staging = self._thread.submit(self._stage, data)
        try:
            picture = inspect(data)
            digest = hashlib.sha256(data).hexdigest()
        except BaseException:
            if staging.exception() is None:
                self._thread.submit(self._archive.discard, staging.result()).result()
            raise
        snapshot = describe(taken, picture, len(data), digest, origin)
        self._thread.submit(self._keep, staging.result(), snapshot, data, picture.thumbnail).result()
        return snapshot

    # ---- in the thread that has the folder

    def _stage(self, data: bytes) -> Path:
        while self._make_room(len(data)):
            pass
        return self._archive.stage(data)

    def _keep(self, staged: Path, snapshot: Snapshot, data: bytes, thumbnail: bytes) -> None:
        self._archive.save(staged, snapshot, thumbnail)
        # The loop hears of it before it can hear that it was removed.
        self._tell_loop(self._note_kept, snapshot, data, thumbnail)
        with contextlib.suppress(StorageError):  # it is kept, whatever becomes of others
            self._make_room(0)

    def _make_room(self, room: int) -> bool:
        """A step towards the limits, so that a picture of so many bytes has its place. Whether anything went."""
        if self._limits is None:
            return False
        removed = self._archive.purge(self._limits, room)
        self._tell_removed(removed, "retention")
        return bool(removed)

    def _remove(self, snapshot_id: str) -> list[Snapshot]:
        removed = self._archive.remove([snapshot_id])
        self._tell_removed(removed, "deleted")
        return removed

    def _tell_removed(self, removed: list[Snapshot], reason: Removal) -> None:
        if removed:
            self._tell_loop(self._forget, removed, reason)

    def _tell_loop(self, tell: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        assert self._loop is not None, "the store is open"
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(functools.partial(tell, *args, **kwargs))

    # ---- in the event loop

    def _note_kept(self, snapshot: Snapshot, data: bytes, thumbnail: bytes) -> None:
        self._remember(snapshot)
        self._memory.keep(_thumbnail_of(snapshot), thumbnail)
        self._memory.keep(snapshot.id, data)

    def _forget(self, removed: list[Snapshot], reason: Removal) -> None:
        self._removals += 1
        for snapshot in removed:
            self._remembered.pop(snapshot.id, None)
            self._memory.forget(snapshot.id)
            self._memory.forget(_thumbnail_of(snapshot))
        self.removed(removed, reason)

    def _close(self) -> None:
        for looking in list(self._looking.values()):
            looking.shutdown()  # after every save that was asked for
        closing = self._thread.submit(self._archive.close)
        self._thread.shutdown(wait=False)
        closing.result()

    async def _ask(self, question: Callable[[Index], T]) -> T:
        return await self._run(self._thread, self._archive.ask, question)

    async def _run(self, thread: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._closed is not None:
            raise StorageError("The album is closed, because the server is stopping. Try again in a moment.")
        return await asyncio.wrap_future(thread.submit(function, *args, **kwargs))


def make_stamp(*, id: str, camera: str, captured_at: dt.datetime, exposure: float | None) -> Stamp:
    """What a picture's EXIF says, with the time as a clock on this machine's wall shows it, and its offset."""
    return Stamp(
        id=id,
        captured_at=captured_at.astimezone(),
        camera=camera,
        software=f"D.O.G. {__version__}",
        exposure=exposure,
    )


def _thumbnail_of(snapshot: Snapshot) -> str:
    """What a thumbnail is called in memory, where a picture is called by its id."""
    return f"{snapshot.id}/thumbnail"
