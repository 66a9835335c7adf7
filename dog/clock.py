"""The wall clock, and whether it can be trusted to delete what is old.

A machine can start with a wrong clock: its battery is empty, or it has none and no time server answered yet. So the
wall clock is compared with the time that was remembered (dog.snapshots keeps it) and with a clock that nobody sets. If
they differ by more than a day, the clock is in doubt, and nothing is deleted because of its age until

- the kernel says that the clock is synchronised with a time server, or
- a person confirms it (`dog album purge --confirm`), or
- the clock is back where it was expected.
"""

import ctypes
import datetime as dt
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["EARLIEST", "MAX_JUMP", "Clock", "Doubt", "Reading", "is_synchronised", "seconds_since_boot", "utc_now"]

EARLIEST = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
"""The project began later. A clock that is before this is wrong, and a photo with such a date has an unknown age."""
MAX_JUMP = dt.timedelta(days=1)
"""A clock that differs by more from what was expected is in doubt."""
_NOTABLE = dt.timedelta(minutes=1)
"""From this difference on, the kernel is asked if the clock was synchronised."""
_TIME_ERROR = 5
"""The result of adjtimex if the clock is not synchronised; the states below it differ only in leap seconds."""
_TIMEX_BYTES = 1024
"""Several times the size of `struct timex`, which differs between systems."""
_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's clock that counts while the machine is suspended, too. Other systems have no such name, and CLOCK_MONOTONIC
is the nearest that they have."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why the clock is not trusted: it said `clock` when `expected` was expected. None: nothing was remembered."""

    clock: dt.datetime
    expected: dt.datetime | None

    def __str__(self) -> str:
        expected = "" if self.expected is None else f", and {_minute(self.expected)} was expected"
        return f"The clock says {_minute(self.clock)}{expected}."

    @property
    def advice(self) -> str:
        """Return what to do about it."""
        if self.clock < EARLIEST:
            return "Set the clock."
        return "Set the clock if it is wrong; if it is right, run `dog album purge --confirm`."


@dataclass(frozen=True, slots=True)
class Reading:
    """The clock at one moment: `elapsed` is its second clock, `corrections` counts as `Clock.corrections`."""

    now: dt.datetime
    elapsed: float
    doubt: Doubt | None
    corrections: int

    def jump_since(self, earlier: "Reading") -> dt.timedelta:
        """Return by how much the wall clock was set in between: forward, or back if it is negative."""
        return self.now - earlier.now - dt.timedelta(seconds=self.elapsed - earlier.elapsed)


class Clock:
    """The wall clock and its verdict. Any thread may ask; `start` it first with what was remembered.

    `now` is the wall clock, `elapsed` has seconds that only rise, also while the machine sleeps, and `synchronised`
    returns True if the kernel vouches for the wall clock. By default they are this machine's. `corrections` counts how
    often the expected time was changed: things may have become old enough to be deleted then.
    """

    def __init__(
        self,
        *,
        now: Callable[[], dt.datetime] | None = None,
        elapsed: Callable[[], float] | None = None,
        synchronised: Callable[[], bool] | None = None,
    ) -> None:
        self._now = now or utc_now
        self.elapsed = elapsed or seconds_since_boot
        self._synchronised = synchronised or is_synchronised
        self.corrections = 0
        self._lock = threading.Lock()
        self._expected: _Moment | None = None
        self._doubt: Doubt | None = None
        self._doubted: _Moment | None = None

    def start(self, remembered: dt.datetime | None) -> None:
        """Compare the clock with the time that was remembered, or with nothing if there is none."""
        with self._lock:
            self._expected = None if remembered is None else _Moment(remembered, self.elapsed())
            now, doubt = self._check()
            if doubt is None:  # nobody knows how long it was off
                self._trust(now, "")

    def check(self) -> Doubt | None:
        """Return why the clock can't be trusted now, or None if it can."""
        with self._lock:
            return self._check()[1]

    def read(self) -> Reading:
        """Return the time, and if it can be trusted."""
        with self._lock:
            now, doubt = self._check()
            return Reading(now, self.elapsed(), doubt, self.corrections)

    def trusted_now(self) -> dt.datetime | None:
        """Return the wall clock's time, or None while the clock is in doubt."""
        with self._lock:
            now, doubt = self._check()
            return now if doubt is None else None

    def deletion_time(self) -> dt.datetime | None:
        """Return the time by which things are old enough to be deleted, or None while the clock is in doubt.

        A jump ahead that is too small for a doubt makes nothing older, either, unless the kernel vouches for it.
        """
        with self._lock:
            now, doubt = self._check()
            if doubt is not None or self._expected is None:
                return None
            return min(now, self._expected.after(self.elapsed()))

    def confirm(self, doubt: Doubt) -> bool:
        """Trust the clock that was in this doubt, because a person says so. Return False if it is another one now."""
        with self._lock:
            now, current = self._check()
            if current is None or current != doubt or now < EARLIEST:
                return False
            self._trust(now, "you confirmed it")
            return True

    def _check(self) -> tuple[dt.datetime, Doubt | None]:
        now, elapsed = self._now(), self.elapsed()
        expected = None if self._expected is None else self._expected.after(elapsed)
        difference = dt.timedelta() if expected is None else abs(now - expected)
        if now < EARLIEST:
            self._note_doubt(now, expected, elapsed)
        elif expected is None:
            self._trust(now, "it is a possible time, and nothing was remembered")
        elif difference > _NOTABLE and self._synchronised():
            self._trust(now, "the kernel says that it is synchronised")
        elif difference > MAX_JUMP:
            self._note_doubt(now, expected, elapsed)
        elif self._doubt is not None:
            self._trust(now, "it is back where it was expected")
        return now, self._doubt

    def _trust(self, now: dt.datetime, reason: str) -> None:
        self._expected = _Moment(now, self.elapsed())
        self.corrections += 1
        if self._doubt is not None:
            self._doubt = self._doubted = None
            log.info("The clock says %s, and is trusted: %s. What is too old is deleted again.", _minute(now), reason)

    def _note_doubt(self, now: dt.datetime, expected: dt.datetime | None, elapsed: float) -> None:
        if self._doubted is not None and abs(now - self._doubted.after(elapsed)) <= MAX_JUMP:
            return  # it is the same doubt
        self._doubt, self._doubted = Doubt(now, expected), _Moment(now, elapsed)
        log.warning(
            "%s Nothing is deleted because of its age until the clock is synchronised. %s",
            self._doubt,
            self._doubt.advice,
        )


@dataclass(frozen=True, slots=True)
class _Moment:
    """A wall-clock time, and how many seconds had elapsed then."""

    wall: dt.datetime
    elapsed: float

    def after(self, elapsed: float) -> dt.datetime:
        """Return the wall-clock time when so many seconds have elapsed."""
        return self.wall + dt.timedelta(seconds=elapsed - self.elapsed)


def utc_now() -> dt.datetime:
    """Return the wall clock's time."""
    return dt.datetime.now(dt.UTC)


def seconds_since_boot() -> float:
    """Return seconds that only rise, and that count the time in which the machine was suspended."""
    return time.clock_gettime(_BOOT_CLOCK)


def is_synchronised() -> bool:
    """Return True if the kernel says that the clock is synchronised with a time server.

    False if it says that it is not, and also if it can't be asked: on other systems than Linux, and where a sandbox
    does not allow the system call.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return False
    # All zeros: it only asks (`modes` is 0). The answer is the return value, so that the layout does not matter.
    state: int = adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return 0 <= state < _TIME_ERROR


def _minute(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
