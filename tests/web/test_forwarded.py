"""Forwarded and X-Forwarded-*, with real nginx and Caddy (deploy/)."""

import asyncio
import contextlib
import http.client
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient
from aiohttp.test_utils import make_mocked_request
from aiohttp.typedefs import Handler
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dog.metrics import Metrics
from dog.settings import Settings
from dog.web.connections.connection import Connection
from dog.web.connections.connection_limits import CONNECTIONS, Client, Connections
from dog.web.connections.refusals import RETRY_AFTER
from dog.web.middleware.errors import error_middleware
from dog.web.middleware.forwarded import ForwardedInfo, forwarded_middleware, parse_forwarded_headers
from dog.web.problems import Problem
from tests.conftest import Run
from tests.support.accounts import add_token, bearer, open_accounts
from tests.support.pushes import read_until
from tests.support.running import until
from tests.support.server_process import ROOT
from tests.support.sites import NGINX, Site, needs, site

PROXIES = ("127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48")
CLIENT_ADDRESS = "203.0.113.7"


def trusts(address: str) -> bool:
    return Connections(Settings(trusted_proxies=PROXIES), Metrics("test"), {}).trusts(address)


def read(*lines: tuple[str, str]) -> ForwardedInfo:
    return parse_forwarded_headers(CIMultiDict(lines), trusts)


# ---- parsing the headers


