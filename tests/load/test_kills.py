"""SIGKILL during a capture, and a restart: no photo is torn or lost."""

import contextlib
import hashlib
import http.client
import itertools
import json
import os
import random
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from dog.images import inspect
from tests.conftest import Serve
from tests.load.conftest import Progress
from tests.support.camera_programs import write_script
from tests.support.pictures import make_picture
from tests.support.pushes import watch
from tests.support.server_process import ServerProcess

SIZES = [
    pytest.param(3, id="short"),
    pytest.param(200, id="long", marks=[pytest.mark.load, pytest.mark.timeout(1800)]),
]
PICTURES = 7
MAX_KILL_DELAYS = {"taken": 0.01, "half": 0.02, "ready": 0.03, "capturing": 0.03, "reply": 0.03}
"""Maximum seconds from an event to the kill: the image is read and about to be saved, half of it is written, it is
saved and the next capture starts, the exposure begins, the press is answered."""


class ServerFolder:
    """The folder of a repeatedly killed server, and the expected photos."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.snapshots = folder / "snapshots"
        self.incoming = self.snapshots / ".dog" / "incoming"
        self.photos: dict[str, str] = {}
        """The hash of each snapshot's image, by id."""
        self.unannounced: set[str] = set()
        """The ids of snapshots that were saved, but not announced before the kill."""
        self.epoch = 0
        for number in range(PICTURES):
            size = 40 + 90 * number
            (folder / f"{number}.jpg").write_bytes(make_picture(seed=number, width=size, height=size))
        (folder / "n").write_text("0\n")
        os.mkfifo(folder / "half")
        self._half = os.open(folder / "half", os.O_RDWR)  # so that the script does not wait for a reader
        self.script = write_script(
            folder,
            f"""read n < n; n=$(((n + 1) % {PICTURES})); echo $n > n
            head -c 1000 $n.jpg > "$1"
            echo > half
            cp $n.jpg "$1" """,
        )

    def close(self) -> None:
        os.close(self._half)

    def wait_for_half(self) -> None:
        os.read(self._half, 1)

    def drain_halves(self) -> None:
        os.set_blocking(self._half, False)
        with contextlib.suppress(BlockingIOError):
            os.read(self._half, 4096)
        os.set_blocking(self._half, True)

    def newest_picture(self) -> str:
        """Return the hash of the camera's last image."""
        return digest((self.folder / f"{(self.folder / 'n').read_text().strip()}.jpg").read_bytes())

    def index(self) -> set[str]:
        """Return the paths in the index.

        Read a copy, because only the server may open it.
        """
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in (self.snapshots / ".dog").glob("index.sqlite3*"):
            shutil.copy(file, copy)
        with contextlib.closing(sqlite3.connect(copy / "index.sqlite3")) as database:
            return {path for (path,) in database.execute("SELECT path FROM images")}

    def pictures(self) -> set[str]:
        """Return the paths of all images in the folder, without thumbnails."""
        files = (file.relative_to(self.snapshots) for file in self.snapshots.rglob("*") if file.is_file())
        return {str(file) for file in files if file.parts[0] != ".dog" and not file.match("*.thumbnail.jpg")}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def press_and_kill(server_folder: ServerFolder, server: ServerProcess, moment: str, chance: random.Random) -> None:
    """Complete some captures, and kill the server in another.

    Record the snapshots that were announced.
    """
    with watch(server) as viewer:
        for _ in range(chance.randrange(3)):
            press(viewer)
            record_ready(server_folder, wait_for(viewer, "ready"))
        server_folder.drain_halves()
        press(viewer)
        if moment in ("half", "taken"):
            server_folder.wait_for_half()
            while moment == "taken" and any(server_folder.incoming.glob("capture-*")):
                pass
        else:
            told = wait_for(viewer, moment)
            if moment == "ready":
                record_ready(server_folder, told)
                press(viewer)
        until = time.perf_counter() + chance.uniform(0, MAX_KILL_DELAYS[moment])
        while time.perf_counter() < until:
            pass
        server.kill()
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = json.loads(viewer.recv(timeout=20))
                if message["type"] == "ready":
                    record_ready(server_folder, message)


