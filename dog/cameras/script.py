"""The script camera: a program that writes an image (docs/cameras.md).

Each capture has a private folder and one run of the program. The image is read when nothing of the program runs any
more. It must be a file that is neither empty nor huge. The folder is always removed. All of this runs in one thread, so
that the event loop waits for no file and no process.

No shell is used. The program gets /dev/null and two pipes, which are always read, so that much output never blocks it.
It has its own session and process group. When it has ended, the rest of its group is killed, and nothing waits for a
pipe that a child holds open.
"""

import asyncio
import contextlib
import errno
import logging
import os
import re
import secrets
import selectors
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dog.cameras import CapturedImage, OnFrame, OnLost
from dog.errors import BadImage, CameraFault, CameraOffline, CameraTimeout, CaptureError, StorageError, StorageFull
from dog.images import MAX_IMAGE_BYTES
from dog.redaction import redact_text
from dog.remove_tree import remove_tree

__all__ = ["ProcessResult", "ProgramRun", "ScriptCamera", "Tail"]

TERM_GRACE_SECONDS = 1.0
"""Seconds from SIGTERM to SIGKILL: enough for a camera program to release its device."""

POLL_INTERVAL = 0.01
"""Seconds between checks whether the program has ended or must end. Linux reports the end at once."""

REAP_TIMEOUT = 2.0
"""Seconds to wait for a killed program. One that is still there hangs in its device's driver."""

GROUP_END_TIMEOUT = 0.25
"""Seconds to wait for the rest of a killed group."""

PASSED_VARIABLES = re.compile(
    "PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|XDG_RUNTIME_DIR|LD_LIBRARY_PATH"
    "|SSL_CERT_FILE|SSL_CERT_DIR|CAMERA_.*"
)
"""Environment variables that a program gets. Any other may contain a secret."""

MAX_TAIL_BYTES = 4096
"""The end of each output that is kept."""
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
"""Escape sequences of ECMA-48 that programs write: CSI (colours), OSC (titles), and the short ones."""

MAX_LAST_LINE_LENGTH = 200
"""Characters of the program's last line in an error message."""

NO_SPACE = "No space is left for a snapshot. Make room, then press again."
_PROBE = bytes(64 * 1024)
"""Written after a failure to test whether the disk is full."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProcessResult:
    """The end of a run: exit status, -signal, or None if it can't be ended."""

    status: int | None
    in_time: bool
    stopped: bool


class ProgramRun:
    """A run of a program. Other threads can end it with `stop` or `kill`."""

    def __init__(self, arguments: Sequence[str | Path], timeout: float) -> None:
        self.arguments = arguments
        self.timeout = timeout
        self.stdout = Tail()
        self.stderr = Tail()
        self._stopping = threading.Event()
        self._killed = False
        # Held to signal the group and to reap the program: its pid, which is also the group's number, is not reused
        # before that.
        self._lock = threading.RLock()  # a signal handler may call `kill` during `kill`
        self._process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """End the program soon: SIGTERM, then SIGKILL after TERM_GRACE_SECONDS."""
        self._stopping.set()

    def kill(self) -> None:
        """Kill the program at once. If it has not started, it never will."""
        self._stopping.set()
        with self._lock:
            self._killed = True
            self._signal_group(signal.SIGKILL)

    def run(self) -> ProcessResult:
        """Run the program to its end or limit, end its group. Raises OSError."""
        process = self._start()
        if process is None:
            return ProcessResult(status=-signal.SIGKILL, in_time=False, stopped=True)
        started_at = time.monotonic()
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout, process.stderr, selectors.DefaultSelector() as pipes:
            for pipe, tail in ((process.stdout, self.stdout), (process.stderr, self.stderr)):
                os.set_blocking(pipe.fileno(), False)
                pipes.register(pipe, selectors.EVENT_READ, tail)
            with _watch_end(pipes, process.pid):
                in_time = self._wait(pipes, started_at + self.timeout)
                if not in_time:
                    self._signal_group(signal.SIGTERM)
                    self._wait(pipes, time.monotonic() + TERM_GRACE_SECONDS, stoppable=False)
                status = self._end_group(pipes)
                _read(pipes)
        stopped = self._killed or (not in_time and self._stopping.is_set())
        return ProcessResult(status=status, in_time=in_time, stopped=stopped)

    def _start(self) -> "subprocess.Popen[bytes] | None":
        """Start the process. Return None if it was killed before."""
        environment = {name: value for name, value in os.environ.items() if PASSED_VARIABLES.fullmatch(name)}
        with self._lock:
            if self._killed:
                return None
            self._process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment,
                # A session rather than only a group: without a terminal it can't stop to ask for a password.
                start_new_session=True,
            )
            return self._process

    def _wait(self, pipes: selectors.BaseSelector, deadline: float, *, stoppable: bool = True) -> bool:
        """Read the pipes until the program ends; False at a deadline or `stop`."""
        while not self._has_ended():
            if time.monotonic() >= deadline or (stoppable and self._stopping.is_set()):
                return False
            if not _read(pipes, wait=POLL_INTERVAL):
                time.sleep(POLL_INTERVAL)
        return True

    def _has_ended(self) -> bool:
        """Return True if it has ended. Reaps it only on macOS before Python 3.13."""
        assert self._process is not None
        if not hasattr(os, "waitid"):
            return self._process.poll() is not None
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # our parent ignores SIGCHLD, so the kernel reaps
            return True

    def _end_group(self, pipes: selectors.BaseSelector) -> int | None:
        """Kill the group, reap the program, return its status; None if impossible."""
        assert self._process is not None
        self._signal_group(signal.SIGKILL)
        if not self._wait(pipes, time.monotonic() + REAP_TIMEOUT, stoppable=False):
            return None
        with self._lock:
            process, self._process = self._process, None
            status = process.wait()
        _wait_for_group(process.pid)
        return status

    def _signal_group(self, number: signal.Signals) -> None:
        # macOS returns EPERM for a group of zombies
        with self._lock, contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process is not None:
                os.killpg(self._process.pid, number)


