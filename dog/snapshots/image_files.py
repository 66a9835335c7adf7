"""Read images and thumbnails from disk, or from a cache of the newest.

A file that was removed, truncated or replaced by something else is never returned. Hashes are not checked here, but in
verify.py. The cache holds images that were checked and synced when they were saved.
"""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, Final

from dog import files
from dog.errors import DogError, StorageError, os_error_reason

__all__ = [
    "MAX_CACHE_BYTES",
    "ByteCache",
    "SnapshotGone",
    "StoredImage",
    "read_image",
    "read_thumbnail",
]

MAX_CACHE_BYTES: Final = 64 * 1024 * 1024
"""Images and thumbnails together: some 280 photos of 1280 x 720, as cameras compress them."""
_MAX_THUMBNAIL_BYTES = 1024 * 1024
"""More than any thumbnail: 320 x 320 pixels are 300 kB uncompressed."""
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_WAITING_BYTES = 4 * 1024
"""Bytes in memory for a client whose socket is full."""

_GONE_ERRNOS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
_NO_SENDFILE_ERRNOS = (errno.EINVAL, errno.ENOSYS)
"""Errors of a file system that can't send files."""


class SnapshotGone(DogError):
    """The file of a snapshot is missing or damaged. Users may see the text."""


class StoredImage:
    """An image or a thumbnail on disk, or in memory while the cache has it.

    `size` is None for a thumbnail. `submit` runs a function in a thread, `find_cached` returns the bytes in the cache.
    """

    def __init__(
        self,
        find_path: Callable[[], Path],
        size: int | None,
        submit: Callable[..., Future[Any]],
        find_cached: Callable[[], bytes | None],
    ) -> None:
        self._find_path = find_path
        self._size = size
        self._submit = submit
        self._find_cached = find_cached

    async def size(self) -> int:
        """Return the size. An image's is known without its file."""
        if self._size is None:
            cached = self._find_cached()
            self._size = len(cached) if cached is not None else await self._run(_check_thumbnail)
        return self._size

    async def check(self) -> None:
        """Raise SnapshotGone or StorageError if it can't be read."""
        if self._find_cached() is None:
            await self._run(_check, await self.size())

    def peek(self, start: int, stop: int) -> memoryview | None:
        """Return the bytes from one position to another if they are in memory."""
        cached = self._find_cached()
        return None if cached is None else memoryview(cached)[start:stop]

    async def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from one position to another.

        Raises SnapshotGone and StorageError.
        """
        cached = self.peek(start, stop)
        return bytes(cached) if cached is not None else await self._run(_read, await self.size(), start, stop)

    async def send(self, connection: socket.socket, start: int, stop: int) -> tuple[int, bytes]:
        """Send bytes from disk until a non-blocking socket is full.

        Return the number of bytes sent, and some that follow them. Raises SnapshotGone, StorageError and
        ConnectionError.
        """
        size = await self.size()
        duplicate = connection.dup()  # the connection may be closed, and its number be another client's, before the end
        try:
            sending = self._submit(_send, self._find_path(), size, duplicate, start, stop)
        except BaseException:
            duplicate.close()
            raise
        sending.add_done_callback(lambda _: duplicate.close())
        sent: tuple[int, bytes] = await asyncio.wrap_future(sending)
        return sent

    async def _run(self, function: Callable[..., Any], *arguments: int) -> Any:
        return await asyncio.wrap_future(self._submit(function, self._find_path(), *arguments))


# ---- in a thread


def read_image(path: Path, size: int) -> bytes:
    """Return a file of this size. Raises SnapshotGone and StorageError."""
    return _read(path, size, 0, size)


def read_thumbnail(path: Path) -> bytes:
    """Return a complete JPEG thumbnail. Raises SnapshotGone, StorageError."""
    return read_image(path, _check_thumbnail(path))


@contextlib.contextmanager
def _open(path: Path, min_size: int, max_size: int) -> Iterator[tuple[IO[bytes], int]]:
    """Open a file of this size; yield it and its size. Explain errors."""
    try:
        with files.open_regular(path, follow_links=False) as file:
            size = os.fstat(file.fileno()).st_size
            if not min_size <= size <= max_size:
                raise SnapshotGone("The file of this photo is damaged: its size has changed.")
            yield file, size
    except files.NotRegularFile as error:
        raise SnapshotGone("The file of this photo was replaced by something else.") from error
    except ConnectionError:
        raise
    except OSError as error:
        if error.errno in _GONE_ERRNOS:
            raise SnapshotGone("The file of this photo is gone.") from error
        raise StorageError(f"The photo can't be read. {os_error_reason(error)}", detail=str(error)) from error


def _check(path: Path, size: int) -> None:
    with _open(path, size, size):
        pass


def _check_thumbnail(path: Path) -> int:
    """Return the size of a thumbnail that begins and ends as a JPEG."""
    with _open(path, len(_JPEG_START + _JPEG_END), _MAX_THUMBNAIL_BYTES) as (file, size):
        if _pread(file, 0, 2) + _pread(file, size - 2, size) != _JPEG_START + _JPEG_END:
            raise SnapshotGone("The thumbnail of this photo is damaged.")
        return size


def _read(path: Path, size: int, start: int, stop: int) -> bytes:
    with _open(path, size, size) as (file, _):
        return _pread(file, start, stop)


def _send(path: Path, size: int, connection: socket.socket, start: int, stop: int) -> tuple[int, bytes]:
    with _open(path, size, size) as (file, _):
        try:
            start += (sent := os.sendfile(connection.fileno(), file.fileno(), start, stop - start))
        except BlockingIOError:
            sent = 0
        except OSError as error:
            if error.errno not in _NO_SENDFILE_ERRNOS:
                raise
            return 0, _pread(file, start, stop)
        return sent, _pread(file, start, min(stop, start + _WAITING_BYTES))


def _pread(file: IO[bytes], start: int, stop: int) -> bytes:
    data = os.pread(file.fileno(), stop - start, start)
    if len(data) != stop - start:
        raise SnapshotGone("The file of this photo is damaged: it was truncated.")
    return data


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
