"""When did the exposure of a frame begin that came over a network? Plain values, no clock and no network.

What arrives was on its way, perhaps for long: cameras send what they have stored when one connects, and after a stall
all that was held back comes at once. Both classes say a time that is not later than the true one by more than what the
way takes at its best, which nobody can see from here: `latency` is that, where it is known. Times are in seconds.
"""

import math
from collections import deque

__all__ = ["UNKNOWN_START", "StampedFrames", "UnstampedFrames"]

UNKNOWN_START = -math.inf
"""Long ago: a frame whose exposure may have begun at any time is never taken for a new one."""

LEARNING_SECONDS = 0.5
"""Seconds for which frames must come in step, after the first one or a jump, until their times are believed."""
MAX_CLOCK_DRIFT = 0.001
"""Seconds a second by which a camera's clock may go wrong; quartz is ten times better."""
MIN_CLOCK_JUMP_SECONDS = 1.0
"""Seconds by which stamps go back only when the camera's clock was set. Frames that are sent out of order go less."""
MAX_GAPS = 4
"""Frames whose gaps count: more than are ever sent out of order."""
MAX_STALL_SECONDS = 2.0
"""Seconds for which a stall may still bring old frames, where they have no stamps."""


class StampedFrames:
    """Frames with stamps of the camera's own clock, which began anywhere.

    The way takes `arrival - stamp`, but for what the clocks differ by; the least of all is the way at its best. So a
    frame that was held back is known as old by its own stamp. `frames_late`: how many frames later than sent each one comes.
    """

    def __init__(self, latency: float = 0.0, frames_late: int = 0) -> None:
        self._latency = latency
        self._frames_late = frames_late
        self._gaps: deque[float] = deque(maxlen=MAX_GAPS)
        self._last: tuple[float, float] | None = None
        self._min_delay = math.inf
        self._learned_delay = math.inf  # the least when learning began
        self._learning_since = 0.0
        self.lag = 0.0
        """Seconds that the last frame was longer on its way than the quickest."""

    def date(self, arrival: float, stamp: float) -> float:
        """When its exposure began; UNKNOWN until frames have come in step for a while."""
        if self._last is None or stamp < self._last[1] - MIN_CLOCK_JUMP_SECONDS:
            self._gaps.clear()
            self._min_delay = self._learned_delay = arrival - stamp
            self._learning_since = arrival
        else:
            self._gaps.append(abs(stamp - self._last[1]))
            self._min_delay = min(arrival - stamp, self._min_delay + MAX_CLOCK_DRIFT * (arrival - self._last[0]))
        self._last = (arrival, stamp)
        self.lag = arrival - stamp - self._min_delay
        interval = max(self._gaps, default=0.0)
        if self._min_delay < self._learned_delay - interval / 4:
            # Quicker than any before: those were held back somewhere, and this one perhaps too.
            self._learned_delay = self._min_delay
            self._learning_since = arrival
        if len(self._gaps) < 2 or arrival - self._learning_since < max(LEARNING_SECONDS, 2 * interval):
            return UNKNOWN_START
        self._learned_delay = self._min_delay
        return stamp + self._min_delay - (1 + self._frames_late) * interval - self._latency


class UnstampedFrames:
    """Frames without stamps: one that comes after a stall may be as old as the stall was long; the next ones, too."""

    def __init__(self, latency: float = 0.0) -> None:
        self._latency = latency
        self._gaps: deque[tuple[float, float]] = deque()
        self._first: float | None = None
        self._last = 0.0

    def date(self, arrival: float, frames_late: int = 0) -> float:
        """When its exposure began; UNKNOWN until frames have come for a while. `late` as for Stamped."""
        if self._first is None:
            self._first = self._last = arrival
            return UNKNOWN_START
        self._gaps.append((arrival, arrival - self._last))
        self._last = arrival
        while len(self._gaps) > MAX_GAPS and self._gaps[0][0] < arrival - MAX_STALL_SECONDS:
            self._gaps.popleft()
        interval = max(gap for _, gap in self._gaps)
        if len(self._gaps) < 2 or arrival - self._first < max(LEARNING_SECONDS, 2 * interval):
            return UNKNOWN_START
        return arrival - (1 + frames_late) * interval - self._latency
