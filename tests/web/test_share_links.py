"""Share links: what they open and hide, and how they end."""

import asyncio
import datetime as dt
import hashlib
import io
import json
import re
import string
import tracemalloc
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from itsdangerous import Signer
from PIL import ExifTags, Image
from yarl import URL

from dog.protocol import parse_timestamp
from dog.web.handlers.share_links import make_signer
from dog.web.http.content import hash_content
from tests.conftest import Run, Serve
from tests.support.cameras import make_picture
from tests.support.index_files import change_facts, change_index
from tests.support.pictures import encode
from tests.support.running import Running
from tests.support.server_process import ServerProcess

PAGE = {"Accept": "text/html,*/*;q=0.8"}
WEEK = 7 * 24 * 3600
CAMERA_LABEL = 0xC7A1


async def take_photo(running: Running) -> dict[str, Any]:
    async with running.client.post("/api/captures", json={"max_age": 0}) as answer:
        photo: dict[str, Any] = await answer.json()
        return photo


async def create_link(running: Running, snapshot: str, **body: Any) -> dict[str, Any]:
    async with running.client.post(f"/api/snapshots/{snapshot}/links", json=body) as answer:
        assert answer.status == 201, await answer.text()
        link: dict[str, Any] = await answer.json()
        return link


async def list_links(running: Running, snapshot: str) -> list[dict[str, Any]]:
    async with running.client.get(f"/api/snapshots/{snapshot}/links") as answer:
        links: list[dict[str, Any]] = (await answer.json())["links"]
        return links


async def fetch(running: Running, path: str, method: str = "GET", **options: Any) -> tuple[int, str]:
    address = URL(str(running.client.make_url("/")).rstrip("/") + path, encoded=True)
    async with running.client.session.request(method, address, allow_redirects=False, **options) as answer:
        return answer.status, await answer.text(errors="replace")


async def expire_link(running: Running, link: str) -> None:
    """Change the share link's expiry in the index to a past time."""

    def expire(index: Any) -> None:
        with index.facts.synced_transaction():
            index.facts._database.execute("UPDATE shares SET expires_at = created_at - 1 WHERE id = ?", (link,))

    store = running.service.store
    await store._run(store._thread, store._album.write, expire)


# ---- creating, listing and revoking


async def test_share_link_lasts_a_week_or_for_expires_in(run: Run) -> None:
    running = await run()
    photo = await take_photo(running)
    async with running.client.post(f"/api/snapshots/{photo['snapshot']}/links") as answer:
        default = await answer.json()
        assert (answer.status, answer.headers["Location"]) == (201, default["url"])
    short = await create_link(running, photo["snapshot"], expires_in=60)
    assert list(default) == ["link", "url", "snapshot", "created_at", "expires_at"]
    for link, seconds in (default, WEEK), (short, 60):
        lives = parse_timestamp(link["expires_at"]) - parse_timestamp(link["created_at"])
        assert abs(lives.total_seconds() - seconds) < 1
        assert link["snapshot"] == photo["snapshot"]
        assert (await fetch(running, link["url"]))[0] == 200
    assert await list_links(running, photo["snapshot"]) == in_order(default, short)


def in_order(*links: dict[str, Any]) -> list[dict[str, Any]]:
    """Sort by creation; two links may have the same millisecond."""
    return sorted(links, key=lambda link: (link["created_at"], link["link"]))


async def test_list_has_the_share_links_of_one_photo_and_marks_expired_ones(run: Run) -> None:
    running = await run(dead_time=0.0)
    photo, other = await take_photo(running), await take_photo(running)
    links = [await create_link(running, photo["snapshot"]) for _ in range(3)]
    await create_link(running, other["snapshot"])
    await expire_link(running, links[1]["link"])
    assert await fetch(running, f"/api/links/{links[0]['link']}", "DELETE") == (204, "")
    found = await list_links(running, photo["snapshot"])
    assert [each["link"] for each in found] == [each["link"] for each in in_order(links[1], links[2])]
    assert {each["link"]: each.get("expired", False) for each in found} == {
        links[1]["link"]: True,
        links[2]["link"]: False,
    }


