"""The store in killed processes, and on full, read-only or failing disks."""

import asyncio
import datetime as dt
import errno
import os
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from dog.errors import CaptureError, StartError, StorageError, StorageFull
from dog.images import inspect
from dog.snapshots import Snapshot, SnapshotStore
from dog.snapshots.index import Index
from tests.support.disks import fill_disk, run_mount, unmount
from tests.support.files import make_deep_folders
from tests.support.module_process import ModuleProcess, start_module
from tests.support.pictures import make_picture
from tests.support.saving_process import MOMENT, STEPS
from tests.support.server_process import ROOT
from tests.support.stores import check_agreement, list_files, save


async def open_store(folder: Path) -> SnapshotStore:
    store = SnapshotStore(folder)
    await store.open()
    return store


# ---- killed


def start_saving(kind: str, folder: Path) -> ModuleProcess:
    """Start support/saving_process.py. Its output is a pipe."""
    return start_module("tests.support.saving_process", kind, str(folder), cwd=ROOT, stdout=subprocess.PIPE)


async def test_a_save_killed_at_any_step_is_complete_or_absent(tmp_path: Path) -> None:
    process = start_saving("steps", tmp_path)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    folders = output.decode().split()
    # Two files with an open, a write and a sync each, a reserved name, two renames, synced folders, and a row.
    assert len(folders) > 15
    saved: list[int] = []
    leftovers: list[int] = []
    for folder in folders:
        files = list_files(Path(folder))
        store = await open_store(Path(folder))
        snapshots = await check_agreement(store)
        saved.append(len(snapshots))
        leftovers.append(len(files - list_files(Path(folder))))
        assert snapshots[-1].capture == 1
        for snapshot in snapshots:
            assert store.image_path(snapshot).read_bytes() == make_picture(seed=snapshot.capture)
        # The store still works.
        await save(store, 3, captured_at=MOMENT)
        await store.close()
    # Only early kills lose the second snapshot, and some leave files that the start removes.
    assert saved == sorted(saved)
    assert set(saved) == {1, 2}
    assert any(leftovers)


async def test_a_kill_at_any_moment_loses_no_reported_snapshot(tmp_path: Path) -> None:
    reported: list[str] = []
    for round_ in range(6):
        process = start_saving("forever", tmp_path)
        assert process.stdout is not None
        for _ in range(3 + 2 * round_):
            reported.append(process.stdout.readline().decode().strip())
        process.kill()
        reported += process.communicate(timeout=60)[0].decode().split()
        store = await open_store(tmp_path)
        snapshots = {snapshot.id: snapshot for snapshot in await check_agreement(store)}
        assert set(reported) <= set(snapshots)
        assert len(snapshots) <= len(reported) + round_ + 1
        for snapshot in snapshots.values():
            assert store.image_path(snapshot).read_bytes() == make_picture(seed=snapshot.capture)
        await store.close()


# ---- the order of writes to the disk


