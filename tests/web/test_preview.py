"""GET /preview.mjpg on real sockets: speed, disconnects and shutdown.

The tests run the real application with cameras under their control, and a process with the test card.
"""

import asyncio
import contextlib
import http.client
import io
import json
import random
import re
import socket
import threading
import urllib.request
from collections.abc import Awaitable, Callable

import pytest
from PIL import Image

from dog.captures.preview import BOUNDARY, END, NEXT_HEADER
from dog.web.app import drain
from dog.web.app_keys import APP_STATE
from dog.web.connections.connection import Connection
from dog.web.connections.connection_limits import CONNECTIONS
from dog.web.http.content import CHUNK_BYTES
from tests.conftest import Serve
from tests.support.pictures import make_picture
from tests.support.preview_service import (
    HOST,
    PreviewClient,
    View,
    send_frame,
    wait_for_no_preview,
)
from tests.support.running import until
from tests.support.server_process import ServerProcess

SMALL = [make_picture(seed=seed) for seed in range(8)]


def make_frame(number: int, size: int) -> bytes:
    """Return `size` bytes that begin with the frame's number.

    They need not be an image.
    """
    return b"%08d" % number + random.Random(number).randbytes(size - 8)


# ---- the response


async def test_preview_sends_each_frame_as_a_part_with_type_and_length(view: View) -> None:
    service = await view()
    client = await service.watch()
    assert client.fields["content-type"] == f"multipart/x-mixed-replace; boundary={BOUNDARY}"
    assert client.fields["cache-control"] == "no-store"
    assert client.fields["x-accel-buffering"] == "no"
    assert client.fields["connection"] == "close"
    assert "content-security-policy" in client.fields
    assert not {"transfer-encoding", "content-length"} & client.fields.keys()
    for frame in SMALL:
        send_frame(service.camera, frame)
        assert await client.read_frame() == frame


async def test_ahead_sends_the_next_header_with_each_frame(view: View) -> None:
    service = await view()
    client = await service.watch("?ahead=1")
    assert await client.reader.readexactly(len(NEXT_HEADER)) == NEXT_HEADER
    for frame in SMALL:
        send_frame(service.camera, frame)
        expected = frame + b"\r\n" + NEXT_HEADER
        assert await client.reader.readexactly(len(expected)) == expected


async def test_http_1_0_client_receives_the_same_frames(view: View) -> None:
    service = await view()
    client = await (await (await service.connect()).begin("/preview.mjpg", version="1.0")).read_head()
    send_frame(service.camera, SMALL[0])
    assert await client.read_frame() == SMALL[0]


async def test_head_request_does_not_start_the_preview(view: View) -> None:
    service = await view()
    client = await (await (await service.connect()).begin("/preview.mjpg", method="HEAD")).read_head()
    assert (client.status, client.fields["content-type"]) == (200, f"multipart/x-mixed-replace; boundary={BOUNDARY}")
    assert await client.read_to_end() == b""
    assert service.camera.shown_to is None


async def test_preview_of_an_unknown_offline_or_unsuitable_camera_is_an_error(view: View) -> None:
    service = await view("main", "porch", "yard")
    service.cameras["porch"].has_preview = False
    for name, expected in {"attic": (404, "unknown_camera"), "porch": (404, "no_preview")}.items():
        client = await (await service.connect()).begin(f"/preview.mjpg?camera={name}")
        assert await client.read_problem() == expected
    service.cameras["yard"].offline = True
    task = service.app[APP_STATE].cameras["yard"]
    with contextlib.suppress(Exception):
        await task.capture_and_wait(max_age=0)
    assert task.offline is not None
    client = await (await service.connect()).begin("/preview.mjpg?camera=yard")
    assert await client.read_problem() == (503, "camera_offline")
    assert int(client.fields["retry-after"]) >= 1
    assert all(camera.shown_to is None for camera in service.cameras.values())


# ---- viewers and their speed


