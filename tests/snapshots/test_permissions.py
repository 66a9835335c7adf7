"""Permissions of private files, on disks with and without them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dog.files import restrict_to_owner
from tests.support.accounts import add_user
from tests.support.disks import mount_without_permissions, unmount
from tests.support.server_process import ServerProcess


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk whose files everybody can read, whatever their mode is."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount_without_permissions(tmp_path / "disk.ntfs", folder)
    yield folder
    unmount(folder)


def test_a_start_on_a_disk_without_permissions_warns_and_claims_nothing(disk: Path) -> None:
    add_user(disk, "ada", "manage")
    server = ServerProcess("--auth", cwd=disk)
    try:
        server.start()
        assert server.stop() == 0
    finally:
        server.kill()
    for path in disk / "snapshots/.dog", disk / "snapshots/.dog/access.sqlite3":
        assert path.stat().st_mode & 0o077
        assert server.stderr.count(f"Other users can read {path}. Its file system does not keep permissions") == 1
    assert "permissions are now" not in server.stderr


@pytest.mark.parametrize("mode", [0o600, 0o700])
def test_permissions_of_other_users_are_removed_with_one_warning(
    mode: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "private"
    path.touch()
    path.chmod(0o644)
    for _ in range(2):
        restrict_to_owner(path, mode)
        assert path.stat().st_mode & 0o777 == mode
    assert caplog.messages == [f"Other users could read {path}. Its permissions are now {mode:04o}."]
