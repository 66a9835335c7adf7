"""Another site's page in a user's browser can do nothing (CSRF).

It changes and reads nothing. It is at another port, which is the same site, so that cookies are sent; and at another
host, so that they are not. The server has logins, or allows this machine everything.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Page

from tests.browser.conftest import TIMEOUT_MS
from tests.browser.windows import Window
from tests.support.accounts import add_user
from tests.support.browser_pages import type_login
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTS = ("127.0.0.1", "localhost")
FORM = """([action, fields]) => {
    const form = document.createElement("form");
    form.method = "post";
    form.action = action;
    for (const [name, value] of Object.entries(fields)) {
        const input = document.createElement("input");
        [input.name, input.value] = [name, value];
        form.append(input);
    }
    document.body.append(form);
    form.submit();
}"""

FETCH = """async ([url, how]) => {
    try {
        const answer = await fetch(url, { credentials: "include", ...how });
        return answer.type === "opaque" ? "opaque" : `read ${answer.status}`;
    } catch (error) {
        return error.name;
    }
}"""

LOAD = """([name, url]) => new Promise((resolve) => {
    const element = document.createElement(name);
    element.onload = () => resolve("load");
    element.onerror = () => resolve("error");
    element.src = url;
    document.body.append(element);
})"""

WATCH = """([kind, url]) => new Promise((resolve) => {
    const watcher = kind === "socket" ? new WebSocket(url) : new EventSource(url, { withCredentials: true });
    watcher.onmessage = ({ data }) => resolve(data);
    watcher.addEventListener("hello", ({ data }) => resolve(data));
    watcher.onclose = ({ code }) => resolve(code);
    watcher.onerror = () => kind === "socket" || resolve("error");
})"""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def foreign_port() -> AsyncIterator[int]:
    """The port of another site with two pages. `/silent` sends no Referer."""

    async def show(request: web.Request) -> web.Response:
        silent = '<meta name="referrer" content="no-referrer">' if request.path == "/silent" else ""
        page = f'<!doctype html><link rel="icon" href="data:,">{silent}<title>Another site</title>'
        return web.Response(text=page, content_type="text/html")

    app = web.Application()
    app.add_routes([web.get("/", show), web.get("/silent", show)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


class Victim:
    """A browser of a user with all rights.

    It also opens a page of another site.
    """

    def __init__(self, url: str, window: Window, photo: str, site: str) -> None:
        self.url = url
        self.window = window
        self.photo = photo
        self.site = site

    @property
    def context(self) -> BrowserContext:
        return self.window.context

    async def open_other_site(self, path: str = "/") -> Page:
        """Open a page of the other site in another tab."""
        page = await self.context.new_page()
        await page.goto(self.site + path)
        return page

    async def check_unchanged(self) -> None:
        """Check that nothing happened.

        There is one photo, not pinned and not shared, and the user is still logged in.
        """
        read = """async (photo) => {
            const read = async (path) => (await fetch(path)).json();
            const { snapshots } = await read("/api/snapshots");
            const { pinned = false } = await read(`/api/snapshots/${photo}`);
            const { links } = await read(`/api/snapshots/${photo}/links`);
            const { role } = await read("/api/visitor");
            return { snapshots: snapshots.map(({ snapshot }) => snapshot), pinned, links: links.length, role };
        }"""
        known = await self.window.read(read, self.photo)
        assert known == {"snapshots": [self.photo], "pinned": False, "links": 0, "role": "manage"}


@asynccontextmanager
async def run_victim(
    browser: Browser, folder: Path, foreign_port: int, kind: tuple[bool, str]
) -> AsyncIterator[Victim]:
    """Run a server, and a victim with a photo. The kind is that of KINDS."""
    has_login, host = kind
    if has_login:
        add_user(folder, "ada", "manage")
    server = ServerProcess(*(("--auth", "true") if has_login else ()), "--dead-time", "0", cwd=folder)
    context = await browser.new_context(reduced_motion="reduce")
    try:
        await asyncio.to_thread(server.start)
        context.set_default_timeout(TIMEOUT_MS)
        window = Window(await context.new_page())
        await window.page.goto(f"{server.url}/")
        if has_login:
            await type_login(window, "ada")
            await window.page.wait_for_url(f"{server.url}/")
        await window.wait_until_live()
        await window.shutter.click()
        yield Victim(server.url, window, await window.wait_for_photo(), f"http://{host}:{foreign_port}")
        assert window.unaccepted == []
    finally:
        await context.close()
        server.kill()
    assert "Traceback" not in server.stderr, server.stderr


KINDS: dict[str, Any] = {
    "params": list(product((True, False), HOSTS)),
    "ids": lambda kind: f"{'session' if kind[0] else 'no login'}, {kind[1]}",
}
"""With a login or without, and the other site's host."""


@pytest_asyncio.fixture(loop_scope="session", scope="module", **KINDS)
async def shared_victim(
    request: pytest.FixtureRequest, browser: Browser, foreign_port: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Victim]:
    """Start one victim for all tests that check that nothing happened."""
    async with run_victim(browser, tmp_path_factory.mktemp("victim"), foreign_port, request.param) as victim:
        yield victim


@pytest_asyncio.fixture(loop_scope="session")
async def victim(shared_victim: Victim) -> AsyncIterator[Victim]:
    """The shared victim. Other pages than its own are closed after the test."""
    yield shared_victim
    for page in shared_victim.context.pages:
        if page != shared_victim.window.page:
            await page.close()


