"""The live page: a press anywhere, the photo everywhere."""

import asyncio
import json
import re

import pytest
from playwright.async_api import WebSocketRoute, expect

from tests.browser.conftest import CommandedCamera, OpenWindow
from tests.conftest import Serve
from tests.support.browser_pages import UNREACHABLE
from tests.support.pushes import open_push, receive, take_photo, take_photos

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_press_shows_capturing_and_then_the_photo_in_all_windows(
    serve: Serve, camera: CommandedCamera, open_window: OpenWindow
) -> None:
    server = serve("--camera", camera.setting)
    pressing, watching = await open_window(server.url), await open_window(server.url)
    async with open_push(server.url) as script:
        for window in (pressing, watching):
            await window.wait_until_live()
            await expect(window.part("viewers")).to_have_text("3 watching")
        await pressing.shutter.click()
        capturing = await receive(script, "capturing")
        await expect(pressing.part("status")).to_have_text("Taking your photo…")
        await expect(watching.part("status")).to_have_text("Taking a photo…")
        await expect(watching.page).to_have_title(re.compile("^Taking a photo"))
        await camera.command("go")
        ready = await receive(script, "ready")
    assert ready["capture"] == capturing["capture"]
    for window in (pressing, watching):
        await window.wait_for_photo(ready["snapshot"])
        assert await window.read_size() == camera.size == (ready["width"], ready["height"])
        await expect(window.photos).to_have_count(1)
        await expect(window.photos.first).to_have_attribute("aria-current", "true")
    assert await pressing.read_cookie() == ready["snapshot"]
    assert await watching.read_cookie() is None
    await expect(pressing.part("whose")).to_have_text("Your photo")
    await expect(watching.part("whose")).to_be_empty()


