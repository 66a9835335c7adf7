"""The check of host names, which protects from DNS rebinding."""

import asyncio
import contextlib
import http.client
import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dog.settings import Settings
from dog.web.middleware.host_check import Hosts
from dog.web.problems import Problem
from tests.conftest import Run, Serve
from tests.support.running import Running
from tests.support.server_process import ServerProcess
from tests.support.websocket_frames import UPGRADE

SETTINGS = Settings(hosts=("dog.lan", "bücher.example"), base_url="https://dog.example.org:8443/cam", host="cellar")
HOSTS = Hosts(SETTINGS, "Kitchen.home.example")

# ---- the names


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:8080", "192.0.2.7", "[::1]", "[::1]:8080", "[2001:db8::7]", "[fe80::1%25eth0]:8080"),
        *("::1", "2001:db8::7"),  # as aiohttp parses them from an absolute URL
        *("localhost", "localhost:8080", "LocalHost", "localhost.", "dog.localhost", "a.b.localhost:1"),
        *("kitchen", "Kitchen", "kitchen.local", "kitchen.local.:8080", "kitchen.home.example"),
        *("dog.example.org", "dog.example.org:8443", "dog.example.org:1", "DOG.EXAMPLE.ORG."),
        *("cellar", "dog.lan", "dog.lan:", "dog.lan:65535", "xn--bcher-kva.example"),
    ],
)
def test_ip_addresses_and_our_own_names_are_allowed_with_any_port(host: str) -> None:
    assert HOSTS.allows(host)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "notlocalhost"),
        *("kitchen.evil.example", "kitchen.local.evil.example", "evil.kitchen", "xdog.lan", "a.dog.lan", "example.org"),
        *("dog.lan..", "1.2.3.4.5", "2130706433", "0x7f000001", "127.1", "home.example", "local", "-", "_"),
    ],
)
def test_other_host_names_are_not_allowed(host: str) -> None:
    assert not HOSTS.allows(host)


@pytest.mark.parametrize(
    "host",
    [
        *("", " ", ":", ":8080", ".", "a b", "dog.lan evil.example", "dog.lan,evil.example", "dog.lan/", "dog.lan#"),
        *("user@dog.lan", "dog.lan@evil.example", "user:password@dog.lan", "127.0.0.1@evil.example", "dog.lan\\@evil"),
        *("dog.lan:x", "dog.lan:-1", "dog.lan:65536", "dog.lan:999999", "dog.lan:80:80", "dog.lan: 80", "dog.lan:８０"),
        *("[::1", "::1]", "[::1]x", "[]", "[dog.lan]", "[::1]]", "[[::1]]", "[v1.x]", "[127.0.0.1.1]", "[::g]"),
        *("dog%2elan", "bücher.example", "\udcff", "dog.lan\x00", "dog\tlan"),
    ],
)
def test_a_malformed_host_is_a_bad_request(host: str) -> None:
    with pytest.raises(Problem, match="is not a valid host") as caught:
        HOSTS.allows(host)
    assert caught.value.code == "bad_request"


@given(st.text(max_size=40))
def test_no_prefix_or_suffix_makes_a_foreign_name_ours(text: str) -> None:
    for host in (f"{text}.evil.example", f"{text}@evil.example", f"dog.lan.{text}.evil.example:{text}"):
        with contextlib.suppress(Problem):
            assert not HOSTS.allows(host)


def test_a_machine_without_a_name_allows_ip_addresses() -> None:
    hosts = Hosts(Settings(), "")
    assert hosts.allows("127.0.0.1")
    assert not hosts.allows("evil.example")


# ---- requests to the service


