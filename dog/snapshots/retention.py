"""Retention: the limits, and which snapshots to remove. No file I/O."""

import datetime as dt
from dataclasses import dataclass
from typing import Self

from dog.clock import MIN_WALL_TIME
from dog.snapshots.index import Index
from dog.snapshots.names import Snapshot

__all__ = ["MAX_REMOVALS_PER_STEP", "MIN_WALL_TIME", "Limits", "select_for_removal"]

MIB = 1024 * 1024
MAX_REMOVALS_PER_STEP = 100
"""A save may have to wait for one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of an album and its disk: age, number, bytes. None: no limit."""

    age: dt.timedelta | None = None
    photos: int | None = None
    bytes: int | None = None
    free: int | None = None

    @classmethod
    def from_settings(
        cls, *, keep_days: float | None, keep_photos: int | None, keep_size: int | None, keep_free: int | None
    ) -> Self | None:
        """Return the limits of the settings, or None if all are off."""
        limits = cls(
            age=None if keep_days is None else dt.timedelta(days=keep_days),
            photos=keep_photos,
            bytes=None if keep_size is None else keep_size * MIB,
            free=None if keep_free is None else keep_free * MIB,
        )
        return None if limits == cls() else limits


def select_for_removal(
    index: Index, limits: Limits, *, totals: tuple[int, int], free: int, now: dt.datetime | None, room: int
) -> list[Snapshot]:
    """Select snapshots to remove, so that a new one of `room` bytes fits.

    `room` is 0 without a new one. `totals` are the number and the bytes of all snapshots, `free` the free bytes of
    the disk. The newest is removed only for its age. No age counts if `now` is unknown. Raises sqlite3.Error.
    """
    if limits.age is not None and now is not None:
        aged = index.taken_between(MIN_WALL_TIME, now - limits.age, MAX_REMOVALS_PER_STEP)
        if aged:
            return aged
    photos, size = totals
    new = 1 if room else 0
    surplus = 0 if limits.photos is None else photos + new - limits.photos
    excess = 0 if limits.bytes is None else size + room - limits.bytes
    if limits.free is not None:
        excess = max(excess, limits.free + room - free)
    if surplus <= 0 and excess <= 0:
        return []
    selected = []
    oldest = index.oldest_unpinned(MAX_REMOVALS_PER_STEP + 1)
    for snapshot in oldest if new else oldest[:-1]:
        if surplus <= 0 and excess <= 0:
            break
        selected.append(snapshot)
        surplus -= 1
        excess -= snapshot.bytes
    return selected[:MAX_REMOVALS_PER_STEP]
