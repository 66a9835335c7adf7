"""The live view on the page: its parts, its frames, and what hides it."""

import asyncio
from typing import Any

from playwright.async_api import Locator, expect

from tests.browser.windows import Window
from tests.support.cameras import HandCamera, make_picture
from tests.support.preview_service import send_frame, wait_for_preview

__all__ = [
    "BLUE",
    "RED",
    "find_image",
    "find_mark",
    "find_switch",
    "hide",
    "read_colour",
    "start_live_view",
    "toggle_live_view",
    "wait_for_colour",
]

RED, BLUE = (254, 0, 0), (0, 0, 254)
"""The colors that a browser decodes from the JPEG."""


def find_switch(window: Window) -> Locator:
    return window.page.get_by_role("button", name="Live view")


def find_image(window: Window) -> Locator:
    return window.page.locator("#viewfinder img")


async def read_colour(window: Window) -> tuple[int, ...]:
    """Return the color at the live view's middle."""
    colour = await window.read(
        """() => {
            const context = document.createElement("canvas").getContext("2d");
            context.drawImage(document.querySelector("#viewfinder img"), 0, 0, 1, 1);
            return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }"""
    )
    return tuple(colour)


async def toggle_live_view(window: Window, *, by_key: bool) -> None:
    if by_key:
        await window.page.keyboard.press("v")
    else:
        await find_switch(window).click()


async def start_live_view(window: Window, camera: HandCamera, colour: str = "red", **picture: Any) -> None:
    """Turn the live view on, and wait for the first frame."""
    await find_switch(window).click()
    await wait_for_preview(camera)
    send_frame(camera, make_picture(colour, **picture))
    await expect(find_image(window)).to_be_visible()


async def hide(window: Window, hidden: bool) -> None:
    """Simulate hiding or showing the window: a headless one is always visible."""
    await window.read(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def find_mark(window: Window) -> Locator:
    return window.page.locator(".mark")


async def wait_for_colour(window: Window, colour: tuple[int, ...]) -> None:
    """Wait until the live view shows a frame of this colour."""
    async with asyncio.timeout(30):
        while await read_colour(window) != colour:
            pass