@pytest.mark.parametrize(
    ("header", "address", "scheme", "host"),
    [
        ("for=203.0.113.7", CLIENT_ADDRESS, None, None),
        ("For=203.0.113.7;Proto=HTTPS;HOST=Dog.Example.org:8443", CLIENT_ADDRESS, "https", "dog.example.org:8443"),
        ('for="203.0.113.7:4711";proto=http;by=10.0.0.1', CLIENT_ADDRESS, "http", None),
        ("for=203.0.113.7:4711", CLIENT_ADDRESS, None, None),
        ('for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17", None, None),
        ('for="[2001:DB8:cafe:0:0::17]";host="[2001:db8::1]:8443"', "2001:db8:cafe::17", None, "[2001:db8::1]:8443"),
        ('for="[::ffff:203.0.113.7]"', CLIENT_ADDRESS, None, None),
        ('for="\\203.0.113.\\7";extension="a,b;c=\\"d\\""', CLIENT_ADDRESS, None, None),
        ("for=unknown;proto=https", "unknown", "https", None),
        ('for="_hidden:_port"', "_hidden", None, None),
        ("for=_SEVKISEK", "_sevkisek", None, None),
        ("proto=wss;host=dog.example.org", None, "https", "dog.example.org"),
        ("for=198.51.100.1;host=spoofed, for=203.0.113.7;host=real", CLIENT_ADDRESS, None, "real"),
        ("for=203.0.113.7;proto=https;host=real, for=10.1.2.3;proto=http;host=inner", CLIENT_ADDRESS, "https", "real"),
        ('for=203.0.113.7;proto=https, proto=http, for="[2001:db8:ffff::1]"', "unknown", "http", None),
        ("for=10.1.2.3;proto=https, for=127.0.0.1;proto=http", "10.1.2.3", "https", None),
        (" , for=203.0.113.7 ; proto=https ,, ", CLIENT_ADDRESS, "https", None),
        ("for=203.0.113.7;;proto=https;", CLIENT_ADDRESS, "https", None),
    ],
)
def test_forwarded_is_parsed_by_rfc_7239(
    header: str, address: str | None, scheme: str | None, host: str | None
) -> None:
    assert read(("Forwarded", header)) == (address, scheme, host)


@pytest.mark.parametrize(
    ("nodes", "schemes", "hosts", "expected"),
    [
        ("203.0.113.7", "https", "Dog.Example.org", (CLIENT_ADDRESS, "https", "dog.example.org")),
        ("198.51.100.1, 203.0.113.7", "https", None, (CLIENT_ADDRESS, "https", None)),
        ("203.0.113.7, 10.1.2.3", "https", "real", (CLIENT_ADDRESS, "https", "real")),
        ("203.0.113.7, 10.1.2.3,10.9.9.9", "https,http,http", "real, inner, inmost", (CLIENT_ADDRESS, "https", "real")),
        ("nonsense, 203.0.113.7, 10.1.2.3", "gopher, https, http", None, (CLIENT_ADDRESS, "https", None)),
        ("2001:db8:cafe::17", None, None, ("2001:db8:cafe::17", None, None)),
        ("fe80::1%eth0", None, None, ("fe80::1", None, None)),
        ("[2001:db8:cafe::17]:4711", None, None, ("2001:db8:cafe::17", None, None)),
        ("203.0.113.7:4711", None, None, (CLIENT_ADDRESS, None, None)),
        ("::ffff:10.1.2.3", None, None, ("10.1.2.3", None, None)),
        ("203.0.113.7, unknown", None, None, ("unknown", None, None)),
        ("10.1.2.3, 127.0.0.1", "wss", None, ("10.1.2.3", "https", None)),
        (None, "https", "real", (None, "https", "real")),
        ("", " , ", "", (None, None, None)),
    ],
)
def test_x_forwarded_is_read_from_the_right(
    nodes: str | None, schemes: str | None, hosts: str | None, expected: tuple[str | None, ...]
) -> None:
    headers = {"X-Forwarded-For": nodes, "X-Forwarded-Proto": schemes, "X-Forwarded-Host": hosts}
    assert read(*((name, value) for name, value in headers.items() if value is not None)) == expected


def test_several_lines_of_a_header_are_one_list() -> None:
    assert read(("X-Forwarded-For", CLIENT_ADDRESS), ("X-Forwarded-For", "10.1.2.3")).address == CLIENT_ADDRESS
    assert read(("Forwarded", f"for={CLIENT_ADDRESS}"), ("Forwarded", "for=10.1.2.3")).address == CLIENT_ADDRESS


MALFORMED = [
    ("Forwarded", "203.0.113.7"),
    ("Forwarded", 'for="203.0.113.7'),
    ("Forwarded", 'for="203.0.113.7"x'),
    ("Forwarded", 'for="a, for=203.0.113.7'),
    ("Forwarded", 'for="a, for="[2001:db8::1]"'),
    ("Forwarded", "for=203.0.113.7;for=203.0.113.8"),
    ("Forwarded", "for=203.0.113.7 proto=https"),
    ("Forwarded", "for = 203.0.113.7"),
    ("Forwarded", "for="),
    ("Forwarded", 'for=""'),
    ("Forwarded", "for=203.0.113"),
    ("Forwarded", "for=203.0.113.7:port"),
    ("Forwarded", 'for="[203.0.113.7]:99999999"'),
    ("Forwarded", "for=dog.example.org"),
    ("Forwarded", "for=203.0.113.7;proto=gopher"),
    ("Forwarded", "for=_" + "x" * 65),
    ("X-Forwarded-For", "203.0.113.7, nonsense"),
    ("X-Forwarded-For", "203.0.113.7, nonsense, 10.1.2.3"),
    ("X-Forwarded-For", '"203.0.113.7"'),
    ("X-Forwarded-For", "203.0.113.7; 10.1.2.3"),
    ("X-Forwarded-For", "\udcff"),
    ("X-Forwarded-Proto", "on"),
]


@pytest.mark.parametrize("line", MALFORMED)
def test_malformed_headers_of_a_trusted_proxy_are_a_bad_request(line: tuple[str, str]) -> None:
    with pytest.raises(Problem) as caught:
        read(line)
    assert caught.value.code == "bad_request"
    assert caught.value.message.startswith("The proxy sends headers that cannot be used: ")


def test_both_kinds_of_headers_are_combined_if_they_agree() -> None:
    both = (
        ("Forwarded", "for=203.0.113.7;proto=https"),
        ("X-Forwarded-For", CLIENT_ADDRESS),
        ("X-Forwarded-Host", "real"),
    )
    assert read(*both) == (CLIENT_ADDRESS, "https", "real")


@pytest.mark.parametrize(
    ("forwarded", "name", "other"),
    [
        ("for=198.51.100.1", "X-Forwarded-For", CLIENT_ADDRESS),
        ("proto=https", "X-Forwarded-For", CLIENT_ADDRESS),
        ("for=203.0.113.7", "X-Forwarded-Proto", "https"),
        ("proto=https", "X-Forwarded-Proto", "http"),
        ("host=spoofed", "X-Forwarded-Host", "real"),
    ],
)
def test_contradictory_headers_are_refused(forwarded: str, name: str, other: str) -> None:
    """One of them comes from the client, and the service cannot tell which."""
    with pytest.raises(Problem, match="contradict"):
        read(("Forwarded", forwarded), (name, other))


HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from('";,=\\_[]:. '), max_size=60)


