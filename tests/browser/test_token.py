"""static/dog-client.js where the server asks who is there: a token, none, and one that is taken away."""

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
from tests.browser.test_client import DOCUMENT, EMPTY, Visitor
from tests.browser.test_login import UNAUTHORIZED, make_accounts
from tests.conftest import Serve
from tests.support.server_process import ServerProcess, run_dog

pytestmark = pytest.mark.asyncio(loop_scope="session")

UNKNOWN = "dog_" + "x" * 43


async def run_token(server: ServerProcess, *arguments: str) -> None:
    ended = await asyncio.to_thread(run_dog, "token", *arguments, cwd=server.cwd)
    assert ended.returncode == 0, ended.stderr


async def begin(open_window: OpenWindow, server: ServerProcess, token: tuple[str, str] | None = None) -> Visitor:
    return await Visitor.begin(await open_window(server.url + EMPTY), token=token)


@pytest.fixture
def guarded(serve: Serve, tmp_path: Path) -> tuple[ServerProcess, str]:
    """A server that lets nobody in but by the token `page`, which may take photos."""
    (token,) = make_accounts(tmp_path, tokens={"page": "capture"})
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
    visitor = await Visitor.begin(window, token=(way, token))
    early = "() => dog.capture().then(({ snapshot }) => snapshot)"
    snapshot = await window.read(early)
    assert (await visitor.wait_for("hello"))["role"] == "capture"
    photos = await window.read("() => dog.snapshots()")
    assert [one["snapshot"] for one in photos] == [snapshot]
    read = "async ({ url }) => (await (await dog.fetch(url)).blob()).size"
    assert await window.read(read, photos[0]) == photos[0]["bytes"]
    assert await window.read("async ({ url }) => (await fetch(url, { cache: 'no-store' })).status", photos[0]) == 401
    assert any(address.startswith("ws") for address in addresses)
    assert not [address for address in addresses if token in address]
    assert await visitor.heard("missed") == []
    assert [one["type"] for one in await visitor.heard("error") if one["code"] != "unauthorized"] == []


async def test_client_without_a_token_is_refused_at_once(
    guarded: tuple[ServerProcess, str], open_window: OpenWindow
) -> None:
    server, _ = guarded

    async def never_close(route: WebSocketRoute) -> None:
        route.connect_to_server().on_close(lambda code, reason: None)

    window = await open_window(server.url + EMPTY)
    await window.page.clock.install()  # so that nothing is waited for on this side either
    await window.page.route_web_socket("**/ws*", never_close)
    visitor = await Visitor.begin(window)
    await visitor.press()
    ended = await visitor.wait_for_end()
    assert (ended["name"], ended["code"]) == ("DogError", "unauthorized")
    assert (await visitor.heard())[-1] == {"type": "statechange", "state": "refused", "code": 4401}
    await visitor.press()
    assert (await visitor.wait_for_end(1))["code"] == "unauthorized"


async def test_unknown_token_is_refused(guarded: tuple[ServerProcess, str], open_window: OpenWindow) -> None:
    server, _ = guarded
    for way in ("text", "later"):
        visitor = await begin(open_window, server, (way, UNKNOWN))
        await visitor.press()
        assert (await visitor.wait_for("statechange", state="refused"))["code"] == 4401
        assert (await visitor.wait_for_end())["code"] == "unauthorized"
        visitor.window.accepted.append(UNAUTHORIZED)
        listed = "() => dog.snapshots().then(() => '', ({ code }) => code)"
        assert await visitor.window.read(listed) == "unauthorized"


async def test_failing_token_function_is_called_again(
    guarded: tuple[ServerProcess, str], open_window: OpenWindow
) -> None:
    server, token = guarded
    visitor = await begin(open_window, server, ("failing", token))
    assert (await visitor.wait_for("hello"))["role"] == "capture"
    assert await visitor.window.read("() => asked") == [None, "lost"], "first while the client is made"


