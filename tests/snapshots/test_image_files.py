"""Images read back from disk and from the cache."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from dog.errors import DogError, StorageError
from dog.snapshots import Snapshot, SnapshotGone, SnapshotStore
from dog.snapshots.image_files import MAX_CACHE_BYTES, ByteCache
from dog.snapshots.index import Index
from tests.support.files import replace_by_link
from tests.support.pictures import make_picture
from tests.support.stores import PICTURE, read_image, read_thumbnail, reopen, save


@pytest.fixture
async def saved(store: SnapshotStore) -> AsyncIterator[tuple[SnapshotStore, Snapshot]]:
    """A snapshot, and a reopened store with an empty cache."""
    snapshot = await save(store)
    again = await reopen(store)
    yield again, snapshot
    await again.close()


async def test_a_saved_image_is_read_unchanged(saved: tuple[SnapshotStore, Snapshot]) -> None:
    store, snapshot = saved
    assert await read_image(store, snapshot) == PICTURE
    assert await read_thumbnail(store, snapshot) == store.thumbnail_path(snapshot).read_bytes()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def replace(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replaced(path: Path) -> None:
        path.unlink()
        make(path)

    return replaced


def move_the_day_away(path: Path) -> None:
    path.parent.rename(path.parent.with_name("away"))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "removed": Path.unlink,
    "cut short": cut,
    "emptied": lambda path: os.truncate(path, 0),
    "a link": replace_by_link,
    "a folder": replace(Path.mkdir),
    "a pipe": replace(os.mkfifo),
    "gone with its folder": move_the_day_away,
    "larger": lambda path: os.truncate(path, path.stat().st_size + 1),
    "very large": lambda path: os.truncate(path, 2**40),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_changed_image_file_raises_snapshot_gone(saved: tuple[SnapshotStore, Snapshot], damage: str) -> None:
    store, snapshot = saved
    DAMAGES[damage](store.image_path(snapshot))
    with pytest.raises(SnapshotGone) as caught:
        await read_image(store, snapshot)
    assert isinstance(caught.value, DogError)
    assert str(store.incoming.parent.parent) not in str(caught.value)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_an_image_that_is_read_in_parts_raises_snapshot_gone_when_damaged(
    saved: tuple[SnapshotStore, Snapshot], damage: str
) -> None:
    store, snapshot = saved
    picture = store.image(snapshot)
    await picture.check()
    assert await picture.size() == len(PICTURE)
    assert await picture.read(3, 10) + await picture.read(10, len(PICTURE)) == PICTURE[3:]
    DAMAGES[damage](store.image_path(snapshot))
    with pytest.raises(SnapshotGone):
        await picture.read(3, 10)
    with pytest.raises(SnapshotGone):
        await picture.check()


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_thumbnail_raises_snapshot_gone(saved: tuple[SnapshotStore, Snapshot], damage: str) -> None:
    store, snapshot = saved
    DAMAGES[damage](store.thumbnail_path(snapshot))
    with pytest.raises(SnapshotGone):
        await read_thumbnail(store, snapshot)


async def test_a_failing_disk_raises_storage_error_not_snapshot_gone(
    saved: tuple[SnapshotStore, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, snapshot = saved

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/somewhere/secret")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", fail)
        with pytest.raises(StorageError, match=r"can't be read\. The disk reports an error") as caught:
            await read_image(store, snapshot)
    assert "secret" not in caught.value.message
    assert await read_image(store, snapshot) == PICTURE


async def test_reading_leaves_no_file_open(saved: tuple[SnapshotStore, Snapshot]) -> None:
    store, snapshot = saved
    await read_image(store, snapshot)
    cut(store.thumbnail_path(snapshot))
    before = os.listdir("/proc/self/fd")
    await read_image(store, snapshot)
    with pytest.raises(SnapshotGone):
        await read_thumbnail(store, snapshot)
    assert os.listdir("/proc/self/fd") == before


async def test_reading_does_not_wait_for_saving(
    saved: tuple[SnapshotStore, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, snapshot = saved
    reached, opened = threading.Event(), threading.Event()
    add = Index.add

    def wait(index: Index, added: Snapshot) -> None:
        reached.set()
        assert opened.wait(30)
        add(index, added)

    monkeypatch.setattr(Index, "add", wait)
    saving = asyncio.create_task(save(store, 2))
    assert await asyncio.to_thread(reached.wait, 30)
    try:
        async with asyncio.timeout(20):
            assert await read_image(store, snapshot) == PICTURE
            assert await read_thumbnail(store, snapshot)
        assert not saving.done()
    finally:
        opened.set()
    await saving


async def test_the_newest_images_come_from_the_cache_without_disk_access(store: SnapshotStore) -> None:
    snapshot = await save(store)
    thumbnail = store.thumbnail_path(snapshot).read_bytes()
    store.image_path(snapshot).unlink()
    store.thumbnail_path(snapshot).unlink()
    assert await read_image(store, snapshot) == PICTURE
    assert await read_thumbnail(store, snapshot) == thumbnail
    again = await reopen(store)
    with pytest.raises(SnapshotGone):
        await read_image(again, snapshot)
    await again.close()


async def test_an_image_that_was_evicted_from_the_cache_is_read_from_disk(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = [make_picture(seed=number) for number in range(3)]
    monkeypatch.setattr(store, "_image_cache", ByteCache(max_bytes=len(data[2]) + 1000))
    gone, there, newest = [await save(store, number, data=data[number]) for number in range(3)]
    for snapshot in gone, newest:
        store.image_path(snapshot).unlink()
    assert await read_image(store, newest) == data[2]
    assert await read_image(store, there) == data[1]
    with pytest.raises(SnapshotGone):
        await read_image(store, gone)


async def test_a_closed_store_refuses_to_read(store: SnapshotStore) -> None:
    snapshot = await save(store)
    again = await reopen(store)
    await again.close()
    with pytest.raises(StorageError, match="closed"):
        await read_image(again, snapshot)


def test_the_cache_never_exceeds_its_limit_and_evicts_the_oldest() -> None:
    memory = ByteCache(max_bytes=100)
    for number in range(50):
        memory.add(str(number), bytes(30))
        held = [each for each in range(50) if memory.get(str(each)) is not None]
        assert held == list(range(max(0, number - 2), number + 1))
        assert memory.size == 30 * len(held) <= 100
    memory.add("exact", bytes(100))
    assert (memory.size, memory.get("exact"), memory.get("49")) == (100, bytes(100), None)


def test_a_file_larger_than_the_cache_evicts_nothing() -> None:
    memory = ByteCache()
    memory.add("small", b"small")
    memory.add("large", bytes(MAX_CACHE_BYTES + 1))
    assert memory.get("large") is None
    assert memory.get("small") == b"small"
    assert MAX_CACHE_BYTES == 64 * 1024 * 1024
