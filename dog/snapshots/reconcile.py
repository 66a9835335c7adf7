"""Make the index agree with the folder, after a crash or other changes.

A day whose folder has the recorded mtime is not scanned. If a day agrees, no image is opened. Paths in our form are
trusted; other files are left alone. An image is decoded before it enters the index. One that has its thumbnail was
decoded when it was saved, and is only measured.
"""

import dataclasses
import errno
import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dog import files
from dog.errors import BadImage, StorageError
from dog.images import MAX_IMAGE_BYTES, ImageInfo, average_color, inspect_kept, measure
from dog.snapshots.day_folders import Listing, list_day, list_days
from dog.snapshots.image_files import SnapshotGone, read_thumbnail
from dog.snapshots.index import Index
from dog.snapshots.names import (
    SUFFIXES,
    UNKNOWN,
    Origin,
    Snapshot,
    SnapshotName,
    day_of,
    image_path,
    make_id,
    parse_path,
    thumbnail_path,
)

__all__ = ["Differences", "make_snapshot", "reconcile"]

TRANSIENT_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of reading that pass and mean nothing about the image."""
MTIME_GRANULARITY_NS = 2_000_000_000
"""A folder that changed more recently may change again without getting another mtime."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Differences:
    """Differences of the folder from the durable facts.

    `changed` are the paths of photos that changed since they were saved, and `missing` are those without a file. A
    photo whose file vanished from a folder that the index knows is not among them.
    """

    changed: list[str] = field(default_factory=list)
    missing: list[SnapshotName] = field(default_factory=list)


def reconcile(
    index: Index, root: Path, private: Path, incoming: Path, advance: Callable[[int], object] = lambda _photos: None
) -> Differences:
    """Make the index agree with the images. Raises OSError, sqlite3.Error.

    `advance` is called for each photo that is added.
    """
    return _Reconciliation(index, root, private, incoming, advance).run()


def make_snapshot(name: SnapshotName, info: ImageInfo, size: int, sha256: str, origin: Origin = UNKNOWN) -> Snapshot:
    """Return the Snapshot of an inspected image with this name."""
    return Snapshot(
        name.id,
        name.camera,
        name.capture,
        name.captured_at,
        info.width,
        info.height,
        size,
        info.content_type,
        sha256,
        origin=origin,
        color=info.color,
    )


@dataclass(slots=True)
class _Changes:
    """Counts of changes."""

    found: int = 0
    vanished: int = 0
    thumbnails: int = 0
    orphans: int = 0
    removed: int = 0
    foreign: int = 0


