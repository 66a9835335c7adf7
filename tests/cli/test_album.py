"""`dog album`, as processes, on albums that the store made."""

import dataclasses
import datetime as dt
import io
import json
import os
import pty
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from dog.snapshots.lock import Lock
from dog.snapshots.names import image_path, thumbnail_path
from tests.conftest import Serve
from tests.support.albums import FIRST, ORIGIN, AlbumFolder, save
from tests.support.index_files import INDEX_DAMAGES
from tests.support.module_process import start_module
from tests.support.pictures import draw, encode, make_picture
from tests.support.server_process import run_dog

UNREADABLE = "can't be read: no such file or directory. Name another one with --snapshots."
WRONG_DAY = "Invalid value for '{}': '{}' is not a date. Write one such as 2026-11-22."
FOREIGN = "does not belong to this album; move it elsewhere"


@pytest.fixture
def album(tmp_path: Path) -> AlbumFolder:
    return AlbumFolder(tmp_path)


def findings_of(ended: "subprocess.CompletedProcess[str]") -> tuple[list[str], int]:
    """Return the lines of standard output without totals, and the status."""
    assert ended.stderr == ""
    return ended.stdout.splitlines()[:-1], ended.returncode


# ---- verify


def test_verify_prints_only_totals_for_an_intact_album(album: AlbumFolder) -> None:
    size = sum(photo.bytes for photo in album.photos)
    ended = album.run("verify")
    assert (ended.stdout, ended.stderr, ended.returncode) == (
        f"6 photos, {size / 1000:.0f} KB: no problems\n",
        "",
        0,
    )


@pytest.mark.parametrize("place", [0, 0.3, 0.7, 1])
def test_verify_reports_one_flipped_bit_in_a_photo_and_nothing_else(album: AlbumFolder, place: float) -> None:
    album.flip(3, place)
    line = "is not as it was saved: its hash differs; restore it from a backup, or delete it"
    assert findings_of(album.run("verify")) == ([f"{image_path(album.photos[3])} {line}"], 1)


def remove_both(album: AlbumFolder) -> None:
    album.path(1).unlink()
    album.thumbnail(1).unlink()


def pipe_in_its_place(album: AlbumFolder) -> None:
    album.path(1).unlink()
    os.mkfifo(album.path(1))


def bring_back_deleted(album: AlbumFolder) -> None:
    data = album.path(1).read_bytes()
    with album.opened() as archive:
        archive.remove([album.photos[1].id])
    album.path(1).parent.mkdir(exist_ok=True)
    album.path(1).write_bytes(data)


def rename(album: AlbumFolder) -> None:
    album.path(0).rename(album.path(0).with_name("a walk\nin the wood.jpg"))


