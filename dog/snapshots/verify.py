"""Compare every file of an album with its index, while no server uses it.

No file is changed. New photos and missing hashes are added to the index. Everything here blocks. The memory does not
grow with the album.
"""

import contextlib
import dataclasses
import hashlib
import os
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from dog.errors import BadImage, StorageError
from dog.files import NotRegularFile, open_regular
from dog.images import MAX_IMAGE_BYTES, inspect_kept
from dog.snapshots.day_folders import list_paths
from dog.snapshots.facts_file import FACTS_FILE, are_facts_gone
from dog.snapshots.image_files import SnapshotGone, read_image, read_thumbnail
from dog.snapshots.index import INDEX_FILE, Index
from dog.snapshots.lock import IndexUnavailable, lock_album
from dog.snapshots.names import (
    SUFFIXES,
    Snapshot,
    SnapshotName,
    image_path,
    is_image_path,
    is_thumbnail_path,
    parse_path,
    thumbnail_path,
)
from dog.snapshots.reconcile import make_snapshot

__all__ = ["Finding", "Progress", "Verification", "open_existing_index"]

_VERIFYING_THREADS = 4
"""Several files are read at a time, so that hashing does not wait for the disk."""
_MAX_READ_AHEAD = 4 * _VERIFYING_THREADS
"""Photos that are read ahead of the next finding."""
_HASHED_BYTES = 1024 * 1024
_CHANGED = "is not as it was saved: its hash differs; restore it from a backup, or delete it"
_MISSING = "is missing; restore it from a backup before the next start, which removes it from the index"

Kind = Literal["changed", "size", "missing", "unreadable", "thumbnail", "unknown", "taken"]


