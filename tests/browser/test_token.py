"""static/dog-client.js on a server with logins, with and without a token."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Route, WebSocketRoute, expect

from dog.auth.accounts import Accounts
from tests.browser.conftest import OpenWindow
from tests.conftest import Serve
from tests.support.accounts import add_token
from tests.support.browser_pages import UNAUTHORIZED
from tests.support.client_window import DOCUMENT, EMPTY, ClientWindow
from tests.support.server_process import ServerProcess, run_dog

pytestmark = pytest.mark.asyncio(loop_scope="session")

UNKNOWN = "dog_" + "x" * 43


async def run_dog_token(server: ServerProcess, *arguments: str) -> None:
    ended = await asyncio.to_thread(run_dog, "token", *arguments, cwd=server.cwd)
    assert ended.returncode == 0, ended.stderr


async def open_client(
    open_window: OpenWindow, server: ServerProcess, token: tuple[str, str] | None = None
) -> ClientWindow:
    return await ClientWindow.start(await open_window(server.url + EMPTY), token=token)


@pytest.fixture
def guarded(serve: Serve, tmp_path: Path) -> tuple[ServerProcess, str]:
    """A server that only the token `page` can use. It may take photos."""
    token = add_token(tmp_path, "page", "capture")
    return serve("--auth", "true", "--dead-time", "0"), token


@pytest.mark.parametrize("way", ["text", "later"])
async def test_token_allows_push_captures_and_fetches_and_is_in_no_url(
    guarded: tuple[ServerProcess, str], open_window: OpenWindow, way: str
) -> None:
    server, token = guarded
    window = await open_window(server.url + EMPTY)
    window.accepted.append(UNAUTHORIZED)
    addresses: list[str] = []
    window.page.on("request", lambda request: addresses.append(request.url))
    window.page.on("websocket", lambda socket: addresses.append(socket.url))
    client = await ClientWindow.start(window, token=(way, token))
    early = "() => dog.capture().then(({ snapshot }) => snapshot)"
    snapshot = await window.read(early)
    assert (await client.wait_for("hello"))["role"] == "capture"
    photos = await window.read("() => dog.snapshots()")
    assert [one["snapshot"] for one in photos] == [snapshot]
    read = "async ({ url }) => (await (await dog.fetch(url)).blob()).size"
    assert await window.read(read, photos[0]) == photos[0]["bytes"]
    assert await window.read("async ({ url }) => (await fetch(url, { cache: 'no-store' })).status", photos[0]) == 401
    assert any(address.startswith("ws") for address in addresses)
    assert not [address for address in addresses if token in address]
    assert await client.received("missed") == []
    assert [one["type"] for one in await client.received("error") if one["code"] != "unauthorized"] == []


async def test_client_without_a_token_is_refused_at_once(
    guarded: tuple[ServerProcess, str], open_window: OpenWindow
) -> None:
    server, _ = guarded

    async def never_close(route: WebSocketRoute) -> None:
        route.connect_to_server().on_close(lambda code, reason: None)

    window = await open_window(server.url + EMPTY)
    await window.page.clock.install()  # so that the client's own timeouts do not run
    await window.page.route_web_socket("**/ws*", never_close)
    client = await ClientWindow.start(window)
    await client.press()
    ended = await client.wait_for_end()
    assert (ended["name"], ended["code"]) == ("DogError", "unauthorized")
    assert (await client.received())[-1] == {"type": "statechange", "state": "refused", "code": 4401}
    await client.press()
    assert (await client.wait_for_end(1))["code"] == "unauthorized"


async def test_unknown_token_is_refused(guarded: tuple[ServerProcess, str], open_window: OpenWindow) -> None:
    server, _ = guarded
    for way in ("text", "later"):
        client = await open_client(open_window, server, (way, UNKNOWN))
        await client.press()
        assert (await client.wait_for("statechange", state="refused"))["code"] == 4401
        assert (await client.wait_for_end())["code"] == "unauthorized"
        client.window.accepted.append(UNAUTHORIZED)
        listed = "() => dog.snapshots().then(() => '', ({ code }) => code)"
        assert await client.window.read(listed) == "unauthorized"


async def test_failing_token_function_is_called_again(
    guarded: tuple[ServerProcess, str], open_window: OpenWindow
) -> None:
    server, token = guarded
    client = await open_client(open_window, server, ("failing", token))
    assert (await client.wait_for("hello"))["role"] == "capture"
    assert await client.window.read("() => asked") == [None, "lost"], "first in the constructor"


async def test_authentication_on_an_open_connection_loses_and_repeats_no_event(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    token = add_token(tmp_path, "page", "capture")
    server = serve("--auth", "true", "--anonymous", "view", "--dead-time", "0")
    token_sent = asyncio.Event()
    go_on = asyncio.Event()

    async def hold_the_token_back(route: WebSocketRoute) -> None:
        server_side = route.connect_to_server()

        async def pass_on(message: str | bytes) -> None:
            if '"auth"' in str(message):
                token_sent.set()
                await go_on.wait()
            server_side.send(message)

        route.on_message(lambda message: asyncio.ensure_future(pass_on(message)) and None)

    other = await open_client(open_window, server, ("text", token))
    window = await open_window(server.url + EMPTY)
    await window.page.route_web_socket("**/ws*", hold_the_token_back)
    client = await ClientWindow.start(window, token=("text", token))
    assert (await client.wait_for("hello"))["role"] == "view"
    await token_sent.wait()
    first = await other.capture(maxAge=0)
    await client.wait_for("ready")
    go_on.set()
    hello = await client.wait_for("hello", 2)
    assert (hello["role"], hello["recovered"]) == ("capture", True)
    assert hello["cursor"] == (await client.received("ready"))[-1]["cursor"]
    own = await client.capture(maxAge=0)
    last = await other.capture(maxAge=0)
    await client.wait_for("ready", 3)
    assert [one["snapshot"] for one in await client.received("ready")] == [
        one["snapshot"] for one in (first, own, last)
    ]
    assert await client.received("missed") == []
    assert [one["state"] for one in await client.received("statechange")] == ["live"]


async def test_forbidden_capture_is_refused_alone_and_wrong_token_answers_no_capture(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    watch, _ = add_token(tmp_path, "watch", "view"), add_token(tmp_path, "page", "capture")
    server = serve("--auth", "true", "--anonymous", "view", "--message-burst", "3", "--message-rate", "0.01")
    client = await open_client(open_window, server, ("text", watch))
    await client.wait_for("hello", role="view")
    await client.press()
    ended = await client.wait_for_end()
    assert (ended["name"], ended["code"]) == ("DogError", "forbidden")
    assert "watch has the role view" in ended["message"]

    # The token's refusal arrives while captures wait. `rate_limited` has no `request`.
    capture_thrice = """(token) => {
        window.other = new dog.constructor(dog.url, { token });
        return Promise.all([1, 2, 3].map(() => other.capture().then(() => "photo", ({ code }) => code)));
    }"""
    assert await client.window.read(capture_thrice, UNKNOWN) == ["unauthorized", "unauthorized", "rate_limited"]
    assert await client.window.read("() => other.state") == "live"


async def test_revoked_token_ends_the_client_and_a_role_change_reconnects_it(
    guarded: tuple[ServerProcess, str], open_window: OpenWindow
) -> None:
    server, token = guarded
    client = await open_client(open_window, server, ("later", token))
    await client.wait_for("hello", role="capture")
    with Accounts(server.cwd / "snapshots" / ".dog" / "access.sqlite3") as accounts:
        accounts.set_token_role("page", "view")
    assert (await client.wait_for("hello", role="view"))["recovered"]
    await client.press()
    assert (await client.wait_for_end())["code"] == "forbidden"
    await run_dog_token(server, "remove", "page")
    assert (await client.wait_for("statechange", state="refused"))["code"] == 4401
    await client.press()
    assert (await client.wait_for_end(1))["code"] == "unauthorized"


async def test_server_without_logins_ignores_a_token(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    client = await open_client(open_window, server, ("text", UNKNOWN))
    assert (await client.wait_for("hello"))["role"] == "manage"
    photo = await client.capture(maxAge=0)
    assert (await client.window.read("() => dog.snapshots()"))[0]["snapshot"] == photo["snapshot"]
    assert await client.received("error") == []


@pytest_asyncio.fixture(loop_scope="session")
async def listener() -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """Another site that allows all origins, and the headers that it received."""
    received: list[dict[str, Any]] = []

    async def record(request: web.Request) -> web.Response:
        received.append(dict(request.headers))
        allowed = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "Authorization"}
        return web.Response(text="{}", headers=allowed)

    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", record)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", received
    await runner.cleanup()


async def test_page_of_another_site_sends_its_token_only_to_the_server(
    serve: Serve,
    site: str,
    listener: tuple[str, list[dict[str, Any]]],
    open_window: OpenWindow,
    tmp_path: Path,
) -> None:
    token = add_token(tmp_path, "page", "capture")
    server = serve("--auth", "true", "--origins", site, "--dead-time", "0")
    module = f"{server.url}/static/dog-client.js"
    client = await ClientWindow.start(await open_window(site), module=module, token=("later", token))
    photo = await client.capture()
    shown = """async ({ url }) => {
        const image = new Image();
        image.src = URL.createObjectURL(await (await dog.fetch(url)).blob());
        await image.decode();
        return [image.naturalWidth, image.naturalHeight];
    }"""
    assert await client.window.read(shown, photo) == [photo["width"], photo["height"]]
    address, received = listener
    assert await client.window.read("async (url) => (await dog.fetch(url)).status", f"{address}/x") == 200
    assert received
    assert not [one for one in received if "Authorization" in one]


async def test_example_in_the_docs_works_on_a_server_with_logins(
    serve: Serve, site: str, open_window: OpenWindow, tmp_path: Path
) -> None:
    token, other = add_token(tmp_path, "page", "view"), add_token(tmp_path, "script", "capture")
    server = serve("--auth", "true", "--origins", site, "--dead-time", "0")
    found = re.search(r"```js\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found, "docs/clients.md has an example of a token"

    answers = [(500, "this site has a problem"), (200, token)]

    async def give_token(route: Route) -> None:
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        await route.fulfill(status=status, body=body)

    window = await open_window(site)
    await window.page.route(f"{site}/camera-token", give_token)
    window.page.on(
        "websocket", lambda socket: socket.on("framereceived", lambda frame: received.put_nowait(str(frame)))
    )
    received: asyncio.Queue[str] = asyncio.Queue()
    script = found[1].replace("https://camera.example", server.url)
    await window.page.set_content('<!doctype html><link rel="icon" href="data:,"><img id="photo" alt="The photo">')
    await window.page.add_script_tag(content=script, type="module")
    async with asyncio.timeout(30):
        while '"hello"' not in await received.get():
            pass
    photo = await (await open_client(open_window, server, ("text", other))).capture(maxAge=0)
    picture = window.page.get_by_role("img")
    await expect(picture).to_have_attribute("src", re.compile("^blob:"))
    await expect(picture).to_have_js_property("naturalWidth", photo["width"])
    shown = await picture.get_attribute("src")

    async def answer_gone(route: Route) -> None:
        await route.fulfill(status=410, body="gone", headers={"Access-Control-Allow-Origin": site})

    await window.page.route(f"{server.url}/snapshots/*", answer_gone)
    window.accepted += ["status of 500", "status of 410", "answered 410"]
    async with window.page.expect_event("pageerror") as page_error:
        await (await open_client(open_window, server, ("text", other))).capture(maxAge=0)
    assert "answered 410" in str(await page_error.value)
    assert await picture.get_attribute("src") == shown
