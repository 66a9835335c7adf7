"""HTTP: images, pages without JavaScript, the API, errors and headers."""

import asyncio
import contextlib
import datetime as dt
import errno
import hashlib
import json
import os
import random
import re
import shutil
import socket
import tracemalloc
from collections.abc import Callable
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from yarl import URL

from dog.errors import (
    BadImage,
    CameraBusy,
    CameraFault,
    CameraTimeout,
    CaptureError,
    RequestError,
    StorageError,
    StorageFull,
)
from dog.protocol import FIELD_RULES, parse_timestamp
from dog.web.handlers.api import READINESS
from dog.web.handlers.images import LatestQuery
from tests.conftest import Run
from tests.support.cameras import make_picture
from tests.support.pictures import encode
from tests.support.running import Running, until


async def take(running: Running, **options: Any) -> dict[str, Any]:
    async with running.client.post("/api/captures", **options) as answer:
        assert answer.status in (200, 201), await answer.text()
        body: dict[str, Any] = await answer.json()
        return body


# ---- images

in_memory_and_on_disk = pytest.mark.parametrize("picture_cache", [64, 0], ids=["in memory", "on the disk"])


@in_memory_and_on_disk
async def test_an_image_is_served_bit_for_bit_and_cacheable_without_limit(run: Run, picture_cache: int) -> None:
    running = await run(picture_cache=picture_cache)
    picture = make_picture("teal", (320, 200))
    running.camera.results.append(picture)
    taken = await take(running)
    async with running.client.get(taken["url"]) as answer:
        assert await answer.read() == picture
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["Cache-Control"] == "public, s-maxage=60, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        etag = answer.headers["ETag"]
    async with running.client.get(taken["url"], headers={"If-None-Match": etag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
    async with running.client.head(taken["url"]) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(picture)))
    async with running.client.get(taken["url"], headers={"Range": "bytes=2-9"}) as answer:
        assert (answer.status, await answer.read()) == (206, picture[2:10])
        assert answer.headers["Content-Range"] == f"bytes 2-9/{len(picture)}"
    async with running.client.get(taken["url"], headers={"Range": "bytes=-5"}) as answer:
        assert (answer.status, await answer.read()) == (206, picture[-5:])


async def test_a_range_beyond_the_end_is_a_416_with_the_size(run: Run) -> None:
    running = await run()
    taken = await take(running)
    async with running.client.get(taken["url"], headers={"Range": "bytes=999999-"}) as answer:
        assert answer.status == 416
        assert answer.headers["Content-Range"] == f"bytes */{taken['bytes']}"
        assert (await answer.json(content_type="application/problem+json"))["code"] == "bad_range"


async def test_a_response_without_a_body_reads_no_image(run: Run, tmp_path: Path) -> None:
    running = await run(picture_cache=0, exif=True)
    taken = await take(running)
    async with running.client.post(f"/api/snapshots/{taken['snapshot']}/links", json={}) as answer:
        link = await answer.json()
    paths = taken["url"], f"{link['url']}/picture.jpg", "/latest.jpg"
    tags = []
    for path in (*paths, taken["thumbnail"]):
        async with running.client.get(path) as answer:
            tags.append(answer.headers["ETag"])
            length = answer.headers["Content-Length"]
    for file in (tmp_path / "snapshots").rglob("*.jpg"):
        if "thumbnail" not in file.name:
            file.write_bytes(b"not an image")
    async with running.client.head(taken["thumbnail"]) as answer:
        assert answer.headers["Content-Length"] == length
    for path, tag in zip((*paths, taken["thumbnail"]), tags, strict=True):
        async with running.client.get(path, headers={"If-None-Match": tag}) as answer:
            assert (answer.status, answer.headers["ETag"]) == (304, tag)
        async with running.client.get(path, headers={"If-Match": '"another"'}) as answer:
            assert answer.status == 412
    for path, tag in zip(paths, tags, strict=False):
        async with running.client.head(path) as answer:
            assert (answer.status, answer.headers["ETag"]) == (200, tag)
            assert answer.headers["Content-Length"] == str(taken["bytes"])
        async with running.client.get(path, headers={"Range": f"bytes={taken['bytes']}-"}) as answer:
            assert answer.headers["Content-Range"] == f"bytes */{taken['bytes']}"
        async with running.client.get(path) as answer:
            assert answer.status in (404, 410), "the file is damaged"


