"""Where a watcher of events is: in memory, or in a folder beside the photos, so that the next watcher goes on there.

A photo counts as had once the place says so, which is written after the photo is safely in its file. So a watcher that
is killed between the two finds the file, and no photo is missing or there twice.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from dog.cli.exit_status import OutputError
from dog.client.save_files import write_durably
from dog.errors import StartError
from dog.protocol import Hello

if TYPE_CHECKING:
    from dog.client import Photo

__all__ = ["STATE", "Folder", "WatchState"]

STATE = ".dog-watch.json"
HAD = 512
"""Photos that are remembered by id: twice as many as a server can tell again."""


class WatchState(msgspec.Struct):
    """`cursor` is behind the last event that was dealt with. `captures` are the last ones had of each camera; of one
    that came later, what is above `started` is wanted. `seen_ids` are the ids of the last photos.
    """

    server: str
    cursor: str | None = None
    started: int = 0
    captures: dict[str, int] = {}
    seen_ids: list[str] = msgspec.field(default_factory=list, name="had")

    def begin(self, hello: Hello) -> None:
        """From now on: what is there already is not wanted."""
        self.captures = {status.name: status.latest.capture if status.latest else 0 for status in hello.cameras}
        self.started = max(self.captures.values(), default=0)
        self.cursor = hello.cursor

    def note(self, photo: "Photo", cursor: str | None) -> None:
        """This photo is had; `cursor` is that of its event, None where it was found without one."""
        self.captures[photo.camera] = photo.capture
        self.seen_ids = [*self.seen_ids, photo.id][-HAD:]
        self.cursor = cursor or self.cursor

    def last(self, camera: str) -> int:
        """The capture behind which the photos of a camera are wanted."""
        return self.captures.get(camera, self.started)


class Folder:
    """A folder of photos and the place in it, for one watcher at a time. `with Folder(path, server) as folder:`

    Raises StartError where the folder can't be used, or has another server's photos.
    """

    def __init__(self, path: Path, server: str) -> None:
        self.path = path
        self._state = path / STATE
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StartError(f"--save: {str(path)!r} can't be used: {_explain(error)}. Name another folder.") from None
        try:
            self._lock()
            self.place = self._read(server)
            self._sweep()
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._descriptor)

    async def keep(self, photo: "Photo") -> Path:
        """The photo's file, which is fetched unless it is there. Raises OutputError, and what `Photo.save` does."""
        path = self.path / photo.name
        try:
            if not (path.is_file() and path.stat().st_size == photo.bytes):
                await photo.save(path, overwrite=True)
        except OSError as error:
            raise OutputError(
                f"{str(path)!r} can't be written: {_explain(error)}. Correct that, then start the command again."
            ) from None
        return path

    def write(self) -> None:
        """See the place to the disk. Raises OutputError."""
        try:
            write_durably(self._state, msgspec.json.encode(self.place), overwrite=True)
        except OSError as error:
            raise OutputError(
                f"{str(self._state)!r} can't be written: {_explain(error)}. Correct that, then start the command again."
            ) from None

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"--save: another `dog watch` saves into {str(self.path)!r}. Name another folder."
            ) from None
        except OSError:
            pass  # a disk that knows no locks

    def _read(self, server: str) -> WatchState:
        start_over = f"Name another folder, or delete {str(self._state)!r} to start over."
        try:
            place = msgspec.json.decode(self._state.read_bytes(), type=WatchState)
        except FileNotFoundError:
            return WatchState(server)
        except (OSError, msgspec.DecodeError, UnicodeError):
            raise StartError(f"--save: the file {str(self._state)!r} can't be read. {start_over}") from None
        if place.server != server:
            raise StartError(f"--save: {str(self.path)!r} has the photos of {place.server}. {start_over}")
        return place

    def _sweep(self) -> None:
        """Remove what a killed watcher left half-written."""
        for file in _left_over(self.path):
            file.unlink(missing_ok=True)


def _left_over(path: Path) -> Iterable[Path]:
    yield from path.glob(".*_*_*.*.part")
    yield from path.glob(f".{STATE}.*.part")


def _explain(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
