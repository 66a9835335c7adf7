"""Slow clients take only their own places, and lose them in the end.

Their heads, their bodies or their reading are slow.
"""

import contextlib
import json
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.load.conftest import Progress
from tests.load.health import LOOPBACK, read_metric, undisturbed_viewer
from tests.support.server_process import ServerProcess

HEALTHY_ADDRESS = "127.0.0.2"
PAGES = ("/", "/latest.jpg", "/static/live.js", "/api/snapshots", "/healthz")
ARGUMENTS = ("--dead-time", "0.1", "--picture-cache", "0", "--message-rate", "1000", "--message-burst", "10000")
SLOW_CLIENTS = 200
MAX_GROWTH_BYTES = SLOW_CLIENTS * 384 * 2**10
"""Growth of the service's memory after slow readers. Each has a photo of a quarter of a MiB, read from disk because the
cache is off, of which 64 KiB wait. A second attack reuses the memory that malloc keeps."""
BYTE_INTERVAL_SECONDS = 0.01
"""Time between two bytes of a slow client, on any machine. It sends 100 bytes per second, far from the size limit of a
head, and reads 500, less than the minimum that the service requires."""
HEALTHY_CONNECTIONS = 2
"""Connections of the healthy viewer, and of the request for the number of connections."""


class SlowClient:
    """A client that sends or reads a few bytes at a time, without end."""

    def __init__(self, server: ServerProcess, address: str, start: bytes, more: bytes, *, reads: bool) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel uses its minimum
        self._socket.settimeout(20)
        self._socket.bind((address, 0))
        self._socket.connect((LOOPBACK, server.port))
        self._more = more
        self._reads = reads
        self.received = b""
        self.is_closed = False
        self._try(lambda: self._socket.sendall(start))

    def send_or_read_some(self) -> None:
        """Send or read a few bytes, or notice that the server has disconnected."""
        if not self.is_closed and self._more:
            self._try(lambda: self._socket.sendall(self._more))
        readable = not self.is_closed and select.select([self._socket], [], [], 0)[0]
        if readable:
            self._try(lambda: self._receive(self._socket.recv(5 if self._reads else 65536)))

    def close(self) -> None:
        self.is_closed = True
        self._socket.close()

    def _receive(self, data: bytes) -> None:
        self.received += data
        self.is_closed = not data

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except ConnectionError:
            self.is_closed = True


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
import dog.web.http.requests, dog.web.connections.connection, dog.web.connections.connection_limits
dog.web.connections.connection.HEAD_TIMEOUT = dog.web.connections.connection_limits.MAX_QUEUE_SECONDS = {limit}
dog.web.http.requests.BODY_TIMEOUT = dog.web.connections.connection.STALL_SECONDS = {limit}
dog.web.connections.connection_limits.IDLE_TIMEOUT = {limit}
from dog.cli import main
main(prog_name="dog")
"""


@contextlib.contextmanager
def serve_with_limits(folder: Path, limit: float, *arguments: str) -> Iterator[ServerProcess]:
    server = ServerProcess(*arguments, cwd=folder, program=WITH_LIMITS.format(limit=limit))
    try:
        yield server.start()
    finally:
        server.kill()
    assert "Traceback" not in server.stderr


@pytest.fixture
def server_without_limits(tmp_path: Path) -> Iterator[ServerProcess]:
    with serve_with_limits(tmp_path, 1000, *ARGUMENTS, "--max-connections-per-address", "40") as server:
        yield server


@pytest.fixture
def server_with_short_limits(tmp_path: Path) -> Iterator[ServerProcess]:
    with serve_with_limits(tmp_path, 0.5) as server:
        yield server


def test_hundreds_of_slow_clients_take_only_their_places_and_disturb_no_viewer(
    server_without_limits: ServerProcess,
) -> None:
    server = server_without_limits
    with (
        undisturbed_viewer(server, HEALTHY_ADDRESS, growth=MAX_GROWTH_BYTES) as viewer,
        contextlib.ExitStack() as stack,
    ):
        clients: list[SlowClient] = []
        for number, kind in enumerate(SLOW):
            clients += stack.enter_context(slow_clients(server, kind, f"127.0.0.{number + 3}", 60))
        while read_metric(server, "dog_requests_waiting", HEALTHY_ADDRESS) < 20 * len(SLOW):
            time.sleep(BYTE_INTERVAL_SECONDS)
        for _ in range(3):
            for client in clients:
                client.send_or_read_some()
            viewer.press()
            viewer.load(*PAGES)
            viewer.check()
        assert read_metric(server, "dog_connections", HEALTHY_ADDRESS) > 40 * len(SLOW), (
            "they were disconnected too early"
        )


def test_each_kind_of_slow_client_is_disconnected_at_its_time_limit(
    server_with_short_limits: ServerProcess,
) -> None:
    with undisturbed_viewer(server_with_short_limits, HEALTHY_ADDRESS), contextlib.ExitStack() as stack:
        clients = {
            kind: stack.enter_context(slow_clients(server_with_short_limits, kind, LOOPBACK, 1))[0] for kind in SLOW
        }
        while read_metric(server_with_short_limits, "dog_connections", HEALTHY_ADDRESS) > HEALTHY_CONNECTIONS:
            for client in clients.values():
                client.send_or_read_some()
            if clients["slow bodies"].received:
                clients["slow bodies"].close()
            time.sleep(BYTE_INTERVAL_SECONDS)
        assert clients["slow heads"].received[:13] in (b"", b"HTTP/1.1 408 ")
        head, _, body = clients["slow bodies"].received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert json.loads(body)["code"] == "request_timeout"
        server_with_short_limits.wait_for(f"{LOOPBACK} reads its response too slowly: disconnected")


# ---- slowhttptest

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
def test_slowhttptest_takes_only_its_own_places_and_does_not_disturb_viewers(
    serve: Serve, tmp_path: Path, progress: Progress, mode: str
) -> None:
    server = serve(*ARGUMENTS, "--max-connections-per-address", str(SLOW_CLIENTS))
    url = server.url + ADDRESSES.get(mode, "/")
    command = [str(TOOL), *MODES[mode], "-u", url, "-c", "1000", "-r", "200", "-l", "60", "-p", "5", "-v", "1"]
    with undisturbed_viewer(server, HEALTHY_ADDRESS, growth=MAX_GROWTH_BYTES) as viewer:
        most, rounds = 0.0, 0
        with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as attack:
            while attack.poll() is None:
                viewer.press()
                viewer.load(*PAGES)
                viewer.check()
                most = max(most, read_metric(server, "dog_connections", HEALTHY_ADDRESS))
                rounds += 1
                if rounds % 20 == 0:
                    progress(f"{rounds} photos, {most:.0f} connections at most")
        refused = read_metric(server, "dog_connections_refused_total", HEALTHY_ADDRESS)
        progress(f"{rounds} photos, {most:.0f} connections at most, {refused:.0f} refused\n")
        # "many ranges" gives up if the server does not copy each range. "slow bodies" is refused at its head, because
        # the tool sends a Referer. The test above has slow bodies that wait.
        if mode in ("slow heads", "slow reading"):
            assert most >= SLOW_CLIENTS, "the attack was too small"
            # Clients that read too slowly are disconnected, and later ones get their places.
            assert refused >= 500 if mode == "slow heads" else refused > 0
