"""Shooting onto a small disk: its free space is kept, whatever was pinned stays, and every viewer hears what went."""

import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from dog.images import inspect
from tests.conftest import Serve
from tests.load.test_disk import ask
from tests.snapshots.test_store_disk import run_mount, unmount
from tests.support.server_process import ServerProcess
from tests.web.test_shutdown import watch

MIB = 1024 * 1024
SIZE, KEPT_FREE = 12, 4
PINNED = 5


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    run_mount("-t", "tmpfs", "-o", f"size={SIZE}m", "dog-test", str(folder))
    yield folder
    unmount(folder)


def shoot(viewer: ClientConnection, removed: list[str]) -> dict[str, Any]:
    """The `ready` of a new photo; and what was removed meanwhile is put to the rest."""
    viewer.send('{"type":"capture","max_age":0}')
    while True:
        message: dict[str, Any] = json.loads(viewer.recv(timeout=20))
        assert message["type"] != "failed", message
        if message["type"] == "ready":
            return message
        if message["type"] == "removed":
            assert message["reason"] == "retention"
            removed += message["snapshots"]


def pin(server: ServerProcess, photo: dict[str, Any]) -> None:
    request = urllib.request.Request(f"{server.url}/api/snapshots/{photo['snapshot']}/pin", method="PUT")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 204


@pytest.mark.parametrize(
    ("photos", "seconds"),
    [
        pytest.param(100, 0, id="short"),
        pytest.param(0, 60, id="long", marks=[pytest.mark.load, pytest.mark.timeout(600)]),
    ],
)
def test_the_free_space_is_kept_while_shooting_and_pinned_photos_stay(
    serve: Serve, disk: Path, photos: int, seconds: float
) -> None:
    """At least so many photos, and for at least so many seconds: several times what the disk holds."""
    server = serve(
        *("--snapshots", str(disk / "snapshots"), "--keep-free", str(KEPT_FREE)),
        *("--dead-time", "0", "--message-rate", "1000"),
    )
    shot: list[dict[str, Any]] = []
    least_free = SIZE * MIB
    end = time.monotonic() + seconds
    removed: list[str] = []
    with watch(server) as viewer:
        while len(shot) < photos or time.monotonic() < end:
            photo = shoot(viewer, removed)
            shot.append(photo)
            if len(shot) <= PINNED:
                pin(server, photo)
            least_free = min(least_free, shutil.disk_usage(disk).free)
    assert sum(photo["bytes"] for photo in shot) > 1.5 * SIZE * MIB, "it was never full"
    # What is removed is chosen by the pictures' bytes, and the new thumbnail and the index come on top.
    assert least_free > (KEPT_FREE - 1) * MIB
    ids = [photo["snapshot"] for photo in shot]
    assert removed == ids[PINNED : PINNED + len(removed)], "the oldest went first, and no pinned one"
    for photo in shot[:PINNED]:
        status, data = ask(server, photo["url"])
        assert (status, len(data)) == (200, photo["bytes"])
        assert inspect(data).width == photo["width"]
    assert ask(server, f"/snapshots/{removed[-1]}")[0] == 410
    assert ask(server, shot[-1]["url"])[0] == 200
    server.stop()
    server.start()
    assert ask(server, shot[0]["url"])[0] == 200
    assert ask(server, f"/api/snapshots/{removed[-1]}")[0] == 410
