"""Copies of photos: each window loads one that fits, after a colour."""

import asyncio
import json
import re
import urllib.request
from pathlib import Path

import pytest
from playwright.async_api import Route, expect

from dog.protocol import SCALED_WIDTHS
from tests.browser.conftest import OpenWindow
from tests.browser.windows import Window
from tests.conftest import Serve
from tests.support.camera_programs import write_script
from tests.support.pictures import make_picture
from tests.support.pushes import take_photo
from tests.support.server_process import ROOT, ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

WINDOWS = {
    "a small phone": ((320, 568), 2, 640),
    "a phone": ((390, 844), 3, 1280),
    "a laptop": ((1440, 900), 1, 1280),
    "a wall display": ((1920, 1080), 1, 1920),
    "a screen of 4K": ((3840, 2160), 1, None),
}
"""Size in CSS pixels, pixels per CSS pixel, and the width of the copy. None is the file itself."""


def serve_photos(serve: Serve, folder: Path, picture: bytes) -> ServerProcess:
    (folder / "large.jpg").write_bytes(picture)
    script = write_script(folder, 'cp "$(dirname "$0")/large.jpg" "$1"')
    return serve("--camera", f"script:{script}", "--dead-time", "0", "--exif", "false")


async def read_url(window: Window) -> str:
    """Return the path of the file that the frame shows."""
    url: str = await window.read("() => new URL(document.querySelector('#frame img').currentSrc).pathname")
    return url


def share(url: str, snapshot: str) -> str:
    request = urllib.request.Request(f"{url}/api/snapshots/{snapshot}/links", data=b"{}", method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        link: str = json.load(answer)["url"]
        return link


async def test_the_scripts_have_the_widths_of_the_server() -> None:
    [widths] = re.findall(r"SCALED_WIDTHS = (\[.*?\])", (ROOT / "static" / "picture.js").read_text())
    assert json.loads(widths) == list(SCALED_WIDTHS)


@pytest.mark.parametrize("name", WINDOWS)
async def test_each_window_loads_the_width_that_fits(
    name: str, serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    (width, height), density, chosen = WINDOWS[name]
    server = serve_photos(serve, tmp_path, make_picture(width=4000, height=3000))
    first = await take_photo(server.url)
    window = await open_window(server.url, viewport={"width": width, "height": height}, device_scale_factor=density)

    def ending(snapshot: str) -> str:
        return f"/snapshots/{snapshot}" + (f"/{chosen}.jpg" if chosen else ".jpg")

    await window.wait_until_live()
    await window.wait_for_photo(first["snapshot"])
    assert await read_url(window) == ending(first["snapshot"])
    second = await take_photo(server.url)
    await window.wait_for_photo(second["snapshot"])
    assert await read_url(window) == ending(second["snapshot"]), "made by the script"
    box = await window.page.locator("#frame img").bounding_box()
    assert box is not None
    assert box["width"] <= width
    assert box["width"] / box["height"] == pytest.approx(4 / 3, rel=0.02)

    await window.page.goto(server.url + second["page"])
    await window.wait_for_photo(second["snapshot"])
    assert await read_url(window) == ending(second["snapshot"])
    download = window.page.get_by_role("link", name="Download")
    await expect(download).to_have_attribute("href", second["url"])

    link = share(server.url, second["snapshot"])
    await window.page.goto(server.url + link)
    await expect(window.page.locator("#frame img")).to_have_js_property("complete", True)
    assert await read_url(window) == f"{link}/{chosen}.jpg" if chosen else f"{link}/picture.jpg"
    await expect(window.part("download")).to_have_attribute("href", re.compile(r"/picture\.jpg$"))


async def test_a_window_without_scripts_loads_the_width_that_fits(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    server = serve_photos(serve, tmp_path, make_picture(width=2400, height=3600))
    photo = await take_photo(server.url)
    window = await open_window(
        server.url, viewport={"width": 800, "height": 600}, device_scale_factor=1, java_script_enabled=False
    )
    image = window.page.locator("#frame img")
    await expect(image).to_have_attribute("sizes", "min(100vw, 67vh)")
    await expect(image).to_have_attribute("srcset", re.compile(rf"^\S*/{photo['snapshot']}/640.jpg 640w, .* 2400w$"))
    box = await image.bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(2 / 3, rel=0.02)
    assert box["height"] <= 600


async def test_the_colour_is_shown_while_a_photo_is_loading(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    server = serve_photos(serve, tmp_path, make_picture(width=1500, height=1000))
    first = await take_photo(server.url)
    window = await open_window(server.url)
    await window.wait_until_live()
    await window.wait_for_photo(first["snapshot"])
    assert await window.read("() => document.getElementById('frame').style.background") == ""
    released = asyncio.Event()

    async def hold(route: Route) -> None:
        await released.wait()
        await route.continue_()

    await window.page.route(re.compile(r"/snapshots/[a-z2-7]+(/\d+)?\.jpg$"), hold)
    (tmp_path / "large.jpg").write_bytes(make_picture(seed=3, width=1000, height=1600))
    second = await take_photo(server.url)
    assert re.fullmatch("#[0-9a-f]{6}", second["color"])
    assert second["color"] != first["color"]
    frame = window.page.locator(f'#frame[data-snapshot="{second["snapshot"]}"]')
    await expect(frame).to_have_count(1)
    red, green, blue = bytes.fromhex(second["color"][1:])
    await expect(frame).to_have_css("background-color", f"rgb({red}, {green}, {blue})")
    box = await frame.bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(1000 / 1600, rel=0.02)
    await expect(frame.locator("img").first).to_have_css("opacity", "0")
    await expect(window.part("when").locator("time")).to_have_attribute("datetime", second["captured_at"])
    released.set()
    await window.wait_for_photo(second["snapshot"])
    await expect(frame.locator("img")).to_have_css("opacity", "1")
    await expect(frame).not_to_have_css("background-color", f"rgb({red}, {green}, {blue})")


async def test_the_page_has_the_colour_of_its_photo_while_it_is_loading(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    server = serve_photos(serve, tmp_path, make_picture(seed=5, width=1500, height=1000))
    photo = await take_photo(server.url)
    window = await open_window(f"{server.url}/healthz")
    released = asyncio.Event()

    async def hold(route: Route) -> None:
        await released.wait()
        await route.continue_()

    await window.page.route(re.compile(r"/(snapshots|shared)/[^/]+/\d+\.jpg$"), hold)
    red, green, blue = bytes.fromhex(photo["color"][1:])
    for path in "/", photo["page"], share(server.url, photo["snapshot"]):
        await window.page.goto(server.url + path, wait_until="domcontentloaded")
        frame = window.part("frame")
        await expect(frame).to_have_css("background-color", f"rgb({red}, {green}, {blue})")
        box = await frame.bounding_box()
        assert box is not None
        assert box["width"] / box["height"] == pytest.approx(1.5, rel=0.02)
        released.set()
        await expect(frame).not_to_have_css("background-color", f"rgb({red}, {green}, {blue})")
        released.clear()
