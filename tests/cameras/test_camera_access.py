"""camera_access.sh with a PATH of nothing but made-up camera programs: which it chooses and what it tells them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dog.cameras.script import ScriptCamera

SCRIPT = Path(__file__).resolve().parent.parent.parent / "camera_access.sh"

PICTURE = b"\xff\xd8 a picture \xff\xd9"

TAKE = """#!/bin/sh
echo "${0##*/} $*" >>"$SAID"
for picture; do :; done
printf '\\377\\330 a picture \\377\\331' >"$picture"
"""
"""A camera program: it notes how it was called and leaves a picture at its last argument."""


class Computer:
    """A folder of programs, the only ones that there are, and an image to create."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.image = folder / "pict ures" / "capture.jpg"
        self.image.parent.mkdir()
        self.said = folder / "said"
        self.device = "/dev/null"  # a node that is there for everyone to read and write
        self.install("uname", "#!/bin/sh\necho Linux\n")

    def install(self, name: str, text: str = TAKE) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def environment(self) -> dict[str, str]:
        environment = {"PATH": str(self.programs), "SAID": str(self.said)}
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
        """Take a picture; how the program was called."""
        done = self.run()
        assert (done.returncode, done.stderr) == (0, "")
        assert self.image.read_bytes() == PICTURE
        return self.said.read_text()


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path)


ORDER = ["imagesnap", "rpicam-still", "libcamera-still", "fswebcam", "ffmpeg"]


@pytest.mark.parametrize("place", range(len(ORDER)))
def test_the_first_program_that_is_there_takes_the_picture(computer: Computer, place: int) -> None:
    computer.device = "" if place < 3 else "/dev/null"
    for name in ORDER[place:]:
        computer.install(name)
    assert computer.take().startswith(f"{ORDER[place]} ")


def test_imagesnap_warms_up_and_is_told_the_camera_s_name(computer: Computer) -> None:
    computer.device = "USB Camera"
    computer.install("imagesnap")
    assert computer.take() == "imagesnap -q -w 1 -d USB Camera ./capture.jpg\n"


@pytest.mark.parametrize("name", ["rpicam-still", "libcamera-still"])
def test_the_raspberry_pi_s_programs_settle_without_a_preview(computer: Computer, name: str) -> None:
    computer.device = "1"
    computer.install(name)
    assert computer.take() == (
        f"{name} --nopreview --timeout 1000 --quality 93 --encoding jpg --camera 1 --output ./capture.jpg\n"
    )


def test_a_device_by_its_path_is_for_the_programs_that_know_such(computer: Computer) -> None:
    for name in ("rpicam-still", "libcamera-still", "fswebcam"):
        computer.install(name)
    assert computer.take().startswith("fswebcam ")


def test_fswebcam_skips_the_first_frames_and_writes_no_banner(computer: Computer) -> None:
    computer.install("fswebcam")
    assert computer.take() == (
        "fswebcam --quiet --device /dev/null --resolution 1920x1080 --skip 15 --no-banner --jpeg=95 ./capture.jpg\n"
    )


def test_ffmpeg_on_linux_reads_the_device(computer: Computer) -> None:
    computer.install("ffmpeg")
    said = computer.take()
    assert " -f v4l2 -video_size 1920x1080 -i /dev/null " in said
    assert said.endswith(" -frames:v 1 -update 1 -q:v 2 -y ./capture.jpg\n")


def test_ffmpeg_on_macos_asks_the_system_for_the_camera(computer: Computer) -> None:
    computer.install("uname", "#!/bin/sh\necho Darwin\n")
    computer.install("ffmpeg")
    computer.device = ""
    assert " -f avfoundation -framerate 30 -i 0:none " in computer.take()


@pytest.mark.parametrize(
    ("name", "word"), [("fswebcam", "--png=-1"), ("rpicam-still", "--encoding png"), ("ffmpeg", "./capture.png")]
)
def test_the_suffix_says_the_type(computer: Computer, name: str, word: str) -> None:
    computer.image = computer.image.with_suffix(".png")
    computer.device = "1" if name == "rpicam-still" else "/dev/null"
    computer.install(name)
    assert word in computer.take()


