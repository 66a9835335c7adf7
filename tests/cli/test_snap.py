"""`dog snap` and `dog gallery`, as processes with a real server."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

import pytest
from PIL import Image

from dog.cli.exit_status import MEANINGS, Status
from tests.conftest import Serve
from tests.support.camera_programs import write_script, write_waiting_camera
from tests.support.messages import make_body
from tests.support.module_process import start_dog
from tests.support.ports import find_free_port
from tests.support.pushes import read_until, watch
from tests.support.server_process import run_dog


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The command's working directory, separate from the server's."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def list_photos(url: str, folder: Path, *arguments: str) -> "list[dict[str, object]]":
    ended = run_dog("gallery", url, "--json", *arguments, cwd=folder)
    assert ended.returncode == Status.SUCCESS, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


@contextmanager
def answer_json(body: object) -> Iterator[str]:
    """The URL of a server that responds to every request with this body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_snap_saves_the_photo_with_the_given_name_or_its_own(serve: Serve, here: Path) -> None:
    url = serve("--dead-time", "0").url
    ended = run_dog("snap", url, "-o", "photo.jpg", cwd=here)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("photo.jpg\n", "", 0)
    named = run_dog("snap", url.removeprefix("http://"), "--max-age", "60", cwd=here).stdout.rstrip("\n")
    (photo,) = list_photos(url, here)
    assert re.fullmatch(rf"\d{{8}}T\d{{6}}\.\d{{3}}Z_main_{photo['snapshot']}\.jpg", named)
    (here / "folder").mkdir()
    assert run_dog("snap", url, "--max-age", "60", "-o", "folder", cwd=here).stdout == f"folder/{named}\n"
    pictures = {(here / name).read_bytes() for name in ("photo.jpg", named, f"folder/{named}")}
    assert [len(picture) for picture in pictures] == [photo["bytes"]]
    assert len(list(here.iterdir())) == 3


def test_snap_saves_a_copy_next_to_the_photo(serve: Serve, here: Path) -> None:
    url = serve().url
    whole = run_dog("snap", url, cwd=here).stdout.rstrip("\n")
    copy = run_dog("snap", url, "--max-age", "60", "--width", "640", cwd=here).stdout.rstrip("\n")
    assert copy == whole.replace(".jpg", "-640.jpg")
    assert run_dog("snap", url, "--max-age", "60", "--width", "2560", cwd=here).stdout == f"{whole}\n"
    for name, size in (whole, (1280, 720)), (copy, (640, 360)):
        with Image.open(here / name) as image:
            assert image.size == size
    refused = run_dog("snap", url, "--width", "700", cwd=here)
    assert refused.returncode == Status.USAGE
    assert "'700' is not one of '640', '1280', '1920', '2560'" in refused.stderr


