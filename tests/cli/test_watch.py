"""`dog watch`, as a process with a real server. Both are killed."""

import asyncio
import json
import signal
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import web

from dog.cli.exit_status import Status
from dog.cli.watch_state import STATE_FILE
from tests.conftest import Serve
from tests.support.camera_programs import write_program
from tests.support.messages import make_body, make_hello
from tests.support.raw_requests import delete, press
from tests.support.server_process import ServerProcess, run_dog
from tests.support.watch_process import WatchProcess

STILL = ("--dead-time", "0")


Watch = Callable[..., WatchProcess]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    watchers: list[WatchProcess] = []

    def start(*arguments: str) -> WatchProcess:
        watchers.append(WatchProcess(*arguments, cwd=tmp_path))
        return watchers[-1]

    yield start
    for watcher in watchers:
        if watcher.process.poll() is None:
            watcher.end()
        assert not any("Traceback" in line for line in watcher.lines), watcher.lines


def assert_kept(folder: Path, server: ServerProcess, taken: list[str]) -> None:
    """Check that the folder has each photo once and nothing else."""
    files = [file for file in folder.iterdir() if STATE_FILE not in file.name]
    assert Counter(file.stem.rpartition("_")[2] for file in files) == Counter(taken)
    for file in files:
        with urllib.request.urlopen(f"{server.url}/snapshots/{file.stem.rpartition('_')[2]}.jpg") as answer:
            assert file.read_bytes() == answer.read()


def test_watch_misses_no_photo_if_the_server_is_killed_and_restarted(
    serve: Serve, watch: Watch, tmp_path: Path
) -> None:
    server = serve(*STILL)
    press(server)  # before dog watch runs
    watcher = watch(server.url, "--save", "kept", "--exec", "echo had {id}")
    watcher.wait_for("connected")
    taken = [press(server), press(server)]
    server.kill()
    server = serve(*STILL, "--port", str(server.port))
    taken += [press(server) for _ in range(3)]
    watcher.wait_for("had ", 5)
    watcher.wait_for("connected", 2)
    taken.append(press(server))
    watcher.wait_for(f"had {taken[-1]}")
    assert [line for line in watcher.lines if line.startswith("had ")] == [f"had {one}" for one in taken]
    assert_kept(tmp_path / "kept", server, taken)


def test_watch_continues_where_it_was_killed(serve: Serve, watch: Watch, tmp_path: Path) -> None:
    server = serve(*STILL)
    arguments = (server.url, "--save", "kept", "--exec", "echo had {id}")
    watcher = watch(*arguments)
    watcher.wait_for("connected")
    taken = [press(server), press(server)]
    watcher.wait_for(f"had {taken[-1]}")
    press_at_the_kill = [press(server) for _ in range(3)]
    watcher.end()
    taken += [*press_at_the_kill, press(server)]
    again = watch(*arguments)
    again.wait_for(f"had {taken[-1]}")
    assert not any("missed" in line for line in again.lines)
    taken.append(press(server))
    again.wait_for(f"had {taken[-1]}")
    assert_kept(tmp_path / "kept", server, taken)


def test_watch_catches_up_after_both_were_killed(serve: Serve, watch: Watch, tmp_path: Path) -> None:
    server = serve(*STILL)
    arguments = (server.url, "--save", "kept", "--exec", "echo had {id}")
    watcher = watch(*arguments)
    watcher.wait_for("connected")
    taken = [press(server)]
    watcher.wait_for(f"had {taken[-1]}")
    watcher.end()
    taken.append(press(server))
    server.kill()
    server = serve(*STILL, "--port", str(server.port))
    taken += [press(server) for _ in range(3)]
    again = watch(*arguments)
    again.wait_for("missed more than the server remembers")
    again.wait_for(f"had {taken[-1]}")
    again.end()
    last = watch(*arguments)
    taken.append(press(server))
    last.wait_for(f"had {taken[-1]}")
    lines = [*watcher.lines, *again.lines, *last.lines]
    had = [line.removeprefix("had ") for line in lines if line.startswith("had ")]
    assert list(dict.fromkeys(had)) == taken
    assert_kept(tmp_path / "kept", server, taken)


