"""The SQLite index, one row for each image. It may be deleted at any time.

It holds only what can be read from the folder again. Therefore rows are not synced one by one (WAL,
`synchronous=NORMAL`), and a damaged index is not repaired but deleted. It is attached to the durable facts, so that
queries and transactions see both. An Index is used by one thread at a time. Methods block and raise sqlite3.Error.
"""

import contextlib
import datetime as dt
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dog.clock import from_milliseconds, to_milliseconds
from dog.database import FileDamaged, check_integrity, create_file, read_identity, read_value, transaction
from dog.snapshots.durable_facts import DurableFacts, read_origin
from dog.snapshots.facts_file import INDEX_APPLICATION_ID, INDEX_FILE, open_facts
from dog.snapshots.names import SUFFIXES, Snapshot, SnapshotName, image_path

__all__ = ["INDEX_FILE", "Index"]

_VERSION = 4
_FACTS_LEFT_VERSION = 3
"""The last version that had the durable facts too."""
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
CREATE TRIGGER folder.adds_day AFTER INSERT ON images BEGIN
    INSERT OR IGNORE INTO days VALUES (substr(new.path, 1, 10), NULL);
END;
PRAGMA folder.application_id = {INDEX_APPLICATION_ID};
PRAGMA folder.user_version = {_VERSION};
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


class Index:
    """The open index and durable facts in the private folder of an album.

    Raises FactsDamaged, and FileDamaged or another sqlite3.Error if it is the index that can't be used; and what
    `open_facts` raises.
    """

    def __init__(self, private: Path) -> None:
        self._database = open_facts(private)
        self.facts = DurableFacts(self._database)
        try:
            self._attach(private / INDEX_FILE)
        except BaseException:
            self._database.close()
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
        elif identity != (INDEX_APPLICATION_ID, _VERSION):
            raise FileDamaged(f"it has version {identity[1]}, not {_VERSION}")
        if "color" not in [column[1] for column in database.execute("PRAGMA folder.table_info(images)")]:
            database.execute(f"ALTER TABLE folder.images ADD COLUMN {_COLOR}")
        database.execute(f"{_SELECT} LIMIT 0")
        database.execute("SELECT path, day, changed_at FROM images, days LIMIT 0")
        check_integrity(database, "folder")

    def close(self) -> None:
        """Write everything into the two files and close. May be called again."""
        self._database.close()

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

    def delete_gone(self, ids: list[str]) -> None:
        """Delete photos whose images are gone, and their hashes and origins."""
        with transaction(self._database):
            self._delete(ids)
            self.facts.delete_saved(ids)

    def removed(self) -> list[Snapshot]:
        """Return photos whose removal is durable, and which are still here."""
        return self._list("WHERE images.id IN (SELECT id FROM removed)")

    def forget(self, snapshots: list[Snapshot]) -> None:
        """Delete photos whose removal is durable."""
        with transaction(self._database):
            self._delete(each.id for each in snapshots)

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
        return self._list(
            "WHERE images.captured_at >= ? AND images.camera = ? AND request IS NOT NULL ORDER BY images.capture",
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
        return int(str(read_value(self._database, "SELECT count(*) FROM images")))

    def totals(self) -> tuple[int, int]:
        """Return the number of snapshots and the bytes of their images."""
        count, size = self._database.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM images").fetchone()
        return count, size

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

    def images_of_day(self, day: str) -> dict[str, tuple[str, int]]:
        """Return the id and size in bytes of each image of a day, by its path."""
        rows = self._database.execute(
            "SELECT path, id, bytes FROM images WHERE path > ? AND path < ?", (f"{day}/", f"{day}0")
        )
        return {path: (id, size) for path, id, size in rows}

    def find_missing(self) -> list[SnapshotName]:
        """Return the names of saved photos that are not in the index."""
        rows = self._database.execute(
            "SELECT id, camera, capture, captured_at, content_type FROM saved WHERE id NOT IN (SELECT id FROM images)"
        )
        names = []
        for id, camera, capture, captured_at, content_type in rows:
            with contextlib.suppress(ValueError, KeyError, OverflowError):  # a damaged row
                names.append(SnapshotName(id, camera, capture, from_milliseconds(captured_at), SUFFIXES[content_type]))
        return names


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
