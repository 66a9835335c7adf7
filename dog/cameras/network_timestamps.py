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
"""Seconds of regular frames, after the first one or a burst, until their times are trusted."""
MIN_LONG_INTERVAL = 1.0
"""Seconds between frames from which one gap is enough to trust the next frame: it can't have been stored before."""
MAX_CLOCK_DRIFT = 0.01
"""Drift of a camera's clock, in seconds per second, that counts as normal. Quartz is a hundred times better."""
MAX_CLOCK_SPEED = 2.5
"""Speed of timestamps, relative to real time, from which frames were stored: they arrive faster than they were made."""
MIN_ERROR_SECONDS = 0.05
"""Error of a clock, over the frames in memory, that is more than jitter."""
MEMORY_SECONDS = 10.0
RECENT_SECONDS = 1.0
MIN_REMEMBERED = 4
MAX_REMEMBERED = 300
"""Frames whose arrival, timestamp and lag are remembered, to measure the clock's speed."""
MIN_PAUSE_SECONDS = 0.3
"""A pause between frames that is more than jitter, unless one and a half frame intervals are more."""
MIN_CLOCK_JUMP_SECONDS = 1.0
"""A smaller step back of the timestamps is a reordered frame; a larger one, a clock that was set."""
MAX_GAPS = 4
"""Gaps between frames that are remembered: more than frames are ever reordered by."""
MAX_STALL_SECONDS = 2.0
"""Seconds after a stall during which frames without timestamps may be old."""


