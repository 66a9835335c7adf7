"""The folder of snapshots and its index together. Methods block.

    <folder>/YYYY/MM/DD/<name>.jpg              an image, not re-encoded
    <folder>/YYYY/MM/DD/<name>.thumbnail.jpg    its thumbnail
    <folder>/.dog/index.sqlite3                 the index, which can be rebuilt, and the durable facts
    <folder>/.dog/index.old.sqlite3             the old index, during a rebuild
    <folder>/.dog/lock                          locked while a server uses the folder
    <folder>/.dog/epoch                         the last server's epoch, so that the next one is higher
    <folder>/.dog/clock-in-doubt                exists while the clock is in doubt (doubt_files.py)
    <folder>/.dog/incoming/                     unfinished files; emptied at the start
    <folder>/.dog/damaged/                      incomplete images and old indexes

A snapshot exists from the moment its image is renamed to its final name. Leftovers of a crash before that are removed
at the next start. It is removed from the moment the durable facts have its removal. A path in our form is trusted, an
image is checked before it enters the index, and all other files are neither touched nor served.

Everything here blocks, and belongs to one thread.
"""

import contextlib
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from dog import files
from dog.clock import Clock, Doubt, utc_now
from dog.errors import StartError, StorageError, StorageFull
from dog.files import make_private_folder, sync_folder
from dog.snapshots.day_folders import folder_mtime_ns
from dog.snapshots.index import Index, is_disk_full, is_environment_error
from dog.snapshots.lock import Lock
from dog.snapshots.misdated_snapshots import Timekeeping
from dog.snapshots.names import Snapshot, day_of, image_path, make_id, thumbnail_path
from dog.snapshots.rebuilt_index import open_index, set_aside
from dog.snapshots.reconcile import reconcile
from dog.snapshots.retention import Limits, select_for_removal

__all__ = ["BlockingStore"]

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_ID_ATTEMPTS = 8
"""Attempts to make a new id. If they all fail, the ids are not random."""
_PROBE_DATA = bytes(4096)
"""A whole block. Some file systems keep smaller files in the inode, where they fit even on a full disk."""
LOW_DISK_BYTES = 1024 * 1024
"""With less free space, SQLite may not be able to record a removal before files are deleted."""
MAX_LOGGED_LEFTOVERS = 10
MAX_LOGGED_PATH_LENGTH = 300
"""Limits of one log line about leftovers, because any program may have written them."""
MAX_EPOCH = 2**53
"""The largest integer that JavaScript represents exactly."""


