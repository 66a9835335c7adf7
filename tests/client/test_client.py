"""The client library, with the real server and with stand-ins."""

import asyncio
import datetime as dt
import gzip
import hashlib
import io
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web
from PIL import Image

from dog.client import (
    AddressError,
    CameraChanged,
    CaptureFailed,
    Capturing,
    Client,
    Failed,
    Forbidden,
    Hello,
    Lost,
    Missed,
    PhotoDamaged,
    PhotoGone,
    PushEvent,
    Ready,
    Refused,
    Removed,
    Unreachable,
    Viewers,
)
from dog.client.http import parse_server_url, retry_delays
from tests.conftest import Serve
from tests.support.camera_programs import write_script, write_waiting_camera
from tests.support.cutting_proxy import start_proxy
from tests.support.messages import make_body, make_hello
from tests.support.ports import find_free_port
from tests.support.raw_requests import delete
from tests.support.server_process import ROOT, ServerProcess, clean_environment

EventT = TypeVar("EventT", bound=PushEvent)


async def read_until(events: AsyncIterator[PushEvent], kind: type[EventT]) -> tuple[EventT, list[PushEvent]]:
    """Return the next event of this kind, and the events before it.

    Counts of viewers are left out.
    """
    before: list[PushEvent] = []
    async for event in events:
        if isinstance(event, kind):
            return event, before
        if not isinstance(event, Viewers):
            before.append(event)
    raise AssertionError("the events ended")


async def list_ids(dog: Client) -> list[str]:
    return [photo.id async for photo in dog.snapshots()]


# ---- photos


async def test_capture_returns_a_photo_with_its_image(serve: Serve, tmp_path: Path) -> None:
    before = dt.datetime.now(dt.UTC) - dt.timedelta(milliseconds=1)
    async with Client(serve().url) as dog:
        photo = await dog.capture(max_age=0, camera="main")
        assert before <= photo.captured_at <= dt.datetime.now(dt.UTC)
        assert (photo.camera, photo.content_type, photo.suffix) == ("main", "image/jpeg", "jpg")
        assert photo.size == (photo.body.width, photo.body.height)
        assert photo.url == photo.address == f"{dog.url}/snapshots/{photo.id}.jpg"
        assert photo.page == f"{dog.url}/snapshots/{photo.id}"
        assert photo.thumbnail == dog.url + photo.body.thumbnail
        picture = await photo.read()
        assert len(picture) == photo.bytes
        await photo.save(tmp_path / photo.name)
        assert (tmp_path / photo.name).read_bytes() == picture
        assert re.fullmatch(r"\d{8}T\d{6}\.\d{3}Z_main_[a-z2-7]{24}\.jpg", photo.name)
        assert await list_ids(dog) == [photo.id]
        assert (await dog.capture(max_age=60)).id == photo.id


async def test_a_copy_of_a_photo_has_the_width(serve: Serve, tmp_path: Path) -> None:
    async with Client(serve().url) as dog:
        photo = await dog.capture()
        assert photo.size == (1280, 720)
        with Image.open(io.BytesIO(await photo.read(width=640))) as copy:
            assert copy.size == (640, 360)
        name = photo.scaled_name(640)
        assert name == photo.name.replace(".jpg", "-640.jpg")
        await photo.save(tmp_path / name, width=640)
        assert (tmp_path / name).read_bytes() == await photo.read(width=640)
        for width in 1280, 1920, 2560, None:
            assert await photo.read(width=width) == await photo.read()
            assert photo.scaled_name(width) == photo.name
        for width in 0, 320, 641:
            with pytest.raises(ValueError, match="width must be one of 640, 1280, 1920, 2560"):
                await photo.read(width=width)


async def test_save_replaces_a_file_only_with_overwrite_and_leaves_no_temporary_file(
    serve: Serve, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "mine.jpg").write_text("mine")
    (folder / "link.jpg").symlink_to("mine.jpg")
    async with Client(serve().url) as dog:
        photo = await dog.capture()
        for name in ("mine.jpg", "link.jpg"):
            with pytest.raises(FileExistsError):
                await photo.save(folder / name)
        assert (folder / "mine.jpg").read_text() == "mine"
        await photo.save(folder / "link.jpg", overwrite=True)
        assert (folder / "link.jpg").is_symlink()
        assert (folder / "mine.jpg").read_bytes() == await photo.read()
        (folder / "pipe").unlink(missing_ok=True)
        os.mkfifo(folder / "pipe")
        with pytest.raises(FileExistsError):
            await photo.save(folder / "pipe", overwrite=True)
    assert {file.name for file in folder.iterdir()} == {"mine.jpg", "link.jpg", "pipe"}


