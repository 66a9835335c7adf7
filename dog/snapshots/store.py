"""The folder of snapshots and its index, for the event loop.

    <folder>/YYYY/MM/DD/<name>.jpg              an image, not re-encoded
    <folder>/YYYY/MM/DD/<name>.thumbnail.jpg    its thumbnail
    <folder>/.dog/index.sqlite3                 the index, which may be deleted at any time
    <folder>/.dog/facts.sqlite3                 the durable facts (facts_file.py)
    <folder>/.dog/lock                          locked while a server uses the folder
    <folder>/.dog/epoch                         the last server's epoch, so that the next one is higher
    <folder>/.dog/backup                        locked by a command that waits for a copy of the databases (backup.py)
    <folder>/.dog/clock-in-doubt                exists while the clock is in doubt (clock_confirmation.py)
    <folder>/.dog/incoming/                     unfinished files; emptied at the start
    <folder>/.dog/scaled/                       scaled copies of images, which may be deleted (scaled_images.py)
    <folder>/.dog/damaged/                      incomplete images and damaged facts

A snapshot exists from the moment its image is renamed to its final name. Leftovers of a crash before that are removed
at the next start. It counts as removed as soon as the durable facts have its removal, even if its file is left. A file
whose path has our form is ours. It is checked before it enters the index. Other files are neither touched nor served.

BlockingStore does the work. SnapshotStore runs it in threads: one has the album and saves and removes in order; one for
each camera inspects its images, which takes the longest, so that other cameras do not wait for it; one queries the
index, so that saving waits for at most one query; one checks the databases after the start; one copies them in steps; a
few read images; two scale them. Work that has begun is completed even if its caller is cancelled; work that has not
begun is dropped.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import functools
import hashlib
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from dog import files
from dog.clock import Clock, Doubt, from_milliseconds, to_milliseconds, utc_now
from dog.database import delete_database, describe, is_disk_full, is_environment_error
from dog.errors import DISK_FULL_MESSAGE, StartError, StorageError, StorageFull, explain_os_error
from dog.files import make_private_folder, sync_folder
from dog.images import find_content_type, inspect, load_simplejpeg, repair
from dog.images.exif import make_stamp, write_exif
from dog.protocol import Removal
from dog.remove_tree import empty_folder
from dog.snapshots.backup import BackupServer
from dog.snapshots.database_check import DatabaseCheck, Leftovers
from dog.snapshots.day_folders import folder_mtime_ns
from dog.snapshots.durable_facts import Share, camera_key
from dog.snapshots.image_files import (
    MAX_CACHE_BYTES,
    ByteCache,
    StoredImage,
)
from dog.snapshots.index import INDEX_FILE, Index
from dog.snapshots.index_turns import IndexTurns, Turn
from dog.snapshots.lock import Lock
from dog.snapshots.names import (
    SUFFIXES,
    UNKNOWN,
    Origin,
    Snapshot,
    SnapshotName,
    day_of,
    image_path,
    make_id,
    thumbnail_path,
)
from dog.snapshots.rebuild import open_index
from dog.snapshots.reconcile import finish_removals, make_snapshot, reconcile
from dog.snapshots.retention import Limits, select_for_removal
from dog.snapshots.scaled_images import MAX_SCALED_BYTES, ScaledFiles, ScaledImage, ScaledImages
from dog.snapshots.timekeeping import Timekeeping

__all__ = ["BlockingStore", "SnapshotStore"]

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_PROBE_DATA = bytes(4096)
"""A whole block. Some file systems keep smaller files in the inode, where they fit even on a full disk."""
LOW_DISK_BYTES = 1024 * 1024
"""With less free space, SQLite may not be able to record a removal before files are deleted."""
MIN_FREE_BYTES = 128 * 1024
"""With less, one of the two SQLite files may be able to grow, but not the other."""
MAX_LOGGED_LEFTOVERS = 10
MAX_LOGGED_PATH_LENGTH = 300
"""Limits of one log line about leftovers, because any program may have written them."""
MAX_EPOCH = 2**53
"""The largest integer that JavaScript represents exactly."""
_MAX_CACHED_SNAPSHOTS = 64
"""Rows in memory: every viewer requests a new snapshot at once, and a hit needs no thread."""
_BACKUP_POLL_SECONDS = 1.0
_INDEX_FAILED = "The index of the album failed. Run the command again."
_READER_THREADS = 3
"""More than one, so that a slow file does not delay all others."""


class BlockingStore:
    """The open folder of snapshots, for one thread. Methods block.

    They raise StorageFull and StorageError. Other threads may call `read`, `check_writable` and `keep_scaled`. Scaled
    copies take at most `max_scaled_bytes` (None: no limit).
    """

    def __init__(self, root: Path, clock: Clock | None = None, *, max_scaled_bytes: int | None = None) -> None:
        self.root = root
        self.clock = clock or Clock()
        self.private = root / ".dog"
        self.incoming = self.private / "incoming"
        self.scaled = ScaledFiles(self.private, max_scaled_bytes)
        self.epoch = 0
        self.last_capture = 0
        self.totals = (0, 0)
        self._lock: Lock | None = None
        self._index: Index | None = None
        self._check: DatabaseCheck | None = None
        self._turns = IndexTurns()
        self._timekeeping = Timekeeping(self.private, self.clock)
        self._day: str | None = None

    def open(self) -> None:
        """Lock the folder, clean up, and make the index agree with the images.

        Call `check` soon, because damage of the databases may be unnoticed. Raises StartError, in one line. Call
        `close` also after an error.
        """
        try:
            self._make_private()
            self._lock = Lock(self.root, self.private / "lock")
            self._clean_up()
            self.epoch = self._next_epoch()
            self._index = open_index(self.private, self._start_index, check_all=False)
        except (OSError, sqlite3.Error) as error:
            raise StartError(
                f"The folder of snapshots {str(self.root)!r} can't be used: {_os_or_index_reason(error)}."
                " Make room and let the server write there, or name another folder."
            ) from error

    def close(self) -> None:
        """Close the index and release the folder, if they are open."""
        if self._check is not None:
            self._check.is_stopped.set()
        with self._turns.take(Turn.SAVE):
            if self._index is not None:
                index, self._index = self._index, None
                try:
                    index.close()
                except sqlite3.Error as error:
                    log.warning("%s: the index could not be closed (%s). The next start checks it.", self.root, error)
        if self._lock is not None:
            lock, self._lock = self._lock, None
            with contextlib.suppress(OSError):
                self._timekeeping.stop()
            lock.release()

    def _clean_up(self) -> None:
        """Remove leftovers of a crash or a camera. Log those that remain."""
        count, left = empty_folder(self.incoming)
        if count:
            log.info("%s: removed %d unfinished files or folders.", self.root, count - len(left))
        if left:
            names = ", ".join(str(path)[:MAX_LOGGED_PATH_LENGTH] for path in left[:MAX_LOGGED_LEFTOVERS])
            log.warning("%d leftovers can't be removed and stay: %s. Remove them by hand.", len(left), names)

    def _make_private(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise StartError(
                f"The folder of snapshots {str(self.root)!r} is not a folder. Remove it, or name another one."
            )
        missing = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)
        for folder in self.private, self.incoming:
            # Its content is removed, so it must not be a link to another folder.
            if folder.is_symlink():
                raise StartError(f"{str(folder)!r} is a symbolic link, and must be a folder. Remove it.")
        make_private_folder(self.private)
        self.incoming.mkdir(mode=0o700, exist_ok=True)
        sync_folder(self.root)
        sync_folder(self.private)

    def _next_epoch(self) -> int:
        """Return the time in ms since 1970, or the last epoch + 1 if higher."""
        path = self.private / "epoch"
        last = 0
        with contextlib.suppress(FileNotFoundError):
            text = path.read_bytes()[:20].strip()
            if text.isdigit() and int(text) < MAX_EPOCH:
                last = int(text)
            else:
                log.warning("%s: the last epoch can't be read. The new one is taken from the clock alone.", self.root)
        epoch = max(time.time_ns() // 1_000_000, last + 1)
        files.replace_durably(path, f"{epoch}\n".encode(), temp_path=self._temp_path("epoch"))
        return epoch

    def _start_index(self, index: Index) -> None:
        self._reconcile(index)
        self._timekeeping.start(index)

    def _reconcile(self, index: Index) -> None:
        differences = reconcile(index, self.root, self.private, self.incoming)
        if changed := differences.changed:
            log.warning(
                "%d photos have changed since they were saved, such as %s. `dog album verify` lists them.",
                len(changed),
                changed[0],
            )
        self.scaled.open(lambda snapshot_id: index.get(snapshot_id) is not None)
        self.last_capture = max(self.last_capture, index.last_capture())
        self.totals = index.totals()

    def check(self) -> list[Snapshot]:
        """Check the databases for damage while they are used, and repair them.

        Return photos that had been removed and were in the index again. Another thread may call this. Raises
        StorageFull and StorageError.
        """
        with self._use_index(Turn.QUERY) as index:
            if index.is_checked:
                return []
            self._check = check = index.begin_check()
        leftovers = Leftovers([], [])
        problem: OSError | sqlite3.Error | None = None
        try:
            leftovers = check.run(self.root)
        except (OSError, sqlite3.Error) as error:
            problem = error
        with self._turns.take(Turn.SAVE), self._explain_index_errors():
            if self._index is not index or check.is_stopped.is_set():  # an index that is opened again is checked then
                return []
            if isinstance(problem, sqlite3.Error) and not is_environment_error(problem):
                log.warning("%s: the databases are damaged (%s). They are repaired now.", self.private, problem)
                self._index = None
                index.close()
            else:
                index.end_check()
                if problem is not None:
                    reason = _os_or_index_reason(problem)
                    log.warning("%s can't be checked for damage: %s. Restart the server.", self.private, reason)
        with self._use_index() as index:  # this repairs the databases
            self._held_lock().check()
            return self._delete_leftovers(index, leftovers)

    def _delete_leftovers(self, index: Index, leftovers: Leftovers) -> list[Snapshot]:
        index.delete_gone(leftovers.missing)
        index.facts.resume_removals(leftovers.removed)
        removed = finish_removals(index, self.root)
        for each in removed:
            self.scaled.remove(each.id)
        self.totals = index.totals()
        if leftovers.missing or removed:
            log.warning(
                "%s: %d photos are gone since the last start, and %d deleted photos were removed again.",
                self.root,
                len(leftovers.missing),
                len(removed),
            )
        return removed

    @contextlib.contextmanager
    def _use_index(self, turn: Turn = Turn.SAVE) -> Iterator[Index]:
        """Yield the index. If it fails, close it: the next use opens it again."""
        with self._turns.take(turn), self._explain_index_errors():
            self._held_lock()
            if self._index is None:
                self._index = open_index(self.private, self._reconcile)
            yield self._index

    @contextlib.contextmanager
    def _explain_index_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if is_disk_full(error):
                raise StorageFull(DISK_FULL_MESSAGE, detail=f"the index: {error}") from error
            self._close_failed_index(error)
            raise StorageError(
                "The index of the album failed. Try again: it is repaired at its next use.", detail=str(error)
            ) from error
        except OSError as error:
            raise explain_os_error(error) from error

    def _held_lock(self) -> Lock:
        if self._lock is None:
            raise StorageError("The album is closed, because the server is not running. Start it.")
        return self._lock

    def _close_failed_index(self, error: sqlite3.Error) -> None:
        if self._index is not None:
            index, self._index = self._index, None
            with contextlib.suppress(sqlite3.Error):
                index.close()
            if not is_environment_error(error):
                with contextlib.suppress(OSError):
                    delete_database(self.private / INDEX_FILE)

    def stage(self, data: bytes) -> Path:
        """Write and sync an image to a temporary file, for `save` or `discard`.

        Raises StorageFull and StorageError, and then leaves no file.
        """
        path = self._temp_path("picture")
        try:
            self._held_lock().check()
            self._find_free(len(data) + LOW_DISK_BYTES)
            files.write_synced(path, data)
        except OSError as error:
            raise explain_os_error(error) from error
        return path

    def _find_free(self, needed: int) -> int:
        """Return the free bytes of the disk.

        Scaled copies are removed first if there are less than `needed`.
        """
        free = shutil.disk_usage(self.root).free
        return free + self.scaled.free(needed - free) if needed > free else free

    def keep_scaled(self, name: str, data: bytes, keep_free: int) -> None:
        """Keep a scaled copy, if that leaves so many bytes of the disk free.

        Raises OSError and StorageError.
        """
        self._held_lock().check()
        if shutil.disk_usage(self.root).free - len(data) >= keep_free + LOW_DISK_BYTES:
            self.scaled.add(name, data)

    def discard(self, staged: Path) -> None:
        files.remove_file(staged)

    def save(self, staged: Path, snapshot: Snapshot, thumbnail: bytes) -> None:
        """Rename a staged image to its final path, and add it to the index.

        Raises StorageFull and StorageError, and then leaves no file.
        """
        try:
            with self._use_index() as index:
                self._held_lock().check()
                if shutil.disk_usage(self.root).free < MIN_FREE_BYTES:
                    raise StorageFull(DISK_FULL_MESSAGE, detail=f"less than {MIN_FREE_BYTES} bytes are free")
                self._timekeeping.mark_date(index, snapshot)
                self._make_day_folder(day_of(snapshot), index)
                with self._track_day_mtime(index, day_of(snapshot)):
                    self._add_files(snapshot, staged, thumbnail, index)
                self.last_capture = max(self.last_capture, snapshot.capture)
                self.totals = index.totals()
        except BaseException:
            self.discard(staged)
            raise
        with contextlib.suppress(StorageError, StorageFull), self._use_index() as index:
            self._timekeeping.store_time(index)

    @contextlib.contextmanager
    def _track_day_mtime(self, index: Index, day: str) -> Iterator[None]:
        """Record the folder's new mtime, so that the next start skips the day."""
        folder = self.root / day
        is_unchanged = index.day_mtime(day) == folder_mtime_ns(folder)
        if is_unchanged:
            index.set_day_mtime(day, None)
        yield
        mtime_ns = folder_mtime_ns(folder)
        if mtime_ns is None:
            index.delete_day(day)
        elif is_unchanged:
            index.set_day_mtime(day, mtime_ns)

    def _temp_path(self, kind: str) -> Path:
        """Return an unused path in `incoming`, which may have leftovers."""
        return self.incoming / f"{make_id()}.{kind}"

    def _add_files(self, snapshot: Snapshot, staged: Path, thumbnail_data: bytes, index: Index) -> None:
        """Add thumbnail, image and row. Raise FileExistsError if the path exists."""
        final = self.root / image_path(snapshot)
        thumbnail = self.root / thumbnail_path(image_path(snapshot))
        incoming_thumbnail = self.incoming / f"{snapshot.id}.thumbnail"
        # Reserve the name with an empty file: a rename would overwrite, and not every file system has hard links.
        os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        try:
            files.write_synced(incoming_thumbnail, thumbnail_data)
            os.replace(incoming_thumbnail, thumbnail)
            os.replace(staged, final)
            sync_folder(final.parent)
            index.add(snapshot)
        except BaseException as error:
            for path in final, thumbnail, incoming_thumbnail:
                files.remove_file(path)
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
                raise StorageError("The snapshot was not saved: its id exists already. Press again.") from error
            with contextlib.suppress(sqlite3.Error):
                index.facts.delete_saved([snapshot.id])
            raise

    def _make_day_folder(self, day: str, index: Index) -> None:
        """Make the folder of a day. Sync it at its first use."""
        folder = self.root / day
        is_new = not folder.is_dir()
        if is_new or day != self._day:  # a crash may have left it unsynced
            files.make_folders(self.root, folder)
            self._day = day
        if is_new:
            index.set_day_mtime(day, folder_mtime_ns(folder))

    def check_writable(self) -> None:
        """Write, sync and remove a small file."""
        path = self._temp_path("writable")
        try:
            self._held_lock().check()
            files.write_synced(path, _PROBE_DATA)
            path.unlink()
        except OSError as error:
            raise explain_os_error(error) from error

    def remove(self, snapshot_ids: list[str]) -> list[Snapshot]:
        """Remove snapshots durably. Return those that existed."""
        with self._use_index() as index:
            return self._remove(index, [found for each in snapshot_ids if (found := index.get(each)) is not None])

    def purge(self, limits: Limits, room: int = 0) -> list[Snapshot]:
        """Remove snapshots that exceed the limits, in one step.

        It makes room for an image of `room` bytes. Raises StorageFull if that is impossible.
        """
        with self._use_index() as index:
            free = self._find_free((limits.free or 0) + room)
            selected = select_for_removal(
                index, limits, totals=self.totals, free=free, now=self._timekeeping.deletion_time(index), room=room
            )
            if room and not selected and limits.free is not None and free - room < limits.free:
                raise StorageFull(
                    "The disk has less space than `keep_free`, and no photo may be removed. Make room, or unpin some."
                )
            return self._remove(index, selected)

    def _remove(self, index: Index, snapshots: list[Snapshot]) -> list[Snapshot]:
        if not snapshots:
            return snapshots
        self._held_lock().check()
        days = {day_of(each) for each in snapshots}
        for day in days:
            if (self.root / day).exists() and not os.access(self.root / day, os.W_OK | os.X_OK):
                raise StorageError("The server may not remove photos of that day. Give it the permission.", detail=day)
        if shutil.disk_usage(self.root).free < LOW_DISK_BYTES:  # make room to record the removal
            self._delete_files(snapshots)
        with index.facts.synced_transaction():
            index.facts.add_removed(snapshots, utc_now())
        try:
            self._finish_removal(index, snapshots, days)
            self.totals = index.totals()
        except sqlite3.Error as error:
            self._close_failed_index(error)  # opening it again finishes the removal
        return snapshots

    def _finish_removal(self, index: Index, snapshots: list[Snapshot], days: set[str]) -> None:
        """Delete snapshots whose removal is durable from the folder and the index."""
        with contextlib.ExitStack() as stack:
            for day in days:
                stack.enter_context(self._track_day_mtime(index, day))
            index.forget(snapshots)
            left = self._delete_files(snapshots)
            for day in days:
                files.remove_empty_folders(self.root, self.root / day)
        for each in left:
            log.warning("%s was deleted, but its file can't be removed. The next start tries again.", image_path(each))
            index.set_day_mtime(day_of(each), None)

    def _delete_files(self, snapshots: list[Snapshot]) -> list[Snapshot]:
        """Delete the files of snapshots. Return those that could not be deleted."""
        left = []
        for each in snapshots:
            paths = [self.root / name for name in (image_path(each), thumbnail_path(image_path(each)))]
            for path in paths:
                files.remove_file(path)
            self.scaled.remove(each.id)  # last: see ScaledImages
            if any(path.exists() for path in paths):
                left.append(each)
        return left

    def check_clock(self) -> Doubt | None:
        """Return the doubt about the clock, or None if it is trusted."""
        with self._use_index() as index:
            self._held_lock().check()
            return self._timekeeping.check(index)

    def read(self, query: Callable[[Index], T]) -> T:
        """Read from the index. If it is damaged, read from the rebuilt one."""
        try:
            with self._use_index(Turn.QUERY) as index:
                return query(index)
        except StorageError:
            if self._index is not None:
                raise
        with self._use_index(Turn.QUERY) as index:
            return query(index)

    def write(self, statement: Callable[[Index], T]) -> T:
        """Write into the index, such as its durable facts."""
        with self._use_index() as index:
            self._held_lock().check()
            return statement(index)

    def copy_databases(self, folder: Path, step: Callable[[], object]) -> None:
        """Copy the databases. Between two steps, other threads may use the index.

        `step` is called then, and may raise. Raises sqlite3.Error and OSError, too, which do not concern the index.
        """
        self.read(Index.count)  # opens the index if it failed before
        with self._turns.take(Turn.COPY):

            def pause() -> None:
                with self._turns.pause(Turn.COPY):
                    step()
                if self._index is not index:
                    raise StorageError(_INDEX_FAILED)

            if (index := self._index) is None:
                raise StorageError(_INDEX_FAILED)
            index.copy(folder, pause)


