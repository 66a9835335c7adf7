"""Text is compressed; images and events are not."""

import gzip
from typing import Any

import aiohttp
import aiohttp_jinja2
import pytest
from aiohttp.test_utils import make_mocked_request

from dog.web.handlers.static_files import ASSETS
from dog.web.http.compression import MIN_COMPRESSED_BYTES, accepts_gzip
from tests.conftest import Run
from tests.support.running import Running


async def fetch(running: Running, path: str, accepted: str, **options: Any) -> tuple[aiohttp.ClientResponse, bytes]:
    """Fetch a path, without decompressing its body."""
    headers = {"Accept-Encoding": accepted, **options.pop("headers", {})}
    method = options.pop("method", "GET")
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, running.url + path, headers=headers) as answer,
    ):
        return answer, await answer.read()


@pytest.mark.parametrize(
    "path", ["/", "/snapshots", "/api", "/api/openapi.json", "/metrics", "/static/live.js", "ASSET"]
)
@pytest.mark.parametrize("origins", [(), ("https://blog.example",)])
async def test_text_is_compressed_for_clients_that_accept_it(run: Run, path: str, origins: tuple[str, ...]) -> None:
    running = await run(origins=origins)
    aiohttp_jinja2.get_env(running.app).globals["now"] = lambda: "2026-11-30T12:00:00.000Z"  # in every page
    path = path.replace("ASSET", f"/{running.app[ASSETS].find_url('page.css')}")
    plain, text = await fetch(running, path, "br, identity")
    packed, data = await fetch(running, path, "br, GZIP;q=0.5")
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(data) < len(text) / 2
    if path != "/metrics":  # they change
        assert gzip.decompress(data) == text
    for answer in plain, packed:
        assert answer.headers["Vary"].split(", ") == [*(["Origin"] if origins else []), "Accept-Encoding"]
        assert answer.headers["Content-Type"] == plain.headers["Content-Type"]
        assert "Content-Security-Policy" in answer.headers
    head, nothing = await fetch(running, path, "gzip", method="HEAD")
    assert (nothing, head.headers["Content-Encoding"]) == (b"", "gzip")
    if path != "/metrics":
        assert head.headers["Content-Length"] == str(len(data))


async def test_compressed_files_have_their_own_etag_and_no_ranges(run: Run) -> None:
    running = await run()
    path = f"/{running.app[ASSETS].find_url('live-page.js')}"
    plain, text = await fetch(running, path, "identity")
    packed, data = await fetch(running, path, "gzip")
    assert plain.headers["ETag"] != packed.headers["ETag"]
    for accepted, answer, body in ("identity", plain, text), ("gzip", packed, data):
        tag = {"If-None-Match": answer.headers["ETag"]}
        assert (await fetch(running, path, accepted, headers=tag))[0].status == 304
        part, some = await fetch(running, path, accepted, headers={"Range": "bytes=10-19"})
        assert (part.status, some, "Content-Encoding" in part.headers) == (206, text[10:20], False)
        assert len(body) == int(answer.headers["Content-Length"])
    other, _ = await fetch(running, path, "identity", headers={"If-None-Match": packed.headers["ETag"]})
    assert other.status == 200


async def test_images_and_short_texts_are_not_compressed(run: Run) -> None:
    running = await run()
    async with running.client.post("/api/captures") as answer:
        photo = await answer.json()
    for path in photo["url"], photo["thumbnail"], "/latest.jpg", "/healthz", "/nothing", "/static/icon-192.png":
        answer, data = await fetch(running, path, "gzip")
        assert "Content-Encoding" not in answer.headers, path
        assert "image" in answer.content_type or len(data) < MIN_COMPRESSED_BYTES


async def test_events_are_not_compressed(run: Run) -> None:
    running = await run()
    async with running.client.get("/events", headers={"Accept-Encoding": "gzip"}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert (await answer.content.readline()).startswith((b":", b"event:", b"id:", b"retry:"))


@pytest.mark.parametrize(
    ("accepted", "accepts"),
    [
        *((text, True) for text in ("gzip", "deflate, gzip;q=1.0, *;q=0.5", "br,gzip ; q=0.001", "*", "x, *;q=0.1")),
        *((text, False) for text in ("", "identity", "gzip;q=0", "gzip;q=0.000, *", "*;q=0", "xgzip", "gzipped", "br")),
    ],
)
def test_accept_encoding_is_read_by_rfc_9110(accepted: str, accepts: bool) -> None:
    assert accepts_gzip(make_mocked_request("GET", "/", {"Accept-Encoding": accepted})) is accepts
