"""Inspection of images by several processes."""

import itertools
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from dog.errors import StorageError
from dog.snapshots import image_inspection
from dog.snapshots.image_inspection import DamagedFile, ImageFile, InspectedFile, inspect_here, start_inspectors
from dog.snapshots.index import Index
from dog.snapshots.names import image_path, thumbnail_path
from dog.snapshots.rebuild import Rebuilding
from tests.support.albums import AlbumFolder
from tests.support.pictures import make_picture
from tests.support.rebuilding_process import NoProgress


@dataclass
class Batch:
    files: list[ImageFile]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use two processes for any number of files."""
    monkeypatch.setattr(image_inspection, "_MIN_FILES", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})


def list_children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def make_files(root: Path) -> list[ImageFile]:
    (root / "a.jpg").write_bytes(make_picture(seed=3))
    (root / "b.png").write_bytes(make_picture("PNG", seed=4))
    (root / "empty.jpg").write_bytes(b"")
    (root / "cut.jpg").write_bytes(make_picture(seed=5)[:-90])
    names = ["a.jpg", "b.png", "empty.jpg", "cut.jpg", "missing.jpg"]
    return [ImageFile(name, has) for name in names for has in (False, True)]


@pytest.mark.usefixtures("processes")
def test_several_processes_find_the_same_in_the_same_order(tmp_path: Path) -> None:
    files = make_files(tmp_path)
    batches = [Batch(list(part)) for number in range(9) for part in (files[number:], files[:number], [])]
    here = [(batch, list(map(repr, outcomes))) for batch, outcomes in inspect_here(tmp_path, batches)]
    with start_inspectors(len(files)) as inspect:
        there = [(batch, list(map(repr, outcomes))) for batch, outcomes in inspect(tmp_path, batches)]
    assert there == here
    kinds = [type(outcome) for _, outcomes in inspect_here(tmp_path, [Batch(files)]) for outcome in outcomes]
    assert kinds == [InspectedFile] * 4 + [DamagedFile] * 4 + [FileNotFoundError] * 2


@pytest.mark.usefixtures("processes")
def test_only_a_few_batches_are_inspected_ahead(tmp_path: Path) -> None:
    begun: list[int] = []

    def batches() -> Iterator[Batch]:
        for number in range(100):
            begun.append(number)
            yield Batch([ImageFile("missing.jpg")])

    with start_inspectors(100) as inspect:
        for ended, _ in zip(itertools.count(1), inspect(tmp_path, batches()), strict=False):
            assert len(begun) - ended < 6
    assert len(begun) == 100


@pytest.mark.usefixtures("processes")
def test_the_processes_end_if_the_rebuild_stops_in_the_middle(tmp_path: Path) -> None:
    before = list_children()
    files = make_files(tmp_path)
    with start_inspectors(100) as inspect:
        next(inspect(tmp_path, [Batch(files)] * 50))
        during = list_children()
    after = list_children()
    assert len(during - after) == 2
    assert len(after - before) <= 1, "multiprocessing has a process of its own"


def rebuild(root: Path) -> list[str]:
    return sorted(f"{finding.kind} {finding.path}" for finding in Rebuilding(root, NoProgress()).run())


def test_a_rebuild_with_several_processes_equals_one_in_this_process(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    album = AlbumFolder(tmp_path)
    album.flip(0)
    album.path(1).unlink()
    os.truncate(album.path(2), 100)
    album.thumbnail(3).unlink()
    other = shutil.copytree(album.root, tmp_path / "other", symlinks=True)
    found = rebuild(album.root)
    request.getfixturevalue("processes")
    assert rebuild(other) == found
    assert len(found) == 3
    with closing(Index(album.root / ".dog")) as index, closing(Index(other / ".dog")) as index_of_other:
        assert index_of_other.recent(10) == index.recent(10)
        assert index.count() == 4
        colors = {photo.id: photo.color for photo in album.photos}
        assert "" not in colors.values()
        assert [photo.color for photo in index.recent(10)] == [colors[photo.id] for photo in index.recent(10)]
    thumbnail = thumbnail_path(image_path(album.photos[3]))
    assert (other / thumbnail).read_bytes() == (album.root / thumbnail).read_bytes()


@pytest.mark.usefixtures("processes")
def test_a_killed_process_ends_the_rebuild_and_the_old_index_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    album = AlbumFolder(tmp_path)
    path = album.root / ".dog" / "index.sqlite3"
    before = path.read_bytes()
    receive = image_inspection._receive

    def kill_and_receive(batch: Batch, receive_outcomes: object) -> object:
        for child in list_children():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)
        receive(batch, receive_outcomes)  # type: ignore[arg-type]
        return receive(batch, receive_outcomes)  # type: ignore[arg-type]

    monkeypatch.setattr(image_inspection, "_receive", kill_and_receive)
    with pytest.raises(StorageError, match="process that inspects photos was killed"):
        rebuild(album.root)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.glob("index.*") if "old" not in each.name] == ["index.sqlite3"]
