"""The script camera with real programs, which each test writes."""

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
from dog.cameras import script as program
from dog.cameras.script import ScriptCamera
from dog.errors import BadImage, CameraFault, CameraOffline, CameraTimeout, CaptureError, StorageError
from dog.images import MAX_IMAGE_BYTES
from tests.support.server_process import ROOT

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc, which only Linux has")

Make = Callable[..., ScriptCamera]


def ignore(_error: CaptureError) -> None:
    """Ignore losses: a program is started for each capture, and never lost."""


TRUNCATE = f'{sys.executable} -c "import sys; open(sys.argv[1], \'wb\').truncate({{}})" "$1"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder for the private folders. Its path has a space."""
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
    """Return `make("cp x $1", timeout=1)`: a camera of a shell script."""
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
    """Return True if the process has ended. A zombie has."""
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
    """Read a line that a script writes to a FIFO.

    Opened both ways, it needs no writer and has no end of file.
    """
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([descriptor], [], [], 20)[0], "the script line nothing for 20 s"
            line += os.read(descriptor, 4096)
        return line.decode()
    finally:
        os.close(descriptor)


async def read_pids(fifo: Path) -> list[int]:
    """Read the process ids that the script writes to the FIFO."""
    return [int(word) for word in (await asyncio.to_thread(read_line, fifo)).split()]


def make_fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def test_script_camera_implements_camera(tmp_path: Path) -> None:
    camera: Camera = ScriptCamera(tmp_path / "take.sh", folder=tmp_path)
    camera.kill()  # nothing runs, so it does nothing


# ---- the program's input


async def test_the_image_of_the_program_is_returned_unchanged(make: Make, jpeg: Path) -> None:
    camera = make(f'cp "{jpeg}" "$1"')
    await camera.open(ignore)
    assert (await camera.capture()).data == content(jpeg)


async def test_the_program_gets_one_argument_an_absolute_path_in_a_private_folder(
    make: Make, jpeg: Path, tmp_path: Path, folder: Path
) -> None:
    output = tmp_path / "output"
    camera = make(f'printf "%s\\n" $# "$1" >"{output}"; ls -ld "${{1%/*}}" >>"{output}"; cp "{jpeg}" "$1"')
    await camera.capture()
    count, path, listing = output.read_text().splitlines()
    assert count == "1"
    assert Path(path).is_absolute()
    assert Path(path).name == "capture.jpg"
    assert Path(path).parent.parent == folder
    assert listing.startswith("drwx------")


async def test_every_capture_has_a_folder_of_its_own(make: Make, jpeg: Path, tmp_path: Path) -> None:
    camera = make(f'echo "$1" >>"{tmp_path}/output"; cp "{jpeg}" "$1"')
    for _ in range(3):
        await camera.capture()
    assert len(set((tmp_path / "output").read_text().splitlines())) == 3


async def test_the_image_type_is_the_suffix_of_the_path(make: Make, jpeg: Path, tmp_path: Path) -> None:
    camera = make(f'echo "$1" >"{tmp_path}/output"; cp "{jpeg}" "$1"', image_type="png")
    await camera.capture()
    assert (tmp_path / "output").read_text().endswith("/capture.png\n")


async def test_the_program_s_name_is_not_read_by_a_shell(make: Make, jpeg: Path, tmp_path: Path) -> None:
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
    await make(f'/usr/bin/env -0 >"{tmp_path}/output"; cp "{jpeg}" "$1"').capture()
    environment = dict(line.split("=", 1) for line in (tmp_path / "output").read_text().split("\0") if line)
    assert passed_on.items() <= environment.items()
    assert "secret" not in environment.values()


def test_the_docs_name_the_variables_that_a_program_is_given() -> None:
    [documented] = re.findall(
        r"^- These environment variables.*?^- ", (ROOT / "docs/cameras.md").read_text(), re.M | re.S
    )
    names = program.PASSED_VARIABLES.pattern.replace(".*", "*").split("|")
    assert set(re.findall(r"`([A-Z_]+\*?)`", documented)) == set(names)


@on_linux
async def test_the_program_inherits_no_descriptor(make: Make, jpeg: Path, tmp_path: Path) -> None:
    listing = "import os; print(*[n for n in os.listdir('/proc/self/fd') if os.path.lexists(f'/proc/self/fd/{n}')])"
    camera = make(f'cp "{jpeg}" "$1"; exec {sys.executable} -I -S -c "{listing}" >"{tmp_path}/output"')
    reader, writer = os.pipe()
    try:
        for descriptor in (reader, writer):
            os.set_inheritable(descriptor, True)
        await camera.capture()
    finally:
        os.close(reader)
        os.close(writer)
    assert sorted((tmp_path / "output").read_text().split()) == ["0", "1", "2"]


