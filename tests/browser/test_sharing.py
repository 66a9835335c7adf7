"""Share links in Chromium: creating, opening and revoking them."""

import asyncio
import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Request, expect

from tests.browser.conftest import OpenWindow
from tests.browser.windows import Window
from tests.conftest import Serve
from tests.support.index_files import change_facts
from tests.support.pushes import take_photo
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE: dict[str, Any] = {"viewport": {"width": 320, "height": 568}, "has_touch": True, "is_mobile": True}
GONE = r"status of 410 \(Gone\)"


def dialog_of(window: Window) -> Locator:
    return window.page.get_by_role("dialog", name="Share this photo")


async def open_dialog(window: Window) -> Locator:
    await window.page.get_by_role("button", name="Share", exact=True).click()
    dialog = dialog_of(window)
    await expect(dialog).to_be_visible()
    return dialog


async def create_link(dialog: Locator, time: str = "a week") -> str:
    """Create a share link. Return its URL, which is the first in the list."""
    links = dialog.locator("[data-link]")
    before = await links.count()
    await dialog.get_by_label("The link works for").select_option(time)
    await dialog.get_by_role("button", name="Make a link").click()
    await expect(links).to_have_count(before + 1)
    return str(await links.first.locator("a").get_attribute("href"))


async def open_photo(serve: Serve, open_window: OpenWindow, **options: Any) -> tuple[ServerProcess, str, Window]:
    """Return a server, the id of its photo, and a window with its page."""
    server = serve("--dead-time", "0")
    photo = await take_photo(server.url)
    window = await open_window(f"{server.url.rstrip('/')}{photo['page']}", **options)
    return server, photo["snapshot"], window


async def check_fits(window: Window, part: Locator) -> None:
    """Check that a part is inside the window, with large enough buttons."""
    width = await window.read("() => innerWidth")
    assert await window.read("() => document.documentElement.scrollWidth") <= width
    box = await part.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert await part.evaluate("element => element.scrollWidth - element.clientWidth") <= 0
    for pressed in await part.locator("button:visible, select, a.plain").all():
        box = await pressed.bounding_box()
        assert box is not None
        assert box["height"] >= 44, await pressed.inner_text()
        assert box["width"] >= 44, await pressed.inner_text()
        assert box["x"] + box["width"] <= width


async def test_share_link_is_created_by_keyboard_copied_and_opened_by_a_stranger(
    serve: Serve, open_window: OpenWindow
) -> None:
    server, snapshot, window = await open_photo(serve, open_window)
    await window.context.grant_permissions(["clipboard-read", "clipboard-write"])
    keyboard = window.page.keyboard
    await window.part("share").focus()
    await keyboard.press("Space")
    dialog = dialog_of(window)
    await expect(dialog.get_by_label("The link works for")).to_be_focused()
    await keyboard.type("an hour")
    await keyboard.press("Tab")
    await expect(dialog.get_by_role("button", name="Make a link")).to_be_focused()
    await keyboard.press("Enter")
    await expect(dialog.get_by_role("status")).to_have_text("Link copied.")
    copy = dialog.get_by_role("button", name="Copied")
    await expect(copy).to_be_focused()
    await expect(dialog.get_by_label("The link works for")).to_have_value("3600")
    url = await window.read("() => navigator.clipboard.readText()")
    assert re.fullmatch(re.escape(server.url.rstrip("/")) + r"/shared/[a-z2-7]{24}\.[\w-]{43}", url)
    await expect(dialog.locator("[data-link] a")).to_have_text(url)

    stranger = await open_window("about:blank")
    requests: list[Request] = []
    stranger.page.on("request", lambda request: requests.append(request))
    await stranger.page.goto(url)
    picture = stranger.page.get_by_role("img", name="Photo taken at")
    await expect(picture).to_have_js_property("complete", True)
    assert await picture.evaluate("image => image.naturalWidth") > 0
    await expect(stranger.part("when").locator(".ago")).to_be_visible()
    until = stranger.part("until")
    await expect(until).to_contain_text("This link works until")
    await expect(until.locator("time")).not_to_contain_text("UTC")
    async with stranger.page.expect_download() as download:
        await stranger.part("download").click()
    assert re.fullmatch(r"dog-\d{8}-\d{6}\.jpg", (await download.value).suggested_filename)
    assert await stranger.context.cookies() == []
    assert len(requests) >= 2
    for request in requests:
        assert snapshot not in request.url
        assert not (await request.all_headers()).get("referer")
    assert [await link.get_attribute("id") for link in await stranger.page.locator("a, form").all()] == ["download"]