@given(HEADER_TEXT)
def test_the_proxys_address_counts_whatever_header_the_client_sends(text: str) -> None:
    assert read(("X-Forwarded-For", f"{text}, {CLIENT_ADDRESS}")).address == CLIENT_ADDRESS
    assert read(("X-Forwarded-For", text), ("X-Forwarded-For", CLIENT_ADDRESS)).address == CLIENT_ADDRESS
    with contextlib.suppress(Problem):
        assert read(("Forwarded", f"{text}, for={CLIENT_ADDRESS}")).address == CLIENT_ADDRESS


@given(HEADER_TEXT, HEADER_TEXT, HEADER_TEXT, HEADER_TEXT)
def test_any_header_text_is_parsed_or_refused(forwarded: str, nodes: str, schemes: str, hosts: str) -> None:
    lines = zip(
        ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"),
        (forwarded, nodes, schemes, hosts),
        strict=True,
    )
    with contextlib.suppress(Problem):
        assert read(*lines).scheme in (None, "http", "https")


@pytest.mark.parametrize(
    "line", ["for=" + " " * 8000 + "x", ";" * 8000 + "=", 'a="' + "\\" * 8000, "a=b;" * 2000 + " ="]
)
def test_a_long_malformed_header_is_parsed_in_linear_time(line: str) -> None:
    with pytest.raises(Problem):
        read(("Forwarded", line))


# ---- in the request


async def echo(request: web.Request) -> web.Response:
    return web.json_response(
        {"remote": request.remote, "scheme": request.scheme, "host": request.host, "url": str(request.url)}
    )