async def test_a_resumed_download_of_another_photo_restarts(run: Run) -> None:
    """Otherwise /latest.jpg would mix two photos (RFC 9110, section 13.1.5)."""
    running = await run(dead_time=0.0)
    await take(running)
    async with running.client.get("/latest.jpg") as answer:
        etag = answer.headers["ETag"]
    part = {"Range": "bytes=100-", "If-Range": etag}
    async with running.client.get("/latest.jpg", headers=part) as answer:
        assert answer.status == 206
    running.camera.results.append(make_picture("black", (320, 200)))
    newer = await take(running, json={"max_age": 0})
    async with running.client.get("/latest.jpg", headers=part) as answer:
        assert (answer.status, len(await answer.read())) == (200, newer["bytes"])


@pytest.mark.parametrize(
    ("range_header", "status", "length"),
    [
        ("bytes=0-", 206, 677),
        ("bytes=-9999", 206, 677),
        ("bytes=676-676", 206, 1),
        ("bytes=0-9999", 206, 677),
        ("bytes=-0", 416, None),
        ("bytes=677-", 416, None),
        ("bytes=5-2", 200, 677),
        ("bytes=-", 200, 677),
        ("bytes=0-1,3-4", 200, 677),
        ("lines=0-1", 200, 677),
        ("bytes=" + "9" * 400 + "-", 200, 677),
    ],
)
@in_memory_and_on_disk
async def test_ranges_are_served_refused_or_ignored_by_rfc_9110(
    run: Run, range_header: str, status: int, length: int | None, picture_cache: int
) -> None:
    running = await run(picture_cache=picture_cache)
    picture = make_picture()
    assert len(picture) == 677
    taken = await take(running)
    async with running.client.get(taken["url"], headers={"Range": range_header}) as answer:
        assert answer.status == status
        if length is not None:
            assert len(await answer.read()) == length


async def test_a_range_is_ignored_for_head(run: Run) -> None:
    running = await run()
    taken = await take(running)
    for range_header in ("bytes=0-3", "bytes=99999-"):
        async with running.client.head(taken["url"], headers={"Range": range_header}) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, str(taken["bytes"]))


async def test_conditional_requests_get_304_or_412(run: Run) -> None:
    running = await run()
    taken = await take(running)
    async with running.client.get(taken["url"]) as answer:
        etag = answer.headers["ETag"]
    for name, value, status in (
        ("If-None-Match", f'"x", W/{etag}', 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", '"x"', 200),
        ("If-Match", etag, 200),
        ("If-Match", '"x"', 412),
        ("If-Match", f"W/{etag}", 412),
        ("If-None-Match", '"a,*,b"', 200),
        ("If-Modified-Since", "Sun, 22 Nov 99999999999 12:00:00 GMT", 200),
    ):
        async with running.client.get(taken["url"], headers={name: value}) as answer:
            assert answer.status == status, (name, value)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_png_is_served_only_under_its_own_suffix(run: Run) -> None:
    running = await run()
    running.camera.results.append(make_picture(kind="PNG"))
    taken = await take(running)
    assert taken["url"].endswith(".png")
    assert taken["content_type"] == "image/png"
    async with running.client.get(taken["url"]) as answer:
        assert answer.headers["Content-Type"] == "image/png"
    async with running.client.get(taken["url"].replace(".png", ".jpg")) as answer:
        assert answer.status == 404


async def test_a_thumbnail_is_a_small_jpeg(run: Run) -> None:
    running = await run()
    running.camera.results.append(make_picture("navy", (2000, 1000)))
    taken = await take(running)
    async with running.client.get(taken["thumbnail"]) as answer:
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert len(await answer.read()) < taken["bytes"]


@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:99])], ids=["gone", "cut"]
)
async def test_a_photo_with_a_lost_or_truncated_file_is_a_404_that_is_not_cached(
    run: Run, tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    running = await run()
    taken = await take(running)
    await running.client.close()  # the newest photos are served from memory; after a restart, from their files
    running = await run()
    for file in (tmp_path / "snapshots").glob("2*/*/*/*.jpg"):
        harm(file)
    async with running.client.get(taken["url"]) as answer:
        assert answer.status == 404
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/snapshots/aaaaaaaaaaaaaaaaaaaaaaaa.jpg",
        "/snapshots/aaaaaaaaaaaaaaaaaaaaaaaa",
        "/snapshots/aaaaaaaaaaaaaaaaaaaaaaaa/thumbnail.jpg",
        "/snapshots/..%2f..%2fsetup.jpg",
        "/snapshots/%2e%2e%2f.dog%2findex.sqlite3",
        "/snapshots/%00.jpg",
        "/snapshots/.dog/index.sqlite3",
        "/static/../setup.cfg",
        "/static/%2e%2e/setup.cfg",
        "/static/",
        "/static/" + "a" * 300,
        "/static/..%5csetup.cfg",
        "/default-picture",
        "/api/snapshots/nothing",
        "/api/captures/99",
        "/api/captures/" + "9" * 30,
        "/nowhere",
    ],
)
async def test_an_unknown_url_is_a_404_problem(run: Run, path: str) -> None:
    from yarl import URL

    running = await run()
    async with running.client.get(URL(path, encoded=True)) as answer:
        assert answer.status == 404
        problem = await answer.json(content_type="application/problem+json")
        assert problem["status"] == answer.status
        assert {"type", "title", "detail", "code"} <= problem.keys()