async def test_revoked_share_link_ends_an_open_page_and_its_image(serve: Serve, open_window: OpenWindow) -> None:
    _, _, window = await open_photo(serve, open_window)
    dialog = await open_dialog(window)
    other, url = await create_link(dialog, "a year"), await create_link(dialog, "an hour")
    stranger = await open_window(url)
    picture = str(await stranger.page.locator("#frame img").evaluate("image => image.currentSrc"))
    await dialog.locator("[data-link]").first.get_by_role("button", name="Revoke").click()
    await expect(dialog.locator("[data-link]")).to_have_count(1)
    await expect(dialog.get_by_role("status")).to_have_text("The link is revoked.")
    await expect(dialog.locator("[data-link] a")).to_have_attribute("href", other)
    await expect(dialog.get_by_role("button", name="Make a link")).to_be_focused()

    stranger.accepted.append(GONE)
    answer = await stranger.page.reload()
    assert answer is not None
    assert answer.status == 410
    await expect(stranger.page.get_by_role("heading")).to_have_text("This link does not work")
    await expect(stranger.page.get_by_role("link")).to_have_count(0)
    answer = await stranger.page.goto(picture)
    assert answer is not None
    assert answer.status == 410, "the cache must revalidate"
    answer = await stranger.page.goto(other)
    assert answer is not None
    assert answer.status == 200


@pytest.mark.parametrize("has_script", [True, False], ids=["javascript", "no javascript"])
async def test_expired_share_link_shows_its_expiry_and_no_photo(
    serve: Serve, open_window: OpenWindow, tmp_path: Path, has_script: bool
) -> None:
    server, snapshot, window = await open_photo(serve, open_window)
    dialog = await open_dialog(window)
    other, url = await create_link(dialog, "a year"), await create_link(dialog, "an hour")
    stranger = await open_window(url, java_script_enabled=has_script, **PHONE)
    await expect(stranger.part("until")).to_contain_text("This link works until")
    picture = str(await stranger.page.locator("#frame img").evaluate("image => image.currentSrc"))
    await window.page.close()

    assert await asyncio.to_thread(server.stop) == 0
    over, link = dt.datetime(2025, 11, 1, 12, 30, tzinfo=dt.UTC), url.rpartition("/")[2].partition(".")[0]
    change_facts(tmp_path, "UPDATE shares SET expires_at = ? WHERE id = ?", int(over.timestamp() * 1000), link)
    server.arguments[-1] = str(server.port)  # the same URL
    await asyncio.to_thread(server.start)

    async def visit(url: str) -> int:
        answer = await stranger.page.goto(url)
        assert answer is not None
        return answer.status

    stranger.accepted.append(GONE)
    assert await visit(url) == 410
    page = stranger.page.get_by_role("main")
    await expect(page.get_by_role("heading")).to_have_text("This link does not work")
    local = over.astimezone()
    here = f"{local:%b} {local.day}, {local:%Y}, {local:%I:%M:%S %p}".replace(", 0", ", ")
    at = here if has_script else "2025-11-01 12:30:00 UTC"
    await expect(page).to_contain_text(f"It expired at {at}. Ask for a new one.")
    await expect(stranger.page.get_by_role("link")).to_have_count(0)
    assert await visit(picture) == 410, "the cache must revalidate"
    assert await visit(other) == 200
    owner = (await open_window(f"{server.url.rstrip('/')}/snapshots/{snapshot}/links")).page
    await expect(owner.locator(f'[data-link="{link}"]')).to_contain_text("Expired ")
    await expect(owner.get_by_text("Works until")).to_have_count(1)


async def test_dialog_captures_keys_and_restores_the_focus(serve: Serve, open_window: OpenWindow) -> None:
    server = serve("--dead-time", "0")
    photos = [await take_photo(server.url) for _ in range(3)]
    page = f"{server.url.rstrip('/')}{photos[1]['page']}"
    window = await open_window(page)
    for close in "Escape", "close", "outside":
        dialog = await open_dialog(window)
        for key in "ArrowLeft", "ArrowRight":
            await window.page.keyboard.press(key)
        await dialog.get_by_role("heading").first.click()  # this removes the focus
        await window.page.keyboard.press("ArrowRight")
        if close == "Escape":
            await window.page.keyboard.press("Escape")
        elif close == "close":
            await dialog.get_by_role("link", name="Back to the photo").click()
        else:
            await window.page.mouse.click(2, 2)
        await expect(dialog).to_be_hidden()
        await expect(window.part("share")).to_be_focused()
        assert window.page.url == page
    await window.page.keyboard.press("ArrowRight")
    await window.page.wait_for_url(f"**{photos[0]['page']}")


