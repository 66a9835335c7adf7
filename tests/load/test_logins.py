"""Thousands of wrong passwords disturb no viewer and block no login.

They come from many addresses. In the server process, Argon2 logs its thread. The healthy viewers are anonymous, with
the role `capture`.
"""

import contextlib
import http.client
import itertools
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from argon2.profiles import CHEAPEST

from dog.auth import Accounts, accounts_path
from dog.auth.password_verifier import MAX_CHECKS, Hasher
from tests.load.conftest import Progress
from tests.load.health import LOOPBACK, HealthyViewer, measure_memory, undisturbed_viewer
from tests.support.accounts import PASSWORD, add_user
from tests.support.server_process import ServerProcess

PROGRAM = """
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
import dog.auth.password_verifier
dog.auth.password_verifier.RETRY_AFTER_SECONDS = 1.0
from dog.cli import main
main(prog_name="dog")
"""
"""The server, which logs the thread of each password check, and how many run at once. A refused login may be repeated
sooner."""
CHEAP_PROGRAM = """
from argon2.profiles import CHEAPEST
from dog.auth import AuthService
AuthService.__init__.__kwdefaults__["parameters"] = CHEAPEST
from dog.cli import main
main(prog_name="dog")
"""
"""The server with a fast Argon2, so that its delays are not over before the next login on a busy machine."""
ARGUMENTS = ("--auth", "--anonymous", "capture", "--trusted-proxies", LOOPBACK, "--dead-time", "0.1")
HIGH_LIMITS = ("--message-rate", "1000", "--message-burst", "10000", "--presses-per-minute", "100000")
VIEWERS = 20
LOGINS_PER_MINUTE = 1000
ATTEMPTS_PER_CHECK = 1.5
"""A flood at this rate keeps the queue of password checks full, on a machine of any speed, but leaves a right login a
chance of a third whenever it tries."""
MAX_GROWTH_BYTES = 160 * 2**20
"""64 MiB for the one password check, and memory that malloc keeps."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    add_user(tmp_path, "ada", "manage")
    add_user(tmp_path, "grace", "view")
    server = ServerProcess(*ARGUMENTS, *HIGH_LIMITS, cwd=tmp_path, program=PROGRAM)
    yield server.start()
    server.kill()
    assert "Traceback" not in server.stderr


@pytest.fixture
def server_with_cheap_hashes(tmp_path: Path) -> Iterator[ServerProcess]:
    with Accounts(accounts_path(tmp_path / "snapshots"), hasher=Hasher(CHEAPEST)) as accounts:
        accounts.add_user("ada", "manage", PASSWORD)
    server = ServerProcess(*ARGUMENTS, cwd=tmp_path, program=CHEAP_PROGRAM)
    yield server.start()
    server.kill()
    assert "Traceback" not in server.stderr


def log_in(server: ServerProcess, name: str, password: str, address: str) -> tuple[int, str, float]:
    """Return the status, the code, and Retry-After in seconds."""
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=60)
    with contextlib.closing(connection):
        headers = {"X-Forwarded-For": address, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/login", urlencode({"name": name, "password": password}), headers)
        answer = connection.getresponse()
        body = answer.read()
        code = "" if answer.status == 303 else json.loads(body)["code"]
        return answer.status, code, float(answer.headers.get("Retry-After", 0))


class Flood:
    """Wrong logins at a limited rate, each from another address.

    They are for existing and unknown users. On a slow machine there are fewer: a late login is not caught up on, or the
    one right login would compete with thousands a second. `attempts_per_check` also limits them, for each password that
    the server checks.
    """

    def __init__(self, server: ServerProcess, names: tuple[str, ...], attempts_per_check: float) -> None:
        self.answers: Counter[str] = Counter()
        self.problems: list[BaseException] = []
        self.first_answer = threading.Event()
        self._server = server
        self._names = names
        self._attempts_per_check = attempts_per_check
        self._numbers = itertools.count()
        self._began = time.monotonic()
        self._next_at = self._began
        self._pace_lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._log_in_repeatedly) for _ in range(2 * MAX_CHECKS)]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    @property
    def attempts(self) -> int:
        return sum(self.answers.values())

    @property
    def per_minute(self) -> float:
        return 60 * self.attempts / (time.monotonic() - self._began)

    def _reserve_time(self) -> float:
        with self._pace_lock:
            now = time.monotonic()
            reserved = max(self._next_at, now)
            check = (now - self._began) / max(1, self.answers["wrong_password"])
            self._next_at = reserved + max(60 / (1.2 * LOGINS_PER_MINUTE), check / self._attempts_per_check)
            return reserved

    def _log_in_repeatedly(self) -> None:
        try:
            while not self._stop.is_set():
                self._stop.wait(self._reserve_time() - time.monotonic())
                number = next(self._numbers)
                name = self._names[number % len(self._names)]
                address = f"198.{18 + number // 65536 % 2}.{number // 256 % 256}.{number % 256}"
                _, code, wait = log_in(self._server, name, f"wrong {number}", address)
                assert code in ("wrong_password", "rate_limited", "overloaded"), code
                assert (code == "wrong_password") == (wait == 0)
                self.answers[code] += 1
                self.first_answer.set()
        except BaseException as error:
            self.problems.append(error)
            raise


def log_in_after_waits(server: ServerProcess, name: str) -> list[tuple[str, float]]:
    """Log in with the right password, waiting as the server says.

    Return the refusals before.
    """
    refusals: list[tuple[str, float]] = []
    while True:
        status, code, wait = log_in(server, name, PASSWORD, "203.0.113.9")
        if status == 303:
            return refusals
        assert code in ("rate_limited", "overloaded"), code
        assert 1 <= wait <= 60, "an account is blocked for at most a minute at a time"
        refusals.append((code, wait))
        time.sleep(wait)


def check_argon2(server: ServerProcess) -> int:
    """Check that passwords are checked one at a time and off the event loop.

    Return how many.
    """
    notes = re.findall(r"^argon2 in (\S+) (\d+)$", server.stderr, re.MULTILINE)
    assert {thread.rstrip("0123456789_") for thread, _ in notes} == {"passwords"}
    assert {at_once for _, at_once in notes} == {"1"}
    return len(notes)


def flood(server: ServerProcess, rounds: int, progress: Progress, attempts_per_check: float = math.inf) -> float:
    """Flood the login, and return the number of attempts per minute."""
    attack = Flood(server, ("ada", *(f"user{number}" for number in range(49))), attempts_per_check)
    with undisturbed_viewer(server, "127.0.0.2", growth=MAX_GROWTH_BYTES) as viewer, contextlib.ExitStack() as stack:
        others = [
            stack.enter_context(HealthyViewer.open_viewer(server, f"127.0.1.{number + 1}")) for number in range(VIEWERS)
        ]
        seen = [len(each.events) for each in others]
        with attack.running():
            assert attack.first_answer.wait(30)
            check_argon2(server)
            for number in range(rounds):
                for _ in range(10):
                    viewer.press()
                viewer.load("/", "/latest.jpg", "/api/snapshots", "/metrics")
                viewer.check()
                progress(f"round {number + 1}: {attack.per_minute:.0f} logins a minute, {dict(attack.answers)}")
                assert not attack.problems
            per_minute = attack.per_minute
            refusals = log_in_after_waits(server, "grace")
            memory = measure_memory(server) / 2**20
            progress(f"grace logged in after {refusals}, {attack.per_minute:.0f} a minute, RSS {memory:.0f} MiB")
        for each, before in zip(others, seen, strict=True):
            each.check()  # its answer follows all events
            assert each.events[before:] == viewer.events[-len(each.events[before:]) :]
            assert len(each.events) - before == 2 * 10 * rounds
    assert not attack.problems
    looked_at = check_argon2(server)
    progress(f"{attack.attempts} logins, {looked_at} passwords checked\n")
    assert looked_at <= attack.answers["wrong_password"] + len(refusals) + 1
    assert attack.answers["overloaded"] > 0, "the flood was too small"
    return per_minute


def test_wrong_passwords_from_many_addresses_disturb_no_viewer_and_block_no_login(
    server: ServerProcess, progress: Progress
) -> None:
    flood(server, 2, progress, ATTEMPTS_PER_CHECK)


@pytest.mark.load
@pytest.mark.timeout(600)
def test_a_thousand_wrong_passwords_a_minute_disturb_no_viewer_and_block_no_login(
    server: ServerProcess, progress: Progress
) -> None:
    assert flood(server, 40, progress) >= LOGINS_PER_MINUTE, "the flood was too slow"


def test_the_owner_of_an_attacked_account_waits_at_most_a_minute(server_with_cheap_hashes: ServerProcess) -> None:
    """The attack on the account comes from other addresses."""
    server = server_with_cheap_hashes
    for number in range(10):
        assert log_in(server, "ada", "wrong", f"198.51.100.{number}")[0] == 401
    refusals = log_in_after_waits(server, "ada")
    assert [code for code, _ in refusals] == ["rate_limited"]
    assert sum(wait for _, wait in refusals) <= 60