@on_linux
async def test_the_program_reads_nothing_and_leads_a_session_and_a_group(
    make: Make, jpeg: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    camera = make(
        f'readlink /proc/$$/fd/0 >"{output}"; cat >>"{output}"; cat /proc/$$/stat >>"{output}"; cp "{jpeg}" "$1"'
    )
    await camera.capture()
    stdin, numbers = output.read_text().splitlines()
    assert stdin == "/dev/null"
    pid, (group, session) = numbers.split()[0], numbers.rpartition(")")[2].split()[2:4]
    assert group == session == pid


# ---- the program's output


async def test_any_file_content_is_returned_for_the_store_to_check(make: Make, jpeg: Path, tmp_path: Path) -> None:
    png = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(png, "PNG")
    for left in (b"no picture\n", content(jpeg)[:1000], png.getvalue()):
        (tmp_path / "left").write_bytes(left)
        assert (await make(f'cp "{tmp_path}/left" "$1"').capture()).data == left


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("true", "The camera program succeeded but left no image."),
        (
            "printf '\\033[1m--- Opening\\n\\033[0m\\033[31mstat: No such device\\n\\033[0m' >&2",
            "The camera program succeeded but left no image: stat: No such device.",
        ),
        ('rm -r "${1%/*}"', "The camera program succeeded but left no image."),
        (': >"$1"', "The camera program succeeded but left an empty file."),
        (
            'ln -s /etc/passwd "$1"',
            "The camera program succeeded but left a symbolic link instead of an image. Correct the program.",
        ),
        ('mkdir "$1"', "The camera program succeeded but left a folder instead of an image. Correct the program."),
        ('mkfifo "$1"', "The camera program succeeded but left a FIFO instead of an image. Correct the program."),
        (
            f'{sys.executable} -c "import os, socket, sys; os.chdir(os.path.dirname(sys.argv[1]));'
            ' socket.socket(socket.AF_UNIX).bind(os.path.basename(sys.argv[1]))" "$1"',
            "The camera program succeeded but left a socket instead of an image. Correct the program.",
        ),
        (
            TRUNCATE.format(MAX_IMAGE_BYTES + 1024 * 1024),
            "The camera program succeeded but left a file of 65 MiB. An image may have 64 MiB.",
        ),
    ],
    ids=["nothing", "nothing-but-words", "no-folder", "empty", "link", "folder", "fifo", "socket", "huge"],
)
async def test_anything_but_a_non_empty_file_is_a_bad_image(make: Make, folder: Path, lines: str, message: str) -> None:
    with pytest.raises(BadImage) as caught:
        await make(lines).capture()
    assert caught.value.message == message
    assert names(folder) == []


async def test_an_image_of_the_maximum_size_is_accepted(make: Make) -> None:
    assert len((await make(TRUNCATE.format(MAX_IMAGE_BYTES)).capture()).data) == MAX_IMAGE_BYTES


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
async def test_unreadable_files_and_folders_are_a_bad_image_and_are_removed(make: Make, folder: Path) -> None:
    camera = make('mkdir -p "$1.d/deep/er"; chmod 0 "$1.d/deep" "$1.d"; echo x >"$1"; chmod 0 "$1" "${1%/*}"')
    with pytest.raises(BadImage, match="an image that can't be read: Permission denied"):
        await camera.capture()
    assert names(folder) == []


# ---- the program's end


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
async def test_a_failing_program_is_a_camera_fault_with_its_last_line(make: Make, lines: str, message: str) -> None:
    with pytest.raises(CameraFault) as caught:
        await make(lines).capture()
    assert caught.value.message == message


async def test_an_image_of_a_failing_program_is_rejected(make: Make, jpeg: Path, folder: Path) -> None:
    with pytest.raises(CameraFault):
        await make(f'cp "{jpeg}" "$1"; exit 1').capture()
    assert names(folder) == []


