"""Discovery: the commands `dog check` and `dog cameras`."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.server_process import run_dog
from tests.support.sources import make_tls
from tests.support.sources.odd_http_camera import OddHttpCamera, make_head, stamped_jpeg

PIP = f"{shlex.quote(sys.executable)} -m pip install"


def check(tmp_path: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run `dog check`.

    Return its exit status and its lines; standard error must be empty.
    """
    ended = run_dog("check", *arguments, cwd=tmp_path, timeout=60)
    assert ended.stderr == ""
    return ended.returncode, ended.stdout.splitlines()


def test_check_takes_an_image_with_each_camera_and_explains_failures(tmp_path: Path) -> None:
    (tmp_path / "dog.toml").write_text(
        """
        capture_timeout = 2
        retake = 0.2
        [cameras.card]
        camera = "test"
        [cameras.night]
        camera = "faulty:dark"
        [cameras.gone]
        camera = "faulty:dies"
        [cameras.taken]
        camera = "faulty:busy"
        [cameras.program]
        camera = "script:./nope.sh"
        """
    )
    status, lines = check(tmp_path)
    assert status == 1
    results = dict(line.split(": ", 1) for line in lines)
    assert list(results) == ["card", "night", "gone", "taken", "program"]
    assert results["card"].startswith("a JPEG of 1280 x 720 pixels, ")
    assert results["card"].endswith(" s after the press")
    assert "it is black. Check the light and the lens" in results["night"]
    assert results["gone"] == "The camera was unplugged (faulty on purpose)."
    assert results["taken"] == "Another program uses the camera (faulty on purpose)."
    assert results["program"].startswith("The camera program nope.sh does not exist. Check its path.")
    assert not (tmp_path / "snapshots").exists()


def test_check_prints_the_fingerprint_of_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    tls = make_tls(tmp_path)
    jpeg = stamped_jpeg()
    with OddHttpCamera(lambda _: make_head("Content-Type: image/jpeg") + jpeg, closes=True, tls=tls) as camera:
        url = f"https://127.0.0.1:{camera.port}/"
        status, (error, line) = check(tmp_path, "--camera", url)
        assert status == 1
        assert error.startswith("main: The camera's certificate is from an unknown authority.")
        found = re.fullmatch(r'main: for dog\.toml: (tls_fingerprint = "[0-9a-f]{64}")', line)
        assert found
        (tmp_path / "dog.toml").write_text(f'camera = "{url}"\nfrozen = false\n{found[1]}\n')
        status, lines = check(tmp_path)
        assert status == 0
        assert lines[0].startswith("main: a JPEG of 48 x 32 pixels")


def test_check_exits_with_0_if_all_cameras_work_and_saves_the_images(tmp_path: Path) -> None:
    status, lines = check(tmp_path, "--camera", "faulty:cut=0.5,seed=1", "--save", "a/b")
    assert status == 0
    assert len(lines) == 1
    with Image.open(tmp_path / "a/b/main.jpg") as image:
        assert image.size == (1280, 720)


def test_check_reports_an_unwritable_folder_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run_dog("check", "--save", "file/here", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr == "dog: --save: 'file/here/main.jpg' can't be written: not a directory. Name another folder.\n"


def test_check_gives_up_a_driver_that_hangs(tmp_path: Path) -> None:
    assert check(tmp_path, "--camera", "faulty:hang", "--capture-timeout", "0.5") == (
        1,
        ["main: The camera was opened, but sent no frame within 10 s. Reconnect it."],
    )


def test_check_does_not_show_the_password_of_a_url(tmp_path: Path) -> None:
    (tmp_path / "dog.toml").write_text('camera = "http://me:secret@127.0.0.1:1/"')
    (tmp_path / "dog.toml").chmod(0o600)
    status, lines = check(tmp_path)
    assert status == 1
    assert "secret" not in lines[0]
    assert lines[0].startswith("main: ")


@pytest.mark.skipif(sys.platform != "linux", reason="lists what Linux shows")
def test_cameras_without_devices_explains_network_cameras(tmp_path: Path) -> None:
    if list(Path("/dev").glob("video*")):
        pytest.skip("there are cameras here")
    ended = run_dog("cameras", cwd=tmp_path)
    assert ended.returncode == 0
    assert ended.stdout.splitlines() == [
        "Linux and Picamera2 list no camera. Plug one in.",
        'A network camera is not listed. Write its URL, such as camera = "rtsp://192.0.2.7/stream".',
    ]


def hide(package: str, folder: Path) -> dict[str, str]:
    """Return the environment for a process that can't import the package."""
    (folder / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, package=None: None if name == {package!r} else find(name, package)\n"
    )
    return {"PYTHONPATH": f"{folder}:{Path.cwd()}"}


def test_cameras_without_linuxpy_names_the_package_to_install(tmp_path: Path) -> None:
    ended = run_dog("cameras", cwd=tmp_path, env=hide("linuxpy", tmp_path))
    line = f"USB webcams can't be listed without the package linuxpy. Install it: {PIP} linuxpy"
    assert (ended.returncode, ended.stdout.splitlines()[0]) == (0, line)


@pytest.mark.parametrize(
    ("camera", "package", "problem"),
    [
        ("v4l2:/dev/video0", "linuxpy", f"this kind of camera needs the package linuxpy. Install it: {PIP} linuxpy\n"),
        ("rtsp://192.0.2.7/", "av", f"this kind of camera needs the package av. Install it: {PIP} av\n"),
        ("picamera:0", "picamera2", "this kind of camera needs the package picamera2. Install it: sudo apt install"),
    ],
)
def test_serve_names_the_package_that_a_camera_needs(camera: str, package: str, problem: str, tmp_path: Path) -> None:
    ended = run_dog("serve", "--camera", camera, "--port", "0", cwd=tmp_path, env=hide(package, tmp_path))
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"dog: --camera (command line): {problem}")
    assert ended.stderr.count("\n") == 1
