"""`dog album backup` and restoring, and copies without a WAL."""

import datetime as dt
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dog.errors import DISK_FULL_MESSAGE
from dog.snapshots import Snapshot
from dog.snapshots.backup import BackupServer
from dog.snapshots.lock import Lock
from dog.snapshots.names import image_path
from tests.conftest import Serve
from tests.support.albums import FIRST, AlbumFolder
from tests.support.disks import fill_disk
from tests.support.examples import DOCUMENTS, make_dog, read_examples, use_dog
from tests.support.index_files import overwrite_page
from tests.support.module_process import ModuleProcess, start_module
from tests.support.server_process import ServerProcess, run_dog

PAUSED = """
import os, threading, time
from pathlib import Path
from dog.snapshots import backup

check = backup.BackupServer._check_wanted

def pause(server, request):
    check(server, request)
    Path("copying").touch()
    while not Path("go").exists():
        time.sleep(0.01)
        check(server, request)

backup.BackupServer._check_wanted = pause
from dog.cli import main
main(prog_name="dog")
"""
"""A server that pauses after the first step of a copy until the file `go` exists."""


AS_NOBODY = """
import difflib, os, dog.auth, dog.cli, {}
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
dog.cli.main(prog_name="dog")
"""
"""A program that runs dog as another user, after the imports, which this user may not be able to read."""


@pytest.fixture
def album(tmp_path: Path) -> AlbumFolder:
    return AlbumFolder(tmp_path)


@pytest.fixture
def paused(album: AlbumFolder) -> Iterator[ServerProcess]:
    """A running server that pauses in the middle of each copy."""
    server = ServerProcess("--camera", "test", "--dead-time", "0", cwd=album.folder, program=PAUSED)
    yield server.start()
    server.kill()


