"""Login and logout in a browser, and role changes of an open page."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Locator, expect

from dog.auth import Role
from tests.browser.conftest import OpenWindow
from tests.browser.windows import Window, launch_chromium
from tests.conftest import Serve
from tests.support.accounts import PASSWORD, add_session, add_user
from tests.support.browser_pages import SIZES, UNAUTHORIZED, check_layout, log_in, open_with_session, type_login
from tests.support.ports import find_free_ports
from tests.support.server_process import run_dog

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"width": 390, "height": 844}


@dataclass(frozen=True)
class GuardedServer:
    """A server where ada may manage, cleo may take photos, and vera may watch.

    Each of them has a session.
    """

    url: str
    cwd: Path
    sessions: dict[str, str]

    async def open(self, open_window: OpenWindow, name: str, path: str = "/", **options: Any) -> Window:
        """Open a window of a user who is logged in."""
        return await open_with_session(open_window, self.url + path, self.sessions[name], **options)


async def run_dog_user(server: GuardedServer, *arguments: str) -> None:
    """Run `dog user ARGUMENTS` while the server runs."""
    ended = await asyncio.to_thread(run_dog, "user", *arguments, cwd=server.cwd)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture
def guarded(serve: Serve, tmp_path: Path) -> GuardedServer:
    roles: dict[str, Role] = {"ada": "manage", "cleo": "capture", "vera": "view"}
    for name, role in roles.items():
        add_user(tmp_path, name, role)
    sessions = {name: add_session(tmp_path, name) for name in roles}
    return GuardedServer(serve("--auth", "true", "--dead-time", "0").url, tmp_path, sessions)


async def take_own_photo(window: Window) -> str:
    """Press the shutter on the live page. Return the photo's id."""
    await window.wait_until_live()
    before = await window.part("frame").get_attribute("data-snapshot")
    await window.shutter.click()
    return await window.wait_for_photo(other_than=before)


async def end_session(window: Window) -> None:
    """Log out in another tab, and leave this one open."""
    tab = await window.context.new_page()
    await tab.goto(window.page.url)
    await tab.get_by_role("button", name="Log out").click()
    await expect(tab.get_by_role("heading", name="Log in")).to_be_visible()
    await tab.close()


async def read_session(window: Window) -> dict[str, Any] | None:
    return next((dict(one) for one in await window.context.cookies() if one.get("name") == "dog_session"), None)


async def follow_login(window: Window, link: Locator, name: str, back: str) -> None:
    """Follow the login link by keyboard and log in.

    Check that this returns to `back`.
    """
    await link.focus()
    await expect(link).to_be_focused()
    await window.page.keyboard.press("Enter")
    await expect(window.page.get_by_role("heading", name="Log in")).to_be_visible()
    await type_login(window, name)
    await window.page.wait_for_url(back)


@pytest.mark.parametrize("has_script", [True, False], ids=["javascript", "no javascript"])
async def test_setup_link_logs_one_browser_in_with_all_rights(
    serve: Serve, open_window: OpenWindow, has_script: bool
) -> None:
    server = serve("--auth", "true", "--dead-time", "0")
    link = server.wait_for(r"http://\S+/enter/\S+")[0]
    other = await open_window(link)  # opens the page only
    window = await open_window(link, java_script_enabled=has_script)
    await expect(window.part("enter")).to_be_focused()
    await window.page.keyboard.press("Enter")
    await window.page.wait_for_url(f"{server.url}/")
    other.accepted.append(r"status of 410")
    await other.part("enter").click()
    await expect(other.page.get_by_role("main")).to_contain_text("This link was used or replaced")
    if not has_script:
        return
    snapshot = await take_own_photo(window)
    await window.page.goto(f"{server.url}/snapshots/{snapshot}")
    for name in ("pin", "delete", "share"):
        await expect(window.part(name)).to_be_visible()

    late = await open_window("about:blank")
    late.accepted.append(r"status of 410")
    await late.page.goto(link)
    await expect(late.page.get_by_role("main")).to_contain_text("This link was used or replaced")
    await late.page.goto(server.url)
    await expect(late.page.get_by_role("heading", name="Log in")).to_be_visible()


