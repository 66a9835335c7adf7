"""static/dog-client.js: captures, events, recovery of lost connections."""

import asyncio
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import WebSocketRoute, expect
from websockets.asyncio.client import ClientConnection

from tests.browser.conftest import CommandedCamera, OpenWindow
from tests.conftest import Serve
from tests.support.browser_pages import UNREACHABLE
from tests.support.client_window import DOCUMENT, EMPTY, ClientWindow
from tests.support.cutting_proxy import start_proxy
from tests.support.messages import make_hello
from tests.support.pushes import open_push, receive, take_photo, take_photos
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def list_photos(url: str) -> list[dict[str, Any]]:
    def read() -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{url}/api/snapshots?limit=200", timeout=30) as answer:
            photos: list[dict[str, Any]] = json.load(answer)["snapshots"]
            return photos

    return await asyncio.to_thread(read)


async def wait_for_viewers(script: ClientConnection, count: int) -> None:
    async with asyncio.timeout(30):
        while (await receive(script, "viewers"))["count"] != count:
            pass


async def restart(serve: Serve, server: ServerProcess, *arguments: str) -> ServerProcess:
    """Kill the server by SIGKILL, and start it again on its port."""
    await asyncio.to_thread(server.kill)
    return await asyncio.to_thread(serve, *arguments, "--port", str(server.port))


@pytest_asyncio.fixture(loop_scope="session")
async def open_client(open_window: OpenWindow) -> Any:
    """`await open_client(url)`: a window with a client of that server."""

    async def start(url: str) -> ClientWindow:
        return await ClientWindow.start(await open_window(url + EMPTY))

    return start


async def test_capture_resolves_with_the_photo_and_absolute_urls(serve: Serve, open_client: Any) -> None:
    server = serve("--dead-time", "0")
    client = await open_client(server.url)
    photo = await client.capture()
    (kept,) = await list_photos(server.url)
    for name in ("camera", "capture", "snapshot", "captured_at", "width", "height", "bytes", "content_type"):
        assert photo[name] == kept[name]
    for name in ("url", "page", "thumbnail"):
        assert photo[name] == server.url + kept[name]
    assert not {"type", "seq", "cursor", "at"} & photo.keys()
    assert photo["outcome"] == "started"
    assert photo["age"] >= 0
    read = "async (url) => [(await (await fetch(url)).blob()).size, (await fetch(url)).headers.get('content-type')]"
    assert await client.window.read(read, photo["url"]) == [photo["bytes"], photo["content_type"]]
    assert (await client.received("ready"))[0]["url"] == photo["url"]

    # A fresh photo serves later requests, also of another client.
    later = await open_client(server.url)
    await later.wait_for("hello")
    for one in (client, later):
        again = await one.capture(maxAge=3600)
        assert (again["snapshot"], again["url"], again["outcome"]) == (photo["snapshot"], photo["url"], "cached")

    # A repeated key returns the same photo to every client, also if it is not the latest.
    keyed = await client.capture(maxAge=0, request="the same")
    newest = await client.capture(maxAge=0)
    assert (await later.capture(maxAge=0, request="the same"))["snapshot"] == keyed["snapshot"]
    stranger = await open_client(server.url)
    same = await stranger.capture(maxAge=0, request="the same")
    assert (same["snapshot"], same["page"]) == (keyed["snapshot"], keyed["page"])
    photos = await stranger.window.read("() => dog.snapshots({ limit: 2 })")
    assert [one["url"] for one in photos] == [newest["url"], keyed["url"]]
    assert len(await list_photos(server.url)) == 3


async def test_two_clients_receive_the_same_events_once_and_in_order(
    serve: Serve, camera: CommandedCamera, open_client: Any
) -> None:
    server = serve("--camera", camera.setting, "--dead-time", "0")
    clients = [await open_client(server.url) for _ in range(2)]
    for client in clients:
        await client.wait_for("hello")
    await clients[0].press(maxAge=0)
    await camera.command("go")
    assert "photo" in await clients[0].wait_for_end()
    await clients[1].press(maxAge=0)
    await camera.command("fail")
    assert (await clients[1].wait_for_end())["code"] == "camera_error"
    received = []
    for client in clients:
        await client.wait_for("failed")
        received.append([one for one in await client.received() if "seq" in one and one["type"] != "hello"])
    assert [one["type"] for one in received[0]] == ["capturing", "ready", "capturing", "failed"]
    assert received[0] == received[1]