async def test_a_capture_whose_connection_is_lost_takes_one_photo(serve: Serve, tmp_path: Path) -> None:
    server = serve("--camera", write_waiting_camera(tmp_path))
    async with start_proxy(server.port) as proxy, Client(server.url) as other_client, Client(proxy.url) as dog:
        await dog.cameras()
        events = other_client.events()
        await read_until(events, Hello)
        pressing = asyncio.create_task(dog.capture(max_age=0))  # as another request, it would take another photo
        capturing, _ = await read_until(events, Capturing)
        accepted = proxy.accepted
        proxy.cut()
        await proxy.wait_for(accepted + 1)
        await asyncio.to_thread((tmp_path / "go").write_text, "now\n")
        photo = await pressing
        assert photo.capture == capturing.capture
        await other_client.capture(max_age=60)  # after any other capture
        assert await list_ids(other_client) == [photo.id]


async def test_errors_of_a_camera_or_server_are_raised_with_their_message(serve: Serve, tmp_path: Path) -> None:
    script = write_script(tmp_path, "echo broken >&2; exit 3")
    async with Client(serve("--camera", f"script:{script}").url) as dog:
        with pytest.raises(CaptureFailed) as failed:
            await dog.capture()
        assert failed.value.code == "camera_error"
        with pytest.raises(Refused, match="no camera 'nope'") as refused:
            await dog.capture(camera="nope")
        assert refused.value.code == "unknown_camera"
        for wrong in (-1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="max_age"):
                await dog.capture(max_age=wrong)


async def test_a_captured_photo_has_its_outcome_and_age(serve: Serve) -> None:
    async with Client(serve("--dead-time", "0").url) as dog:
        first = await dog.capture(max_age=0)
        again = await dog.capture(max_age=60)
        assert (first.outcome, again.outcome) == ("started", "cached")
        assert first.age is not None
        assert again.age is not None
        assert 0 <= first.age <= again.age
        keyed = [await dog.capture(max_age=0, request="one press") for _ in range(2)]
        assert keyed[0].id == keyed[1].id != first.id


async def test_a_deleted_photo_is_reported_and_raises_photo_gone(serve: Serve) -> None:
    server = serve()
    async with Client(server.url) as dog:
        photo = await dog.capture()
        events = dog.events()
        await read_until(events, Hello)
        await asyncio.to_thread(delete, server, photo.id)
        removed, _ = await read_until(events, Removed)
        assert (removed.snapshots, removed.reason) == ([photo.id], "deleted")
        with pytest.raises(PhotoGone) as gone:
            await photo.read()
        assert gone.value.code == "gone_snapshot"
        assert await list_ids(dog) == []


# ---- events


async def test_events_are_typed_ordered_and_resume_after_a_lost_connection(serve: Serve) -> None:
    server = serve("--dead-time", "0")
    async with start_proxy(server.port) as proxy, Client(server.url) as other_client, Client(proxy.url) as dog:
        events = dog.events()
        hello, before = await read_until(events, Hello)
        assert before == []
        assert not hello.recovered
        first = await other_client.capture(max_age=0)
        ready, before = await read_until(events, Ready)
        assert [type(event) for event in before] == [Capturing]
        assert dog.photo(ready).id == first.id
        proxy.shut = True
        proxy.cut()
        await read_until(events, Lost)
        missed = [await other_client.capture(max_age=0) for _ in range(3)]
        proxy.shut = False
        back, before = await read_until(events, Hello)
        assert before == []
        assert back.recovered
        seen: list[str] = []
        seq = ready.seq
        while len(seen) < 3:
            event, before = await read_until(events, Ready)
            for one in (*before, event):
                seq += 1
                assert isinstance(one, Capturing | Ready)
                assert one.seq == seq
            seen.append(event.snapshot)
        assert seen == [photo.id for photo in missed]