def test_a_percent_sign_in_the_folder_means_nothing(computer: Computer) -> None:
    """fswebcam and rpicam-still would fill in a pattern; they are given the bare name, in the folder."""
    computer.image = computer.image.parent.with_name("100%d %H") / "capture.jpg"
    computer.image.parent.mkdir()
    computer.install("fswebcam")
    assert computer.take().endswith(" ./capture.jpg\n")


def test_a_relative_path_and_a_name_like_an_option_are_fine_too(computer: Computer) -> None:
    computer.install("fswebcam")
    assert computer.run("-o.jpg").returncode == 0
    assert (computer.programs / "-o.jpg").read_bytes() == PICTURE


def test_the_program_takes_the_script_s_place_so_that_signals_reach_it(computer: Computer) -> None:
    computer.install("fswebcam", '#!/bin/sh\necho $$ >"$SAID"\n')
    with subprocess.Popen([SCRIPT, computer.image], env=computer.environment()) as process:
        assert process.wait(30) == 0
    assert int(computer.said.read_text()) == process.pid


def test_the_program_s_status_and_words_are_the_script_s(computer: Computer) -> None:
    computer.install("fswebcam", "#!/bin/sh\necho no light >&2\nexit 7\n")
    done = computer.run()
    assert (done.returncode, done.stderr) == (7, "no light\n")


def test_without_any_program_it_says_what_to_install_where(computer: Computer) -> None:
    done = computer.run()
    assert done.returncode == 69
    for word in ("macOS", "Raspberry Pi", "Debian", "Fedora", "imagesnap", "rpicam-apps", "fswebcam", "ffmpeg"):
        assert word in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "There is no camera program: install fswebcam (Linux), rpicam-apps (Raspberry Pi) or imagesnap (macOS)."
    )


@pytest.mark.parametrize("name", ["fswebcam", "ffmpeg"])
def test_a_device_that_is_not_there_is_told_by_its_name(computer: Computer, name: str) -> None:
    computer.install(name)
    computer.device = "/dev/video-none"
    done = computer.run()
    assert done.returncode == 69
    assert done.stderr == ("The camera /dev/video-none is not there: connect it, or set CAMERA_DEVICE to another.\n")
    assert not computer.said.exists()


@pytest.mark.skipif(
    sys.platform != "linux" or any(Path("/dev").glob("video*")), reason="needs a Linux without a camera"
)
def test_without_a_camera_it_says_so(computer: Computer) -> None:
    computer.install("fswebcam")
    computer.device = ""
    done = computer.run()
    assert done.returncode == 69
    assert done.stderr == "There is no camera: no /dev/video* gives pictures. Connect one, or set CAMERA_DEVICE.\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_device_that_is_closed_to_this_user_is_told(computer: Computer, tmp_path: Path) -> None:
    computer.install("fswebcam")
    (tmp_path / "node").touch(0o000)
    computer.device = str(tmp_path / "node")
    done = computer.run()
    assert done.returncode == 77
    assert "member of the group video" in done.stderr


@pytest.mark.parametrize("arguments", [("",), ("a.jpg", "b.jpg")])
def test_anything_but_one_path_is_answered_with_the_usage(computer: Computer, arguments: tuple[str, ...]) -> None:
    computer.install("fswebcam")
    done = computer.run(*arguments)
    assert done.returncode == 64
    assert done.stderr.startswith("usage: camera_access.sh PATH")


def test_no_argument_at_all_is_answered_with_the_usage(computer: Computer) -> None:
    done = subprocess.run([SCRIPT], env=computer.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert done.stderr.startswith("usage: camera_access.sh PATH")


async def test_the_script_camera_takes_a_picture_with_it(
    computer: Computer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer.install("fswebcam")
    for name, value in computer.environment().items():
        monkeypatch.setenv(name, value)
    camera = ScriptCamera(SCRIPT, folder=tmp_path)
    await camera.open(lambda _error: None)
    assert (await camera.capture()).data == PICTURE
    await camera.close()


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "busybox", "zsh"])
def test_every_shell_that_is_here_can_read_it(shell: str) -> None:
    if not (path := shutil.which(shell)):
        pytest.skip(f"{shell} is not installed")
    command = [path, *(["sh"] if shell == "busybox" else []), "-n", str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_finds_nothing() -> None:
    if not (path := shutil.which("shellcheck")):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([path, SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
