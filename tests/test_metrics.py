"""GET /metrics: each metric changes correctly, and the docs list them."""

import asyncio
import contextlib
import datetime as dt
import http.client
import json
import os
import platform
import re
import resource
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from websockets.sync.client import connect

import dog
from dog import metrics as metrics_module
from dog.errors import BadImage, CameraBusy, CameraFault, CameraTimeout, CaptureError, StorageError, StorageFull
from dog.metrics import Metrics
from dog.protocol import Capturing, Outcome, timestamp
from dog.push import hub as hub_module
from dog.push.hub import SILENCE_TIMEOUT
from dog.snapshots import SnapshotStore
from dog.web.connections.refusals import Reason
from tests.conftest import Run, Serve
from tests.support.cameras import make_picture
from tests.support.running import Events, Running, until
from tests.support.server_process import ROOT

DOCS = (ROOT / "docs" / "metrics.md").read_text()
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
PROMTOOL = shutil.which("promtool", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))

requires_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool; it is in Debian's package prometheus")
requires_linux = pytest.mark.skipif(sys.platform != "linux", reason="process metrics are read from Linux' /proc")

MetricValues = dict[str, float]
"""Values of series by name and labels, as Prometheus writes them."""


def parse(text: str) -> MetricValues:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


async def read_text(running: Running) -> str:
    async with running.client.get("/metrics") as answer:
        assert answer.status == 200
        return await answer.text()


async def read_numbers(running: Running) -> MetricValues:
    return parse(await read_text(running))


def changes(before: MetricValues, after: MetricValues) -> MetricValues:
    """Return what was counted in between.

    For histograms, it is the number of observations.
    """
    assert before.keys() == after.keys(), "a series was added or removed"
    moved = {name: after[name] - before[name] for name in before if after[name] != before[name]}
    excluded = re.compile(r"dog_loop_lag|process_|\w+_(bucket|sum)\b")
    return {name: change for name, change in moved.items() if not excluded.match(name)}


async def test_one_capture_request_changes_each_metric_once(run: Run) -> None:
    running = await run()
    before = await read_numbers(running)
    async with running.client.post("/api/captures") as answer:
        size = (await answer.json())["bytes"]
    assert changes(before, await read_numbers(running)) == {
        'dog_presses_total{camera="main",outcome="started"}': 1,
        'dog_captures_total{camera="main",outcome="ready"}': 1,
        'dog_capture_duration_seconds_count{camera="main"}': 1,
        "dog_fanout_duration_seconds_count": 2,
        "dog_snapshots": 1,
        "dog_snapshots_bytes": size,
    }


async def test_capture_requests_are_counted_by_the_outcome_of_their_reply(run: Run) -> None:
    running = await run(dead_time=60.0)
    running.camera.held = True
    before = await read_numbers(running)
    async with running.watch() as events:
        outcomes = []
        for max_age in (None, None, None, 0):
            await events.say(type="capture", max_age=max_age)
            outcomes.append((await events.read_until("reply"))[-1]["outcome"])
        await running.camera.release()
        await events.read_until("ready")
        await events.say(type="capture")
        outcomes.append((await events.read_until("reply"))[-1]["outcome"])
    assert outcomes == ["started", "joined", "joined", "queued", "cached"]
    moved = changes(before, await read_numbers(running))
    pressed = {name: count for name, count in moved.items() if name.startswith("dog_presses")}
    assert pressed == {
        f'dog_presses_total{{camera="main",outcome="{outcome}"}}': outcomes.count(outcome) for outcome in set(outcomes)
    }


@pytest.mark.parametrize(
    ("trouble", "outcome"),
    [
        (CameraTimeout("Slow."), "timeout"),
        (CameraFault("Broken."), "camera_error"),
        (CameraBusy("Taken."), "camera_busy"),
        (BadImage("Torn."), "bad_image"),
        (StorageFull("Full."), "storage_full"),
        (StorageError("Worn."), "storage_error"),
        (b"no picture", "bad_image"),
        (OSError(24, "Too many open files"), "camera_error"),
        (ZeroDivisionError("inside"), "camera_error"),
    ],
)
async def test_a_failed_capture_is_counted_by_its_error_code(
    run: Run, trouble: bytes | BaseException, outcome: str
) -> None:
    running = await run(dead_time=0.0)
    running.camera.results.append(trouble)
    before = await read_numbers(running)
    async with running.client.post("/api/captures") as answer:
        assert (await answer.json())["code"] == outcome
    assert changes(before, await read_numbers(running)) == {
        'dog_presses_total{camera="main",outcome="started"}': 1,
        f'dog_captures_total{{camera="main",outcome="{outcome}"}}': 1,
        'dog_capture_duration_seconds_count{camera="main"}': 1,
        "dog_fanout_duration_seconds_count": 2,
    }


