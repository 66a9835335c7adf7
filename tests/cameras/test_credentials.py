"""Password file of a camera: read at each opening, and never shown."""

import os
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from dog.cameras.camera_url import CameraUrl
from dog.cameras.credentials import MAX_PASSWORD_FILE_BYTES, read_password
from dog.cameras.http import HttpSource
from dog.cameras.rtsp import RtspSource
from dog.errors import CameraOffline
from tests.conftest import Serve
from tests.support.server_process import run_dog
from tests.support.sources import make_http_camera, make_rtsp_camera, needs_gstreamer
from tests.support.sources.odd_http_camera import OddHttpCamera, Request, make_head, stamped_jpeg

PASSWORD = "s@cr/et: %41é"
FRAME_TIMEOUT = 10.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "yard.password"
    path.write_text(PASSWORD)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_password_is_the_file_s_only_line_without_its_end(end: str, file: Path) -> None:
    file.write_bytes(f" {PASSWORD} {end}".encode())
    assert read_password(file) == f" {PASSWORD} "


def remove(file: Path) -> None:
    file.unlink()


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def make_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def fill(data: bytes) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        file.write_bytes(data)

    return write


WRONG = [
    (remove, "can't be read: no such file or directory. Name a file that has the password and nothing else."),
    (make_folder, "is not a file. Name one that has the password and nothing else."),
    (make_fifo, "is not a file. Name one that has the password and nothing else."),
    (fill(b""), "is empty. Write the password into it."),
    (fill(b"\n"), "is empty. Write the password into it."),
    (fill(b"secret\nsecret\n"), "has more than one line. Write the password into it and nothing else."),
    (fill(b"secret\xff"), "is not text in UTF-8. Write the password into it and nothing else."),
    (
        fill(b"s" * (MAX_PASSWORD_FILE_BYTES + 1)),
        "has more than one line. Write the password into it and nothing else.",
    ),
]


@pytest.mark.parametrize(("spoil", "problem"), WRONG)
def test_an_invalid_password_file_ends_the_start_with_one_line(
    spoil: Callable[[Path], None], problem: str, file: Path, tmp_path: Path
) -> None:
    spoil(file)
    (tmp_path / "dog.toml").write_text('camera = "http://me@127.0.0.1:1/"\npassword_file = "yard.password"')
    ended = run_dog("serve", "--port", "0", cwd=tmp_path)
    assert ended.returncode == (75 if spoil is remove else 2)  # a missing file may come later
    assert ended.stderr.splitlines()[-1] == f"dog: password_file (dog.toml line 2): yard.password {problem}"
    assert "secret" not in ended.stderr


