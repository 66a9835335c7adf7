"""What an album does for the clock: it remembers the time, and has a person confirm it. Everything here blocks."""

from pathlib import Path

from dog.clock import EARLIEST, Clock, Doubt
from dog.snapshots.doubts import DoubtFiles
from dog.snapshots.index import Index

__all__ = ["Timekeeping"]

_INTERVAL = 3600.0
"""Seconds after which the time is remembered again, synced to the disk."""


class Timekeeping:
    """The clock of an album. Methods raise sqlite3.Error and OSError."""

    def __init__(self, private: Path, clock: Clock) -> None:
        self.clock = clock
        self._files = DoubtFiles(private)
        self._remembered_at: float | None = None

    def start(self, index: Index) -> None:
        """Compare the clock with the time that was remembered; before there is one, with the newest photo's."""
        self.clock.start(index.ledger.trusted_at() or index.newest_time(EARLIEST))
        self._files.note(self.clock.check())

    def end(self) -> None:
        self._files.note(None)  # nobody waits for a confirmation any more

    def note_capture(self, index: Index) -> None:
        """Remember the time. Not synced: a power cut takes it back to that of the last hour."""
        if (now := self.clock.trusted_now()) is not None:
            index.ledger.note_trusted(now)

    def check(self, index: Index) -> Doubt | None:
        """Return why the clock is in doubt, or None. Once an hour, remember it, and forget old removals and links."""
        if (confirmed := self._files.confirmed()) is not None:
            self.clock.confirm(confirmed)
        doubt = self.clock.check()
        self._files.note(doubt)
        if doubt is not None:
            self._remembered_at = None  # remember it as soon as it is trusted again
        elif self._remembered_at is None or self.clock.elapsed() - self._remembered_at >= _INTERVAL:
            self._remembered_at = self.clock.elapsed()
            self._remember(index)
        return doubt

    def _remember(self, index: Index) -> None:
        now, deletion_time = self.clock.trusted_now(), self.clock.deletion_time()
        if now is not None and deletion_time is not None:
            with index.ledger.durably():
                index.ledger.note_trusted(now)
                index.ledger.forget_old(deletion_time)
