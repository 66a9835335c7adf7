"""The capture queue of one camera, a state machine without I/O or clock.

The one rule (docs/protocol.md): a request is served by the earliest exposure that began no earlier than `max_age`
seconds before the request. That is a finished one, the running one, or the next. At most one capture runs. At most one
is pending, shared by all requests that wait. Two captures start at least the dead time apart.

    request -> [pending] -- begin --> [running] -- finish --> [latest]
                                               `-- fail ----> (serves no request)

Times are seconds of one monotonic clock, passed with each call; `now` never runs backwards. Only the camera task calls
the methods that change the state.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from dog.errors import RequestError
from dog.protocol import Outcome

__all__ = ["CaptureQueue", "Decision", "Finished", "Permit", "Running", "no_permit"]

SnapshotT = TypeVar("SnapshotT")

KEY_TTL = 600.0
"""Seconds for which a request's idempotency key is remembered (docs/protocol.md: 10 minutes)."""
MAX_IDEMPOTENCY_KEYS = 4096
"""Maximum number of remembered keys, so that a flood of requests can't fill the memory."""
Permit = Callable[[], object]
"""Called before a new capture is queued; it raises an error to refuse the capture."""
ANY_MAX_AGE = -1.0
"""The `max_age` of a request that an earlier run served."""


@dataclass(frozen=True, slots=True)
class Running:
    """A capture whose exposure has begun."""

    capture: int
    started_at: float


@dataclass(frozen=True, slots=True)
class Finished(Generic[SnapshotT]):
    """A capture that made a snapshot."""

    capture: int
    started_at: float
    snapshot: SnapshotT


@dataclass(frozen=True, slots=True)
class Decision(Generic[SnapshotT]):
    """The capture that serves a request, its snapshot, if any, and its `wait`."""

    outcome: Outcome
    capture: int
    snapshot: SnapshotT | None = None
    wait: float | None = None


@dataclass(slots=True)
class _Remembered(Generic[SnapshotT]):
    requested_at: float
    max_age: float | None
    capture: int
    finished: Finished[SnapshotT] | None


def no_permit() -> None:
    """Permit a capture request that has no limit."""


class CaptureQueue(Generic[SnapshotT]):
    """The capture queue of one camera.

    `dead_time` is the minimum time from one exposure's start to the next, in seconds. `take_number` returns the number
    of a new capture. `latest` is the last capture of an earlier run; `answered` has the captures that served its recent
    requests, by their keys.
    """

    def __init__(
        self,
        dead_time: float,
        take_number: Callable[[], int],
        latest: Finished[SnapshotT] | None = None,
        answered: Mapping[str, Finished[SnapshotT]] | None = None,
    ) -> None:
        self.dead_time = dead_time
        self.latest = latest
        self.running: Running | None = None
        self.pending: int | None = None
        self.ready_at = -math.inf if latest is None else latest.started_at + dead_time
        self._take_number = take_number
        self._remembered: dict[str, _Remembered[SnapshotT]] = {
            key: _Remembered(finished.started_at, ANY_MAX_AGE, finished.capture, finished)
            for key, finished in sorted((answered or {}).items(), key=lambda item: item[1].started_at)
        }

    def request(
        self, now: float, *, max_age: float | None = None, key: str | None = None, permit: Permit = no_permit
    ) -> Decision[SnapshotT]:
        """Decide which capture serves a request at `now`.

        `max_age` is in seconds; None is the dead time. A repeated `key` gets the same capture, unless that failed.
        Raise RequestError `bad_message` if the key was used with another `max_age`, and the errors of `permit`.
        """
        self._forget_old(now)
        if key is not None and (earlier := self._remembered.get(key)):
            if earlier.max_age not in (max_age, ANY_MAX_AGE):
                raise RequestError(
                    "bad_message",
                    "This `request` was used within the last ten minutes with another `max_age`. Choose a new one.",
                    request=key,
                )
            return self._decide_again(now, earlier)
        decision = self._decide(now, now - (self.dead_time if max_age is None else max_age), permit)
        if key is not None:
            finished = self.latest if decision.outcome == "cached" else None
            self._remembered[key] = _Remembered(now, max_age, decision.capture, finished)
        return decision

    def next_start(self) -> float | None:
        """Return when the pending capture may begin; None without one."""
        return self.ready_at if self.pending is not None and self.running is None else None

    def begin(self, now: float) -> Running:
        """Start the pending capture. Raise RuntimeError if the rule forbids it."""
        start = self.next_start()
        if start is None or self.pending is None or now < start:
            raise RuntimeError("no capture may begin now")
        self.running, self.pending = Running(self.pending, now), None
        self.ready_at = now + self.dead_time
        return self.running

    def finish(self, snapshot: SnapshotT, *, delay: float = 0.0) -> None:
        """Finish the running capture. Its exposure began `delay` seconds late."""
        ended = self._end_running()
        self.latest = Finished(ended.capture, ended.started_at + delay, snapshot)
        for remembered in self._remembered.values():
            if remembered.capture == ended.capture:
                remembered.finished = self.latest

    def fail(self) -> None:
        """Fail the running capture. Its keys are forgotten and may be repeated."""
        ended = self._end_running()
        self._remembered = {k: r for k, r in self._remembered.items() if r.capture != ended.capture}

    def first_key(self, capture: int) -> str | None:
        """Return the first key that requested the capture, or None."""
        return next((key for key, remembered in self._remembered.items() if remembered.capture == capture), None)

    def forget(self, captures: set[int], latest: Finished[SnapshotT] | None) -> None:
        """Forget captures with removed snapshots. `latest` replaces such a latest."""
        if self.latest is not None and self.latest.capture in captures:
            self.latest = latest
        self._remembered = {
            key: remembered
            for key, remembered in self._remembered.items()
            if remembered.finished is None or remembered.capture not in captures
        }

    def _end_running(self) -> Running:
        if self.running is None:
            raise RuntimeError("no capture is running")
        ended, self.running = self.running, None
        return ended

    def _decide(self, now: float, earliest: float, permit: Permit) -> Decision[SnapshotT]:
        if self.latest is not None and self.latest.started_at >= earliest:
            return Decision("cached", self.latest.capture, self.latest.snapshot)
        if self.running is not None and self.running.started_at >= earliest:
            return Decision("joined", self.running.capture)
        first = self.pending is None
        if self.pending is None:
            permit()
            self.pending = self._take_number()
        return self._decide_pending(now, self.pending, "started" if first else "joined")

    def _decide_pending(self, now: float, capture: int, outcome_now: Outcome) -> Decision[SnapshotT]:
        wait = max(0.0, self.ready_at - now)
        if self.running is not None or wait > 0:
            return Decision("queued", capture, wait=wait)
        return Decision(outcome_now, capture)

    def _decide_again(self, now: float, earlier: _Remembered[SnapshotT]) -> Decision[SnapshotT]:
        if earlier.finished is not None:
            return Decision("cached", earlier.capture, earlier.finished.snapshot)
        if earlier.capture == self.pending:
            return self._decide_pending(now, earlier.capture, "joined")
        return Decision("joined", earlier.capture)

    def _forget_old(self, now: float) -> None:
        """Drop expired and excess keys. The mapping is in order of requests."""
        while self._remembered:
            key = next(iter(self._remembered))
            if len(self._remembered) < MAX_IDEMPOTENCY_KEYS and now - self._remembered[key].requested_at <= KEY_TTL:
                return
            del self._remembered[key]