class Progress(Protocol):
    """A receiver of progress: the total, then each step."""

    def begin(self, total: int) -> object: ...

    def advance(self, by: int) -> object: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding about a file: its path, and a text that continues it."""

    kind: Kind
    path: str
    message: str

    @property
    def is_wrong(self) -> bool:
        return self.kind != "taken"


def _strerror(error: BaseException | None) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


class Verification:
    """Compare an album with its index, whose totals are `photos` and `bytes`."""

    def __init__(self, root: Path, progress: Progress) -> None:
        self.photos = 0
        self.bytes = 0
        self._root = root
        self._progress = progress
        self._stop = threading.Event()

    def run(self) -> Generator[Finding, None, None]:
        """Yield findings. Close the generator to stop.

        Raises StartError and IndexUnavailable.
        """
        with lock_album(self._root) as private, contextlib.closing(open_existing_index(private)) as index:
            self.photos, self.bytes = index.totals()
            self._progress.begin(self.bytes)
            yield from self._check_photos(index)
            yield from self._check_names(index)

    def _check_photos(self, index: Index) -> Iterator[Finding]:
        waiting: deque[tuple[Snapshot, Future[tuple[str, list[Finding]]]]] = deque()

        def take_next_result() -> list[Finding]:
            snapshot, check = waiting.popleft()
            digest, findings = check.result()
            if digest and not snapshot.sha256:
                index.facts.add_saved(dataclasses.replace(snapshot, sha256=digest))
            self._progress.advance(snapshot.bytes)
            return findings

        with ThreadPoolExecutor(_VERIFYING_THREADS, thread_name_prefix="verifying") as readers:
            try:
                for snapshot in index.all():
                    waiting.append((snapshot, readers.submit(self._check_photo, snapshot)))
                    if len(waiting) == _MAX_READ_AHEAD:
                        yield from take_next_result()
                while waiting:
                    yield from take_next_result()
            finally:
                self._stop.set()
                readers.shutdown(wait=False, cancel_futures=True)

    def _check_photo(self, snapshot: Snapshot) -> tuple[str, list[Finding]]:
        """Return the hash of a photo's file, or "", and the findings about it."""
        path = image_path(snapshot)
        try:
            digest = self._hash(path, snapshot.bytes)
        except FileNotFoundError:
            return "", [Finding("missing", path, _MISSING)]
        except NotRegularFile:
            message = "was replaced by something that is not a file; restore it from a backup"
            return "", [Finding("size", path, message)]
        except OSError as error:
            return "", [Finding("unreadable", path, f"can't be read: {_strerror(error)}")]
        except SnapshotGone as error:
            return "", [Finding("size", path, str(error))]
        findings = []
        if not snapshot.sha256:
            findings.append(Finding("taken", path, "had no hash in the index; its present hash was added"))
        elif digest != snapshot.sha256:
            findings.append(Finding("changed", path, _CHANGED))
        return digest, findings + self._check_thumbnail(path)

    def _hash(self, path: str, size: int) -> str:
        with open_regular(self._root / path, follow_links=False) as file:
            found = os.fstat(file.fileno()).st_size
            if found != size:
                raise SnapshotGone(f"has {found} bytes instead of {size}; restore it from a backup")
            digest = hashlib.sha256()
            while (chunk := file.read(_HASHED_BYTES)) and not self._stop.is_set():
                digest.update(chunk)
        return digest.hexdigest()

    def _check_thumbnail(self, path: str) -> list[Finding]:
        thumbnail = thumbnail_path(path)
        try:
            read_thumbnail(self._root / thumbnail)
        except SnapshotGone as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return [Finding("thumbnail", thumbnail, "is missing; the next start of the server makes it again")]
            message = "is damaged; remove it, and the next start of the server makes it again"
            return [Finding("thumbnail", thumbnail, message)]
        except StorageError as error:
            return [Finding("unreadable", thumbnail, f"can't be read: {_strerror(error.__cause__)}")]
        return []

    # ---- files that are not in the index

    def _check_names(self, index: Index) -> Iterator[Finding]:
        for path, is_file in list_paths(self._root):
            if is_file and is_thumbnail_path(path):
                yield from self._check_thumbnail_name(path, index)
            elif is_file and is_image_path(path) and (name := parse_path(path)) is not None:
                yield from self._check_image_name(path, name, index)
            else:
                yield Finding("unknown", path, "does not belong to this album; move it elsewhere")
        for path in map(image_path, index.find_missing()):
            if not (self._root / path).exists():
                yield Finding("missing", path, _MISSING)

    def _check_thumbnail_name(self, path: str, index: Index) -> Iterator[Finding]:
        images = [path.removesuffix("thumbnail.jpg") + suffix for suffix in SUFFIXES.values()]
        name = parse_path(images[0])
        indexed = None if name is None else index.get(name.id)
        if indexed is not None and image_path(indexed) in images:
            return  # a missing photo has its own finding
        if not any((self._root / image).is_file() for image in images):
            yield Finding("unknown", path, "is a thumbnail without a photo; the next start of the server removes it")

    def _check_image_name(self, path: str, name: SnapshotName, index: Index) -> Iterator[Finding]:
        indexed = index.get(name.id)
        if indexed is not None:
            if image_path(indexed) != path:
                message = f"has the same id as {image_path(indexed)}; move one of them elsewhere"
                yield Finding("unknown", path, message)
        elif index.facts.find_removed(name.id) is not None:
            yield Finding("unknown", path, "was deleted and exists again; the next start of the server removes it")
        else:
            finding = self._add_to_index(path, name, index)
            yield finding
            if not finding.is_wrong:
                yield from self._check_thumbnail(path)

    def _add_to_index(self, path: str, name: SnapshotName, index: Index) -> Finding:
        """Add a new photo to the index if it is intact, as the next start would."""
        try:
            size = (self._root / path).stat().st_size
            if size > MAX_IMAGE_BYTES:
                raise BadImage(f"It has more than {MAX_IMAGE_BYTES // 1024**2} MiB.")
            data = read_image(self._root / path, size)
            info = inspect_kept(data)
        except (OSError, StorageError, SnapshotGone) as error:
            return Finding("unreadable", path, f"can't be read: {_strerror(error.__cause__ or error)}")
        except BadImage as error:
            return Finding("unknown", path, f"is not in the index and can't be added: {error.message}")
        if SUFFIXES[info.content_type] != name.suffix:
            return Finding("unknown", path, f"has a wrong suffix, because it is {info.content_type}; move it elsewhere")
        digest, saved = hashlib.sha256(data).hexdigest(), index.facts.find_hash(name.id)
        index.add(make_snapshot(name, info, len(data), digest))
        if saved not in ("", digest):
            return Finding("changed", path, _CHANGED)
        with_hash = "" if saved else " with its present hash"
        return Finding("taken", path, f"was not in the index; it was added{with_hash}")


def open_existing_index(private: Path) -> Index:
    """Open the databases if both exist. Otherwise, raise IndexUnavailable."""
    if not (private / INDEX_FILE).is_file():
        raise IndexUnavailable(f"{str(private.parent)!r} has no index. Create it with `dog album rebuild`.")
    if are_facts_gone(private):
        raise IndexUnavailable(
            f"{str(private / FACTS_FILE)!r} is gone, and the hashes with it. Restore it from a backup, or accept the"
            " photos as they are with `dog album rebuild`."
        )
    return Index(private)
