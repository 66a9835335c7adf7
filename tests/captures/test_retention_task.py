"""Retention and the gallery: deletion, pins, lists, the next photo."""

import asyncio
import datetime as dt
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dog.snapshots import Snapshot
from dog.web.app import drain
from tests.conftest import Run, Serve
from tests.support.cameras import make_picture
from tests.support.running import Running, until
from tests.support.server_process import run_dog

PICTURE = make_picture()


async def capture(running: Running, **body: Any) -> dict[str, Any]:
    async with running.client.post("/api/captures", json={"max_age": 0, **body}) as answer:
        assert answer.status == 201
        photo: dict[str, Any] = await answer.json()
        return photo


async def fetch(running: Running, path: str, method: str = "GET", **options: Any) -> tuple[int, str]:
    async with running.client.request(method, path, allow_redirects=False, **options) as answer:
        return answer.status, await answer.text(errors="replace")


def listed_ids(page: str) -> list[str]:
    """Return the ids of the photos on a gallery page, in order."""
    return re.findall(r'data-snapshot="(\w+)"', page)


# ---- deletion


async def test_a_deleted_photo_is_410_everywhere_and_an_unknown_one_404(run: Run) -> None:
    running = await run(dead_time=0.0)
    photo = await capture(running)
    snapshot = photo["snapshot"]
    assert await fetch(running, f"/api/snapshots/{snapshot}", "DELETE") == (204, "")
    for path in (
        photo["url"],
        photo["page"],
        photo["thumbnail"],
        f"/api/snapshots/{snapshot}",
        f"/snapshots/{snapshot}/delete",
    ):
        status, text = await fetch(running, path)
        assert (status, "gone_snapshot" in text) == (410, True), path
    for method, path in ("DELETE", ""), ("PUT", "/pin"), ("DELETE", "/pin"):
        assert (await fetch(running, f"/api/snapshots/{snapshot}{path}", method))[0] == 410
    assert (await fetch(running, f"/api/snapshots/{'a' * 24}", "DELETE"))[0] == 404


async def test_a_deletion_is_published_and_the_previous_photo_is_the_latest_again(run: Run) -> None:
    running = await run(dead_time=0.0)
    first, second = await capture(running), await capture(running)
    async with running.watch() as viewer:
        assert viewer.hello["cameras"][0]["latest"]["snapshot"] == second["snapshot"]
        await fetch(running, f"/api/snapshots/{second['snapshot']}", "DELETE")
        event = await viewer.read()
        assert {name: event[name] for name in ("type", "camera", "snapshots", "reason")} == {
            "type": "removed",
            "camera": "main",
            "snapshots": [second["snapshot"]],
            "reason": "deleted",
        }
        assert event["seq"] == viewer.hello["seq"] + 1
    async with running.watch() as viewer:
        assert viewer.hello["cameras"][0]["latest"]["snapshot"] == first["snapshot"]
    assert (await fetch(running, "/latest.jpg"))[0] == 200


async def test_a_removal_is_published_after_its_photo(run: Run) -> None:
    """Retention may remove it, for another camera's photo, before that."""
    running = await run(dead_time=0.0)
    running.camera.held = True
    async with running.watch() as viewer:
        await viewer.say(type="capture", max_age=0)
        await running.camera.exposing.wait()
        camera = running.service.cameras["main"]
        assert camera.running is not None
        at = dt.datetime.now(dt.UTC)
        early = Snapshot("a" * 24, "main", camera.running.capture, at, 64, 48, 1, "image/jpeg")
        running.service.store.on_removed([early], "retention")
        await asyncio.sleep(0)
        await running.camera.release()
        types = [event["type"] for event in await viewer.read_until("removed")]
    assert types[-3:] == ["capturing", "ready", "removed"]


async def test_a_deleted_photo_never_serves_a_request(run: Run) -> None:
    running = await run(dead_time=60.0)
    photo = await capture(running)
    key = {"Idempotency-Key": "k"}
    async with running.client.post("/api/captures", json={"max_age": 600}, headers=key) as answer:
        assert (await answer.json())["outcome"] == "cached"
    await fetch(running, f"/api/snapshots/{photo['snapshot']}", "DELETE")
    await until(lambda: next(iter(running.service.cameras.values())).latest is None)
    async with running.client.post(
        "/api/captures", json={"max_age": 600}, headers={**key, "Prefer": "respond-async"}
    ) as answer:
        assert (await answer.json())["outcome"] == "queued", "the dead time still counts"


