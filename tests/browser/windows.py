"""Chromium, and windows of it that take offence: whatever a page complains of in the console fails its test."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect

from tests.support.heard import check_message

__all__ = ["Window", "launch_chromium"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--no-sandbox", "--disable-quic", "--disable-background-networking"]


@asynccontextmanager
async def launch_chromium() -> AsyncIterator[Browser]:
    """The distribution's Chromium. Raises RuntimeError that names the missing package where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise RuntimeError("The browser tests need Chromium; install the package chromium (apt-get install chromium).")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


class Window:
    """One page in its context, with short words for the parts that tests look at."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.accepted: list[str] = []
        """Regular expressions of complaints that the test expects."""
        self._said: list[str] = []
        self._spoken = asyncio.Condition()
        page.on("websocket", lambda opened: opened.on("framereceived", self._check))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None,
        )

    def _check(self, frame: str | bytes) -> None:
        """What the page hears on the push is what the AsyncAPI document says."""
        try:
            check_message(frame)
        except AssertionError as error:
            self.complaints.append(str(error))

    @property
    def context(self) -> BrowserContext:
        return self.page.context

    @property
    def unaccepted(self) -> list[str]:
        return [text for text in self.complaints if not any(re.search(known, text) for known in self.accepted)]

    def part(self, name: str) -> Locator:
        return self.page.locator(f"#{name}")

    @property
    def shutter(self) -> Locator:
        return self.page.get_by_role("button", name="Take a photo")

    @property
    def photos(self) -> Locator:
        """The strip's links."""
        return self.page.locator("#strip-list a")

    async def wait_until_live(self) -> None:
        await expect(self.part("badge")).to_have_attribute("data-connection", "live")

    async def wait_for_photo(self, snapshot: str | None = None, *, other_than: str | None = None) -> str:
        """Until this photo (any, any other) is drawn alone in the frame; its id."""
        wanted = f'[data-snapshot="{snapshot}"]' if snapshot else "[data-snapshot]"
        if other_than:
            wanted += f':not([data-snapshot="{other_than}"])'
        frame = self.page.locator(f"#frame{wanted}:has(img):not(:has(img ~ img))")
        await expect(frame).to_have_count(1)
        shown = str(await frame.get_attribute("data-snapshot"))
        await expect(frame.locator(f'img[src*="{shown}"]')).to_have_js_property("complete", True)
        return shown

    async def read(self, expression: str, argument: Any = None) -> Any:
        return await self.page.evaluate(expression, argument)

    async def read_size(self) -> tuple[int, int]:
        """The size in pixels of the file that is shown; read apart, for `srcset` changes what an element tells."""
        size = await self.read(
            """async () => {
                const image = new Image();
                image.src = document.querySelector("#frame img").currentSrc;
                await image.decode();
                return [image.naturalWidth, image.naturalHeight];
            }"""
        )
        return size[0], size[1]

    async def read_cookie(self) -> str | None:
        """The id in the cookie `dog_snapshot`, or None."""
        cookies = await self.context.cookies()
        return next((cookie.get("value") for cookie in cookies if cookie.get("name") == "dog_snapshot"), None)

    async def record_speech(self) -> None:
        """From now on keep all that the live region says, for `wait_for_speech`."""
        await self.page.expose_function("hear", self._hear)
        await self.read(
            """() => {
                const speech = document.getElementById("speech");
                new MutationObserver(() => window.hear(speech.textContent)).observe(speech, { childList: true });
            }"""
        )

    async def _hear(self, sentence: str) -> None:
        async with self._spoken:
            self._said.append(sentence)
            self._spoken.notify_all()

    async def wait_for_speech(self, pattern: str) -> list[str]:
        """Until the live region has said something like it; all that it said."""
        async with asyncio.timeout(30), self._spoken:
            await self._spoken.wait_for(lambda: any(re.search(pattern, sentence) for sentence in self._said))
        return self._said
