"""Making the index say what the folder says, after a crash or whatever else happened to either.

A day whose folder was not changed since the index was told all that lies in it is not looked into; where a day agrees,
no picture is opened. Names of ours are believed, and what is not named as ours is left alone. Before a picture enters
the index it is looked at; one that has its thumbnail was decoded when it was saved: it is measured.
"""

import errno
import hashlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from dog import files
from dog.errors import BadImage
from dog.images import MAX_IMAGE_BYTES, ImageInfo, inspect_kept, measure
from dog.snapshots.folder import Listing, list_day, list_days
from dog.snapshots.index import Index
from dog.snapshots.names import SUFFIXES, UNKNOWN, Origin, Snapshot, SnapshotName, make_id, parse_path, thumbnail_name

__all__ = ["describe", "reconcile"]

_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What says nothing of a picture: another moment it can be read."""
_YOUNG = 2_000_000_000
"""Nanoseconds. A folder that was changed so lately may be changed again within the same tick of the clock."""

log = logging.getLogger(__name__)


def reconcile(index: Index, root: Path, private: Path, incoming: Path) -> None:
    """Make the index agree with the pictures below `root`. Raises OSError and sqlite3.Error."""
    _Reconciliation(index, root, private, incoming).run()


def describe(taken: SnapshotName, picture: ImageInfo, size: int, sha256: str, origin: Origin = UNKNOWN) -> Snapshot:
    """What a picture is when it is kept under that name."""
    return Snapshot(
        taken.id,
        taken.camera,
        taken.capture,
        taken.captured_at,
        picture.width,
        picture.height,
        size,
        picture.content_type,
        sha256,
        origin=origin,
    )


@dataclass(slots=True)
class _Changes:
    """What was done, in numbers."""

    found: int = 0
    vanished: int = 0
    thumbnails: int = 0
    orphans: int = 0
    removed: int = 0
    foreign: int = 0


class _Reconciliation:
    def __init__(self, index: Index, root: Path, private: Path, incoming: Path) -> None:
        self._index = index
        self._root = root
        self._private = private
        self._incoming = incoming
        self._changes = _Changes()

    def run(self) -> None:
        index, changes = self._index, self._changes
        days, changes.foreign = list_days(self._root)
        known = index.days()
        listings = {day: Listing() for day in sorted(known.keys() - days.keys())}
        changed = sorted(day for day, changed_at in days.items() if known.get(day) != changed_at)
        listings |= {day: list_day(self._root, day) for day in changed}
        # First all that went: a picture may have come to another day.
        vanished = {day: self._forget_vanished(day, listing) for day, listing in listings.items()}
        for day, listing in listings.items():
            self._match(day, listing, vanished[day])
            if day not in days:
                index.forget_day(day)
            else:  # one that is changed by what is done here is looked into at the next start, too
                index.note_day(day, days[day] if days[day] < time.time_ns() - _YOUNG else None)
        if changes != _Changes(foreign=changes.foreign):
            log.warning(
                "%s: the index was rebuilt where it differed from the folder: %d pictures added, %d gone,"
                " %d thumbnails made again, %d without a picture removed, %d that had been deleted removed again.",
                self._root,
                changes.found,
                changes.vanished,
                changes.thumbnails,
                changes.orphans,
                changes.removed,
            )
        if changes.foreign:
            log.info("%s: %d files do not belong to the album and are ignored.", self._root, changes.foreign)

    def _forget_vanished(self, day: str, listing: Listing) -> set[str]:
        """The rows of one day whose pictures are not there, or not as they were saved. Returns their paths."""
        known = self._index.paths(day)
        vanished = {path for path, (_, size) in known.items() if listing.pictures.get(path) != size}
        if vanished:
            self._index.forget(known[path][0] for path in vanished)
        self._changes.vanished += len(vanished)
        return vanished

    def _match(self, day: str, listing: Listing, vanished: set[str]) -> None:
        """Make the rows of one day say what lies there, and each picture have its thumbnail."""
        known = self._index.paths(day)
        self._adopt(listing, known, vanished)
        for path in sorted(path for path in known if thumbnail_name(path) not in listing.thumbnails):
            self._changes.thumbnails += self._renew_thumbnail(path, known[path][0])
        orphans = listing.thumbnails - {thumbnail_name(path) for path in listing.pictures}
        for path in orphans:
            files.remove(self._root / path)
        self._changes.orphans += len(orphans)
        self._changes.foreign += listing.foreign

    def _adopt(self, listing: Listing, known: dict[str, tuple[str, int]], vanished: set[str]) -> None:
        """Take the pictures that have no row into the index, if they are whole."""
        seen = listing.thumbnails - {thumbnail_name(path) for path in vanished}
        for path in sorted(listing.pictures.keys() - known.keys()):
            taken = parse_path(path)
            if taken is None or self._index.get(taken.id) is not None:
                listing.foreign += 1
                continue
            if self._index.ledger.find_removed(taken.id) is not None:  # a crash kept it
                files.remove(self._root / path)
                del listing.pictures[path]
                self._changes.removed += 1
                continue
            inspected = self._inspect(path, known=thumbnail_name(path) in seen)
            if inspected is None:
                if not (self._root / path).exists():
                    del listing.pictures[path]
                continue
            data, picture = inspected
            if SUFFIXES[picture.content_type] != taken.suffix:
                listing.foreign += 1
                continue
            if picture.thumbnail:
                self._write_thumbnail(path, picture)
            self._index.add(describe(taken, picture, len(data), hashlib.sha256(data).hexdigest()))
            self._changes.found += 1

    def _renew_thumbnail(self, path: str, snapshot_id: str) -> bool:
        inspected = self._inspect(path)
        if inspected is None:
            self._index.forget([snapshot_id])
            return False
        self._write_thumbnail(path, inspected[1])
        return True

    def _inspect(self, path: str, *, known: bool = False) -> tuple[bytes, ImageInfo] | None:
        """The bytes and the content of a picture that is there already, or None: then it can't be served.

        One that is `known`, as it has its thumbnail, was decoded when it was saved. It only has to be all there still:
        to decode them all again would take minutes.
        A save that did not end leaves an empty file, which is removed. One that has content was whole when it
        was saved, or came here by another way, and might still be of use to somebody: it is put aside. One
        that the disk does not give is left where it is.
        """
        try:
            size = (self._root / path).stat().st_size
            data = (self._root / path).read_bytes() if size <= MAX_IMAGE_BYTES else None
        except OSError as error:
            if error.errno in _PASSING:
                raise
            log.warning("%s can't be read and is not served: %s", path, error)
            return None
        try:
            if data is None:
                raise BadImage("It is too large for a picture.", detail=f"{size} bytes")
            return data, (measure if known else inspect_kept)(data)
        except BadImage as error:
            if data == b"":
                files.remove(self._root / path)
                return None
            damaged = self._private / "damaged"
            damaged.mkdir(exist_ok=True)
            os.replace(self._root / path, damaged / Path(path).name)
            log.warning("%s is incomplete and was moved to %s: %s %s", path, damaged, error.message, error.detail)
            return None

    def _write_thumbnail(self, path: str, picture: ImageInfo) -> None:
        files.replace_durably(
            self._root / thumbnail_name(path), picture.thumbnail, temporary=self._incoming / f"{make_id()}.thumbnail"
        )