@web.middleware
async def read_early(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read values before the middleware: aiohttp caches them."""
    assert (request.secure, request.url.scheme) == (False, "http")
    return await handler(request)


@pytest.fixture
def ask(aiohttp_client: AiohttpClient) -> Callable[..., Any]:
    """Return a function that requests the values that later code sees."""

    async def run(headers: dict[str, str], path: str = "/a?b=c", **settings: Any) -> tuple[int, Any]:
        async def note(request: web.Request, response: web.StreamResponse) -> None:
            response.headers["X-Seen"] = f"{request.remote} {request.secure} {request.host}"

        app = web.Application(middlewares=[error_middleware, read_early, forwarded_middleware])
        app[CONNECTIONS] = Connections(Settings(**settings), Metrics("test"), {})
        app.add_routes([web.get("/a", echo)])
        app.on_response_prepare.append(note)
        client = await aiohttp_client(app)
        async with client.get(path, headers=headers) as answer:
            seen = {"seen": answer.headers["X-Seen"]}
            return answer.status, await answer.json(content_type=None) | seen

    return run


ALL = {"X-Forwarded-For": CLIENT_ADDRESS, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "dog.example.org"}


async def test_a_trusted_proxys_values_are_in_the_request_for_every_reader(ask: Any) -> None:
    """Code after the handler, such as the security headers, sees them too."""
    _, seen = await ask(ALL, trusted_proxies=("127.0.0.1",))
    assert seen["url"] == "https://dog.example.org/a?b=c"
    assert (seen["remote"], seen["scheme"], seen["host"]) == (CLIENT_ADDRESS, "https", "dog.example.org")
    assert seen["seen"] == f"{CLIENT_ADDRESS} True dog.example.org"


@pytest.mark.parametrize("trusted", [(), ("127.0.0.2",), ("10.0.0.0/8", "::1")])
async def test_headers_of_other_clients_are_ignored(ask: Any, trusted: tuple[str, ...]) -> None:
    for headers in (ALL, {"Forwarded": "for=203.0.113.7;proto=https;host=evil"}, {"Forwarded": '"'}):
        status, seen = await ask(headers | {"Host": "127.0.0.1:7"}, trusted_proxies=trusted)
        assert (status, seen["seen"]) == (200, "127.0.0.1 False 127.0.0.1:7")


async def test_a_trusted_proxy_without_headers_is_the_client(ask: Any) -> None:
    _, seen = await ask({"Host": "127.0.0.1:7"}, trusted_proxies=("127.0.0.1",))
    assert seen["seen"] == "127.0.0.1 False 127.0.0.1:7"


async def test_a_prefix_comes_from_base_url_alone(ask: Any) -> None:
    _, seen = await ask(ALL | {"X-Forwarded-Prefix": "/evil"}, trusted_proxies=("127.0.0.1",))
    assert seen["url"] == "https://dog.example.org/a?b=c"


async def test_malformed_headers_are_a_400(run: Run) -> None:
    running = await run(trusted_proxies=PROXIES, open=True)
    for name, value in MALFORMED:
        if value.isascii():
            async with running.client.get("/", headers={name: value}) as answer:
                assert (answer.status, (await answer.json(content_type=None))["code"]) == (400, "bad_request")
    async with running.client.get("/", headers={"X-Forwarded-Host": "a b"}) as answer:
        assert answer.status == 400
    async with running.client.get("/", headers={"X-Forwarded-Host": "evil.example"}) as answer:
        assert answer.status == 421


async def test_the_access_log_has_the_forwarded_client_address(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    running = await run(trusted_proxies=("127.0.0.1",), open=True)
    caplog.set_level("INFO", "aiohttp.access")
    async with running.client.get("/healthz?one", headers={"X-Forwarded-For": CLIENT_ADDRESS}):
        pass
    assert any(line.startswith(f"{CLIENT_ADDRESS} ") and "/healthz?one" in line for line in caplog.messages)


# ---- limits


def make_no_handler() -> Any:
    raise AssertionError


def test_a_trusted_proxy_is_not_limited_by_its_network() -> None:
    settings = Settings(trusted_proxies=("2001:db8::1",), max_connections=2, max_connections_per_address=1)
    connections = Connections(settings, Metrics("test"), {})

    def enter(address: str) -> object:
        return connections.register(Connection(connections, make_no_handler), address)

    assert isinstance(enter("2001:db8::2"), Client)
    assert enter("2001:db8::3") == "address"
    assert isinstance(enter("2001:db8::1"), Client)


async def test_requests_through_several_proxies_share_their_clients_limit(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dog.web.connections.connection_limits.MAX_QUEUE_SECONDS", 0.2)
    running = await run(trusted_proxies=("127.0.0.1",), open=True, max_connections_per_address=2)
    app = running.client.app
    assert app is not None
    mine, other = ({"X-Forwarded-For": address} for address in (CLIENT_ADDRESS, "203.0.113.8"))
    connections = app[CONNECTIONS]
    async with AsyncExitStack() as stack:
        for address in [CLIENT_ADDRESS] * 2 + ["127.0.0.1"] * 5:
            request = make_mocked_request("GET", "/", app=app).clone(remote=address)
            await stack.enter_async_context(connections.hold_place(request))
        for path in ("/healthz", "/events", "/ws", "/latest.jpg"):
            async with running.client.get(path, headers=mine) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, str(RETRY_AFTER))
                assert (await answer.json(content_type=None))["code"] == "overloaded"
        with pytest.raises(InvalidStatus) as refused:
            async with running.watch(additional_headers=mine):
                pass
        assert refused.value.response.status_code == 503
        async with running.watch(additional_headers=other), running.client.get("/healthz", headers=other) as answer:
            assert answer.status == 200
        monkeypatch.setattr("dog.web.connections.connection_limits.MAX_QUEUE_SECONDS", 60.0)
        waiting = asyncio.create_task(running.client.get("/healthz", headers=mine))
        await until(lambda: connections._places.waiting == 1)
    async with await waiting as answer:
        assert answer.status == 200
    assert len(connections._places) == 0


async def test_a_viewer_counts_for_its_own_address_and_has_no_place(run: Run) -> None:
    running = await run(
        trusted_proxies=("127.0.0.1",), open=True, max_connections_per_address=1, max_viewers_per_address=2
    )
    headers = {"X-Forwarded-For": CLIENT_ADDRESS}
    async with running.client.get("/events", headers=headers) as events, running.watch(additional_headers=headers):
        assert events.status == 200
        await events.content.readuntil(b"event: hello")
        async with running.client.get("/healthz", headers=headers) as answer:
            assert answer.status == 200
        async with running.client.get("/events", headers=headers) as answer:
            assert answer.status == 503


@pytest.mark.parametrize("address", [CLIENT_ADDRESS, "127.0.0.1", "unknown", "_hidden", "2001:db8::1"])
async def test_a_disconnected_client_is_not_counted(address: str) -> None:
    app = web.Application()
    connections = Connections(Settings(trusted_proxies=("127.0.0.1",)), Metrics("test"), {})
    request = make_mocked_request("GET", "/", app=app).clone(remote=address)
    with contextlib.suppress(ConnectionError):
        async with connections.hold_place(request):
            connections.count_as_viewer(request)
            leave = connections.register_viewer(address)
            leave()
            raise ConnectionResetError
    assert connections.count == 0
    assert len(connections._places) == 0


# ---- nginx and Caddy


@pytest.fixture(scope="module")
def there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start the service behind a real proxy, without a path or with one."""
    kind, below = request.param
    folder = tmp_path_factory.mktemp(kind)
    trusted = ("--trusted-proxies", "127.0.0.1", "--dead-time", "0")
    with site(kind, folder, *trusted, below=below, base_url=below) as found:
        yield found


every_proxy = pytest.mark.parametrize(
    "there",
    [
        pytest.param((kind, below), marks=needs(kind), id=f"{kind}, {'a path' if below else 'a name'}")
        for kind in ("nginx", "caddy")
        for below in (False, True)
    ],
    indirect=True,
)


def press(there: Site) -> dict[str, Any]:
    """Take a photo on the push, and return its `ready`."""
    with there.watch() as viewer:
        viewer.send('{"type": "capture", "max_age": 0}')
        return read_until(viewer, "ready")


@every_proxy
def test_the_page_and_its_files_load_through_the_proxy(there: Site) -> None:
    answer, page = there.ask()
    assert (answer.status, answer.getheader("Content-Type")) == (200, "text/html; charset=utf-8")
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    loaded = re.findall(r'(?:src|href)="\./(static/[^"]+)"', page.decode())
    assert loaded
    for path in loaded:
        assert there.ask(f"/{path}")[0].status == 200, path


@every_proxy
def test_a_press_without_javascript_redirects_and_sets_a_secure_cookie(there: Site) -> None:
    answer, _ = there.ask("/", "POST", {"Origin": there.origin})
    assert answer.status == 303
    cookie = answer.headers["Set-Cookie"]
    assert "Secure" in cookie
    assert f"Path={there.path}/;" in cookie
    answer, page = there.ask(f"/{answer.headers['Location']}")
    assert (answer.status, b"<img" in page) == (200, True)


@pytest.mark.parametrize("below", [False, True], ids=["a name", "a path"])
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs(kind)) for kind in ("nginx", "caddy")])
def test_a_login_through_the_proxy_lasts_until_the_logout(kind: str, below: bool, tmp_path: Path) -> None:
    with open_accounts(tmp_path) as accounts:
        accounts.add_user("ada", "manage", "correct horse")
    with site(kind, tmp_path, "--trusted-proxies", "127.0.0.1", below=below, way="--auth") as there:
        response, _ = there.ask("/snapshots", headers={"Accept": "text/html"})
        assert (response.status, response.headers["Location"]) == (303, "./login?next=snapshots")
        form = {"name": "ada", "password": "correct horse", "next": "snapshots"}
        response, _ = there.ask("/login", "POST", {"Origin": there.origin}, form=form)
        assert (response.status, response.headers["Location"]) == (303, "./snapshots")
        cookie, *flags = response.headers["Set-Cookie"].split("; ")
        # requirements of browsers for these prefixes (RFC 6265bis, section 4.1.3)
        assert cookie.startswith("__Secure-dog_session=" if below else "__Host-dog_session=")
        assert {"Secure", "HttpOnly", "SameSite=Lax", f"Path={there.path}/"} <= set(flags)
        mine = {"Cookie": cookie, "Origin": there.origin}
        assert there.ask("/snapshots", headers=mine)[0].status == 200
        with there.watch(headers={"Cookie": cookie}) as viewer:
            assert read_until(viewer, "hello")["role"] == "manage"
            assert there.ask("/logout", "POST", mine)[0].status == 303
            with pytest.raises(ConnectionClosed) as closed:
                read_until(viewer, "never")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401
        assert there.ask("/snapshots", headers=mine)[0].status == 401
        for path in (f"/enter/{'A' * 43}?a=b", f"/shared/{'A' * 43}/picture.jpg", f"/latest.jpg?ticket={'A' * 43}"):
            assert there.ask(path)[0].status in (401, 404, 410)
    if kind == "nginx":
        log = (tmp_path / "dog.log").read_text()
        for line in ("/enter/***", "/shared/***", "/latest.jpg"):
            assert f'"GET {there.path}{line}" 4' in log
        assert "AAAA" not in log


