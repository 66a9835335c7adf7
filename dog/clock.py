"""The wall clock, and a check that it can be trusted to delete old photos.

A machine can start with a wrong clock: its battery is empty, or it has none and no time server answered yet. So the
wall clock is compared with the time that was stored last (by dog.snapshots) and with a monotonic clock. If they differ
by more than a day, the clock is in doubt, and nothing is deleted because of its age until

- the kernel reports that the clock is synchronised with a time server, or
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

__all__ = [
    "MAX_JUMP",
    "MIN_WALL_TIME",
    "Clock",
    "Doubt",
    "Reading",
    "from_milliseconds",
    "is_synchronised",
    "seconds_since_boot",
    "to_milliseconds",
    "utc_now",
]

MIN_WALL_TIME = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
"""The project began later. An earlier clock is wrong, and a photo with such a date has an unknown age."""
MAX_JUMP = dt.timedelta(days=1)
"""Largest difference from the expected time. A clock that differs by more is in doubt."""
_MIN_DIFFERENCE_TO_ASK_KERNEL = dt.timedelta(minutes=1)
"""Above this difference, query the kernel: is the clock synchronised?"""
_TIME_ERROR = 5
"""Result of adjtimex if the clock is not synchronised. The states below it differ only in leap seconds."""
_TIMEX_BYTES = 1024
"""Several times the size of `struct timex`, which differs between systems."""
_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's clock that also counts while the machine is suspended. Other systems have only CLOCK_MONOTONIC."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A doubt: the clock showed `clock`, not `expected` (None: not stored)."""

    clock: dt.datetime
    expected: dt.datetime | None

    def __str__(self) -> str:
        expected = "" if self.expected is None else f", and {_format(self.expected)} was expected"
        return f"The clock shows {_format(self.clock)}{expected}."

    @property
    def advice(self) -> str:
        """Return a sentence with the remedy."""
        if self.clock < MIN_WALL_TIME:
            return "Set the clock."
        return "Set the clock if it is wrong; if it is right, run `dog album purge --confirm`."


@dataclass(frozen=True, slots=True)
class Reading:
    """The clock at one moment, with its doubt and `Clock.corrections`."""

    now: dt.datetime
    elapsed: float
    doubt: Doubt | None
    corrections: int

    def jump_since(self, earlier: "Reading") -> dt.timedelta:
        """Return how far the wall clock was set since then, ahead or back."""
        return self.now - earlier.now - dt.timedelta(seconds=self.elapsed - earlier.elapsed)


class Clock:
    """The wall clock and the doubt about it. Thread-safe; call `start` first.

    By default the clocks are this machine's: `now` the wall clock, `elapsed` monotonic seconds with suspended time,
    `synchronised` the kernel's word for it. `corrections` counts changes of the expected time: after one, more photos
    may be old enough to delete.
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
        self._doubt_began: _Moment | None = None

    def start(self, stored: dt.datetime | None) -> None:
        """Compare the clock with the time that was stored last, if there is one."""
        with self._lock:
            self._expected = None if stored is None else _Moment(stored, self.elapsed())
            now, doubt = self._check()
            if doubt is None:  # the time since then is unknown, so no jump can be found in it
                self._trust(now, "")

    def check(self) -> Doubt | None:
        """Return the present doubt, or None if the clock can be trusted."""
        with self._lock:
            return self._check()[1]

    def read(self) -> Reading:
        """Return the time together with the doubt about it."""
        with self._lock:
            now, doubt = self._check()
            return Reading(now, self.elapsed(), doubt, self.corrections)

    def trusted_now(self) -> dt.datetime | None:
        """Return the wall clock's time, or None while the clock is in doubt."""
        with self._lock:
            now, doubt = self._check()
            return now if doubt is None else None

    def deletion_time(self) -> dt.datetime | None:
        """Return the time that ages count from, or None while in doubt.

        A small jump ahead causes no doubt, but counts only if the kernel reports a synchronised clock.
        """
        with self._lock:
            now, doubt = self._check()
            if doubt is not None or self._expected is None:
                return None
            return min(now, self._expected.after(self.elapsed()))

    def confirm(self, doubt: Doubt) -> bool:
        """Accept a person's confirmation. Return False if the doubt has changed."""
        with self._lock:
            now, current = self._check()
            if current is None or current != doubt or now < MIN_WALL_TIME:
                return False
            self._trust(now, "you confirmed it")
            return True

    def _check(self) -> tuple[dt.datetime, Doubt | None]:
        now, elapsed = self._now(), self.elapsed()
        expected = None if self._expected is None else self._expected.after(elapsed)
        difference = dt.timedelta() if expected is None else abs(now - expected)
        if now < MIN_WALL_TIME:
            self._set_doubt(now, expected, elapsed)
        elif expected is None:
            self._trust(now, "it is a possible time, and no earlier time was stored")
        elif difference > _MIN_DIFFERENCE_TO_ASK_KERNEL and self._synchronised():
            self._trust(now, "the kernel reports that it is synchronised")
        elif difference > MAX_JUMP:
            self._set_doubt(now, expected, elapsed)
        elif self._doubt is not None:
            self._trust(now, "it is back where it was expected")
        return now, self._doubt

    def _trust(self, now: dt.datetime, reason: str) -> None:
        self._expected = _Moment(now, self.elapsed())
        self.corrections += 1
        if self._doubt is not None:
            self._doubt = self._doubt_began = None
            log.info("The clock shows %s and is trusted: %s. Old photos are deleted again.", _format(now), reason)

    def _set_doubt(self, now: dt.datetime, expected: dt.datetime | None, elapsed: float) -> None:
        if self._doubt_began is not None and abs(now - self._doubt_began.after(elapsed)) <= MAX_JUMP:
            return  # the same doubt
        self._doubt, self._doubt_began = Doubt(now, expected), _Moment(now, elapsed)
        log.warning(
            "%s Nothing is deleted because of its age until the clock is synchronised. %s",
            self._doubt,
            self._doubt.advice,
        )


@dataclass(frozen=True, slots=True)
class _Moment:
    """A wall-clock time, and the elapsed seconds at that time."""

    wall: dt.datetime
    elapsed: float

    def after(self, elapsed: float) -> dt.datetime:
        """Return the expected wall-clock time at a number of elapsed seconds."""
        return self.wall + dt.timedelta(seconds=elapsed - self.elapsed)


def utc_now() -> dt.datetime:
    """Return the wall clock's time."""
    return dt.datetime.now(dt.UTC)


def seconds_since_boot() -> float:
    """Return monotonic seconds that include suspended time."""
    return time.clock_gettime(_BOOT_CLOCK)


def is_synchronised() -> bool:
    """Return True if the kernel reports a synchronised clock.

    Return False also if it can't be queried: on other systems than Linux, and in a sandbox without the system call.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return False
    # Zeros (`modes` is 0) only query. The result is the return value, so the layout of the struct does not matter.
    state: int = adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return 0 <= state < _TIME_ERROR


def _format(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def to_milliseconds(moment: dt.datetime) -> int:
    """Return milliseconds since 1970. Raise ValueError for a naive time."""
    if moment.utcoffset() is None:
        raise ValueError(f"{moment!r} has no offset from UTC")
    return (moment - _EPOCH) // _MILLISECOND


def from_milliseconds(count: int) -> dt.datetime:
    return _EPOCH + count * _MILLISECOND
