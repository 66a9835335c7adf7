"""A camera's share link on other sites' pages: in `<img>` and `<iframe>`."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web
from playwright.async_api import FrameLocator, Locator, expect

from tests.browser.conftest import OpenWindow
from tests.browser.windows import Window
from tests.conftest import Serve
from tests.support.accounts import add_session, add_user
from tests.support.browser_pages import SIZES, open_with_session
from tests.support.cameras import make_picture
from tests.support.examples import read_examples
from tests.support.ports import find_free_ports
from tests.support.preview_service import PreviewService, View, send_frame, wait_for_no_preview, wait_for_preview
from tests.support.pushes import take_photo
from tests.support.server_process import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")

DASHBOARD = """<!doctype html><link rel="icon" href="data:,"><meta name="referrer" content="no-referrer">
<title>A dashboard</title>{body}"""
FRAME_REFUSED = r"frame-ancestors|ERR_BLOCKED_BY_RESPONSE|refused to connect|Framing"

FRAME = make_picture("red", (500, 300))
"""A frame of more than 1,024 bytes: Chromium holds the beginning of other sites' responses back (Fetch: ORB)."""

Publish = Callable[[str], Awaitable[str]]


@pytest_asyncio.fixture(loop_scope="session")
async def publish() -> AsyncIterator[Publish]:
    """Return `publish(body)`, which serves a page and returns its URL.

    It is of another site: its host is `localhost`, and that of the camera 127.0.0.1, so that it is cross-site.
    """
    pages: list[str] = []

    async def show(request: web.Request) -> web.Response:
        return web.Response(text=pages[int(request.query["page"])], content_type="text/html")

    app = web.Application()
    app.add_routes([web.get("/", show)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0).start()

    async def add(body: str) -> str:
        pages.append(body if body.startswith("<!doctype") else DASHBOARD.format(body=body))
        return f"http://localhost:{runner.addresses[0][1]}/?page={len(pages) - 1}"

    yield add
    await runner.cleanup()


async def create_link(url: str, camera: str = "main") -> dict[str, Any]:
    async with ClientSession() as session, session.post(f"{url}/api/cameras/{camera}/links") as answer:
        assert answer.status == 201
        link: dict[str, Any] = await answer.json()
        return link


async def shot(service: PreviewService, camera: str, colour: str, size: tuple[int, int] = (64, 48)) -> None:
    service.cameras[camera].results.append(make_picture(colour, size))
    async with (
        ClientSession() as session,
        session.post(f"{service.url}/api/captures", json={"camera": camera, "max_age": 0}) as answer,
    ):
        assert answer.status == 201


async def read_width(image: Locator) -> int:
    await expect(image).to_have_js_property("complete", True)
    return int(await image.evaluate("image => image.naturalWidth"))


async def test_img_of_another_site_without_a_referrer_shows_the_camera(
    view: View, open_window: OpenWindow, publish: Publish
) -> None:
    service = await view("porch", "shed")
    await shot(service, "porch", "blue", (90, 60))
    await shot(service, "shed", "red", (70, 40))
    link = await create_link(service.url, "shed")
    page = await publish(
        f'<img id="photo" src="{service.url}{link["image"]}">'
        f'<img id="live" src="{service.url}{link["preview"]}?ahead=1">'
        f'<img id="refused" src="{service.url}/preview.mjpg?camera=shed">'
        f'<img id="bare" src="{service.url}/latest.jpg?camera=shed">'
    )
    window = await open_window("about:blank")
    window.accepted += [r"status of 403", r"ERR_BLOCKED_BY_RESPONSE.NotSameOrigin"]
    await window.page.goto(page, wait_until="commit")
    await wait_for_preview(service.cameras["shed"])
    send_frame(service.cameras["shed"], FRAME)
    await expect(window.part("live")).to_have_js_property("naturalWidth", 500)
    await expect(window.part("photo")).to_have_js_property("naturalWidth", 70)
    for refused in "refused", "bare":
        assert await read_width(window.part(refused)) == 0, refused
    assert service.preview("shed").count == 1
    async with ClientSession() as session, session.delete(f"{service.url}/api/links/{link['link']}") as answer:
        assert answer.status == 204
    await wait_for_no_preview(service.cameras["shed"])


async def check_drawn(image: Locator, width: int) -> None:
    """Check that the server's page shows an image of this width.

    `srcset` changes what the element reports.
    """
    await expect(image).to_have_attribute("width", str(width))
    assert await read_width(image) > 0


def inside(window: Window) -> FrameLocator:
    return window.page.frame_locator("iframe")


@pytest.mark.parametrize("kind", ["listed", "not listed", "another scheme and port"])
async def test_page_of_a_camera_link_is_framed_only_by_a_listed_site(
    view: View, open_window: OpenWindow, publish: Publish, kind: str
) -> None:
    site = (await publish("")).partition("/?")[0]
    (other_port,) = find_free_ports(1)
    others = f"http://localhost:{other_port}", site.replace("http", "https")
    service = await view("main", embed={"listed": (site,), "not listed": ()}.get(kind, others))
    await shot(service, "main", "red", (70, 40))
    link = await create_link(service.url)
    window = await open_window("about:blank")
    window.accepted.append(FRAME_REFUSED)
    frame = '<iframe src="{}" width="400" height="300"></iframe>'
    await window.page.goto(await publish(frame.format(service.url + link["url"])))
    image = inside(window).get_by_role("img", name="Newest photo")
    if kind == "listed":
        await check_drawn(image, 70)
    else:
        assert len(window.unaccepted) < len(window.errors), "the browser has refused it"
        await expect(image).to_have_count(0)
    window.errors.clear()
    await window.page.goto(await publish(frame.format(service.url)))
    assert window.errors, "no other page of the service may be framed"
    await expect(inside(window).locator("#shutter")).to_have_count(0)


async def test_framed_page_follows_the_newest_photo_until_the_link_ends(
    view: View, open_window: OpenWindow, publish: Publish
) -> None:
    empty = await publish("")
    service = await view("porch", "shed", embed=(empty.partition("/?")[0],))
    await shot(service, "shed", "red", (70, 40))
    link = await create_link(service.url, "shed")
    window = await open_window("about:blank")
    window.accepted.append(r"status of 410")
    await window.page.clock.install()
    await window.page.goto(
        await publish(f'<iframe src="{service.url}{link["url"]}" width="400" height="300"></iframe>')
    )
    image = inside(window).get_by_role("img", name="Newest photo")
    await check_drawn(image, 70)
    await shot(service, "porch", "blue", (90, 60))
    await shot(service, "shed", "green", (50, 50))
    await window.page.clock.fast_forward(5000)
    await expect(image).to_have_js_property("naturalWidth", 50)
    await expect(image).to_have_count(1)
    async with ClientSession() as session, session.delete(f"{service.url}/api/links/{link['link']}") as answer:
        assert answer.status == 204
    await window.page.clock.fast_forward(5000)
    await expect(inside(window).get_by_role("heading", name="This link does not work")).to_be_visible()


async def test_example_in_the_docs_shows_the_camera_three_times(
    view: View, open_window: OpenWindow, publish: Publish
) -> None:
    [example] = [
        one.text
        for one in read_examples("docs/clients.md", (ROOT / "docs/clients.md").read_text())
        if one.name == "html dashboard"
    ]
    site = (await publish("")).partition("/?")[0]
    service = await view("main", embed=(site,))
    await shot(service, "main", "red", (70, 40))
    token = (await create_link(service.url))["url"].removeprefix("/shared/")
    text = example.replace("https://camera.example", service.url).replace("TOKEN", token)
    assert text.count(service.url) == 3
    window = await open_window("about:blank")
    window.accepted.append("favicon")
    await window.page.goto(await publish(text), wait_until="commit")
    await wait_for_preview(service.camera)
    send_frame(service.camera, FRAME)
    await expect(window.page.get_by_alt_text("The newest photo")).to_have_js_property("naturalWidth", 70)
    await expect(window.page.get_by_alt_text("The live view")).to_have_js_property("naturalWidth", 500)
    await check_drawn(inside(window).get_by_role("img", name="Newest photo"), 70)


# ---- the page of the links


@pytest.mark.parametrize("has_script", [True, False], ids=["javascript", "no javascript"])
async def test_camera_link_is_created_copied_and_revoked_on_its_page(
    serve: Serve, open_window: OpenWindow, has_script: bool
) -> None:
    server = serve("--dead-time", "0")
    await take_photo(server.url)
    window = await open_window(server.url, java_script_enabled=has_script)
    await window.page.get_by_role("link", name="Share camera").click()
    await expect(window.page.get_by_role("heading", name="Share the camera main")).to_be_visible()
    assert window.page.url == f"{server.url.rstrip('/')}/cameras/main/links"
    await expect(window.page.get_by_label("The link works for")).to_have_value("31536000")
    await window.page.get_by_role("button", name="Make a link").click()
    row = window.page.locator("[data-link]")
    await expect(row).to_have_count(1)
    shown = [str(await one.get_attribute("href")) for one in await row.locator("a").all()]
    assert [re.sub(r".*/shared/[^/]+", "", one) for one in shown] == ["/latest.jpg", "/preview.mjpg", ""]
    stranger = await open_window(server.url.rstrip("/") + shown[2][shown[2].index("/shared/") :])
    await expect(stranger.page.get_by_role("img", name="Newest photo")).to_have_js_property("complete", True)
    assert await stranger.page.locator("a, form, button").count() == 0
    for width, height in SIZES:
        for each in window, stranger:
            await each.page.set_viewport_size({"width": width, "height": height})
            assert await each.read("() => document.documentElement.scrollWidth <= innerWidth")
        box = await stranger.page.get_by_role("img", name="Newest photo").bounding_box()
        assert box is not None
        assert box["height"] > height / 3 or box["width"] > width * 0.9, "the photo takes the space there is"
    await row.get_by_role("button", name="Revoke").click()
    await expect(row).to_have_count(0)
    stranger.accepted.append("status of 410")
    await stranger.page.reload()
    await expect(stranger.page.get_by_role("heading", name="This link does not work")).to_be_visible()


async def test_only_a_manager_sees_the_button_that_shares_a_camera(
    serve: Serve, open_window: OpenWindow, tmp_path: Path
) -> None:
    add_user(tmp_path, "ada", "manage")
    add_user(tmp_path, "cleo", "capture")
    sessions = {name: add_session(tmp_path, name) for name in ("ada", "cleo")}
    server = serve("--auth", "--dead-time", "0")
    for name, count in ("ada", 1), ("cleo", 0):
        window = await open_with_session(open_window, server.url, sessions[name])
        await window.wait_until_live()
        await expect(window.part("share-camera")).to_have_count(count)
