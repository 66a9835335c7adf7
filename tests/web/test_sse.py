"""GET /events: the push as Server-Sent Events, mostly with real processes."""

import asyncio
import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import pytest

from dog.push import hub as hub_module
from dog.push import viewer as viewer_module
from dog.push.encodings import ENCODINGS, EVENT_STREAM, WEBSOCKET, Encoding
from dog.push.viewer import Viewer, WritePath
from tests.conftest import Run, Serve
from tests.support.heard import check_message
from tests.support.pushes import read_close_code, read_until, watch
from tests.support.raw_requests import press
from tests.support.running import Running, until
from tests.support.server_process import ServerProcess
from tests.support.viewers import Connect, make_event, make_hub


class Event(NamedTuple):
    """A received event; `data` is parsed."""

    id: str | None
    type: str
    data: dict[str, Any]


def read_events(lines: Iterator[str]) -> Iterator[Event | str]:
    """Yield events, parsed, and comments and `retry` as text."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.rstrip("\n").partition(":")
        if name in ("id", "event", "data"):
            assert name not in fields
            fields[name] = value.removeprefix(" ")
        elif line.strip():
            yield line.rstrip("\n")
        elif fields:
            check_message(fields["data"])
            yield Event(fields.get("id"), fields["event"], json.loads(fields["data"]))
            fields = {}


class Curl:
    """`curl -N` on a URL, which prints events when they arrive."""

    def __init__(self, url: str, *options: str) -> None:
        self.process = subprocess.Popen(
            ["curl", "--silent", "--show-error", "--no-buffer", "--max-time", "60", *options, url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.all = read_events(iter(self.process.stdout))

    def read(self, *types: str) -> Event:
        """Return the next event of these types, or of any except `viewers`."""
        for one in self.all:
            if isinstance(one, Event) and (one.type in types if types else one.type != "viewers"):
                return one
        raise AssertionError(f"the events ended: {self.end()}")

    def end(self) -> tuple[int, str]:
        """Wait until the response has ended. Return curl's exit status and stderr."""
        _, stderr = self.process.communicate(timeout=30)
        return self.process.returncode, stderr

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def start_curl(server: ServerProcess, query: str = "", *options: str) -> Curl:
    return Curl(f"{server.url}/events{query}", *options)


