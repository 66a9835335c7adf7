"""Facts that no image holds: what can't be read from the folder again.

They are the hash and the origin of each photo, the highest capture number, removed ids, pins, share links, the last
trusted time, and wrongly dated photos. Decisions of a person are synced at once. The rest is as durable as the folder:
a power cut may lose the hash and the origin of the newest photos.
"""

import contextlib
import datetime as dt
import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from dog.clock import MIN_WALL_TIME, from_milliseconds, to_milliseconds
from dog.database import read_value, transaction
from dog.protocol import Quality
from dog.snapshots.names import UNKNOWN, Origin, Snapshot, SnapshotName, make_id

__all__ = ["COPIES", "DECISIONS", "REMOVING_SCHEMA", "SCHEMA", "DurableFacts", "Share", "camera_key", "read_origin"]

REMOVING_SCHEMA = """
CREATE TABLE removing (id TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO removing SELECT id FROM removed;
CREATE TRIGGER starts_removing AFTER INSERT ON removed BEGIN INSERT OR IGNORE INTO removing VALUES (new.id); END;
"""
"""The removals that the index may have lost in a crash. The first albums with durable facts did not have this table."""
SCHEMA = f"""
CREATE TABLE settings (number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE saved (
    id TEXT PRIMARY KEY,
    camera TEXT NOT NULL,
    capture INTEGER NOT NULL,
    captured_at INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    request TEXT,
    exposed_until INTEGER,
    exposure REAL,
    settings INTEGER REFERENCES settings,
    quality TEXT
) WITHOUT ROWID;
CREATE TABLE highest (capture INTEGER NOT NULL);
INSERT INTO highest VALUES (0);
CREATE TRIGGER rises AFTER INSERT ON saved BEGIN UPDATE highest SET capture = max(capture, new.capture); END;
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
CREATE TABLE secret (value BLOB PRIMARY KEY NOT NULL);
CREATE TABLE clock (number INTEGER PRIMARY KEY CHECK (number = 1), trusted_at INTEGER NOT NULL);
CREATE TABLE misdated (id TEXT PRIMARY KEY, taken_at INTEGER) WITHOUT ROWID;
CREATE VIEW snapshots AS
    SELECT id, camera, capture, captured_at, 1 AS width, 1 AS height, 1 AS bytes, content_type, sha256,
        request, exposed_until, exposure, settings, quality
    FROM saved;
{REMOVING_SCHEMA}
"""
"""The tables. `saved` has a row for each photo, `misdated` for each with a wrong date.

In `shares`, `snapshot` is the id of a photo, or `camera:` and the name of a camera. An earlier version takes that for a
photo that is gone.
The age of a misdated photo counts from `taken_at`, which is NULL while it is unknown. Version 3 of the index had tables
of the same shape; the view is its table of photos, for an earlier version that reads the facts.
"""
_SAVED_COLUMNS = (
    "id, camera, capture, captured_at, content_type, sha256, request, exposed_until, exposure, settings, quality"
)
COPIES = [
    ("settings", "number, text", "INSERT OR IGNORE INTO settings VALUES (?, ?)"),
    ("snapshots", _SAVED_COLUMNS, f"INSERT OR IGNORE INTO saved VALUES ({', '.join('?' * 11)})"),
    ("highest", "capture", "UPDATE highest SET capture = max(capture, ?)"),
    ("pins", "id", "INSERT OR IGNORE INTO pins VALUES (?)"),
    (
        "removed",
        "id, camera, capture, captured_at, suffix, removed_at",
        "INSERT OR IGNORE INTO removed VALUES (?, ?, ?, ?, ?, ?)",
    ),
    ("shares", "id, snapshot, created_at, expires_at", "INSERT OR IGNORE INTO shares VALUES (?, ?, ?, ?)"),
    ("secret", "value", "INSERT OR IGNORE INTO secret VALUES (?)"),
    ("clock", "number, trusted_at", "INSERT OR IGNORE INTO clock VALUES (?, ?)"),
    ("misdated", "id, taken_at", "INSERT OR IGNORE INTO misdated VALUES (?, ?)"),
]
"""Copies of facts, also from version 3 of the index: a table or view, its columns, the statement for a row."""
DECISIONS = ("pins", "misdated", "clock", "shares", "secret", "highest", "removing")
"""Small tables that decide what is deleted and shared."""
_MAX_REMOVING = 1000
"""Removals that a start compares with the index."""
_REMOVAL_RETENTION = dt.timedelta(days=365)
"""Time for which a removed id is kept: as long as a browser keeps its cookie."""


_CAMERA_PREFIX = "camera:"


@dataclass(frozen=True, slots=True)
class Share:
    """A share link. Times are aware, in whole milliseconds.

    `shared` is a snapshot's id, or a `camera_key` for a camera's newest photo.
    """

    id: str
    shared: str
    created_at: dt.datetime
    expires_at: dt.datetime

    @property
    def snapshot(self) -> str | None:
        return None if self.camera else self.shared

    @property
    def camera(self) -> str | None:
        return self.shared.removeprefix(_CAMERA_PREFIX) if self.shared.startswith(_CAMERA_PREFIX) else None