async def test_events_missed_during_a_disconnect_are_replayed_once(serve: Serve, open_client: Any) -> None:
    server = serve("--dead-time", "0")
    async with start_proxy(server.port) as proxy:
        client = await open_client(proxy.url)
        await client.wait_for("hello")
        taken = await take_photos(server.url, 2)
        await client.wait_for("ready", 2)
        for number in (2, 3):
            proxy.shut = True
            proxy.cut()
            await client.wait_for("statechange", number - 1, state="lost")
            taken = await take_photos(server.url, 2) + taken
            proxy.shut = False
            assert (await client.wait_for("hello", number))["recovered"]
            await client.wait_for("ready", len(taken))
        assert [one["snapshot"] for one in await client.received("ready")] == [one["snapshot"] for one in taken][::-1]
        assert await client.received("missed") == []
        states = [one["state"] for one in await client.received("statechange")]
        assert states == ["live", "lost", "live", "lost", "live"]


async def test_client_misses_and_repeats_no_photo_after_a_server_kill(serve: Serve, open_client: Any) -> None:
    server = serve("--dead-time", "0")
    async with start_proxy(server.port) as proxy:
        client = await open_client(proxy.url)
        first = await client.wait_for("hello")
        known = [one["snapshot"] for one in await take_photos(server.url, 2)]
        since = (await client.wait_for("ready", 2))["cursor"]
        proxy.shut = True
        proxy.cut()
        await client.wait_for("statechange", state="lost")
        unheard = (await take_photo(server.url))["snapshot"]
        server = await restart(serve, server, "--dead-time", "0")
        proxy.shut = False
        hello = await client.wait_for("hello", 2)
        assert (hello["recovered"], hello["epoch"] > first["epoch"]) == (False, True)
        assert (await client.wait_for("missed"))["since"] == since
        assert hello["cameras"][0]["latest"]["snapshot"] == unheard
        photos = await client.window.read("() => dog.snapshots()")
        assert [one["snapshot"] for one in photos] == [unheard, *known]
        new = (await take_photo(server.url))["snapshot"]
        await client.wait_for("ready", 3)
        assert [one["snapshot"] for one in await client.received("ready")] == [*known[::-1], new]
        assert len(await client.received("missed")) == 1


async def test_capture_gets_its_result_after_a_disconnect_during_the_exposure(
    serve: Serve, camera: CommandedCamera, open_window: OpenWindow
) -> None:
    server = serve("--camera", camera.setting, "--dead-time", "0")
    sent: list[Any] = []
    async with start_proxy(server.port) as proxy, open_push(server.url) as script:
        window = await open_window(proxy.url + EMPTY)
        window.page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
        client = await ClientWindow.start(window)
        await client.wait_for("hello")
        for cut, (while_away, word) in enumerate([(True, "go"), (False, "go"), (True, "fail")], 1):
            await client.press(maxAge=0)
            await client.wait_for("reply", cut)
            await receive(script, "capturing")
            proxy.shut = True
            proxy.cut()
            await client.wait_for("statechange", cut, state="lost")
            if while_away:
                await camera.command(word)
                await receive(script, "ready" if word == "go" else "failed")
            proxy.shut = False
            assert (await client.wait_for("hello", 1 + cut))["recovered"]
            if not while_away:
                await camera.command(word)
            ended = await client.wait_for_end(cut - 1)
            assert ended["photo"]["outcome"] == "started" if word == "go" else ended["code"] == "camera_error"
        photos = await list_photos(server.url)
        assert [one["snapshot"] for one in await client.received("ready")] == [one["snapshot"] for one in photos][::-1]
        assert len(photos) == 2
        assert len(sent) == 3  # an answered request is not repeated: after a failure it would be a new one


