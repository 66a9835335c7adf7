"""Fixtures: one browser, a context for each window, a controlled camera."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, expect

from tests.browser.windows import Window, launch_chromium
from tests.support.pictures import make_picture
from tests.support.preview_service import PreviewService, View, run_preview_service
from tests.support.server_process import ROOT, ServerProcess

TIMEOUT_MS = 30_000  # long enough for a slow machine
expect.set_options(timeout=TIMEOUT_MS)

PROGRAM = """#!/bin/sh
# Waits for the test's command, then saves the image or fails.
read -r word < "$0.gate"
[ "$word" = fail ] && { echo "the lens cap is on" >&2; exit 3; }
cp "$0.jpg" "$1"
"""


QUICK_PROGRAM = """#!/bin/sh
cp "$0.jpg" "$1"
"""


class OpenWindow(Protocol):
    def __call__(self, url: str, *, context: BrowserContext | None = None, **options: Any) -> Awaitable[Window]: ...


class CommandedCamera:
    """A camera program whose captures wait until the test sends a `command`."""

    size = (640, 400)

    def __init__(self, folder: Path) -> None:
        self.program = folder / "camera.sh"
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        width, height = self.size
        Path(f"{self.program}.jpg").write_bytes(make_picture(width=width, height=height))
        self._gate = Path(f"{self.program}.gate")
        os.mkfifo(self._gate)

    @property
    def setting(self) -> str:
        return f"script:{self.program}"

    async def command(self, word: str = "go") -> None:
        """Send `go` or `fail` to the present or next capture."""
        await asyncio.to_thread(self._gate.write_text, f"{word}\n")

    def release(self) -> None:
        """End a capture that still waits, so that no process is left."""
        with contextlib.suppress(OSError):
            gate = os.open(self._gate, os.O_WRONLY | os.O_NONBLOCK)
            os.write(gate, b"fail\n")
            os.close(gate)


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[CommandedCamera]:
    commanded = CommandedCamera(tmp_path)
    yield commanded
    commanded.release()


@pytest.fixture
def quick_camera(tmp_path: Path) -> str:
    """Return the setting of a program that returns a 120 x 90 image at once."""
    program = tmp_path / "quick.sh"
    program.write_text(QUICK_PROGRAM)
    program.chmod(0o755)
    Path(f"{program}.jpg").write_bytes(make_picture(width=120, height=90))
    return f"script:{program}"


@pytest.fixture(scope="session")
def idle_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that only load its pages.

    They must not take photos or stop it.
    """
    server = ServerProcess(cwd=tmp_path_factory.mktemp("idle"))
    try:
        yield server.start()
    finally:
        server.kill()


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[str]:
    """Another site (another origin): an empty page and a copy of the module."""
    page = '<!doctype html><link rel="icon" href="data:,"><title>Another site</title>'

    async def show(_: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html")

    async def show_module(_: web.Request) -> web.Response:
        return web.Response(body=(ROOT / "static" / "dog-client.js").read_bytes(), content_type="text/javascript")

    app = web.Application()
    app.add_routes([web.get("/", show), web.get("/dog-client.js", show_module)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with launch_chromium() as chromium:
        yield chromium


@pytest_asyncio.fixture(loop_scope="session")
async def open_window(browser: Browser) -> AsyncIterator[OpenWindow]:
    """Return `open_window(url, viewport=...)`, which returns a loaded window.

    By default, each window has its own context. Animations are off unless `reduced_motion` allows them, so that no test
    waits for one.
    """
    windows: list[Window] = []
    contexts: list[BrowserContext] = []

    async def open_one(url: str, *, context: BrowserContext | None = None, **options: Any) -> Window:
        if context is None:
            context = await browser.new_context(**{"reduced_motion": "reduce", **options})
            contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        window = Window(page)
        windows.append(window)
        await page.goto(url)
        return window

    yield open_one
    for context in contexts:
        await context.close()
    assert [window.unaccepted for window in windows] == [[] for _ in windows]


@pytest_asyncio.fixture(loop_scope="session")
async def view(tmp_path: Path) -> AsyncIterator[View]:
    """Return `view("main", "porch")`: a service whose cameras we control."""
    async with contextlib.AsyncExitStack() as stack:

        def start(*names: str, **settings: object) -> Awaitable[PreviewService]:
            own = {"dead_time": 0.0, **settings}
            return stack.enter_async_context(run_preview_service(tmp_path, *(names or ("main",)), **own))

        yield start
