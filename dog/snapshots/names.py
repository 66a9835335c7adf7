"""What a snapshot is, its id, and its path: `YYYY/MM/DD/HHMMSS.mmm_<camera>_<capture>_<id>.<suffix>`, in UTC.

The path says when, by which camera, as which capture and under which id the picture was taken, so that the
index can be made again from the folder alone. Whatever is not named exactly so is somebody else's. Nothing
here does I/O.
"""

import base64
import datetime as dt
import re
import secrets
from dataclasses import dataclass
from typing import Final

from dog.protocol import Quality

__all__ = [
    "ID_PATTERN",
    "SUFFIXES",
    "UNKNOWN",
    "Origin",
    "Snapshot",
    "SnapshotName",
    "day_of",
    "from_milliseconds",
    "is_picture",
    "is_snapshot_id",
    "is_thumbnail",
    "make_id",
    "milliseconds",
    "parse_path",
    "picture_name",
    "stem",
    "thumbnail_name",
]

ID_PATTERN: Final = "[a-z2-7]{24}"
"""Base32 of 15 random bytes: 120 bits, nothing that a file system or an address has to escape, one case."""

SUFFIXES: Final = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}

CAMERA_PATTERN: Final = "[a-z0-9][a-z0-9-]{0,31}"
LARGEST_CAPTURE: Final = 2**63 - 1
"""SQLite's largest integer."""

_THUMBNAIL_SUFFIX = ".thumbnail.jpg"
_is_id = re.compile(ID_PATTERN).fullmatch
_is_camera = re.compile(CAMERA_PATTERN).fullmatch
_PATH = re.compile(
    r"(?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d)/"
    r"(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)\.(?P<millisecond>\d{3})"
    rf"_(?P<camera>{CAMERA_PATTERN})_(?P<capture>0|[1-9]\d{{0,18}})_(?P<id>{ID_PATTERN})"
    r"\.(?P<suffix>jpg|png|webp)",
    re.ASCII,
)
_START = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)


def is_snapshot_id(text: str) -> bool:
    """Whether this has the form of an id. It says nothing about whether there is such a snapshot."""
    return _is_id(text) is not None


def make_id() -> str:
    return base64.b32encode(secrets.token_bytes(15)).decode("ascii").lower()


def milliseconds(moment: dt.datetime) -> int:
    """Since 1970; what is finer is cut off. Raises ValueError for a time without an offset."""
    if moment.utcoffset() is None:
        raise ValueError(f"{moment!r} has no offset from UTC")
    return (moment - _START) // _MILLISECOND


def from_milliseconds(count: int) -> dt.datetime:
    return _START + count * _MILLISECOND


@dataclass(frozen=True, slots=True)
class SnapshotName:
    """What a path says of a picture. Raises ValueError where it can't be said in a path."""

    id: str
    camera: str
    capture: int
    captured_at: dt.datetime
    suffix: str

    def __post_init__(self) -> None:
        if not _is_camera(self.camera):
            raise ValueError(f"{self.camera!r} is no camera's name: {CAMERA_PATTERN}")
        if not 0 <= self.capture <= LARGEST_CAPTURE:
            raise ValueError(f"{self.capture} is no capture's number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How a snapshot came about, which its path does not say. None where it is not known.

    `request` is the key of a press that asked for it. The exposure began at `captured_at` and had ended by
    `exposed_until`, aware, in whole milliseconds; `exposure` is its time in seconds, where the driver knows it.
    `settings` are the camera's, as JSON; `quality` is what was found of its frames.
    """

    request: str | None = None
    exposed_until: dt.datetime | None = None
    exposure: float | None = None
    settings: str | None = None
    quality: Quality | None = None


UNKNOWN: Final = Origin()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A picture that is safely on disk.

    `captured_at` is aware, in UTC, in whole milliseconds. `width` and `height` are in pixels, as the picture
    is shown: a picture that its camera marked as lying on its side has them exchanged. `bytes` is the size of
    the file, and `sha256` its hash when it was saved, in hexadecimal; empty where it was never taken. One that is
    `pinned` is never removed to make room.
    """

    id: str
    camera: str
    capture: int
    captured_at: dt.datetime
    width: int
    height: int
    bytes: int
    content_type: str
    sha256: str = ""
    pinned: bool = False
    origin: Origin = UNKNOWN

    @property
    def suffix(self) -> str:
        """`jpg`, `png` or `webp`: how the picture's name and its address end."""
        return SUFFIXES[self.content_type]


def stem(taken: SnapshotName | Snapshot) -> str:
    """The path without its suffix, relative to the store's folder."""
    at = taken.captured_at
    time = f"{at.hour:02}{at.minute:02}{at.second:02}.{at.microsecond // 1000:03}"
    return f"{day_of(taken)}/{time}_{taken.camera}_{taken.capture}_{taken.id}"


def day_of(taken: SnapshotName | Snapshot) -> str:
    """The folder that the picture lies in, relative to the store's: `YYYY/MM/DD`."""
    at = taken.captured_at
    return f"{at.year:04}/{at.month:02}/{at.day:02}"


def picture_name(taken: SnapshotName | Snapshot) -> str:
    return f"{stem(taken)}.{taken.suffix}"


def thumbnail_name(picture: str) -> str:
    """The path of the thumbnail that belongs to the picture of this path."""
    return picture.rpartition(".")[0] + _THUMBNAIL_SUFFIX


def is_picture(path: str) -> bool:
    """Whether a path has the form of a picture's; parse_path also looks whether it can be true."""
    return _PATH.fullmatch(path) is not None


def is_thumbnail(path: str) -> bool:
    return path.endswith(_THUMBNAIL_SUFFIX) and is_picture(path.removesuffix(_THUMBNAIL_SUFFIX) + ".jpg")


def parse_path(path: str) -> SnapshotName | None:
    """What the path of a picture says, or None where it is not one of ours."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    clock = ("year", "month", "day", "hour", "minute", "second")
    try:
        year, month, day, hour, minute, second = (int(match[part]) for part in clock)
        at = dt.datetime(year, month, day, hour, minute, second, int(match["millisecond"]) * 1000, tzinfo=dt.UTC)
        return SnapshotName(match["id"], match["camera"], int(match["capture"]), at, match["suffix"])
    except ValueError:
        return None
