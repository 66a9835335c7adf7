"""A rebuild in a process that is killed: no data of the old index is lost."""

import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dog.snapshots import Snapshot
from dog.snapshots.index import Index
from dog.snapshots.lock import IndexUnavailable
from dog.snapshots.store import BlockingStore
from dog.snapshots.verify import Verification
from tests.support.albums import save
from tests.support.module_process import start_module
from tests.support.rebuilding_process import NoProgress, rebuild, start
from tests.support.saving_process import MOMENT
from tests.support.server_process import ROOT

WHOLE = ["index.sqlite3"]


class KilledAlbum:
    """An album whose server was killed (see support/rebuilding_process.py)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        assert run("fill", root)[1] == -signal.SIGKILL
        assert (root / ".dog" / "index.sqlite3-wal").stat().st_size > 0  # only it has the decisions
        copy = root.with_name("for its content")
        shutil.copytree(root, copy)
        self.known = read(copy)
        assert [photo.pinned for photo in self.known[0]] == [False, False, True]


def run(kind: str, *folders: Path) -> tuple[str, int]:
    """Run support/rebuilding_process.py. Return its output and its status."""
    process = start_module(
        "tests.support.rebuilding_process", kind, *map(str, folders), cwd=ROOT, stdout=subprocess.PIPE
    )
    return process.communicate(timeout=60)[0].decode(), process.wait()


IndexContent = tuple[list[Snapshot], object, object, object, int]


def read(root: Path) -> IndexContent:
    """Return the index's photos, removal, share link, secret and last capture."""
    with closing(Index(root / ".dog" / "index.sqlite3")) as index:
        [removed] = index._database.execute("SELECT * FROM removed").fetchall()
        [share] = index._database.execute("SELECT * FROM shares").fetchall()
        [secret] = index._database.execute("SELECT * FROM secret").fetchall()
        return index.recent(10), removed, share, secret, index.last_capture()


@pytest.fixture
def killed(tmp_path: Path) -> KilledAlbum:
    return KilledAlbum(tmp_path / "album")


def verify(root: Path) -> list[str]:
    return [finding.kind for finding in Verification(root, NoProgress()).run()]


def list_indexes(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".dog").iterdir() if path.name.startswith("index"))


def count_kept(root: Path) -> int:
    damaged = root / ".dog" / "damaged"
    return len(list(damaged.iterdir())) if damaged.exists() else 0


def kill_at_each_step(act: str, album: Path, folder: Path) -> list[Path]:
    output, status = run(act, album, folder)
    assert status == 0
    return [Path(line) for line in output.splitlines()]


def check_finished_by_either(killed: KilledAlbum, roots: list[Path]) -> None:
    for root in roots:
        unfinished = "index.old.sqlite3" in list_indexes(root)
        for finish in start, rebuild:
            copy = root.with_name(f"{root.name} {finish.__name__}")
            shutil.copytree(root, copy)
            if unfinished:
                with pytest.raises(IndexUnavailable, match=r"a rebuild did not finish\. Run `dog album rebuild`"):
                    verify(copy)
            else:
                assert verify(copy) == []
            finish(copy)
            assert read(copy) == killed.known, f"killed before call {root.name}, finished by {finish.__name__}"
            assert list_indexes(copy) == WHOLE
            kept = count_kept(copy)
            start(copy)
            assert count_kept(copy) == kept, "the next start uses the same index"
            assert verify(copy) == []
            assert read(copy) == killed.known


def test_a_rebuild_killed_at_any_step_is_finished_by_the_next_rebuild_or_start(
    killed: KilledAlbum, tmp_path: Path
) -> None:
    roots = kill_at_each_step("rebuild", killed.root, tmp_path / "killed")
    assert len(roots) > 20
    unfinished = ["index.old.sqlite3" in list_indexes(root) for root in roots]
    first = unfinished.index(True)
    assert unfinished == [False] * first + [True] * sum(unfinished) + [False] * (len(roots) - first - sum(unfinished))
    assert 0 < first < first + sum(unfinished) < len(roots)
    check_finished_by_either(killed, roots)
    assert [count_kept(root) for root in (roots[0], roots[-1])] == [0, 1]


def test_a_kill_while_the_index_is_set_aside_loses_none_of_its_files(killed: KilledAlbum, tmp_path: Path) -> None:
    """The kill may come between two of the files."""
    roots = kill_at_each_step("set_aside", killed.root, tmp_path / "killed")
    found = [list_indexes(root) for root in roots]
    assert [name for name in found if "index.old.sqlite3" in name and "index.sqlite3-wal" in name]
    check_finished_by_either(killed, roots)


@pytest.mark.parametrize("act", ["rebuild", "start"])
def test_finishing_a_killed_rebuild_may_be_killed_too(killed: KilledAlbum, tmp_path: Path, act: str) -> None:
    half_made = [
        root
        for root in kill_at_each_step("rebuild", killed.root, tmp_path / "killed")
        if {"index.old.sqlite3", "index.sqlite3-wal"} <= set(list_indexes(root))
        and (root / ".dog" / "index.sqlite3-wal").stat().st_size > 0
    ]
    check_finished_by_either(killed, kill_at_each_step(act, half_made[0], tmp_path / "again"))


@pytest.mark.parametrize("finish", [start, rebuild])
def test_leftover_sqlite_files_of_an_older_index_are_not_read_into_the_next(
    killed: KilledAlbum, finish: Callable[[Path], object]
) -> None:
    private = killed.root / ".dog"
    older = private / "index.old.sqlite3-wal"
    shutil.copy(private / "index.sqlite3-wal", older)
    start(killed.root)
    with closing(BlockingStore(killed.root)) as album:
        album.open()
        save(album, MOMENT)
        with album._use_index() as index, index.facts.synced_transaction():
            index.facts.set_pinned(killed.known[0][0].id, True)
    known = read(killed.root)
    assert known != killed.known
    if finish is start:
        with closing(Index(private / "index.sqlite3")) as index:
            index._database.execute("PRAGMA user_version = 99")
    finish(killed.root)
    assert read(killed.root) == known
    assert list_indexes(killed.root) == WHOLE


def test_a_rebuild_reports_the_path_of_the_intact_old_index(killed: KilledAlbum) -> None:
    aside = rebuild(killed.root).aside
    assert aside is not None
    assert aside.parent == killed.root / ".dog" / "damaged"
    with closing(Index(aside)) as old:
        assert old.recent(10) == killed.known[0]
    (killed.root / ".dog" / "index.sqlite3").unlink()
    rebuilding = rebuild(killed.root)
    assert (rebuilding.aside, rebuilding.photos, rebuilding.carried) == (None, 3, 0)