async def test_share_link_is_an_absolute_url_with_base_url(run: Run) -> None:
    running = await run(base_url="https://dog.example/cam")
    link = await create_link(running, (await take_photo(running))["snapshot"])
    assert link["url"].startswith("https://dog.example/cam/shared/")
    path = link["url"].removeprefix("https://dog.example/cam")
    status, page = await fetch(running, path)
    assert status == 200
    assert f'src="..{path}/picture.jpg"' in page, "relative, so that it works below a proxy's prefix"


@pytest.mark.parametrize(
    "body",
    [
        '{"expires_in": 59}',
        '{"expires_in": 31536001}',
        '{"expires_in": 59.9}',
        '{"expires_in": "3600"}',
        '{"expires_in": null}',
        '{"expires_in": 1e999}',
        '{"expires_in": NaN}',
        "[]",
        "{",
        b"\xff",
    ],
)
async def test_invalid_lifetime_of_a_share_link_is_an_error(run: Run, body: str | bytes) -> None:
    running = await run()
    photo = await take_photo(running)
    status, text = await fetch(running, f"/api/snapshots/{photo['snapshot']}/links", "POST", data=body)
    assert (status, json.loads(text)["code"] in ("bad_message", "bad_json")) == (400, True), text
    assert await list_links(running, photo["snapshot"]) == []


@pytest.mark.parametrize("seconds", [60, 60.5, 31536000.0])
async def test_share_link_lasts_between_a_minute_and_a_year(run: Run, seconds: float) -> None:
    running = await run()
    await create_link(running, (await take_photo(running))["snapshot"], expires_in=seconds)


async def test_unknown_photos_and_revoked_share_links_are_errors(run: Run) -> None:
    running = await run(dead_time=0.0)
    photo, gone = await take_photo(running), await take_photo(running)
    await fetch(running, f"/api/snapshots/{gone['snapshot']}", "DELETE")
    for method in "GET", "POST":
        for place in "/api/snapshots", "/snapshots":
            for snapshot, code in (
                ("a" * 24, "unknown_snapshot"),
                ("x", "unknown_snapshot"),
                (gone["snapshot"], "gone_"),
            ):
                status, text = await fetch(running, f"{place}/{snapshot}/links", method)
                assert (status, code in text) == (410 if code == "gone_" else 404, True), (method, place, snapshot)
    link = (await create_link(running, photo["snapshot"]))["link"]
    assert (await fetch(running, f"/api/links/{link}", "DELETE"))[0] == 204
    for again in link, "a" * 24, "x", "%00", photo["snapshot"]:
        status, text = await fetch(running, f"/api/links/{again}", "DELETE")
        assert (status, json.loads(text)["code"]) == (404, "unknown_link")


async def test_page_of_another_site_cannot_create_or_revoke_share_links(run: Run) -> None:
    running = await run()
    snapshot = (await take_photo(running))["snapshot"]
    link = await create_link(running, snapshot)
    for method, path in (
        ("POST", f"/api/snapshots/{snapshot}/links"),
        ("POST", f"/snapshots/{snapshot}/links"),
        ("POST", f"/snapshots/{snapshot}/links/{link['link']}/revoke"),
        ("DELETE", f"/api/links/{link['link']}"),
    ):
        status, _ = await fetch(running, path, method, headers={"Origin": "https://evil.example"})
        assert status == 403, path
    assert await list_links(running, snapshot) == [link]


async def test_page_creates_and_revokes_share_links_by_forms(run: Run) -> None:
    running = await run()
    snapshot = (await take_photo(running))["snapshot"]
    page = f"/snapshots/{snapshot}/links"
    async with running.client.get(f"/snapshots/{snapshot}") as answer:
        assert f'href="../snapshots/{snapshot}/links"' in await answer.text()
    async with running.client.post(page, data={"expires_in": "3600"}) as answer:
        assert (answer.status, answer.url.path, answer.history[0].status) == (200, page, 303)
        text = await answer.text()
    (link,) = await list_links(running, snapshot)
    assert f'href="{link["url"]}"' in text
    lives = parse_timestamp(link["expires_at"]) - parse_timestamp(link["created_at"])
    assert abs(lives - dt.timedelta(hours=1)) < dt.timedelta(seconds=1)
    action = re.search(r'action="\.\./\.\.(/[^"]*/revoke)"', text)
    assert action
    for _ in range(2):  # a repeated form is not an error
        async with running.client.post(action[1]) as answer:
            assert (answer.status, answer.url.path) == (200, page)
            assert "data-link" not in await answer.text()
    assert (await fetch(running, link["url"]))[0] == 410
    for wrong in "59", "1.5", "nan", "a week", "":
        status, text = await fetch(running, page, "POST", data={"expires_in": wrong})
        assert (status, "from a minute to a year" in text) == (400, True), wrong
    assert await list_links(running, snapshot) == []


