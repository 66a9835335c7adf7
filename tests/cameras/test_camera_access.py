"""camera_access.sh: the program that it chooses, and its arguments.

All programs are fake.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dog.cameras.script import ScriptCamera

SCRIPT = Path(__file__).resolve().parent.parent.parent / "camera_access.sh"

IMAGE = b"\xff\xd8 an image \xff\xd9"

TAKE = """#!/bin/sh
echo "${0##*/} $*" >>"$CALLS"
for image; do :; done
printf '\\377\\330 an image \\377\\331' >"$image"
"""
"""A fake camera program that logs its arguments and writes an image to the last one."""


class Computer:
    """A fake computer: a folder with all its programs, and the image's path."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.image = folder / "pict ures" / "capture.jpg"
        self.image.parent.mkdir()
        self.calls = folder / "calls"
        self.device = "/dev/null"  # a device that everyone may read and write
        self.install("uname", "#!/bin/sh\necho Linux\n")

    def install(self, name: str, text: str = TAKE) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def environment(self) -> dict[str, str]:
        environment = {"PATH": str(self.programs), "CALLS": str(self.calls)}
        return environment | ({"CAMERA_DEVICE": self.device} if self.device else {})

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, *(arguments or (str(self.image),))],
            env=self.environment(),
            cwd=self.programs,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def take(self) -> str:
        """Take an image, and return the program's call."""
        done = self.run()
        assert (done.returncode, done.stderr) == (0, "")
        assert self.image.read_bytes() == IMAGE
        return self.calls.read_text()


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path)


ORDER = ["imagesnap", "rpicam-still", "libcamera-still", "fswebcam", "ffmpeg"]


@pytest.mark.parametrize("place", range(len(ORDER)))
def test_camera_access_runs_the_first_program_that_is_installed(computer: Computer, place: int) -> None:
    computer.device = "" if place < 3 else "/dev/null"
    for name in ORDER[place:]:
        computer.install(name)
    assert computer.take().startswith(f"{ORDER[place]} ")


def test_imagesnap_gets_a_warm_up_and_the_camera_s_name(computer: Computer) -> None:
    computer.device = "USB Camera"
    computer.install("imagesnap")
    assert computer.take() == "imagesnap -q -w 1 -d USB Camera ./capture.jpg\n"


@pytest.mark.parametrize("name", ["rpicam-still", "libcamera-still"])
def test_raspberry_pi_programs_get_time_to_settle_and_no_preview(computer: Computer, name: str) -> None:
    computer.device = "1"
    computer.install(name)
    assert computer.take() == (
        f"{name} --nopreview --timeout 1000 --quality 93 --encoding jpg --camera 1 --output ./capture.jpg\n"
    )


def test_a_device_path_selects_a_program_that_supports_paths(computer: Computer) -> None:
    for name in ("rpicam-still", "libcamera-still", "fswebcam"):
        computer.install(name)
    assert computer.take().startswith("fswebcam ")


def test_fswebcam_skips_the_first_frames_and_writes_no_banner(computer: Computer) -> None:
    computer.install("fswebcam")
    assert computer.take() == (
        "fswebcam --quiet --device /dev/null --resolution 1920x1080 --skip 15 --no-banner --jpeg=95 ./capture.jpg\n"
    )


def test_ffmpeg_on_linux_reads_the_v4l2_device(computer: Computer) -> None:
    computer.install("ffmpeg")
    calls = computer.take()
    assert " -f v4l2 -video_size 1920x1080 -i /dev/null " in calls
    assert calls.endswith(" -frames:v 1 -update 1 -q:v 2 -y ./capture.jpg\n")


def test_ffmpeg_on_macos_uses_avfoundation(computer: Computer) -> None:
    computer.install("uname", "#!/bin/sh\necho Darwin\n")
    computer.install("ffmpeg")
    computer.device = ""
    assert " -f avfoundation -framerate 30 -i 0:none " in computer.take()


@pytest.mark.parametrize(
    ("name", "word"), [("fswebcam", "--png=-1"), ("rpicam-still", "--encoding png"), ("ffmpeg", "./capture.png")]
)
def test_the_suffix_of_the_path_selects_the_image_type(computer: Computer, name: str, word: str) -> None:
    computer.image = computer.image.with_suffix(".png")
    computer.device = "1" if name == "rpicam-still" else "/dev/null"
    computer.install(name)
    assert word in computer.take()