def wait_until(is_true: Callable[[], object], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def start_backup(album: AlbumFolder) -> ModuleProcess:
    """Start a backup by a paused server, and wait until it is copying."""
    process = album.start("backup", "-o", "b.tar", stderr=subprocess.PIPE)
    wait_until((album.folder / "copying").exists)
    return process


def incoming(album: AlbumFolder) -> list[str]:
    return [path.name for path in (album.root / ".dog" / "incoming").iterdir()]


def open_to_all(folder: Path) -> None:
    """Let other users reach the test's folder."""
    for each in (folder, *folder.parents):
        if each.owner() == "root" and not each.stat().st_mode & 0o001:
            each.chmod(0o755)


def request(url: str, method: str = "GET", body: bytes | None = None) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def press(server: ServerProcess) -> str:
    snapshot: str = request(f"{server.url}/api/captures", "POST", b'{"max_age":0}')["snapshot"]
    return snapshot


def decide(album: AlbumFolder) -> tuple[str, str]:
    """Pin, share and delete one photo each. Return the link and the key."""
    with album.opened() as archive:
        with archive._use_index() as index:
            with index.facts.synced_transaction():
                index.facts.set_pinned(album.photos[2].id, True)
            share = index.facts.share(album.photos[3].id, FIRST, FIRST + dt.timedelta(days=2))
            secret = index.facts.secret()
        archive.remove([album.photos[4].id])
    return share.id, secret.hex()


def read_all(album: AlbumFolder) -> tuple[list[Snapshot], int]:
    """Open an album as a start does, and return what it has."""
    with album.opened() as archive:
        return archive.read(lambda index: index.recent(10_000)), archive.last_capture


def restore(album: AlbumFolder, backup: str = "b.tar") -> AlbumFolder:
    """Restore the databases in a copy of the album's photos."""
    other = AlbumFolder.__new__(AlbumFolder)
    other.folder, other.photos = album.folder / f"restored-{time.monotonic_ns()}", album.photos
    other.root = other.folder / "snapshots"
    shutil.copytree(album.root, other.root, ignore=shutil.ignore_patterns(".dog"))
    subprocess.run(["tar", "-xf", album.folder / backup, "-C", other.root], check=True)
    return other


# ---- without a server


def test_a_backup_has_all_that_the_databases_hold_and_only_its_owner_reads_it(album: AlbumFolder) -> None:
    share, secret = decide(album)
    assert run_dog("token", "add", "ada", "--role", "view", cwd=album.folder).returncode == 0
    before = read_all(album)
    made = album.run("backup", "-o", "b.tar")
    assert (made.returncode, made.stdout) == (0, "")
    assert stat.S_IMODE((album.folder / "b.tar").stat().st_mode) == 0o600
    with tarfile.open(album.folder / "b.tar") as tar:
        modes = {member.name: member.mode for member in tar if member.isdir() or member.size}
        owners = {(member.uid, member.gid) for member in tar}
    names = ("access.sqlite3", "facts.sqlite3", "index.sqlite3")
    assert modes == {".dog": 0o700} | {f".dog/{name}": 0o600 for name in names}
    status = (album.root / ".dog").stat()
    assert owners == {(status.st_uid, status.st_gid)}
    assert incoming(album) == []
    other = restore(album)
    assert read_all(other) == before
    with other.indexed() as index:
        assert index.facts.secret().hex() == secret
        assert [each.id for each in index.facts.shares_of(album.photos[3].id)] == [share]
        assert index.facts.find_removed(album.photos[4].id) is not None
    assert "ada" in run_dog("token", "list", cwd=other.folder).stdout


def test_a_restored_backup_ignores_what_a_killed_server_left(album: AlbumFolder, serve: Serve) -> None:
    assert album.run("backup", "-o", "b.tar").returncode == 0
    server = serve("--camera", "test", "--dead-time", "0")
    photos = set()

    def leave_log() -> int:
        """Press until the log has something: the check after the start empties it."""
        photos.add(press(server))
        return (album.root / ".dog" / "facts.sqlite3-wal").stat().st_size

    wait_until(leave_log)
    server.kill()
    subprocess.run(["tar", "-xf", "b.tar", "-C", "snapshots"], check=True, cwd=album.folder)
    ended = album.run("verify")
    assert (ended.stdout.count("was not in the index; it was added"), ended.returncode) == (len(photos), 0)
    assert ended.stdout.splitlines()[-1].endswith(f": no problems; added to the index: {len(photos)}")


def test_a_deleted_photo_whose_file_is_restored_stays_deleted(album: AlbumFolder) -> None:
    data = album.path(4).read_bytes()
    decide(album)
    assert album.run("backup", "-o", "b.tar").returncode == 0
    other = restore(album)
    other.path(4).parent.mkdir(exist_ok=True)
    other.path(4).write_bytes(data)
    assert album.photos[4].id not in [photo.id for photo in read_all(other)[0]]
    assert not other.path(4).exists()


def test_a_restored_index_is_compared_with_photos_of_another_time(album: AlbumFolder) -> None:
    """The folders have the mtimes of the backup, as rsync sets them."""
    times = {path: path.stat().st_mtime_ns for path in album.root.glob("2*/*/*")}
    for path in times:  # old enough for the index to trust them
        os.utime(path, ns=(0, times[path] - 10**10))
    read_all(album)
    assert album.run("backup", "-o", "b.tar").returncode == 0
    other = restore(album)
    folder = other.path(1).parent
    mtime = folder.stat().st_mtime_ns
    other.path(1).unlink()
    os.utime(folder, ns=(0, mtime))
    assert album.photos[1].id not in [photo.id for photo in read_all(other)[0]]


@pytest.mark.parametrize("name", ["facts.sqlite3", "index.sqlite3"])
def test_damaged_databases_are_not_backed_up(album: AlbumFolder, name: str) -> None:
    path = album.root / ".dog" / name
    path.write_bytes(path.read_bytes()[:5000] + b"damage" * 1000)
    ended = album.run("backup", "-o", "b.tar")
    assert (ended.returncode, "dog album rebuild" in ended.stderr, ended.stderr.count("\n")) == (1, True, 1)
    assert not (album.folder / "b.tar").exists()


def test_each_mistake_is_one_line_and_leaves_no_file(album: AlbumFolder) -> None:
    (album.folder / "old.tar").write_text("old")
    before = sorted(album.folder.iterdir())
    for arguments, line, status in (
        ((), "Missing option '-o' / '--output'", 2),
        (("-o", "no/b.tar"), "The folder 'no' does not exist. Create it first.", 2),
        (("-o", "old.tar"), "'old.tar' exists already. Name another file, or add --force to replace it.", 2),
        (("-o", "snapshots"), "'snapshots' is not a file. Name a file.", 2),
        (("-o", "-", "--json"), "--json and the tar can't both be on standard output. Name a file.", 2),
        (("-o", "b.tar", "--snapshots", "none"), "There are no snapshots in", 2),
    ):
        ended = album.run("backup", *arguments)
        assert (ended.stdout, ended.returncode, ended.stderr.count("\n")) == ("", status, 1), ended.stderr
        assert ended.stderr.startswith(f"dog: {line}")
    assert sorted(album.folder.iterdir()) == before
    assert (album.folder / "old.tar").read_text() == "old"


def test_force_replaces_a_file_and_json_tells_its_size(album: AlbumFolder) -> None:
    (album.folder / "old.tar").write_text("old")
    ended = album.run("backup", "--force", "--json", "-o", "old.tar")
    result = json.loads(ended.stdout)
    assert (result["type"], result["path"], ended.stderr) == ("backup", "old.tar", "")
    with tarfile.open(album.folder / "old.tar") as tar:
        assert sum(member.size for member in tar) == result["bytes"]
    assert stat.S_IMODE((album.folder / "old.tar").stat().st_mode) == 0o600
    piped = album.start("backup", "-o", "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, _ = piped.communicate(timeout=60)
    assert len(output) == (album.folder / "old.tar").stat().st_size


def test_a_full_disk_is_one_line_and_leaves_no_file(album: AlbumFolder) -> None:
    with open("/dev/full", "wb") as full:
        ended = album.start("backup", "-o", "-", stdout=full, stderr=subprocess.PIPE)
        assert ended.communicate(timeout=60)[1] == b"dog: Standard output can't be written: no space left on device.\n"
    limited = album.start(
        "backup", "-o", "b.tar", stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000)),
    )  # fmt: skip
    _, err = limited.communicate(timeout=60)
    assert (err, limited.returncode) == (b"dog: 'b.tar' can't be written: file too large. Name another file.\n", 1)
    assert [path.name for path in album.folder.iterdir()] == ["snapshots"]
    assert incoming(album) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("function", ["os.link", "dog.snapshots.index.copy_database"])
