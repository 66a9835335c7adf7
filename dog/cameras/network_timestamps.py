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
"""Age of the oldest frame that is remembered to measure the clock's speed."""
RECENT_SECONDS = 1.0
"""Age of the frames that show whether the clock's speed has just changed."""
MIN_REMEMBERED = 4
"""Frames until the clock's speed can be measured."""
MAX_REMEMBERED = 300
"""Frames that are remembered at most."""
MIN_PAUSE_SECONDS = 0.3
"""A pause between frames that is more than jitter, unless one and a half frame intervals are more."""
MIN_CLOCK_JUMP_SECONDS = 1.0
"""A smaller step back of the timestamps is a reordered frame; a larger one, a clock that was set."""
MAX_REORDERED_FRAMES = 4
"""Frames in a row whose timestamps may go back: more than frames are ever reordered by."""
MIN_UNSTAMPED_GAPS = 4
"""Gaps between frames without timestamps that are remembered, even if they are older than MAX_STALL_SECONDS."""
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
        self._clock = _ClockSpeed()
        self._last: tuple[float, float] | None = None  # arrival and timestamp of the last frame in order
        self._on_time = 0.0
        self._back = 0  # frames since the last one in order
        self._depth = 0.0  # seconds by which timestamps went back since then
        self._depths: deque[float] = deque([0.0, 0.0, 0.0], maxlen=3)  # the same, before each of the last in order
        self._gaps: deque[float] = deque(maxlen=15)  # seconds between arrivals, for each frame
        self._has_learned = False
        self._learning_since = 0.0
        self._calm_since = 0.0  # frames come regularly since then
        self._was_pause = False  # True if the last frame came after a pause
        self._is_catching_up = False  # True after a pause, while frames come in a burst
        self.lag = 0.0
        """Seconds by which the last frame's delay exceeded the shortest one."""

    def exposure_start(self, arrival: float, stamp: float) -> float:
        """Return the exposure's start; UNKNOWN_START until frames are regular."""
        if self._last is None:
            self._last = (arrival, stamp)
            self._on_time = self._learning_since = arrival
            return UNKNOWN_START
        step = stamp - self._last[1]
        on_time = self._on_time
        if step < 0 and self._is_reordered(step):
            back = step * (self._clock.speed or 0.0)
            self._back += 1
            self._depth = max(self._depth, -back)
            on_time += back
        else:
            self._depths.append(self._depth)
            self._depth = 0.0
            self._add(arrival, stamp)
            on_time = self._on_time
        interval, waited = self._interval, arrival - self._learning_since
        gaps = 1 if interval >= MIN_LONG_INTERVAL else 2
        if (
            len(self._gaps) >= gaps
            and waited >= max(LEARNING_SECONDS, gaps * interval)
            and (self.lag <= interval / 2 or waited >= MAX_STALL_SECONDS)
        ):
            self._has_learned = True
        if not self._has_learned:
            return UNKNOWN_START
        return on_time - interval - self._reorder_delay - self._latency

    def _is_reordered(self, step: float) -> bool:
        """Return True if a frame whose timestamp went back was sent out of order."""
        largest = max(MIN_CLOCK_JUMP_SECONDS, MAX_REORDERED_FRAMES * self._interval)
        return self._back < MAX_REORDERED_FRAMES and -step <= largest

    @property
    def _interval(self) -> float:
        """The usual time between frames, in seconds."""
        gaps = sorted(self._gaps)
        return gaps[(len(gaps) - 1) // 2] if gaps else 0.0

    @property
    def _reorder_delay(self) -> float:
        """Seconds by which frames are usually sent out of order."""
        return sorted(self._depths)[1]

    def _add(self, arrival: float, stamp: float) -> None:
        """Add a frame in order."""
        assert self._last is not None
        elapsed, frames = arrival - self._last[0], self._back + 1
        interval = self._interval if self._gaps else elapsed / frames
        usual = interval * frames
        step = self._clock.convert(stamp - self._last[1], frames, interval)
        late = arrival - self._on_time - step
        explained = max(self.lag + max(0.0, elapsed - usual), self._reorder_delay)
        is_burst = elapsed < usual / 2
        tolerance = max(interval / 3, MIN_ERROR_SECONDS / 2)
        is_pause = elapsed > usual + tolerance
        if abs(elapsed - usual) > tolerance:
            self._calm_since = arrival
        if late > explained + 2 * usual or elapsed > usual + max(1.5 * interval, MIN_PAUSE_SECONDS):
            self._clock.forget()  # after a jump or a long pause
            self._is_catching_up = is_pause and not self._was_pause  # two pauses are another frame rate
        else:
            self._is_catching_up = is_burst and (self._is_catching_up or self.lag > usual / 2)
        early = -late - self._reorder_delay
        if (early > step / 4 and not self._has_learned) or (is_burst and early > max(0.75 * step, MIN_ERROR_SECONDS)):
            # Earlier than any before: those were delayed somewhere, and this one perhaps too.
            self._learning_since = arrival
            if self._has_learned or late < step / MAX_CLOCK_SPEED - step:
                self._clock.forget()
                self._gaps.clear()
            self._has_learned = False
        self.lag = max(0.0, min(late, explained) - MAX_CLOCK_DRIFT * elapsed)
        if not self._is_catching_up:
            self._gaps.append(elapsed / frames)
            self._clock.add(arrival, stamp, self.lag)
            if arrival - self._calm_since >= max(LEARNING_SECONDS, MIN_REMEMBERED * self._interval):
                self.lag = min(self.lag, self._clock.measure(self._interval))
        self._on_time = arrival - self.lag
        self._last, self._back, self._was_pause = (arrival, stamp), 0, is_pause


class _ClockSpeed:
    """The speed of a camera's clock, by the frames in memory."""

    def __init__(self) -> None:
        self._memory: deque[tuple[float, float, float]] = deque(maxlen=MAX_REMEMBERED)  # arrival, timestamp, lag
        self.speed: float | None = 1.0
        """Real seconds for each second of the timestamps; None if they stand still."""

    def forget(self) -> None:
        """Forget all frames, but not the speed."""
        self._memory.clear()

    def add(self, arrival: float, stamp: float, lag: float) -> None:
        """Add a frame that did not come in a burst."""
        self._memory.append((arrival, stamp, lag))

    def convert(self, step: float, frames: int, interval: float) -> float:
        """Convert a step of the timestamps to real seconds.

        If they stand still, the step is that many frames, which usually take an interval each.
        """
        if self.speed is not None:
            return step * self.speed
        if len(self._memory) < 2:
            return frames * interval
        return (self._memory[-1][0] - self._memory[0][0]) / (len(self._memory) - 1) * frames

    def measure(self, interval: float) -> float:
        """Measure the speed. Return the largest lag that the clock still proves.

        A clock that is wrong proves no lag of frames that come regularly.
        """
        memory, end = self._memory, self._memory[-1][0]
        recent = max(2 * MIN_REMEMBERED, sum(arrival > end - RECENT_SECONDS for arrival, _, _ in memory))
        if recent < len(memory) and abs(self._error(-recent, -1)) > max(interval, 2 * MIN_ERROR_SECONDS):
            while len(memory) > recent:
                memory.popleft()
        while end - memory[0][0] > MEMORY_SECONDS and len(memory) > 2 * MIN_REMEMBERED:
            memory.popleft()
        begin, first, lag = memory[0]
        passed, counted = end - begin, memory[-1][1] - first
        if len(memory) <= MIN_REMEMBERED or passed < LEARNING_SECONDS:
            return math.inf
        if counted * MAX_CLOCK_SPEED < passed:
            self.speed = None
            return 0.0
        error = self._error(0, -1)
        is_steady = abs(2 * self._error(0, len(memory) // 2) - error) < (abs(error) + MIN_ERROR_SECONDS) / 2
        if abs(error) > max(interval / 2, MIN_ERROR_SECONDS) and is_steady and counted < passed * MAX_CLOCK_SPEED:
            proven = lag if self.speed == 1 else 0.0
            self.speed = passed / counted
            return proven
        return math.inf if self.speed == 1 else 0.0

    def _error(self, begin: int, end: int) -> float:
        """Return the seconds that the clock lost between two frames in memory."""
        (begun, first, _), (ended, last, _) = self._memory[begin], self._memory[end]
        return ended - begun - (last - first) * (self.speed or 0.0)


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
        while len(self._gaps) > MIN_UNSTAMPED_GAPS and (
            self._gaps[0][0] < arrival - MAX_STALL_SECONDS or len(self._gaps) > MAX_REMEMBERED
        ):
            self._gaps.popleft()
        interval = max(gap for _, gap in self._gaps)
        if len(self._gaps) < 2 or arrival - self._first < max(LEARNING_SECONDS, 2 * interval):
            return UNKNOWN_START
        return arrival - (1 + frames_late) * interval - self._latency
