"""A wall display: six windows of a browser show the live view for an hour.

Each sees new frames all the time, and every photo. Nothing piles up in the pages or the service. `make soak` runs it
for an hour, or MINUTES; `make test` presses twice.
"""

import asyncio
import itertools
import os
import time

import pytest
from playwright.async_api import expect

from tests.browser.windows import Window, launch_chromium
from tests.conftest import Serve
from tests.load.conftest import Progress
from tests.load.health import count_descriptors, measure_memory
from tests.support.cutting_proxy import start_proxy

MINUTES = float(os.environ.get("MINUTES", "60"))
FORMS = [
    pytest.param(0.0, id="short", marks=pytest.mark.timeout(300)),
    pytest.param(MINUTES, id="long", marks=[pytest.mark.soak, pytest.mark.timeout(60 * MINUTES + 300)]),
]
WINDOWS = 6
PRESS_INTERVAL = 10.0
"""Seconds between two presses: each reads all windows, and the third one cuts a connection."""
MAX_GROWTH_BYTES = 8 * 2**20
"""Maximum growth of the service from the second press to the last one."""
COUNT_FRAMES = """() => {
    window.frames_drawn = 0;
    document.getElementById("viewfinder").addEventListener("load", () => (window.frames_drawn += 1), true);
}"""


async def count_frames(window: Window) -> int:
    return int(await window.read("() => window.frames_drawn"))


async def wait_for_frames(windows: list[Window]) -> None:
    """Wait until each window has drawn another frame, and says so."""
    for window in windows:
        drawn = await count_frames(window)
        await expect(window.page.locator(".mark")).to_have_text("Live view", timeout=60_000)
        await window.page.wait_for_function("(drawn) => frames_drawn > drawn", arg=drawn, timeout=60_000)


async def measure_heaps(windows: list[Window]) -> int:
    """Return the bytes of all pages' objects after garbage collection."""
    total = 0
    for window in windows:
        devtools = await window.context.new_cdp_session(window.page)
        await devtools.send("HeapProfiler.collectGarbage")
        total += (await devtools.send("Runtime.getHeapUsage"))["usedSize"]
        await devtools.detach()
    return total


@pytest.mark.parametrize("minutes", FORMS)
async def test_six_windows_show_the_live_view_and_every_photo(minutes: float, serve: Serve, progress: Progress) -> None:
    server = serve("--dead-time", "0")
    memory, heaps, photo = [], [], None
    async with launch_chromium() as browser, start_proxy(server.port) as proxy:
        context = await browser.new_context(reduced_motion="reduce", viewport={"width": 640, "height": 480})
        windows = [Window(await context.new_page()) for _ in range(WINDOWS)]
        for window in windows:
            window.accepted.append("WebSocket connection to .* failed")
            await window.page.goto(f"{proxy.url}/#live")
            await window.wait_until_live()
            await window.read(COUNT_FRAMES)
        end = time.monotonic() + 60 * minutes
        for number in itertools.count():
            await wait_for_frames(windows)
            if number % 3 == 2:
                proxy.cut("/preview?")
            await windows[number % WINDOWS].page.keyboard.press("Space")
            photo = await windows[number % WINDOWS].wait_for_photo(other_than=photo)
            for window in windows:
                await window.wait_for_photo(photo)
            memory.append(measure_memory(server))
            heaps.append(await measure_heaps(windows))
            frames = sum([await count_frames(window) for window in windows])
            progress(f"{frames} frames, service {memory[-1] >> 20} MiB, pages {heaps[-1] >> 10} KiB")
            if number and time.monotonic() > end:
                break
            await asyncio.sleep(PRESS_INTERVAL if minutes else 0)
        assert [window.unaccepted for window in windows] == [[]] * WINDOWS
    assert memory[-1] < memory[1] + MAX_GROWTH_BYTES
    assert heaps[-1] < heaps[1] + WINDOWS * 2**20
    assert count_descriptors(server) < 64
