"""With few file descriptors: who is too many is refused with 503, who is inside notices nothing, and none is lost."""

import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load.conftest import Tell
from tests.load.frames import TEXT, FrameReader
from tests.load.health import HERE, get, unhurt
from tests.support.server_process import ROOT, ServerProcess
from tests.web.test_websocket import UPGRADE

DESCRIPTORS = 256
CROWD = 500
PAGES = ("/", "/latest.jpg", "/static/dog.js", "/api/snapshots", "/healthz", "/readyz")
SIZES = [  # how often, and how many in a row: more than may wait to be accepted come again after a second
    pytest.param(1, 10, id="short"),
    pytest.param(10, CROWD, id="long", marks=[pytest.mark.load, pytest.mark.timeout(600)]),
]


@pytest.fixture
def poor(tmp_path: Path) -> Iterator[ServerProcess]:
    """The service where there are few descriptors."""
    command = ("sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$0" -m dog "$@"', sys.executable)
    server = ServerProcess(
        *("--dead-time", "0.1", "--max-connections-per-address", "1000"),
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        command=command,
    )
    yield server.start()
    server.kill()


def knock(port: int) -> socket.socket:
    client = socket.create_connection((HERE, port), timeout=20)
    with contextlib.suppress(ConnectionError):
        client.sendall(UPGRADE)
    return client


def read_status(client: socket.socket) -> int:
    """That of the handshake's answer; 0 where there was none, for too many are being told so already."""
    with contextlib.suppress(ConnectionError):
        said = client.recv(12)
        return int(said[9:]) if said else 0
    return 0


def read_until_ready(client: socket.socket) -> None:
    """Events until there is a photo, and that all frames are whole."""
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
def test_of_500_that_come_at_once_where_there_are_256_descriptors_some_are_inside_and_the_rest_refused(
    poor: ServerProcess, rounds: int, row: int, tell: Tell
) -> None:
    with unhurt(poor) as viewer:
        for number in range(rounds):
            with contextlib.ExitStack() as stack:
                crowd: list[socket.socket] = []
                statuses: list[int] = []
                while len(crowd) < CROWD:
                    crowd += [stack.enter_context(knock(poor.port)) for _ in range(row)]
                    statuses += [read_status(client) for client in crowd[-row:]]
                inside = [client for client, status in zip(crowd, statuses, strict=True) if status == 101]
                assert set(statuses) <= {101, 503, 0}
                assert min(statuses.count(503), len(inside)) >= 32
                for client in set(crowd) - set(inside):
                    client.close()
                for _ in range(20):  # one after the other, each is told
                    assert get(poor, "/healthz")[0] == 503
                viewer.press()
                viewer.check()
                for client in inside:
                    read_until_ready(client)
            while get(poor, "/healthz")[0] == 503:
                pass  # until those who have left are forgotten
            for path in PAGES:
                status, body = get(poor, path)[:2]
                assert (status, bool(body)) == (200, True)
            tell(f"{number + 1} times {CROWD}, {len(inside)} inside, {statuses.count(503)} told so")
