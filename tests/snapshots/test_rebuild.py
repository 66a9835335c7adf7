"""Durable facts survive a deleted index, damage, old versions and kills."""

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from dog.errors import StartError
from dog.snapshots import Snapshot, facts_file
from dog.snapshots.index import Index
from dog.snapshots.lock import IndexUnavailable
from dog.snapshots.names import image_path
from dog.snapshots.store import BlockingStore
from dog.snapshots.verify import Verification
from tests.support.albums import ORIGIN, save
from tests.support.index_files import FACTS_DAMAGES, make_facts_later, make_version_3, overwrite_page
from tests.support.module_process import start_module
from tests.support.rebuilding_process import NoProgress, rebuild, start
from tests.support.saving_process import MOMENT
from tests.support.server_process import ROOT

FILES = ["facts.sqlite3", "index.old.sqlite3", "index.sqlite3"]


class KilledAlbum:
    """An album whose server was killed (see support/rebuilding_process.py)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.private = root / ".dog"
        assert run("fill", root)[1] == -signal.SIGKILL
        assert (self.private / "facts.sqlite3-wal").stat().st_size > 0  # only it has the decisions
        copy = root.with_name("for its content")
        shutil.copytree(root, copy, symlinks=True)
        self.known = read(copy)
        assert [photo.pinned for photo in self.known[0]] == [False, False, True]


def run(kind: str, *folders: Path) -> tuple[str, int]:
    """Run support/rebuilding_process.py. Return its output and its status."""
    process = start_module(
        "tests.support.rebuilding_process", kind, *map(str, folders), cwd=ROOT, stdout=subprocess.PIPE
    )
    return process.communicate(timeout=60)[0].decode(), process.wait()


def read_photos(index: Index) -> list[Snapshot]:
    """Return the photos without colours, which those of version 3 do not have."""
    return [replace(photo, color="") for photo in index.recent(10)]


Content = tuple[list[Snapshot], object, object, object, int]


def read(root: Path) -> Content:
    """Return an album's photos, removal, share link, secret and last capture."""
    with closing(Index(root / ".dog")) as index:
        [removed] = index._database.execute("SELECT * FROM removed").fetchall()
        [share] = index._database.execute("SELECT * FROM shares").fetchall()
        [secret] = index._database.execute("SELECT * FROM secret").fetchall()
        return read_photos(index), removed, share, secret, index.last_capture()


@pytest.fixture
def killed(tmp_path: Path) -> KilledAlbum:
    return KilledAlbum(tmp_path / "album")


@pytest.fixture
def of_version_3(tmp_path: Path) -> KilledAlbum:
    """An album as an earlier version left it, whose facts are in the index."""
    album = KilledAlbum(tmp_path / "old album")
    start(album.root)
    make_version_3(album.private)
    return album


def verify(root: Path) -> list[str]:
    return [finding.kind for finding in Verification(root, NoProgress()).run()]


def list_databases(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".dog").iterdir() if ".sqlite3" in path.name)


def list_damaged(root: Path) -> list[str]:
    damaged = root / ".dog" / "damaged"
    return sorted(path.name for path in damaged.iterdir()) if damaged.exists() else []


def kill_at_each_step(act: str, album: Path, folder: Path) -> list[Path]:
    output, status = run(act, album, folder)
    assert status == 0
    return [Path(line) for line in output.splitlines()]


def check_finished_by_either(known: Content, roots: list[Path]) -> None:
    for root in roots:
        for finish in start, rebuild:
            copy = root.with_name(f"{root.name} {finish.__name__}")
            shutil.copytree(root, copy, symlinks=True)
            finish(copy)
            assert read(copy) == known, f"killed before call {root.name}, finished by {finish.__name__}"
            assert list_databases(copy) == FILES
            kept = list_damaged(copy)
            start(copy)
            assert list_damaged(copy) == kept, "the next start uses the same files"
            assert verify(copy) == []
            assert read(copy) == known


def test_a_rebuild_killed_at_any_step_is_finished_by_the_next_rebuild_or_start(
    killed: KilledAlbum, tmp_path: Path
) -> None:
    roots = kill_at_each_step("rebuild", killed.root, tmp_path / "killed")
    assert len(roots) > 12
    for root in roots:
        assert "index.sqlite3" in list_databases(root), "the old index stays until the new one replaces it"
    assert [root for root in roots if "index.unfinished.sqlite3" in list_databases(root)]
    check_finished_by_either(killed.known, roots)
    assert [each for root in roots for each in list_damaged(root)] == []


