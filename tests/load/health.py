"""Health of a service under attack: a viewer, memory and descriptors."""

import contextlib
import http.client
import itertools
import json
import os
import queue
import re
import threading
import time
from collections.abc import Iterator
from typing import Self

from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.server_process import ServerProcess

__all__ = [
    "LOOPBACK",
    "HealthyViewer",
    "PeakMemory",
    "count_descriptors",
    "get",
    "measure_memory",
    "read_metric",
    "send_request",
    "undisturbed_viewer",
]

LOOPBACK = "127.0.0.1"


class HealthyViewer:
    """A viewer that receives every event once and in order, and every answer."""

    def __init__(self, server: ServerProcess, connection: ClientConnection, address: str) -> None:
        self.server = server
        self.address = address
        self.events: list[str] = []
        self._connection = connection
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._seq = json.loads(connection.recv(timeout=20))["seq"]
        self._problem = ""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    @classmethod
    @contextlib.contextmanager
    def open_viewer(cls, server: ServerProcess, address: str = LOOPBACK) -> Iterator[Self]:
        url = f"{server.url.replace('http', 'ws', 1)}/ws"
        with connect(url, ssl=server.tls, source_address=(address, 0), ping_interval=None) as connection:
            viewer = cls(server, connection, address)
            try:
                yield viewer
            finally:
                connection.close()
                viewer._thread.join()

    def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            for said in self._connection:
                message = json.loads(said)
                if "seq" in message:
                    if message["seq"] != self._seq + 1:
                        self._problem = f"{message} came after {self._seq}"
                    self._seq = message["seq"]
                    self.events.append(message["type"])
                if message["type"] in ("pong", "ready", "error", "failed"):
                    self._answers.put(message["type"])

    def check(self) -> None:
        """Check that messages and pings are answered."""
        self._connection.send(f'{{"type":"ping","request":"{next(self._numbers)}"}}')
        self._wait_for("pong")
        assert self._connection.ping().wait(20)

    def press(self) -> None:
        self._connection.send('{"type":"capture","max_age":0}')
        self._wait_for("ready")

    def load(self, *paths: str) -> None:
        """Load pages and images; each must be a 200."""
        for path in paths:
            assert get(self.server, path, self.address)[0] == 200

    def _wait_for(self, kind: str) -> None:
        while (said := self._answers.get(timeout=20)) != kind:
            assert said == "ready", said  # of another viewer's press
        assert not self._problem


def get(server: ServerProcess, path: str, address: str = LOOPBACK) -> tuple[int, bytes]:
    """Return status and body of a GET from this local address."""
    return send_request(server, "GET", path, address=address)


def send_request(
    server: ServerProcess, method: str, path: str, body: bytes | None = None, *, address: str = LOOPBACK
) -> tuple[int, bytes]:
    connection: http.client.HTTPConnection
    if server.tls is None:
        connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=20, source_address=(address, 0))
    else:
        connection = http.client.HTTPSConnection(
            LOOPBACK, server.port, timeout=20, source_address=(address, 0), context=server.tls
        )
    with contextlib.closing(connection):
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()


def read_metric(server: ServerProcess, name: str, address: str = LOOPBACK) -> float:
    """Return the sum of a metric's samples."""
    families = text_string_to_metric_families(get(server, "/metrics", address)[1].decode())
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def count_descriptors(server: ServerProcess) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def measure_memory(server: ServerProcess) -> int:
    """Return the resident memory in bytes."""
    with open(f"/proc/{server.pid}/smaps_rollup") as file:
        return 1024 * int(re.findall(r"^Rss: +(\d+) kB", file.read(), re.MULTILINE)[0])


class PeakMemory:
    """Peak of a server's memory (VmHWM) since this object was made.

    It also has the memory at that time.
    """

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.before = measure_memory(server)
        with open(f"/proc/{server.pid}/clear_refs", "w") as file:
            file.write("5")  # sets VmHWM to the current memory (man 5 proc)

    @property
    def growth(self) -> int:
        with open(f"/proc/{self._server.pid}/status") as file:
            peak = 1024 * int(re.findall(r"^VmHWM:\s+(\d+) kB", file.read(), re.MULTILINE)[0])
        return max(0, peak - self.before)


@contextlib.contextmanager
def undisturbed_viewer(
    server: ServerProcess, address: str = LOOPBACK, *, growth: int = 32 * 2**20
) -> Iterator[HealthyViewer]:
    """Check that a viewer is not disturbed, and that nothing leaks.

    Memory and descriptors are compared at the end. Memory may grow by `growth` bytes: malloc keeps some, and requests
    are remembered. The long forms have at least 60,000 cases, so a leak of half a KiB per case fails.
    """
    with HealthyViewer.open_viewer(server, address) as viewer:
        viewer.press()
        viewer.load("/", "/latest.jpg", "/api/snapshots", "/metrics")
        viewer.check()
        descriptors, memory = count_descriptors(server), measure_memory(server)
        yield viewer
        viewer.press()
        viewer.load("/", "/latest.jpg", "/api/snapshots", "/metrics")
        viewer.check()
        while count_descriptors(server) > descriptors:
            time.sleep(0.01)
        grown = measure_memory(server) - memory
        assert grown < growth, f"{grown / 2**20:.1f} MiB more"
    assert not re.search(r"^\S+ (ERROR|CRITICAL)", server.stderr, re.MULTILINE)
    assert server.stop() == 0
    assert "Traceback" not in server.stderr
