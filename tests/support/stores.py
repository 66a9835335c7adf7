"""Save snapshots in a store, open it again, and check all of it."""

import datetime as dt
from pathlib import Path

from dog.images import inspect
from dog.snapshots import Snapshot, SnapshotStore, StoredImage
from tests.support.pictures import make_picture

__all__ = ["MOMENT", "PICTURE", "check_agreement", "list_files", "read_image", "read_thumbnail", "reopen", "save"]

MOMENT = dt.datetime(2026, 11, 22, 11, 14, 38, 123_456, tzinfo=dt.UTC)
PICTURE = make_picture()


async def reopen(store: SnapshotStore) -> SnapshotStore:
    """Close a store, and open its folder again. The caller closes the new one."""
    await store.close()
    again = SnapshotStore(store.incoming.parent.parent)
    await again.open()
    return again


async def save(
    store: SnapshotStore,
    capture: int = 1,
    *,
    data: bytes = PICTURE,
    camera: str = "test",
    captured_at: dt.datetime = MOMENT,
) -> Snapshot:
    return await store.save(data, camera=camera, capture=capture, captured_at=captured_at)


async def read_image(store: SnapshotStore, snapshot: Snapshot) -> bytes:
    return await _read(store.image(snapshot))


async def read_thumbnail(store: SnapshotStore, snapshot: Snapshot) -> bytes:
    return await _read(store.thumbnail(snapshot))


async def _read(image: StoredImage) -> bytes:
    return await image.read(0, await image.size())


def list_files(folder: Path) -> set[str]:
    """List all files in the folder except the store's own."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and ".dog" not in path.parts}


async def check_agreement(store: SnapshotStore) -> list[Snapshot]:
    """Check that index and folder agree and all images are intact. Return all."""
    snapshots = await store.recent(limit=10_000)
    assert await store.count() == len(snapshots)
    root = store.incoming.parent.parent
    expected: set[str] = set()
    for snapshot in snapshots:
        path, thumbnail = store.image_path(snapshot), store.thumbnail_path(snapshot)
        picture = inspect(path.read_bytes())
        assert (picture.width, picture.height) == (snapshot.width, snapshot.height)
        assert (picture.content_type, path.stat().st_size) == (snapshot.content_type, snapshot.bytes)
        assert inspect(thumbnail.read_bytes()).content_type == "image/jpeg"
        assert await store.get(snapshot.id) == snapshot
        expected |= {str(path.relative_to(root)), str(thumbnail.relative_to(root))}
    assert list_files(root) == expected
    assert list(store.incoming.iterdir()) == []
    return snapshots
