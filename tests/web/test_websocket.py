"""The WebSocket at /ws, with the `websockets` library as the client."""

import asyncio
import contextlib
import json
import socket
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from dog.errors import CameraFault, CameraOffline
from dog.protocol import parse_timestamp
from dog.push.hub import REPLAY_EVENTS
from dog.snapshots import Snapshot
from dog.web.handlers.websocket import MAX_REFUSED_IN_A_ROW, MAX_REQUEST_BYTES, RATE_LIMITED_CODE
from dog.web.rate_limits import TokenBucket
from tests.conftest import Run
from tests.support.running import Events, Running, until
from tests.support.websocket_frames import UPGRADE, build_client_frame


async def test_hello_comes_first_with_the_whole_state(run: Run) -> None:
    running = await run(dead_time=2.0)
    async with running.watch() as events:
        hello = events.hello
    assert hello["type"] == "hello"
    assert hello["protocol"] == "dog.v1"
    assert hello["server"].startswith("dog/")
    assert hello["cursor"] == f"{hello['epoch']}-{hello['seq']}"
    assert (hello["seq"], hello["recovered"], hello["viewers"]) == (0, False, 1)
    parse_timestamp(hello["at"])
    (camera,) = hello["cameras"]
    assert (camera["name"], camera["state"], camera["dead_time"]) == ("main", "idle", 2.0)
    assert camera["latest"] is None
    assert "since" not in camera


async def test_capture_sends_capturing_and_ready_to_every_viewer(run: Run) -> None:
    running = await run()
    async with running.watch() as presser, running.watch() as other:
        await presser.say(type="capture", request="mine")
        reply, *pressed = await presser.read_until("ready")
        seen = await other.read_until("ready")
        assert (reply["type"], reply["request"], reply["outcome"]) == ("reply", "mine", "started")
        assert pressed == seen
        capturing, ready = seen
        assert [capturing["type"], ready["type"]] == ["capturing", "ready"]
        assert [capturing["seq"], ready["seq"]] == [1, 2]
        assert capturing["capture"] == ready["capture"] == reply["capture"]
        assert capturing["camera"] == ready["camera"] == "main"
        async with running.client.get(ready["url"]) as picture:
            assert picture.status == 200
            assert picture.content_type == ready["content_type"] == "image/jpeg"
            assert len(await picture.read()) == ready["bytes"]
        assert (ready["width"], ready["height"]) == (64, 48)
        assert parse_timestamp(ready["captured_at"]) <= parse_timestamp(ready["at"])


async def test_urls_of_ready_can_be_fetched_at_once(run: Run) -> None:
    running = await run(dead_time=0.0)
    async with running.watch() as events:
        for _ in range(20):
            await events.say(type="capture", max_age=0)
            ready = (await events.read_until("ready"))[-1]
            for field in ("url", "page", "thumbnail"):
                async with running.client.get(ready[field]) as answer:
                    assert answer.status == 200, field


async def test_capture_request_within_the_dead_time_gets_the_latest_snapshot(run: Run) -> None:
    running = await run(dead_time=60.0)
    async with running.watch() as events:
        await events.say(type="capture")
        ready = (await events.read_until("ready"))[-1]
        await events.say(type="capture")
        reply = await events.read()
        assert (reply["outcome"], reply["snapshot"], reply["url"]) == ("cached", ready["snapshot"], ready["url"])
        await events.say(type="capture", max_age=0)
        reply = await events.read()
        assert reply["outcome"] == "queued"
        assert 50 < reply["retry_after"] <= 60
    assert running.camera.captures == 1


async def test_thousand_requests_during_a_capture_share_one_more(run: Run) -> None:
    running = await run(dead_time=0.0, message_burst=2000)
    running.camera.held = True
    async with running.watch() as events:
        await events.say(type="capture")
        await running.camera.exposing.wait()
        for number in range(1000):
            await events.say(type="capture", max_age=0, request=str(number))
        replies = [message for message in [await events.read() for _ in range(1002)] if message["type"] == "reply"]
        assert {reply["outcome"] for reply in replies[1:]} == {"queued"}
        assert len({reply["capture"] for reply in replies[1:]}) == 1
        running.camera.held = False
        await running.camera.release()
        await events.read_until("ready")
        await events.read_until("ready")
    assert running.camera.captures == 2
    assert running.camera.most_at_once == 1


