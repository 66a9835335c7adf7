"""Read images and thumbnails from disk, or from a cache of the newest.

A file that was removed, truncated or replaced by something else is never returned. Hashes are not checked here, but in
verify.py. The cache holds images that were checked and synced when they were saved.
"""

import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from dog import files
from dog.errors import DogError, StorageError, os_error_reason

__all__ = [
    "MAX_CACHE_BYTES",
    "ByteCache",
    "SnapshotGone",
    "StoredImage",
    "check_image",
    "read_image",
    "read_part",
    "read_thumbnail",
]

MAX_CACHE_BYTES: Final = 64 * 1024 * 1024
"""Images and thumbnails together: some 280 photos of 1280 x 720, as cameras compress them."""
_MAX_THUMBNAIL_BYTES = 1024 * 1024
"""More than any thumbnail: 320 x 320 pixels are 300 kB uncompressed."""
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"

_GONE_ERRNOS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


class SnapshotGone(DogError):
    """The file of a snapshot is missing or damaged. Users may see the text."""


def read_image(path: Path, size: int) -> bytes:
    """Return a file of this size. Raises SnapshotGone and StorageError."""
    return _read(path, size, size)


def read_thumbnail(path: Path) -> bytes:
    """Return a complete JPEG thumbnail. Raises SnapshotGone, StorageError."""
    data = _read(path, 1, _MAX_THUMBNAIL_BYTES)
    if not (data.startswith(_JPEG_START) and data.endswith(_JPEG_END)):
        raise SnapshotGone("The thumbnail of this photo is damaged.")
    return data


def check_image(path: Path, size: int) -> None:
    """Raise the errors of `read_image`, without reading the file."""
    read_part(path, size, 0, 0)


def read_part(path: Path, size: int, start: int, stop: int) -> bytes:
    """Return a part of a file of `size` bytes. Errors as for `read_image`."""
    return _read(path, size, size, start, stop)


def _read(path: Path, min_size: int, max_size: int, start: int = 0, stop: int | None = None) -> bytes:
    try:
        with files.open_regular(path, follow_links=False) as file:
            found = os.fstat(file.fileno()).st_size
            if not min_size <= found <= max_size:
                raise SnapshotGone("The file of this photo is damaged: its size has changed.")
            size = (found if stop is None else stop) - start
            file.seek(start)
            data = file.read(size)
    except files.NotRegularFile as error:
        raise SnapshotGone("The file of this photo was replaced by something else.") from error
    except OSError as error:
        if error.errno in _GONE_ERRNOS:
            raise SnapshotGone("The file of this photo is gone.") from error
        raise StorageError(f"The photo can't be read. {os_error_reason(error)}", detail=str(error)) from error
    if data is None or len(data) != size:
        raise SnapshotGone("The file of this photo is damaged: it was truncated.")
    return data


class StoredImage:
    """An image on disk that is read in parts, to save memory."""

    def __init__(self, size: int, read: Callable[[int, int], Awaitable[bytes]]) -> None:
        self._size = size
        self.read = read
        """Return the bytes from one position to another. Raises SnapshotGone and StorageError."""

    def __len__(self) -> int:
        return self._size


class ByteCache:
    """A cache of files by name. The oldest entry is evicted first."""

    def __init__(self, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self.size = 0
        self._max_bytes = max_bytes
        self._files: dict[str, bytes] = {}

    def add(self, name: str, data: bytes) -> None:
        """Add a file under a new name. One larger than the cache is ignored."""
        if len(data) > self._max_bytes:
            return
        self.size += len(data)
        self._files[name] = data
        while self.size > self._max_bytes:
            self.size -= len(self._files.pop(next(iter(self._files))))

    def remove(self, name: str) -> None:
        self.size -= len(self._files.pop(name, b""))

    def get(self, name: str) -> bytes | None:
        return self._files.get(name)
