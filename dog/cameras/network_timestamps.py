"""Freshness of network frames: estimate the start of their exposure.

A frame may be old when it arrives: cameras send stored frames after a connect, and after a stall all delayed frames
arrive at once. Both classes return a start that is later than the true one by at most the shortest network delay. That
can't be measured here; `latency` subtracts it if it is known. Times are in seconds. It needs no clock and no I/O.
"""

import math
from collections import deque

__all__ = ["UNKNOWN_START", "StampedFrames", "UnstampedFrames"]

UNKNOWN_START = -math.inf
"""Minus infinity: a frame with an unknown start never counts as new."""

LEARNING_SECONDS = 0.5
"""Seconds of regular frames, after the first one or a jump, until their times are trusted."""
MAX_CLOCK_DRIFT = 0.001
"""Drift of a camera's clock, in seconds per second. Quartz is ten times better."""
MIN_CLOCK_JUMP_SECONDS = 1.0
"""A smaller jump back of the timestamps is a reordered frame; a larger one, a clock that was set."""
MAX_GAPS = 4
"""Gaps between frames that are remembered: more than frames are ever reordered by."""
MAX_STALL_SECONDS = 2.0
"""Seconds after a stall during which frames without timestamps may be old."""


class StampedFrames:
    """Frames with timestamps of the camera's own clock, which has any offset.

    `arrival - stamp` is the delay plus the clocks' offset. Its minimum is the shortest delay, so a delayed frame is
    known by its own timestamp. Each frame arrives `frames_late` frames after it was sent.
    """

    def __init__(self, latency: float = 0.0, frames_late: int = 0) -> None:
        self._latency = latency
        self._frames_late = frames_late
        self._gaps: deque[float] = deque(maxlen=MAX_GAPS)
        self._last: tuple[float, float] | None = None
        self._min_delay = math.inf
        self._learned_delay = math.inf  # the minimum when learning began
        self._learning_since = 0.0
        self.lag = 0.0
        """Seconds by which the last frame's delay exceeded the shortest one."""

    def exposure_start(self, arrival: float, stamp: float) -> float:
        """Return the exposure's start; UNKNOWN_START until frames are regular."""
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
            # Faster than any before: those were delayed somewhere, and this one perhaps too.
            self._learned_delay = self._min_delay
            self._learning_since = arrival
        if len(self._gaps) < 2 or arrival - self._learning_since < max(LEARNING_SECONDS, 2 * interval):
            return UNKNOWN_START
        self._learned_delay = self._min_delay
        return stamp + self._min_delay - (1 + self._frames_late) * interval - self._latency


class UnstampedFrames:
    """Frames without timestamps. After a stall, each may be as old as that."""

    def __init__(self, latency: float = 0.0) -> None:
        self._latency = latency
        self._gaps: deque[tuple[float, float]] = deque()
        self._first: float | None = None
        self._last = 0.0

    def exposure_start(self, arrival: float, frames_late: int = 0) -> float:
        """Return the exposure's start, or UNKNOWN_START. See StampedFrames."""
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
