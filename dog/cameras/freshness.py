"""When did the exposure of a frame begin that came over a network? Plain values, no clock and no network.

What arrives was on its way, perhaps for long: cameras send what they have stored when one connects, and after a stall
all that was held back comes at once. Both classes say a time that is not later than the true one by more than what the
way takes at its best, which nobody can see from here: `latency` is that, where it is known. Times are in seconds.
"""

import math
from collections import deque

__all__ = ["UNKNOWN", "Stamped", "Unstamped"]

UNKNOWN = -math.inf
"""Long ago: a frame whose exposure may have begun at any time is never taken for a new one."""

LEARNING = 0.5
"""Seconds for which frames must come in step, after the first one or a jump, until their times are believed."""
DRIFT = 0.001
"""Seconds a second by which a camera's clock may go wrong; quartz is ten times better."""
JUMP = 1.0
"""Seconds by which stamps go back only when the camera's clock was set. Frames that are sent out of order go less."""
GAPS = 4
"""Frames whose gaps count: more than are ever sent out of order."""
BURST = 2.0
"""Seconds for which a stall may still bring old frames, where they have no stamps."""


class Stamped:
    """Frames with stamps of the camera's own clock, which began anywhere.

    The way takes `arrival - stamp`, but for what the clocks differ by; the least of all is the way at its best. So a
    frame that was held back is known as old by its own stamp. `late`: how many frames later than sent each one comes.
    """

    def __init__(self, latency: float = 0.0, late: int = 0) -> None:
        self._latency = latency
        self._late = late
        self._gaps: deque[float] = deque(maxlen=GAPS)
        self._last: tuple[float, float] | None = None
        self._least = math.inf
        self._mark = math.inf  # the least when learning began
        self._since = 0.0
        self.lag = 0.0
        """Seconds that the last frame was longer on its way than the quickest."""

    def date(self, arrival: float, stamp: float) -> float:
        """When its exposure began; UNKNOWN until frames have come in step for a while."""
        if self._last is None or stamp < self._last[1] - JUMP:
            self._gaps.clear()
            self._least = self._mark = arrival - stamp
            self._since = arrival
        else:
            self._gaps.append(abs(stamp - self._last[1]))
            self._least = min(arrival - stamp, self._least + DRIFT * (arrival - self._last[0]))
        self._last = (arrival, stamp)
        self.lag = arrival - stamp - self._least
        interval = max(self._gaps, default=0.0)
        if self._least < self._mark - interval / 4:
            # Quicker than any before: those were held back somewhere, and this one perhaps too.
            self._mark = self._least
            self._since = arrival
        if len(self._gaps) < 2 or arrival - self._since < max(LEARNING, 2 * interval):
            return UNKNOWN
        self._mark = self._least
        return stamp + self._least - (1 + self._late) * interval - self._latency


class Unstamped:
    """Frames without stamps: one that comes after a stall may be as old as the stall was long; the next ones, too."""

    def __init__(self, latency: float = 0.0) -> None:
        self._latency = latency
        self._gaps: deque[tuple[float, float]] = deque()
        self._first: float | None = None
        self._last = 0.0

    def date(self, arrival: float, late: int = 0) -> float:
        """When its exposure began; UNKNOWN until frames have come for a while. `late` as for Stamped."""
        if self._first is None:
            self._first = self._last = arrival
            return UNKNOWN
        self._gaps.append((arrival, arrival - self._last))
        self._last = arrival
        while len(self._gaps) > GAPS and self._gaps[0][0] < arrival - BURST:
            self._gaps.popleft()
        interval = max(gap for _, gap in self._gaps)
        if len(self._gaps) < 2 or arrival - self._first < max(LEARNING, 2 * interval):
            return UNKNOWN
        return arrival - (1 + late) * interval - self._latency
