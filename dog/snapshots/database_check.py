"""Check the index and the durable facts for damage while they are used.

SQLite reads a whole file for that, which takes seconds in a large album. So the check has a connection of its own. It
reads the files as they were at its beginning.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dog.clock import from_milliseconds
from dog.database import FileDamaged, check_integrity, connect_immutable
from dog.snapshots.names import SUFFIXES, SnapshotName, image_path

__all__ = ["DatabaseCheck", "Leftovers", "check_index", "find_missing", "find_removed"]

_INSTRUCTIONS_BETWEEN_STOPS = 1_000_000
"""Fewer would take Python's lock from the event loop more often."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Rows of photos that are gone.

    `removed` are the ids of photos in the index that were removed, as in a copy of an older index. `missing` are the
    ids of photos that were saved and have neither a row in the index nor a file.
    """

    removed: list[str]
    missing: list[str]


class DatabaseCheck:
    """A check of both files. Nothing may write into them until it ends."""

    def __init__(self, facts: Path, index: Path) -> None:
        self.is_stopped = threading.Event()
        self._facts = facts
        self._index = index

    def run(self, root: Path) -> Leftovers:
        """Return leftovers of photos in the folder `root`.

        Raises sqlite3.Error if a file is damaged, can't be read, or after `is_stopped` was set.
        """
        with contextlib.closing(connect_immutable(self._facts, folder=self._index)) as database:
            database.set_progress_handler(self.is_stopped.is_set, _INSTRUCTIONS_BETWEEN_STOPS)
            check_integrity(database)
            check_index(database)
            missing = [name.id for name in find_missing(database) if not (root / image_path(name)).exists()]
            return Leftovers(find_removed(database), missing)


def check_index(database: sqlite3.Connection) -> None:
    """Raise FileDamaged if the index is damaged, or its totals are wrong."""
    check_integrity(database, "folder")
    counted = database.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM images").fetchall()
    if counted != database.execute("SELECT photos, bytes FROM totals").fetchall():
        raise FileDamaged("the totals of the index are wrong")


def find_removed(database: sqlite3.Connection) -> list[str]:
    """Return the ids of removed photos in the index."""
    return [id for (id,) in database.execute("SELECT id FROM images WHERE id IN (SELECT id FROM removed)")]


def find_missing(database: sqlite3.Connection) -> Iterator[SnapshotName]:
    """Yield the names of saved photos that are not in the index."""
    rows = database.execute(
        "SELECT id, camera, capture, captured_at, content_type FROM saved WHERE id NOT IN (SELECT id FROM images)"
    )
    for id, camera, capture, captured_at, content_type in rows:
        with contextlib.suppress(ValueError, KeyError, OverflowError):  # a damaged row
            yield SnapshotName(id, camera, capture, from_milliseconds(captured_at), SUFFIXES[content_type])
