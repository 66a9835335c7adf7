"""Clients that are slow on purpose hold their own places only, and lose those: slow heads, bodies and reading."""

import contextlib
import json
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.load.conftest import Tell
from tests.load.health import HERE, read_metric, unhurt
from tests.support.server_process import ROOT, ServerProcess

HEALTHY = "127.0.0.2"
PAGES = ("/", "/latest.jpg", "/static/dog.js", "/api/snapshots", "/healthz")
ARGUMENTS = ("--dead-time", "0.1", "--picture-cache", "0", "--message-rate", "1000", "--message-burst", "10000")
PLACES = 200
GROWTH = PLACES * 384 * 2**10
"""Bytes that the service may have more after slow readers: each has a photo of a quarter of a MiB, read from the disk
as none is kept in memory here, and 64 KiB of it wait. What malloc keeps of that afterwards, a second attack uses."""
PACE = 0.01
"""Seconds from one byte of a slow client to the next. A faster machine must not make it a faster client: it sends 100
bytes a second, which no limit to the size of a head is near, and reads 500, which is less than the service asks for."""
WATCHING = 2
"""Connections of the healthy: the viewer, and whoever asks how many there are."""


class SlowClient:
    """Says a little at a time, or reads a little at a time, for ever."""

    def __init__(self, server: ServerProcess, address: str, start: bytes, more: bytes, *, reads: bool) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel makes it the least it can do
        self._socket.settimeout(20)
        self._socket.bind((address, 0))
        self._socket.connect((HERE, server.port))
        self._more = more
        self._reads = reads
        self.said = b""
        self.ended = False
        self._try(lambda: self._socket.sendall(start))

    def go_on(self) -> None:
        """A little more, or the end, where the server has hung up."""
        if not self.ended and self._more:
            self._try(lambda: self._socket.sendall(self._more))
        readable = not self.ended and select.select([self._socket], [], [], 0)[0]
        if readable:
            self._try(lambda: self._hear(self._socket.recv(5 if self._reads else 65536)))

    def close(self) -> None:
        self.ended = True
        self._socket.close()

    def _hear(self, data: bytes) -> None:
        self.said += data
        self.ended = not data

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except ConnectionError:
            self.ended = True


SLOW: dict[str, dict[str, Any]] = {
    "slow heads": {"start": b"GET / HTTP/1.1\r\nHost: localhost\r\nX-a: ", "more": b"b", "reads": False},
    "slow bodies": {
        "start": b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4096\r\n\r\n",
        "more": b" ",
        "reads": False,
    },
    "slow reading": {"start": b"GET /latest.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400, "more": b"", "reads": True},
    "many ranges": {
        "start": b"GET /latest.jpg HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-%b\r\n\r\n"
        % b"".join(b",5-%d" % end for end in range(1300)),
        "more": b"",
        "reads": True,
    },
}


@contextlib.contextmanager
def slow_clients(server: ServerProcess, kind: str, address: str, count: int) -> Iterator[list[SlowClient]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(SlowClient(server, address, **SLOW[kind]))) for _ in range(count)]


# The real process, with other time limits (in seconds).
WITH_LIMITS = """
import dog.web.http.bodies, dog.web.connections.connection
dog.web.connections.connection.HEAD_TIMEOUT = dog.web.connections.connection.MAX_QUEUE_SECONDS = {limit}
dog.web.http.bodies.BODY_TIMEOUT = dog.web.connections.connection.STALL_SECONDS = {limit}
from dog.cli import main
main(prog_name="dog")
"""


@contextlib.contextmanager
def serve_with_limits(folder: Path, limit: float, *arguments: str) -> Iterator[ServerProcess]:
    command = [sys.executable, "-c", WITH_LIMITS.format(limit=limit)]
    server = ServerProcess(*arguments, cwd=folder, env={"PYTHONPATH": str(ROOT)}, command=command)
    try:
        yield server.start()
    finally:
        server.kill()
    assert "Traceback" not in server.stderr


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[ServerProcess]:
    with serve_with_limits(tmp_path, 1000, *ARGUMENTS, "--max-connections-per-address", "40") as server:
        yield server


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[ServerProcess]:
    with serve_with_limits(tmp_path, 0.5) as server:
        yield server


