"""Attacks by pages of other sites (CSRF, CORS) and share link holders.

tests/browser/test_foreign.py does the same in a real browser. tests/web/test_host_check.py tests host names.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from websockets import Origin

from dog.web.apidocs.operation import FORM_TYPE, JSON
from dog.web.routes import OPERATIONS
from tests.attacks.conftest import KeepConnection
from tests.conftest import Run, Serve
from tests.support.accounts import add_token, add_user, bearer
from tests.support.operations import fill_path, operation_name
from tests.support.raw_requests import COOKIE, ENDLESS, HERE, Response, fetch, log_in, read_cookie, send, take_photo
from tests.support.server_process import ServerProcess

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
FOREIGN: tuple[str, ...] = (
    "https://evil.example",
    "null",
    "http://127.0.0.1",
    "http://127.0.0.1:1",
    "https://127.0.0.1:{port}",
    "http://localhost:{port}",
)
FOREIGN += (
    "http://127.0.0.1:{port}.evil.example",
    "http://evil.example:{port}",
    "file://",
    "",
    "http://127.0.0.1:{port}@evil.example",
)
FOREIGN += (
    "http://[::1]:{port}",
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1:{port}, https://evil.example",
    "http://127.1:{port}",
    "x",
)


def foreign_origins(server: ServerProcess) -> list[str]:
    return [each.format(port=server.port) for each in FOREIGN]


def get_handshake_status(server: ServerProcess, headers: dict[str, str]) -> int:
    """Return the status of a handshake."""
    lines = [f"{name}: {value}" for name, value in {"Host": f"{HERE}:{server.port}", **UPGRADE, **headers}.items()]
    response = send(server, "\r\n".join(("GET /ws HTTP/1.1", *lines, "", "")).encode(), b"\r\n\r\n")
    return int(response.split()[1])


@pytest.fixture
def logged_in(serve: Serve, tmp_path: Path) -> tuple[ServerProcess, dict[str, str]]:
    """Return a server, and the session cookie of a manager's browser."""
    add_user(tmp_path, "ada", "manage")
    server = serve("--auth", "--dead-time", "0")
    return server, {"Cookie": f"{COOKIE}={read_cookie(log_in(server))}"}


def count_photos(server: ServerProcess, credentials: dict[str, str]) -> int:
    return len(json.loads(fetch(server, "/api/snapshots", headers=credentials).body)["snapshots"])


def test_no_page_of_another_site_opens_the_push_with_its_visitors_cookie(
    logged_in: tuple[ServerProcess, dict[str, str]],
) -> None:
    server, cookie = logged_in
    for origin in foreign_origins(server):
        assert get_handshake_status(server, {**cookie, "Origin": origin}) == 403, origin
        assert get_handshake_status(server, {"Origin": origin}) == 403, origin
    assert get_handshake_status(server, cookie) == 403, "a cookie without an origin, as no browser sends it"
    assert get_handshake_status(server, {**cookie, "Origin": server.url}) == 101
    assert get_handshake_status(server, {}) == 101, "a script, which has to send a token next"


def test_no_page_of_another_site_changes_anything_with_its_visitors_cookie(
    logged_in: tuple[ServerProcess, dict[str, str]], keep_connection: KeepConnection
) -> None:
    """The page sends forms, simple fetches, and requests without an origin."""
    server, cookie = logged_in
    own: dict[str, str] = {**cookie, "Origin": server.url}
    photo = json.loads(fetch(server, "/api/captures", "POST", own).body)["snapshot"]
    page_headers: list[dict[str, str]] = [{"Origin": origin} for origin in foreign_origins(server)]
    page_headers += [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Referer": "https://evil.example/"},
        {},
    ]
    page_headers += [
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Referer": f"https://evil.example/?{server.url}/"},
    ]
    connection = keep_connection(server)
    for operation in OPERATIONS:
        if operation.method == "GET":
            continue
        path = fill_path(operation.path, id=photo)
        for page in page_headers:
            for kind, body in (
                (FORM_TYPE, b"pinned=yes&expires_in=3600&name=ada&password=x"),
                ("text/plain", b'{"max_age":0}'),
                (JSON, b"{}"),
            ):
                response = fetch(connection, path, operation.method, {**cookie, **page, "Content-Type": kind}, body)
                assert (response.status, "set-cookie" in response.headers) == (403, False), (
                    operation_name(operation),
                    page,
                    response,
                )
    assert count_photos(server, cookie) == 1
    [kept] = json.loads(fetch(server, "/api/snapshots", headers=cookie).body)["snapshots"]
    assert not kept["pinned"]
    assert json.loads(fetch(server, f"/api/snapshots/{photo}/links", headers=cookie).body) == {"links": []}
    assert fetch(server, "/?", "POST", own).status == 303


