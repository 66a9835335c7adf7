"""The script camera with real programs: each test writes one and the camera runs it."""

import asyncio
import ctypes
import io
import logging
import os
import re
import select
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from PIL import Image

from dog.cameras import Camera
from dog.cameras import subprocesses as program
from dog.cameras.script import ScriptCamera
from dog.errors import BadImage, CameraFault, CameraOffline, CameraTimeout, CaptureError, StorageError
from dog.images import MAX_IMAGE_BYTES
from tests.support.server_process import ROOT

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc, which only Linux has")

Make = Callable[..., ScriptCamera]


def ignore(_error: CaptureError) -> None:
    """A program is never lost: it is started for each capture."""


TRUNCATE = f'{sys.executable} -c "import sys; open(sys.argv[1], \'wb\').truncate({{}})" "$1"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the private folders go; there is a space in it."""
    path = tmp_path / "in coming"
    path.mkdir()
    return path


@pytest.fixture
def jpeg(tmp_path: Path) -> Path:
    path = tmp_path / "source.jpg"
    Image.linear_gradient("L").convert("RGB").save(path, quality=90)
    return path


@pytest.fixture
async def make(tmp_path: Path, folder: Path) -> AsyncIterator[Make]:
    """`make("cp x $1", timeout=1)`: a camera whose program is a shell script of these lines."""
    cameras: list[ScriptCamera] = []

    def make_camera(
        lines: str, *, timeout: float = 30.0, image_type: str = "jpg", name: str = "take.sh"
    ) -> ScriptCamera:
        script = write_script(tmp_path / name, lines)
        camera = ScriptCamera(script, folder=folder, image_type=image_type, timeout=timeout)
        cameras.append(camera)
        return camera

    yield make_camera
    for camera in cameras:
        await camera.close()


def write_script(path: Path, lines: str) -> Path:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


def content(path: Path) -> bytes:
    return path.read_bytes()


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def is_gone(pid: int) -> bool:
    """Whether the process runs no more; a zombie doesn't."""
    try:
        if sys.platform != "linux":
            os.kill(pid, 0)
            return False
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    finally:
        os.close(descriptor)


def read_line(fifo: Path) -> str:
    """What a script tells a FIFO. Opened both ways, it waits for no writer to come and has no end when one goes."""
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        said = b""
        while not said.endswith(b"\n"):
            assert select.select([descriptor], [], [], 20)[0], "the script said nothing for 20 s"
            said += os.read(descriptor, 4096)
        return said.decode()
    finally:
        os.close(descriptor)


async def read_pids(fifo: Path) -> list[int]:
    """The numbers of the script's processes, which it tells the FIFO when it has started them."""
    return [int(word) for word in (await asyncio.to_thread(read_line, fifo)).split()]


def make_fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def test_it_is_a_camera(tmp_path: Path) -> None:
    camera: Camera = ScriptCamera(tmp_path / "take.sh", folder=tmp_path)
    camera.kill()  # nothing runs: nothing happens


# ---- what the program is given


async def test_the_picture_comes_through_untouched(make: Make, jpeg: Path) -> None:
    camera = make(f'cp "{jpeg}" "$1"')
    await camera.open(ignore)
    assert (await camera.capture()).data == content(jpeg)


async def test_the_program_gets_one_argument_an_absolute_path_in_a_private_folder(
    make: Make, jpeg: Path, tmp_path: Path, folder: Path
) -> None:
    said = tmp_path / "said"
    camera = make(f'printf "%s\\n" $# "$1" >"{said}"; ls -ld "${{1%/*}}" >>"{said}"; cp "{jpeg}" "$1"')
    await camera.capture()
    count, path, listing = said.read_text().splitlines()
    assert count == "1"
    assert Path(path).is_absolute()
    assert Path(path).name == "capture.jpg"
    assert Path(path).parent.parent == folder
    assert listing.startswith("drwx------")


async def test_every_capture_has_a_folder_of_its_own(make: Make, jpeg: Path, tmp_path: Path) -> None:
    camera = make(f'echo "$1" >>"{tmp_path}/said"; cp "{jpeg}" "$1"')
    for _ in range(3):
        await camera.capture()
    assert len(set((tmp_path / "said").read_text().splitlines())) == 3


