"""Rebuild the index from the folder, with the data of the old one.

That data is: the durable facts, the origin of each unchanged photo, and the highest capture number. A photo with
another hash keeps the old hash, so that damage is never accepted. The old index is kept until the new one is complete,
so that a crash loses nothing. Rebuilding is `dog album rebuild`, while no server uses the folder.
"""

import contextlib
import dataclasses
import logging
import os
import sqlite3
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from dog.files import sync_folder
from dog.remove_tree import empty_folder
from dog.snapshots.day_folders import list_day, list_days
from dog.snapshots.index import INDEX_FILE, OLD_INDEX_FILE, Index, is_environment_error
from dog.snapshots.lock import lock_album
from dog.snapshots.names import Snapshot, image_path, make_id
from dog.snapshots.reconcile import reconcile
from dog.snapshots.verify import Finding, Progress

__all__ = ["INDEX_READ_ERRORS", "OldIndex", "Rebuilding", "RebuiltIndex", "open_index", "rebuild_index", "set_aside"]

INDEX_READ_ERRORS = (sqlite3.Error, ValueError, TypeError, OverflowError)
"""Errors of reading an index that is damaged or of another version."""

log = logging.getLogger(__name__)


class OldIndex(Index):
    """The old index, read-only. It may be damaged or of another version."""

    def _prepare(self) -> None:
        self._value("PRAGMA locking_mode = EXCLUSIVE")
        self._value("PRAGMA query_only = ON")


class RebuiltIndex(Index):
    """The index that is being rebuilt.

    `changed` are the paths of photos that changed since they were saved. `carried` is the number of photos with data
    from the old index. `aside` is the path at which the old one is kept, if there was one.
    """

    def __init__(self, path: Path, old: Path, advance: Callable[[int], object]) -> None:
        super().__init__(path)
        self._advance = advance
        self.old: OldIndex | None = None
        self.changed: list[str] = []
        self.carried = 0
        self.aside: Path | None = None
        self._read_errors: set[str] = set()
        self.facts.carry_over(old)
        if old.is_file():
            try:
                self.old = OldIndex(old)
                self._raise_last_capture(self.old.last_capture())
            except INDEX_READ_ERRORS as error:
                self.note_read_error(error)

    def add(self, snapshot: Snapshot) -> None:
        old = self._find_in_old(snapshot.id)
        if old is not None and old.sha256 in ("", snapshot.sha256):
            snapshot = dataclasses.replace(snapshot, origin=old.origin)
            self.carried += 1
        elif old is not None:
            snapshot = dataclasses.replace(snapshot, sha256=old.sha256)
            self.changed.append(image_path(snapshot))
        super().add(snapshot)
        self._advance(1)

    def note_read_error(self, error: BaseException) -> None:
        """Record that a part of the old index can't be read."""
        self._read_errors.add(str(error))

    def finish(self) -> None:
        """Complete the rebuild: log the lost data, and sync the index."""
        if self._read_errors:
            reasons = ", ".join(sorted(self._read_errors))
            log.warning("The old index can't be read completely. Data that only it had is lost: %s", reasons)
        self._close_old()
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # on the disk before the old one is moved

    def _close_old(self) -> None:
        if self.old is not None:
            with contextlib.suppress(sqlite3.Error):
                self.old.close()
            self.old = None

    def close(self) -> None:
        self._close_old()
        super().close()

    def _find_in_old(self, snapshot_id: str) -> Snapshot | None:
        try:
            return self.old.get(snapshot_id) if self.old is not None else None
        except INDEX_READ_ERRORS as error:
            self.note_read_error(error)
            return None

    def _raise_last_capture(self, capture: int) -> None:
        """Keep capture numbers above those of photos that are gone."""
        self._database.execute("UPDATE highest SET capture = max(capture, ?)", (capture,))


def open_index(private: Path, reconcile: Callable[[Index], None]) -> Index:
    """Open an album's index, or rebuild it if it can't be used.

    `reconcile` makes it agree with the folder. Raises OSError, and sqlite3.Error if a rebuild would not help.
    """
    path = private / INDEX_FILE
    if not (private / OLD_INDEX_FILE).exists():
        try:
            index = Index(path)
            with _close_on_error(index):
                reconcile(index)
            return index
        except sqlite3.Error as error:
            if is_environment_error(error) and not path.is_dir():
                raise
            log.warning("%s: the index can't be used (%s).", private, error)
    log.warning("%s: the index is rebuilt.", private)
    rebuilt = rebuild_index(private, reconcile)
    if rebuilt.changed:
        first, count = rebuilt.changed[0], len(rebuilt.changed)
        log.warning(
            "%d photos have changed since they were saved, such as %s. `dog album verify` lists them.", count, first
        )
    return rebuilt


