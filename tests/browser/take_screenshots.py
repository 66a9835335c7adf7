"""Takes the pictures of the live page in docs/images: `python -m tests.browser.take_screenshots`.

Always the same scene: the test card, a strip of several photos, one of them the visitor's own, three watching.
"""

import asyncio
import io
import json
import tempfile
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, expect
from websockets.asyncio.client import connect

from tests.browser.windows import Window, launch_chromium
from tests.server_process import ROOT, ServerProcess

IMAGES = ROOT / "docs" / "images"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
PHOTOS = 7
COLOURS = 256  # less than half of the file, and no difference is seen


async def prepare_strip(url: str) -> None:
    async with connect(f"{url.replace('http', 'ws', 1)}/ws") as script:
        for _ in range(PHOTOS):
            await script.send(json.dumps({"type": "capture", "max_age": 0}))
            while json.loads(await script.recv())["type"] != "ready":
                pass


async def take_screenshot(browser: Browser, url: str, device: str, scheme: str) -> Path:
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
        await expect(thumbnail).to_have_js_property("complete", True)
    picture = Image.open(io.BytesIO(await window.page.screenshot())).convert("RGB")
    await context.close()
    path = IMAGES / f"live-{device}-{scheme}.png"
    few = picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    return path


async def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        server = ServerProcess("--camera", "test", "--dead-time", "0", cwd=Path(folder))
        try:
            url = server.start().url
            await prepare_strip(url)
            address = f"{url.replace('http', 'ws', 1)}/ws"
            async with launch_chromium() as browser, connect(address), connect(address):
                for device in SIZES:
                    for scheme in ("light", "dark"):
                        path = await take_screenshot(browser, url, device, scheme)
                        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
        finally:
            server.kill()


if __name__ == "__main__":
    asyncio.run(main())