def test_an_interrupted_backup_leaves_no_file(album: AlbumFolder, function: str, number: signal.Signals) -> None:
    interruption = ("tests.support.interrupted_process", function, str(number.value))
    process = start_module(*interruption, "album", "backup", "-o", "b.tar", cwd=album.folder, stderr=subprocess.PIPE)
    assert (process.communicate(timeout=60)[1], process.wait()) == (b"", 128 + number)
    assert [path.name for path in album.folder.iterdir()] == ["snapshots"]
    assert incoming(album) == []


def test_another_user_gets_one_line(album: AlbumFolder, serve: Serve) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    serve("--camera", "test")
    open_to_all(album.folder)
    (album.folder / "theirs").mkdir()
    os.chown(album.folder / "theirs", 65534, 65534)
    stranger = run_dog(
        "album", "backup", "-o", "theirs/b.tar", cwd=album.folder, program=AS_NOBODY.format("dog.snapshots.backup")
    )
    assert stranger.returncode == 2
    assert stranger.stderr.endswith(
        "can't be used: permission denied. Run the command as the owner of the folder, or name another one with"
        " --snapshots.\n"
    )
    assert list((album.folder / "theirs").iterdir()) == []


# ---- with a running server


def test_presses_go_on_during_a_backup_and_are_in_it(album: AlbumFolder, paused: ServerProcess) -> None:
    decided = album.photos[0].id
    process = start_backup(album)
    taken = [press(paused) for _ in range(100)]
    assert request(f"{paused.url}/api/snapshots/{decided}", "DELETE") is None
    assert process.poll() is None
    (album.folder / "go").touch()
    assert (process.communicate(timeout=60)[1].endswith(b" backed up\n"), process.wait()) == (True, 0)
    wait_until(lambda: incoming(album) == [])
    assert paused.stop() == 0
    other = restore(album)
    with closing(sqlite3.connect(other.root / ".dog" / "facts.sqlite3")) as facts:
        assert facts.execute("SELECT count(*) FROM in_use").fetchone() == (0,)
    photos, last = read_all(other)
    assert (photos, last) == read_all(album)
    assert {photo.id for photo in photos} >= set(taken)
    assert decided not in {photo.id for photo in photos}
    assert all(photo.sha256 and photo.origin.settings for photo in photos)
    assert findings(other) == []