async def test_the_log_has_the_path_the_duration_and_the_last_lines(
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


async def test_a_hundred_megabytes_of_output_do_not_block_the_program(make: Make, jpeg: Path) -> None:
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


async def test_a_program_gets_sigterm_before_sigkill(make: Make, tmp_path: Path) -> None:
    camera = make(
        f"trap 'echo tidied >\"{tmp_path}/output\"; exit' TERM\nsleep 1000 & wait",
        timeout=3,
    )
    with pytest.raises(CameraTimeout):
        await camera.capture()
    assert (tmp_path / "output").read_text() == "tidied\n"


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


async def test_a_child_that_outlives_the_program_blocks_nothing_and_is_killed(
    make: Make, jpeg: Path, tmp_path: Path
) -> None:
    """The child holds both pipes, ignores SIGTERM and writes into the image."""
    fifo = make_fifo(tmp_path / "started")
    lines = f'cp "{jpeg}" "$1"; (trap "" TERM; while :; do echo; done >>"$1") & echo $! >"{fifo}"'
    capture = asyncio.ensure_future(make(lines).capture())
    (pid,) = await read_pids(fifo)
    picture = await capture
    assert is_gone(pid)
    assert not picture.data.removeprefix(content(jpeg)).strip(b"\n")


@on_linux
async def test_orphans_that_become_our_children_are_reaped(make: Make, jpeg: Path, tmp_path: Path) -> None:
    """This happens in a container whose first process is the service."""
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


# ---- stopping the program


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


async def test_a_second_cancellation_kills_the_program(
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
    with pytest.raises(CameraFault, match="was cancelled, so the camera program was stopped"):
        await capture
    assert is_gone(pid)


async def test_a_run_killed_before_its_start_never_starts(tmp_path: Path) -> None:
    run = program.ProgramRun([write_script(tmp_path / "take.sh", 'touch "$1"'), tmp_path / "mark"], timeout=30)
    run.kill()
    assert run.run() == program.ProcessResult(status=-signal.SIGKILL, in_time=False, stopped=True)
    assert not (tmp_path / "mark").exists()


async def test_after_a_failure_the_next_capture_works(make: Make, jpeg: Path, tmp_path: Path) -> None:
    camera = make(f'test -e "{tmp_path}/again" || {{ touch "{tmp_path}/again"; exit 1; }}; cp "{jpeg}" "$1"')
    with pytest.raises(CameraFault):
        await camera.capture()
    assert (await camera.capture()).data == content(jpeg)


# ---- missing programs and folders


async def test_a_password_in_a_program_s_output_is_not_shown(make: Make) -> None:
    with pytest.raises(CameraFault) as caught:
        await make("echo rtsp://me:s3cret@127.0.0.1:9/a: Connection refused >&2; exit 1").capture()
    assert caught.value.message.endswith("rtsp://***@127.0.0.1:9/a: Connection refused.")
    assert "s3cret" not in caught.value.detail


async def test_a_missing_program_is_offline_until_it_is_back(
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


async def test_a_folder_as_program_is_offline(tmp_path: Path, folder: Path) -> None:
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
async def test_a_wrong_first_line_is_reported(make: Make, tmp_path: Path, first_line: str, message: str) -> None:
    camera = make("true")
    (tmp_path / "take.sh").write_text(first_line)
    with pytest.raises(CameraOffline) as caught:
        await camera.capture()
    assert caught.value.message == f"The camera program take.sh {message}"


async def test_a_missing_snapshot_folder_is_a_storage_error(make: Make, jpeg: Path, folder: Path) -> None:
    os.rmdir(folder)
    with pytest.raises(StorageError, match="The folder of snapshots is gone"):
        await make(f'cp "{jpeg}" "$1"').capture()


# ---- many captures


def children() -> set[str]:
    """Return the children of this process, including zombies."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


@on_linux
async def test_many_captures_leak_no_descriptor_folder_or_process(make: Make, jpeg: Path, folder: Path) -> None:
    camera = make(f'cp "{jpeg}" "$1"')
    await camera.capture()
    before, mine = names(Path("/proc/self/fd")), children()
    for _ in range(50):
        await camera.capture()
    assert names(Path("/proc/self/fd")) == before
    assert names(folder) == []
    assert not [pid for pid in children() if pid not in mine]


async def test_a_link_in_place_of_the_private_folder_is_not_followed(
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
async def test_a_deep_folder_tree_of_the_program_is_removed(make: Make, jpeg: Path, folder: Path) -> None:
    deep = "/".join("d" * 1200)  # deeper than Python's recursion limit, within the kernel's limit for paths
    lines = f'cp "{jpeg}" "$1"; cd "$(dirname "$1")" && mkdir -p {deep}'
    assert (await make(lines, timeout=60).capture()).data == content(jpeg)
    assert names(folder) == []


async def test_messages_contain_no_path_of_this_machine(make: Make, folder: Path) -> None:
    with pytest.raises(CameraFault) as caught:
        await make('d=$(dirname "$1"); echo "no $(dirname "$d")/x in $PWD nor $HOME" >&2; exit 3').capture()
    assert caught.value.message == "The camera program ended with status 3: no .../x in ... nor ~."
