"""The script camera: any program that is given a path and leaves a picture there (docs/cameras.md).

Each capture has a private folder and one run of the program in it. The picture is read when nothing of the program runs
any more, and taken only if it is a file, neither empty nor huge; the folder is always removed. All of it happens in one
thread, so that the event loop waits for no file and no process.
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

from dog.cameras import OnFrame, OnLost, Still
from dog.cameras.subprocesses import ProcessResult, Run
from dog.errors import BadImage, CameraFault, CameraOffline, CameraTimeout, CaptureError, StorageError, StorageFull
from dog.files import remove_tree
from dog.images import LARGEST_PICTURE
from dog.redaction import redact_text

__all__ = ["ScriptCamera"]

SHORT = 200
"""Characters of the program's last line that viewers are told."""

_PROBE = bytes(64 * 1024)
"""What must still fit beside a failed program's picture, or the disk is full."""

log = logging.getLogger(__name__)


class ScriptCamera:
    """A camera that is a program: it is run with one argument, the absolute path of the image to create.

    `folder` exists and lies on the snapshots' own file system, so that a full disk is met here and not later;
    `image_type` is the suffix of the path; `timeout` is in seconds. The program gets of the environment of this
    process what program.PASSED_ON names.
    """

    def __init__(
        self, program: Path | str, *, folder: Path | str, image_type: str = "jpg", timeout: float = 15.0
    ) -> None:
        self.program = Path(program).absolute()
        self.folder = Path(folder).absolute()
        self.image_type = image_type
        self.timeout = timeout
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="script-camera")
        self._run: Run | None = None

    has_preview = False

    async def open(self, _lost: OnLost) -> None:
        """Raises CameraOffline unless the program is an executable file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, _check_program, self.program)

    async def wait_for_device(self) -> None:
        await asyncio.get_running_loop().create_future()

    def show(self, show: OnFrame | None) -> None:
        """A program that takes seconds for a picture has no preview."""

    async def capture(self) -> Still:
        """Run the program once and return what it left. Raises what Camera.capture does, and StorageError."""
        picture = self.folder / f"capture-{secrets.token_hex(8)}" / f"capture.{self.image_type}"
        self._run = run = Run([self.program, picture], self.timeout)
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._take, run, picture)
        try:
            return Still(data=await asyncio.shield(future))
        except asyncio.CancelledError:
            run.stop()
            await _wait_out(future, run)
            raise
        finally:
            self._run = None

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)

    def kill(self) -> None:
        if self._run is not None:
            self._run.kill()

    def _take(self, run: Run, picture: Path) -> bytes:
        """In the thread: the private folder, the program, the picture."""
        with _private_folder(picture.parent):
            began = time.monotonic()
            try:
                said = self._run_program(run, picture)
                image = _read_picture(picture, said)
            except CaptureError as error:
                _check_space(picture.parent, error)
                error.detail = self._describe(run, time.monotonic() - began, error.detail)
                log.debug("%s (%s)", error.message, error.detail)  # whoever catches it makes it a warning
                raise
            log.debug("%s", self._describe(run, time.monotonic() - began, f"{len(image)} bytes"))
            return image

    def _run_program(self, run: Run, picture: Path) -> str:
        """The last line the program said, if it ended well. Raises CameraOffline, CameraTimeout or CameraFault."""
        try:
            ended = run.run()
        except OSError as error:
            _check_program(self.program)
            raise _explain_start(self.program, error) from error
        lines = run.stderr.lines() or [""]
        said = redact_text(self._hide_paths(lines[-1], picture))
        if len(said) > SHORT:
            said = f"{said[: SHORT - 1].rstrip()}…"
        self._check_end(ended, said)
        return said

    def _hide_paths(self, said: str, picture: Path) -> str:
        """Without the paths of this machine that the program was told or could guess: viewers shall see none."""
        for path, name in (
            (f"{picture.parent}/", ""),
            (str(self.program), self.program.name),
            (str(self.folder), "..."),
            (str(Path.cwd()), "..."),
            (str(Path.home()), "~"),
        ):
            if len(path) > 1:
                said = said.replace(path, name)
        return said

    def _check_end(self, ended: ProcessResult, said: str) -> None:
        if ended.status is None:
            raise CameraTimeout("The camera program hangs in its device and can't be ended. Reconnect the camera.")
        if ended.stopped:
            raise CameraFault("The camera program was ended, because its picture is no longer needed. Press again.")
        if not ended.in_time:
            raise CameraTimeout(
                f"The camera program did not finish within {self.timeout:g} s and was ended. Check the camera."
            )
        if ended.status < 0:
            raise CameraFault(_sentence(f"The camera program was ended by {_signal_name(-ended.status)}", said))
        if ended.status > 0:
            raise CameraFault(_sentence(f"The camera program ended with status {ended.status}", said))

    def _describe(self, run: Run, seconds: float, more: str) -> str:
        """For the log: the program, how long it took and its last lines."""
        words = [str(self.program), f"{seconds:.2f} s", more]
        for name, tail in (("standard error", run.stderr), ("standard output", run.stdout)):
            if lines := tail.lines():
                words.append(f"{name}: {' | '.join(lines[-5:])}")
        return redact_text("; ".join(word for word in words if word))


async def _wait_out(future: asyncio.Future[bytes], run: Run) -> None:
    """Until the run is over, whatever becomes of it. Who is cancelled again meanwhile is in a hurry: no more grace."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            run.kill()
    if not future.cancelled():
        future.exception()  # asked for, or asyncio complains that nobody did


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


def _explain_start(program: Path, error: OSError) -> CaptureError:
    """Why a program that is there could not be started."""
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


def _read_picture(picture: Path, said: str) -> bytes:
    """The bytes of a regular, readable file that is neither empty nor huge. Raises BadImage otherwise.

    `said` is the program's last line: some end with status 0 when they fail (fswebcam does).
    """
    left = "The camera program ended well but left"
    try:
        # Following no link, not one in the private folder's place either, nor waiting for a FIFO's other side.
        folder = os.open(picture.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            how = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(picture.name, how, dir_fd=folder)
        finally:
            os.close(folder)
    except FileNotFoundError as error:
        raise BadImage(_sentence(f"{left} no picture", said)) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadImage(f"{left} a symbolic link instead of a picture.") from error
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):
            raise BadImage(f"{left} a socket instead of a picture.") from error
        raise BadImage(f"{left} a picture that can't be read: {error.strerror}.", detail=str(error)) from error
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise BadImage(f"{left} {_kind(about.st_mode)} instead of a picture.")
        if about.st_size == 0:
            raise BadImage(_sentence(f"{left} an empty file", said))
        if about.st_size > LARGEST_PICTURE:
            size, largest = about.st_size / 1024**2, LARGEST_PICTURE // 1024**2
            raise BadImage(f"{left} a file of {size:.0f} MiB. A picture may have {largest} MiB.")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(LARGEST_PICTURE)
    finally:
        os.close(descriptor)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a FIFO" if stat.S_ISFIFO(mode) else "a device"


@contextlib.contextmanager
def _private_folder(folder: Path) -> Iterator[None]:
    """The folder, for us alone, and gone afterwards."""
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
            log.warning("What the camera program left could not be removed: %s", path)


def _check_space(folder: Path, failure: CaptureError) -> None:
    """Raises StorageFull where that is why the program failed: what it wrote still takes the last of the space."""
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


def _sentence(start: str, said: str) -> str:
    """What happened, then the program's own last words if there are any, closed by one full stop."""
    text = f"{start}: {said}" if said else start
    return text if text.endswith(("…", "!", "?")) else f"{text.rstrip('.')}."
