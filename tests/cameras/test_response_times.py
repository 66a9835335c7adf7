"""Times in the heads of responses, and clocks of cameras."""

from email.message import Message
from email.utils import formatdate

import pytest

from dog.cameras.response_times import CameraClock, latest_exposure

NOW = 1_800_000_000.25
WHOLE = 1_800_000_000.0


def find(**headers: str) -> float | None:
    message = Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return latest_exposure(message, oldest=NOW - 60, received=NOW)


def date(seconds: float) -> str:
    return formatdate(WHOLE + seconds, usegmt=True)


def test_a_timestamp_is_the_time_of_the_exposure() -> None:
    assert find(X_Timestamp=f"{NOW - 3.5:.6f}") == pytest.approx(NOW - 3.5)


def test_an_age_counts_from_the_response() -> None:
    assert find(Age="7") == NOW - 7
    assert find(Age="0") == NOW


def test_a_modification_was_before_the_end_of_its_second() -> None:
    assert find(Last_Modified=date(-9)) == WHOLE - 8
    assert find(Last_Modified=date(0)) is None  # perhaps after the press


def test_a_modification_is_compared_with_the_camera_s_own_clock() -> None:
    assert find(Last_Modified=date(-5000), Date=date(-4990)) == NOW - 9
    assert find(Last_Modified=date(5), Date=date(12)) == NOW - 6


def test_the_earliest_time_counts() -> None:
    assert find(Age="2", X_Timestamp=str(NOW - 5), Last_Modified=date(-4)) == NOW - 5


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_Timestamp": str(NOW - 61)},
        {"X_Timestamp": str(NOW + 1)},
        {"X_Timestamp": "4711.5"},
        {"X_Timestamp": "soon"},
        {"X_Timestamp": "1" * 400},
        {"Age": "86400"},
        {"Age": "-1"},
        {"Last_Modified": date(-3600)},
        {"Last_Modified": date(9)},
        {"Last_Modified": "yesterday"},
        {"Last_Modified": "Mon, 99 Jan 99999 00:00:00 GMT"},
        {"Last_Modified": ""},
    ],
)
def test_other_times_are_ignored(headers: dict[str, str]) -> None:
    assert find(**headers) is None


def test_a_clock_that_was_never_set_shows_the_age_of_an_image() -> None:
    clock = CameraClock()
    for received, stamp in ((100.0, 7.0), (100.3, 7.2), (100.5, 7.5)):  # the shortest delay is 93 s
        assert clock.latest_exposure(stamp, received) <= received
    assert clock.latest_exposure(7.7, 160.0) == pytest.approx(100.7, abs=0.1)
    assert clock.latest_exposure(67.0, 160.2) == pytest.approx(160.0, abs=0.1)


def test_a_fresh_image_counts_as_fresh_although_its_clock_drifts() -> None:
    clock = CameraClock()
    for hour in range(50):
        received = 3600.0 * hour
        assert clock.latest_exposure(1 + received * 0.9995, received) == pytest.approx(received, abs=0.01)


@pytest.mark.parametrize("stamp", [0.5, 9.0])
def test_a_clock_that_stands_still_or_begins_again_shows_nothing(stamp: float) -> None:
    clock = CameraClock()
    clock.latest_exposure(9.0, 100.0)
    assert clock.latest_exposure(stamp, 200.0) == 200.0
