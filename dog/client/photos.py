"""A photo as a client has it: what is known of it, and its picture when that is asked for."""

import asyncio
import datetime as dt
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from dog.client.http import MAX_IMAGE_BYTES, Server
from dog.client.save_files import write_durably
from dog.protocol import Outcome, SnapshotBody, parse_timestamp

__all__ = ["Photo"]

_SUFFIXES = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}
_Data = bytes  # Photo has a field of that name
_UNSAFE = re.compile(r"[^A-Za-z0-9-]")


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of a server. Its picture is fetched by `read` and `save`, as long as the client is open.

    `id` and `camera` are the server's, with nothing in them that a file's name or a shell could stumble over; `capture`
    rises from photo to photo, over all cameras. `url`, `page` and `thumbnail` are the whole addresses of the picture,
    its page and its small picture. `captured_at` is when the exposure began, aware, in UTC. `size` is (width, height)
    in pixels, as it is shown, and `bytes` that of the file. `outcome` and `age` (seconds from `captured_at` to the
    answer) are there where the photo is the answer to a press. `body` is all that the server said of it.
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
        """A name for its file, with the time in UTC, the camera and the id: `20261122T111438.123Z_main_<id>.jpg`."""
        time = f"{self.captured_at:%Y%m%dT%H%M%S}.{self.captured_at.microsecond // 1000:03}Z"
        return f"{time}_{self.camera}_{self.id}.{self.suffix}"

    @property
    def address(self) -> str:
        """Where the picture is below the address that the client was given, whatever the server calls itself."""
        return f"{self._server.display_url}/{self._path}"

    @property
    def _path(self) -> str:
        return f"snapshots/{self.id}.{self.suffix}"

    async def read(self) -> _Data:
        """The picture's bytes, as the camera made them. Raises PhotoGone, PhotoDamaged, Unreachable and Forbidden."""
        return await self._server.get(self._path, max_bytes=MAX_IMAGE_BYTES, is_intact=self._is_intact)

    def _is_intact(self, data: _Data) -> bool:
        """Whether that is the picture which the server told of."""
        told = self.body.sha256
        return len(data) == self.bytes and (not told or hashlib.sha256(data).hexdigest() == told.lower())

    async def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Fetch the picture into a file, which is there whole or not at all, and survives a power cut.

        Raises FileExistsError where something has the name (with `overwrite`: something that is no file), OSError where
        it can't be written, and what `read` raises.
        """
        data = await self.read()
        await asyncio.to_thread(write_durably, Path(path), data, overwrite=overwrite)


def make_photo(server: Server, body: SnapshotBody, outcome: Outcome | None = None, age: float | None = None) -> Photo:
    """The photo that a server told of. Raises Unreachable for what no D.O.G. says."""
    try:
        captured_at = parse_timestamp(body.captured_at)
        url, page, thumbnail = (_absolute_url(server, path) for path in (body.url, body.page, body.thumbnail))
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
    """A name as it may stand in a path and on a command line: D.O.G.'s own names are so already."""
    clean = _UNSAFE.sub("_", word)
    return (f"_{clean}" if clean.startswith("-") else clean)[:64]  # which a command would read as an option


def _absolute_url(server: Server, url: str) -> str:
    """A server that does not know its public address tells paths from its root: they lie below the address we use."""
    return url if URL(url).absolute else server.display_url + url
