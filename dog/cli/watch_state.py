"""The state of `dog watch`: in memory, or in the folder of the photos.

The state is written after the photo's file. If `dog watch` is killed between the two, the next run finds the file, so
that no photo is missing or saved twice.
"""

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from dog.cli.exit_status import explain_write_errors
from dog.errors import StartError, short_reason
from dog.files import write_atomic
from dog.protocol import Hello

if TYPE_CHECKING:
    from dog.client import Photo

__all__ = ["STATE_FILE", "WatchFolder", "WatchState"]

STATE_FILE = ".dog-watch.json"
RETRY_ADVICE = "Correct that, then start the command again."
MAX_SEEN_IDS = 512
"""Photos whose ids are remembered: twice as many as a server can replay."""


class WatchState(msgspec.Struct):
    """The progress of `dog watch`, as it is stored in STATE_FILE.

    `cursor` is that of the last processed event, `captures` the number of each camera's last processed capture, and
    `seen_ids` the ids of the last photos. `started` is the capture after which new cameras' photos are processed.
    """

    server: str
    cursor: str | None = None
    started: int = 0
    captures: dict[str, int] = {}
    seen_ids: list[str] = msgspec.field(default_factory=list, name="had")

    def start_at(self, hello: Hello) -> None:
        """Start after the server's newest photos: do not process older ones."""
        self.captures = {status.name: status.latest.capture if status.latest else 0 for status in hello.cameras}
        self.started = max(self.captures.values(), default=0)
        self.cursor = hello.cursor

    def mark_seen(self, photo: "Photo", cursor: str | None) -> None:
        """Mark a photo as processed. `cursor` is that of its event, if any."""
        self.captures[photo.camera] = photo.capture
        self.seen_ids = [*self.seen_ids, photo.id][-MAX_SEEN_IDS:]
        self.cursor = cursor or self.cursor

    def last_capture(self, camera: str) -> int:
        """Return the number of the last processed capture of a camera."""
        return self.captures.get(camera, self.started)


class WatchFolder:
    """A folder of photos and its state file, locked for one `dog watch`.

    Use it as a context manager. Raise StartError if the folder can't be used or has photos of another server.
    """

    def __init__(self, path: Path, server: str) -> None:
        self.path = path
        self._state_file = path / STATE_FILE
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StartError(
                f"--save: {str(path)!r} can't be used: {short_reason(error)}. Name another folder."
            ) from None
        try:
            self._lock()
            self.state = self._read_state(server)
            self._remove_partial_files()
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._descriptor)

    async def save_photo(self, photo: "Photo") -> Path:
        """Download a photo unless its file exists, and return its path."""
        path = self.path / photo.name
        with explain_write_errors(path, RETRY_ADVICE):
            if not (path.is_file() and path.stat().st_size == photo.bytes):
                await photo.save(path, overwrite=True)
        return path

    def write_state(self) -> None:
        """Write the state durably. Raise OutputError if that fails."""
        with explain_write_errors(self._state_file, RETRY_ADVICE):
            write_atomic(self._state_file, msgspec.json.encode(self.state), overwrite=True)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"--save: another `dog watch` saves into {str(self.path)!r}. Name another folder."
            ) from None
        except OSError:
            pass  # the file system has no locks

    def _read_state(self, server: str) -> WatchState:
        start_over = f"Name another folder, or delete {str(self._state_file)!r} to start over."
        try:
            state = msgspec.json.decode(self._state_file.read_bytes(), type=WatchState)
        except FileNotFoundError:
            return WatchState(server)
        except (OSError, msgspec.DecodeError, UnicodeError):
            raise StartError(f"--save: the file {str(self._state_file)!r} can't be read. {start_over}") from None
        if state.server != server:
            raise StartError(f"--save: {str(self.path)!r} has the photos of {state.server}. {start_over}")
        return state

    def _remove_partial_files(self) -> None:
        """Remove the partial files of a `dog watch` that was killed."""
        for pattern in (".*_*_*.*.part", f".{STATE_FILE}.*.part"):
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)