# ---- /latest.jpg


async def test_latest_is_the_newest_photo_with_its_id_and_age(run: Run) -> None:
    running = await run(dead_time=0.0)
    await take(running)
    taken = await take(running, json={"max_age": 0})
    async with running.client.get("/latest.jpg") as answer:
        assert answer.headers["X-Snapshot"] == taken["snapshot"]
        assert answer.headers["X-Captured-At"] == taken["captured_at"]
        assert int(answer.headers["Age"]) >= 0
        assert answer.headers["Cache-Control"] == "no-cache"
        assert "ETag" in answer.headers
    assert running.camera.captures == 2


async def test_latest_takes_a_new_photo_if_the_newest_is_older_than_max_age(run: Run) -> None:
    running = await run(dead_time=0.0)
    first = await take(running)
    async with running.client.get("/latest.jpg?max_age=3600") as answer:
        assert answer.headers["X-Snapshot"] == first["snapshot"]
    async with running.client.get("/latest.jpg?max_age=0") as answer:
        assert answer.headers["X-Snapshot"] != first["snapshot"]


async def test_latest_without_any_photo_is_a_404_without_a_default_picture(run: Run) -> None:
    running = await run()
    async with running.client.get("/latest.jpg") as answer:
        assert answer.status == 404


async def test_latest_of_an_offline_camera_is_a_503_without_an_old_photo(run: Run) -> None:
    running = await run(dead_time=0.0)
    await take(running)
    running.camera.offline = True
    async with running.client.get("/latest.jpg?max_age=0") as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1


# ---- the query


@pytest.mark.parametrize(
    ("path", "name", "values"),
    [
        ("/latest.jpg", "max_age", ("-1", "x", "nan", "", "null")),
        ("/latest.jpg", "wait", ("-1", "60.5", "x", "nan", "", "null")),
        ("/latest.jpg?max_age=0", "wait", ("61",)),
        ("/api/snapshots", "limit", ("0", "201", "1.5", "x", "", "null", "%ff")),
    ],
)
async def test_a_wrong_value_in_the_query_is_a_400_that_names_the_right_ones(
    run: Run, path: str, name: str, values: tuple[str, ...]
) -> None:
    running = await run()
    for value in values:
        url = f"{path}{'&' if '?' in path else '?'}{name}={value}"
        async with running.client.get(URL(url, encoded=True)) as answer:
            problem = await answer.json()
        assert (answer.status, problem["code"], problem["detail"]) == (400, "bad_message", FIELD_RULES[name]), url
    assert running.camera.captures == 0


async def test_the_first_of_repeated_parameters_counts(run: Run) -> None:
    running = await run()
    await take(running)
    for query, status in (("limit=1&limit=x", 200), ("limit=x&limit=1", 400)):
        async with running.client.get(f"/api/snapshots?{query}") as answer:
            assert answer.status == status, query
    for query, status in (("day=x&day=", 400), ("day=&day=x", 200)):
        async with running.client.get(f"/snapshots?{query}") as answer:
            assert answer.status == status, query


async def test_unknown_parameters_are_ignored(run: Run) -> None:
    running = await run(dead_time=0.0)
    await take(running)
    for path in ("/latest.jpg?max_age=3600&", "/api/snapshots?limit=1&", "/snapshots?", "/?camera=main&"):
        async with running.client.get(f"{path}new=1&new=null&=&limits=x") as answer:
            assert answer.status == 200, path


