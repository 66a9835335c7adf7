"""A full or read-only disk, or a damaged index, while the server runs.

The server reports it, and recovers.
"""

import asyncio
import contextlib
import datetime as dt
import json
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from dog.snapshots import Snapshot, SnapshotStore
from dog.snapshots.index import Index
from dog.snapshots.names import image_path, make_id, thumbnail_path
from tests.conftest import Serve
from tests.load.health import get
from tests.support.camera_programs import write_script
from tests.support.disks import fill_disk, run_mount, unmount
from tests.support.pictures import make_picture
from tests.support.pushes import watch
from tests.support.saving_process import MOMENT
from tests.support.server_process import ServerProcess
from tests.support.stores import save


def press(viewer: ClientConnection) -> dict[str, Any]:
    """Return the `ready` or `failed` of a new capture."""
    viewer.send('{"type":"capture","max_age":0}')
    while True:
        message: dict[str, Any] = json.loads(viewer.recv(timeout=20))
        if message["type"] in ("ready", "failed"):
            return message


def list_ids(server: ServerProcess) -> list[str]:
    status, body = get(server, "/api/snapshots")
    assert status == 200, body
    return [snapshot["snapshot"] for snapshot in json.loads(body)["snapshots"]]


def check_pages(server: ServerProcess, photo: dict[str, Any]) -> None:
    for path in ("/", photo["page"], photo["url"], photo["thumbnail"], "/latest.jpg", "/healthz"):
        assert get(server, path)[0] == 200, path


# ---- full, read-only


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    ballast = fill_disk(disk)
    yield
    ballast.unlink()


@contextlib.contextmanager
def read_only(disk: Path) -> Iterator[None]:
    folder = disk / "snapshots"
    run_mount("--bind", str(folder), str(folder))
    try:
        run_mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        unmount(folder)


@pytest.mark.parametrize(
    ("camera", "trouble", "code"),
    [
        ("test", full, "storage_full"),
        ("script", full, "storage_full"),
        ("test", read_only, "storage_error"),
        ("script", read_only, "storage_error"),
    ],
)
def test_a_full_or_read_only_disk_fails_captures_keeps_the_pages_up_and_recovers(
    serve: Serve,
    tmp_path: Path,
    small_disk: Path,
    camera: str,
    trouble: Callable[[Path], AbstractContextManager[None]],
    code: str,
) -> None:
    if camera == "script":
        script = write_script(tmp_path, 'exec cp "$PICTURE" "$1"')
        camera = f"script:{script}"
    server = serve("--camera", camera, "--snapshots", str(small_disk / "snapshots"), "--dead-time", "0")
    with watch(server) as viewer:
        kept = press(viewer)
        with trouble(small_disk):
            for _ in range(3):
                failed = press(viewer)
                assert (failed["type"], failed.get("code")) == ("failed", code), failed
                check_pages(server, kept)
            status, body = get(server, "/readyz")
            assert status >= 500
            assert json.loads(body)["code"] == code
        saved = press(viewer)
    check_pages(server, saved)
    while get(server, "/readyz")[0] != 200:  # one check of the disk serves two seconds
        time.sleep(0.05)
    assert list_ids(server) == [saved["snapshot"], kept["snapshot"]]
    assert list((small_disk / "snapshots" / ".dog" / "incoming").iterdir()) == []
    server.stop()
    server.start()
    assert list_ids(server) == [saved["snapshot"], kept["snapshot"]]


# ---- the index


def overwrite_header(index: Path) -> None:
    with index.open("r+b") as file:
        file.write(random.Random(1).randbytes(100))


def overwrite_all(index: Path) -> None:
    with index.open("r+b") as file:
        file.write(random.Random(1).randbytes(index.stat().st_size))


def cut_to_nothing(index: Path) -> None:
    os.truncate(index, 0)


def cut_in_half(index: Path) -> None:
    os.truncate(index, index.stat().st_size // 2)


def replace_by_foreign_database(index: Path) -> None:
    index.unlink()
    with contextlib.closing(sqlite3.connect(index)) as database:
        database.execute("CREATE TABLE snapshots (id)")


def replace_by_folder(index: Path) -> None:
    index.unlink()
    index.mkdir()


async def save_photos(folder: Path) -> set[str]:
    store = SnapshotStore(folder)
    await store.open()
    snapshots = [await save(store, number, camera="main") for number in range(1, 4)]
    await store.close()
    return {snapshot.id for snapshot in snapshots}


DAMAGES = [
    overwrite_header,
    cut_to_nothing,
    replace_by_folder,
    *(
        pytest.param(damage, marks=pytest.mark.load)
        for damage in (Path.unlink, overwrite_all, cut_in_half, replace_by_foreign_database)
    ),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_rebuilt_with_every_photo(
    serve: Serve, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    snapshots = tmp_path / "snapshots"
    index = snapshots / ".dog" / "index.sqlite3"
    photos = asyncio.run(save_photos(snapshots))
    damage(index)
    server = serve("--dead-time", "0")
    assert press_all(server, photos) == 0

    server.stop()
    server.start()
    damage(index)
    # Only the capture that discovers the damage may fail.
    assert press_all(server, photos) <= 1
    server.kill()
    server.start()
    assert set(list_ids(server)) == photos


def press_all(server: ServerProcess, photos: set[str]) -> int:
    """Take photos, add them to `photos`, and check the list and the pages.

    Return how many captures failed.
    """
    failures = 0
    with watch(server) as viewer:
        (camera,) = json.loads(viewer.recv(timeout=20))["cameras"]
        for _ in range(3):
            ended = press(viewer)
            if ended["type"] == "ready":
                photos.add(ended["snapshot"])
                check_pages(server, ended)
            else:
                assert ended["code"] == "storage_error"
                failures += 1
            check_pages(server, camera["latest"])
    assert set(list_ids(server)) == photos
    return failures


def save_many(folder: Path, count: int) -> str:
    """Save one image under many names, with an index.

    Return the id of the oldest.
    """
    whole = folder / ".dog" / "picture.jpg"
    whole.parent.mkdir(parents=True)
    whole.write_bytes(make_picture())
    ids = [make_id() for _ in range(count)]
    with contextlib.closing(Index(folder / ".dog")) as index:
        for number, id in enumerate(ids):
            at = MOMENT + dt.timedelta(seconds=number)
            snapshot = Snapshot(id, "main", number, at, 64, 48, whole.stat().st_size, "image/jpeg")
            picture = folder / image_path(snapshot)
            picture.parent.mkdir(parents=True, exist_ok=True)
            os.link(whole, picture)
            os.link(whole, folder / thumbnail_path(image_path(snapshot)))
            index.add(snapshot)
    whole.unlink()
    return ids[0]


@pytest.mark.load
@pytest.mark.timeout(300)
def test_the_pages_stay_up_while_a_damaged_index_of_20000_photos_is_rebuilt(serve: Serve, tmp_path: Path) -> None:
    snapshots = tmp_path / "snapshots"
    oldest = save_many(snapshots, 20_000)
    server = serve("--dead-time", "0")
    overwrite_all(snapshots / ".dog" / "index.sqlite3")
    page = f"/snapshots/{oldest}"
    check_pages(server, {"page": page, "url": f"{page}.jpg", "thumbnail": f"{page}/thumbnail.jpg"})
    with watch(server) as viewer:
        assert press(viewer)["type"] == "ready"
