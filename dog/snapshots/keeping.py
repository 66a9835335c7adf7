"""Which snapshots go, so that the rest has room: the oldest first, pinned ones never. Nothing here touches a file."""

import datetime as dt
from dataclasses import dataclass

from dog.snapshots.index import Index
from dog.snapshots.names import Snapshot

__all__ = ["EARLIEST", "MANY", "Limits", "choose"]

EARLIEST = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
"""The project began later. A photo with an earlier date was taken under a wrong clock, for example by a Raspberry Pi
that had not reached a time server yet: its age is not known, and it does not expire by age."""

MANY = 100
"""Snapshots that go in one step: saving one waits no longer than that takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is kept; None is without limit. `photos` and `bytes` are of the pictures, `free` in bytes of the disk."""

    age: dt.timedelta | None = None
    photos: int | None = None
    bytes: int | None = None
    free: int | None = None


def choose(
    index: Index, limits: Limits, *, kept: tuple[int, int], free: int, now: dt.datetime, room: int
) -> list[Snapshot]:
    """At most MANY of those that have to go, so that one more with `room` bytes has its place; 0 where none comes.

    `kept` is how many there are and how many bytes they have, `free` the bytes that the disk has left. The newest goes
    for its age alone. Raises sqlite3.Error.
    """
    if limits.age is not None:
        aged = index.taken_between(EARLIEST, now - limits.age, MANY)
        if aged:
            return aged
    photos, size = kept
    coming = 1 if room else 0
    surplus = 0 if limits.photos is None else photos + coming - limits.photos
    excess = 0 if limits.bytes is None else size + room - limits.bytes
    if limits.free is not None:
        excess = max(excess, limits.free + room - free)
    if surplus <= 0 and excess <= 0:
        return []
    chosen = []
    oldest = index.oldest(MANY + 1)
    for snapshot in oldest if coming else oldest[:-1]:
        if surplus <= 0 and excess <= 0:
            break
        chosen.append(snapshot)
        surplus -= 1
        excess -= snapshot.bytes
    return chosen[:MANY]