async def test_empty_and_null_texts_are_left_out_only_by_the_gallery_form(run: Run) -> None:
    running = await run()
    await take(running)
    async with running.client.get("/snapshots?camera=&day=&before=") as answer:
        assert answer.status == 200
        assert "snapshots/" in await answer.text()
    for path in ("/", "/latest.jpg", "/preview.mjpg", "/api/snapshots"):
        for value in ("", "null"):
            async with running.client.get(f"{path}?camera={value}") as answer:
                assert (answer.status, (await answer.json())["code"]) == (404, "unknown_camera"), path
    for path in ("/latest.jpg?after=", "/api/snapshots?before=", "/snapshots?before=null"):
        async with running.client.get(path) as answer:
            assert (answer.status, (await answer.json())["code"]) == (404, "unknown_snapshot"), path


# ---- the press without JavaScript


async def test_the_form_takes_a_photo_sets_the_cookie_and_redirects_to_its_page(run: Run) -> None:
    running = await run()
    async with running.client.post("/", allow_redirects=False) as answer:
        assert answer.status == 303
        cookie = answer.cookies["dog_snapshot"]
        assert answer.headers["Location"] == f"snapshots/{cookie.value}"
    assert (cookie["max-age"], cookie["samesite"], cookie["path"], cookie["secure"]) == ("31536000", "Lax", "/", "")
    async with running.client.get(f"/snapshots/{cookie.value}") as page:
        assert page.status == 200
        assert cookie.value in await page.text()


async def test_the_cookie_is_secure_and_scoped_under_an_https_base_url(run: Run) -> None:
    running = await run(base_url="https://dog.example/cam")
    async with running.client.post("/", allow_redirects=False, headers={"Host": "dog.example"}) as answer:
        cookie = answer.cookies["dog_snapshot"]
    assert cookie["secure"]
    assert cookie["path"] == "/cam/"


async def test_the_live_page_shows_returning_visitors_their_photo_and_others_the_newest(run: Run) -> None:
    running = await run(dead_time=0.0)
    mine = await take(running)
    newest = await take(running, json={"max_age": 0})
    jar = {"Cookie": f"dog_snapshot={mine['snapshot']}"}
    async with running.client.get("/", headers=jar) as answer:
        page = await answer.text()
    assert "Your photo" in page
    assert page.index(mine["url"]) < (page.index(newest["url"]) if newest["url"] in page else len(page))
    for unknown in ("", "dog_snapshot=aaaaaaaaaaaaaaaaaaaaaaaa", 'dog_snapshot="<script>"', "dog_snapshot=../../etc"):
        async with running.client.get("/", headers={"Cookie": unknown}) as answer:
            page = await answer.text()
            assert answer.status == 200
            assert "Your photo" not in page
            assert newest["url"] in page


async def test_before_the_first_photo_the_page_shows_the_default_picture(run: Run, tmp_path: Path) -> None:
    own = tmp_path / "own.png"
    own.write_bytes(make_picture(kind="PNG"))
    running = await run(default_picture=own)
    async with running.client.get("/") as answer:
        assert 'src="./default-picture"' in await answer.text()
    async with running.client.get("/default-picture") as answer:
        assert await answer.read() == own.read_bytes()


# ---- the API


async def test_a_capture_by_api_is_a_201_with_the_snapshot_and_its_location(run: Run) -> None:
    running = await run(dead_time=60.0)
    async with running.client.post("/api/captures") as answer:
        assert answer.status == 201
        taken = await answer.json()
        assert answer.headers["Location"] == taken["page"]
    async with running.client.post("/api/captures") as answer:
        assert answer.status == 200, "an existing one was given"
        again = await answer.json()
        assert (taken.pop("outcome"), again.pop("outcome")) == ("started", "cached")
        assert 0 <= taken.pop("age") <= again.pop("age") < 60  # in whole milliseconds
        assert again == taken
    async with running.client.get(f"/api/snapshots/{taken['snapshot']}") as answer:
        details = await answer.json()
        assert taken["captured_at"] <= details.pop("exposed_until")
        assert details == {**taken, "pinned": False}
    async with running.client.get("/api/captures/1") as answer:
        capture = await answer.json()
        assert (capture["state"], capture["snapshot"]) == ("ready", taken)


async def test_an_imported_photo_is_listed_without_the_end_of_its_exposure(run: Run, tmp_path: Path) -> None:
    name = f"2024/02/29/081503.250_door_41_{'b' * 24}.jpg"
    target = tmp_path / "snapshots" / name
    target.parent.mkdir(parents=True)
    target.write_bytes(make_picture("olive", (90, 60)))
    running = await run()
    taken = await take(running)
    async with running.client.get("/api/snapshots") as answer:
        listed = {photo["snapshot"]: photo for photo in (await answer.json())["snapshots"]}
    assert "exposed_until" in listed.pop(taken["snapshot"])
    (copied,) = listed.values()
    assert copied["captured_at"] == "2024-02-29T08:15:03.250Z"
    assert "exposed_until" not in copied


