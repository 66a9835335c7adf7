"""The store: saved snapshots survive changes to the folder and the index."""

import asyncio
import base64
import datetime as dt
import errno
import hashlib
import io
import logging
import os
import re
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dog.clock import from_milliseconds, to_milliseconds
from dog.errors import BadImage, StartError, StorageError
from dog.images import inspect
from dog.snapshots import ID_PATTERN, Snapshot, SnapshotStore, image_inspection, is_snapshot_id
from dog.snapshots import store as store_module
from dog.snapshots.index import Index
from dog.snapshots.names import SnapshotName, image_path, parse_path
from tests.support.files import replace_file
from tests.support.index_files import (
    INDEX_DAMAGES,
    delete_index,
)
from tests.support.pictures import make_picture
from tests.support.stores import MOMENT, PICTURE, check_agreement, list_files, read_image, read_thumbnail, reopen, save

# ---- saving


async def test_a_truncated_image_is_set_aside_at_the_next_start(store: SnapshotStore) -> None:
    whole, cut = await save(store, 1), await save(store, 2)
    path = store.image_path(cut)
    replace_file(path, PICTURE[:-9])
    again = await reopen(store)
    assert await again.latest() == whole
    assert await again.get(cut.id) is None
    assert not path.exists()
    assert (again.incoming.parent / "damaged" / path.name).read_bytes() == PICTURE[:-9]
    await check_agreement(again)
    await again.close()


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
async def test_a_saved_image_is_kept_unchanged_and_found(store: SnapshotStore, kind: str, suffix: str) -> None:
    data = make_picture(kind) + b"\0" * 10
    snapshot = await save(store, 7, data=data)
    assert store.image_path(snapshot).read_bytes() == data
    assert snapshot == Snapshot(
        snapshot.id,
        "test",
        7,
        MOMENT.replace(microsecond=123_000),
        64,
        48,
        len(data),
        f"image/{kind.lower()}",
        hashlib.sha256(data).hexdigest(),
        color=snapshot.color,
    )
    assert re.fullmatch("#[0-9a-f]{6}", snapshot.color)
    assert snapshot.suffix == suffix
    assert store.image_path(snapshot).suffix == f".{suffix}"
    assert await store.latest() == await store.get(snapshot.id) == snapshot
    assert await check_agreement(store) == [snapshot]


async def test_a_path_has_time_camera_and_capture_in_utc(store: SnapshotStore) -> None:
    there = MOMENT.astimezone(dt.timezone(dt.timedelta(hours=14)))
    snapshot = await save(store, 42, camera="front-door", captured_at=there)
    root = store.incoming.parent.parent
    stem = f"2026/11/22/111438.123_front-door_42_{snapshot.id}"
    assert store.image_path(snapshot) == root / f"{stem}.jpg"
    assert store.thumbnail_path(snapshot) == root / f"{stem}.thumbnail.jpg"


async def test_ids_match_the_pattern_and_are_unique(store: SnapshotStore) -> None:
    ids = [(await save(store, number)).id for number in range(50)]
    assert all(is_snapshot_id(each) and re.fullmatch(ID_PATTERN, each) for each in ids)
    assert len(set(ids)) == 50
    # With 120 random bits, each of the 24 places has many values in 50 ids.
    assert all(len({each[place] for each in ids}) > 10 for place in range(24))


@pytest.mark.parametrize("text", ["", "a" * 23, "a" * 25, "A" * 24, "a" * 23 + "1", "a" * 24 + "\n", "../" + "a" * 21])
def test_other_texts_are_not_ids(text: str) -> None:
    assert not is_snapshot_id(text)


