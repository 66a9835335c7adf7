"""Signals, stuck shutdowns, descriptors and malformed requests.

The servers are real processes.
"""

import asyncio
import ctypes
import errno
import json
import os
import resource
import select
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from websockets.sync.client import connect

from dog.web.log_filters import LOG_INTERVAL, LoopErrorHandler
from dog.web.shutdown import SHUTDOWN_TIMEOUT
from tests.conftest import Serve
from tests.load.health import measure_memory
from tests.support.server_process import PYTHON_M_DOG, ROOT, ServerProcess, clean_environment

HANGING_CAMERA = """#!/bin/sh
trap '' TERM INT
echo $$ > started
while :; do sleep 1000; done
"""
"""A camera that writes its process id into a FIFO, hangs, and ignores SIGTERM, as does its child."""

STUCK_APP = """
import asyncio, sys, time
import dog.web.server
real_create_app = dog.web.server.create_app
def create_app(settings):
    app = real_create_app(settings)
    async def hang(app):
        {hang}
    app.on_shutdown.append(hang)
    return app
dog.web.server.create_app = create_app
from dog.cli import main
main(prog_name="dog")
"""
"""The real command, with an application that hangs. No real part is known to do so."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_service_in_order(number: signal.Signals, serve: Serve, tmp_path: Path) -> None:
    server = serve()
    server.send(number)
    assert server.wait() == 0
    log = (tmp_path / "server.log").read_text()
    for text in (server.stderr, log):
        assert [line.split("dog.web.")[1].split() for line in text.splitlines()[-2:]] == [
            ["shutdown", "Stopping", f"({number.name})..."],
            ["server", "Stopped"],
        ]
    assert "Traceback" not in server.stderr


def test_a_signal_is_handled_at_once_in_any_thread(serve: Serve) -> None:
    """The kernel may use any thread, while the main thread sleeps."""
    server = serve("--host", "localhost")  # a thread resolves the name, and stays
    others = {int(task.name) for task in Path(f"/proc/{server.pid}/task").iterdir()} - {server.pid}
    ctypes.CDLL(None, use_errno=True).tgkill(server.pid, others.pop(), signal.SIGTERM)
    assert server.wait() == 0


def test_the_port_is_free_at_once_after_a_stop(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port)):
        assert server.stop() == 0
        assert serve("--port", str(server.port)).port == server.port


def test_a_closed_terminal_does_not_stop_the_service(tmp_path: Path) -> None:
    environment = clean_environment({"PYTHONPATH": str(ROOT)})
    arguments = [*PYTHON_M_DOG, "serve", "--port", "0"]
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            process.stderr.close()
            url = line.split()[3]
            for _ in range(3):
                urllib.request.urlopen(f"{url}/healthz", timeout=10).close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
    assert (tmp_path / "server.log").read_text().endswith("Stopped\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_kills_the_cameras_processes_at_once(
    number: signal.Signals, serve: Serve, tmp_path: Path
) -> None:
    program = HANGING_CAMERA.replace("started", str(tmp_path / "started"))
    camera_sh = tmp_path / "camera.sh"
    camera_sh.write_text(program)
    camera_sh.chmod(0o755)
    os.mkfifo(tmp_path / "started")
    server = serve("--camera", "script:./camera.sh")
    request = urllib.request.Request(
        f"{server.url}/api/captures",
        data=b"{}",
        headers={"Content-Type": "application/json", "Prefer": "respond-async"},
    )
    urllib.request.urlopen(request, timeout=10).close()
    camera = os.pidfd_open(int((tmp_path / "started").read_text()))
    try:
        server.send(number)
        server.wait_for(rf"Stopping \({number.name}\)")
        server.send(signal.SIGTERM)
        assert server.wait() == 128 + signal.SIGTERM, "it stopped in order, or at the time limit"
        assert "SIGTERM again: exiting at once" in server.stderr
        assert select.select([camera], [], [], 5)[0], "the camera's program outlived the service"
    finally:
        os.close(camera)


def start_stuck(tmp_path: Path, hang: str) -> ServerProcess:
    return ServerProcess(cwd=tmp_path, program=STUCK_APP.format(hang=hang)).start()


# a task that never ends; an event loop that is blocked
STUCK_BY = ["await asyncio.Event().wait()", "time.sleep(1000)"]


@pytest.mark.parametrize("hang", STUCK_BY)
def test_a_stuck_shutdown_is_forced_within_five_seconds(hang: str, tmp_path: Path) -> None:
    server = start_stuck(tmp_path, hang)
    try:
        assert server.stop() == 1
    finally:
        server.kill()
    assert SHUTDOWN_TIMEOUT < 5
    line = f"The shutdown took more than {SHUTDOWN_TIMEOUT} s: exiting at once"
    assert line in server.stderr
    assert line in (tmp_path / "server.log").read_text()


@pytest.mark.parametrize("hang", STUCK_BY)
def test_the_second_signal_works_during_a_stuck_shutdown(hang: str, tmp_path: Path) -> None:
    server = start_stuck(tmp_path, hang)
    try:
        server.send(signal.SIGINT)
        server.wait_for("Stopping")
        server.send(signal.SIGINT)
        assert server.wait() == 128 + signal.SIGINT
    finally:
        server.kill()


def test_a_signal_during_the_start_stops_it_in_order(tmp_path: Path) -> None:
    hang = "print('starting', file=sys.stderr, flush=True); await asyncio.Event().wait()"
    script = STUCK_APP.format(hang=hang).replace("on_shutdown", "on_startup")
    server = ServerProcess(cwd=tmp_path, program=script).launch()
    try:
        server.wait_for("starting")
        assert server.stop() == 0
    finally:
        server.kill()
    assert server.stderr.splitlines()[-1].endswith("Stopped")
    assert "D.O.G. is at" not in server.stderr


def test_an_internal_error_is_logged_with_a_traceback_and_exit_status_1(tmp_path: Path) -> None:
    script = STUCK_APP.format(hang="pass").replace("return app", "raise ZeroDivisionError('here')")
    server = ServerProcess(cwd=tmp_path, program=script).launch()
    try:
        assert server.wait() == 1
    finally:
        server.kill()
    for text in (server.stderr, (tmp_path / "server.log").read_text()):
        assert text.count("The service stopped because of an internal error\n    Traceback") == 1
        assert text.endswith("    ZeroDivisionError: here\n")


def test_used_up_descriptors_are_logged_once_and_do_not_disturb_viewers(serve: Serve) -> None:
    began = time.monotonic()
    server = serve()
    _, most = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    with connect(f"ws://127.0.0.1:{server.port}/ws") as viewer:
        used = len(os.listdir(f"/proc/{server.pid}/fd"))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (used + 16, most))
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
        server.wait_for(rf"all {used + 16} descriptors are in use")
        viewer.send('{"type":"capture"}')
        while json.loads(viewer.recv(timeout=20))["type"] not in ("ready", "failed"):
            pass
        for connection in idle:
            connection.close()
        urllib.request.urlopen(f"{server.url}/healthz", timeout=30).close()
    assert server.stop() == 0
    assert 1 <= server.stderr.count("descriptors are in use") <= 1 + (time.monotonic() - began) // LOG_INTERVAL


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"Expect: 100-continue", b"100 Continue"),
        (b"Expect: ", b"200 OK"),
        (b"Expect: \xff", b"417 Expectation Failed"),
        (b"Expect: a cup of tea", b"417 Expectation Failed"),
    ],
)
def test_an_expect_header_other_than_100_continue_gets_417(serve: Serve, line: bytes, status: bytes) -> None:
    server = serve()
    for path in (b"/healthz", b"/nowhere"):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + line
            connection.sendall(head + b"\r\nConnection: close\r\n\r\n")
            with connection.makefile("rb") as answer:
                response = answer.read()
        if status == b"200 OK" and path == b"/nowhere":
            status = b"404 Not Found"
        assert response.startswith(b"HTTP/1.1 " + status)
        if status.startswith(b"417"):
            assert json.loads(response.partition(b"\r\n\r\n")[2])["code"] == "expectation_failed"


def test_a_client_that_disconnects_while_waiting_for_a_photo_frees_its_memory(serve: Serve, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    camera = tmp_path / "camera.sh"
    camera.write_text(f"#!/bin/sh\nread line < '{tmp_path}/go'\n")
    camera.chmod(0o755)
    server = serve("--camera", f"script:{camera}", "--capture-timeout", "60")
    memory = measure_memory(server)
    request = b"GET /latest.jpg?max_age=0 HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"x" * 8000 + b"\r\n\r\n"
    for _ in range(10):
        leaving = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
        for connection in leaving:
            connection.sendall(request)
        urllib.request.urlopen(f"{server.url}/healthz", timeout=30).close()
        for connection in leaving:
            connection.close()
    while measure_memory(server) - memory >= 20 * 2**20:  # 10 KiB for each of the two thousand
        time.sleep(0.02)
    assert server.stop() == 0


async def test_enotconn_of_a_closed_connection_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    for number in (errno.ENOTCONN, errno.EIO):
        LoopErrorHandler()(
            loop, {"message": "Exception in callback", "exception": OSError(number, os.strerror(number))}
        )
    assert [str(record.exc_info[1].args[0]) for record in caplog.records if record.exc_info] == [str(errno.EIO)]  # type: ignore[union-attr]


def test_a_malformed_request_is_logged_in_one_line_without_traceback(serve: Serve) -> None:
    server = serve()
    for junk in (b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\nA\r\n\r\n", b"GET / HTTP/1.1\r\nX : a\r\n\r\n", b"G" * 9000):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(junk)
            assert b" 400 " in connection.recv(4096)
    server.wait_for("Not HTTP: ")
