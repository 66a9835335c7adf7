"""Rate limits of captures, downloads and requests: errors, normal use.

Clients get their addresses from a trusted proxy, because this machine's own has no limits.
"""

import asyncio
import contextlib
import http.client
import itertools
import json
import math
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.client import connect

from dog.auth import Identity
from dog.errors import RequestError
from dog.settings import Settings
from dog.web.handlers.static_files import ASSETS
from dog.web.middleware import request_limits
from dog.web.rate_limits import MAX_CLIENTS, RateLimits, client_key
from tests.conftest import Run, Serve
from tests.support.accounts import add_token, bearer
from tests.support.hand_clock import MonotonicClock
from tests.support.raw_requests import HERE, Response, fetch, take_photo
from tests.support.running import Running, until
from tests.support.server_process import ServerProcess

OPEN_SERVER = ("--open", "--trusted-proxies", HERE, "--dead-time", "0")
SERVER_WITH_LOGIN = ("--auth", "--trusted-proxies", HERE, "--dead-time", "0")


def forwarded_for(address: str, credentials: dict[str, str] | None = None) -> dict[str, str]:
    return {"X-Forwarded-For": address, **(credentials or {})}


# ---- presses


def press_by_api(server: ServerProcess, headers: dict[str, str]) -> Response:
    return fetch(server, "/api/captures", "POST", headers, b'{"max_age":0}')


def press_later(server: ServerProcess, headers: dict[str, str]) -> Response:
    response = fetch(server, "/api/captures", "POST", {**headers, "Prefer": "respond-async"}, b'{"max_age":0}')
    if response.status == 202:
        while json.loads(fetch(server, response.headers["location"], headers=headers).body)["state"] != "ready":
            pass
    return response


def press_by_latest(server: ServerProcess, headers: dict[str, str]) -> Response:
    return fetch(server, "/latest.jpg?max_age=0", headers=headers)


def press_by_form(server: ServerProcess, headers: dict[str, str]) -> Response:
    return fetch(server, "/", "POST", headers)


def press_by_push(server: ServerProcess, headers: dict[str, str]) -> Response:
    """Press on the push. Return the event as the body of a response."""
    with connect(f"ws://{HERE}:{server.port}/ws", additional_headers=headers) as push:
        push.send(json.dumps({"type": "capture", "max_age": 0, "request": f"r{next(NUMBERS)}"}))
        while True:
            response = json.loads(push.recv(timeout=20))
            if response["type"] in ("ready", "error"):
                return Response(201 if response["type"] == "ready" else 429, [], json.dumps(response).encode())


NUMBERS = itertools.count()
PRESSES: list[Callable[[ServerProcess, dict[str, str]], Response]] = [
    press_by_api,
    press_later,
    press_by_latest,
    press_by_push,
    press_by_form,
]


@pytest.mark.parametrize("press", PRESSES)
def test_an_address_at_its_capture_limit_gets_retry_after_on_every_way_to_press(
    serve: Serve, press: Callable[[ServerProcess, dict[str, str]], Response]
) -> None:
    server = serve(*OPEN_SERVER, "--presses-per-minute", "3")
    for one in (press, *PRESSES[:2]):
        assert one(server, forwarded_for("192.0.2.7")).status < 400
    for other in PRESSES:
        response = other(server, forwarded_for("192.0.2.7"))
        assert response.status == 429, other
        problem = json.loads(response.body)
        assert problem["code"] == "rate_limited"
        words = problem.get("detail") or problem["message"]
        found = re.fullmatch(r"You have reached the limit of 3 new photos per minute\. Try again in (\d+) s\.", words)
        assert found, words
        wait = float(response.headers["retry-after"]) if response.head else problem["retry_after"]
        assert 0 < wait <= 20, "a third of a minute"
        assert math.isclose(int(found[1]), wait, abs_tol=1.0)
    assert press(server, forwarded_for("192.0.2.8")).status < 400, "another client"
    assert fetch(server, "/latest.jpg", headers=forwarded_for("192.0.2.7")).status == 200, "viewing is not limited"
    for _ in range(5):
        assert press(server, {}).status < 400, "this machine's own address"


