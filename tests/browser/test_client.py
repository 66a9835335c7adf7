"""static/dog-client.js, which others import: photos, events, and what becomes of both when a connection dies."""

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

from tests.browser.conftest import PATIENCE, CommandedCamera, OpenWindow
from tests.browser.test_connection import HELLO
from tests.browser.test_live import UNREACHABLE, push, read_until, take_photo, take_photos
from tests.browser.windows import Window
from tests.conftest import Serve
from tests.support.cutting_proxy import start_proxy
from tests.support.server_process import ROOT, ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

DOCUMENT = ROOT / "docs" / "clients.md"
EMPTY = "/healthz"
"""A page of the service without a script, so that nothing but the test's client is connected."""

BEGIN = """async ([module, url, token]) => {
    const { DogClient } = await import(module);
    window.heard = [];
    window.ends = [];
    window.asked = []; // the client's state each time that it asked for its token
    const give = async (fails) => {
        if (asked.push(window.dog?.state) === 1 && fails) throw new Error("away");
        await new Promise((resolve) => setTimeout(resolve));
        return token[1];
    };
    const ways = { text: token?.[1], later: () => give(false), failing: () => give(true) };
    window.dog = new DogClient(url ?? undefined, token ? { token: ways[token[0]] } : undefined);
    const types = ["hello", "reply", "error", "capturing", "ready", "failed", "news", "missed", "statechange"];
    for (const type of types) dog.addEventListener(type, ({ detail }) => heard.push({ ...detail, type }));
    window.press = (wish) => dog.capture(wish).then(
        (photo) => ends.push({ photo }),
        ({ name, code = null, message, retryAfter = null }) => ends.push({ name, code, message, retryAfter }),
    );
}"""


