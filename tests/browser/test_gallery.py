"""The gallery and the photo page: live updates, and no JavaScript."""

import asyncio
import datetime as dt
import json
import re
import urllib.request
import zoneinfo
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from dog.snapshots import SnapshotStore
from tests.browser.conftest import OpenWindow
from tests.browser.windows import Window
from tests.conftest import Serve
from tests.support.browser_pages import UNREACHABLE
from tests.support.page_state import HELLO, LIVE, PRESS, Reducer, event, photo, ready, reply
from tests.support.pictures import make_picture
from tests.support.pushes import take_photo, take_photos
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED = r"Failed to load resource"
"""Chromium's console message about an error response, or about none."""
PICTURE = make_picture(width=120, height=90)
NOON = dt.datetime(2026, 6, 1, 12).astimezone()


async def change_folder(folder: Path, change: Callable[[SnapshotStore], Any]) -> Any:
    """Change the store while no server runs. Return the result."""
    store = SnapshotStore(folder / "snapshots")
    await store.open()
    try:
        return await change(store)
    finally:
        await store.close()


async def save(store: SnapshotStore, moments: Sequence[dt.datetime], camera: str = "main") -> list[str]:
    """Save photos taken at these times. Return their ids."""
    first = store.last_capture + 1
    return [
        (await store.save(PICTURE, camera=camera, capture=number, captured_at=moment)).id
        for number, moment in enumerate(moments, first)
    ]


async def fill(folder: Path, count: int, *, step: dt.timedelta = dt.timedelta(minutes=30)) -> list[str]:
    """Save `count` photos, by default 48 per day.

    Return their ids, newest first.
    """
    moments = [NOON + step * number for number in range(count)]
    ids: list[str] = await change_folder(folder, lambda store: save(store, moments))
    return ids[::-1]


