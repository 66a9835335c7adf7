"""Damage and change a store's index file."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

__all__ = ["INDEX_DAMAGES", "change_index", "delete_index"]


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


def damage_what_is_read_last(folder: Path) -> None:
    """Overwrite the index by camera, but not the rows."""
    path = folder / "index.sqlite3"
    database = sqlite3.connect(path)
    [page] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'newest_of_camera'").fetchone()
    [size] = database.execute("PRAGMA page_size").fetchone()
    database.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(size))


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
    "without its table": _executed("DROP TABLE snapshots"),
    "without a column": _executed("ALTER TABLE snapshots RENAME COLUMN width TO breadth"),
    "without rows": _executed("DELETE FROM snapshots; DELETE FROM days"),
}
"""Kinds of harm to the index in a `.dog` folder."""


def change_index(folder: Path, statement: str, *values: object) -> None:
    """Change the index of the server in this folder, while it does not run."""
    database = sqlite3.connect(folder / "snapshots" / ".dog" / "index.sqlite3")
    assert database.execute(statement, values).rowcount != 0
    database.commit()
    database.close()