def rebuild_index(
    private: Path, reconcile: Callable[[RebuiltIndex], None], advance: Callable[[int], object] = lambda _photos: None
) -> RebuiltIndex:
    """Rebuild the index, from the present one or from one that was set aside.

    If this fails or is killed at any moment, the next call finishes it. `advance` is called for each photo that is
    added. Raises sqlite3.Error and OSError.
    """
    path, old = private / INDEX_FILE, private / OLD_INDEX_FILE
    set_aside(private)
    Index.delete(path)
    index = RebuiltIndex(path, old, advance)
    with _close_on_error(index):
        reconcile(index)
        index.finish()
        sync_folder(private)
        if old.exists():
            damaged = private / "damaged"
            damaged.mkdir(exist_ok=True)
            index.aside = damaged / f"{make_id()}.{INDEX_FILE}"
            _move(old, index.aside)
    return index


def set_aside(private: Path) -> None:
    """Move the index aside, so that the next start rebuilds it."""
    path, old = private / INDEX_FILE, private / OLD_INDEX_FILE
    if not old.exists():
        Index.delete(old)  # SQLite files that a kill left of one that was moved
    if path.exists() != old.exists():  # if only the old one exists, the move was killed
        _move(path, old)


@contextlib.contextmanager
def _close_on_error(index: Index) -> Iterator[None]:
    try:
        yield
    except BaseException:
        index.close()
        raise


def _move(path: Path, target: Path) -> None:
    """Move an index and the other files of SQLite, also if begun before."""
    for file, new_file in zip(Index.files(path), Index.files(target), strict=True):
        with contextlib.suppress(FileNotFoundError):
            os.replace(file, new_file)


def _check_readable(path: Path) -> None:
    """Raise sqlite3.Error if an index is only unreadable for now."""
    try:
        if path.is_file():
            OldIndex(path).close()
    except sqlite3.Error as error:
        if is_environment_error(error):
            raise


class Rebuilding:
    """Rebuild an index, and count the results."""

    def __init__(self, root: Path, progress: Progress) -> None:
        self.photos = 0
        self.carried = 0
        """The number of photos with data from the old index."""
        self.aside: Path | None = None
        """The path at which the old index is kept."""
        self._root = root
        self._progress = progress

    def run(self) -> Generator[Finding, None, None]:
        """Yield the differences from the old index.

        If this is aborted, the next rebuild or start finishes it. Raises StartError and IndexUnavailable.
        """
        with lock_album(self._root) as private:
            incoming, damaged = private / "incoming", private / "damaged"
            empty_folder(incoming)
            for name in INDEX_FILE, OLD_INDEX_FILE:
                _check_readable(private / name)
            missing: list[Finding] = []

            def reconcile_with(index: RebuiltIndex) -> None:
                days, _ = list_days(self._root)
                self._progress.begin(sum(len(list_day(self._root, day).images) for day in days))
                reconcile(index, self._root, private, incoming)
                missing.extend(self._find_missing(index, damaged))

            with contextlib.closing(rebuild_index(private, reconcile_with, self._progress.advance)) as index:
                self.photos, self.carried, self.aside = index.count(), index.carried, index.aside
            message = "is not as it was saved, and keeps the hash that it had; restore it from a backup, or delete it"
            yield from (Finding("changed", path, message) for path in index.changed)
            yield from missing

    def _find_missing(self, new: RebuiltIndex, damaged: Path) -> Iterator[Finding]:
        if new.old is None:
            return
        try:
            for snapshot in new.old.all():
                if new.get(snapshot.id) is not None or new.facts.find_removed(snapshot.id) is not None:
                    continue
                path = image_path(snapshot)
                message = "is missing and was removed from the index; restore it from a backup"
                if (aside := damaged / Path(path).name).exists():
                    message = f"is incomplete and was moved to {aside}; restore it from a backup"
                yield Finding("missing", path, message)
        except INDEX_READ_ERRORS as error:
            new.note_read_error(error)
