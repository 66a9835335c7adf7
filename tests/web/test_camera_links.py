"""Share links to a camera: its newest photo, its live view, their end."""

import asyncio
import contextlib
import datetime as dt
import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from PIL import Image, ImageColor

from dog.web.app_keys import APP_STATE
from dog.web.handlers.share_links import make_signer
from tests.support.cameras import make_picture
from tests.support.preview_service import (
    PreviewService,
    View,
    run_preview_service,
    send_frame,
    wait_for_no_preview,
    wait_for_preview,
)
from tests.support.running import until

PAGE = {"Accept": "text/html,*/*;q=0.8"}
YEAR = 365 * 24 * 3600


@pytest.fixture
async def view(tmp_path: Path) -> AsyncIterator[View]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(*names: str, **settings: object) -> PreviewService:
            own = {"dead_time": 0.0, "exif": False, **settings}
            return await stack.enter_async_context(run_preview_service(tmp_path, *(names or ("main",)), **own))

        yield start


@pytest.fixture
async def web() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def take_photo(
    web: ClientSession, service: PreviewService, camera: str, colour: str, size: tuple[int, int] = (64, 48)
) -> dict[str, Any]:
    service.cameras[camera].results.append(make_picture(colour, size))
    async with web.post(f"{service.url}/api/captures", json={"camera": camera, "max_age": 0}) as answer:
        photo: dict[str, Any] = await answer.json()
        return photo


async def create_link(web: ClientSession, service: PreviewService, camera: str = "main", **body: Any) -> dict[str, Any]:
    async with web.post(f"{service.url}/api/cameras/{camera}/links", json=body) as answer:
        assert answer.status == 201, await answer.text()
        link: dict[str, Any] = await answer.json()
        return link


async def list_links(web: ClientSession, service: PreviewService, camera: str = "main") -> list[dict[str, Any]]:
    async with web.get(f"{service.url}/api/cameras/{camera}/links") as answer:
        links: list[dict[str, Any]] = (await answer.json())["links"]
        return links


async def get_status(web: ClientSession, service: PreviewService, path: str) -> int:
    async with web.get(service.url + path) as answer:
        return answer.status


async def revoke(web: ClientSession, service: PreviewService, link: dict[str, Any]) -> None:
    async with web.delete(f"{service.url}/api/links/{link['link']}") as answer:
        assert answer.status == 204


async def change_expiry(service: PreviewService, link: dict[str, Any], at: dt.datetime) -> None:
    milliseconds = round(at.timestamp() * 1000)

    def change(index: Any) -> None:
        with index.facts.synced_transaction():
            index.facts._database.execute("UPDATE shares SET expires_at = ? WHERE id = ?", (milliseconds, link["link"]))

    store = service.app[APP_STATE].store
    await store._run(store._thread, store._album.write, change)


async def test_camera_link_lasts_a_year_and_is_listed_only_for_its_camera(view: View, web: ClientSession) -> None:
    service = await view("porch", "shed")
    link = await create_link(web, service, "shed")
    short = await create_link(web, service, "shed", expires_in=90)
    assert list(link) == ["link", "url", "camera", "image", "preview", "created_at", "expires_at"]
    assert (link["camera"], link["image"], link["preview"]) == (
        "shed",
        f"{link['url']}/latest.jpg",
        f"{link['url']}/preview.mjpg",
    )
    for each, seconds in (link, YEAR), (short, 90):
        lasts = dt.datetime.fromisoformat(each["expires_at"]) - dt.datetime.fromisoformat(each["created_at"])
        assert abs(lasts.total_seconds() - seconds) < 1
    assert [each["link"] for each in await list_links(web, service, "shed")] == [link["link"], short["link"]]
    assert await list_links(web, service, "porch") == []
    await revoke(web, service, link)
    assert [each["link"] for each in await list_links(web, service, "shed")] == [short["link"]]
    for method, path in ("get", "/api/cameras/cellar/links"), ("post", "/cameras/cellar/links"):
        async with web.request(method, service.url + path) as answer:
            assert (answer.status, (await answer.json())["code"]) == (404, "unknown_camera")


