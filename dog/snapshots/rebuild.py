"""Rebuild the index from the folder, and repair the durable facts.

Rebuilding is `dog album rebuild`, while no server uses the folder.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Generator
from pathlib import Path

from dog.database import delete_database, is_environment_error, replace_database
from dog.files import sync_folder
from dog.remove_tree import empty_folder, remove_tree
from dog.snapshots.day_folders import list_day, list_days
from dog.snapshots.facts_file import FactsDamaged, identify_database, repair_facts
from dog.snapshots.image_inspection import start_inspectors
from dog.snapshots.index import INDEX_FILE, UNFINISHED_INDEX_FILE, Index
from dog.snapshots.lock import lock_album
from dog.snapshots.names import image_path
from dog.snapshots.reconcile import Differences, reconcile
from dog.snapshots.scaled_images import SCALED_FOLDER
from dog.snapshots.verify import Finding, Progress

__all__ = ["Rebuilding", "open_index"]

log = logging.getLogger(__name__)


def open_index(private: Path, prepare: Callable[[Index], object], *, check_all: bool = True) -> Index:
    """Open an album's databases, after rebuilding or repairing them if needed.

    `prepare` makes the index agree with the folder. Without `check_all`, only a new index is checked: filling it takes
    longer. Raises OSError, StartError, and sqlite3.Error if the files are not the cause.
    """
    path = private / INDEX_FILE
    is_new = is_repaired = False
    check_all = check_all or not path.exists()
    delete_database(private / UNFINISHED_INDEX_FILE)
    while True:
        try:
            return _open_and_prepare(private, prepare, check_all)
        except sqlite3.Error as error:
            if (is_environment_error(error) and not path.is_dir()) or (is_new and is_repaired):
                raise
            if not check_all:
                check_all = True  # to find the damaged file
            elif isinstance(error, FactsDamaged) or is_new:
                repair_facts(private)
                is_repaired = True
            else:
                log.warning("%s: the index can't be used (%s). It is rebuilt from the photos.", private, error)
                delete_database(path)
                is_new = True


def _open_and_prepare(private: Path, prepare: Callable[[Index], object], check_all: bool) -> Index:
    index = Index(private, check_all=check_all)
    try:
        prepare(index)
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

        If this is aborted, the old index stays. Raises StartError and IndexUnavailable.
        """
        with lock_album(self._root) as private:
            incoming = private / "incoming"
            empty_folder(incoming)
            remove_tree(private / SCALED_FOLDER)
            differences = self._build(private, incoming)
            message = "is not as it was saved, and keeps the hash that it had; restore it from a backup, or delete it"
            yield from (Finding("changed", path, message) for path in differences.changed)
            for path in map(image_path, differences.missing):
                message = "is missing and was removed from the index; restore it from a backup"
                if (aside := private / "damaged" / Path(path).name).exists():
                    message = f"is incomplete and was moved to {aside}; restore it from a backup"
                yield Finding("missing", path, message)

    def _build(self, private: Path, incoming: Path) -> Differences:
        """Build a new index, and replace the old one by it."""
        unfinished = private / UNFINISHED_INDEX_FILE
        delete_database(unfinished)
        try:
            with contextlib.closing(_open_unfinished(private)) as index:
                days, _ = list_days(self._root)
                photos = sum(len(list_day(self._root, day).images) for day in days)
                self._progress.begin(photos)
                with start_inspectors(photos) as inspect:
                    differences = reconcile(index, self._root, private, incoming, inspect, self._progress.advance)
                self.photos = index.count()
                index.write_files()
            replace_database(unfinished, private / INDEX_FILE)
        finally:
            delete_database(unfinished)
        sync_folder(private)
        return differences


def _open_unfinished(private: Path) -> Index:
    """Create a new index. Migrate or repair the durable facts first.

    Raises sqlite3.Error if another process uses a file.
    """
    identify_database(private / INDEX_FILE)  # raises if another process uses it
    try:
        return Index(private, file=UNFINISHED_INDEX_FILE)
    except FactsDamaged:
        repair_facts(private)
        return Index(private, file=UNFINISHED_INDEX_FILE)
