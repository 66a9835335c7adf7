"""Chromium and its windows. An unexpected console error fails the test."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Locator, Page, WebSocket, async_playwright, expect

from tests.support.heard import check_message

__all__ = ["ARGUMENTS", "Window", "find_chromium", "launch_chromium"]

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--no-sandbox", "--disable-quic", "--disable-background-networking"]


def find_chromium() -> str | None:
    """Return the path of the distribution's Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@asynccontextmanager
async def launch_chromium(*arguments: str) -> AsyncIterator[Browser]:
    """Start the distribution's Chromium, or raise RuntimeError."""
    path = find_chromium()
    if path is None:
        raise RuntimeError("Chromium is missing. Install the package chromium (apt-get install chromium).")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *arguments])
        yield browser
        await browser.close()


class Window:
    """A page in its context, with short names for the parts that tests check."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.accepted: list[str] = []
        """Regular expressions of errors that the test expects."""
        self._sentences: list[str] = []
        self._new_sentence = asyncio.Condition()
        page.on("websocket", self._check_push)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type in ("error", "warning") else None,
        )

    def _check_push(self, opened: WebSocket) -> None:
        if urlsplit(opened.url).path.endswith("/ws"):
            opened.on("framereceived", self._check)

    def _check(self, frame: str | bytes) -> None:
        """Check that the page receives only messages of the AsyncAPI document."""
        try:
            check_message(frame)
        except AssertionError as error:
            self.errors.append(str(error))

    @property
    def context(self) -> BrowserContext:
        return self.page.context

    @property
    def unaccepted(self) -> list[str]:
        return [text for text in self.errors if not any(re.search(known, text) for known in self.accepted)]

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
        """Wait until only this photo (or any, or any other) is drawn in the frame.

        Return its id.
        """
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
        """Return the size in pixels of the file that is shown.

        `srcset` changes what the element reports.
        """
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
        """Return the id in the cookie `dog_snapshot`, or None."""
        cookies = await self.context.cookies()
        return next((cookie.get("value") for cookie in cookies if cookie.get("name") == "dog_snapshot"), None)

    async def record_speech(self) -> None:
        """Record the live region's sentences from now on, for `wait_for_speech`."""
        await self.page.expose_function("addSentence", self._add_sentence)
        await self.read(
            """() => {
                const speech = document.getElementById("speech");
                new MutationObserver(() => window.addSentence(speech.textContent)).observe(speech, { childList: true });
            }"""
        )

    async def _add_sentence(self, sentence: str) -> None:
        async with self._new_sentence:
            self._sentences.append(sentence)
            self._new_sentence.notify_all()

    async def wait_for_speech(self, pattern: str) -> list[str]:
        """Wait for a sentence of the live region that matches.

        Return all sentences.
        """
        async with asyncio.timeout(30), self._new_sentence:
            await self._new_sentence.wait_for(lambda: any(re.search(pattern, sentence) for sentence in self._sentences))
        return self._sentences