async def test_image_of_a_camera_link_is_the_newest_of_that_camera_alone(view: View, web: ClientSession) -> None:
    service = await view("porch", "shed")
    link = await create_link(web, service, "shed")
    async with web.get(service.url + link["image"]) as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "unknown_snapshot")
    tags = []
    for colour in "red", "green":
        photo = await take_photo(web, service, "shed", colour)
        other = await take_photo(web, service, "porch", "blue")
        async with web.get(f"{service.url}{link['image']}?camera=porch&t=7") as answer:
            assert await answer.read() == make_picture(colour)
            assert answer.headers.getall("Cross-Origin-Resource-Policy") == ["cross-origin"]
            assert answer.headers["Cache-Control"] == "private, max-age=0, must-revalidate"
            assert answer.headers["X-Captured-At"] == photo["captured_at"]
            assert not any(each["snapshot"] in str(answer.headers) for each in (photo, other))
            tags.append(answer.headers["ETag"])
    assert tags[0] != tags[1]
    for tag, status in zip(tags, (200, 304), strict=True):
        async with web.get(service.url + link["image"], headers={"If-None-Match": tag}) as answer:
            assert answer.status == status
            assert answer.headers.getall("Cross-Origin-Resource-Policy") == ["cross-origin"]
    async with web.get(f"{service.url}{link['url']}/picture.jpg") as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "unknown_link")


async def test_image_of_a_camera_link_is_scaled_down(view: View, web: ClientSession) -> None:
    service = await view("loft", exif=True)
    link = await create_link(web, service, "loft")
    tags = set()
    for colour in "red", "green":
        photo = await take_photo(web, service, "loft", colour, (1500, 900))
        for width, size in (640, (640, 384)), (1280, (1280, 768)), (1920, (1500, 900)):
            async with web.get(f"{service.url}{link['image']}?width={width}") as answer:
                data = await answer.read()
                with Image.open(io.BytesIO(data)) as image:
                    assert image.size == size
                    assert image.getpixel((0, 0)) == pytest.approx(ImageColor.getrgb(colour), abs=3)
                assert answer.headers["X-Captured-At"] == photo["captured_at"]
                assert answer.headers.getall("Cross-Origin-Resource-Policy") == ["cross-origin"]
                assert photo["snapshot"] not in data.decode("latin-1") + str(answer.headers)
                tags.add(answer.headers["ETag"])
    assert len(tags) == 6
    async with web.get(f"{service.url}{link['image']}?width=641") as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "bad_message")
    async with web.get(f"{service.url}{link['url']}/640.jpg") as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "unknown_link")


async def test_exif_of_a_camera_links_image_hides_the_snapshot_and_the_camera(view: View, web: ClientSession) -> None:
    service = await view("hiddenroom", exif=True)
    photo = await take_photo(web, service, "hiddenroom", "red")
    link = await create_link(web, service, "hiddenroom")
    async with web.get(service.url + photo["url"]) as original, web.get(service.url + link["image"]) as shared:
        kept, given = await original.read(), await shared.read()
    for secret in b"hiddenroom", photo["snapshot"].encode():
        assert secret in kept
        assert secret not in given


async def test_links_to_photos_and_cameras_do_not_open_each_others_urls(view: View, web: ClientSession) -> None:
    service = await view()
    photo = await take_photo(web, service, "main", "red")
    async with web.post(f"{service.url}/api/snapshots/{photo['snapshot']}/links") as answer:
        of_photo = await answer.json()
    for end in "latest.jpg", "preview.mjpg":
        async with web.get(f"{service.url}{of_photo['url']}/{end}") as answer:
            assert (answer.status, (await answer.json())["code"]) == (404, "unknown_link")
    of_camera = await create_link(web, service)
    for page, link in ("cameras/main", of_photo), (f"snapshots/{photo['snapshot']}", of_camera):
        for each in link["link"], "malformed":
            async with web.post(f"{service.url}/{page}/links/{each}/revoke") as answer:
                assert answer.status == 404
    assert await get_status(web, service, of_photo["url"]) == 200
    assert await get_status(web, service, of_camera["url"]) == 200


