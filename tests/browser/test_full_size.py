"""A photo at full size, and pages in windows that are too small for them."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenWindow
from tests.conftest import Serve
from tests.support.browser_pages import create_link
from tests.support.pictures import make_picture
from tests.support.pushes import take_photo

pytestmark = pytest.mark.asyncio(loop_scope="session")

SIZE = (2400, 1500)
READ_PANE = """() => {
    const pane = document.querySelector(".pane");
    const image = pane.querySelector("img");
    const { x, y, width, height } = image.getBoundingClientRect();
    return { x, y, width, height, left: pane.scrollLeft, top: pane.scrollTop, src: image.src };
}"""


@pytest.fixture
def large_camera(tmp_path: Path) -> str:
    """Return the setting of a program whose images are larger than a window."""
    program = tmp_path / "large.sh"
    program.write_text('#!/bin/sh\ncp "$0.jpg" "$1"\n')
    program.chmod(0o755)
    Path(f"{program}.jpg").write_bytes(make_picture(width=SIZE[0], height=SIZE[1]))
    return f"script:{program}"


async def read_pane(page: Page) -> Any:
    await expect(page.locator(".pane img")).to_be_visible()
    await page.wait_for_function("() => document.querySelector('.pane img').naturalWidth > 0")
    return await page.evaluate(READ_PANE)


async def wait_for_scroll(page: Page, test: str) -> None:
    await page.wait_for_function(f"() => {{ const pane = document.querySelector('.pane'); return {test}; }}")


async def test_click_shows_that_place_at_full_size(serve: Serve, open_window: OpenWindow, large_camera: str) -> None:
    url = serve("--camera", large_camera, "--dead-time", "0").url.rstrip("/")
    taken = await take_photo(url)
    pages = [url, f"{url}/snapshots/{taken['snapshot']}", await create_link(url, taken["snapshot"])]
    for address in pages:
        page = (await open_window(address, viewport={"width": 1000, "height": 800})).page
        button = page.get_by_role("button", name="Show the photo at full size")
        box = await button.bounding_box()
        assert box is not None
        place = (0.25, 0.6)
        at = (box["width"] * place[0], box["height"] * place[1])
        await button.click(position={"x": at[0], "y": at[1]})
        pane = await read_pane(page)
        assert (pane["width"], pane["height"]) == SIZE, "one pixel of the photo is one of the page"
        await wait_for_scroll(page, "pane.scrollLeft > 0 && pane.scrollTop > 0")
        pane = await read_pane(page)
        under = [(box["x"] + at[0] - pane["x"]) / SIZE[0], (box["y"] + at[1] - pane["y"]) / SIZE[1]]
        assert under == pytest.approx(place, abs=0.01), "the place stays under the pointer"

        # Dragging moves it, and does not close it.
        await page.mouse.move(500, 400)
        await page.mouse.down()
        await page.mouse.move(600, 300, steps=4)
        await page.mouse.up()
        moved = await read_pane(page)
        assert (pane["left"] - moved["left"], moved["top"] - pane["top"]) == (100, 100)

        # So do the arrow keys.
        await page.keyboard.press("ArrowUp")
        await wait_for_scroll(page, f"pane.scrollTop < {moved['top']}")

        # A click, Escape and the button close it.
        await page.mouse.click(500, 400)
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(button).to_be_focused()
        for close in (page.keyboard.press("Escape"), page.get_by_role("button", name="Close").click()):
            await button.press("Enter")
            await expect(page.locator(".pane")).to_be_focused()
            await read_pane(page)
            await close
            await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_full_size_is_of_the_shown_photo_and_takes_the_keys(serve: Serve, open_window: OpenWindow) -> None:
    url = serve("--dead-time", "0").url
    window = await open_window(url)
    await window.wait_until_live()
    await expect(window.page.get_by_role("button", name="Show the photo at full size")).to_be_hidden()
    await window.shutter.click()
    first = await window.wait_for_photo()
    await window.shutter.click()
    second = await window.wait_for_photo(other_than=first)
    await window.page.locator("#enlarge").press("Enter")
    assert second in (await read_pane(window.page))["src"]
    await window.page.keyboard.press("ArrowRight")
    await window.page.keyboard.press("Home")
    await window.page.keyboard.press("Space")
    await window.page.keyboard.press("Escape")
    await expect(window.page.get_by_role("dialog")).to_have_count(0)
    await expect(window.part("frame")).to_have_attribute("data-snapshot", second)
    await expect(window.photos).to_have_count(2)
    await window.page.keyboard.press("ArrowRight")  # now it is for the strip
    await window.wait_for_photo(first)
    await window.page.locator("#enlarge").press("Enter")
    assert first in (await read_pane(window.page))["src"]


async def test_small_photo_is_as_large_as_the_window(serve: Serve, open_window: OpenWindow, quick_camera: str) -> None:
    url = serve("--camera", quick_camera, "--dead-time", "0").url.rstrip("/")
    taken = await take_photo(url)
    page = (await open_window(f"{url}/snapshots/{taken['snapshot']}", viewport={"width": 700, "height": 500})).page
    await page.locator("#enlarge").press("Enter")
    pane = await read_pane(page)
    assert (pane["width"], pane["height"], pane["left"], pane["top"]) == (700, 500, 0, 0)


@pytest.mark.parametrize(("width", "height"), [(320, 256), (320, 300), (390, 330)])
async def test_photo_keeps_its_place_in_a_very_small_window(
    serve: Serve, open_window: OpenWindow, large_camera: str, width: int, height: int
) -> None:
    """320 x 256 is a window of 1280 x 1024 at 400 % (WCAG 1.4.10)."""
    url = serve("--camera", large_camera, "--dead-time", "0").url.rstrip("/")
    taken = await take_photo(url)
    pages = [url, f"{url}/snapshots/{taken['snapshot']}", await create_link(url, taken["snapshot"])]
    for address in pages:
        window = await open_window(address, viewport={"width": width, "height": height})
        page = window.page
        box = await page.locator("#frame > img").first.bounding_box()
        assert box is not None
        assert (box["height"], box["width"]) >= (140, 220)
        assert await page.evaluate("() => document.scrollingElement.scrollWidth") <= width
        for part in await page.locator("main :is(.shutter, .action, .status, .facts, .when):visible").all():
            await part.scroll_into_view_if_needed()
            await expect(part).to_be_in_viewport(ratio=0.99)
        boxes = await page.evaluate(
            """() => [...document.querySelectorAll("main > *")].map((part) => part.getBoundingClientRect())
                .filter(({ width, height }) => width > 1 && height > 1)
                .map(({ left, right, top, bottom }) => [left, right, top, bottom])"""
        )
        for one, other in itertools.combinations(boxes, 2):
            across = min(one[1], other[1]) - max(one[0], other[0])
            down = min(one[3], other[3]) - max(one[2], other[2])
            assert min(across, down) <= 1, f"parts of {address} overlap: {boxes}"


async def test_press_is_a_form_if_a_script_fails(serve: Serve, open_window: OpenWindow) -> None:
    """A missing feature of the browser stops the script at its beginning."""
    url = serve("--dead-time", "0").url
    window = await open_window("about:blank")
    window.accepted.append("RelativeTimeFormat")
    await window.page.add_init_script("Intl.RelativeTimeFormat = undefined;")
    await window.page.goto(url)
    await window.shutter.click()
    await expect(window.page.locator("#frame[data-snapshot]")).to_have_count(1)
    await expect(window.page.locator(".chip")).to_have_text("Your photo")


async def test_press_is_sent_as_a_form_if_it_fails(serve: Serve, open_window: OpenWindow) -> None:
    url = serve("--dead-time", "0").url
    window = await open_window(url)
    window.accepted.append("getRandomValues")
    await window.wait_until_live()
    await window.read("() => { crypto.randomUUID = undefined; crypto.getRandomValues = undefined; }")
    await window.shutter.click()
    await expect(window.page.locator("#frame[data-snapshot]")).to_have_count(1)


async def test_skip_link_leads_to_the_shutter(idle_server: Any, open_window: OpenWindow) -> None:
    page = (await open_window(idle_server.url)).page
    skip = page.get_by_role("link", name="Skip to the shutter")
    await page.keyboard.press("Tab")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport(ratio=1)
    await page.keyboard.press("Enter")
    await expect(page.locator("#shutter")).to_be_focused()


async def test_paper_shows_the_photo_without_controls(serve: Serve, open_window: OpenWindow) -> None:
    url = serve("--dead-time", "0").url.rstrip("/")
    snapshot = (await take_photo(url))["snapshot"]
    for address in (url, f"{url}/snapshots/{snapshot}", f"{url}/snapshots"):
        page = (await open_window(address)).page
        await page.emulate_media(media="print")
        for image in await page.locator("#frame > img, .tiles img").all():
            box = await image.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) > 100
        for control in await page.locator("button, form, .action, .strip").all():
            await expect(control).to_be_hidden()


async def test_tiles_out_of_sight_are_not_drawn(serve: Serve, open_window: OpenWindow) -> None:
    url = serve("--dead-time", "0").url.rstrip("/")
    await take_photo(url)
    page = (await open_window(f"{url}/snapshots")).page
    sizes = await page.evaluate(
        """() => {
            const list = document.querySelector(".tiles");
            const [tile] = list.children;
            for (let number = 1; number < 10_000; number += 1) list.append(tile.cloneNode(true));
            const isDrawn = (item) => item.querySelector("a").checkVisibility({ contentVisibilityAuto: true });
            return new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => {
                const { width, height } = list.lastChild.getBoundingClientRect();
                const first = tile.getBoundingClientRect();
                resolve([isDrawn(tile), isDrawn(list.lastChild), [width, height], [first.width, first.height]]);
            })));
        }"""
    )
    assert sizes[:2] == [True, False]
    assert sizes[2] == pytest.approx(sizes[3], abs=0.1), "the page keeps its height"


async def test_error_page_names_its_error_once(idle_server: Any, open_window: OpenWindow) -> None:
    window = await open_window("about:blank")
    window.accepted.append("404")
    await window.page.goto(f"{idle_server.url}/nothing-here")
    text = await window.page.locator("body").inner_text()
    assert text.count("Not Found") == 1
