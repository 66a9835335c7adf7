"""Doubts about the wall clock, and their end, with clocks set by hand."""

import ctypes
import datetime as dt
import logging
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from dog import clock as clock_module
from dog.clock import Clock, Doubt, is_synchronised
from tests.support.hand_clock import DAY, NOW, HandClock
from tests.support.server_process import ROOT

JUMPS = [-16_000, -3, -1.01, 1.01, 2.5, 16_000]


def start(hand_clock: HandClock, remembered: dt.datetime | None = NOW) -> Clock:
    clock = hand_clock.make()
    clock.start(remembered)
    return clock


@pytest.mark.parametrize("days", [-0.99, -0.1, 0, 0.1, 0.99])
def test_a_clock_that_differs_by_less_than_a_day_is_trusted(hand_clock: HandClock, days: float) -> None:
    hand_clock.jump(days)
    clock = start(hand_clock)
    assert clock.check() is None
    assert clock.trusted_now() == hand_clock.now


def test_photos_age_while_the_service_is_off(hand_clock: HandClock) -> None:
    hand_clock.jump(0.9)
    assert start(hand_clock).deletion_time() == hand_clock.now


@pytest.mark.parametrize("days", JUMPS)
def test_a_jump_between_two_starts_is_a_doubt_until_the_clock_is_set_back(hand_clock: HandClock, days: float) -> None:
    hand_clock.jump(days)
    clock = start(hand_clock)
    doubt = clock.check()
    assert doubt == Doubt(hand_clock.now, NOW)
    assert (clock.trusted_now(), clock.deletion_time()) == (None, None)
    hand_clock.pass_time(40 * DAY)
    assert clock.check() == doubt
    hand_clock.jump(-days)
    assert clock.check() is None
    assert clock.deletion_time() == hand_clock.now == NOW + 40 * DAY


@pytest.mark.parametrize("days", JUMPS)
def test_a_jump_at_run_time_is_a_doubt_until_the_clock_is_set_back(hand_clock: HandClock, days: float) -> None:
    clock = start(hand_clock)
    hand_clock.pass_time(200 * DAY)
    assert clock.check() is None
    hand_clock.jump(days)
    assert clock.check() is not None
    assert clock.deletion_time() is None
    hand_clock.jump(-days)
    assert clock.deletion_time() == hand_clock.now


def test_small_steps_add_up_to_a_jump(hand_clock: HandClock) -> None:
    clock = start(hand_clock)
    for _ in range(3):
        assert clock.check() is None
        hand_clock.jump(0.45)
    assert clock.check() is not None


def test_the_clock_is_trusted_after_a_suspend(hand_clock: HandClock) -> None:
    clock = start(hand_clock)
    hand_clock.pass_time(9 * DAY)
    assert clock.deletion_time() == hand_clock.now


@pytest.mark.parametrize("days", [-3, 16_000])
def test_a_synchronised_kernel_clock_ends_or_prevents_a_doubt(hand_clock: HandClock, days: float) -> None:
    hand_clock.jump(days)
    clock = start(hand_clock)
    assert clock.check() is not None
    hand_clock.synchronised = True
    assert clock.check() is None
    assert clock.deletion_time() == hand_clock.now
    assert start(hand_clock).deletion_time() == hand_clock.now
    hand_clock.synchronised = False
    assert clock.check() is None, "the new time is expected from now on"


def test_a_small_jump_ahead_makes_nothing_older_unless_the_kernel_confirms_it(hand_clock: HandClock) -> None:
    clock = start(hand_clock)
    hand_clock.jump(0.8)
    assert clock.trusted_now() == hand_clock.now
    assert clock.deletion_time() == NOW
    hand_clock.synchronised = True
    assert clock.deletion_time() == hand_clock.now


def test_a_person_confirms_the_doubt_that_was_shown_and_no_later_one(hand_clock: HandClock) -> None:
    clock = start(hand_clock)
    hand_clock.jump(50)
    seen = clock.check()
    assert seen is not None
    hand_clock.jump(50)
    later = clock.check()
    assert later is not None
    assert later != seen
    assert not clock.confirm(seen)
    assert clock.check() == later
    assert clock.confirm(later)
    assert clock.deletion_time() == hand_clock.now
    assert not clock.confirm(later), "no doubt is left"
    hand_clock.jump(-50)
    assert clock.check() is not None


@pytest.mark.parametrize("now", ["1970-01-01T00:04:00Z", "2025-12-31T23:59:59Z"])
def test_a_clock_before_the_project_is_always_in_doubt(hand_clock: HandClock, now: str) -> None:
    hand_clock.now = dt.datetime.fromisoformat(now)
    hand_clock.synchronised = True
    for remembered in (None, hand_clock.now):
        clock = start(hand_clock, remembered)
        doubt = clock.check()
        assert doubt is not None
        assert not clock.confirm(doubt)
        assert "purge" not in doubt.advice


def test_without_a_stored_time_any_plausible_time_is_trusted(hand_clock: HandClock) -> None:
    hand_clock.now = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    clock = start(hand_clock, None)
    assert clock.deletion_time() is None
    hand_clock.now = NOW
    assert clock.deletion_time() == NOW
    hand_clock.jump(400)
    assert clock.check() is not None


def test_a_doubt_and_its_end_are_logged_once_each(hand_clock: HandClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dog.clock")
    hand_clock.jump(16_000)
    clock = start(hand_clock)
    for _ in range(3):
        clock.check()
        hand_clock.pass_time(DAY)
    (line,) = caplog.messages
    for part in ("2070-09-10 12:00 UTC", "2026-11-20 12:00 UTC was expected", "Nothing is deleted", "purge --confirm"):
        assert part in line
    hand_clock.synchronised = True
    clock.check()
    clock.check()
    assert len(caplog.messages) == 2
    assert "the kernel reports" in caplog.messages[1]


# ---- the real clocks


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has adjtimex")
def test_is_synchronised_agrees_with_ntp_gettime() -> None:
    state = ctypes.CDLL(None).ntp_gettime(ctypes.create_string_buffer(1024))
    assert is_synchronised() == (0 <= state < 5)


@pytest.mark.parametrize(("state", "expected"), [(-1, False), (0, True), (1, True), (4, True), (5, False)])
def test_is_synchronised_evaluates_the_return_value(
    monkeypatch: pytest.MonkeyPatch, state: int, expected: bool
) -> None:
    timex_calls: list[bytes] = []

    def adjtimex(timex: "ctypes.Array[ctypes.c_char]") -> int:
        timex_calls.append(timex.raw)
        return state

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace(adjtimex=adjtimex))
    assert is_synchronised() is expected
    assert not any(timex_calls[0]), "a query has modes = 0"


def test_is_synchronised_is_false_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())
    assert not is_synchronised()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not is_synchronised()


def test_elapsed_time_includes_suspended_time() -> None:
    """A time namespace sets CLOCK_BOOTTIME ahead, as a suspend does."""
    program = "import time; from dog.clock import seconds_since_boot as boot; print(boot() - time.monotonic())"
    slept = 3 * 86400
    command = ["unshare", "--time", "--boottime", str(slept), sys.executable, "-c", program]
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no time namespace can be made here: {error}")
    real = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    assert float(ended.stdout) == pytest.approx(real + slept, abs=60)


def test_the_real_clock_is_trusted_by_itself() -> None:
    clock = Clock()
    clock.start(clock_module.utc_now())
    assert clock.check() is None