async def test_page_of_a_camera_link_may_be_framed_by_listed_sites_alone(view: View, web: ClientSession) -> None:
    service = await view(embed=("https://home.example:8123", "https://wall.example"))
    link = await create_link(web, service)
    frames = "frame-ancestors https://home.example:8123 https://wall.example"
    for colour in None, "red":
        if colour:
            await take_photo(web, service, "main", colour)
        async with web.get(service.url + link["url"], headers=PAGE) as answer:
            page = await answer.text()
            assert answer.headers["Content-Security-Policy"].endswith(frames)
            assert (answer.headers["X-Robots-Tag"], answer.headers["Referrer-Policy"]) == ("noindex", "no-referrer")
        assert ("No photo yet" in page) == (colour is None)
        assert ("latest.jpg" in page) == (colour is not None)
        assert "<a" not in page
    await revoke(web, service, link)
    async with web.get(service.url + link["url"], headers=PAGE) as answer:
        assert answer.status == 410
        assert answer.headers["Content-Security-Policy"].endswith(frames), "so that the frame says why"
    for path in "/", "/snapshots", "/cameras/main/links", "/api/cameras", "/nowhere":
        async with web.get(service.url + path, headers=PAGE) as answer:
            assert answer.headers["Content-Security-Policy"].endswith("frame-ancestors 'none'"), path


async def test_page_of_a_camera_link_may_not_be_framed_without_embed(view: View, web: ClientSession) -> None:
    service = await view()
    link = await create_link(web, service)
    async with web.get(service.url + link["url"], headers=PAGE) as answer:
        assert answer.headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")


async def test_form_creates_and_revokes_camera_links(view: View, web: ClientSession) -> None:
    service = await view("porch", "shed")
    page = f"{service.url}/cameras/shed/links"
    async with web.post(page, data={"expires_in": "3600"}) as answer:
        assert (answer.status, str(answer.url), answer.history[0].status) == (200, page, 303)
        text = await answer.text()
    (link,) = await list_links(web, service, "shed")
    for url in link["url"], link["image"], link["preview"]:
        assert f'href="{url}"' in text
    action = re.search(r'action="\.\./\.\.(/[^"]*/revoke)"', text)
    assert action
    assert action[1] == f"/cameras/shed/links/{link['link']}/revoke"
    async with web.post(service.url + action[1]) as answer:
        assert str(answer.url) == page
    assert await list_links(web, service, "shed") == []


# ---- the end of a link


@pytest.mark.parametrize("end", ["revoked", "expired"])
async def test_ended_camera_link_returns_410_everywhere(view: View, web: ClientSession, end: str) -> None:
    service = await view()
    await take_photo(web, service, "main", "red")
    link = await create_link(web, service)
    urls = link["url"], link["image"], link["preview"]
    async with web.get(service.url + link["image"]) as answer:
        held = {"If-None-Match": answer.headers["ETag"]}
    if end == "revoked":
        await revoke(web, service, link)
    else:
        await change_expiry(service, link, dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1))
    for url in urls:
        async with web.get(service.url + url, headers=held) as answer:
            assert (answer.status, (await answer.json())["code"]) == (410, "gone_link")
            assert answer.headers["Cache-Control"] == "no-store"


async def test_link_to_a_removed_camera_returns_410(view: View, web: ClientSession) -> None:
    service = await view("porch", "shed")
    await take_photo(web, service, "shed", "red")
    link = await create_link(web, service, "shed")
    del service.app[APP_STATE].cameras["shed"]
    for url in link["url"], link["image"], link["preview"]:
        async with web.get(service.url + url) as answer:
            assert (answer.status, (await answer.json())["code"]) == (410, "gone_link")