@pytest.mark.parametrize("has_script", [True, False], ids=["javascript", "no javascript"])
async def test_wrong_password_shows_an_error_and_the_right_one_redirects_to_next(
    guarded: GuardedServer, open_window: OpenWindow, has_script: bool
) -> None:
    snapshot = await take_own_photo(await guarded.open(open_window, "cleo"))
    wanted = f"{guarded.url}/snapshots/{snapshot}"
    window = await open_window(wanted, java_script_enabled=has_script)
    window.accepted.append(UNAUTHORIZED)
    page = window.page
    assert parse_qs(urlsplit(page.url).query) == {"next": [f"snapshots/{snapshot}"]}
    name, password = page.get_by_label("Name"), page.get_by_label("Password")
    await expect(name).to_be_focused()
    await expect(page.get_by_role("alert")).to_have_count(0)
    await expect(page.locator("#log-in")).to_have_count(0)
    for field, kind in ((name, "username"), (password, "current-password")):
        await expect(field).to_have_attribute("autocomplete", kind)  # for password managers

    await page.keyboard.type("vera")
    await page.keyboard.press("Tab")
    await page.keyboard.type("something else")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("wrong")
    await expect(name).to_have_value("vera")
    await expect(password).to_have_value("")
    await expect(password).to_be_focused()
    await expect(password).to_have_accessible_description(re.compile("wrong"))
    assert await read_session(window) is None

    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url(wanted)
    await expect(page.locator("#frame img")).to_be_visible()
    await page.goto(f"{guarded.url}/login?next=snapshots")
    assert page.url == f"{guarded.url}/snapshots", "a logged-in browser is redirected"


async def test_session_cookie_is_hidden_from_scripts_and_new_at_each_login(
    guarded: GuardedServer, open_window: OpenWindow
) -> None:
    window = await log_in(open_window, f"{guarded.url}/", "cleo")
    own = await take_own_photo(window)
    session = await read_session(window)
    assert session is not None
    assert (session["httpOnly"], session["sameSite"], session["path"]) == (True, "Lax", "/")
    assert await window.read("() => document.cookie") == f"dog_snapshot={own}"

    await end_session(window)
    again = await log_in(open_window, f"{guarded.url}/", "cleo", context=window.context)
    renewed = await read_session(window)
    assert renewed is not None
    assert renewed["value"] != session["value"]
    await again.wait_for_photo(own)
    await expect(again.part("whose")).to_have_text("Your photo")


async def test_login_never_redirects_to_another_site(guarded: GuardedServer, open_window: OpenWindow) -> None:
    for way in ("https://example.org/", "//example.org/", "/\\example.org/", "\t//example.org", "javascript:alert(1)"):
        window = await open_window("about:blank")
        window.accepted.append("status of 404")
        await window.page.goto(f"{guarded.url}/login")
        await window.read("(way) => { document.querySelector('[name=next]').value = way; }", way)
        await type_login(window, "vera")
        await expect(window.page.get_by_role("heading", name="Log in")).to_have_count(0)
        assert window.page.url.startswith(f"{guarded.url}/"), way