# ---- the URLs of a share link


async def test_share_link_opens_a_page_with_one_photo_and_no_other_links(run: Run) -> None:
    running = await run()
    save, saved = running.service.store.save, dt.datetime(2026, 6, 1, 12, 30, 15, tzinfo=dt.UTC)
    snapshots = [
        await save(make_picture(size=(80, 60)), camera="shed", capture=n, captured_at=saved) for n in (701, 702, 703)
    ]
    shared = snapshots[1]
    link = await create_link(running, shared.id)
    async with running.client.get(link["url"], headers={**PAGE, "Cookie": f"dog_snapshot={shared.id}"}) as answer:
        page = await answer.text()
        headers = str(answer.headers)
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert answer.headers["X-Robots-Tag"] == "noindex"
        assert "Set-Cookie" not in answer.headers
    for shown in "2026-06-01 12:30:15 UTC", "80 × 60", "This link works until", link["expires_at"], "Download":
        assert shown in page
    for secret in (*(each.id for each in snapshots), *(each.sha256 for each in snapshots), "shed", "702", "snapshots"):
        assert secret not in page, secret
        assert secret not in headers, secret
    token = link["url"].removeprefix("/shared/")
    leads = set(re.findall(r'(?:href|src|action|content)="([^"]*/[^"]*)"', page))
    assert f"../shared/{token}/picture.jpg" in leads
    assert {lead for lead in leads if not lead.startswith("../static/")} == {f"../shared/{token}/picture.jpg"}


async def test_image_of_a_share_link_is_the_original_and_hides_the_snapshot_id(run: Run) -> None:
    running = await run()
    photo = await take_photo(running)
    link = await create_link(running, photo["snapshot"])
    picture = f"{link['url']}/picture.jpg"
    async with running.client.get(picture) as answer:
        assert (answer.status, answer.content_type) == (200, "image/jpeg")
        assert await answer.read() == make_picture()
        headers = answer.headers
    assert headers["Cache-Control"] == "private, max-age=0, must-revalidate"
    assert headers["X-Robots-Tag"] == "noindex"
    assert re.fullmatch(r'inline; filename="dog-\d{8}-\d{6}\.jpg"', headers["Content-Disposition"])
    assert photo["snapshot"] not in str(headers)
    for asked, status in ({"If-None-Match": headers["ETag"]}, 304), ({"Range": "bytes=0-3"}, 206):
        async with running.client.get(picture, headers=asked) as answer:
            assert answer.status == status
            assert photo["snapshot"] not in str(answer.headers)
            assert answer.headers["Cache-Control"].startswith("private")
    for path in link["url"], picture:
        async with running.client.head(path) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
            assert int(answer.headers["Content-Length"]) > 0


