"""The originals of an album as one archive: a zip or a tar, stored as they are, oldest first, under their own names.

It needs the folder alone, whose names say all, and no lock: a server may take photos and remove others meanwhile. A
photo is read whole before its place in the archive is begun, so that one that goes leaves no gap. An archive that
is not finished has no end, so that nobody takes it for a whole one. Everything here blocks.
"""

import contextlib
import datetime as dt
import io
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

from dog import files
from dog.errors import StorageError
from dog.files import link_new, sync_folder
from dog.images import MAX_IMAGE_BYTES
from dog.snapshots.folder import list_day, list_days
from dog.snapshots.image_files import SnapshotGone, read_picture
from dog.snapshots.names import SnapshotName, make_id, parse_path

__all__ = ["Exported", "Kind", "Stream", "export", "list_photos", "write_beside"]

Kind = Literal["zip", "tar"]

_MODE = stat.S_IFREG | 0o644
_FIRST_OF_ZIP: Final = (1980, 1, 1, 0, 0, 0)
_LAST_OF_ZIP: Final = (2107, 12, 31, 23, 59, 58)
_TIMESTAMP: Final = 0x5455
"""The extra field of a zip with the time in UTC: its own time is that of a clock on the wall, to two seconds."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A photo that goes into the archive: its path below the folder, what that says, and its size in bytes."""

    path: str
    taken: SnapshotName
    size: int


def list_photos(
    root: Path, *, first: dt.date | None = None, last: dt.date | None = None, camera: str | None = None
) -> list[Exported]:
    """The photos of these days in UTC, both included, that are there now; the oldest first. Raises OSError."""
    found: list[Exported] = []
    for day in sorted(list_days(root)[0]):
        if (first and day < f"{first:%Y/%m/%d}") or (last and day > f"{last:%Y/%m/%d}"):
            continue
        with contextlib.suppress(FileNotFoundError):  # it was the last of its day that went
            for path, size in list_day(root, day).pictures.items():
                taken = parse_path(path)
                if taken and size and camera in (None, taken.camera):  # an empty one is about to be saved
                    found.append(Exported(path, taken, size))
    return sorted(found, key=lambda photo: (photo.taken.captured_at, photo.taken.capture, photo.path))


class Stream(io.RawIOBase):
    """A descriptor that is only ever written to, such as a pipe: nothing waits in a buffer. Raises OSError."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview", /) -> int:  # type: ignore[override]
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        return len(data)


class _Archive(Protocol):
    def add(self, photo: Exported, data: bytes) -> None: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


class _Zip:
    def __init__(self, sink: IO[bytes]) -> None:
        self._archive = zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED)

    def add(self, photo: Exported, data: bytes) -> None:
        at = photo.taken.captured_at
        member = zipfile.ZipInfo(photo.path, _find_wall_clock(at))
        member.external_attr = _MODE << 16
        seconds = int(at.timestamp())
        if -(2**31) <= seconds < 2**31:
            member.extra = struct.pack("<HHBi", _TIMESTAMP, 5, 1, seconds)
        self._archive.writestr(member, data)

    def finish(self) -> None:
        self._archive.close()

    def abandon(self) -> None:
        self._archive.fp = None  # it would write its end when it is let go of


def _find_wall_clock(at: dt.datetime) -> tuple[int, int, int, int, int, int]:
    """As near as a zip can say it: a camera whose clock was never set takes photos in 1970."""
    local = at.astimezone()
    clock = (local.year, local.month, local.day, local.hour, local.minute, local.second)
    return min(max(clock, _FIRST_OF_ZIP), _LAST_OF_ZIP)


class _Tar:
    def __init__(self, sink: IO[bytes]) -> None:
        self._archive = tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - see finish

    def add(self, photo: Exported, data: bytes) -> None:
        member = tarfile.TarInfo(photo.path)
        member.size = len(data)
        member.mtime = photo.taken.captured_at.timestamp()
        member.mode = stat.S_IMODE(_MODE)
        self._archive.addfile(member, io.BytesIO(data))
        self._archive.members.clear()  # type: ignore[attr-defined]  # kept for who asks what is in it: nobody

    def finish(self) -> None:
        self._archive.close()

    def abandon(self) -> None:
        stream: Any = self._archive.fileobj
        stream.closed = True  # it would write what it still holds when it is let go of


_ARCHIVES: Final[dict[Kind, Callable[[IO[bytes]], _Archive]]] = {"zip": _Zip, "tar": _Tar}


def export(
    root: Path,
    photos: list[Exported],
    kind: Kind,
    sink: IO[bytes],
    *,
    left_out: Callable[[str, str], object],
    advance: Callable[[int], object],
) -> int:
    """Write the photos into an archive; how many there are in it. Raises OSError for the sink alone.

    `left_out` is told the path of a photo that can't be had any more, and why; `advance` how many bytes are done.
    """
    archive = _ARCHIVES[kind](sink)
    count = 0
    try:
        for photo in photos:
            try:
                data = _read(root / photo.path, photo.size)
            except (SnapshotGone, StorageError) as error:
                left_out(photo.path, str(error))
            else:
                archive.add(photo, data)
                count += 1
            advance(photo.size)
        archive.finish()
    except BaseException:
        archive.abandon()
        raise
    return count


def _read(path: Path, size: int) -> bytes:
    if size > MAX_IMAGE_BYTES:
        raise SnapshotGone(f"It has more than {MAX_IMAGE_BYTES // 1024**2} MiB and is not a photo of D.O.G.")
    return read_picture(path, size)


@contextlib.contextmanager
def write_beside(path: Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """A file that gets its name when all of it is written and synced; else nothing of it is left.

    Raises FileExistsError where something has the name by then, but for a file that may be overwritten; and OSError.
    """
    beside = path.with_name(f".{make_id()}.part")
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(beside, path)
        else:
            link_new(beside, path)
        sync_folder(path.parent)
    finally:
        files.remove(beside)
