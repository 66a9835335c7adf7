"""The capture queue: examples first, then random histories (Hypothesis)."""

import itertools
import math
from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dog.captures.queue import KEY_TTL, MAX_IDEMPOTENCY_KEYS, CaptureQueue, Finished
from dog.errors import RequestError


def make_queue(dead_time: float = 1.0, latest: Finished[str] | None = None) -> CaptureQueue[str]:
    return CaptureQueue(dead_time, itertools.count(1).__next__, latest)


def capture_one(queue: CaptureQueue[str], now: float, snapshot: str) -> None:
    queue.request(now, max_age=0)
    queue.begin(now)
    queue.finish(snapshot)


def test_the_first_request_starts_a_capture() -> None:
    queue = make_queue()
    assert queue.request(10).outcome == "started"
    assert queue.next_start() == -math.inf
    assert queue.begin(10).capture == 1


def test_a_request_that_an_earlier_run_served_gets_its_snapshot_for_ten_minutes() -> None:
    answered = {"old": Finished(3, 100.0, "a"), "older": Finished(2, 50.0, "b")}
    queue = CaptureQueue(0.0, itertools.count(4).__next__, answered["old"], answered)
    for max_age in None, 0, 5:
        decision = queue.request(600, max_age=max_age, key="old")
        assert (decision.outcome, decision.capture, decision.snapshot) == ("cached", 3, "a")
    assert queue.request(651, max_age=0, key="older").outcome == "started", "ten minutes are over"
    assert queue.request(651, max_age=0, key="old").snapshot == "a"


def test_a_second_request_before_the_start_joins_the_first() -> None:
    queue = make_queue()
    first, second = queue.request(10), queue.request(10)
    assert (first.outcome, second.outcome) == ("started", "joined")
    assert first.capture == second.capture


def test_a_request_within_the_dead_time_gets_the_existing_snapshot() -> None:
    queue = make_queue()
    capture_one(queue, 10, "a")
    decision = queue.request(10.9)
    assert (decision.outcome, decision.snapshot, decision.capture) == ("cached", "a", 1)


def test_a_request_after_the_dead_time_starts_a_new_capture() -> None:
    queue = make_queue()
    capture_one(queue, 10, "a")
    assert queue.request(11.1).outcome == "started"


def test_a_request_with_max_age_0_within_the_dead_time_is_queued_with_its_wait() -> None:
    queue = make_queue()
    capture_one(queue, 10, "a")
    decision = queue.request(10.25, max_age=0)
    assert (decision.outcome, decision.wait) == ("queued", 0.75)
    with pytest.raises(RuntimeError):
        queue.begin(10.9)
    assert queue.begin(11).capture == decision.capture


def test_a_request_during_an_exposure_joins_it_in_the_dead_time_else_is_queued() -> None:
    queue = make_queue()
    queue.request(10)
    queue.begin(10)
    assert queue.request(10.5).outcome == "joined"
    assert queue.request(12).outcome == "queued"


def test_a_thousand_requests_during_a_capture_cause_one_more_at_most() -> None:
    queue = make_queue()
    queue.request(10)
    queue.begin(10)
    captures = {queue.request(10 + i / 100, max_age=0).capture for i in range(1, 1000)}
    assert captures == {2}


def test_a_failed_capture_serves_no_request_and_the_pending_one_still_begins() -> None:
    queue = make_queue()
    queue.request(10)
    queue.begin(10)
    queue.request(10.5, max_age=0)
    queue.fail()
    assert queue.latest is None
    assert queue.next_start() == 11
    assert queue.begin(11).capture == 2


def test_a_snapshot_of_an_earlier_run_counts_for_the_dead_time_and_for_max_age() -> None:
    queue = make_queue(latest=Finished(7, 9.5, "old"))
    assert queue.request(10, max_age=60).snapshot == "old"
    assert queue.request(10, max_age=0).wait == 0.5


def test_a_key_gets_the_same_capture_while_it_is_pending_running_and_ready() -> None:
    queue = make_queue()
    assert queue.request(10, key="k").outcome == "started"
    assert queue.request(10, key="k").outcome == "joined"
    queue.begin(10)
    assert queue.request(500, key="k").outcome == "joined"
    queue.finish("a")
    capture_one(queue, 510, "b")
    decision = queue.request(600, key="k")
    assert (decision.outcome, decision.snapshot, decision.capture) == ("cached", "a", 1)


def test_the_key_of_a_cached_reply_gets_the_same_snapshot_again() -> None:
    queue = make_queue()
    capture_one(queue, 10, "a")
    queue.request(10.5, key="k")
    capture_one(queue, 12, "b")
    assert queue.request(13.5, key="k").snapshot == "a"


def test_a_key_may_be_used_again_after_its_capture_failed() -> None:
    queue = make_queue()
    queue.request(10, key="k")
    queue.begin(10)
    queue.fail()
    assert queue.request(20, key="k").capture == 2


def test_a_key_with_another_max_age_is_refused() -> None:
    queue = make_queue()
    queue.request(10, key="k")
    with pytest.raises(RequestError, match="another `max_age`") as refused:
        queue.request(10, key="k", max_age=0)
    assert (refused.value.code, refused.value.request) == ("bad_message", "k")


