"""Links and syncs of names, also on file systems that lack them."""

import errno
import os
from pathlib import Path

import pytest

from dog.files import link_new, sync_folder


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Simulate a disk without hard links."""

    def refuse(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(source), None, str(target))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("number", [None, errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_link_new_takes_a_free_name_and_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    if number is not None:
        refuse_links(monkeypatch, number)
    temp_path, path = tmp_path / "temporary", tmp_path / "photo"
    temp_path.write_text("whole")
    link_new(temp_path, path)
    assert path.read_text() == "whole"
    temp_path.unlink(missing_ok=True)
    temp_path.write_text("another")
    with pytest.raises(OSError, match="photo"):
        link_new(temp_path, path)
    assert (path.read_text(), temp_path.read_text()) == ("whole", "another")


def test_link_new_raises_other_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_links(monkeypatch, errno.EIO)
    (tmp_path / "temporary").touch()
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        link_new(tmp_path / "temporary", tmp_path / "photo")
    assert not (tmp_path / "photo").exists()


def test_sync_folder_accepts_a_file_system_without_folder_sync() -> None:
    folder = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        os.fsync(folder)
    os.close(folder)
    sync_folder(Path("/proc"))


def test_sync_folder_raises_for_a_missing_folder(tmp_path: Path) -> None:
    sync_folder(tmp_path)
    for path in tmp_path / "nowhere", Path(__file__):
        with pytest.raises(OSError, match=path.name):
            sync_folder(path)
