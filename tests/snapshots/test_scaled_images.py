"""Scaled copies: made once, kept within a limit, gone with their photo."""

import asyncio
import dataclasses
import errno
import io
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from dog import files
from dog.errors import StorageError
from dog.images import scale_to_width
from dog.protocol import SCALED_WIDTHS
from dog.snapshots import Limits, NotScaled, Snapshot, SnapshotGone, SnapshotStore
from dog.snapshots.index import Index
from dog.snapshots.rebuild import Rebuilding
from dog.snapshots.scaled_images import ScaledImage
from dog.snapshots.store import BlockingStore
from dog.snapshots.verify import Verification
from tests.support.disks import fill_disk
from tests.support.pictures import make_picture
from tests.support.rebuilding_process import NoProgress
from tests.support.stores import check_agreement, save

LARGE = make_picture(width=2000, height=1500)


class Decodes:
    """The decodes for copies. They wait while `gate` is cleared."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.widths: list[int] = []
        self.threads: set[str] = set()
        self.began = asyncio.Event()
        self.gate = threading.Event()
        self.gate.set()
        self._loop = asyncio.get_running_loop()
        monkeypatch.setattr("dog.snapshots.scaled_images.scale_to_width", self._count)

    def _count(self, data: bytes, width: int) -> bytes:
        self.widths.append(width)
        self.threads.add(threading.current_thread().name)
        self._loop.call_soon_threadsafe(self.began.set)
        self.gate.wait()
        return scale_to_width(data, width)


@pytest.fixture
async def decodes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Decodes]:
    decodes = Decodes(monkeypatch)
    yield decodes
    decodes.gate.set()


@asynccontextmanager
async def opened(folder: Path, **options: object) -> AsyncIterator[SnapshotStore]:
    store = SnapshotStore(folder, **options)  # type: ignore[arg-type]
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def read(image: ScaledImage) -> bytes:
    await image.check()
    return await image.read(0, await image.size())


def measure(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def kept(store: SnapshotStore) -> set[str]:
    folder = store.incoming.parent / "scaled"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


async def until_kept(store: SnapshotStore, *names: str) -> None:
    """Wait until exactly these copies are on the disk."""
    async with asyncio.timeout(30):
        while kept(store) != set(names):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)


async def until_idle(store: SnapshotStore) -> None:
    """Wait until no copy is being made or kept."""
    async with asyncio.timeout(30):
        while store._scaled._making:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)


async def test_a_copy_is_made_once_however_many_wait_for_it(store: SnapshotStore, decodes: Decodes) -> None:
    snapshot = await save(store, 1, data=LARGE)
    decodes.gate.clear()
    waiting = [asyncio.create_task(read(store.scaled(snapshot, 1280))) for _ in range(300)]
    leaving = asyncio.create_task(read(store.scaled(snapshot, 1280)))
    await decodes.began.wait()
    leaving.cancel()
    decodes.gate.set()
    copies = set(await asyncio.gather(*waiting))
    assert decodes.widths == [1280]
    assert [measure(copy) for copy in copies] == [(1280, 960)]
    await until_kept(store, f"{snapshot.id}-1280.jpg")
    assert {await read(store.scaled(snapshot, 1280))} == copies
    assert decodes.widths == [1280]


@pytest.mark.parametrize("max_cache_bytes", [64 * 1024 * 1024, 0], ids=["cached", "on the disk"])
async def test_copies_outlive_a_restart_and_are_read_in_parts(
    tmp_path: Path, decodes: Decodes, max_cache_bytes: int
) -> None:
    async with opened(tmp_path, max_cache_bytes=max_cache_bytes) as store:
        snapshot = await save(store, 1, data=LARGE)
        whole = await read(store.scaled(snapshot, 640))
    async with opened(tmp_path, max_cache_bytes=max_cache_bytes) as store:
        image = store.scaled(snapshot, 640)
        assert await image.size() == len(whole)
        assert await image.read(7, 90) == whole[7:90]
        assert decodes.widths == [640]
    assert list(Verification(tmp_path, NoProgress()).run()) == []


async def test_requests_for_old_photos_do_not_delay_a_new_one(store: SnapshotStore, decodes: Decodes) -> None:
    old = [await save(store, number, data=LARGE) for number in range(20)]
    decodes.gate.clear()
    attack = [
        asyncio.create_task(read(store.scaled(snapshot, width))) for snapshot in old[:-1] for width in SCALED_WIDTHS[:3]
    ]
    await decodes.began.wait()
    saved = await save(store, 99, data=LARGE)
    assert threading.active_count() < 20
    decodes.began.clear()
    newest = asyncio.create_task(read(store.scaled(saved, 640)))
    await decodes.began.wait()
    assert decodes.widths == [640, 640], "the first old one, and the new one"
    decodes.gate.set()
    assert measure(await newest) == (640, 480)
    results = await asyncio.gather(*attack, return_exceptions=True)
    refused = [result for result in results if isinstance(result, NotScaled)]
    assert len(refused) == len(attack) - 32
    assert len(decodes.threads) == 2


# ---- removal


async def test_a_removed_photo_takes_its_copies_with_it(store: SnapshotStore) -> None:
    gone, stays = await save(store, 1, data=LARGE), await save(store, 2, data=LARGE)
    for width in SCALED_WIDTHS[:3]:
        await read(store.scaled(gone, width))
    await read(store.scaled(stays, 640))
    await until_kept(
        store, f"{stays.id}-640.jpg", *(f"{gone.id}-{width}.jpg" for width in SCALED_WIDTHS if width < 2000)
    )
    await store.remove(gone.id)
    assert kept(store) == {f"{stays.id}-640.jpg"}
    assert await check_agreement(store) == [stays]
    with pytest.raises(SnapshotGone):
        await read(store.scaled(gone, 640))


@pytest.mark.parametrize("step", ["while it is decoded", "before it is kept"])
async def test_a_photo_that_is_removed_while_it_is_scaled_leaves_no_copy(
    store: SnapshotStore, decodes: Decodes, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = await save(store, 1, data=LARGE)
    gate = threading.Event()
    if step == "while it is decoded":
        decodes.gate.clear()
        reading = asyncio.create_task(read(store.scaled(snapshot, 640)))
        await decodes.began.wait()
        await store.remove(snapshot.id)
        decodes.gate.set()
        with pytest.raises(SnapshotGone):
            await reading
    else:
        write = files.write_synced

        def write_later(path: Path, data: bytes) -> None:
            gate.wait()
            write(path, data)

        monkeypatch.setattr(files, "write_synced", write_later)
        await read(store.scaled(snapshot, 640))
        await store.remove(snapshot.id)
        gate.set()
    await store.close()  # waits for it
    assert kept(store) == set()
    assert list(store.incoming.iterdir()) == []


async def test_a_crash_between_a_removal_and_its_files_leaves_no_copy(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        gone, stays = await save(store, 1, data=LARGE), await save(store, 2, data=LARGE)
        for snapshot in gone, stays:
            await read(store.scaled(snapshot, 640))
    with closing(Index(tmp_path / ".dog")) as index, index.facts.synced_transaction():
        index.facts.add_removed([gone], gone.captured_at)
    own = tmp_path / ".dog" / "scaled" / "notes.txt"
    own.write_text("of somebody")
    async with opened(tmp_path) as store:
        assert kept(store) == {f"{stays.id}-640.jpg", "notes.txt"}
        assert await check_agreement(store) == [stays]


async def test_a_rebuild_makes_copies_and_colours_again(tmp_path: Path, decodes: Decodes) -> None:
    async with opened(tmp_path) as store:
        snapshots = [
            await save(store, number, data=make_picture(kind, seed=number, width=900, height=600))
            for number, kind in enumerate(("JPEG", "PNG", "WEBP"))
        ]
        await read(store.scaled(snapshots[0], 640))
    assert len({snapshot.color for snapshot in snapshots}) == 3
    list(Rebuilding(tmp_path, NoProgress()).run())
    async with opened(tmp_path) as store:
        assert kept(store) == set()
        assert await check_agreement(store) == snapshots[::-1]
        await read(store.scaled(snapshots[0], 640))
    assert decodes.widths == [640, 640]


async def test_an_index_of_an_earlier_program_has_photos_without_colours(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        snapshot = await save(store, 1)
    with closing(Index(tmp_path / ".dog")) as index:
        index._database.execute("ALTER TABLE folder.images DROP COLUMN color")
    async with opened(tmp_path) as store:
        assert await store.get(snapshot.id) == dataclasses.replace(snapshot, color="")
        newer = await save(store, 2)
        assert newer.color == snapshot.color
        assert await check_agreement(store) == [newer, dataclasses.replace(snapshot, color="")]


async def test_an_earlier_program_can_write_to_the_index(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        first, second = await save(store, 1), await save(store, 2)
    columns = "id, path, camera, capture, captured_at, width, height, bytes, content_type"
    with closing(Index(tmp_path / ".dog")) as index:
        database = index._database
        assert database.execute("PRAGMA folder.user_version").fetchone() == (5,)
        row = database.execute(f"SELECT {columns} FROM images WHERE id = ?", (second.id,)).fetchone()
        database.execute("DELETE FROM images WHERE id = ?", (second.id,))
        database.execute(f"INSERT INTO images ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    async with opened(tmp_path) as store:
        assert await check_agreement(store) == [dataclasses.replace(second, color=""), first]


# ---- the limit, and the disk


async def test_the_copy_that_was_used_longest_ago_makes_room(tmp_path: Path, decodes: Decodes) -> None:
    async with opened(tmp_path / "other") as store:
        size = len(await read(store.scaled(await save(store, 1, data=LARGE), 640)))
    async with opened(tmp_path / "album", max_scaled_bytes=3 * size, max_cache_bytes=0) as store:
        saved = [await save(store, number, data=LARGE) for number in range(4)]
        names = [f"{snapshot.id}-640.jpg" for snapshot in saved]
        for number in range(3):
            await read(store.scaled(saved[number], 640))
            await until_kept(store, *names[: number + 1])
        await read(store.scaled(saved[0], 640))
        await read(store.scaled(saved[3], 640))
        await until_kept(store, names[0], names[2], names[3])
    async with opened(tmp_path / "album", max_scaled_bytes=0) as store:
        assert kept(store) == set()
        for _ in range(2):
            assert measure(await read(store.scaled(saved[1], 640))) == (640, 480)
        assert kept(store) == set()


async def test_copies_are_removed_before_photos_when_the_disk_needs_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = 10_000_000

    def disk_usage(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=disk - used())

    def used() -> int:
        return sum(path.stat().st_size for path in tmp_path.rglob("*.jpg"))

    async with opened(tmp_path, limits=Limits(free=5_000_000)) as store:
        monkeypatch.setattr(shutil, "disk_usage", disk_usage)
        saved = [await save(store, number, data=LARGE) for number in range(4)]
        sizes = [len(await read(store.scaled(snapshot, 1280))) for snapshot in saved]
        await until_kept(store, *(f"{snapshot.id}-1280.jpg" for snapshot in saved))
        disk = used() + 5_000_000 - sizes[0] - 1
        await store.purge()
        assert kept(store) == {f"{snapshot.id}-1280.jpg" for snapshot in saved[2:]}
        assert len(await check_agreement(store)) == 4
        await read(store.scaled(saved[0], 640))
        await until_idle(store)
        assert kept(store) == {f"{snapshot.id}-1280.jpg" for snapshot in saved[2:]}, "it would leave too little"
        disk = used() + 5_000_000 - sum(sizes[2:]) - 1
        await store.purge()
        assert kept(store) == set()
        assert len(await check_agreement(store)) == 3


def refuse(_path: Path, _data: bytes) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


@pytest.mark.parametrize("trouble", ["full", "read-only"])
async def test_copies_are_made_on_a_disk_that_takes_none(
    small_disk: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_disk / "snapshots"
    async with opened(folder) as store:
        snapshot = await save(store, 1, data=make_picture(width=1400, height=900))
        if trouble == "full":
            fill_disk(small_disk)
        else:
            monkeypatch.setattr(files, "write_synced", refuse)
        copies = {await read(store.scaled(snapshot, 1280)) for _ in range(3)}
        assert [measure(copy) for copy in copies] == [(1280, 823)]
        assert kept(store) == set()


async def test_a_photo_fits_on_a_disk_that_copies_have_filled(small_disk: Path) -> None:
    async with opened(small_disk / "snapshots") as store:
        first = await save(store, 1, data=make_picture(width=1400, height=900))
        copy = await read(store.scaled(first, 1280))
        await until_kept(store, f"{first.id}-1280.jpg")
        (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - 1024 * 1024 - len(copy) // 2))
        data = make_picture(seed=3, width=1400, height=900)
        second = await save(store, 2, data=data)
        assert kept(store) == set()
        assert await check_agreement(store) == [second, first]


def replace_by_folder(_store: SnapshotStore, _snapshot: Snapshot, path: Path) -> None:
    path.unlink()
    path.mkdir()


Spoil = Callable[[SnapshotStore, Snapshot, Path], object]
SPOILERS: dict[str, Spoil] = {
    "removed": lambda store, snapshot, path: path.unlink(),
    "cut off": lambda store, snapshot, path: os.truncate(path, 100),
    "replaced by a folder": replace_by_folder,
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
async def test_a_copy_that_was_damaged_is_made_again(tmp_path: Path, spoil: Spoil) -> None:
    async with opened(tmp_path, max_cache_bytes=0) as store:
        snapshot = await save(store, 1, data=LARGE)
        whole = await read(store.scaled(snapshot, 640))
        await until_kept(store, f"{snapshot.id}-640.jpg")
        spoil(store, snapshot, tmp_path / ".dog" / "scaled" / f"{snapshot.id}-640.jpg")
        assert await read(store.scaled(snapshot, 640)) == whole


async def test_an_image_that_is_cut_off_is_gone(tmp_path: Path) -> None:
    async with opened(tmp_path, max_cache_bytes=0) as store:
        snapshot = await save(store, 1, data=LARGE)
        os.truncate(store.image_path(snapshot), 5000)
        with pytest.raises(SnapshotGone):
            await read(store.scaled(snapshot, 640))


async def test_a_closed_store_makes_no_copies(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        snapshot = await save(store, 1, data=LARGE)
    with pytest.raises(StorageError, match="server is stopping"):
        await read(store.scaled(snapshot, 640))


async def test_a_purge_by_command_removes_copies_of_removed_photos(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        first, second = await save(store, 1, data=LARGE), await save(store, 2, data=LARGE)
        for snapshot in first, second:
            await read(store.scaled(snapshot, 640))
    with closing(BlockingStore(tmp_path)) as album:
        album.open()
        assert album.purge(Limits(photos=1)) == [first]
    assert [path.name for path in (tmp_path / ".dog" / "scaled").iterdir()] == [f"{second.id}-640.jpg"]