@pytest.mark.parametrize("below", [False, True], ids=["a name", "a path"])
@pytest.mark.skipif(NGINX is None, reason="no nginx; it is in Debian's package nginx")
def test_nginxs_cache_shows_a_deleted_photo_no_longer_than_the_service_says(below: bool, tmp_path: Path) -> None:
    token = bearer(add_token(tmp_path, "script", "manage"))
    flags = ("--trusted-proxies", "127.0.0.1", "--anonymous", "view")
    with site("nginx", tmp_path, *flags, below=below, way="--auth", program=SHORT_CACHE) as there:
        photo = json.loads(there.ask("/api/captures", "POST", token)[1])
        paths = [urlsplit(photo[name]).path.removeprefix(there.path) for name in ("url", "thumbnail", "page")]
        paths[2] += "/640.jpg"
        images = [there.ask(path)[1] for path in paths]
        assert images[0].startswith(b"\xff\xd8")
        there.server.wait_for(rf'GET {paths[1]} HTTP/1.1" 200')
        for path in paths:  # nginx asks again, and the service has no need to read the image
            while f'GET {path} HTTP/1.1" 304' not in there.server.stderr:
                assert there.ask(path)[0].status == 200
        counts = [there.server.stderr.count(f"GET {path} ") for path in paths]
        for path, image in zip(paths, images, strict=True):
            assert [there.ask(path)[1] for _ in range(20)] == [image] * 20
        assert sum(there.server.stderr.count(f"GET {path} ") for path in paths) < sum(counts) + 20, "from the cache"
        assert there.ask(f"/api/snapshots/{photo['snapshot']}", "DELETE", token)[0].status == 204
        for path in paths:
            while there.ask(path)[0].status == 200:
                pass
            response, _ = there.ask(path)
            assert (response.status, response.headers["Cache-Control"]) == (410, "no-store")