def camera_key(camera: str) -> str:
    """Return what is shared by a link to a camera's newest photo."""
    return _CAMERA_PREFIX + camera


class DurableFacts:
    """The tables of durable facts. Methods block and raise sqlite3.Error.

    Those that are marked with "transaction" need a `synced_transaction` around them.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def synced_transaction(self) -> contextlib.AbstractContextManager[None]:
        """Run a transaction that is on the disk at its end."""
        return transaction(self._database, synced=True)

    # ---- photos

    def add_saved(self, snapshot: Snapshot) -> None:
        """Add the hash and the origin of a photo, unless they are known."""
        origin = snapshot.origin
        if origin.settings is not None:
            self._database.execute("INSERT OR IGNORE INTO settings (text) VALUES (?)", (origin.settings,))
        self._database.execute(
            "INSERT INTO saved VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT number FROM settings WHERE text = ?), ?)"
            " ON CONFLICT (id) DO UPDATE SET sha256 = excluded.sha256 WHERE sha256 = ''",
            (
                snapshot.id,
                snapshot.camera,
                snapshot.capture,
                to_milliseconds(snapshot.captured_at),
                snapshot.content_type,
                snapshot.sha256,
                origin.request,
                None if origin.exposed_until is None else to_milliseconds(origin.exposed_until),
                origin.exposure,
                origin.settings,
                None if origin.quality is None else msgspec.json.encode(origin.quality).decode(),
            ),
        )

    def find_hash(self, snapshot_id: str) -> str:
        """Return the hash that a photo was saved with, or "" if unknown."""
        row = self._database.execute("SELECT sha256 FROM saved WHERE id = ?", (snapshot_id,)).fetchone()
        return "" if row is None else row[0]

    def delete_saved(self, ids: Iterable[str]) -> None:
        """Delete the hashes and the origins of photos that are gone."""
        self._database.executemany("DELETE FROM saved WHERE id = ?", ((each,) for each in ids))

    # ---- removals

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
        self._database.executemany("DELETE FROM saved WHERE id = ?", ids)

    def resume_removals(self, ids: Iterable[str]) -> None:
        """Begin the removal of these photos again."""
        self._database.executemany("INSERT OR IGNORE INTO removing VALUES (?)", ((each,) for each in ids))

    def has_many_removals(self) -> bool:
        """Return True if a start would compare too many with the index."""
        return int(str(read_value(self._database, "SELECT count(*) FROM removing"))) > _MAX_REMOVING

    def finish_removals(self) -> None:
        """Finish all removals, which must be durable in the index, too."""
        self._database.execute("DELETE FROM removing")

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

    def share(self, shared: str, now: dt.datetime, expires_at: dt.datetime) -> Share:
        """Create a share link."""
        share = Share(make_id(), shared, _in_whole_milliseconds(now), _in_whole_milliseconds(expires_at))
        with self.synced_transaction():
            self._database.execute(
                "INSERT INTO shares VALUES (?, ?, ?, ?)",
                (share.id, share.shared, to_milliseconds(share.created_at), to_milliseconds(share.expires_at)),
            )
        return share

    def find_share(self, share_id: str) -> Share | None:
        rows = self._shares("id = ?", share_id)
        return rows[0] if rows else None

    def shares_of(self, shared: str) -> list[Share]:
        """Return the share links to a snapshot or a camera, oldest first."""
        return self._shares("snapshot = ?", shared)

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
        return [Share(id, shared, from_milliseconds(made), from_milliseconds(ends)) for id, shared, made, ends in rows]

    def trusted_at(self) -> dt.datetime | None:
        """Return the time of the last trusted clock, or None if unknown."""
        row = self._database.execute("SELECT trusted_at FROM clock").fetchone()
        return None if row is None else _read_time(row[0])

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
            "DELETE FROM misdated WHERE id IN (SELECT id FROM saved WHERE capture > ? AND capture <= ?)",
            (after, until),
        )

    def correct_dates(self, after: int, until: int, jump: dt.timedelta) -> None:
        """Count these captures as taken later, by `jump`. (Transaction.)"""
        self._database.execute(
            "INSERT OR REPLACE INTO misdated SELECT id, captured_at + ? FROM saved WHERE capture > ? AND capture <= ?",
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


def _in_whole_milliseconds(moment: dt.datetime) -> dt.datetime:
    return from_milliseconds(to_milliseconds(moment))


def read_origin(
    request: str | None,
    exposed_until: int | None,
    exposure: float | None,
    quality: str | None,
    settings: str | None,
) -> Origin:
    """Return the origin in the columns of a row. What is damaged is unknown."""
    if (request, exposed_until, exposure, quality, settings) == (None,) * 5:
        return UNKNOWN
    return Origin(
        request=request,
        exposed_until=None if exposed_until is None else _read_time(exposed_until),
        exposure=exposure,
        settings=settings,
        quality=None if quality is None else _read_quality(quality),
    )


def _read_time(count: int) -> dt.datetime | None:
    try:
        return from_milliseconds(count)
    except (OverflowError, TypeError):  # a damaged row
        return None


def _read_quality(text: str) -> Quality | None:
    try:
        return msgspec.json.decode(text, type=Quality)
    except msgspec.DecodeError:
        return None
