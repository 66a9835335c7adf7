"""The number of files that a page loads, without and with a cache."""

import re
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from dog.web.handlers.static_files import bundle_scripts
from tests.browser.conftest import OpenWindow
from tests.browser.windows import Window
from tests.conftest import Serve
from tests.support.pushes import take_photo, take_photos
from tests.support.script_modules import MODULES

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Traffic:
    """The requests of a page that reach the server.

    They are read from Chromium's network log.
    """

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}

    async def watch(self, page: Page) -> None:
        session = await page.context.new_cdp_session(page)
        session.on("Network.requestWillBeSent", lambda event: self._add(event, event["request"]["url"]))
        session.on("Network.webSocketCreated", lambda event: self._add(event, event["url"]))
        session.on("Network.requestServedFromCache", self._remove)
        session.on("Network.responseReceived", self._remove_cached)
        await session.send("Network.enable")

    def _add(self, event: dict[str, Any], url: str) -> None:
        if re.match("(?:http|ws):", url):
            self._paths[event["requestId"]] = url.split("/", 3)[3]

    def _remove(self, event: dict[str, Any]) -> None:
        self._paths.pop(event["requestId"], None)

    def _remove_cached(self, event: dict[str, Any]) -> None:
        if event["response"]["fromDiskCache"]:
            self._remove(event)

    @property
    def paths(self) -> list[str]:
        """Their paths, without hashes and ids."""
        return sorted(re.sub(r"-[0-9a-f]{16}\b|(?<=snapshots/)\w+", "", path) for path in self._paths.values())


async def visit(open_window: OpenWindow, url: str, context: BrowserContext | None = None) -> tuple[Window, Traffic]:
    """Open a page, and wait until its files are loaded.

    By default, the browser has no cache.
    """
    window, traffic = await open_window("about:blank", context=context), Traffic()
    await traffic.watch(window.page)
    await window.page.goto(url, wait_until="networkidle")
    return window, traffic


async def test_live_page_needs_seven_requests_and_two_when_reopened(serve: Serve, open_window: OpenWindow) -> None:
    server = serve()
    await take_photo(server.url)
    first, traffic = await visit(open_window, server.url)
    await first.wait_until_live()
    parts = ["static/icon.svg", "static/live-page.js", "static/page.css"]
    assert traffic.paths == ["", "snapshots/.jpg", "snapshots//thumbnail.jpg", *parts, "ws"]
    again, traffic = await visit(open_window, server.url, first.context)
    await again.wait_until_live()
    assert traffic.paths == ["", "ws"]


async def test_strip_loads_visible_thumbnails_and_others_on_scrolling(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    await take_photos(server.url, 20)
    window, traffic = await visit(open_window, server.url)
    thumbnails = traffic.paths.count("snapshots//thumbnail.jpg")
    assert 0 < thumbnails < 20
    last = window.photos.last.locator("img")
    await expect(last).to_have_js_property("complete", False)
    await window.photos.last.scroll_into_view_if_needed()
    await expect(last).to_have_js_property("naturalWidth", 320)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("snapshots", {"static/album-page.css", "static/gallery-page.js", "static/icon.svg"}),
        ("snapshots/{id}", {"static/snapshot-page.css", "static/snapshot-page.js", "static/icon.svg"}),
        ("api", {"static/api-page.css", "static/icon.svg"}),
        ("nowhere", {"static/page.css", "static/icon.svg"}),
    ],
)
async def test_other_pages_load_at_most_one_stylesheet_and_one_script(
    serve: Serve, open_window: OpenWindow, path: str, parts: set[str]
) -> None:
    server = serve()
    photo = (await take_photo(server.url))["snapshot"]
    window, traffic = await visit(open_window, f"{server.url}/{path.format(id=photo)}")
    window.accepted.append("404")
    assert {one for one in traffic.paths if one.startswith("static/")} == parts


async def test_bundle_behaves_like_its_modules(open_window: OpenWindow, serve: Serve) -> None:
    where = """
import { NAME } from "./base.js";
export const where = () => import.meta.url;
export async function wait() {
  return [NAME, this === undefined, where()];
}
"""
    start = """
import { wait as find } from "./where.js";
window.found = find();
"""
    bundle = bundle_scripts({**MODULES, "where.js": where, "start.js": start}, ["top.js", "start.js"])
    window = await open_window(f"{serve().url}/nowhere")
    window.accepted.append("404")
    await window.page.route("**/bundle.js", lambda route: route.fulfill(body=bundle, content_type="text/javascript"))
    await window.page.add_script_tag(url="/static/bundle.js")
    assert await window.read("window.total") == "basebase8"
    url = await window.read("new URL('/static/bundle.js', location).href")
    assert await window.read("window.found") == ["base", True, url]