class Tail:
    """The end of an output, as far back as KEPT bytes."""

    def __init__(self) -> None:
        self._bytes = b""

    def add(self, chunk: bytes) -> None:
        self._bytes = (self._bytes + chunk)[-MAX_TAIL_BYTES:]

    def lines(self) -> list[str]:
        """Return the non-empty lines without colours and control characters."""
        text = _ESCAPE.sub("", self._bytes.decode("utf-8", "replace"))
        lines = ("".join(c if c.isprintable() else " " for c in line) for line in text.splitlines())
        return [" ".join(words) for line in lines if (words := line.split())]


@contextlib.contextmanager
def _watch_end(pipes: selectors.BaseSelector, program: int) -> Iterator[None]:
    """Wake the selector at the program's end, shortly after the pipes close."""
    try:
        descriptor = os.pidfd_open(program)
    except (AttributeError, OSError):  # not on Linux, or too old a one
        yield
        return
    try:
        pipes.register(descriptor, selectors.EVENT_READ)
        yield
    finally:
        os.close(descriptor)


def _read(pipes: selectors.BaseSelector, wait: float = 0.0) -> bool:
    """Read each pipe once within `wait` seconds. Return False if none is left.

    Once is enough at the end too: a pipe holds 64 KiB, as much as is read, unless a program has enlarged it.
    """
    for key, _ in pipes.select(wait) if pipes.get_map() else ():
        if key.data is None:  # the program's end
            continue
        pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]
        try:
            chunk = os.read(pipe.fileno(), 65536)
        except BlockingIOError:
            continue
        if chunk:
            key.data.add(chunk)
        else:
            pipes.unregister(pipe)
    return bool(pipes.get_map())


def _wait_for_group(group: int) -> None:
    """Wait until no process of a killed group is left. Sends no signal.

    One may still finish a write. As the first process of a container, this one reaps the orphans. If the first process
    does not reap, they stay as zombies, which no longer write; hence the time limit.
    """
    deadline = time.monotonic() + GROUP_END_TIMEOUT
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-group, os.WNOHANG)[0]:
                pass
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        if time.monotonic() >= deadline:
            return
        time.sleep(POLL_INTERVAL / 4)