async def test_share_link_is_copied_without_a_clipboard(serve: Serve, open_window: OpenWindow) -> None:
    server, snapshot, _ = await open_photo(serve, open_window)
    window = await open_window("about:blank")
    await window.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    await window.page.goto(f"{server.url.rstrip('/')}/snapshots/{snapshot}")
    await window.read("() => document.addEventListener('copy', () => (window.copied = String(getSelection())))")
    dialog = await open_dialog(window)
    url = await create_link(dialog)
    await expect(dialog.get_by_role("status")).to_have_text("Link copied.")
    assert await window.read("() => window.copied") == url
    await expect(dialog.get_by_role("textbox")).to_have_count(0)


async def test_dialog_shows_errors(serve: Serve, open_window: OpenWindow) -> None:
    server, snapshot, window = await open_photo(serve, open_window)
    window.accepted += [GONE, "ERR_CONNECTION_REFUSED"]
    dialog = await open_dialog(window)
    await window.read("id => fetch(`../api/snapshots/${id}`, { method: 'DELETE' }).then(() => null)", snapshot)
    await dialog.get_by_role("button", name="Make a link").click()
    await expect(dialog.get_by_role("status")).to_contain_text("This photo was deleted, or removed to make room.")
    server.stop()
    await dialog.get_by_role("button", name="Make a link").click()
    await expect(dialog.get_by_role("status")).to_have_text("The server can’t be reached. Try again.")


async def test_share_links_work_without_javascript(serve: Serve, open_window: OpenWindow) -> None:
    server, snapshot, window = await open_photo(serve, open_window, java_script_enabled=False, **PHONE)
    page = window.page
    await page.get_by_role("link", name="Share").click()
    assert page.url == f"{server.url.rstrip('/')}/snapshots/{snapshot}/links"
    await page.get_by_label("The link works for").select_option("a day")
    await page.get_by_role("button", name="Make a link").click()
    link = page.locator("[data-link]")
    await expect(link).to_have_count(1)
    await expect(page.get_by_role("button", name="Copy link")).to_have_count(0)
    url = str(await link.locator("a").get_attribute("href"))

    stranger = await open_window(f"{server.url.rstrip('/')}{url}", java_script_enabled=False, **PHONE)
    await expect(stranger.page.get_by_role("img", name="Photo taken at")).to_be_in_viewport(ratio=1)
    await expect(stranger.part("until")).to_contain_text("UTC")
    await expect(stranger.part("download")).to_be_in_viewport(ratio=1)

    await page.get_by_role("button", name="Revoke").click()
    await expect(link).to_have_count(0)
    stranger.accepted.append(GONE)
    await stranger.page.reload()
    await expect(stranger.page.get_by_role("heading")).to_have_text("This link does not work")
    await page.get_by_role("link", name="Back to the photo").click()
    assert page.url == f"{server.url.rstrip('/')}/snapshots/{snapshot}"


async def test_share_links_page_works_like_the_dialog(serve: Serve, open_window: OpenWindow) -> None:
    server, snapshot, _ = await open_photo(serve, open_window)
    window = await open_window("about:blank")
    await window.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await window.page.goto(f"{server.url.rstrip('/')}/snapshots/{snapshot}/links")
    main = window.page.get_by_role("main")
    url = await create_link(main, "a month")
    await expect(main.get_by_role("status")).to_have_text("Link copied.")
    assert await window.read("() => navigator.clipboard.readText()") == url
    await expect(main.get_by_label("The link works for")).to_have_value(str(30 * 24 * 3600))
    await expect(main.get_by_role("img")).to_be_visible()
    await main.get_by_role("button", name="Revoke").click()
    await expect(main.locator("[data-link]")).to_have_count(0)


@pytest.mark.parametrize("options", [PHONE, {"viewport": {"width": 1280, "height": 800}}], ids=["phone", "desktop"])
async def test_share_link_pages_fit_every_window(
    serve: Serve, open_window: OpenWindow, options: dict[str, Any]
) -> None:
    server, snapshot, window = await open_photo(serve, open_window, **options)
    await expect(window.part("share")).to_be_in_viewport(ratio=1)
    dialog = await open_dialog(window)
    for _ in range(6):
        url = await create_link(dialog)
    await check_fits(window, dialog)
    assert await dialog.evaluate("dialog => dialog.getBoundingClientRect().bottom <= innerHeight")
    last = dialog.get_by_role("button", name="Revoke").last
    await last.scroll_into_view_if_needed()
    await last.click(trial=True)
    await window.page.goto(f"{server.url.rstrip('/')}/snapshots/{snapshot}/links")
    await check_fits(window, window.page.get_by_role("main"))
    stranger = await open_window(url, **options)
    await expect(stranger.part("download")).to_be_in_viewport(ratio=1)
    await expect(stranger.part("until")).to_be_in_viewport(ratio=1)
    await expect(stranger.page.locator("#frame img")).to_be_in_viewport(ratio=1)
    await check_fits(stranger, stranger.page.get_by_role("main"))