async def test_each_camera_sends_its_frames_only_to_its_own_viewers(view: View) -> None:
    service = await view("main", "porch")
    first, main, porch = [await service.watch(query) for query in ("", "?camera=main", "?camera=porch")]
    assert (service.preview("main").count, service.preview("porch").count) == (2, 1)
    send_frame(service.cameras["main"], SMALL[0])
    send_frame(service.cameras["porch"], SMALL[1])
    assert [await client.read_frame() for client in (first, main, porch)] == [SMALL[0], SMALL[0], SMALL[1]]
    porch.reset()
    await wait_for_no_preview(service.cameras["porch"])
    send_frame(service.cameras["main"], SMALL[2])
    assert [await client.read_frame() for client in (first, main)] == [SMALL[2], SMALL[2]]


async def test_stalled_client_delays_no_other_and_continues_with_the_newest_frame(view: View) -> None:
    service = await view()
    slow, quick = await service.watch(receive_buffer=4096), await service.watch()
    frames = [make_frame(number, 400_000) for number in range(30)]
    for frame in frames:
        send_frame(service.camera, frame)
        assert await quick.read_frame() == frame
        assert service.waiting <= len(frame) + 1000  # the slow client's first frame, and no other
    assert [await slow.read_frame(), await slow.read_frame()] == [frames[0], frames[-1]]
    send_frame(service.camera, frames[0])
    assert await slow.read_frame() == frames[0]


async def test_kernel_buffers_little_for_a_stalled_client(view: View) -> None:
    """The frames are small: the kernel would buffer hundreds, aiohttp dozens."""
    service = await view()
    slow, quick = await service.watch(receive_buffer=4096), await service.watch()
    frames = [make_frame(number, 10_000) for number in range(300)]
    for frame in frames:
        send_frame(service.camera, frame)
        assert await quick.read_frame() == frame
        assert service.waiting <= len(frame) + 1000
    late = [int((await slow.read_frame())[:8])]
    while late[-1] != 299:
        late.append(int((await slow.read_frame())[:8]))
    assert len(late) < 30
    assert late == sorted(late)


async def test_slow_client_stays_connected_and_stalled_client_is_disconnected(
    view: View, caplog: pytest.LogCaptureFixture
) -> None:
    """Check that each piece of a frame that is sent restarts the timeout.

    The test moves the clock.
    """
    service = await view()
    slow = await service.watch(receive_buffer=4096)
    assert service.runner.server is not None
    (handler,) = service.runner.server.connections
    assert handler.transport is not None
    connection = handler.transport.get_protocol()
    assert isinstance(connection, Connection)
    frames = [make_frame(number, 400_000) for number in range(4)]
    for frame in frames:
        send_frame(service.camera, frame)
        await until(lambda: service.waiting > 0)
        assert service.waiting <= CHUNK_BYTES, "a stalled client costs one piece, not a frame"
        timer = connection._stall_timer
        assert timer is not None
        reading = asyncio.create_task(slow.read_frame())
        await until(timer.cancelled)
        assert await reading == frame
        await until(lambda: service.waiting == 0)
        assert connection._stall_timer is None, "the timer ends when the frame has left"
    send_frame(service.camera, frames[0])
    await until(lambda: service.waiting > 0)
    caplog.set_level("INFO", "dog")
    connection._check_progress(service.waiting)
    await wait_for_no_preview(service.camera)
    assert f"{HOST} reads its response too slowly: disconnected" in caplog.messages


# ---- disconnected clients


async def _disconnect(client: PreviewClient) -> None:
    client.close()


async def _reset(client: PreviewClient) -> None:
    client.reset()


async def _shut_down_the_sending_half(client: PreviewClient) -> None:
    client.writer.write_eof()
    assert await client.read_to_end() == b""


@pytest.mark.parametrize("watched", [True, False], ids=["after a frame", "before the first frame"])
@pytest.mark.parametrize(
    "leave",
    [_disconnect, _reset, _shut_down_the_sending_half],
    ids=lambda leave: leave.__name__.strip("_").replace("_", " "),
)
async def test_disconnected_client_is_detected_without_a_frame(
    view: View, leave: Callable[[PreviewClient], Awaitable[None]], watched: bool, caplog: pytest.LogCaptureFixture
) -> None:
    service = await view()
    for _ in range(2):
        client = await service.watch()
        assert service.camera.shown_to is not None
        if watched:
            send_frame(service.camera, SMALL[0])
            await client.read_frame()
        await leave(client)
        await wait_for_no_preview(service.camera)
        assert service.preview().count == 0
        await until(lambda: service.app[CONNECTIONS].count == 0)
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