async def test_too_many_wrong_passwords_show_the_retry_time(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    add_user(tmp_path, "vera", "view")
    server = serve("--auth", "true", "--login-attempts", "1")
    window = await open_window(server.url)
    window.accepted += [UNAUTHORIZED, r"status of 429"]
    alert = window.page.get_by_role("alert")
    async with asyncio.timeout(60):  # each wrong password makes the next wait longer, until one is too early
        while "in" not in (text := await alert.inner_text() if await alert.count() else "").split():
            async with window.page.expect_navigation():
                await type_login(window, "vera", "something else")
    assert re.fullmatch(r"Too many wrong passwords were sent\. Try again in \d+ seconds?\.", text)
    await expect(window.page.get_by_label("Name")).to_have_value("vera")


@pytest.mark.parametrize("has_script", [True, False], ids=["javascript", "no javascript"])
async def test_exhausted_capture_limit_shows_the_retry_time(
    serve: Serve, open_window: OpenWindow, tmp_path: Path, has_script: bool
) -> None:
    add_user(tmp_path, "cleo", "capture")
    session = add_session(tmp_path, "cleo")
    server = serve("--auth", "--dead-time", "0", "--presses-per-minute", "1")
    window = await open_with_session(open_window, f"{server.url}/", session, java_script_enabled=has_script)
    window.accepted.append(r"status of 429")
    if has_script:
        await take_own_photo(window)
    else:
        await window.shutter.click()
        await window.page.wait_for_url("**/snapshots/*")
        await window.page.goto(f"{server.url}/")
    await window.shutter.click()
    sentence = r"You have reached the limit of 1 new photo per minute\. Try again in \d+ s\."
    await expect(window.page.get_by_role("main")).to_contain_text(re.compile(sentence))


@pytest.mark.parametrize("has_script", [True, False], ids=["javascript", "no javascript"])
async def test_view_role_sees_no_controls_that_would_be_refused(
    guarded: GuardedServer, open_window: OpenWindow, has_script: bool
) -> None:
    owner = await guarded.open(open_window, "ada")
    snapshot = await take_own_photo(owner)
    window = await guarded.open(open_window, "vera", java_script_enabled=has_script)
    sent: list[str] = []
    window.page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(str(frame))))
    await window.page.reload()
    await window.wait_for_photo(snapshot)
    await expect(window.shutter).to_have_count(0)
    await expect(window.part("status")).to_have_text("Watching")
    if has_script:
        await window.wait_until_live()
        await window.page.keyboard.press("Space")
        await window.page.keyboard.press("ArrowRight")  # the page handles keys
        other = await take_own_photo(owner)
        await window.wait_for_photo(other)
        assert await window.photos.count() == 2, "Space takes no photo"
        assert sent == [], "no request is sent"
    else:
        await expect(window.page.locator("#press")).to_have_count(0)
        await expect(window.page.locator("form")).to_have_count(1)  # to log out
    await window.page.goto(f"{guarded.url}/snapshots/{snapshot}")
    await expect(window.page.get_by_role("link", name="Download")).to_be_visible()
    await owner.page.goto(window.page.url)
    for name in ("pin", "delete", "share"):
        await expect(owner.part(name)).to_be_visible()
        await expect(window.part(name)).to_have_count(0)
    if has_script:
        await expect(window.part("when").locator(".ago")).to_be_visible()  # the page's module has run


async def test_role_change_applies_at_once_on_an_open_page_and_keeps_the_focus(
    guarded: GuardedServer, open_window: OpenWindow
) -> None:
    window = await guarded.open(open_window, "cleo")
    await window.record_speech()
    await take_own_photo(window)
    await window.part("live-view").evaluate("button => button.parentElement.querySelector('#shutter').focus()")
    await run_dog_user(guarded, "role", "cleo", "view")
    await expect(window.shutter).to_be_hidden()
    await expect(window.part("status")).to_have_text("Watching")
    await expect(window.part("status")).to_be_focused()
    await window.wait_for_speech("You can only watch now")
    await window.page.keyboard.press("Space")

    await run_dog_user(guarded, "role", "cleo", "capture")
    await expect(window.shutter).to_be_visible()
    await expect(window.shutter).to_be_focused()
    await window.wait_for_speech("You can take photos now")
    await window.wait_until_live()
    before = await window.wait_for_photo()
    await window.page.keyboard.press("Space")
    await window.wait_for_photo(other_than=before)
    await expect(window.photos).to_have_count(2)

    # A page that was opened with the role view gets a shutter, too.
    watcher = await guarded.open(open_window, "vera")
    await watcher.wait_until_live()
    await run_dog_user(guarded, "role", "vera", "capture")
    await expect(watcher.shutter).to_be_visible()
    await take_own_photo(watcher)

    # A removed user is logged out on all pages.
    await run_dog_user(guarded, "remove", "vera")
    await expect(watcher.part("status")).to_have_text("You are logged out")