SHORT_CACHE = """
from dog.web.handlers import images
images.SHARED_CACHE_SECONDS = 1
from dog.cli import main
main()
"""


@pytest.mark.skipif(NGINX is None, reason="no nginx; it is in Debian's package nginx")
def test_nginx_caches_no_photo_that_needs_a_login(tmp_path: Path) -> None:
    token = bearer(add_token(tmp_path, "script", "manage"))
    with site("nginx", tmp_path, "--trusted-proxies", "127.0.0.1", way="--auth") as there:
        photo = json.loads(there.ask("/api/captures", "POST", token)[1])
        path = urlsplit(photo["url"]).path
        response, _ = there.ask(path, headers=token)
        assert (response.status, response.headers["Cache-Control"].split(",")[0]) == (200, "private")
        assert there.ask(path)[0].status == 401
        assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


@pytest.mark.parametrize("below", [False, True], ids=["a name", "a path"])
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs(kind)) for kind in ("nginx", "caddy")])
def test_the_proxys_logs_have_no_secret_when_the_service_is_down_or_a_limit_is_met(
    kind: str, below: bool, tmp_path: Path
) -> None:
    changes = {"burst=10000": "burst=5", "rate=200r/s": "rate=1r/m"} if kind == "nginx" else {}
    secret = "Sx9" * 14
    paths = [f"/shared/{secret}", f"/shared/{secret}/picture.jpg?a=b", f"/enter/{secret}", f"/ws?ticket={secret}"]
    paths += [f"/latest.jpg?max_age=1&ticket={secret}&x", f"/snapshots?next=/shared/{secret}", f"/%73hared/{secret}"]
    with site(kind, tmp_path, "--trusted-proxies", "127.0.0.1", below=below, changes=changes) as there:
        there.server.kill()
        page = {"Referer": f"{there.url}/shared/{secret}", "Cookie": f"dog_session={secret}"}
        statuses = {there.ask(path, headers=page)[0].status for path in paths * 2}
        assert 502 in statuses
        assert (429 in statuses) is (kind == "nginx")
        logs = "".join(there.output) + "".join(file.read_text() for file in tmp_path.glob("*.log"))
    assert secret not in logs
    assert f"{there.path}/shared/***" in logs
    assert f"{there.path}/latest.jpg" in logs