def open_stream(address: tuple[str, int], head: str = "", method: str = "GET") -> socket.socket:
    """Return a connection that has sent a request for the events."""
    connection = socket.create_connection(address)
    connection.sendall(f"{method} /events HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
    return connection


def read_to_the_end(connection: socket.socket) -> bytes:
    connection.settimeout(20)
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return found


def test_curl_receives_hello_and_each_event_with_its_cursor_as_id(serve: Serve) -> None:
    server = serve("--dead-time", "0")
    with closing(start_curl(server)) as curl:
        assert next(curl.all) == "retry: 2000"
        hello = curl.read()
        assert (hello.type, hello.id, hello.data["viewers"]) == ("hello", hello.data["cursor"], 1)
        snapshot = press(server)
        capturing, ready = curl.read(), curl.read()
        assert [capturing.type, ready.type] == ["capturing", "ready"]
        assert ready.data["snapshot"] == snapshot
        for event in (capturing, ready):
            assert (event.id, event.type) == (event.data["cursor"], event.data["type"])
        assert ready.data["seq"] == capturing.data["seq"] + 1 == hello.data["seq"] + 2


def test_event_stream_sends_the_same_json_as_the_websocket(serve: Serve) -> None:
    server = serve("--dead-time", "0")
    with closing(start_curl(server)) as curl, watch(server) as viewer:
        assert curl.read("hello")
        press(server)
        assert curl.read("ready").data == read_until(viewer, "ready")


def test_viewers_event_has_no_id(serve: Serve) -> None:
    server = serve()
    with closing(start_curl(server)) as curl:
        assert curl.read("hello").id is not None
        with closing(start_curl(server)):
            record_builds = curl.read("viewers")
            while record_builds.data["count"] < 2:
                record_builds = curl.read("viewers")
        assert record_builds.id is None


@pytest.mark.parametrize("how", ["header", "query"])
def test_cursor_resumes_without_losing_or_repeating_events(serve: Serve, how: str) -> None:
    server = serve("--dead-time", "0")
    with closing(start_curl(server)) as curl:
        assert curl.read("hello")
        press(server)
        last = curl.read("ready")
    missed = [press(server) for _ in range(3)]
    by = ("", "--header", f"Last-Event-ID: {last.id}") if how == "header" else (f"?since={last.id}",)
    with closing(start_curl(server, *by)) as curl:
        hello = curl.read()
        assert (hello.type, hello.id, hello.data["recovered"]) == ("hello", last.id, True)
        events = [curl.read() for _ in range(6)]
        assert [event.data["seq"] for event in events] == list(range(last.data["seq"] + 1, last.data["seq"] + 7))
        assert [event.data["snapshot"] for event in events if event.type == "ready"] == missed


def test_last_event_id_overrides_since(serve: Serve) -> None:
    server = serve("--dead-time", "0")
    with closing(start_curl(server)) as curl:
        first = curl.read("hello")
        press(server)
        last = curl.read("ready")
    with closing(start_curl(server, f"?since={first.id}", "--header", f"Last-Event-ID: {last.id}")) as curl:
        assert curl.read().id == last.id


def test_cursor_from_before_a_crash_is_not_recovered(serve: Serve) -> None:
    server = serve("--dead-time", "0")
    with closing(start_curl(server)) as curl:
        assert curl.read("hello")
        snapshot = press(server)
        last = curl.read("ready")
        server.kill()
        assert curl.end()[0] == 0  # the response ended cleanly
    server.start()
    with closing(start_curl(server, "", "--header", f"Last-Event-ID: {last.id}")) as curl:
        hello = curl.read()
        assert (hello.data["recovered"], hello.data["cameras"][0]["latest"]["snapshot"]) == (False, snapshot)
        assert hello.data["epoch"] > last.data["seq"]
        assert hello.id != last.id


def test_shutdown_ends_the_event_stream_without_an_error(serve: Serve) -> None:
    server = serve()
    with closing(start_curl(server)) as curl, watch(server) as viewer:
        assert curl.read("hello")
        server.send(signal.SIGTERM)
        assert curl.end() == (0, "")
        assert read_close_code(viewer) == 1012
    assert server.wait() == 0


# ---- origins, headers and other requests


def address_of(running: Running) -> tuple[str, int]:
    assert running.client.port is not None
    return "127.0.0.1", running.client.port


@pytest.mark.parametrize(("origin", "status"), [("http://elsewhere.example", 403), ("http://friend.example", 200)])
def test_page_of_another_site_receives_events_only_if_origins_allows_it(serve: Serve, origin: str, status: int) -> None:
    server = serve("--origins", "http://friend.example")
    request = urllib.request.Request(f"{server.url}/events", headers={"Origin": origin})
    try:
        response = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as refused:
        response = refused
    with response:
        assert response.status == status
        assert response.headers["Access-Control-Allow-Origin"] == (origin if status == 200 else None)


def test_head_request_has_the_headers_and_keeps_the_connection(serve: Serve) -> None:
    server = serve()
    with open_stream(("127.0.0.1", server.port), method="HEAD") as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        first, rest = read_to_the_end(connection).split(b"\r\n\r\n", 1)
    assert first.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Type: text/event-stream" in first
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert rest.endswith(b'{"status":"ok"}')


def test_event_stream_has_proxy_and_security_headers(serve: Serve) -> None:
    server = serve()
    with open_stream(("127.0.0.1", server.port)) as connection:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
    lines = dict(line.split(": ", 1) for line in head.split(b"\r\n\r\n")[0].decode().split("\r\n")[1:])
    assert lines["Content-Type"] == "text/event-stream"
    assert (lines["Cache-Control"], lines["X-Accel-Buffering"], lines["Connection"]) == ("no-store", "no", "close")
    assert "default-src 'none'" in lines["Content-Security-Policy"]


async def test_client_that_sends_another_request_is_disconnected(run: Run) -> None:
    running = await run()
    connection = open_stream(address_of(running))
    await until(lambda: running.service.hub.count == 1)
    connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until(lambda: running.service.hub.count == 0)
    connection.close()


async def test_pipelined_request_is_ignored_and_the_events_continue(run: Run) -> None:
    running = await run()
    reader, writer = await asyncio.open_connection(*address_of(running))
    for path in (b"/events", b"/healthz"):
        writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    received = await reader.readuntil(b"event: hello\n")
    running.service.hub.publish(make_event(1))
    received += await reader.readuntil(b"event: capturing\n")
    assert received.count(b"HTTP/1.1 ") == 1
    writer.close()


async def test_event_stream_counts_as_one_viewer_and_one_connection(run: Run) -> None:
    running = await run()

    def read(name: str) -> float | None:
        return running.service.metrics.registry.get_sample_value(name)

    connection = open_stream(address_of(running))
    await until(lambda: (read("dog_viewers"), read("dog_connections")) == (1, 1))
    connection.close()
    await until(lambda: (read("dog_viewers"), read("dog_connections")) == (0, 0))


async def test_request_during_shutdown_ends_with_200_so_that_browsers_reconnect(run: Run) -> None:
    running = await run()
    running.service.hub.close(1012, "restarting")
    async with running.client.get("/events") as response:
        assert (response.status, await response.read()) == (200, b"retry: 2000\n\n")


# ---- at the hub


class Listener(Viewer):
    encoding = EVENT_STREAM

    __slots__ = ()


async def test_stalled_viewer_is_dropped_and_others_receive_all_events(
    connect: Connect,
) -> None:
    hub = make_hub()
    stalled, healthy = await connect(hub, receive_buffer=4096, make=Listener), await connect(hub, make=Listener)
    viewer = await connect(hub)
    for one in (stalled, healthy, viewer):
        hub.join(one.viewer, [])
    assert (await viewer.read())["type"] == "hello"
    seq = 0
    while stalled.write_path() is not WritePath.CLOSED:
        seq += 1
        hub.publish(make_event(seq))
        await healthy.reader.readuntil(f"id: 1000-{seq}\n".encode())
        assert (await viewer.read())["seq"] == seq
        assert stalled.transport.get_write_buffer_size() <= viewer_module.MAX_BACKLOG_BYTES + 1024
        assert seq < 10_000, "it is never dropped"
    assert stalled.transport.is_closing()


async def test_stalled_viewer_does_not_delay_shutdown(connect: Connect) -> None:
    hub = make_hub()
    stalled = await connect(hub, receive_buffer=4096, make=Listener)
    hub.join(stalled.viewer, [])
    seq = 0
    while stalled.write_path() is WritePath.DIRECT:
        seq += 1
        hub.publish(make_event(seq))
    hub.close(1012, "restarting")
    await hub.wait_closed()  # or the test times out
    assert stalled.transport.is_closing()


@contextmanager
def record_builds(form: Encoding, built: list[Encoding]) -> Iterator[None]:
    """Record each frame that this encoding builds."""
    build = form.build

    def note(message: Any, text: bytes) -> bytes:
        built.append(form)
        return build(message, text)

    object.__setattr__(form, "build", note)
    yield
    object.__setattr__(form, "build", build)


async def test_event_is_encoded_once_per_encoding(connect: Connect) -> None:
    hub = make_hub()
    listeners = [await connect(hub, make=Listener) for _ in range(5)]
    for one in (*listeners, *[await connect(hub) for _ in range(5)]):
        hub.join(one.viewer, [])
    built: list[Encoding] = []
    with record_builds(EVENT_STREAM, built), record_builds(WEBSOCKET, built):
        hub.publish(make_event(1))
    for listener in listeners:
        await listener.reader.readuntil(b"id: 1000-1\n")
    assert sorted(built, key=ENCODINGS.index) == list(ENCODINGS)


async def test_comments_are_sent_and_a_listening_viewer_is_never_dropped_as_silent(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "PING_INTERVAL", 0.02)
    running = await run()
    reader, writer = await asyncio.open_connection(*address_of(running))
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"event: hello\n")
    monkeypatch.setattr(running.service.hub, "now", lambda: time.monotonic() + 2 * hub_module.SILENCE_TIMEOUT)
    for _ in range(3):
        await reader.readuntil(b"\n:\n\n")
    assert running.service.hub.count == 1
    writer.close()