def test_watch_does_not_repeat_a_photo_whose_file_was_written_before_the_kill(
    serve: Serve, watch: Watch, tmp_path: Path
) -> None:
    server = serve(*STILL)
    kept = tmp_path / "kept"
    watcher = watch(server.url, "--save", "kept")
    watcher.wait_for("connected")
    taken = [press(server)]
    watcher.wait_for(taken[0])
    taken.append(press(server))
    watcher.wait_for(taken[1])
    taken.append(press(server))
    watcher.wait_for(taken[2])
    watcher.end()
    # as after a kill between the file and the state file
    place = json.loads((kept / STATE_FILE).read_text())
    epoch, _, seq = place["cursor"].partition("-")
    ready_before = f"{epoch}-{int(seq) - (2 if place['had'][-1] == taken[2] else 0)}"
    place |= {"cursor": ready_before, "had": taken[:2]}
    (kept / STATE_FILE).write_text(json.dumps(place))
    (kept / f".20261122T000000.000Z_main_{taken[0]}.jpg.1.part").write_text("half")
    before = {file.name: file.stat().st_ino for file in kept.iterdir() if file.suffix == ".jpg"}
    again = watch(server.url, "--save", "kept")
    again.wait_for(taken[2])
    again.wait_for("watching")
    again.end()
    assert {file.name: file.stat().st_ino for file in kept.iterdir() if file.name != STATE_FILE} == before
    assert_kept(kept, server, taken)


def test_watch_does_not_repeat_a_caught_up_photo_whose_event_follows(
    serve: Serve, watch: Watch, tmp_path: Path
) -> None:
    server = serve(*STILL)
    arguments = (server.url, "--save", "kept", "--exec", "echo had {id}")
    watcher = watch(*arguments)
    watcher.wait_for("connected")
    taken = [press(server)]
    watcher.wait_for(f"had {taken[0]}")
    watcher.end()
    state = tmp_path / "kept" / STATE_FILE
    place = json.loads(state.read_text()) | {"had": taken}  # as after a kill once it had caught up
    epoch = place["cursor"].partition("-")[0]  # between the hello, whose cursor is kept, and the list
    state.write_text(json.dumps(place | {"cursor": f"{epoch}-0"}))
    again = watch(*arguments)
    taken.append(press(server))
    again.wait_for(f"had {taken[1]}")
    assert f"had {taken[0]}" not in again.lines
    assert_kept(tmp_path / "kept", server, taken)


def test_watch_reports_and_skips_a_photo_that_was_deleted(serve: Serve, watch: Watch, tmp_path: Path) -> None:
    server = serve(*STILL)
    watcher = watch(server.url, "--save", "kept")
    watcher.wait_for("connected")
    first = press(server)
    watcher.wait_for(first)
    watcher.end()
    gone = press(server)
    delete(server, gone)
    last = press(server)
    again = watch(server.url, "--save", "kept")
    again.wait_for(f"Photo {gone} was deleted before it was downloaded")
    again.wait_for(last)
    assert_kept(tmp_path / "kept", server, [first, last])
    delete(server, first)  # from now on, files here are kept
    again.wait_for(f"photos removed by a user: {first}")
    assert list((tmp_path / "kept").glob(f"*_{first}.jpg"))


def test_watch_runs_commands_in_sequence_without_a_shell_and_reports_failures(
    serve: Serve, watch: Watch, tmp_path: Path
) -> None:
    program = write_program(
        tmp_path / "note.sh",
        '#!/bin/sh\n[ -s "$1" ] && [ ! -e busy ] && : > busy && echo "$@" >> noted && rm busy\nexit 7\n',
    )
    server = serve(*STILL)
    watcher = watch(server.url, "--exec", f"{program} {{path}} {{url}} {{camera}} $HOME '{{id}} {{other}}'")
    watcher.wait_for("connected")
    taken = [press(server) for _ in range(3)]
    watcher.wait_for("ended with status 7 for photo", 3)
    noted = [line.split() for line in (tmp_path / "noted").read_text().splitlines()]
    assert [words[1:] for words in noted] == [
        [f"{server.url}/snapshots/{one}.jpg", "main", "$HOME", one, "{other}"] for one in taken
    ]
    watcher.end(signal.SIGINT)
    assert not any(Path(words[0]).exists() for words in noted)


