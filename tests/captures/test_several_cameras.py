"""Several cameras in one service: a broken one does not delay another."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection

from tests.support.pushes import read_until, watch
from tests.support.server_process import ServerProcess

Serve = Callable[..., ServerProcess]

RESPONSE_TIMEOUT = 20.0
"""Seconds to wait for a response or message."""


def start(serve: Serve, tmp_path: Path, **cameras: str) -> ServerProcess:
    tables = [f'[cameras.{name.replace("_", "-")}]\ncamera = "{camera}"' for name, camera in cameras.items()]
    (tmp_path / "dog.toml").write_text("\n".join(["dead_time = 0", "capture_timeout = 3", *tables]))
    return serve()


def press(viewer: ClientConnection, camera: str) -> None:
    viewer.send(json.dumps({"type": "capture", "camera": camera, "max_age": 0}))


def fetch(server: ServerProcess, path: str, method: str = "GET") -> tuple[int, dict[str, str], Any]:
    request = urllib.request.Request(f"{server.url}/{path}", method=method, data=b"{}" if method == "POST" else None)
    try:
        with urllib.request.urlopen(request, timeout=RESPONSE_TIMEOUT) as answer:
            return answer.status, dict(answer.headers), json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.load(error)


def test_a_camera_that_hangs_does_not_delay_captures_of_another(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, tmp_path, good="test", stuck="faulty:hang=1")
    with watch(server) as viewer:
        names = [camera["name"] for camera in read_until(viewer, "hello")["cameras"]]
        assert names == ["good", "stuck"]
        press(viewer, "stuck")
        assert read_until(viewer, "capturing", camera="stuck")
        for _ in range(5):
            press(viewer, "good")
            assert read_until(viewer, "ready", "failed")["camera"] == "good"
        assert read_until(viewer, "failed", camera="stuck")["code"] in ("camera_offline", "timeout")
        press(viewer, "good")
        assert read_until(viewer, "ready", camera="good")
    assert server.stop() == 0


def test_an_offline_camera_is_published_with_its_reason_and_reconnects(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, tmp_path, porch="faulty:dies=30,back=3")
    with watch(server) as viewer:
        offline = read_until(viewer, "camera", camera="porch")
        assert (offline["state"], offline["reason"]) == ("offline", "The camera was unplugged (faulty on purpose).")
        press(viewer, "porch")
        failed = read_until(viewer, "failed")
        assert failed["code"] == "camera_offline"
        assert failed["retry_after"] > 0
        status, headers, problem = fetch(server, "api/captures", "POST")
        assert (status, problem["code"]) == (503, "camera_offline")
        assert int(headers["Retry-After"]) >= 1
        assert fetch(server, "readyz")[0] == 503
        with watch(server) as late:
            (camera,) = read_until(late, "hello")["cameras"]
            assert camera["state"] == "offline"
            assert camera["since"] == offline["at"]
            assert camera["reason"]
        while read_until(viewer, "camera")["state"] != "idle":
            pass
        press(viewer, "porch")
        assert read_until(viewer, "ready")["camera"] == "porch"
    assert server.stop() == 0


def test_the_event_has_the_inspection_result_of_the_frames(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, tmp_path, night="faulty:dark", rain="faulty:cut=0.7,seed=5")
    with watch(server) as viewer:
        press(viewer, "night")
        quality = read_until(viewer, "ready", camera="night")["quality"]
        assert (quality["verdict"], quality["brightness"], quality["found"]) == ("black", 0.0, ["black"])
        found = []
        for _ in range(8):
            press(viewer, "rain")
            ready = read_until(viewer, "ready", camera="rain")
            assert ready["quality"]["verdict"] == "good"
            found += ready["quality"].get("found", [])
        assert set(found) == {"damaged"}
    assert server.stop() == 0


def test_a_frozen_camera_fails_instead_of_returning_an_old_image(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, tmp_path, porch="faulty:frozen")
    with watch(server) as viewer:
        press(viewer, "porch")
        failed = read_until(viewer, "ready", "failed")
        assert failed["code"] == "camera_error"
        assert failed["message"].startswith("The camera is frozen")
    assert server.stop() == 0


def test_a_busy_camera_is_offline_at_the_start_and_the_service_runs(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, tmp_path, porch="faulty:busy=2", good="test")
    with watch(server) as viewer:
        porch = read_until(viewer, "hello")["cameras"][0]
        assert (porch["state"], porch["reason"]) == ("offline", "Another program uses the camera (faulty on purpose).")
        press(viewer, "good")
        assert read_until(viewer, "ready")["camera"] == "good"
        press(viewer, "porch")
        assert read_until(viewer, "ready", "failed", camera="porch").get("code", "camera_busy") == "camera_busy"
    assert server.stop() == 0


def test_each_camera_has_its_own_photos(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, tmp_path, one="test", two="test")
    with watch(server) as viewer:
        for camera in ("one", "two", "two"):
            press(viewer, camera)
            assert read_until(viewer, "ready")["camera"] == camera
    listed = fetch(server, "api/snapshots?camera=two")[2]["snapshots"]
    assert [snapshot["camera"] for snapshot in listed] == ["two", "two"]
    assert [camera["latest"]["camera"] for camera in fetch(server, "api/cameras")[2]["cameras"]] == ["one", "two"]
    status, _, problem = fetch(server, "api/snapshots?camera=three")
    assert (status, problem["code"]) == (404, "unknown_camera")
    assert server.stop() == 0


def test_a_setting_that_a_camera_ignores_is_logged_at_the_start(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "dog.toml").write_text('[cameras.card]\ncamera = "test"\nresolution = "640x480"\nimage_type = "png"\n')
    server = serve()
    assert server.stop() == 0
    line = "cameras.card.resolution (dog.toml line 3): a test camera does not use this setting"
    assert line in server.stderr
    assert server.stderr.count("does not use this setting") == 1


def test_a_camera_lost_after_its_first_frame_is_not_reported_online(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, tmp_path, porch="faulty:dies=1,back=60")
    server.wait_for("camera porch is offline")
    with watch(server) as viewer:
        (camera,) = read_until(viewer, "hello")["cameras"]
        assert camera["state"] == "offline"
        press(viewer, "porch")
        assert read_until(viewer, "failed")["code"] == "camera_offline"
    assert "is back" not in server.stderr
    assert server.stop() == 0


def test_a_camera_that_is_being_opened_is_reported_offline(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, tmp_path, porch="faulty:hang", good="test")
    (porch, good) = fetch(server, "api/cameras")[2]["cameras"]
    assert (porch["state"], porch["reason"]) == ("offline", "The camera is being opened. Try again in a moment.")
    assert good["state"] == "idle"
    assert fetch(server, "readyz")[0] == 503
    server.stop()