async def test_a_capture_ended_by_a_stop_is_counted(run: Run) -> None:
    running = await run()
    running.camera.held = True
    camera = running.service.find_camera(None)
    camera.request()
    await running.camera.exposing.wait()
    await camera.stop(0)
    numbers = await read_numbers(running)
    assert numbers['dog_captures_total{camera="main",outcome="camera_error"}'] == 1


@pytest.mark.parametrize("trouble", [None, CameraFault("Broken.")], ids=["ready", "failed"])
async def test_the_capture_duration_is_from_capturing_to_its_end(
    run: Run, monkeypatch: pytest.MonkeyPatch, trouble: CaptureError | None
) -> None:
    running = await run(dead_time=0.0)
    camera = running.service.find_camera(None)
    now = 1000.0
    monkeypatch.setattr(camera, "_clock", lambda: now)
    running.camera.held = True
    if trouble is not None:
        running.camera.results.append(trouble)
    camera.request()
    await running.camera.exposing.wait()
    now += 7.0
    async with running.watch() as events:
        await running.camera.release()
        await events.read_until("ready", "failed")
    numbers = await read_numbers(running)
    name = "dog_capture_duration_seconds"
    assert numbers[f'{name}_sum{{camera="main"}}'] == 7
    assert numbers[f'{name}_bucket{{camera="main",le="5.0"}}'] == 0
    assert numbers[f'{name}_bucket{{camera="main",le="10.0"}}'] == 1


async def test_camera_up_is_0_while_the_camera_is_offline(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.captures.camera_task.MIN_RETRY_INTERVAL", 0.001)
    running = await run(dead_time=0.0)
    name = 'dog_camera_up{camera="main"}'
    async with running.watch() as events:
        assert (await read_numbers(running))[name] == 1
        running.camera.offline = True
        await events.say(type="capture")
        await events.read_until("camera")
        numbers = await read_numbers(running)
        assert numbers[name] == 0
        assert numbers['dog_captures_total{camera="main",outcome="camera_offline"}'] == 1
        running.camera.offline = False
        await events.read_until("camera")
        assert (await read_numbers(running))[name] == 1


async def count_viewers(running: Running, events: Events) -> tuple[int, int, float]:
    """Return the number of viewers in the page, a `hello` and /metrics."""
    async with running.client.get("/") as answer:
        page = re.search(r">(\d+) watching<", await answer.text())
        assert page
    await events.say(type="resume")
    hello = (await events.read_until("hello"))[-1]
    return int(page[1]), hello["viewers"], (await read_numbers(running))["dog_viewers"]


async def test_the_page_hello_and_metrics_have_the_same_number_of_viewers(run: Run) -> None:
    running = await run()
    assert (await read_numbers(running))["dog_viewers"] == 0
    async with running.watch() as first:
        assert first.hello["viewers"] == 1
        assert await count_viewers(running, first) == (1, 1, 1)
        async with running.watch() as second, running.watch():
            assert second.hello["viewers"] == 2
            assert await count_viewers(running, second) == (3, 3, 3)
            assert (await read_numbers(running))["dog_connections"] == 3
        await until(lambda: running.service.hub.count == 1)
        assert await count_viewers(running, first) == (1, 1, 1)


async def test_a_resume_is_counted_as_recovered_if_all_events_were_replayed(run: Run) -> None:
    running = await run(dead_time=0.0)
    before = await read_numbers(running)
    async with running.watch() as events:
        cursor = events.hello["cursor"]
        await events.say(type="resume")  # without a cursor it is not a resume
        await events.say(type="resume", cursor=cursor)
        await events.say(type="resume", cursor="1-1")
        await events.say(type="resume", cursor="nonsense")
        for _ in range(4):
            await events.read_until("hello")
        async with running.watch(f"?since={cursor}"):
            pass
        await until(lambda: running.service.hub.count == 1)
        assert changes(before, await read_numbers(running)) == {
            'dog_resumes_total{recovered="true"}': 2,
            'dog_resumes_total{recovered="false"}': 2,
            "dog_viewers": 1,
            "dog_connections": 1,
        }


@contextlib.asynccontextmanager
async def watch_without_reading(running: Running) -> AsyncIterator[socket.socket]:
    """Connect a viewer with a small receive buffer that does not read."""
    count = running.service.hub.count
    port = running.client.port
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", port))
        await loop.sock_sendall(
            connection,
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        )
        await until(lambda: running.service.hub.count > count)
        yield connection


def make_event() -> Capturing:
    return Capturing(at=timestamp(dt.datetime.now(dt.UTC)), camera="main", capture=1)


async def test_a_viewer_that_does_not_read_is_counted_as_slow(run: Run) -> None:
    running = await run()
    before = await read_numbers(running)
    hub = running.service.hub
    async with watch_without_reading(running):
        while hub.count:
            hub.publish(make_event())
            await asyncio.sleep(0)
        assert changes(before, await read_numbers(running)) == {
            'dog_viewers_dropped_total{reason="slow"}': 1,
            "dog_fanout_duration_seconds_count": hub.seq,
        }


async def test_a_viewer_that_sends_nothing_is_counted_as_silent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "PING_INTERVAL", 0.025)
    running = await run()
    before = await read_numbers(running)
    hub = running.service.hub
    now = hub.now()
    async with watch_without_reading(running):
        monkeypatch.setattr(hub, "now", lambda: now + SILENCE_TIMEOUT + 60)
        await until(lambda: hub.count == 0)
        assert changes(before, await read_numbers(running)) == {'dog_viewers_dropped_total{reason="silent"}': 1}