def test_a_key_is_forgotten_after_ten_minutes() -> None:
    queue = make_queue()
    queue.request(0, key="k")
    queue.begin(0)
    queue.finish("a")
    assert queue.request(KEY_TTL, key="k").outcome == "cached"
    assert queue.request(KEY_TTL + 1, key="k").outcome == "started"


def test_the_number_of_remembered_keys_is_limited() -> None:
    queue = make_queue()
    for number in range(3 * MAX_IDEMPOTENCY_KEYS):
        queue.request(10, key=str(number))
    assert len(queue._remembered) == MAX_IDEMPOTENCY_KEYS


@dataclass
class CaptureRequest:
    requested_at: float
    max_age: float
    capture: int


class Histories(RuleBasedStateMachine):
    """Captures in any order, checked against the rules of docs/protocol.md."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.dead_time = 2.0
        self.queue = make_queue(self.dead_time)
        self.waiting: list[CaptureRequest] = []
        self.keys: dict[str, tuple[float, int]] = {}
        self.began: dict[int, float] = {}
        self.ended: dict[int, str] = {}

    @rule(seconds=st.floats(0, 5))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        max_age=st.none() | st.sampled_from([0.0, 0.5, 2.0, 10.0, math.inf]),
        key=st.none() | st.sampled_from(["a", "b"]),
    )
    def press(self, max_age: float | None, key: str | None) -> None:
        earliest = self.now - (self.dead_time if max_age is None else max_age)
        running, pending, latest = self.queue.running, self.queue.pending, self.queue.latest
        try:
            decision = self.queue.request(self.now, max_age=max_age, key=key)
        except RequestError:
            assert key in self.keys
            return
        if key is not None and key in self.keys:
            first_requested_at, capture = self.keys[key]
            if self.now - first_requested_at <= KEY_TTL and self.ended.get(capture) != "failed":
                assert decision.capture == capture
                return
        if key is not None:
            self.keys[key] = (self.now, decision.capture)
        age_limit = self.dead_time if max_age is None else max_age
        match decision.outcome:
            case "cached":
                assert latest is not None
                assert self.began[decision.capture] >= earliest
                assert decision.snapshot == self.ended[decision.capture] == latest.snapshot
            case "joined" if running is not None and decision.capture == running.capture:
                assert running.started_at >= earliest
                self.waiting.append(CaptureRequest(self.now, age_limit, decision.capture))
            case "started":
                assert running is None
                assert pending is None
                assert self.queue.ready_at <= self.now
                self.waiting.append(CaptureRequest(self.now, age_limit, decision.capture))
            case "queued":
                assert running is not None or self.queue.ready_at > self.now
                assert decision.wait == max(0.0, self.queue.ready_at - self.now)
                self.waiting.append(CaptureRequest(self.now, age_limit, decision.capture))
            case _:
                assert decision.capture == pending
                self.waiting.append(CaptureRequest(self.now, age_limit, decision.capture))
        if decision.outcome != "cached":
            assert latest is None or latest.started_at < earliest, "an existing one would have served it"

    @precondition(lambda self: self.queue.next_start() is not None)
    @rule()
    def begin(self) -> None:
        start = self.queue.next_start()
        assert start is not None
        self.now = max(self.now, start)
        before = list(self.began.values())
        running = self.queue.begin(self.now)
        assert all(self.now >= earlier + self.dead_time for earlier in before), "the dead time was not kept"
        assert running.capture not in self.began
        self.began[running.capture] = self.now

    @precondition(lambda self: self.queue.running is not None)
    @rule(succeeds=st.booleans())
    def end(self, succeeds: bool) -> None:
        assert self.queue.running is not None
        capture = self.queue.running.capture
        assert capture not in self.ended
        served = [request for request in self.waiting if request.capture == capture]
        self.waiting = [request for request in self.waiting if request.capture != capture]
        if succeeds:
            self.queue.finish(f"snapshot {capture}")
            self.ended[capture] = f"snapshot {capture}"
            for request in served:
                assert self.began[capture] >= request.requested_at - request.max_age, "an image older than allowed"
        else:
            self.queue.fail()
            self.ended[capture] = "failed"

    @precondition(lambda self: self.queue.next_start() is None)
    @rule()
    def begin_out_of_turn(self) -> None:
        with pytest.raises(RuntimeError):
            self.queue.begin(self.now)

    @precondition(lambda self: self.queue.running is None)
    @rule()
    def end_without_one(self) -> None:
        with pytest.raises(RuntimeError):
            self.queue.finish("none")

    @invariant()
    def one_at_a_time(self) -> None:
        unfinished = set(self.began) - set(self.ended)
        assert len(unfinished) <= 1
        assert unfinished == ({self.queue.running.capture} if self.queue.running else set())

    @invariant()
    def every_request_waits_for_a_running_or_pending_capture(self) -> None:
        active = {self.queue.pending} | ({self.queue.running.capture} if self.queue.running else set())
        assert {request.capture for request in self.waiting} <= active


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