def findings(album: AlbumFolder) -> list[str]:
    return album.run("verify").stdout.splitlines()[:-1]


def test_backups_while_100_presses_run_lose_no_photo(album: AlbumFolder, serve: Serve) -> None:
    server = serve("--camera", "test", "--dead-time", "0")
    taken: list[str] = []

    def take_100() -> None:
        while len(taken) < 100:
            taken.append(press(server))

    presses = threading.Thread(target=take_100)
    presses.start()
    backups: dict[str, list[str]] = {}
    while presses.is_alive():
        name, before = f"{len(backups)}.tar", list(taken)
        assert album.run("backup", "-o", name).returncode == 0
        backups[name] = before
    presses.join()
    assert len(taken) == 100
    assert len(backups) > 1
    server.kill()
    present = read_all(album)[0]
    for name, before in backups.items():
        restored = read_all(restore(album, name))[0]
        assert [photo.id for photo in restored] == [photo.id for photo in present]
        known = {photo.id: photo for photo in present}
        assert [photo for photo in restored if photo.id in before] == [known[id] for id in reversed(before)]
        assert all(photo.sha256 == known[photo.id].sha256 for photo in restored)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_command_that_ends_leaves_nothing_and_the_next_backup_works(
    album: AlbumFolder, paused: ServerProcess, number: signal.Signals
) -> None:
    process = start_backup(album)
    process.send_signal(number)
    assert process.communicate(timeout=60)[1] == b""
    assert process.wait() == (-9 if number == signal.SIGKILL else 128 + number)
    wait_until(lambda: incoming(album) == [])
    assert not [path for path in album.folder.iterdir() if "tar" in path.name]
    press(paused)
    (album.folder / "go").touch()
    assert album.run("backup", "-o", "b.tar").returncode == 0
    assert len(read_all(restore(album))[0]) == 7


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_ends_during_a_backup_is_reported(
    album: AlbumFolder, paused: ServerProcess, number: signal.Signals
) -> None:
    process = start_backup(album)
    taken = press(paused)
    paused.send(number)
    assert paused.wait() == (-9 if number == signal.SIGKILL else 0)
    line = b"dog: The server stopped before its copy was complete. Run the command again.\n"
    assert (process.communicate(timeout=60)[1], process.wait()) == (line, 1)
    assert not (album.folder / "b.tar").exists()
    assert taken in [photo.id for photo in read_all(album)[0]]
    assert incoming(album) == []


def test_two_backups_at_the_same_time_do_not_disturb_each_other(album: AlbumFolder, paused: ServerProcess) -> None:
    process = start_backup(album)
    second = album.run("backup", "-o", "c.tar")
    line = "dog: Another backup of this album is running. Wait until it ends.\n"
    assert (second.stderr, second.returncode) == (line, 1)
    (album.folder / "go").touch()
    assert (process.communicate(timeout=60)[1].endswith(b" backed up\n"), process.wait()) == (True, 0)