def _os_or_index_reason(error: OSError | sqlite3.Error) -> str:
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{where}"
    return f"its databases: {describe(error)}"


class SnapshotStore:
    """The snapshots in one folder, which is locked from `open` to `close`.

    A closed store can't be opened again. The newest images and thumbnails are cached, at most `max_cache_bytes`.
    Scaled copies take at most `max_scaled_bytes` of the disk. Retention keeps the `limits`. With `exif`, JPEGs get EXIF
    with time and camera. `clock` decides if old photos may be deleted; `open` starts it. `on_removed` is called in the
    event loop with removed snapshots. All methods except `open` and `close` raise StorageError if the disk or the index
    fails, or if the store is not open.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_cache_bytes: int = MAX_CACHE_BYTES,
        max_scaled_bytes: int = MAX_SCALED_BYTES,
        limits: Limits | None = None,
        exif: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.on_removed: Callable[[list[Snapshot], Removal], object] = lambda _snapshots, _reason: None
        self._limits = limits
        self._exif = exif
        self._loop: asyncio.AbstractEventLoop | None = None
        self._root = folder.absolute()
        self._album = BlockingStore(self._root, clock, max_scaled_bytes=max_scaled_bytes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="album")
        self._queries = ThreadPoolExecutor(1, thread_name_prefix="querying")
        self._copying = ThreadPoolExecutor(1, thread_name_prefix="copying")
        self._backup_server: BackupServer | None = None
        self._checker = ThreadPoolExecutor(1, thread_name_prefix="checking")
        self._inspectors: dict[str, ThreadPoolExecutor] = {}
        self._readers = ThreadPoolExecutor(_READER_THREADS, thread_name_prefix="reading")
        self._closer = ThreadPoolExecutor(1, thread_name_prefix="closing")
        self._closed: Future[None] | None = None
        self._snapshot_cache: dict[str, Snapshot] = {}
        self._secret = b""
        self._removals = 0
        self._image_cache = ByteCache(max_cache_bytes)
        keep_free = (limits.free or 0) if limits else 0
        self._scaled = ScaledImages(
            self._album.scaled,
            self._image_cache,
            self.image_path,
            functools.partial(self._album.keep_scaled, keep_free=keep_free),
            functools.partial(self._submit, self._readers),
        )

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
        """Lock the folder, clean up, and open the databases. Raises StartError.

        Call `check` soon, because damage of the databases may be unnoticed.
        """
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
            self._queries.shutdown(wait=False)
            if self._backup_server is not None:
                self._backup_server.stop()
            self._checker.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(self._closed))

    async def check(self) -> None:
        """Check the databases for damage while they are used, and repair them."""
        await self._run(self._checker, self._check)

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

    async def share(self, shared: Snapshot | str, expires_at: dt.datetime) -> Share:
        """Create a share link to a snapshot, or a camera's newest photo."""
        key, now = _share_key(shared), utc_now()
        return await self._run(self._thread, self._album.write, lambda index: index.facts.share(key, now, expires_at))

    async def shares_of(self, shared: Snapshot | str) -> list[Share]:
        """Return the links to a snapshot or a camera, oldest first.

        Expired ones are among them.
        """
        return await self._read_index(lambda index: index.facts.shares_of(_share_key(shared)))

    async def find_share(self, share_id: str) -> Share | None:
        return await self._read_index(lambda index: index.facts.find_share(share_id))

    async def revoke(self, share_id: str) -> bool:
        """Revoke a share link. Return True if it existed."""
        return await self._run(self._thread, self._album.write, lambda index: index.facts.revoke(share_id))

    async def secret(self) -> bytes:
        """Return the album's permanent key that signs share links: 32 bytes."""
        if not self._secret:
            self._secret = await self._run(self._thread, self._album.write, lambda index: index.facts.secret())
        return self._secret

    async def watch_backups(self) -> None:
        """Copy the databases for `dog album backup`, until cancelled."""
        private, copy = self._album.private, self._album.copy_databases
        try:
            server = self._backup_server = await self._run(self._copying, BackupServer, private, copy)
        except OSError as error:
            log.warning("`dog album backup` needs a stop of this server: %s. Remove the file, then restart.", error)
            return
        while True:
            await self._run(self._copying, server.poll)
            await asyncio.sleep(_BACKUP_POLL_SECONDS)

    # ---- files

    async def check_writable(self) -> None:
        """Write, sync and remove a small file. Raises StorageFull, StorageError."""
        await self._run(self._readers, self._album.check_writable)

    def image(self, snapshot: Snapshot) -> StoredImage:
        """Return the image, of which nothing is read yet.

        The newest images come from the cache, without checking the file.
        """
        return self._stored(self.image_path, snapshot, snapshot.bytes, snapshot.id)

    def thumbnail(self, snapshot: Snapshot) -> StoredImage:
        """Return the thumbnail, a JPEG. Otherwise like `image`."""
        return self._stored(self.thumbnail_path, snapshot, None, _thumbnail_key(snapshot))

    def scaled(self, snapshot: Snapshot, width: int) -> ScaledImage:
        """Return a JPEG copy of one of SCALED_WIDTHS, narrower than the image."""
        return self._scaled.get(snapshot, width)

    def _stored(
        self, find_path: Callable[[Snapshot], Path], snapshot: Snapshot, size: int | None, key: str
    ) -> StoredImage:
        submit, find_cached = (
            functools.partial(self._submit, self._readers),
            functools.partial(self._image_cache.get, key),
        )
        return StoredImage(functools.partial(find_path, snapshot), size, submit, find_cached)

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
        data = repair(data)
        content_type = find_content_type(data)
        snapshot_id = make_id()
        name = SnapshotName(snapshot_id, camera, capture, captured_at, SUFFIXES[content_type])
        if self._exif and content_type == "image/jpeg":
            stamp = make_stamp(id=snapshot_id, camera=camera, captured_at=captured_at, exposure=origin.exposure)
            data = write_exif(data, stamp)
        staging = self._thread.submit(self._stage, data)
        try:
            info = inspect(data)
        except BaseException:
            if staging.exception() is None:
                self._thread.submit(self._album.discard, staging.result()[0]).result()
            raise
        staged, digest = staging.result()
        snapshot = make_snapshot(name, info, len(data), digest, origin)
        self._thread.submit(self._save_staged, staged, snapshot, data, info.thumbnail).result()
        return snapshot

    # ---- in a thread of its own

    def _check(self) -> None:
        try:
            self._notify_removed(self._album.check(), "deleted")
        except (StorageError, StorageFull) as error:
            if self._closed is None:
                log.warning("The databases can't be checked for damage: %s (%s)", error.message, error.detail)
        self._call_in_loop(self._clear_cache)

    # ---- in the album's thread

    def _stage(self, data: bytes) -> tuple[Path, str]:
        """Return the staged file, and the image's SHA-256."""
        while self._make_room(len(data)):
            pass
        return self._album.stage(data), hashlib.sha256(data).hexdigest()

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
        self._scaled.set_newest(snapshot)
        self._image_cache.add(_thumbnail_key(snapshot), thumbnail)
        self._image_cache.add(snapshot.id, data)

    def _clear_cache(self) -> None:
        """Forget what was read from the index before a repair."""
        self._removals += 1
        self._snapshot_cache.clear()
        self._secret = b""

    def _evict_removed(self, removed: list[Snapshot], reason: Removal) -> None:
        self._removals += 1
        for snapshot in removed:
            self._snapshot_cache.pop(snapshot.id, None)
            self._image_cache.remove(snapshot.id)
            self._image_cache.remove(_thumbnail_key(snapshot))
            self._scaled.forget(snapshot)
        self.on_removed(removed, reason)

    def _close(self) -> None:
        for inspector in list(self._inspectors.values()):
            inspector.shutdown()  # waits for every save
        self._scaled.close()
        self._copying.shutdown()
        if self._backup_server is not None:
            self._backup_server.close()
        closing = self._thread.submit(self._album.close)
        self._thread.shutdown(wait=False)
        closing.result()

    async def _read_index(self, query: Callable[[Index], T]) -> T:
        return await self._run(self._queries, self._album.read, query)

    async def _run(self, thread: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self._submit(thread, function, *args, **kwargs))

    def _submit(
        self, thread: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        if self._closed is not None:
            raise StorageError("The album is closed, because the server is stopping. Try again in a moment.")
        return thread.submit(function, *args, **kwargs)


def _thumbnail_key(snapshot: Snapshot) -> str:
    """Return a thumbnail's key in the cache. An image's key is its id."""
    return f"{snapshot.id}/thumbnail"


def _share_key(shared: Snapshot | str) -> str:
    return shared.id if isinstance(shared, Snapshot) else camera_key(shared)
