"""Captures on a small disk: retention keeps free space and pinned photos.

Each removal is announced.
"""

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
from tests.load.health import get
from tests.support.disks import run_mount, unmount
from tests.support.pushes import watch
from tests.support.server_process import ServerProcess

MIB = 1024 * 1024
DISK_MIB, MIN_FREE_MIB = 12, 4
PINNED = 5


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    run_mount("-t", "tmpfs", "-o", f"size={DISK_MIB}m", "dog-test", str(folder))
    yield folder
    unmount(folder)


def take_photo(viewer: ClientConnection, removed: list[str]) -> dict[str, Any]:
    """Take a photo and return its `ready`.

    Append the ids of removed photos to `removed`.
    """
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
def test_retention_keeps_the_free_space_during_captures_and_keeps_pinned_photos(
    serve: Serve, disk: Path, photos: int, seconds: float
) -> None:
    """Take several times as many photos as the disk can hold.

    The parameters are minima of photos and of seconds.
    """
    server = serve(
        *("--snapshots", str(disk / "snapshots"), "--keep-free", str(MIN_FREE_MIB)),
        *("--dead-time", "0", "--message-rate", "1000"),
    )
    shot: list[dict[str, Any]] = []
    least_free = DISK_MIB * MIB
    end = time.monotonic() + seconds
    removed: list[str] = []
    with watch(server) as viewer:
        while len(shot) < photos or time.monotonic() < end:
            photo = take_photo(viewer, removed)
            shot.append(photo)
            if len(shot) <= PINNED:
                pin(server, photo)
            least_free = min(least_free, shutil.disk_usage(disk).free)
    assert sum(photo["bytes"] for photo in shot) > 1.5 * DISK_MIB * MIB, "it was never full"
    # Retention counts the bytes of images; the new thumbnail and the index are extra.
    assert least_free > (MIN_FREE_MIB - 1) * MIB
    ids = [photo["snapshot"] for photo in shot]
    assert removed == ids[PINNED : PINNED + len(removed)], "the oldest went first, and no pinned one"
    for photo in shot[:PINNED]:
        status, data = get(server, photo["url"])
        assert (status, len(data)) == (200, photo["bytes"])
        assert inspect(data).width == photo["width"]
    assert get(server, f"/snapshots/{removed[-1]}")[0] == 410
    assert get(server, shot[-1]["url"])[0] == 200
    server.stop()
    server.start()
    assert get(server, shot[0]["url"])[0] == 200
    assert get(server, f"/api/snapshots/{removed[-1]}")[0] == 410
