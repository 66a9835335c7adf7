"""Layout, accessibility and CSP of the pages."""

import asyncio
import base64
import hashlib
import re
from itertools import product

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import CommandedCamera, OpenWindow
from tests.conftest import Serve
from tests.support.browser_pages import SIZES, check_layout, check_strip
from tests.support.pushes import take_photo, take_photos
from tests.support.server_process import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAIRS = [
    ("ink", "paper"),
    ("soft", "paper"),
    ("accent", "paper"),
    ("ink", "raised"),
    ("soft", "raised"),
    ("accent", "raised"),
    ("accent", "tint"),
    ("on-accent", "accent"),
]


async def test_photo_and_shutter_fit_every_window_without_scrolling(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    window = await open_window(server.url)
    await window.wait_until_live()
    for width, height in SIZES:
        await window.page.set_viewport_size({"width": width, "height": height})
        await check_layout(window, "#frame", "#shutter", "#none", "#status")
    await window.wait_for_photo((await take_photos(server.url, 9))[0]["snapshot"])
    for width, height in SIZES:
        await window.page.set_viewport_size({"width": width, "height": height})
        await check_layout(window, "#frame", "#strip", "#shutter", "#about", "#actions", "#status")
        await check_strip(window)
        frame = await window.part("frame").bounding_box()
        assert frame is not None
        assert frame["width"] / frame["height"] == pytest.approx(1280 / 720, rel=0.01)
    await window.part("open").click()
    await window.page.wait_for_url("**/snapshots/*")
    for width, height in SIZES:
        await window.page.set_viewport_size({"width": width, "height": height})
        await check_layout(window, "#frame", ".about", ".actions", ".neighbours")


async def test_layout_fits_without_javascript(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    await take_photos(server.url, 9)
    window = await open_window(server.url, java_script_enabled=False)
    for width, height in SIZES:
        await window.page.set_viewport_size({"width": width, "height": height})
        await check_layout(window, "#frame", "#strip", "#shutter", "#about", "#actions", "#status")
        await check_strip(window)


async def test_strip_scrolls_to_the_current_photo_in_both_directions(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    await take_photos(server.url, 9)
    window = await open_window(server.url)
    await window.wait_until_live()
    for width, height in ((390, 844), (640, 400)):
        await window.page.set_viewport_size({"width": width, "height": height})
        await expect(window.photos.last).not_to_be_in_viewport()
        for _ in range(8):
            await window.page.keyboard.press("ArrowRight")
        await expect(window.photos.last).to_have_attribute("aria-current", "true")
        await expect(window.photos.last).to_be_in_viewport(ratio=1)
        await window.page.keyboard.press("Home")
        await expect(window.photos.first).to_be_in_viewport(ratio=1)


async def test_small_photo_has_the_same_size_without_javascript(
    serve: Serve, quick_camera: str, open_window: OpenWindow
) -> None:
    server = serve("--camera", quick_camera)
    page = (await take_photo(server.url))["page"]
    for path in ("/", page):
        windows = [await open_window(server.url + path, java_script_enabled=js) for js in (True, False)]
        await expect(windows[0].page.locator("html.js")).to_be_attached()
        for width, height in SIZES:
            for window in windows:
                await window.page.set_viewport_size({"width": width, "height": height})
                async with asyncio.timeout(20):
                    while not await has_largest_size(window.page):  # until the layout has changed
                        pass


async def has_largest_size(page: Page) -> bool:
    """Return True if a photo of 120 by 90 is as large as possible."""
    box = await page.locator("#frame img").bounding_box()
    room = await page.locator(".stage").bounding_box()
    assert box is not None
    assert room is not None
    largest = min(room["width"], room["height"] * 120 / 90)
    return [box["width"], box["height"]] == pytest.approx([largest, largest * 90 / 120], abs=1)


async def test_controls_have_a_name_and_are_large_enough_to_touch(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    pages = [photo["page"] for photo in await take_photos(server.url, 2)]
    phone = {"width": 390, "height": 844}
    for path in ("/", pages[0]):
        window = await open_window(server.url + path, viewport=phone)
        session = await window.context.new_cdp_session(window.page)
        tree = await session.send("Accessibility.getFullAXTree")
        controls = [
            node.get("name", {}).get("value", "")
            for node in tree["nodes"]
            if not node["ignored"] and node["role"]["value"] in ("button", "link", "textbox", "image")
        ]
        assert len(controls) >= 5
        assert all(controls), controls
        small = await window.read(
            """() => [...document.querySelectorAll("a, button, input")]
                .filter((control) => control.checkVisibility())
                .map((control) => [control.outerHTML.slice(0, 80), control.getBoundingClientRect()])
                .filter(([, box]) => box.width < 44 || box.height < 44)"""
        )
        assert small == []


async def test_reduced_motion_disables_animations(
    serve: Serve, camera: CommandedCamera, open_window: OpenWindow
) -> None:
    server = serve("--camera", camera.setting)
    moving = await open_window(server.url, reduced_motion="no-preference")
    calm = await open_window(server.url, reduced_motion="reduce")
    for window in (moving, calm):
        await window.wait_until_live()
    await calm.shutter.click()
    for window in (moving, calm):
        await expect(window.shutter).to_have_attribute("data-phase", "capturing")
    animations = (
        "() => document.getAnimations().filter((one) => one.effect.getComputedTiming().progress !== null).length"
    )
    assert await moving.read(animations) > 0
    assert await calm.read(animations) == 0
    await camera.command("go")
    await moving.wait_for_photo()
    await calm.wait_for_photo()
    assert await calm.read(animations) == 0


async def test_csp_allows_exactly_the_inline_style_and_script_of_the_pages(
    serve: Serve, open_window: OpenWindow
) -> None:
    server = serve()
    ready = await take_photo(server.url)
    for path in ("/", "/snapshots", ready["page"], "/api", "/nothing"):
        window = await open_window("about:blank")
        answer = await window.page.goto(server.url + path)
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        window.accepted.append("404")
        html = await answer.text()
        allowed = dict(re.findall(r"(style|script)-src 'self' 'sha256-([^' ]+)';", policy))
        for kind in ("style", "script"):
            [inline] = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
            assert base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode() == allowed[kind]
            html = html.replace(inline, "")
        assert not re.search(
            r"<(?:style|script) |\sstyle=|\son[a-z]+=|javascript:|data:", re.sub("<script src", "", html)
        )
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", html)
        await window.read(
            "() => (document.body.append(Object.assign(document.createElement('script'), {text: 'evil = 1'})))"
        )
        assert await window.read("'evil' in window") is False
        window.accepted.append("violates the following Content Security Policy")


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(("pair", "scheme"), list(product(PAIRS, ["light", "dark"])))
async def test_text_has_enough_contrast(pair: tuple[str, str], scheme: str) -> None:
    """Check a contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    light, dark = (ROOT / "static" / "inline.css").read_text().split("prefers-color-scheme: dark", 1)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", light))
    if scheme == "dark":
        colours |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", dark))
    lighter, darker = sorted((measure_luminance(colours[name]) for name in pair), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def measure_luminance(colour: str) -> float:
    """Return the relative luminance of `#rrggbb` (WCAG 2.2)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
