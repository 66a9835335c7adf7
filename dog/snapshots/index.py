"""The SQLite index, one row for each snapshot. It can be rebuilt.

Therefore rows are not synced one by one (WAL, `synchronous=NORMAL`), and a damaged index is not repaired but rebuilt.
Two things are not in the folder: the origin of each image, and the durable facts. A rebuild carries both over as far as
they can be read (rebuild.py). An Index belongs to one thread. Methods block and raise sqlite3.Error.
"""

import datetime as dt
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from dog.clock import from_milliseconds, to_milliseconds
from dog.protocol import Quality
from dog.remove_tree import remove_tree
from dog.snapshots import durable_facts
from dog.snapshots.durable_facts import DurableFacts
from dog.snapshots.names import UNKNOWN, Origin, Snapshot, SnapshotName, image_path

__all__ = ["INDEX_FILE", "OLD_INDEX_FILE", "Index", "IndexDamaged", "is_disk_full", "is_environment_error"]

INDEX_FILE = "index.sqlite3"
OLD_INDEX_FILE = "index.old.sqlite3"
"""The index that was set aside. While it exists, the new one is not complete."""


_APPLICATION_ID = 0x444F4721
"""'DOG!', in the file's header, to identify it."""
_SCHEMA_VERSION = 3
_SCHEMA = f"""
BEGIN;
CREATE TABLE settings (number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE snapshots (
    id TEXT PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    camera TEXT NOT NULL,
    capture INTEGER NOT NULL,
    captured_at INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    request TEXT,
    exposed_until INTEGER,
    exposure REAL,
    settings INTEGER REFERENCES settings,
    quality TEXT
) WITHOUT ROWID;
CREATE INDEX newest ON snapshots (capture, captured_at, id);
CREATE INDEX newest_of_camera ON snapshots (camera, capture, captured_at, id);
CREATE INDEX by_time ON snapshots (captured_at);
CREATE TABLE days (day TEXT PRIMARY KEY, changed_at INTEGER) WITHOUT ROWID;
CREATE TABLE highest (capture INTEGER NOT NULL);
INSERT INTO highest VALUES (0);
CREATE TRIGGER rises AFTER INSERT ON snapshots BEGIN
    UPDATE highest SET capture = max(capture, new.capture);
    INSERT OR IGNORE INTO days VALUES (substr(new.path, 1, 10), NULL);
END;
{durable_facts.SCHEMA}
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_SCHEMA_VERSION};
COMMIT;
"""
_COLUMNS = (
    "id, camera, capture, captured_at, width, height, bytes, content_type, sha256, request, exposed_until, exposure"
)
_SELECT = (
    f"SELECT {_COLUMNS}, quality, (SELECT text FROM settings WHERE number = snapshots.settings), id IN pins"
    " FROM snapshots"
)
# By capture number, which always rises: the clock may jump back.
_NEWEST_FIRST = "ORDER BY capture DESC, captured_at DESC, id DESC LIMIT ?"
# A removed snapshot still has its position in the order.
_ORDER_KEY = "SELECT capture, captured_at, id FROM {table} WHERE id = ?"
_BEFORE = (
    f"(capture, captured_at, id) < ({_ORDER_KEY.format(table='snapshots')}"
    f" UNION ALL {_ORDER_KEY.format(table='removed')} LIMIT 1)"
)

_PAGE_SIZE = 500
_ENVIRONMENT_CODES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


class IndexDamaged(sqlite3.DatabaseError):
    """The file is not an index of this version, or is damaged."""


def is_disk_full(error: sqlite3.Error) -> bool:
    return _primary_code(error) == sqlite3.SQLITE_FULL


def is_environment_error(error: sqlite3.Error) -> bool:
    """Return True if the disk or another program is the cause."""
    return _primary_code(error) in _ENVIRONMENT_CODES


def _primary_code(error: sqlite3.Error) -> int:
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else sqlite3.SQLITE_ERROR


