"""Damage and change an album's index and durable facts."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

__all__ = [
    "FACTS_DAMAGES",
    "INDEX_DAMAGES",
    "change_facts",
    "change_file",
    "change_index",
    "delete_index",
    "make_facts_later",
    "make_version_3",
    "make_version_4",
    "overwrite_page",
]


def delete_index(folder: Path) -> None:
    (folder / "index.sqlite3").unlink()


def overwrite_index(folder: Path) -> None:
    (folder / "index.sqlite3").write_bytes(b"junk " * 5000)


def cut_index(folder: Path) -> None:
    path = folder / "index.sqlite3"
    path.write_bytes(path.read_bytes()[:5000])


def empty_index(folder: Path) -> None:
    (folder / "index.sqlite3").write_bytes(b"")


def damage_index(folder: Path) -> None:
    """Overwrite everything except the header."""
    path = folder / "index.sqlite3"
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


def overwrite_page(path: Path, name: str) -> None:
    """Overwrite the first page of a table or an index with zeros."""
    with closing(sqlite3.connect(path)) as database:
        [page] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [name]).fetchone()
        [size] = database.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(size))


def damage_what_is_read_last(folder: Path) -> None:
    """Overwrite the index by camera, but not the rows."""
    overwrite_page(folder / "index.sqlite3", "newest_of_camera")


def _executed(script: str) -> Callable[[Path], None]:
    def execute(folder: Path) -> None:
        database = sqlite3.connect(folder / "index.sqlite3", isolation_level=None)
        database.executescript(script)
        database.close()

    return execute


INDEX_DAMAGES: dict[str, Callable[[Path], None]] = {
    "deleted": delete_index,
    "overwritten": overwrite_index,
    "cut off": cut_index,
    "emptied": empty_index,
    "damaged": damage_index,
    "damaged where it is read last": damage_what_is_read_last,
    "of another version": _executed("PRAGMA user_version = 99"),
    "somebody else's": _executed("PRAGMA application_id = 1"),
    "without its table": _executed("DROP TABLE images"),
    "without a column": _executed("ALTER TABLE images RENAME COLUMN width TO breadth"),
    "without rows": _executed("DELETE FROM images; DELETE FROM days"),
}
"""Kinds of harm to the index in a `.dog` folder."""


def _facts_executed(script: str) -> Callable[[Path], None]:
    def execute(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "facts.sqlite3", isolation_level=None)) as database:
            database.executescript(script)

    return execute


def delete_facts(folder: Path) -> None:
    (folder / "facts.sqlite3").unlink()


def overwrite_facts(folder: Path) -> None:
    (folder / "facts.sqlite3").write_bytes(b"junk " * 5000)


def damage_table_of_hashes(folder: Path) -> None:
    overwrite_page(folder / "facts.sqlite3", "saved")


def replace_facts_by_folder(folder: Path) -> None:
    delete_facts(folder)
    (folder / "facts.sqlite3").mkdir()


def empty_facts(folder: Path) -> None:
    (folder / "facts.sqlite3").write_bytes(b"")


FACTS_DAMAGES: dict[str, Callable[[Path], None]] = {
    "deleted": delete_facts,
    "emptied": empty_facts,
    "overwritten": overwrite_facts,
    "damaged in the table of hashes": damage_table_of_hashes,
    "with a foreign identity": _facts_executed("PRAGMA application_id = 1"),
    "without a table": _facts_executed("DROP TABLE shares"),
    "a folder": replace_facts_by_folder,
}
"""Kinds of harm to the durable facts in a `.dog` folder."""


def make_facts_later(folder: Path) -> None:
    """Make the durable facts those of a later version of D.O.G."""
    _facts_executed("PRAGMA user_version = 99")(folder)


def change_index(folder: Path, statement: str, *values: object) -> None:
    """Change the index of the server in this folder, while it does not run."""
    _change(folder / "snapshots" / ".dog" / "index.sqlite3", statement, *values)


def change_facts(folder: Path, statement: str, *values: object) -> None:
    """Change the durable facts of the server in this folder, while it is down."""
    _change(folder / "snapshots" / ".dog" / "facts.sqlite3", statement, *values)


def change_file(path: Path, statement: str) -> None:
    """Change an index or durable facts, with the triggers."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(statement)