async def test_a_silent_connection_is_replaced(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.client.push.READ_TIMEOUT", 0.2)
    async with start_proxy(serve().port) as proxy, Client(proxy.url) as dog:
        events = dog.events()
        await read_until(events, Hello)
        proxy.deaf = True
        await read_until(events, Lost)
        proxy.deaf = False
        assert (await read_until(events, Hello))[0].recovered


async def test_events_after_a_restart_of_the_server_include_missed(serve: Serve) -> None:
    server = serve("--dead-time", "0")
    async with Client(server.url) as dog:
        events = dog.events()
        await read_until(events, Hello)
        photo = await dog.capture(max_age=0)
        ready, _ = await read_until(events, Ready)
        await asyncio.to_thread(server.kill)
        await read_until(events, Lost)
        server = await asyncio.to_thread(serve, "--dead-time", "0", "--port", str(server.port))
        hello, _ = await read_until(events, Hello)
        missed, before = await read_until(events, Missed)
        assert (hello.recovered, missed.since, before) == (False, ready.cursor, [])
        assert hello.cameras[0].latest is not None
        assert dog.photo(hello.cameras[0].latest).id == photo.id
        again = await dog.capture(max_age=0)
        ready, _ = await read_until(events, Ready)
        assert ready.snapshot == again.id


async def test_events_resume_after_an_earlier_cursor(serve: Serve) -> None:
    async with Client(serve("--dead-time", "0").url) as dog:
        events = dog.events()
        hello, _ = await read_until(events, Hello)
        photo = await dog.capture(max_age=0)
        again = dog.events(since=hello.cursor)
        assert (await read_until(again, Hello))[0].recovered
        ready, before = await read_until(again, Ready)
        assert ready.snapshot == photo.id
        assert [type(event) for event in before] == [Capturing]


async def test_a_slow_reader_loses_no_events(serve: Serve) -> None:
    async with Client(serve("--dead-time", "0").url) as dog:
        events = dog.events()
        await read_until(events, Hello)
        taken = [(await dog.capture(max_age=0)).id for _ in range(5)]
        assert [(await read_until(events, Ready))[0].snapshot for _ in taken] == taken


# ---- wrong or unreachable servers


def test_server_urls_are_parsed_as_users_write_them() -> None:
    for text, whole in {
        "camera.local:8080": "http://camera.local:8080",
        "http://camera.local:8080/": "http://camera.local:8080",
        "https://example.org/cam/": "https://example.org/cam",
        "[::1]:8080": "http://[::1]:8080",
    }.items():
        assert str(parse_server_url(text)).rstrip("/") == whole


@pytest.mark.parametrize(
    "text", ["", "ftp://a", "http://", "http://a b", "http://a:99999", "http://a/?x=1", "a:b:c", "http:///x", "a\n"]
)
def test_an_invalid_server_url_is_named_in_the_error(text: str) -> None:
    with pytest.raises(AddressError, match=r"is not the URL of a server. Write one such as http://camera\.local:8080"):
        Client(text)


def test_a_password_in_a_url_is_not_displayed() -> None:
    assert "s3cret" not in Client("http://me:s3cret@127.0.0.1:1").url
    with pytest.raises(AddressError) as error:
        Client("http://me:s3cret@a b")
    assert "s3cret" not in str(error.value)


async def test_a_server_below_a_prefix_is_used(serve: Serve) -> None:
    async with start_proxy(serve().port, prefix="/cam") as proxy, Client(f"{proxy.url}/cam/") as dog:
        events = dog.events()
        await read_until(events, Hello)
        photo = await dog.capture()
        assert photo.url == f"{proxy.url}/cam/snapshots/{photo.id}.jpg"
        assert len(await photo.read()) == photo.bytes
        assert (await read_until(events, Ready))[0].snapshot == photo.id


async def test_a_server_with_another_base_url_is_used_at_the_clients_url(serve: Serve) -> None:
    async with Client(serve("--open", "--base-url", "https://dog.example.org/cam").url) as dog:
        photo = await dog.capture()
        assert photo.url == f"https://dog.example.org/cam/snapshots/{photo.id}.jpg"
        assert len(await photo.read()) == photo.bytes


async def test_a_refused_connection_raises_unreachable_at_once() -> None:
    async with Client(f"127.0.0.1:{find_free_port()}", timeout=None) as dog:
        with pytest.raises(Unreachable, match=r"connection refused\. Check the URL"):
            await dog.capture()
        with pytest.raises(Unreachable, match="connection refused"):
            await anext(aiter(dog.events()))


async def test_a_server_that_does_not_respond_raises_unreachable_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        async with Client(f"127.0.0.1:{deaf.getsockname()[1]}", timeout=0.2) as dog:
            with pytest.raises(Unreachable, match=r"did not respond in 0\.2 s"):
                await dog.capture()


StandIn = Callable[..., Any]


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    """Start a server with one handler: `url = await stand_in(handler)`."""
    runners = []

    async def start(handler: Callable[[web.Request], Any]) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def first_event(url: str) -> PushEvent:
    async with Client(url) as dog:
        async for event in dog.events():
            return event
    raise AssertionError("there was no event")


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_another_http_server_is_not_a_dog_server(status: int, stand_in: StandIn) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="<html>Welcome!</html>", status=status)

    url = await stand_in(answer)
    async with Client(url) as dog:
        for call in (dog.capture(), dog.cameras(), list_ids(dog), first_event(url)):
            with pytest.raises(Unreachable, match=r"is not a D\.O\.G\. server"):
                await call