async def test_a_save_with_an_id_in_the_index_is_refused_and_the_next_one_works(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await save(store, 1)
    used = base64.b32decode(first.id.upper())
    with monkeypatch.context() as patched:
        patched.setattr(secrets, "token_bytes", lambda _: used)
        with pytest.raises(StorageError, match="its id exists already"):
            await save(store, 2, data=make_picture(seed=2))
    assert store.image_path(first).read_bytes() == PICTURE
    assert list(store.incoming.iterdir()) == []
    third = await save(store, 3, data=make_picture(seed=3))
    assert await check_agreement(store) == [third, first]


async def test_a_save_does_not_overwrite_a_file_with_its_name(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = store.incoming.parent.parent / image_path(SnapshotName("a" * 24, "test", 1, MOMENT, "jpg"))
    there.parent.mkdir(parents=True)
    there.write_bytes(b"somebody's")
    with monkeypatch.context() as patched:
        patched.setattr(secrets, "token_bytes", bytes)
        with pytest.raises(StorageError, match="A file is in the place"):
            await save(store)
    assert there.read_bytes() == b"somebody's"
    assert list(store.incoming.iterdir()) == []


async def test_bytes_that_are_not_an_image_leave_no_file(store: SnapshotStore) -> None:
    for data in b"", b"no camera", PICTURE[:-20]:
        with pytest.raises(BadImage):
            await save(store, data=data)
    assert await check_agreement(store) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"camera": ""},
        {"camera": "../up"},
        {"camera": "a_b"},
        {"camera": "Test"},
        {"camera": "x" * 33},
        {"camera": "test\n"},
        {"capture": -1},
        {"capture": 2**63},
        {"captured_at": dt.datetime(2026, 1, 1)},  # noqa: DTZ001 - that is what is wrong with it
    ],
)
async def test_parts_that_make_no_valid_path_are_refused(store: SnapshotStore, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is not|has no"):
        await save(store, **wrong)
    assert await check_agreement(store) == []


async def test_twenty_concurrent_saves_are_twenty_snapshots(store: SnapshotStore) -> None:
    saved = await asyncio.gather(*(save(store, number, data=make_picture(seed=number)) for number in range(20)))
    assert sorted(await check_agreement(store), key=lambda each: each.capture) == saved
    for number, snapshot in enumerate(saved):
        assert store.image_path(snapshot).read_bytes() == make_picture(seed=number)


async def test_each_kind_of_work_has_its_own_threads_and_the_event_loop_does_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[tuple[str, str]] = set()

    def note(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            kind = "inspects" if function is inspect else "touches the disk"
            threads.add((threading.current_thread().name.split("_")[0], kind))
            return function(*arguments, **options)

        return noted

    for name in "open", "fsync", "replace", "unlink", "scandir", "mkdir", "stat":
        monkeypatch.setattr(os, name, note(getattr(os, name)))
    monkeypatch.setattr(store_module, "inspect", note(inspect))
    monkeypatch.setattr(sqlite3, "connect", note(sqlite3.connect))
    store = SnapshotStore(tmp_path)
    await store.open()
    snapshot = await save(store)
    await store.check_writable()
    store.image_path(snapshot)
    store.thumbnail_path(snapshot)
    await store.close()
    disk = {(thread, "touches the disk") for thread in ("album", "reading")}
    assert threads == {*disk, ("inspecting", "inspects")}
    threads.clear()
    again = SnapshotStore(tmp_path)
    await again.open()
    threads.clear()
    await read_image(again, snapshot)
    await read_thumbnail(again, snapshot)
    assert threads == {("reading", "touches the disk")}
    await again.close()


async def test_queries_do_not_wait_for_the_inspection_of_an_image(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await save(store, 1)
    gate = InspectionGate(monkeypatch)
    saving = asyncio.create_task(save(store, 2))
    await gate.wait()
    async with asyncio.timeout(30):
        assert await store.recent(limit=10) == [kept]
        assert await store.count() == 1
    assert not saving.done()
    gate.opened.set()
    assert await store.recent(limit=1, before=(await saving).id) == [kept]


async def test_a_camera_does_not_wait_for_the_inspection_of_another_cameras_image(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = InspectionGate(monkeypatch)
    saving = asyncio.create_task(save(store, 1, camera="porch"))
    await gate.wait()
    monkeypatch.setattr(store_module, "inspect", inspect)
    async with asyncio.timeout(30):
        shed = await save(store, 2, camera="shed")
    assert not saving.done()
    closing = asyncio.create_task(store.close())
    gate.opened.set()
    await closing
    again = await reopen(store)
    assert await check_agreement(again) == [shed, await saving]
    await again.close()


async def test_saves_reach_the_index_in_call_order(store: SnapshotStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inspections take different times."""
    added: list[int] = []
    add = Index.add

    def note(index: Index, snapshot: Snapshot) -> None:
        added.append(snapshot.capture)
        add(index, snapshot)

    monkeypatch.setattr(Index, "add", note)
    pictures = [make_picture("PNG", width=1500, height=1000) if number % 3 == 0 else PICTURE for number in range(9)]
    await asyncio.gather(*(save(store, number, data=data) for number, data in enumerate(pictures)))
    assert added == list(range(9))


# ---- cancelling and closing


class InspectionGate:
    """A gate that holds the inspection of an image until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        for module, look in (
            (store_module, "inspect"),
            (image_inspection, "inspect_kept"),
            (image_inspection, "measure"),
        ):
            monkeypatch.setattr(module, look, self._inspect)

    def _inspect(self, data: bytes) -> Any:
        self.reached.set()
        assert self.opened.wait(30)
        return inspect(data)

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 30)


async def test_a_cancelled_save_that_has_begun_is_completed(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = InspectionGate(monkeypatch)
    begun = asyncio.create_task(save(store, 1))
    await gate.wait()
    waiting = asyncio.create_task(save(store, 2))
    await asyncio.sleep(0)
    for task in begun, waiting:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    gate.opened.set()
    again = await reopen(store)
    assert [snapshot.capture for snapshot in await check_agreement(again)] == [1]
    await again.close()


async def test_closing_waits_for_a_save_in_progress(store: SnapshotStore, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = InspectionGate(monkeypatch)
    saving = asyncio.create_task(save(store))
    await gate.wait()
    closing = [asyncio.create_task(store.close()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(StorageError, match="closed"):
        await store.count()
    assert not any(task.done() for task in closing)
    gate.opened.set()
    await asyncio.gather(*closing)
    snapshot = await saving
    again = await reopen(store)
    assert await check_agreement(again) == [snapshot]
    await again.close()


async def test_a_cancelled_close_still_closes(store: SnapshotStore, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = InspectionGate(monkeypatch)
    saving = asyncio.create_task(save(store))
    await gate.wait()
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    gate.opened.set()
    await saving
    await (await reopen(store)).close()


async def test_a_closed_store_raises_and_may_be_closed_again(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    with pytest.raises(StorageError, match="closed"):
        await store.count()
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(StorageError, match="closed"):
        await save(store)
    assert sorted(path.name for path in store.incoming.parent.iterdir()) == [
        "epoch",
        "facts.sqlite3",
        "incoming",
        "index.old.sqlite3",
        "index.sqlite3",
        "lock",
    ]


async def test_a_cancelled_start_releases_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SnapshotStore(tmp_path)
    await store.open()
    await save(store)
    await store.close()
    (store.incoming.parent / "index.sqlite3").unlink()
    with monkeypatch.context() as patched:
        gate = InspectionGate(patched)
        second = SnapshotStore(tmp_path)
        opening = asyncio.create_task(second.open())
        await gate.wait()
        opening.cancel()
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await opening
    third = SnapshotStore(tmp_path)
    await third.open()
    await check_agreement(third)
    await third.close()


# ---- queries


async def test_snapshots_are_ordered_by_capture_then_time_then_id(store: SnapshotStore) -> None:
    saved = [
        await save(store, capture, camera=camera, captured_at=MOMENT + dt.timedelta(milliseconds=late))
        for capture, camera, late in ((5, "a", 0), (2, "b", 0), (3, "a", 1), (5, "a", 0), (5, "b", 0), (1, "b", 0))
    ]
    expected = sorted(saved, key=lambda each: (each.capture, each.captured_at, each.id), reverse=True)
    assert await store.recent(limit=10) == expected
    assert await store.latest() == expected[0]
    assert await store.recent(limit=2) == expected[:2]
    for camera in "a", "b":
        own = [each for each in expected if each.camera == camera]
        assert await store.recent(limit=10, camera=camera) == own
        assert await store.latest(camera) == own[0]
        assert await store.recent(limit=10, camera=camera, before=own[0].id) == own[1:]


async def test_pages_follow_each_other_without_gap_or_repeat(store: SnapshotStore) -> None:
    for number in range(11):
        await save(store, number // 4, captured_at=MOMENT + dt.timedelta(seconds=number // 6))
    everything = await store.recent(limit=100)
    for size in 1, 2, 3, 11:
        seen: list[Snapshot] = []
        while page := await store.recent(limit=size, before=seen[-1].id if seen else None):
            assert len(page) <= size
            seen += page
        assert seen == everything


async def test_missing_snapshots_are_not_found(store: SnapshotStore) -> None:
    assert await store.latest() is None
    await save(store)
    assert await store.get("a" * 24) is None
    assert await store.get("'; DROP TABLE snapshots") is None
    assert await store.latest("nobody") is None
    assert await store.recent(limit=10, before="a" * 24) == []
    assert await store.recent(limit=0) == await store.recent(limit=-1) == []


async def test_snapshots_beyond_the_cache_are_found(store: SnapshotStore) -> None:
    """There are more snapshots than the cache holds."""
    saved = [await save(store, number) for number in range(100)]
    for snapshot in saved * 2:
        assert await store.get(snapshot.id) == snapshot


# ---- the folder and its index


async def test_saved_snapshots_are_found_after_the_next_start(store: SnapshotStore) -> None:
    saved = [await save(store, number) for number in (3, 9, 4)]
    assert store.last_capture == 9
    again = await reopen(store)
    assert again.last_capture == 9
    assert sorted(await check_agreement(again), key=saved.index) == saved
    await again.close()


async def test_no_image_is_opened_if_index_and_folder_agree(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(store)
    await store.close()
    opened: list[bytes] = []
    for look in "inspect_kept", "measure":
        monkeypatch.setattr(image_inspection, look, opened.append)
    again = await reopen(store)
    assert opened == []
    assert await again.count() == 1
    await again.close()


async def test_a_rebuild_decodes_only_images_without_a_thumbnail(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_its_side = Image.Exif()
    on_its_side[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG", exif=on_its_side)
    saved = [await save(store, 1), await save(store, 2, data=file.getvalue())]
    saved.append(await save(store, 3, data=make_picture("PNG")))
    await store.close()
    delete_index(store.incoming.parent)
    store.thumbnail_path(saved[2]).unlink()
    decoded: list[bytes] = []

    def note(data: bytes) -> Any:
        decoded.append(data)
        return inspect(data)

    monkeypatch.setattr(image_inspection, "inspect_kept", note)
    again = await reopen(store)
    assert await again.recent(limit=10) == saved[::-1]
    assert (saved[1].width, saved[1].height) == (48, 64)
    assert decoded == [make_picture("PNG")]
    assert await read_thumbnail(again, saved[2])
    await again.close()


async def test_a_lack_of_descriptors_costs_no_row_and_no_thumbnail(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = [await save(store, number) for number in (1, 2, 3)]
    await store.close()
    delete_index(store.incoming.parent)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", fail_with(errno.EMFILE))
        with pytest.raises(StartError, match="Too many open files"):
            await SnapshotStore(store.incoming.parent.parent).open()
    again = await reopen(store)
    assert await again.recent(limit=10) == saved[::-1]
    assert all(again.thumbnail_path(each).exists() for each in saved)
    await again.close()


async def test_an_unreadable_photo_keeps_its_thumbnail(store: SnapshotStore, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = await save(store, 1)
    await store.close()
    delete_index(store.incoming.parent)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", fail_with(errno.EIO))
        await (await reopen(store)).close()
    assert store.thumbnail_path(saved).exists()


def fail_with(number: int) -> Callable[[Path], bytes]:
    """Return a Path.read_bytes that fails for images."""
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.suffix == ".jpg":
            raise OSError(number, os.strerror(number), str(path))
        return read(path)

    return fail


async def test_a_photo_replaced_while_the_server_was_down_gets_a_new_thumbnail(
    store: SnapshotStore,
) -> None:
    saved = await save(store, 1)
    before = await read_thumbnail(store, saved)
    await store.close()
    other = make_picture(width=333, height=222, seed=77)
    replace_file(store.image_path(saved), other)
    again = await reopen(store)
    found = await again.latest()
    assert found is not None
    assert (found.width, found.height, found.bytes) == (333, 222, len(other))
    after = await read_thumbnail(again, found)
    assert after == inspect(other).thumbnail != before
    await again.close()


async def test_capture_numbers_continue_above_those_of_missing_photos(store: SnapshotStore) -> None:
    for number in (1, 7):
        gone = await save(store, number)
    await store.close()
    store.image_path(gone).unlink()
    again = await reopen(store)
    assert again.last_capture == 7
    await again.close()


async def test_a_file_in_the_place_of_a_days_folder_is_reported(store: SnapshotStore) -> None:
    day = store.image_path(await save(store)).parent
    (day.parent.parent.parent / "2031").write_text("not a folder")
    with pytest.raises(StorageError, match="A file is in the place"):
        await save(store, 2, captured_at=dt.datetime(2031, 1, 1, tzinfo=dt.UTC))
    assert await store.count() == 1
    assert list(store.incoming.iterdir()) == []


@pytest.mark.parametrize("damage", INDEX_DAMAGES)
async def test_an_index_that_can_not_be_used_is_rebuilt(
    store: SnapshotStore, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    # More than one page of rows, so that there is something to damage.
    saved = [await save(store, number, data=make_picture(kind)) for number in range(10) for kind in ("JPEG", "WEBP")]
    await store.close()
    INDEX_DAMAGES[damage](store.incoming.parent)
    again = await reopen(store)
    await again.check()
    assert sorted(await check_agreement(again), key=saved.index) == saved
    assert "20 photos added" in caplog.text
    assert again.last_capture == 9
    await save(again, 10)
    assert len(await check_agreement(again)) == 21
    await again.close()


async def test_an_index_that_fails_at_run_time_costs_one_snapshot_and_is_repaired(store: SnapshotStore) -> None:
    kept = await save(store, 1)
    database = sqlite3.connect(":memory:", check_same_thread=False)
    index = store._album._index
    assert index is not None
    index._database, whole = database, index._database
    with pytest.raises(StorageError, match="index"):
        await save(store, 2)
    database.close()
    store._thread.submit(whole.close).result()
    assert [each.capture for each in await check_agreement(store)] == [1]
    saved = await save(store, 3)
    assert await check_agreement(store) == [saved, kept]


async def test_a_query_of_a_damaged_index_is_answered_from_the_rebuilt_one(
    store: SnapshotStore,
) -> None:
    older, newer = await save(store, 1), await save(store, 2)
    queries: list[tuple[Callable[[], Awaitable[object]], object]] = [
        (lambda: store.recent(limit=5), [newer, older]),
        (lambda: store.newer(older), newer),
        (store.count, 2),
    ]
    for query, expected in queries:
        index = store._album._index
        assert index is not None
        store._thread.submit(index._database.execute, "DROP TABLE images").result()
        assert await query() == expected
    assert await check_agreement(store) == [newer, older]


async def test_a_row_that_can_not_be_written_leaves_no_image(
    store: SnapshotStore, caplog: pytest.LogCaptureFixture
) -> None:
    kept = await save(store, 1)
    index = store._album._index
    assert index is not None
    store._thread.submit(
        index._database.execute,
        "CREATE TRIGGER folder.refuse BEFORE INSERT ON images BEGIN SELECT raise(ABORT, 'no'); END",
    ).result()
    with pytest.raises(StorageError, match="index"):
        await save(store, 2)
    assert await check_agreement(store) == [kept]
    saved = await save(store, 3)
    assert await check_agreement(store) == [saved, kept]


async def test_a_missing_image_is_removed_from_the_index(
    store: SnapshotStore, caplog: pytest.LogCaptureFixture
) -> None:
    gone, kept = await save(store, 1), await save(store, 2)
    store.image_path(gone).unlink()
    again = await reopen(store)
    assert await check_agreement(again) == [kept]
    assert "1 gone" in caplog.text
    await again.close()


async def test_an_image_copied_into_the_folder_is_added_to_the_index(
    store: SnapshotStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = SnapshotStore(tmp_path / "elsewhere")
    await elsewhere.open()
    brought = await save(elsewhere, 77, data=make_picture("PNG", width=100, height=30), camera="door")
    own = await save(store, 1)
    target = store.image_path(brought)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(elsewhere.image_path(brought), target)
    await elsewhere.close()
    again = await reopen(store)
    assert await check_agreement(again) == [brought, own]
    assert again.last_capture == 77
    assert "1 photos added" in caplog.text
    await again.close()


async def test_a_missing_thumbnail_is_remade_and_an_orphan_removed(store: SnapshotStore) -> None:
    first, second = await save(store, 1), await save(store, 2)
    thumbnail = store.thumbnail_path(first).read_bytes()
    store.thumbnail_path(first).unlink()
    store.image_path(second).unlink()
    again = await reopen(store)
    assert await check_agreement(again) == [first]
    assert store.thumbnail_path(first).read_bytes() == thumbnail
    await again.close()


async def test_a_truncated_image_is_set_aside_and_an_empty_one_removed(
    store: SnapshotStore, caplog: pytest.LogCaptureFixture
) -> None:
    torn, empty, kept = [await save(store, number) for number in (1, 2, 3)]
    store.image_path(torn).write_bytes(PICTURE[:-20])
    store.image_path(empty).write_bytes(b"")
    await store.close()
    (store.incoming.parent / "index.sqlite3").unlink()
    again = await reopen(store)
    assert await check_agreement(again) == [kept]
    damaged = store.incoming.parent / "damaged"
    assert [path.read_bytes() for path in damaged.iterdir()] == [PICTURE[:-20]]
    assert "is incomplete and was moved" in caplog.text
    await again.close()


async def test_an_image_found_truncated_for_its_thumbnail_is_removed_from_the_index(store: SnapshotStore) -> None:
    torn = await save(store, 1)
    store.image_path(torn).write_bytes(PICTURE[:-20])
    store.thumbnail_path(torn).unlink()
    again = await reopen(store)
    assert await check_agreement(again) == []
    await again.close()


async def test_foreign_files_are_left_alone_not_served_and_counted_once(
    store: SnapshotStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    snapshot = await save(store)
    root, own = store.incoming.parent.parent, store.image_path(snapshot)
    far = tmp_path / "far"
    behind = far / "11" / "22" / f"111438.123_test_3_{'c' * 24}.jpg"
    behind.parent.mkdir(parents=True)
    for path in far / own.name, behind:
        path.write_bytes(PICTURE)
    other_id = "b" * 24
    foreign = [
        root / "holiday.jpg",
        root / "notes" / "deep" / "file.txt",
        own.parent / "cat.jpg",
        own.parent / f"{own.stem}.copy.jpg",
        own.parent / f"{own.stem}.JPG",
        # The same id on another day, an invalid hour, and a JPEG that is named .png.
        root / "2026/11/21" / own.name,
        own.parent / f"250000.000_test_1_{other_id}.jpg",
        own.parent / f"111438.123_test_1_{other_id}.png",
    ]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PICTURE)
    (root / ".hidden").write_bytes(b"")
    # Links to an image and to a folder with one.
    (own.parent / f"111438.123_test_2_{other_id}.jpg").symlink_to(far / own.name)
    (root / "2025").symlink_to(far)
    before = list_files(tmp_path)
    again = await reopen(store)
    assert await again.recent(limit=100) == [snapshot]
    assert list_files(tmp_path) == before
    assert all(path.read_bytes() == PICTURE for path in foreign)
    assert [each.getMessage() for each in caplog.records if "do not belong to the album" in each.getMessage()] == [
        f"{root}: 10 files do not belong to the album and are ignored."
    ]
    await again.close()


async def test_nothing_is_saved_behind_a_symbolic_link(store: SnapshotStore, tmp_path: Path) -> None:
    """The next start would not find it there."""
    (store.incoming.parent.parent / "2026").symlink_to(tmp_path)
    with pytest.raises(StorageError, match="A file is in the place"):
        await save(store)


async def test_leftovers_of_a_crash_or_a_camera_are_removed(store: SnapshotStore, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"precious")
    (store.incoming / "half.picture").write_bytes(PICTURE[:100])
    (store.incoming / "camera" / "deep").mkdir(parents=True)
    (store.incoming / "camera" / "deep" / "image.jpg").write_bytes(PICTURE)
    (store.incoming / "link").symlink_to(precious)
    again = await reopen(store)
    assert await check_agreement(again) == []
    assert (precious / "file").read_bytes() == b"precious"
    await again.close()


# ---- starting


async def test_the_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "a" / "b" / "c")
    await store.open()
    assert store.incoming.is_dir()
    assert store.incoming.is_absolute()
    assert store.last_capture == 0
    await store.close()


async def test_a_second_server_on_the_same_folder_is_refused(store: SnapshotStore) -> None:
    root = store.incoming.parent.parent
    second = SnapshotStore(root)
    with pytest.raises(StartError, match="in use by a running server") as caught:
        await second.open()
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert await save(store)
    await (await reopen(store)).close()


async def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "snapshots"
    path.write_bytes(b"precious")
    with pytest.raises(StartError, match="is not a folder") as caught:
        await SnapshotStore(path).open()
    assert str(path) in str(caught.value)
    with pytest.raises(StartError, match="can't be used"):
        await SnapshotStore(path / "below").open()
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("name", [".dog", ".dog/incoming"])
async def test_a_link_in_the_place_of_a_private_folder_is_not_followed(tmp_path: Path, name: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"precious")
    root = tmp_path / "snapshots"
    (root / name).parent.mkdir(parents=True)
    (root / name).symlink_to(precious)
    with pytest.raises(StartError, match="symbolic link"):
        await SnapshotStore(root).open()
    assert (precious / "file").read_bytes() == b"precious"


async def test_an_index_locked_by_another_program_prevents_the_start(store: SnapshotStore) -> None:
    await save(store)
    await store.close()
    other = sqlite3.connect(store.incoming.parent / "index.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StartError, match="locked"):
        await reopen(store)
    other.execute("ROLLBACK")
    other.close()
    again = await reopen(store)
    assert len(await check_agreement(again)) == 1
    await again.close()


async def test_the_epoch_is_the_present_time_and_rises_with_every_start(store: SnapshotStore) -> None:
    before = to_milliseconds(dt.datetime.now(dt.UTC))
    epoch = store.epoch
    assert before - 60_000 < epoch <= before
    for _ in range(3):
        store = await reopen(store)
        assert store.epoch > epoch
        epoch = store.epoch
    await store.close()


async def test_the_epoch_rises_if_the_clock_went_back(store: SnapshotStore) -> None:
    path = store.incoming.parent / "epoch"
    assert int(path.read_text()) == store.epoch
    path.write_text("5000000000000\n")
    for expected in 5_000_000_000_001, 5_000_000_000_002:
        store = await reopen(store)
        assert store.epoch == expected
    await store.close()


@pytest.mark.parametrize("text", ["", "yesterday", "-5", "9" * 20, "٣"])
async def test_an_unreadable_epoch_does_not_prevent_the_start(store: SnapshotStore, text: str) -> None:
    (store.incoming.parent / "epoch").write_text(text)
    again = await reopen(store)
    assert store.epoch < again.epoch < store.epoch + 600_000
    await again.close()


# ---- names


@given(
    id=st.from_regex(ID_PATTERN, fullmatch=True),
    camera=st.from_regex("[a-z0-9][a-z0-9-]{0,31}", fullmatch=True),
    capture=st.integers(0, 2**63 - 1),
    at=st.datetimes(timezones=st.timezones()).filter(lambda at: 1 < at.year < 9999),
    suffix=st.sampled_from(["jpg", "png", "webp"]),
)
def test_parsing_a_path_returns_its_parts(id: str, camera: str, capture: int, at: dt.datetime, suffix: str) -> None:
    name = SnapshotName(id, camera, capture, from_milliseconds(to_milliseconds(at)), suffix)
    assert parse_path(image_path(name)) == name


@pytest.mark.parametrize(
    "path",
    [
        "2026/11/22/111438.123_test_01_{id}.jpg",
        "2026/11/22/111438.123_test_9999999999999999999_{id}.jpg",
        "2026/11/22/111438.123_test_-1_{id}.jpg",
        "2026/11/22/111438.123_-test_1_{id}.jpg",
        "2026/11/22/111438.123_test_1_{id}a.jpg",
        "2026/11/22/111438.123_test_1_{id}.jpeg",
        "2026/11/22/111438.123_test_1_{id}.jpg\n",
        "2026/11/22/111438.12_test_1_{id}.jpg",
        "2026/11/22/111460.123_test_1_{id}.jpg",
        "2026/02/29/111438.123_test_1_{id}.jpg",
        "0000/11/22/111438.123_test_1_{id}.jpg",
        "2026/11/٢٢/111438.123_test_1_{id}.jpg",
        "/2026/11/22/111438.123_test_1_{id}.jpg",
        "2026/11/22/../111438.123_test_1_{id}.jpg",
    ],
)
def test_a_path_in_another_form_is_not_parsed(path: str) -> None:
    assert parse_path("2026/11/22/111438.123_test_1_{id}.jpg".format(id="a" * 24)) is not None
    assert parse_path(path.format(id="a" * 24)) is None
