"""The pictures of the live page for the documentation: taken by the same code, into the test's own folder."""

from pathlib import Path

import pytest
from PIL import Image, ImageStat
from playwright.async_api import Browser

from tests.browser.take_screenshots import SCHEMES, SIZES, take_screenshots
from tests.server_process import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_screenshots_show_the_page_in_each_size_and_scheme(browser: Browser, tmp_path: Path) -> None:
    taken = [path.name async for path in take_screenshots(browser, tmp_path)]
    assert sorted(taken) == sorted(path.name for path in (ROOT / "docs" / "images").glob("live-*.png"))
    for device, size in SIZES.items():
        grounds = []
        for scheme in SCHEMES:
            with Image.open(tmp_path / f"live-{device}-{scheme}.png") as file:
                picture = file.convert("RGB")
            assert picture.size == size
            assert len(picture.getcolors(1 << 24) or []) > 100
            width, height = size
            middle = picture.crop((width // 4, height // 3, width * 3 // 4, height // 2))  # inside the photo
            assert min(ImageStat.Stat(middle).stddev) > 20
            grounds.append(ImageStat.Stat(picture.crop((0, 0, 8, 8))).mean)
        light, dark = grounds
        assert min(light) > 200
        assert max(dark) < 50
