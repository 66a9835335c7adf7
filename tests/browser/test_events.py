"""EventSource on /events, and the page at /api, in a browser."""

import asyncio
import json
from typing import Any

import pytest

from tests.browser.conftest import OpenWindow
from tests.browser.windows import Window
from tests.conftest import Serve
from tests.support.cutting_proxy import start_proxy
from tests.support.heard import check_message
from tests.support.raw_requests import press
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

LISTEN = """path => {
    window.received = [];
    const source = new EventSource(path);
    for (const type of ["hello", "capturing", "ready"]) {
        source.addEventListener(type, (event) => window.received.push([event.lastEventId, event.type, event.data]));
    }
}"""


async def wait_for(window: Window, condition: str) -> list[dict[str, Any]]:
    """Wait until `received` meets the condition.

    Return all messages, checked against their schemas.
    """
    await window.page.wait_for_function(f"() => {{ const received = window.received; return {condition}; }}")
    found = []
    for cursor, kind, text in await window.read("() => window.received"):
        check_message(text)
        message = json.loads(text)
        assert (message["cursor"], message["type"]) == (cursor, kind)
        found.append(message)
    return found


async def test_event_source_reconnects_and_misses_no_event(
    serve: Serve, open_window: OpenWindow, quick_camera: str
) -> None:
    server = await asyncio.to_thread(serve, "--camera", quick_camera, "--dead-time", "0")
    async with start_proxy(server.port) as proxy:
        window = await open_window(f"{proxy.url}/api")
        window.accepted = [r"net::ERR_"]
        await window.read(LISTEN, "/events")
        await wait_for(window, "received.length === 1")
        taken = [await asyncio.to_thread(press, server)]
        await wait_for(window, "received.length === 3")
        proxy.shut = True
        proxy.cut()
        taken += [await asyncio.to_thread(press, server) for _ in range(3)]
        proxy.shut = False
        received = await wait_for(window, "received.filter(([, type]) => type === 'ready').length === 4")
    assert [one["recovered"] for one in received if one["type"] == "hello"] == [False, True]
    assert [one["snapshot"] for one in received if one["type"] == "ready"] == taken
    numbered = [one["seq"] for one in received if one["type"] != "hello"]
    assert numbered == list(range(1, 9))


async def test_event_source_receives_the_state_after_a_server_crash(
    serve: Serve, open_window: OpenWindow, quick_camera: str
) -> None:
    settings = ("--camera", quick_camera, "--dead-time", "0")
    server = await asyncio.to_thread(serve, *settings)
    window = await open_window(f"{server.url}/api")
    window.accepted = [r"net::ERR_"]
    await window.read(LISTEN, "/events")
    await wait_for(window, "received.length === 1")
    before = await asyncio.to_thread(press, server)
    await wait_for(window, "received.length === 3")
    await asyncio.to_thread(server.kill)
    again = await asyncio.to_thread(serve, *settings, "--port", str(server.port))
    received = await wait_for(window, "received.length === 4")
    assert (received[3]["type"], received[3]["recovered"]) == ("hello", False)
    assert received[3]["cameras"][0]["latest"]["snapshot"] == before
    after = await asyncio.to_thread(press, again)
    received = await wait_for(window, "received.length === 6")
    assert [one["snapshot"] for one in received if one["type"] == "ready"] == [before, after]


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("scripts", [True, False])
async def test_api_page_fits_the_window_and_works_without_javascript(
    idle_server: ServerProcess, open_window: OpenWindow, width: int, scripts: bool
) -> None:
    size = {"width": width, "height": 700}
    window = await open_window(f"{idle_server.url}/api", viewport=size, java_script_enabled=scripts)
    part = window.page.locator("#start_capture")
    await part.locator("summary").click()
    await part.get_by_text("Idempotency-Key").first.wait_for(state="visible")
    box = await window.page.locator("main").bounding_box()
    assert box is not None
    assert box["width"] <= width
    if scripts:
        assert await window.read("() => document.documentElement.scrollWidth") <= width
        await window.read("() => { for (const one of document.querySelectorAll('details')) one.open = true; }")
        assert await window.read("() => document.documentElement.scrollWidth") <= width


async def test_api_page_and_documents_work_below_a_prefix(idle_server: ServerProcess, open_window: OpenWindow) -> None:
    async with start_proxy(idle_server.port, prefix="/garden") as proxy:
        window = await open_window(f"{proxy.url}/garden/api")
        link = window.page.get_by_role("link", name="OpenAPI", exact=True)
        address = await link.evaluate("link => link.href")
        assert address == f"{proxy.url}/garden/api/openapi.json"
        server = await window.read("async (address) => (await (await fetch(address)).json()).servers[0].url", address)
        assert (
            await window.read("([url, base]) => new URL(url, base).href", [server, address]) == f"{proxy.url}/garden/"
        )