async def test_repeated_request_on_another_connection_takes_no_second_photo(run: Run) -> None:
    running = await run(dead_time=0.0)
    running.camera.held = True
    async with running.watch() as events:
        await events.say(type="capture", request="once", max_age=0)
        first = await events.read()
        await running.camera.exposing.wait()
    async with running.watch() as events:
        await events.say(type="capture", request="once", max_age=0)
        second = await events.read()
        assert (second["outcome"], second["capture"]) == ("joined", first["capture"])
        await running.camera.release()
        ready = (await events.read_until("ready"))[-1]
        await events.say(type="capture", request="once", max_age=0)
        third = await events.read()
        assert (third["outcome"], third["snapshot"]) == ("cached", ready["snapshot"])
    assert running.camera.captures == 1


async def test_failed_capture_is_sent_to_all_and_the_next_one_works(run: Run) -> None:
    running = await run(dead_time=0.0)
    running.camera.results.append(CameraFault("The camera said no."))
    async with running.watch() as events, running.watch() as other:
        await events.say(type="capture")
        failed = (await events.read_until("failed"))[-1]
        assert (failed["code"], failed["message"], failed["capture"]) == ("camera_error", "The camera said no.", 1)
        assert "retry_after" in failed
        assert (await other.read_until("failed"))[-1] == failed
        await events.say(type="capture")
        assert (await events.read_until("ready"))[-1]["capture"] == 2


async def test_invalid_image_fails_with_bad_image(run: Run) -> None:
    running = await run(dead_time=0.0)
    running.camera.results.append(b"<html>401 Unauthorized</html>")
    async with running.watch() as events:
        await events.say(type="capture")
        assert (await events.read_until("failed"))[-1]["code"] == "bad_image"


async def test_driver_exception_fails_one_capture_and_hides_its_text(run: Run) -> None:
    running = await run(dead_time=0.0)
    running.camera.results.append(ZeroDivisionError("secret"))
    async with running.watch() as events:
        await events.say(type="capture")
        failed = (await events.read_until("failed"))[-1]
        assert failed["code"] == "camera_error"
        assert "secret" not in failed["message"]
        await events.say(type="capture")
        await events.read_until("ready")


async def test_offline_camera_is_reported_with_its_time_and_reconnects(run: Run) -> None:
    running = await run(dead_time=0.0)
    running.camera.offline = True
    async with running.watch() as events:
        await events.say(type="capture")
        *_, failed, camera = await events.read_until("camera")
        assert failed["code"] == "camera_offline"
        assert (camera["state"], camera["reason"]) == ("offline", "The camera is not plugged in.")
        async with running.watch() as late:
            (status,) = late.hello["cameras"]
            assert (status["state"], status["reason"]) == ("offline", "The camera is not plugged in.")
            assert status["since"] == camera["at"]
        running.camera.offline = False
        back = (await events.read_until("camera"))[-1]
        assert back["state"] == "idle"
        assert "reason" not in back


async def test_successful_capture_ends_the_offline_state(run: Run) -> None:
    running = await run(dead_time=0.0)
    running.camera.held = True
    running.camera.results.append(CameraOffline("The plug was pulled."))
    async with running.watch() as events:
        await events.say(type="capture")
        await running.camera.exposing.wait()
        await events.say(type="capture", max_age=0)
        await events.read_until("reply")
        assert (await events.read_until("reply"))[-1]["outcome"] == "queued"
        await running.camera.release()
        await events.read_until("camera")
        await running.camera.release()
        *_, ready, back = await events.read_until("camera")
        assert (ready["type"], back["state"]) == ("ready", "idle")
    assert running.camera.opened == 1, "the camera was not opened again"


async def test_hello_has_the_running_capture_and_the_latest_snapshot(run: Run) -> None:
    running = await run(dead_time=0.0)
    async with running.watch() as events:
        await events.say(type="capture")
        ready = (await events.read_until("ready"))[-1]
        running.camera.held = True
        await events.say(type="capture", max_age=0)
        await running.camera.exposing.wait()
        async with running.watch() as late:
            (camera,) = late.hello["cameras"]
            assert (camera["state"], camera["capture"]) == ("capturing", 2)
            assert camera["latest"]["snapshot"] == ready["snapshot"]
        await running.camera.release()
        await events.read_until("ready")