class DiskTrace:
    """A trace of syncs, renames and new folders, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.acts: list[tuple[str, Path]] = []
        sync, replace, mkdir, add = os.fsync, os.replace, os.mkdir, Index.add

        def trace_sync(descriptor: int) -> None:
            sync(descriptor)
            self.acts.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))

        def trace_replace(source: Path, target: Path) -> None:
            replace(source, target)
            self.acts.append(("rename", target))
            self.acts[:] = [(act, target if path == source else path) for act, path in self.acts]

        def trace_mkdir(path: Path, mode: int = 0o777) -> None:
            mkdir(path, mode)
            self.acts.append(("make", path))

        def trace_add(index: Index, snapshot: Snapshot) -> None:
            add(index, snapshot)
            self.acts.append(("index", Path(snapshot.id)))

        monkeypatch.setattr(os, "fsync", trace_sync)
        monkeypatch.setattr(os, "replace", trace_replace)
        monkeypatch.setattr(os, "mkdir", trace_mkdir)
        monkeypatch.setattr(Index, "add", trace_add)


async def test_an_image_is_synced_before_its_rename_and_the_rename_before_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_store(tmp_path)
    trace = DiskTrace(monkeypatch)
    for number in 1, 2:
        trace.acts.clear()
        snapshot = await save(store, number)
        picture, thumbnail = store.image_path(snapshot), store.thumbnail_path(snapshot)
        day = picture.parent
        assert trace.acts[0] == ("sync", picture)
        assert trace.acts[-5:] == [
            ("sync", thumbnail),
            ("rename", thumbnail),
            ("rename", picture),
            ("sync", day),
            ("index", Path(snapshot.id)),
        ]
        if number == 1:
            month, year = day.parent, day.parent.parent
            made = [("make", year), ("sync", tmp_path), ("make", month), ("sync", year), ("make", day), ("sync", month)]
            assert trace.acts[1:7] == made
        assert len(trace.acts) == (12 if number == 1 else 6)
    await store.close()


async def test_a_new_folder_of_snapshots_is_synced_with_its_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = DiskTrace(monkeypatch)
    store = await open_store(tmp_path / "a" / "b")
    synced = {path for act, path in trace.acts if act == "sync"}
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / ".dog"} <= synced
    await store.close()


# ---- failing


class DiskFault:
    """A fault at one of all calls that touch the disk. Later calls work again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.fail_at = -1
        self.number = errno.EIO
        for owner, name in STEPS:
            if owner is not Index:
                monkeypatch.setattr(owner, name, self._count(getattr(owner, name)))

    def _count(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls - 1 == self.fail_at:
                raise OSError(self.number, os.strerror(self.number), "/somewhere/secret")
            return function(*arguments, **options)

        return counted

    def arm(self, step: int, number: int) -> None:
        self.calls, self.fail_at, self.number = 0, step, number


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, StorageFull, "disk is full"),
        (errno.EDQUOT, StorageFull, "disk is full"),
        (errno.EIO, StorageError, "disk reports an error"),
        (errno.EROFS, StorageError, "read-only"),
        (errno.EACCES, StorageError, "may not write"),
        (errno.EMFILE, StorageError, "too many open files"),
        (errno.ENXIO, StorageError, "The operating system reports: No such device"),
    ],
)
async def test_a_save_that_fails_at_any_step_leaves_no_file_and_the_next_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[CaptureError], words: str
) -> None:
    store = await open_store(tmp_path)
    fault = DiskFault(monkeypatch)
    failures = saved = 0
    # Each save is for another day, so that it also makes folders.
    for step in range(100):
        day = MOMENT + dt.timedelta(days=40 * step)
        fault.arm(step, number)
        [outcome] = await asyncio.gather(save(store, step, captured_at=day), return_exceptions=True)
        reached = fault.calls > step
        fault.arm(-1, number)
        if not reached:
            break
        saved += 1
        if isinstance(outcome, Snapshot):  # the failed call was mkdir of an existing folder
            continue
        failures += 1
        assert isinstance(outcome, CaptureError)
        assert type(outcome) is kind
        assert words in outcome.message
        assert "secret" not in outcome.message
        assert "secret" in outcome.detail
        assert len(await check_agreement(store)) == saved - 1
        await save(store, step, captured_at=day)
    assert failures > 15
    await store.close()