def test_a_server_on_a_full_disk_reports_it(small_disk: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.tar"
    album = AlbumFolder(small_disk)
    server = ServerProcess("--camera", "test", cwd=album.folder).start()
    try:
        ballast = fill_disk(small_disk)
        no_request = run_dog("album", "backup", "-o", str(target), cwd=album.folder)
        os.truncate(ballast, ballast.stat().st_size - 16 * 1024)  # for the request and the answer
        ended = run_dog("album", "backup", "-o", str(target), cwd=album.folder)
    finally:
        server.kill()
    assert (ended.returncode, ended.stdout) == (1, "")
    assert not target.exists()
    assert no_request.stderr == "dog: 'snapshots': no space left on device. Correct that, then run the command again.\n"
    assert ended.stderr == f"dog: {DISK_FULL_MESSAGE}\n"
    assert incoming(album) == []


@pytest.mark.parametrize(("name", "table"), [("facts.sqlite3", "shares"), ("index.sqlite3", "by_time")])
def test_a_damaged_copy_is_refused(album: AlbumFolder, name: str, table: str) -> None:
    private, is_done = album.root / ".dog", threading.Event()
    lock = Lock(album.root, private / "lock")

    def copy_damaged(folder: Path, _step: object) -> None:
        for each in "facts.sqlite3", "index.sqlite3":
            shutil.copy(private / each, folder)
        overwrite_page(folder / name, table)

    server = BackupServer(private, copy_damaged)

    def serve() -> None:
        while not is_done.wait(0.01):
            server.poll()

    thread = threading.Thread(target=serve)
    thread.start()
    ended = album.run("backup", "-o", "b.tar")
    is_done.set()
    thread.join()
    server.close()
    lock.release()
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert ended.stderr.startswith(f"dog: The album's file {name} is damaged: ")
    assert not (album.folder / "b.tar").exists()


@pytest.mark.parametrize("was_served", [False, True])
def test_a_program_that_makes_no_copy_is_reported(album: AlbumFolder, was_served: bool) -> None:
    private = album.root / ".dog"
    if was_served:
        (private / "backup").touch()
    lock = Lock(album.root, private / "lock")
    program = "from dog.snapshots import backup\nbackup._ANSWER_TIMEOUT_SECONDS = 1.2\nfrom dog.cli import main\nmain()"
    ended = run_dog("album", "backup", "-o", "b.tar", cwd=album.folder, program=program)
    lock.release()
    assert ended.stderr.startswith("dog: The program that uses 'snapshots' makes no copy. ")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)


def test_a_server_takes_no_path_and_follows_no_link(album: AlbumFolder, serve: Serve) -> None:
    (album.folder / "target").write_text("stays")
    (album.root / ".dog" / "backup").symlink_to(album.folder / "target")
    server = serve("--camera", "test")
    server.wait_for("`dog album backup` needs a stop of this server")
    press(server)
    ended = album.run("backup", "-o", "b.tar")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "backup': too many levels of symbolic links. Correct that" in ended.stderr
    assert (album.folder / "target").read_text() == "stays"


@pytest.mark.parametrize("text", ["../../../../escaped/aaaa", "", "a" * 23, "/" + "a" * 23, "\udcff"])
def test_a_request_is_an_id(tmp_path: Path, text: str) -> None:
    (tmp_path / "incoming").mkdir()
    copied: list[Path] = []
    server = BackupServer(tmp_path, lambda folder, _step: copied.append(folder))
    with (tmp_path / "backup").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for request in text, "b" * 24:
            file.seek(0)
            file.truncate()
            file.write(request.encode(errors="surrogateescape"))
            file.flush()
            server.poll()
    assert copied == [tmp_path / "incoming" / f"{'b' * 24}.unfinished"]
    assert [path.name for path in (tmp_path / "incoming").iterdir()] == [f"{'b' * 24}.copy"]
    server.poll()
    assert list((tmp_path / "incoming").iterdir()) == []
    server.close()


