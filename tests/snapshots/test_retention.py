"""Retention, deletion, pins, and the durable facts of an album."""

import asyncio
import dataclasses
import datetime as dt
import logging
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dog import files
from dog.errors import StorageError, StorageFull
from dog.protocol import Quality, Removal
from dog.snapshots import Limits, Origin, Snapshot, SnapshotGone, SnapshotStore, reconcile
from dog.snapshots.day_folders import Listing, list_day
from dog.snapshots.index import Index
from dog.snapshots.store import LOW_DISK_BYTES
from tests.support.files import replace_file
from tests.support.index_files import INDEX_DAMAGES
from tests.support.pictures import make_picture
from tests.support.stores import check_agreement, list_files, read_image, read_thumbnail

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
PICTURE = make_picture()
SIZE = len(PICTURE)


class AlbumWithLimits:
    """A folder whose store is opened with limits, and the reported removals."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.removals: list[tuple[list[str], Removal]] = []

    async def open(self, **limits: object) -> SnapshotStore:
        store = SnapshotStore(self.folder, limits=Limits(**limits) if limits else None)  # type: ignore[arg-type]
        store.on_removed = lambda gone, reason: self.removals.append(([each.id for each in gone], reason))
        await store.open()
        return store


@pytest.fixture
def album(tmp_path: Path) -> AlbumWithLimits:
    return AlbumWithLimits(tmp_path / "snapshots")


@pytest.fixture
async def store(album: AlbumWithLimits) -> AsyncIterator[SnapshotStore]:
    store = await album.open()
    yield store
    await store.close()


async def save(store: SnapshotStore, number: int, *, ago: dt.timedelta = dt.timedelta(), **options: object) -> Snapshot:
    data = options.pop("data", PICTURE)
    return await store.save(data, camera="porch", capture=number, captured_at=NOW - ago, **options)  # type: ignore[arg-type]


async def ids(store: SnapshotStore) -> list[str]:
    return [each.id for each in await store.recent(limit=1000)]


# ---- deleting


async def test_deleting_a_photo_removes_it_from_index_disk_and_cache(
    album: AlbumWithLimits, store: SnapshotStore
) -> None:
    gone, stays = await save(store, 1), await save(store, 2)
    assert await store.remove(gone.id)
    assert await check_agreement(store) == [stays]
    assert await store.get(gone.id) is None
    for read in read_image, read_thumbnail:
        with pytest.raises(SnapshotGone):
            await read(store, gone)
    assert store.totals == (1, stays.bytes)
    name = await store.find_name(gone.id)
    assert name is not None
    assert (name.camera, name.capture, name.captured_at) == ("porch", 1, gone.captured_at)
    assert album.removals == [([gone.id], "deleted")]
    assert not await store.remove(gone.id)
    assert album.removals == [([gone.id], "deleted")]


async def test_a_removal_is_known_after_a_restart_and_an_unknown_id_is_not(
    album: AlbumWithLimits, store: SnapshotStore
) -> None:
    gone = await save(store, 1)
    await store.remove(gone.id)
    await store.close()
    again = await album.open()
    assert await again.find_name(gone.id) is not None
    assert await again.find_name("a" * 24) is None
    await again.close()


async def test_a_deleted_photo_does_not_return_if_a_crash_left_its_file(
    album: AlbumWithLimits, store: SnapshotStore, caplog: pytest.LogCaptureFixture
) -> None:
    gone, stays = await save(store, 1), await save(store, 2)
    path, thumbnail = store.image_path(gone), store.thumbnail_path(gone)
    copy = album.folder.parent / "copy"
    shutil.copytree(path.parent, copy)
    await store.remove(gone.id)
    await store.close()
    for file in path, thumbnail:
        shutil.copy(copy / file.name, file)
    again = await album.open()
    assert await check_agreement(again) == [stays]
    assert "1 deleted photos removed again" in caplog.text
    await again.close()


async def test_the_folder_of_a_day_is_removed_with_its_last_photo(album: AlbumWithLimits, store: SnapshotStore) -> None:
    old = await save(store, 1, ago=dt.timedelta(days=400))
    year = store.image_path(old).parent.parent.parent
    await save(store, 2)
    await store.remove(old.id)
    assert not year.exists()
    assert await save(store, 3, ago=dt.timedelta(days=400))
    assert len(await check_agreement(store)) == 2


# ---- retention


async def test_the_oldest_photos_are_removed_above_the_limit_of_photos(album: AlbumWithLimits) -> None:
    store = await album.open(photos=3)
    saved = [await save(store, number) for number in range(1, 6)]
    assert await check_agreement(store) == saved[:1:-1]
    assert album.removals == [([saved[0].id], "retention"), ([saved[1].id], "retention")]
    await store.close()


async def test_the_oldest_photos_are_removed_above_the_limit_of_bytes(album: AlbumWithLimits) -> None:
    store = await album.open(bytes=3 * SIZE)
    saved = [await save(store, number) for number in range(1, 6)]
    assert await check_agreement(store) == saved[:1:-1]
    assert store.totals == (3, 3 * SIZE)
    await store.close()


async def test_too_old_photos_are_removed_without_a_new_one(album: AlbumWithLimits, store: SnapshotStore) -> None:
    old = [await save(store, number, ago=dt.timedelta(days=8 - number)) for number in (1, 2, 3)]
    new = await save(store, 4)
    await store.close()
    again = await album.open(age=dt.timedelta(days=5.5))
    await again.purge()
    assert await check_agreement(again) == [new, old[2]]
    assert album.removals == [([old[0].id, old[1].id], "retention")]
    await again.close()


@pytest.mark.parametrize("wrong", ["1970-01-01T00:04:00Z", "2000-02-29T12:00:00Z", "2025-12-31T23:59:59Z"])
async def test_a_photo_dated_before_the_project_does_not_expire_by_age(
    album: AlbumWithLimits, store: SnapshotStore, wrong: str
) -> None:
    first = await save(store, 1, ago=NOW - dt.datetime.fromisoformat(wrong))
    old = await save(store, 2, ago=dt.timedelta(days=3))
    await store.close()
    again = await album.open(age=dt.timedelta(days=2))
    await again.purge()
    assert await check_agreement(again) == [first]
    assert album.removals == [([old.id], "retention")]
    await again.close()
    again = await album.open(photos=1)
    newest = await save(again, 3)
    assert await check_agreement(again) == [newest], "the limit of photos still removes it"
    await again.close()


async def test_pinned_photos_are_kept_at_any_age_and_number(album: AlbumWithLimits, store: SnapshotStore) -> None:
    pinned = [await save(store, number, ago=dt.timedelta(days=100 - number)) for number in (1, 2, 3)]
    for snapshot in pinned:
        await store.pin(snapshot, True)
    loose = await save(store, 4, ago=dt.timedelta(days=50))
    await store.close()
    again = await album.open(age=dt.timedelta(days=10), photos=1)
    await again.purge()
    assert await ids(again) == [each.id for each in reversed(pinned)]
    assert album.removals == [([loose.id], "retention")]
    newest = await save(again, 5)
    assert await again.get(newest.id) == newest, "the newest photo is not removed to make room"
    await save(again, 6)
    assert await again.get(newest.id) is None
    assert len(await check_agreement(again)) == 4
    await again.close()


async def test_an_unpinned_photo_is_removed_like_any_other(album: AlbumWithLimits) -> None:
    store = await album.open(photos=2)
    first = await save(store, 1)
    assert await store.pin(first, True)
    await save(store, 2)
    await save(store, 3)
    found = await store.get(first.id)
    assert found is not None
    assert found.pinned
    await store.pin(found, False)
    await save(store, 4)
    assert await store.get(first.id) is None
    await store.close()


async def test_hundreds_of_photos_are_removed_in_steps_that_are_all_reported(
    album: AlbumWithLimits, store: SnapshotStore
) -> None:
    saved = [await save(store, number) for number in range(250)]
    await store.close()
    again = await album.open(photos=5)
    await again.purge()
    assert await ids(again) == [each.id for each in saved[:-6:-1]]
    assert [len(gone) for gone, _ in album.removals] == [100, 100, 45]
    await again.close()


async def test_a_limit_on_free_space_is_kept_and_pinned_photos_stay(
    album: AlbumWithLimits, store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The free space is made up here. load/test_room.py has a real full disk."""
    saved = [await save(store, number) for number in (1, 2, 3, 4)]
    await store.pin(saved[0], True)
    await store.close()
    capacity = LOW_DISK_BYTES + 6 * SIZE

    def measure(_folder: Path) -> object:
        return shutil._ntuple_diskusage(capacity, 0, capacity - again.totals[1])

    again = await album.open(free=LOW_DISK_BYTES + 3 * SIZE)
    monkeypatch.setattr(shutil, "disk_usage", measure)
    newest = await save(again, 5)
    assert await ids(again) == [newest.id, saved[3].id, saved[0].id]
    for each in saved[3], newest:
        await again.pin(each, True)
    with pytest.raises(StorageFull, match="unpin some"):
        await save(again, 6)
    assert len(await check_agreement(again)) == 3
    await again.close()


