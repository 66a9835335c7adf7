"""The index: one row a snapshot, in SQLite. It holds only what the folder says, so that it can always be made again.

Therefore its writes are not synced one by one (WAL, `synchronous=NORMAL`), and a damaged one is deleted, not mended.
Whoever opens an Index uses it in the same thread; every method blocks and raises sqlite3.Error as it comes.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from dog.snapshots.names import Snapshot, from_milliseconds, milliseconds, picture_name
from dog.trees import remove_tree

__all__ = ["Index", "IndexDamaged", "is_full", "is_surroundings"]

_APPLICATION = 0x444F4721
"""'DOG!', in the file's header: what it is for whoever finds it."""
_VERSION = 2
_SCHEMA = f"""
BEGIN;
CREATE TABLE snapshots (
    id TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    camera TEXT NOT NULL,
    capture INTEGER NOT NULL,
    captured_at INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    content_type TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX newest ON snapshots (capture, captured_at, id);
CREATE INDEX newest_of_camera ON snapshots (camera, capture, captured_at, id);
CREATE TABLE highest (capture INTEGER NOT NULL);
INSERT INTO highest VALUES (0);
CREATE TRIGGER rises AFTER INSERT ON snapshots BEGIN
    UPDATE highest SET capture = max(capture, new.capture);
END;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_COLUMNS = "id, camera, capture, captured_at, width, height, bytes, content_type"
# By the captures' numbers, which rise: the clock may jump back.
_NEWEST_FIRST = "ORDER BY capture DESC, captured_at DESC, id DESC LIMIT ?"
_BEFORE = "(capture, captured_at, id) < (SELECT capture, captured_at, id FROM snapshots WHERE id = ?)"

_SURROUNDINGS = {
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
    """The file is no index of ours, or not whole."""


def is_full(error: sqlite3.Error) -> bool:
    return _primary_code(error) == sqlite3.SQLITE_FULL


def is_surroundings(error: sqlite3.Error) -> bool:
    """Whether the disk or another program is at fault, not the file: one made again would fare no better."""
    return _primary_code(error) in _SURROUNDINGS


def _primary_code(error: sqlite3.Error) -> int:
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else sqlite3.SQLITE_ERROR


class Index:
    """The open index. Opening raises IndexDamaged, too, for a file that is a whole database and yet not ours."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, timeout=1)
        try:
            self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        # The folder is ours alone, and so is the index: no shared memory, which some file systems do not have.
        self._ask("PRAGMA locking_mode = EXCLUSIVE")
        self._ask("PRAGMA journal_mode = WAL")
        self._ask("PRAGMA synchronous = NORMAL")
        if self._ask("SELECT count(*) FROM sqlite_master") == 0:
            self._database.executescript(_SCHEMA)
        version = (self._ask("PRAGMA application_id"), self._ask("PRAGMA user_version"))
        if version != (_APPLICATION, _VERSION):
            raise IndexDamaged(f"it has version {version[1]}, not {_VERSION}")
        self._ask(f"SELECT path, {_COLUMNS} FROM snapshots LIMIT 0")
        verdict = self._ask("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise IndexDamaged(str(verdict))

    @staticmethod
    def delete(path: Path) -> None:
        for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
            remove_tree(name)  # also where somebody put a folder

    def close(self) -> None:
        """Bring everything into the one file and close it. Closed already, does nothing."""
        self._database.close()

    def add(self, snapshot: Snapshot) -> None:
        """Raises sqlite3.IntegrityError where there is a snapshot of this id."""
        self._database.execute(
            f"INSERT INTO snapshots (path, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                picture_name(snapshot),
                snapshot.id,
                snapshot.camera,
                snapshot.capture,
                milliseconds(snapshot.captured_at),
                snapshot.width,
                snapshot.height,
                snapshot.bytes,
                snapshot.content_type,
            ),
        )

    def remove(self, ids: Iterable[str]) -> None:
        """All of them or, when it fails, none."""
        self._database.execute("BEGIN")
        try:
            self._database.executemany("DELETE FROM snapshots WHERE id = ?", ((each,) for each in ids))
            self._database.execute("COMMIT")
        except BaseException:
            # SQLite may have rolled back by itself.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def paths(self) -> dict[str, tuple[str, int]]:
        """Of every picture, relative to the folder, with its id and its size in bytes."""
        return {path: (id, size) for path, id, size in self._database.execute("SELECT path, id, bytes FROM snapshots")}

    def get(self, snapshot_id: str) -> Snapshot | None:
        row = self._database.execute(f"SELECT {_COLUMNS} FROM snapshots WHERE id = ?", (snapshot_id,)).fetchone()
        return None if row is None else _snapshot(*row)

    def recent(self, limit: int, camera: str | None = None, before: str | None = None) -> list[Snapshot]:
        """Newest first: by capture, then by time, then by id. An unknown `before` gives none."""
        where: list[str] = []
        values: list[str | int] = []
        if camera is not None:
            where.append("camera = ?")
            values.append(camera)
        if before is not None:
            where.append(_BEFORE)
            values.append(before)
        condition = f"WHERE {' AND '.join(where)}" if where else ""
        rows = self._database.execute(f"SELECT {_COLUMNS} FROM snapshots {condition} {_NEWEST_FIRST}", (*values, limit))
        return [_snapshot(*row) for row in rows]

    def newer(self, snapshot: Snapshot) -> Snapshot | None:
        """The next one of the same camera, in the order of `recent`."""
        row = self._database.execute(
            f"SELECT {_COLUMNS} FROM snapshots WHERE camera = ? AND (capture, captured_at, id) > (?, ?, ?)"
            " ORDER BY capture, captured_at, id LIMIT 1",
            (snapshot.camera, snapshot.capture, milliseconds(snapshot.captured_at), snapshot.id),
        ).fetchone()
        return None if row is None else _snapshot(*row)

    def count(self) -> int:
        return int(str(self._ask("SELECT count(*) FROM snapshots")))

    def totals(self) -> tuple[int, int]:
        """How many snapshots there are, and how many bytes their pictures have together."""
        count, size = self._database.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM snapshots").fetchone()
        return count, size

    def last_capture(self) -> int:
        """The highest number there was, also of a snapshot that is gone: they rise, and the order stands on that."""
        return int(str(self._ask("SELECT capture FROM highest")))

    def _ask(self, question: str) -> object:
        row = self._database.execute(question).fetchone()
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
) -> Snapshot:
    return Snapshot(id, camera, capture, from_milliseconds(captured_at), width, height, bytes, content_type)