def test_root_backs_up_the_album_of_a_service_that_runs_as_another_user(album: AlbumFolder) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    open_to_all(album.folder)
    for path in (album.folder, *album.folder.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    server = ServerProcess("--camera", "test", cwd=album.folder, program=AS_NOBODY.format("dog.web.server")).start()
    try:
        taken = press(server)
        assert (album.root / ".dog" / "backup").stat().st_uid == 65534
        assert album.run("backup", "-o", "b.tar").returncode == 0
        assert server.stop() == 0
    finally:
        server.kill()
    assert album.run("backup", "-o", "c.tar").returncode == 0
    assert incoming(album) == []
    for name in "b.tar", "c.tar":
        assert ((album.folder / name).stat().st_uid, (album.folder / name).stat().st_mode & 0o777) == (0, 0o600)
        other = restore(album, name)
        assert {path.stat().st_uid for path in (other.root / ".dog").iterdir()} == {65534}
        assert taken in [photo.id for photo in read_all(other)[0]]
    assert {path.lstat().st_uid for path in (album.root / ".dog").iterdir()} == {65534}


# ---- a copy without a WAL

WARNING = "facts.sqlite3 was copied without its file facts.sqlite3-wal while D.O.G. had it open."


def start_copy(album: AlbumFolder, serve: Serve, copied: str) -> str:
    """Copy files of a running server's album, and start another on the copy."""
    server = serve("--camera", "test")
    pinned = press(server)
    request(f"{server.url}/api/snapshots/{pinned}/pin", "PUT")
    copy = album.folder / "copy"
    shutil.copytree(album.root, copy / "snapshots", ignore=shutil.ignore_patterns(".dog"))
    (copy / "snapshots" / ".dog").mkdir()
    for path in (album.root / ".dog").glob(copied):
        shutil.copy(path, copy / "snapshots" / ".dog")
    server.kill()
    second = serve("--camera", "test", cwd=copy)
    assert second.stop() == 0
    again = serve("--camera", "test", cwd=copy)
    assert again.stop() == 0
    assert WARNING not in again.stderr
    return second.stderr


def test_a_copy_without_a_wal_is_reported_at_its_start(album: AlbumFolder, serve: Serve) -> None:
    shown = start_copy(album, serve, "*.sqlite3")
    assert shown.count(WARNING) == 1
    assert "dog album backup" in shown


def test_a_copy_with_its_wal_and_a_killed_server_are_not_reported(album: AlbumFolder, serve: Serve) -> None:
    assert WARNING not in start_copy(album, serve, "*.sqlite3*")
    killed = serve("--camera", "test")  # start_copy killed the first server of this album
    assert killed.stop() == 0
    assert WARNING not in killed.stderr


# ---- the docs


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
@pytest.mark.parametrize("part", ["everything", "databases"])
def test_the_commands_of_the_album_page_restore_an_album(album: AlbumFolder, serve: Serve, part: str) -> None:
    [page] = [path for path in DOCUMENTS if path.name == "album.md"]
    making, everything, databases = [
        example.text for example in read_examples("", page.read_text()) if example.language == "bash"
    ]
    disk = album.folder / "disk"
    disk.mkdir()
    environment = use_dog(make_dog(album.folder))

    def run(commands: str) -> str:
        commands = commands.replace("/mnt/backup", str(disk))
        ended = subprocess.run(
            ["sh", "-ec", commands], cwd=album.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert not ended.stderr or re.fullmatch(r"\d+ KB backed up\n", ended.stderr)
        return ended.stdout

    share, secret = decide(album)
    server = serve("--camera", "test", "--dead-time", "0")
    known = press(server)
    run(making)
    newer = press(server)
    deleted = album.photos[5].id
    request(f"{server.url}/api/snapshots/{deleted}", "DELETE")
    run(making.split("&&")[1])  # the photos of the backup are newer than its databases
    server.kill()
    before = read_all(album)
    shown = run(everything if part == "everything" else databases)
    if part == "everything":
        *found, total = sorted(shown.splitlines(), key=lambda line: ": 1 problem; added" in line)
        assert total.endswith(": 1 problem; added to the index: 1")
        assert [line.split()[:3] for line in sorted(found)] == [
            [image_path(album.photos[5]), "is", "missing;"],
            [image_path(next(photo for photo in before[0] if photo.id == newer)), "was", "not"],
        ]
    server = serve("--camera", "test")
    assert server.stop() == 0
    after = read_all(album)
    assert after[1] == before[1]
    assert [(photo.id, photo.sha256, photo.pinned) for photo in after[0]] == [
        (photo.id, photo.sha256, photo.pinned) for photo in before[0]
    ]
    assert {album.photos[4].id, deleted}.isdisjoint(photo.id for photo in after[0])
    without_origin = [photo.id for photo in after[0] if photo.origin.settings is None]
    assert (known in without_origin, without_origin) == (False, [newer])
    with album.indexed() as index:
        assert index.facts.secret().hex() == secret
        assert [each.id for each in index.facts.shares_of(album.photos[3].id)] == [share]