@every_proxy
def test_a_press_on_the_push_gives_a_photo_that_supports_ranges(there: Site) -> None:
    ready = press(there)
    expected = there.url if there.path else ""
    assert ready["url"].startswith(f"{expected}/snapshots/")
    path = ready["url"].removeprefix(expected)
    answer, whole = there.ask(path)
    assert (answer.status, len(whole)) == (200, ready["bytes"])
    answer, part = there.ask(path, headers={"Range": "bytes=100-199"})
    assert (answer.status, part) == (206, whole[100:200])
    assert answer.getheader("Content-Range") == f"bytes 100-199/{len(whole)}"
    assert there.ask(path, headers={"If-None-Match": answer.headers["ETag"]})[0].status == 304
    answer, nothing = there.ask(path, "HEAD")
    assert (answer.headers["Content-Length"], nothing) == (str(len(whole)), b"")


@every_proxy
def test_the_proxy_does_not_buffer_events(there: Site) -> None:
    with closing(there.begin("/events")) as connection:
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Content-Type")) == (200, "text/event-stream")
        hello = json.loads(read_event(answer, b"hello"))
        photo = press(there)["snapshot"]
        assert json.loads(read_event(answer, b"ready"))["snapshot"] == photo
    with closing(there.begin(f"/events?since={hello['cursor']}")) as connection:
        answer = connection.getresponse()
        assert json.loads(read_event(answer, b"ready"))["snapshot"] == photo


def read_event(answer: http.client.HTTPResponse, kind: bytes) -> bytes:
    """Return the data of the next event of this type."""
    found = b""
    for line in answer:
        if line.startswith(b"event: "):
            found = line.removeprefix(b"event: ").strip()
        elif line.startswith(b"data: ") and found == kind:
            return line.removeprefix(b"data: ")
    raise AssertionError(f"the answer ended without {kind!r}")


@every_proxy
def test_the_proxy_does_not_buffer_the_live_view(there: Site) -> None:
    with closing(there.begin("/preview.mjpg?camera=main")) as connection:
        answer = connection.getresponse()
        assert answer.status == 200
        boundary = answer.headers["Content-Type"].removeprefix("multipart/x-mixed-replace; boundary=")
        for _ in range(3):
            while answer.readline().strip() != f"--{boundary}".encode():
                pass
            head = http.client.parse_headers(answer)
            assert answer.read(int(head["Content-Length"]))[:2] == b"\xff\xd8"


