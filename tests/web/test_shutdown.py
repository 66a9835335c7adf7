"""Stops and restarts of real processes: in order, forced, after a crash."""

import json
import os
import signal
import socket
import urllib.request
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection

from tests.conftest import Serve
from tests.support.camera_programs import write_script, write_waiting_camera
from tests.support.cameras import make_picture
from tests.support.pushes import read_close_code, read_until, watch
from tests.support.server_process import ServerProcess


def stop_during_a_capture(server: ServerProcess, viewer: ClientConnection) -> None:
    viewer.send('{"type":"capture"}')
    read_until(viewer, "capturing")
    server.send(signal.SIGTERM)
    server.wait_for("Stopping")


def test_sigterm_closes_viewers_with_1012_and_exits_with_0(serve: Serve) -> None:
    server = serve()
    with watch(server) as viewer:
        server.send(signal.SIGTERM)
        assert read_close_code(viewer) == 1012
    assert server.wait() == 0


def test_the_running_capture_finishes_before_the_stop(serve: Serve, tmp_path: Path) -> None:
    server = serve("--camera", write_waiting_camera(tmp_path))
    with watch(server) as viewer:
        stop_during_a_capture(server, viewer)
        (tmp_path / "go").write_text("now\n")
        read_until(viewer, "ready")
        assert read_close_code(viewer) == 1012
    assert server.wait() == 0


def test_a_hanging_camera_and_viewers_that_do_not_read_do_not_delay_the_stop(serve: Serve, tmp_path: Path) -> None:
    script = write_script(tmp_path, 'trap "" TERM\nwhile :; do sleep 1; done')
    server = serve("--camera", f"script:{script}", "--capture-timeout", "60", "--message-burst", "1000")
    resume = b'{"type":"resume"}'
    deaf = []
    for _ in range(20):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        # each gets a complete hello: more than the kernel buffers for a client that does not read
        connection.sendall((b"\x81" + bytes((0x80 | len(resume),)) + bytes(4) + resume) * 200)
        deaf.append(connection)
    with watch(server) as viewer:
        while json.loads(viewer.recv(timeout=20)).get("viewers") != 1 + len(deaf):
            viewer.send(resume.decode())
        viewer.send('{"type":"capture"}')
        read_until(viewer, "capturing")
        server.send(signal.SIGTERM)
        assert read_until(viewer, "failed")["code"] == "camera_error"
        assert read_close_code(viewer) == 1012
    # The server would exit with status 1 after its own limit of less than five seconds.
    assert server.wait() == 0
    for connection in deaf:
        connection.close()


def test_a_press_during_the_stop_gets_overloaded(serve: Serve, tmp_path: Path) -> None:
    server = serve("--camera", write_waiting_camera(tmp_path))
    with watch(server) as viewer:
        stop_during_a_capture(server, viewer)
        error: dict[str, Any] = {}
        while not error:  # until the stop has reached the camera, a press joins the running capture
            viewer.send('{"type":"capture","request":"late"}')
            answer = json.loads(viewer.recv(timeout=20))
            error = answer if answer["type"] == "error" else {}
        assert (error["code"], error["request"], error["temporary"]) == ("overloaded", "late", True)
        viewer.send('{"type":"ping"}')
        read_until(viewer, "pong")
        (tmp_path / "go").write_text("now\n")
        read_until(viewer, "ready")
    assert server.wait() == 0


def test_a_waiting_script_gets_502_when_the_server_stops(serve: Serve, tmp_path: Path) -> None:
    script = write_script(tmp_path, "exec sleep 60")
    server = serve("--camera", f"script:{script}", "--capture-timeout", "60")
    with watch(server) as viewer, socket.create_connection(("127.0.0.1", server.port)) as waiting:
        waiting.sendall(b"POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        read_until(viewer, "capturing")
        server.send(signal.SIGTERM)
        assert waiting.recv(65536).startswith(b"HTTP/1.1 502 ")
    assert server.wait() == 0


def test_after_a_crash_photos_are_kept_and_no_process_or_temporary_file_is_left(serve: Serve, tmp_path: Path) -> None:
    for name in ("here", "go"):
        os.mkfifo(tmp_path / name)
    script = write_script(
        tmp_path,
        f"""printf half > "$1"
        : > '{tmp_path}/here'
        read line < '{tmp_path}/go' && [ "$line" = well ] && cp "$PICTURE" "$1" """,
    )
    arguments = ("--camera", f"script:{script}", "--dead-time", "0", "--exif", "false")
    server = serve(*arguments)
    with watch(server) as viewer:
        before = json.loads(viewer.recv())
        viewer.send('{"type":"capture"}')
        (tmp_path / "here").read_text()
        (tmp_path / "go").write_text("well\n")
        ready = read_until(viewer, "ready")
        viewer.send('{"type":"capture","max_age":0}')
        (tmp_path / "here").read_text()
        server.kill()
    (tmp_path / "go").write_text("and the orphan ends\n")

    server = serve(*arguments)
    with watch(server, f"?since={ready['cursor']}") as viewer:
        hello = json.loads(viewer.recv())
        assert hello["epoch"] > before["epoch"]
        assert hello["recovered"] is False
        (camera,) = hello["cameras"]
        assert camera["state"] == "idle"
        assert camera["latest"]["snapshot"] == ready["snapshot"]
        viewer.send('{"type":"capture","max_age":0}')
        assert read_until(viewer, "reply")["capture"] > ready["capture"]
        (tmp_path / "here").read_text()
        (tmp_path / "go").write_text("well\n")
        read_until(viewer, "ready")
    picture = urllib.request.urlopen(server.url + ready["url"]).read()
    assert picture == make_picture()
    assert list((tmp_path / "snapshots" / ".dog" / "incoming").iterdir()) == []
    assert server.stop() == 0
