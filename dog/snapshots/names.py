"""The Snapshot, its id, and the path of its image.

The path is `YYYY/MM/DD/HHMMSS.mmm_<camera>_<capture>_<id>.<suffix>`, in UTC. The index can be rebuilt from it. A file
whose name differs from this form is not ours. Nothing here does I/O.
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
    "image_path",
    "is_image_path",
    "is_snapshot_id",
    "is_thumbnail_path",
    "make_id",
    "parse_path",
    "path_stem",
    "thumbnail_path",
]

ID_PATTERN: Final = "[a-z2-7]{24}"
"""Base32 of 15 random bytes: 120 bits, in one case, without characters that paths or URLs must escape."""

SUFFIXES: Final = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}

CAMERA_PATTERN: Final = "[a-z0-9][a-z0-9-]{0,31}"
MAX_CAPTURE: Final = 2**63 - 1
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


def is_snapshot_id(text: str) -> bool:
    """Return True if the text has the form of an id."""
    return _is_id(text) is not None


def make_id() -> str:
    return base64.b32encode(secrets.token_bytes(15)).decode("ascii").lower()


@dataclass(frozen=True, slots=True)
class SnapshotName:
    """The parts of an image's path. Raises ValueError for invalid ones."""

    id: str
    camera: str
    capture: int
    captured_at: dt.datetime
    suffix: str

    def __post_init__(self) -> None:
        if not _is_camera(self.camera):
            raise ValueError(f"{self.camera!r} is not a camera's name: {CAMERA_PATTERN}")
        if not 0 <= self.capture <= MAX_CAPTURE:
            raise ValueError(f"{self.capture} is not a capture's number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The circumstances of a capture. None for unknown ones.

    `request` is the idempotency key of the capture request. The exposure began at `captured_at` and ended before
    `exposed_until`, aware, in whole milliseconds. `exposure` is its duration in seconds, if the driver reports it.
    `settings` are the camera's, as JSON. `quality` describes the frames.
    """

    request: str | None = None
    exposed_until: dt.datetime | None = None
    exposure: float | None = None
    settings: str | None = None
    quality: Quality | None = None


UNKNOWN: Final = Origin()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An image that is safely on disk.

    `captured_at` is aware, in UTC, in whole milliseconds. `width` and `height` are in pixels, as the image is shown:
    after its EXIF orientation. `bytes` is the size of the file, and `sha256` its hash when it was saved, in
    hexadecimal, or empty if unknown. Retention never removes a `pinned` one. `color` is its average as `#rrggbb`, or
    empty if unknown.
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
    color: str = ""

    @property
    def suffix(self) -> str:
        """Return the suffix of the image's path and URL: `jpg`, `png` or `webp`."""
        return SUFFIXES[self.content_type]


def path_stem(name: SnapshotName | Snapshot) -> str:
    """Return the path without its suffix, relative to the store's folder."""
    at = name.captured_at
    time = f"{at.hour:02}{at.minute:02}{at.second:02}.{at.microsecond // 1000:03}"
    return f"{day_of(name)}/{time}_{name.camera}_{name.capture}_{name.id}"


def day_of(name: SnapshotName | Snapshot) -> str:
    """Return the image's folder, relative to the store's: `YYYY/MM/DD`."""
    at = name.captured_at
    return f"{at.year:04}/{at.month:02}/{at.day:02}"


def image_path(name: SnapshotName | Snapshot) -> str:
    return f"{path_stem(name)}.{name.suffix}"


def thumbnail_path(path: str) -> str:
    """Return the path of an image's thumbnail."""
    return path.rpartition(".")[0] + _THUMBNAIL_SUFFIX


def is_image_path(path: str) -> bool:
    """Return True if a path has the form of an image's."""
    return _PATH.fullmatch(path) is not None


def is_thumbnail_path(path: str) -> bool:
    return path.endswith(_THUMBNAIL_SUFFIX) and is_image_path(path.removesuffix(_THUMBNAIL_SUFFIX) + ".jpg")


def parse_path(path: str) -> SnapshotName | None:
    """Return the parts of an image's path, or None if it is not one of ours."""
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