async def test_role_change_applies_to_an_open_photo_page_on_use_or_focus(
    guarded: GuardedServer, open_window: OpenWindow
) -> None:
    window = await guarded.open(open_window, "ada")
    snapshot = await take_own_photo(window)
    await window.page.goto(f"{guarded.url}/snapshots/{snapshot}")
    buttons = [window.part(name) for name in ("pin", "delete", "share")]

    await run_dog_user(guarded, "role", "ada", "capture")
    await wait_for_role(window, "capture")
    window.accepted.append(r"status of 403")
    await window.part("pin").click()
    await expect(window.part("notice-text")).to_contain_text("ada has the role capture")
    for button in buttons:
        await expect(button).to_have_count(0)

    await run_dog_user(guarded, "role", "ada", "manage")
    await wait_for_role(window, "manage")
    for role, count in (("manage", 1), ("view", 0)):
        await run_dog_user(guarded, "role", "ada", role)
        await wait_for_role(window, role)
        await window.read("() => document.dispatchEvent(new Event('visibilitychange'))")
        for button in buttons:
            await expect(button).to_have_count(count)


async def wait_for_role(window: Window, role: str) -> None:
    """Wait until the browser's identity has this role."""
    async with asyncio.timeout(30):
        while await window.read("async () => (await (await fetch('/api/visitor')).json()).role") != role:  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.05)


async def test_logout_ends_all_windows_of_the_session_and_links_to_the_login(
    guarded: GuardedServer, open_window: OpenWindow
) -> None:
    url = f"{guarded.url}/?camera=main"
    window = await guarded.open(open_window, "cleo", "/?camera=main")
    await window.wait_until_live()
    other = await log_in(open_window, f"{guarded.url}/", "cleo")
    await other.wait_until_live()
    await window.record_speech()
    await window.shutter.focus()
    await end_session(window)
    await expect(window.part("status")).to_have_text("You are logged out")
    await expect(window.part("badge")).to_have_text("Not live")
    await expect(window.page).to_have_title(re.compile("^Logged out"))
    await window.wait_for_speech("You are logged out. Log in to continue.")
    await expect(window.shutter).to_be_hidden()
    await expect(window.page.get_by_role("button", name="Log out")).to_be_hidden()
    link = window.page.get_by_role("link", name="Log in")
    await expect(link).to_be_focused()
    await follow_login(window, link, "cleo", url)
    await take_own_photo(window)

    # A logout keeps other sessions of the same user; `dog user logout` ends them.
    await expect(other.part("badge")).to_have_text("Live")
    await run_dog_user(guarded, "logout", "cleo")
    for one in (window, other):
        await expect(one.part("status")).to_have_text("You are logged out")