async def test_returning_visitor_sees_own_photo_and_a_link_to_the_newest(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    first = await open_window(server.url)
    await first.wait_until_live()
    await first.shutter.click()
    own = await first.wait_for_photo()
    await first.page.close()
    newest = (await take_photo(server.url))["snapshot"]

    back = await open_window(server.url, context=first.context)
    await back.wait_until_live()
    await back.wait_for_photo(own)
    await expect(back.part("whose")).to_have_text("Your photo")
    await expect(back.part("when").locator("time")).to_have_attribute("datetime", re.compile(r"^\d{4}-.*Z$"))
    await back.page.get_by_role("button", name="Newest photo").click()
    await back.wait_for_photo(newest)
    await expect(back.part("whose")).to_be_empty()
    assert await back.read_cookie() == own

    stranger = await open_window(server.url)
    await stranger.wait_for_photo(newest)
    await expect(stranger.part("whose")).to_be_empty()


async def test_press_within_the_dead_time_shows_the_latest_photo_and_a_countdown(
    serve: Serve, open_window: OpenWindow
) -> None:
    server = serve("--dead-time", "3600")  # an hour is enough for a slow machine
    pressing, late = await open_window("about:blank"), await open_window(server.url)
    await pressing.page.clock.install()
    await pressing.page.goto(server.url)
    await pressing.wait_until_live()
    await late.wait_until_live()
    await pressing.shutter.click()
    snapshot = await pressing.wait_for_photo()
    for window in (pressing, late):
        await expect(window.part("status")).to_have_text(re.compile(r"^Ready in \d{4} s$"))
        await expect(window.shutter).to_have_attribute("data-phase", "cooling")
        left = await window.read("() => Number(document.getElementById('shutter').style.getPropertyValue('--left'))")
        assert 0 < left <= 1
    await late.wait_for_photo(snapshot)
    await late.shutter.click()
    await expect(late.part("whose")).to_have_text("Your photo")
    assert await late.read_cookie() == snapshot
    await expect(late.photos).to_have_count(1)
    await pressing.page.clock.fast_forward(3_600_000)
    await expect(pressing.part("status")).to_have_text("Ready")
    await expect(pressing.shutter).to_have_attribute("data-phase", "idle")


async def test_windows_reconnect_after_a_restart_and_show_the_next_photo(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    windows = [await open_window(server.url) for _ in range(2)]
    for window in windows:
        window.accepted.append(UNREACHABLE)
        await window.wait_until_live()
    before = (await take_photo(server.url))["snapshot"]
    for window in windows:
        await window.wait_for_photo(before)
        await window.record_speech()
    await asyncio.to_thread(server.stop)
    for window in windows:
        await expect(window.part("status")).to_contain_text("Not live — reconnecting…")
        await expect(window.part("status")).to_contain_text("since")
        await expect(window.part("badge")).to_have_text("Not live")
        await expect(window.page).to_have_title(re.compile("^Not live"))
    again = await asyncio.to_thread(serve, "--dead-time", "0", "--port", str(server.port))
    for window in windows:
        await window.wait_until_live()
        await window.wait_for_speech("Live again")
        await expect(window.part("status")).to_have_text("Ready")
    await windows[0].shutter.click()
    after = await windows[0].wait_for_photo(other_than=before)
    await windows[1].wait_for_photo(after)
    assert again.url == server.url
    for window in windows:
        await expect(window.photos).to_have_count(2)


async def test_press_while_disconnected_takes_no_photo_and_shows_an_error(
    serve: Serve, open_window: OpenWindow
) -> None:
    server = serve()
    window = await open_window(server.url)
    window.accepted.append(UNREACHABLE)
    await window.wait_until_live()
    await asyncio.to_thread(server.stop)
    await expect(window.shutter).to_have_attribute("aria-disabled", "true")
    await window.page.keyboard.press("Space")
    await expect(window.part("notice-text")).to_contain_text("not connected, so no photo was taken")


async def test_press_without_javascript_opens_the_photo_page(serve: Serve, open_window: OpenWindow) -> None:
    server = serve()
    window = await open_window(server.url, java_script_enabled=False)
    await expect(window.part("status")).to_have_text("Ready")
    for hidden in ("copy", "badge", "newest"):
        await expect(window.part(hidden)).to_be_hidden()
    answers = []
    window.page.on("response", lambda response: answers.append((response.request.method, response.status)))
    await window.shutter.click()
    await window.page.wait_for_url("**/snapshots/*")
    assert ("POST", 303) in answers
    snapshot = window.page.url.rsplit("/", 1)[-1]
    assert await window.read_cookie() == snapshot
    await expect(window.page.locator(".chip")).to_have_text("Your photo")
    await expect(window.page.locator("#frame img")).to_have_js_property("complete", True)
    await window.page.goto(server.url)
    await expect(window.photos).to_have_count(1)
    await expect(window.part("whose")).to_have_text("Your photo")


async def test_space_takes_a_photo_and_arrows_move_along_the_strip(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    window = await open_window(server.url)
    await window.wait_until_live()
    await window.page.keyboard.press("Space")
    taken = [await window.wait_for_photo()]
    taken = [photo["snapshot"] for photo in await take_photos(server.url, 2)] + taken
    await window.wait_for_photo(taken[0])
    await window.page.keyboard.press("ArrowRight")
    await window.wait_for_photo(taken[1])
    await window.page.keyboard.press("ArrowRight")
    await window.wait_for_photo(taken[2])
    await expect(window.photos.nth(2)).to_have_attribute("aria-current", "true")
    await window.page.keyboard.press("ArrowRight")  # there is no older one
    await window.page.keyboard.press("ArrowLeft")
    await window.wait_for_photo(taken[1])
    for key in ("Escape", "Home"):
        await window.page.keyboard.press("ArrowRight")
        await window.page.keyboard.press(key)
        await window.wait_for_photo(taken[0])
    await window.shutter.focus()
    await window.page.keyboard.press("Enter")
    await window.wait_for_photo(other_than=taken[0])
    await window.photos.first.focus()
    await expect(window.shutter).to_have_attribute("data-heard", "no")
    await window.page.keyboard.press("Space")  # does not press while a link has the focus
    assert await window.shutter.get_attribute("data-heard") == "no"


async def test_new_photo_is_announced_without_replacing_the_chosen_one(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    oldest = (await take_photo(server.url))["snapshot"]
    await take_photo(server.url)
    window = await open_window(server.url)
    await window.wait_until_live()
    await window.photos.nth(1).click()
    await window.wait_for_photo(oldest)
    await take_photo(server.url)
    await expect(window.part("newest-label")).to_have_text("1 new photo")
    newest = (await take_photo(server.url))["snapshot"]
    await expect(window.part("newest-label")).to_have_text("2 new photos")
    await expect(window.photos).to_have_count(4)
    await expect(window.photos.nth(3)).to_have_attribute("aria-current", "true")
    await window.wait_for_photo(oldest)
    await window.part("newest").click()
    await window.wait_for_photo(newest)
    await expect(window.part("newest")).to_be_hidden()
    following = (await take_photo(server.url))["snapshot"]
    await window.wait_for_photo(following)


async def test_live_region_announces_events_and_not_the_countdown(
    serve: Serve, camera: CommandedCamera, open_window: OpenWindow
) -> None:
    server = serve("--camera", camera.setting, "--dead-time", "1")
    window = await open_window(server.url)
    await window.wait_until_live()
    await window.record_speech()
    await window.shutter.click()
    await window.wait_for_speech("Taking your photo")
    await camera.command("go")
    await window.wait_for_speech(r"^Your photo is here, taken at .*\d")
    await expect(window.part("status")).to_have_text("Ready")
    async with open_push(server.url) as script:
        await script.send('{"type":"capture","max_age":0}')
        await window.wait_for_speech(r"^Taking a photo\.$")
        await camera.command("fail")
        await receive(script, "failed")
    sentences = await window.wait_for_speech("status 3|exit")
    assert len(sentences) == 4, sentences
    await expect(window.part("speech")).to_have_attribute("aria-live", "polite")


async def test_failed_press_shows_its_error_and_the_next_one_works(
    serve: Serve, camera: CommandedCamera, open_window: OpenWindow
) -> None:
    server = serve("--camera", camera.setting, "--dead-time", "0")
    window, other = await open_window(server.url), await open_window(server.url)
    await window.wait_until_live()
    await other.wait_until_live()
    await window.shutter.click()
    await camera.command("fail")
    await expect(window.part("notice-text")).to_contain_text("3")
    await expect(other.part("notice")).to_be_visible()
    await expect(window.part("status")).to_have_text("Ready")
    assert await window.read_cookie() is None
    await other.page.get_by_role("button", name="Dismiss").click()
    await expect(other.part("notice")).to_be_hidden()
    await window.shutter.click()
    await expect(window.part("notice")).to_be_hidden()
    await camera.command("go")
    await window.wait_for_photo()


async def test_offline_camera_is_shown_with_time_and_reason_until_it_is_back(
    serve: Serve, camera: CommandedCamera, open_window: OpenWindow
) -> None:
    server = serve("--camera", camera.setting, "--dead-time", "0")
    camera.program.rename(camera.program.with_suffix(".gone"))
    window = await open_window(server.url)
    await window.wait_until_live()
    await window.record_speech()
    await window.shutter.click()
    await expect(window.part("status")).to_have_text(re.compile(r"Camera offline since .*\d"))
    await expect(window.part("notice-text")).to_contain_text("does not exist")
    await expect(window.page).to_have_title(re.compile("^Camera offline"))
    await window.shutter.click()
    await expect(window.shutter).to_have_attribute("data-heard", "no")
    await expect(window.part("status")).to_have_text(re.compile(r"Camera offline since .*\d"))
    await expect(window.part("notice")).to_be_visible()
    plain = await open_window(server.url, java_script_enabled=False)
    await expect(plain.part("status")).to_have_text(re.compile(r"Camera offline since .* UTC"))
    late = await open_window(server.url)
    await expect(late.part("status")).to_have_text(re.compile(r"Camera offline since .*\d.*does not exist"))
    camera.program.with_suffix(".gone").rename(camera.program)
    await window.wait_for_speech("The camera is back")
    for one in (window, late):
        await expect(one.part("status")).to_have_text("Ready")
        await expect(one.part("notice")).to_be_hidden()


async def test_strip_has_the_same_length_for_loaded_and_received_photos(
    serve: Serve, quick_camera: str, open_window: OpenWindow
) -> None:
    server = serve("--camera", quick_camera, "--dead-time", "0")
    await take_photos(server.url, 25)
    routes: list[WebSocketRoute] = []
    back = asyncio.Event()

    async def replay_nothing(route: WebSocketRoute) -> None:
        routes.append(route)
        if len(routes) > 1:
            await back.wait()
        server_side = route.connect_to_server()

        def on_server_message(message: str | bytes) -> None:
            data = json.loads(message)
            if data["type"] == "hello":
                data["recovered"] = False
            route.send(json.dumps(data))

        server_side.on_message(on_server_message)

    window = await open_window("about:blank")
    await window.page.route_web_socket("**/ws*", replay_nothing)
    await window.page.goto(server.url)
    await window.wait_until_live()
    await expect(window.photos).to_have_count(24)
    newest = (await take_photo(server.url))["snapshot"]
    await window.wait_for_photo(newest)
    await expect(window.photos).to_have_count(24)
    await routes[0].close(code=1012)
    await expect(window.part("badge")).to_have_text("Not live")
    newest = (await take_photo(server.url))["snapshot"]
    async with window.page.expect_response("**/api/snapshots?*") as fetched:
        back.set()
    assert len((await (await fetched.value).json())["snapshots"]) == 24
    await window.wait_for_photo(newest)
    await expect(window.photos).to_have_count(24)


async def test_default_image_is_shown_and_marked_before_the_first_photo(serve: Serve, open_window: OpenWindow) -> None:
    server = serve()
    window = await open_window(server.url)
    await window.wait_until_live()
    await expect(window.page.get_by_role("img", name="A drawing of a dog")).to_be_visible()
    assert await window.read_size() == (1600, 1200)
    await expect(window.part("none")).to_have_text("No photo yet — this is a drawing")
    for absent in ("strip", "copy", "open", "newest"):
        await expect(window.part(absent)).to_be_hidden()
    await window.shutter.click()
    await window.wait_for_photo()
    await expect(window.part("none")).to_be_hidden()
    await expect(window.part("copy")).to_be_visible()


async def test_photo_link_is_copied_or_selected_without_a_clipboard(serve: Serve, open_window: OpenWindow) -> None:
    server = serve()
    ready = await take_photo(server.url)
    link = f"{server.url}{ready['page']}"
    window = await open_window(server.url, permissions=["clipboard-read", "clipboard-write"])
    await window.part("copy").click()
    await expect(window.part("copy-label")).to_have_text("Copied")
    assert await window.read("() => navigator.clipboard.readText()") == link

    without_clipboard = "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
    old = await open_window("about:blank")
    await old.page.add_init_script(without_clipboard + "document.addEventListener('copy', () => { copied = true; });")
    await old.page.goto(server.url)
    await old.part("copy").click()
    await expect(old.part("copy-label")).to_have_text("Copied")
    await expect(old.part("link-field")).to_be_hidden()
    assert await old.read("() => window.copied")

    bare = await open_window("about:blank")
    await bare.page.add_init_script(without_clipboard + "document.execCommand = () => false;")
    await bare.page.goto(server.url)
    await bare.part("copy").click()
    await expect(bare.part("link-field")).to_have_value(link)
    await expect(bare.part("link-field")).to_be_focused()
    assert await bare.read("() => String(getSelection())") == link


async def test_photo_page_has_details_and_links_to_its_neighbours(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    pages = [photo["page"] for photo in reversed(await take_photos(server.url, 3))]
    window = await open_window(server.url + pages[1])
    await expect(window.page.locator(".facts")).to_contain_text("Camera main · 1280 × 720 · ")
    assert await window.read_size() == (1280, 720)
    async with window.page.expect_download() as download:
        await window.page.get_by_role("link", name="Download").click()
    assert (await download.value).suggested_filename.endswith(".jpg")
    await window.page.keyboard.press("ArrowRight")
    await window.page.wait_for_url(server.url + pages[0])
    await expect(window.page.get_by_text("Oldest")).to_be_visible()
    await window.page.get_by_role("link", name="Newer").click()
    await window.page.wait_for_url(server.url + pages[1])
    await window.page.keyboard.press("ArrowLeft")
    await window.page.wait_for_url(server.url + pages[2])
    await window.page.keyboard.press("Escape")
    await window.page.wait_for_url(server.url + "/")


async def test_error_page_has_a_link_back(serve: Serve, camera: CommandedCamera, open_window: OpenWindow) -> None:
    server = serve("--camera", camera.setting)
    window = await open_window(server.url + "/nothing/at/all", java_script_enabled=False)
    window.accepted.append("404|502")
    await expect(window.page.get_by_role("heading")).to_have_text("Not Found")
    await expect(window.page.locator(".code")).to_have_text("404 · not_found")
    await window.page.get_by_role("link", name="Back to live").click()
    await window.page.wait_for_url(server.url + "/")
    await asyncio.gather(window.shutter.click(), camera.command("fail"))
    await expect(window.page.get_by_role("heading")).to_have_text("No photo was taken")
    await expect(window.page.locator(".detail").first).to_contain_text("3")
    await expect(window.page.locator(".code")).to_have_text("Bad Gateway · 502 · camera_error")
    assert await window.read_cookie() is None
