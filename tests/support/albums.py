"""Albums on disk, made without a server."""

import datetime as dt
import hashlib
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

from dog.clock import from_milliseconds, to_milliseconds
from dog.images import inspect
from dog.protocol import Quality
from dog.snapshots import Origin, Snapshot
from dog.snapshots.index import Index
from dog.snapshots.names import SnapshotName, image_path, make_id, thumbnail_path
from dog.snapshots.reconcile import make_snapshot
from dog.snapshots.store import BlockingStore
from tests.support.module_process import ModuleProcess, start_dog
from tests.support.pictures import make_picture
from tests.support.server_process import run_dog

__all__ = ["FIRST", "ORIGIN", "AlbumFolder", "save"]

FIRST = dt.datetime(2026, 11, 20, 11, 14, 38, 123_000, tzinfo=dt.UTC)

ORIGIN = Origin(
    request="a key",
    exposed_until=FIRST + dt.timedelta(seconds=1),
    exposure=0.04,
    settings='{"warm_up":2}',
    quality=Quality(verdict="good", brightness=0.5),
)


def save(album: BlockingStore, captured_at: dt.datetime, camera: str = "test", data: bytes = b"") -> Snapshot:
    """Save a photo, by default one that no other has."""
    capture = album.last_capture + 1
    data = data or make_picture(seed=capture)
    picture = inspect(data)
    captured_at = from_milliseconds(to_milliseconds(captured_at))
    taken = SnapshotName(make_id(), camera, capture, captured_at, "jpg")
    snapshot = make_snapshot(taken, picture, len(data), hashlib.sha256(data).hexdigest(), ORIGIN)
    album.save(album.stage(data), snapshot, picture.thumbnail)
    return snapshot


class AlbumFolder:
    """A folder of six photos, of three days and two cameras."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "snapshots"
        with self.opened() as album:
            self.photos = [
                save(album, FIRST + dt.timedelta(hours=12 * number), "porch" if number % 3 else "test")
                for number in range(6)
            ]

    def opened(self) -> "closing[BlockingStore]":
        album = BlockingStore(self.root)
        album.open()
        return closing(album)

    def indexed(self) -> "closing[Index]":
        return closing(Index(self.root / ".dog"))

    def path(self, number: int) -> Path:
        return self.root / image_path(self.photos[number])

    def thumbnail(self, number: int) -> Path:
        return self.root / thumbnail_path(image_path(self.photos[number]))

    def flip(self, number: int, place: float = 0.5) -> None:
        data = bytearray(self.path(number).read_bytes())
        data[int(place * (len(data) - 1))] ^= 0x10
        self.path(number).write_bytes(data)

    def run(self, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        return run_dog("album", *arguments, cwd=self.folder, **options)

    def start(self, *arguments: str, **options: Any) -> ModuleProcess:
        return start_dog("album", *arguments, cwd=self.folder, **options)

    def in_archive(self) -> dict[str, bytes]:
        return {image_path(photo): self.path(number).read_bytes() for number, photo in enumerate(self.photos)}