def test_a_rate_limit_error_on_the_push_has_the_key_of_its_request(serve: Serve) -> None:
    server = serve(*OPEN_SERVER, "--presses-per-minute", "1")
    with connect(f"ws://{HERE}:{server.port}/ws", additional_headers=forwarded_for("192.0.2.7")) as push:
        response: dict[str, Any] = {}
        for key, kind in (("first", "ready"), ("second", "error")):
            push.send(json.dumps({"type": "capture", "max_age": 0, "request": key}))
            while response.get("type") != kind:
                response = json.loads(push.recv(timeout=20))
    assert (response["code"], response["request"], response["temporary"]) == ("rate_limited", "second", True)
    assert 0 < response["retry_after"] <= 60


def test_a_user_has_one_capture_limit_from_all_addresses(serve: Serve, tmp_path: Path) -> None:
    ada, bob = (bearer(add_token(tmp_path, name, "capture")) for name in ("ada", "bob"))
    server = serve(*SERVER_WITH_LOGIN, "--presses-per-minute", "2")
    assert press_by_api(server, forwarded_for("192.0.2.1", ada)).status == 201
    assert press_by_push(server, forwarded_for("192.0.2.2", ada)).status == 201
    for address in ("192.0.2.1", "192.0.2.3", "2001:db8::1"):
        assert press_by_api(server, forwarded_for(address, ada)).status == 429, address
    assert press_by_api(server, ada).status == 429, "on this machine, too: a user is a user"
    assert press_by_api(server, forwarded_for("192.0.2.1", bob)).status == 201, "from the same address"


def test_an_ipv6_64_network_is_one_client(serve: Serve) -> None:
    server = serve(*OPEN_SERVER, "--presses-per-minute", "1")
    assert press_by_api(server, forwarded_for("2001:db8:0:1::1")).status == 201
    assert press_by_api(server, forwarded_for("2001:db8:0:1:ffff::2")).status == 429
    assert press_by_api(server, forwarded_for("2001:db8:0:2::1")).status == 201
    assert press_by_api(server, forwarded_for("::ffff:192.0.2.1")).status == 201
    assert press_by_api(server, forwarded_for("192.0.2.1")).status == 429


async def test_a_client_that_disconnects_before_its_photo_is_counted(run: Run) -> None:
    running = await run(open=True, trusted_proxies=(HERE,), presses_per_minute=3, dead_time=0.0)
    running.camera.held = True
    headers = forwarded_for("192.0.2.7")
    for number in range(3):
        taken = running.camera.captures
        async with press_and_disconnect(running.client.port, headers):
            await until(lambda before=taken: running.camera.captures > before)  # type: ignore[misc]
        await running.camera.release()
        await until(lambda number=number: running.service.store.totals[0] > number)  # type: ignore[misc]
    async with running.client.post("/api/captures", json={"max_age": 0}, headers=headers) as answer:
        assert answer.status == 429


@contextlib.asynccontextmanager
async def press_and_disconnect(port: int | None, headers: dict[str, str]) -> AsyncIterator[None]:
    """Press on a connection that is aborted when the block ends."""
    _, writer = await asyncio.open_connection(HERE, port)
    lines = ["POST /api/captures HTTP/1.1", f"Host: {HERE}", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join((*lines, "Content-Length: 13", "", '{"max_age":0}')).encode())
    try:
        yield
    finally:
        writer.transport.abort()


def test_a_cached_photo_is_not_counted_and_not_refused(serve: Serve) -> None:
    server = serve(*OPEN_SERVER, "--presses-per-minute", "1")
    assert press_by_api(server, forwarded_for("192.0.2.7")).status == 201
    for _ in range(3):
        assert press_by_api(server, forwarded_for("192.0.2.7")).status == 429
        response = fetch(server, "/api/captures", "POST", forwarded_for("192.0.2.7"), b'{"max_age":600}')
        assert (response.status, json.loads(response.body)["outcome"]) == (200, "cached")
        assert fetch(server, "/latest.jpg?max_age=600", headers=forwarded_for("192.0.2.7")).status == 200


# ---- downloads

MIB = 1024 * 1024