async def send_request(url: str, path: str, method: str = "GET") -> Any:
    def send() -> Any:
        with urllib.request.urlopen(urllib.request.Request(url + path, method=method), timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    return await asyncio.to_thread(send)


async def delete(url: str, snapshot: str) -> None:
    await send_request(url, f"/api/snapshots/{snapshot}", "DELETE")


def tiles(window: Window) -> Locator:
    return window.page.locator(".tiles a")


def tile(window: Window, snapshot: str) -> Locator:
    return window.page.locator(f'.tiles [data-snapshot="{snapshot}"]')


async def read_ids(window: Window) -> list[str]:
    ids: list[str] = await tiles(window).evaluate_all("(links) => links.map(({ dataset }) => dataset.snapshot)")
    return ids


async def wait_for_ids(window: Window, ids: Sequence[str]) -> None:
    await window.page.wait_for_function(
        """(ids) => {
            const shown = [...document.querySelectorAll(".tiles a")].map(({ dataset }) => dataset.snapshot);
            return shown.length === ids.length && shown.every((id, at) => id === ids[at]);
        }""",
        arg=list(ids),
    )


async def read_days(window: Window) -> list[str]:
    days: list[str] = await window.page.locator(".day").evaluate_all("(days) => days.map((day) => day.dataset.day)")
    return days


async def open_gallery(open_window: OpenWindow, url: str, query: str = "", **options: Any) -> Window:
    """Open a connected gallery. `isTheSame` shows that it was not reloaded."""
    window = await open_window("about:blank", **options)
    await window.page.add_init_script("window.loads = (window.loads ?? 0) + 1;")
    async with window.page.expect_websocket() as connecting:
        await window.page.goto(f"{url}/snapshots{query}")
    socket = await connecting.value
    await socket.wait_for_event("framereceived")
    await window.read("() => { window.isTheSame = true; }")
    return window


async def read_to_the_end(window: Window) -> None:
    """Scroll down until there are no more photos."""
    while await window.part("older").count():
        count = await tiles(window).count()
        await window.read("() => { scrollTo({ top: document.documentElement.scrollHeight, behavior: 'instant' }); }")
        await window.page.wait_for_function(
            "(count) => document.querySelectorAll('.tiles a').length > count || !document.getElementById('older')",
            arg=count,
        )


async def scroll_to(window: Window, snapshot: str) -> float:
    """Scroll this photo to the window's middle.

    Return its height in the window.
    """
    await tile(window, snapshot).evaluate("(link) => link.scrollIntoView({ block: 'center', behavior: 'instant' })")
    return await read_height(window, snapshot)


async def read_height(window: Window, snapshot: str) -> float:
    height: float = await tile(window, snapshot).evaluate("(link) => link.getBoundingClientRect().top")
    return height


# ---- new photos


async def test_gallery_adds_photos_taken_in_another_window(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    gallery = await open_gallery(open_window, server.url)
    await expect(gallery.part("none")).to_contain_text("No photos yet")
    await gallery.record_speech()
    shooting = await open_window(server.url)
    await shooting.wait_until_live()
    await shooting.shutter.click()
    first = await shooting.wait_for_photo()
    await wait_for_ids(gallery, [first])
    await expect(gallery.part("none")).to_have_count(0)
    await gallery.wait_for_speech(r"^1 new photo\.$")

    await tile(gallery, first).focus()
    await shooting.shutter.click()
    second = await shooting.wait_for_photo(other_than=first)
    await wait_for_ids(gallery, [second, first])
    await expect(tile(gallery, first)).to_be_focused()
    assert len(await read_days(gallery)) == len(set(await read_days(gallery)))
    await expect(tile(gallery, second).locator("img")).to_have_js_property("complete", True)
    assert await tile(gallery, second).locator("img").evaluate("(image) => image.naturalWidth") > 0
    assert await gallery.read("() => window.isTheSame")
    await tile(gallery, second).click()
    await gallery.wait_for_photo(second)


async def test_new_photo_is_shown_under_its_day_in_the_servers_time_zone(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    ids = await fill(tmp_path, 1)
    zone = "Pacific/Kiritimati"  # 14 hours ahead of UTC; the browser is 10 behind it
    server = serve("--dead-time", "0", env={"TZ": zone})
    gallery = await open_gallery(open_window, server.url, timezone_id="Pacific/Honolulu")
    await expect(gallery.part("zone")).to_have_text("Days in the server’s time zone (+14)")
    before = await read_days(gallery)
    taken = await take_photo(server.url)
    await wait_for_ids(gallery, [taken["snapshot"], *ids])
    day = dt.datetime.fromisoformat(taken["captured_at"]).astimezone(zoneinfo.ZoneInfo(zone)).date()
    assert await read_days(gallery) == [day.isoformat(), *before]
    await expect(gallery.part("zone")).to_have_text("Days in the server’s time zone (+14)")
    stands = [await gallery.part(name).bounding_box() for name in ("choice", "zone")] + [
        await gallery.page.locator(".day").first.bounding_box()
    ]
    heights = [box["y"] for box in stands if box is not None]
    assert len(heights) == 3
    assert heights == sorted(heights), "under the form, above the photos"
    await expect(gallery.page.locator("h2").first).to_have_text(f"{day:%A}, {day:%B} {day.day}, {day.year}")
    fresh = await open_window(f"{server.url}/snapshots", timezone_id="Pacific/Honolulu")
    assert await read_days(fresh) == await read_days(gallery)
    days = [await window.page.locator(".day").all_inner_texts() for window in (fresh, gallery)]
    assert days[0] == days[1]


async def test_filtered_gallery_adds_only_matching_photos(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    (tmp_path / "dog.toml").write_text(
        '[cameras.main]\ncamera = "test"\ndead_time = 0\n[cameras.yard]\ncamera = "test"\ndead_time = 0\n'
    )
    old = await fill(tmp_path, 2)
    server = serve()
    yard = await open_gallery(open_window, server.url, "?camera=yard")
    june = await open_gallery(open_window, server.url, "?day=2026-06-01")
    later = await open_gallery(open_window, server.url, f"?before={old[0]}")
    everything = await open_gallery(open_window, server.url)
    async with june.page.expect_response(lambda answer: "day=2026-06-01" in answer.url):
        main = (await take_photo(server.url, camera="main"))["snapshot"]
    own = (await take_photo(server.url, camera="yard"))["snapshot"]
    await wait_for_ids(everything, [own, main, *old])
    await wait_for_ids(yard, [own])
    await delete(server.url, old[1])  # the events before it were received then
    for window, ids in ((everything, [own, main, old[0]]), (yard, [own]), (june, old[:1]), (later, [])):
        await wait_for_ids(window, ids)


async def test_scrolled_gallery_announces_new_photos_without_moving(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    ids = await fill(tmp_path, 50)
    server = serve("--dead-time", "0")
    gallery = await open_gallery(open_window, server.url)
    await gallery.record_speech()
    height = await scroll_to(gallery, ids[35])
    await tile(gallery, ids[36]).focus()
    new = [photo["snapshot"] for photo in await take_photos(server.url, 2)]
    await expect(gallery.part("newest-label")).to_have_text("2 new photos")
    await gallery.wait_for_speech("^2 new photos at the top")
    assert await read_height(gallery, ids[35]) == pytest.approx(height, abs=1)
    await expect(tile(gallery, ids[36])).to_be_focused()
    assert await read_ids(gallery) == ids

    # A photo above is deleted: the visible ones stay.
    await delete(server.url, ids[1])
    await wait_for_ids(gallery, [ids[0], *ids[2:]])
    box = await tile(gallery, ids[35]).bounding_box()
    assert box is not None
    assert await read_height(gallery, ids[35]) == pytest.approx(
        height, abs=box["height"] + 7
    )  # at most into the next row

    await gallery.part("newest").click()
    await wait_for_ids(gallery, [*new, ids[0], *ids[2:]])
    await expect(gallery.part("newest")).to_be_hidden()
    assert await gallery.read("() => scrollY") == 0
    assert await gallery.read("() => window.isTheSame")


# ---- removed photos


async def test_deleted_photo_and_its_empty_day_leave_other_windows(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    ids = await fill(tmp_path, 3, step=dt.timedelta(hours=13))  # the last is alone on its day
    server = serve("--dead-time", "0")
    gallery = await open_gallery(open_window, server.url)
    await gallery.record_speech()
    assert await read_days(gallery) == ["2026-06-02", "2026-06-01"]
    await tile(gallery, ids[2]).focus()
    other = await open_window(f"{server.url}/snapshots/{ids[2]}")
    other.accepted.append(REFUSED)  # Chromium may request the photo again while it leaves the page
    await other.part("delete").click()
    await other.page.get_by_role("dialog").get_by_role("button", name="Delete the photo").click()
    await other.page.wait_for_url(f"{server.url}/snapshots")  # there is no older one
    await wait_for_ids(gallery, ids[:2])
    assert await read_days(gallery) == ["2026-06-02"]
    await expect(tile(gallery, ids[1])).to_be_focused()
    await gallery.wait_for_speech(r"^1 photo was deleted\.$")

    for snapshot in ids[:2]:
        await delete(server.url, snapshot)
    await expect(gallery.part("none")).to_contain_text("No photos yet")
    assert await read_days(gallery) == []
    assert await gallery.read("() => window.isTheSame")


async def test_photos_removed_by_retention_leave_the_gallery(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    ids = await fill(tmp_path, 5)
    server = serve("--dead-time", "0", "--keep-photos", "5")
    gallery = await open_gallery(open_window, server.url)
    new = (await take_photo(server.url))["snapshot"]
    await wait_for_ids(gallery, [new, *ids[:4]])


# ---- older photos


async def test_older_photos_load_on_scrolling_and_back_restores_the_position(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    ids = await fill(tmp_path, 150)
    server = serve()
    gallery = await open_gallery(open_window, server.url)
    assert len(await read_ids(gallery)) < 150
    await read_to_the_end(gallery)
    assert await read_ids(gallery) == ids
    days = await read_days(gallery)
    assert days == sorted(set(days), reverse=True)
    assert await gallery.read("() => window.isTheSame")

    height = await scroll_to(gallery, ids[130])
    await tile(gallery, ids[130]).click()
    await gallery.wait_for_photo(ids[130])
    await gallery.page.go_back()
    await expect(tile(gallery, ids[130])).to_be_in_viewport()
    await gallery.page.wait_for_function(
        """([id, height]) => Math.abs(
            document.querySelector(`.tiles [data-snapshot="${id}"]`).getBoundingClientRect().top - height) < 2""",
        arg=[ids[130], height],
    )
    await expect(tile(gallery, ids[130])).to_be_focused()

    # Also if that photo was deleted.
    await tile(gallery, ids[130]).click()
    await gallery.wait_for_photo(ids[130])
    await delete(server.url, ids[130])
    await gallery.page.go_back()
    await expect(tile(gallery, ids[131])).to_be_in_viewport()
    await read_to_the_end(gallery)
    assert await read_ids(gallery) == [*ids[:130], *ids[131:]]


async def test_link_to_older_photos_works_after_a_failed_fetch(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    ids = await fill(tmp_path, 70)
    server = serve()
    window = await open_window("about:blank")
    window.accepted.append(REFUSED)
    await window.page.route("**/snapshots?before=*", lambda route: route.abort())
    async with window.page.expect_event("requestfailed"):
        await window.page.goto(f"{server.url}/snapshots")
        await window.part("older").scroll_into_view_if_needed()
    await expect(window.part("older")).to_have_attribute("href", re.compile(f"before={ids[59]}"))
    assert await read_ids(window) == ids[:60]
    await window.page.unroute_all()
    await window.part("older").focus()
    await window.page.keyboard.press("Enter")
    await window.page.wait_for_url(f"**/snapshots?before={ids[59]}")
    assert await read_ids(window) == ids[60:]


async def test_older_photos_load_after_the_last_shown_one_was_deleted(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    ids = await fill(tmp_path, 70)
    server = serve()
    window = await open_gallery(open_window, server.url, viewport={"width": 390, "height": 600})
    assert await read_ids(window) == ids[:60]  # on a phone the link is far away
    await delete(server.url, ids[59])
    await wait_for_ids(window, ids[:59])
    await read_to_the_end(window)
    assert await read_ids(window) == [*ids[:59], *ids[60:]]


# ---- a lost connection


@pytest.mark.parametrize("new", [2, 70])
async def test_gallery_is_complete_after_a_server_kill(
    serve: Serve, open_window: OpenWindow, tmp_path: Path, new: int
) -> None:
    ids = await fill(tmp_path, 130)
    server = serve()
    top = await open_gallery(open_window, server.url)
    below = await open_gallery(open_window, server.url)
    for window in (top, below):
        window.accepted += [UNREACHABLE, REFUSED]
        await read_to_the_end(window)
    await top.read("() => { scrollTo({ top: 0, behavior: 'instant' }); }")
    await scroll_to(below, ids[100])
    await asyncio.to_thread(server.kill)

    async def change(store: SnapshotStore) -> list[str]:
        await store.remove(ids[5])
        await store.remove(ids[125])
        return (await save(store, [NOON + dt.timedelta(days=9)] * new))[::-1]

    added = await change_folder(tmp_path, change)
    await asyncio.to_thread(serve, "--port", str(server.port))
    left = [snapshot for snapshot in ids if snapshot not in (ids[5], ids[125])]
    await expect(below.part("newest-label")).to_have_text("2 new photos" if new == 2 else "60+ new photos")
    await wait_for_ids(below, left)
    await expect(tile(below, ids[100])).to_be_in_viewport()
    await below.part("newest").click()
    for window in (top, below):
        await expect(tiles(window).first).to_have_attribute("data-snapshot", added[0])
        await read_to_the_end(window)
        await wait_for_ids(window, added + left)
        assert await window.read("() => window.isTheSame")


# ---- the choice of camera and day


async def test_filter_applies_at_once_and_a_typed_day_when_complete(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    (tmp_path / "dog.toml").write_text('[cameras.main]\ncamera = "test"\n[cameras.yard]\ncamera = "test"\n')
    ids = await fill(tmp_path, 40)
    await change_folder(tmp_path, lambda store: save(store, [NOON], "yard"))
    server = serve()
    window = await open_gallery(open_window, server.url)
    await expect(window.page.get_by_role("button", name="Show")).to_be_hidden()
    await window.page.get_by_label("Camera").select_option("main")
    await window.page.wait_for_url("**/snapshots?camera=main")
    assert await read_ids(window) == ids
    await window.page.get_by_label("Day").fill("2026-06-02")
    await window.page.wait_for_url("**/snapshots?camera=main&day=2026-06-02")
    assert await read_days(window) == ["2026-06-02"]

    field = window.page.get_by_label("Day")
    await field.focus()
    await field.press("Home")
    await window.page.keyboard.type("06012026")
    await expect(field).to_have_value("2026-06-01")
    assert window.page.url.endswith("day=2026-06-02")
    await window.page.keyboard.press("Enter")
    await window.page.wait_for_url("**/snapshots?camera=main&day=2026-06-01")
    assert await read_days(window) == ["2026-06-01"]


# ---- without JavaScript


async def test_gallery_works_without_javascript(serve: Serve, open_window: OpenWindow, tmp_path: Path) -> None:
    (tmp_path / "dog.toml").write_text('[cameras.main]\ncamera = "test"\n[cameras.yard]\ncamera = "test"\n')
    ids = await fill(tmp_path, 130)
    yard = await change_folder(tmp_path, lambda store: save(store, [NOON], "yard"))
    server = serve()
    window = await open_window(f"{server.url}/snapshots", java_script_enabled=False)
    page = window.page
    everything = [*yard, *ids]
    for start in (0, 60, 120):
        assert await read_ids(window) == everything[start : start + 60]
        if start < 120:
            await window.part("older").click()
            await page.wait_for_url(f"**/snapshots?before={everything[start + 59]}")
    await expect(window.part("older")).to_have_count(0)
    await page.get_by_role("link", name="Newest photos").click()
    await page.get_by_label("Camera").select_option("main")
    await page.get_by_label("Day").fill("2026-06-02")
    await page.get_by_role("button", name="Show").click()
    await page.wait_for_url("**/snapshots?camera=main&day=2026-06-02")
    assert await read_days(window) == ["2026-06-02"]
    day = await read_ids(window)
    assert len(day) == 48

    await tile(window, day[0]).click()
    await page.get_by_role("button", name="Pin").click()
    await expect(window.part("pin")).to_have_text("Pinned")
    assert (await send_request(server.url, f"/api/snapshots/{day[0]}"))["pinned"] is True
    await page.get_by_role("link", name="Delete").click()
    await page.get_by_role("link", name="Keep it").click()
    await page.get_by_role("link", name="Delete").click()
    await page.get_by_role("button", name="Delete the photo").click()
    await page.wait_for_url(f"**/snapshots/{day[1]}")
    await page.goto(f"{server.url}/snapshots?day=2026-06-02")
    assert await read_ids(window) == day[1:]


# ---- the photo's page


async def test_photo_is_pinned_and_unpinned_without_leaving_the_page(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    ids = await fill(tmp_path, 2)
    server = serve()
    window = await open_gallery(open_window, server.url)
    await tile(window, ids[0]).click()
    await window.wait_for_photo(ids[0])
    await window.record_speech()
    await window.read("() => { window.isTheSame = true; }")
    await window.part("pin").click()
    await expect(window.part("pin")).to_have_attribute("aria-pressed", "true")
    await expect(window.part("pin")).to_have_text("Pinned")
    await window.wait_for_speech("^Pinned")
    assert (await send_request(server.url, f"/api/snapshots/{ids[0]}"))["pinned"] is True
    assert await window.read("() => window.isTheSame")
    await window.page.go_back()
    await expect(tile(window, ids[0]).locator(".pinned")).to_have_count(1)
    await window.page.go_forward()
    await window.part("pin").click()
    await expect(window.part("pin")).to_have_text("Pin")
    await expect(window.part("pin")).to_have_attribute("value", "yes")
    assert (await send_request(server.url, f"/api/snapshots/{ids[0]}"))["pinned"] is False


async def test_delete_asks_in_a_dialog_and_opens_the_next_older_photo(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    ids = await fill(tmp_path, 3)
    server = serve()
    window = await open_window(f"{server.url}/snapshots/{ids[1]}/delete", java_script_enabled=False)
    words = [await window.page.locator("h1").inner_text(), await window.page.locator(".detail").inner_text()]
    window = await open_window(f"{server.url}/snapshots/{ids[1]}")
    dialog = window.page.get_by_role("dialog")
    for leave in ("Escape", "Enter"):
        await window.part("delete").click()
        await expect(dialog).to_be_visible()
        assert [await dialog.locator("h1").inner_text(), await dialog.locator(".detail").inner_text()] == words
        await expect(window.part("keep")).to_be_focused()
        await window.page.keyboard.press("ArrowRight")  # the dialog must ignore it
        await window.page.keyboard.press(leave)
        await expect(dialog).to_be_hidden()
        await expect(window.part("delete")).to_be_focused()
        assert window.page.url == f"{server.url}/snapshots/{ids[1]}"
    await window.part("delete").click()
    await dialog.get_by_role("button", name="Delete the photo").click()
    await window.page.wait_for_url(f"**/snapshots/{ids[2]}")
    await window.wait_for_photo(ids[2])
    assert [one["snapshot"] for one in (await send_request(server.url, "/api/snapshots"))["snapshots"]] == [
        ids[0],
        ids[2],
    ]


@pytest.mark.parametrize("touch", ["pin", "delete", "return"])
async def test_open_photo_page_reports_that_the_photo_was_deleted(
    serve: Serve, open_window: OpenWindow, tmp_path: Path, touch: str
) -> None:
    ids = await fill(tmp_path, 2)
    server = serve()
    window = await open_window(f"{server.url}/snapshots/{ids[0]}")
    window.accepted.append(REFUSED)
    await expect(window.part("notice")).to_be_hidden()
    await delete(server.url, ids[0])
    if touch == "return":
        await window.read("() => { document.dispatchEvent(new Event('visibilitychange')); }")
    else:
        await window.part(touch).click()
    await expect(window.part("notice")).to_contain_text("This photo was deleted, or removed to make room.")
    await expect(window.part("pin")).to_be_hidden()
    await window.part("older").click()
    await window.wait_for_photo(ids[1])


async def test_photo_page_updates_its_pin_on_return(serve: Serve, open_window: OpenWindow, tmp_path: Path) -> None:
    ids = await fill(tmp_path, 1)
    server = serve()
    window = await open_window(f"{server.url}/snapshots/{ids[0]}")
    await send_request(server.url, f"/api/snapshots/{ids[0]}/pin", "PUT")
    await window.read("() => { document.dispatchEvent(new Event('visibilitychange')); }")
    await expect(window.part("pin")).to_have_text("Pinned")


# ---- the live page


async def test_deleted_photo_leaves_the_strip_and_the_newest_remaining_is_shown(
    serve: Serve, open_window: OpenWindow
) -> None:
    server = serve("--dead-time", "0")
    window = await open_window(server.url)
    await window.wait_until_live()
    await window.record_speech()
    older = [photo["snapshot"] for photo in await take_photos(server.url, 2)]
    await window.shutter.click()
    own = await window.wait_for_photo(other_than=older[0])
    await expect(window.part("whose")).to_have_text("Your photo")
    assert await window.read_cookie() == own

    await delete(server.url, older[1])
    await expect(window.photos).to_have_count(2)
    await expect(window.part("notice")).to_be_hidden()
    await delete(server.url, own)
    await window.wait_for_photo(older[0])
    await expect(window.photos).to_have_count(1)
    await expect(window.part("notice")).to_have_text(re.compile("This photo was deleted."))
    await expect(window.part("whose")).to_be_empty()
    assert await window.read_cookie() is None
    sentences = await window.wait_for_speech("This photo was deleted")
    assert not any("New photo" in sentence for sentence in sentences[-1:])

    await delete(server.url, older[0])
    await expect(window.page.get_by_role("img", name="A drawing of a dog")).to_be_visible()
    await expect(window.part("none")).to_have_text("No photo yet — this is a drawing")
    await expect(window.part("actions")).to_be_hidden()
    await expect(window.part("strip")).to_be_hidden()
    await window.shutter.click()
    await window.wait_for_photo()
    await expect(window.part("notice")).to_be_hidden()


async def test_strip_is_refilled_with_older_photos_after_deletions(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    ids = await fill(tmp_path, 30)
    server = serve()
    window = await open_window(server.url)
    await window.wait_until_live()
    await expect(window.photos).to_have_count(24)
    await window.photos.nth(3).focus()
    await delete(server.url, ids[3])
    await expect(window.photos.last).to_have_attribute("data-snapshot", ids[24])
    await expect(window.photos).to_have_count(24)
    assert await window.read("() => document.getElementById('strip-list').contains(document.activeElement)")


async def test_photos_deleted_during_a_disconnect_leave_the_live_page(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    ids = await fill(tmp_path, 4)
    server = serve()
    window = await open_window(server.url)
    window.accepted += [UNREACHABLE, REFUSED]
    await window.wait_until_live()
    await window.photos.nth(2).click()
    await window.wait_for_photo(ids[2])
    await asyncio.to_thread(server.kill)
    await change_folder(tmp_path, lambda store: store.remove(ids[2]))
    await asyncio.to_thread(serve, "--port", str(server.port))
    await expect(window.photos).to_have_count(3)
    await window.wait_for_photo(ids[0])
    await expect(window.part("notice")).to_contain_text("This photo no longer exists.")


async def test_state_forgets_removed_photos_and_keeps_others(
    idle_server: ServerProcess, open_window: OpenWindow
) -> None:
    window = await open_window(idle_server.url)
    run = Reducer(window).run

    def removed(seq: int, *numbers: int, reason: str = "deleted") -> dict[str, Any]:
        return event("removed", seq, snapshots=[f"s{number}" for number in numbers], reason=reason)

    three = [HELLO, ready(1, 1), ready(2, 2), ready(3, 3)]
    show = {"act": "show", "snapshot": "s1"}

    # A photo that is not shown is removed without a notice; the shown one stays.
    state = await run(*three, show, removed(4, 2))
    assert ([one["snapshot"] for one in state["photos"]], state["shown"]["snapshot"]) == (["s3", "s1"], "s1")
    assert (state["notice"], state["following"]) == (None, False)

    # A removed shown photo gives a notice with the reason; the newest replaces it.
    for reason, words in (
        ("deleted", "This photo was deleted."),
        ("retention", "This photo was removed to make room."),
    ):
        state = await run(*three, show, removed(4, 1, reason=reason))
        assert (state["shown"]["snapshot"], state["following"], state["notice"]["text"]) == ("s3", True, words)
    assert (await run(*three, removed(4, 1, 2, 3)))["shown"] is None

    # A removed new photo is not counted any more.
    state = await run(HELLO, ready(1, 1), ready(2, 2), show, ready(3, 3), removed(4, 3))
    assert (state["unseen"], state["shown"]["snapshot"]) == (0, "s1")
    assert (await run(HELLO, ready(1, 1), LIVE, ready(2, 2), ready(3, 3), removed(4, 2)))["unseen"] == 1

    # A removed photo is no longer an own one, and an unknown one changes nothing.
    assert (await run(HELLO, PRESS, reply("started", 1), ready(1, 1), removed(2, 1)))["own"] == []
    assert {**await run(*three), "seq": 4} == await run(*three, removed(4, 9))

    # A list by HTTP shows which photos are gone, except those that arrived after its request.
    listed = {"act": "photos", "photos": [photo(3), photo(1)], "asked": 3}
    state = await run(*three, {"act": "show", "snapshot": "s2"}, listed)
    assert ([one["snapshot"] for one in state["photos"]], state["shown"]["snapshot"]) == (["s3", "s1"], "s3")
    state = await run(*three[:3], ready(3, 3), {"act": "photos", "photos": [photo(2), photo(1)], "asked": 2})
    assert [one["snapshot"] for one in state["photos"]] == ["s3", "s2", "s1"]
    assert (state["shown"]["snapshot"], state["notice"]) == ("s3", None)


# ---- layout


async def test_gallery_fits_phone_and_desktop_with_large_controls(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    (tmp_path / "dog.toml").write_text('[cameras.main]\ncamera = "test"\n[cameras.yard]\ncamera = "test"\n')
    ids = await fill(tmp_path, 8)
    server = serve()
    for js in (True, False):
        window = await open_window(f"{server.url}/snapshots", java_script_enabled=js)
        for width, height in ((320, 568), (390, 844), (1280, 800)):
            await window.page.set_viewport_size({"width": width, "height": height})
            assert await window.read("() => document.documentElement.scrollWidth") <= width
            form = await window.part("choice").bounding_box()
            bar = await window.page.locator(".bar").bounding_box()
            first = await tiles(window).first.bounding_box()
            assert form is not None
            assert bar is not None
            assert first is not None
            assert bar["y"] + bar["height"] <= form["y"] + 0.5
            assert form["y"] + form["height"] <= first["y"]
            for control in await window.page.locator("a:visible, button:visible, select, input").all():
                box = await control.bounding_box()
                assert box is not None
                assert min(box["width"], box["height"]) >= 44, await control.inner_text()
    await window.page.goto(f"{server.url}/snapshots/{ids[0]}")
    await window.page.set_viewport_size({"width": 390, "height": 844})
    dot = await window.page.locator(".to-live .dot").bounding_box()
    assert dot is not None
    assert dot["width"] == dot["height"] == 9
    everything = await window.page.get_by_role("link", name="All photos").bounding_box()
    assert everything is not None
    assert everything["width"] == 44, "only its icon is shown"


async def test_tile_has_its_time_once(serve: Serve, open_window: OpenWindow, tmp_path: Path) -> None:
    ids = await fill(tmp_path, 1)
    server = serve()
    gallery = await open_gallery(open_window, server.url)
    time = f"{NOON:%I:%M:%S %p}"
    name = f"Photo by the camera main, taken at {NOON:%b} {NOON.day}, {NOON.year}, {time}"
    await expect(tile(gallery, ids[0])).to_have_accessible_name(name)
    await expect(tile(gallery, ids[0]).locator(".at")).to_have_text(time)


async def test_link_on_an_empty_day_has_the_accent_color(serve: Serve, open_window: OpenWindow) -> None:
    server = serve()
    window = await open_window(f"{server.url}/snapshots?day=2026-06-01")
    colour, accent = await window.page.get_by_role("link", name="See all photos").evaluate(
        """(link) => {
            const probe = document.body.appendChild(document.createElement("i"));
            probe.style.color = "var(--accent)";
            return [getComputedStyle(link).color, getComputedStyle(probe).color];
        }"""
    )
    assert colour == accent


async def test_delete_page_is_centered(serve: Serve, open_window: OpenWindow, tmp_path: Path) -> None:
    ids = await fill(tmp_path, 1)
    server = serve()
    window = await open_window(f"{server.url}/snapshots/{ids[0]}/delete")
    for width, height in ((320, 568), (1280, 800)):
        await window.page.set_viewport_size({"width": width, "height": height})
        confirm, keep, heading = [
            await window.page.locator(part).bounding_box() for part in ("#confirm", "#keep", "h1")
        ]
        assert confirm is not None
        assert keep is not None
        assert heading is not None
        left, right = min(confirm["x"], keep["x"]), max(box["x"] + box["width"] for box in (confirm, keep))
        assert abs(left + right - width) <= 2
        assert abs(2 * heading["x"] + heading["width"] - width) <= 2


async def test_types_on_the_api_page_are_expanded(serve: Serve, open_window: OpenWindow) -> None:
    server = serve()
    window = await open_window(f"{server.url}/api", java_script_enabled=False)
    types = window.page.locator('details[id^="type-"]')
    assert await types.count() > 0
    assert await types.evaluate_all("(types) => types.every(({ open }) => open)")


async def test_focus_is_visible(serve: Serve, open_window: OpenWindow, tmp_path: Path) -> None:
    await fill(tmp_path, 2)
    server = serve()
    window = await open_gallery(open_window, server.url)
    seen = []
    for _ in range(12):
        await window.page.keyboard.press("Tab")
        name, style = await window.read(
            """() => [document.activeElement.localName, getComputedStyle(document.activeElement).outlineStyle]"""
        )
        if name == "body":
            break
        seen.append(name)
        assert style == "solid", name
    assert seen.count("a") == 4  # the brand, the link to the live page, and both photos
