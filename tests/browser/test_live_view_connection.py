"""The live view's own connection: lost, silent, slow, refused, and many."""

import asyncio
import io
import re

import pytest
from PIL import Image
from playwright.async_api import expect

from dog.captures.preview import MAX_MESSAGE_BYTES
from tests.browser.conftest import OpenWindow
from tests.browser.live_views import (
    BLUE,
    RED,
    find_image,
    find_mark,
    find_switch,
    hide,
    start_live_view,
    wait_for_colour,
)
from tests.browser.windows import Window
from tests.conftest import Serve
from tests.support.cameras import make_picture
from tests.support.cutting_proxy import CuttingProxy, start_proxy
from tests.support.pictures import make_picture as make_large_picture
from tests.support.preview_service import (
    PreviewService,
    View,
    send_frame,
    wait_for_no_preview,
    wait_for_preview,
)
from tests.support.pushes import take_photo
from tests.support.running import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOCKET = "/preview?"
"""The beginning of the URL of the live view's WebSocket."""
LOST = "Live view lost — reconnecting…"
CLOSED = "WebSocket connection to .* failed"

RECORD_MARKS = """() => {
    const mark = document.querySelector(".mark");
    window.marks = [mark.textContent];
    new MutationObserver(() => marks.push(mark.textContent)).observe(mark, { childList: true, subtree: true });
}"""
COUNT_OBJECT_URLS = """
    window.objectUrls = { now: 0, most: 0, all: 0 };
    const { createObjectURL, revokeObjectURL } = URL;
    URL.createObjectURL = (object) => {
        objectUrls.all += 1;
        objectUrls.now += 1;
        objectUrls.most = Math.max(objectUrls.most, objectUrls.now);
        return createObjectURL(object);
    };
    URL.revokeObjectURL = (url) => {
        if (url) objectUrls.now -= 1;
        revokeObjectURL(url);
    };
"""


async def open_live_view(open_window: OpenWindow, service: PreviewService, proxy: CuttingProxy) -> Window:
    """Open a page behind the proxy, and show a red frame."""
    window = await open_window(proxy.url)
    window.accepted.append(CLOSED)
    await window.wait_until_live()
    await window.record_speech()
    await start_live_view(window, service.camera, "red")
    await wait_for_colour(window, RED)
    return window


# ---- lost connections


@pytest.mark.parametrize("how", ["cut", "end", "freeze"])
async def test_a_lost_connection_is_reported_and_replaced(view: View, open_window: OpenWindow, how: str) -> None:
    service = await view()
    async with start_proxy(service.port) as proxy:
        window = await open_live_view(open_window, service, proxy)
        await expect(find_mark(window)).to_have_text("Live view")
        proxy.refused = f"GET {SOCKET}".encode()
        getattr(proxy, how)(SOCKET)
        await expect(find_mark(window)).to_have_text(LOST)
        await window.wait_for_speech("The live view is lost. Reconnecting.")
        await expect(find_image(window)).to_be_visible()
        await expect(window.part("badge")).to_have_text("Live")
        await window.page.keyboard.press("Space")
        await expect(window.photos).to_have_count(1)
        proxy.refused = None
        async with asyncio.timeout(60):
            while await find_mark(window).inner_text() == LOST:
                if service.camera.shown_to is not None:
                    send_frame(service.camera, make_picture("blue"))
        await wait_for_colour(window, BLUE)
        await expect(find_mark(window)).to_have_text("Live view")
        await window.wait_for_speech("The live view is back.")


async def test_a_lost_live_view_that_is_turned_off_does_not_reconnect(view: View, open_window: OpenWindow) -> None:
    service = await view()
    async with start_proxy(service.port) as proxy:
        window = await open_live_view(open_window, service, proxy)
        await window.page.clock.install()
        proxy.refused = f"GET {SOCKET}".encode()
        proxy.cut(SOCKET)
        await expect(find_mark(window)).to_have_text(LOST)
        await window.page.keyboard.press("v")
        await expect(find_image(window)).to_have_count(0)
        accepted = proxy.accepted
        await window.page.clock.run_for(15_000)
        assert proxy.accepted == accepted
        proxy.refused = None
        await window.page.keyboard.press("v")
        await wait_for_preview(service.camera)
        await expect(find_mark(window)).to_have_text("Live view")
        await expect(window.part("viewfinder-text")).to_have_text("Waiting for the camera’s next picture…")


async def test_a_pause_of_the_camera_is_reported_without_a_new_connection(view: View, open_window: OpenWindow) -> None:
    service = await view()
    async with start_proxy(service.port) as proxy:
        window = await open_live_view(open_window, service, proxy)
        (watcher,) = service.preview()._watchers
        await expect(find_mark(window)).to_have_text(re.compile(r"^No new picture since \d.*:\d\d"))
        await window.wait_for_speech("The live view has no new picture.")
        await expect(find_image(window)).to_be_visible()
        send_frame(service.camera, make_picture("blue"))
        await wait_for_colour(window, BLUE)
        await expect(find_mark(window)).to_have_text("Live view")
        assert service.preview()._watchers == {watcher}


