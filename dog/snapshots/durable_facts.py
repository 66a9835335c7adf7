"""Facts that no image holds, in tables of their own in the index's file.

They are removed ids, pins, share links, the last trusted time, and wrongly dated photos. Decisions of a person are
synced at once. If the index is rebuilt, all are carried over as far as they can be read.
"""

import contextlib
import datetime as dt
import logging
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dog.clock import MIN_WALL_TIME, from_milliseconds, to_milliseconds
from dog.snapshots.names import Snapshot, SnapshotName, make_id

__all__ = ["CLOCK_SCHEMA", "SCHEMA", "DurableFacts", "Share"]

SCHEMA = """
CREATE TABLE pins (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE removed (
    id TEXT PRIMARY KEY,
    camera TEXT NOT NULL,
    capture INTEGER NOT NULL,
    captured_at INTEGER NOT NULL,
    suffix TEXT NOT NULL,
    removed_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE shares (
    id TEXT PRIMARY KEY,
    snapshot TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX shares_of ON shares (snapshot);
CREATE TABLE secret (value BLOB NOT NULL);
"""
CLOCK_SCHEMA = """
CREATE TABLE IF NOT EXISTS clock (
    number INTEGER PRIMARY KEY CHECK (number = 1),
    trusted_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS misdated (id TEXT PRIMARY KEY, taken_at INTEGER) WITHOUT ROWID;
"""
"""Tables that are added to the index of an earlier version, which otherwise stays as it is.

`misdated` has photos with a wrong date. Their age counts from `taken_at`, which is NULL while it is unknown.
"""
_TABLES = ("pins", "removed", "shares", "secret")
_REMOVAL_RETENTION = dt.timedelta(days=365)
"""Time for which a removed id is kept: as long as a browser keeps its cookie."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Share:
    """A share link to one snapshot. Times are aware, in whole milliseconds."""

    id: str
    snapshot: str
    created_at: dt.datetime
    expires_at: dt.datetime


class DurableFacts:
    """The tables of durable facts. Methods block and raise sqlite3.Error.

    Those that are marked with "transaction" need a `synced_transaction` around them.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        for table in _TABLES:
            database.execute(f"SELECT * FROM {table} LIMIT 0")

    @contextlib.contextmanager
    def synced_transaction(self) -> Iterator[None]:
        """Run a transaction that is on the disk when this returns."""
        database = self._database
        database.execute("PRAGMA synchronous = FULL")
        try:
            database.execute("BEGIN IMMEDIATE")
            yield
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:  # SQLite may have rolled back by itself
                database.execute("ROLLBACK")
            raise
        finally:
            with contextlib.suppress(sqlite3.Error):
                database.execute("PRAGMA synchronous = NORMAL")

    def add_removed(self, snapshots: list[Snapshot], now: dt.datetime) -> None:
        """Add removed snapshots. Delete their pins and links. (Transaction.)"""
        removed_at = to_milliseconds(now)
        self._database.executemany(
            "INSERT OR REPLACE INTO removed VALUES (?, ?, ?, ?, ?, ?)",
            (
                (each.id, each.camera, each.capture, to_milliseconds(each.captured_at), each.suffix, removed_at)
                for each in snapshots
            ),
        )
        ids = [(each.id,) for each in snapshots]
        self._database.executemany("DELETE FROM pins WHERE id = ?", ids)
        self._database.executemany("DELETE FROM shares WHERE snapshot = ?", ids)
        self._database.executemany("DELETE FROM misdated WHERE id = ?", ids)

    def find_removed(self, snapshot_id: str) -> SnapshotName | None:
        """Return the name of a snapshot removed within the last year, or None."""
        row = self._database.execute(
            "SELECT id, camera, capture, captured_at, suffix FROM removed WHERE id = ?", (snapshot_id,)
        ).fetchone()
        if row is None:
            return None
        id, camera, capture, captured_at, suffix = row
        return SnapshotName(id, camera, capture, from_milliseconds(captured_at), suffix)

    # ---- pins

    def set_pinned(self, snapshot_id: str, pinned: bool) -> None:
        """Pin or unpin a snapshot. (Transaction.)"""
        statement = "INSERT OR IGNORE INTO pins VALUES (?)" if pinned else "DELETE FROM pins WHERE id = ?"
        self._database.execute(statement, (snapshot_id,))

    def share(self, snapshot_id: str, now: dt.datetime, expires_at: dt.datetime) -> Share:
        """Create a share link."""
        share = Share(make_id(), snapshot_id, _in_whole_milliseconds(now), _in_whole_milliseconds(expires_at))
        with self.synced_transaction():
            self._database.execute(
                "INSERT INTO shares VALUES (?, ?, ?, ?)",
                (share.id, share.snapshot, to_milliseconds(share.created_at), to_milliseconds(share.expires_at)),
            )
        return share

    def find_share(self, share_id: str) -> Share | None:
        rows = self._shares("id = ?", share_id)
        return rows[0] if rows else None

    def shares_of(self, snapshot_id: str) -> list[Share]:
        """Return the share links of a snapshot, oldest first."""
        return self._shares("snapshot = ?", snapshot_id)

    def revoke(self, share_id: str) -> bool:
        """Delete a share link. Return True if it existed."""
        with self.synced_transaction():
            return self._database.execute("DELETE FROM shares WHERE id = ?", (share_id,)).rowcount > 0

    def secret(self) -> bytes:
        """Return the key that signs share links: 32 random bytes."""
        row = self._database.execute("SELECT value FROM secret").fetchone()
        if row is None:
            row = (secrets.token_bytes(32),)
            with self.synced_transaction():
                self._database.execute("INSERT INTO secret VALUES (?)", row)
        return bytes(row[0])

    def _shares(self, condition: str, value: str) -> list[Share]:
        rows = self._database.execute(
            f"SELECT id, snapshot, created_at, expires_at FROM shares WHERE {condition} ORDER BY created_at, id",
            (value,),
        )
        return [
            Share(id, snapshot, from_milliseconds(made), from_milliseconds(ends)) for id, snapshot, made, ends in rows
        ]

    def trusted_at(self) -> dt.datetime | None:
        """Return the time of the last trusted clock, or None if unknown."""
        row = self._database.execute("SELECT trusted_at FROM clock").fetchone()
        try:
            return None if row is None else from_milliseconds(row[0])
        except (OverflowError, TypeError):  # a damaged row
            return None

    def note_trusted(self, now: dt.datetime) -> None:
        """Store the time of a trusted clock."""
        self._database.execute("INSERT OR REPLACE INTO clock VALUES (1, ?)", (to_milliseconds(now),))

    def distrust_date(self, snapshot_id: str) -> None:
        """Mark the date of a snapshot as not trusted, synced."""
        with self.synced_transaction():
            self._database.execute("INSERT OR IGNORE INTO misdated VALUES (?, NULL)", (snapshot_id,))

    def trust_dates(self, after: int, until: int) -> None:
        """Trust the dates of captures above `after`, up to `until`. (Transaction.)"""
        self._database.execute(
            "DELETE FROM misdated WHERE id IN (SELECT id FROM snapshots WHERE capture > ? AND capture <= ?)",
            (after, until),
        )

    def correct_dates(self, after: int, until: int, jump: dt.timedelta) -> None:
        """Count these captures as taken later, by `jump`. (Transaction.)"""
        self._database.execute(
            "INSERT OR REPLACE INTO misdated"
            " SELECT id, captured_at + ? FROM snapshots WHERE capture > ? AND capture <= ?",
            (jump // dt.timedelta(milliseconds=1), after, until),
        )

    def resolve_unknown_dates(self, now: dt.datetime) -> None:
        """Count all with an unknown time as taken now. (Transaction.)"""
        self._database.execute("UPDATE misdated SET taken_at = ? WHERE taken_at IS NULL", (to_milliseconds(now),))

    def delete_expired(self, now: dt.datetime) -> None:
        """Delete removals and expired links older than a year. (Transaction.)

        Entries with a date before the project are kept, because their age is unknown.
        """
        between = to_milliseconds(MIN_WALL_TIME), to_milliseconds(now - _REMOVAL_RETENTION)
        self._database.execute("DELETE FROM removed WHERE removed_at >= ? AND removed_at < ?", between)
        self._database.execute("DELETE FROM shares WHERE expires_at >= ? AND expires_at < ?", between)

    def carry_over(self, damaged: Path) -> None:
        """Copy the readable rows from the tables of an old or damaged index."""
        if not damaged.is_file():
            return
        try:
            old = sqlite3.connect(damaged, isolation_level=None)
            old.execute("PRAGMA locking_mode = EXCLUSIVE")  # no shared memory, as in the index
        except sqlite3.Error as error:
            log.warning("%s can't be opened; its pins, removals and share links are lost: %s", damaged, error)
            return
        with contextlib.closing(old):
            for table in (*_TABLES, "clock", "misdated"):
                self._carry_over_table(old, table)

    def _carry_over_table(self, old: sqlite3.Connection, table: str) -> None:
        count = 0
        try:
            with self.synced_transaction():
                width = len(self._database.execute(f"SELECT * FROM {table} LIMIT 0").description)
                places = ", ".join("?" * width)
                for row in _read_rows(old, table):
                    self._database.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)
                    count += 1
        except sqlite3.Error as error:
            log.warning("The table %s of the old index can't be carried over: %s", table, error)
        else:
            if count:
                log.info("%d rows of the table %s were carried over from the old index.", count, table)


def _read_rows(database: sqlite3.Connection, table: str) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a table up to the first damage."""
    try:
        yield from database.execute(f"SELECT * FROM {table}")
    except sqlite3.Error as error:
        if "no such table" not in str(error):
            log.warning("The table %s of the old index can't be read to its end: %s", table, error)


def _in_whole_milliseconds(moment: dt.datetime) -> dt.datetime:
    return from_milliseconds(to_milliseconds(moment))