MISSING = "is missing; restore it from a backup before the next start, which removes it from the index"
BACKUP = "restore it from a backup"
DEEDS: dict[str, tuple[Callable[[AlbumFolder], object], list[str]]] = {
    "a missing photo": (lambda album: album.path(1).unlink(), [f"PHOTO {MISSING}"]),
    "a missing photo and its thumbnail": (remove_both, [f"PHOTO {MISSING}"]),
    "a missing thumbnail": (
        lambda album: album.thumbnail(1).unlink(),
        ["THUMBNAIL is missing; the next start of the server makes it again"],
    ),
    "a damaged thumbnail": (
        lambda album: os.truncate(album.thumbnail(1), 100),
        ["THUMBNAIL is damaged; remove it, and the next start of the server makes it again"],
    ),
    "a truncated photo": (
        lambda album: os.truncate(album.path(1), 100),
        [f"PHOTO has 100 bytes instead of SIZE; {BACKUP}"],
    ),
    "a longer photo": (
        lambda album: os.truncate(album.path(1), 10**6),
        [f"PHOTO has 1000000 bytes instead of SIZE; {BACKUP}"],
    ),
    "a pipe in its place": (
        pipe_in_its_place,
        [f"PHOTO was replaced by something that is not a file; {BACKUP}", f"PHOTO {FOREIGN}"],
    ),
    "another file": (
        lambda album: album.path(0).with_name("notes.txt").write_text(""),
        [f"2026/11/20/notes.txt {FOREIGN}"],
    ),
    "another folder": (
        lambda album: (album.root / "2026" / "backup" / "x").mkdir(parents=True),
        [f"2026/backup {FOREIGN}"],
    ),
    "a file beside the years": (lambda album: (album.root / "notes.txt").write_text(""), [f"notes.txt {FOREIGN}"]),
    "another name": (rename, [f"OLDEST {MISSING}", f"2026/11/20/a walk\\nin the wood.jpg {FOREIGN}"]),
    "a name that is no text": (
        lambda album: Path(os.fsdecode(os.fsencode(album.root) + b"/\xff.jpg")).write_text(""),
        [f"\\udcff.jpg {FOREIGN}"],
    ),
    "a thumbnail alone": (
        lambda album: shutil.copy(album.thumbnail(1), str(album.thumbnail(1)).replace(album.photos[1].id, "a" * 24)),
        ["STRANGER.thumbnail.jpg is a thumbnail without a photo; the next start of the server removes it"],
    ),
    "an id twice": (
        lambda album: shutil.copy(album.path(1), str(album.path(1)).replace("porch", "garage")),
        ["GARAGE has the same id as PHOTO; move one of them elsewhere"],
    ),
    "what was deleted": (
        bring_back_deleted,
        ["PHOTO was deleted and exists again; the next start of the server removes it"],
    ),
    "a stranger that is no picture": (
        lambda album: Path(str(album.path(1)).replace(album.photos[1].id, "a" * 24)).write_text("no"),
        ["STRANGER.jpg is not in the index and can't be added: REASON"],
    ),
    "hidden files of others": (lambda album: (album.root / "2026" / ".DS_Store").write_text(""), []),
}


@pytest.mark.parametrize("deed", list(DEEDS))
def test_verify_reports_each_wrong_file_once_with_the_problem(album: AlbumFolder, deed: str) -> None:
    change, expected = DEEDS[deed]
    path = image_path(album.photos[1])
    stranger = path.replace(album.photos[1].id, "a" * 24).removesuffix(".jpg")
    words = {
        "PHOTO": path,
        "OLDEST": image_path(album.photos[0]),
        "THUMBNAIL": thumbnail_path(path),
        "GARAGE": path.replace("porch", "garage"),
        "STRANGER": stranger,
        "SIZE": str(album.photos[1].bytes),
    }
    change(album)
    lines, status = findings_of(album.run("verify"))
    expected = [re.sub("[A-Z]{4,}", lambda found: words.get(found[0], found[0]), line) for line in expected]
    assert [re.sub("(?<=be added: ).*", "REASON", line) for line in lines] == expected
    assert status == (1 if expected else 0)


def test_verify_adds_a_photo_that_was_copied_in_and_checks_its_hash_from_then_on(album: AlbumFolder) -> None:
    stranger = Path(str(album.path(2)).replace(album.photos[2].id, "b" * 24))
    shutil.copy(album.path(2), stranger)
    shutil.copy(album.thumbnail(2), str(stranger).replace(".jpg", ".thumbnail.jpg"))
    path = str(stranger.relative_to(album.root))
    lines, status = findings_of(album.run("verify"))
    assert (lines, status) == ([f"{path} was not in the index; it was added with its present hash"], 0)
    assert findings_of(album.run("verify")) == ([], 0)
    stranger.write_bytes(stranger.read_bytes()[:-3] + b"\0\xff\xd9")
    lines, status = findings_of(album.run("verify"))
    assert [line.split()[:5] for line in lines] == [[path, "is", "not", "as", "it"]]
    assert status == 1


def test_verify_adds_a_hash_that_is_missing_in_the_index(album: AlbumFolder) -> None:
    photo = album.photos[2]
    with album.indexed() as index:
        index.delete_gone([photo.id])
        index.add(dataclasses.replace(photo, sha256=""))
    lines, status = findings_of(album.run("verify"))
    assert (lines, status) == (
        [f"{image_path(photo)} had no hash in the index; its present hash was added"],
        0,
    )
    with album.indexed() as index:
        assert index.get(photo.id) == photo


