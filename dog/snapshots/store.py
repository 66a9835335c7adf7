"""SnapshotStore: the snapshots behind threads of their own, so that the event loop never touches a file.

One thread has the folder and its index; what is asked of it happens in the order it was asked in. One for each camera
looks whether its pictures are whole, which takes the longest: no other camera waits for it, and nobody who lists
snapshots. A few read pictures, so that showing them waits for neither. What has begun in a thread is done to its end,
also when whoever asked is cancelled; what has not begun by then does not happen.
"""

import asyncio
import datetime as dt
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from dog.errors import StorageError
from dog.images import inspect
from dog.snapshots.archive import Archive
from dog.snapshots.names import Snapshot, picture_name, thumbnail_name
from dog.snapshots.reading import LARGEST_MEMORY, Memory, read_picture, read_thumbnail

__all__ = ["SnapshotStore"]

_REMEMBERED = 64
"""Snapshots kept in memory: a new one is asked for by every viewer at once, and no thread is needed to answer that."""
_READERS = 3
"""Threads that read pictures: one slow file does not keep all others waiting."""

P = ParamSpec("P")
T = TypeVar("T")


class SnapshotStore:
    """The snapshots in one folder, which it has for itself from `open` to `close`. A closed store is not opened again.

    At most `memory` bytes of the newest pictures and thumbnails are kept in memory.
    Every method but `open` and `close` raises StorageError where the disk or the index fails, and when the
    store is not open.
    """

    def __init__(self, folder: Path, *, memory: int = LARGEST_MEMORY) -> None:
        self._root = folder.absolute()
        self._archive = Archive(self._root)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snapshots")
        self._looking: dict[str, ThreadPoolExecutor] = {}
        self._reading = ThreadPoolExecutor(_READERS, thread_name_prefix="pictures")
        self._closing = ThreadPoolExecutor(1, thread_name_prefix="closing")
        self._closed: Future[None] | None = None
        self._remembered: dict[str, Snapshot] = {}
        self._memory = Memory(memory)

    @property
    def epoch(self) -> int:
        """The start of this server, in milliseconds since 1970; always above that of the one before in this folder."""
        return self._archive.epoch

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
        try:
            await self._run(self._thread, self._archive.open)
        except BaseException:
            # Also where the start is cancelled while the thread is still at it: the folder must not stay locked.
            await self.close()
            raise

    async def close(self) -> None:
        """Wait for what was asked for, bring the index into its file and let go of the folder. May be called again."""
        if self._closed is None:
            self._closed = self._closing.submit(self._close)
            self._closing.shutdown(wait=False)
            self._reading.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(self._closed))

    async def save(self, data: bytes, *, camera: str, capture: int, captured_at: dt.datetime) -> Snapshot:
        """Keep a picture; when this returns it is safely on disk and found by `get`.

        `data` is kept bit for bit; `captured_at` is aware, and cut off to milliseconds. Raises BadImage where
        it is not a whole picture, StorageFull and StorageError, and then nothing of it is left; ValueError
        for a camera's name, a number or a time that can't be one. Cancelled, the picture is either wholly
        kept or not there at all.
        """
        looking = self._looking.get(camera)
        if looking is None:
            looking = self._looking[camera] = ThreadPoolExecutor(1, thread_name_prefix="images")
        snapshot, thumbnail = await self._run(looking, self._save, data, camera, capture, captured_at)
        self._remember(snapshot)
        self._memory.keep(_thumbnail_of(snapshot), thumbnail)
        self._memory.keep(snapshot.id, data)
        return snapshot

    async def get(self, snapshot_id: str) -> Snapshot | None:
        """The snapshot of this id. Whether somebody has removed its file since the start is not looked at."""
        snapshot = self._remembered.get(snapshot_id)
        if snapshot is None:
            snapshot = await self._run(self._thread, self._archive.get, snapshot_id)
            if snapshot is not None:
                self._remember(snapshot)
        return snapshot

    async def latest(self, camera: str | None = None) -> Snapshot | None:
        """The newest of one camera, or of all."""
        newest = await self.recent(limit=1, camera=camera)
        return newest[0] if newest else None

    async def recent(self, *, limit: int, camera: str | None = None, before: str | None = None) -> list[Snapshot]:
        """At most `limit`, newest first: by `capture`, then `captured_at`, then id.

        `before` is the id of a snapshot: only what comes after it in this order. Of an unknown one that is
        nothing.
        """
        return await self._run(self._thread, self._archive.recent, max(limit, 0), camera, before)

    async def newer(self, snapshot: Snapshot) -> Snapshot | None:
        """The next one of the same camera, in the order of `recent`; None for the newest."""
        return await self._run(self._thread, self._archive.newer, snapshot)

    async def count(self) -> int:
        return await self._run(self._thread, self._archive.count)

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

    def _save(self, data: bytes, camera: str, capture: int, captured_at: dt.datetime) -> tuple[Snapshot, bytes]:
        """The snapshot and its thumbnail. The thread that looks waits for the other, so that saves keep their order.

        The picture is on its way to the disk while it is looked at: either takes some milliseconds.
        """
        staging = self._thread.submit(self._archive.stage, data)
        try:
            picture = inspect(data)
        except BaseException:
            if staging.exception() is None:
                self._thread.submit(self._archive.discard, staging.result()).result()
            raise
        saving = self._thread.submit(self._archive.save, staging.result(), picture, camera, capture, captured_at)
        return saving.result(), picture.thumbnail

    def _close(self) -> None:
        for looking in list(self._looking.values()):
            looking.shutdown()  # after every save that was asked for
        closing = self._thread.submit(self._archive.close)
        self._thread.shutdown(wait=False)
        closing.result()

    async def _run(self, thread: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._closed is not None:
            raise StorageError("The snapshots are closed: the server is stopping.")
        return await asyncio.wrap_future(thread.submit(function, *args, **kwargs))


def _thumbnail_of(snapshot: Snapshot) -> str:
    """What a thumbnail is called in memory, where a picture is called by its id."""
    return f"{snapshot.id}/thumbnail"