async def test_exif_of_a_shared_image_hides_the_snapshot_id_and_the_camera(run: Run) -> None:
    running = await run(exif=True)
    photo = await take_photo(running)
    secrets = (photo["snapshot"].encode(), photo["camera"].encode())
    async with running.client.get(photo["url"]) as answer:
        kept = await answer.read()
    assert all(secret in kept for secret in secrets)
    one, other = [await create_link(running, photo["snapshot"]) for _ in range(2)]
    picture = f"{one['url']}/picture.jpg"
    async with running.client.get(picture) as answer:
        data, tag = await answer.read(), answer.headers["ETag"]
        assert int(answer.headers["Content-Length"]) == len(data)
    assert not any(secret in data for secret in secrets)
    assert data[data.index(b"\xff\xdb") :] == kept[kept.index(b"\xff\xdb") :], "the compressed image is unchanged"
    exif, stamped = (Image.open(io.BytesIO(each)).getexif() for each in (data, kept))
    inner, stamped_inner = (each.get_ifd(ExifTags.IFD.Exif) for each in (exif, stamped))
    assert {ExifTags.Base.ImageDescription, CAMERA_LABEL} <= set(stamped)
    assert {ExifTags.Base.ImageDescription, CAMERA_LABEL}.isdisjoint(exif)
    assert inner[ExifTags.Base.ImageUniqueID] == one["link"]
    for tag_id in ExifTags.Base.DateTimeOriginal, ExifTags.Base.OffsetTimeOriginal, ExifTags.Base.SubsecTimeOriginal:
        assert inner[tag_id] == stamped_inner[tag_id]
    async with running.client.get(picture, headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304
    async with running.client.get(picture, headers={"Range": "bytes=-9", "If-Range": tag}) as answer:
        assert (answer.status, await answer.read()) == (206, data[-9:])
    async with running.client.get(f"{other['url']}/picture.jpg", headers={"If-None-Match": tag}) as answer:
        assert answer.status == 200, "its bytes differ"
        assert other["link"].encode() in await answer.read()


async def test_share_link_opens_only_its_own_photo(run: Run) -> None:
    running = await run(dead_time=0.0)
    photo, other = await take_photo(running), await take_photo(running)
    link = await create_link(running, photo["snapshot"])
    token = link["url"].removeprefix("/shared/")
    for path in (
        f"/shared/{photo['snapshot']}",
        f"/shared/{other['snapshot']}",
        f"/shared/{link['link']}",
        f"/shared/{token}/picture.png",
        f"/shared/{token}/picture",
        f"/shared/{token}/thumbnail.jpg",
        f"/shared/{token}/{other['snapshot']}.jpg",
        f"/shared/{token}%2f..%2f..%2fsnapshots",
        f"/shared/{token}/",
        f"/snapshots/{token}",
        f"/snapshots/{link['link']}",
        f"/api/snapshots/{link['link']}",
        "/shared/",
        "/shared",
    ):
        assert (await fetch(running, path))[0] == 404, path


# ---- forged share links


def alter_token(token: str) -> list[str]:
    """Return variants of the token: changed characters, and other damage."""
    digits = string.ascii_letters + string.digits + "-_"
    spoilt = [
        token[:at] + next(each for each in digits[at % 7 :] if each != old) + token[at + 1 :]
        for at, old in enumerate(token)
    ]
    last = [token[:-1] + digit for digit in digits if digit != token[-1]]
    head, signature = token.split(".")
    shapes = (
        token[:-1],
        token[:24],
        token[:25],
        token + "A",
        token + "=",
        f"{head}..{signature}",
        f".{signature}",
        f"{head.upper()}.{signature}",
        f"{head}.{signature[::-1]}",
        f"{signature}.{head}",
        f"%20{token}",
        f"{token}%00",
        f"{token}%0a",
        f"{token[:40]}%C3%A9{token[41:]}",
        "%00",
        "%ff",
        "." * 68,
        "a" * 4000,
    )
    return [*spoilt, *last, *shapes]


async def test_forged_share_link_is_rejected_without_reading_the_index(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await run(dead_time=0.0, login_attempts=10_000)
    photo, other = await take_photo(running), await take_photo(running)
    links = [await create_link(running, each["snapshot"]) for each in (photo, other)]
    tokens = [link["url"].removeprefix("/shared/") for link in links]
    (head, signature), (other_head, _) = (token.split(".") for token in tokens)
    secret = await running.service.store.secret()
    forged = [
        *alter_token(tokens[0]),
        f"{other_head}.{signature}",
        make_signer(b"another secret of thirty-two bytes").sign(head).decode(),
        make_signer(b"").sign(head).decode(),
        *(
            Signer(secret, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256).sign(head).decode()
            for salt in (None, "another")
        ),
    ]
    asked: list[str] = []
    find = running.service.store.find_share

    async def find_share(link: str) -> Any:
        asked.append(link)
        return await find(link)

    monkeypatch.setattr(running.service.store, "find_share", find_share)
    for token in forged:
        for path in f"/shared/{token}", f"/shared/{token}/picture.jpg":
            status, text = await fetch(running, path)
            assert (status, json.loads(text)["code"]) == (404, "unknown_link"), token
    assert asked == []
    for token in tokens:
        assert (await fetch(running, f"/shared/{token}"))[0] == 200
    assert asked == [link["link"] for link in links]


async def test_share_link_tokens_are_signed_and_unique(run: Run) -> None:
    running = await run()
    snapshot = (await take_photo(running))["snapshot"]
    tokens = [(await create_link(running, snapshot))["url"].removeprefix("/shared/") for _ in range(8)]
    assert len(set(tokens)) == 8
    assert all(re.fullmatch(r"[a-z2-7]{24}\.[\w-]{43}", token) for token in tokens)


# ---- the end of a share link


async def revoke(running: Running, link: dict[str, Any]) -> None:
    assert (await fetch(running, f"/api/links/{link['link']}", "DELETE"))[0] == 204


async def delete(running: Running, link: dict[str, Any]) -> None:
    assert (await fetch(running, f"/api/snapshots/{link['snapshot']}", "DELETE"))[0] == 204


async def expire(running: Running, link: dict[str, Any]) -> None:
    await expire_link(running, link["link"])


async def make_room(running: Running, _link: dict[str, Any]) -> None:
    for _ in range(2):
        await take_photo(running)


async def lose_file(running: Running, link: dict[str, Any]) -> None:
    snapshot = await running.service.store.get(link["snapshot"])
    assert snapshot is not None
    running.service.store.image_path(snapshot).unlink()


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (revoke, "It was revoked, or the photo was deleted."),
        (delete, "It was revoked, or the photo was deleted."),
        (make_room, "It was revoked, or the photo was deleted."),
        (expire, r"It expired at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC. Ask for a new one."),
    ],
)
async def test_ended_share_link_and_its_image_return_410_also_to_a_cache(
    run: Run, end: Callable[..., Any], words: str
) -> None:
    running = await run(dead_time=0.0, keep_photos=2, picture_cache=1)
    link = await create_link(running, (await take_photo(running))["snapshot"])
    picture = f"{link['url']}/picture.jpg"
    async with running.client.get(picture) as answer:
        held = {"If-None-Match": answer.headers["ETag"]}
    await end(running, link)
    for path in link["url"], picture:
        for method, headers in ("GET", {}), ("GET", held), ("HEAD", {}):
            async with running.client.request(method, path, headers=headers) as answer:
                assert answer.status == 410, (path, method, headers)
                assert answer.content_type == "application/problem+json"
                assert (answer.headers["X-Robots-Tag"], answer.headers["Cache-Control"]) == ("noindex", "no-store")
                if method == "GET":
                    problem = await answer.json()
                    assert problem["code"] == "gone_link"
                    assert re.match(words, problem["detail"])
        async with running.client.get(path, headers=PAGE) as answer:
            page = await answer.text()
            assert (answer.status, answer.content_type) == (410, "text/html")
            assert (answer.headers["X-Robots-Tag"], answer.headers["Cache-Control"]) == ("noindex", "no-store")
        assert re.search(words, page)
        assert "This link does not work" in page
        assert "<a" not in page, "it has no links"


