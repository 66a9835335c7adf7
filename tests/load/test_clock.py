"""Jumps of the wall clock by an hour: order, dead time and max_age hold."""

import datetime as dt
import itertools
import json
import os
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dog.protocol import parse_timestamp
from tests.conftest import Serve
from tests.support.pushes import read_until, watch
from tests.support.server_process import ServerProcess

HOUR_SECONDS = 3600
DEAD_TIME_SECONDS = 60.0
"""Longer than a test takes."""
TOLERANCE = dt.timedelta(minutes=10)
"""Times that differ by less are equal in these tests."""


class WallClock:
    """A server's wall clock that the test sets.

    libfaketime reads the difference from a file each time.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.difference = 0

    @property
    def environment(self) -> dict[str, str]:
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        if not libraries:
            pytest.skip("libfaketime is not installed (Debian's package libfaketime)")
        return {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, difference: int) -> None:
        """Set the difference to the real time, in seconds."""
        self.difference = difference
        temp_path = self._file.with_suffix(".new")
        temp_path.write_text(f"{difference:+}\n")
        os.replace(temp_path, self._file)

    def is_now(self, times: str) -> bool:
        now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.difference)
        return abs(parse_timestamp(times) - now) < TOLERANCE


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    clock = WallClock(tmp_path)
    clock.set(0)
    return clock


def press(server: ServerProcess, max_age: float) -> list[dict[str, Any]]:
    """Return the messages to a new viewer: hello and reply.

    If its capture starts at once, both events follow.
    """
    with watch(server) as viewer:
        times = [json.loads(viewer.recv(timeout=20))]
        viewer.send(json.dumps({"type": "capture", "max_age": max_age}))
        times.append(read_until(viewer, "reply"))
        if times[1]["outcome"] == "started":
            times += [read_until(viewer, "capturing"), read_until(viewer, "ready")]
        return times


def fetch(server: ServerProcess, path: str) -> str:
    with urllib.request.urlopen(server.url + path, timeout=20) as answer:
        return str(answer.read(), errors="replace")


def fetch_newest(server: ServerProcess, query: str = "") -> str:
    with urllib.request.urlopen(f"{server.url}/latest.jpg{query}", timeout=20) as answer:
        return str(answer.headers["X-Snapshot"])


def test_numbers_rise_and_the_newest_photo_is_the_last_one_after_the_clock_jumps(
    serve: Serve, clock: WallClock
) -> None:
    server = serve("--dead-time", "0", env=clock.environment)
    seq = capture = 0
    newest = None
    for difference in (0, -HOUR_SECONDS, HOUR_SECONDS, 0):
        clock.set(difference)
        # A photo with a time in the future is not fresh: its exposure began more than a millisecond ago.
        hello, reply, capturing, ready = press(server, max_age=0.001)
        times = [message["at"] for message in (hello, capturing, ready)]
        assert any(map(clock.is_now, times)), (times, difference)  # with threads, libfaketime is sometimes wrong
        assert [hello["seq"], capturing["seq"], ready["seq"]] == [seq, seq + 1, seq + 2]
        assert (hello["cameras"][0]["latest"] or {}).get("snapshot") == newest
        assert [reply["capture"], capturing["capture"], ready["capture"]] == [capture + 1] * 3
        newest, seq, capture = ready["snapshot"], ready["seq"], ready["capture"]
        assert fetch_newest(server) == newest
    clock.set(-2 * HOUR_SECONDS)
    server.kill()
    server.start()
    again, reply, *_ = press(server, max_age=0.001)
    assert clock.is_now(again["at"])
    assert again["epoch"] > hello["epoch"]
    assert reply["capture"] == capture + 1


@pytest.mark.parametrize("difference", [-HOUR_SECONDS, HOUR_SECONDS])
def test_the_dead_time_and_max_age_hold_after_the_clock_jumps(serve: Serve, clock: WallClock, difference: int) -> None:
    server = serve("--dead-time", str(DEAD_TIME_SECONDS), env=clock.environment)
    *_, ready = press(server, max_age=0)
    clock.set(difference)
    hello, reply = press(server, max_age=DEAD_TIME_SECONDS)
    assert clock.is_now(hello["at"])
    assert not clock.is_now(ready["at"])
    (camera,) = hello["cameras"]
    assert camera["state"] == "cooling"
    assert 0 < (parse_timestamp(camera["ready_at"]) - parse_timestamp(hello["at"])).total_seconds() <= DEAD_TIME_SECONDS
    assert (reply["outcome"], reply["snapshot"]) == ("cached", ready["snapshot"])
    assert fetch_newest(server, f"?max_age={DEAD_TIME_SECONDS}") == ready["snapshot"]
    _, reply = press(server, max_age=0)
    assert reply["outcome"] == "queued"
    assert 0 < reply["retry_after"] <= DEAD_TIME_SECONDS


def test_photos_are_listed_in_the_order_of_capture_after_the_clock_jumps(serve: Serve, clock: WallClock) -> None:
    server = serve("--dead-time", "0", env=clock.environment)
    taken: list[str] = []
    for difference in (0, -HOUR_SECONDS, HOUR_SECONDS, 0):
        clock.set(difference)
        taken.insert(0, press(server, max_age=0)[-1]["snapshot"])
    for _ in range(2):
        listed = json.loads(fetch(server, "/api/snapshots"))["snapshots"]
        assert [photo["snapshot"] for photo in listed] == taken
        assert re.findall("snapshots/([a-z2-7]{24})", fetch(server, "/"))[0] == taken[0]
        for newer, older in itertools.pairwise(taken):
            assert newer in fetch(server, f"/snapshots/{older}")
            assert older in fetch(server, f"/snapshots/{newer}")
        with watch(server) as viewer:
            assert json.loads(viewer.recv(timeout=20))["cameras"][0]["latest"]["snapshot"] == taken[0]
        assert fetch_newest(server) == taken[0]
        server.kill()
        server.start()
