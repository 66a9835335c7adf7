"""The page's connection: resuming, pinging, and stopping after a refusal."""

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import WebSocketRoute, expect

from tests.browser.conftest import OpenWindow
from tests.browser.live_views import hide
from tests.conftest import Serve
from tests.support.messages import make_hello
from tests.support.pushes import take_photo
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_photos_missed_during_a_disconnect_are_replayed_and_shown_once(
    serve: Serve, open_window: OpenWindow
) -> None:
    server = serve("--dead-time", "0")
    routes: list[WebSocketRoute] = []
    back = asyncio.Event()

    async def pass_on(route: WebSocketRoute) -> None:
        routes.append(route)
        if len(routes) > 1:
            await back.wait()
        route.connect_to_server()

    window = await open_window("about:blank")
    await window.page.route_web_socket("**/ws*", pass_on)
    await window.page.goto(server.url)
    await window.wait_until_live()
    first = (await take_photo(server.url))["snapshot"]
    await window.wait_for_photo(first)
    await routes[0].close(code=1012)
    await expect(window.part("badge")).to_have_text("Not live")
    await take_photo(server.url)
    third = (await take_photo(server.url))["snapshot"]
    back.set()
    await window.wait_until_live()
    await window.wait_for_photo(third)
    await expect(window.photos).to_have_count(3)
    assert "since" not in parse_qs(urlsplit(routes[0].url).query)
    assert "since" in parse_qs(urlsplit(routes[1].url).query)


async def test_photos_older_than_the_replay_buffer_are_fetched(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    routes: list[WebSocketRoute] = []
    back = asyncio.Event()

    async def forget_the_cursor(route: WebSocketRoute) -> None:
        routes.append(route)
        if len(routes) > 1:
            await back.wait()
        server_side = route.connect_to_server()

        def on_server_message(message: str | bytes) -> None:
            data = json.loads(message)
            if data["type"] == "hello":
                data["recovered"] = False
            if data["type"] in ("hello", "viewers") or len(routes) == 1:
                route.send(json.dumps(data))

        server_side.on_message(on_server_message)

    window = await open_window("about:blank")
    await window.page.route_web_socket("**/ws*", forget_the_cursor)
    await window.page.goto(server.url)
    await window.wait_until_live()
    await window.wait_for_photo((await take_photo(server.url))["snapshot"])
    await routes[0].close(code=1012)
    await expect(window.part("badge")).to_have_text("Not live")
    await take_photo(server.url)
    third = (await take_photo(server.url))["snapshot"]
    back.set()
    await window.wait_for_photo(third)
    await expect(window.photos).to_have_count(3)


async def test_silent_server_is_pinged_and_then_disconnected(
    idle_server: ServerProcess, open_window: OpenWindow
) -> None:
    received: list[str] = []
    asked, left = asyncio.Event(), asyncio.Event()

    def on_client_message(message: str | bytes) -> None:
        received.append(json.loads(message)["type"])
        asked.set()

    async def fall_silent(route: WebSocketRoute) -> None:
        if received:
            left.set()
        route.on_message(on_client_message)
        route.send(json.dumps(make_hello(role="manage")))

    window = await open_window("about:blank")
    await window.page.clock.install()
    await window.page.clock.pause_at("2030-01-01")
    await window.page.route_web_socket("**/ws*", fall_silent)
    await window.page.goto(idle_server.url)
    await window.wait_until_live()
    await window.page.clock.run_for(19_000)
    assert received == []
    await window.page.clock.run_for(2_000)
    await asyncio.wait_for(asked.wait(), 30)
    assert received == ["ping"]
    await expect(window.part("badge")).to_have_text("Live")
    await window.page.clock.run_for(12_000)  # ten until the timeout, and less than one to reconnect
    await asyncio.wait_for(left.wait(), 30)
    await window.wait_until_live()


@pytest.mark.parametrize("answers", [True, False])
async def test_shown_page_notices_a_dead_connection_within_3_s(
    idle_server: ServerProcess, open_window: OpenWindow, answers: bool
) -> None:
    asked = asyncio.Event()

    async def answer(route: WebSocketRoute) -> None:
        def on_client_message(message: str | bytes) -> None:
            if answers:
                route.send(json.dumps({"type": "pong"}))
            asked.set()

        route.on_message(on_client_message)
        route.send(json.dumps(make_hello(role="manage")))

    window = await open_window("about:blank")
    await window.page.clock.install()
    await window.page.clock.pause_at("2030-01-01")
    await window.page.route_web_socket("**/ws*", answer)
    await window.page.goto(idle_server.url)
    await window.wait_until_live()
    await window.page.clock.run_for(5_000)
    await window.read("() => { window.states = []; }")
    await window.read(
        "() => new MutationObserver(() => states.push(document.getElementById('badge').dataset.connection))"
        ".observe(document.getElementById('badge'), { attributes: true })"
    )
    await hide(window, True)
    await hide(window, False)
    await asyncio.wait_for(asked.wait(), 30)
    await window.page.clock.run_for(2_900)
    assert ("lost" in await window.read("() => states")) == (not answers)


@pytest.mark.parametrize(
    ("code", "expected"), [(4401, "You are logged out"), (4403, "does not allow this page to connect")]
)
async def test_refusal_is_shown_and_stops_reconnecting(
    idle_server: ServerProcess, open_window: OpenWindow, code: int, expected: str
) -> None:
    opened: list[str] = []

    async def refuse(route: WebSocketRoute) -> None:
        opened.append(route.url)
        await route.close(code=code)

    window = await open_window("about:blank")
    await window.page.clock.install()
    await window.page.route_web_socket("**/ws*", refuse)
    await window.page.goto(idle_server.url)
    await expect(window.part("status")).to_contain_text(expected)
    await window.page.clock.run_for(60_000)
    assert len(opened) == 1


async def test_restored_network_reconnects_at_once(idle_server: ServerProcess, open_window: OpenWindow) -> None:
    opened: list[str] = []

    async def close_the_first(route: WebSocketRoute) -> None:
        opened.append(route.url)
        if len(opened) == 1:
            await route.close(code=1013)
        else:
            route.connect_to_server()

    window = await open_window("about:blank")
    await window.page.clock.install()
    await window.page.clock.pause_at("2030-01-01")
    await window.page.route_web_socket("**/ws*", close_the_first)
    await window.page.goto(idle_server.url)
    await expect(window.part("badge")).to_have_text("Not live")
    assert len(opened) == 1
    await window.read("() => { dispatchEvent(new Event('online')); }")
    await window.wait_until_live()