async def test_the_event_lag_is_the_time_until_a_slow_viewer_catches_up(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await run()
    hub = running.service.hub
    now = hub.now()
    monkeypatch.setattr(hub, "now", lambda: now)
    async with watch_without_reading(running) as connection:
        while not hub._buffered:
            hub.publish(make_event())
        now += 3.0
        assert (await read_numbers(running))["dog_event_lag_seconds_count"] == 0
        while hub._buffered:
            await asyncio.get_running_loop().sock_recv(connection, 65536)
        numbers = await read_numbers(running)
        assert numbers["dog_event_lag_seconds_sum"] == 3
        assert numbers['dog_event_lag_seconds_bucket{le="2.5"}'] == 0
        assert numbers['dog_event_lag_seconds_bucket{le="5.0"}'] == 1
        assert numbers['dog_viewers_dropped_total{reason="slow"}'] == 0


@pytest.mark.parametrize(
    ("setting", "reason", "path"),
    [("--max-connections", "total", "/healthz"), ("--max-viewers-per-address", "address", "/events")],
)
def test_open_and_refused_connections_are_counted(serve: Serve, setting: str, reason: str, path: str) -> None:
    server = serve(setting, "2")

    def fetch(path: str) -> tuple[int, str]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    before = parse(fetch("/metrics")[1])
    assert before["dog_connections"] == 1
    address = f"ws://127.0.0.1:{server.port}/ws"
    with connect(address) as first:
        first.recv()
        assert changes(before, parse(fetch("/metrics")[1])) == {"dog_connections": 1, "dog_viewers": 1}
        with connect(address) as second:
            second.recv()
            assert [fetch(path)[0] for _ in range(2)] == [503, 503]
        while (after := parse(fetch("/metrics")[1]))["dog_viewers"] > 1:
            pass
    assert changes(before, after) == {
        f'dog_connections_refused_total{{reason="{reason}"}}': 2,
        "dog_connections": 1,
        "dog_viewers": 1,
    }


async def test_the_count_and_bytes_of_snapshots_match_the_folder_even_after_a_restart(run: Run, tmp_path: Path) -> None:
    def count() -> tuple[int, int]:
        pictures = [p for p in (tmp_path / "snapshots").glob("*/*/*/*.jpg") if ".thumbnail" not in p.name]
        return len(pictures), sum(picture.stat().st_size for picture in pictures)

    async def read(running: Running) -> tuple[float, float]:
        numbers = await read_numbers(running)
        return numbers["dog_snapshots"], numbers["dog_snapshots_bytes"]

    running = await run(dead_time=0.0)
    assert await read(running) == (0, 0)
    for width in (20, 40, 60):
        running.camera.results.append(make_picture(size=(width, 30)))
        async with running.client.post("/api/captures", json={"max_age": 0}) as answer:
            assert answer.status == 201
    assert await read(running) == count()
    assert count()[0] == 3
    await running.client.close()

    next((tmp_path / "snapshots").glob("*/*/*/*[!l].jpg")).unlink()
    running = await run(dead_time=0.0)
    assert await read(running) == count()
    assert count()[0] == 2
    async with running.client.post("/api/captures", json={"max_age": 0}):
        pass
    assert await read(running) == count()
    assert count()[0] == 3


async def test_a_rebuilt_index_counts_snapshots_again(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    await store.open()
    try:
        picture = make_picture()
        for capture in (1, 2):
            at = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
            snapshot = await store.save(picture, camera="main", capture=capture, captured_at=at)
        assert store.totals == (2, 2 * len(picture))
        store.image_path(snapshot).unlink()
        assert store._album._index is not None
        await store._run(store._thread, store._album._index.close)  # its next use fails
        assert await store.count() == 1
        assert store.totals == (1, len(picture))
    finally:
        await store.close()


async def test_the_loop_lag_is_measured_by_the_given_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "LOOP_CHECK_INTERVAL", 0.0)
    metrics = Metrics("test")
    times = [10.0, 10.0, 20.0, 20.3, 30.0, 29.0]  # pairs: before and after each sleep
    times.reverse()
    with pytest.raises(IndexError):
        await metrics.watch_loop(times.pop)
    numbers = parse(generate_latest(metrics.registry).decode())
    assert numbers["dog_loop_lag_seconds_count"] == 3
    assert numbers["dog_loop_lag_seconds_sum"] == pytest.approx(0.3)
    assert numbers['dog_loop_lag_seconds_bucket{le="0.25"}'] == 2
    assert numbers['dog_loop_lag_seconds_bucket{le="0.5"}'] == 3


async def test_a_running_service_measures_its_loop_lag_repeatedly(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "LOOP_CHECK_INTERVAL", 0.001)
    running = await run()
    while (await read_numbers(running))["dog_loop_lag_seconds_count"] < 3:
        pass


async def test_every_series_exists_from_the_first_scrape(run: Run) -> None:
    numbers = await read_numbers(await run())
    failed = re.search(r"^\| `failed` \| .*? \| (.*) \|$", PROTOCOL, re.MULTILINE)
    assert failed
    captures = {"ready", *re.findall(r"\w+", failed[1])}
    labels = {
        "dog_presses_total": {f'camera="main",outcome="{outcome}"' for outcome in get_args(Outcome)},
        "dog_captures_total": {f'camera="main",outcome="{outcome}"' for outcome in captures},
        "dog_capture_duration_seconds_count": {'camera="main"'},
        "dog_camera_up": {'camera="main"'},
        "dog_viewers_dropped_total": {'reason="slow"', 'reason="silent"'},
        "dog_resumes_total": {'recovered="true"', 'recovered="false"'},
        "dog_connections_refused_total": {f'reason="{reason}"' for reason in (*get_args(Reason), "rate")},
    }
    for name, expected in labels.items():
        series = {key: value for key, value in numbers.items() if key.split("{")[0] == name}
        assert series.keys() == {f"{name}{{{label}}}" for label in expected}
        assert set(series.values()) == {1 if name == "dog_camera_up" else 0}


async def test_the_build_metric_has_the_versions_of_dog_and_python(run: Run) -> None:
    numbers = await read_numbers(await run())
    labels = f'python="{platform.python_version()}",version="{dog.__version__}"'
    assert numbers[f"dog_build_info{{{labels}}}"] == 1


@requires_linux
async def test_the_process_metrics_are_of_this_process(run: Run) -> None:
    numbers = await read_numbers(await run())
    assert numbers["process_max_fds"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert 0 < numbers["process_open_fds"] <= numbers["process_max_fds"]


TEXT = "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, TEXT),
        ("*/*", TEXT),
        ("text/html, application/json;q=0.9", TEXT),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5, text/plain;version=0.0.4;q=0.2",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
        ("application/openmetrics-text;version=abc", TEXT),
        ("text/plain; version=1.x", TEXT),
        ("text/plain; version=", TEXT),
        (";;=,,=;version", TEXT),
    ],
)
async def test_the_accept_header_chooses_the_format_of_the_metrics(
    run: Run, accept: str | None, content_type: str
) -> None:
    running = await run()
    headers = {} if accept is None else {"Accept": accept}
    async with running.client.get("/metrics", headers=headers) as answer:
        text = await answer.text()
        assert (answer.status, answer.headers["Content-Type"]) == (200, content_type)
        assert answer.headers["Cache-Control"] == "no-store"
    families = list(text_string_to_metric_families(text) if content_type == TEXT else parse_openmetrics(text))  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    assert {"dog_captures", "dog_viewers", "dog_fanout_duration_seconds"} <= names
    assert not any(name.endswith("_created") for name in names)