def test_no_image_on_a_page_of_another_site_takes_a_photo(
    logged_in: tuple[ServerProcess, dict[str, str]], serve: Serve
) -> None:
    """A GET of /latest.jpg can press.

    It is tried with the cookie, and on a server without logins.
    """
    server, cookie = logged_in
    alone = serve("--dead-time", "0", "--snapshots", "others", "--log-file", "-")
    first = json.loads(fetch(server, "/api/captures", "POST", {**cookie, "Origin": server.url}).body)["snapshot"]
    take_photo(alone)
    for there, credentials in ((server, cookie), (alone, {})):
        before = count_photos(there, credentials)
        pages: list[dict[str, str]] = [{"Origin": origin} for origin in foreign_origins(there)]
        pages += [
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
            {"Referer": "https://evil.example/"},
        ]
        pages += [{"Sec-Fetch-Site": "same-site"}, *([{}] if credentials else [])]
        for page in pages:
            for method in ("GET", "HEAD"):
                response = fetch(there, "/latest.jpg?max_age=0", method, {**credentials, **page})
                assert response.status == 403, (page, response)
        assert count_photos(there, credentials) == before
        pressed = fetch(there, "/latest.jpg?max_age=0", headers={**credentials, "Sec-Fetch-Site": "same-origin"})
        assert (pressed.status, pressed.headers["x-snapshot"] != first) == (200, True)


@pytest.mark.parametrize("listed", [False, True], ids=["no origin is listed", "one origin is listed"])
def test_only_listed_origins_may_read_and_none_with_a_cookie(
    serve: Serve, keep_connection: KeepConnection, tmp_path: Path, listed: bool
) -> None:
    add_user(tmp_path, "ada", "manage")
    token = bearer(add_token(tmp_path, "script", "manage"))
    good = "https://good.example"
    server = serve("--auth", "--dead-time", "0", *(("--origins", good) if listed else ()))
    take_photo(server, token)
    connection = keep_connection(server)
    preflight_headers = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
        "Access-Control-Request-Private-Network": "true",
    }
    near = (
        f"{good}.evil.example",
        "https://evilgood.example",
        "http://good.example",
        f"{good}:444",
        f"{good}/",
        "https://GOOD.example.",
        "*",
    )
    for operation in OPERATIONS:
        path = fill_path(operation.path)
        for origin in (good, *near, *foreign_origins(server)):
            preflight = fetch(connection, path, "OPTIONS", {"Origin": origin, **preflight_headers})
            response = (
                preflight
                if operation.path in (*ENDLESS, "/ws")
                else fetch(connection, path, "GET", {**token, "Origin": origin})
            )
            for answer in (preflight, response):
                check_cors(answer, good if listed and origin == good else None)
            if not (listed and origin == good):
                assert not [name for name in preflight.headers if name.startswith("access-control-")], (
                    origin,
                    preflight,
                )


def check_cors(response: Response, origin: str | None) -> None:
    assert response.headers.get("access-control-allow-origin") == origin, response.head
    assert "access-control-allow-credentials" not in response.headers
    assert "access-control-allow-private-network" not in response.headers


# ---- what listed origins may do

LISTED = "https://blog.example"
FROM_LISTED = (
    {"Origin": LISTED, "Sec-Fetch-Site": "cross-site"},
    {"Origin": f"{LISTED}:443"},
    {"Origin": LISTED.upper(), "Host": "localhost"},
    {"Referer": f"{LISTED}/page.html", "Sec-Fetch-Site": "cross-site"},
    {"Referer": f"{LISTED}/"},
)


