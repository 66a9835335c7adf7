"""The file of durable facts: open, migrate and repair it.

    <folder>/.dog/facts.sqlite3             the durable facts
    <folder>/.dog/facts.complete.sqlite3    the next ones, complete; they only have to be moved there
    <folder>/.dog/facts.unfinished.sqlite3  the next ones, while rows are copied
    <folder>/.dog/index.old.sqlite3         a symbolic link to the durable facts

While the facts are open, a row in the table `in_use` says so, in the main file and not only in its WAL. So a start
detects a copy that somebody made while a server ran, without the WAL.

Until version 3 of the index, the facts were tables of it. An earlier version that opens the album again sees the link
as an index that it set aside: it copies the facts from there into its own index, and removes the link. So an index of
version 3 without the link has newer facts than we, and they are taken over again. Where a file system has no links,
an earlier version can't find the facts, and ours stay.

Everything here blocks, and may be killed at any moment: the next call of `open_facts` goes on.
"""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from dog.database import (
    FileDamaged,
    check_integrity,
    connect,
    database_exists,
    delete_database,
    is_disk_full,
    is_environment_error,
    move_database,
    read_identity,
    read_value,
    transaction,
)
from dog.errors import StartError
from dog.files import remove_file, sync_folder
from dog.snapshots.durable_facts import COPIES, DECISIONS, REMOVING_SCHEMA, SCHEMA
from dog.snapshots.names import make_id

__all__ = [
    "CLEAR_IN_USE",
    "FACTS_FILE",
    "INDEX_APPLICATION_ID",
    "INDEX_FILE",
    "FactsDamaged",
    "are_facts_gone",
    "close_facts",
    "identify_database",
    "open_facts",
    "repair_facts",
]

FACTS_FILE = "facts.sqlite3"
INDEX_FILE = "index.sqlite3"
INDEX_APPLICATION_ID = 0x444F4721
"""'DOG!', in the index's header, to identify it."""
_COMPLETE_FILE = "facts.complete.sqlite3"
_UNFINISHED_FILE = "facts.unfinished.sqlite3"
_LINK = "index.old.sqlite3"
_APPLICATION_ID = 0x444F4746
"""'DOGF', in the header of the durable facts."""
_VERSION = 1
_LAST_INDEX_WITH_FACTS = 3
_IN_USE = "CREATE TABLE IF NOT EXISTS in_use (number INTEGER PRIMARY KEY CHECK (number = 1))"
CLEAR_IN_USE = "DELETE FROM main.in_use"
"""The statement for facts that are closed, and for a complete copy of them."""

log = logging.getLogger(__name__)


class FactsDamaged(FileDamaged):
    """The durable facts can't be used. `repair_facts` saves what is readable."""


def open_facts(private: Path, *, check_all: bool) -> sqlite3.Connection:
    """Open an album's durable facts, and create them first if there are none.

    Without `check_all`, only the small tables are checked for damage. Raises FactsDamaged, StartError for a file of a
    later version or an unreadable one of an earlier version, and OSError.
    """
    path = private / FACTS_FILE
    has_wal = _wal(path).exists()
    earlier = _find_earlier_index(private)
    if earlier is not None:
        _check_version(path, identify_database(path))
        _migrate(private, earlier)
    elif _has_content(path):
        delete_database(private / _COMPLETE_FILE)  # what it was made of is still there
    elif (private / _COMPLETE_FILE).exists():
        _install(private)
    else:
        if are_facts_gone(private):
            log.warning("%s is gone. Pins, deletions, share links and hashes are lost. Restore it from a backup.", path)
            delete_database(private / INDEX_FILE)  # so that the photos get hashes again
        delete_database(path)  # other files of SQLite
    try:
        database = _open(path, check_all)
    except sqlite3.Error as error:
        if is_environment_error(error) and not path.is_dir():
            raise
        raise FactsDamaged(f"{FACTS_FILE}: {error}") from error
    if not has_wal and _is_in_use(database):
        log.warning(
            "%s was copied without its file %s while D.O.G. had it open. The newest pins, deletions, share links and"
            " hashes may be missing, and deleted photos may be back. Restore a copy that `dog album backup` made.",
            path,
            _wal(path).name,
        )
    _mark_in_use(database)
    with contextlib.suppress(OSError):  # some file systems have no links
        _link(private)
    return database