async def test_the_image_type_is_the_suffix_of_the_path(make: Make, jpeg: Path, tmp_path: Path) -> None:
    camera = make(f'echo "$1" >"{tmp_path}/said"; cp "{jpeg}" "$1"', image_type="png")
    await camera.capture()
    assert (tmp_path / "said").read_text().endswith("/capture.png\n")


async def test_no_shell_reads_the_name_of_the_program(make: Make, jpeg: Path, tmp_path: Path) -> None:
    camera = make(f'cp "{jpeg}" "$1"', name="take $(touch bad) 'it';.sh")
    await camera.open(ignore)
    assert (await camera.capture()).data == content(jpeg)
    assert not (tmp_path / "bad").exists()


async def test_a_relative_program_is_the_one_in_the_current_folder(
    make: Make, jpeg: Path, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(f'cp "{jpeg}" "$1"')
    monkeypatch.chdir(tmp_path)
    camera = ScriptCamera(Path("take.sh"), folder=folder)
    monkeypatch.chdir("/")
    assert (await camera.capture()).data == content(jpeg)
    await camera.close()


async def test_a_program_is_given_no_variable_that_may_hold_a_secret(
    make: Make, jpeg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_on = {
        "CAMERA_DEVICE": "/dev/video7",
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "LC_TIME": "C",
        "TZ": "Europe/Berlin",
        "TMPDIR": str(tmp_path),
    }
    for name, value in passed_on.items():
        monkeypatch.setenv(name, value)
    for name in (
        "DOG_CAMERA",
        "AWS_SECRET_ACCESS_KEY",
        "CREDENTIALS_DIRECTORY",
        "NOTIFY_SOCKET",
        "SSH_AUTH_SOCK",
        "https_proxy",
        "ANYTHING_ELSE",
        "PATHS",
        "MY_CAMERA_TOKEN",
    ):
        monkeypatch.setenv(name, "secret")
    await make(f'/usr/bin/env -0 >"{tmp_path}/said"; cp "{jpeg}" "$1"').capture()
    environment = dict(line.split("=", 1) for line in (tmp_path / "said").read_text().split("\0") if line)
    assert passed_on.items() <= environment.items()
    assert "secret" not in environment.values()


def test_the_docs_name_the_variables_that_a_program_is_given() -> None:
    [told] = re.findall(r"^- These environment variables.*?^- ", (ROOT / "docs/cameras.md").read_text(), re.M | re.S)
    names = program.PASSED_VARIABLES.pattern.replace(".*", "*").split("|")
    assert set(re.findall(r"`([A-Z_]+\*?)`", told)) == set(names)


@on_linux
async def test_the_program_inherits_no_descriptor(make: Make, jpeg: Path, tmp_path: Path) -> None:
    listing = "import os; print(*[n for n in os.listdir('/proc/self/fd') if os.path.lexists(f'/proc/self/fd/{n}')])"
    camera = make(f'cp "{jpeg}" "$1"; exec {sys.executable} -I -S -c "{listing}" >"{tmp_path}/said"')
    reader, writer = os.pipe()
    try:
        for descriptor in (reader, writer):
            os.set_inheritable(descriptor, True)
        await camera.capture()
    finally:
        os.close(reader)
        os.close(writer)
    assert sorted((tmp_path / "said").read_text().split()) == ["0", "1", "2"]


@on_linux
async def test_the_program_reads_nothing_and_leads_a_session_and_a_group(
    make: Make, jpeg: Path, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    camera = make(f'readlink /proc/$$/fd/0 >"{said}"; cat >>"{said}"; cat /proc/$$/stat >>"{said}"; cp "{jpeg}" "$1"')
    await camera.capture()
    stdin, numbers = said.read_text().splitlines()
    assert stdin == "/dev/null"
    pid, (group, session) = numbers.split()[0], numbers.rpartition(")")[2].split()[2:4]
    assert group == session == pid


# ---- what the program leaves


async def test_text_half_a_jpeg_and_a_png_come_through_for_the_store_to_judge(
    make: Make, jpeg: Path, tmp_path: Path
) -> None:
    png = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(png, "PNG")
    for left in (b"no picture\n", content(jpeg)[:1000], png.getvalue()):
        (tmp_path / "left").write_bytes(left)
        assert (await make(f'cp "{tmp_path}/left" "$1"').capture()).data == left


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("true", "The camera program ended well but left no image."),
        (
            "printf '\\033[1m--- Opening\\n\\033[0m\\033[31mstat: No such device\\n\\033[0m' >&2",
            "The camera program ended well but left no image: stat: No such device.",
        ),
        ('rm -r "${1%/*}"', "The camera program ended well but left no image."),
        (': >"$1"', "The camera program ended well but left an empty file."),
        ('ln -s /etc/passwd "$1"', "The camera program ended well but left a symbolic link instead of an image."),
        ('mkdir "$1"', "The camera program ended well but left a folder instead of an image."),
        ('mkfifo "$1"', "The camera program ended well but left a FIFO instead of an image."),
        (
            f'{sys.executable} -c "import os, socket, sys; os.chdir(os.path.dirname(sys.argv[1]));'
            ' socket.socket(socket.AF_UNIX).bind(os.path.basename(sys.argv[1]))" "$1"',
            "The camera program ended well but left a socket instead of an image.",
        ),
        (
            TRUNCATE.format(MAX_IMAGE_BYTES + 1024 * 1024),
            "The camera program ended well but left a file of 65 MiB. An image may have 64 MiB.",
        ),
    ],
    ids=["nothing", "nothing-but-words", "no-folder", "empty", "link", "folder", "fifo", "socket", "huge"],
)
async def test_what_is_no_file_with_something_in_it_is_a_bad_image(
    make: Make, folder: Path, lines: str, message: str
) -> None:
    with pytest.raises(BadImage) as caught:
        await make(lines).capture()
    assert caught.value.message == message
    assert names(folder) == []


async def test_a_picture_of_the_largest_size_is_taken(make: Make) -> None:
    assert len((await make(TRUNCATE.format(MAX_IMAGE_BYTES)).capture()).data) == MAX_IMAGE_BYTES


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
async def test_a_picture_and_folders_that_are_closed_to_us_are_a_bad_image_and_are_removed(
    make: Make, folder: Path
) -> None:
    camera = make('mkdir -p "$1.d/deep/er"; chmod 0 "$1.d/deep" "$1.d"; echo x >"$1"; chmod 0 "$1" "${1%/*}"')
    with pytest.raises(BadImage, match="an image that can't be read: Permission denied"):
        await camera.capture()
    assert names(folder) == []


# ---- how the program ends


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("exit 3", "The camera program ended with status 3."),
        ("echo no >&2; echo 'no light.' >&2; echo >&2; exit 3", "The camera program ended with status 3: no light."),
        (
            "printf 'a\\033[31m red\\tword\\007\\302\\233\\r\\n' >&2; exit 1",
            "The camera program ended with status 1: a red word.",
        ),
        ('echo "can\'t write $1" >&2; exit 1', "The camera program ended with status 1: can't write capture.jpg."),
        ('echo "$0: 1: no" >&2; exit 1', "The camera program ended with status 1: take.sh: 1: no."),
        ("printf '%500s' | tr ' ' x >&2; exit 1", f"The camera program ended with status 1: {'x' * 199}…"),
        ("kill -SEGV $$", "The camera program was ended by SIGSEGV."),
        ("echo ouch >&2; kill -KILL $$", "The camera program was ended by SIGKILL: ouch."),
    ],
    ids=["silent", "words", "colours", "path", "itself", "long", "signal", "signal-and-words"],
)
async def test_a_program_that_fails_is_a_fault_with_its_last_words(make: Make, lines: str, message: str) -> None:
    with pytest.raises(CameraFault) as caught:
        await make(lines).capture()
    assert caught.value.message == message