async def test_a_photo_removed_while_its_save_returns_stays_removed(album: AlbumWithLimits) -> None:
    """Each camera's newest photo takes the room of another's."""
    store = await album.open(photos=1)
    gone: set[str] = set()
    store.on_removed = lambda snapshots, _reason: gone.update(each.id for each in snapshots)
    data = make_picture(width=640, height=480)

    async def shoot(camera: str, number: int) -> Snapshot:
        return await store.save(data, camera=camera, capture=number, captured_at=NOW)

    saved: list[Snapshot] = []
    for number in range(0, 90, 3):
        saved += await asyncio.gather(*(shoot(camera, number + place) for place, camera in enumerate("abc")))
    await store.count()
    assert len(gone) == len(saved) - 1
    for snapshot in saved:
        assert (await store.get(snapshot.id) is None) == (snapshot.id in gone)
    await store.close()


async def test_one_large_photo_takes_the_room_of_hundreds_of_small_ones(
    album: AlbumWithLimits, store: SnapshotStore
) -> None:
    for number in range(400):
        await save(store, number)
    await store.close()
    again = await album.open(bytes=400 * SIZE)
    large = await save(again, 500, data=PICTURE + bytes(300 * SIZE))
    assert again.totals == (100, 99 * SIZE + large.bytes)
    await again.close()


