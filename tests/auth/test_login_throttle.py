"""Who may try a password now, with a clock of our own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dog.auth.login_throttle import LoginThrottle

ACCOUNTS = ("anna", "ben", None)
ELSEWHERE = "198.51.100.{}"
ADDRESSES = ("192.0.2.1", "192.0.2.2", "2001:db8::1")


def try_until_refused(throttle: LoginThrottle, account: str | None, address: str, now: float = 0.0) -> int:
    """How many wrong passwords are looked at in one moment."""
    count = 0
    while not throttle.seconds_left(account, address, now):
        throttle.count(account, address, now)
        count += 1
    return count


def waits(throttle: LoginThrottle, account: str, addresses: list[str], number: int) -> list[float]:
    """How long each wrong password makes the next one wait, where each comes as soon as it may."""
    now, found = 0.0, []
    for index in range(number):
        throttle.count(account, addresses[index % len(addresses)], now)
        found.append(throttle.seconds_left(account, addresses[(index + 1) % len(addresses)], now))
        now += found[-1]
    return found


def test_wrong_passwords_are_free_at_first_and_then_each_doubles_the_wait_up_to_a_minute_for_an_account() -> None:
    addresses = [f"192.0.2.{number}" for number in range(100)]
    assert waits(LoginThrottle(3), "anna", addresses, 12) == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_an_address_waits_up_to_a_quarter_of_an_hour_whatever_accounts_it_tries() -> None:
    throttle, now, found = LoginThrottle(3), 0.0, []
    for number in range(15):
        throttle.count(f"user{number}", "192.0.2.1", now)
        found.append(throttle.seconds_left("anna", "192.0.2.1", now))
        now += found[-1]
    assert found == [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


def test_names_that_nobody_can_have_count_for_the_address_alone() -> None:
    throttle = LoginThrottle(3)
    assert try_until_refused(throttle, None, "192.0.2.1") == 3
    assert try_until_refused(throttle, None, "192.0.2.2") == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("fe80::1%eth0", "fe80::2%eth1"),
        ("", "no address"),
    ],
)
def test_who_has_one_address_of_a_network_has_them_all(one: str, other: str) -> None:
    throttle = LoginThrottle(1)
    throttle.count("anna", one, 0)
    assert throttle.seconds_left("ben", other, 0) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("2001:db8::1", "2001:db8:0:1::1"), ("192.0.2.1", "192.0.2.2"), ("::1", "127.0.0.1")]
)
def test_another_address_does_not_wait(one: str, other: str) -> None:
    throttle = LoginThrottle(1)
    throttle.count("anna", one, 0)
    assert throttle.seconds_left("ben", other, 0) == 0


def test_an_hour_without_a_wrong_password_makes_good_for_all_before() -> None:
    throttle = LoginThrottle(1)
    for _ in range(50):
        throttle.count("anna", "192.0.2.1", 0)
    assert throttle.seconds_left("anna", "192.0.2.1", 0) == 900
    throttle.count("anna", "192.0.2.1", 3600)
    assert throttle.seconds_left("anna", "192.0.2.1", 3600) == 1


def test_what_is_forgotten_takes_no_memory() -> None:
    throttle = LoginThrottle(1)
    for number in range(100):
        throttle.count(f"user{number}", f"192.0.2.{number}", number)
    for number in range(100):
        throttle.count("anna", "198.51.100.1", 4000 + number)
    assert len(throttle) == 2


def test_however_many_come_only_so_many_are_remembered_and_the_last_ones_are() -> None:
    throttle = LoginThrottle(1, max_keys=100)
    for number in range(1000):
        throttle.count(f"user{number}", f"10.0.{number // 250}.{number % 250}", 0)
    assert len(throttle) == 200
    assert [throttle.seconds_left(f"user{number}", "192.0.2.1", 0) for number in (899, 900, 999)] == [0, 1, 1]


def test_whose_last_wrong_password_is_the_oldest_is_forgotten_first() -> None:
    throttle = LoginThrottle(1, max_keys=2)
    for number, name in enumerate(("anna", "ben", "anna", "carla")):
        throttle.count(name, ELSEWHERE.format(number), 0)
    assert [throttle.seconds_left(name, "192.0.2.1", 0) for name in ("anna", "ben", "carla")] == [2, 0, 1]


@given(
    free=st.integers(1, 4),
    attempts=st.lists(
        st.tuples(
            st.sampled_from(ACCOUNTS),
            st.sampled_from(ADDRESSES),
            st.sampled_from((0.0, 0.5, 1.0, 2.0, 5.0, 70.0, 1000.0, 4000.0)),
            st.booleans(),
        ),
        max_size=60,
    ),
)
def test_no_way_of_trying_gets_more_passwords_looked_at_than_is_promised(
    free: int, attempts: list[tuple[str | None, str, float, bool]]
) -> None:
    throttle, now = LoginThrottle(free), 0.0
    counted: dict[object, list[float]] = {}
    homes: set[tuple[str | None, str]] = set()
    for account, address, pause, right in attempts:
        now += pause
        wait = throttle.seconds_left(account, address, now)
        expected = 0.0
        is_home = (account, address) in homes
        of_account = (account, address) if is_home else account
        for key, longest in (of_account, 60.0), (address, 900.0):
            times = counted.setdefault(key, [])
            if times and now - times[-1] >= 3600:
                times.clear()
            if len(times) >= free and key is not None and not (is_home and key == address):
                expected = max(expected, times[-1] + min(longest, 2.0 ** (len(times) - free)) - now)
        assert wait == pytest.approx(expected)
        if wait:
            assert wait <= 900
            continue
        throttle.count(account, address, now)
        for each in of_account, address:
            counted[each].append(now)
        if right and account is not None:
            throttle.record_success(account, address, now)
            counted[of_account].clear()
            counted[address].pop()
            homes.add((account, address))


def test_who_has_logged_in_from_a_place_is_not_kept_out_there_by_what_others_try_elsewhere() -> None:
    throttle = LoginThrottle(2)
    throttle.count("anna", "192.0.2.1", 0)
    throttle.record_success("anna", "192.0.2.1", 0)
    for number in range(20):
        throttle.count("anna", ELSEWHERE.format(number), 100)
    assert throttle.seconds_left("anna", "192.0.2.1", 100) == 0
    assert throttle.seconds_left("anna", "192.0.2.2", 100) == 60
    for _ in range(3):
        throttle.count("anna", "192.0.2.1", 100)
    assert throttle.seconds_left("anna", "192.0.2.1", 100) == 2


def test_who_has_an_account_does_not_take_back_what_they_tried_of_others() -> None:
    throttle = LoginThrottle(3)
    for name in ("anna", "ben", "carla"):
        throttle.count(name, "192.0.2.1", 0)
    throttle.count("me", "192.0.2.1", 0)
    throttle.record_success("me", "192.0.2.1", 0)
    assert throttle.seconds_left("dora", "192.0.2.1", 0) == 1


def test_right_passwords_make_nobody_of_their_address_wait() -> None:
    throttle = LoginThrottle(1)
    for number in range(20):
        throttle.count("anna", "192.0.2.1", number)
    assert throttle.seconds_left("ben", "192.0.2.1", 19) == 900
    for name in ("ben", "carla", "dora"):
        assert throttle.seconds_left(name, "192.0.2.1", 1000) == 0
        throttle.count(name, "192.0.2.1", 1000)
        throttle.record_success(name, "192.0.2.1", 1000)
    throttle.count("emil", "192.0.2.1", 1000)
    assert throttle.seconds_left("frank", "192.0.2.1", 1000) == 900


def test_a_wrong_password_while_a_right_one_is_looked_at_counts_from_when_it_was_tried() -> None:
    throttle = LoginThrottle(1)
    throttle.count("me", "192.0.2.1", 0)
    throttle.count("anna", "192.0.2.1", 0.5)
    throttle.record_success("me", "192.0.2.1", 0)
    assert throttle.seconds_left("ben", "192.0.2.1", 0.5) == 1


def test_what_a_neighbour_tries_keeps_nobody_out_who_has_logged_in_from_there() -> None:
    throttle = LoginThrottle(1)
    throttle.count("anna", "192.0.2.1", 0)
    throttle.record_success("anna", "192.0.2.1", 0)
    for number in range(20):
        throttle.count("nobody", "192.0.2.1", number)
    assert throttle.seconds_left("anna", "192.0.2.1", 19) == 0
    assert throttle.seconds_left("ben", "192.0.2.1", 19) == 900
