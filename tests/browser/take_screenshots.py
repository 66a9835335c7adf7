"""Takes the pictures of the live page in docs/images: `python -m tests.browser.take_screenshots`.

Always the same scene: the test card, a strip of several photos, one of them the visitor's own, three watching.
test_screenshots.py takes the same ones into a folder of its own.
"""

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, expect

from tests.browser.test_live import push, take_photos
from tests.browser.windows import Window, launch_chromium
from tests.server_process import ROOT, ServerProcess

__all__ = ["SCHEMES", "SIZES", "take_screenshots"]

IMAGES = ROOT / "docs" / "images"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
SCHEMES = ("light", "dark")
PHOTOS = 7
COLOURS = 256  # less than half of the file, and no difference is seen


async def take_screenshots(browser: Browser, images: Path) -> AsyncIterator[Path]:
    """Each device in each scheme, `live-DEVICE-SCHEME.png` in the folder `images`; its path when it is there."""
    with tempfile.TemporaryDirectory() as folder:
        server = ServerProcess("--camera", "test", "--dead-time", "0", cwd=Path(folder))
        try:
            url = server.start().url
            await take_photos(url, PHOTOS)
            async with push(url), push(url):
                for device, scheme in product(SIZES, SCHEMES):
                    picture = await _take_screenshot(browser, url, device, scheme)
                    path = images / f"live-{device}-{scheme}.png"
                    picture.save(path, optimize=True)
                    yield path
        finally:
            server.kill()


async def _take_screenshot(browser: Browser, url: str, device: str, scheme: str) -> Image.Image:
    width, height = SIZES[device]
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
    )
    window = Window(await context.new_page())
    await window.page.goto(url)
    await window.wait_until_live()
    before = await window.wait_for_photo()
    await window.shutter.click()
    await window.wait_for_photo(other_than=before)
    await expect(window.page.locator(".chip")).to_be_visible()
    await expect(window.part("status")).to_have_text("Ready")
    await expect(window.part("viewers")).to_have_text("3 watching")
    await window.page.mouse.move(0, 0)
    await window.read("() => document.activeElement.blur()")
    for thumbnail in await window.photos.locator("img").all():
        await thumbnail.scroll_into_view_if_needed()
        await expect(thumbnail).to_have_js_property("complete", True)
    await window.read("() => document.getElementById('strip-list').scrollTo(0, 0)")
    picture = Image.open(io.BytesIO(await window.page.screenshot())).convert("RGB")
    await context.close()
    return picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)


async def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    async with launch_chromium() as browser:
        async for path in take_screenshots(browser, IMAGES):
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    asyncio.run(main())