def test_snap_writes_only_the_photo_to_standard_output(serve: Serve, here: Path) -> None:
    url = serve().url
    snap = start_dog("snap", url, "-o", "-", cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = snap.communicate(timeout=30)
    assert (errors, snap.returncode) == (b"", 0)
    assert len(output) == list_photos(url, here)[0]["bytes"]
    assert list(here.iterdir()) == []


def test_snap_prints_the_photo_as_one_json_object(serve: Serve, here: Path) -> None:
    url = serve().url
    told = json.loads(run_dog("snap", url, "-o", "photo.jpg", "--json", cwd=here).stdout)
    (photo,) = list_photos(url, here)
    assert told["path"] == "photo.jpg"
    assert told["url"] == f"{url}/snapshots/{told['snapshot']}.jpg"
    for field in ("url", "page", "thumbnail"):
        assert str(photo[field]).startswith(f"{url}/snapshots/{told['snapshot']}")
    assert photo.items() <= told.items()


def print_into(output: "IO[bytes] | int", *arguments: str, cwd: Path, **options: Any) -> tuple[str, int]:
    """Run dog with this standard output. Return its errors and its status."""
    printing = start_dog(*arguments, cwd=cwd, stdout=output, stderr=subprocess.PIPE, **options)
    return printing.communicate(timeout=30)[1].decode(), printing.wait()


PRINTING = [
    ["gallery"], ["gallery", "--json"], ["snap", "-o", "-"], ["snap", "--json"], ["watch"], ["watch", "--json"],
    ["--help"], ["gallery", "--help"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_standard_output_that_can_not_be_written_is_one_line(arguments: list[str], serve: Serve, here: Path) -> None:
    url = serve().url
    assert run_dog("snap", url, cwd=here).returncode == Status.SUCCESS  # something to list
    with open("/dev/full", "wb") as full:
        full_disk = print_into(full, *arguments, url, cwd=here)
    assert full_disk == ("dog: Standard output can't be written: no space left on device.\n", Status.FAILED)
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as closed:
        assert print_into(closed, *arguments, url, cwd=here) == ("", Status.FAILED)
    none = print_into(subprocess.DEVNULL, *arguments, url, cwd=here, preexec_fn=lambda: os.close(1))
    assert none == ("dog: Standard output can't be written: bad file descriptor.\n", Status.FAILED)


def test_an_error_of_another_file_is_not_reported_as_one_of_standard_output(serve: Serve, here: Path) -> None:
    (here / "folder").mkdir()
    os.symlink("/dev/full/photo.jpg", here / "folder" / "photo.jpg")
    with open("/dev/full", "wb") as full:
        said, status = print_into(full, "snap", serve().url, "-o", "folder/photo.jpg", cwd=here)
    assert said.startswith("dog: 'folder/photo.jpg' can't be written: ")
    assert (said.count("\n"), status) == (1, Status.FAILED)


def test_gallery_prints_an_out_of_range_time_unchanged(here: Path) -> None:
    photo = make_body(1, captured_at="9999-12-31T23:59:59Z")
    with answer_json({"snapshots": [photo]}) as url:
        ended = run_dog("gallery", url, cwd=here, env={"TZ": "Asia/Tokyo"})
    assert (ended.stderr, ended.returncode) == ("", Status.SUCCESS)
    assert ended.stdout.splitlines()[1].startswith("9999-12-31T23:59:59Z  main")


def test_snap_refuses_an_existing_file_before_it_takes_a_photo(serve: Serve, here: Path) -> None:
    url = serve().url
    (here / "photo.jpg").write_text("mine")
    (here / "pipe").mkdir()
    ended = run_dog("snap", url, "-o", "photo.jpg", cwd=here)
    assert ended.stderr == (
        "dog: 'photo.jpg' exists already. Name another file, or add --force to replace it. See dog snap --help.\n"
    )
    assert ended.returncode == Status.USAGE
    assert run_dog("snap", url, "-o", "nowhere/photo.jpg", cwd=here).stderr == (
        "dog: The folder 'nowhere' does not exist. Create it first. See dog snap --help.\n"
    )
    assert run_dog("snap", url, "--force", "-o", "/dev/null", cwd=here).returncode == Status.USAGE
    assert (here / "photo.jpg").read_text() == "mine"
    assert list_photos(url, here) == []
    assert run_dog("snap", url, "-o", "photo.jpg", "--force", cwd=here).returncode == Status.SUCCESS
    assert (here / "photo.jpg").stat().st_size == list_photos(url, here)[0]["bytes"]


def test_snap_opens_the_photo_in_the_desktops_image_viewer(serve: Serve, here: Path) -> None:
    url = serve().url
    programs = here / "programs"
    programs.mkdir()
    opened = here / "opened"
    os.mkfifo(opened)
    viewer = programs / "xdg-open"
    viewer.write_text(f"#!/bin/sh\necho \"$1\" > '{opened}'\n")
    viewer.chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    ended = run_dog("snap", url, "-o", "photo.jpg", "--open", cwd=here, env=path)
    assert ended.returncode == Status.SUCCESS
    assert opened.read_text() == "photo.jpg\n"
    ended = run_dog("snap", url, "-o", "other.jpg", "--open", cwd=here, env={"PATH": "/nowhere"})
    assert "The program xdg-open is not installed. Open the photo yourself: 'other.jpg'." in ended.stderr
    assert ended.returncode == Status.FAILED


def test_a_failed_capture_is_one_line(serve: Serve, tmp_path: Path, here: Path) -> None:
    script = write_script(tmp_path, "exit 3")
    url = serve("--camera", f"script:{script}").url
    for arguments in (["snap", url], ["snap", url, "--camera", "nope"], ["gallery", url, "--camera", "nope"]):
        ended = run_dog(*arguments, cwd=here)
        assert re.fullmatch(r"dog: [^\n]*(camera|program)[^\n]*\n", ended.stderr), ended.stderr
        assert (ended.returncode, ended.stdout) == (Status.FAILED, "")
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("command", ["snap", "gallery", "watch"])
def test_an_unreachable_server_or_an_invalid_url_is_one_line(command: str, here: Path) -> None:
    ended = run_dog(command, f"127.0.0.1:{(port := find_free_port())}", cwd=here)
    problem = "connection refused. Check the URL, and that the server runs."
    assert ended.stderr == f"dog: http://127.0.0.1:{port} can't be reached: {problem}\n"
    assert ended.returncode == Status.UNREACHABLE
    ended = run_dog(command, "ftp://a", cwd=here)
    assert ended.stderr == ("dog: 'ftp://a' is not the URL of a server. Write one such as http://camera.local:8080\n")
    assert ended.returncode == Status.USAGE


def test_snap_gives_up_on_a_silent_server_after_the_timeout(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        ended = run_dog("snap", f"127.0.0.1:{deaf.getsockname()[1]}", "--timeout", "0.2", cwd=here)
    assert "did not respond in 0.2 s" in ended.stderr
    assert ended.returncode == Status.UNREACHABLE


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--max-age", "-1"], "is not a number of seconds"),
        (["--max-age", "nan"], "is not a number of seconds"),
        (["-o", "-", "--json"], "Remove --json"),
        (["extra"], "extra"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments: list[str], named: str, here: Path) -> None:
    ended = run_dog("snap", "127.0.0.1:1", *arguments, cwd=here)
    assert re.fullmatch(rf"dog: [^\n]*{named}[^\n]* See dog snap --help\.\n", ended.stderr)
    assert ended.returncode == Status.USAGE


def test_ctrl_c_ends_snap_without_a_message(serve: Serve, tmp_path: Path, here: Path) -> None:
    server = serve("--camera", write_waiting_camera(tmp_path))
    with watch(server) as viewer:
        waiting = start_dog("snap", server.url, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        read_until(viewer, "capturing")
        waiting.send_signal(signal.SIGINT)
        assert waiting.communicate(timeout=20) == (b"", b"")
        assert waiting.returncode == Status.INTERRUPTED
        (tmp_path / "go").write_text("now\n")
        read_until(viewer, "ready")
    assert list(here.iterdir()) == []


def test_gallery_lists_the_newest_photo_first(serve: Serve, here: Path) -> None:
    url = serve("--dead-time", "0").url
    assert run_dog("gallery", url, cwd=here).stdout == "There are no photos yet.\n"
    taken = [
        json.loads(run_dog("snap", url, "--max-age", "0", "--json", cwd=here).stdout)["snapshot"] for _ in range(3)
    ]
    table = run_dog("gallery", url, "--limit", "2", cwd=here).stdout.splitlines()
    assert table[0].split() == ["Time", "Camera", "Pixels", "Size", "Id"]
    assert [line.split()[-1] for line in table[1:]] == [taken[2], taken[1]]
    assert [photo["snapshot"] for photo in list_photos(url, here)] == taken[::-1]


@pytest.mark.parametrize("command", ["snap", "gallery", "watch"])
def test_the_help_describes_each_exit_status(command: str, here: Path) -> None:
    text = " ".join(run_dog(command, "--help", cwd=here).stdout.split())
    for status, meaning in MEANINGS.items():
        assert f"{status:d} {meaning}" in text