async def test_a_picture_of_a_program_that_fails_is_not_taken(make: Make, jpeg: Path, folder: Path) -> None:
    with pytest.raises(CameraFault):
        await make(f'cp "{jpeg}" "$1"; exit 1').capture()
    assert names(folder) == []


async def test_the_log_gets_the_path_the_time_and_the_last_lines(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(CameraFault) as caught:
        await make("seq 1 9 >&2; echo out; exit 4").capture()
    assert f"{tmp_path}/take.sh" not in caught.value.message
    assert f"{tmp_path}/take.sh" in caught.value.detail
    assert " s; standard error: 5 | 6 | 7 | 8 | 9; standard output: out" in caught.value.detail
    (record,) = [r for r in caplog.records if r.name == "dog.cameras.script"]
    assert caught.value.detail in record.getMessage()


async def test_a_hundred_megabytes_on_either_output_do_not_block_it(make: Make, jpeg: Path) -> None:
    camera = make(f'head -c 100000000 /dev/zero; head -c 100000000 /dev/zero >&2; echo the end >&2; cp "{jpeg}" "$1"')
    assert (await camera.capture()).data == content(jpeg)


async def test_only_the_end_of_an_output_is_kept() -> None:
    tail = program.Tail()
    for _ in range(100):
        tail.add(b"x" * 65536)
    tail.add(b"\nlast")
    assert tail.lines()[-1] == "last"
    assert sum(map(len, tail.lines())) <= program.MAX_TAIL_BYTES


async def test_a_program_that_hangs_is_ended_at_the_time_limit(make: Make, tmp_path: Path, folder: Path) -> None:
    fifo = make_fifo(tmp_path / "started")
    camera = make(f'echo half >"$1"; sleep 1000 & echo $$ $! >"{fifo}"; wait', timeout=3)
    capture = asyncio.ensure_future(camera.capture())
    pids = await read_pids(fifo)
    with pytest.raises(CameraTimeout) as caught:
        await capture
    assert caught.value.message == "The camera program did not finish within 3 s and was ended. Check the camera."
    assert [is_gone(pid) for pid in pids] == [True, True]
    assert names(folder) == []


async def test_a_program_is_asked_to_end_before_it_is_made_to(make: Make, tmp_path: Path) -> None:
    camera = make(
        f"trap 'echo tidied >\"{tmp_path}/said\"; exit' TERM\nsleep 1000 & wait",
        timeout=3,
    )
    with pytest.raises(CameraTimeout):
        await camera.capture()
    assert (tmp_path / "said").read_text() == "tidied\n"


async def test_a_program_that_ignores_sigterm_is_killed_with_its_grandchild(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "TERM_GRACE_SECONDS", 0.2)
    fifo = make_fifo(tmp_path / "started")
    camera = make(
        f"trap '' TERM\nsh -c 'trap \"\" TERM; sleep 1000 & echo $$ $!; while :; do wait; done' >\"{fifo}\" &\n"
        "while :; do wait; done",
        timeout=3,
    )
    capture = asyncio.ensure_future(camera.capture())
    pids = await read_pids(fifo)
    with pytest.raises(CameraTimeout):
        await capture
    assert [is_gone(pid) for pid in pids] == [True, True]


async def test_a_child_that_is_left_behind_holds_nothing_up_and_is_ended(
    make: Make, jpeg: Path, tmp_path: Path
) -> None:
    """It holds both pipes, ignores SIGTERM and writes on into the picture."""
    fifo = make_fifo(tmp_path / "started")
    lines = f'cp "{jpeg}" "$1"; (trap "" TERM; while :; do echo; done >>"$1") & echo $! >"{fifo}"'
    capture = asyncio.ensure_future(make(lines).capture())
    (pid,) = await read_pids(fifo)
    picture = await capture
    assert is_gone(pid)
    assert not picture.data.removeprefix(content(jpeg)).strip(b"\n")


@on_linux
async def test_where_orphans_come_to_us_they_are_reaped(make: Make, jpeg: Path, tmp_path: Path) -> None:
    """As in a container whose first process is the service."""
    prctl, set_child_subreaper = ctypes.CDLL(None).prctl, 36
    fifo = make_fifo(tmp_path / "started")
    assert prctl(set_child_subreaper, 1, 0, 0, 0) == 0
    try:
        capture = asyncio.ensure_future(make(f'cp "{jpeg}" "$1"; sleep 1000 & echo $! >"{fifo}"').capture())
        (pid,) = await read_pids(fifo)
        await capture
        assert str(pid) not in names(Path("/proc"))
    finally:
        prctl(set_child_subreaper, 0, 0, 0, 0)


# ---- ending it early


async def test_a_cancelled_capture_ends_the_program_and_its_children_first(
    make: Make, tmp_path: Path, folder: Path
) -> None:
    fifo = make_fifo(tmp_path / "started")
    capture = asyncio.ensure_future(make(f'sleep 1000 & echo $$ $! >"{fifo}"; wait').capture())
    pids = await read_pids(fifo)
    assert not any(map(is_gone, pids))
    capture.cancel()
    with pytest.raises(asyncio.CancelledError):
        await capture
    assert [is_gone(pid) for pid in pids] == [True, True]
    assert names(folder) == []


async def test_who_cancels_twice_waits_for_no_grace(
    make: Make, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "TERM_GRACE_SECONDS", 1000)
    fifo, asked = make_fifo(tmp_path / "started"), make_fifo(tmp_path / "asked")
    camera = make(f'trap \'echo asked >"{asked}"\' TERM; echo $$ >"{fifo}"; while :; do sleep 1000 & wait; done')
    capture = asyncio.ensure_future(camera.capture())
    (pid,) = await read_pids(fifo)
    capture.cancel()
    assert await asyncio.to_thread(read_line, asked) == "asked\n"
    assert not is_gone(pid)
    capture.cancel()
    with pytest.raises(asyncio.CancelledError):
        await capture
    assert is_gone(pid)
    assert names(folder) == []


async def test_kill_ends_the_program_without_grace(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "TERM_GRACE_SECONDS", 1000)
    fifo = make_fifo(tmp_path / "started")
    camera = make(f"trap '' TERM; echo $$ >\"{fifo}\"; while :; do sleep 1000 & wait; done")
    capture = asyncio.ensure_future(camera.capture())
    (pid,) = await read_pids(fifo)
    camera.kill()
    with pytest.raises(CameraFault, match="no longer needed"):
        await capture
    assert is_gone(pid)


async def test_what_is_killed_before_it_starts_never_starts(tmp_path: Path) -> None:
    run = program.ProgramRun([write_script(tmp_path / "take.sh", 'touch "$1"'), tmp_path / "mark"], timeout=30)
    run.kill()
    assert run.run() == program.ProcessResult(status=-signal.SIGKILL, in_time=False, stopped=True)
    assert not (tmp_path / "mark").exists()


async def test_after_a_failure_the_next_capture_is_as_good_as_ever(make: Make, jpeg: Path, tmp_path: Path) -> None:
    camera = make(f'test -e "{tmp_path}/again" || {{ touch "{tmp_path}/again"; exit 1; }}; cp "{jpeg}" "$1"')
    with pytest.raises(CameraFault):
        await camera.capture()
    assert (await camera.capture()).data == content(jpeg)


# ---- a camera that is not there


async def test_the_password_of_an_address_that_a_program_names_is_told_to_nobody(make: Make) -> None:
    with pytest.raises(CameraFault) as caught:
        await make("echo rtsp://me:s3cret@127.0.0.1:9/a: Connection refused >&2; exit 1").capture()
    assert caught.value.message.endswith("rtsp://***@127.0.0.1:9/a: Connection refused.")
    assert "s3cret" not in caught.value.detail


async def test_a_program_that_vanishes_is_offline_until_it_comes_back(
    make: Make, jpeg: Path, tmp_path: Path, folder: Path
) -> None:
    camera = make(f'cp "{jpeg}" "$1"')
    await camera.open(ignore)
    (tmp_path / "take.sh").rename(tmp_path / "away")
    for act in (lambda: camera.open(ignore), camera.capture):
        with pytest.raises(CameraOffline) as caught:
            await act()
        assert caught.value.message == "The camera program take.sh does not exist. Check its path."
        assert str(tmp_path) in caught.value.detail
    assert names(folder) == []
    (tmp_path / "away").rename(tmp_path / "take.sh")
    await camera.open(ignore)
    assert (await camera.capture()).data == content(jpeg)


async def test_a_program_that_is_not_executable_is_offline(make: Make, tmp_path: Path) -> None:
    camera = make("true")
    (tmp_path / "take.sh").chmod(stat.S_IRUSR | stat.S_IWUSR)
    for act in (lambda: camera.open(ignore), camera.capture):
        with pytest.raises(CameraOffline) as caught:
            await act()
        assert caught.value.message == "The camera program take.sh is not executable. Run chmod +x on it."


async def test_a_folder_is_no_program(tmp_path: Path, folder: Path) -> None:
    camera = ScriptCamera(tmp_path, folder=folder)
    for act in (lambda: camera.open(ignore), camera.capture):
        with pytest.raises(CameraOffline, match="is not a file"):
            await act()
    await camera.close()


@pytest.mark.parametrize(
    ("first_line", "message"),
    [
        ("cp x $1\n", "can't be run by this system. Begin a script with a line such as #!/bin/sh."),
        ("#!/no/such/shell\n", "names an interpreter in its first line that does not exist. Correct that line."),
        ("#!/etc\n", "or its interpreter may not be run. Change its permissions."),
    ],
    ids=["none", "missing", "forbidden"],
)
async def test_a_first_line_that_is_wrong_is_told(make: Make, tmp_path: Path, first_line: str, message: str) -> None:
    camera = make("true")
    (tmp_path / "take.sh").write_text(first_line)
    with pytest.raises(CameraOffline) as caught:
        await camera.capture()
    assert caught.value.message == f"The camera program take.sh {message}"


async def test_a_folder_that_is_gone_is_a_storage_error(make: Make, jpeg: Path, folder: Path) -> None:
    os.rmdir(folder)
    with pytest.raises(StorageError, match="The folder of snapshots is gone"):
        await make(f'cp "{jpeg}" "$1"').capture()


# ---- many


def children() -> set[str]:
    """This process's, zombies too."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


@on_linux
async def test_many_captures_leave_no_descriptor_no_folder_and_no_process(make: Make, jpeg: Path, folder: Path) -> None:
    camera = make(f'cp "{jpeg}" "$1"')
    await camera.capture()
    before, mine = names(Path("/proc/self/fd")), children()
    for _ in range(50):
        await camera.capture()
    assert names(Path("/proc/self/fd")) == before
    assert names(folder) == []
    assert not [pid for pid in children() if pid not in mine]


async def test_a_link_in_the_place_of_its_folder_is_refused_and_leads_nowhere(
    make: Make, jpeg: Path, tmp_path: Path, folder: Path
) -> None:
    victim = tmp_path / "victim"
    (victim / "inner").mkdir(parents=True)
    for place in (victim, victim / "inner"):
        place.chmod(0o755)
    lines = f'd=$(dirname "$1"); rmdir "$d"; ln -s "{victim}" "$d"; cp "{jpeg}" "$d/capture.jpg"'
    with pytest.raises(BadImage):
        await make(lines).capture()
    assert [stat.S_IMODE(place.stat().st_mode) for place in (victim, victim / "inner")] == [0o755, 0o755]
    assert content(victim / "capture.jpg") == content(jpeg)
    assert names(folder) == []


@pytest.mark.usefixtures("deep")
async def test_a_tree_of_any_depth_that_it_leaves_is_removed(make: Make, jpeg: Path, folder: Path) -> None:
    deep = "/".join("d" * 1200)  # deeper than Python may call itself, in a path that the kernel still takes
    lines = f'cp "{jpeg}" "$1"; cd "$(dirname "$1")" && mkdir -p {deep}'
    assert (await make(lines, timeout=60).capture()).data == content(jpeg)
    assert names(folder) == []


async def test_viewers_are_told_no_path_of_this_machine(make: Make, folder: Path) -> None:
    with pytest.raises(CameraFault) as caught:
        await make('d=$(dirname "$1"); echo "no $(dirname "$d")/x in $PWD nor $HOME" >&2; exit 3').capture()
    assert caught.value.message == "The camera program ended with status 3: no .../x in ... nor ~."
