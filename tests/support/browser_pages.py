"""Steps and checks for pages in a browser: log in, and check the layout."""

from typing import Any

import aiohttp
from playwright.async_api import expect

from tests.browser.conftest import OpenWindow
from tests.browser.windows import Window
from tests.support.accounts import PASSWORD

__all__ = [
    "SIZES",
    "UNAUTHORIZED",
    "UNREACHABLE",
    "check_layout",
    "check_strip",
    "create_link",
    "log_in",
    "open_with_session",
    "type_login",
]

UNREACHABLE = (
    r"WebSocket connection to .* failed"
    r"|Failed to load resource: net::ERR_(?:CONNECTION_|EMPTY_|INCOMPLETE_|FAILED)"
)
"""Chromium's console messages while the server cannot be reached."""
UNAUTHORIZED = r"status of 401 \(Unauthorized\)"
"""Chromium's console message about a response that a page requested."""


async def create_link(url: str, snapshot: str) -> str:
    """Return the URL of a new share link for a photo."""
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{url}/api/snapshots/{snapshot}/links", json={"expires_in": 86_400}) as answer,
    ):
        return url + str((await answer.json())["url"])


async def type_login(window: Window, name: str, password: str = PASSWORD) -> None:
    """Type the name and the password on the login page, and press Enter."""
    await window.page.get_by_label("Name").fill(name)
    await window.page.get_by_label("Password").fill(password)
    await window.page.keyboard.press("Enter")


async def log_in(open_window: OpenWindow, url: str, name: str, **options: Any) -> Window:
    """Open a window that logs in and is redirected to this URL."""
    window = await open_window(url, **options)
    await type_login(window, name)
    await window.page.wait_for_url(url)
    return window


async def open_with_session(open_window: OpenWindow, url: str, session: str, **options: Any) -> Window:
    """Open a window of a user who is logged in, by the session's cookie."""
    window = await open_window("about:blank", **options)
    await window.context.add_cookies(
        [{"name": "dog_session", "value": session, "url": url, "httpOnly": True, "sameSite": "Lax"}]
    )
    await window.page.goto(url)
    return window


SIZES = [(320, 568), (390, 844), (568, 320), (640, 400), (844, 390), (820, 1180), (1280, 800), (1920, 1080)]
"""640 x 400 is 1280 x 800 at 200 %."""


async def check_layout(window: Window, *parts: str) -> None:
    """Check that nothing scrolls, and that these parts fit.

    They are inside the window and do not overlap.
    """
    width, height = await window.read("() => [innerWidth, innerHeight]")
    scrolled = await window.read("() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert scrolled[0] <= width
    assert scrolled[1] <= height
    boxes = []
    for part in parts:
        box = await window.page.locator(part).bounding_box()
        assert box is not None, part
        assert box["width"] > 0, part
        assert box["x"] >= 0, part
        assert box["y"] >= 0, part
        assert box["x"] + box["width"] <= width + 0.5, (part, box, width)
        assert box["y"] + box["height"] <= height + 0.5, (part, box, height)
        boxes.append((box["y"], box["y"] + box["height"], box["x"], box["x"] + box["width"], part))
    for number, (top, bottom, left, right, part) in enumerate(boxes):
        for other_top, other_bottom, other_left, other_right, other in boxes[number + 1 :]:
            apart = bottom <= other_top + 0.5 or other_bottom <= top + 0.5
            assert apart or right <= other_left + 0.5 or other_right <= left + 0.5, (part, other)


async def check_strip(window: Window) -> None:
    """Check that the strip's ends can be seen.

    The first photo is visible, and the last one after scrolling.
    """
    assert await window.photos.count() > 1
    for link in (window.photos.last, window.photos.first):
        await link.click(trial=True)  # nothing covers it
        await expect(link).to_be_in_viewport(ratio=1)