@pytest.mark.parametrize("act", ["start", "rebuild"])
def test_a_migration_killed_at_any_step_is_finished_by_the_next_rebuild_or_start(
    of_version_3: KilledAlbum, tmp_path: Path, act: str
) -> None:
    roots = kill_at_each_step(act, of_version_3.root, tmp_path / "killed")
    found = [set(list_databases(root)) for root in roots]
    for name in ("facts.unfinished.sqlite3", "facts.complete.sqlite3", "facts.sqlite3", "index.old.sqlite3"):
        assert [files for files in found if name in files], name
    check_finished_by_either(of_version_3.known, roots)


@pytest.mark.parametrize("act", ["start", "rebuild"])
def test_a_repair_of_facts_killed_at_any_step_is_finished_by_the_next_rebuild_or_start(
    killed: KilledAlbum, tmp_path: Path, act: str
) -> None:
    start(killed.root)
    FACTS_DAMAGES["with a foreign identity"](killed.private)
    roots = kill_at_each_step(act, killed.root, tmp_path / "killed")
    found = [set(list_databases(root)) for root in roots]
    assert [files for files in found if "facts.complete.sqlite3" in files and "facts.sqlite3" not in files]
    check_finished_by_either(killed.known, roots)
    assert [name.partition(".")[2] for name in list_damaged(roots[-1])] == ["facts.sqlite3"]


def test_a_removal_killed_at_any_step_is_complete_or_absent(killed: KilledAlbum, tmp_path: Path) -> None:
    roots = kill_at_each_step("remove", killed.root, tmp_path / "killed")
    counts = []
    for root in roots:
        with closing(BlockingStore(root)) as album:
            album.open()
            counts.append(album.totals[0])
            pictures = [path for path in root.rglob("*.jpg") if ".dog" not in path.parts]
            assert len(pictures) == 2 * counts[-1], "an image and a thumbnail for each photo"
            for photo in killed.known[0]:
                removed = album.read(lambda index, id=photo.id: index.facts.find_removed(id))  # type: ignore[misc]
                assert (removed is None) == bool(counts[-1])
        assert verify(root) == []
    assert sorted(counts, reverse=True) == counts
    assert set(counts) == {0, 3}


# ---- the index is deleted, the facts are damaged


@pytest.mark.parametrize("finish", [start, rebuild])
def test_a_deleted_index_costs_nothing(killed: KilledAlbum, finish: Callable[[Path], object]) -> None:
    for path in killed.private.glob("index.sqlite3*"):
        path.unlink()
    finish(killed.root)
    assert read(killed.root) == killed.known
    assert list_damaged(killed.root) == []