async def test_a_file_that_can_not_be_deleted_is_tried_again_at_the_next_start(
    album: AlbumWithLimits, store: SnapshotStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone, stays = await save(store, 1), await save(store, 2)
    path = store.image_path(gone)
    with monkeypatch.context() as patched:
        patched.setattr(files, "remove_file", lambda _path: None)
        await store.remove(gone.id)
    assert path.exists()
    assert "its file can't be" in caplog.text
    await store.close()
    again = await album.open()
    assert not path.exists()
    assert await check_agreement(again) == [stays]
    await again.close()


async def test_a_read_only_folder_keeps_its_photos_with_an_error(
    album: AlbumWithLimits, store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The missing permission is made up, because root may write anywhere."""
    snapshot = await save(store, 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda *_arguments: False)
        with pytest.raises(StorageError, match="Give it the permission"):
            await store.remove(snapshot.id)
    assert await check_agreement(store) == [snapshot]
    assert album.removals == []


async def test_pinning_a_removed_photo_returns_false_and_leaves_nothing(
    album: AlbumWithLimits, store: SnapshotStore
) -> None:
    snapshot = await save(store, 1)
    await store.remove(snapshot.id)
    assert not await store.pin(snapshot, True)
    assert await store.get(snapshot.id) is None


async def test_a_file_larger_than_any_image_is_set_aside_unread(
    album: AlbumWithLimits, store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = await save(store, 1)
    path = store.image_path(snapshot)
    huge = path.with_name(path.name.replace(snapshot.id, "b" * 24))
    with huge.open("wb") as file:
        file.truncate(5 * 2**30)
    await store.close()
    read = Path.read_bytes

    def read_small(path: Path) -> bytes:
        assert path.stat().st_size < 2**20, path
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_small)
    again = await album.open()
    assert await check_agreement(again) == [snapshot]
    assert (album.folder / ".dog" / "damaged" / huge.name).stat().st_size == 5 * 2**30
    await again.close()


# ---- origin


async def test_the_origin_of_a_photo_survives_a_restart(album: AlbumWithLimits, store: SnapshotStore) -> None:
    origin = Origin(
        request="a-key",
        exposed_until=NOW + dt.timedelta(milliseconds=1500),
        exposure=0.008,
        settings='{"camera":"v4l2:/dev/video0","controls":{"gain":3}}',
        quality=Quality(verdict="good", brightness=0.5, retaken=2, found=("damaged",)),
    )
    snapshot, plain = await save(store, 1, origin=origin), await save(store, 2)
    assert snapshot.origin == origin
    await store.close()
    again = await album.open()
    assert await again.recent(limit=5) == [plain, snapshot]
    await again.close()


# ---- the durable facts survive the index


@pytest.mark.parametrize("damage", INDEX_DAMAGES)
async def test_pins_removals_links_and_the_secret_survive_a_rebuilt_index(
    album: AlbumWithLimits, store: SnapshotStore, damage: str
) -> None:
    gone, pinned, shared = [await save(store, number) for number in (1, 2, 3)]
    await store.remove(gone.id)
    await store.pin(pinned, True)
    share = await store.share(shared, NOW + dt.timedelta(days=1))
    secret = await store.secret()
    await store.close()
    INDEX_DAMAGES[damage](album.folder / ".dog")
    again = await album.open()
    assert await again.recent(limit=5) == [shared, dataclasses.replace(pinned, pinned=True)]
    assert await again.find_name(gone.id) is not None
    assert await again.find_share(share.id) == share
    assert await again.secret() == secret
    assert again.last_capture == 3
    await again.close()


async def test_an_index_rebuilt_at_the_start_keeps_origins_and_old_hashes(
    album: AlbumWithLimits, store: SnapshotStore, caplog: pytest.LogCaptureFixture
) -> None:
    origin = Origin(request="a-key", exposure=0.5)
    whole, damaged = await save(store, 1, origin=origin), await save(store, 2, origin=origin)
    gone = await save(store, 9)
    await store.remove(gone.id)
    await store.close()
    data = bytearray(PICTURE)
    data[-20] ^= 1
    store.image_path(damaged).write_bytes(data)
    INDEX_DAMAGES["of another version"](album.folder / ".dog")
    again = await album.open()
    assert again.last_capture == 9
    assert await again.get(whole.id) == whole
    found = await again.get(damaged.id)
    assert found is not None
    assert found.sha256 == damaged.sha256, "the hash when it was saved"
    assert "1 photos have changed since they were saved" in caplog.text
    await again.close()


async def test_photos_in_a_day_made_by_a_user_are_removed_with_its_folder(
    album: AlbumWithLimits, store: SnapshotStore
) -> None:
    day = album.folder / f"{NOW:%Y/%m/%d}"
    day.mkdir(parents=True)
    await save(store, 1)
    await store.close()
    shutil.rmtree(day)
    again = await album.open()
    assert await ids(again) == []
    await again.close()


async def test_an_index_that_fails_at_run_time_keeps_its_durable_facts(
    album: AlbumWithLimits, store: SnapshotStore
) -> None:
    pinned = await save(store, 1)
    await store.pin(pinned, True)
    index = store._album._index
    assert index is not None
    store._thread.submit(index._database.execute, "DROP TABLE days").result()
    with pytest.raises(Exception, match="index"):
        await save(store, 2)
    assert [(each.id, each.pinned) for each in await store.recent(limit=5)] == [(pinned.id, True)]


async def test_a_share_link_on_a_full_disk_fails_with_a_fitting_message(store: SnapshotStore) -> None:
    snapshot = await save(store, 1)
    index = store._album._index
    assert index is not None
    store._thread.submit(index._database.execute, "PRAGMA max_page_count = 1").result()  # no page can be added
    shares = [store.share(snapshot, NOW + dt.timedelta(days=1)) for _ in range(300)]
    with pytest.raises(StorageFull) as full:
        await asyncio.gather(*shares)
    assert full.value.message == "The disk is full, and nothing was saved. Make room, then try again."
    store._thread.submit(index._database.execute, "PRAGMA max_page_count = 1000000").result()
    await store.share(snapshot, NOW + dt.timedelta(days=1))


async def test_share_links_end_when_they_are_revoked_or_their_photo_is_deleted(store: SnapshotStore) -> None:
    one, other = await save(store, 1), await save(store, 2)
    until = NOW + dt.timedelta(days=1)
    shares = [await store.share(one, until), await store.share(other, until), await store.share(other, until)]
    await store.remove(one.id)
    assert await store.find_share(shares[0].id) is None
    assert await store.shares_of(other) == sorted(shares[1:], key=lambda share: (share.created_at, share.id))
    assert await store.revoke(shares[1].id)
    assert not await store.revoke(shares[1].id)
    assert await store.shares_of(other) == [shares[2]]


# ---- a start scans only days that changed


def make_old(folder: Path, root: Path) -> None:
    """Set a folder's mtime, also in the index, to an hour ago."""
    moment = (dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)).timestamp()
    os.utime(folder, (moment, moment))
    database = sqlite3.connect(root / ".dog" / "index.sqlite3", isolation_level=None)
    day = str(folder.relative_to(root))
    database.execute("UPDATE days SET changed_at = ? WHERE day = ?", (folder.stat().st_mtime_ns, day))
    database.close()


async def test_a_start_scans_only_days_that_changed(
    album: AlbumWithLimits, store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = {store.image_path(await save(store, n, ago=dt.timedelta(days=n))).parent for n in range(1, 5)}
    await store.close()
    scanned: list[str] = []

    def note(root: Path, day: str) -> Listing:
        scanned.append(day)
        return list_day(root, day)

    monkeypatch.setattr(reconcile, "list_day", note)
    again = await album.open()
    assert scanned == []
    await again.close()
    changed = min(days)
    next(changed.glob("*.thumbnail.jpg")).unlink()
    again = await album.open()
    assert scanned == [str(changed.relative_to(album.folder))]
    assert len(await check_agreement(again)) == 4
    await again.close()


async def test_a_day_that_another_program_changed_is_scanned_at_the_next_start(
    album: AlbumWithLimits, store: SnapshotStore
) -> None:
    gone, stays = await save(store, 1), await save(store, 2)
    store.image_path(gone).unlink()
    last = await save(store, 3)  # it must not record the mtime of the changed folder
    await store.close()
    again = await album.open()
    assert await check_agreement(again) == [last, stays]
    await again.close()


async def test_a_day_that_was_scanned_is_not_scanned_again(
    album: AlbumWithLimits, store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = await save(store, 1, ago=dt.timedelta(days=3))
    await store.close()
    folder = store.image_path(snapshot).parent
    make_old(folder, album.folder)
    os.utime(folder, ((NOW - dt.timedelta(minutes=30)).timestamp(),) * 2)
    scanned: list[str] = []

    def note(root: Path, day: str) -> Listing:
        scanned.append(day)
        return list_day(root, day)

    monkeypatch.setattr(reconcile, "list_day", note)
    for _ in range(2):
        await (await album.open()).close()
    assert len(scanned) == 1


async def test_a_deleted_file_that_returns_after_two_power_cuts_is_removed_again(
    album: AlbumWithLimits, store: SnapshotStore
) -> None:
    """Each cut loses the folder's change, its mtime too, but not the index's."""
    gone, stays = await save(store, 1), await save(store, 2)
    path = store.image_path(gone)
    data = path.read_bytes()
    await store.remove(gone.id)
    await store.close()
    for _ in range(2):
        path.write_bytes(data)
        os.utime(path.parent, ((NOW - dt.timedelta(hours=1)).timestamp(),) * 2)
        again = await album.open()
        assert await ids(again) == [stays.id]
        await again.close()
        assert not path.exists()


async def test_an_image_replaced_by_one_of_its_size_keeps_its_old_hash(
    album: AlbumWithLimits, store: SnapshotStore
) -> None:
    """The start does not open the file. `dog album verify` finds the change."""
    snapshot = await save(store, 1)
    await store.close()
    replace_file(store.image_path(snapshot), bytes(SIZE - 2) + b"\xff\xd9")
    again = await album.open()
    found = await again.get(snapshot.id)
    assert found is not None
    assert found.sha256 == snapshot.sha256
    await again.close()


# ---- concurrent calls


async def test_a_photo_deleted_during_a_lookup_is_not_cached(album: AlbumWithLimits, store: SnapshotStore) -> None:
    snapshot = await save(store, 1)
    await store.close()
    again = await album.open()
    looking, removing = (asyncio.create_task(work) for work in (again.get(snapshot.id), again.remove(snapshot.id)))
    await asyncio.sleep(0)
    again._thread.submit(lambda: None).result()  # both are done, but not yet seen by the event loop
    assert await looking == snapshot
    assert await removing
    assert await again.get(snapshot.id) is None
    await again.close()


async def test_a_removal_that_can_not_be_written_leaves_the_photo(
    album: AlbumWithLimits, store: SnapshotStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    snapshot = await save(store, 1)

    def refuse(index: Index) -> None:
        index._database.execute("CREATE TRIGGER refuse BEFORE INSERT ON removed BEGIN SELECT raise(ABORT, 'no'); END")

    await store._run(store._thread, store._album.write, refuse)
    before = list_files(album.folder)
    with pytest.raises(Exception, match="index"):
        await store.remove(snapshot.id)
    assert list_files(album.folder) == before
    assert album.removals == []
    assert await ids(store) == [snapshot.id]
