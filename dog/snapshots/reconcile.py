"""Make the index agree with the folder, after a crash or other changes.

A day whose folder has the recorded mtime is not scanned. If a day agrees, no image is opened. Paths in our form are
trusted; other files are left alone. An image is decoded before it enters the index. One that has its thumbnail was
decoded when it was saved, and is only measured. A rebuild has the files of one day in memory at a time.
"""

import errno
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dog import files
from dog.images import ImageInfo
from dog.snapshots.day_folders import Listing, folder_mtime_ns, list_day, list_days
from dog.snapshots.image_inspection import (
    ImageFile,
    Inspect,
    InspectedFile,
    Outcome,
    inspect_file,
    inspect_here,
)
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

__all__ = ["Differences", "finish_removals", "make_snapshot", "reconcile"]

TRANSIENT_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of reading that pass and mean nothing about the image."""
MTIME_GRANULARITY_NS = 2_000_000_000
"""A folder that changed more recently may change again without getting another mtime."""
_BATCH_FILES = 64
"""Images that are inspected and added in one step."""

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
    index: Index,
    root: Path,
    private: Path,
    incoming: Path,
    inspect: Inspect = inspect_here,
    advance: Callable[[int], object] = lambda _photos: None,
) -> Differences:
    """Make the index agree with the images. Raises OSError, sqlite3.Error.

    `advance` is called with numbers of new photos.
    """
    return _Reconciliation(index, root, private, incoming, inspect, advance).run()


def finish_removals(index: Index, root: Path) -> list[Snapshot]:
    """Delete what a crash left of removed photos. Return them."""
    removed = index.removed()
    for snapshot in removed:
        path = image_path(snapshot)
        for name in path, thumbnail_path(path):
            files.remove_file(root / name)
        index.set_day_mtime(day_of(snapshot), None)
    index.forget(removed)
    return removed


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


@dataclass(frozen=True, slots=True)
class _Scan:
    """The files of a day, and the paths whose rows were deleted."""

    listing: Listing
    vanished: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Day:
    """A day, its files, and the rows that it had before new images were added."""

    name: str
    listing: Listing
    rows: dict[str, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some new images of a day."""

    day: _Day
    files: list[ImageFile]
    is_last: bool


