"""The script camera: a program that writes an image (docs/cameras.md).

Each capture has a private folder and one run of the program. The image is read when nothing of the program runs any
more. It must be a file that is neither empty nor huge. The folder is always removed. All of this runs in one thread, so
that the event loop waits for no file and no process.
"""

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import signal
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dog.cameras import CapturedImage, OnFrame, OnLost
from dog.cameras.subprocesses import ProcessResult, ProgramRun
from dog.errors import BadImage, CameraFault, CameraOffline, CameraTimeout, CaptureError, StorageError, StorageFull
from dog.images import MAX_IMAGE_BYTES
from dog.redaction import redact_text
from dog.remove_tree import remove_tree

__all__ = ["ScriptCamera"]

MAX_LAST_LINE_LENGTH = 200
"""Characters of the program's last line in an error message."""

_PROBE = bytes(64 * 1024)
"""Written after a failure to test whether the disk is full."""

log = logging.getLogger(__name__)


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
            (str(Path.cwd()), "..."),
            (str(Path.home()), "~"),
        ):
            if len(path) > 1:
                last_line = last_line.replace(path, name)
        return last_line

    def _check_result(self, result: ProcessResult, last_line: str) -> None:
        if result.status is None:
            raise CameraTimeout("The camera program hangs in its device and can't be ended. Reconnect the camera.")
        if result.stopped:
            raise CameraFault("The camera program was ended, because its image is no longer needed. Press again.")
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
            raise StorageFull(
                "No space is left for a snapshot. Make room, then press again.", detail=str(error)
            ) from error
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
            raise StorageFull("No space is left for a snapshot. Make room, then press again.", detail=detail) from error


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _sentence(start: str, last_line: str) -> str:
    """Join a message and the program's last line, with one full stop."""
    text = f"{start}: {last_line}" if last_line else start
    return text if text.endswith(("…", "!", "?")) else f"{text.rstrip('.')}."