async def test_retention_publishes_its_removals(run: Run) -> None:
    running = await run(dead_time=0.0, keep_photos=2)
    async with running.watch() as viewer:
        photos = [await capture(running) for _ in range(4)]
        events = [event for event in (await viewer.read_until("removed")) if event["type"] == "removed"]
        while len(events) < 2:
            events += [event for event in (await viewer.read_until("removed")) if event["type"] == "removed"]
    assert [(event["snapshots"], event["reason"]) for event in events] == [
        ([photo["snapshot"]], "retention") for photo in photos[:2]
    ]


async def test_the_deletion_page_confirms_and_redirects_to_the_next_photo(run: Run) -> None:
    running = await run(dead_time=0.0)
    first, second = await capture(running), await capture(running)
    status, page = await fetch(running, f"/snapshots/{second['snapshot']}/delete")
    assert (status, "Delete this photo?" in page) == (200, True)
    async with running.client.post(f"/snapshots/{second['snapshot']}/delete", allow_redirects=False) as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == f"../../snapshots/{first['snapshot']}"
    async with running.client.post(f"/snapshots/{first['snapshot']}/delete") as answer:
        assert (answer.status, answer.url.path) == (200, "/snapshots")
        assert "No photos yet" in await answer.text()


def test_a_keep_free_larger_than_the_disk_is_refused(tmp_path: Path) -> None:
    ended = run_dog("serve", "--port", "0", "--keep-free", "1000000000", "--log-file", "", cwd=tmp_path)
    assert ended.returncode == 2
    assert re.fullmatch(
        r"dog: --keep-free.* The disk has only \d+ MiB, less than \d+\. Write a lower number\.\n", ended.stderr
    )


@pytest.mark.parametrize("path", ["/snapshots/{}/delete", "/snapshots/{}/pin", "/api/snapshots/{}"])
async def test_a_page_of_another_site_cannot_delete_or_pin(run: Run, path: str) -> None:
    running = await run(dead_time=0.0)
    photo = await capture(running)
    method = "DELETE" if path.startswith("/api") else "POST"
    status, _ = await fetch(running, path.format(photo["snapshot"]), method, headers={"Origin": "https://evil.example"})
    assert status == 403
    assert (await fetch(running, photo["url"]))[0] == 200


# ---- pins


async def test_a_photo_is_pinned_and_unpinned_by_the_api_and_by_its_page(run: Run) -> None:
    running = await run(dead_time=0.0)
    photo = await capture(running)
    url = f"/api/snapshots/{photo['snapshot']}"

    async def is_pinned() -> bool:
        async with running.client.get(url) as answer:
            pinned: bool = (await answer.json())["pinned"]
            return pinned

    for method, after in ("PUT", True), ("PUT", True), ("DELETE", False), ("DELETE", False):
        assert await fetch(running, f"{url}/pin", method) == (204, "")
        assert await is_pinned() is after
    for value, after in ("yes", True), ("no", False):
        async with running.client.post(f"/snapshots/{photo['snapshot']}/pin", data={"pinned": value}) as answer:
            assert answer.url.path == photo["page"]
            assert f'aria-pressed="{str(after).lower()}"' in await answer.text()
        assert await is_pinned() is after
    status, text = await fetch(running, f"/snapshots/{photo['snapshot']}/pin", "POST", data={"pinned": "perhaps"})
    assert (status, "yes or no" in text) == (400, True)


# ---- the gallery


async def fill(running: Running, *moments: dt.datetime, camera: str = "main") -> list[str]:
    """Save photos with these times, and return their ids."""
    return [
        (
            await running.service.store.save(
                PICTURE,
                camera=camera,
                capture=number,
                captured_at=moment,
            )
        ).id
        for number, moment in enumerate(moments, 1)
    ]


def noon(day: int, hour: int = 12) -> dt.datetime:
    """Return a time on a day in June, in the local time zone."""
    return dt.datetime(2026, 6, day, hour).astimezone()


async def test_the_gallery_shows_photos_by_day_newest_first(run: Run) -> None:
    running = await run()
    ids = await fill(running, noon(1), noon(2, 0), noon(2, 23), noon(3))
    _, page = await fetch(running, "/snapshots")
    assert listed_ids(page) == ids[::-1]
    assert re.findall(r'<section class="day" data-day="([\d-]+)"', page) == ["2026-06-03", "2026-06-02", "2026-06-01"]
    assert "Tuesday, 2 June 2026" in page
    assert "12:00:00" in page
    assert f"/snapshots/{ids[0]}/thumbnail.jpg" in page
    assert f'/snapshots/{ids[0]}.jpg"' not in re.sub(r'data-url="[^"]*"', "", page), "only thumbnails are fetched"