@pytest.mark.parametrize("way", ["a default start", "a token that may manage"])
def test_a_page_of_a_listed_origin_may_only_watch_and_press(
    serve: Serve, keep_connection: KeepConnection, tmp_path: Path, way: str
) -> None:
    has_logins = way != "a default start"
    token = bearer(add_token(tmp_path, "script", "manage")) if has_logins else {}
    server = serve("--dead-time", "0", "--origins", LISTED, *(("--auth",) if has_logins else ()))
    photo = take_photo(server, token)
    link = share(server, photo, token).removeprefix("/shared/").partition(".")[0]
    connection = keep_connection(server)
    managing = [operation for operation in OPERATIONS if operation.role == "manage"]
    assert len(managing) >= 10
    for page in FROM_LISTED:
        for operation in managing:
            path = operation.path.replace("{id}", photo["snapshot"]).replace("{link}", link)
            response = fetch(connection, path, operation.method, {**token, **page}, b"{}")
            assert response.status == 403, (operation.route, page, response)
            if operation.path.startswith("/api/"):
                problem = json.loads(response.body)
                assert (problem["code"], "only watch and take photos" in problem["detail"]) == ("forbidden", True)
        identity = json.loads(fetch(connection, "/api/visitor", "GET", {**token, **page}).body)
        assert identity["role"] == "capture"
        assert fetch(connection, photo["url"], "GET", {**token, **page}).status == 200
        pressed = fetch(connection, "/api/captures", "POST", {**token, **page}, b'{"max_age":0}')
        assert pressed.status == 201
    preflight = fetch(
        connection, photo["url"], "OPTIONS", {**FROM_LISTED[0], "Access-Control-Request-Method": "DELETE"}
    )
    assert preflight.headers["access-control-allow-methods"] == "GET, HEAD, POST"
    listed = json.loads(fetch(connection, f"/api/snapshots/{photo['snapshot']}/links", "GET", token).body)["links"]
    assert [each["link"] for each in listed] == [link], "nothing was shared, revoked or deleted"
    own = {"Origin": server.url.rstrip("/"), "Sec-Fetch-Site": "same-origin", **token}
    assert fetch(connection, f"/api/snapshots/{photo['snapshot']}", "DELETE", own).status == 204


async def test_a_viewer_of_a_listed_origin_stays_when_accounts_change(run: Run, tmp_path: Path) -> None:
    token = bearer(add_token(tmp_path, "script", "manage"))
    running = await run(auth=True, origins=(LISTED,))
    async with running.watch(origin=Origin(LISTED), additional_headers=token) as events:
        assert events.hello["role"] == "capture"
        running.service.live_sessions.recheck_roles()
        await events.say(type="ping")
        assert (await events.read())["type"] == "pong"
    async with running.watch(origin=Origin(LISTED), additional_headers=token) as events:
        await events.say(type="auth", token=token["Authorization"].removeprefix("Bearer "))
        assert (await events.read_until("hello", "pong"))[-1]["role"] == "capture"


# ---- share links


def share(server: ServerProcess, photo: dict[str, Any], credentials: dict[str, str]) -> str:
    """Create a share link, and return its path."""
    response = fetch(server, f"/api/snapshots/{photo['snapshot']}/links", "POST", credentials, b"{}")
    path: str = json.loads(response.body)["url"]
    return path[path.index("/shared/") :]