async def test_an_unreadable_image_does_not_prevent_the_start_and_returns_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_store(tmp_path)
    sick, sound = await save(store, 1), await save(store, 2)
    await store.close()
    (store.incoming.parent / "index.sqlite3").unlink()
    read_bytes = Path.read_bytes

    def read(path: Path) -> bytes:
        if path == store.image_path(sick):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read_bytes(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", read)
        again = await open_store(tmp_path)
        assert await again.recent(limit=10) == [sound]
        assert "can't be read and is not served" in caplog.text
        await again.close()
    again = await open_store(tmp_path)
    assert await check_agreement(again) == [sound, sick]
    await again.close()


async def test_an_image_above_the_process_file_size_limit_is_refused(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    large = make_picture("PNG", width=600, height=600)
    assert len(large) > 100_000
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="larger than the server may write"):
            await save(store, 1, data=large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    saved = await save(store, 2, data=large)
    assert await check_agreement(store) == [saved]
    await store.close()


# ---- full, read-only


@pytest.fixture
async def small_store(small_disk: Path) -> AsyncIterator[SnapshotStore]:
    store = await open_store(small_disk / "snapshots")
    yield store
    await store.close()


async def test_a_full_disk_is_reported_and_works_again_when_there_is_room(
    small_store: SnapshotStore, small_disk: Path
) -> None:
    kept = await save(small_store, 1)
    await small_store.check_writable()
    ballast = fill_disk(small_disk)
    for _ in range(3):
        with pytest.raises(StorageFull, match="disk is full"):
            await save(small_store, 2)
        with pytest.raises(StorageFull, match="disk is full"):
            await small_store.check_writable()
        assert await check_agreement(small_store) == [kept]
    ballast.unlink()
    await small_store.check_writable()
    saved = await save(small_store, 3)
    assert await check_agreement(small_store) == [saved, kept]


async def test_a_photo_can_be_deleted_on_a_completely_full_disk(small_store: SnapshotStore, small_disk: Path) -> None:
    data = make_picture("PNG", width=200, height=200)
    gone, stays = await save(small_store, 1, data=data), await save(small_store, 2, data=data)
    fill_disk(small_disk)
    assert await small_store.remove(gone.id)
    assert await small_store.find_name(gone.id) is not None
    assert await check_agreement(small_store) == [stays]


async def test_a_disk_that_fills_up_at_any_page_leaves_no_partial_save(
    small_store: SnapshotStore, small_disk: Path
) -> None:
    """The free space grows by pages, until only the databases do not fit."""
    ballast = fill_disk(small_disk)
    data = make_picture("PNG", width=100, height=100)
    details: list[str] = []
    saved = 0
    while len(details) < 90 and saved < 3:
        [outcome] = await asyncio.gather(save(small_store, len(details), data=data), return_exceptions=True)
        if isinstance(outcome, Snapshot):
            saved += 1
        else:
            assert isinstance(outcome, StorageFull)
            details.append(outcome.detail)
            os.truncate(ballast, ballast.stat().st_size - 4096)
        assert len(await check_agreement(small_store)) == saved
    assert saved == 3
    assert any("No space left" in detail for detail in details)
    assert any("bytes are free" in detail for detail in details)
    ballast.unlink()
    await small_store.close()
    again = await open_store(small_disk / "snapshots")
    assert len(await check_agreement(again)) == 3
    await again.close()


async def test_a_start_on_a_full_disk_names_the_folder(small_disk: Path) -> None:
    fill_disk(small_disk)
    with pytest.raises(StartError, match="No space left") as caught:
        await open_store(small_disk / "snapshots")
    assert str(small_disk / "snapshots") in str(caught.value)


async def test_a_start_on_a_read_only_disk_names_the_folder(small_disk: Path) -> None:
    folder = small_disk / "snapshots"
    await (await open_store(folder)).close()
    run_mount("-o", "remount,ro", str(small_disk))
    for wanted in folder, small_disk / "new":
        with pytest.raises(StartError, match="Read-only") as caught:
            await open_store(wanted)
        assert str(wanted) in str(caught.value)
        assert "\n" not in str(caught.value)


async def test_a_disk_that_becomes_read_only_is_reported_and_works_again(small_store: SnapshotStore) -> None:
    kept = await save(small_store, 1)
    years = small_store.image_path(kept).parent.parent.parent
    run_mount("--bind", str(years), str(years))
    try:
        run_mount("-o", "remount,bind,ro", str(years))
        with pytest.raises(StorageError, match="read-only"):
            await save(small_store, 2)
        assert await check_agreement(small_store) == [kept]
    finally:
        unmount(years)
    saved = await save(small_store, 3)
    assert await check_agreement(small_store) == [saved, kept]


async def test_a_folder_without_write_permission_is_reported(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.mkdir(mode=0o500)
    if os.access(probe, os.W_OK):
        pytest.skip("permissions don't bind root")
    store = await open_store(tmp_path / "snapshots")
    kept = await save(store, 1)
    day = store.image_path(kept).parent
    day.chmod(0o500)
    with pytest.raises(StorageError, match="may not write"):
        await save(store, 2)
    day.chmod(0o700)
    await save(store, 3)
    await store.close()
    (tmp_path / "snapshots").chmod(0o500)
    (tmp_path / "snapshots" / ".dog").chmod(0o500)
    with pytest.raises(StartError, match="Permission denied"):
        await open_store(tmp_path / "snapshots")
    (tmp_path / "snapshots").chmod(0o700)
    (tmp_path / "snapshots" / ".dog").chmod(0o700)


async def test_a_folder_that_disappears_is_reported_and_not_recreated(tmp_path: Path) -> None:
    """It may be an unmounted disk, which would hide new files."""
    folder, away = tmp_path / "snapshots", tmp_path / "away"
    store = await open_store(folder)
    kept = await save(store, 1)
    folder.rename(away)
    with pytest.raises(StorageError, match="is gone"):
        await save(store, 2)
    with pytest.raises(StorageError, match="is gone"):
        await store.check_writable()
    assert not folder.exists()
    away.rename(folder)
    saved = await save(store, 3)
    assert await check_agreement(store) == [saved, kept]
    assert inspect(store.image_path(saved).read_bytes())
    await store.close()


# ---- leftovers of a camera, and replaced folders


@pytest.mark.usefixtures("deep")
async def test_a_leftover_3000_folders_deep_does_not_prevent_the_start(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await store.close()
    make_deep_folders(store.incoming / "deep", 3000, Path("file").touch)
    again = await open_store(tmp_path)
    assert list(again.incoming.iterdir()) == []
    await again.close()


def change_attribute(change: str, file: Path) -> bool:
    """Change a file's attribute with chattr. Return True if that is possible."""
    if os.geteuid() != 0 or not shutil.which("chattr"):
        return False
    return not subprocess.run(["chattr", change, str(file)], capture_output=True, check=False).returncode


@pytest.mark.parametrize("name", ["epoch", "thumbnail", "writable", "camera/deep/file"])
async def test_a_leftover_that_can_not_be_removed_is_logged_once(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_store(tmp_path)
    kept = await save(store, 1)
    await store.close()
    file = store.incoming / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    store.thumbnail_path(kept).unlink()
    if not change_attribute("+i", file):
        pytest.skip("no file can be made immutable here")
    try:
        again = await open_store(tmp_path)
        await save(again, 2)
        await again.check_writable()
        assert store.thumbnail_path(kept).is_file()
        assert [path for path in again.incoming.rglob("*") if path.is_file()] == [file]
        await again.close()
    finally:
        assert change_attribute("-i", file)
    assert caplog.text.count(str(file)) == 1
    assert "1 leftovers can't be removed and stay" in caplog.text


async def test_a_folder_that_was_replaced_is_not_saved_into(tmp_path: Path) -> None:
    """Another server may use the new one."""
    folder = tmp_path / "snapshots"
    first = await open_store(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    second = await open_store(folder)
    with pytest.raises(StorageError, match=r"was replaced\. Restart the server\."):
        await save(first, 1)
    assert list_files(folder) == set()
    saved = await save(second, 2)
    assert await check_agreement(second) == [saved]
    await second.close()
    await first.close()


async def test_a_recreated_folder_without_a_server_is_not_saved_into(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "snapshots")
    shutil.rmtree(tmp_path / "snapshots")
    (tmp_path / "snapshots" / ".dog" / "incoming").mkdir(parents=True)
    with pytest.raises(StorageError, match="was replaced"):
        await save(store, 1)
    assert list_files(tmp_path) == set()
    await store.close()
