"""Pages that lose a file: they show a notice, retry, and recover."""

import asyncio
import re
import time

import pytest
from playwright.async_api import Browser, BrowserContext, Locator, Request, Route, expect

from tests.browser.conftest import OpenWindow
from tests.browser.windows import Window
from tests.conftest import Serve
from tests.support.browser_pages import UNREACHABLE, check_layout
from tests.support.cutting_proxy import start_proxy
from tests.support.pushes import take_photo, take_photos

pytestmark = pytest.mark.asyncio(loop_scope="session")

FAILED = "Failed to load resource"
"""Chromium's console message about a lost file."""
SCRIPT, STYLE = re.compile(r"/static/\w+-page-\w+\.js"), re.compile(r"/static/\w+-?\w*-\w+\.css")
PHOTO, THUMBNAIL = re.compile(r"/snapshots/\w+\.jpg"), re.compile(r"/thumbnail\.jpg")
INCOMPLETE = "Part of this page did not load."
AGAIN = re.compile(r"^Trying again in \d+ s\.$")
BODY_DISPLAY = "getComputedStyle(document.body).display"


class Losses:
    """Lose requests, by a reset or with `status`, until `repair`."""

    def __init__(self, status: int | None = None, headers: dict[str, str] | None = None) -> None:
        self.lost: list[str] = []
        self._status = status
        self._headers = headers
        self._repaired = False
        self._lost_one = asyncio.Condition()

    async def handle(self, route: Route) -> None:
        if self._repaired:
            await route.continue_()
            return
        if self._status is None:
            await route.abort("connectionreset")
        else:
            await route.fulfill(status=self._status, headers=self._headers, content_type="text/plain", body="no")
        async with self._lost_one:
            self.lost.append(route.request.url)
            self._lost_one.notify_all()

    async def wait_for(self, count: int) -> None:
        """Wait until `count` requests were lost."""
        async with asyncio.timeout(60), self._lost_one:
            await self._lost_one.wait_for(lambda: len(self.lost) >= count)

    def repair(self) -> None:
        self._repaired = True


async def open_blank(
    open_window: OpenWindow, pattern: re.Pattern[str], losses: Losses, context: BrowserContext | None = None
) -> Window:
    """Open a window that loses matching requests.

    Its clock stands still until the test moves it. A long step makes the push time out, because the server had no real
    time to answer.
    """
    window = await open_window("about:blank", context=context)
    window.accepted += [FAILED, UNREACHABLE]
    now = time.time()
    await window.page.clock.install(time=now)
    await window.page.clock.pause_at(now + 1)
    await window.page.route(pattern, losses.handle)
    return window


def notice(window: Window) -> Locator:
    return window.page.locator(".lost")


async def expect_photo(window: Window) -> None:
    await expect(window.page.locator("#frame > img").first).not_to_have_js_property("naturalWidth", 0)


