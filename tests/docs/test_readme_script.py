"""Tests of the script in README.md, against real servers."""

import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.pictures import make_picture
from tests.support.server_process import ROOT, ServerProcess

(SCRIPT,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
LIMIT = "time.monotonic() + 60"
Script = subprocess.Popen[str]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "photo.py").write_text(SCRIPT)
    return folder


def launch(here: Path, server: ServerProcess) -> Script:
    command = [sys.executable, "photo.py", f"127.0.0.1:{server.port}"]
    return subprocess.Popen(command, cwd=here, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(script: Script) -> tuple[int, str, str]:
    """Return the exit status, the standard output and the standard error."""
    with script:
        try:
            output, errors = script.communicate(timeout=60)
        finally:
            script.kill()
    return script.returncode, output, errors


def check_failure(script: Script, here: Path, reason: str) -> None:
    status, output, errors = finish(script)
    assert (status, output) == (1, "")
    assert re.fullmatch(rf"No photo\. {reason}.*\n", errors), errors
    assert not (here / "photo.jpg").exists()


def request_json(server: ServerProcess, path: str, body: bytes | None = None, **headers: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(server.url + path, body, headers), timeout=30) as answer:
        return json.load(answer)


def read_newest(server: ServerProcess) -> tuple[int, bytes]:
    """Return the capture number of the newest photo, and its image."""
    newest = request_json(server, "/api/snapshots?limit=1")["snapshots"][0]
    with urllib.request.urlopen(server.url + newest["url"], timeout=30) as answer:
        return newest["capture"], answer.read()


def wait_until(happened: Callable[[], bool], script: Script) -> None:
    while not happened():
        assert script.poll() is None, finish(script)
        time.sleep(0.01)


class HeldCamera:
    """A camera program that waits until the test lets it fail or succeed."""

    def __init__(self, folder: Path) -> None:
        self._began, self._command, self._photo = (folder / name for name in ("began", "command", "held.jpg"))
        for fifo in (self._began, self._command):
            os.mkfifo(fifo)
        program = folder / "held.sh"
        program.write_text(
            f"#!/bin/sh\ncd '{folder}' && echo >began && read -r photo <command || exit 9\n"
            '[ -n "$photo" ] || { echo "the shutter is stuck" >&2; exit 3; }\ncp "$photo" "$1"\n'
        )
        program.chmod(0o755)
        self.setting = f"script:{program}"

    def wait(self) -> None:
        """Wait until the next run begins."""
        self._began.read_text()

    def fail(self) -> None:
        self._command.write_text("\n")

    def take(self, seed: int) -> None:
        self._photo.write_bytes(make_picture(seed=seed))
        self._command.write_text(f"{self._photo}\n")


@pytest.mark.timeout(240)
def test_script_takes_a_photo_with_the_command_in_its_first_line(serve: Serve, here: Path) -> None:
    server = serve("--dead-time", "60")
    whole = SCRIPT.splitlines()[0].removeprefix("# ")
    for number, command in enumerate((whole, whole.rpartition("&& ")[2]), 1):
        (here / "photo.jpg").unlink(missing_ok=True)  # within the dead time, the second run gets the existing photo
        ended = subprocess.run(
            ["sh", "-c", f"{command} 127.0.0.1:{server.port}"], cwd=here, capture_output=True, text=True, check=False
        )
        assert (ended.returncode, ended.stdout.splitlines()[-1:]) == (0, ["photo.jpg"]), ended.stderr
        assert (1, (here / "photo.jpg").read_bytes()) == read_newest(server), number


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (("--camera", "faulty:cut", "--capture-timeout", "1"), "The (frame|image) is cut off"),
        (("--camera", "faulty:slow=30", "--capture-timeout", "0.5"), "The camera "),
        (("--camera", "faulty:busy"), "Another program uses the camera"),
        (("--camera", "faulty:dies"), "The camera (was unplugged|is not there)"),
        (("--auth", "true"), "You must log in, or send a token, to do this"),
        (("--auth", "true", "--anonymous", "view"), "You must log in, or send a token, to do this"),
    ],
    ids=["damaged", "slow", "busy", "offline", "unknown", "viewer"],
)
def test_script_prints_why_there_is_no_photo(settings: tuple[str, ...], reason: str, serve: Serve, here: Path) -> None:
    check_failure(launch(here, serve(*settings)), here, reason)


