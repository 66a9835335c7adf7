"""The live page behind real proxies, with and without WebSockets."""

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import Request, expect

from tests.browser.conftest import OpenWindow
from tests.browser.windows import Window
from tests.conftest import Serve
from tests.support.accounts import add_user
from tests.support.browser_pages import UNAUTHORIZED, UNREACHABLE, type_login
from tests.support.plain_proxies import needs_proxy, run_proxy
from tests.support.pushes import take_photo
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

UPGRADE_REQUIRED = r"status of 426"
CUT = r"net::ERR_|status of 50\d"
"""Chromium's console messages when a proxy or the server ends."""
WARNING = "does not pass WebSockets on"
BLOCKING = [pytest.param(kind, marks=needs_proxy(kind)) for kind in ("nginx", "Apache")]
PASSING = [
    pytest.param(kind, marks=needs_proxy(kind)) for kind in ("nginx with Upgrade", "Apache with upgrade", "HAProxy")
]


def start(serve: Serve, *arguments: str) -> ServerProcess:
    return serve("--open", "--trusted-proxies", "127.0.0.1", "--dead-time", "0", *arguments)


def paths_of(window: Window) -> list[str]:
    """Record the paths of requests of the page from now on."""
    paths: list[str] = []

    def add(request: Request) -> None:
        paths.append(re.sub(r"^\w+://[^/]+|\?.*", "", request.url))

    window.page.on("request", add)
    return paths


@pytest.mark.parametrize("kind", BLOCKING)
async def test_page_uses_events_and_post_behind_a_proxy_without_websockets(
    serve: Serve, open_window: OpenWindow, tmp_path: Path, kind: str
) -> None:
    server = start(serve)
    with run_proxy(kind, server.port, tmp_path) as url:
        window = await open_window("about:blank")
        window.accepted += [UNREACHABLE, UPGRADE_REQUIRED, CUT]
        paths = paths_of(window)
        await window.page.goto(url)
        await window.wait_until_live()
        assert "/events" in paths
        await window.shutter.click()
        own = await window.wait_for_photo()
        await expect(window.part("whose")).to_have_text("Your photo")
        assert "/api/captures" in paths
        others = (await take_photo(server.url))["snapshot"]
        await window.wait_for_photo(others)
        await expect(window.photos).to_have_count(2)
        assert own != others
        await window.page.reload()
        await window.wait_until_live()
    warnings = [line for line in server.stderr.splitlines() if WARNING in line]
    assert len(warnings) == 1
    assert "127.0.0.1" in warnings[0]
    assert "docs/deploying.md" in warnings[0]


@pytest.mark.parametrize("kind", PASSING)
async def test_page_uses_the_websocket_behind_a_proxy_that_passes_it(
    serve: Serve, open_window: OpenWindow, tmp_path: Path, kind: str
) -> None:
    server = start(serve)
    with run_proxy(kind, server.port, tmp_path) as url:
        window = await open_window("about:blank")
        window.accepted += [UNREACHABLE, CUT]  # when the proxy ends
        paths = paths_of(window)
        async with window.page.expect_websocket():
            await window.page.goto(url)
        await window.wait_until_live()
        await window.shutter.click()
        await window.wait_for_photo()
        assert not {"/events", "/api/captures"} & set(paths)
    assert WARNING not in server.stderr


@pytest.mark.parametrize("kind", [pytest.param("nginx", marks=needs_proxy("nginx"))])
async def test_stream_resumes_after_a_restart_and_a_press_meanwhile_waits(
    serve: Serve, open_window: OpenWindow, tmp_path: Path, kind: str
) -> None:
    server = start(serve)
    with run_proxy(kind, server.port, tmp_path) as url:
        window = await open_window("about:blank")
        window.accepted += [UNREACHABLE, UPGRADE_REQUIRED, CUT]
        await window.page.goto(url)
        await window.wait_until_live()
        first = (await take_photo(server.url))["snapshot"]
        await window.wait_for_photo(first)
        await asyncio.to_thread(server.stop)
        await expect(window.part("badge")).to_have_text("Not live")
        server.arguments[server.arguments.index("--port") + 1] = str(server.port)
        await asyncio.to_thread(server.start)
        await window.wait_until_live()
        await window.shutter.click()
        await window.wait_for_photo(other_than=first)


@pytest.mark.parametrize("kind", [pytest.param("nginx", marks=needs_proxy("nginx"))])
async def test_stream_ends_at_a_logout_and_is_refused_without_a_login(
    serve: Serve, open_window: OpenWindow, tmp_path: Path, kind: str
) -> None:
    add_user(tmp_path, "ada", "capture")
    server = serve("--auth", "--trusted-proxies", "127.0.0.1", "--dead-time", "0")
    with run_proxy(kind, server.port, tmp_path) as url:
        window = await open_window(f"{url}/login")
        window.accepted += [UNREACHABLE, UPGRADE_REQUIRED, UNAUTHORIZED, CUT]
        await type_login(window, "ada")
        await window.page.wait_for_url(f"{url}/")
        await window.wait_until_live()
        await window.shutter.click()
        await window.wait_for_photo()
        tab = await window.context.new_page()
        await tab.goto(url)
        await tab.get_by_role("button", name="Log out").click()
        await expect(window.part("log-in-again")).to_be_visible()


async def test_page_reconnects_by_websocket_after_the_server_was_down(serve: Serve, open_window: OpenWindow) -> None:
    """A failed WebSocket alone is no reason for a stream."""
    server = serve("--dead-time", "0")
    window = await open_window(server.url)
    window.accepted += [UNREACHABLE, r"net::ERR_"]
    await window.wait_until_live()
    paths = paths_of(window)
    await asyncio.to_thread(server.stop)
    async with window.page.expect_event("requestfailed", lambda request: "healthz" in request.url):
        pass
    server.arguments[server.arguments.index("--port") + 1] = str(server.port)
    await asyncio.to_thread(server.start)
    await window.wait_until_live()
    assert "/events" not in paths