async def test_unanswered_capture_request_is_repeated_and_takes_one_photo(
    serve: Serve, open_window: OpenWindow
) -> None:
    server = serve("--dead-time", "0")
    sent: list[dict[str, Any]] = []
    routes: list[WebSocketRoute] = []

    async def drop_replies_to_the_first(route: WebSocketRoute) -> None:
        routes.append(route)
        first = len(routes) == 1
        server_side = route.connect_to_server()

        def on_client_message(message: str | bytes) -> None:
            sent.append(json.loads(message))
            server_side.send(message)

        def on_server_message(message: str | bytes) -> None:
            if not first or json.loads(message)["type"] == "hello":
                route.send(message)

        route.on_message(on_client_message)
        server_side.on_message(on_server_message)

    window = await open_window(server.url + EMPTY)
    await window.page.route_web_socket("**/ws*", drop_replies_to_the_first)
    client = await ClientWindow.start(window)
    await client.wait_for("hello")
    async with open_push(server.url) as script:
        await client.press(maxAge=0)
        ready = await receive(script, "ready")
    await routes[0].close(code=1012)
    ended = await client.wait_for_end()
    assert (ended["photo"]["snapshot"], ended["photo"]["outcome"]) == (ready["snapshot"], "cached")
    assert [one["type"] for one in sent] == ["capture", "capture"]
    assert sent[0] == sent[1]
    assert [one["snapshot"] for one in await list_photos(server.url)] == [ready["snapshot"]]


async def test_queued_capture_is_served_after_a_server_kill(serve: Serve, open_client: Any) -> None:
    server = serve("--dead-time", "3600")
    await take_photo(server.url)
    client = await open_client(server.url)
    await client.wait_for("hello")
    await client.press(maxAge=0)
    assert (await client.wait_for("reply"))["outcome"] == "queued"
    await restart(serve, server, "--dead-time", "0")
    photo = (await client.wait_for_end())["photo"]
    assert photo["outcome"] == "queued"
    photos = await list_photos(server.url)
    assert (len(photos), photos[0]["snapshot"]) == (2, photo["snapshot"])


async def test_repeated_request_gets_the_photo_that_a_killed_server_had_saved(
    serve: Serve, open_window: OpenWindow
) -> None:
    server = serve("--dead-time", "0")
    routes: list[WebSocketRoute] = []

    async def drop_replies_to_the_first(route: WebSocketRoute) -> None:
        routes.append(route)
        first = len(routes) == 1
        server_side = route.connect_to_server()
        server_side.on_message(lambda message: route.send(message) if not first or '"hello"' in str(message) else None)

    window = await open_window(server.url + EMPTY)
    await window.page.route_web_socket("**/ws*", drop_replies_to_the_first)
    await window.page.clock.install()
    client = await ClientWindow.start(window)
    await client.wait_for("hello")
    async with open_push(server.url) as script:
        await client.press(maxAge=0)
        ready = await receive(script, "ready")
    await window.page.clock.fast_forward(5000)  # long enough for a new epoch
    await restart(serve, server, "--dead-time", "0")
    ended = await client.wait_for_end()
    assert (ended["photo"]["snapshot"], ended["photo"]["outcome"]) == (ready["snapshot"], "cached")
    assert len(await list_photos(server.url)) == 1


async def test_failed_capture_rejects_with_the_reason_and_retry_time(
    serve: Serve, camera: CommandedCamera, open_client: Any
) -> None:
    server = serve("--camera", camera.setting, "--dead-time", "0")
    client = await open_client(server.url)
    await client.press(camera="nowhere")
    ended = await client.wait_for_end()
    assert (ended["name"], ended["code"]) == ("DogError", "unknown_camera")
    assert "'nowhere'" in ended["message"]
    for number, age in enumerate(("-1", "NaN", "Infinity"), 1):
        await client.window.read(f"() => press({{ maxAge: {age} }})")
        assert (await client.wait_for_end(number))["name"] == "RangeError"
    await client.press()
    await camera.command("fail")
    ended = await client.wait_for_end(4)
    assert (ended["code"], "3" in ended["message"]) == ("camera_error", True)
    camera.program.rename(camera.program.with_suffix(".gone"))
    await client.press()
    ended = await client.wait_for_end(5)
    assert (ended["code"], ended["retryAfter"] > 0) == ("camera_offline", True)
    for url in ("ftp://camera.example", "http://"):
        complaint = "(url) => { try { new dog.constructor(url); } catch (error) { return error.name; } }"
        assert await client.window.read(complaint, url) == "TypeError"


async def test_rate_limited_captures_reject_and_earlier_ones_keep_their_photo(serve: Serve, open_client: Any) -> None:
    server = serve("--message-burst", "5", "--message-rate", "0.01")
    client = await open_client(server.url)
    await client.wait_for("hello")
    sent = """() => Promise.all(Array.from({ length: 10 }, () => dog.capture().then(
        ({ snapshot }) => snapshot,
        ({ code, retryAfter }) => retryAfter > 0 && code,
    )))"""
    ends = await client.window.read(sent)
    (photo,) = await list_photos(server.url)
    served = ends.count(photo["snapshot"])
    assert served in (4, 5)  # 4 if a ping used a token
    assert ends == [photo["snapshot"]] * served + ["rate_limited"] * (10 - served)


