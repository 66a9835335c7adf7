"""A wall clock, a clock that nobody sets and a kernel's word, all three in the test's hand."""

import datetime as dt

from dog.clock import Clock

__all__ = ["DAY", "NOW", "HandClock"]

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


class HandClock:
    """What a `Clock` is made of. `make` gives a new one, as a start of the service does."""

    def __init__(self, now: dt.datetime = NOW) -> None:
        self.now = now
        self.elapsed = 1000.0
        self.synchronised = False

    def make(self) -> Clock:
        return Clock(now=lambda: self.now, elapsed=lambda: self.elapsed, synchronised=lambda: self.synchronised)

    def pass_time(self, duration: dt.timedelta) -> None:
        """Time passes, and both clocks count it."""
        self.now += duration
        self.elapsed += duration.total_seconds()

    def jump(self, days: float) -> None:
        """Somebody sets the wall clock."""
        self.now += days * DAY