def test_a_share_link_opens_one_photo_and_its_holder_cannot_make_another(
    serve: Serve, keep_connection: KeepConnection, tmp_path: Path
) -> None:
    token = bearer(add_token(tmp_path, "script", "manage"))
    elsewhere = tmp_path / "elsewhere"
    foreign = bearer(add_token(elsewhere, "script", "manage"))
    server = serve("--auth", "--dead-time", "0", "--login-attempts", "10000")
    other = serve("--auth", "--dead-time", "0", cwd=elsewhere)
    mine, hers = take_photo(server, token), take_photo(server, token)
    first, second = share(server, mine, token), share(server, hers, token)
    theirs = share(other, take_photo(other, foreign), foreign)
    picture = fetch(server, f"{first}/picture.jpg")
    assert (fetch(server, first).status, picture.status) == (200, 200)
    (id_, signature), (other_id, other_signature) = (
        each.removeprefix("/shared/").split(".") for each in (first, second)
    )
    forged = [
        f"{other_id}.{signature}",
        f"{id_}.{other_signature}",
        f"{mine['snapshot']}.{signature}",
        f"{hers['snapshot']}.{signature}",
        id_,
    ]
    forged += [
        f"{id_}.",
        f"{id_}.{signature[:-1]}",
        f"{id_}.{signature}A",
        f"{id_}.{signature.swapcase()}",
        f"{id_}.{'A' * 43}",
        f".{signature}",
    ]
    forged += [
        f"{id_.upper()}.{signature}",
        f"{id_}.{signature}=",
        f"{id_}%00.{signature}",
        f"{id_}.{signature}%00",
        f"{id_}.{id_}.{signature}",
    ]
    forged += [
        f"{id_}.{signature[:place]}{'A' if signature[place] != 'A' else 'B'}{signature[place + 1 :]}"
        for place in range(43)
    ]
    connection = keep_connection(server)
    for each in (*forged, theirs.removeprefix("/shared/")):
        for path in (f"/shared/{each}", f"/shared/{each}/picture.jpg"):
            assert fetch(connection, path).status == 404, path
    ways = [
        f"{first}/../{second.removeprefix('/shared/')}x",
        f"{first}/{hers['snapshot']}.jpg",
        f"{first}/picture.jpg/../../x",
    ]
    ways += [
        f"{first}/thumbnail.jpg",
        f"{first}/delete",
        f"{first}/links",
        f"{first}/picture.png",
        f"{first}/%2e%2e%2fsnapshots",
    ]
    for path in ways:
        assert fetch(server, path).status == 404, path
    # its page contains no other id, and its holder has no other rights
    page = fetch(server, first, headers={"Accept": "text/html"}).body.decode() + picture.body.decode("latin-1")
    for named in (mine["snapshot"], hers["snapshot"], other_id):
        assert named not in page
    assert not re.search(r'(?:href|src|action)="(?!\.\./(?:static|shared)/)', page), page
    for path in (mine["page"], mine["url"], f"{mine['url']}?ticket={id_}.{signature}", "/", "/snapshots"):
        assert fetch(server, path, headers={"Referer": server.url + first}).status == 401, path
    assert fetch(server, first, "DELETE").status == 405


def test_a_camera_link_gives_no_other_rights(serve: Serve, tmp_path: Path) -> None:
    token = bearer(add_token(tmp_path, "script", "manage"))
    server = serve("--auth", "--dead-time", "0", "--login-attempts", "10000")
    photo = take_photo(server, token)
    link = json.loads(fetch(server, "/api/cameras/main/links", "POST", token, b"{}").body)
    secret = link["url"].removeprefix("/shared/")
    assert fetch(server, link["image"]).status == 200
    assert fetch(server, f"{link['image']}?max_age=0&camera=main").status == 200
    assert count_photos(server, token) == 1, "it takes no photo"
    for path in (
        "/",
        "/latest.jpg",
        "/preview.mjpg",
        "/events",
        "/api/cameras",
        "/api/cameras/main/links",
        "/cameras/main/links",
        photo["url"],
        photo["page"],
        photo["thumbnail"],
    ):
        for credentials in (
            {"Referer": server.url.rstrip("/") + link["url"]},
            bearer(secret),
            {"Cookie": f"{COOKIE}={secret}"},
        ):
            assert fetch(server, path, headers=credentials).status == 401, (path, credentials)
        assert fetch(server, f"{path}?ticket={secret}").status == 401, path
    for end in (
        "/links",
        "/thumbnail.jpg",
        "/picture.jpg",
        f"/{photo['snapshot']}.jpg",
        "/latest.png",
        "/events",
        "/ws",
    ):
        assert fetch(server, link["url"] + end).status == 404, end
    for path in link["url"], link["image"], link["preview"]:
        for method in "POST", "PUT", "DELETE":
            assert fetch(server, path, method).status == 405, (method, path)
