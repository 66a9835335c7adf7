"""Clocks that the test sets."""

import datetime as dt

from dog.clock import Clock

__all__ = ["DAY", "NOW", "HandClock", "MonotonicClock"]

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


class HandClock:
    """The wall clock, monotonic clock and kernel state of a `Clock`.

    `make` returns a new `Clock` for each start.
    """

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


class MonotonicClock:
    """A monotonic clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now