@pytest.mark.parametrize("damage", FACTS_DAMAGES)
@pytest.mark.parametrize("finish", [start, rebuild])
def test_damaged_facts_are_repaired_and_what_can_be_read_is_kept(
    killed: KilledAlbum, damage: str, finish: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    start(killed.root)
    FACTS_DAMAGES[damage](killed.private)
    finish(killed.root)
    ids = [photo.id for photo in killed.known[0]]
    with closing(Index(killed.private)) as index:
        photos = read_photos(index)
        assert [photo.id for photo in photos] == ids
        if damage == "with a foreign identity":
            assert photos == killed.known[0]
        if damage == "damaged in the table of hashes":
            assert [photo.pinned for photo in photos] == [False, False, True]
        assert index.last_capture() >= 3
    if damage != "deleted":
        assert "facts.sqlite3" in caplog.text
    start(killed.root)
    assert verify(killed.root) in ([], ["taken"] * 3)
    assert verify(killed.root) == []


ROT = {
    "an id": "UPDATE saved SET id = CAST(x'ff61' AS TEXT) WHERE capture = 2",
    "a hash": "UPDATE saved SET sha256 = CAST(x'61ff' AS TEXT) WHERE capture = 2",
    "a quality": "UPDATE saved SET quality = CAST(x'7bff' AS TEXT) WHERE capture = 2",
    "the settings": "UPDATE settings SET text = CAST(x'ff7d' AS TEXT)",
    "a time": "UPDATE saved SET exposed_until = 9e30 WHERE capture = 2",
    "the highest number": "UPDATE highest SET capture = 'x'",
}


@pytest.mark.parametrize("statement", ROT.values(), ids=ROT)
@pytest.mark.parametrize("finish", [start, rebuild])
def test_a_wrong_bit_that_sqlite_does_not_notice_hides_no_photo(
    killed: KilledAlbum, statement: str, finish: Callable[[Path], object]
) -> None:
    start(killed.root)
    with closing(sqlite3.connect(killed.private / "facts.sqlite3", isolation_level=None)) as database:
        database.execute(statement)
    finish(killed.root)
    with closing(Index(killed.private)) as index:
        assert [(photo.id, photo.pinned) for photo in index.recent(10)] == [
            (photo.id, photo.pinned) for photo in killed.known[0]
        ]
        assert index.last_capture() >= 3
    start(killed.root)


@pytest.mark.parametrize("kind", ["text", "empty", "folder", "copy"])
def test_something_in_the_place_of_the_link_does_not_replace_the_facts(killed: KilledAlbum, kind: str) -> None:
    start(killed.root)
    link = killed.private / "index.old.sqlite3"
    link.unlink()
    if kind == "folder":
        link.mkdir()
    elif kind == "copy":
        shutil.copy(killed.private / "facts.sqlite3", link)
        with closing(sqlite3.connect(link, isolation_level=None)) as database:
            database.execute("DELETE FROM pins")
    else:
        link.write_text("facts.sqlite3" if kind == "text" else "")
    start(killed.root)
    assert read(killed.root) == killed.known
    assert link.is_symlink()


def test_a_folder_whose_name_is_not_utf_8_works(killed: KilledAlbum, tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"bad\xffname")
    start(killed.root)
    killed.root.rename(root)
    start(root)
    assert read(root) == killed.known


def test_new_settings_do_not_get_the_number_of_lost_ones(of_version_3: KilledAlbum) -> None:
    with closing(sqlite3.connect(of_version_3.private / "index.sqlite3", isolation_level=None)) as database:
        database.execute("DELETE FROM settings")
    with closing(BlockingStore(of_version_3.root)) as album:
        album.open()
        newest = save(album, MOMENT)
        photos = album.read(lambda index: index.recent(10))
    assert {photo.id: photo.origin.settings for photo in photos} == {
        **{photo.id: None for photo in of_version_3.known[0]},
        newest.id: ORIGIN.settings,
    }


def test_verify_refuses_if_the_facts_are_gone_and_a_start_hashes_again(killed: KilledAlbum) -> None:
    start(killed.root)
    (killed.private / "facts.sqlite3").unlink()
    with pytest.raises(IndexUnavailable, match=r"facts\.sqlite3' is gone, and the hashes with it\. Restore it"):
        verify(killed.root)
    start(killed.root)
    with closing(Index(killed.private)) as index:
        assert [photo.sha256 for photo in index.recent(10)] == [photo.sha256 for photo in killed.known[0]]


def test_a_removal_counts_if_the_index_fails_after_it(killed: KilledAlbum, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = killed.known[0][0]
    with closing(BlockingStore(killed.root)) as album:
        album.open()
        for each in killed.known[0]:
            album.scaled.add(f"{each.id}-640.jpg", b"a copy")
        with monkeypatch.context() as patched:
            patched.setattr(Index, "forget", fail)
            assert [each.id for each in album.remove([photo.id])] == [photo.id]
        assert album.read(lambda index: index.get(photo.id)) is None
        assert album.totals[0] == 2
        assert not (killed.root / image_path(photo)).exists()
        copies = {path.name for path in (killed.private / "scaled").iterdir()}
        assert copies == {f"{each.id}-640.jpg" for each in killed.known[0][1:]}


def fail(_index: Index, _snapshots: object) -> None:
    raise sqlite3.OperationalError("made up")


def test_facts_of_a_later_version_are_refused(killed: KilledAlbum) -> None:
    start(killed.root)
    make_facts_later(killed.private)
    before = (killed.private / "facts.sqlite3").read_bytes()
    with pytest.raises(StartError, match=r"written by a later version of D\.O\.G\. Install that version"):
        start(killed.root)
    assert (killed.private / "facts.sqlite3").read_bytes() == before


def test_facts_that_are_gone_are_reported(killed: KilledAlbum, caplog: pytest.LogCaptureFixture) -> None:
    start(killed.root)
    (killed.private / "facts.sqlite3").unlink()
    start(killed.root)
    assert "facts.sqlite3 is gone. Pins, deletions, share links and hashes are lost." in caplog.text
    assert len(list((killed.root).rglob("*.thumbnail.jpg"))) == 3


# ---- an earlier version opens the album again


def open_with_version_3(album: KilledAlbum) -> None:
    """Do what an earlier version does: copy the facts, and move the link away."""
    start(album.root)
    assert (album.private / "index.old.sqlite3").readlink() == Path("facts.sqlite3")
    kept = (album.private / "facts.sqlite3").read_bytes()
    make_version_3(album.private)
    (album.private / "facts.sqlite3").write_bytes(kept)


def test_facts_that_an_earlier_version_changed_are_taken_over_again(of_version_3: KilledAlbum) -> None:
    open_with_version_3(of_version_3)
    with closing(sqlite3.connect(of_version_3.private / "index.sqlite3", isolation_level=None)) as index:
        index.execute("DELETE FROM pins")
        index.execute("INSERT INTO pins VALUES (?)", (of_version_3.known[0][0].id,))
    start(of_version_3.root)
    photos, *rest = read(of_version_3.root)
    assert [photo.pinned for photo in photos] == [True, False, False]
    assert tuple(rest) == of_version_3.known[1:]
    assert [name.partition(".")[2] for name in list_damaged(of_version_3.root)] == ["facts.sqlite3"]


def test_decisions_in_an_earlier_version_after_a_killed_migration_count(
    of_version_3: KilledAlbum, tmp_path: Path
) -> None:
    """The earlier version opens the album while the complete facts wait."""
    for root in kill_at_each_step("start", of_version_3.root, tmp_path / "killed"):
        if "facts.complete.sqlite3" not in list_databases(root):
            continue
        with closing(sqlite3.connect(root / ".dog" / "index.sqlite3", isolation_level=None)) as index:
            index.execute("DELETE FROM pins")
        start(root)
        with closing(Index(root / ".dog")) as index:
            assert [photo.pinned for photo in index.recent(10)] == [False, False, False]


def test_facts_restored_after_a_killed_repair_count(killed: KilledAlbum, tmp_path: Path) -> None:
    start(killed.root)
    backup = (killed.private / "facts.sqlite3").read_bytes()
    (killed.private / "facts.sqlite3").write_bytes(b"junk" * 1000)
    for root in kill_at_each_step("start", killed.root, tmp_path / "killed"):
        (root / ".dog" / "facts.sqlite3").write_bytes(backup)
        start(root)
        assert read(root) == killed.known


def test_facts_of_an_earlier_version_that_can_not_be_copied_are_left_there(
    of_version_3: KilledAlbum, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (of_version_3.private / "index.sqlite3").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(facts_file, "COPIES", [("pins", "id", "INSERT INTO nowhere VALUES (?)")])
        with pytest.raises(StartError, match=r"can't be taken from .* no such table: nowhere"):
            start(of_version_3.root)
    assert (of_version_3.private / "index.sqlite3").read_bytes() == before
    start(of_version_3.root)
    assert read(of_version_3.root) == of_version_3.known


def test_without_symbolic_links_an_old_index_does_not_replace_newer_facts(
    of_version_3: KilledAlbum, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = (of_version_3.private / "index.sqlite3").read_bytes()
    monkeypatch.setattr(os, "symlink", refuse_links)
    start(of_version_3.root)
    with closing(Index(of_version_3.private)) as index, index.facts.synced_transaction():
        index.facts.set_pinned(of_version_3.known[0][0].id, True)
    known = read(of_version_3.root)
    (of_version_3.private / "index.sqlite3").write_bytes(old)
    start(of_version_3.root)
    assert read(of_version_3.root) == known


def refuse_links(*_arguments: object, **_options: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_rebuild_that_an_earlier_version_did_not_finish_loses_nothing(of_version_3: KilledAlbum) -> None:
    private = of_version_3.private
    (private / "index.sqlite3").rename(private / "index.old.sqlite3")
    start(of_version_3.root)
    assert read(of_version_3.root) == of_version_3.known
    assert list_databases(of_version_3.root) == FILES


def test_a_damaged_index_of_an_earlier_version_loses_only_what_can_not_be_read(of_version_3: KilledAlbum) -> None:
    overwrite_page(of_version_3.private / "index.sqlite3", "removed")
    start(of_version_3.root)
    with closing(Index(of_version_3.private)) as index:
        assert read_photos(index) == of_version_3.known[0]
        assert index.facts.secret() == of_version_3.known[3][0]  # type: ignore[index]
    assert [name.partition(".")[2] for name in list_damaged(of_version_3.root)] == ["index.sqlite3"]