class Index:
    """An open index. Raises IndexDamaged also for a database that is not ours."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, timeout=1)
        try:
            self._prepare()
            self.facts = DurableFacts(self._database)
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        # The folder's lock protects the index too. EXCLUSIVE avoids shared memory, which some file systems do not have.
        self._value("PRAGMA locking_mode = EXCLUSIVE")
        self._value("PRAGMA journal_mode = WAL")
        self._value("PRAGMA synchronous = NORMAL")
        if self._value("SELECT count(*) FROM sqlite_master") == 0:
            self._database.executescript(_SCHEMA)
        version = (self._value("PRAGMA application_id"), self._value("PRAGMA user_version"))
        if version != (_APPLICATION_ID, _SCHEMA_VERSION):
            raise IndexDamaged(f"it has version {version[1]}, not {_SCHEMA_VERSION}")
        self._database.executescript(durable_facts.CLOCK_SCHEMA)
        self._value(f"{_SELECT} LIMIT 0")
        self._value("SELECT path, day, changed_at FROM snapshots, days LIMIT 0")
        verdict = self._value("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise IndexDamaged(str(verdict))

    @staticmethod
    def files(path: Path) -> list[Path]:
        """Return the index's file and the other files of SQLite."""
        return [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))]

    @staticmethod
    def delete(path: Path) -> None:
        for name in reversed(Index.files(path)):  # the index last: other files without one belong to one set aside
            remove_tree(name)  # it may be a folder

    def close(self) -> None:
        """Write everything into one file and close. May be called again."""
        self._database.close()

    # ---- one snapshot

    def add(self, snapshot: Snapshot) -> None:
        """Add a row. Raise sqlite3.IntegrityError if its id or path exists."""
        origin = snapshot.origin
        if origin.settings is not None:
            self._database.execute("INSERT OR IGNORE INTO settings (text) VALUES (?)", (origin.settings,))
        self._database.execute(
            f"INSERT INTO snapshots (path, {_COLUMNS}, quality, settings)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT number FROM settings WHERE text = ?))",
            (
                image_path(snapshot),
                snapshot.id,
                snapshot.camera,
                snapshot.capture,
                to_milliseconds(snapshot.captured_at),
                snapshot.width,
                snapshot.height,
                snapshot.bytes,
                snapshot.content_type,
                snapshot.sha256,
                origin.request,
                None if origin.exposed_until is None else to_milliseconds(origin.exposed_until),
                origin.exposure,
                None if origin.quality is None else msgspec.json.encode(origin.quality).decode(),
                origin.settings,
            ),
        )

    def delete_rows(self, ids: Iterable[str]) -> None:
        """Delete the rows of snapshots whose images are gone, in one transaction."""
        self._database.execute("BEGIN")
        try:
            self._delete(ids)
            self._database.execute("COMMIT")
        except BaseException:
            # SQLite may have rolled back by itself.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def remove(self, snapshots: list[Snapshot], now: dt.datetime) -> None:
        """Delete the rows of snapshots and record their removal, synced."""
        with self.facts.synced_transaction():
            self._delete(each.id for each in snapshots)
            self.facts.add_removed(snapshots, now)

    def _delete(self, ids: Iterable[str]) -> None:
        self._database.executemany("DELETE FROM snapshots WHERE id = ?", ((each,) for each in ids))

    def get(self, snapshot_id: str) -> Snapshot | None:
        row = self._database.execute(f"{_SELECT} WHERE id = ?", (snapshot_id,)).fetchone()
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
            where.append("camera = ?")
            values.append(camera)
        if before is not None:
            where.append(_BEFORE)
            values += (before, before)
        if between is not None:
            where.append("captured_at >= ? AND captured_at < ?")
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
            "WHERE camera = ? AND (capture, captured_at, id) > (?, ?, ?) ORDER BY capture, captured_at, id LIMIT 1",
            snapshot.camera,
            snapshot.capture,
            to_milliseconds(snapshot.captured_at),
            snapshot.id,
        )
        return newer[0] if newer else None

    def requested(self, camera: str, since: dt.datetime) -> list[Snapshot]:
        """Return a camera's snapshots with an idempotency key, oldest first."""
        return self._list(
            "WHERE captured_at >= ? AND camera = ? AND request IS NOT NULL ORDER BY capture",
            to_milliseconds(since),
            camera,
        )

    def oldest_unpinned(self, limit: int) -> list[Snapshot]:
        """Return the snapshots that are not pinned, oldest first."""
        return self._list("WHERE id NOT IN pins ORDER BY capture, captured_at, id LIMIT ?", limit)

    def taken_between(self, first: dt.datetime, end: dt.datetime, limit: int) -> list[Snapshot]:
        """Return unpinned snapshots dated since `first` and taken before `end`.

        They were taken at their date, unless a wrong clock dated them.
        """
        between = to_milliseconds(first), to_milliseconds(end), limit
        rest = "AND id NOT IN pins ORDER BY captured_at LIMIT ?"
        return self._list(
            f"WHERE captured_at >= ? AND captured_at < ? AND id NOT IN (SELECT id FROM misdated) {rest}", *between
        ) or self._list(
            f"WHERE captured_at >= ? AND id IN (SELECT id FROM misdated WHERE taken_at < ?) {rest}", *between
        )

    def newest_time(self, first: dt.datetime) -> dt.datetime | None:
        """Return the date of the newest correctly dated snapshot since `first`."""
        newest = self._list(
            f"WHERE captured_at >= ? AND id NOT IN (SELECT id FROM misdated) {_NEWEST_FIRST}", to_milliseconds(first), 1
        )
        return newest[0].captured_at if newest else None

    def _list(self, rest: str, *values: str | int) -> list[Snapshot]:
        return [_snapshot(*row) for row in self._database.execute(f"{_SELECT} {rest}", values)]

    def count(self) -> int:
        return int(str(self._value("SELECT count(*) FROM snapshots")))

    def totals(self) -> tuple[int, int]:
        """Return the number of snapshots and the bytes of their images."""
        count, size = self._database.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM snapshots").fetchone()
        return count, size

    def last_capture(self) -> int:
        """Return the highest capture number ever, also of removed snapshots."""
        return int(str(self._value("SELECT capture FROM highest")))

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
            "SELECT path, id, bytes FROM snapshots WHERE path > ? AND path < ?", (f"{day}/", f"{day}0")
        )
        return {path: (id, size) for path, id, size in rows}

    def _value(self, query: str) -> object:
        row = self._database.execute(query).fetchone()
        return None if row is None else row[0]


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
) -> Snapshot:
    origin = UNKNOWN
    if (request, exposed_until, exposure, quality, settings) != (None,) * 5:
        origin = Origin(
            request=request,
            exposed_until=None if exposed_until is None else from_milliseconds(exposed_until),
            exposure=exposure,
            settings=settings,
            quality=None if quality is None else _read_quality(quality),
        )
    at = from_milliseconds(captured_at)
    return Snapshot(id, camera, capture, at, width, height, bytes, content_type, sha256, bool(pinned), origin)


def _read_quality(text: str) -> Quality:
    try:
        return msgspec.json.decode(text, type=Quality)
    except msgspec.DecodeError as error:
        raise IndexDamaged(f"{text[:40]!r} is not a quality: {error}") from error
