"""What lies in the folder: the names of our pictures and thumbnails, and how much is not ours. No file is opened."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dog.snapshots.names import is_picture, is_thumbnail

__all__ = ["Listing", "list_folder"]


@dataclass(slots=True)
class Listing:
    """Paths are relative to the folder, with slashes. Hidden files of others are not even counted as `foreign`.

    Of each picture there is the size in bytes.
    """

    pictures: dict[str, int] = field(default_factory=dict)
    thumbnails: set[str] = field(default_factory=set)
    foreign: int = 0


def list_folder(root: Path) -> Listing:
    """Look at `YYYY/MM/DD/` and no deeper. No symbolic link is followed, to a folder or to a picture."""
    listing = Listing()
    for year in _numbered(root, 4, listing):
        for month in _numbered(year, 2, listing):
            for day in _numbered(month, 2, listing):
                prefix = f"{year.name}/{month.name}/{day.name}/"
                with os.scandir(day) as entries:
                    for entry in entries:
                        _note(entry, prefix + entry.name, listing)
    return listing


def _numbered(folder: Path | os.DirEntry[str], digits: int, listing: Listing) -> Iterator[os.DirEntry[str]]:
    """The folders with a number for a name; everything else counts as foreign."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if len(name) == digits and name.isascii() and name.isdigit() and entry.is_dir(follow_symlinks=False):
                yield entry
            elif not name.startswith("."):
                listing.foreign += 1


def _note(entry: os.DirEntry[str], path: str, listing: Listing) -> None:
    if entry.is_file(follow_symlinks=False):
        if is_picture(path):
            listing.pictures[path] = entry.stat(follow_symlinks=False).st_size
            return
        if is_thumbnail(path):
            listing.thumbnails.add(path)
            return
    if not entry.name.startswith("."):
        listing.foreign += 1
