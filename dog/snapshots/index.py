"""The SQLite index, one row for each image. It may be deleted at any time.

It holds only what can be read from the folder again. Therefore rows are not synced one by one (WAL,
`synchronous=NORMAL`), and a damaged index is not repaired but deleted. It is attached to the durable facts, so that
queries and transactions see both. An Index is used by one thread at a time. Methods block and raise sqlite3.Error.

Nothing that a start needs takes longer for a larger album: the totals are kept by triggers, and the files are checked
for damage while they are used (database_check.py).
"""

import contextlib
import datetime as dt
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dog.clock import from_milliseconds, to_milliseconds
from dog.database import FileDamaged, copy_database, create_file, read_identity, read_value, transaction
from dog.snapshots.database_check import DatabaseCheck, check_index, find_missing, find_removed
from dog.snapshots.durable_facts import DurableFacts, read_origin
from dog.snapshots.facts_file import (
    CLEAR_IN_USE,
    FACTS_FILE,
    INDEX_APPLICATION_ID,
    INDEX_FILE,
    close_facts,
    open_facts,
)
from dog.snapshots.names import Snapshot, SnapshotName, image_path

__all__ = ["INDEX_FILE", "UNFINISHED_INDEX_FILE", "Index"]

UNFINISHED_INDEX_FILE = "index.unfinished.sqlite3"
"""The next index, while it is built."""
_VERSION = 5
_FACTS_LEFT_VERSION = 3
"""The last version that had the durable facts too."""
_LAST_VERSION_WITHOUT_TOTALS = 4
_TOTALS_SCHEMA = f"""
CREATE TABLE folder.totals (photos INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO folder.totals SELECT count(*), coalesce(sum(bytes), 0) FROM folder.images;
CREATE TRIGGER folder.adds_image AFTER INSERT ON images BEGIN
    UPDATE totals SET photos = photos + 1, bytes = bytes + new.bytes;
    INSERT OR IGNORE INTO days VALUES (substr(new.path, 1, 10), NULL);
END;
CREATE TRIGGER folder.deletes_image AFTER DELETE ON images BEGIN
    UPDATE totals SET photos = photos - 1, bytes = bytes - old.bytes;
END;
PRAGMA folder.application_id = {INDEX_APPLICATION_ID};
PRAGMA folder.user_version = {_VERSION};
"""
_COLOR = "color TEXT NOT NULL DEFAULT ''"
"""A later column: earlier programs of this version ignore it."""
_SCHEMA = f"""
CREATE TABLE folder.images (
    id TEXT PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    camera TEXT NOT NULL,
    capture INTEGER NOT NULL,
    captured_at INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    {_COLOR}
) WITHOUT ROWID;
CREATE INDEX folder.newest ON images (capture, captured_at, id);
CREATE INDEX folder.newest_of_camera ON images (camera, capture, captured_at, id);
CREATE INDEX folder.by_time ON images (captured_at);
CREATE TABLE IF NOT EXISTS folder.days (day TEXT PRIMARY KEY, changed_at INTEGER) WITHOUT ROWID;
{_TOTALS_SCHEMA}
"""
_FROM_VERSION_4 = f"""
DROP TRIGGER folder.adds_day;
{_TOTALS_SCHEMA}
"""
_COLUMNS = "id, path, camera, capture, captured_at, width, height, bytes, content_type"
_ALL_COLUMNS = f"{_COLUMNS}, color"
_FROM_VERSION_3 = f"""
DROP TRIGGER folder.rises;
DROP INDEX folder.newest;
DROP INDEX folder.newest_of_camera;
DROP INDEX folder.by_time;
{_SCHEMA}
INSERT INTO folder.images ({_COLUMNS}) SELECT {_COLUMNS} FROM folder.snapshots;
DROP TABLE folder.snapshots;
DROP TABLE folder.settings;
DROP TABLE folder.highest;
DROP TABLE folder.pins;
DROP TABLE folder.removed;
DROP TABLE folder.shares;
DROP TABLE folder.secret;
DROP TABLE IF EXISTS folder.clock;
DROP TABLE IF EXISTS folder.misdated;
"""
_SELECT = (
    "SELECT images.id, images.camera, images.capture, images.captured_at, width, height, bytes, images.content_type,"
    " coalesce(sha256, ''), request, exposed_until, exposure, quality,"
    " (SELECT text FROM settings WHERE number = saved.settings), images.id IN pins, color"
    " FROM images LEFT JOIN saved ON saved.id = images.id"
)
# By capture number, which always rises: the clock may jump back.
_NEWEST_FIRST = "ORDER BY images.capture DESC, images.captured_at DESC, images.id DESC LIMIT ?"
_OLDEST_FIRST = "ORDER BY images.capture, images.captured_at, images.id"
# A removed snapshot still has its position in the order.
_ORDER_KEY = "SELECT capture, captured_at, id FROM {table} WHERE id = ?"
_BEFORE = (
    f"(images.capture, images.captured_at, images.id) < ({_ORDER_KEY.format(table='images')}"
    f" UNION ALL {_ORDER_KEY.format(table='removed')} LIMIT 1)"
)
_PAGE_SIZE = 500
_CHECKPOINT_PAGES = 1000
"""SQLite's default."""