@pytest.mark.parametrize("end", ["revoked by the API", "revoked by the form", "expired"])
async def test_live_view_of_a_camera_link_ends_with_the_link(view: View, web: ClientSession, end: str) -> None:
    service = await view("porch", "shed")
    link, other = await create_link(web, service, "shed"), await create_link(web, service, "shed")
    if end == "expired":
        await change_expiry(service, link, dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2))
    watching = await (await service.connect()).begin(link["preview"])
    await watching.read_head()
    staying = await (await service.connect()).begin(f"{other['preview']}?ahead=0")
    await staying.read_head()
    assert (watching.status, staying.status) == (200, 200)
    assert watching.fields["cross-origin-resource-policy"] == "cross-origin"
    await until(lambda: service.preview("shed").count == 2)
    assert service.cameras["porch"].shown_to is None
    send_frame(service.cameras["shed"], make_picture("red"))
    assert await watching.read_frame() == make_picture("red")
    if end == "revoked by the API":
        await revoke(web, service, link)
    elif end == "revoked by the form":
        async with web.post(f"{service.url}/cameras/shed/links/{link['link']}/revoke") as answer:
            assert answer.status == 200
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await watching.read_frame()
    await until(lambda: service.preview("shed").count == 1)
    send_frame(service.cameras["shed"], make_picture("green"))
    assert [await staying.read_frame() for _ in range(2)][1] == make_picture("green")
    staying.close()
    await wait_for_no_preview(service.cameras["shed"])
    assert service.app[APP_STATE].link_access._open == {}


async def test_link_that_is_revoked_while_a_live_view_begins_does_not_open_it(
    view: View, web: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await view()
    link = await create_link(web, service)
    store = service.app[APP_STATE].store
    find = store.find_share

    async def find_and_revoke(share: str) -> Any:
        found = await find(share)
        if found is not None:
            await revoke(web, service, link)
        return found

    monkeypatch.setattr(store, "find_share", find_and_revoke)
    assert await get_status(web, service, link["preview"]) == 410
    assert service.camera.shown_to is None


async def test_head_of_a_camera_links_live_view_opens_no_camera(view: View, web: ClientSession) -> None:
    service = await view()
    link = await create_link(web, service)
    async with web.head(service.url + link["preview"]) as answer:
        assert answer.status == 200
    assert service.camera.shown_to is None


async def test_pages_of_other_sites_may_watch_by_a_camera_link(view: View, web: ClientSession) -> None:
    """Without a Referer, the same request of the camera's own URL is refused."""
    service = await view()
    await take_photo(web, service, "main", "red")
    link = await create_link(web, service)
    image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    async with web.get(service.url + link["image"], headers=image) as answer:
        assert answer.status == 200
    async with web.get(service.url + link["preview"], headers=image) as answer:
        assert answer.status == 200
        await wait_for_preview(service.camera)
    for more in {}, {"Referer": "https://home.example/"}:
        async with web.get(f"{service.url}/preview.mjpg", headers=image | more) as answer:
            assert answer.status == 403
            detail = (await answer.json())["detail"]
            assert "Show a share link of the camera there" in detail
            assert ("no-referrer" in detail) == (not more)


# ---- guesses


async def test_wrong_links_are_limited_and_right_ones_are_not(view: View, web: ClientSession) -> None:
    service = await view(login_attempts=3)
    await take_photo(web, service, "main", "red")
    link = await create_link(web, service)
    token = link["url"].removeprefix("/shared/")
    identifier = token.partition(".")[0]
    forged = make_signer(b"another secret of thirty-two bytes").sign(identifier).decode()
    wrong = [f"/shared/{forged}", f"/shared/{forged}/latest.jpg", f"/shared/{token[::-1]}/preview.mjpg"]
    assert [await get_status(web, service, path) for path in wrong] == [404, 404, 404]
    for path in (*wrong, "/shared/x/picture.jpg"):
        async with web.get(service.url + path) as answer:
            assert (answer.status, json.loads(await answer.text())["code"]) == (429, "rate_limited")
            assert int(answer.headers["Retry-After"]) >= 1
    for url in link["url"], link["image"]:
        assert await get_status(web, service, url) == 200
    await revoke(web, service, link)
    assert await get_status(web, service, link["url"]) == 410, "an ended link is no guess"
