"""What lies in the folder: its days, and in each the names of our pictures and thumbnails. No file is opened."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dog.snapshots.names import is_picture, is_thumbnail

__all__ = ["Listing", "list_day", "list_days"]


@dataclass(slots=True)
class Listing:
    """What lies in some of the folder. Paths are relative to it, with slashes.

    Of each picture there is the size in bytes. Hidden files of others are not even counted as `foreign`.
    """

    pictures: dict[str, int] = field(default_factory=dict)
    thumbnails: set[str] = field(default_factory=set)
    foreign: int = 0


def list_days(root: Path) -> tuple[dict[str, int], int]:
    """Each `YYYY/MM/DD` there is, with when its folder was changed last, in ns; and how much beside is not ours.

    A folder is changed when something in it comes, goes or gets another name. No symbolic link is followed.
    """
    days: dict[str, int] = {}
    foreign = Listing()
    for year in _numbered(root, 4, foreign):
        for month in _numbered(year, 2, foreign):
            for day in _numbered(month, 2, foreign):
                days[f"{year.name}/{month.name}/{day.name}"] = day.stat(follow_symlinks=False).st_mtime_ns
    return days, foreign.foreign


def list_day(root: Path, day: str) -> Listing:
    """Look into one day's folder and no deeper. No symbolic link to a picture is followed."""
    listing = Listing()
    with os.scandir(root / day) as entries:
        for entry in entries:
            _note(entry, f"{day}/{entry.name}", listing)
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