def close_facts(database: sqlite3.Connection) -> None:
    """Write everything into the main file and close. May be called again."""
    try:
        # First, so that the next statement needs no space: it overwrites the WAL from its beginning.
        read_value(database, "PRAGMA main.wal_checkpoint(RESTART)")
        database.execute(CLEAR_IN_USE)
    except sqlite3.Error as error:
        log.debug("The facts stay marked as in use: %s", error)
    finally:
        database.close()


def _is_in_use(database: sqlite3.Connection) -> bool:
    return bool(read_value(database, "SELECT count(*) FROM in_use"))


def _mark_in_use(database: sqlite3.Connection) -> None:
    """Mark the facts as in use, in the main file."""
    try:
        database.execute("INSERT OR IGNORE INTO in_use VALUES (1)")
        read_value(database, "PRAGMA main.wal_checkpoint(RESTART)")
    except sqlite3.Error as error:
        if not is_disk_full(error):
            raise


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def are_facts_gone(private: Path) -> bool:
    """Return True if the durable facts are missing, and were there before."""
    if _has_content(private / FACTS_FILE) or (private / _COMPLETE_FILE).exists():
        return False
    application, version = identify_database(private / INDEX_FILE)
    return (private / _LINK).is_symlink() or (application == INDEX_APPLICATION_ID and version > _LAST_INDEX_WITH_FACTS)


def _has_content(path: Path) -> bool:
    """Return False if a database is missing, or empty as after its creation."""
    return path.exists() and (path.stat().st_size > 0 or _wal(path).exists())


def repair_facts(private: Path) -> None:
    """Copy what can be read into a new file. Keep the damaged one."""
    log.warning("%s is damaged, and is repaired.", private / FACTS_FILE)
    _replace(private, private / FACTS_FILE)


def _open(path: Path, check_all: bool) -> sqlite3.Connection:
    database = connect(path)
    try:
        read_value(database, "PRAGMA journal_mode = WAL")
        read_value(database, "PRAGMA synchronous = NORMAL")
        if read_value(database, "SELECT count(*) FROM sqlite_master") == 0:
            _create_tables(database)
        identity = read_identity(database)
        _check_version(path, identity)
        if identity != (_APPLICATION_ID, _VERSION):
            raise FileDamaged("it is the file of another program")
        for table, columns, _ in COPIES:
            database.execute(f"SELECT {columns} FROM {table} LIMIT 0")
        database.execute(_IN_USE)
        if read_value(database, "SELECT count(*) FROM sqlite_master WHERE name = 'removing'") == 0:
            database.executescript(f"BEGIN; {REMOVING_SCHEMA} COMMIT;")
        checked: Sequence[str | None] = [None] if check_all else DECISIONS
        for part in checked:
            check_integrity(database, table=part)
    except BaseException:
        database.close()
        raise
    return database


def _create_tables(database: sqlite3.Connection) -> None:
    header = f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {_VERSION}"
    database.executescript(f"BEGIN; {SCHEMA} {header}; COMMIT")


# ---- other versions


def _check_version(path: Path, identity: tuple[int, int]) -> None:
    application, version = identity
    if application == _APPLICATION_ID and version > _VERSION:
        raise StartError(
            f"{str(path)!r} was written by a later version of D.O.G."
            " Install that version, or name another folder of snapshots."
        )


def _find_earlier_index(private: Path) -> Path | None:
    """Return an earlier version's index that has the newest facts, if any."""
    link, index = private / _LINK, private / INDEX_FILE
    if link.is_symlink():
        return None
    # The first is an earlier version's rebuild that did not finish.
    found = [path for path in (link, index) if path.is_file()]
    for path in found:
        application, version = identify_database(path)
        if application == INDEX_APPLICATION_ID and 0 < version <= _LAST_INDEX_WITH_FACTS:
            return None if _has_content(private / FACTS_FILE) and not _has_links(private) else path
    if _has_content(private / FACTS_FILE) or (private / _COMPLETE_FILE).exists() or are_facts_gone(private):
        return None
    return found[0] if found else None  # it is damaged


