"""The service with a wall clock and a kernel that the test sets.

tests/support/clock_process.py has both.
"""

import datetime as dt
import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.accounts import open_accounts
from tests.support.clock_process import CLOCK_PROGRAM
from tests.support.server_process import ServerProcess, run_dog

DAYS_AHEAD = 45 * 365
NOTICE = "Nothing is deleted because of its age"


class Response(NamedTuple):
    status: int
    text: str
    headers: http.client.HTTPMessage


class Machine:
    """A folder with an album and a clock, for the service and its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._clock = folder / "clock.json"
        self.env = {"TEST_CLOCK": str(self._clock), "DOG_KEEP_DAYS": "7"}
        self.set_clock(0)
        self.server = ServerProcess("--dead-time", "0", cwd=folder, env=self.env, program=CLOCK_PROGRAM)

    def set_clock(self, days: float, *, synchronised: bool = False) -> None:
        beside = self._clock.with_suffix(".new")
        beside.write_text(json.dumps({"days": days, "synchronised": synchronised}))
        os.replace(beside, self._clock)

    def purge(self, *options: str) -> "subprocess.CompletedProcess[str]":
        return run_dog("album", "purge", *options, cwd=self.folder, env=self.env, timeout=60, program=CLOCK_PROGRAM)

    def fetch(self, path: str, method: str = "GET", body: object = None, **headers: str) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            data = None if body is None else json.dumps(body)
            if data is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            return Response(answer.status, answer.read().decode(errors="replace"), answer.headers)
        finally:
            connection.close()

    def take(self) -> str:
        answer = self.fetch("/api/captures", "POST", {"max_age": 0})
        assert answer.status == 201, answer.text
        return str(json.loads(answer.text)["snapshot"])

    def photos(self) -> list[str]:
        return [each["snapshot"] for each in json.loads(self.fetch("/api/snapshots").text)["snapshots"]]

    def is_in_doubt(self) -> bool:
        """Return True if the clock is in doubt.

        Metrics, readiness and pages must agree.
        """
        metrics = "dog_clock_trusted 0.0" in self.fetch("/metrics").text
        readiness = "clock" in json.loads(self.fetch("/readyz").text)
        pages = [NOTICE in self.fetch(page).text for page in ("/", "/snapshots")]
        assert [metrics, readiness, *pages] in ([True] * 4, [False] * 4)
        return metrics


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.server.kill()
    assert "Traceback" not in machine.server.stderr, machine.server.stderr


@pytest.mark.timeout(180)
def test_photos_survive_starts_with_a_clock_years_ahead_until_the_clock_is_confirmed(machine: Machine) -> None:
    machine.server.start()
    photos = [machine.take(), machine.take()][::-1]
    assert not machine.is_in_doubt()
    for _ in range(2):
        machine.server.kill()
        machine.set_clock(DAYS_AHEAD)
        machine.server.start()
        machine.server.wait_for(rf"{NOTICE} until .* `dog album purge --confirm`")
        photos.insert(0, machine.take())
        assert machine.photos() == photos
        assert machine.is_in_doubt()
    refused = machine.purge()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "was expected. Nothing was deleted." in refused.stderr
    assert "run `dog album purge --confirm`" in refused.stderr
    assert len(machine.photos()) == 4
    confirmed = machine.purge("--confirm")
    assert (confirmed.returncode, confirmed.stderr) == (0, "")
    assert confirmed.stdout.startswith("The clock is confirmed.\nA running server uses these photos")
    machine.server.wait_for("is trusted: you confirmed it")
    machine.server.wait_for("2 old photos were deleted")
    assert machine.photos() == photos[:2]
    assert not machine.is_in_doubt()
    machine.server.kill()
    machine.server.start()
    assert not machine.is_in_doubt()


@pytest.mark.timeout(180)
def test_a_synchronised_kernel_ends_the_doubt_and_a_confirmation_is_kept(machine: Machine) -> None:
    machine.server.start()
    machine.take()
    machine.set_clock(-4)
    machine.server.wait_for(NOTICE)
    assert machine.is_in_doubt()
    machine.set_clock(12)
    assert machine.is_in_doubt()
    machine.server.kill()
    refused = machine.purge()
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "was expected. Nothing was deleted." in refused.stderr
    confirmed = machine.purge("--confirm")
    assert (confirmed.returncode, confirmed.stderr) == (0, "")
    assert confirmed.stdout == "The clock is confirmed.\n1 photo deleted\n"
    machine.server.start()
    assert not machine.is_in_doubt()
    machine.take()
    machine.server.kill()
    machine.server.start()
    machine.set_clock(32)
    assert machine.is_in_doubt()
    assert len(machine.photos()) == 1
    machine.set_clock(32, synchronised=True)
    machine.server.wait_for("is trusted: the kernel reports that it is synchronised")
    machine.server.wait_for("1 old photos were deleted")
    assert machine.photos() == []


@pytest.mark.timeout(180)
def test_a_new_photo_stays_when_a_slow_clock_is_set_forward(machine: Machine) -> None:
    machine.set_clock(-60)
    machine.server.start()
    old = machine.take()
    machine.server.kill()
    machine.server.start()
    photo = machine.take()
    assert machine.photos() == [photo, old]
    machine.set_clock(0, synchronised=True)
    machine.server.wait_for("1 old photos were deleted")
    assert machine.photos() == [photo]


@pytest.mark.timeout(180)
def test_sessions_tokens_and_links_survive_a_wrong_clock_that_managers_see(machine: Machine) -> None:
    machine.env["DOG_AUTH"] = machine.server.env["DOG_AUTH"] = "true"
    with open_accounts(machine.folder) as accounts:
        accounts.add_user("ada", "manage", "correct horse")
        session = accounts.add_session("ada", dt.datetime.now(dt.UTC) + dt.timedelta(days=20))
        token = accounts.add_token("cron", "manage", dt.datetime.now(dt.UTC) + dt.timedelta(days=20))
        lasting = {role: accounts.add_token(role, role, None) for role in ("view", "manage")}
    machine.server.start()
    by_token = {"Authorization": f"Bearer {token}"}
    answer = machine.fetch("/api/captures", "POST", {}, **by_token)
    photo = json.loads(answer.text)["snapshot"]
    answer = machine.fetch(f"/api/snapshots/{photo}/links", "POST", {"expires_in": 86400}, **by_token)
    link = "/shared/" + json.loads(answer.text)["url"].rpartition("/")[2]

    def ask_all() -> list[int]:
        answers = [
            machine.fetch("/api/snapshots", Cookie=f"dog_session={session}"),
            machine.fetch("/api/snapshots", **by_token),
            machine.fetch(link),
        ]
        for answer in answers[:2]:
            assert "no-store" in answer.headers["Cache-Control"]
        assert answers[2].status == 200 or "no-store" in answers[2].headers["Cache-Control"]
        return [answer.status for answer in answers]

    assert ask_all() == [200, 200, 200]
    for days in 700, -4:
        machine.set_clock(days)
        machine.server.wait_for(NOTICE)
        if days > 0:
            assert ask_all() == [401, 401, 410]
        for role, secret in lasting.items():
            page = machine.fetch("/", Authorization=f"Bearer {secret}").text
            assert (NOTICE in page) is (role == "manage")
        machine.server.kill()
        machine.server.start()
        machine.server.wait_for(NOTICE)
        machine.set_clock(0)
        machine.server.wait_for("is trusted: it is back where it was expected")
        assert ask_all() == [200, 200, 200]