async def test_closed_client_does_not_reconnect(serve: Serve, camera: CommandedCamera, open_window: OpenWindow) -> None:
    server = serve("--camera", camera.setting)
    window = await open_window(server.url + EMPTY)
    await window.page.clock.install()
    sockets: list[str] = []
    window.page.on("websocket", lambda socket: sockets.append(socket.url))
    client = await ClientWindow.start(window)
    async with open_push(server.url) as script:
        await wait_for_viewers(script, 2)
        await client.press()
        await client.wait_for("capturing")
        await window.read("() => { dog.close(); dog.close(); }")
        await wait_for_viewers(script, 1)
        await camera.command("go")
        await receive(script, "ready")
    assert (await client.wait_for_end())["code"] == "closed"
    await client.press()
    assert (await client.wait_for_end(1))["code"] == "closed"
    await window.read("() => { dispatchEvent(new Event('online')); }")
    await window.page.clock.run_for(60_000)
    assert await window.read("() => dog.state") == "closed"
    assert len(sockets) == 1
    assert (await client.received())[-1] == {"type": "statechange", "state": "closed"}
    assert await client.received("ready") == []


async def test_aborted_capture_rejects_and_is_not_repeated(
    serve: Serve, camera: CommandedCamera, open_window: OpenWindow
) -> None:
    server = serve("--camera", camera.setting, "--dead-time", "0")
    sent: list[str] = []
    async with start_proxy(server.port) as proxy, open_push(server.url) as script:
        window = await open_window(proxy.url + EMPTY)
        window.page.on(
            "websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(json.loads(frame)["request"]))
        )
        client = await ClientWindow.start(window)
        await client.wait_for("hello")
        await window.read("() => press({ request: 'never', signal: AbortSignal.abort() })")
        assert (await client.wait_for_end())["name"] == "AbortError"
        aborted = """() => {
            window.aborting = new AbortController();
            for (const request of ["half-way", "also"]) press({ request, signal: aborting.signal });
        }"""
        await window.read(aborted)
        await receive(script, "capturing")
        await window.read("() => aborting.abort(new Error('no more'))")
        for number in (1, 2):
            assert (await client.wait_for_end(number))["message"] == "no more"
        proxy.shut = True
        proxy.cut()
        await client.wait_for("statechange", state="lost")
        await window.read("() => press({ request: 'unsaid', signal: AbortSignal.timeout(0) })")
        assert (await client.wait_for_end(3))["name"] == "TimeoutError"
        await client.press(request="waits")
        proxy.shut = False
        await client.wait_for("reply", request="waits")
        for _ in ("half-way", "waits"):
            await camera.command("go")
            ready = await receive(script, "ready")
        assert (await client.wait_for_end(4))["photo"]["snapshot"] == ready["snapshot"]
        assert sent == ["half-way", "also", "waits"]
        assert len(await list_photos(server.url)) == 2


async def test_unknown_events_are_passed_on_and_invalid_messages_ignored(
    idle_server: ServerProcess, open_window: OpenWindow
) -> None:
    news = json.dumps({"type": "news", "seq": 4, "cursor": "7-4", "text": "There is a new camera."})
    strange = ["no JSON", "null", "7", "[]", "{}", '{"type":7}', '{"type":"toString"}', '{"type":"pong"}']
    refusal = json.dumps({"type": "error", "code": "unknown_type", "message": "What?", "temporary": False})
    routes: list[WebSocketRoute] = []

    async def on_server_message(route: WebSocketRoute) -> None:
        routes.append(route)
        if len(routes) == 2:
            await route.close(code=4403)
            return
        for message in (json.dumps(make_hello(role="manage")), *strange, refusal, news, news):
            route.send(message)
        route.send(json.dumps({"type": "news", "text": "Not numbered."}))

    window = await open_window(idle_server.url + EMPTY)
    await window.page.route_web_socket("**/ws*", on_server_message)
    client = await ClientWindow.start(window)
    await client.wait_for("news", 2)
    assert [one["text"] for one in await client.received("news")] == ["There is a new camera.", "Not numbered."]
    assert len(await client.received("error")) == 1
    assert await window.read("() => dog.state") == "live"

    # A refusal is reported, and waiting captures reject.
    await client.press()
    await routes[0].close(code=1012)
    assert (await client.wait_for_end())["code"] == "forbidden"
    assert (await client.received())[-1] == {"type": "statechange", "state": "refused", "code": 4403}
    assert "since=7-4" in routes[1].url