async def test_an_accept_header_that_is_not_text_is_accepted(run: Run) -> None:
    running = await run()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.client.port)
    accept = b"application/openmetrics-text;version=1.0.0.\xff\xe9"
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: " + accept + b"\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    assert b"\r\n\r\n" in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_head_has_no_body_and_post_is_refused(run: Run) -> None:
    running = await run()
    async with running.client.head("/metrics") as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, TEXT)
        assert int(answer.headers["Content-Length"]) > 1000
        assert await answer.read() == b""
    async with running.client.post("/metrics") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


class ConcurrencyProbe(Collector):
    """A collector that records its threads, and if collections overlap."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.overlapped = False
        self._barrier = threading.Barrier(2)

    def collect(self) -> Iterator[Metric]:
        self.threads.add(threading.get_ident())
        with contextlib.suppress(threading.BrokenBarrierError):
            self._barrier.wait(0.2)
            self.overlapped = True
        yield GaugeMetricFamily("probe", "A number.", 1)


async def test_metrics_are_rendered_in_a_thread_one_at_a_time(run: Run) -> None:
    running = await run()
    probe = ConcurrencyProbe()
    running.service.metrics.registry.register(probe)
    texts = await asyncio.gather(*(read_text(running) for _ in range(4)))
    assert all("probe 1.0" in text for text in texts)
    assert threading.get_ident() not in probe.threads
    assert not probe.overlapped


def read_rows() -> dict[str, tuple[str, set[str], str]]:
    """Return the metrics of the docs' table, with type, labels and unit."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ((?:`\w+`(?:, )?)*) ?\| ([\w ]*?) ?\| \S.* \|$", DOCS, re.MULTILINE)
    return {name: (kind, set(re.findall(r"\w+", labels)), unit) for name, kind, labels, unit in rows}