def test_a_percent_sign_in_the_folder_is_not_expanded(computer: Computer) -> None:
    """fswebcam and rpicam-still expand patterns.

    They get only the file name, and run in its folder.
    """
    computer.image = computer.image.parent.with_name("100%d %H") / "capture.jpg"
    computer.image.parent.mkdir()
    computer.install("fswebcam")
    assert computer.take().endswith(" ./capture.jpg\n")


def test_a_relative_path_and_a_name_like_an_option_are_accepted(computer: Computer) -> None:
    computer.install("fswebcam")
    assert computer.run("-o.jpg").returncode == 0
    assert (computer.programs / "-o.jpg").read_bytes() == IMAGE


def test_the_program_replaces_the_script_so_that_signals_reach_it(computer: Computer) -> None:
    computer.install("fswebcam", '#!/bin/sh\necho $$ >"$CALLS"\n')
    with subprocess.Popen([SCRIPT, computer.image], env=computer.environment()) as process:
        assert process.wait(30) == 0
    assert int(computer.calls.read_text()) == process.pid


def test_the_script_passes_on_the_program_s_status_and_error_output(computer: Computer) -> None:
    computer.install("fswebcam", "#!/bin/sh\necho no light >&2\nexit 7\n")
    done = computer.run()
    assert (done.returncode, done.stderr) == (7, "no light\n")


def test_without_any_program_the_error_lists_packages_to_install(computer: Computer) -> None:
    done = computer.run()
    assert done.returncode == 69
    for word in ("macOS", "Raspberry Pi", "Debian", "Fedora", "imagesnap", "rpicam-apps", "fswebcam", "ffmpeg"):
        assert word in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "There is no camera program: install fswebcam (Linux), rpicam-apps (Raspberry Pi) or imagesnap (macOS)."
    )


@pytest.mark.parametrize("name", ["fswebcam", "ffmpeg"])
def test_the_error_for_a_missing_device_names_it(computer: Computer, name: str) -> None:
    computer.install(name)
    computer.device = "/dev/video-none"
    done = computer.run()
    assert done.returncode == 69
    assert done.stderr == ("The camera /dev/video-none is not there: connect it, or set CAMERA_DEVICE to another.\n")
    assert not computer.calls.exists()


@pytest.mark.skipif(
    sys.platform != "linux" or any(Path("/dev").glob("video*")), reason="needs a Linux without a camera"
)
def test_without_a_camera_the_error_names_the_device_files(computer: Computer) -> None:
    computer.install("fswebcam")
    computer.device = ""
    done = computer.run()
    assert done.returncode == 69
    assert done.stderr == "There is no camera: no /dev/video* captures images. Connect one, or set CAMERA_DEVICE.\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_the_error_for_a_device_without_permission_names_the_group(computer: Computer, tmp_path: Path) -> None:
    computer.install("fswebcam")
    (tmp_path / "node").touch(0o000)
    computer.device = str(tmp_path / "node")
    done = computer.run()
    assert done.returncode == 77
    assert "member of the group video" in done.stderr


@pytest.mark.parametrize("arguments", [("",), ("a.jpg", "b.jpg")])
def test_wrong_arguments_print_the_usage(computer: Computer, arguments: tuple[str, ...]) -> None:
    computer.install("fswebcam")
    done = computer.run(*arguments)
    assert done.returncode == 64
    assert done.stderr.startswith("usage: camera_access.sh PATH")


def test_no_arguments_print_the_usage(computer: Computer) -> None:
    done = subprocess.run([SCRIPT], env=computer.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert done.stderr.startswith("usage: camera_access.sh PATH")


async def test_the_script_camera_takes_an_image_with_camera_access(
    computer: Computer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer.install("fswebcam")
    for name, value in computer.environment().items():
        monkeypatch.setenv(name, value)
    camera = ScriptCamera(SCRIPT, folder=tmp_path)
    await camera.open(lambda _error: None)
    assert (await camera.capture()).data == IMAGE
    await camera.close()


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "busybox", "zsh"])
def test_every_installed_shell_can_parse_camera_access(shell: str) -> None:
    if not (path := shutil.which(shell)):
        pytest.skip(f"{shell} is not installed")
    command = [path, *(["sh"] if shell == "busybox" else []), "-n", str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_has_no_complaints() -> None:
    if not (path := shutil.which("shellcheck")):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([path, SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
