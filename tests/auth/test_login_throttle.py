"""Delays after wrong passwords, with a made-up clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dog.auth.login_throttle import LoginThrottle

ACCOUNTS = ("anna", "ben", None)
ELSEWHERE = "198.51.100.{}"
ADDRESSES = ("192.0.2.1", "192.0.2.2", "2001:db8::1")


def try_until_refused(throttle: LoginThrottle, account: str | None, address: str, now: float = 0.0) -> int:
    """Return how many wrong passwords may be tried at one time."""
    count = 0
    while not throttle.seconds_left(account, address, now):
        throttle.count_attempt(account, address, now)
        count += 1
    return count


def delays(throttle: LoginThrottle, account: str, addresses: list[str], number: int) -> list[float]:
    """Return the delay after each wrong password, tried without a pause."""
    now, found = 0.0, []
    for index in range(number):
        throttle.count_attempt(account, addresses[index % len(addresses)], now)
        found.append(throttle.seconds_left(account, addresses[(index + 1) % len(addresses)], now))
        now += found[-1]
    return found


def test_wrong_passwords_after_the_free_ones_double_an_accounts_delay_up_to_a_minute() -> None:
    addresses = [f"192.0.2.{number}" for number in range(100)]
    assert delays(LoginThrottle(3), "anna", addresses, 12) == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_an_address_is_delayed_up_to_15_minutes_across_all_accounts() -> None:
    throttle, now, found = LoginThrottle(3), 0.0, []
    for number in range(15):
        throttle.count_attempt(f"user{number}", "192.0.2.1", now)
        found.append(throttle.seconds_left("anna", "192.0.2.1", now))
        now += found[-1]
    assert found == [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


def test_an_attempt_with_an_invalid_name_counts_only_for_the_address() -> None:
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
def test_addresses_of_one_network_share_a_count(one: str, other: str) -> None:
    throttle = LoginThrottle(1)
    throttle.count_attempt("anna", one, 0)
    assert throttle.seconds_left("ben", other, 0) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("2001:db8::1", "2001:db8:0:1::1"), ("192.0.2.1", "192.0.2.2"), ("::1", "127.0.0.1")]
)
def test_another_address_is_not_delayed(one: str, other: str) -> None:
    throttle = LoginThrottle(1)
    throttle.count_attempt("anna", one, 0)
    assert throttle.seconds_left("ben", other, 0) == 0


def test_an_hour_without_a_wrong_password_resets_the_count() -> None:
    throttle = LoginThrottle(1)
    for _ in range(50):
        throttle.count_attempt("anna", "192.0.2.1", 0)
    assert throttle.seconds_left("anna", "192.0.2.1", 0) == 900
    throttle.count_attempt("anna", "192.0.2.1", 3600)
    assert throttle.seconds_left("anna", "192.0.2.1", 3600) == 1


def test_forgotten_keys_take_no_memory() -> None:
    throttle = LoginThrottle(1)
    for number in range(100):
        throttle.count_attempt(f"user{number}", f"192.0.2.{number}", number)
    for number in range(100):
        throttle.count_attempt("anna", "198.51.100.1", 4000 + number)
    assert len(throttle) == 2


def test_only_the_last_keys_up_to_the_limit_are_remembered() -> None:
    throttle = LoginThrottle(1, max_keys=100)
    for number in range(1000):
        throttle.count_attempt(f"user{number}", f"10.0.{number // 250}.{number % 250}", 0)
    assert len(throttle) == 200
    assert [throttle.seconds_left(f"user{number}", "192.0.2.1", 0) for number in (899, 900, 999)] == [0, 1, 1]


def test_the_least_recently_tried_account_is_forgotten_first() -> None:
    throttle = LoginThrottle(1, max_keys=2)
    for number, name in enumerate(("anna", "ben", "anna", "carla")):
        throttle.count_attempt(name, ELSEWHERE.format(number), 0)
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
def test_no_sequence_of_attempts_exceeds_the_limits(
    free: int, attempts: list[tuple[str | None, str, float, bool]]
) -> None:
    throttle, now = LoginThrottle(free), 0.0
    counted: dict[object, list[float]] = {}
    known_networks: set[str] = set()
    for account, address, pause, is_correct in attempts:
        now += pause
        wait = throttle.seconds_left(account, address, now)
        expected = 0.0
        is_known = address in known_networks
        account_key = (account, address) if is_known and account is not None else account
        for key, longest in (account_key, 60.0), (address, 60.0 if is_known else 900.0):
            times = counted.setdefault(key, [])
            if times and now - times[-1] >= 3600:
                times.clear()
            if len(times) >= free and key is not None:
                expected = max(expected, times[-1] + min(longest, 2.0 ** (len(times) - free)) - now)
        assert wait == pytest.approx(expected)
        if wait:
            assert wait <= 900
            continue
        throttle.count_attempt(account, address, now)
        for each in account_key, address:
            counted[each].append(now)
        if is_correct and account is not None:
            throttle.record_success(account, address, now)
            counted[account_key].pop()
            counted[address].pop()
            known_networks.add(address)


def test_attempts_from_elsewhere_do_not_delay_a_user_in_a_known_network() -> None:
    throttle = LoginThrottle(2)
    throttle.count_attempt("anna", "192.0.2.1", 0)
    throttle.record_success("anna", "192.0.2.1", 0)
    for number in range(20):
        throttle.count_attempt("anna", ELSEWHERE.format(number), 100)
    assert throttle.seconds_left("anna", "192.0.2.1", 100) == 0
    assert throttle.seconds_left("anna", "192.0.2.2", 100) == 60
    for _ in range(3):
        throttle.count_attempt("anna", "192.0.2.1", 100)
    assert throttle.seconds_left("anna", "192.0.2.1", 100) == 2


def test_a_login_does_not_reset_the_addresss_attempts_on_other_accounts() -> None:
    throttle = LoginThrottle(3)
    for name in ("anna", "ben", "carla"):
        throttle.count_attempt(name, "192.0.2.1", 0)
    throttle.count_attempt("me", "192.0.2.1", 0)
    throttle.record_success("me", "192.0.2.1", 0)
    assert throttle.seconds_left("dora", "192.0.2.1", 0) == 1


def test_correct_passwords_do_not_delay_their_address() -> None:
    throttle = LoginThrottle(1)
    for number in range(20):
        throttle.count_attempt("anna", "192.0.2.1", number)
    assert throttle.seconds_left("ben", "192.0.2.1", 19) == 900
    for name in ("ben", "carla", "dora"):
        assert throttle.seconds_left(name, "192.0.2.1", 1000) == 0
        throttle.count_attempt(name, "192.0.2.1", 1000)
        throttle.record_success(name, "192.0.2.1", 1000)
    throttle.count_attempt("emil", "192.0.2.1", 1000)
    assert throttle.seconds_left("frank", "192.0.2.1", 1000) == 60, "a network with users"


def test_a_wrong_password_during_a_correct_attempt_counts_from_its_own_time() -> None:
    throttle = LoginThrottle(1)
    throttle.count_attempt("me", "192.0.2.1", 0)
    throttle.count_attempt("anna", "192.0.2.1", 0.5)
    throttle.record_success("me", "192.0.2.1", 0)
    assert throttle.seconds_left("ben", "192.0.2.1", 0.5) == 1


@pytest.mark.parametrize("attacked", ["anna", "ben", "nobody"])
@pytest.mark.parametrize("from_address", ["192.0.2.1", "192.0.2.2"])
def test_no_delay_depends_on_the_user_who_has_logged_in_from_the_network(attacked: str, from_address: str) -> None:
    """Anna's login, before or after an attack, changes all accounts alike."""
    for at in 0, 25:
        throttle = LoginThrottle(1)
        for now in range(30):
            if now == at:
                throttle.count_attempt("anna", "192.0.2.1", now)
                throttle.record_success("anna", "192.0.2.1", now)
            throttle.count_attempt(attacked, from_address, now)
        waits = {
            address: [throttle.seconds_left(name, address, 29) for name in ("anna", "ben", "nobody", "zed")]
            for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3")
        }
        assert max(waits["192.0.2.1"]) <= 60, "the longest that a user waits at home"
        index = ("anna", "ben", "nobody", "zed").index(attacked)
        others = {address: {wait for n, wait in enumerate(each) if n != index} for address, each in waits.items()}
        assert all(len(each) == 1 for each in others.values()), others
