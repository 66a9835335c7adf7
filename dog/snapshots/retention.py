"""Which snapshots go, so that the rest has room: the oldest first, pinned ones never. Nothing here touches a file."""

import datetime as dt
from dataclasses import dataclass
from typing import Self

from dog.clock import MIN_PLAUSIBLE_TIME
from dog.snapshots.index import Index
from dog.snapshots.names import Snapshot

__all__ = ["MAX_REMOVALS_PER_STEP", "MIN_PLAUSIBLE_TIME", "Limits", "select_for_removal"]

MIB = 1024 * 1024
MAX_REMOVALS_PER_STEP = 100
"""Snapshots that go in one step: saving one waits no longer than that takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is kept; None is without limit. `photos` and `bytes` are of the pictures, `free` in bytes of the disk."""

    age: dt.timedelta | None = None
    photos: int | None = None
    bytes: int | None = None
    free: int | None = None

    @classmethod
    def from_settings(
        cls, *, keep_days: float | None, keep_photos: int | None, keep_size: int | None, keep_free: int | None
    ) -> Self | None:
        """Return the limits that the settings name, of which two are in MiB; None if they keep everything."""
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
    """At most MANY of those that have to go, so that one more with `room` bytes has its place; 0 where none comes.

    `kept` is how many there are and how many bytes they have, `free` the bytes that the disk has left. The newest goes
    for its age alone, and nothing does if `now` is not known. Raises sqlite3.Error.
    """
    if limits.age is not None and now is not None:
        aged = index.taken_between(MIN_PLAUSIBLE_TIME, now - limits.age, MAX_REMOVALS_PER_STEP)
        if aged:
            return aged
    photos, size = totals
    coming = 1 if room else 0
    surplus = 0 if limits.photos is None else photos + coming - limits.photos
    excess = 0 if limits.bytes is None else size + room - limits.bytes
    if limits.free is not None:
        excess = max(excess, limits.free + room - free)
    if surplus <= 0 and excess <= 0:
        return []
    chosen = []
    oldest = index.oldest(MAX_REMOVALS_PER_STEP + 1)
    for snapshot in oldest if coming else oldest[:-1]:
        if surplus <= 0 and excess <= 0:
            break
        chosen.append(snapshot)
        surplus -= 1
        excess -= snapshot.bytes
    return chosen[:MAX_REMOVALS_PER_STEP]
