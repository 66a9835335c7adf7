"""Scaled copies of images, made when they are first requested.

They are kept in a folder with a limit of its own:

    <folder>/.dog/scaled/<id>-<width>.jpg

They can be made again at any time. So the copy that was used longest ago is removed for a new one, all are removed
before a photo would be, and a full disk is not an error. A client that reads slowly costs no memory: what is neither on
the disk nor in the cache is made again.

Each copy is made once, however many clients wait for it. One thread makes those of each camera's newest snapshot, which
all viewers request at once. Another makes those of older ones, so that requests for many of them delay no new one.
"""

import asyncio
import contextlib
import functools
import logging
import os
import re
import socket
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dog import files
from dog.errors import BadImage, DogError, StorageError
from dog.images import scale_to_width
from dog.protocol import SCALED_WIDTHS
from dog.snapshots.image_files import ByteCache, SnapshotGone, StoredImage, read_image
from dog.snapshots.names import ID_PATTERN, Snapshot, make_id

__all__ = ["MAX_SCALED_BYTES", "SCALED_FOLDER", "NotScaled", "ScaledFiles", "ScaledImage", "ScaledImages"]

SCALED_FOLDER = "scaled"
MAX_SCALED_BYTES = 256 * 1024 * 1024
"""Some 1,500 copies that are 1280 pixels wide."""
_MAX_WAITING = 32
"""Copies of older snapshots that wait to be made: some seconds of work."""
_NAME = re.compile(rf"({ID_PATTERN})-({'|'.join(map(str, SCALED_WIDTHS))})\.jpg")

log = logging.getLogger(__name__)


class NotScaled(DogError):
    """A copy can't be made, or not now: the image itself has to do."""


def _file_name(snapshot_id: str, width: int) -> str:
    return f"{snapshot_id}-{width}.jpg"


def _closed_error() -> StorageError:
    return StorageError("The album is closed, because the server is stopping. Try again in a moment.")


# ---- in threads


class ScaledFiles:
    """The files of all copies, at most `max_bytes` (None: no limit).

    Any thread may call its methods. `size` does not block.
    """

    def __init__(self, private: Path, max_bytes: int | None) -> None:
        self._folder = private / SCALED_FOLDER
        self._incoming = private / "incoming"
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._sizes = OrderedDict[str, int]()
        """Sizes in bytes by name. The last used copy is at the end."""
        self._bytes = 0

    def open(self, exists: Callable[[str], bool]) -> None:
        """List the files, and remove those of snapshots that do not exist.

        It is called again when the index is opened again.
        """
        found: list[tuple[float, str, int]] = []
        with self._lock:
            with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
                for entry in entries:
                    name = _NAME.fullmatch(entry.name)
                    if name is not None and exists(name[1]):
                        status = entry.stat(follow_symlinks=False)
                        found.append((status.st_mtime, entry.name, status.st_size))
                    elif name is not None:
                        files.remove_file(Path(entry.path))
            self._sizes = OrderedDict((name, size) for _, name, size in sorted(found))
            self._bytes = sum(self._sizes.values())
            self._shrink(self._max_bytes)

    def path(self, name: str) -> Path:
        return self._folder / name

    def size(self, name: str) -> int | None:
        """Return the size of a copy, which counts as used now, or None."""
        with contextlib.suppress(KeyError):
            self._sizes.move_to_end(name)
        return self._sizes.get(name)

    def add(self, name: str, data: bytes) -> None:
        """Add a copy, and remove others beyond the limit. Raises OSError."""
        if self._max_bytes is not None and len(data) > self._max_bytes:
            return
        temp_path = self._incoming / f"{make_id()}.scaled"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        files.write_synced(temp_path, data)
        with self._lock:
            try:
                os.replace(temp_path, self._folder / name)
            except BaseException:
                files.remove_file(temp_path)
                raise
            self._bytes += len(data) - self._sizes.pop(name, 0)
            self._sizes[name] = len(data)
            self._shrink(self._max_bytes)

    def remove(self, snapshot_id: str) -> None:
        """Remove the copies of a snapshot."""
        with self._lock:
            for width in SCALED_WIDTHS:
                name = _file_name(snapshot_id, width)
                self._bytes -= self._sizes.pop(name, 0)
                files.remove_file(self._folder / name)

    def free(self, size: int) -> int:
        """Remove copies of at least `size` bytes, or all. Return their bytes."""
        with self._lock:
            before = self._bytes
            self._shrink(max(0, before - size))
            return before - self._bytes

    def _shrink(self, max_bytes: int | None) -> None:
        while max_bytes is not None and self._bytes > max_bytes:
            name, size = self._sizes.popitem(last=False)
            self._bytes -= size
            files.remove_file(self._folder / name)


# ---- in the event loop


