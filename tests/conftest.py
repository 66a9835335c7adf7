"""Fixtures for every test: the real server as a process (server_process.py), and inside the test (running.py)."""

import subprocess
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import pytest
from aiohttp.pytest_plugin import AiohttpClient

from dog.settings import Settings
from tests.support.heard import checked_messages
from tests.support.running import Running, run_service
from tests.support.server_process import ServerProcess
from tests.support.viewers import Connect

hypothesis.settings.register_profile(
    "untimed", hypothesis.settings.default, deadline=None
)  # a busy machine is no mistake of the code
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def every_message_is_checked() -> Iterator[None]:
    """What a test hears at /ws is what the AsyncAPI document says."""
    with checked_messages():
        yield


class Serve(Protocol):
    def __call__(
        self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> ServerProcess: ...


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """`serve("--camera", "test")`: a server that listens on a free port in the test's own folder."""
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
    """For a test that makes deeper trees than pytest can remove: what a failure leaves would end every later run."""
    yield
    subprocess.run(["rm", "-rf", "--", *tmp_path.iterdir()], check=False)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """`await connect(hub)`: a viewer of that hub on a real socket, and the other end of it."""
    connecting = Connect()
    yield connecting
    await connecting.stop()


class Run(Protocol):
    def __call__(self, **settings: object) -> Awaitable[Running]: ...


@pytest.fixture
def run(tmp_path: Path, aiohttp_client: AiohttpClient) -> Run:
    """`await run(dead_time=0.0)`: the service in this event loop, with those settings and a HandCamera.

    Without `exif`, so that what the camera gave is what is kept, bit for bit.
    """

    async def start(**settings: object) -> Running:
        chosen: dict[str, Any] = {"snapshots": tmp_path / "snapshots", "exif": False, **settings}
        return await run_service(aiohttp_client, Settings(**chosen))

    return start
