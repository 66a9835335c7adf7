"""Exit statuses of a start that fails: 2 for a person, 75 for another try."""

import contextlib
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dog.auth import accounts_path
from dog.snapshots.lock import Lock
from tests.support.accounts import add_user
from tests.support.authority import Authority
from tests.support.disks import run_mount, unmount
from tests.support.server_process import ROOT, ServerProcess, run_dog

TEMPORARY = 75
PERMANENT = 2


def serve(folder: Path, *arguments: str, problem: str = "") -> int:
    """Start the service, which must fail with one line. Return its status."""
    ended = run_dog("serve", "--port", "0", *arguments, cwd=folder)
    assert ended.stderr.startswith("dog: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert problem in ended.stderr
    return ended.returncode


@pytest.mark.parametrize(
    "arguments",
    [
        ["--open", "--host", "192.0.2.77"],
        ["--open", "--host", "2001:db8::77"],
        ["--open", "--host", "not-there-yet.invalid"],
        ["--camera", "script:/mnt/not-mounted/camera.sh"],
        ["--camera", "rtsp://user@192.0.2.77/", "--password-file", "/run/not-there-yet/password"],
        ["--default-picture", "not-there-yet.png"],
        ["--log-file", "not-mounted/server.log"],
        ["--tls-certificate", "not-there-yet.pem"],
    ],
)
def test_a_start_whose_surroundings_are_not_ready_ends_with_status_75(arguments: list[str], tmp_path: Path) -> None:
    assert serve(tmp_path, *arguments) == TEMPORARY


def test_a_used_port_ends_with_status_75(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert serve(tmp_path, "--port", str(other.getsockname()[1])) == TEMPORARY


def test_a_locked_folder_ends_with_status_75_and_a_command_with_2(tmp_path: Path) -> None:
    private = tmp_path / "snapshots" / ".dog"
    private.parent.mkdir()
    private.mkdir(mode=0o700)
    lock = Lock(private.parent, private / "lock")
    try:
        assert serve(tmp_path) == TEMPORARY
        assert run_dog("album", "verify", cwd=tmp_path).returncode == PERMANENT
    finally:
        lock.release()


def test_a_database_in_use_ends_with_status_75(tmp_path: Path) -> None:
    add_user(tmp_path, "ada", "manage")
    with contextlib.closing(sqlite3.connect(accounts_path(tmp_path / "snapshots"))) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert serve(tmp_path, "--auth", problem="mount an SMB share with nobrl") == TEMPORARY


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    run_mount("-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(folder))
    yield folder
    unmount(folder)


def test_a_folder_that_must_be_a_mount_point_ends_with_status_75_and_stays_empty(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    arguments = ("--snapshots", str(disk), "--snapshots-mount", "true")
    assert serve(tmp_path, *arguments, problem=f"{str(disk)!r} is not a mount point. Mount its disk") == TEMPORARY
    assert list(disk.iterdir()) == []
    assert serve(tmp_path, *arguments[2:], "--snapshots", "missing/disk") == TEMPORARY
    assert not (tmp_path / "missing").exists()
    run_mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk))
    server = ServerProcess(*arguments, cwd=tmp_path)
    try:
        server.start()
        assert server.stop() == 0
    finally:
        server.kill()
        unmount(disk)


@pytest.mark.parametrize(("folder", "is_advised"), [("/proc/photos", True), ("state/file/photos", False)])
def test_under_systemd_the_error_names_what_the_unit_needs(folder: str, is_advised: bool, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/file").touch()
    ended = run_dog(
        "serve", "--snapshots", folder, "--port", "0", cwd=tmp_path, env={"STATE_DIRECTORY": str(tmp_path / "state")}
    )
    advice = f"The unit needs ReadWritePaths={folder} and RequiresMountsFor={folder} (systemctl edit dog)."
    assert (advice in ended.stderr) == is_advised
    assert ended.stderr.count("\n") == 1


def test_a_read_only_disk_ends_with_status_75(read_only: Path, tmp_path: Path) -> None:
    assert serve(tmp_path, "--snapshots", str(read_only / "photos")) == TEMPORARY


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_without_its_disk_a_mount_point_of_root_ends_with_status_75(tmp_path: Path) -> None:
    """The service runs as another user, who must not write there."""
    tmp_path.chmod(0o755)
    (tmp_path / "disk").mkdir(mode=0o755)
    program = "import os; os.setuid(65534)\nfrom dog.cli import main\nmain(prog_name='dog')"
    arguments = ("serve", "--port", "0", "--log-file", "-", "--snapshots", "disk/photos")
    ended = run_dog(*arguments, cwd=tmp_path, program=program)
    assert "Permission denied" in ended.stderr
    assert ended.returncode == TEMPORARY


def write_file_for_folder(folder: Path) -> list[str]:
    (folder / "photos").write_text("")
    return ["--snapshots", "photos"]


def write_program_without_permission(folder: Path) -> list[str]:
    (folder / "camera.sh").write_text("#!/bin/sh\n")
    return ["--camera", "script:./camera.sh"]


def write_certificate_for_another_key(folder: Path) -> list[str]:
    for name in ("one", "two"):
        (folder / name).mkdir()
        Authority(folder / name).issue()
    return ["--tls-certificate", "one/certificate.pem", "--tls-key", "two/key.pem"]


def write_text_as_picture(folder: Path) -> list[str]:
    (folder / "first.png").write_text("not an image")
    return ["--default-picture", "first.png"]


@pytest.mark.parametrize(
    "prepare",
    [
        lambda _: ["--port", "99999"],
        lambda _: ["--host", "a..b", "--open"],
        lambda _: ["--camera", "script:"],
        lambda _: ["--host", "0.0.0.0"],
        write_file_for_folder,
        write_program_without_permission,
        write_text_as_picture,
        write_certificate_for_another_key,
    ],
)
def test_a_start_that_only_a_person_can_help_ends_with_status_2(
    prepare: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    assert serve(tmp_path, *prepare(tmp_path)) == PERMANENT


def test_the_unit_starts_again_after_each_status_but_2() -> None:
    unit = (ROOT / "deploy" / "dog.service").read_text().splitlines()
    assert "Restart=on-failure" in unit
    assert [line for line in unit if line.startswith("RestartPreventExitStatus")] == ["RestartPreventExitStatus=2"]
