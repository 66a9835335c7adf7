"""Scaled copies over HTTP: for photos, the newest one, and share links."""

import asyncio
import contextlib
import io
import os
import threading
from typing import Any

import pytest
from multidict import CIMultiDictProxy
from PIL import Image

from dog.images import scale_to_width
from dog.protocol import SCALED_WIDTHS
from dog.snapshots import Snapshot
from tests.conftest import Run
from tests.support.pictures import draw, encode, make_picture
from tests.support.running import Running

LARGE = make_picture(width=3000, height=2000)


def open_image(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def encode_turned(orientation: int, kind: str = "JPEG") -> bytes:
    """Encode a landscape image, red at the left, that is shown turned."""
    image = Image.new("RGB", (2200, 1100), "blue")
    image.paste("red", (0, 0, 1100, 1100))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(image, kind, exif=exif)


async def take_image(running: Running, data: bytes) -> dict[str, Any]:
    running.camera.results.append(data)
    async with running.client.post("/api/captures", json={"max_age": 0}) as answer:
        assert answer.status == 201, await answer.text()
        taken: dict[str, Any] = await answer.json()
        return taken


async def fetch(
    running: Running, path: str, method: str = "GET", **headers: str
) -> tuple[int, CIMultiDictProxy[str], bytes]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with running.client.request(method, path, headers=names, allow_redirects=False) as answer:
        return answer.status, answer.headers, await answer.read()


async def share(running: Running, taken: dict[str, Any]) -> str:
    async with running.client.post(f"/api/snapshots/{taken['snapshot']}/links", json={}) as answer:
        url: str = (await answer.json())["url"]
        return url


@pytest.mark.parametrize("picture_cache", [64, 0], ids=["in memory", "on the disk"])
@pytest.mark.parametrize("way", ["photo", "newest", "shared"])
async def test_each_width_is_a_jpeg_like_any_other_image(run: Run, picture_cache: int, way: str) -> None:
    running = await run(picture_cache=picture_cache)
    taken = await take_image(running, LARGE)
    link = await share(running, taken)
    urls = {
        "photo": f"{taken['page']}/{{}}.jpg",
        "newest": "/latest.jpg?width={}",
        "shared": f"{link}/{{}}.jpg",
    }
    original = {"photo": taken["url"], "newest": "/latest.jpg", "shared": f"{link}/picture.jpg"}[way]
    _, expected, _ = await fetch(running, original)
    tags = {expected["ETag"]}
    for width in SCALED_WIDTHS:
        path = urls[way].format(width)
        status, headers, data = await fetch(running, path)
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        assert open_image(data).size == (width, round(width * 2 / 3))
        assert len(data) == int(headers["Content-Length"])
        assert headers["Content-Disposition"].endswith(f'.{width}.jpg"')
        same = (
            "Cache-Control",
            "Last-Modified",
            "X-Snapshot",
            "X-Robots-Tag",
            "Accept-Ranges",
        )
        assert [headers.get(name) for name in same] == [expected.get(name) for name in same]
        tag = headers["ETag"]
        tags.add(tag)
        assert (await fetch(running, path, If_None_Match=tag))[0] == 304
        assert (await fetch(running, path, If_Match='"another"'))[0] == 412
        status, head, body = await fetch(running, path, "HEAD")
        assert (status, head["Content-Length"], body) == (200, str(len(data)), b"")
        status, part, body = await fetch(running, path, Range="bytes=10-99")
        assert (status, body) == (206, data[10:100])
        assert part["Content-Range"] == f"bytes 10-99/{len(data)}"
        assert (await fetch(running, path, Range=f"bytes={len(data)}-"))[0] == 416
    assert len(tags) == 5


async def test_a_response_that_needs_no_bytes_makes_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    running = await run()
    taken = await take_image(running, LARGE)
    monkeypatch.setattr("dog.snapshots.scaled_images.scale_to_width", None)
    path = f"{taken['page']}/640.jpg"
    assert (await fetch(running, path, If_None_Match=f'"{taken["snapshot"]}-640"'))[0] == 304
    assert (await fetch(running, path, If_Match='"another"'))[0] == 412


@pytest.mark.parametrize("width", ["0", "641", "99999999999", "-640", "640.0", "²"])
async def test_other_widths_do_not_exist(run: Run, width: str) -> None:
    running = await run()
    taken = await take_image(running, LARGE)
    link = await share(running, taken)
    for path in f"{taken['page']}/{width}.jpg", f"{link}/{width}.jpg":
        assert (await fetch(running, path))[0] == 404
    async with running.client.get("/latest.jpg", params={"width": width}) as answer:
        assert answer.status == 400
        assert (await answer.json(content_type=None))["detail"] == "`width` must be 640, 1280, 1920 or 2560."


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_a_narrower_image_is_sent_as_it_is(run: Run, kind: str) -> None:
    running = await run()
    picture = make_picture(kind, width=1280, height=700)
    taken = await take_image(running, picture)
    for width in 1280, 1920, 2560:
        status, headers, data = await fetch(running, f"{taken['page']}/{width}.jpg")
        assert (status, data) == (200, picture)
        assert headers["Content-Type"] == taken["content_type"]
        assert headers["ETag"] == f'"{taken["snapshot"]}"'
    _, headers, data = await fetch(running, f"{taken['page']}/640.jpg")
    assert (headers["Content-Type"], open_image(data).size) == ("image/jpeg", (640, 350))


@pytest.mark.parametrize(("orientation", "size", "top"), [(6, (640, 1280), "red"), (8, (640, 1280), "blue")])
async def test_a_turned_image_has_its_width_when_it_is_upright(
    run: Run, orientation: int, size: tuple[int, int], top: str
) -> None:
    running = await run()
    taken = await take_image(running, encode_turned(orientation))
    assert (taken["width"], taken["height"]) == (1100, 2200)
    _, _, data = await fetch(running, f"{taken['page']}/640.jpg")
    image = open_image(data)
    assert image.size == size
    assert not image.getexif()
    red, _, blue = image.getpixel((320, 100))  # type: ignore[misc]
    assert ("red" if red > blue else "blue") == top
    _, headers, data = await fetch(running, f"{taken['page']}/1280.jpg")
    assert headers["ETag"] == f'"{taken["snapshot"]}"', "it is 1100 pixels wide, and its file is sent"


async def test_a_shared_copy_contains_no_metadata(run: Run) -> None:
    running = await run(exif=True)
    taken = await take_image(running, LARGE)
    link = await share(running, taken)
    _, headers, data = await fetch(running, f"{link}/1280.jpg")
    assert b"Exif" not in data
    assert taken["snapshot"] not in data.decode("latin-1") + str(headers)
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin", "pages of any site may show it"


async def test_a_copy_of_a_deleted_photo_or_a_revoked_link_is_gone(run: Run) -> None:
    running = await run(dead_time=0.0)
    taken = await take_image(running, LARGE)
    link = await share(running, taken)
    paths = f"{taken['page']}/640.jpg", f"{link}/640.jpg"
    assert [(await fetch(running, path))[0] for path in paths] == [200, 200]
    async with running.client.delete(f"/api/snapshots/{taken['snapshot']}"):
        pass
    assert [(await fetch(running, path))[0] for path in paths] == [410, 410]
    assert (await fetch(running, paths[0], If_None_Match=f'"{taken["snapshot"]}-640"'))[0] == 410


async def test_a_photo_that_is_deleted_while_it_is_scaled_is_gone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    running = await run()
    taken = await take_image(running, LARGE)
    began, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def scale_later(data: bytes, width: int) -> bytes:
        loop.call_soon_threadsafe(began.set)
        gate.wait()
        return scale_to_width(data, width)

    monkeypatch.setattr("dog.snapshots.scaled_images.scale_to_width", scale_later)
    fetching = asyncio.create_task(fetch(running, f"{taken['page']}/640.jpg"))
    await began.wait()
    async with running.client.delete(f"/api/snapshots/{taken['snapshot']}") as answer:
        assert answer.status == 204
    gate.set()
    assert (await fetching)[0] == 410


async def test_an_image_that_can_not_be_scaled_is_sent_as_it_is(run: Run) -> None:
    """Its decoding would take more than 100 MB of memory."""
    running = await run()
    picture = encode(draw(5600, 4400), "PNG", compress_level=1)
    taken = await take_image(running, picture)
    link = await share(running, taken)
    for path in f"{taken['page']}/640.jpg", f"{link}/640.jpg", "/latest.jpg?width=640":
        status, headers, data = await fetch(running, path)
        assert (status, headers["Content-Type"], data) == (200, "image/png", picture)
    _, headers, _ = await fetch(running, f"{taken['page']}/640.jpg")
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("size", [0, 5000])
async def test_a_damaged_file_has_no_copies(run: Run, size: int) -> None:
    running = await run(picture_cache=0)
    taken = await take_image(running, LARGE)
    link = await share(running, taken)
    snapshot = await running.service.store.get(taken["snapshot"])
    assert isinstance(snapshot, Snapshot)
    os.truncate(running.service.store.image_path(snapshot), size)
    assert (await fetch(running, f"{taken['page']}/640.jpg"))[0] == 404
    assert (await fetch(running, f"{link}/640.jpg"))[0] == 410


async def test_a_press_is_not_delayed_by_requests_for_all_copies_of_old_photos(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await run(dead_time=0.0)
    old = [await take_image(running, make_picture(seed=number, width=2000, height=1400)) for number in range(15)]
    gate, at_once, lock = threading.Event(), [0, 0], threading.Lock()

    def scale_later(data: bytes, width: int) -> bytes:
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
        gate.wait()
        with lock:
            at_once[0] -= 1
        return scale_to_width(data, width)

    monkeypatch.setattr("dog.snapshots.scaled_images.scale_to_width", scale_later)
    attack = [
        asyncio.create_task(fetch(running, f"{taken['page']}/{width}.jpg"))
        for taken in old[:-1]
        for width in SCALED_WIDTHS[:3]
    ]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*attack, return_exceptions=True), 0.5)
    newest = await take_image(running, LARGE)
    assert (await fetch(running, newest["url"]))[2] == LARGE, "while all threads that scale are busy"
    gate.set()
    assert open_image((await fetch(running, f"{newest['page']}/640.jpg"))[2]).width == 640
    assert at_once[1] <= 2


async def test_a_client_that_has_used_up_its_bytes_gets_no_copies(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    running = await run(open=True, download_per_hour=1, trusted_proxies=("127.0.0.1",))
    taken = await take_image(running, LARGE)
    there = {"X_Forwarded_For": "192.0.2.7", "X_Forwarded_Proto": "http"}
    statuses = [(await fetch(running, f"{taken['page']}/2560.jpg", **there))[0] for _ in range(40)]
    assert set(statuses) == {200, 429}
    assert statuses == sorted(statuses)
    monkeypatch.setattr("dog.snapshots.scaled_images.scale_to_width", None)
    assert (await fetch(running, f"{taken['page']}/640.jpg", **there))[0] == 429, "nothing is made"
