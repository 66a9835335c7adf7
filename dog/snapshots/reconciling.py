"""Making the index say what the folder says, after a crash or whatever else happened to either.

Where they agree, no picture is opened. Names of ours are believed, and what is not named as ours is left alone. Before
a picture enters the index it is looked at; one that has its thumbnail was decoded when it was saved: it is measured.
"""

import errno
import logging
import os
from pathlib import Path

from dog.errors import BadImage
from dog.images import Picture, inspect, measure
from dog.snapshots import files
from dog.snapshots.folder import Listing, list_folder
from dog.snapshots.index import Index
from dog.snapshots.names import SUFFIXES, Snapshot, Taken, make_id, parse_path, thumbnail_name

__all__ = ["describe", "reconcile"]

_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What says nothing of a picture: another moment it can be read."""

log = logging.getLogger(__name__)


def reconcile(index: Index, root: Path, private: Path, incoming: Path) -> None:
    """Make the index agree with the pictures below `root`. Raises OSError and sqlite3.Error."""
    _Reconciliation(index, root, private, incoming).run()


def describe(taken: Taken, picture: Picture, size: int) -> Snapshot:
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
    )


class _Reconciliation:
    def __init__(self, index: Index, root: Path, private: Path, incoming: Path) -> None:
        self._index = index
        self._root = root
        self._private = private
        self._incoming = incoming

    def run(self) -> None:
        index, listing = self._index, list_folder(self._root)
        known = index.paths()
        vanished = [path for path, (_, size) in known.items() if listing.pictures.get(path) != size]
        if vanished:
            index.remove(known.pop(path)[0] for path in vanished)
        found = self._adopt(listing, known, changed=set(vanished))
        thumbnails = 0
        for path in sorted(path for path in known if thumbnail_name(path) not in listing.thumbnails):
            thumbnails += self._renew_thumbnail(path, known[path][0])
        orphans = listing.thumbnails - {thumbnail_name(path) for path in listing.pictures}
        for path in orphans:
            files.remove(self._root / path)
        if vanished or found or thumbnails or orphans:
            log.warning(
                "%s: the index was rebuilt where it differed from the folder: %d pictures added, %d gone,"
                " %d thumbnails made again, %d without a picture removed.",
                self._root,
                found,
                len(vanished),
                thumbnails,
                len(orphans),
            )
        if listing.foreign:
            log.info("%s: %d files are not the server's and are left alone.", self._root, listing.foreign)

    def _adopt(self, listing: Listing, known: dict[str, tuple[str, int]], changed: set[str]) -> int:
        """Take the pictures that have no row into the index, if they are whole. Returns how many."""
        ids = {id for id, _ in known.values()}
        seen = listing.thumbnails - {thumbnail_name(path) for path in changed}
        count = 0
        for path in sorted(listing.pictures.keys() - known.keys()):
            taken = parse_path(path)
            if taken is None or taken.id in ids:
                listing.foreign += 1
                continue
            inspected = self._inspect(path, known=thumbnail_name(path) in seen)
            if inspected is None:
                if not (self._root / path).exists():
                    del listing.pictures[path]
                continue
            size, picture = inspected
            if SUFFIXES[picture.content_type] != taken.suffix:
                listing.foreign += 1
                continue
            if picture.thumbnail:
                self._write_thumbnail(path, picture)
            self._index.add(describe(taken, picture, size))
            ids.add(taken.id)
            count += 1
        return count

    def _renew_thumbnail(self, path: str, snapshot_id: str) -> bool:
        inspected = self._inspect(path)
        if inspected is None:
            self._index.remove([snapshot_id])
            return False
        self._write_thumbnail(path, inspected[1])
        return True

    def _inspect(self, path: str, *, known: bool = False) -> tuple[int, Picture] | None:
        """The size and the content of a picture that is there already, or None: then it can't be served.

        One that is `known`, as it has its thumbnail, was decoded when it was saved. It only has to be all there still:
        to decode them all again would take minutes.
        A save that did not end leaves an empty file, which is removed. One that has content was whole when it
        was saved, or came here by another way, and might still be of use to somebody: it is put aside. One
        that the disk does not give is left where it is.
        """
        try:
            data = (self._root / path).read_bytes()
        except OSError as error:
            if error.errno in _PASSING:
                raise
            log.warning("%s can't be read and is not served: %s", path, error)
            return None
        try:
            return len(data), (measure if known else inspect)(data)
        except BadImage as error:
            if not data:
                files.remove(self._root / path)
                return None
            damaged = self._private / "damaged"
            damaged.mkdir(exist_ok=True)
            os.replace(self._root / path, damaged / Path(path).name)
            log.warning("%s is not whole and was moved to %s: %s %s", path, damaged, error.message, error.detail)
            return None

    def _write_thumbnail(self, path: str, picture: Picture) -> None:
        files.replace_durably(
            self._root / thumbnail_name(path), picture.thumbnail, temporary=self._incoming / f"{make_id()}.thumbnail"
        )