class StandIn(threading.Thread):
    """A server that sends these messages, and `picture` as each image."""

    def __init__(self, messages: list[dict[str, Any]], picture: bytes = b"") -> None:
        super().__init__()
        self._messages = messages
        self._picture = picture
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._end = asyncio.Event()
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self.join()

    def run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/ws", self._push)
        app.router.add_get("/{path:.*}", self._give)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._end.wait()
        await runner.cleanup()

    async def _push(self, request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        for message in self._messages:
            await response.send_json(message)
        await response.receive()
        return response

    async def _give(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._picture, content_type="image/jpeg")


def number(seq: int, **fields: object) -> dict[str, Any]:
    return {"seq": seq, "cursor": f"7-{seq}", "at": "2026-11-22T11:14:38.123Z", "camera": "main"} | fields


def test_watch_prints_an_invalid_or_out_of_range_time_unchanged(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    times = ["garbage\x1b[31m", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+05:00"]
    events = [number(seq, type="capturing", capture=seq, at=at) for seq, at in enumerate(times, 1)]
    with StandIn([make_hello(), *events]) as server:
        watcher = watch(server.url)
        watcher.wait_for("taking a photo", 3)
        watcher.end()
    assert [line.partition("  ")[0] for line in watcher.lines[1:]] == ["garbage\\x1b[31m", *times[1:]]


def test_watch_reports_and_skips_a_damaged_photo(watch: Watch, tmp_path: Path) -> None:
    bodies = [make_body(seq, bytes=5, type="ready", sha256=sha256) for seq, sha256 in ((1, "0" * 64), (2, ""))]
    events = [number(seq, **body) for seq, body in enumerate(bodies, 1)]
    with StandIn([make_hello(), *events], picture=b"12345") as server:
        watcher = watch(server.url, "--save", "kept", "--exec", "echo had {id}")
        watcher.wait_for("had p2")
        watcher.end()
    assert any("snapshots/p1.jpg of " in line and "arrived damaged 3 times" in line for line in watcher.lines)
    assert [file.read_bytes() for file in (tmp_path / "kept").glob("*.jpg")] == [b"12345"]


def test_ctrl_c_ends_watch_without_a_message(serve: Serve, watch: Watch) -> None:
    watcher = watch(serve().url)
    watcher.wait_for("watching")
    assert watcher.end(signal.SIGINT) == Status.INTERRUPTED
    assert [line.split("  ")[-1].split()[-1] for line in watcher.lines] == ["main", "watching"]


def test_watch_prints_events_as_json(serve: Serve, watch: Watch, tmp_path: Path) -> None:
    server = serve(*STILL)
    watcher = watch(server.url, "--json", "--save", "kept")
    watcher.wait_for("hello")
    snapshot = press(server)
    watcher.wait_for('"ready"')
    told: dict[str, Any] = {event["type"]: event for event in map(json.loads, watcher.lines)}
    watcher.end()
    again = watch(server.url, "--json")
    again.wait_for("hello")
    for photo in (told["ready"], json.loads(again.lines[0])["cameras"][0]["latest"]):
        for field in ("url", "page", "thumbnail"):
            assert photo[field].startswith(f"{server.url}/snapshots/{snapshot}")
    assert told["ready"]["snapshot"] == snapshot
    assert Path(tmp_path, told["ready"]["path"]).stat().st_size == told["ready"]["bytes"]
    assert told["capturing"]["capture"] == told["ready"]["capture"]


def test_watch_shows_only_the_selected_camera(serve: Serve, watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "dog.toml").write_text('[cameras.front]\ncamera = "test"\n[cameras.back]\ncamera = "test"\n')
    server = serve(*STILL)
    watcher = watch(server.url, "--camera", "back", "--save", "kept")
    watcher.wait_for("connected")
    for camera in ("front", "back"):
        request = urllib.request.Request(f"{server.url}/api/captures", json.dumps({"camera": camera}).encode())
        urllib.request.urlopen(request, timeout=20).close()
    watcher.wait_for("back: 1")
    assert not any("front: " in line for line in watcher.lines)
    assert [file.name.split("_")[1] for file in (tmp_path / "kept").glob("*.jpg")] == ["back"]
    ended = run_dog("watch", server.url, "--camera", "nope", cwd=tmp_path)
    assert ended.returncode == Status.USAGE
    assert "the server has no camera 'nope'. Name one of front, back." in ended.stderr


def test_watch_refuses_a_folder_of_another_watcher_or_server(serve: Serve, watch: Watch, tmp_path: Path) -> None:
    server = serve()
    watcher = watch(server.url, "--save", "kept")
    watcher.wait_for("connected")
    ended = run_dog("watch", server.url, "--save", "kept", cwd=tmp_path)
    assert ended.returncode == Status.USAGE
    assert "another `dog watch` saves into 'kept'" in ended.stderr
    press(server)
    watcher.wait_for("main: 1")
    watcher.end()
    ended = run_dog("watch", server.url.replace("127.0.0.1", "localhost"), "--save", "kept", cwd=tmp_path)
    assert ended.returncode == Status.USAGE
    assert f"has the photos of {server.url}. Name another folder" in ended.stderr
    (tmp_path / "kept" / STATE_FILE).write_text("{")
    ended = run_dog("watch", server.url, "--save", "kept", cwd=tmp_path)
    assert ended.returncode == Status.USAGE
    assert "can't be read" in ended.stderr


@pytest.mark.parametrize("command", ["no-such-program {path}", "'", ""])
def test_watch_refuses_a_command_that_can_not_be_run_before_it_connects(command: str, tmp_path: Path) -> None:
    ended = run_dog("watch", "127.0.0.1:1", "--exec", command, cwd=tmp_path)
    assert ended.stderr.startswith("dog: --exec: ")
    assert ended.returncode == Status.USAGE
