"""Write the originals of an album into one zip or tar.

They are uncompressed, oldest first, under their own paths. No lock is needed: a server may add and remove photos at the
same time. A photo is read completely before its entry begins, so that a removed one leaves no gap. An unfinished
archive has no end record, so that it is not mistaken for a complete one. Everything here blocks.
"""

import contextlib
import datetime as dt
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

from dog.errors import StorageError
from dog.images import MAX_IMAGE_BYTES
from dog.snapshots.day_folders import list_day, list_days
from dog.snapshots.image_files import SnapshotGone, read_image
from dog.snapshots.names import SnapshotName, parse_path

__all__ = ["ExportedPhoto", "Kind", "export", "list_photos"]

Kind = Literal["zip", "tar"]

_FILE_MODE = stat.S_IFREG | 0o644
_MIN_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
_MAX_ZIP_TIME: Final = (2107, 12, 31, 23, 59, 58)
_ZIP_TIMESTAMP_FIELD: Final = 0x5455
"""A zip's extra field with the time in UTC: the standard field has local time, to two seconds."""


@dataclass(frozen=True, slots=True)
class ExportedPhoto:
    """A photo for the archive: its path, the parts of it, and its size."""

    path: str
    name: SnapshotName
    size: int


def list_photos(
    root: Path, *, first: dt.date | None = None, last: dt.date | None = None, camera: str | None = None
) -> list[ExportedPhoto]:
    """List the photos from `first` to `last` in UTC, oldest first."""
    found: list[ExportedPhoto] = []
    for day in sorted(list_days(root)[0]):
        if (first and day < f"{first:%Y/%m/%d}") or (last and day > f"{last:%Y/%m/%d}"):
            continue
        with contextlib.suppress(FileNotFoundError):  # the day's last photo was removed
            for path, size in list_day(root, day).images.items():
                name = parse_path(path)
                if name and size and camera in (None, name.camera):  # an empty file is a save in progress
                    found.append(ExportedPhoto(path, name, size))
    return sorted(found, key=lambda photo: (photo.name.captured_at, photo.name.capture, photo.path))


class _Archive(Protocol):
    def add(self, photo: ExportedPhoto, data: bytes) -> None: ...

    def finish(self) -> None: ...

    def abort(self) -> None: ...


class _Zip:
    def __init__(self, sink: IO[bytes]) -> None:
        self._archive = zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED)

    def add(self, photo: ExportedPhoto, data: bytes) -> None:
        at = photo.name.captured_at
        member = zipfile.ZipInfo(photo.path, _zip_time(at))
        member.external_attr = _FILE_MODE << 16
        seconds = int(at.timestamp())
        if -(2**31) <= seconds < 2**31:
            member.extra = struct.pack("<HHBi", _ZIP_TIMESTAMP_FIELD, 5, 1, seconds)
        self._archive.writestr(member, data)

    def finish(self) -> None:
        self._archive.close()

    def abort(self) -> None:
        self._archive.fp = None  # else its destructor writes the end record


def _zip_time(at: dt.datetime) -> tuple[int, int, int, int, int, int]:
    """Return local time, within a zip's range of years."""
    local = at.astimezone()
    clock = (local.year, local.month, local.day, local.hour, local.minute, local.second)
    return min(max(clock, _MIN_ZIP_TIME), _MAX_ZIP_TIME)


class _Tar:
    def __init__(self, sink: IO[bytes]) -> None:
        self._archive = tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - see finish

    def add(self, photo: ExportedPhoto, data: bytes) -> None:
        member = tarfile.TarInfo(photo.path)
        member.size = len(data)
        member.mtime = photo.name.captured_at.timestamp()
        member.mode = stat.S_IMODE(_FILE_MODE)
        self._archive.addfile(member, io.BytesIO(data))
        self._archive.members.clear()  # type: ignore[attr-defined]  # saves memory

    def finish(self) -> None:
        self._archive.close()

    def abort(self) -> None:
        stream: Any = self._archive.fileobj
        stream.closed = True  # else its destructor writes the rest of its buffer


_ARCHIVES: Final[dict[Kind, Callable[[IO[bytes]], _Archive]]] = {"zip": _Zip, "tar": _Tar}


def export(
    root: Path,
    photos: list[ExportedPhoto],
    kind: Kind,
    sink: IO[bytes],
    *,
    left_out: Callable[[str, str], object],
    advance: Callable[[int], object],
) -> int:
    """Write photos into an archive, and return their number.

    `left_out` is called with the path of a photo that can't be read, and the reason; `advance` with each photo's size.
    Raises OSError only for the sink.
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
        archive.abort()
        raise
    return count


def _read(path: Path, size: int) -> bytes:
    if size > MAX_IMAGE_BYTES:
        raise SnapshotGone(f"It has more than {MAX_IMAGE_BYTES // 1024**2} MiB and is not a photo of D.O.G.")
    return read_image(path, size)