async def test_a_redirect_names_the_new_url(stand_in: StandIn) -> None:
    async def answer(_request: web.Request) -> web.Response:
        raise web.HTTPMovedPermanently("https://dog.example.org/")

    async with Client(await stand_in(answer)) as dog:
        with pytest.raises(AddressError, match=r"redirects to https://dog\.example\.org/. Use that URL"):
            await dog.capture()


@pytest.mark.parametrize("code", [4401, 4403, 401, 403])
async def test_a_forbidden_client_does_not_reconnect(code: int, stand_in: StandIn) -> None:
    connections = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal connections
        connections += 1
        if code < 1000:
            return web.Response(status=code)
        response = web.WebSocketResponse()
        await response.prepare(request)
        await response.send_json(make_hello())
        await response.close(code=code)
        return response

    async with Client(await stand_in(answer)) as dog:
        with pytest.raises(Forbidden, match=str(code)):
            await read_until(dog.events(), Lost)
    assert connections == 1


async def test_unknown_messages_are_ignored_and_repeats_are_dropped(stand_in: StandIn) -> None:
    requested = []
    common = {"at": "2026-11-22T11:14:38.123Z", "camera": "main"}

    def number(seq: int, **fields: object) -> dict[str, object]:
        return common | {"seq": seq, "cursor": f"7-{seq}"} | fields

    async def answer(request: web.Request) -> web.StreamResponse:
        requested.append(request.query.get("since"))
        response = web.WebSocketResponse()
        await response.prepare(request)
        if len(requested) == 1:
            await response.send_json(make_hello(mood="fine"))
            await response.send_json({"type": "sung", "song": 1})
            await response.send_json(number(1, type="capturing", capture=1, flash=True))
            await response.send_json(number(2, type="zoomed", factor=2))
            await response.close(code=1012)
        else:
            await response.send_json(make_hello(recovered=True, seq=0))
            await response.send_json(number(1, type="capturing", capture=1))
            await response.send_json(number(2, type="zoomed", factor=2))
            await response.send_json(number(3, type="failed", capture=1, code="timeout", message="No."))
            await response.send_json(number(4, type="camera", state="offline", reason="gone"))
            await response.send_json(number(5, type="capturing", capture="a word"))
            await response.receive()
        return response

    async with Client(await stand_in(answer)) as dog:
        events = dog.events()
        received = [await anext(events) for _ in range(7)]
    assert [type(event) for event in received] == [Hello, Capturing, Lost, Hello, Failed, CameraChanged, Missed]
    assert requested == [None, "7-2"]


async def test_a_capture_is_retried_with_its_key_while_a_proxy_reports_an_error(stand_in: StandIn) -> None:
    keys = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response({"cameras": []})
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) < 3:
            return web.Response(status=502, text="<html>Bad Gateway</html>")
        return web.json_response(make_body(1), status=201)

    async with Client(await stand_in(answer)) as dog:
        await dog.cameras()
        assert (await dog.capture()).capture == 1
    assert len(keys) == 3
    assert len(set(keys)) == 1


async def test_an_endless_response_is_aborted(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.client.photos.MAX_IMAGE_BYTES", 2**20)
    ended: asyncio.Queue[bool] = asyncio.Queue()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return web.json_response(make_body(1), status=201)
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(2**16))
        finally:
            ended.put_nowait(True)

    async with Client(await stand_in(answer)) as dog:
        photo = await dog.capture()
        with pytest.raises(Unreachable, match=r"more than 1 MiB, and is not a D\.O\.G\. server"):
            await photo.read()
        assert await ended.get()
        with pytest.raises(Unreachable, match=r"more than 8 MiB, and is not a D\.O\.G\. server"):
            await dog.cameras()


async def test_a_compressed_response_is_refused(stand_in: StandIn) -> None:
    requested = []

    async def answer(request: web.Request) -> web.StreamResponse:
        requested.append(request.headers["Accept-Encoding"])
        return web.Response(body=gzip.compress(b'{"cameras":[]}'), headers={"Content-Encoding": "gzip"})

    async with Client(await stand_in(answer)) as dog:
        with pytest.raises(Unreachable, match=r"is not a D\.O\.G\. server"):
            await dog.cameras()
    assert requested == ["identity"]


