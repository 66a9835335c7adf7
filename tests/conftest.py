"""Fixtures for all tests: the server as a process, or inside the test."""

import gc
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import pytest
from aiohttp.pytest_plugin import AiohttpClient

from dog.settings import Settings
from tests.support.disks import run_mount, unmount
from tests.support.hand_clock import HandClock
from tests.support.heard import checked_messages
from tests.support.kept_results import keep_results
from tests.support.running import Running, run_service
from tests.support.server_process import ROOT, ServerProcess
from tests.support.viewers import Connect

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # `make test &` ignores it, and programs would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.pop("PYTHONPATH", None)  # programs of the tests import this checkout

LONG = ("packaging", "docs", "load", "browser", "web", "cli")
"""Folders whose tests take longest on average, in this order."""

hypothesis.settings.register_profile(
    "untimed", hypothesis.settings.default, deadline=None
)  # a busy machine must not fail a test
hypothesis.settings.load_profile("untimed")
keep_results()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the modules to the workers, those with long tests first.

    pytest-xdist gives each worker an equal part of this list, and a worker without tests takes some from the end of
    another's. So no long test is left for the end.
    """
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path.relative_to(ROOT / "tests"), []).append(item)
    parts: list[list[pytest.Item]] = [[] for _ in range(getattr(config, "workerinput", {}).get("workercount", 1))]
    for path in sorted(modules, key=lambda path: LONG.index(path.parts[0]) if path.parts[0] in LONG else len(LONG)):
        min(parts, key=len).extend(modules[path])
    items[:] = [item for part in parts for item in part]


def pytest_collection_finish() -> None:
    """Exempt all that is loaded from garbage collection, to save its time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def every_message_is_checked() -> Iterator[None]:
    """Check each message received at /ws against the AsyncAPI document."""
    with checked_messages():
        yield


class Serve(Protocol):
    def __call__(
        self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> ServerProcess: ...


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server on a free port: `serve("--camera", "test")`.

    It runs in the test's folder.
    """
    servers: list[ServerProcess] = []

    def start(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> ServerProcess:
        server = ServerProcess(*arguments, env=env, cwd=cwd or tmp_path)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.kill()
    for server in servers:
        assert "Traceback" not in server.stderr, server.stderr


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[None]:
    """Remove trees that are too deep for pytest, or later runs would fail."""
    yield
    subprocess.run(["rm", "-rf", "--", *tmp_path.iterdir()], check=False)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connect a viewer to a hub over a real socket.

    `await connect(hub)` returns it and the other end.
    """
    connecting = Connect()
    yield connecting
    await connecting.stop()


class Run(Protocol):
    def __call__(self, **settings: object) -> Awaitable[Running]: ...


@pytest.fixture
def run(tmp_path: Path, aiohttp_client: AiohttpClient) -> Run:
    """Run the service in this event loop: `await run(dead_time=0.0)`.

    It has these settings and a HandCamera. `exif` is off, so that the image is saved bit for bit.
    """

    async def start(**settings: object) -> Running:
        chosen: dict[str, Any] = {"snapshots": tmp_path / "snapshots", "exif": False, **settings}
        return await run_service(aiohttp_client, Settings(**chosen))

    return start


@pytest.fixture
def hand_clock() -> HandClock:
    return HandClock()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB in memory."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    run_mount("-t", "tmpfs", "-o", "size=2m", "dog-test", str(folder))
    yield folder
    unmount(folder)