async def test_slow_clients_of_share_links_hold_no_copy_of_the_image(run: Run) -> None:
    running = await run(exif=True, picture_cache=0)
    running.camera.results.append(encode(Image.effect_noise((2000, 2000), 60), quality=95))
    photo = await take_photo(running)
    links = [await create_link(running, photo["snapshot"]) for _ in range(5)]
    tracemalloc.start()
    try:
        connections = [await running.connect_slowly() for _ in links]
        for (_, writer), link in zip(connections, links, strict=True):
            writer.write(f"GET {link['url']}/picture.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        heads = [await reader.readuntil(b"\r\n\r\n") for reader, _ in connections]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < photo["bytes"] / 2, "five copies would be ten times as much"
    for (reader, writer), link, head in zip(connections, links, heads, strict=True):
        assert f'ETag: "{hash_content(link["link"].encode())}"'.encode() in head
        received = await reader.readexactly(photo["bytes"])
        assert link["link"].encode() in received
        assert photo["snapshot"].encode() not in received
        writer.close()


async def test_share_link_of_a_lost_image_file_returns_410(run: Run) -> None:
    running = await run(picture_cache=0)
    link = await create_link(running, (await take_photo(running))["snapshot"])
    await lose_file(running, link)
    status, text = await fetch(running, f"{link['url']}/picture.jpg")
    assert (status, json.loads(text)["code"]) == (410, "gone_link")


async def test_unknown_share_link_shows_a_page_without_links(run: Run) -> None:
    running = await run()
    for path in "/shared/x", "/shared/x/picture.jpg":
        status, page = await fetch(running, path, headers=PAGE)
        assert (status, "This link does not work" in page, "<a" in page) == (404, True, False)


async def test_revoking_a_share_link_keeps_others_to_the_same_photo(run: Run) -> None:
    running = await run()
    snapshot = (await take_photo(running))["snapshot"]
    one, other = [await create_link(running, snapshot) for _ in range(2)]
    await revoke(running, one)
    assert [(await fetch(running, link["url"]))[0] for link in (one, other)] == [410, 200]


async def test_page_of_one_photo_cannot_revoke_a_share_link_of_another(run: Run) -> None:
    running = await run(dead_time=0.0)
    photo, other = await take_photo(running), await take_photo(running)
    link = await create_link(running, other["snapshot"])
    status, text = await fetch(running, f"/snapshots/{photo['snapshot']}/links/{link['link']}/revoke", "POST")
    assert (status, json.loads(text)["code"]) == (404, "unknown_link")
    assert (await fetch(running, link["url"]))[0] == 200
    assert (await fetch(running, f"/snapshots/{other['snapshot']}/links/{link['link']}/revoke", "POST"))[0] == 303
    assert (await fetch(running, link["url"]))[0] == 410


async def test_share_link_is_revoked_once_by_simultaneous_requests(run: Run) -> None:
    running = await run()
    link = await create_link(running, (await take_photo(running))["snapshot"])
    statuses = await asyncio.gather(*(fetch(running, f"/api/links/{link['link']}", "DELETE") for _ in range(8)))
    assert sorted(status for status, _ in statuses) == [204] + [404] * 7


# ---- real processes


def send_request(
    server: ServerProcess, path: str, method: str = "GET", body: dict[str, Any] | None = None
) -> tuple[int, "Message[str, str]", bytes]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url.rstrip("/") + path, data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def share_new_photo(server: ServerProcess, **body: Any) -> dict[str, Any]:
    photo = json.loads(send_request(server, "/api/captures", "POST", {"max_age": 0})[2])
    link: dict[str, Any] = json.loads(
        send_request(server, f"/api/snapshots/{photo['snapshot']}/links", "POST", body)[2]
    )
    return link


def test_share_link_survives_a_kill_a_restart_and_a_rebuilt_index(serve: Serve, tmp_path: Path) -> None:
    server = serve("--dead-time", "0")
    link, revoked = share_new_photo(server), share_new_photo(server)
    picture = send_request(server, f"{link['url']}/picture.jpg")[2]
    send_request(server, f"/api/links/{revoked['link']}", "DELETE")
    server.kill()
    server = serve("--dead-time", "0")
    assert send_request(server, f"{link['url']}/picture.jpg")[2] == picture
    assert send_request(server, revoked["url"])[0] == 410
    assert server.stop() == 0
    change_index(tmp_path, "DROP TABLE images")
    server = serve("--dead-time", "0")
    assert "It is rebuilt from the photos" in server.stderr
    assert send_request(server, f"{link['url']}/picture.jpg")[2] == picture
    assert send_request(server, revoked["url"])[0] == 410
    assert share_new_photo(server)["url"] != link["url"]
    assert server.stop() == 0


def test_share_link_expires(serve: Serve, tmp_path: Path) -> None:
    server = serve("--dead-time", "0")
    short, other = share_new_photo(server, expires_in=60), share_new_photo(server)
    assert send_request(server, short["url"])[0] == 200
    assert server.stop() == 0
    change_facts(tmp_path, "UPDATE shares SET expires_at = expires_at - 60000 WHERE id = ?", short["link"])
    server = serve("--dead-time", "0")
    for path in short["url"], f"{short['url']}/picture.jpg":
        status, headers, body = send_request(server, path)
        assert (status, json.loads(body)["code"], headers["Cache-Control"]) == (410, "gone_link", "no-store")
    assert send_request(server, other["url"])[0] == 200
    (listed,) = json.loads(send_request(server, f"/api/snapshots/{short['snapshot']}/links")[2])["links"]
    assert listed["expired"] is True


def test_share_link_of_another_server_is_unknown(serve: Serve, tmp_path: Path) -> None:
    servers = []
    for name in "here", "there":
        (tmp_path / name).mkdir()
        servers.append(serve(cwd=tmp_path / name))
    links = [share_new_photo(server) for server in servers]
    assert [send_request(server, link["url"])[0] for server in servers for link in links] == [200, 404, 404, 200]


def test_standard_error_has_no_share_link_token(serve: Serve) -> None:
    server = serve()
    link = share_new_photo(server)
    send_request(server, link["url"])
    assert server.stop() == 0
    assert link["url"] not in server.stderr