def test_script_does_not_save_the_photo_of_a_later_press(serve: Serve, here: Path, tmp_path: Path) -> None:
    camera = HeldCamera(tmp_path)
    server = serve("--camera", camera.setting, "--dead-time", "0")
    script = launch(here, server)
    camera.wait()
    request_json(server, "/api/captures", b'{"max_age":0}', Prefer="respond-async")
    camera.fail()
    camera.wait()
    camera.take(seed=7)
    check_failure(script, here, "The camera program ended with status 3: the shutter is stuck")


def test_script_does_not_save_the_photo_of_an_earlier_press(serve: Serve, here: Path, tmp_path: Path) -> None:
    camera = HeldCamera(tmp_path)
    server = serve("--camera", camera.setting, "--dead-time", "0")
    request_json(server, "/api/captures", b'{"max_age":0}', Prefer="respond-async")
    camera.wait()
    script = launch(here, server)

    def is_queued() -> bool:
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
            return (
                re.search(r'^dog_presses_total\{.*"queued".*\} 1\.0$', answer.read().decode(), re.MULTILINE) is not None
            )

    wait_until(is_queued, script)
    camera.take(seed=1)
    camera.wait()
    camera.take(seed=2)
    assert finish(script) == (0, "photo.jpg\n", "")
    assert (here / "photo.jpg").read_bytes() == read_newest(server)[1]
    assert read_newest(server)[0] == 2


def test_script_ends_if_the_server_is_down_or_does_not_answer(serve: Serve, here: Path) -> None:
    """Use a twentieth of the time limit of `connect`."""
    shorter = "import websockets.sync.client as client; client.connect.__kwdefaults__['open_timeout'] /= 20"
    (here / "photo.py").write_text(f"{shorter}\n{SCRIPT}")
    server = serve()
    server.send(signal.SIGSTOP)
    check_failure(launch(here, server), here, "TimeoutError: ")
    server.kill()
    check_failure(launch(here, server), here, "ConnectionRefusedError: ")


def test_script_ends_if_the_server_stops_during_the_capture(serve: Serve, here: Path) -> None:
    server = serve("--camera", "faulty:slow=60", "--capture-timeout", "60")
    script = launch(here, server)
    wait_until(lambda: request_json(server, "/api/cameras")["cameras"][0]["state"] == "capturing", script)
    server.kill()
    check_failure(script, here, "ConnectionClosedError: ")


def test_script_ends_if_the_photo_takes_too_long(serve: Serve, here: Path) -> None:
    """Use a shorter time limit than the minute in README.md."""
    assert SCRIPT.count(LIMIT) == 1
    (here / "photo.py").write_text(SCRIPT.replace(LIMIT, "time.monotonic() + 2"))
    server = serve("--camera", "faulty:slow=60", "--capture-timeout", "60")
    check_failure(launch(here, server), here, "TimeoutError: ")


def test_script_downloads_the_photo_from_the_public_url(serve: Serve, here: Path) -> None:
    class PublicHandler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"the photo")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), PublicHandler) as public:
        thread = threading.Thread(target=public.serve_forever)
        thread.start()
        try:
            server = serve("--base-url", f"http://127.0.0.1:{public.server_port}")
            assert finish(launch(here, server)) == (0, "photo.jpg\n", "")
        finally:
            public.shutdown()
            thread.join()
    assert (here / "photo.jpg").read_bytes() == b"the photo"
