"""A wall clock, a monotonic clock and a kernel state that the test sets."""

import datetime as dt

from dog.clock import Clock

__all__ = ["DAY", "NOW", "HandClock"]

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


class HandClock:
    """The parts of a `Clock`. `make` returns a new one for each start."""

    def __init__(self, now: dt.datetime = NOW) -> None:
        self.now = now
        self.elapsed = 1000.0
        self.synchronised = False

    def make(self) -> Clock:
        return Clock(now=lambda: self.now, elapsed=lambda: self.elapsed, synchronised=lambda: self.synchronised)

    def pass_time(self, duration: dt.timedelta) -> None:
        """Advance both clocks."""
        self.now += duration
        self.elapsed += duration.total_seconds()

    def jump(self, days: float) -> None:
        """Set the wall clock ahead or back."""
        self.now += days * DAY