async def test_a_repeated_idempotency_key_takes_one_photo(run: Run) -> None:
    running = await run(dead_time=0.0)
    headers = {"Idempotency-Key": '"k-1"'}
    bodies = await asyncio.gather(*(take(running, headers=headers, json={"max_age": 0}) for _ in range(5)))
    bodies.append(await take(running, headers={"Idempotency-Key": "k-1"}, json={"max_age": 0}))
    assert len({body["snapshot"] for body in bodies}) == 1
    assert running.camera.captures == 1


async def test_respond_async_gets_202_with_a_status_url(run: Run) -> None:
    running = await run(dead_time=0.0)
    running.camera.held = True
    async with running.client.post("/api/captures", headers={"Prefer": "respond-async"}) as answer:
        assert answer.status == 202
        assert answer.headers["Preference-Applied"] == "respond-async"
        assert (await answer.json())["outcome"] == "started"
        address = answer.headers["Location"]
    await running.camera.exposing.wait()
    async with running.client.get(address) as answer:
        assert (await answer.json())["state"] == "capturing"
    running.camera.results.append(CameraFault("No light."))
    await running.camera.release()
    await until(lambda: running.service.find_camera(None).running is None)
    async with running.client.get(address) as answer:
        capture = await answer.json()
        assert (capture["state"], capture["code"], capture["message"]) == ("failed", "camera_error", "No light.")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "bad_json"),
        (b"[]", 400, "bad_message"),
        (b'{"max_age":-1}', 400, "bad_message"),
        (b'{"max_age":"soon"}', 400, "bad_message"),
        (b'{"camera":"attic"}', 404, "unknown_camera"),
        (b"\xff", 400, "bad_json"),
        (b" " * 20_000, 413, "too_big"),
    ],
)
async def test_a_wrong_body_is_a_problem_and_takes_no_photo(run: Run, body: bytes, status: int, code: str) -> None:
    running = await run()
    async with running.client.post("/api/captures", data=body) as answer:
        assert answer.status == status
        assert (await answer.json(content_type="application/problem+json"))["code"] == code
    assert running.camera.captures == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CameraFault("It said no."), 502),
        (BadImage("Half a picture."), 502),
        (CameraBusy("Somebody has it."), 503),
        (CameraTimeout("Too slow."), 504),
        (StorageError("Read-only."), 500),
        (StorageFull("Full."), 507),
    ],
)
async def test_a_failed_capture_is_a_problem_with_its_code(run: Run, error: CaptureError, status: int) -> None:
    running = await run(dead_time=0.0)
    running.camera.results.append(error)
    async with running.client.post("/api/captures") as answer:
        assert answer.status == status
        problem = await answer.json(content_type="application/problem+json")
        assert (problem["code"], problem["detail"]) == (error.code, error.message)
        assert ("Retry-After" in answer.headers) == (status in (502, 503, 504))


async def test_snapshots_are_listed_newest_first_and_by_pages(run: Run) -> None:
    running = await run(dead_time=0.0)
    taken = [(await take(running, json={"max_age": 0}))["snapshot"] for _ in range(5)]
    async with running.client.get("/api/snapshots?limit=2") as answer:
        page = [snapshot["snapshot"] for snapshot in (await answer.json())["snapshots"]]
    assert page == [taken[4], taken[3]]
    async with running.client.get(f"/api/snapshots?camera=main&before={page[-1]}") as answer:
        assert [snapshot["snapshot"] for snapshot in (await answer.json())["snapshots"]] == taken[2::-1]
    for query in ("limit=0", "limit=x", "limit=1000", "camera=attic", "before=nothing"):
        async with running.client.get(f"/api/snapshots?{query}") as answer:
            assert answer.status in (400, 404), query


async def test_cameras_are_listed_as_hello_shows_them(run: Run) -> None:
    running = await run()
    async with running.watch() as events, running.client.get("/api/cameras") as answer:
        (in_hello,), (listed,) = events.hello["cameras"], (await answer.json())["cameras"]
        assert {**listed, "ready_at": ""} == {**in_hello, "ready_at": ""}


# ---- health


