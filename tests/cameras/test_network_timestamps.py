"""Freshness: the computed start of an exposure is never too late."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dog.cameras.network_timestamps import MAX_CLOCK_DRIFT, UNKNOWN_START, StampedFrames, UnstampedFrames

BASE = 0.02
"""The shortest network delay, in seconds."""


def travel(made: Sequence[float], delays: Sequence[float]) -> list[float]:
    """Return the arrival times of frames. They arrive in order."""
    arrivals: list[float] = []
    for moment, delay in zip(made, delays, strict=True):
        arrivals.append(max(moment + BASE + delay, arrivals[-1] if arrivals else -math.inf))
    return arrivals


def date_all(arrivals: Sequence[float], stamps: Sequence[float], latency: float = BASE) -> list[float]:
    dates = StampedFrames(latency)
    return [dates.exposure_start(arrival, stamp) for arrival, stamp in zip(arrivals, stamps, strict=True)]


@given(
    rate=st.sampled_from([1, 5, 15, 30]),
    delays=st.lists(st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0, 4)), min_size=10, max_size=120),
    base=st.floats(-1e6, 1e6),
    skew=st.floats(-MAX_CLOCK_DRIFT / 10, MAX_CLOCK_DRIFT / 10),
)
def test_with_timestamps_no_frame_counts_as_newer_than_it_is(
    rate: int, delays: list[float], base: float, skew: float
) -> None:
    quick = max(3, rate)  # frames with the shortest delay, at the start
    delays = [0.0] * quick + delays
    made = [number / rate for number in range(len(delays))]
    arrivals = travel(made, delays)
    stamps = [base + moment * (1 + skew) for moment in made]
    for moment, exposure_start in zip(made, date_all(arrivals, stamps), strict=True):
        # An exposure may start a whole interval before the frame is made. Jitter makes the interval inexact.
        assert exposure_start <= moment - 3 / 4 / rate + MAX_CLOCK_DRIFT * (arrivals[-1] - arrivals[0])


@given(rate=st.sampled_from([5, 15, 30]), backlog=st.integers(1, 60), speed=st.floats(3, 1000))
def test_with_timestamps_frames_stored_before_the_opening_are_never_new(rate: int, backlog: int, speed: float) -> None:
    interval = 1 / rate
    opened = backlog * interval
    made = [number * interval for number in range(backlog + 3 * rate)]
    arrivals: list[float] = []
    for number, moment in enumerate(made):
        arrivals.append(max(moment + BASE, opened + number * interval / speed))
    for moment, exposure_start in zip(made, date_all(arrivals, made), strict=True):
        assert exposure_start <= moment - interval + interval / 4 + 1e-6


@given(rate=st.sampled_from([5, 15, 30]), stall=st.floats(0.2, 4), pause=st.integers(1, 90))
def test_with_timestamps_a_burst_after_a_stall_is_old_and_the_next_frame_is_new(
    rate: int, stall: float, pause: int
) -> None:
    interval = 1 / rate
    made = [number * interval for number in range(2 * rate + pause + int(6 * rate))]
    begin = made[2 * rate + pause]
    arrivals = [begin + stall + BASE if begin <= moment < begin + stall else moment + BASE for moment in made]
    dates = date_all(arrivals, made)
    for moment, exposure_start in zip(made[2 * rate :], dates[2 * rate :], strict=True):
        assert (
            moment - 2 * interval - MAX_CLOCK_DRIFT * 10 <= exposure_start <= moment - interval + MAX_CLOCK_DRIFT * 10
        )


Clock = Callable[[float], float]
"""The timestamp of a frame made at that time."""

CLOCKS: dict[str, Clock] = {
    "right": lambda made: made,
    "half as fast": lambda made: made * 0.5,
    "7 % slow": lambda made: made * 0.93,
    "3 % fast": lambda made: made * 1.03,
    "14 % fast": lambda made: made * 1.14,
    "twice as fast": lambda made: made * 2,
    "set back by a day": lambda made: made - 86400 * (made > 6),
    "set back a little": lambda made: made - 0.6 * (made > 6),
    "set forward a little": lambda made: made + 0.6 * (made > 6),
    "set back again and again": lambda made: made - 0.4 * (made // 4),
    "standing still": lambda made: 77.0,
    "slower by night": lambda made: min(made, 6) + max(0, made - 6) * 0.55,
    "faster by day": lambda made: min(made, 6) * 0.55 + max(0, made - 6),
}


def find_dates(clock: str, stall: float = 0.0, rate: int = 10) -> list[tuple[float, float]]:
    """Return when each frame was made, and the date that it gets.

    The network stalls 12 s after the first one, and then sends all frames at once.
    """
    random = Random(clock)
    made = [number / rate for number in range(20 * rate)]
    delays = [max(12 + stall - moment, 0) if moment >= 12 else random.uniform(0, 0.02) for moment in made]
    return list(zip(made, date_all(travel(made, delays), [CLOCKS[clock](moment) for moment in made]), strict=True))


@pytest.mark.parametrize("clock", CLOCKS)
def test_frames_of_any_clock_are_dated_within_a_frame_interval(clock: str) -> None:
    dates = find_dates(clock)
    assert {date for made, date in dates if made < 0.4} == {UNKNOWN_START}
    for made, date in dates:
        settled = made > 1.5 and not 6 <= made <= 8  # from 6 on, some clocks change
        if settled and "again" not in clock:
            assert made - 0.1 - 0.03 <= date
        assert date <= made - 0.1 + 0.03
    served = [made for made, date in dates if date > made - 0.2]
    assert max(later - earlier for earlier, later in pairwise(served)) <= 2  # so long waits a press


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("stall", [0.4, 1.7])
def test_frames_of_any_clock_that_a_stall_delayed_are_known(clock: str, stall: float) -> None:
    dates = find_dates(clock, stall)
    assert all(date <= made - 0.05 for made, date in dates)
    assert any(made - 0.2 <= date for made, date in dates if 12 + stall <= made <= 12 + stall + 1.5)


@pytest.mark.parametrize("rate", [4, 30])
@pytest.mark.parametrize("clock", ["right", "7 % slow", "14 % fast", "standing still"])
def test_a_frame_rate_may_change(rate: int, clock: str) -> None:
    made = [number / 12 for number in range(120)] + [10 + number / rate for number in range(10 * rate)]
    delays = [0.01] * len(made)
    dates = date_all(travel(made, delays), [CLOCKS[clock](moment) for moment in made], BASE + 0.01)
    for moment, date in zip(made, dates, strict=True):
        interval = 1 / rate if moment > 13 else 1 / 12
        if moment > 13:
            assert moment - interval - 0.03 <= date
        assert date <= moment - min(interval, 1 / rate) + 0.03


def test_frames_at_long_intervals_are_dated_from_the_second_one_on() -> None:
    dates = date_all([number * 10 + BASE for number in range(9)], [number * 10 for number in range(9)])
    assert dates[0] == UNKNOWN_START
    for number in range(1, 9):
        assert dates[number] == pytest.approx(number * 10 - 10, abs=0.2)


@pytest.mark.parametrize("skew", [-2e-4, 2e-4])
def test_a_drifting_camera_clock_is_followed_for_hours(skew: float) -> None:
    made = [float(number) for number in range(3 * 3600)]
    dates = date_all([moment + BASE for moment in made], [moment * (1 + skew) for moment in made])
    for moment, exposure_start in zip(made[10:], dates[10:], strict=True):
        assert exposure_start == pytest.approx(moment - 1, abs=0.01)


def test_reordered_frames_are_timed_by_their_own_timestamps() -> None:
    order = [0] + [number for first in range(1, 88, 3) for number in (first + 2, first, first + 1)]
    dates = StampedFrames(BASE)
    now = 0.0
    for number in order:
        now = max(now, (number + 2) / 25 + BASE)
        exposure_start = dates.exposure_start(now, number / 25)
    assert dates.lag <= 3 / 25
    assert number / 25 - 0.5 <= exposure_start <= (number + 2) / 25


def test_lag_is_the_delay_beyond_the_shortest_one() -> None:
    dates = StampedFrames()
    for number in range(30):
        dates.exposure_start(number / 10, number / 10)
    assert dates.lag == pytest.approx(0, abs=1e-9)
    dates.exposure_start(9.0, 3.0)
    assert dates.lag == pytest.approx(6, abs=0.1)


@given(
    rate=st.sampled_from([5, 15, 30]),
    stall=st.floats(0.1, 2),
    held=st.booleans(),
)
def test_without_timestamps_frames_delayed_by_a_stall_are_never_new(rate: int, stall: float, held: bool) -> None:
    interval = 1 / rate
    made = [number * interval for number in range(10 * rate)]
    begin = made[3 * rate]
    if not held:  # the camera made no frames
        made = [moment for moment in made if not begin <= moment < begin + stall]
    arrivals = [begin + stall + BASE if begin <= moment < begin + stall else moment + BASE for moment in made]
    dates = UnstampedFrames(BASE)
    found = [dates.exposure_start(arrival) for arrival in arrivals]
    for moment, exposure_start in zip(made, found, strict=True):
        assert exposure_start <= moment - interval + 1e-6 or exposure_start <= moment - stall + 1e-6
    assert found[0] == UNKNOWN_START
    assert found[-1] == pytest.approx(made[-1] - interval, abs=1e-6)


def test_without_timestamps_the_first_half_second_is_unknown() -> None:
    dates = UnstampedFrames()
    found = [dates.exposure_start(number * 0.001) for number in range(400)]
    assert set(found) == {UNKNOWN_START}