@pytest.mark.parametrize(
    ("camera", "problem"),
    [
        ("http://127.0.0.1:1/", "the camera's URL names no user. Write it and an @ before the host."),
        ("http://me:secret@127.0.0.1:1/", "the camera's URL has a password too. Remove it."),
    ],
)
def test_a_password_file_needs_a_url_with_a_user_and_no_password(
    camera: str, problem: str, file: Path, tmp_path: Path
) -> None:
    ended = run_dog("serve", "--password-file", str(file), env={"DOG_CAMERA": camera}, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == f"dog: DOG_CAMERA (environment): {problem}"


def test_cameras_without_a_url_warn_of_an_unused_password_file(file: Path, serve: Serve) -> None:
    server = serve("--camera", "test", "--password-file", f"{file}.gone")
    server.wait_for(r"--password-file \(command line\): a test camera does not use this setting")


def test_no_text_about_a_url_contains_the_password_of_the_file(file: Path) -> None:
    url = CameraUrl("rtsp://ad%20min@127.0.0.1:5/cam", file)
    url.read_password()
    assert (url.user, url.password) == ("ad min", PASSWORD)
    whole = "rtsp://ad%20min:s%40cr%2Fet%3A%20%2541%C3%A9@127.0.0.1:5/cam"
    texts = f"{url} {url!r} {url.url} {url.hide_secrets(f'{whole} {PASSWORD}')}"
    assert "s@cr" not in texts
    assert "s%40cr" not in texts


@pytest.mark.parametrize("auth", ["basic", "sha-256"])
def test_each_opening_reads_the_current_password_of_the_file(auth: str, file: Path) -> None:
    with make_http_camera("--user", "ad min", "--password", PASSWORD, "--auth", auth) as camera:

        def take() -> None:
            source = HttpSource(f"http://ad%20min@127.0.0.1:{camera.port}/still", password_file=file)
            try:
                source.open()
                assert source.read(FRAME_TIMEOUT).image()
            finally:
                source.close()

        take()
        file.write_text("another")
        with pytest.raises(CameraOffline, match="refuses the user or the password"):
            take()
        file.unlink()
        with pytest.raises(CameraOffline, match="can't be read from its file") as caught:
            take()
        assert str(file) not in caught.value.message
        assert f"{file} can't be read: no such file or directory" in caught.value.detail
        file.write_text(f"{PASSWORD}\n")
        take()


@needs_gstreamer
def test_an_rtsp_stream_is_opened_with_the_password_of_the_file(file: Path) -> None:
    with make_rtsp_camera("jpeg", "--user", "admin", "--password", PASSWORD) as camera:
        url = f"rtsp://admin@127.0.0.1:{camera.port}/cam"
        source = RtspSource(url, password_file=file)
        source.open()
        assert source.read(FRAME_TIMEOUT)
        source.close()
        file.unlink()
        with pytest.raises(CameraOffline, match="can't be read from its file"):
            RtspSource(url, password_file=file).open()


def test_a_service_with_a_password_file_takes_photos_and_never_shows_the_password(
    serve: Serve, file: Path, tmp_path: Path
) -> None:
    with make_http_camera("--user", "admin", "--password", PASSWORD) as camera:
        (tmp_path / "dog.toml").write_text(
            f'log_level = "debug"\n[cameras.yard]\ncamera = "http://admin@127.0.0.1:{camera.port}/still"\n'
            'password_file = "yard.password"\n'
        )
        server = serve()
        texts: list[Any] = []
        with connect(f"ws://127.0.0.1:{server.port}/ws") as viewer:
            viewer.send('{"type":"capture"}')
            while '"ready"' not in (message := str(viewer.recv(timeout=30))):
                texts.append(message)
        assert server.stop() == 0
    texts += [server.stderr, *(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())]
    texts.remove(file.read_bytes().decode("latin-1"))
    for secret in (PASSWORD, PASSWORD.encode().decode("latin-1"), "s%40cr", "yard.password is"):
        assert not [text for text in texts if secret in text]


@pytest.mark.parametrize("works", [True, False])
def test_a_service_never_shows_a_password_in_the_path_of_a_url(works: bool, serve: Serve, tmp_path: Path) -> None:
    def answer(request: Request) -> bytes:
        if works:
            return make_head("Content-Type: image/jpeg") + stamped_jpeg()
        return make_head("Content-Type: text/plain") + f"{request.target}: gate_w0rd of keeper is wrong".encode()

    with OddHttpCamera(answer, closes=True) as camera:
        path = "user=keeper_password=gate_w0rd_channel=3_stream=0.jpg"
        (tmp_path / "dog.toml").write_text(f'log_level = "debug"\ncamera = "http://127.0.0.1:{camera.port}/{path}"\n')
        (tmp_path / "dog.toml").chmod(0o600)
        server = serve()
        texts: list[Any] = []
        with connect(f"ws://127.0.0.1:{server.port}/ws") as viewer:
            viewer.send('{"type":"capture"}')
            while '"ready"' not in (message := str(viewer.recv(timeout=30))) and '"offline"' not in message:
                texts.append(message)
            texts.append(message)
        texts += [
            urllib.request.urlopen(server.url + page).read().decode() for page in ("/", "/api/cameras", "/metrics")
        ]
        assert server.stop() == 0
    (tmp_path / "dog.toml").unlink()
    texts += [server.stderr, *(one.read_bytes().decode("latin-1") for one in tmp_path.rglob("*") if one.is_file())]
    assert works or "left text" in server.stderr
    for secret in ("gate_w0rd", "keeper"):
        assert not [text for text in texts if secret in text]


def test_a_password_on_the_command_line_is_refused_at_the_start(tmp_path: Path) -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    url = f"http://me:s3cret@127.0.0.1:{closed.getsockname()[1]}/"
    closed.close()
    for command in ("serve", "check"):
        ended = run_dog(command, "--camera", url, cwd=tmp_path)
        assert ended.returncode == 2
        assert "name a file that contains it with --password-file" in ended.stderr
        assert "s3cret" not in ended.stderr