async def test_anonymous_view_watches_and_users_take_photos(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    add_user(tmp_path, "cleo", "capture")
    server = serve("--auth", "true", "--anonymous", "view", "--dead-time", "0")
    window, stranger = await open_window(server.url), await open_window(server.url)
    for one in (window, stranger):
        await one.wait_until_live()
        await expect(one.shutter).to_have_count(0)
        await expect(one.part("status")).to_have_text("Watching")
    await follow_login(window, window.page.get_by_role("link", name="Log in"), "cleo", f"{server.url}/")
    snapshot = await take_own_photo(window)
    await stranger.wait_for_photo(snapshot)
    for path in (f"/snapshots/{snapshot}", "/snapshots?camera=main", "/snapshots"):
        await stranger.page.goto(server.url + path)
        link = stranger.page.get_by_role("link", name="Log in")
        await follow_login(stranger, link, "cleo", server.url + path)
        await stranger.context.clear_cookies(name="dog_session")

    # A page that was logged out can still watch.
    await end_session(window)
    await expect(window.shutter).to_be_hidden()
    await expect(window.part("status")).to_have_text("You are logged out")
    await window.page.reload()
    await window.wait_until_live()
    await expect(window.part("status")).to_have_text("Watching")


async def test_photo_page_reports_the_logout_and_links_to_the_login(
    guarded: GuardedServer, open_window: OpenWindow
) -> None:
    window = await guarded.open(open_window, "ada")
    url = f"{guarded.url}/snapshots/{await take_own_photo(window)}"
    window.accepted.append(UNAUTHORIZED)
    await window.page.goto(url)
    notice = window.part("notice")
    for press in ("pin", "delete"):
        await end_session(window)
        await window.part(press).click()
        await expect(notice).to_contain_text("You are logged out.")
        await follow_login(window, notice.get_by_role("link", name="Log in"), "ada", url)
    await window.part("pin").click()
    await expect(window.part("pin")).to_have_text("Pinned")

    # If the dialog cannot load the share links, their page opens. The dialog's button shows the error.
    await window.part("share").click()
    dialog = window.page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    await end_session(window)
    await dialog.get_by_role("button", name="Make a link").click()
    status = dialog.get_by_role("status")
    await expect(status).to_contain_text("You are logged out.")
    await follow_login(window, status.get_by_role("link", name="Log in"), "ada", url)
    await end_session(window)
    await window.part("share").click()
    await type_login(window, "ada")
    await window.page.wait_for_url(f"{url}/links")


@pytest.mark.parametrize("is_told", [True, False], ids=["by the push", "by a page that it fetches"])
async def test_gallery_reports_the_logout_and_keeps_its_photos(
    guarded: GuardedServer, open_window: OpenWindow, is_told: bool
) -> None:
    url = f"{guarded.url}/snapshots?camera=main"
    window = await guarded.open(open_window, "ada")
    await take_own_photo(window)
    await take_own_photo(window)
    if not is_told:
        await window.page.route_web_socket("**/ws*", lambda _: None)
    await window.page.goto(url)
    await window.record_speech()
    await end_session(window)
    if not is_told:
        await window.read("() => { document.dispatchEvent(new Event('visibilitychange')); }")
    await window.wait_for_speech("You are logged out. Log in to continue.")
    await expect(window.page.locator(".tiles > li")).to_have_count(2)
    await expect(window.part("out")).to_be_in_viewport(ratio=1)
    await follow_login(window, window.part("out").get_by_role("link", name="Log in"), "ada", url)
    await expect(window.page.locator(".tiles > li")).to_have_count(2)
    await expect(window.part("out")).to_have_count(0)


async def test_press_without_javascript_after_the_session_opens_the_login_page(
    guarded: GuardedServer, open_window: OpenWindow
) -> None:
    window = await guarded.open(open_window, "cleo", java_script_enabled=False)
    window.accepted.append(UNAUTHORIZED)
    await end_session(window)
    await window.shutter.click()
    await expect(window.page.get_by_role("heading")).to_be_visible()
    await window.page.get_by_role("main").get_by_role("link", name="Log in").click()
    await type_login(window, "cleo")
    await window.page.wait_for_url(f"{guarded.url}/")
    await window.shutter.click()
    await window.page.wait_for_url("**/snapshots/*")
    await expect(window.page.locator(".chip")).to_have_text("Your photo")


@pytest.mark.parametrize("has_script", [True, False], ids=["javascript", "no javascript"])
async def test_login_page_and_live_page_without_shutter_fit_every_window(
    guarded: GuardedServer, open_window: OpenWindow, has_script: bool
) -> None:
    owner = await guarded.open(open_window, "ada")
    await take_own_photo(owner)
    window = await open_window(f"{guarded.url}/", java_script_enabled=has_script)
    window.accepted.append(UNAUTHORIZED)
    await type_login(window, "vera", "something else")
    await expect(window.page.get_by_role("alert")).to_be_visible()
    for width, height in SIZES:
        await window.page.set_viewport_size({"width": width, "height": height})
        assert await window.read("() => document.documentElement.scrollWidth") <= width
        for part in await window.page.locator("main :is(input:not([type=hidden]), button)").all():
            await part.scroll_into_view_if_needed()
            await expect(part).to_be_in_viewport(ratio=1)
            box = await part.bounding_box()
            assert box is not None
            assert box["height"] >= 44
    await type_login(window, "vera")
    await window.page.wait_for_url(f"{guarded.url}/")
    parts = ["#frame", "#strip", "#about", "#status", ".brand", "#album", ".viewers", "#log-out"]
    if has_script:
        await window.wait_until_live()
        parts += ["#live-view", "#actions", "#badge"]
    for width, height in SIZES:
        await window.page.set_viewport_size({"width": width, "height": height})
        await check_layout(window, *parts)
    if not has_script:
        return
    await run_dog_user(guarded, "logout", "vera")
    await expect(window.part("log-in-again")).to_be_visible()
    for width, height in SIZES:
        await window.page.set_viewport_size({"width": width, "height": height})
        await check_layout(
            window, "#frame", "#strip", "#about", "#actions", "#log-in-again", "#status", ".brand", "#album", "#badge"
        )


CAMERAS = "".join(f'[cameras.{name}]\ncamera = "test"\n' for name in ("front-door", "garden", "workshop"))


@pytest.mark.parametrize("is_known", [True, False], ids=["log out", "log in"])
async def test_navigation_bar_fits_the_login_and_several_cameras(
    serve: Serve, open_window: OpenWindow, tmp_path: Path, is_known: bool
) -> None:
    (tmp_path / "dog.toml").write_text(CAMERAS)
    add_user(tmp_path, "ada", "manage")
    server = serve("--auth", "true", "--anonymous", "view", "--dead-time", "0")
    window = await open_window(f"{server.url}/", viewport=PHONE)
    if is_known:
        await window.part("log-in").click()
        await type_login(window, "ada")
        await window.page.wait_for_url(f"{server.url}/?camera=front-door")
    way = "#log-out" if is_known else "#log-in"
    await window.wait_until_live()
    bar = [".brand", "#cameras", "#album", ".viewers", "#badge", way]
    for width, height in [(360, 780), *SIZES]:
        await window.page.set_viewport_size({"width": width, "height": height})
        await check_layout(window, *bar)
        box = await window.page.locator(way).bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44
        assert await window.read("() => document.querySelector('.bar').scrollWidth") <= width
    await window.page.goto(f"{server.url}/snapshots")
    await expect(window.page.locator(way)).to_be_in_viewport(ratio=1)


async def test_login_and_setup_link_say_that_the_browser_keeps_no_cookies(serve: Serve, tmp_path: Path) -> None:
    """Chromium drops Secure cookies, which `base_url` needs, over plain HTTP."""
    (port,) = find_free_ports(1)
    public = f"dog.example:{port}"
    options = "--auth", "--port", str(port), "--base-url", f"https://{public}", "--trusted-proxies", "192.0.2.1"
    server = serve(*options)
    setup = server.wait_for(r"https://\S+/enter/(\S+)")[1]
    async with launch_chromium("--host-resolver-rules=MAP dog.example 127.0.0.1") as browser:
        page = await browser.new_page()
        await page.goto(f"http://{public}/enter/{setup}")
        await page.get_by_role("button", name="Log this browser in").click()
        await expect(page.get_by_role("main")).to_contain_text("Your browser did not keep this site's cookie")
        await expect(page.get_by_role("main")).to_contain_text(f"Open https://{public} instead")
        await page.goto(f"http://{public}/enter/{setup}")
        await expect(page.get_by_role("button", name="Log this browser in")).to_be_visible()  # it is not used up
        add_user(tmp_path, "ada", "view")
        await page.goto(f"http://{public}/login?next=snapshots")
        await type_login(Window(page), "ada")
        await expect(page.get_by_role("alert")).to_contain_text("Your browser did not keep this site's cookie")
        assert await page.get_by_label("Name").input_value() == "ada"