async def fetch(running: Running, request: str) -> tuple[int, bytes]:
    """Send a raw request.

    Return the status, and all bytes until the connection closes.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", running.client.port)
    writer.write(request.replace("\n", "\r\n").encode())
    response = await reader.read()
    writer.close()
    return int(response.split()[1]), response


async def test_a_foreign_name_that_resolves_to_us_gets_no_content_and_takes_no_photo(run: Run) -> None:
    """A page with that name sends these requests, same-origin to its browser."""
    running = await run()
    async with running.client.post("/api/captures") as answer:
        photo = (await answer.json())["url"]
    before = running.camera.captures
    evil = {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}
    asked = [("GET", "/"), ("POST", "/"), ("GET", "/events"), ("GET", "/preview.mjpg"), ("GET", photo), ("HEAD", photo)]
    asked += [("POST", "/api/captures"), ("GET", "/api/snapshots"), ("GET", "/metrics"), ("GET", "/static/live.js")]
    asked += [
        ("DELETE", "/api/snapshots/x"),
        ("GET", "/nowhere"),
        ("PATCH", "/"),
        ("OPTIONS", "/"),
        ("GET", "/healthz"),
    ]
    for method, path in asked:
        async with running.client.request(method, path, headers=evil) as answer:
            assert answer.status == 421, (method, path)
            assert "Access-Control-Allow-Origin" not in answer.headers
            if method != "HEAD":
                assert (await answer.json(content_type=None))["code"] == "unknown_host"
    upgrade = UPGRADE.decode().replace("\r\n", "\n").replace("Host: 127.0.0.1", "Connection: close\nHost: evil.example")
    status, response = await fetch(running, upgrade)
    assert (status, b"evil.example" in response) == (421, True)
    assert running.camera.captures == before


async def test_the_error_names_the_host_and_the_setting_that_allows_it(run: Run) -> None:
    running = await run()
    async with running.client.get("/api/cameras", headers={"Host": "dog." + "x" * 200}) as answer:
        problem = await answer.json(content_type=None)
    assert (problem["status"], problem["title"]) == (421, "Misdirected Request")
    assert "'dog.xxx" in problem["detail"]
    assert "`hosts`" in problem["detail"]
    assert len(problem["detail"]) < 220


async def test_the_setting_hosts_allows_a_name(run: Run) -> None:
    running = await run(hosts=("dog.lan",))
    headers = {"Host": "Dog.LAN:1", "Origin": "http://dog.lan:1"}
    async with running.client.post("/api/captures", headers=headers) as answer:
        assert answer.status == 201


HEALTHZ = "GET /healthz HTTP/1.1\nConnection: close\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET /healthz HTTP/1.0\n\n", 200),
        ("GET /healthz HTTP/1.0\nOrigin: http://evil.example\n\n", 400),
        ("GET /healthz HTTP/1.0\nHost: evil.example\n\n", 421),
        (f"{HEALTHZ}\n", 400),
        (f"{HEALTHZ}Host:\n\n", 400),
        (f"{HEALTHZ}Host: localhost\nHost: localhost\n\n", 400),
        (f"{HEALTHZ}Host: localhost\nHost: evil.example\n\n", 400),
        (f"{HEALTHZ}Host: evil.example\nhost: localhost\n\n", 400),
        (f"{HEALTHZ}Host: localhost\n evil.example\n\n", 400),
        (f"{HEALTHZ}Host: user@localhost\n\n", 400),
        (f"{HEALTHZ}Host: localhost\n\n", 200),
        ("GET http://localhost:7/healthz HTTP/1.1\nConnection: close\nHost: localhost\n\n", 200),
        ("GET http://[::1]:7/healthz HTTP/1.1\nConnection: close\nHost: localhost\n\n", 200),
        ("GET http://evil.example/healthz HTTP/1.1\nConnection: close\nHost: localhost\n\n", 421),
        ("GET http://evil.example/healthz HTTP/1.1\nConnection: close\n\n", 400),
        ("GET http://evil.example/healthz HTTP/1.0\n\n", 421),
        ("OPTIONS * HTTP/1.1\nConnection: close\nHost: evil.example\n\n", 421),
    ],
)
async def test_a_request_must_have_exactly_one_host_header(run: Run, request_: str, status: int) -> None:
    """HTTP/1.0 may have none.

    An absolute URL overrides the header (RFC 9112, section 3.2.2).
    """
    running = await run()
    assert (await fetch(running, request_))[0] == status


def test_the_service_is_reachable_by_this_machines_name(serve: Serve) -> None:
    server: ServerProcess = serve()
    for name, status in ((socket.gethostname(), 200), (f"{socket.gethostname()}.evil.example", 421)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", "/healthz", headers={"Host": f"{name}:{server.port}"})
        answer = connection.getresponse()
        assert answer.status == status
        body = answer.read()
        connection.close()
    assert json.loads(body)["code"] == "unknown_host"
