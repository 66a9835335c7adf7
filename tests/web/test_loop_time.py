"""The event loop's time, shared between addresses, with a fake clock."""

import asyncio
import functools
import time
from collections.abc import Callable

import pytest

from dog.web.loop_time import MAX_ADDRESSES, LoopTime, Stopwatch
from tests.support.hand_clock import MonotonicClock

FLOOD, OTHER = "192.0.2.7", "192.0.2.8"


class Work:
    """A turn that records what was charged for it."""

    def __init__(self) -> None:
        self.charged: list[float] = []

    def take_turn(self, charged_ms: float) -> None:
        self.charged.append(charged_ms)


class Machine:
    """The time of a loop, with a clock and timers that a test moves on."""

    def __init__(self) -> None:
        self.clock = MonotonicClock()
        self.time = LoopTime(self.clock, self._call_later)
        self._timers: dict[Callable[[], None], float] = {}

    def _call_later(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        self._timers[call] = self.clock.now + seconds
        return functools.partial(self._timers.__delitem__, call)

    def advance(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self._timers and min(self._timers.values()) <= end:
            call = min(self._timers, key=lambda timer: self._timers[timer])
            self.clock.now = max(self.clock.now, self._timers.pop(call))
            call()
        self.clock.now = end

    def queue(self, address: str | None, count: int, ms: float) -> list[Work]:
        works = [Work() for _ in range(count)]
        for work in works:
            self.time.request_turn(address, work, ms)
        return works


def count_taken(works: list[Work]) -> int:
    return sum(len(work.charged) for work in works)


def test_an_address_that_is_alone_uses_nearly_all_the_time() -> None:
    machine = Machine()
    works = machine.queue(FLOOD, 10_000, 1.0)
    machine.advance(4)
    assert 3300 < count_taken(works) < 3700
    assert works[0].charged == [1.0]


def test_an_address_has_a_share_while_another_is_active() -> None:
    machine = Machine()
    works = machine.queue(FLOOD, 10_000, 0.5)
    for _ in range(16):
        machine.time.note_activity(FLOOD)
        machine.time.note_activity(OTHER)
        machine.time.note_activity(FLOOD)
        machine.advance(0.25)
    assert 2200 < count_taken(works) < 2500, "300 ms of each of four seconds"


@pytest.mark.parametrize("other", [OTHER, None])
def test_the_share_ends_a_second_after_the_last_activity_of_another_address(other: str | None) -> None:
    machine = Machine()
    machine.time.note_activity(other)
    works = machine.queue(FLOOD, 10_000, 1.0)
    machine.advance(3)
    assert 1900 < count_taken(works) < 2200


def test_an_address_has_a_share_while_a_photo_is_taken() -> None:
    machine = Machine()
    machine.time.is_capturing = lambda: True
    works = machine.queue(FLOOD, 10_000, 1.0)
    machine.advance(5)
    assert 1400 < count_taken(works) < 1600


def test_two_floods_do_not_delay_a_third_address_or_this_machine() -> None:
    machine = Machine()
    floods = machine.queue(FLOOD, 500, 3.0) + machine.queue(OTHER, 500, 3.0)
    machine.advance(0.1)
    assert count_taken(floods) < 100
    assert count_taken(machine.queue("2001:db8::/64", 1, 0.1) + machine.queue(None, 50, 10.0)) == 51


def test_the_time_of_a_request_is_charged_at_its_end_and_expected_of_the_next() -> None:
    machine = Machine()
    (first,) = machine.queue(FLOOD, 1, 0.0)
    for _ in range(5):
        machine.advance(10)
        machine.time.begin_request(FLOOD, first)
        machine.time.end_request(FLOOD, first.charged[-1], 0.04)
    assert first.charged[-1] > 30
    (late,) = machine.queue(FLOOD, 1, 0.0)
    assert late.charged == [], "40 ms were used"
    machine.advance(1)
    assert late.charged == [0.0]


def test_a_cancelled_turn_is_not_taken_nor_charged() -> None:
    machine = Machine()
    works = machine.queue(FLOOD, 20, 7.0)
    for work in works[1:-1]:
        machine.time.cancel(FLOOD, work)
    machine.advance(0.1)
    assert [len(work.charged) for work in (works[0], works[1], works[-1])] == [1, 0, 1]


def test_turns_are_taken_in_order_also_those_that_a_turn_requests() -> None:
    machine = Machine()
    order: list[int] = []

    class Chain:
        def __init__(self, number: int) -> None:
            self.number = number

        def take_turn(self, _charged_ms: float) -> None:
            order.append(self.number)
            if self.number < 1000:
                machine.time.request_turn(FLOOD, Chain(self.number + 100), 0.01)

    machine.queue(FLOOD, 1, 10.0)
    for number in range(100):
        machine.time.request_turn(FLOOD, Chain(number), 0.01)
    machine.advance(1)
    assert sorted(order) == order
    assert len(order) == 1100


def test_the_number_of_addresses_is_limited_and_those_that_wait_are_remembered() -> None:
    machine = Machine()
    waiting = machine.queue(FLOOD, 3, 100.0)
    for number in range(2 * MAX_ADDRESSES):
        machine.queue(f"198.51.{number // 256}.{number % 256}", 1, 0.1)
    assert len(machine.time._accounts) <= MAX_ADDRESSES + 1
    machine.advance(1)
    assert count_taken(waiting) == 3


async def test_a_stopwatch_measures_the_steps_of_a_coroutine_and_not_its_waits() -> None:
    def block(seconds: float) -> None:
        time.sleep(seconds)

    async def work() -> str:
        block(0.02)
        await asyncio.sleep(0.2)
        block(0.03)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        return "done"

    stopwatch, began = Stopwatch(), time.perf_counter()
    assert await stopwatch.time(work()) == "done"
    elapsed = time.perf_counter() - began
    assert 0.05 <= stopwatch.reset() <= elapsed - 0.2
    assert stopwatch.seconds == 0.0
