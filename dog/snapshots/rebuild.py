"""Rebuild the index from the folder, while no server uses it.

The durable facts are carried over, and so is the origin of unchanged photos. A photo with another hash keeps the old
hash, so that damage is never accepted.
"""

import contextlib
import sqlite3
from collections.abc import Generator, Iterator
from pathlib import Path

from dog import files
from dog.snapshots.day_folders import list_day, list_days
from dog.snapshots.index import is_environment_error
from dog.snapshots.names import image_path
from dog.snapshots.rebuilt_index import (
    INDEX_FILE,
    INDEX_READ_ERRORS,
    OLD_INDEX_FILE,
    OldIndex,
    RebuiltIndex,
    rebuild_index,
)
from dog.snapshots.reconcile import reconcile
from dog.snapshots.verify import Finding, Progress, list_all, lock_album

__all__ = ["Rebuilding"]


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
            files.empty_folder(incoming)
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
            for snapshot in list_all(new.old):
                if new.get(snapshot.id) is not None or new.facts.find_removed(snapshot.id) is not None:
                    continue
                path = image_path(snapshot)
                message = "is missing and was removed from the index; restore it from a backup"
                if (aside := damaged / Path(path).name).exists():
                    message = f"is incomplete and was moved to {aside}; restore it from a backup"
                yield Finding("missing", path, message)
        except INDEX_READ_ERRORS as error:
            new.note_read_error(error)