async def test_the_gallery_of_a_day_has_the_photos_of_that_day(run: Run) -> None:
    running = await run()
    ids = await fill(running, noon(1, 23), noon(2, 0), noon(2, 23), noon(3, 0))
    _, page = await fetch(running, "/snapshots?day=2026-06-02")
    assert listed_ids(page) == [ids[2], ids[1]]
    status, page = await fetch(running, "/snapshots?day=2026-06-05")
    assert (status, listed_ids(page), "No photos on that day" in page) == (200, [], True)


@pytest.mark.parametrize("day", ["yesterday", "2026-13-01", "2026-06-31", "9999-12-31", "0001-01-01", "2026-06-02T10"])
async def test_an_invalid_day_is_refused_and_an_empty_one_is_not(run: Run, day: str) -> None:
    running = await run()
    status, text = await fetch(running, f"/snapshots?day={day}")
    assert status in (200, 400)
    assert status == 200 or "`day` must be a date" in text
    assert (await fetch(running, "/snapshots?day=&camera=&before="))[0] == 200


async def test_the_gallery_of_a_camera_has_only_its_photos_even_of_a_removed_camera(run: Run) -> None:
    running = await run()
    own, others = await fill(running, noon(1)), await fill(running, noon(1, 13), camera="shed")
    assert listed_ids((await fetch(running, "/snapshots"))[1]) == [*others, *own]
    _, page = await fetch(running, "/snapshots?camera=shed")
    assert listed_ids(page) == others
    assert '<option value="shed" selected>' in page


async def test_the_gallery_pages_reach_the_last_photo_and_end(run: Run) -> None:
    running = await run()
    ids = await fill(running, *(noon(1) + dt.timedelta(seconds=number) for number in range(130)))
    seen, url, pages = [], "/snapshots?camera=main", 0
    while url:
        status, page = await fetch(running, url)
        assert status == 200
        seen += listed_ids(page)
        pages += 1
        found = re.search(r'id="older" rel="next" href="\./([^"]*)"', page)
        url = "/" + found[1].replace("&amp;", "&") if found else ""
        assert "camera=main" in url or not url
    assert (seen, pages) == (ids[::-1], 3)
    assert "Newest photos" in page


async def test_a_list_continues_after_a_photo_that_was_deleted(run: Run) -> None:
    running = await run()
    ids = await fill(running, *(noon(1) + dt.timedelta(seconds=number) for number in range(4)))
    await fetch(running, f"/api/snapshots/{ids[2]}", "DELETE")
    assert listed_ids((await fetch(running, f"/snapshots?before={ids[2]}"))[1]) == [ids[1], ids[0]]
    async with running.client.get(f"/api/snapshots?before={ids[2]}") as answer:
        assert [one["snapshot"] for one in (await answer.json())["snapshots"]] == [ids[1], ids[0]]
    for path in "/snapshots", "/api/snapshots":
        assert (await fetch(running, f"{path}?before={'a' * 24}"))[0] == 404


async def test_query_parameters_are_escaped_in_the_gallery(run: Run) -> None:
    running = await run()
    for name in "camera", "day", "before":
        _, page = await fetch(running, f'/snapshots?{name}="><script>alert(1)</script>')
        assert "<script>alert" not in page


# ---- the next photo


async def test_requests_for_the_next_photo_return_all_photos_in_order(run: Run) -> None:
    running = await run(dead_time=0.0)
    ids = [(await capture(running))["snapshot"] for _ in range(4)]
    await fetch(running, f"/api/snapshots/{ids[1]}", "DELETE")
    after, seen = ids[0], []
    for _ in range(2):
        async with running.client.get(f"/latest.jpg?after={after}&wait=0") as answer:
            assert answer.status == 200
            after = answer.headers["X-Snapshot"]
            seen.append(after)
            assert await answer.read()
    assert seen == [ids[2], ids[3]]
    assert await fetch(running, f"/latest.jpg?after={ids[3]}&wait=0") == (204, "")
    assert await fetch(running, f"/latest.jpg?after={ids[3]}&wait=0.05") == (204, "")
    async with running.client.get(f"/latest.jpg?after={ids[1]}&wait=0") as answer:
        assert answer.headers["X-Snapshot"] == ids[2], "a deleted photo still has its place in the order"


async def test_a_request_for_the_next_photo_waits_until_it_is_taken(run: Run) -> None:
    running = await run(dead_time=0.0)
    last = (await capture(running))["snapshot"]
    camera = next(iter(running.service.cameras.values()))
    waiting = [asyncio.create_task(running.client.get(f"/latest.jpg?after={last}")) for _ in range(3)]
    await until(lambda: len(getattr(camera.results.next_snapshot, "_callbacks", ())) > 1)
    photo = await capture(running)
    for answer in await asyncio.gather(*waiting):
        async with answer:
            assert answer.headers["X-Snapshot"] == photo["snapshot"]
            assert len(await answer.read()) == photo["bytes"]