async def test_cursor_resumes_with_the_missed_events(run: Run) -> None:
    running = await run(dead_time=0.0)
    async with running.watch() as events:
        await events.say(type="capture")
        cursor = (await events.read_until("ready"))[-1]["cursor"]
    async with running.watch() as events:
        for _ in range(3):
            await events.say(type="capture", max_age=0)
            await events.read_until("ready")
    async with running.watch(f"?since={cursor}") as events:
        assert (events.hello["recovered"], events.hello["cursor"]) == (True, cursor)
        assert [(await events.read())["seq"] for _ in range(6)] == [3, 4, 5, 6, 7, 8]
        await events.say(type="resume", cursor=cursor)
        assert (await events.read())["type"] == "hello"
        assert [(await events.read())["seq"] for _ in range(6)] == [3, 4, 5, 6, 7, 8]


async def test_cursor_older_than_the_replay_buffer_is_not_recovered(run: Run) -> None:
    running = await run(dead_time=0.0, message_burst=1000)
    async with running.watch() as events:
        for _ in range(REPLAY_EVENTS // 2 + 1):
            await events.say(type="capture", max_age=0)
            ready = (await events.read_until("ready"))[-1]
        epoch = events.hello["epoch"]
    async with running.watch(f"?since={epoch}-1") as events:
        assert events.hello["recovered"] is False
        assert events.hello["seq"] == ready["seq"]
        assert events.hello["cameras"][0]["latest"]["snapshot"] == ready["snapshot"]


@pytest.mark.parametrize(
    ("text", "code", "request_key"),
    [
        ("{", "bad_json", None),
        ("[]", "bad_message", None),
        ("{}", "bad_message", None),
        ('{"type":"caputre","request":"r"}', "unknown_type", "r"),
        ('{"type":"capture","request":"r","max_age":-1}', "bad_message", "r"),
        ('{"type":"capture","max_age":"now"}', "bad_message", None),
        ('{"type":"capture","request":"r","camera":"attic"}', "unknown_camera", "r"),
        ('{"type":"capture","request":"' + "x" * 129 + '"}', "bad_message", None),
    ],
)
async def test_invalid_message_is_answered_to_its_sender_only(
    run: Run, text: str, code: str, request_key: str | None
) -> None:
    running = await run()
    async with running.watch() as events, running.watch() as other:
        await events.connection.send(text)
        error = await events.read()
        assert (error["type"], error["code"], error.get("request")) == ("error", code, request_key)
        assert error["temporary"] is False
        assert error["message"].endswith(".")
        await other.say(type="ping", request="p")
        assert await other.read() == {"type": "pong", "request": "p"}
        await events.say(type="ping")
        assert await events.read() == {"type": "pong"}
    assert running.camera.captures == 0


async def test_unknown_fields_are_ignored(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await events.say(type="capture", request="r", colour="red")
        assert (await events.read())["outcome"] == "started"


async def test_token_is_ignored_without_logins(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await events.say(type="auth", token="t")
        await events.say(type="ping")
        assert (await events.read())["type"] == "pong"


async def upgrade(running: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket without a library, which can send invalid data."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.client.port)
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def read_close_code(events: Events) -> int | None:
    with pytest.raises(ConnectionClosed) as closed:
        await read_forever(events)
    frame = closed.value.rcvd
    return frame.code if frame else None


async def read_forever(events: Events) -> None:
    while True:
        await events.read()


async def test_message_over_4_kib_closes_with_1009(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        whole = '{"type":"ping","x":"' + "x" * (MAX_REQUEST_BYTES - 22) + '"}'
        assert len(whole) == MAX_REQUEST_BYTES
        await events.connection.send(whole)
        assert (await events.read())["type"] == "pong"
        await events.connection.send(whole + " ")
        assert await read_close_code(events) == 1009


async def test_close_code_reaches_a_client_that_is_still_sending_a_large_message(run: Run) -> None:
    """Unread bytes do not reset the connection: that would lose the close."""
    running = await run()
    reader, writer = await upgrade(running)
    writer.write(b"\x81\xff" + (2_000_000).to_bytes(8, "big") + b"mask")
    for _ in range(20):
        writer.write(bytes(100_000))
        await writer.drain()
    received = await reader.read()
    assert (1009).to_bytes(2, "big") in received
    writer.close()


async def test_binary_message_closes_with_1003(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await events.connection.send(b"\x00")
        assert await read_close_code(events) == 1003


async def test_invalid_utf_8_closes_with_1007(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await events.connection.send(b"\xff\xfe", text=True)
        assert await read_close_code(events) == 1007


async def test_too_many_messages_are_refused_and_then_close_with_4029(run: Run) -> None:
    running = await run(message_rate=0.001, message_burst=5)
    async with running.watch() as events, running.watch() as other:
        for _ in range(5 + MAX_REFUSED_IN_A_ROW + 1):
            await events.say(type="ping")
        assert [(await events.read())["type"] for _ in range(5)] == ["pong"] * 5
        refused = [await events.read() for _ in range(MAX_REFUSED_IN_A_ROW)]
        assert {message["code"] for message in refused} == {"rate_limited"}
        assert all(message["temporary"] and message["retry_after"] > 0 for message in refused)
        assert await read_close_code(events) == RATE_LIMITED_CODE
        await other.say(type="ping")
        assert (await other.read())["type"] == "pong"


async def test_fragments_count_against_the_message_rate(run: Run) -> None:
    running = await run(message_rate=1.0)
    reader, writer = await upgrade(running)
    writer.write(b"\x01\x80mask" + b"\x00\x80mask" * 1000)
    *_, close_frame = (await reader.read()).rpartition(b"\x88")
    assert close_frame[1:3] == RATE_LIMITED_CODE.to_bytes(2, "big")
    writer.close()


async def test_replays_count_by_size_against_the_message_rate(run: Run) -> None:
    running = await run(dead_time=0.0, message_rate=0.1, message_burst=600)
    async with running.watch() as events:
        for _ in range(REPLAY_EVENTS // 2):
            await events.say(type="capture", max_age=0)
            await events.read_until("ready")
        cursor = f"{events.hello['epoch']}-0"
        answers = 0
        for _ in range(100):
            await events.say(type="resume", cursor=cursor)
            message = await events.read()
            if message["type"] == "error":
                break
            answers += 1
            await events.read_until("ready")
            while message.get("seq") != REPLAY_EVENTS:
                message = await events.read()
        assert message["code"] == "rate_limited"
        assert 5 < answers < 50, "a replay is about 90,000 bytes, and a token is 4,096"


def test_token_bucket_allows_a_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(5) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(5) == pytest.approx(0.1)
    assert bucket.take(5.15) == 0
    assert bucket.take(5.15) > 0
    assert [bucket.take(100) for _ in range(4)][:3] == [0, 0, 0]
    assert bucket.take(100) > 0


async def test_close_of_the_client_is_answered(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await events.connection.close(1000, "bye")
        assert events.connection.close_code == 1000
    await until(lambda: running.service.hub.count == 0)


@pytest.mark.parametrize(("sent", "answered"), [(1000, 1000), (4321, 4321), (1006, 1002), (5000, 1002), (65535, 1002)])
async def test_invalid_close_code_is_not_echoed(run: Run, sent: int, answered: int) -> None:
    running = await run()
    reader, writer = await upgrade(running)
    writer.write(build_client_frame(8, sent.to_bytes(2, "big")))
    *_, close_frame = (await reader.read()).rpartition(b"\x88")
    assert close_frame[1:3] == answered.to_bytes(2, "big")
    writer.close()


async def test_payload_of_a_pong_is_ignored(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await events.connection.pong(b"")
        await events.connection.pong(b'{"type":"capture","max_age":0}')
        await events.say(type="ping", request="after")
        assert await events.read() == {"type": "pong", "request": "after"}
    assert running.camera.captures == 0


async def test_hasty_disconnects_log_no_error(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    running = await run()
    for number in range(40):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.client.port)
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        if number % 2:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.write(UPGRADE)
        if number % 4 < 2:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(build_client_frame(8, b"\x03\xe8"))
        writer.close()
    async with running.watch() as events:
        await until(lambda: running.service.hub.count == 1)
        await events.say(type="ping")
        assert (await events.read())["type"] == "pong"
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_internal_error_disconnects_the_viewer_without_an_http_response(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    running = await run()
    reader, writer = await upgrade(running)
    monkeypatch.setattr("dog.web.handlers.websocket.parse_request", lambda _text: 1 / 0)
    writer.write(build_client_frame(1, b"{}"))
    received = b""
    with contextlib.suppress(ConnectionError):
        received = await reader.read()
    assert b"HTTP/" not in received
    assert "ZeroDivisionError" in caplog.text
    writer.close()


async def test_ping_frame_is_answered_with_its_payload(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await (await events.connection.ping(b"payload"))


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "file://", "http://[::1", "junk", ""]
)
async def test_page_of_another_site_is_refused_before_the_upgrade(run: Run, origin: str) -> None:
    running = await run()
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{running.url.replace('http', 'ws', 1)}/ws", origin=Origin(origin)).__aenter__()
    answer = refused.value.response
    assert answer.status_code == 403
    assert json.loads(answer.body or b"")["code"] == "forbidden"


async def test_own_page_listed_origin_and_script_can_connect(run: Run) -> None:
    running = await run(origins=("https://friend.example",), base_url="https://dog.example/cam")
    for origin in (running.url, "https://friend.example", "https://dog.example", None):
        options: dict[str, Any] = {"origin": origin} if origin else {}
        async with running.watch(**options) as events:
            assert events.hello["type"] == "hello"


async def test_no_compression_is_negotiated(run: Run) -> None:
    running = await run()
    async with running.watch(compression="deflate") as events:
        response = events.connection.response
        assert response is not None
        assert "Sec-WebSocket-Extensions" not in response.headers


async def test_reset_connection_removes_its_viewer(run: Run) -> None:
    running = await run()
    async with running.watch() as events, running.watch():
        assert running.service.hub.count == 2
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        events.connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        events.connection.transport.abort()
        await until(lambda: running.service.hub.count == 1)


async def test_shutdown_waits_for_the_running_capture_and_closes_with_1012(run: Run) -> None:
    running = await run(dead_time=0.0)
    running.camera.held = True
    async with running.watch() as events:
        await events.say(type="capture")
        await running.camera.exposing.wait()
        stopping = asyncio.create_task(running.client.close())
        await running.camera.release()
        assert (await events.read_until("ready"))[-1]["capture"] == 1
        assert await read_close_code(events) == 1012
        await stopping
    assert running.camera.closed


async def test_hanging_disk_does_not_delay_the_close_frame(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.web.app.STOP_TIMEOUT", 0.05)
    running = await run(dead_time=0.0)
    go = asyncio.Event()
    save = running.service.store.save

    async def save_slowly(data: bytes, **metadata: Any) -> Snapshot:
        await go.wait()
        return await save(data, **metadata)

    monkeypatch.setattr(running.service.store, "save", save_slowly)
    async with running.watch() as events:
        await events.say(type="capture")
        await events.read_until("capturing")
        stopping = asyncio.create_task(running.client.close())
        assert await read_close_code(events) == 1012
        go.set()
        await stopping
    latest = running.service.find_camera(None).latest
    assert latest is not None, "the running save was lost"


async def test_shutdown_fails_a_capture_that_does_not_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.web.app.CAPTURE_DRAIN_TIMEOUT", 0.05)
    running = await run(dead_time=0.0)
    running.camera.held = True
    async with running.watch() as events:
        await events.say(type="capture")
        await running.camera.exposing.wait()
        stopping = asyncio.create_task(running.client.close())
        failed = (await events.read_until("failed"))[-1]
        assert (failed["code"], failed["capture"]) == ("camera_error", 1)
        assert "stopped" in failed["message"]
        assert await read_close_code(events) == 1012
        await stopping


# ---- the handshake


@pytest.mark.parametrize("offered", [["dog.v1"], ["chat", "dog.v1"], ["dog.v1", "dog.v2"]])
async def test_subprotocol_of_the_push_is_accepted(run: Run, offered: list[str]) -> None:
    running = await run()
    async with connect(
        f"{running.url}/ws".replace("http", "ws"), subprotocols=[Subprotocol(one) for one in offered]
    ) as ws:
        assert ws.subprotocol == "dog.v1"
        assert json.loads(await ws.recv())["type"] == "hello"


@pytest.mark.parametrize("offered", [["chat"], ["DOG.V1"], ["dog.v1x"], None])
async def test_other_subprotocols_are_not_selected(run: Run, offered: list[str] | None) -> None:
    running = await run()
    names = None if offered is None else [Subprotocol(one) for one in offered]
    async with connect(f"{running.url}/ws".replace("http", "ws"), subprotocols=names) as ws:
        assert ws.subprotocol is None


async def test_handshake_without_upgrade_is_logged_once(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A proxy removes hop-by-hop headers, and passes the key on."""
    running = await run()
    for headers, count in ({}, 0), ({"Sec-WebSocket-Key": "x"}, 1), ({"Sec-WebSocket-Key": "y"}, 1):
        async with running.client.get("/ws", headers=headers) as answer:
            assert answer.status == 426
        lines = [each.getMessage() for each in caplog.records if "does not pass WebSockets on" in each.getMessage()]
        assert len(lines) == count
    assert lines[0].startswith("The proxy at 127.0.0.1 ")
