"""SQLite databases: open, run transactions, tell errors, move the files.

Functions block and raise sqlite3.Error.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from dog.remove_tree import remove_tree

__all__ = [
    "FileDamaged",
    "check_integrity",
    "connect",
    "connect_immutable",
    "copy_database",
    "create_file",
    "database_exists",
    "delete_database",
    "describe",
    "is_disk_full",
    "is_environment_error",
    "move_database",
    "read_identity",
    "read_value",
    "replace_database",
    "transaction",
]

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


_COPIED_PAGES = 64
"""Pages of a step of `copy_database`. Other threads wait for one step, which also a slow disk ends in milliseconds."""


class FileDamaged(sqlite3.DatabaseError):
    """The file is damaged, or is not what it should be."""


def is_disk_full(error: sqlite3.Error) -> bool:
    return _primary_code(error) == sqlite3.SQLITE_FULL


def is_environment_error(error: sqlite3.Error) -> bool:
    """Return True if the disk or another program is the cause."""
    return _primary_code(error) in _ENVIRONMENT_CODES


def describe(error: sqlite3.Error) -> str:
    """Return the reason in one line."""
    reason = " ".join(str(error).split())
    if _primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        reason += " (by another program; or mount an SMB share with nobrl, because its locks always fail)"
    return reason


def _primary_code(error: sqlite3.Error) -> int:
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else sqlite3.SQLITE_ERROR


def connect(path: Path) -> sqlite3.Connection:
    """Open a file for one thread at a time, in autocommit mode.

    Nothing is read yet.
    """
    create_file(path)
    database = sqlite3.connect(path, isolation_level=None, timeout=1, check_same_thread=False)
    database.text_factory = _decode
    # The lock of the album protects it too. EXCLUSIVE avoids shared memory, which some file systems do not have.
    database.execute("PRAGMA locking_mode = EXCLUSIVE").fetchone()
    return database


def connect_immutable(path: Path, **attached: Path) -> sqlite3.Connection:
    """Open files for reading, as they are without their write-ahead logs.

    No lock is taken, so nothing may write into the files until this is closed. Other schemas are `attached`.
    """
    database = sqlite3.connect(_immutable_uri(path), uri=True, isolation_level=None, check_same_thread=False)
    database.text_factory = _decode
    for schema, file in attached.items():
        database.execute(f"ATTACH ? AS {schema}", (_immutable_uri(file),))
    return database


def _immutable_uri(path: Path) -> str:
    return f"file:{quote(os.fsencode(path.absolute()))}?immutable=1"


def create_file(path: Path) -> None:
    """Create an empty database that belongs to the owner of its folder."""
    if os.geteuid() == 0 and not path.exists():
        owner = path.parent.stat()
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
        os.chown(path, owner.st_uid, owner.st_gid)


def _decode(text: bytes) -> str:
    """Decode text also if a bit is wrong, which SQLite does not notice."""
    return text.decode(errors="replace")


def read_value(database: sqlite3.Connection, query: str) -> object:
    """Return the first value of the first row, or None."""
    row = database.execute(query).fetchone()
    return None if row is None else row[0]


def read_identity(database: sqlite3.Connection, schema: str = "main") -> tuple[int, int]:
    """Return the application id and the version in a file's header."""
    application, version = (
        read_value(database, f"PRAGMA {schema}.{name}") for name in ("application_id", "user_version")
    )
    return int(str(application)), int(str(version))


def check_integrity(database: sqlite3.Connection, schema: str = "main", table: str | None = None) -> None:
    """Raise FileDamaged if SQLite finds damage in a table, or anywhere."""
    verdict = read_value(database, f"PRAGMA {schema}.quick_check({table or 1})")
    if verdict != "ok":
        raise FileDamaged(str(verdict))


@contextlib.contextmanager
def transaction(database: sqlite3.Connection, *, synced: bool = False) -> Iterator[None]:
    """Run a transaction.

    With `synced`, it is on the disk in the main file when this returns. After a kill, the main file may have it without
    an attached one.
    """
    if synced:
        database.execute("PRAGMA main.synchronous = FULL")
    try:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # SQLite may have rolled back by itself
            database.execute("ROLLBACK")
        raise
    finally:
        if synced:
            with contextlib.suppress(sqlite3.Error):
                database.execute("PRAGMA main.synchronous = NORMAL")


def copy_database(
    source: sqlite3.Connection, schema: str, path: Path, step: Callable[[], object], correction: str = ""
) -> None:
    """Copy a database into a new file, in steps. Then correct the copy.

    During a call of `step`, other threads may use the source. The copy has all that they commit. It is not synced.
    """
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as copy:
        copy.execute("PRAGMA synchronous = OFF")
        source.backup(copy, pages=_COPIED_PAGES, progress=lambda *_: step(), name=schema)
        read_value(copy, "PRAGMA journal_mode = DELETE")  # a file without a WAL is complete by itself
        copy.execute(correction)


def _list_files(path: Path) -> list[Path]:
    """Return a database's file and the other files that SQLite makes for it."""
    return [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))]


def database_exists(path: Path) -> bool:
    """Return True if a database or one of its other files exists."""
    return any(os.path.lexists(file) for file in _list_files(path))


def delete_database(path: Path) -> None:
    for file in reversed(_list_files(path)):  # the database last: other files without one belong to none
        remove_tree(file)  # it may be a folder


def replace_database(path: Path, target: Path) -> None:
    """Move a closed database over another. A kill leaves one of both.

    The other's write-ahead log is deleted first, because SQLite would apply it to the new file.
    """
    for file in _list_files(target)[1:]:
        remove_tree(file)
    if target.is_dir():
        remove_tree(target)
    os.replace(path, target)


def move_database(path: Path, target: Path) -> None:
    """Move a database with its other files. Go on if a kill interrupted that."""
    for file, new_file in zip(_list_files(path), _list_files(target), strict=True):
        with contextlib.suppress(FileNotFoundError):
            os.replace(file, new_file)
