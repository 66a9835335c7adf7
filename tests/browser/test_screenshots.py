"""README's screenshots, taken by the same code into the test's folder."""

from pathlib import Path

import pytest
from PIL import Image, ImageStat
from playwright.async_api import Browser

from tests.browser.take_screenshots import MARGIN, SCHEMES, SIZES, TITLE_BAR, take_screenshots
from tests.support.server_process import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEIGHT = max(height for _, height in SIZES.values())


async def test_screenshots_show_a_photo_in_both_windows(browser: Browser, tmp_path: Path) -> None:
    taken = [path.name async for path in take_screenshots(browser, tmp_path)]
    assert sorted(taken) == sorted(path.name for path in (ROOT / "docs" / "images").glob("*.png"))
    grounds = []
    for scheme in SCHEMES:
        with Image.open(tmp_path / f"two-windows-{scheme}.png") as file:
            picture = file.convert("RGB")
        left, top = MARGIN, MARGIN + TITLE_BAR
        for width, height in SIZES.values():
            window = picture.crop((left, top, left + width, top + height))
            photo = window.crop((width // 4, height // 3, width * 3 // 4, height // 2))
            assert min(ImageStat.Stat(photo).stddev) > 20
            grounds.append(ImageStat.Stat(window.crop((0, 0, 8, 8))).mean)
            left += width + MARGIN
        assert picture.size == (left, top + HEIGHT + MARGIN)
        with Image.open(ROOT / "docs" / "images" / f"two-windows-{scheme}.png") as shown:
            assert shown.size == picture.size, "make screenshots"
    *light, dark, dark_phone = grounds
    assert min(map(min, light)) > 200
    assert max(*dark, *dark_phone) < 50