def identify_database(path: Path) -> tuple[int, int]:
    """Return a database's application id and version, zeros if unreadable."""
    if not path.is_file():
        return 0, 0
    try:
        with contextlib.closing(connect(path)) as database:
            return read_identity(database)
    except sqlite3.Error as error:
        if is_environment_error(error):
            raise
        return 0, 0


def _has_links(private: Path) -> bool:
    """Return True if the file system has symbolic links."""
    probe = private / "link-test"
    try:
        remove_file(probe)
        probe.symlink_to(FACTS_FILE)
        probe.unlink()
    except OSError:
        return False
    return True


def _migrate(private: Path, earlier: Path) -> None:
    """Take the facts over from an earlier version's index."""
    try:
        is_complete = _replace(private, earlier)
    except sqlite3.Error as error:
        if is_environment_error(error):
            raise
        raise StartError(
            f"The pins, deletions and share links can't be taken from {str(earlier)!r}: {error}."
            " Start the earlier version, or restore the file from a backup."
        ) from error
    with contextlib.suppress(OSError):
        _link(private)
    if not is_complete and earlier.exists():
        _move_to_damaged(earlier)


def _link(private: Path) -> None:
    """Let an earlier version find the facts."""
    link = private / _LINK
    if not link.is_symlink():
        if link.exists():
            _move_to_damaged(link)
        link.symlink_to(FACTS_FILE)
        sync_folder(private)


# ---- a file with the rows of another


def _replace(private: Path, source: Path) -> bool:
    """Replace the facts by what can be read. Return True if that is all."""
    unfinished = private / _UNFINISHED_FILE
    delete_database(unfinished)
    delete_database(private / _COMPLETE_FILE)
    try:
        with contextlib.closing(connect(unfinished)) as database:
            _create_tables(database)
            with transaction(database, synced=True):
                is_complete = _copy(source, database)
        os.replace(unfinished, private / _COMPLETE_FILE)
    except BaseException:
        delete_database(unfinished)
        raise
    sync_folder(private)
    _install(private)
    return is_complete


def _install(private: Path) -> None:
    """Move the complete facts to their name, and what has it to `damaged`."""
    path = private / FACTS_FILE
    _move_to_damaged(path)
    os.replace(private / _COMPLETE_FILE, path)
    sync_folder(private)


def _move_to_damaged(path: Path) -> None:
    damaged = path.parent / "damaged"
    if database_exists(path):
        damaged.mkdir(exist_ok=True)
        move_database(path, damaged / f"{make_id()}.{path.name}")


def _copy(source: Path, facts: sqlite3.Connection) -> bool:
    """Copy what can be read of an index of version 3, or of durable facts.

    Return True if that is all.
    """
    counts = dict.fromkeys((table for table, _, _ in COPIES), 0)
    problems: list[str] = []
    for table, columns, statement in COPIES:
        for row in _read_rows(source, table, columns, problems):
            try:
                facts.execute(statement, row)
                counts[table] += 1
            except sqlite3.IntegrityError as error:
                problems.append(f"{table}: {error}")
    facts.execute("UPDATE saved SET settings = NULL WHERE settings NOT IN (SELECT number FROM settings)")
    copied = ", ".join(f"{table} {count}" for table, count in counts.items())
    log.info("The durable facts were copied from %s. Rows of each table: %s.", source, copied)
    if problems:
        log.warning("%s can't be read completely. What only it had is lost: %s", source, "; ".join(problems))
    return not problems


def _read_rows(source: Path, table: str, columns: str, problems: list[str]) -> Iterator[tuple[object, ...]]:
    """Yield rows up to the first damage, and then from the other end."""
    for order in "", "ORDER BY 1 DESC":
        try:
            with contextlib.closing(connect(source)) as database:
                yield from database.execute(f"SELECT {columns} FROM {table} {order}")
            return
        except sqlite3.Error as error:
            if is_environment_error(error) and not source.is_dir():
                raise
            if "no such table" in str(error):
                return
            problems.append(f"{table}: {error}")
