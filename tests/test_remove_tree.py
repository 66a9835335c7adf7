"""Removing folders that other programs filled, and nothing else."""

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dog import remove_tree as module
from dog.remove_tree import remove_tree
from tests.support.files import make_deep_folders

NOBODY = 65534


@pytest.fixture
def outside_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with its own modes, which must not change."""
    folder = tmp_path / "victim"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_bytes(b"precious")
    (folder / "inner" / "file").chmod(0o640)
    (folder / "inner").chmod(0o550)
    folder.chmod(0o511)
    before = describe(folder)
    yield folder
    assert describe(folder) == before
    folder.chmod(0o755)
    (folder / "inner").chmod(0o755)


def describe(folder: Path) -> list[tuple[str, int, bytes]]:
    paths = [folder, *sorted(folder.rglob("*"))]
    return [(str(path), path.lstat().st_mode, path.read_bytes() if path.is_file() else b"") for path in paths]


@pytest.mark.usefixtures("deep")
def test_a_tree_of_3000_levels_is_removed(tmp_path: Path) -> None:
    make_deep_folders(tmp_path / "deep", 3000, Path("file").touch)
    assert remove_tree(tmp_path / "deep") == []
    assert list(tmp_path.iterdir()) == []


def test_20000_files_in_100_folders_are_removed(tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    for number in range(100):
        (wide / str(number)).mkdir(parents=True)
        for file in range(200):
            (wide / str(number) / str(file)).touch()
    descriptors = len(os.listdir("/proc/self/fd"))
    assert remove_tree(wide) == []
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_link_in_the_place_of_the_tree_is_removed_but_not_its_target(tmp_path: Path, outside_folder: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(outside_folder)
    assert remove_tree(link) == []
    assert not link.is_symlink()


def test_links_in_the_tree_are_removed_but_not_their_targets(tmp_path: Path, outside_folder: Path) -> None:
    inside = tmp_path / "tree" / "a" / "b"
    inside.mkdir(parents=True)
    for place in inside, inside.parent, tmp_path / "tree":
        (place / "folder").symlink_to(outside_folder)
        (place / "relative").symlink_to(os.path.relpath(outside_folder, place))
        (place / "file").symlink_to(outside_folder / "inner" / "file")
        (place / "dangling").symlink_to("nowhere")
        (place / "round").symlink_to(".")
    assert remove_tree(tmp_path / "tree") == []
    assert not (tmp_path / "tree").exists()


def test_a_folder_swapped_for_a_link_is_not_entered(
    tmp_path: Path, outside_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The swap happens between listing the folder and opening it."""
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    list_folder = module._list_folder

    def list_and_swap(folder: int) -> tuple[list[str], list[str]]:
        found = list_folder(folder)
        if found[1]:
            (tree / "inner").rmdir()
            (tree / "inner").symlink_to(outside_folder)
        return found

    monkeypatch.setattr(module, "_list_folder", list_and_swap)
    assert remove_tree(tree) == [tree / "inner"]
    assert (tree / "inner").is_symlink()


def test_nothing_outside_is_removed_if_a_folder_is_moved_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "last").touch()
    (elsewhere / "inner").mkdir(parents=True)
    (elsewhere / "file").write_bytes(b"precious")
    (elsewhere / "inner").rmdir()
    list_folder = module._list_folder

    def list_and_move(folder: int) -> tuple[list[str], list[str]]:
        found = list_folder(folder)
        if "last" in found[0]:
            (tree / "inner").rename(elsewhere / "inner")
        return found

    monkeypatch.setattr(module, "_list_folder", list_and_move)
    assert remove_tree(tree) == [tree / "inner"]
    assert (elsewhere / "inner").is_dir()
    assert (elsewhere / "file").read_bytes() == b"precious"


def test_remove_tree_removes_a_file_or_pipe_and_accepts_a_missing_path(tmp_path: Path) -> None:
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.touch()
    os.mkfifo(pipe)
    for path in file, pipe, tmp_path / "nothing":
        assert remove_tree(path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def unprivileged_folder() -> Iterator[Path]:
    """A folder that a user without rights owns. Root becomes that user."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, NOBODY, -1)
        os.seteuid(NOBODY)
    yield folder
    if root:
        os.seteuid(0)
    shutil.rmtree(folder)


@pytest.mark.parametrize("mode", [0o000, 0o200, 0o400, 0o500])
def test_folders_without_permissions_are_opened_and_removed(unprivileged_folder: Path, mode: int) -> None:
    tree = unprivileged_folder / "tree"
    for closed in tree / "a" / "b", tree / "c", tree:
        (closed / "inside").mkdir(parents=True)
        (closed / "inside" / "file").touch()
    for closed in tree / "a" / "b", tree / "c", tree:
        closed.chmod(mode)
    with pytest.raises(PermissionError):
        (tree / "new").touch()
    assert remove_tree(tree) == []
    assert list(unprivileged_folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_empty_folders_of_another_user_are_removed(unprivileged_folder: Path) -> None:
    tree = unprivileged_folder / "tree"
    inner = tree / "a" / "b" / "others"
    inner.mkdir(parents=True)
    os.seteuid(0)
    os.chown(inner, 0, 0)
    os.seteuid(NOBODY)
    assert remove_tree(tree) == []
    assert list(unprivileged_folder.iterdir()) == []


def test_the_permissions_of_a_links_target_do_not_change(unprivileged_folder: Path) -> None:
    closed, tree = unprivileged_folder / "closed", unprivileged_folder / "tree"
    closed.mkdir(mode=0o000)
    tree.mkdir()
    (tree / "link").symlink_to(closed)
    tree.chmod(0o000)
    assert remove_tree(tree) == []
    assert stat.S_IMODE(closed.stat().st_mode) == 0


@pytest.fixture
def immutable_file(tmp_path: Path) -> Iterator[Path]:
    """A file in a tree that even root can't remove."""
    file = tmp_path / "tree" / "a" / "immovable"
    (file.parent / "beside").mkdir(parents=True)
    file.touch()
    made = os.geteuid() == 0 and shutil.which("chattr")
    if not made or subprocess.run(["chattr", "+i", str(file)], capture_output=True, check=False).returncode:
        pytest.skip("no file can be made immutable here")
    yield file
    subprocess.run(["chattr", "-i", str(file)], check=True)


def test_a_file_that_can_not_be_removed_is_returned_and_the_rest_is_removed(
    tmp_path: Path, immutable_file: Path
) -> None:
    (tmp_path / "tree" / "b").mkdir()
    assert remove_tree(tmp_path / "tree") == [immutable_file]
    assert [path for path in sorted((tmp_path / "tree").rglob("*")) if path.is_file()] == [immutable_file]
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["a"]
    assert [path.name for path in immutable_file.parent.iterdir()] == ["immovable"]
    assert remove_tree(immutable_file) == [immutable_file]


def test_a_folder_with_a_read_only_parent_is_returned(unprivileged_folder: Path) -> None:
    tree = unprivileged_folder / "fixed" / "tree"
    tree.mkdir(parents=True)
    (tree / "file").touch()
    tree.parent.chmod(0o500)
    assert remove_tree(tree) == [tree]
    assert list(tree.iterdir()) == []
    tree.parent.chmod(0o700)