def press(viewer: ClientConnection) -> None:
    viewer.send('{"type":"capture","max_age":0}')


def wait_for(viewer: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads(viewer.recv(timeout=20))
        assert message["type"] != "failed", message
        if message["type"] == kind:
            return message


def record_ready(server_folder: ServerFolder, ready: dict[str, Any]) -> None:
    server_folder.photos[ready["snapshot"]] = server_folder.newest_picture()


def check_all(server_folder: ServerFolder, server: ServerProcess) -> int:
    """Check the server after a start.

    Return how many photos were saved but not announced.
    """
    with watch(server) as viewer:
        hello = json.loads(viewer.recv(timeout=20))
    assert hello["epoch"] > server_folder.epoch
    server_folder.epoch = hello["epoch"]
    (camera,) = hello["cameras"]
    assert (camera["state"], camera.get("capture")) == ("idle", None)
    assert list(server_folder.incoming.iterdir()) == []
    assert server_folder.index() == server_folder.pictures()

    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        listed = list_all(connection)
        assert len({photo["snapshot"] for photo in listed}) == len(listed) == len(server_folder.pictures())
        ends = {}
        for photo in listed:  # the list has two fields more than `hello`
            del photo["pinned"]
            ends[photo["snapshot"]] = photo.pop("exposed_until", None)
        assert camera["latest"] == (listed[0] if listed else None)
        # A photo that was saved but not announced before the kill is the camera's last image.
        unknown = [photo["snapshot"] for photo in listed if photo["snapshot"] not in server_folder.photos]
        assert len(unknown) <= 1
        server_folder.photos.update((snapshot, server_folder.newest_picture()) for snapshot in unknown)
        server_folder.unannounced.update(unknown)
        # Only the durable facts have the end of the exposure. A kill between the rename and the row loses it.
        for photo in listed:
            end = ends[photo["snapshot"]]
            assert photo["snapshot"] in server_folder.unannounced if end is None else photo["captured_at"] <= end
        served = {photo["snapshot"]: digest(fetch(connection, photo["url"])) for photo in listed}
        assert served == server_folder.photos
        for photo in listed[:5]:
            assert len(fetch(connection, photo["url"])) == photo["bytes"]
            assert inspect(fetch(connection, photo["thumbnail"]))
    return len(unknown)


def list_all(connection: http.client.HTTPConnection) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = []
    while True:
        before = f"&before={listed[-1]['snapshot']}" if listed else ""
        page = json.loads(fetch(connection, f"/api/snapshots?limit=200{before}"))["snapshots"]
        listed += page
        if not page:
            return listed


def fetch(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    answer = connection.getresponse()
    data = answer.read()
    assert answer.status == 200, (path, answer.status, data)
    return data


@pytest.mark.parametrize("kills", SIZES)
def test_kills_at_random_moments_leave_no_photo_torn_lost_or_invented(
    serve: Serve, tmp_path: Path, kills: int, progress: Progress
) -> None:
    chance = random.Random(kills)
    unknown = 0
    with contextlib.closing(ServerFolder(tmp_path)) as server_folder:
        server = serve("--camera", f"script:{server_folder.script}", "--dead-time", "0", "--exif", "false")
        for number, moment in enumerate(itertools.islice(itertools.cycle(MAX_KILL_DELAYS), kills), 1):
            press_and_kill(server_folder, server, moment, chance)
            server.start()
            unknown += check_all(server_folder, server)
            if number % 10 == 0:
                progress(f"{number} kills, {len(server_folder.photos)} photos, {unknown} of them not announced")
        assert server.stop() == 0
        assert server_folder.index() == server_folder.pictures()
