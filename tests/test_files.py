"""Names on the disk: none is given twice, and a file system that can't sync its folders is no failure."""

import errno
import os
from pathlib import Path

import pytest

from dog.files import link_new, sync_folder


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As a disk without hard links does; none can be mounted here without further programs."""

    def refuse(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(source), None, str(target))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("number", [None, errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_a_file_gets_a_name_that_is_free_and_never_that_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    if number is not None:
        refuse_links(monkeypatch, number)
    beside, path = tmp_path / "beside", tmp_path / "photo"
    beside.write_text("whole")
    link_new(beside, path)
    assert path.read_text() == "whole"
    beside.unlink(missing_ok=True)
    beside.write_text("another")
    with pytest.raises(OSError, match="photo"):
        link_new(beside, path)
    assert (path.read_text(), beside.read_text()) == ("whole", "another")


def test_another_failure_of_a_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_links(monkeypatch, errno.EIO)
    (tmp_path / "beside").touch()
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        link_new(tmp_path / "beside", tmp_path / "photo")
    assert not (tmp_path / "photo").exists()


def test_a_file_system_that_can_not_sync_its_folders_is_trusted() -> None:
    folder = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        os.fsync(folder)
    os.close(folder)
    sync_folder(Path("/proc"))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    sync_folder(tmp_path)
    for path in tmp_path / "nowhere", Path(__file__):
        with pytest.raises(OSError, match=path.name):
            sync_folder(path)
