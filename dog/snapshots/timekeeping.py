"""The clock of an album: stored time, confirmations, corrected dates."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from dog.clock import MAX_JUMP, MIN_WALL_TIME, Clock, Doubt, Reading
from dog.snapshots.clock_confirmation import DoubtFiles
from dog.snapshots.index import Index
from dog.snapshots.names import Snapshot

__all__ = ["Timekeeping"]

_SYNC_INTERVAL_SECONDS = 3600.0
"""Interval at which the time is stored and synced to the disk."""


@dataclass(frozen=True, slots=True)
class _SteadyPeriod:
    """A period without a jump. It dated the captures above number `after`."""

    reading: Reading
    after: int


class Timekeeping:
    """The clock of an album. Blocks, and raises sqlite3.Error and OSError."""

    def __init__(self, private: Path, clock: Clock) -> None:
        self.clock = clock
        self._doubt_files = DoubtFiles(private)
        self._synced_at: float | None = None
        self._periods: list[_SteadyPeriod] = []
        """The periods since the clock was last trusted. The last one is the present one."""

    def start(self, index: Index) -> None:
        """Compare the clock with the stored time, or the newest photo's."""
        self.clock.start(index.facts.trusted_at() or index.newest_time(MIN_WALL_TIME))
        self._doubt_files.write(self.clock.check())
        self._periods = []
        self._update_periods(index)

    def stop(self) -> None:
        self._doubt_files.write(None)  # a stopped server takes no confirmation

    def mark_date(self, index: Index, snapshot: Snapshot) -> None:
        """Mark a snapshot's date as not trusted if the clock is in doubt."""
        if self._update_periods(index).doubt is not None:
            index.facts.distrust_date(snapshot.id)

    def deletion_time(self, index: Index) -> dt.datetime | None:
        """Return the present time to compute ages with, or None if in doubt.

        If it returns a time, all wrongly dated photos are marked or corrected.
        """
        moment = self.clock.deletion_time()
        self._update_periods(index)
        return moment

    def _update_periods(self, index: Index) -> Reading:
        """Begin a period if the clock was set. Once it is trusted, correct dates."""
        reading = self.clock.read()
        if self._periods:
            last = self._periods[-1].reading
            if (last.doubt, last.corrections) == (reading.doubt, reading.corrections):
                return reading
        newest = index.last_capture()
        if reading.doubt is None:
            self._correct_dates(index, reading, newest)
            self._periods = []
        self._periods.append(_SteadyPeriod(reading, newest))
        return reading

    def _correct_dates(self, index: Index, reading: Reading, newest: int) -> None:
        ends = [period.after for period in self._periods[1:]] + [newest]
        with index.facts.synced_transaction():
            for period, until in zip(self._periods, ends, strict=False):
                jump = reading.jump_since(period.reading)
                if abs(jump) > MAX_JUMP:
                    index.facts.correct_dates(period.after, until, jump)
                elif period.reading.doubt is not None:
                    index.facts.trust_dates(period.after, until)
            index.facts.resolve_unknown_dates(reading.now)

    def store_time(self, index: Index) -> None:
        """Store the time if it is trusted. It is synced once an hour."""
        if (now := self.clock.trusted_now()) is not None:
            index.facts.note_trusted(now)

    def check(self, index: Index) -> Doubt | None:
        """Return the doubt, or None. Once an hour, store the time if trusted."""
        if (confirmed := self._doubt_files.confirmed()) is not None:
            self.clock.confirm(confirmed)
        doubt = self._update_periods(index).doubt
        self._doubt_files.write(doubt)
        if doubt is not None:
            self._synced_at = None  # store the time as soon as it is trusted again
        elif self._synced_at is None or self.clock.elapsed() - self._synced_at >= _SYNC_INTERVAL_SECONDS:
            self._synced_at = self.clock.elapsed()
            self._sync_time(index)
        return doubt

    def _sync_time(self, index: Index) -> None:
        now, deletion_time = self.clock.trusted_now(), self.clock.deletion_time()
        if now is not None and deletion_time is not None:
            with index.facts.synced_transaction():
                index.facts.note_trusted(now)
                index.facts.delete_expired(deletion_time)
