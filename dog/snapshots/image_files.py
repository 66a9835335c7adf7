"""Pictures read back: as they were saved or not at all, and the newest few from memory.

A file that somebody has removed, cut short or made into something else is never given as a picture; whether every byte
of it is the camera's is not looked at each time. What was checked and
synced when it was saved may be given from memory for as long as it is kept there.
"""

import errno
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from dog import files
from dog.errors import DogError, StorageError

__all__ = [
    "LARGEST_MEMORY",
    "ByteCache",
    "SnapshotGone",
    "StoredPicture",
    "check_picture",
    "read_part",
    "read_picture",
    "read_thumbnail",
]

LARGEST_MEMORY: Final = 64 * 1024 * 1024
"""Bytes, pictures and thumbnails together: some 280 photos of 1280 x 720, as cameras compress them."""
_LARGEST_THUMBNAIL = 1024 * 1024
"""Of 320 x 320 pixels: uncompressed it is 300 kB."""
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


class SnapshotGone(DogError):
    """A snapshot whose file is not there any more, or not as it was saved. `str()` is fit to show."""


def read_picture(path: Path, size: int) -> bytes:
    """The file, which must be of this size in bytes. Raises SnapshotGone and StorageError."""
    return _read(path, size, size)


def read_thumbnail(path: Path) -> bytes:
    """A thumbnail of ours, a JPEG that ends where it should. Raises SnapshotGone and StorageError."""
    data = _read(path, 1, _LARGEST_THUMBNAIL)
    if not (data.startswith(_JPEG_START) and data.endswith(_JPEG_END)):
        raise SnapshotGone("The thumbnail of this photo is damaged.")
    return data


def check_picture(path: Path, size: int) -> None:
    """Raise what `read_picture` raises for the file, without reading it."""
    read_part(path, size, 0, 0)


def read_part(path: Path, size: int, start: int, stop: int) -> bytes:
    """Return the bytes from `start` to `stop` of a file of `size` bytes. Raises SnapshotGone and StorageError."""
    return _read(path, size, size, start, stop)


def _read(path: Path, least: int, most: int, start: int = 0, stop: int | None = None) -> bytes:
    try:
        # Opening a pipe must not wait for somebody to write to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SnapshotGone("The file of this photo was replaced by something else.")
            if not least <= status.st_size <= most:
                raise SnapshotGone("The file of this photo is damaged: its size has changed.")
            size = (status.st_size if stop is None else stop) - start
            with open(descriptor, "rb", buffering=0, closefd=False) as file:
                file.seek(start)
                data = file.read(size)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _GONE:
            raise SnapshotGone("The file of this photo is gone.") from error
        raise StorageError(f"The photo can't be read. {files.reason(error)}", detail=str(error)) from error
    if data is None or len(data) != size:
        raise SnapshotGone("The file of this photo is damaged: it was cut short.")
    return data


class StoredPicture:
    """A picture on the disk that is read in parts: who reads slowly takes the memory of one part."""

    def __init__(self, size: int, read: Callable[[int, int], Awaitable[bytes]]) -> None:
        self._size = size
        self.read = read
        """Return the bytes from one position to another. Raises SnapshotGone and StorageError."""

    def __len__(self) -> int:
        return self._size


class ByteCache:
    """Files by name, at most `largest` bytes of them together; the one that was kept first goes first."""

    def __init__(self, largest: int = LARGEST_MEMORY) -> None:
        self.size = 0
        self._largest = largest
        self._files: dict[str, bytes] = {}

    def keep(self, name: str, data: bytes) -> None:
        """One that is too large alone is not kept, and takes no other's place. A name is kept once."""
        if len(data) > self._largest:
            return
        self.size += len(data)
        self._files[name] = data
        while self.size > self._largest:
            self.size -= len(self._files.pop(next(iter(self._files))))

    def forget(self, name: str) -> None:
        self.size -= len(self._files.pop(name, b""))

    def get(self, name: str) -> bytes | None:
        return self._files.get(name)