def test_verify_prints_findings_as_json(album: AlbumFolder) -> None:
    album.path(1).unlink()
    ended = album.run("verify", "--json")
    *found, total = (json.loads(line) for line in ended.stdout.splitlines())
    assert found == [{"type": "missing", "path": image_path(album.photos[1]), "message": MISSING}]
    size = sum(photo.bytes for photo in album.photos)
    assert total == {"type": "verified", "photos": 6, "bytes": size, "wrong": 1, "taken": 0}
    assert ended.returncode == 1


def test_verify_reports_a_damaged_index_a_missing_index_and_a_missing_album(album: AlbumFolder, tmp_path: Path) -> None:
    path = album.root / ".dog" / "index.sqlite3"
    path.write_bytes(b"no index" * 1000)
    ended = album.run("verify")
    assert re.fullmatch(
        r"dog: The databases of 'snapshots' can't be used: [^\n]+\. Rebuild them with `dog album rebuild`\.\n",
        ended.stderr,
    )
    assert (ended.stdout, ended.returncode) == ("", 1)
    path.unlink()
    ended = album.run("verify")
    assert ended.stderr.endswith("has no index. Create it with `dog album rebuild`.\n")
    (tmp_path / "empty").mkdir()
    for command in ("verify", "rebuild"):
        for name in ("empty", "nowhere"):
            ended = album.run(command, "--snapshots", name)
            line = f"dog: There are no snapshots in '{name}'. Name the right folder with --snapshots.\n"
            assert (ended.stderr, ended.stdout, ended.returncode) == (line, "", 2)
    assert list((tmp_path / "empty").iterdir()) == []


def test_verify_finds_the_album_by_the_settings_of_the_server(album: AlbumFolder, tmp_path: Path) -> None:
    album.root.rename(tmp_path / "photos")
    assert album.run("verify").returncode == 2
    assert album.run("verify", "--snapshots", "photos").returncode == 0
    assert album.run("verify", env={"DOG_SNAPSHOTS": "photos"}).returncode == 0
    (tmp_path / "dog.toml").write_text('snapshots = "photos"\n')
    assert album.run("verify").returncode == 0