class Index:
    """The open index and durable facts in the private folder of an album.

    Without `check_all`, most damage is found later: `is_checked` is False until `end_check`. Raises FactsDamaged, and
    FileDamaged or another sqlite3.Error if it is the index that can't be used; and what `open_facts` raises.
    """

    def __init__(self, private: Path, *, check_all: bool = True, file: str = INDEX_FILE) -> None:
        self.is_checked = check_all
        self._private = private
        self._database = open_facts(private, check_all=check_all)
        self.facts = DurableFacts(self._database)
        try:
            self._attach(private / file)
        except BaseException:
            close_facts(self._database)
            raise

    def _attach(self, path: Path) -> None:
        database = self._database
        create_file(path)
        database.execute("ATTACH ? AS folder", (os.fsencode(path),))  # a name need not be UTF-8
        read_value(database, "PRAGMA folder.journal_mode = WAL")
        read_value(database, "PRAGMA folder.synchronous = NORMAL")
        if read_value(database, "SELECT count(*) FROM folder.sqlite_master") == 0:
            database.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        identity = read_identity(database, "folder")
        if identity == (INDEX_APPLICATION_ID, _FACTS_LEFT_VERSION):
            database.executescript(f"BEGIN; {_FROM_VERSION_3} COMMIT; VACUUM folder;")
            read_value(database, "PRAGMA folder.wal_checkpoint(TRUNCATE)")
        elif identity == (INDEX_APPLICATION_ID, _LAST_VERSION_WITHOUT_TOTALS):
            database.executescript(f"BEGIN; {_FROM_VERSION_4} COMMIT;")
        elif identity != (INDEX_APPLICATION_ID, _VERSION):
            raise FileDamaged(f"it has version {identity[1]}, not {_VERSION}")
        if "color" not in [column[1] for column in database.execute("PRAGMA folder.table_info(images)")]:
            database.execute(f"ALTER TABLE folder.images ADD COLUMN {_COLOR}")
        database.execute(f"{_SELECT} LIMIT 0")
        database.execute("SELECT path, day, changed_at FROM images, days LIMIT 0")
        self.totals()
        if self.is_checked:
            check_index(database)

    def begin_check(self) -> DatabaseCheck:
        """Prepare a check of both files. Do not write into them until `end_check`.

        What is written until then stays in the write-ahead logs.
        """
        self.write_files()
        read_value(self._database, "PRAGMA wal_autocheckpoint = 0")
        return DatabaseCheck(self._private / FACTS_FILE, self._private / INDEX_FILE)

    def end_check(self) -> None:
        """Write into the files again."""
        read_value(self._database, f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        self.is_checked = True

    def write_files(self) -> None:
        """Write everything into the two files, without write-ahead logs."""
        for schema in "main", "folder":
            read_value(self._database, f"PRAGMA {schema}.wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Write everything into the two files and close. May be called again."""
        close_facts(self._database)

    def copy(self, folder: Path, step: Callable[[], object]) -> None:
        """Copy both databases into a folder, in steps.

        During a call of `step`, other threads may use the index. The facts are copied last, so that they may be newer:
        that is a state as after a crash, which the next start makes consistent. It scans all days, because the photos
        may be of another time than the copy.
        """
        copy_database(self._database, "folder", folder / INDEX_FILE, step, "UPDATE days SET changed_at = NULL")
        copy_database(self._database, "main", folder / FACTS_FILE, step, CLEAR_IN_USE)

    # ---- one snapshot

    def add(self, snapshot: Snapshot) -> None:
        """Add an image, and its facts. Those that are known already stay.

        Raises sqlite3.IntegrityError if its id or path is in the index.
        """
        self.facts.add_saved(snapshot)
        self._database.execute(
            f"INSERT INTO images ({_ALL_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                snapshot.id,
                image_path(snapshot),
                snapshot.camera,
                snapshot.capture,
                to_milliseconds(snapshot.captured_at),
                snapshot.width,
                snapshot.height,
                snapshot.bytes,
                snapshot.content_type,
                snapshot.color,
            ),
        )

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """Run a transaction. After a kill, only the durable facts may have it."""
        return transaction(self._database)

    def delete_gone(self, ids: list[str]) -> None:
        """Delete photos whose images are gone, and their hashes and origins."""
        with transaction(self._database):
            self._delete(ids)
            self.facts.delete_saved(ids)

    def removed(self) -> list[Snapshot]:
        """Return photos that are still here, though their removal began."""
        return self._list("WHERE images.id IN (SELECT id FROM removing)")

    def find_removed(self) -> list[str]:
        """Return the ids of removed photos that are still here."""
        return find_removed(self._database)

    def forget(self, snapshots: list[Snapshot]) -> None:
        """Delete photos whose removal is durable."""
        with transaction(self._database):
            self._delete(each.id for each in snapshots)
        if self.is_checked and self.facts.has_many_removals():
            read_value(self._database, "PRAGMA folder.wal_checkpoint")  # syncs what was written until now
            self.facts.finish_removals()

    def _delete(self, ids: Iterable[str]) -> None:
        self._database.executemany("DELETE FROM images WHERE id = ?", ((each,) for each in ids))

    def get(self, snapshot_id: str) -> Snapshot | None:
        row = self._database.execute(f"{_SELECT} WHERE images.id = ?", (snapshot_id,)).fetchone()
        return None if row is None else _snapshot(*row)

    # ---- several snapshots

    def recent(
        self,
        limit: int,
        camera: str | None = None,
        before: str | None = None,
        between: tuple[dt.datetime, dt.datetime] | None = None,
    ) -> list[Snapshot]:
        """Return snapshots, newest first: by capture, then time, then id.

        `before` is the id of a present or removed snapshot; an unknown one gives none. `between` is half-open.
        """
        where: list[str] = []
        values: list[str | int] = []
        if camera is not None:
            where.append("images.camera = ?")
            values.append(camera)
        if before is not None:
            where.append(_BEFORE)
            values += (before, before)
        if between is not None:
            where.append("images.captured_at >= ? AND images.captured_at < ?")
            values += (to_milliseconds(moment) for moment in between)
        condition = f"WHERE {' AND '.join(where)}" if where else ""
        return self._list(f"{condition} {_NEWEST_FIRST}", *values, limit)

    def all(self) -> Iterator[Snapshot]:
        """Yield all snapshots, newest first. The index may change in between."""
        page = self.recent(_PAGE_SIZE)
        while page:
            yield from page
            page = self.recent(_PAGE_SIZE, before=page[-1].id)

    def find_name(self, snapshot_id: str) -> SnapshotName | None:
        """Return the name of a snapshot, present or removed within a year."""
        snapshot = self.get(snapshot_id)
        if snapshot is None:
            return self.facts.find_removed(snapshot_id)
        return SnapshotName(snapshot.id, snapshot.camera, snapshot.capture, snapshot.captured_at, snapshot.suffix)

    def newer(self, snapshot: Snapshot | SnapshotName) -> Snapshot | None:
        """Return the camera's next snapshot. This one may have been removed."""
        newer = self._list(
            "WHERE images.camera = ? AND (images.capture, images.captured_at, images.id) > (?, ?, ?)"
            f" {_OLDEST_FIRST} LIMIT 1",
            snapshot.camera,
            snapshot.capture,
            to_milliseconds(snapshot.captured_at),
            snapshot.id,
        )
        return newer[0] if newer else None

    def requested(self, camera: str, since: dt.datetime) -> list[Snapshot]:
        """Return a camera's snapshots with an idempotency key, oldest first."""
        return self._list(  # `+` and `iif` keep SQLite from reading all photos
            "WHERE images.captured_at >= ? AND +images.camera = ? AND iif(request IS NULL, 0, 1)"
            " ORDER BY +images.capture",
            to_milliseconds(since),
            camera,
        )

    def oldest_unpinned(self, limit: int) -> list[Snapshot]:
        """Return the snapshots that are not pinned, oldest first."""
        return self._list(f"WHERE images.id NOT IN pins {_OLDEST_FIRST} LIMIT ?", limit)

    def taken_between(self, first: dt.datetime, end: dt.datetime, limit: int) -> list[Snapshot]:
        """Return unpinned snapshots dated since `first` and taken before `end`.

        They were taken at their date, unless a wrong clock dated them.
        """
        between = to_milliseconds(first), to_milliseconds(end), limit
        since, rest = "WHERE images.captured_at >= ?", "AND images.id NOT IN pins ORDER BY images.captured_at LIMIT ?"
        return self._list(
            f"{since} AND images.captured_at < ? AND images.id NOT IN (SELECT id FROM misdated) {rest}", *between
        ) or self._list(f"{since} AND images.id IN (SELECT id FROM misdated WHERE taken_at < ?) {rest}", *between)

    def newest_time(self, first: dt.datetime) -> dt.datetime | None:
        """Return the date of the newest correctly dated snapshot since `first`."""
        newest = self._list(
            f"WHERE images.captured_at >= ? AND images.id NOT IN (SELECT id FROM misdated) {_NEWEST_FIRST}",
            to_milliseconds(first),
            1,
        )
        return newest[0].captured_at if newest else None

    def _list(self, rest: str, *values: str | int) -> list[Snapshot]:
        return [_snapshot(*row) for row in self._database.execute(f"{_SELECT} {rest}", values)]

    def count(self) -> int:
        return self.totals()[0]

    def totals(self) -> tuple[int, int]:
        """Return the number of snapshots and the bytes of their images."""
        row = self._database.execute("SELECT photos, bytes FROM totals").fetchone()
        if row is None:
            raise FileDamaged("it has no totals")
        return row[0], row[1]

    def last_capture(self) -> int:
        """Return the highest capture number ever, also of removed snapshots."""
        highest = read_value(self._database, "SELECT max(CAST(capture AS INTEGER)) FROM highest")
        newest = read_value(self._database, "SELECT max(capture) FROM images")
        return max(int(str(number or 0)) for number in (highest, newest))

    # ---- days, as `YYYY/MM/DD`, and the mtimes of their folders

    def day_mtimes(self) -> dict[str, int | None]:
        """Return each day's folder mtime in ns at its last scan, or None."""
        return dict(self._database.execute("SELECT day, changed_at FROM days"))

    def day_mtime(self, day: str) -> int | None:
        row = self._database.execute("SELECT changed_at FROM days WHERE day = ?", (day,)).fetchone()
        return None if row is None else row[0]

    def set_day_mtime(self, day: str, changed_at: int | None) -> None:
        """Record that the index agrees with the day's folder at this mtime."""
        self._database.execute("INSERT OR REPLACE INTO days VALUES (?, ?)", (day, changed_at))

    def delete_day(self, day: str) -> None:
        self._database.execute("DELETE FROM days WHERE day = ?", (day,))

    def has_images(self, day: str) -> bool:
        rows = self._database.execute(
            "SELECT 1 FROM images WHERE path > ? AND path < ? LIMIT 1", (f"{day}/", f"{day}0")
        )
        return rows.fetchone() is not None

    def images_of_day(self, day: str) -> dict[str, tuple[str, int]]:
        """Return the id and size in bytes of each image of a day, by its path."""
        rows = self._database.execute(
            "SELECT path, id, bytes FROM images WHERE path > ? AND path < ?", (f"{day}/", f"{day}0")
        )
        return {path: (id, size) for path, id, size in rows}

    def find_missing(self) -> list[SnapshotName]:
        """Return the names of saved photos that are not in the index."""
        return list(find_missing(self._database))


def _snapshot(
    id: str,
    camera: str,
    capture: int,
    captured_at: int,
    width: int,
    height: int,
    bytes: int,
    content_type: str,
    sha256: str,
    request: str | None,
    exposed_until: int | None,
    exposure: float | None,
    quality: str | None,
    settings: str | None,
    pinned: int,
    color: str,
) -> Snapshot:
    at = from_milliseconds(captured_at)
    origin = read_origin(request, exposed_until, exposure, quality, settings)
    return Snapshot(id, camera, capture, at, width, height, bytes, content_type, sha256, bool(pinned), origin, color)
