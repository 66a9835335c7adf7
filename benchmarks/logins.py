"""The push during wrong passwords, and the time to refuse a wrong token."""

import contextlib
import http.client
import itertools
import threading
import time
from urllib.parse import urlencode

from benchmarks.bench import Bench
from benchmarks.load import Load
from benchmarks.processes import LOAD_CORE, Broken, Server, pinned
from benchmarks.rows import Row, Spread, ratios
from benchmarks.servers import Trigger, dog, make_photo
from dog.auth.secrets import TOKEN_PREFIX, make_secret, secret_digest

__all__ = ["measure_logins"]

VIEWERS = 1000
PER_MINUTE = 1000
LOGIN_THREADS = 18
"""Threads that log in, each time with a new client address. Nine of them wait."""
GUESSES = 20_000
CAPTURE = Trigger('{"type":"capture","max_age":0}', '"type":"capturing"', '"type":"ready"')
ARGUMENTS = ("--auth", "--anonymous", "capture", "--trusted-proxies", "127.0.0.1", "--login-attempts", "10000")


def measure_logins(bench: Bench) -> list[Row]:
    return [_measure_push(bench), _measure_guesses(bench)]


def _measure_push(bench: Bench) -> Row:
    photo = make_photo(bench.folder / "photo.jpg")
    rounds, viewers = bench.rounds(15, 5), min(VIEWERS, bench.viewers)
    server = dog(bench, f"exec cp '{photo}' \"$1\"", *ARGUMENTS)
    peace, flood = [], []
    with server, Load(bench, server, CAPTURE, viewers=viewers) as load:
        load.wait_until_settled()
        tried = 0
        seconds = 0.0
        for number in range(rounds + 1):
            peace.append(load.round().last)
            with _Flood(server) as wrong:
                flood.append(load.round().last)
            tried, seconds = tried + wrong.tried, seconds + wrong.seconds
            server.wait_until_idle()
            bench.show_progress("without and with wrong passwords in turn", number, rounds)
    peace, flood = peace[1:], flood[1:]  # the first round is to warm up
    return Row(
        label=f"the last of {viewers:,} viewers, during wrong passwords",
        dog=Spread.of(flood),
        rival_name="without wrong passwords",
        rival=Spread.of(peace),
        measured_unit="ms",
        value=ratios(flood, peace),
        note=f"{60 * tried / seconds:,.0f} wrong passwords per minute; Argon2 uses part of the one core",
    )


class _Flood:
    """Wrong passwords during a `with` block.

    The block begins when the queue for passwords is full.
    """

    def __init__(self, server: Server) -> None:
        self.tried = 0
        self.seconds = 0.0
        self._server = server
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._begun = threading.Event()
        self._threads = [threading.Thread(target=self._log_in) for _ in range(LOGIN_THREADS)]

    def __enter__(self) -> "_Flood":
        self._began = time.monotonic()
        with pinned(LOAD_CORE):
            for thread in self._threads:
                thread.start()
        if not self._begun.wait(30):
            raise Broken("the queue for passwords was not full after 30 s")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.seconds = time.monotonic() - self._began
        for thread in self._threads:
            thread.join()

    def _log_in(self) -> None:
        while not self._stop.is_set():
            number = next(self._numbers)
            if self._stop.wait(max(0.0, self._began + number * 60 / PER_MINUTE - time.monotonic())):
                break
            self.tried += 1
            connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=30)
            with contextlib.closing(connection):
                form = urlencode({"name": f"user{number}", "password": "wrong"})
                address = f"198.18.{number // 256 % 256}.{number % 256}"
                headers = {"X-Forwarded-For": address, "Content-Type": "application/x-www-form-urlencoded"}
                connection.request("POST", "/login", form, headers)
                status = connection.getresponse().status
            if status not in (401, 503):
                raise Broken(f"a wrong password has the status {status}")
            if status == 503:
                self._begun.set()


def _measure_guesses(bench: Bench) -> Row:
    """Measure within this process.

    A network's noise would hide any difference.
    """
    right = make_secret(TOKEN_PREFIX)
    near = right[:-1] + _other_character(right[-1])
    far = TOKEN_PREFIX + "".join(map(_other_character, right.removeprefix(TOKEN_PREFIX)))
    tokens = {
        secret_digest(secret, TOKEN_PREFIX): None
        for secret in (right, *(make_secret(TOKEN_PREFIX) for _ in range(100)))
    }
    rounds = bench.rounds(41, 11)
    times: dict[str, list[float]] = {near: [], far: []}
    for number in range(rounds):
        for guess in (near, far) if number % 2 else (far, near):
            began = time.perf_counter()
            for _ in range(GUESSES):
                tokens.get(secret_digest(guess, TOKEN_PREFIX))
            times[guess].append((time.perf_counter() - began) / GUESSES * 1e6)
    return Row(
        label="time to refuse a token with only its last character wrong",
        dog=Spread.of(times[near]),
        rival_name="one that is all wrong",
        rival=Spread.of(times[far]),
        measured_unit="µs",
        value=ratios(times[near], times[far]),
    )


def _other_character(character: str) -> str:
    return "A" if character != "A" else "B"
