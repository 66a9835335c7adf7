"""Several cameras: each has its own page and waits for no other."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from playwright.async_api import WebSocketRoute, expect

from dog.errors import CameraFault, CameraOffline
from tests.browser.conftest import OpenWindow
from tests.browser.windows import Window
from tests.support.cameras import make_picture
from tests.support.preview_service import (
    PreviewService,
    View,
    run_preview_service,
    send_frame,
    wait_for_no_preview,
    wait_for_preview,
)
from tests.support.pushes import take_photo

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def open_camera(open_window: OpenWindow, service: PreviewService, name: str) -> Window:
    window = await open_window(f"{service.url}/?camera={name}")
    await window.wait_until_live()
    return window


async def test_one_camera_has_no_chooser(view: View, open_window: OpenWindow) -> None:
    service = await view("porch")
    window = await open_window(service.url)
    await window.wait_until_live()
    await expect(window.part("cameras")).to_have_count(0)
    await expect(window.page).to_have_title("D.O.G.")
    await expect(window.part("press")).to_have_attribute("action", "./")


async def test_chooser_opens_each_cameras_own_photos(view: View, open_window: OpenWindow) -> None:
    service = await view("main", "porch")
    photos = {name: (await take_photo(service.url, camera=name))["snapshot"] for name in service.cameras}
    for js in (True, False):
        window = await open_window(service.url, java_script_enabled=js)
        for name in ("porch", "main"):
            await window.part("cameras").get_by_role("link", name=name).click()
            await window.page.wait_for_url(f"{service.url}/?camera={name}")
            await expect(window.part("cameras").locator("[aria-current=page]")).to_have_text(name)
            await expect(window.page).to_have_title(f"{name} · D.O.G.")
            await expect(window.photos).to_have_count(1)
            await window.wait_for_photo(photos[name])
            if js:
                await window.wait_until_live()
                await expect(window.page).to_have_title(f"{name} · D.O.G.")
                await window.wait_for_photo(photos[name])


async def test_press_uses_the_shown_camera_and_waits_for_no_other(view: View, open_window: OpenWindow) -> None:
    service = await view("main", "porch")
    service.cameras["main"].held = True
    main, porch = [await open_camera(open_window, service, name) for name in service.cameras]
    await main.shutter.click()
    await service.cameras["main"].exposing.wait()
    await expect(main.part("status")).to_have_text("Taking your photo…")
    await expect(porch.part("status")).to_have_text("Ready")
    await expect(porch.part("cameras").locator("[data-camera=main]")).to_have_attribute("data-state", "capturing")
    await porch.shutter.click()
    snapshot = await porch.wait_for_photo()
    assert await porch.read_cookie() == snapshot
    await expect(main.photos).to_have_count(0)
    await expect(main.part("status")).to_have_text("Taking your photo…")
    await service.cameras["main"].release()
    await main.wait_for_photo(other_than=snapshot)
    await expect(porch.photos).to_have_count(1)
    assert (service.cameras["main"].captures, service.cameras["porch"].captures) == (1, 1)


async def test_form_without_javascript_uses_the_shown_camera(view: View, open_window: OpenWindow) -> None:
    service = await view("main", "porch")
    window = await open_window(f"{service.url}/?camera=porch", java_script_enabled=False)
    await window.shutter.click()
    await window.page.wait_for_url("**/snapshots/*")
    await expect(window.page.locator(".facts")).to_contain_text("Camera porch")
    assert (service.cameras["main"].captures, service.cameras["porch"].captures) == (0, 1)
    await window.page.get_by_role("link", name="Back to live").click()
    await window.page.wait_for_url(f"{service.url}/?camera=porch")
    await expect(window.part("whose")).to_have_text("Your photo")


async def test_returning_visitor_sees_own_photo_only_with_its_camera(view: View, open_window: OpenWindow) -> None:
    service = await view("main", "porch")
    first = await open_camera(open_window, service, "porch")
    await first.shutter.click()
    own = await first.wait_for_photo()
    await expect(first.part("whose")).to_have_text("Your photo")
    newest = (await take_photo(service.url, camera="porch"))["snapshot"]
    main = (await take_photo(service.url, camera="main"))["snapshot"]
    await first.wait_for_photo(newest)

    back = await open_window(service.url, context=first.context)
    await back.wait_until_live()
    await back.wait_for_photo(own)
    await expect(back.part("cameras").locator("[aria-current]")).to_have_text("porch")
    await expect(back.part("whose")).to_have_text("Your photo")

    elsewhere = await open_window(f"{service.url}/?camera=main", context=first.context)
    await elsewhere.wait_until_live()
    await elsewhere.wait_for_photo(main)
    await expect(elsewhere.part("whose")).to_be_empty()
    assert await elsewhere.read_cookie() == own


async def test_photo_of_a_removed_camera_is_still_found(tmp_path: Path, open_window: OpenWindow) -> None:
    async with run_preview_service(tmp_path, "attic", dead_time=0.0) as before:
        window = await open_window(before.url)
        await window.wait_until_live()
        await window.shutter.click()
        own = await window.wait_for_photo()
        cookies = await window.context.cookies()
        await window.page.close()
    async with run_preview_service(tmp_path, "main", "porch", dead_time=0.0) as after:
        back = await open_window("about:blank")
        await back.context.add_cookies(
            [{"url": after.url, "name": one["name"], "value": one["value"]} for one in cookies]
        )
        await back.page.goto(after.url)
        await back.wait_until_live()
        await back.wait_for_photo(own)
        await expect(back.part("cameras").locator("[aria-current]")).to_have_text("main")
        await back.shutter.click()
        await back.wait_for_photo(other_than=own)
        await back.page.goto(after.url + f"/snapshots/{own}")
        await expect(back.part("live")).to_have_attribute("href", "../")


async def test_unknown_camera_page_lists_the_cameras(view: View, open_window: OpenWindow) -> None:
    service = await view("main", "porch")
    window = await open_window(f"{service.url}/?camera=attic", java_script_enabled=False)
    window.accepted.append("404")
    await expect(window.page.locator(".code")).to_have_text("404 · unknown_camera")
    await expect(window.page.locator(".detail")).to_contain_text("main, porch")


async def test_camera_error_is_shown_on_its_page_and_marked_in_the_chooser(view: View, open_window: OpenWindow) -> None:
    service = await view("main", "porch")
    main, porch = [await open_camera(open_window, service, name) for name in service.cameras]
    service.cameras["porch"].results.append(CameraFault("The lens cap is on."))
    await porch.shutter.click()
    await expect(porch.part("notice-text")).to_have_text("The lens cap is on.")
    service.cameras["porch"].offline = True
    service.cameras["porch"].lost(CameraOffline("It was unplugged."))
    for window in (main, porch):
        mark = window.part("cameras").locator("[data-camera=porch]")
        await expect(mark).to_have_attribute("data-state", "offline")
        await expect(window.part("cameras").locator("[data-camera=main]")).to_have_attribute("data-state", "idle")
    await expect(porch.part("status")).to_have_text(re.compile(r"Camera offline since .*\d.*It was unplugged\."))
    await expect(porch.page).to_have_title("Camera offline · porch · D.O.G.")
    await expect(main.part("status")).to_have_text("Ready")
    await expect(main.part("notice")).to_be_hidden()
    late = await open_window(f"{service.url}/?camera=porch", java_script_enabled=False)
    await expect(late.part("status")).to_have_text(re.compile(r"Camera offline since .* UTC"))
    await expect(late.part("cameras").locator("[data-camera=porch]")).to_have_attribute("data-state", "offline")
    await main.shutter.click()
    await main.wait_for_photo()
    await expect(porch.part("notice-text")).to_have_text("The lens cap is on.")  # about its own camera, so it stays
    service.cameras["porch"].offline = False
    service.cameras["porch"].sign.set()
    await expect(porch.part("status")).to_have_text("Ready")
    await expect(main.part("cameras").locator("[data-camera=porch]")).to_have_attribute("data-state", "idle")


async def test_missed_photos_are_fetched_for_the_shown_camera(view: View, open_window: OpenWindow) -> None:
    service = await view("main", "porch")
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
            if data["type"] == "hello" or len(routes) == 1:
                route.send(json.dumps(data))

        server_side.on_message(on_server_message)

    window = await open_window("about:blank")
    await window.page.route_web_socket("**/ws*", replay_nothing)
    await window.page.goto(f"{service.url}/?camera=porch")
    await window.wait_until_live()
    await routes[0].close(code=1012)
    await expect(window.part("badge")).to_have_text("Not live")
    missed = (await take_photo(service.url, camera="porch"))["snapshot"]
    for _ in range(25):  # more than one request lists
        await take_photo(service.url, camera="main")
    back.set()
    await window.wait_for_photo(missed)
    await expect(window.photos).to_have_count(1)


async def test_live_view_stays_on_when_the_camera_changes(view: View, open_window: OpenWindow) -> None:
    service = await view("main", "porch")
    window = await open_window(service.url)
    await window.wait_until_live()
    await window.page.keyboard.press("v")
    await wait_for_preview(service.cameras["main"])
    await window.part("cameras").get_by_role("link", name="porch").click()
    await wait_for_preview(service.cameras["porch"])
    await wait_for_no_preview(service.cameras["main"])
    send_frame(service.cameras["porch"], make_picture("blue"))
    await expect(window.page.get_by_role("img", name="What the camera porch sees now")).to_be_visible()
    await window.page.keyboard.press("v")
    await wait_for_no_preview(service.cameras["porch"])
    await window.part("cameras").get_by_role("link", name="main").click()
    await window.page.wait_for_url(f"{service.url}/?camera=main")
    await window.wait_until_live()
    await expect(window.part("viewfinder")).to_be_hidden()
    assert service.cameras["main"].shown_to is None