@pytest.mark.parametrize("status", [None, 503, 500])
@pytest.mark.parametrize("part", [SCRIPT, STYLE], ids=["script", "style"])
async def test_page_reports_a_lost_script_or_stylesheet_and_retries_with_backoff(
    serve: Serve, open_window: OpenWindow, part: re.Pattern[str], status: int | None
) -> None:
    server = serve()
    await take_photo(server.url)
    losses = Losses(status)
    window = await open_blank(open_window, part, losses)
    await window.page.goto(server.url)
    if part is STYLE:
        await window.wait_until_live()
    await expect(window.page.get_by_role("alert")).to_have_text(INCOMPLETE)
    await expect(notice(window).locator("p").nth(1)).to_have_text(AGAIN)
    await expect(window.part("status")).to_have_text("Part of this page did not load" if part is STYLE else "Not live")
    await expect_photo(window)
    for lost, pause in ((1, 2000), (2, 4000), (3, 8000)):
        await losses.wait_for(lost)
        await expect(notice(window).locator("p").nth(1)).to_have_text(AGAIN)
        await window.page.clock.run_for(pause // 2 - 1)
        assert len(losses.lost) == lost, "it waits"
        await window.page.clock.run_for(pause // 2 + 1)
    await losses.wait_for(4)
    await expect(notice(window).locator("p").nth(1)).to_have_text(AGAIN)
    losses.repair()
    await window.page.clock.run_for(16_000)
    await window.page.clock.resume()
    await window.wait_until_live()
    await expect(notice(window)).to_have_count(0)
    await expect(window.part("status")).to_have_text("Ready")
    assert await window.read(BODY_DISPLAY) == "grid"
    await expect_photo(window)


async def test_retry_button_loads_at_once_and_works_by_keyboard(serve: Serve, open_window: OpenWindow) -> None:
    server = serve()
    losses = Losses()
    window = await open_blank(open_window, SCRIPT, losses)
    await window.page.goto(server.url)
    again = window.page.get_by_role("button", name="Try again now")
    await expect(again).to_be_visible()
    losses.repair()
    await window.page.keyboard.press("Shift+Tab")
    await expect(again).to_be_focused()
    await window.page.keyboard.press("Enter")
    await window.wait_until_live()
    await expect(notice(window)).to_have_count(0)


async def test_page_recovers_from_interrupted_downloads(serve: Serve, open_window: OpenWindow) -> None:
    server = serve()
    await take_photo(server.url)
    async with start_proxy(server.port) as proxy:
        proxy.torn = b".css "
        window = await open_window("about:blank")
        window.accepted.append(FAILED)
        await window.page.goto(proxy.url)
        await expect(window.page.get_by_role("alert")).to_have_text(INCOMPLETE)
        await window.wait_until_live()
        proxy.torn = None
        await expect(notice(window)).to_have_count(0)
        await expect(window.part("status")).to_have_text("Ready")
        assert await window.read(BODY_DISPLAY) == "grid"


async def test_script_of_another_version_reloads_the_page_once(serve: Serve, open_window: OpenWindow) -> None:
    server = serve()
    losses = Losses(404)
    window = await open_window("about:blank")  # a paused clock would hide a reload
    window.accepted.append(FAILED)
    pages: list[Request] = []
    window.page.on("request", lambda request: pages.append(request) if request.is_navigation_request() else None)
    await window.page.route(SCRIPT, losses.handle)
    await window.page.goto(server.url)
    await losses.wait_for(5)  # the script and its fetch, and after the reload the script and two fetches
    await expect(notice(window)).to_contain_text(INCOMPLETE)
    losses.repair()
    await window.page.get_by_role("button", name="Try again now").click()
    await window.wait_until_live()
    assert len(pages) == 2


@pytest.mark.parametrize("status", [None, 503])
async def test_new_photo_is_drawn_in_all_windows_after_failed_fetches(
    serve: Serve, open_window: OpenWindow, status: int | None
) -> None:
    server = serve("--dead-time", "0")
    before = (await take_photo(server.url))["snapshot"]
    losses = [Losses(status) for _ in range(3)]
    windows = [await open_blank(open_window, re.compile("nothing yet"), one) for one in losses]
    for window, one in zip(windows, losses, strict=True):
        await window.page.goto(server.url)
        await window.wait_for_photo(before)
        await window.wait_until_live()
        await window.page.route(PHOTO, one.handle)
    snapshot = (await take_photo(server.url))["snapshot"]
    for window, one in zip(windows, losses, strict=True):
        await one.wait_for(1)
        await expect(window.page.get_by_role("status").filter(has_text="A photo did not load.")).to_be_visible()
        await expect(window.page.locator("#frame > img:visible")).to_have_attribute("src", re.compile(before))
        await window.page.clock.run_for(2000)
        await one.wait_for(2)
        await expect(notice(window)).to_contain_text(re.compile(r"in \d+ s"))
        one.repair()
        await window.page.clock.run_for(4000)
        await window.wait_for_photo(snapshot)
        await expect(notice(window)).to_have_count(0)


async def test_newest_photo_is_shown_while_an_older_one_is_lost(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    losses = Losses()
    window = await open_blank(open_window, PHOTO, losses)
    await window.page.goto(server.url)
    await window.wait_until_live()
    lost = (await take_photo(server.url))["snapshot"]
    await losses.wait_for(1)
    await expect(notice(window)).to_be_visible()
    losses.repair()
    newest = (await take_photo(server.url))["snapshot"]
    await window.wait_for_photo(newest)
    await window.page.clock.run_for(1000)
    await expect(notice(window)).to_have_count(0)
    assert [url for url in losses.lost if lost not in url] == []


@pytest.mark.parametrize("status", [404, 410, 401])
async def test_deleted_photo_is_retried_only_once(serve: Serve, open_window: OpenWindow, status: int) -> None:
    server = serve()
    losses = Losses(status)
    window = await open_blank(open_window, PHOTO, losses)
    await window.page.goto(server.url)
    await window.wait_until_live()
    await take_photo(server.url)
    await losses.wait_for(1)
    await expect(notice(window)).to_be_visible()
    await window.page.clock.run_for(2000)
    await expect(notice(window)).to_have_count(0)
    await window.page.clock.run_for(120_000)
    assert len(losses.lost) == 2


async def test_lost_thumbnails_share_one_notice_and_honor_retry_after(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    await take_photos(server.url, 3)
    losses = Losses(503, {"Retry-After": "45"})
    window = await open_blank(open_window, THUMBNAIL, losses)
    await window.page.goto(f"{server.url}/snapshots")
    await expect(window.page.get_by_role("status").filter(has_text="3 photos did not load.")).to_be_visible()
    await window.page.clock.run_for(2000)
    await losses.wait_for(6)
    await expect(notice(window).locator("p").nth(1)).to_have_text(
        re.compile(r"Trying again in (4[5-9]|[5-8]\d|90) s\.")
    )
    await window.page.clock.run_for(44_000)
    assert len(losses.lost) == 6
    losses.repair()
    async with asyncio.timeout(60):
        while await notice(window).count():  # each failure counts from when the page saw it
            await window.page.clock.run_for(1000)
    for image in await window.page.locator(".tiles img").all():
        await expect(image).to_have_js_property("naturalWidth", 320)


async def test_lost_file_does_not_move_the_rest_of_the_page(serve: Serve, browser: Browser) -> None:
    server = serve()
    await take_photo(server.url)
    for width, height in ((320, 568), (390, 844), (844, 390), (1280, 800)):
        context = await browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
        window = Window(await context.new_page())
        await window.page.route(SCRIPT, Losses().handle)
        await window.page.goto(server.url)
        await expect(notice(window)).to_be_visible()
        await check_layout(window, ".bar", "#frame", "#shutter", "#status", ".lost")
        await context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_narrow_page_without_stylesheet_is_readable_and_shows_its_notice(
    serve: Serve, open_window: OpenWindow, scheme: str
) -> None:
    server = serve()
    await take_photo(server.url)
    window = await open_window("about:blank", viewport={"width": 320, "height": 568}, color_scheme=scheme)
    window.accepted.append(FAILED)
    await window.page.route(STYLE, Losses(503).handle)
    await window.page.goto(server.url)
    await window.wait_until_live()
    await expect(notice(window)).to_be_in_viewport(ratio=1)
    assert await window.read("document.documentElement.scrollWidth") <= 320
    box = await window.page.get_by_role("button", name="Try again now").bounding_box()
    assert box is not None
    assert box["height"] >= 44
    paper = await window.read("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == {"light": "rgb(247, 246, 243)", "dark": "rgb(14, 14, 15)"}[scheme]