class _Reconciliation:
    def __init__(
        self,
        index: Index,
        root: Path,
        private: Path,
        incoming: Path,
        inspect: Inspect,
        advance: Callable[[int], object],
    ) -> None:
        self._index = index
        self._root = root
        self._private = private
        self._incoming = incoming
        self._inspect = inspect
        self._advance = advance
        self._changes = _Changes()
        self._differences = Differences()

    def run(self) -> Differences:
        index, changes = self._index, self._changes
        if index.is_checked:  # otherwise the check of the databases finds them
            index.facts.resume_removals(index.find_removed())
        changes.removed += len(finish_removals(index, self._root))
        days, changes.foreign = list_days(self._root)
        recorded = index.day_mtimes()
        changed = sorted(
            (recorded.keys() - days.keys()) | {day for day, mtime_ns in days.items() if recorded.get(day) != mtime_ns}
        )
        # Vanished images first: one may have been moved to another day.
        scans = {day: self._delete_vanished(day, day in days) for day in changed if index.has_images(day)}
        batches = itertools.chain.from_iterable(
            self._split_day(day, scans.pop(day) if day in scans else _Scan(self._list_day(day, day in days)))
            for day in changed
        )
        for batch, outcomes in self._inspect(self._root, batches):
            self._add_new_images(batch, outcomes)
            if batch.is_last:
                self._finish_day(batch.day, days.get(batch.day.name))
        if index.is_checked:
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

    def _find_missing(self) -> None:
        """Find the photos that were saved and have no file, and forget them."""
        missing = [name for name in self._index.find_missing() if not (self._root / image_path(name)).exists()]
        self._index.delete_gone([name.id for name in missing])
        self._differences.missing = missing
        self._changes.vanished += len(missing)

    def _list_day(self, day: str, exists: bool) -> Listing:
        return list_day(self._root, day) if exists else Listing()

    def _delete_vanished(self, day: str, exists: bool) -> _Scan:
        """Delete rows of missing or resized images."""
        rows = self._index.images_of_day(day)
        listing = self._list_day(day, exists)
        vanished = {path for path, (_, size) in rows.items() if listing.images.get(path) != size}
        if vanished:
            self._index.delete_gone([rows[path][0] for path in vanished])
        self._changes.vanished += len(vanished)
        return _Scan(listing, vanished)

    def _split_day(self, name: str, scan: _Scan) -> Iterator[_Batch]:
        """Yield the new images of a day in batches, at least one."""
        day = _Day(name, scan.listing, self._index.images_of_day(name))
        seen = day.listing.thumbnails - {thumbnail_path(path) for path in scan.vanished}
        new = [
            ImageFile(path, thumbnail_path(path) in seen)
            for path in sorted(day.listing.images.keys() - day.rows.keys())
        ]
        for start in range(0, max(len(new), 1), _BATCH_FILES):
            yield _Batch(day, new[start : start + _BATCH_FILES], is_last=start + _BATCH_FILES >= len(new))

    def _finish_day(self, day: _Day, mtime_ns: int | None) -> None:
        """Make missing thumbnails, delete orphans, and record the mtime."""
        listing = day.listing
        for path in sorted(path for path in day.rows if thumbnail_path(path) not in listing.thumbnails):
            self._changes.thumbnails += self._remake_thumbnail(path, day.rows[path][0])
        orphans = listing.thumbnails - {thumbnail_path(path) for path in listing.images}
        for path in orphans:
            files.remove_file(self._root / path)
        self._changes.orphans += len(orphans)
        self._changes.foreign += listing.foreign
        if mtime_ns is None:
            self._index.delete_day(day.name)
        else:  # a power cut may lose what was changed here, with the new mtime: the next start scans it again
            is_unchanged = folder_mtime_ns(self._root / day.name) == mtime_ns
            is_settled = is_unchanged and mtime_ns < time.time_ns() - MTIME_GRANULARITY_NS
            self._index.set_day_mtime(day.name, mtime_ns if is_settled else None)

    def _add_new_images(self, batch: _Batch, outcomes: list[Outcome]) -> None:
        """Add intact images without a row to the index."""
        with self._index.transaction():
            for file, outcome in zip(batch.files, outcomes, strict=True):
                self._add_new_image(file.path, outcome, batch.day.listing)
        self._advance(len(batch.files))

    def _add_new_image(self, path: str, outcome: Outcome, listing: Listing) -> None:
        name = parse_path(path)
        if name is None or self._index.get(name.id) is not None:
            listing.foreign += 1
            return
        if self._index.facts.find_removed(name.id) is not None:  # a crash left its file
            files.remove_file(self._root / path)
            del listing.images[path]
            self._changes.removed += 1
            return
        inspected = self._accept(path, outcome)
        if inspected is None:
            if not (self._root / path).exists():
                del listing.images[path]
            return
        if SUFFIXES[inspected.info.content_type] != name.suffix:
            listing.foreign += 1
            return
        if inspected.info.thumbnail:
            self._write_thumbnail(path, inspected.info)
        if self._index.facts.find_hash(name.id) not in ("", inspected.sha256):  # it keeps the old hash
            self._differences.changed.append(path)
        self._index.add(make_snapshot(name, inspected.info, inspected.size, inspected.sha256))
        self._changes.found += 1

    def _remake_thumbnail(self, path: str, snapshot_id: str) -> bool:
        inspected = self._accept(path, inspect_file(self._root, ImageFile(path)))
        if inspected is None:
            self._index.delete_gone([snapshot_id])
            return False
        self._write_thumbnail(path, inspected.info)
        return True

    def _accept(self, path: str, outcome: Outcome) -> InspectedFile | None:
        """Return an image's content, or None if it can't be served.

        An interrupted save leaves an empty file, which is removed. A damaged image may still be useful, and is moved
        to `damaged`. One that can't be read is left in its place.
        """
        if isinstance(outcome, InspectedFile):
            return outcome
        if isinstance(outcome, OSError):
            if outcome.errno in TRANSIENT_ERRNOS:
                raise outcome
            log.warning("%s can't be read and is not served: %s", path, outcome)
        elif outcome.is_empty:
            files.remove_file(self._root / path)
        else:
            damaged = self._private / "damaged"
            damaged.mkdir(exist_ok=True)
            os.replace(self._root / path, damaged / Path(path).name)
            log.warning("%s is incomplete and was moved to %s: %s", path, damaged, outcome.reason)
        return None

    def _write_thumbnail(self, path: str, info: ImageInfo) -> None:
        files.replace_durably(
            self._root / thumbnail_path(path), info.thumbnail, temp_path=self._incoming / f"{make_id()}.thumbnail"
        )