async def test_authentication_on_an_open_connection_loses_and_repeats_no_event(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    (token,) = make_accounts(tmp_path, tokens={"page": "capture"})
    server = serve("--auth", "true", "--anonymous", "view", "--dead-time", "0")
    said = asyncio.Event()
    go_on = asyncio.Event()

    async def hold_the_token_back(route: WebSocketRoute) -> None:
        server_side = route.connect_to_server()

        async def pass_on(message: str | bytes) -> None:
            if '"auth"' in str(message):
                said.set()
                await go_on.wait()
            server_side.send(message)

        route.on_message(lambda message: asyncio.ensure_future(pass_on(message)) and None)

    other = await begin(open_window, server, ("text", token))
    window = await open_window(server.url + EMPTY)
    await window.page.route_web_socket("**/ws*", hold_the_token_back)
    visitor = await Visitor.begin(window, token=("text", token))
    assert (await visitor.wait_for("hello"))["role"] == "view"
    await said.wait()
    first = await other.capture(maxAge=0)
    await visitor.wait_for("ready")
    go_on.set()
    hello = await visitor.wait_for("hello", 2)
    assert (hello["role"], hello["recovered"]) == ("capture", True)
    assert hello["cursor"] == (await visitor.heard("ready"))[-1]["cursor"]
    own = await visitor.capture(maxAge=0)
    last = await other.capture(maxAge=0)
    await visitor.wait_for("ready", 3)
    assert [one["snapshot"] for one in await visitor.heard("ready")] == [one["snapshot"] for one in (first, own, last)]
    assert await visitor.heard("missed") == []
    assert [one["state"] for one in await visitor.heard("statechange")] == ["live"]


async def test_forbidden_capture_is_refused_alone_and_wrong_token_answers_no_capture(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    watch, _ = make_accounts(tmp_path, tokens={"watch": "view", "page": "capture"})
    server = serve("--auth", "true", "--anonymous", "view", "--message-burst", "3", "--message-rate", "0.01")
    visitor = await begin(open_window, server, ("text", watch))
    await visitor.wait_for("hello", role="view")
    await visitor.press()
    ended = await visitor.wait_for_end()
    assert (ended["name"], ended["code"]) == ("DogError", "forbidden")
    assert "watch has the role view" in ended["message"]

    # Its refusal comes while presses wait for theirs, and one of those names no request: there were too many.
    said = """(token) => {
        window.other = new dog.constructor(dog.url, { token });
        return Promise.all([1, 2, 3].map(() => other.capture().then(() => "photo", ({ code }) => code)));
    }"""
    assert await visitor.window.read(said, UNKNOWN) == ["unauthorized", "unauthorized", "rate_limited"]
    assert await visitor.window.read("() => other.state") == "live"


async def test_revoked_token_ends_the_client_and_a_role_change_reconnects_it(
    guarded: tuple[ServerProcess, str], open_window: OpenWindow
) -> None:
    server, token = guarded
    visitor = await begin(open_window, server, ("later", token))
    await visitor.wait_for("hello", role="capture")
    with Accounts(server.cwd / "snapshots" / ".dog" / "access.sqlite3") as accounts:
        accounts.set_token_role("page", "view")
    assert (await visitor.wait_for("hello", role="view"))["recovered"]
    await visitor.press()
    assert (await visitor.wait_for_end())["code"] == "forbidden"
    await run_token(server, "remove", "page")
    assert (await visitor.wait_for("statechange", state="refused"))["code"] == 4401
    await visitor.press()
    assert (await visitor.wait_for_end(1))["code"] == "unauthorized"


async def test_server_without_logins_ignores_a_token(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    visitor = await begin(open_window, server, ("text", UNKNOWN))
    assert (await visitor.wait_for("hello"))["role"] == "manage"
    photo = await visitor.capture(maxAge=0)
    assert (await visitor.window.read("() => dog.snapshots()"))[0]["snapshot"] == photo["snapshot"]
    assert await visitor.heard("error") == []


@pytest_asyncio.fixture(loop_scope="session")
async def listener() -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A site of somebody else's, which lets everybody read it, and the headers that it was sent."""
    heard: list[dict[str, Any]] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(dict(request.headers))
        allowed = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "Authorization"}
        return web.Response(text="{}", headers=allowed)

    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", hear)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", heard
    await runner.cleanup()


async def test_page_of_another_site_sends_its_token_only_to_the_server(
    serve: Serve,
    site: str,
    listener: tuple[str, list[dict[str, Any]]],
    open_window: OpenWindow,
    tmp_path: Path,
) -> None:
    (token,) = make_accounts(tmp_path, tokens={"page": "capture"})
    server = serve("--auth", "true", "--origins", site, "--dead-time", "0")
    module = f"{server.url}/static/dog-client.js"
    visitor = await Visitor.begin(await open_window(site), module=module, token=("later", token))
    photo = await visitor.capture()
    shown = """async ({ url }) => {
        const image = new Image();
        image.src = URL.createObjectURL(await (await dog.fetch(url)).blob());
        await image.decode();
        return [image.naturalWidth, image.naturalHeight];
    }"""
    assert await visitor.window.read(shown, photo) == [photo["width"], photo["height"]]
    address, heard = listener
    assert await visitor.window.read("async (url) => (await dog.fetch(url)).status", f"{address}/x") == 200
    assert heard
    assert not [one for one in heard if "Authorization" in one]


async def test_example_in_the_docs_works_on_a_server_with_logins(
    serve: Serve, site: str, open_window: OpenWindow, tmp_path: Path
) -> None:
    token, other = make_accounts(tmp_path, tokens={"page": "view", "script": "capture"})
    server = serve("--auth", "true", "--origins", site, "--dead-time", "0")
    found = re.search(r"```js\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found, "docs/clients.md has an example of a token"

    answers = [(500, "this site has a problem"), (200, token)]

    async def give_token(route: Route) -> None:
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        await route.fulfill(status=status, body=body)

    window = await open_window(site)
    await window.page.route(f"{site}/camera-token", give_token)
    window.page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: heard.put_nowait(str(frame))))
    heard: asyncio.Queue[str] = asyncio.Queue()
    script = found[1].replace("https://camera.example", server.url)
    await window.page.set_content('<!doctype html><link rel="icon" href="data:,"><img id="photo" alt="The photo">')
    await window.page.add_script_tag(content=script, type="module")
    async with asyncio.timeout(30):
        while '"hello"' not in await heard.get():
            pass
    photo = await (await begin(open_window, server, ("text", other))).capture(maxAge=0)
    picture = window.page.get_by_role("img")
    await expect(picture).to_have_attribute("src", re.compile("^blob:"))
    await expect(picture).to_have_js_property("naturalWidth", photo["width"])
    shown = await picture.get_attribute("src")

    async def answer_gone(route: Route) -> None:
        await route.fulfill(status=410, body="gone", headers={"Access-Control-Allow-Origin": site})

    await window.page.route(f"{server.url}/snapshots/*", answer_gone)
    window.accepted += ["status of 500", "status of 410", "answered 410"]
    async with window.page.expect_event("pageerror") as told:
        await (await begin(open_window, server, ("text", other))).capture(maxAge=0)
    assert "answered 410" in str(await told.value)
    assert await picture.get_attribute("src") == shown