class StampedFrames:
    """Frames with timestamps of the camera's own clock, however wrong it is.

    `_on_time` is when the last frame would have arrived with the shortest delay. It advances with the timestamps, so a
    delayed frame is known by its own one. But a frame can't be later than the pauses between arrivals explain. If the
    timestamps claim that, they are slow, stand still, or have jumped back.
    """

    def __init__(self, latency: float = 0.0) -> None:
        self._latency = latency
        self._last: tuple[float, float] | None = None  # arrival and timestamp of the last frame in order
        self._last_arrival = 0.0
        self._on_time = 0.0
        self._learning_since = 0.0
        self._has_learned = False
        self._gaps: deque[float] = deque(maxlen=15)  # between arrivals, seconds for each frame
        self._reordered: deque[float] = deque([0.0], maxlen=2 * MAX_GAPS)  # how far back timestamps went, seconds
        self._back = 0  # frames since the last one in order
        self._memory: deque[tuple[float, float, float]] = deque(maxlen=MAX_REMEMBERED)
        self._is_catching_up = False  # True after a pause, while frames come in a burst
        self._was_pause = False  # True if the last frame came after a pause
        self._calm_since = 0.0  # no pause since then
        self._speed: float | None = 1.0
        """Real seconds for each second of the timestamps; None if they stand still."""
        self.lag = 0.0
        """Seconds by which the last frame's delay exceeded the shortest one."""

    def exposure_start(self, arrival: float, stamp: float) -> float:
        """Return the exposure's start; UNKNOWN_START until frames are regular."""
        if self._last is None:
            self._last = (arrival, stamp)
            self._on_time = self._learning_since = arrival
            return UNKNOWN_START
        step = stamp - self._last[1]
        if step < 0 and self._back < MAX_GAPS and -step <= max(MIN_CLOCK_JUMP_SECONDS, MAX_GAPS * self._interval):
            self._back += 1
            step *= self._speed or 0.0
            self._reordered.append(-step)
            on_time = self._on_time + step
        else:
            if step < 0:
                self._reordered.clear()  # the clock was set
            self._reordered.append(0.0)
            self._add(arrival, step)
            self._last = (arrival, stamp)
            on_time = self._on_time
        interval = self._interval
        gaps = 1 if interval >= MIN_LONG_INTERVAL else 2
        waited = arrival - self._learning_since
        is_clear = self.lag <= interval / 2 or waited >= MAX_STALL_SECONDS
        if is_clear and len(self._gaps) >= gaps and waited >= max(LEARNING_SECONDS, gaps * interval):
            self._has_learned = True
        if not self._has_learned:
            return UNKNOWN_START
        return on_time - interval - max(self._reordered) - self._latency

    @property
    def _interval(self) -> float:
        """The usual time between frames, in seconds."""
        gaps = sorted(self._gaps)
        return gaps[(len(gaps) - 1) // 2] if gaps else 0.0

    def _add(self, arrival: float, step: float) -> None:
        """Add a frame in order. Its timestamp is `step` s after the last one."""
        assert self._last is not None
        stamp = self._last[1] + step
        elapsed, frames = arrival - self._last[0], self._back + 1
        usual = self._interval * frames if self._gaps else elapsed
        self._back = 0
        if self._speed is not None:
            step *= self._speed
        elif self._memory:
            step = (self._memory[-1][0] - self._memory[0][0]) / max(1, len(self._memory) - 1) * frames
        else:
            step = usual
        late = arrival - self._on_time - step
        explained = self.lag + max(0.0, elapsed - usual)
        is_burst = elapsed < usual / 2
        tolerance = max(self._interval / 3, MIN_ERROR_SECONDS / 2)
        is_pause = bool(self._gaps) and elapsed > usual + tolerance
        if abs(elapsed - usual) > tolerance:
            self._calm_since = arrival
        if late > explained + 2 * usual or elapsed > usual + max(1.5 * self._interval, MIN_PAUSE_SECONDS):
            self._memory.clear()  # after a jump or a long pause
            self._is_catching_up = is_pause and not self._was_pause  # two pauses are another frame rate
        else:
            self._is_catching_up = is_burst and (self._is_catching_up or self.lag > usual / 2)
        self._was_pause = is_pause
        early = -late - max(self._reordered)
        if (early > step / 4 and not self._has_learned) or (is_burst and early > max(0.75 * step, MIN_ERROR_SECONDS)):
            # Earlier than any before: those were delayed somewhere, and this one perhaps too.
            self._learning_since = arrival
            if self._has_learned or late < step / MAX_CLOCK_SPEED - step:
                self._memory.clear()
                self._gaps.clear()
            self._has_learned = False
        self.lag = max(0.0, min(late, explained) - MAX_CLOCK_DRIFT * elapsed)
        if not self._is_catching_up:
            self._gaps.append(elapsed / frames)
            self._memory.append((arrival, stamp, self.lag))
            if arrival - self._calm_since >= max(LEARNING_SECONDS, MIN_REMEMBERED * self._interval):
                self._measure_speed()
        self._on_time = arrival - self.lag

    def _measure_speed(self) -> None:
        """Measure the speed of the camera's clock by the frames in memory."""
        memory, end = self._memory, self._memory[-1][0]
        recent = max(2 * MIN_REMEMBERED, sum(arrival > end - RECENT_SECONDS for arrival, _, _ in memory))
        if recent < len(memory) and abs(self._clock_error(-recent, -1)) > max(self._interval, 2 * MIN_ERROR_SECONDS):
            while len(memory) > recent:
                memory.popleft()
        while end - memory[0][0] > MEMORY_SECONDS and len(memory) > 2 * MIN_REMEMBERED:
            memory.popleft()
        passed, counted = end - memory[0][0], memory[-1][1] - memory[0][1]
        if len(memory) <= MIN_REMEMBERED or passed < LEARNING_SECONDS:
            return
        if self._speed != 1:
            self.lag = 0.0  # a clock that is wrong proves no lag of frames that come regularly
        if counted * MAX_CLOCK_SPEED < passed:
            self._speed, self.lag = None, 0.0
            return
        error = self._clock_error(0, -1)
        is_steady = abs(2 * self._clock_error(0, len(memory) // 2) - error) < (abs(error) + MIN_ERROR_SECONDS) / 2
        if abs(error) > max(self._interval / 2, MIN_ERROR_SECONDS) and is_steady and counted < passed * MAX_CLOCK_SPEED:
            self._speed = passed / counted
            self.lag = min(self.lag, memory[0][2])

    def _clock_error(self, begin: int, end: int) -> float:
        """Return the seconds that the clock lost between two frames in memory."""
        (begun, first, _), (ended, last, _) = self._memory[begin], self._memory[end]
        return ended - begun - (last - first) * (self._speed or 0.0)


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