class ScriptCamera:
    """A camera program. Its only argument is the absolute path of the image.

    `folder` exists, on the file system of the snapshots, so that a full disk is noticed here. `image_type` is the
    suffix of the path; `timeout` is in seconds. The program gets the variables of PASSED_VARIABLES.
    """

    def __init__(
        self, program: Path | str, *, folder: Path | str, image_type: str = "jpg", timeout: float = 15.0
    ) -> None:
        self.program = Path(program).absolute()
        self.folder = Path(folder).absolute()
        self.image_type = image_type
        self.timeout = timeout
        self._working_folder = str(Path.cwd())
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="script-camera")
        self._run: ProgramRun | None = None

    has_preview = False

    async def open(self, _lost: OnLost) -> None:
        """Check the program. Raises CameraOffline unless it is an executable file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, _check_program, self.program)

    async def wait_for_device(self) -> None:
        await asyncio.get_running_loop().create_future()

    def set_preview(self, on_frame: OnFrame | None) -> None:
        """Do nothing: a program that needs seconds for an image has no preview."""

    async def capture(self) -> CapturedImage:
        """Run the program once and return its image. May raise StorageError too."""
        image_path = self.folder / f"capture-{secrets.token_hex(8)}" / f"capture.{self.image_type}"
        self._run = run = ProgramRun([self.program, image_path], self.timeout)
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._run_capture, run, image_path)
        try:
            return CapturedImage(data=await asyncio.shield(future))
        except asyncio.CancelledError:
            run.stop()
            await _wait_for_run(future, run)
            raise
        finally:
            self._run = None

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)

    def kill(self) -> None:
        if self._run is not None:
            self._run.kill()

    def _run_capture(self, run: ProgramRun, image_path: Path) -> bytes:
        """Run the program in a private folder and read the image, in the thread."""
        with _private_folder(image_path.parent):
            started_at = time.monotonic()
            try:
                last_line = self._run_program(run, image_path)
                image = _read_image(image_path, last_line)
            except CaptureError as error:
                _check_space(image_path.parent, error)
                error.detail = self._describe(run, time.monotonic() - started_at, error.detail)
                log.debug("%s (%s)", error.message, error.detail)  # the caller logs a warning
                raise
            log.debug("%s", self._describe(run, time.monotonic() - started_at, f"{len(image)} bytes"))
            return image

    def _run_program(self, run: ProgramRun, image_path: Path) -> str:
        """Run the program and return its last line, or raise a CaptureError."""
        try:
            result = run.run()
        except OSError as error:
            _check_program(self.program)
            raise _explain_start_error(self.program, error) from error
        lines = run.stderr.lines() or [""]
        last_line = redact_text(self._hide_paths(lines[-1], image_path))
        if len(last_line) > MAX_LAST_LINE_LENGTH:
            last_line = f"{last_line[: MAX_LAST_LINE_LENGTH - 1].rstrip()}…"
        self._check_result(result, last_line)
        return last_line

    def _hide_paths(self, last_line: str, image_path: Path) -> str:
        """Remove this machine's paths from a program's output, which viewers see."""
        for path, name in (
            (f"{image_path.parent}/", ""),
            (str(self.program), self.program.name),
            (str(self.folder), "..."),
            (self._working_folder, "..."),
            (os.path.expanduser("~"), "~"),  # itself for a user without a home
        ):
            if len(path) > 1:
                last_line = last_line.replace(path, name)
        return last_line

    def _check_result(self, result: ProcessResult, last_line: str) -> None:
        if result.status is None:
            raise CameraTimeout("The camera program hangs in its device and can't be ended. Reconnect the camera.")
        if result.stopped:
            raise CameraFault("The capture was cancelled, so the camera program was stopped. Press again.")
        if not result.in_time:
            raise CameraTimeout(
                f"The camera program did not finish within {self.timeout:g} s and was ended. Check the camera."
            )
        if result.status < 0:
            raise CameraFault(_sentence(f"The camera program was ended by {_signal_name(-result.status)}", last_line))
        if result.status > 0:
            raise CameraFault(_sentence(f"The camera program ended with status {result.status}", last_line))

    def _describe(self, run: ProgramRun, seconds: float, more: str) -> str:
        """Describe a run for the log: program, duration and last lines."""
        words = [str(self.program), f"{seconds:.2f} s", more]
        for name, tail in (("standard error", run.stderr), ("standard output", run.stdout)):
            if lines := tail.lines():
                words.append(f"{name}: {' | '.join(lines[-5:])}")
        return redact_text("; ".join(word for word in words if word))


async def _wait_for_run(future: asyncio.Future[bytes], run: ProgramRun) -> None:
    """Wait until the run is over. A second cancellation kills the program."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            run.kill()
    if not future.cancelled():
        future.exception()  # retrieved, or asyncio logs a warning


