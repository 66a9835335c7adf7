"""Take README's screenshots: `python -m tests.browser.take_screenshots`.

Each shows two windows of Chromium, a computer's and a phone's. A press on the phone has just sent both the same photo.
test_screenshots.py takes the same ones into its own folder.
"""

import asyncio
import base64
import io
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, expect

from tests.browser.windows import Window, launch_chromium
from tests.support.pushes import take_photos
from tests.support.server_process import ROOT, ServerProcess

__all__ = ["MARGIN", "SCHEMES", "SIZES", "TITLE_BAR", "take_screenshots"]

IMAGES = ROOT / "docs" / "images"
SIZES = {"computer": (960, 664), "phone": (390, 664)}
"""Width and height of each window in pixels; the phone's is that of an iPhone between the bars of its browser."""
SCHEMES = {"light": ("#d9d4ca", "#f4f2ee"), "dark": ("#3b3732", "#23201d")}
"""The colours behind the windows and of their title bars, by colour scheme."""
MARGIN = 36
TITLE_BAR = 28
PHOTOS = 7
COLOURS = 256
"""Colours in the PNG: a file of half the size, without a visible difference."""

FRAMES = """<!doctype html>
<style>
    body {{ margin: 0; padding: {margin}px; display: inline-flex; gap: {margin}px; background: {backdrop} }}
    figure {{ margin: 0; border-radius: 12px; overflow: hidden; background: {bar} }}
    figure::before {{ content: "● ● ●"; display: block; padding-left: 14px; color: {backdrop};
        font: 14px/{title_bar}px sans-serif }}
    img {{ display: block }}
</style>
<figure><img src="{computer}"></figure>
<figure><img src="{phone}"></figure>
"""


async def take_screenshots(browser: Browser, images: Path) -> AsyncIterator[Path]:
    """Save a screenshot for each scheme, and yield its path.

    It is `two-windows-SCHEME.png` in the folder `images`.
    """
    with tempfile.TemporaryDirectory() as folder:
        server = ServerProcess("--camera", "test", "--dead-time", "0", cwd=Path(folder))
        try:
            url = server.start().url
            await take_photos(url, PHOTOS)
            for scheme in SCHEMES:
                path = images / f"two-windows-{scheme}.png"
                picture = await _frame(browser, scheme, await _press_on_the_phone(browser, url, scheme))
                picture.save(path, optimize=True)
                yield path
        finally:
            server.kill()


async def _press_on_the_phone(browser: Browser, url: str, scheme: str) -> dict[str, bytes]:
    """Return a PNG of each window after a press on the phone.

    Both windows have received the photo.
    """
    async with AsyncExitStack() as stack:
        windows = {}
        for device, (width, height) in SIZES.items():
            context = await browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if scheme == "dark" else "light",
                reduced_motion="reduce",
                locale="en-GB",
                timezone_id="UTC",
            )
            stack.push_async_callback(context.close)
            windows[device] = Window(await context.new_page())
            await windows[device].page.goto(url)
        for window in windows.values():
            await window.wait_until_live()
            await expect(window.part("viewers")).to_have_text("2 watching")
        before = await windows["phone"].wait_for_photo()
        await windows["phone"].shutter.click()
        taken = await windows["phone"].wait_for_photo(other_than=before)
        await expect(windows["phone"].part("whose")).to_have_text("Your photo")
        return {device: await _take_screenshot(window, taken) for device, window in windows.items()}


async def _take_screenshot(window: Window, snapshot: str) -> bytes:
    """Return a PNG of a window that shows this photo and is loaded."""
    await window.wait_for_photo(snapshot)
    await expect(window.part("status")).to_have_text("Ready")
    await window.page.mouse.move(0, 0)
    await window.read("() => document.activeElement.blur()")
    for thumbnail in await window.photos.locator("img").all():
        await thumbnail.scroll_into_view_if_needed()
        await expect(thumbnail).to_have_js_property("complete", True)
    await window.read("() => document.getElementById('strip-list').scrollTo(0, 0)")
    return await window.page.screenshot()


async def _frame(browser: Browser, scheme: str, windows: dict[str, bytes]) -> Image.Image:
    """Return one picture of the windows side by side, each with a title bar."""
    backdrop, bar = SCHEMES[scheme]
    images = {device: f"data:image/png;base64,{base64.b64encode(png).decode()}" for device, png in windows.items()}
    page = await browser.new_page()
    await page.set_content(
        FRAMES.format(margin=MARGIN, title_bar=TITLE_BAR, backdrop=backdrop, bar=bar, **images), wait_until="load"
    )
    picture = Image.open(io.BytesIO(await page.locator("body").screenshot())).convert("RGB")
    await page.close()
    return picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)


async def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    async with launch_chromium() as browser:
        async for path in take_screenshots(browser, IMAGES):
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    asyncio.run(main())