async def test_client_that_disconnects_within_a_frame_is_removed(view: View, caplog: pytest.LogCaptureFixture) -> None:
    service = await view()
    client = await service.watch(receive_buffer=4096)
    send_frame(service.camera, make_frame(0, 400_000))
    await until(lambda: service.waiting > 0)
    client.reset()
    await wait_for_no_preview(service.camera)
    await until(lambda: service.app[CONNECTIONS].count == 0)
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


# ---- captures and shutdown


async def test_preview_continues_when_an_offline_camera_is_back(view: View) -> None:
    service = await view()
    client = await service.watch()
    send_frame(service.camera, SMALL[0])
    assert await client.read_frame() == SMALL[0]
    service.camera.offline = True
    task = service.app[APP_STATE].find_camera(None)
    with contextlib.suppress(Exception):
        await task.capture_and_wait(max_age=0)
    assert task.offline is not None
    service.camera.offline = False
    service.camera.sign.set()
    await until(lambda: task.offline is None)
    send_frame(service.camera, SMALL[1])
    assert await client.read_frame() == SMALL[1]


async def test_preview_continues_during_a_capture(view: View) -> None:
    service = await view(dead_time=0.0)
    service.camera.held = True
    client = await service.watch()
    press = asyncio.create_task(service.app[APP_STATE].find_camera(None).capture_and_wait(max_age=0))
    await service.camera.exposing.wait()
    for frame in SMALL:
        send_frame(service.camera, frame)
        assert await client.read_frame() == frame
    await service.camera.release()
    assert (await press)[0].outcome == "started"
    send_frame(service.camera, SMALL[0])
    assert await client.read_frame() == SMALL[0]


async def test_shutdown_ends_each_preview_with_the_last_boundary(view: View) -> None:
    service = await view()
    waiting, stalled = await service.watch(), await service.watch(receive_buffer=4096)
    send_frame(service.camera, make_frame(0, 400_000))
    await waiting.read_frame()
    await drain(service.app)
    assert await waiting.read_to_end() == END
    assert service.preview().count == 0
    await service.runner.cleanup()
    rest = await stalled.read_to_end()
    assert END not in rest
    assert service.camera.closed


# ---- a process with the test card


def open_preview(server: ServerProcess) -> http.client.HTTPResponse:
    response = urllib.request.urlopen(f"{server.url}/preview.mjpg", timeout=20)
    assert isinstance(response, http.client.HTTPResponse)
    return response


def read_picture(response: http.client.HTTPResponse) -> Image.Image:
    """Return the next frame, decoded."""
    assert response.readline().startswith(b"--frame-")
    fields = {}
    while line := response.readline().strip():
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    picture = Image.open(io.BytesIO(response.read(int(fields[b"content-length"]))))
    picture.load()
    assert response.readline() == b"\r\n"
    return picture


def test_test_card_has_a_preview_also_during_captures(serve: Serve) -> None:
    server = serve("--dead-time", "0", "--preview-rate", "50")
    seen: list[bytes] = []
    with open_preview(server) as response:

        def press() -> None:
            request = urllib.request.Request(f"{server.url}/api/captures", data=b'{"max_age":0}', method="POST")
            with urllib.request.urlopen(request, timeout=20) as photo:
                taken.append(json.load(photo))

        taken: list[dict[str, object]] = []
        presses = [threading.Thread(target=press) for _ in range(3)]
        for one in presses:
            one.start()
            seen.append(read_picture(response).tobytes())
            one.join()
            seen.append(read_picture(response).tobytes())
        assert len({photo["snapshot"] for photo in taken}) == 3
        assert len(set(seen)) == len(seen), "a frame was shown twice"
    assert server.stop() == 0


def test_shutdown_ends_previews_also_of_stalled_clients(serve: Serve) -> None:
    server = serve("--preview-rate", "60")
    stalled = []
    for _ in range(5):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect((HOST, server.port))
        connection.sendall(b"GET /preview.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stalled.append(connection)
    with open_preview(server) as response:
        for _ in range(10):
            read_picture(response)
        # The server exits with status 1 if shutdown exceeds its own limit, which is below five seconds.
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert re.search(rb"--frame-[0-9a-f]{32}--\r\n$", response.read())
        stopping.join()
    assert server.wait() == 0
    for connection in stalled:
        connection.close()
