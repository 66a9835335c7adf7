"""The live view on the page: its mark, and that it stops when hidden."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from dog.cameras import CapturedImage
from dog.errors import CameraOffline
from dog.protocol import Quality
from dog.web.app_keys import APP_STATE
from tests.browser.conftest import OpenWindow
from tests.browser.live_views import (
    BLUE,
    RED,
    find_image,
    find_mark,
    find_switch,
    hide,
    read_colour,
    start_live_view,
    toggle_live_view,
    wait_for_colour,
)
from tests.conftest import Serve
from tests.support.browser_pages import SIZES, UNREACHABLE, check_layout, check_strip
from tests.support.cameras import make_picture
from tests.support.preview_service import (
    View,
    send_frame,
    wait_for_no_preview,
    wait_for_preview,
)
from tests.support.pushes import take_photo, take_photos
from tests.support.running import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_live_view_covers_the_photo_while_it_is_on_and_is_marked(view: View, open_window: OpenWindow) -> None:
    service = await view()
    photo = (await take_photo(service.url))["snapshot"]
    window = await open_window(service.url)
    await window.wait_until_live()
    await window.wait_for_photo(photo)
    assert service.camera.shown_to is None
    for by_key in (False, True):
        await toggle_live_view(window, by_key=by_key)
        await wait_for_preview(service.camera)
        await expect(find_switch(window)).to_have_attribute("aria-pressed", "true")
        await expect(window.part("viewfinder-text")).to_have_text("Waiting for the camera’s next picture…")
        send_frame(service.camera, make_picture("red"))
        await expect(find_image(window)).to_be_visible()
        await expect(find_image(window)).to_have_attribute("alt", "What the camera main sees now")
        await expect(find_mark(window)).to_have_text("Live view")
        await expect(window.part("none")).to_contain_text("Live view")
        for photos_own in ("about", "actions", "viewfinder-text"):
            await expect(window.part(photos_own)).to_be_hidden()
        await expect(window.page.locator("#strip [aria-current]")).to_have_count(0)
        await toggle_live_view(window, by_key=by_key)
        await wait_for_no_preview(service.camera)
        await expect(find_switch(window)).to_have_attribute("aria-pressed", "false")
        await expect(find_image(window)).to_have_count(0)
        await expect(window.part("viewfinder")).to_be_hidden()
        await expect(window.part("about")).to_be_visible()
        await window.wait_for_photo(photo)
        await expect(window.photos.first).to_have_attribute("aria-current", "true")


async def test_each_frame_is_shown_without_waiting_for_the_next(view: View, open_window: OpenWindow) -> None:
    service = await view()
    window = await open_window(service.url)
    await window.wait_until_live()
    await start_live_view(window, service.camera, "red", size=(90, 120))
    for colour, name in ((BLUE, "blue"), (RED, "red")):
        send_frame(service.camera, make_picture(name, size=(90, 120)))
        await wait_for_colour(window, colour)
    box = await window.part("frame").bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(90 / 120, rel=0.01)


async def test_press_takes_a_photo_and_the_live_view_continues(view: View, open_window: OpenWindow) -> None:
    service = await view()
    service.camera.held = True
    window = await open_window(service.url)
    await window.wait_until_live()
    await window.record_speech()
    await start_live_view(window, service.camera)
    await window.page.keyboard.press("Space")
    await service.camera.exposing.wait()
    send_frame(service.camera, make_picture("blue"))
    await service.camera.release()
    await expect(window.part("newest-label")).to_have_text("See your photo")
    await window.wait_for_speech("Your photo is in the strip, taken at")
    await expect(window.photos).to_have_count(1)
    send_frame(service.camera, make_picture("red"))
    await wait_for_colour(window, RED)
    await window.part("newest").click()
    await wait_for_no_preview(service.camera)
    await window.wait_for_photo(await window.read_cookie())
    await expect(window.part("whose")).to_have_text("Your photo")
    await expect(window.part("newest")).to_be_hidden()


async def test_live_view_counts_new_photos_and_shows_the_newest_afterwards(view: View, open_window: OpenWindow) -> None:
    service = await view()
    before = (await take_photo(service.url))["snapshot"]
    window = await open_window(service.url)
    await window.wait_until_live()
    await window.wait_for_photo(before)
    await start_live_view(window, service.camera)
    await expect(window.part("newest")).to_be_hidden()
    await take_photo(service.url)
    await expect(window.part("newest-label")).to_have_text("1 new photo")
    newest = (await take_photo(service.url))["snapshot"]
    await expect(window.part("newest-label")).to_have_text("2 new photos")
    await window.page.keyboard.press("v")
    await window.wait_for_photo(newest)
    await expect(window.part("newest")).to_be_hidden()


@pytest.mark.parametrize("way", ["the strip", "an arrow", "Escape"])
async def test_choosing_a_photo_ends_the_live_view(view: View, open_window: OpenWindow, way: str) -> None:
    service = await view()
    newest, older = [photo["snapshot"] for photo in await take_photos(service.url, 2)]
    window = await open_window(service.url)
    await window.wait_until_live()
    await start_live_view(window, service.camera)
    await window.page.keyboard.press("ArrowLeft")  # nothing is newer than the live view
    await expect(find_switch(window)).to_have_attribute("aria-pressed", "true")
    if way == "the strip":
        await window.photos.nth(1).click()
    else:
        await window.page.keyboard.press("ArrowRight" if way == "an arrow" else "Escape")
    await wait_for_no_preview(service.camera)
    await expect(window.part("viewfinder")).to_be_hidden()
    await window.wait_for_photo(older if way == "the strip" else newest)


async def test_live_view_reports_an_offline_camera_and_reconnects(view: View, open_window: OpenWindow) -> None:
    service = await view()
    window = await open_window(service.url)
    await window.wait_until_live()
    await start_live_view(window, service.camera)
    service.camera.offline = True
    service.camera.lost(CameraOffline("It was unplugged."))
    await expect(window.part("viewfinder-text")).to_contain_text("The camera is offline")
    await expect(find_image(window)).to_have_count(0)
    await expect(window.part("status")).to_contain_text("It was unplugged.")
    await expect(find_mark(window)).to_be_visible()
    await wait_for_no_preview(service.camera)
    late = await open_window(f"{service.url}/#live")
    await expect(late.part("viewfinder-text")).to_contain_text("The camera is offline")
    service.camera.offline = False
    service.camera.sign.set()
    await until(lambda: service.preview().count == 2)
    send_frame(service.camera, make_picture("blue"))
    for one in (window, late):
        await expect(find_image(one)).to_be_visible()
        assert await read_colour(one) == BLUE


async def test_hidden_page_pauses_the_live_view(view: View, open_window: OpenWindow) -> None:
    service = await view()
    window = await open_window(service.url)
    await window.wait_until_live()
    await start_live_view(window, service.camera)
    await hide(window, True)
    await wait_for_no_preview(service.camera)
    await hide(window, False)
    await wait_for_preview(service.camera)
    send_frame(service.camera, make_picture("blue"))
    await expect(find_image(window)).to_be_visible()
    await hide(window, True)
    await wait_for_no_preview(service.camera)
    await window.page.keyboard.press("v")
    await hide(window, False)
    await expect(find_switch(window)).to_have_attribute("aria-pressed", "false")
    assert service.camera.shown_to is None


async def test_closed_window_ends_its_live_view(view: View, open_window: OpenWindow) -> None:
    service = await view()
    photo = await take_photo(service.url)
    window, closed = await open_window(service.url), await open_window(service.url)
    for one in (window, closed):
        await one.wait_until_live()
        await find_switch(one).click()
    await until(lambda: service.preview().count == 2)
    await closed.page.close()
    await until(lambda: service.preview().count == 1)
    await window.page.goto(service.url + photo["page"])
    await wait_for_no_preview(service.camera)
    await window.page.go_back()  # to the live view that was left
    await wait_for_preview(service.camera)


async def test_live_view_continues_after_a_server_restart(serve: Serve, open_window: OpenWindow) -> None:
    server = serve()
    window = await open_window(server.url)
    window.accepted.append(UNREACHABLE)
    await window.wait_until_live()
    await find_switch(window).click()
    await expect(find_image(window)).to_be_visible()
    assert await asyncio.to_thread(server.stop) == 0
    await expect(window.part("viewfinder-text")).to_have_text("Not live — reconnecting…")
    await expect(window.part("viewfinder-text")).to_be_visible()
    await asyncio.to_thread(serve, "--port", str(server.port))
    await window.wait_until_live()
    await expect(find_image(window)).to_be_visible()


async def test_live_view_switch_is_missing_without_preview_or_javascript(view: View, open_window: OpenWindow) -> None:
    service = await view("main", "mute")
    service.cameras["mute"].has_preview = False
    mute = await open_window(f"{service.url}/?camera=mute#live")
    await mute.wait_until_live()
    await mute.page.keyboard.press("v")
    await expect(mute.part("live-view")).to_be_hidden()
    await expect(mute.part("viewfinder")).to_be_hidden()
    plain = await open_window(service.url, java_script_enabled=False)
    await expect(plain.part("live-view")).to_be_hidden()
    await expect(plain.part("viewfinder")).to_be_hidden()
    assert all(camera.shown_to is None for camera in service.cameras.values())


async def test_live_view_fits_every_window(view: View, open_window: OpenWindow) -> None:
    service = await view("main", "porch", "a-name-as-long-as-people-make-them")
    await take_photos(service.url, 9)
    window = await open_window(service.url)
    await window.wait_until_live()
    await start_live_view(window, service.camera, size=(1280, 720))
    await take_photo(service.url)
    await expect(window.part("newest")).to_be_visible()
    for mark in ("Live view", "No new picture since"):
        await expect(find_mark(window)).to_contain_text(mark)
        for width, height in SIZES:
            await window.page.set_viewport_size({"width": width, "height": height})
            await check_layout(window, "#frame", "#strip", "#shutter", "#live-view", "#none", "#status")
            await check_layout(window, ".mark", "#newest", "#shutter")
            await check_strip(window)


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        (Quality(verdict="good", brightness=0.5), ""),
        (Quality(verdict="black", brightness=0.0), "It is dark: the picture is black"),
        (Quality(verdict="black", brightness=0.0, retaken=3, found=("black",)), "It is dark: the picture is black"),
        (Quality(verdict="good", brightness=0.5, retaken=1, found=("damaged",)), "Taken again once (cut off)"),
        (
            Quality(verdict="good", brightness=0.5, retaken=4, found=("damaged", "frozen")),
            "Taken again 4 times (cut off, frozen)",
        ),
    ],
)
async def test_caption_shows_the_result_of_the_frame_checks(
    view: View, open_window: OpenWindow, quality: Quality, expected: str
) -> None:
    service = await view()
    window = await open_window(service.url)
    await window.wait_until_live()
    await window.record_speech()
    service.camera.results.append(CapturedImage(data=make_picture(), quality=quality))
    await window.shutter.click()
    shown = await window.wait_for_photo()
    await window.wait_for_speech(f"Your photo is here.*{re.escape(expected)}")
    await expect(window.part("quality")).to_have_text(expected)
    assert await window.part("quality").is_visible() == bool(expected)
    other = await window.photos.count()
    await service.app[APP_STATE].find_camera(None).capture_and_wait(max_age=0)
    await expect(window.photos).to_have_count(other + 1)
    await window.wait_for_photo(other_than=shown)
    await expect(window.part("quality")).to_be_hidden()
    await window.photos.nth(1).click()
    await window.wait_for_photo(shown)
    await expect(window.part("quality")).to_have_text(expected)