@pytest_asyncio.fixture(loop_scope="session", **KINDS)
async def own_victim(
    request: pytest.FixtureRequest, browser: Browser, foreign_port: int, tmp_path: Path
) -> AsyncIterator[Victim]:
    """A victim for one test, which may change everything."""
    async with run_victim(browser, tmp_path, foreign_port, request.param) as victim:
        yield victim


@pytest.mark.parametrize("path", ["/", "/silent"])
async def test_forms_of_another_site_change_nothing(victim: Victim, path: str) -> None:
    photo = f"/snapshots/{victim.photo}"
    forms: list[tuple[str, dict[str, str]]] = [
        ("/", {}),
        (f"{photo}/pin", {"pinned": "yes"}),
        (f"{photo}/delete", {}),
        (f"{photo}/links", {"expires_in": "3600"}),
        ("/logout", {}),
        ("/login", {"name": "ada", "password": "another one"}),
    ]
    for action, fields in forms:
        page = await victim.open_other_site(path)
        async with page.expect_response(victim.url + action) as answer:
            await page.evaluate(FORM, [victim.url + action, fields])
        assert (await answer.value).status in ((403, 404) if action in ("/logout", "/login") else (403,)), action
        await page.close()
    await victim.check_unchanged()


async def test_fetches_of_another_site_change_and_read_nothing(victim: Victim) -> None:
    api, photo = f"{victim.url}/api", f"{victim.url}/api/snapshots/{victim.photo}"
    page = await victim.open_other_site()
    body = {"method": "POST", "body": '{"max_age":0}'}
    simple = {**body, "mode": "no-cors", "headers": {"Content-Type": "text/plain"}}
    for url, how in [
        (f"{api}/captures", body),
        (f"{api}/captures", {**body, "headers": {"Content-Type": "application/json"}}),
        (f"{victim.url}/", {"method": "POST", "body": ""}),
        (f"{photo}/pin", {"method": "PUT"}),
        (photo, {"method": "DELETE"}),
        (f"{photo}/links", {**body, "body": "{}"}),
        (f"{api}/tickets", {"method": "POST"}),
        (f"{api}/snapshots", {}),
        (f"{api}/visitor", {}),
        (f"{victim.url}/latest.jpg", {}),
        (f"{victim.url}/latest.jpg?max_age=0", {}),
    ]:
        assert await page.evaluate(FETCH, [url, how]) == "TypeError", (url, how)
    # A browser sends these without a preflight, and hides the response.
    for url, how in [
        (f"{api}/captures", simple),
        (f"{victim.url}/", simple),
        (f"{victim.url}/snapshots/{victim.photo}/delete", simple),
        (f"{victim.url}/logout", simple),
        (f"{victim.url}/latest.jpg?max_age=0", {"mode": "no-cors"}),
    ]:
        assert await page.evaluate(FETCH, [url, how]) in ("TypeError", "opaque"), url
    await victim.check_unchanged()


@pytest.mark.parametrize("path", ["/", "/silent"])
async def test_images_scripts_and_links_of_another_site_take_and_show_no_photo(victim: Victim, path: str) -> None:
    page = await victim.open_other_site(path)
    for name, url in product(
        ("img", "script"),
        ("/latest.jpg?max_age=0", "/latest.jpg", f"/snapshots/{victim.photo}.jpg", "/api/snapshots", "/preview.mjpg"),
    ):
        assert await page.evaluate(LOAD, [name, victim.url + url]) == "error", (name, url)
    async with page.expect_response("**/latest.jpg?max_age=0") as answer:
        await page.evaluate("(url) => { location.href = url; }", f"{victim.url}/latest.jpg?max_age=0")
    assert (await answer.value).status == 403
    await victim.check_unchanged()


async def test_another_site_receives_no_events(victim: Victim) -> None:
    page = await victim.open_other_site()
    assert await page.evaluate(WATCH, ["socket", f"{victim.url.replace('http', 'ws', 1)}/ws"]) == 1006
    assert await page.evaluate(WATCH, ["source", f"{victim.url}/events"]) == "error"
    async with page.expect_response("**/events") as answer:
        await page.evaluate("(url) => { location.href = url; }", f"{victim.url}/events")
    assert (await answer.value).status == 403
    await victim.check_unchanged()


async def test_another_site_cannot_embed_pages_in_a_frame(victim: Victim) -> None:
    page = await victim.open_other_site()
    for path in ("/", f"/snapshots/{victim.photo}", f"/snapshots/{victim.photo}/delete", "/snapshots", "/login"):
        async with page.expect_event("framenavigated", lambda frame: frame.url not in ("", "about:blank")) as frame:
            await page.evaluate(LOAD, ["iframe", victim.url + path])
        assert (await frame.value).url.startswith("chrome-error:"), path
    await victim.check_unchanged()


async def test_own_page_can_do_what_another_site_cannot(own_victim: Victim) -> None:
    """The same requests work here, or the other tests would prove nothing."""
    victim = own_victim
    page = victim.window.page
    assert await page.evaluate(LOAD, ["img", f"{victim.url}/latest.jpg?max_age=0"]) == "load"
    assert (
        await page.evaluate(FETCH, [f"{victim.url}/api/captures", {"method": "POST", "body": '{"max_age":0}'}])
        == "read 201"
    )
    assert '"hello"' in str(await page.evaluate(WATCH, ["socket", f"{victim.url.replace('http', 'ws', 1)}/ws"]))
    count = "async () => (await (await fetch('/api/snapshots')).json()).snapshots.length"
    assert await page.evaluate(count) == 3
    async with page.expect_navigation():
        await page.evaluate(FORM, [f"{victim.url}/snapshots/{victim.photo}/delete", {}])
    assert await page.evaluate(count) == 2
