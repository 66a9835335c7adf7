"""A wall display, a phone and a script see every photo of a large camera."""

import random
from pathlib import Path

import pytest
from PIL import Image, ImageFilter
from playwright.async_api import expect

from dog.client import Client, Ready
from tests.browser.windows import Window, launch_chromium
from tests.conftest import Serve
from tests.load.conftest import Progress
from tests.support.camera_programs import write_script
from tests.support.pictures import encode

expect.set_options(timeout=60_000)  # long enough for a slow machine

PRESSES = [
    pytest.param(3, id="short"),
    pytest.param(50, id="long", marks=[pytest.mark.load, pytest.mark.timeout(900)]),
]
WALL = {"viewport": {"width": 1920, "height": 1080}, "device_scale_factor": 1}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True, "has_touch": True}

RECEIVED = """() => performance.getEntriesByType("resource")
    .filter(({name}) => name.includes("/snapshots/"))
    .reduce((sum, {transferSize}) => sum + transferSize, 0)"""


def make_large_photo() -> bytes:
    """Make a JPEG of 12 megapixels and some MB, as a camera does."""
    chance = random.Random(5)
    size = (4000, 3000)
    patches = Image.frombytes("RGB", (32, 24), chance.randbytes(32 * 24 * 3)).resize(size, Image.Resampling.BICUBIC)
    noise = Image.effect_noise(size, 120).filter(ImageFilter.BoxBlur(1))
    return encode(Image.blend(patches, noise.convert("RGB"), 0.25), quality=92)


@pytest.mark.parametrize("presses", PRESSES)
async def test_a_wall_display_a_phone_and_a_script_see_every_photo(
    presses: int, serve: Serve, tmp_path: Path, progress: Progress
) -> None:
    photo = make_large_photo()
    assert len(photo) > 2_000_000
    (tmp_path / "large.jpg").write_bytes(photo)
    script = write_script(tmp_path, 'cp "$(dirname "$0")/large.jpg" "$1"')
    server = serve("--camera", f"script:{script}", "--dead-time", "0", "--exif", "false")
    async with launch_chromium() as browser, Client(server.url) as dog:
        windows = []
        for options in WALL, PHONE:
            context = await browser.new_context(reduced_motion="reduce", **options)  # type: ignore[arg-type]
            windows.append(Window(await context.new_page()))
            await windows[-1].page.goto(server.url)
            await windows[-1].wait_until_live()
        wall, phone = windows
        await phone.read("() => performance.setResourceTimingBufferSize(1000)")
        events = dog.events()
        for number in range(1, presses + 1):
            if number % 2:
                await phone.shutter.click()
            else:
                await wall.shutter.click()
            ready = await anext(event async for event in events if isinstance(event, Ready))
            assert await dog.photo(ready).read() == photo, "the script receives the original"
            for window in windows:
                await window.wait_for_photo(ready.snapshot)
            progress(f"{number} photos")
        received = await phone.read(RECEIVED)
        assert 0 < received < presses * len(photo) / 8
        assert [window.unaccepted for window in windows] == [[], []]
        progress(f"the phone received 1/{presses * len(photo) / received:.0f} of the originals' bytes")
