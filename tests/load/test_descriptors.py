"""A server with few descriptors answers 503, and leaks none.

Other clients are not disturbed.
"""

import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load.conftest import Progress
from tests.load.health import LOOPBACK, get, undisturbed_viewer
from tests.support.server_process import ROOT, ServerProcess
from tests.support.websocket_frames import TEXT, UPGRADE, FrameReader

MAX_DESCRIPTORS = 256
CLIENTS = 500
PAGES = ("/", "/latest.jpg", "/static/live.js", "/api/snapshots", "/healthz", "/readyz")
SIZES = [  # rounds, and connections in a row: above the listen backlog, clients retry after a second
    pytest.param(1, 10, id="short"),
    pytest.param(10, CLIENTS, id="long", marks=[pytest.mark.load, pytest.mark.timeout(600)]),
]


@pytest.fixture
def few_descriptors(tmp_path: Path) -> Iterator[ServerProcess]:
    """Start the service with few descriptors."""
    command = ("sh", "-c", f'ulimit -n {MAX_DESCRIPTORS}; exec "$0" -m dog "$@"', sys.executable)
    server = ServerProcess(
        *("--dead-time", "0.1", "--max-connections-per-address", "1000"),
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        command=command,
    )
    yield server.start()
    server.kill()


def open_handshake(port: int) -> socket.socket:
    client = socket.create_connection((LOOPBACK, port), timeout=20)
    with contextlib.suppress(ConnectionError):
        client.sendall(UPGRADE)
    return client


def read_status(client: socket.socket) -> int:
    """Return the status of the handshake.

    It is 0 without a response, if too many are being refused already.
    """
    with contextlib.suppress(ConnectionError):
        said = client.recv(12)
        return int(said[9:]) if said else 0
    return 0


def read_until_ready(client: socket.socket) -> None:
    """Read events until a photo is ready, and check that all frames are whole."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += client.recv(65536)
    reader = FrameReader()
    frames = reader.feed(said.partition(b"\r\n\r\n")[2])
    while not any(frame.opcode == TEXT and json.loads(frame.payload)["type"] == "ready" for frame in frames):
        data = client.recv(65536)
        assert data
        frames = reader.feed(data)


@pytest.mark.parametrize(("rounds", "row"), SIZES)
def test_500_clients_at_once_with_256_descriptors_are_served_or_refused_with_503(
    few_descriptors: ServerProcess, rounds: int, row: int, progress: Progress
) -> None:
    with undisturbed_viewer(few_descriptors) as viewer:
        for number in range(rounds):
            with contextlib.ExitStack() as stack:
                clients: list[socket.socket] = []
                statuses: list[int] = []
                while len(clients) < CLIENTS:
                    clients += [stack.enter_context(open_handshake(few_descriptors.port)) for _ in range(row)]
                    statuses += [read_status(client) for client in clients[-row:]]
                inside = [client for client, status in zip(clients, statuses, strict=True) if status == 101]
                assert set(statuses) <= {101, 503, 0}
                assert min(statuses.count(503), len(inside)) >= 32
                for client in set(clients) - set(inside):
                    client.close()
                for _ in range(20):  # each connection is refused with a response
                    assert get(few_descriptors, "/healthz")[0] == 503
                viewer.press()
                viewer.check()
                for client in inside:
                    read_until_ready(client)
            while get(few_descriptors, "/healthz")[0] == 503:
                pass  # until the closed connections are released
            for path in PAGES:
                status, body = get(few_descriptors, path)[:2]
                assert (status, bool(body)) == (200, True)
            progress(f"{number + 1} times {CLIENTS}, {len(inside)} served, {statuses.count(503)} refused with 503")