def make_version_4(private: Path) -> None:
    """Turn an album's databases into those of the version before the totals."""
    with closing(sqlite3.connect(private / "index.sqlite3", isolation_level=None)) as index:
        index.executescript(
            "DROP TABLE totals; DROP TRIGGER adds_image; DROP TRIGGER deletes_image;"
            "ALTER TABLE images DROP COLUMN color;"
            "CREATE TRIGGER adds_day AFTER INSERT ON images BEGIN"
            " INSERT OR IGNORE INTO days VALUES (substr(new.path, 1, 10), NULL); END;"
            "PRAGMA user_version = 4"
        )
    with closing(sqlite3.connect(private / "facts.sqlite3", isolation_level=None)) as facts:
        facts.executescript("DROP TABLE removing; DROP TRIGGER starts_removing")


def _change(path: Path, statement: str, *values: object) -> None:
    database = sqlite3.connect(path)
    assert database.execute(statement, values).rowcount != 0
    database.commit()
    database.close()


VERSION_3 = """
CREATE TABLE settings (number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE snapshots (
    id TEXT PRIMARY KEY, path TEXT NOT NULL UNIQUE, camera TEXT NOT NULL, capture INTEGER NOT NULL,
    captured_at INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, bytes INTEGER NOT NULL,
    content_type TEXT NOT NULL, sha256 TEXT NOT NULL, request TEXT, exposed_until INTEGER, exposure REAL,
    settings INTEGER REFERENCES settings, quality TEXT
) WITHOUT ROWID;
CREATE INDEX newest ON snapshots (capture, captured_at, id);
CREATE INDEX newest_of_camera ON snapshots (camera, capture, captured_at, id);
CREATE INDEX by_time ON snapshots (captured_at);
CREATE TABLE days (day TEXT PRIMARY KEY, changed_at INTEGER) WITHOUT ROWID;
CREATE TABLE highest (capture INTEGER NOT NULL);
CREATE TRIGGER rises AFTER INSERT ON snapshots BEGIN
    UPDATE highest SET capture = max(capture, new.capture);
    INSERT OR IGNORE INTO days VALUES (substr(new.path, 1, 10), NULL);
END;
CREATE TABLE pins (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE removed (
    id TEXT PRIMARY KEY, camera TEXT NOT NULL, capture INTEGER NOT NULL, captured_at INTEGER NOT NULL,
    suffix TEXT NOT NULL, removed_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE shares (
    id TEXT PRIMARY KEY, snapshot TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX shares_of ON shares (snapshot);
CREATE TABLE secret (value BLOB NOT NULL);
CREATE TABLE clock (number INTEGER PRIMARY KEY CHECK (number = 1), trusted_at INTEGER NOT NULL);
CREATE TABLE misdated (id TEXT PRIMARY KEY, taken_at INTEGER) WITHOUT ROWID;
ATTACH '{private}/facts.sqlite3' AS facts;
ATTACH '{private}/index.sqlite3' AS now;
BEGIN;
INSERT INTO settings SELECT * FROM facts.settings;
INSERT INTO highest SELECT * FROM facts.highest;
INSERT INTO snapshots
    SELECT id, path, i.camera, i.capture, i.captured_at, width, height, bytes, i.content_type, sha256, request,
        exposed_until, exposure, settings, quality
    FROM now.images AS i JOIN facts.saved USING (id);
INSERT INTO pins SELECT * FROM facts.pins;
INSERT INTO removed SELECT * FROM facts.removed;
INSERT INTO shares SELECT * FROM facts.shares;
INSERT INTO secret SELECT * FROM facts.secret;
INSERT INTO clock SELECT * FROM facts.clock;
INSERT INTO misdated SELECT * FROM facts.misdated;
INSERT OR REPLACE INTO days SELECT * FROM now.days;
PRAGMA application_id = 0x444F4721;
PRAGMA user_version = 3;
COMMIT;
DETACH facts;
DETACH now;
"""


def make_version_3(private: Path) -> None:
    """Turn an album's databases into an index of version 3, which had both."""
    index = private / "version-3.sqlite3"
    with closing(sqlite3.connect(index, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(VERSION_3.format(private=private))
    for path in private.glob("facts.*"):
        path.unlink()
    (private / "index.old.sqlite3").unlink()
    index.replace(private / "index.sqlite3")
