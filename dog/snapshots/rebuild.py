"""Rebuild the index from the folder, and repair the durable facts.

Rebuilding is `dog album rebuild`, while no server uses the folder.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Generator
from pathlib import Path

from dog.database import delete_database, is_environment_error
from dog.remove_tree import empty_folder, remove_tree
from dog.snapshots.day_folders import list_day, list_days
from dog.snapshots.facts_file import FactsDamaged, repair_facts
from dog.snapshots.index import INDEX_FILE, Index
from dog.snapshots.lock import lock_album
from dog.snapshots.names import image_path
from dog.snapshots.reconcile import Differences, reconcile
from dog.snapshots.scaled_images import SCALED_FOLDER
from dog.snapshots.verify import Finding, Progress

__all__ = ["Rebuilding", "open_index"]

log = logging.getLogger(__name__)


def open_index(private: Path, reconcile: Callable[[Index], object]) -> Index:
    """Open an album's databases, after rebuilding or repairing them if needed.

    `reconcile` makes the index agree with the folder. Raises OSError, StartError, and sqlite3.Error if the files
    are not the cause.
    """
    path = private / INDEX_FILE
    is_new = is_repaired = False
    while True:
        try:
            return _open_and_reconcile(private, reconcile)
        except sqlite3.Error as error:
            if (is_environment_error(error) and not path.is_dir()) or (is_new and is_repaired):
                raise
            if isinstance(error, FactsDamaged) or is_new:
                repair_facts(private)
                is_repaired = True
            else:
                log.warning("%s: the index can't be used (%s). It is rebuilt from the photos.", private, error)
                delete_database(path)
                is_new = True


def _open_and_reconcile(private: Path, reconcile: Callable[[Index], object]) -> Index:
    index = Index(private)
    try:
        reconcile(index)
    except BaseException:
        index.close()
        raise
    return index


class Rebuilding:
    """Rebuild an index, and count its `photos`."""

    def __init__(self, root: Path, progress: Progress) -> None:
        self.photos = 0
        self._root = root
        self._progress = progress

    def run(self) -> Generator[Finding, None, None]:
        """Yield the differences from what was saved.

        If this is aborted, the next rebuild or start finishes it. Raises StartError and IndexUnavailable.
        """
        with lock_album(self._root) as private:
            incoming = private / "incoming"
            empty_folder(incoming)
            remove_tree(private / SCALED_FOLDER)
            _prepare(private)
            delete_database(private / INDEX_FILE)
            differences = Differences()

            def reconcile_with(index: Index) -> None:
                nonlocal differences
                days, _ = list_days(self._root)
                self._progress.begin(sum(len(list_day(self._root, day).images) for day in days))
                differences = reconcile(index, self._root, private, incoming, self._progress.advance)

            with contextlib.closing(open_index(private, reconcile_with)) as index:
                self.photos = index.count()
            message = "is not as it was saved, and keeps the hash that it had; restore it from a backup, or delete it"
            yield from (Finding("changed", path, message) for path in differences.changed)
            for path in map(image_path, differences.missing):
                message = "is missing and was removed from the index; restore it from a backup"
                if (aside := private / "damaged" / Path(path).name).exists():
                    message = f"is incomplete and was moved to {aside}; restore it from a backup"
                yield Finding("missing", path, message)


def _prepare(private: Path) -> None:
    """Migrate or repair the durable facts.

    Raises sqlite3.Error if another process uses a file.
    """
    try:
        Index(private).close()
    except FactsDamaged:
        repair_facts(private)
    except sqlite3.Error as error:
        if is_environment_error(error) and not (private / INDEX_FILE).is_dir():
            raise
