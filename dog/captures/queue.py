"""Who gets which capture: the queue of one camera, as a state machine without I/O and without a clock.

The one rule (docs/protocol.md): a request is served by the earliest exposure that began no earlier than `max_age`
seconds before the press. That is a finished one, the running one, or the next. At most one capture runs and at most one
is pending, which all that wait share; the dead time lies between the starts of any two.

    request -> [pending] -- begin --> [running] -- finish --> [latest]
                                               `-- fail ----> (serves nobody)

Times are seconds of one monotonic clock, handed in with each call; `now` never runs backwards. The camera task alone
calls what changes the state.
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
"""Seconds for which a request's key is remembered (docs/protocol.md: 10 minutes)."""
MAX_REMEMBERED_KEYS = 4096
"""Keys remembered at most, the oldest go first: a flood of presses must not grow the memory."""
Permit = Callable[[], object]
"""Called before a capture is asked for that nobody has asked for yet; it may raise."""
ANY_MAX_AGE = -1.0
"""The `max_age` of a press that an earlier run answered."""


@dataclass(frozen=True, slots=True)
class Running:
    """A capture whose exposure has begun."""

    capture: int
    started_at: float


@dataclass(frozen=True, slots=True)
class Finished(Generic[SnapshotT]):
    """A capture that left a snapshot."""

    capture: int
    started_at: float
    snapshot: SnapshotT


@dataclass(frozen=True, slots=True)
class Decision(Generic[SnapshotT]):
    """What serves a request: a capture, and its snapshot where it exists; a queued one may begin in `wait` seconds."""

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
    """The permit of a press that nobody counts."""


class CaptureQueue(Generic[SnapshotT]):
    """The captures of one camera.

    `dead_time` is the least time from one exposure's start to the next, in seconds; `take_number` gives each capture
    its number, when it is first asked for. `latest` is what an earlier run left, if anything, and `answered` the
    presses that it answered lately, by their keys.
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
        self,
        now: float,
        *,
        max_age: float | None = None,
        key: str | None = None,
        permit: Permit = no_permit,
    ) -> Decision[SnapshotT]:
        """Decide which capture serves a press at `now`.

        `max_age` in seconds; None is the dead time. A `key` heard before gets the capture it got then, unless that one
        failed. Raises RequestError `bad_message` where the key came with another `max_age`, and what `permit` does.
        """
        self._forget_old(now)
        if key is not None and (before := self._remembered.get(key)):
            if before.max_age not in (max_age, ANY_MAX_AGE):
                raise RequestError(
                    "bad_message",
                    "This `request` was used within the last ten minutes with another `max_age`. Choose a new one.",
                    request=key,
                )
            return self._decide_again(now, before)
        decision = self._decide(now, now - (self.dead_time if max_age is None else max_age), permit)
        if key is not None:
            finished = self.latest if decision.outcome == "cached" else None
            self._remembered[key] = _Remembered(now, max_age, decision.capture, finished)
        return decision

    def next_start(self) -> float | None:
        """When the pending capture may begin; None while there is none, or one is running."""
        return self.ready_at if self.pending is not None and self.running is None else None

    def begin(self, now: float) -> Running:
        """The pending capture's exposure begins now. Raises RuntimeError where the rule forbids it."""
        start = self.next_start()
        if start is None or self.pending is None or now < start:
            raise RuntimeError("no capture may begin now")
        self.running, self.pending = Running(self.pending, now), None
        self.ready_at = now + self.dead_time
        return self.running

    def finish(self, snapshot: SnapshotT, *, delay: float = 0.0) -> None:
        """The running capture left a snapshot, whose exposure began so many seconds after the capture did."""
        ended = self._end_running()
        self.latest = Finished(ended.capture, ended.started_at + delay, snapshot)
        for remembered in self._remembered.values():
            if remembered.capture == ended.capture:
                remembered.finished = self.latest

    def fail(self) -> None:
        """The running capture left nothing: it serves nobody, and who asked for it may ask again."""
        ended = self._end_running()
        self._remembered = {k: r for k, r in self._remembered.items() if r.capture != ended.capture}

    def first_key(self, capture: int) -> str | None:
        """The key of the press that asked for a capture first, where one had a key."""
        return next((key for key, remembered in self._remembered.items() if remembered.capture == capture), None)

    def forget(self, captures: set[int], latest: Finished[SnapshotT] | None) -> None:
        """What these captures left was removed: it serves nobody any more. `latest` is what there is instead."""
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
        return self._await_pending(now, self.pending, "started" if first else "joined")

    def _await_pending(self, now: float, capture: int, at_once: Outcome) -> Decision[SnapshotT]:
        wait = max(0.0, self.ready_at - now)
        if self.running is not None or wait > 0:
            return Decision("queued", capture, wait=wait)
        return Decision(at_once, capture)

    def _decide_again(self, now: float, before: _Remembered[SnapshotT]) -> Decision[SnapshotT]:
        if before.finished is not None:
            return Decision("cached", before.capture, before.finished.snapshot)
        if before.capture == self.pending:
            return self._await_pending(now, before.capture, "joined")
        return Decision("joined", before.capture)

    def _forget_old(self, now: float) -> None:
        """Drop the oldest keys: the mapping keeps them in the order in which they came."""
        while self._remembered:
            key = next(iter(self._remembered))
            if len(self._remembered) < MAX_REMEMBERED_KEYS and now - self._remembered[key].requested_at <= KEY_TTL:
                return
            del self._remembered[key]