async def test_a_request_for_the_next_photo_is_refused_when_the_server_stops(run: Run) -> None:
    running = await run(dead_time=0.0)
    last = (await capture(running))["snapshot"]
    camera = next(iter(running.service.cameras.values()))
    waiting = asyncio.create_task(running.client.get(f"/latest.jpg?after={last}"))
    await until(lambda: len(getattr(camera.results.next_snapshot, "_callbacks", ())) > 1)
    assert running.client.app is not None
    await drain(running.client.app)
    async with await waiting as answer:
        assert (answer.status, (await answer.json())["code"]) == (503, "overloaded")


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("after=nonsense", 404, "unknown_snapshot"),
        (f"after={'a' * 24}", 404, "unknown_snapshot"),
        ("after={}&max_age=0", 400, "cannot be combined"),
        ("after={}&wait=-1", 400, "`wait` must be"),
        ("after={}&wait=61", 400, "`wait` must be"),
        ("wait=61", 400, "`wait` must be"),
        ("after={}&camera=shed", 400, "of the camera main"),
    ],
)
async def test_an_invalid_request_for_the_next_photo_is_refused(run: Run, query: str, status: int, word: str) -> None:
    running = await run(dead_time=0.0)
    photo = await capture(running)
    actual, text = await fetch(running, f"/latest.jpg?{query.format(photo['snapshot'])}")
    assert (actual, word in text) == (status, True)


async def test_an_image_requested_with_max_age_has_its_outcome_in_a_header(run: Run) -> None:
    running = await run(dead_time=0.0)
    for query, outcome in ("?max_age=0", "started"), ("?max_age=60", "cached"), ("", None):
        async with running.client.get(f"/latest.jpg{query}") as answer:
            assert answer.headers.get("X-Outcome") == outcome
            assert int(answer.headers["Age"]) < 60


async def test_a_cached_reply_on_the_push_has_the_photos_age(run: Run) -> None:
    running = await run(dead_time=60.0)
    photo = await capture(running)
    async with running.watch() as viewer:
        await viewer.say(type="capture")
        reply = await viewer.read()
    assert (reply["outcome"], reply["captured_at"]) == ("cached", photo["captured_at"])
    assert 0 <= reply["age"] < 60


async def test_the_index_has_the_request_key_and_camera_settings_of_a_photo(run: Run) -> None:
    running = await run(dead_time=0.0, resolution=(64, 48))
    async with running.client.post(
        "/api/captures", json={"max_age": 0}, headers={"Idempotency-Key": "who-asked"}
    ) as answer:
        photo = await answer.json()
    snapshot = await running.service.store.get(photo["snapshot"])
    assert snapshot is not None
    assert snapshot.origin.request == "who-asked"
    assert snapshot.origin.settings == '{"camera":"test","dead_time":0.0,"resolution":[64,48]}'
    assert snapshot.origin.exposed_until is not None
    assert snapshot.captured_at <= snapshot.origin.exposed_until


# ---- one key, one photo


async def test_requests_with_one_key_get_one_photo_even_after_a_lost_connection(run: Run) -> None:
    running = await run(dead_time=0.0)
    running.camera.held = True
    headers = {"Idempotency-Key": "one-key"}
    first = asyncio.create_task(running.client.post("/api/captures", json={"max_age": 0}, headers=headers))
    await running.camera.exposing.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(running.client.post("/api/captures", json={"max_age": 0}, headers=headers))
    async with running.watch() as viewer:
        await viewer.say(type="capture", max_age=0, request="one-key")
        reply = await viewer.read()
        await running.camera.release()
        ready = (await viewer.read_until("ready"))[-1]
    async with await second as answer:
        photo = await answer.json()
    assert photo["snapshot"] == ready["snapshot"]
    assert (reply["outcome"], photo["outcome"]) == ("joined", "joined")
    assert running.camera.captures == 1


def test_a_key_gets_its_photo_again_after_the_server_was_killed(serve: Serve) -> None:
    server = serve("--dead-time", "0")

    def press(key: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{server.url}/api/captures", data=b'{"max_age":0}', headers={"Idempotency-Key": key}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            photo: dict[str, Any] = json.load(answer)
            return photo

    first = press("before-the-kill")
    server.kill()
    server.start()
    again, other = press("before-the-kill"), press("another")
    assert (again["snapshot"], again["outcome"]) == (first["snapshot"], "cached")
    assert other["snapshot"] != first["snapshot"]