def _check_program(program: Path) -> None:
    try:
        mode = program.stat().st_mode
    except OSError as error:
        raise CameraOffline(
            f"The camera program {program.name} does not exist. Check its path.", detail=str(error)
        ) from error
    if not stat.S_ISREG(mode):
        raise CameraOffline(
            f"The camera program {program.name or program} is not a file. Check its path.", detail=str(program)
        )
    if not os.access(program, os.X_OK):
        raise CameraOffline(
            f"The camera program {program.name} is not executable. Run chmod +x on it.", detail=str(program)
        )


def _explain_start_error(program: Path, error: OSError) -> CaptureError:
    """Explain why an existing program could not be started."""
    name = f"The camera program {program.name}"
    if error.errno == errno.ENOEXEC:
        message = f"{name} can't be run by this system. Begin a script with a line such as #!/bin/sh."
        return CameraOffline(message, detail=str(error))
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return CameraOffline(
            f"{name} names an interpreter in its first line that does not exist. Correct that line.", detail=str(error)
        )
    if error.errno == errno.EACCES:
        return CameraOffline(f"{name} or its interpreter may not be run. Change its permissions.", detail=str(error))
    return CameraFault(f"{name} could not be started: {error.strerror}. Press again.", detail=str(error))


def _read_image(image_path: Path, last_line: str) -> bytes:
    """Read the image. Raises BadImage if it is unreadable, empty or huge.

    The message contains the program's last line: some end with status 0 when they fail (fswebcam does).
    """
    left = "The camera program succeeded but left"
    try:
        # Follow no link, also not one in place of the private folder, and don't wait for a FIFO's writer.
        folder = os.open(image_path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            how = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(image_path.name, how, dir_fd=folder)
        finally:
            os.close(folder)
    except FileNotFoundError as error:
        raise BadImage(_sentence(f"{left} no image", last_line)) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadImage(f"{left} a symbolic link instead of an image. Correct the program.") from error
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):
            raise BadImage(f"{left} a socket instead of an image. Correct the program.") from error
        raise BadImage(f"{left} an image that can't be read: {error.strerror}.", detail=str(error)) from error
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise BadImage(f"{left} {_kind(info.st_mode)} instead of an image. Correct the program.")
        if info.st_size == 0:
            raise BadImage(_sentence(f"{left} an empty file", last_line))
        if info.st_size > MAX_IMAGE_BYTES:
            size, largest = info.st_size / 1024**2, MAX_IMAGE_BYTES // 1024**2
            raise BadImage(f"{left} a file of {size:.0f} MiB. An image may have {largest} MiB.")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_IMAGE_BYTES)
    finally:
        os.close(descriptor)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a FIFO" if stat.S_ISFIFO(mode) else "a device"


@contextlib.contextmanager
def _private_folder(folder: Path) -> Iterator[None]:
    """Create a folder that only we can read, and remove it afterwards."""
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(NO_SPACE, detail=str(error)) from error
        if error.errno == errno.ENOENT:
            message = "The folder of snapshots is gone. Restore it, or restart the server."
            raise StorageError(message, detail=str(error)) from error
        raise StorageError(f"The snapshot can't be saved: {error.strerror}. Press again.", detail=str(error)) from error
    try:
        yield
    finally:
        for path in remove_tree(folder):
            log.warning("A file of the camera program could not be removed: %s", path)


def _check_space(folder: Path, failure: CaptureError) -> None:
    """Raise StorageFull if a full disk is the cause of a program's failure."""
    try:
        (folder / "space").write_bytes(_PROBE)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            detail = f"{failure.message} {failure.detail or ''}".rstrip()
            raise StorageFull(NO_SPACE, detail=detail) from error


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _sentence(start: str, last_line: str) -> str:
    """Join a message and the program's last line, with one full stop."""
    text = f"{start}: {last_line}" if last_line else start
    return text if text.endswith(("…", "!", "?")) else f"{text.rstrip('.')}."
