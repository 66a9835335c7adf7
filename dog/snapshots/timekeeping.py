"""What an album does for the clock: it remembers the time, has a person confirm it, and notes which photos were dated
by a wrong one. Everything here blocks.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from dog.clock import MAX_JUMP, MIN_PLAUSIBLE_TIME, Clock, Doubt, Reading
from dog.snapshots.clock_confirmation import DoubtFiles
from dog.snapshots.index import Index
from dog.snapshots.names import Snapshot

__all__ = ["Timekeeping"]

_SYNC_INTERVAL_SECONDS = 3600.0
"""Seconds after which the time is remembered again, synced to the disk."""


@dataclass(frozen=True, slots=True)
class _SteadyPeriod:
    """A time of this run in which nobody set the clock. It dates the captures with higher numbers than `after`."""

    reading: Reading
    after: int


class Timekeeping:
    """The clock of an album. Methods raise sqlite3.Error and OSError."""

    def __init__(self, private: Path, clock: Clock) -> None:
        self.clock = clock
        self._files = DoubtFiles(private)
        self._synced_at: float | None = None
        self._periods: list[_SteadyPeriod] = []
        """Since the clock was trusted last; the last one goes on."""

    def start(self, index: Index) -> None:
        """Compare the clock with the time that was remembered; before there is one, with the newest photo's."""
        self.clock.start(index.facts.trusted_at() or index.newest_time(MIN_PLAUSIBLE_TIME))
        self._files.note(self.clock.check())
        self._periods = []
        self._update_periods(index)

    def stop(self) -> None:
        self._files.note(None)  # nobody waits for a confirmation any more

    def check_date(self, index: Index, snapshot: Snapshot) -> None:
        """Before a snapshot is saved: note that its date is not trusted if the clock is in doubt."""
        if self._update_periods(index).doubt is not None:
            index.facts.distrust_date(snapshot.id)

    def deletion_time(self, index: Index) -> dt.datetime | None:
        """Return the time by which things are old enough to be deleted, or None while the clock is in doubt.

        When this returns a time, what a wrong clock dated until now is known as such.
        """
        moment = self.clock.deletion_time()
        self._update_periods(index)
        return moment

    def _update_periods(self, index: Index) -> Reading:
        """Begin a stretch if the clock was set. If it can be trusted now, correct what the earlier ones dated."""
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
        """Remember the time. Not synced: a power cut takes it back to that of the last hour."""
        if (now := self.clock.trusted_now()) is not None:
            index.facts.note_trusted(now)

    def check(self, index: Index) -> Doubt | None:
        """Return why the clock is in doubt, or None. Once an hour, remember it, and forget old removals and links."""
        if (confirmed := self._files.confirmed()) is not None:
            self.clock.confirm(confirmed)
        doubt = self._update_periods(index).doubt
        self._files.note(doubt)
        if doubt is not None:
            self._synced_at = None  # remember it as soon as it is trusted again
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