class BlockingStore:
    """The open folder of snapshots. Raises StorageFull and StorageError."""

    def __init__(self, root: Path, clock: Clock | None = None) -> None:
        self.root = root
        self.clock = clock or Clock()
        self.private = root / ".dog"
        self.incoming = self.private / "incoming"
        self.epoch = 0
        self.last_capture = 0
        self.totals = (0, 0)
        self._lock: Lock | None = None
        self._index: Index | None = None
        self._timekeeping = Timekeeping(self.private, self.clock)
        self._day: str | None = None

    def open(self) -> None:
        """Lock the folder, clean up, and make the index agree with the images.

        Raises StartError, in one line. Call `close` also after an error.
        """
        try:
            self._make_private()
            self._lock = Lock(self.root, self.private / "lock")
            self._clean_up()
            self.epoch = self._next_epoch()
            self._index = self._open_index()
            self._timekeeping.start(self._index)
        except (OSError, sqlite3.Error) as error:
            raise StartError(
                f"The folder of snapshots {str(self.root)!r} can't be used: {_os_or_index_reason(error)}."
                " Make room and let the server write there, or name another folder."
            ) from error

    def close(self) -> None:
        """Close the index and release the folder, if they are open."""
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
        count, left = files.empty_folder(self.incoming)
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
            make_private_folder(folder)
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

    def _open_index(self) -> Index:
        """Open or rebuild the index, and make it agree with the folder."""
        return open_index(self.private, self._reconcile)

    def _reconcile(self, index: Index) -> None:
        reconcile(index, self.root, self.private, self.incoming)
        self.last_capture = max(self.last_capture, index.last_capture())
        self.totals = index.totals()

    @contextlib.contextmanager
    def _use_index(self) -> Iterator[Index]:
        """Yield the index. If it fails, close it: the next use opens it again."""
        self._held_lock()
        try:
            if self._index is None:
                self._index = self._open_index()
            yield self._index
        except sqlite3.Error as error:
            if is_disk_full(error):
                raise StorageFull(files.DISK_FULL_MESSAGE, detail=f"the index: {error}") from error
            self._close_failed_index(error)
            raise StorageError(
                "The index of the album failed. Try again: it is repaired at its next use.", detail=str(error)
            ) from error
        except OSError as error:
            raise files.explain_os_error(error) from error

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
                    set_aside(self.private)

    def stage(self, data: bytes) -> Path:
        """Write and sync an image to a temporary file, for `save` or `discard`.

        Raises StorageFull and StorageError, and then leaves no file.
        """
        path = self._temp_path("picture")
        try:
            self._held_lock().check()
            files.write_synced(path, data)
        except OSError as error:
            raise files.explain_os_error(error) from error
        return path

    def discard(self, staged: Path) -> None:
        files.remove_file(staged)

    def make_free_id(self) -> str:
        """Return an unused id. Raise StorageError if none is found."""
        with self._use_index() as index:
            for _ in range(MAX_ID_ATTEMPTS):
                snapshot_id = make_id()
                if index.find_name(snapshot_id) is None:
                    return snapshot_id
        raise StorageError(
            "The snapshot was not saved, because no free id was found. Press again.", detail="the ids are not random"
        )

    def save(self, staged: Path, snapshot: Snapshot, thumbnail: bytes) -> None:
        """Rename a staged image to its final path, and add it to the index.

        Raises StorageFull and StorageError, and then leaves no file.
        """
        try:
            with self._use_index() as index:
                self._held_lock().check()
                self._timekeeping.mark_date(index, snapshot)
                self._make_day_folder(day_of(snapshot), index)
                with self._track_day_mtime(index, day_of(snapshot)):
                    self._add_files(snapshot, staged, thumbnail, index)
                self.last_capture = max(self.last_capture, snapshot.capture)
                self.totals = (self.totals[0] + 1, self.totals[1] + snapshot.bytes)
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
        except BaseException:
            for path in final, thumbnail, incoming_thumbnail:
                files.remove_file(path)
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
            raise files.explain_os_error(error) from error

    def remove(self, snapshot_ids: list[str]) -> list[Snapshot]:
        """Remove snapshots durably. Return those that existed."""
        with self._use_index() as index:
            return self._remove(index, [found for each in snapshot_ids if (found := index.get(each)) is not None])

    def purge(self, limits: Limits, room: int = 0) -> list[Snapshot]:
        """Remove snapshots that exceed the limits, in one step.

        It makes room for an image of `room` bytes. Raises StorageFull if that is impossible.
        """
        with self._use_index() as index:
            free = shutil.disk_usage(self.root).free
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
        with contextlib.ExitStack() as stack:
            for day in days:
                stack.enter_context(self._track_day_mtime(index, day))
            index.remove(snapshots, utc_now())
            self.totals = (self.totals[0] - len(snapshots), self.totals[1] - sum(each.bytes for each in snapshots))
            left = self._delete_files(snapshots)
            for day in days:
                files.remove_empty_folders(self.root, self.root / day)
        for each in left:
            log.warning("%s was deleted, but its file can't be removed. The next start tries again.", image_path(each))
            index.set_day_mtime(day_of(each), None)
        return snapshots

    def _delete_files(self, snapshots: list[Snapshot]) -> list[Snapshot]:
        """Delete the files of snapshots. Return those that could not be deleted."""
        left = []
        for each in snapshots:
            paths = [self.root / name for name in (image_path(each), thumbnail_path(image_path(each)))]
            for path in paths:
                files.remove_file(path)
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
            with self._use_index() as index:
                return query(index)
        except StorageError:
            if self._index is not None:
                raise
        with self._use_index() as index:
            return query(index)

    def write(self, statement: Callable[[Index], T]) -> T:
        """Write into the index, such as its durable facts."""
        with self._use_index() as index:
            self._held_lock().check()
            return statement(index)


def _os_or_index_reason(error: OSError | sqlite3.Error) -> str:
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{where}"
    return f"its index: {error}"