def test_ctrl_c_stops_verify_in_the_middle_of_a_photo(album: AlbumFolder) -> None:
    photo = dataclasses.replace(album.photos[5], bytes=2**40)
    os.truncate(album.path(5), photo.bytes)  # takes hours to read
    with album.indexed() as index:
        index.delete_gone([photo.id])
        index.add(photo)
    album.path(4).unlink()
    verifying = album.start("verify", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    descriptors = Path(f"/proc/{verifying.pid}/fd")
    while verifying.poll() is None:
        with suppress(FileNotFoundError):  # a descriptor that was just closed
            if album.path(5) in [path.readlink() for path in descriptors.iterdir()]:
                break
    verifying.send_signal(signal.SIGINT)
    out, err = verifying.communicate(timeout=30)
    assert (out, err, verifying.returncode) == (b"", b"", 130)
    Lock(album.root, album.root / ".dog" / "lock").release()


def on_terminal(album: AlbumFolder, *arguments: str) -> tuple[str, int]:
    """Run the command at a terminal. Return what it shows and the status."""
    ours, its = pty.openpty()
    process = album.start(*arguments, stdout=its, stderr=its, env={"TERM": "xterm", "COLUMNS": "80"})
    os.close(its)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:  # the other side is closed
        pass
    finally:
        os.close(ours)
    return shown.decode(), process.wait()


def test_commands_show_progress_on_a_terminal(album: AlbumFolder) -> None:
    album.path(1).unlink()
    for arguments, text, status in (
        (("verify",), "Verifying", 1),
        (("export", "-o", "a.zip"), "Exporting", 0),
        (("rebuild",), "Rebuilding", 1),
    ):
        shown, ended = on_terminal(album, *arguments)
        assert (text in shown, "100%" in shown, ended) == (True, True, status), shown


# ---- with a running server


def capture(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(urllib.request.Request(f"{url}/api/captures", b'{"max_age":0}')) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def test_verify_refuses_and_export_works_while_a_server_takes_photos(album: AlbumFolder, serve: Serve) -> None:
    make_large(album)
    server = serve("--camera", "test", "--dead-time", "0")
    first = capture(server.url)
    for command in ("verify", "rebuild"):
        ended = album.run(command)
        assert re.fullmatch(
            r"dog: The folder of snapshots '.*snapshots' is in use by a running server\..*\n", ended.stderr
        )
        assert (ended.stdout, ended.returncode) == ("", 2)
    exporting = album.start("export", "-o", "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert exporting.stdout is not None
    begun = exporting.stdout.read(1)
    later = capture(server.url)
    rest, err = exporting.communicate(timeout=30)
    assert (err, exporting.returncode) == (b"9 photos exported\n", 0)
    written = zipfile.ZipFile(io.BytesIO(begun + rest))
    names = [name for name in written.namelist() if first["snapshot"] in name]
    assert len(names) == 1
    assert written.read(names[0]) == urllib.request.urlopen(server.url + first["url"]).read()
    assert {name: written.read(name) for name in album.in_archive()} == album.in_archive()
    assert server.stop() == 0
    assert later["snapshot"] not in str(written.namelist())  # taken after the start of the export
    ended = album.run("verify")
    assert (ended.stdout.split(":")[1], ended.returncode) == (" no problems\n", 0)
    assert ended.stdout.startswith("10 photos, ")


# ---- export


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_a_zip_has_every_photo_unchanged_with_name_and_time_oldest_first(album: AlbumFolder, zone: str) -> None:
    ended = album.run("export", "-o", "all.zip", env={"TZ": zone})
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", "6 photos exported\n", 0)
    with zipfile.ZipFile(album.folder / "all.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [image_path(photo) for photo in album.photos]
        assert {name: archive.read(name) for name in archive.namelist()} == album.in_archive()
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        hour = 11 if zone == "UTC" else 16
        assert archive.infolist()[0].date_time == (2026, 11, 20, hour, 14 if zone == "UTC" else 44, 38)
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-q", "all.zip", "-d", "out"], cwd=album.folder, check=True)
        for photo in album.photos:
            assert int((album.folder / "out" / image_path(photo)).stat().st_mtime) == int(photo.captured_at.timestamp())


def test_a_tar_has_every_photo_unchanged_with_name_and_time_oldest_first(album: AlbumFolder) -> None:
    assert album.run("export", "-o", "all.tar").returncode == 0
    with tarfile.open(album.folder / "all.tar") as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [image_path(photo) for photo in album.photos]
        assert [member.mtime for member in members] == [photo.captured_at.timestamp() for photo in album.photos]
        read = {member.name: file.read() for member in members if (file := archive.extractfile(member))}
        assert read == album.in_archive()
    if shutil.which("tar"):
        (album.folder / "out").mkdir()
        subprocess.run(["tar", "-xf", "all.tar", "-C", "out"], cwd=album.folder, check=True)
        for number, photo in enumerate(album.photos):
            out = album.folder / "out" / image_path(photo)
            assert out.read_bytes() == album.path(number).read_bytes()
            assert out.stat().st_mtime == pytest.approx(photo.captured_at.timestamp(), abs=0.001)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_export_writes_the_same_photos_to_a_pipe_and_to_a_file(album: AlbumFolder, kind: str) -> None:
    piped = album.start("export", "--format", kind, "-o", "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    streamed, err = piped.communicate(timeout=30)
    assert (err, piped.returncode) == (b"6 photos exported\n", 0)
    path = album.folder / "appended"
    path.write_bytes(b"before")
    with path.open("ab") as file:
        assert album.start("export", "--format", kind, "-o", "-", stdout=file, stderr=subprocess.DEVNULL).wait() == 0
    assert path.read_bytes() == b"before" + streamed
    (album.folder / f"streamed.{kind}").write_bytes(streamed)
    if kind == "zip":
        with zipfile.ZipFile(io.BytesIO(streamed)) as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == album.in_archive()
        if shutil.which("unzip"):
            subprocess.run(["unzip", "-tq", "streamed.zip"], cwd=album.folder, check=True)
    else:
        with tarfile.open(fileobj=io.BytesIO(streamed), mode="r|") as archive:
            assert [member.name for member in archive] == list(album.in_archive())


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (("--from", "2026-11-21"), [2, 3, 4, 5]),
        (("--until", "2026-11-21"), [0, 1, 2, 3]),
        (("--from", "2026-11-21", "--until", "2026-11-21"), [2, 3]),
        (("--camera", "test"), [0, 3]),
        (("--camera", "porch", "--from", "2026-11-22"), [4, 5]),
    ],
)
def test_export_selects_days_and_a_camera(album: AlbumFolder, arguments: tuple[str, ...], numbers: list[int]) -> None:
    assert album.run("export", *arguments, "-o", "some.zip").returncode == 0
    with zipfile.ZipFile(album.folder / "some.zip") as archive:
        assert archive.namelist() == [image_path(album.photos[number]) for number in numbers]


def test_export_ignores_a_photo_that_is_not_saved_yet(album: AlbumFolder) -> None:
    album.path(0).with_name(album.path(0).name.replace(album.photos[0].id, "a" * 24)).touch()  # which holds its name
    ended = album.run("export", "-o", "all.tar")
    assert (ended.stderr, ended.returncode) == ("6 photos exported\n", 0)


def test_export_refuses_wrong_options_in_one_line_and_writes_nothing(album: AlbumFolder) -> None:
    (album.folder / "there.zip").write_text("mine")
    (album.folder / "a folder").mkdir()
    before = sorted(album.folder.iterdir())
    days = ("--from", "2026-11-22", "--until", "2026-11-21")
    for arguments, line, status in [
        (("-o", "there.zip"), "'there.zip' exists already. Name another file, or add --force to replace it.", 2),
        (("-o", "a folder", "--format", "tar", "--force"), "'a folder' is not a file. Name a file.", 2),
        (("-o", "no/a.zip"), "The folder 'no' does not exist. Create it first.", 2),
        (("-o", "all.rar"), "'all.rar' does not end in .zip or .tar. Change the name, or add --format.", 2),
        (("-o", "a.zip", *days), "--until is before --from. Swap them.", 2),
        (("-o", "a.zip", "--from", "2026-13-01"), f"{WRONG_DAY.format('--from', '2026-13-01')}", 2),
        (("-o", "a.zip", "--until", "today"), f"{WRONG_DAY.format('--until', 'today')}", 2),
        (("-o", "a.zip", "--camera", "attic"), "There are no such photos in 'snapshots'. Nothing was written.", 1),
        (("-o", "a.zip", "--snapshots", "no"), f"The folder of snapshots 'no' {UNREADABLE}", 2),
    ]:
        ended = album.run("export", *arguments)
        assert ended.stderr.removesuffix(" See dog album export --help.\n").rstrip() == f"dog: {line}"
        assert (ended.stdout, ended.returncode) == ("", status)
    assert sorted(album.folder.iterdir()) == before
    assert (album.folder / "there.zip").read_text() == "mine"
    shown, status = on_terminal(album, "export", "-o", "-")
    assert "An archive can't be shown in a terminal" in shown
    assert status == 2


def test_export_with_force_replaces_a_file_and_the_target_of_a_link(album: AlbumFolder) -> None:
    (album.folder / "real.zip").write_text("old")
    (album.folder / "link.zip").symlink_to("real.zip")
    assert album.run("export", "-o", "link.zip", "--force").returncode == 0
    assert (album.folder / "link.zip").is_symlink()
    assert len(zipfile.ZipFile(album.folder / "real.zip").namelist()) == 6


def make_large(album: AlbumFolder) -> None:
    """Add two photos. The first is too large for a pipe's buffer."""
    large = encode(draw(1280, 960).effect_spread(40), quality=95)
    assert len(large) > 2**18
    with album.opened() as archive:
        at = FIRST + dt.timedelta(days=9)
        album.photos += [save(archive, at, data=large), save(archive, at + dt.timedelta(seconds=1))]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_export_reports_and_leaves_out_a_photo_that_is_deleted_during_it(album: AlbumFolder, kind: str) -> None:
    make_large(album)
    expected = album.in_archive()
    exporting = album.start("export", "--format", kind, "-o", "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert exporting.stdout is not None
    begun = exporting.stdout.read(1)  # the pipe is full before the last photo's turn comes
    album.path(7).unlink()
    rest, err = exporting.communicate(timeout=30)
    name = image_path(album.photos[7])
    assert err.decode() == (
        f"dog: {name} is left out. The file of this photo is gone.\n7 photos exported, and 1 left out\n"
    )
    assert exporting.returncode == 1
    del expected[name]
    streamed = io.BytesIO(begun + rest)
    if kind == "zip":
        with zipfile.ZipFile(streamed) as archive:
            assert {each: archive.read(each) for each in archive.namelist()} == expected
    else:
        with tarfile.open(fileobj=streamed) as tar:
            assert {each.name: file.read() for each in tar if (file := tar.extractfile(each))} == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_export_to_a_pipe_is_not_a_valid_archive(album: AlbumFolder, number: signal.Signals) -> None:
    make_large(album)
    exporting = album.start("export", "-o", "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert exporting.stdout is not None
    begun = exporting.stdout.read(1)
    exporting.send_signal(number)
    rest, err = exporting.communicate(timeout=30)
    assert (err, exporting.returncode) == (b"", 128 + number)
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(begun + rest))


def interrupted(album: AlbumFolder, function: str, number: signal.Signals, *arguments: str) -> tuple[bytes, int]:
    """Run `dog album ARGUMENTS`, and interrupt it with a signal.

    It gets the signal just before its first call of this function. Return its standard error and its status.
    """
    interruption = ("tests.support.interrupted_process", function, str(number.value))
    process = start_module(*interruption, "album", *arguments, cwd=album.folder, stderr=subprocess.PIPE)
    return process.communicate(timeout=30)[1], process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("function", ["os.link", "os.fsync"])
def test_an_interrupted_export_leaves_no_file(album: AlbumFolder, function: str, number: signal.Signals) -> None:
    assert interrupted(album, function, number, "export", "-o", "all.zip") == (b"", 128 + number)
    assert [path.name for path in album.folder.iterdir()] == ["snapshots"]
    assert album.run("export", "-o", "all.zip").returncode == 0


def test_an_export_to_a_full_disk_is_one_line_and_leaves_no_file(album: AlbumFolder) -> None:
    exporting = album.start(
        "export", "-o", "all.zip", stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)),
    )  # fmt: skip
    _, err = exporting.communicate(timeout=30)
    assert (err, exporting.returncode) == (b"dog: 'all.zip' can't be written: file too large. Name another file.\n", 1)
    assert [path.name for path in album.folder.iterdir()] == ["snapshots"]


def test_a_closed_pipe_ends_the_export_with_one_line(album: AlbumFolder) -> None:
    ours, its = socket.socketpair()
    with its:
        exporting = album.start("export", "-o", "-", stdout=its, stderr=subprocess.PIPE)
        ours.close()
    assert exporting.communicate(timeout=30)[1] == b"dog: Standard output can't be written: broken pipe.\n"
    assert exporting.returncode == 1


def test_a_tar_that_can_not_be_written_is_one_line(album: AlbumFolder) -> None:
    make_large(album)
    ours, its = socket.socketpair()
    with its:
        closed = album.start("export", "--format", "tar", "-o", "-", stdout=its, stderr=subprocess.PIPE)
        ours.close()
    assert closed.communicate(timeout=30)[1] == b"dog: Standard output can't be written: broken pipe.\n"
    with open("/dev/full", "wb") as output:
        full = album.start("export", "--format", "tar", "-o", "-", stdout=output, stderr=subprocess.PIPE)
    assert full.communicate(timeout=30)[1] == b"dog: Standard output can't be written: no space left on device.\n"
    assert (closed.returncode, full.returncode) == (1, 1)


@pytest.mark.parametrize("command", ["verify", "rebuild"])
def test_standard_output_that_can_not_be_written_is_one_line(album: AlbumFolder, command: str) -> None:
    with open("/dev/full", "wb") as output:
        printing = album.start(command, stdout=output, stderr=subprocess.PIPE)
    _, err = printing.communicate(timeout=30)
    assert err.splitlines()[-1] == b"dog: Standard output can't be written: no space left on device."
    assert b"Traceback" not in err
    assert printing.returncode == 1


# ---- rebuild


def decide(album: AlbumFolder) -> tuple[str, str]:
    """Pin, share and delete one photo each. Return the link and secret."""
    with album.opened() as archive:
        with archive._use_index() as index:
            with index.facts.synced_transaction():
                index.facts.set_pinned(album.photos[0].id, True)
            share = index.facts.share(album.photos[1].id, FIRST, FIRST + dt.timedelta(days=1))
            secret = index.facts.secret()
        archive.remove([album.photos[5].id])
    return share.id, secret.hex()


def test_rebuild_keeps_decisions_hashes_and_origins(album: AlbumFolder) -> None:
    share, secret = decide(album)
    with album.indexed() as index:
        before = index.recent(10)
    ended = album.run("rebuild")
    assert (ended.stdout, ended.returncode) == ("The index has 5 photos\n", 0)
    assert "5 photos added" in ended.stderr
    with album.indexed() as index:
        assert index.recent(10) == before
        assert [photo.pinned for photo in before] == [False, False, False, False, True]
        assert before[0].origin == ORIGIN
        assert index.facts.find_removed(album.photos[5].id) is not None
        assert [each.id for each in index.facts.shares_of(album.photos[1].id)] == [share]
        assert index.facts.secret().hex() == secret
        assert index.last_capture() == 6  # that of the photo which was deleted
    assert sorted(each.name for each in (album.root / ".dog").iterdir()) == [
        "epoch",
        "facts.sqlite3",
        "incoming",
        "index.old.sqlite3",
        "index.sqlite3",
        "lock",
    ]
    assert findings_of(album.run("verify")) == ([], 0)


def test_rebuild_keeps_the_old_hash_of_a_photo_with_a_flipped_bit(album: AlbumFolder) -> None:
    album.flip(2)
    ended = album.run("rebuild")
    name = image_path(album.photos[2])
    line = "is not as it was saved, and keeps the hash that it had; restore it from a backup, or delete it"
    assert ended.stdout.splitlines() == [f"{name} {line}", "The index has 6 photos"]
    assert ended.returncode == 1
    lines, status = findings_of(album.run("verify"))
    assert [each.split()[0] for each in lines] == [name]
    assert status == 1
    album.flip(2)
    assert findings_of(album.run("verify")) == ([], 0)


def test_rebuild_reports_missing_photos_and_photos_that_were_set_aside(album: AlbumFolder) -> None:
    album.path(1).unlink()
    os.truncate(album.path(3), 100)
    ended = album.run("rebuild")
    *found, total = ended.stdout.splitlines()
    first, third = sorted(found)
    assert first == f"{image_path(album.photos[1])} is missing and was removed from the index; {BACKUP}"
    assert re.fullmatch(rf"{image_path(album.photos[3])} is incomplete and was moved to .*/damaged/.*; {BACKUP}", third)
    assert (total, ended.returncode) == ("The index has 4 photos", 1)
    assert findings_of(album.run("verify")) == ([], 0)


@pytest.mark.parametrize("damage", ["gone", "garbage", "another version", "by_time", "images"])
def test_rebuild_replaces_any_damaged_index_and_loses_nothing(album: AlbumFolder, damage: str) -> None:
    decide(album)
    album.flip(0)
    path = album.root / ".dog" / "index.sqlite3"
    if damage == "gone":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(b"no index" * 1000)
    else:
        with closing(sqlite3.connect(path)) as database:
            if damage == "another version":
                database.execute("PRAGMA user_version = 99")
            else:
                page = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [damage]).fetchone()[0]
                size = database.execute("PRAGMA page_size").fetchone()[0]
        if damage != "another version":
            data = bytearray(path.read_bytes())
            data[(page - 1) * size : page * size] = bytes(size)
            path.write_bytes(data)
    assert album.run("verify").returncode == 1
    ended = album.run("rebuild")
    assert ended.stdout.splitlines()[1:] == ["The index has 5 photos"]
    assert ended.returncode == 1
    with album.indexed() as index:
        photo = index.get(album.photos[0].id)
    assert photo is not None
    assert (photo.sha256, photo.pinned, photo.origin) == (album.photos[0].sha256, True, ORIGIN)


@pytest.mark.parametrize("name", ["index.sqlite3", "facts.sqlite3"])
def test_rebuild_refuses_while_another_process_has_a_file_open(album: AlbumFolder, name: str) -> None:
    decide(album)
    path = album.root / ".dog" / name
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        for command in ("verify", "rebuild"):
            ended = album.run(command)
            line = (
                "dog: The databases of 'snapshots' can't be used: database is locked (by another program; or mount an"
                " SMB share with nobrl, because its locks always fail). Correct that, then run the command again.\n"
            )
            assert (ended.stderr, ended.stdout, ended.returncode) == (line, "", 1)
    assert not (path.parent / "damaged").exists()
    assert album.run("rebuild").stdout == "The index has 5 photos\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("then", ["verify", "rebuild"])
def test_an_interrupted_rebuild_loses_nothing(album: AlbumFolder, number: signal.Signals, then: str) -> None:
    """Interrupt it before the first photo is added. The old index stays."""
    decide(album)
    with album.indexed() as index:
        before = index.recent(10)
    path = album.root / ".dog" / "index.sqlite3"
    old = path.read_bytes()
    err, status = interrupted(album, "dog.snapshots.reconcile.list_day", number, "rebuild")
    assert (b"Traceback" in err, status) == (False, -number if number == signal.SIGKILL else 128 + number)
    assert path.read_bytes() == old
    ended = album.run(then)
    assert ended.returncode == 0, ended.stdout
    if then == "verify":
        assert ended.stdout.count("\n") == 1
    with album.indexed() as index:
        assert index.recent(10) == before
    assert findings_of(album.run("verify")) == ([], 0)


def test_verify_with_an_incomplete_index_compares_with_the_saved_hashes(album: AlbumFolder) -> None:
    album.path(1).write_bytes(make_picture(seed=99))
    album.path(2).unlink()
    album.thumbnail(2).unlink()
    INDEX_DAMAGES["without rows"](album.root / ".dog")
    lines, status = findings_of(album.run("verify"))
    changed = "is not as it was saved: its hash differs; restore it from a backup, or delete it"
    assert f"{image_path(album.photos[1])} {changed}" in lines
    assert f"{image_path(album.photos[2])} {MISSING}" in lines
    assert (len(lines), status) == (6, 1)


def test_a_server_finishes_a_rebuild_that_was_killed(album: AlbumFolder, serve: Serve) -> None:
    decide(album)
    assert interrupted(album, "dog.snapshots.reconcile.list_day", signal.SIGKILL, "rebuild")[1] == -signal.SIGKILL
    server = serve("--camera", "test")
    listed = json.load(urllib.request.urlopen(f"{server.url}/api/snapshots"))["snapshots"]
    assert [each["snapshot"] for each in listed] == [photo.id for photo in album.photos[4::-1]]
    assert [each.get("pinned", False) for each in listed] == [False, False, False, False, True]
    assert server.stop() == 0
    assert findings_of(album.run("verify")) == ([], 0)


def test_a_server_continues_a_rebuilt_album(album: AlbumFolder, serve: Serve) -> None:
    decide(album)
    assert album.run("rebuild").returncode == 0
    server = serve("--camera", "test", "--dead-time", "0")
    assert capture(server.url)["capture"] > 6
    listed = json.load(urllib.request.urlopen(f"{server.url}/api/snapshots"))["snapshots"]
    assert [each["snapshot"] for each in listed][1:] == [photo.id for photo in album.photos[4::-1]]
    assert [each.get("pinned", False) for each in listed][1:] == [False, False, False, False, True]
    assert server.stop() == 0


# ---- help


@pytest.mark.parametrize("command", ["backup", "verify", "rebuild", "export"])
def test_the_help_of_each_command_has_a_description_and_the_exit_statuses(tmp_path: Path, command: str) -> None:
    assert f"\n  {command} " in run_dog("album", "--help", cwd=tmp_path).stdout
    ended = run_dog("album", command, "--help", cwd=tmp_path)
    assert f"dog album {command} [OPTIONS]" in ended.stdout
    for word in ("--snapshots FOLDER", "DOG_SNAPSHOTS", "Exit status: 0 success; 1 ", "130 stopped by Ctrl-C."):
        assert word in " ".join(ended.stdout.split())
    assert ended.returncode == 0


def test_the_help_of_export_recommends_verify(tmp_path: Path) -> None:
    text = " ".join(run_dog("album", "export", "--help", cwd=tmp_path).stdout.split())
    assert "Write the photos into one archive, unchanged" in text
    assert "`dog album verify`" in text


def test_album_without_a_command_is_a_usage_error(tmp_path: Path) -> None:
    ended = run_dog("album", cwd=tmp_path)
    assert (ended.stderr, ended.returncode) == ("dog: Missing command. See dog album --help.\n", 2)
