"""Wrong passwords by the thousand, from everywhere, for everybody: viewers notice nothing, and who is right gets in.

Argon2 notes where it runs, in the real process; the healthy are known by nothing, as the service lets everybody press.
"""

import contextlib
import http.client
import itertools
import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from dog.auth.passwords import MAX_CHECKS
from tests.attacks.test_requests import PASSWORD, add_user
from tests.load.conftest import Tell
from tests.load.health import HERE, HealthyViewer, measure_memory, unhurt
from tests.support.server_process import ROOT, ServerProcess

NOTING = """
import sys, threading, argon2
verify, running = argon2.PasswordHasher.verify, []
def note(self, *arguments):
    running.append(self)
    print("argon2 in", threading.current_thread().name, len(running), file=sys.stderr, flush=True)
    try:
        return verify(self, *arguments)
    finally:
        running.pop()
argon2.PasswordHasher.verify = note
from dog.cli import main
main(prog_name="dog")
"""
"""The program itself, which says of each password that is looked at in which thread, and how many are at once."""
ARGUMENTS = ("--auth", "--anonymous", "capture", "--trusted-proxies", HERE, "--dead-time", "0.1")
ROOMY = ("--message-rate", "1000", "--message-burst", "10000", "--presses-per-minute", "100000")
VIEWERS = 20
PER_MINUTE = 1000
GROWTH = 160 * 2**20
"""Bytes: the 64 MiB of the one password that is looked at, and what malloc keeps of it and of requests."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    add_user(tmp_path, "ada", "manage")
    add_user(tmp_path, "grace", "view")
    command = [sys.executable, "-c", NOTING]
    server = ServerProcess(*ARGUMENTS, *ROOMY, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, command=command)
    yield server.start()
    server.kill()
    assert "Traceback" not in server.stderr


def log_in(server: ServerProcess, name: str, password: str, address: str) -> tuple[int, str, float]:
    """The status, the code, and when to come back."""
    connection = http.client.HTTPConnection(HERE, server.port, timeout=60)
    with contextlib.closing(connection):
        headers = {"X-Forwarded-For": address, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/login", urlencode({"name": name, "password": password}), headers)
        answer = connection.getresponse()
        body = answer.read()
        code = "" if answer.status == 303 else json.loads(body)["code"]
        return answer.status, code, float(answer.headers.get("Retry-After", 0))


class Flood:
    """So many wrong logins a minute, each from another address, for users that there are and for others."""

    def __init__(self, server: ServerProcess, names: tuple[str, ...]) -> None:
        self.answers: Counter[str] = Counter()
        self.mistakes: list[BaseException] = []
        self.begun = threading.Event()
        self._server = server
        self._names = names
        self._numbers = itertools.count()
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._try) for _ in range(2 * MAX_CHECKS)]

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    @property
    def tried(self) -> int:
        return sum(self.answers.values())

    @property
    def per_minute(self) -> float:
        return 60 * self.tried / (time.monotonic() - self._began)

    def _try(self) -> None:
        try:
            while not self._stop.is_set():
                number = next(self._numbers)
                self._stop.wait(max(0.0, self._began + number * 60 / (1.2 * PER_MINUTE) - time.monotonic()))
                name = self._names[number % len(self._names)]
                address = f"198.{18 + number // 65536 % 2}.{number // 256 % 256}.{number % 256}"
                _, code, wait = log_in(self._server, name, f"wrong {number}", address)
                assert code in ("wrong_password", "rate_limited", "overloaded"), code
                assert (code == "wrong_password") == (wait == 0)
                self.answers[code] += 1
                self.begun.set()
        except BaseException as error:
            self.mistakes.append(error)
            raise


def get_in(server: ServerProcess, name: str) -> list[tuple[str, float]]:
    """Log in with the right password, and come back whenever that is said; what was said until it worked."""
    told: list[tuple[str, float]] = []
    while True:
        status, code, wait = log_in(server, name, PASSWORD, "203.0.113.9")
        if status == 303:
            return told
        assert code in ("rate_limited", "overloaded"), code
        assert 1 <= wait <= 60, "nobody is kept from their account for longer than a minute at a time"
        told.append((code, wait))
        time.sleep(wait)


def check_argon2(server: ServerProcess) -> int:
    """How many passwords were looked at: one at a time, never where the event loop runs."""
    notes = re.findall(r"^argon2 in (\S+) (\d+)$", server.stderr, re.MULTILINE)
    assert {thread.rstrip("0123456789_") for thread, _ in notes} == {"passwords"}
    assert {at_once for _, at_once in notes} == {"1"}
    return len(notes)


def flood(server: ServerProcess, rounds: int, tell: Tell) -> float:
    """How many logins a minute there were."""
    attack = Flood(server, ("ada", *(f"user{number}" for number in range(49))))
    with unhurt(server, "127.0.0.2", growth=GROWTH) as viewer, contextlib.ExitStack() as stack:
        others = [stack.enter_context(HealthyViewer.come(server, f"127.0.1.{number + 1}")) for number in range(VIEWERS)]
        seen = [len(each.events) for each in others]
        with attack.going_on():
            assert attack.begun.wait(30)
            check_argon2(server)
            for number in range(rounds):
                for _ in range(10):
                    viewer.press()
                viewer.load("/", "/latest.jpg", "/api/snapshots", "/metrics")
                viewer.check()
                tell(f"round {number + 1}: {attack.per_minute:.0f} logins a minute, {dict(attack.answers)}")
                assert not attack.mistakes
            per_minute = attack.per_minute
            told = get_in(server, "grace")
            memory = measure_memory(server) / 2**20
            tell(f"grace was in after {told}, {attack.per_minute:.0f} a minute, RSS {memory:.0f} MiB")
        for each, before in zip(others, seen, strict=True):
            each.check()  # which is behind all events
            assert each.events[before:] == viewer.events[-len(each.events[before:]) :]
            assert len(each.events) - before == 2 * 10 * rounds
    assert not attack.mistakes
    looked_at = check_argon2(server)
    tell(f"{attack.tried} logins, {looked_at} passwords looked at\n")
    assert looked_at <= attack.answers["wrong_password"] + len(told) + 1
    assert attack.answers["overloaded"] > 0, "it was no flood"
    return per_minute


def test_wrong_passwords_from_everywhere_disturb_nobody_and_keep_nobody_out(server: ServerProcess, tell: Tell) -> None:
    flood(server, 2, tell)


@pytest.mark.load
@pytest.mark.timeout(600)
def test_a_thousand_wrong_passwords_a_minute_disturb_nobody_and_keep_nobody_out(
    server: ServerProcess, tell: Tell
) -> None:
    assert flood(server, 40, tell) >= PER_MINUTE, "it was no thousand"


def test_who_is_tried_for_by_others_waits_no_longer_than_a_minute(server: ServerProcess) -> None:
    """Their own account is the one that is attacked, from addresses that are not theirs."""
    for number in range(10):
        assert log_in(server, "ada", "wrong", f"198.51.100.{number}")[0] == 401
    told = get_in(server, "ada")
    assert [code for code, _ in told] == ["rate_limited"]
    assert sum(wait for _, wait in told) <= 60