async def test_client_finds_the_server_of_its_module_below_a_prefix(serve: Serve, open_window: OpenWindow) -> None:
    server = serve()
    async with start_proxy(server.port, prefix="/dog") as proxy:
        window = await open_window(f"{proxy.url}/dog{EMPTY}")
        window.accepted.append("404")  # the browser's request for an icon
        client = await ClientWindow.start(window, module="/dog/static/dog-client.js")
        assert await window.read("() => dog.url") == f"{proxy.url}/dog/"
        photo = await client.capture()
        assert photo["url"].startswith(f"{proxy.url}/dog/snapshots/")
        assert await window.read("async (url) => (await fetch(url)).status", photo["url"]) == 200


async def test_page_of_another_site_connects_only_if_origins_lists_it(
    serve: Serve, site: str, open_window: OpenWindow, tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir()
    open_server, closed_server = serve("--origins", site), serve(cwd=tmp_path / "closed")
    client = await ClientWindow.start(await open_window(site), module="./dog-client.js", url=open_server.url)
    photo = await client.capture()
    shown = """async (url) => {
        const image = new Image();
        image.src = url;
        await image.decode();
        return [image.naturalWidth, image.naturalHeight];
    }"""
    assert await client.window.read(shown, photo["url"]) == [photo["width"], photo["height"]]
    stranger = await ClientWindow.start(await open_window(site), module="./dog-client.js", url=closed_server.url)
    stranger.window.accepted.append("blocked by CORS policy")  # it also tries Server-Sent Events
    await stranger.press()
    await stranger.wait_for("statechange", state="lost")
    assert await stranger.received("hello") == []
    assert await stranger.window.read("() => ends") == []
    assert await list_photos(closed_server.url) == []


async def test_example_in_the_docs_shows_photos_and_takes_one(serve: Serve, open_window: OpenWindow) -> None:
    found = re.search(r"^## In a browser$.*?```html\n(.*?)```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert found, "docs/clients.md has an example in its section `In a browser`"
    server = serve("--dead-time", "0")
    before = await take_photo(server.url)
    window = await open_window(server.url + EMPTY, bypass_csp=True)
    window.accepted.append(UNREACHABLE)
    await window.page.set_content(found[1].replace("https://camera.example", server.url))
    picture, status = window.page.get_by_role("img"), window.page.get_by_role("status")
    await expect(picture).to_have_attribute("src", server.url + before["url"])
    await window.page.get_by_role("button").click()
    await expect(status).to_contain_text("Taken at")
    own, _ = await list_photos(server.url)
    await expect(picture).to_have_attribute("src", server.url + own["url"])
    await expect(picture).to_have_js_property("complete", True)
    other = await take_photo(server.url)
    await expect(picture).to_have_attribute("src", server.url + other["url"])
    await expect(picture).to_have_js_property("complete", True)
    await asyncio.to_thread(server.kill)
    await expect(status).to_contain_text("lost")


async def test_listed_origin_imports_the_module_and_reads_photos(
    serve: Serve, site: str, open_window: OpenWindow
) -> None:
    server = serve("--origins", site)
    window = await open_window(site)
    module = f"{server.url}/static/dog-client.js"
    client = await ClientWindow.start(window, module=module)
    photo = await client.capture()
    assert photo["url"].startswith(f"{server.url}/snapshots/")
    # First as an image, then its bytes: the cache must not mix responses with and without CORS.
    read = """async ({ url }) => {
        const image = new Image();
        image.src = url;
        await image.decode();
        return (await (await fetch(url)).blob()).size;
    }"""
    assert await window.read(read, photo) == photo["bytes"]
    listed = await window.read("() => dog.snapshots()")
    assert [one["snapshot"] for one in listed] == [photo["snapshot"]]


async def test_unlisted_origin_reads_nothing(serve: Serve, site: str, open_window: OpenWindow) -> None:
    server = serve("--origins", "https://example.org")
    window = await open_window(site)
    window.accepted.append("CORS policy|Failed to load resource")
    read = "(url) => fetch(url).then(() => 'read', (error) => error.name)"
    for path in ("/static/dog-client.js", "/api/snapshots", "/api/cameras"):
        assert await window.read(read, server.url + path) == "TypeError"