async def test_json_that_is_too_deep_is_refused(stand_in: StandIn) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text='{"cameras":[],"more":' + "[" * 100_000, content_type="application/json")

    async with Client(await stand_in(answer)) as dog:
        with pytest.raises(Unreachable, match=r"is not a D\.O\.G\. server"):
            await dog.cameras()


PICTURE = b"a picture"
SHA256 = hashlib.sha256(PICTURE).hexdigest()


@pytest.mark.parametrize(
    ("wrong", "metadata"), [(b"a picturE", {"sha256": SHA256}), (b"a pict", {"sha256": SHA256}), (b"a pict", {})]
)
@pytest.mark.parametrize("times", [2, 3])
async def test_a_damaged_image_is_fetched_again_and_then_refused(
    wrong: bytes, metadata: dict[str, str], times: int, stand_in: StandIn
) -> None:
    given: list[bytes] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return web.json_response(make_body(1, bytes=len(PICTURE), **metadata), status=201)
        given.append(wrong if len(given) < times else PICTURE)
        return web.Response(body=given[-1], content_type="image/jpeg")

    async with Client(await stand_in(answer)) as dog:
        photo = await dog.capture()
        if times == 2:
            assert await photo.read() == PICTURE
        else:
            with pytest.raises(PhotoDamaged, match=r"^snapshots/p1\.jpg of .+ arrived damaged 3 times"):
                await photo.read()
    assert len(given) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"captured_at": "9999-12-31T23:59:59-05:00"},
        {"captured_at": "yesterday"},
        {"url": "http://[/"},
        {"bytes": "many"},
    ],
)
async def test_an_invalid_photo_is_refused(wrong: dict[str, object], stand_in: StandIn) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(make_body(1, **wrong), status=201)

    async with Client(await stand_in(answer)) as dog:
        with pytest.raises(Unreachable, match=r"is not a D\.O\.G\. server"):
            await dog.capture()


def test_retry_delays_grow_to_20_seconds_with_full_jitter() -> None:
    waits = [wait for _, wait in zip(range(300), retry_delays(), strict=False)]
    for number, wait in enumerate(waits):
        assert 0 <= wait <= min(20, 0.5 * 2**number)
    assert max(waits) > 10
    assert min(waits[10:]) < 10


async def test_a_list_continues_when_its_photos_are_deleted(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.client.client.PAGE_SIZE", 2)
    server = serve("--dead-time", "0")
    async with Client(server.url) as dog:
        newest, last, next_page, *older = [(await dog.capture(max_age=0)).id for _ in range(6)][::-1]
        listed: list[str] = []
        async for photo in dog.snapshots():
            listed.append(photo.id)
            if photo.id == last:
                for gone in newest, last, next_page:  # all of the first page
                    await asyncio.to_thread(delete, server, gone)
        assert listed == [newest, last, *older]
        assert [photo.id async for photo in dog.snapshots(before=last)] == older
        with pytest.raises(PhotoGone) as unknown:
            await anext(dog.snapshots(before="a" * 24))
    assert unknown.value.code == "unknown_snapshot"


async def test_a_hostile_name_is_sanitized(stand_in: StandIn) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        body = make_body(1, camera="../$(reboot)", snapshot="../../etc/passwd", content_type="text/html")
        return web.json_response(body, status=201)

    async with Client(await stand_in(answer)) as dog:
        photo = await dog.capture()
    assert re.fullmatch(r"[\w.-]+", photo.name)
    assert photo.name.endswith(".bin")


async def test_no_name_is_an_option_of_a_command(stand_in: StandIn) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response(make_body(1, camera="-rf", snapshot="--help"), status=201)

    async with Client(await stand_in(answer)) as dog:
        photo = await dog.capture()
    assert (photo.camera, photo.id) == ("_-rf", "_--help")


def test_the_client_imports_only_shared_modules_of_the_service(tmp_path: Path) -> None:
    code = "import sys, dog.client; print(*sys.modules)"
    environment = clean_environment({"PYTHONPATH": str(ROOT)})
    ended = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, check=True)
    loaded = set(ended.stdout.decode().split())
    ours = {name.split(".")[1] for name in loaded if name.startswith("dog.")}
    assert ours == {"client", "errors", "files", "protocol", "redaction"}
    assert not loaded & {"PIL", "jinja2", "click", "rich", "prometheus_client", "sqlite3"}


async def test_an_image_is_fetched_while_the_server_restarts(serve: Serve) -> None:
    server: ServerProcess = serve()
    async with Client(server.url) as dog:
        photo = await dog.capture()
        await asyncio.to_thread(server.kill)
        reading = asyncio.create_task(photo.read())
        await asyncio.to_thread(serve, "--port", str(server.port))
        assert len(await reading) == photo.bytes
