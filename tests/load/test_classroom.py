"""Many viewers behind one address: a classroom, or an untrusted proxy.

The settings are the defaults.
"""

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image
from playwright.async_api import Page, Request, Response

from tests.browser.windows import launch_chromium
from tests.load.browsers import Report
from tests.load.conftest import Progress
from tests.load.health import HealthyViewer, get, read_metric
from tests.support.authority import Authority
from tests.support.camera_programs import write_script
from tests.support.pictures import encode
from tests.support.server_process import ROOT, ServerProcess, clean_environment

CLASSROOM = "127.0.0.8"
ELSEWHERE = "127.0.0.9"
PHOTO_SIZE = (1600, 1200)
PAGES = 60

Start = Callable[..., ServerProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server with default limits: `start(tls=True)`.

    Its photos have about a megabyte.
    """
    script = write_script(tmp_path, 'cp "$PICTURE" "$1"')
    noise = Image.effect_noise(PHOTO_SIZE, 60).convert("RGB")
    (tmp_path / "picture.jpg").write_bytes(encode(noise, quality=80))
    servers: list[ServerProcess] = []

    def run(*arguments: str, tls: bool = False) -> ServerProcess:
        authority = Authority(tmp_path)
        if tls:
            authority.issue()
        server = ServerProcess(
            *("--camera", f"script:{script}", *arguments, *(authority.flags if tls else ())),
            cwd=tmp_path,
            tls=authority.client if tls else None,
        )
        servers.append(server)
        return server.start()

    yield run
    for server in servers:
        server.kill()
    for server in servers:
        assert "Traceback" not in server.stderr, server.stderr


def take_photo(server: ServerProcess) -> dict[str, Any]:
    """Take a photo before the test, so that the page has one to load."""
    with HealthyViewer.open_viewer(server, ELSEWHERE) as viewer:
        viewer.press()
    return read_newest(server)


def read_newest(server: ServerProcess) -> dict[str, Any]:
    newest: dict[str, Any] = json.loads(get(server, "/api/snapshots?limit=1", ELSEWHERE)[1])["snapshots"][0]
    return newest


def describe(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} s in the median, {max(seconds):.2f} s at most"


# ---- simulated browsers


def run_browsers(server: ServerProcess, *arguments: str) -> Report:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.load.browsers", server.url, "--from", CLASSROOM, *arguments],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return msgspec.json.decode(ended.stdout, type=Report)


PROXY = ["--trusted-proxies", CLASSROOM, "--open"]
WAYS: dict[str, tuple[list[str], bool, list[str]]] = {
    "http": ([], False, []),
    "https": ([], True, []),
    "trusted proxy": (PROXY, False, ["--header", "X-Forwarded-For: 203.0.113.5"]),
}
"""The server's arguments, True for HTTPS, and the browsers' arguments."""
SIZES = [
    pytest.param(50, 1, id="short"),
    pytest.param(500, 2, id="long", marks=[pytest.mark.load, pytest.mark.timeout(600)]),
]


@pytest.mark.parametrize(("count", "presses"), SIZES)
@pytest.mark.parametrize("way", WAYS)
def test_browsers_behind_one_address_load_the_page_and_a_new_photo_at_once(
    start: Start, tmp_path: Path, progress: Progress, way: str, count: int, presses: int
) -> None:
    """Before the second photo, the server has closed all idle connections.

    Every browser has to reconnect.
    """
    arguments, tls, more = WAYS[way]
    server = start(*arguments, tls=tls)
    take_photo(server)
    if tls:
        more = [*more, "--certificate", str(tmp_path / "authority.pem")]
    report = run_browsers(server, "--count", str(count), "--presses", str(presses), *more)
    assert report.lost == []
    assert read_metric(server, "dog_connections_refused_total", ELSEWHERE) == 0
    assert len(report.page) == count
    progress(f"{report.connections} connections, {report.retries} requests repeated; the page: {describe(report.page)}")
    for ready, photo in zip(report.ready, report.photo, strict=True):
        assert len(ready) == len(photo) == count
        progress(f"a press to `ready`: {describe(ready)}; to the photo: {describe(photo)}")
    with HealthyViewer.open_viewer(server, ELSEWHERE) as viewer:
        viewer.check()


# ---- Chromium

WATCH_LOSSES = """
window.losses = [];
addEventListener("lostchange", () => window.losses.push(document.documentElement.dataset.lost ?? "nothing any more"));
new MutationObserver(() => {
  const said = document.querySelectorAll('aside.lost, #badge[data-connection="lost"]');
  for (const { textContent } of said) window.losses.push(textContent);
}).observe(document, { childList: true, subtree: true, attributeFilter: ["data-connection"] });
"""
IS_LIVE = """
() => new Promise((resolve) => {
  const badge = document.getElementById("badge");
  const look = () => badge.dataset.connection === "live" && resolve();
  new MutationObserver(look).observe(badge, { attributes: true });
  look();
})
"""
NEW_PHOTO = """
(old) => new Promise((resolve) => {
  const frame = document.getElementById("frame");
  const look = () => {
    const image = frame.querySelector(`img.photo:not(.arriving):not([src*="${old}"])`);
    if (image?.complete && image.naturalWidth) resolve([image.currentSrc, image.naturalWidth, image.naturalHeight]);
  };
  new MutationObserver(look).observe(frame, { childList: true, subtree: true, attributes: true });
  look();
})
"""
"""Resolves when a newer photo than `old` is drawn."""


class Visit:
    """A page in its own browser context, and the problems of its requests."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("requestfailed", self._note_failure)
        page.on("response", self._note_status)
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    def _note_failure(self, request: Request) -> None:
        self.problems.append(f"{request.url}: {request.failure}")

    def _note_status(self, response: Response) -> None:
        if response.status >= 400:
            self.problems.append(f"{response.url}: {response.status}")

    async def open(self, url: str, pause: float) -> None:
        await asyncio.sleep(pause)
        await self.page.goto(url, timeout=0)
        await self.page.evaluate(IS_LIVE)

    async def look(self, old: str) -> list[Any]:
        """Return the URL and the size of the new photo when it is drawn."""
        drawn: list[Any] = await self.page.evaluate(NEW_PHOTO, old)
        return drawn


@pytest.mark.load
@pytest.mark.timeout(900)
async def test_60_chromium_pages_opened_within_a_second_all_draw_a_new_photo(start: Start, progress: Progress) -> None:
    server = start()
    old = await asyncio.to_thread(take_photo, server)
    loop = asyncio.get_running_loop()
    async with launch_chromium() as browser, contextlib.AsyncExitStack() as stack:
        visits = []
        for _ in range(PAGES):
            context = await browser.new_context(viewport={"width": 480, "height": 360}, reduced_motion="reduce")
            stack.push_async_callback(context.close)
            await context.add_init_script(WATCH_LOSSES)
            visits.append(Visit(await context.new_page()))
        began = loop.time()
        await asyncio.gather(*(visit.open(server.url, number / PAGES) for number, visit in enumerate(visits)))
        progress(f"{PAGES} pages were live after {loop.time() - began:.1f} s")
        looking = [asyncio.create_task(visit.look(old["snapshot"])) for visit in visits]
        began = loop.time()
        await visits[7].page.get_by_role("button", name="Take a photo").click(timeout=0)
        drawn = await asyncio.gather(*looking)
        progress(f"{PAGES} pages had drawn the photo {loop.time() - began:.1f} s after the press")
        new = await asyncio.to_thread(read_newest, server)
        assert new["snapshot"] != old["snapshot"]
        assert drawn == [[server.url + new["url"], *PHOTO_SIZE]] * PAGES
        assert [visit.problems for visit in visits] == [[]] * PAGES
        assert [await visit.page.evaluate("window.losses") for visit in visits] == [[]] * PAGES
    assert read_metric(server, "dog_connections_refused_total", ELSEWHERE) == 0
