"""The page that a browser gets when the server has too many connections."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp_jinja2
import pytest
import pytest_asyncio
from playwright.async_api import expect

from dog.settings import load
from dog.web.app import create_app
from dog.web.connections.refusals import build_refusals
from dog.web.middleware.security_headers import SECURITY_HEADERS
from tests.browser.conftest import OpenWindow

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED = "503"
"""Part of Chromium's console message."""


class FullServer:
    """A server that refuses all requests until there is `room`.

    It records their first lines.
    """

    def __init__(self, folder: Path, retry_after: int) -> None:
        app = create_app(load({}, {}, folder))
        headers = app[SECURITY_HEADERS]
        self._refusals = build_refusals(aiohttp_jinja2.get_env(app), headers, "total", retry_after)
        self.room = False
        self.asked: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.partition(b" HTTP/")[0].decode())
            welcome = (
                b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<title>In</title><link rel=icon href='data:,'>"
            )
            writer.write(welcome if self.room else self._refusals.choose(head))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # Chromium also opens connections that it does not use
        finally:
            writer.close()


@pytest_asyncio.fixture(loop_scope="session")
async def refusing(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[FullServer, str]]:
    full = FullServer(tmp_path, request.param)
    server = await asyncio.start_server(full.answer, "127.0.0.1", 0)
    yield full, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.mark.parametrize("refusing", [1], indirect=True)
async def test_refused_browser_reloads_when_the_server_has_room(
    refusing: tuple[FullServer, str], open_window: OpenWindow
) -> None:
    full, url = refusing
    window = await open_window("about:blank")
    window.accepted.append(REFUSED)
    await window.page.goto(f"{url}/?camera=door")
    await expect(window.page.get_by_role("heading")).to_have_text("Too many people are connected right now")
    full.room = True
    await expect(window.page).to_have_title("In")
    assert set(full.asked) == {"GET /?camera=door"}


@pytest.mark.parametrize("refusing", [600], indirect=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_refusal_page_fits_a_narrow_window_and_works_by_keyboard(
    refusing: tuple[FullServer, str], open_window: OpenWindow, scheme: str
) -> None:
    full, url = refusing
    window = await open_window("about:blank", viewport={"width": 320, "height": 480}, color_scheme=scheme)
    window.accepted.append(REFUSED)
    await window.page.goto(f"{url}/snapshots")
    await expect(window.page.get_by_text("This page tries again by itself in 600 seconds.")).to_be_visible()
    size = await window.read("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size <= [320, 480]
    paper = await window.read("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == {"light": "rgb(247, 246, 243)", "dark": "rgb(14, 14, 15)"}[scheme]
    again = window.page.get_by_role("link", name="Try again now")
    box = await again.bounding_box()
    assert box is not None
    assert box["height"] >= 44
    full.room = True
    await window.page.keyboard.press("Tab")
    await expect(again).to_be_focused()
    await window.page.keyboard.press("Enter")
    await expect(window.page).to_have_title("In")


@pytest.mark.parametrize("refusing", [1], indirect=True)
async def test_refused_form_is_not_resent_automatically(
    refusing: tuple[FullServer, str], open_window: OpenWindow
) -> None:
    full, url = refusing
    window = await open_window("about:blank")
    window.accepted.append(REFUSED)
    form = '<link rel="icon" href="data:,"><form method="post"><button>Press</button></form>'
    await window.page.route(url, lambda route: route.fulfill(body=form, content_type="text/html"), times=1)
    await window.page.goto(url)
    await window.page.get_by_role("button").click()
    await expect(window.page.get_by_text(re.compile("Go back, and send it again in 1 second.$"))).to_be_visible()
    assert [line for line in full.asked if "favicon" not in line] == ["POST /"]