class Visitor:
    """A window with a client of its own, and all that it hears."""

    def __init__(self, window: Window) -> None:
        self.window = window
        window.accepted.append(UNREACHABLE)

    @classmethod
    async def begin(
        cls,
        window: Window,
        *,
        module: str = "./static/dog-client.js",
        url: str | None = None,
        token: tuple[str, str] | None = None,
    ) -> "Visitor":
        """`token` is its text, and how the client is given it: BEGIN has the ways."""
        visitor = cls(window)
        await window.read(BEGIN, [module, url, token])
        return visitor

    async def wait_until(self, state: str) -> None:
        await self.window.page.wait_for_function("(state) => dog.state === state", arg=state, timeout=PATIENCE)

    async def press(self, **wish: Any) -> None:
        """Say it and don't wait for its end."""
        await self.window.read("(wish) => { press(wish); }", wish)

    async def wait_for_end(self, number: int = 0) -> dict[str, Any]:
        """What became of a press: `photo`, or the error's `name`, `code`, `message` and `retryAfter`."""
        await self.window.page.wait_for_function("(number) => ends.length > number", arg=number, timeout=PATIENCE)
        ended: dict[str, Any] = await self.window.read("(number) => ends[number]", number)
        return ended

    async def capture(self, **wish: Any) -> dict[str, Any]:
        photo: dict[str, Any] = await self.window.read("(wish) => dog.capture(wish)", wish)
        return photo

    async def heard(self, kind: str | None = None) -> list[dict[str, Any]]:
        heard: list[dict[str, Any]] = await self.window.read("() => heard")
        return [one for one in heard if kind in (None, one["type"])]

    async def wait_for(self, kind: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        """The event of this type, and with these fields, that makes `count` of them."""
        found = """([kind, count, fields]) => heard.filter((one) => one.type === kind
            && Object.entries(fields).every(([name, value]) => one[name] === value))[count - 1]"""
        handle = await self.window.page.wait_for_function(found, arg=[kind, count, fields], timeout=PATIENCE)
        event: dict[str, Any] = await handle.json_value()
        return event


async def list_photos(url: str) -> list[dict[str, Any]]:
    def read() -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{url}/api/snapshots?limit=200", timeout=30) as answer:
            photos: list[dict[str, Any]] = json.load(answer)["snapshots"]
            return photos

    return await asyncio.to_thread(read)


async def wait_for_viewers(script: ClientConnection, count: int) -> None:
    async with asyncio.timeout(30):
        while (await read_until(script, "viewers"))["count"] != count:
            pass


async def restart(serve: Serve, server: ServerProcess, *arguments: str) -> ServerProcess:
    """SIGKILL, and the same server again where it was."""
    await asyncio.to_thread(server.kill)
    return await asyncio.to_thread(serve, *arguments, "--port", str(server.port))


@pytest_asyncio.fixture(loop_scope="session")
async def visit(open_window: OpenWindow) -> Any:
    """`await visit(url)`: a visitor with a client of the server there."""

    async def begin(url: str) -> Visitor:
        return await Visitor.begin(await open_window(url + EMPTY))

    return begin


async def test_capture_resolves_with_the_photo_and_absolute_urls(serve: Serve, visit: Any) -> None:
    server = serve("--dead-time", "0")
    visitor = await visit(server.url)
    photo = await visitor.capture()
    (kept,) = await list_photos(server.url)
    for name in ("camera", "capture", "snapshot", "captured_at", "width", "height", "bytes", "content_type"):
        assert photo[name] == kept[name]
    for name in ("url", "page", "thumbnail"):
        assert photo[name] == server.url + kept[name]
    assert not {"type", "seq", "cursor", "at"} & photo.keys()
    assert photo["outcome"] == "started"
    assert photo["age"] >= 0
    read = "async (url) => [(await (await fetch(url)).blob()).size, (await fetch(url)).headers.get('content-type')]"
    assert await visitor.window.read(read, photo["url"]) == [photo["bytes"], photo["content_type"]]
    assert (await visitor.heard("ready"))[0]["url"] == photo["url"]

    # A fresh one serves the next, also a client that came later.
    later = await visit(server.url)
    await later.wait_for("hello")
    for one in (visitor, later):
        again = await one.capture(maxAge=3600)
        assert (again["snapshot"], again["url"], again["outcome"]) == (photo["snapshot"], photo["url"], "cached")

    # A key names one press, whoever says it: its photo need not be the latest.
    keyed = await visitor.capture(maxAge=0, request="the same")
    newest = await visitor.capture(maxAge=0)
    assert (await later.capture(maxAge=0, request="the same"))["snapshot"] == keyed["snapshot"]
    stranger = await visit(server.url)
    same = await stranger.capture(maxAge=0, request="the same")
    assert (same["snapshot"], same["page"]) == (keyed["snapshot"], keyed["page"])
    photos = await stranger.window.read("() => dog.snapshots({ limit: 2 })")
    assert [one["url"] for one in photos] == [newest["url"], keyed["url"]]
    assert len(await list_photos(server.url)) == 3


async def test_two_clients_receive_the_same_events_once_and_in_order(
    serve: Serve, camera: CommandedCamera, visit: Any
) -> None:
    server = serve("--camera", camera.setting, "--dead-time", "0")
    visitors = [await visit(server.url) for _ in range(2)]
    for visitor in visitors:
        await visitor.wait_for("hello")
    await visitors[0].press(maxAge=0)
    await camera.say("go")
    assert "photo" in await visitors[0].wait_for_end()
    await visitors[1].press(maxAge=0)
    await camera.say("fail")
    assert (await visitors[1].wait_for_end())["code"] == "camera_error"
    heard = []
    for visitor in visitors:
        await visitor.wait_for("failed")
        heard.append([one for one in await visitor.heard() if "seq" in one and one["type"] != "hello"])
    assert [one["type"] for one in heard[0]] == ["capturing", "ready", "capturing", "failed"]
    assert heard[0] == heard[1]


async def test_events_missed_during_a_disconnect_are_replayed_once(serve: Serve, visit: Any) -> None:
    server = serve("--dead-time", "0")
    async with start_proxy(server.port) as proxy:
        visitor = await visit(proxy.url)
        await visitor.wait_for("hello")
        taken = await take_photos(server.url, 2)
        await visitor.wait_for("ready", 2)
        for number in (2, 3):
            proxy.shut = True
            proxy.cut()
            await visitor.wait_for("statechange", number - 1, state="lost")
            taken = await take_photos(server.url, 2) + taken
            proxy.shut = False
            assert (await visitor.wait_for("hello", number))["recovered"]
            await visitor.wait_for("ready", len(taken))
        assert [one["snapshot"] for one in await visitor.heard("ready")] == [one["snapshot"] for one in taken][::-1]
        assert await visitor.heard("missed") == []
        states = [one["state"] for one in await visitor.heard("statechange")]
        assert states == ["live", "lost", "live", "lost", "live"]


async def test_client_misses_and_repeats_no_photo_after_a_server_kill(serve: Serve, visit: Any) -> None:
    server = serve("--dead-time", "0")
    async with start_proxy(server.port) as proxy:
        visitor = await visit(proxy.url)
        first = await visitor.wait_for("hello")
        known = [one["snapshot"] for one in await take_photos(server.url, 2)]
        since = (await visitor.wait_for("ready", 2))["cursor"]
        proxy.shut = True
        proxy.cut()
        await visitor.wait_for("statechange", state="lost")
        unheard = (await take_photo(server.url))["snapshot"]
        server = await restart(serve, server, "--dead-time", "0")
        proxy.shut = False
        hello = await visitor.wait_for("hello", 2)
        assert (hello["recovered"], hello["epoch"] > first["epoch"]) == (False, True)
        assert (await visitor.wait_for("missed"))["since"] == since
        assert hello["cameras"][0]["latest"]["snapshot"] == unheard
        photos = await visitor.window.read("() => dog.snapshots()")
        assert [one["snapshot"] for one in photos] == [unheard, *known]
        new = (await take_photo(server.url))["snapshot"]
        await visitor.wait_for("ready", 3)
        assert [one["snapshot"] for one in await visitor.heard("ready")] == [*known[::-1], new]
        assert len(await visitor.heard("missed")) == 1


async def test_capture_gets_its_result_after_a_disconnect_during_the_exposure(
    serve: Serve, camera: CommandedCamera, open_window: OpenWindow
) -> None:
    server = serve("--camera", camera.setting, "--dead-time", "0")
    said: list[Any] = []
    async with start_proxy(server.port) as proxy, push(server.url) as script:
        window = await open_window(proxy.url + EMPTY)
        window.page.on("websocket", lambda socket: socket.on("framesent", lambda frame: said.append(frame)))
        visitor = await Visitor.begin(window)
        await visitor.wait_for("hello")
        for cut, (while_away, word) in enumerate([(True, "go"), (False, "go"), (True, "fail")], 1):
            await visitor.press(maxAge=0)
            await visitor.wait_for("reply", cut)
            await read_until(script, "capturing")
            proxy.shut = True
            proxy.cut()
            await visitor.wait_for("statechange", cut, state="lost")
            if while_away:
                await camera.say(word)
                await read_until(script, "ready" if word == "go" else "failed")
            proxy.shut = False
            assert (await visitor.wait_for("hello", 1 + cut))["recovered"]
            if not while_away:
                await camera.say(word)
            ended = await visitor.wait_for_end(cut - 1)
            assert ended["photo"]["outcome"] == "started" if word == "go" else ended["code"] == "camera_error"
        photos = await list_photos(server.url)
        assert [one["snapshot"] for one in await visitor.heard("ready")] == [one["snapshot"] for one in photos][::-1]
        assert len(photos) == 2
        assert len(said) == 3  # one that was answered is not said again: it would be a new press where it failed


async def test_unanswered_capture_request_is_repeated_and_takes_one_photo(
    serve: Serve, open_window: OpenWindow
) -> None:
    server = serve("--dead-time", "0")
    said: list[dict[str, Any]] = []
    routes: list[WebSocketRoute] = []

    async def swallow_what_the_first_says(route: WebSocketRoute) -> None:
        routes.append(route)
        first = len(routes) == 1
        server_side = route.connect_to_server()

        def hear(message: str | bytes) -> None:
            said.append(json.loads(message))
            server_side.send(message)

        def tell(message: str | bytes) -> None:
            if not first or json.loads(message)["type"] == "hello":
                route.send(message)

        route.on_message(hear)
        server_side.on_message(tell)

    window = await open_window(server.url + EMPTY)
    await window.page.route_web_socket("**/ws*", swallow_what_the_first_says)
    visitor = await Visitor.begin(window)
    await visitor.wait_for("hello")
    async with push(server.url) as script:
        await visitor.press(maxAge=0)
        ready = await read_until(script, "ready")
    await routes[0].close(code=1012)
    ended = await visitor.wait_for_end()
    assert (ended["photo"]["snapshot"], ended["photo"]["outcome"]) == (ready["snapshot"], "cached")
    assert [one["type"] for one in said] == ["capture", "capture"]
    assert said[0] == said[1]
    assert [one["snapshot"] for one in await list_photos(server.url)] == [ready["snapshot"]]


async def test_queued_capture_is_served_after_a_server_kill(serve: Serve, visit: Any) -> None:
    server = serve("--dead-time", "3600")
    await take_photo(server.url)
    visitor = await visit(server.url)
    await visitor.wait_for("hello")
    await visitor.press(maxAge=0)
    assert (await visitor.wait_for("reply"))["outcome"] == "queued"
    await restart(serve, server, "--dead-time", "0")
    photo = (await visitor.wait_for_end())["photo"]
    assert photo["outcome"] == "queued"
    photos = await list_photos(server.url)
    assert (len(photos), photos[0]["snapshot"]) == (2, photo["snapshot"])


async def test_repeated_request_gets_the_photo_that_a_killed_server_had_saved(
    serve: Serve, open_window: OpenWindow
) -> None:
    server = serve("--dead-time", "0")
    routes: list[WebSocketRoute] = []

    async def swallow_what_the_first_says(route: WebSocketRoute) -> None:
        routes.append(route)
        first = len(routes) == 1
        server_side = route.connect_to_server()
        server_side.on_message(lambda message: route.send(message) if not first or '"hello"' in str(message) else None)

    window = await open_window(server.url + EMPTY)
    await window.page.route_web_socket("**/ws*", swallow_what_the_first_says)
    await window.page.clock.install()
    visitor = await Visitor.begin(window)
    await visitor.wait_for("hello")
    async with push(server.url) as script:
        await visitor.press(maxAge=0)
        ready = await read_until(script, "ready")
    await window.page.clock.fast_forward(5000)  # no machine is so slow to tell the next server
    await restart(serve, server, "--dead-time", "0")
    ended = await visitor.wait_for_end()
    assert (ended["photo"]["snapshot"], ended["photo"]["outcome"]) == (ready["snapshot"], "cached")
    assert len(await list_photos(server.url)) == 1


async def test_failed_capture_rejects_with_the_reason_and_retry_time(
    serve: Serve, camera: CommandedCamera, visit: Any
) -> None:
    server = serve("--camera", camera.setting, "--dead-time", "0")
    visitor = await visit(server.url)
    await visitor.press(camera="nowhere")
    ended = await visitor.wait_for_end()
    assert (ended["name"], ended["code"]) == ("DogError", "unknown_camera")
    assert "'nowhere'" in ended["message"]
    for number, age in enumerate(("-1", "NaN", "Infinity"), 1):
        await visitor.window.read(f"() => press({{ maxAge: {age} }})")
        assert (await visitor.wait_for_end(number))["name"] == "RangeError"
    await visitor.press()
    await camera.say("fail")
    ended = await visitor.wait_for_end(4)
    assert (ended["code"], "3" in ended["message"]) == ("camera_error", True)
    camera.program.rename(camera.program.with_suffix(".gone"))
    await visitor.press()
    ended = await visitor.wait_for_end(5)
    assert (ended["code"], ended["retryAfter"] > 0) == ("camera_offline", True)
    for url in ("ftp://camera.example", "http://"):
        complaint = "(url) => { try { new dog.constructor(url); } catch (error) { return error.name; } }"
        assert await visitor.window.read(complaint, url) == "TypeError"


async def test_rate_limited_captures_reject_and_earlier_ones_keep_their_photo(serve: Serve, visit: Any) -> None:
    server = serve("--message-burst", "5", "--message-rate", "0.01")
    visitor = await visit(server.url)
    await visitor.wait_for("hello")
    said = """() => Promise.all(Array.from({ length: 10 }, () => dog.capture().then(
        ({ snapshot }) => snapshot,
        ({ code, retryAfter }) => retryAfter > 0 && code,
    )))"""
    ends = await visitor.window.read(said)
    (photo,) = await list_photos(server.url)
    served = ends.count(photo["snapshot"])
    assert served in (4, 5)  # where the answer to a ping took a place
    assert ends == [photo["snapshot"]] * served + ["rate_limited"] * (10 - served)


async def test_closed_client_does_not_reconnect(serve: Serve, camera: CommandedCamera, open_window: OpenWindow) -> None:
    server = serve("--camera", camera.setting)
    window = await open_window(server.url + EMPTY)
    await window.page.clock.install()
    sockets: list[str] = []
    window.page.on("websocket", lambda socket: sockets.append(socket.url))
    visitor = await Visitor.begin(window)
    async with push(server.url) as script:
        await wait_for_viewers(script, 2)
        await visitor.press()
        await visitor.wait_for("capturing")
        await window.read("() => { dog.close(); dog.close(); }")
        await wait_for_viewers(script, 1)
        await camera.say("go")
        await read_until(script, "ready")
    assert (await visitor.wait_for_end())["code"] == "closed"
    await visitor.press()
    assert (await visitor.wait_for_end(1))["code"] == "closed"
    await window.read("() => { dispatchEvent(new Event('online')); }")
    await window.page.clock.run_for(60_000)
    assert await window.read("() => dog.state") == "closed"
    assert len(sockets) == 1
    assert (await visitor.heard())[-1] == {"type": "statechange", "state": "closed"}
    assert await visitor.heard("ready") == []


async def test_aborted_capture_rejects_and_is_not_repeated(
    serve: Serve, camera: CommandedCamera, open_window: OpenWindow
) -> None:
    server = serve("--camera", camera.setting, "--dead-time", "0")
    said: list[str] = []
    async with start_proxy(server.port) as proxy, push(server.url) as script:
        window = await open_window(proxy.url + EMPTY)
        window.page.on(
            "websocket", lambda socket: socket.on("framesent", lambda frame: said.append(json.loads(frame)["request"]))
        )
        visitor = await Visitor.begin(window)
        await visitor.wait_for("hello")
        await window.read("() => press({ request: 'never', signal: AbortSignal.abort() })")
        assert (await visitor.wait_for_end())["name"] == "AbortError"
        aborted = """() => {
            window.aborting = new AbortController();
            for (const request of ["half-way", "also"]) press({ request, signal: aborting.signal });
        }"""
        await window.read(aborted)
        await read_until(script, "capturing")
        await window.read("() => aborting.abort(new Error('no more'))")
        for number in (1, 2):
            assert (await visitor.wait_for_end(number))["message"] == "no more"
        proxy.shut = True
        proxy.cut()
        await visitor.wait_for("statechange", state="lost")
        await window.read("() => press({ request: 'unsaid', signal: AbortSignal.timeout(0) })")
        assert (await visitor.wait_for_end(3))["name"] == "TimeoutError"
        await visitor.press(request="waits")
        proxy.shut = False
        await visitor.wait_for("reply", request="waits")
        for _ in ("half-way", "waits"):
            await camera.say("go")
            ready = await read_until(script, "ready")
        assert (await visitor.wait_for_end(4))["photo"]["snapshot"] == ready["snapshot"]
        assert said == ["half-way", "also", "waits"]
        assert len(await list_photos(server.url)) == 2


async def test_unknown_events_are_passed_on_and_invalid_messages_ignored(
    idle_server: ServerProcess, open_window: OpenWindow
) -> None:
    news = json.dumps({"type": "news", "seq": 4, "cursor": "7-4", "text": "There is a new camera."})
    strange = ["no JSON", "null", "7", "[]", "{}", '{"type":7}', '{"type":"toString"}', '{"type":"pong"}']
    refusal = json.dumps({"type": "error", "code": "unknown_type", "message": "What?", "temporary": False})
    routes: list[WebSocketRoute] = []

    async def tell(route: WebSocketRoute) -> None:
        routes.append(route)
        if len(routes) == 2:
            await route.close(code=4403)
            return
        for message in (json.dumps(HELLO), *strange, refusal, news, news):
            route.send(message)
        route.send(json.dumps({"type": "news", "text": "Not numbered."}))

    window = await open_window(idle_server.url + EMPTY)
    await window.page.route_web_socket("**/ws*", tell)
    visitor = await Visitor.begin(window)
    await visitor.wait_for("news", 2)
    assert [one["text"] for one in await visitor.heard("news")] == ["There is a new camera.", "Not numbered."]
    assert len(await visitor.heard("error")) == 1
    assert await window.read("() => dog.state") == "live"

    # Who is refused is told so, and so are the presses that wait.
    await visitor.press()
    await routes[0].close(code=1012)
    assert (await visitor.wait_for_end())["code"] == "forbidden"
    assert (await visitor.heard())[-1] == {"type": "statechange", "state": "refused", "code": 4403}
    assert "since=7-4" in routes[1].url


async def test_client_finds_the_server_of_its_module_below_a_prefix(serve: Serve, open_window: OpenWindow) -> None:
    server = serve()
    async with start_proxy(server.port, prefix="/dog") as proxy:
        window = await open_window(f"{proxy.url}/dog{EMPTY}")
        window.accepted.append("404")  # the browser's own wish for an icon
        visitor = await Visitor.begin(window, module="/dog/static/dog-client.js")
        assert await window.read("() => dog.url") == f"{proxy.url}/dog/"
        photo = await visitor.capture()
        assert photo["url"].startswith(f"{proxy.url}/dog/snapshots/")
        assert await window.read("async (url) => (await fetch(url)).status", photo["url"]) == 200


async def test_page_of_another_site_connects_only_if_origins_lists_it(
    serve: Serve, site: str, open_window: OpenWindow, tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir()
    open_server, closed_server = serve("--origins", site), serve(cwd=tmp_path / "closed")
    visitor = await Visitor.begin(await open_window(site), module="./dog-client.js", url=open_server.url)
    photo = await visitor.capture()
    shown = """async (url) => {
        const image = new Image();
        image.src = url;
        await image.decode();
        return [image.naturalWidth, image.naturalHeight];
    }"""
    assert await visitor.window.read(shown, photo["url"]) == [photo["width"], photo["height"]]
    stranger = await Visitor.begin(await open_window(site), module="./dog-client.js", url=closed_server.url)
    await stranger.press()
    await stranger.wait_for("statechange", state="lost")
    assert await stranger.heard("hello") == []
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
    visitor = await Visitor.begin(window, module=module)
    photo = await visitor.capture()
    assert photo["url"].startswith(f"{server.url}/snapshots/")
    # First as an image, which a browser keeps, and then its bytes: that one was told not to mix the two up.
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