def test_hundreds_that_are_slow_in_every_way_take_their_own_places_and_healthy_viewers_notice_nothing(
    patient: ServerProcess,
) -> None:
    server = patient
    with unhurt(server, HEALTHY, growth=GROWTH) as viewer, contextlib.ExitStack() as stack:
        clients: list[SlowClient] = []
        for number, kind in enumerate(SLOW):
            clients += stack.enter_context(slow_clients(server, kind, f"127.0.0.{number + 3}", 60))
        while read_metric(server, "dog_requests_waiting", HEALTHY) < 20 * len(SLOW):
            time.sleep(PACE)
        for _ in range(3):
            for client in clients:
                client.go_on()
            viewer.press()
            viewer.load(*PAGES)
            viewer.check()
        assert read_metric(server, "dog_connections", HEALTHY) > 40 * len(SLOW), "they have gone before they were slow"


def test_each_way_of_being_slow_ends_at_its_time_limit_and_a_viewer_has_none(impatient: ServerProcess) -> None:
    with unhurt(impatient, HEALTHY), contextlib.ExitStack() as stack:
        clients = {kind: stack.enter_context(slow_clients(impatient, kind, HERE, 1))[0] for kind in SLOW}
        while read_metric(impatient, "dog_connections", HEALTHY) > WATCHING:
            for client in clients.values():
                client.go_on()
            if clients["slow bodies"].said:
                clients["slow bodies"].close()
            time.sleep(PACE)
        assert clients["slow heads"].said[:13] in (b"", b"HTTP/1.1 408 ")
        head, _, body = clients["slow bodies"].said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert json.loads(body)["code"] == "request_timeout"
        impatient.wait_for(f"{HERE} reads its response too slowly: disconnected")


# ---- the tool that is known for it

TOOL = shutil.which("slowhttptest")
MODES = {
    "slow heads": ["-H", "-i", "1", "-x", "24"],
    "slow bodies": ["-B", "-i", "1", "-s", "8192", "-x", "10", "-t", "POST"],
    "many ranges": ["-R", "-a", "5", "-b", "3000", "-t", "HEAD"],
    "slow reading": ["-X", "-n", "1", "-z", "32", "-w", "512", "-y", "1024", "-k", "5"],
}
ADDRESSES = {"slow bodies": "/api/captures", "slow reading": "/latest.jpg", "many ranges": "/latest.jpg"}


@pytest.mark.load
@pytest.mark.timeout(300)
@pytest.mark.skipif(TOOL is None, reason="slowhttptest is missing (a Debian package)")
@pytest.mark.parametrize("mode", MODES)
def test_slowhttptest_takes_its_own_places_and_healthy_viewers_notice_nothing(
    serve: Serve, tmp_path: Path, tell: Tell, mode: str
) -> None:
    server = serve(*ARGUMENTS, "--max-connections-per-address", str(PLACES))
    url = server.url + ADDRESSES.get(mode, "/")
    command = [str(TOOL), *MODES[mode], "-u", url, "-c", "1000", "-r", "200", "-l", "60", "-p", "5", "-v", "1"]
    with unhurt(server, HEALTHY, growth=GROWTH) as viewer:
        most, rounds = 0.0, 0
        with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as attack:
            while attack.poll() is None:
                viewer.press()
                viewer.load(*PAGES)
                viewer.check()
                most = max(most, read_metric(server, "dog_connections", HEALTHY))
                rounds += 1
                if rounds % 20 == 0:
                    tell(f"{rounds} photos, {most:.0f} connections at most")
        refused = read_metric(server, "dog_connections_refused_total", HEALTHY)
        tell(f"{rounds} photos, {most:.0f} connections at most, {refused:.0f} refused\n")
        # "many ranges" gives up where a range is not copied for each time it is asked for, and "slow bodies" is refused
        # at its head, for the tool says that a page is behind it (Referer). Slow bodies that wait are above.
        if mode in ("slow heads", "slow reading"):
            assert most >= PLACES, "it was no attack"
            assert refused >= 500
