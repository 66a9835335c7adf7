"""A photo of a server: its metadata, and its image on request."""

import asyncio
import datetime as dt
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from dog.client.http import MAX_IMAGE_BYTES, Server
from dog.files import write_atomic
from dog.protocol import SCALED_WIDTHS, Outcome, SnapshotBody, parse_timestamp

__all__ = ["Photo"]

_SUFFIXES = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}
_Data = bytes  # Photo has a field of that name
_UNSAFE = re.compile(r"[^A-Za-z0-9-]")


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo. `read` and `save` fetch its image while the client is open.

    `id` and `camera` are the server's, and safe in file names and shells. `capture` rises from photo to photo, over all
    cameras. `url`, `page` and `thumbnail` are absolute URLs. `captured_at` is when the exposure began, aware, in UTC.
    `size` is (width, height) in pixels, as displayed; `bytes` is the file's size. `outcome` and `age` (seconds from
    `captured_at` to the response) are set if the photo answers a capture request. `body` is the server's message.
    """

    id: str
    camera: str
    capture: int
    url: str
    page: str
    thumbnail: str
    captured_at: dt.datetime
    size: tuple[int, int]
    bytes: int
    content_type: str
    outcome: Outcome | None
    age: float | None
    body: SnapshotBody = field(repr=False)
    _server: Server = field(repr=False, compare=False)

    @property
    def suffix(self) -> str:
        return _SUFFIXES.get(self.content_type, "bin")

    @property
    def name(self) -> str:
        """A file name such as `20261122T111438.123Z_main_<id>.jpg`, in UTC."""
        time = f"{self.captured_at:%Y%m%dT%H%M%S}.{self.captured_at.microsecond // 1000:03}Z"
        return f"{time}_{self.camera}_{self.id}.{self.suffix}"

    @property
    def address(self) -> str:
        """The image's URL below the client's URL, not the server's `base_url`."""
        return f"{self._server.display_url}/{self._path}"

    @property
    def _path(self) -> str:
        return f"snapshots/{self.id}.{self.suffix}"

    def _is_scaled(self, width: int | None) -> bool:
        """Return True if the photo is wider, so that `read` fetches a copy."""
        return width is not None and width < self.size[0]

    def scaled_name(self, width: int | None) -> str:
        """Return `name`, for a copy with its width: `..._main_<id>-640.jpg`."""
        return f"{self.name.rpartition('.')[0]}-{width}.jpg" if self._is_scaled(width) else self.name

    async def read(self, *, width: int | None = None) -> _Data:
        """Fetch the image: the file, or a copy that is scaled down to a `width`.

        The widths are 640, 1280, 1920 and 2560. A photo that is not wider is fetched as it is. Raise ValueError for
        another width, PhotoGone, PhotoDamaged, Unreachable and Forbidden.
        """
        if width not in (None, *SCALED_WIDTHS):
            raise ValueError(f"width must be one of {', '.join(map(str, SCALED_WIDTHS))}")
        if self._is_scaled(width):
            return await self._server.get(f"snapshots/{self.id}/{width}.jpg", max_bytes=MAX_IMAGE_BYTES)
        return await self._server.get(self._path, max_bytes=MAX_IMAGE_BYTES, is_intact=self._is_intact)

    def _is_intact(self, data: _Data) -> bool:
        """Return True if the data has the photo's length and hash."""
        expected = self.body.sha256
        return len(data) == self.bytes and (not expected or hashlib.sha256(data).hexdigest() == expected.lower())

    async def save(self, path: str | Path, *, overwrite: bool = False, width: int | None = None) -> None:
        """Save the image, or a copy, as a file: atomic, and fsynced.

        Raise FileExistsError if the path exists (with `overwrite`: and is not a file), OSError if it can't be written,
        and the errors of `read`.
        """
        data = await self.read(width=width)
        await asyncio.to_thread(write_atomic, Path(path), data, overwrite=overwrite)


def make_photo(server: Server, body: SnapshotBody, outcome: Outcome | None = None, age: float | None = None) -> Photo:
    """Make a Photo of a server's message. Raise Unreachable if it is invalid."""
    try:
        captured_at = parse_timestamp(body.captured_at)
        url, page, thumbnail = (
            path if URL(path).absolute else server.display_url + path  # a server without `base_url` sends only paths
            for path in (body.url, body.page, body.thumbnail)
        )
    except (ValueError, OverflowError) as error:
        raise server.not_a_dog_server() from error
    return Photo(
        id=_sanitize_name(body.snapshot),
        camera=_sanitize_name(body.camera),
        capture=body.capture,
        url=url,
        page=page,
        thumbnail=thumbnail,
        captured_at=captured_at,
        size=(body.width, body.height),
        bytes=body.bytes,
        content_type=body.content_type,
        outcome=outcome,
        age=age,
        body=body,
        _server=server,
    )


def _sanitize_name(word: str) -> str:
    """Make a name safe in paths and commands. D.O.G.'s own names are safe."""
    clean = _UNSAFE.sub("_", word)
    return (f"_{clean}" if clean.startswith("-") else clean)[:64]  # "-" would begin an option
