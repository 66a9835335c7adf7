"""The check of the databases after a start, and starts that skip it."""

import asyncio
import dataclasses
import datetime as dt
import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dog.database import check_integrity, connect
from dog.snapshots import Snapshot, SnapshotStore, durable_facts
from dog.snapshots.database_check import DatabaseCheck, Leftovers
from dog.snapshots.index import Index
from dog.snapshots.names import image_path
from dog.snapshots.store import BlockingStore
from tests.support import albums
from tests.support.index_files import change_file, make_version_4, overwrite_page
from tests.support.saving_process import MOMENT
from tests.support.stores import check_agreement, list_files, reopen, save


def private(store: SnapshotStore) -> Path:
    return store.incoming.parent


def is_intact(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA quick_check").fetchall() == [("ok",)]


# ---- a start without the check


class SqliteSteps:
    """The steps of SQLite's virtual machine in all connections."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0

        def connect_and_count(path: Path) -> sqlite3.Connection:
            database = connect(path)
            database.set_progress_handler(self._count, 1)
            return database

        monkeypatch.setattr("dog.snapshots.facts_file.connect", connect_and_count)

    def _count(self) -> None:
        self.count += 1

    def of_a_start(self, root: Path) -> int:
        before = self.count
        with closing(BlockingStore(root)) as album:
            album.open()
            for name in "test", "other":
                album.read(lambda index, name=name: index.recent(1, name))  # type: ignore[misc]
                album.read(lambda index, name=name: index.requested(name, MOMENT + dt.timedelta(days=1)))  # type: ignore[misc]
            return self.count - before


async def test_a_start_takes_as_many_steps_with_many_photos_as_with_one(
    store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = SqliteSteps(monkeypatch)
    await save(store)
    await store.close()
    small = steps.of_a_start(tmp_path / "snapshots")
    again = await reopen(store)
    for number in range(2, 80):
        await save(again, number)
    await again.close()
    assert steps.of_a_start(tmp_path / "snapshots") < small + 50


# ---- damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "in the index by time": lambda folder: overwrite_page(folder / "index.sqlite3", "by_time"),
    "in the index by camera": lambda folder: overwrite_page(folder / "index.sqlite3", "newest_of_camera"),
    "in the images": lambda folder: overwrite_page(folder / "index.sqlite3", "images"),
    "in the totals": lambda folder: change_file(folder / "index.sqlite3", "UPDATE totals SET bytes = bytes + 7"),
    "in the hashes": lambda folder: overwrite_page(folder / "facts.sqlite3", "saved"),
    "in the deletions": lambda folder: overwrite_page(folder / "facts.sqlite3", "removed"),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_is_found_after_the_start_and_repaired(
    store: SnapshotStore, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    photos = [await save(store, number) for number in range(1, 12)]
    gone = photos.pop(5)
    await store.remove(gone.id)
    await store.pin(photos[0], True)
    share = await store.share(photos[1], photos[1].captured_at)
    await store.close()
    DAMAGES[damage](private(store))
    again = await reopen(store)
    await again.check()
    assert "damage" in caplog.text or "can't be used" in caplog.text
    assert [each.id for each in await check_agreement(again)] == [photo.id for photo in reversed(photos)]
    assert again.totals == (10, sum(photo.bytes for photo in photos))
    assert [each.pinned for each in await again.recent(limit=20)] == [False] * 9 + [True]
    assert await again.find_share(share.id) == share
    assert await again.get(gone.id) is None
    await save(again, 20)
    await again.close()
    caplog.clear()
    assert is_intact(private(store) / "index.sqlite3")
    assert is_intact(private(store) / "facts.sqlite3")
    third = await reopen(store)
    await third.check()
    assert len(await check_agreement(third)) == 11
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    await third.close()


@pytest.mark.parametrize("table", ["pins", "misdated", "shares", "secret", "highest", "clock"])
def test_damage_in_what_decides_about_deletions_is_found_by_the_start(tmp_path: Path, table: str) -> None:
    with closing(BlockingStore(tmp_path)) as album:
        album.open()
    overwrite_page(tmp_path / ".dog" / "facts.sqlite3", table)
    with closing(BlockingStore(tmp_path)) as album:
        album.open()
    assert [path.name.partition(".")[2] for path in (tmp_path / ".dog" / "damaged").iterdir()] == ["facts.sqlite3"]


def test_a_file_that_can_not_be_read_is_reported_and_the_album_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_arguments: object) -> Leftovers:
        raise OSError(5, "Input/output error")

    with closing(BlockingStore(tmp_path)) as album:
        album.open()
    with closing(BlockingStore(tmp_path)) as album:
        album.open()
        monkeypatch.setattr(DatabaseCheck, "run", fail)
        assert album.check() == []
        assert album.read(lambda index: index.count()) == 0
    assert "can't be checked for damage: Input/output error. Restart the server." in caplog.text


# ---- use during the check


class CheckGate:
    """A gate that holds the check at its beginning until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

        def wait_and_check(*arguments: Any, **options: Any) -> None:
            self.reached.set()
            assert self.opened.wait(30)
            check_integrity(*arguments, **options)

        monkeypatch.setattr("dog.snapshots.database_check.check_integrity", wait_and_check)


async def test_photos_are_saved_and_removed_during_the_check(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old = [await save(store, number) for number in range(1, 4)]
    await store.close()
    gate = CheckGate(monkeypatch)
    again = await reopen(store)
    checking = asyncio.create_task(again.check())
    assert await asyncio.to_thread(gate.reached.wait, 30)
    new = [await save(again, number) for number in range(4, 40)]
    await again.remove(old[0].id)
    await again.pin(old[1], True)
    gate.opened.set()
    await checking
    assert "damage" not in caplog.text
    kept = await check_agreement(again)
    assert [each.id for each in kept] == [photo.id for photo in reversed(old[1:] + new)]
    assert kept[-1].pinned
    assert await again.get(old[0].id) is None
    await again.close()
    assert is_intact(private(store) / "index.sqlite3")


async def test_a_check_reads_files_that_do_not_change_until_its_end(store: SnapshotStore) -> None:
    await save(store)
    await store.close()
    with closing(Index(private(store), check_all=False)) as index:
        index.begin_check()
        files = [private(store) / name for name in ("index.sqlite3", "facts.sqlite3")]
        before = [path.read_bytes() for path in files]
        for number in range(3000):
            index.set_day_mtime(f"2031/01/{number:04}", number)
            index.facts.set_pinned(f"id {number}", True)
        assert [path.read_bytes() for path in files] == before
        index.end_check()
        index.set_day_mtime("2031/02/01", 1)
        assert [path.read_bytes() for path in files] != before


async def test_closing_stops_the_check(store: SnapshotStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.close()
    begun = threading.Event()

    def check_for_hours(database: sqlite3.Connection, *_arguments: object) -> None:
        begun.set()
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1e12) SELECT count(*) FROM n"
        ).fetchone()

    monkeypatch.setattr("dog.snapshots.database_check.check_integrity", check_for_hours)
    again = await reopen(store)
    checking = asyncio.create_task(again.check())
    assert await asyncio.to_thread(begun.wait, 30)
    await again.close()
    await checking


# ---- rows of photos that are gone


def test_a_removal_that_the_index_lost_is_finished_before_the_start_ends(tmp_path: Path) -> None:
    root = tmp_path / "album"
    photo = lose_removal(root)
    with closing(BlockingStore(root)) as album:
        album.open()
        assert album.read(lambda index: index.get(photo.id)) is None
        assert album.totals[0] == 1
        assert len(list_files(root)) == 2


def test_an_older_index_brings_no_removed_photo_back(tmp_path: Path) -> None:
    """After very many removals, a start compares only the last ones."""
    root = tmp_path / "album"
    photo = lose_removal(root)
    change_file(root / ".dog" / "facts.sqlite3", "DELETE FROM removing")
    (root / ".dog" / "scaled").mkdir()
    (root / ".dog" / "scaled" / f"{photo.id}-1280.jpg").write_bytes(b"a copy")
    with closing(BlockingStore(root)) as album:
        album.open()
        assert album.scaled.size(f"{photo.id}-1280.jpg") == 6
        assert [each.id for each in album.check()] == [photo.id]
        assert album.read(lambda index: index.get(photo.id)) is None
        assert album.totals[0] == 1
        assert len(list_files(root)) == 2
        assert list((root / ".dog" / "scaled").iterdir()) == []


def lose_removal(root: Path) -> Snapshot:
    """Make an album as after a power cut: a removal is only in the facts."""
    with closing(BlockingStore(root)) as album:
        album.open()
        photo, _ = albums.save(album, MOMENT), albums.save(album, MOMENT)
    copy = root.with_name("copy")
    shutil.copytree(root, copy, symlinks=True)
    with closing(BlockingStore(root)) as album:
        album.open()
        album.remove([photo.id])
    shutil.copy(copy / ".dog" / "index.sqlite3", root / ".dog")
    day = Path(image_path(photo)).parent
    shutil.copytree(copy / day, root / day, dirs_exist_ok=True)  # with its mtime
    return photo


async def test_the_hash_of_a_photo_that_is_gone_is_forgotten(
    store: SnapshotStore, caplog: pytest.LogCaptureFixture
) -> None:
    gone, kept = await save(store, 1), await save(store, 2)
    await store.close()
    change_file(private(store) / "index.sqlite3", f"DELETE FROM images WHERE id = '{gone.id}'")
    store.image_path(gone).unlink()
    store.thumbnail_path(gone).unlink()
    with closing(Index(private(store))) as index:
        index.set_day_mtime("2026/11/22", store.image_path(gone).parent.stat().st_mtime_ns)
    again = await reopen(store)
    await again.check()
    assert "1 photos are gone since the last start" in caplog.text
    assert await again.recent(limit=5) == [kept]
    await again.close()
    with closing(Index(private(store))) as index:
        assert (index.facts.find_hash(gone.id), index.facts.find_hash(kept.id)) == ("", kept.sha256)


async def test_only_the_last_removals_are_compared_at_a_start(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable_facts, "_MAX_REMOVING", 3)
    await store.check()
    counts = []
    for number in range(1, 7):
        await store.remove((await save(store, number)).id)
        index = store._album._index
        assert index is not None
        counts.append(index._database.execute("SELECT count(*) FROM removing").fetchone()[0])
    assert counts == [1, 2, 3, 0, 1, 2]


# ---- an earlier version


async def test_an_index_of_version_4_gets_totals_and_colours_and_finishes_removals(
    store: SnapshotStore, tmp_path: Path
) -> None:
    kept = [await save(store, number) for number in range(1, 6)]
    await store.close()
    root = tmp_path / "album"
    photo = lose_removal(root)
    make_version_4(root / ".dog")
    with closing(BlockingStore(root)) as album:
        album.open()
        assert album.read(lambda index: index.get(photo.id)) is None
        assert album.totals[0] == 1
    make_version_4(private(store))
    again = await reopen(store)
    assert again.totals == (5, sum(photo.bytes for photo in kept))
    new = await save(again, 6)
    assert new.color == kept[0].color != ""
    assert await check_agreement(again) == [new, *(dataclasses.replace(photo, color="") for photo in kept[::-1])]
    assert again.totals[0] == 6
    await again.close()