@requires_linux
async def test_the_docs_list_exactly_the_metrics_with_their_types_and_labels(run: Run) -> None:
    served = {}
    for family in text_string_to_metric_families(await read_text(await run())):
        name = family.name + ("_total" if family.type == "counter" else "")
        served[name] = (family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
    assert {name: (kind, labels) for name, (kind, labels, _) in read_rows().items()} == served


def test_a_metric_that_ends_in_a_unit_has_that_unit_in_the_docs() -> None:
    rows = read_rows()
    assert len(rows) > 15
    for name, (_, _, unit) in rows.items():
        words = name.removesuffix("_total").split("_")
        for base in ("seconds", "bytes"):
            assert (words[-1] == base) == unit.startswith(base), name


@requires_linux
async def test_the_queries_in_the_docs_use_existing_metrics(run: Run) -> None:
    names = {name.split("{")[0] for name in await read_numbers(await run())}
    used = set(
        re.findall(r"\b(?:dog|process)_\w+", " ".join(re.findall(r"```(?:promql|yaml)\n(.*?)```", DOCS, re.DOTALL)))
    )
    assert len(used) > 5
    assert used <= names


def check(arguments: list[str | Path], text: str = "") -> None:
    assert PROMTOOL
    result = subprocess.run([PROMTOOL, *arguments], input=text, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@requires_promtool
async def test_promtool_accepts_the_names_of_the_metrics(run: Run) -> None:
    check(["check", "metrics"], await read_text(await run()))


@requires_promtool
def test_promtool_accepts_the_configuration_queries_and_alerts_of_the_docs(tmp_path: Path) -> None:
    configuration, rules = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    (tmp_path / "alerts.yml").write_text(rules)
    (tmp_path / "prometheus.yml").write_text("rule_files: [alerts.yml, questions.yml]\n" + configuration)
    questions = [" ".join(block.split()) for block in re.findall(r"```promql\n(.*?)```", DOCS, re.DOTALL)]
    recorded = [{"record": f"question_{number}", "expr": expression} for number, expression in enumerate(questions)]
    (tmp_path / "questions.yml").write_text(json.dumps({"groups": [{"name": "questions", "rules": recorded}]}))
    check(["check", "config", tmp_path / "prometheus.yml"])