class _Reconciliation:
    def __init__(
        self, index: Index, root: Path, private: Path, incoming: Path, advance: Callable[[int], object]
    ) -> None:
        self._index = index
        self._root = root
        self._private = private
        self._incoming = incoming
        self._advance = advance
        self._changes = _Changes()
        self._differences = Differences()

    def run(self) -> Differences:
        index, changes = self._index, self._changes
        self._finish_removals()
        days, changes.foreign = list_days(self._root)
        recorded = index.day_mtimes()
        listings = {day: Listing() for day in sorted(recorded.keys() - days.keys())}
        changed = sorted(day for day, mtime_ns in days.items() if recorded.get(day) != mtime_ns)
        listings |= {day: list_day(self._root, day) for day in changed}
        # Vanished images first: one may have been moved to another day.
        vanished = {day: self._delete_vanished(day, listing) for day, listing in listings.items()}
        for day, listing in listings.items():
            self._match_day(day, listing, vanished[day])
            if day not in days:
                index.delete_day(day)
            else:  # if the changes here touched the folder, its new mtime makes the next start scan it again
                index.set_day_mtime(day, days[day] if days[day] < time.time_ns() - MTIME_GRANULARITY_NS else None)
        self._find_missing()
        if changes != _Changes(foreign=changes.foreign):
            log.warning(
                "%s: the index differed from the folder and was updated: %d photos added, %d gone, %d thumbnails"
                " made again, %d thumbnails without a photo removed, %d deleted photos removed again.",
                self._root,
                changes.found,
                changes.vanished,
                changes.thumbnails,
                changes.orphans,
                changes.removed,
            )
        if changes.foreign:
            log.info("%s: %d files do not belong to the album and are ignored.", self._root, changes.foreign)
        return self._differences

    def _finish_removals(self) -> None:
        """Delete what a crash left of photos whose removal is durable."""
        removed = self._index.removed()
        for snapshot in removed:
            path = image_path(snapshot)
            for name in path, thumbnail_path(path):
                files.remove_file(self._root / name)
            self._index.set_day_mtime(day_of(snapshot), None)
        self._index.forget(removed)
        self._changes.removed += len(removed)

    def _find_missing(self) -> None:
        """Find the photos that were saved and have no file, and forget them."""
        missing = [name for name in self._index.find_missing() if not (self._root / image_path(name)).exists()]
        self._index.delete_gone([name.id for name in missing])
        self._differences.missing = missing
        self._changes.vanished += len(missing)

    def _delete_vanished(self, day: str, listing: Listing) -> set[str]:
        """Delete rows of missing or resized images. Return their paths."""
        rows = self._index.images_of_day(day)
        vanished = {path for path, (_, size) in rows.items() if listing.images.get(path) != size}
        if vanished:
            self._index.delete_gone([rows[path][0] for path in vanished])
        self._changes.vanished += len(vanished)
        return vanished

    def _match_day(self, day: str, listing: Listing, vanished: set[str]) -> None:
        """Make a day's rows agree with its files, and make missing thumbnails."""
        rows = self._index.images_of_day(day)
        self._add_new_images(listing, rows, vanished)
        for path in sorted(path for path in rows if thumbnail_path(path) not in listing.thumbnails):
            self._changes.thumbnails += self._remake_thumbnail(path, rows[path][0])
        orphans = listing.thumbnails - {thumbnail_path(path) for path in listing.images}
        for path in orphans:
            files.remove_file(self._root / path)
        self._changes.orphans += len(orphans)
        self._changes.foreign += listing.foreign

    def _add_new_images(self, listing: Listing, rows: dict[str, tuple[str, int]], vanished: set[str]) -> None:
        """Add intact images without a row to the index."""
        seen = listing.thumbnails - {thumbnail_path(path) for path in vanished}
        for path in sorted(listing.images.keys() - rows.keys()):
            name = parse_path(path)
            if name is None or self._index.get(name.id) is not None:
                listing.foreign += 1
                continue
            if self._index.facts.find_removed(name.id) is not None:  # a crash left its file
                files.remove_file(self._root / path)
                del listing.images[path]
                self._changes.removed += 1
                continue
            inspected = self._inspect(path, has_thumbnail=thumbnail_path(path) in seen)
            if inspected is None:
                if not (self._root / path).exists():
                    del listing.images[path]
                continue
            data, info = inspected
            if SUFFIXES[info.content_type] != name.suffix:
                listing.foreign += 1
                continue
            if info.thumbnail:
                self._write_thumbnail(path, info)
            digest = hashlib.sha256(data).hexdigest()
            if self._index.facts.find_hash(name.id) not in ("", digest):  # it keeps the old hash
                self._differences.changed.append(path)
            self._index.add(make_snapshot(name, info, len(data), digest))
            self._changes.found += 1
            self._advance(1)

    def _remake_thumbnail(self, path: str, snapshot_id: str) -> bool:
        inspected = self._inspect(path)
        if inspected is None:
            self._index.delete_gone([snapshot_id])
            return False
        self._write_thumbnail(path, inspected[1])
        return True

    def _inspect(self, path: str, *, has_thumbnail: bool = False) -> tuple[bytes, ImageInfo] | None:
        """Return an image's bytes and content, or None if it can't be served.

        One that `has_thumbnail` was decoded when it was saved. It is only measured: decoding all would take minutes.
        An interrupted save leaves an empty file, which is removed. A damaged image may still be useful, and is moved
        to `damaged`. One that can't be read is left in its place.
        """
        try:
            size = (self._root / path).stat().st_size
            data = (self._root / path).read_bytes() if size <= MAX_IMAGE_BYTES else None
        except OSError as error:
            if error.errno in TRANSIENT_ERRNOS:
                raise
            log.warning("%s can't be read and is not served: %s", path, error)
            return None
        try:
            if data is None:
                raise BadImage("It is too large for a photo.", detail=f"{size} bytes")
            if not has_thumbnail:
                return data, inspect_kept(data)
            return data, dataclasses.replace(measure(data), color=self._read_color(path))
        except BadImage as error:
            if data == b"":
                files.remove_file(self._root / path)
                return None
            damaged = self._private / "damaged"
            damaged.mkdir(exist_ok=True)
            os.replace(self._root / path, damaged / Path(path).name)
            log.warning("%s is incomplete and was moved to %s: %s %s", path, damaged, error.message, error.detail)
            return None

    def _read_color(self, path: str) -> str:
        """Return the average colour of an image's thumbnail, "" if unreadable."""
        try:
            return average_color(read_thumbnail(self._root / thumbnail_path(path)))
        except (SnapshotGone, StorageError):
            return ""

    def _write_thumbnail(self, path: str, info: ImageInfo) -> None:
        files.replace_durably(
            self._root / thumbnail_path(path), info.thumbnail, temp_path=self._incoming / f"{make_id()}.thumbnail"
        )
