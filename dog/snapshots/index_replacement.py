"""An index made in the place of another: what the old one alone knew is taken over, as far as it can be read.

That is its ledger, how each photo that is as it was came about, and the highest number of a capture. Where it knew
another hash of a photo, that one stays: what is damaged is never blessed. Until the new one is whole, the old one lies
beside it: a crash on the way costs nothing.
"""

import contextlib
import dataclasses
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from dog.files import sync_folder
from dog.snapshots.index import Index, is_environment_error
from dog.snapshots.names import Snapshot, image_path, make_id

__all__ = [
    "INDEX_FILE",
    "INDEX_READ_ERRORS",
    "OLD_INDEX_FILE",
    "OldIndex",
    "RebuiltIndex",
    "open_index",
    "rebuild_index",
    "set_aside",
]

INDEX_FILE = "index.sqlite3"
OLD_INDEX_FILE = "index.old.sqlite3"
"""Where it lies, there is an index that was put aside, and the one in its place is not whole."""

INDEX_READ_ERRORS = (sqlite3.Error, ValueError, TypeError, OverflowError)
"""What comes of reading an index that is damaged or of another version."""

log = logging.getLogger(__name__)


class OldIndex(Index):
    """The index that is to be replaced, read as far as it can be: it need not be sound, nor of this version."""

    def _prepare(self) -> None:
        self._value("PRAGMA locking_mode = EXCLUSIVE")
        self._value("PRAGMA query_only = ON")


class RebuiltIndex(Index):
    """The index that is being made. `changed` are the paths of photos that are not as they were saved, and `carried` is
    of how many the old one knew more than their files say. `aside` is where that one is kept then, if there was one.
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
        known = self._find_in_old(snapshot.id)
        if known is not None and known.sha256 in ("", snapshot.sha256):
            snapshot = dataclasses.replace(snapshot, origin=known.origin)
            self.carried += 1
        elif known is not None:
            snapshot = dataclasses.replace(snapshot, sha256=known.sha256)
            self.changed.append(image_path(snapshot))
        super().add(snapshot)
        self._advance(1)

    def note_read_error(self, error: BaseException) -> None:
        """Something of the old one can't be read; the rest may still be."""
        self._read_errors.add(str(error))

    def finish(self) -> None:
        """All is taken over: from now on it is an index like any other. Says what could not be."""
        if self._read_errors:
            why = ", ".join(sorted(self._read_errors))
            log.warning("the old index can't be read, or not all of it, and what it alone knew is lost: %s", why)
        self._close_old()
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # on the disk before the old one goes

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
        """Captures' numbers rise for ever, also above those of photos that are gone."""
        self._database.execute("UPDATE highest SET capture = max(capture, ?)", (capture,))


# ---- the index of an archive


def open_index(private: Path, reconcile_with: Callable[[Index], None]) -> Index:
    """The index in an archive's private folder, made again where it can't be used. `reconcile_with` holds it to the folder.

    Raises sqlite3.Error where what is around it is at fault, and OSError.
    """
    path = private / INDEX_FILE
    if not (private / OLD_INDEX_FILE).exists():
        try:
            index = Index(path)
            with _close_on_error(index):
                reconcile_with(index)
            return index
        except sqlite3.Error as error:
            if is_environment_error(error) and not path.is_dir():
                raise
            log.warning("%s: the index can't be used (%s).", private, error)
    log.warning("%s: the index is rebuilt.", private)
    successor = rebuild_index(private, reconcile_with)
    if successor.changed:
        first, count = successor.changed[0], len(successor.changed)
        log.warning(
            "%d photos have changed since they were saved, such as %s. `dog album verify` lists them.", count, first
        )
    return successor


def rebuild_index(
    private: Path,
    reconcile_with: Callable[[RebuiltIndex], None],
    advance: Callable[[int], object] = lambda _photos: None,
) -> RebuiltIndex:
    """The index made in the place of the one that there is, or of the one that was put aside already.

    Killed at any moment, or failing, it leaves what the next call finishes. `advance` is told of each photo that the
    new one takes. Raises sqlite3.Error and OSError.
    """
    path, old = private / INDEX_FILE, private / OLD_INDEX_FILE
    set_aside(private)
    Index.delete(path)
    index = RebuiltIndex(path, old, advance)
    with _close_on_error(index):
        reconcile_with(index)
        index.finish()
        sync_folder(private)
        if old.exists():
            damaged = private / "damaged"
            damaged.mkdir(exist_ok=True)
            index.aside = damaged / f"{make_id()}.{INDEX_FILE}"
            _move(old, index.aside)
    return index


def set_aside(private: Path) -> None:
    """Have the index made again when it is opened next. An older one that is put aside already stays that."""
    path, old = private / INDEX_FILE, private / OLD_INDEX_FILE
    if not old.exists():
        Index.delete(old)  # what a kill may have left beside one that is kept elsewhere by now
    if path.exists() != old.exists():  # where there is the old one alone, a kill came between
        _move(path, old)


@contextlib.contextmanager
def _close_on_error(index: Index) -> Iterator[None]:
    try:
        yield
    except BaseException:
        index.close()
        raise


def _move(path: Path, target: Path) -> None:
    """An index, and then what SQLite has beside it: where the first is gone, the rest of it may be still to come."""
    for file, there in zip(Index.files(path), Index.files(target), strict=True):
        with contextlib.suppress(FileNotFoundError):
            os.replace(file, there)