async def test_a_frame_that_is_not_an_image_is_skipped(view: View, open_window: OpenWindow) -> None:
    service = await view()
    async with start_proxy(service.port) as proxy:
        window = await open_live_view(open_window, service, proxy)
        send_frame(service.camera, b"not an image")
        await expect(find_image(window)).to_be_hidden()
        send_frame(service.camera, make_picture("blue"))
        await expect(find_image(window)).to_be_visible()
        await wait_for_colour(window, BLUE)


async def test_a_hidden_page_closes_its_live_view_and_opens_it_when_shown(view: View, open_window: OpenWindow) -> None:
    service = await view()
    async with start_proxy(service.port) as proxy:
        window = await open_live_view(open_window, service, proxy)
        for _ in range(3):
            await hide(window, True)
            await wait_for_no_preview(service.camera)
            await hide(window, False)
            await wait_for_preview(service.camera)
        send_frame(service.camera, make_picture("blue"))
        await expect(find_image(window)).to_be_visible()
        await wait_for_colour(window, BLUE)
        await expect(find_mark(window)).to_have_text("Live view")


# ---- slow links, proxies without WebSockets


async def test_a_slow_link_shows_few_whole_frames_and_loses_none(view: View, open_window: OpenWindow) -> None:
    service = await view()
    noise = Image.effect_noise((400, 300), 200)
    noise.save(file := io.BytesIO(), "JPEG", quality=95)
    frame = file.getvalue()
    assert len(frame) > 5 * MAX_MESSAGE_BYTES
    async with start_proxy(service.port) as proxy:
        window = await open_window(proxy.url)
        await window.wait_until_live()
        await window.read(RECORD_MARKS)
        proxy.bytes_per_second = len(frame) // 7  # a frame takes longer than the page waits for a message
        await find_switch(window).click()
        await wait_for_preview(service.camera)
        for _ in range(30):
            send_frame(service.camera, frame)
        await expect(find_image(window)).to_be_visible()
        for colour, name in ((RED, "red"), (BLUE, "blue")):
            send_frame(service.camera, make_picture(name))
            await wait_for_colour(window, colour)
        assert LOST not in await window.read("() => marks")


async def test_without_websockets_the_frames_come_by_http(view: View, open_window: OpenWindow) -> None:
    service = await view()
    async with start_proxy(service.port) as proxy:
        proxy.refused = f"GET {SOCKET}".encode()
        window = await open_window(proxy.url)
        window.accepted += [CLOSED, "ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED_ENCODING"]
        await window.wait_until_live()
        await find_switch(window).click()
        for _ in range(2):
            await wait_for_preview(service.camera)
            for colour, name in ((RED, "red"), (BLUE, "blue"), (RED, "red")):
                send_frame(service.camera, make_large_picture(width=640, height=480))
                send_frame(service.camera, make_picture(name))
                await expect(find_image(window)).to_be_visible()
                await wait_for_colour(window, colour)
            await expect(find_mark(window)).to_have_text("Live view")
            proxy.cut("/preview.mjpg")
            await expect(find_mark(window)).to_have_text(LOST)
        proxy.refused = None
        await wait_for_preview(service.camera)
        send_frame(service.camera, make_picture("blue"))
        await wait_for_colour(window, BLUE)


# ---- many live views, many frames


@pytest.mark.timeout(400)
async def test_12_live_views_in_one_browser_draw_and_show_the_photo_of_a_press(
    serve: Serve, open_window: OpenWindow
) -> None:
    server = serve("--dead-time", "0", "--preview-rate", "2")
    before = (await take_photo(server.url))["snapshot"]
    first = await open_window(f"{server.url}/#live")
    windows = [first] + [await open_window(f"{server.url}/#live", context=first.context) for _ in range(11)]
    for window in windows:
        await window.wait_until_live()
        await expect(find_image(window)).to_be_visible()
    await first.page.keyboard.press("Space")
    photo = await first.wait_for_photo(other_than=before)
    for window in windows:
        await window.wait_for_photo(photo)
        await expect(window.photos).to_have_count(2)
        drawn = await window.read("() => document.querySelector('#viewfinder img').src")
        await expect(find_image(window)).not_to_have_attribute("src", drawn)


async def test_many_frames_leave_nothing_in_the_page(view: View, open_window: OpenWindow) -> None:
    service = await view()
    window = await open_window("about:blank")
    await window.context.add_init_script(COUNT_OBJECT_URLS)
    await window.page.goto(service.url)
    await window.wait_until_live()
    await start_live_view(window, service.camera)
    devtools = await window.context.new_cdp_session(window.page)

    async def draw(frames: int) -> tuple[int, int]:
        """Draw frames. Return the page's nodes and the bytes of its objects."""
        before = await window.read("() => objectUrls.all")
        async with asyncio.timeout(60):
            while await window.read("() => objectUrls.all") < before + frames:
                send_frame(service.camera, make_large_picture(width=640, height=480))
        await devtools.send("HeapProfiler.collectGarbage")
        counts = await devtools.send("Memory.getDOMCounters")
        heap = await devtools.send("Runtime.getHeapUsage")
        return counts["nodes"], heap["usedSize"]

    nodes, size = await draw(50)
    later_nodes, later_size = await draw(300)
    assert later_nodes <= nodes + 20
    assert later_size < size + 500_000
    assert await window.read("() => objectUrls.most") == 1
    await find_switch(window).click()
    await until(lambda: service.preview().count == 0)
    assert await window.read("() => objectUrls.now") == 0
