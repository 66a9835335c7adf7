"""Times on all pages: the visitor's language and zone, the server's clock."""

import asyncio
import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from dog.snapshots import SnapshotStore
from tests.browser.conftest import OpenWindow
from tests.browser.windows import Window
from tests.conftest import Serve
from tests.support.browser_pages import create_link
from tests.support.pushes import take_photo
from tests.support.stores import save

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXACT = re.compile(r"^Photo (by the camera main, )?taken at \d\d:\d\d:\d\d [AP]M$")
"""The description of a photo of today."""


def zone_at_noon() -> str:
    """Return a time zone in which it is noon, far from midnight."""
    return f"Etc/GMT{dt.datetime.now(dt.UTC).hour - 12:+d}"


async def open_at(open_window: OpenWindow, url: str, clock: dt.timedelta, **options: Any) -> Window:
    """Open a page in a browser whose clock differs from the right time."""
    window = await open_window("about:blank", **options)
    await window.page.clock.install(time=dt.datetime.now(dt.UTC) + clock)
    await window.page.goto(url)
    return window


@pytest.mark.parametrize("clock", [dt.timedelta(days=3, hours=5), dt.timedelta(days=-40)], ids=str)
async def test_pages_are_right_for_a_wrong_clock(serve: Serve, open_window: OpenWindow, clock: dt.timedelta) -> None:
    url = serve("--dead-time", "0").url.rstrip("/")
    snapshot = (await take_photo(url))["snapshot"]
    options = {"timezone_id": zone_at_noon(), "locale": "en-US"}

    async def open_page(page: str) -> Window:
        return await open_at(open_window, page, clock, **options)

    async def check_photo(photo: Locator, when: Locator) -> None:
        await expect(photo).to_have_attribute("alt", EXACT)
        await expect(when.locator("time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d [AP]M$"))
        await expect(when.locator(".ago")).to_have_text(re.compile(r"^(now|\d+ (seconds?|minutes?) ago)$"))

    live = await open_page(url)
    await live.wait_until_live()
    await check_photo(live.page.locator("#frame img").first, live.part("when"))
    photo = await open_page(f"{url}/snapshots/{snapshot}")
    await check_photo(photo.page.locator("#frame img"), photo.part("when"))
    await expect(photo.page).to_have_title(re.compile(r"^Photo of \d\d:\d\d:\d\d [AP]M · D\.O\.G\.$"))
    shared = await open_page(await create_link(url, snapshot))
    await check_photo(shared.page.locator("#frame img"), shared.part("when"))
    gallery = await open_page(f"{url}/snapshots")
    await expect(gallery.page.locator(".tiles img")).to_have_attribute("alt", EXACT)
    deletion = await open_page(f"{url}/snapshots/{snapshot}/links")
    await expect(deletion.page.locator(".until time")).to_have_text(re.compile(r"^\w{3} \d+, \d{4}, .*[AP]M$"))
    await expect(deletion.page.locator("main > img")).to_have_attribute("alt", EXACT)


async def test_photo_of_a_slow_page_is_not_older(serve: Serve, open_window: OpenWindow) -> None:
    """A late script computes with the time at which its page was sent."""
    url = serve("--dead-time", "0").url.rstrip("/")
    snapshot = (await take_photo(url))["snapshot"]
    window = await open_window("about:blank")
    held = asyncio.Event()

    async def hold(route: Any) -> None:
        await held.wait()
        await route.continue_()

    await window.page.route("**/static/*.js", hold)
    await window.page.goto(f"{url}/snapshots/{snapshot}", wait_until="commit")
    sent = await window.read("() => [Date.now(), document.body.dataset.now]")
    await window.page.wait_for_function(f"() => Date.now() - {sent[0]} > 1500")
    held.set()
    await expect(window.part("when").locator(".ago")).to_be_visible()
    clock = await window.read(
        """async () => {
            const { serverNow } = await import("/static/server-clock.js");
            return [Date.now(), serverNow()];
        }"""
    )
    assert abs(clock[0] - clock[1]) < 1000


@pytest.mark.parametrize(
    ("locale", "zone", "clock", "day"),
    [
        ("de-DE", "Asia/Kathmandu", r"^17:45:00$", "Dienstag, 3. März 2026"),
        ("en-US", "America/St_Johns", r"^08:30:00\sAM$", "Tuesday, March 3, 2026"),
        ("en-US", "Pacific/Kiritimati", r"^Mar 4, 02:00:00\sAM$", "Tuesday, March 3, 2026"),
    ],
)
async def test_gallery_shows_the_visitors_times_under_the_servers_days(
    serve: Serve, open_window: OpenWindow, tmp_path: Path, locale: str, zone: str, clock: str, day: str
) -> None:
    store = SnapshotStore(tmp_path / "snapshots")
    await store.open()
    await save(store, captured_at=dt.datetime(2026, 3, 3, 12, tzinfo=dt.UTC))
    await store.close()
    url = serve(env={"TZ": "UTC"}).url.rstrip("/")
    window = await open_window(f"{url}/snapshots", locale=locale, timezone_id=zone)
    await expect(window.page.locator(".tiles .at")).to_have_text(re.compile(clock))
    await expect(window.page.locator("h2")).to_have_text(day)
    await expect(window.part("zone")).to_have_text("Days in the server’s time zone (UTC)")
    title = await window.page.locator(".tiles .at time").get_attribute("title")
    assert re.search(r"(GMT|UTC)?[+-]|UTC", str(title)), title