@every_proxy
def test_a_clients_own_forwarded_headers_are_not_trusted(there: Site) -> None:
    spoofed = {
        "X-Forwarded-For": "198.51.100.1",
        "X-Forwarded-Proto": "gopher",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Prefix": "/evil",
        "X-Real-IP": "198.51.100.1",
        "Forwarded": 'for=198.51.100.1;host=evil.example;proto="',
    }
    for number, (name, value) in enumerate(spoofed.items()):
        answer, _ = there.ask(f"/healthz?{name}-{number}", headers={name: value}, address="127.0.0.2")
        assert answer.status == 200, name
        line = there.server.wait_for(rf"(\S+) \"GET /healthz\?{name}-{number} ")
        assert line[1] == "127.0.0.2"
    assert "198.51.100.1 " not in there.server.stderr
    answer, _ = there.ask("/", "POST", {"Origin": there.origin, **spoofed})
    assert (answer.status, answer.headers["Location"].startswith("snapshots/")) == (303, True)
    answer, _ = there.ask("/", "POST", {"Origin": "https://evil.example", **spoofed})
    assert answer.status == 403


@every_proxy
def test_a_page_of_another_site_cannot_open_the_push(there: Site) -> None:
    for origin in ("https://evil.example", there.origin.replace("https", "http")):
        with pytest.raises(InvalidStatus) as refused:
            there.watch(origin=origin)
        assert refused.value.response.status_code == 403
        assert there.ask("/events", headers={"Origin": origin})[0].status == 403


@every_proxy
def test_an_unknown_host_name_gets_no_content_of_ours(there: Site) -> None:
    answer, body = there.ask(headers={"Host": "evil.example"})
    assert (answer.status, b"evil.example" in body) == (421, True) or body == b""


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs(kind)) for kind in ("nginx", "caddy")])
def test_headers_of_an_untrusted_proxy_are_ignored(kind: str, tmp_path: Any) -> None:
    """The proxy is the client. Without `base_url`, its pages are foreign."""
    with site(kind, tmp_path, base_url=False) as there:
        assert there.ask("/healthz?who", address="127.0.0.2")[0].status == 200
        assert there.server.wait_for(r"(\S+) \"GET /healthz\?who ")[1] == "127.0.0.1"
        assert there.ask("/", "POST", {"Origin": there.origin})[0].status == 403


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs(kind)) for kind in ("nginx", "caddy")])
def test_each_client_behind_a_proxy_has_its_own_limits(kind: str, tmp_path: Any) -> None:
    limits = ("--trusted-proxies", "127.0.0.1", "--max-viewers-per-address", "3")
    with site(kind, tmp_path, *limits) as there, ExitStack() as stack:
        for _ in range(2):
            read_until(stack.enter_context(there.watch(address="127.0.0.2")), "hello")
        events = stack.enter_context(closing(there.begin("/events", address="127.0.0.2"))).getresponse()
        read_event(events, b"hello")
        answer, body = there.ask("/events", address="127.0.0.2")
        assert (answer.status, json.loads(body)["code"]) == (503, "overloaded")
        assert answer.headers["Retry-After"] == str(RETRY_AFTER)
        with pytest.raises(InvalidStatus) as refused:
            there.watch(address="127.0.0.2")
        assert refused.value.response.status_code == 503
        there.server.wait_for("Refused a request from 127.0.0.2: it has 256 requests .* 3 viewers")
        assert there.ask("/", address="127.0.0.2")[0].status == 200
        for _ in range(3):
            read_until(stack.enter_context(there.watch(address="127.0.0.3")), "hello")


def test_the_proxy_configurations_set_every_trusted_header() -> None:
    nginx = (ROOT / "deploy" / "nginx.conf").read_text()
    for name in ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"):
        assert len(re.findall(rf"^    proxy_set_header {name} ", nginx, re.MULTILINE)) == nginx.count("listen 443 ssl")
    assert "request_header -Forwarded\n" in (ROOT / "deploy" / "Caddyfile").read_text()
