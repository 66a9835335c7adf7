"""Memory of the service during floods of requests from one client address."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.load.conftest import Progress
from tests.load.floods import FLOODS, Attacker
from tests.load.health import HealthyViewer, PeakMemory, measure_memory, read_metric, send_request
from tests.support.authority import Authority
from tests.support.camera_programs import write_script
from tests.support.pictures import encode
from tests.support.server_process import ServerProcess

FLOODING_ADDRESS, HEALTHY_ADDRESS = "127.0.0.7", "127.0.0.9"
CONNECTIONS = 256
MAX_GROWTH_BYTES = 50 * 10**6
MAX_LEFT_BYTES = 20 * 10**6
"""Growth after all connections are closed. It includes the healthy viewer's photos."""
MIN_ROUNDS = 5
"""Rounds of the healthy viewer during the flood: each a photo, two pages and a ping."""
QUICK_CONNECTIONS = 100
QUICK = ["heads of 1 MB behind a response that is not read", "heads of 1 MB that do not end", "viewers that send heads"]
SETTINGS = """
dead_time = 0.25  # the time between two rounds

[cameras.main]
camera = "test"

[cameras.large]
camera = "script:{script}"
"""


@pytest.fixture(scope="module")
def large_photo() -> bytes:
    """Return an image of about 12 MB, more than the buffers of a connection."""
    return encode(Image.effect_noise((4000, 3000), 60).convert("RGB"), quality=95)


@pytest.fixture
def server(tmp_path: Path, large_photo: bytes, request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """Start the service with default limits and large photos.

    It serves HTTP or HTTPS.
    """
    script = write_script(tmp_path, 'cp "$PICTURE" "$1"')
    (tmp_path / "picture.jpg").write_bytes(large_photo)
    (tmp_path / "dog.toml").write_text(SETTINGS.format(script=script))
    authority = Authority(tmp_path)
    if is_https := request.param == "https":
        authority.issue()
    flags = authority.flags if is_https else ()
    server = ServerProcess("--config", "dog.toml", *flags, cwd=tmp_path, tls=authority.client if is_https else None)
    yield server.start()
    server.kill()
    assert "Traceback" not in server.stderr, server.stderr


def use_service(viewer: HealthyViewer) -> None:
    """Take a photo, load pages, and ping."""
    events = len(viewer.events)
    viewer.press()
    viewer.load("/", "/latest.jpg")
    viewer.check()
    assert viewer.events[events:] == ["capturing", "ready"]


def take_large_photo(server: ServerProcess, where: str) -> str:
    """Take a large photo, and return the path of its image."""
    status, body = send_request(server, "POST", "/api/captures", b'{"camera":"large","max_age":0}')
    assert status == 201, body
    photo = json.loads(body)
    if where == "disk":
        server.stop()
        server.start()
    if where == "link":
        status, body = send_request(server, "POST", f"/api/snapshots/{photo['snapshot']}/links", b"{}")
        assert status == 201, body
        return f"{urlsplit(json.loads(body)['url']).path}/picture.jpg"
    return str(photo["url"])


def wait_until_the_flood_is_gone(server: ServerProcess) -> None:
    while read_metric(server, "dog_connections", HEALTHY_ADDRESS) > 2:  # the viewer, and this request
        time.sleep(0.02)


def wait_until_memory_is_released(server: ServerProcess, memory: PeakMemory) -> int:
    while (left := measure_memory(server) - memory.before) > MAX_LEFT_BYTES:
        time.sleep(0.02)
    return left


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *(pytest.param(name, QUICK_CONNECTIONS, id=f"short, {name}") for name in QUICK),
        *(
            pytest.param(name, CONNECTIONS, id=name, marks=[pytest.mark.load, pytest.mark.timeout(300)])
            for name in FLOODS
        ),
    ],
)
@pytest.mark.parametrize("server", ["http", "https"], indirect=True)
async def test_a_flood_from_one_address_takes_less_than_50_mb_and_disturbs_no_viewer(
    server: ServerProcess, name: str, count: int, progress: Progress
) -> None:
    """Floods that read last until the service closes all their connections."""
    flood = FLOODS[name]
    photo = await asyncio.to_thread(take_large_photo, server, flood.where)
    with HealthyViewer.open_viewer(server, HEALTHY_ADDRESS) as viewer:
        await asyncio.to_thread(use_service, viewer)
        memory = PeakMemory(server)
        began = time.monotonic()
        attackers = [Attacker(server, flood, FLOODING_ADDRESS) for _ in range(count)]
        running = [asyncio.create_task(attacker.run(photo)) for attacker in attackers]
        try:
            sent, rounds = -1, 0
            while sent < (sent := sum(attacker.sent for attacker in attackers)) or rounds < MIN_ROUNDS:
                await asyncio.to_thread(use_service, viewer)
                rounds += 1
            if flood.reads:
                await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            ended = await asyncio.gather(*running, return_exceptions=True)
            for attacker in attackers:
                attacker.close()
        seconds = time.monotonic() - began
        await asyncio.to_thread(wait_until_the_flood_is_gone, server)
        await asyncio.to_thread(use_service, viewer)
        growth = memory.growth
        left = await asyncio.to_thread(wait_until_memory_is_released, server, memory)
    progress(
        f"{growth / 1e6:.0f} MB more at the peak, {left / 1e6:.0f} MB at the end;"
        f" {sent / 1e6:,.0f} MB were taken in {seconds:.0f} s and {rounds} rounds"
    )
    assert [error for error in ended if isinstance(error, Exception)] == []
    assert {attacker.status for attacker in attackers} == {flood.status}
    assert sent > 0
    assert growth < MAX_GROWTH_BYTES
