"""List the folder of snapshots: its days, images and thumbnails."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dog.snapshots.names import is_image_path, is_thumbnail_path

__all__ = ["Listing", "folder_mtime_ns", "list_day", "list_days", "list_paths"]


@dataclass(slots=True)
class Listing:
    """The files of one day. Paths are relative to the store's folder.

    `images` has sizes in bytes. `foreign` counts files that are not ours, except hidden ones.
    """

    images: dict[str, int] = field(default_factory=dict)
    thumbnails: set[str] = field(default_factory=set)
    foreign: int = 0


def list_days(root: Path) -> tuple[dict[str, int], int]:
    """Return each day's folder mtime in ns, and the number of foreign entries.

    The mtime changes when a file is added, removed or renamed. No symbolic link is followed.
    """
    days: dict[str, int] = {}
    foreign = Listing()
    for year in _number_folders(root, 4, foreign):
        for month in _number_folders(year, 2, foreign):
            for day in _number_folders(month, 2, foreign):
                days[f"{year.name}/{month.name}/{day.name}"] = day.stat(follow_symlinks=False).st_mtime_ns
    return days, foreign.foreign


def list_day(root: Path, day: str) -> Listing:
    """List one day's folder, not recursively. No symbolic link is followed."""
    listing = Listing()
    with os.scandir(root / day) as entries:
        for entry in entries:
            _classify(entry, f"{day}/{entry.name}", listing)
    return listing


def list_paths(root: Path, below: str = "", levels: tuple[int, ...] = (4, 2, 2)) -> Iterator[tuple[str, bool]]:
    """Yield all visible paths but days, with True for a file of a day."""
    with os.scandir(root / below) as scanned:
        entries = sorted((entry for entry in scanned if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        name = entry.name
        is_number = name.isascii() and name.isdigit()
        if levels and len(name) == levels[0] and is_number and entry.is_dir(follow_symlinks=False):
            yield from list_paths(root, f"{below}{name}/", levels[1:])
        else:
            yield below + name, not levels and entry.is_file(follow_symlinks=False)


def _number_folders(folder: Path | os.DirEntry[str], digits: int, listing: Listing) -> Iterator[os.DirEntry[str]]:
    """Yield the folders whose name is a number. Count the rest as foreign."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if len(name) == digits and name.isascii() and name.isdigit() and entry.is_dir(follow_symlinks=False):
                yield entry
            elif not name.startswith("."):
                listing.foreign += 1


def _classify(entry: os.DirEntry[str], path: str, listing: Listing) -> None:
    if entry.is_file(follow_symlinks=False):
        if is_image_path(path):
            listing.images[path] = entry.stat(follow_symlinks=False).st_size
            return
        if is_thumbnail_path(path):
            listing.thumbnails.add(path)
            return
    if not entry.name.startswith("."):
        listing.foreign += 1


def folder_mtime_ns(folder: Path) -> int | None:
    """Return the folder's mtime in ns, or None if it does not exist."""
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return None