class ScaledImage(StoredImage):
    """A scaled copy. It is made when its size or its bytes are needed.

    Methods raise NotScaled too.
    """

    def __init__(
        self,
        path: Path,
        find_size: Callable[[], int | None],
        make: Callable[[], Awaitable[bytes]],
        submit: Callable[..., Future[Any]],
        find_cached: Callable[[], bytes | None],
    ) -> None:
        super().__init__(lambda: path, None, submit, find_cached)
        self._find_size = find_size
        self._make = make
        self._made: bytes | None = None
        """The copy, if it was made here, until it is read the first time: it may not be on the disk yet."""

    async def size(self) -> int:
        if self._size is None:
            cached = self._find_cached()
            self._size = self._find_size() if cached is None else len(cached)
        if self._size is None:
            self._made = await self._make()
            self._size = len(self._made)
        return self._size

    async def check(self) -> None:
        await self.size()

    async def read(self, start: int, stop: int) -> bytes:
        with contextlib.suppress(SnapshotGone, StorageError):
            return await super().read(start, stop)
        return await self._make_again(start, stop)

    async def send(self, connection: socket.socket, start: int, stop: int) -> tuple[int, bytes]:
        with contextlib.suppress(SnapshotGone, StorageError):
            return await super().send(connection, start, stop)
        return 0, await self._make_again(start, stop)

    async def _make_again(self, start: int, stop: int) -> bytes:
        data, self._made = self._made or await self._make(), None
        if len(data) != await self.size():
            raise SnapshotGone("The scaled copy of this photo has changed.")
        return data[start:stop]


class ScaledImages:
    """Makes scaled copies. `open` must have been called.

    `find_path` returns the path of an image. `keep` adds a copy to `scaled_files`, or raises OSError or StorageError.
    Copies of images in `cache` are cached too. `read` runs a function in a thread that reads files.
    """

    def __init__(
        self,
        scaled_files: ScaledFiles,
        cache: ByteCache,
        find_path: Callable[[Snapshot], Path],
        keep: Callable[[str, bytes], object],
        read: Callable[..., Future[Any]],
    ) -> None:
        self._files = scaled_files
        self._cache = cache
        self._find_path = find_path
        self._keep = keep
        self._read = read
        self._for_newest = ThreadPoolExecutor(1, thread_name_prefix="scaling new photos")
        self._for_older = ThreadPoolExecutor(1, thread_name_prefix="scaling old photos")
        self._making: dict[str, asyncio.Future[bytes]] = {}
        """The copies that are being made, by name, until they are on the disk."""
        self._newest: dict[str, str] = {}
        """The id of each camera's newest snapshot."""

    def get(self, snapshot: Snapshot, width: int) -> ScaledImage:
        """Return a copy that is narrower than the image."""
        name = _file_name(snapshot.id, width)
        return ScaledImage(
            self._files.path(name),
            functools.partial(self._files.size, name),
            functools.partial(self._make, snapshot, width),
            self._read,
            functools.partial(self._cache.get, name),
        )

    def set_newest(self, snapshot: Snapshot) -> None:
        """Let the copies of this snapshot wait for those of no other."""
        self._newest[snapshot.camera] = snapshot.id

    def forget(self, snapshot: Snapshot) -> None:
        """Remove the copies of a removed snapshot from the cache."""
        for width in SCALED_WIDTHS:
            self._cache.remove(_file_name(snapshot.id, width))

    def close(self) -> None:
        """Wait for the copies that are being made, and make no others. Blocks."""
        for thread in self._for_newest, self._for_older:
            thread.shutdown(cancel_futures=True)

    async def _make(self, snapshot: Snapshot, width: int) -> bytes:
        """Return a copy when it is made. It is made even if all callers leave."""
        return await asyncio.shield(self._begin(snapshot, width))

    def _begin(self, snapshot: Snapshot, width: int) -> asyncio.Future[bytes]:
        name = _file_name(snapshot.id, width)
        if name in self._making:
            return self._making[name]
        is_newest = self._newest.get(snapshot.camera) == snapshot.id
        if not is_newest and len(self._making) >= _MAX_WAITING:
            raise NotScaled("Too many photos are being scaled.")
        loop = asyncio.get_running_loop()
        made: asyncio.Future[bytes] = loop.create_future()

        def call_in_loop(function: Callable[..., object], *args: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(function, *args)

        def finish(ended: Future[None]) -> None:
            self._making.pop(name)
            error = _closed_error() if ended.cancelled() else ended.exception()
            if error is not None and not made.done():
                made.set_exception(error)
                made.exception()  # so that it is not logged if nobody waits

        def work() -> None:
            data = self._scale(snapshot, width)
            call_in_loop(self._resolve, made, snapshot, name, data)
            self._keep_copy(snapshot, name, data)

        try:
            working = (self._for_newest if is_newest else self._for_older).submit(work)
        except RuntimeError:
            raise _closed_error() from None
        self._making[name] = made
        working.add_done_callback(functools.partial(call_in_loop, finish))
        return made

    def _resolve(self, made: asyncio.Future[bytes], snapshot: Snapshot, name: str, data: bytes) -> None:
        if self._cache.get(snapshot.id) is not None and self._cache.get(name) is None:
            self._cache.add(name, data)
        made.set_result(data)

    # ---- in their threads

    def _scale(self, snapshot: Snapshot, width: int) -> bytes:
        """Make a copy. Raises NotScaled, SnapshotGone and StorageError."""
        path = self._find_path(snapshot)
        data = self._cache.get(snapshot.id) or read_image(path, snapshot.bytes)
        try:
            scaled = scale_to_width(data, width)
        except BadImage as error:
            raise NotScaled(error.message) from error
        if not path.exists():
            raise SnapshotGone("The file of this photo is gone.")
        return scaled

    def _keep_copy(self, snapshot: Snapshot, name: str, data: bytes) -> None:
        try:
            self._keep(name, data)
        except (OSError, StorageError) as error:
            log.debug("%s can't be kept: %s", name, error)
        # The image may have been removed in the meantime. If that happens later, its copies are removed after it.
        if not self._find_path(snapshot).exists():
            self._files.remove(snapshot.id)