def test_an_address_at_its_download_limit_gets_retry_after(serve: Serve) -> None:
    server = serve(*OPEN_SERVER, "--download-per-hour", "1")
    photo = take_photo(server)
    sent = 0
    while (
        response := fetch(server, photo["url"], headers=forwarded_for("192.0.2.7"))
    ).status == 200 and sent < 3 * MIB:
        sent += len(response.body)
    assert MIB <= sent < MIB + photo["bytes"]
    assert response.status == 429
    problem = json.loads(response.body)
    assert problem["code"] == "rate_limited"
    assert re.fullmatch(
        r"You have reached the limit of 1 MiB per hour\. Try again in \d+ (?:s|minutes)\.", problem["detail"]
    )
    assert 1 <= int(response.headers["retry-after"]) <= 3600 * (sent - MIB) / MIB + 2
    for path in ("/latest.jpg", photo["thumbnail"], "/preview.mjpg"):
        assert fetch(server, path, headers=forwarded_for("192.0.2.7")).status == 429, path
    assert fetch(server, photo["url"], "HEAD", forwarded_for("192.0.2.7")).status == 200, "nothing is sent"
    credentials = {**forwarded_for("192.0.2.7"), "If-None-Match": f'"{photo["snapshot"]}"'}
    assert fetch(server, photo["url"], headers=credentials).status == 304, "nor here"
    assert fetch(server, "/api/snapshots", headers=forwarded_for("192.0.2.7")).status == 200
    assert press_by_push(server, forwarded_for("192.0.2.7")).status == 201, "and the push goes on"
    assert fetch(server, photo["url"], headers=forwarded_for("192.0.2.8")).status == 200
    for _ in range(2 * MIB // photo["bytes"]):
        assert fetch(server, photo["url"]).status == 200, "this machine's own address"


def test_only_the_bytes_of_a_range_are_counted(serve: Serve) -> None:
    server = serve(*OPEN_SERVER, "--download-per-hour", "1")
    photo = take_photo(server)
    for _ in range(2 * MIB // photo["bytes"]):
        response = fetch(server, photo["url"], headers={**forwarded_for("192.0.2.7"), "Range": "bytes=0-9"})
        assert (response.status, len(response.body)) == (206, 10)


def test_the_live_view_ends_at_the_download_limit_that_all_windows_of_a_user_share(
    serve: Serve, tmp_path: Path
) -> None:
    token = bearer(add_token(tmp_path, "ada", "view"))
    server = serve(*SERVER_WITH_LOGIN, "--download-per-hour", "1", "--preview-rate", "60")
    sizes: list[int] = []

    def watch(address: str) -> None:
        connection = http.client.HTTPConnection(HERE, server.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", "/preview.mjpg", headers=forwarded_for(address, token))
            answer = connection.getresponse()
            shown = answer.read()
            assert shown.rstrip().endswith(b"--"), "the last part was closed"
            sizes.append(len(shown))

    threads = [threading.Thread(target=watch, args=(f"192.0.2.{number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sizes) == 2
    assert MIB <= sum(sizes) < 1.5 * MIB
    assert fetch(server, "/preview.mjpg", headers=forwarded_for("192.0.2.9", token)).status == 429


# ---- requests

REQUESTS = ("GET", "/api/cameras"), ("HEAD", "/"), ("GET", "/nothing"), ("POST", "/healthz"), ("GET", "/snapshots")


async def get_statuses(running: Running, address: str, requests: Iterable[tuple[str, str]]) -> list[int]:
    statuses = []
    for method, path in requests:
        async with running.client.request(method, path, headers=forwarded_for(address)) as answer:
            statuses.append(answer.status)
    return statuses


async def test_an_address_at_its_request_limit_gets_429_except_for_files_that_never_change(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_limits, "REFUSAL_DELAY", 0.0)
    clock = MonotonicClock()
    running = await run(open=True, trusted_proxies=(HERE,), requests_per_minute=80)
    running.service.rate_limits.requests.clock = clock
    async with running.client.post("/api/captures", json={}) as answer:
        photo = await answer.json()
    asset = running.app[ASSETS].find_url("page.css")
    uncounted = [("GET", path) for path in (photo["url"], photo["thumbnail"], f"/{asset}")]
    for _ in range(20):
        assert await get_statuses(running, "192.0.2.7", uncounted) == [200] * 3
    assert await get_statuses(running, "192.0.2.7", REQUESTS * 8) == [200, 200, 404, 405, 200] * 8
    assert await get_statuses(running, "192.0.2.7", REQUESTS) == [429] * 5
    async with running.client.get("/api/cameras", headers=forwarded_for("192.0.2.7")) as answer:
        assert answer.headers["Retry-After"] == "1"
        problem = await answer.json(content_type="application/problem+json")
    message = "Your address has reached the limit of 80 requests per minute. Try again in 1 s."
    assert (problem["code"], problem["detail"]) == ("rate_limited", message)
    async with running.client.get("/ws", headers=forwarded_for("192.0.2.7")) as answer:
        assert answer.status == 426, "viewers have a limit of their own"
    assert await get_statuses(running, "192.0.2.7", uncounted) == [200] * 3
    assert await get_statuses(running, "192.0.2.8", REQUESTS) == [200, 200, 404, 405, 200]
    async with running.client.get("/metrics") as answer:
        assert 'dog_connections_refused_total{reason="rate"} 6.0' in await answer.text()
    for _ in range(20):
        assert (await running.client.get("/api/cameras")).status == 200, "this machine's own address"
    clock.now += 3
    assert await get_statuses(running, "192.0.2.7", REQUESTS) == [200, 200, 404, 405, 429], "80 in 60 s are 4 in 3 s"


async def test_a_refused_request_waits_and_delays_no_other_client(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "REFUSAL_DELAY", 100.0)
    running = await run(open=True, trusted_proxies=(HERE,), requests_per_minute=60)
    await get_statuses(running, "192.0.2.7", [("GET", "/healthz")] * 30)
    refused = asyncio.create_task(get_statuses(running, "192.0.2.7", [("GET", "/healthz")]))
    assert await get_statuses(running, "192.0.2.8", [("GET", "/healthz")] * 20) == [200] * 20
    assert not refused.done()
    refused.cancel()


# ---- with a fake clock


def seconds_to_wait(limit: Any, client: str | None) -> float | None:
    """Return the seconds until the next try, or None if it is allowed now."""
    try:
        limit.check(client)
        return None
    except RequestError as error:
        return error.retry_after


@given(st.integers(1, 1000), st.lists(st.floats(0, 120), min_size=1, max_size=60))
def test_a_retry_after_the_given_time_succeeds_and_the_limit_is_never_exceeded(
    per_minute: int, pauses: list[float]
) -> None:
    clock = MonotonicClock()
    presses = RateLimits(Settings(open=True, presses_per_minute=per_minute), clock).captures
    taken, began = 0, clock.now
    for pause in pauses:
        clock.now += pause
        while (wait := seconds_to_wait(presses, "somebody")) is None:
            presses.spend("somebody", 1)
            taken += 1
        assert taken <= per_minute + per_minute * (clock.now - began) / 60 + 1e-6
        clock.now += wait + 0.001  # the time is rounded to milliseconds
        assert seconds_to_wait(presses, "somebody") is None


def test_the_number_of_remembered_clients_is_limited() -> None:
    rate_limits = RateLimits(Settings(open=True), MonotonicClock())
    for number in range(2 * MAX_CLIENTS):
        rate_limits.captures.spend(f"192.0.{number // 256}.{number % 256}", 1)
    assert len(rate_limits.captures.buckets) == MAX_CLIENTS


def test_a_family_never_reaches_a_limit() -> None:
    """Six people behind one address press every four seconds all day.

    Two keep the live view open.
    """
    clock = MonotonicClock()
    rate_limits = RateLimits(Settings(open=True), clock)
    client = client_key(Identity(role="capture", name=None, kind="local"), "192.0.2.7")
    photo, frame = 500_000, 100_000
    for second in range(24 * 3600):
        clock.now += 1
        for member in range(6):
            if (second + member) % 4 == 0:
                assert seconds_to_wait(rate_limits.captures, client) is None
                rate_limits.captures.spend(client, 1)
        assert seconds_to_wait(rate_limits.download, client) is None
        rate_limits.download.spend(client, 6 * photo * 1.5 + 2 * 10 * frame)


@pytest.mark.parametrize(
    ("address", "client"),
    [
        *(("127.0.0.1", None), ("127.8.8.8", None), ("::1", None), ("::ffff:127.0.0.1", None), ("", None)),
        *(("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::/64")),
        *(("fe80::1%eth0", "fe80::/64"), ("unknown", ""), ("_hidden", "")),
    ],
)
def test_only_this_machine_has_no_limits(address: str, client: str | None) -> None:
    assert client_key(Identity(role="capture", name=None, kind="anonymous"), address) == client
    assert client_key(Identity(role="capture", name="ada", kind="session"), address) == "session ada"