async def test_healthz_is_always_200_and_readyz_only_with_a_working_camera(run: Run, tmp_path: Path) -> None:
    running = await run(dead_time=0.0)
    async with running.client.get("/readyz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ready"})
    running.camera.offline = True
    async with running.client.post("/api/captures") as answer:
        assert answer.status == 503
    async with running.client.get("/readyz") as answer:
        assert answer.status == 503
        assert (await answer.json(content_type="application/problem+json"))["code"] == "camera_offline"
    async with running.client.get("/healthz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})
    running.camera.offline = False
    shutil.rmtree(tmp_path / "snapshots" / ".dog" / "incoming")
    running.app[READINESS]._expires_at = 0
    async with running.client.get("/readyz") as answer:
        assert answer.status == 500, "the disk cannot be written"
        assert (await answer.json(content_type="application/problem+json"))["code"] == "storage_error"


async def test_one_check_of_the_disk_serves_all_requests_for_readiness(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await run()
    checks = 0
    check = running.service.store._album.check_writable

    def count() -> None:
        nonlocal checks
        checks += 1
        check()

    monkeypatch.setattr(running.service.store._album, "check_writable", count)

    async def fetch_status() -> int:
        async with running.client.get("/readyz") as answer:
            return answer.status

    assert set(await asyncio.gather(*(fetch_status() for _ in range(40)))) == {200}
    assert (await fetch_status(), checks) == (200, 1)
    running.app[READINESS]._expires_at = 0
    assert set(await asyncio.gather(*(fetch_status() for _ in range(40)))) == {200}
    assert checks == 2


@pytest.mark.parametrize("query", ["", "?day=2026-11-22&camera=", "?next=//evil.example/%0d%0aX:y", "?//evil.example"])
@pytest.mark.parametrize("name", ["snapshots", "api"])
async def test_a_page_with_a_slash_redirects_to_the_page(run: Run, name: str, query: str) -> None:
    running = await run()
    url = URL(f"{running.url}/{name}/{query}", encoded=True)
    async with running.client.session.get(url, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, f"../{name}{query}")
    target = url.join(URL(answer.headers["Location"], encoded=True))
    assert (target.host, target.path) == (url.host, f"/{name}")
    for path in f"//evil.example/{name}/", f"//{name}/", f"/{name}//", f"//evil.example/..//{name}/":
        async with running.client.session.get(URL(running.url + path, encoded=True), allow_redirects=False) as answer:
            assert answer.status == 404, path


async def test_only_images_by_id_have_the_time_of_their_exposure(run: Run) -> None:
    running = await run()
    taken = await take(running)
    expected = format_datetime(parse_timestamp(taken["captured_at"]), usegmt=True)
    for path in taken["url"], taken["thumbnail"]:
        async with running.client.get(path) as answer:
            assert answer.headers["Last-Modified"] == expected
        for headers, status in (
            ({"If-Modified-Since": expected}, 304),
            ({"If-Modified-Since": "Sun, 22 Nov 2015 11:14:38 GMT"}, 200),
            ({"If-Modified-Since": "yesterday"}, 200),
            ({"If-Modified-Since": expected, "If-None-Match": '"another"'}, 200),
        ):
            async with running.client.get(path, headers=headers) as answer:
                assert answer.status == status, headers
    async with running.client.post(f"/api/snapshots/{taken['snapshot']}/links", json={}) as answer:
        link = (await answer.json())["url"]
    for path in "/latest.jpg", link, f"{link}/picture.jpg", "/", "/static/dog.css":
        async with running.client.get(path, headers={"If-Modified-Since": expected}) as answer:
            assert (answer.status, "Last-Modified" in answer.headers) == (200, False), path


async def test_an_image_with_a_date_in_the_future_has_no_time(run: Run) -> None:
    running = await run()
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    snapshot = await running.service.store.save(make_picture(), camera="main", capture=9, captured_at=tomorrow)
    async with running.client.get(f"/snapshots/{snapshot.id}.jpg") as answer:
        assert (answer.status, "Last-Modified" in answer.headers) == (200, False)


def test_the_wait_for_the_next_image_ends_before_a_proxys_timeout() -> None:
    assert LatestQuery().wait == 25


# ---- errors and headers


async def test_a_405_lists_the_allowed_methods(run: Run) -> None:
    running = await run()
    async with running.client.delete("/latest.jpg") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")
        assert (await answer.json(content_type="application/problem+json"))["code"] == "method_not_allowed"


async def test_a_browser_gets_a_page_and_a_script_gets_json(run: Run) -> None:
    running = await run()
    async with running.client.get("/nowhere", headers={"Accept": "text/html,*/*"}) as answer:
        assert (answer.status, answer.content_type) == (404, "text/html")
    async with running.client.get("/api/nowhere", headers={"Accept": "text/html,*/*"}) as answer:
        assert answer.content_type == "application/problem+json"


async def test_the_push_url_without_an_upgrade_is_a_426_with_the_protocol(run: Run) -> None:
    running = await run()
    async with running.client.get("/ws") as answer:
        assert (answer.status, answer.headers["Upgrade"]) == (426, "websocket")


@pytest.mark.parametrize("path", ["/", "/nowhere", "/static/live.js", "/api/cameras", "/healthz"])
async def test_every_response_has_the_security_headers(run: Run, path: str) -> None:
    running = await run()
    async with running.client.get(path) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        powers = dict(one.split("=") for one in answer.headers["Permissions-Policy"].split(", "))
        assert {powers[power] for power in ("camera", "microphone", "geolocation", "usb")} == {"()"}


@pytest.mark.parametrize(
    ("public", "host", "scheme", "keeps"),
    [
        ("https://dog.example.org", "dog.example.org", "https", True),
        ("https://dog.example.org:8443/cam", "dog.example.org:8443", "https", True),
        ("https://dog.example.org", "dog.example.org:443", "https", True),
        ("https://dog.example.org", "127.0.0.1:8080", "http", False),  # HSTS must not be sent over HTTP
        ("http://dog.example.org", "dog.example.org", "http", False),
        ("https://192.0.2.7", "192.0.2.7", "https", False),
        ("https://localhost", "localhost", "https", False),
        (None, "dog.example.org", "https", False),  # its certificate may be self-signed
    ],
)
async def test_hsts_is_sent_only_at_an_https_base_url_with_a_name(
    run: Run, public: str | None, host: str, scheme: str, keeps: bool
) -> None:
    running = await run(open=True, base_url=public, trusted_proxies=("127.0.0.1",), hosts=("dog.example.org",))
    headers = {"X-Forwarded-Proto": scheme, "X-Forwarded-Host": host}
    async with running.client.get("/nowhere", headers=headers) as answer:
        assert answer.headers.get("Strict-Transport-Security") == ("max-age=15552000" if keeps else None)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_disconnect_within_a_body_logs_no_error(
    run: Run, caplog: pytest.LogCaptureFixture, reset: bool
) -> None:
    running = await run()
    _, writer = await asyncio.open_connection("127.0.0.1", running.client.port)
    if reset:
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.write(b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\n\r\n{")
    await writer.drain()
    async with running.client.get("/healthz") as answer:
        assert answer.status == 200
    writer.close()
    for _ in range(3):
        async with running.client.get("/healthz") as answer:
            assert answer.status == 200
    await running.client.close()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert running.camera.captures == 0


async def test_a_body_with_a_wrong_content_encoding_is_a_400(run: Run) -> None:
    running = await run()
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with running.client.post("/api/captures", data=b"abc", headers=headers) as answer:
        assert answer.status == 400
    assert running.camera.captures == 0


async def test_the_page_is_revalidated_and_sent_only_if_it_changed(run: Run) -> None:
    running = await run()
    async with running.client.get("/static/live.js") as answer:
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        etag = answer.headers["ETag"]
    async with running.client.get("/static/live.js", headers={"If-None-Match": etag}) as answer:
        assert answer.status == 304


async def test_static_files_have_versioned_urls_and_are_cacheable_without_limit(run: Run) -> None:
    running = await run()
    async with running.client.get("/") as answer:
        urls = re.findall(r'(?:href|src)="\./(static/[^"]+)"', await answer.text())
    assert {url.rpartition(".")[2] for url in urls} == {"css", "js", "png", "svg", "webmanifest"}
    for url in urls:
        async with running.client.get(f"/{url}", headers={"Accept-Encoding": "identity"}) as answer:
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert answer.headers["ETag"].strip('"') in url
        other = re.sub(r"[0-9a-f]{16}", "0123456789abcdef", url)
        async with running.client.get(f"/{other}") as answer:
            assert answer.status == 404, "a page of another version gets nothing of this one"


@pytest.mark.parametrize("path", ["/", "/api/captures"])
async def test_a_page_of_another_site_cannot_press(run: Run, path: str) -> None:
    running = await run(hosts=("dog.local",))
    for origin in ("https://evil.example", "null", "http://[::1", "http://a℀b", running.url.replace("http", "https")):
        async with running.client.post(path, headers={"Origin": origin}, allow_redirects=False) as answer:
            assert answer.status == 403
    assert running.camera.captures == 0
    async with running.client.post(path, headers={"Origin": running.url}, allow_redirects=False) as answer:
        assert answer.status in (201, 303)
    for host, origin in (("dog.local:80", "http://dog.local"), ("Dog.Local", "http://dog.local:80")):
        headers = {"Host": host, "Origin": origin}
        async with running.client.post(path, headers=headers, allow_redirects=False) as answer:
            assert answer.status in (200, 303), (host, origin)


async def test_an_unexpected_error_is_logged_and_is_a_500_without_details(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    running = await run()

    def fail() -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(type(running.service), "camera_statuses", lambda _service: fail())
    async with running.client.get("/api/cameras") as answer:
        text = await answer.text()
        assert answer.status == 500
        assert "secret" not in text
        assert json.loads(text)["code"] == "internal_error"
    assert "secret" in caplog.text


@pytest.mark.parametrize(("code", "repeats"), [("overloaded", True), ("rate_limited", False)])
async def test_the_error_page_of_an_overloaded_service_reloads_itself(
    run: Run, monkeypatch: pytest.MonkeyPatch, code: str, repeats: bool
) -> None:
    running = await run()

    def fail() -> None:
        raise RequestError(code, "Not now.", retry_after=12)

    monkeypatch.setattr(type(running.service), "camera_statuses", lambda _service: fail())
    async with running.client.get("/", headers={"Accept": "text/html"}) as answer:
        page = await answer.text()
        assert answer.headers["Retry-After"] == "12"
    assert ('<meta http-equiv="refresh" content="12">' in page) is repeats
    assert ("tries again by itself in 12 s" in page) is repeats


@in_memory_and_on_disk
async def test_pipelined_photos_arrive_complete_at_any_reading_speed(run: Run, picture_cache: int) -> None:
    running = await run(dead_time=0.0, picture_cache=picture_cache)
    url, picture = await take_noise(running)
    reader, writer = await running.connect_slowly()
    ranged = f"GET {url} HTTP/1.1\r\nHost: localhost\r\nRange: bytes=7-\r\n\r\n"
    writer.write((f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n" + ranged).encode() * 8)
    for _ in range(8):
        for start, status in ((0, b"200 OK"), (7, b"206 Partial Content")):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 " + status)
            expected = picture[start:]
            assert await reader.readexactly(len(expected)) == expected
    writer.close()


async def test_a_file_system_without_sendfile_sends_the_same_image(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    running = await run(picture_cache=0)
    url, picture = await take_noise(running)

    def fail(*_: object) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "sendfile", fail)
    reader, writer = await running.connect_slowly()
    writer.write(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(len(picture)) == picture
    writer.close()


async def test_slow_clients_hold_no_image_that_has_left_the_cache(run: Run) -> None:
    running = await run(dead_time=0.0, picture_cache=1)
    tracemalloc.start()
    try:
        connections, pictures = [], []
        for _ in range(6):
            url, picture = await take_noise(running)
            reader, writer = await running.connect_slowly()
            writer.write(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            connections.append((reader, writer))
            pictures.append(hashlib.sha256(picture).digest())
        size = len(picture)
        del picture
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 * size, "the cache has one of the six"
    for (reader, writer), digest in zip(connections, pictures, strict=True):
        assert hashlib.sha256(await reader.readexactly(size)).digest() == digest
        writer.close()


async def test_a_cancelled_download_leaves_no_descriptor_open(run: Run) -> None:
    running = await run(picture_cache=0)
    url, _ = await take_noise(running)
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(20):
        reader, writer = await running.connect_slowly()
        writer.write(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
    await until(lambda: set(os.listdir("/proc/self/fd")) <= before)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_download_is_cut_off_if_its_file_is_lost(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    running = await run(picture_cache=0)
    url, picture = await take_noise(running)
    reader, writer = await running.connect_slowly()
    writer.write(f"GET {url} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(f"HTTP/{version} 200 OK".encode())
    next((tmp_path / "snapshots").rglob("*.png")).unlink()
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            received += data
    writer.close()
    assert picture.startswith(received)
    assert len(received) < len(picture)
    assert f"{url}: cut off. The file of this photo is gone." in caplog.messages


async def take_noise(running: Running) -> tuple[str, bytes]:
    """Return the URL and the bytes of a photo of several hundred KB."""
    noise = Image.frombytes("RGB", (600, 600), random.Random(1).randbytes(600 * 600 * 3))
    picture = encode(noise, "PNG")
    running.camera.results.append(picture)
    return (await take(running))["url"], picture
