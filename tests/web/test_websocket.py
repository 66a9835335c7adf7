"""The push at /ws, from the other side: every client here is the `websockets` library's."""

import asyncio
import contextlib
import json
import socket
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from dog.errors import CameraFault, CameraOffline
from dog.protocol import parse_timestamp
from dog.push.hub import REPLAY_EVENTS
from dog.snapshots import Snapshot
from dog.web.handlers.websocket import MESSAGE_SIZE, PATIENCE, RATE_LIMITED
from dog.web.rate_limits import TokenBucket
from tests.conftest import Run
from tests.support.running import Events, Running, until


async def test_hello_comes_first_and_tells_the_whole_state(run: Run) -> None:
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


async def test_a_press_reaches_every_viewer_as_capturing_and_then_ready(run: Run) -> None:
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


async def test_ready_can_be_fetched_the_moment_it_is_told(run: Run) -> None:
    running = await run(dead_time=0.0)
    async with running.watch() as events:
        for _ in range(20):
            await events.say(type="capture", max_age=0)
            ready = (await events.read_until("ready"))[-1]
            for address in ("url", "page", "thumbnail"):
                async with running.client.get(ready[address]) as answer:
                    assert answer.status == 200, address


async def test_a_press_within_the_dead_time_is_answered_with_the_existing_photo(run: Run) -> None:
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


async def test_a_thousand_presses_during_a_capture_cost_one_more(run: Run) -> None:
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


async def test_a_request_said_again_on_another_connection_takes_no_second_photo(run: Run) -> None:
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


async def test_a_failed_capture_is_told_to_all_and_the_next_press_works(run: Run) -> None:
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


async def test_a_picture_that_is_none_is_told_as_bad_image(run: Run) -> None:
    running = await run(dead_time=0.0)
    running.camera.results.append(b"<html>401 Unauthorized</html>")
    async with running.watch() as events:
        await events.say(type="capture")
        assert (await events.read_until("failed"))[-1]["code"] == "bad_image"


async def test_a_driver_that_breaks_is_told_without_its_secrets_and_breaks_nothing_else(run: Run) -> None:
    running = await run(dead_time=0.0)
    running.camera.results.append(ZeroDivisionError("secret"))
    async with running.watch() as events:
        await events.say(type="capture")
        failed = (await events.read_until("failed"))[-1]
        assert failed["code"] == "camera_error"
        assert "secret" not in failed["message"]
        await events.say(type="capture")
        await events.read_until("ready")


async def test_an_offline_camera_is_told_since_when_and_comes_back_by_itself(run: Run) -> None:
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


async def test_a_capture_that_works_shows_that_an_offline_camera_is_back(run: Run) -> None:
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
    assert running.camera.opened == 1, "nobody looked whether it was back"


async def test_hello_shows_the_running_capture_and_the_latest_snapshot(run: Run) -> None:
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


async def test_who_comes_back_with_its_cursor_gets_what_it_missed(run: Run) -> None:
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


async def test_too_long_an_absence_is_said_and_hello_is_the_truth(run: Run) -> None:
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
    ("said", "code", "request_key"),
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
async def test_a_mistake_is_told_to_that_viewer_alone(run: Run, said: str, code: str, request_key: str | None) -> None:
    running = await run()
    async with running.watch() as events, running.watch() as other:
        await events.connection.send(said)
        error = await events.read()
        assert (error["type"], error["code"], error.get("request")) == ("error", code, request_key)
        assert error["temporary"] is False
        assert error["message"].endswith(".")
        await other.say(type="ping", request="p")
        assert await other.read() == {"type": "pong", "request": "p"}
        await events.say(type="ping")
        assert await events.read() == {"type": "pong"}
    assert running.camera.captures == 0


async def test_fields_that_the_server_does_not_know_are_ignored(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await events.say(type="capture", request="r", colour="red")
        assert (await events.read())["outcome"] == "started"


async def test_a_token_nobody_asked_for_does_no_harm(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await events.say(type="auth", token="t")
        await events.say(type="ping")
        assert (await events.read())["type"] == "pong"


UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def upgrade(running: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A viewer without a library: it can say what no library would."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.client.port)
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def mask(opcode: int, payload: bytes) -> bytes:
    """A short frame as a client sends it, with a mask of zeros."""
    return bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload


async def read_close_code(events: Events) -> int | None:
    with pytest.raises(ConnectionClosed) as closed:
        await read_for_ever(events)
    frame = closed.value.rcvd
    return frame.code if frame else None


async def read_for_ever(events: Events) -> None:
    while True:
        await events.read()


async def test_a_message_over_4_kib_closes_with_1009_and_one_of_4_kib_does_not(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        whole = '{"type":"ping","x":"' + "x" * (MESSAGE_SIZE - 22) + '"}'
        assert len(whole) == MESSAGE_SIZE
        await events.connection.send(whole)
        assert (await events.read())["type"] == "pong"
        await events.connection.send(whole + " ")
        assert await read_close_code(events) == 1009


async def test_who_is_still_sending_a_message_far_over_4_kib_learns_why_it_was_closed(run: Run) -> None:
    """Closing a connection with unread bytes resets it, and the close frame would be lost on the way."""
    running = await run()
    reader, writer = await upgrade(running)
    writer.write(b"\x81\xff" + (2_000_000).to_bytes(8, "big") + b"mask")
    for _ in range(20):
        writer.write(bytes(100_000))
        await writer.drain()
    said = await reader.read()
    assert (1009).to_bytes(2, "big") in said
    writer.close()


async def test_a_binary_message_closes_with_1003(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await events.connection.send(b"\x00")
        assert await read_close_code(events) == 1003


async def test_text_that_is_not_utf_8_closes_with_1007(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await events.connection.send(b"\xff\xfe", text=True)
        assert await read_close_code(events) == 1007


async def test_who_talks_too_much_is_told_and_then_closed_with_4029(run: Run) -> None:
    running = await run(message_rate=0.001, message_burst=5)
    async with running.watch() as events, running.watch() as other:
        for _ in range(5 + PATIENCE + 1):
            await events.say(type="ping")
        assert [(await events.read())["type"] for _ in range(5)] == ["pong"] * 5
        refused = [await events.read() for _ in range(PATIENCE)]
        assert {message["code"] for message in refused} == {"rate_limited"}
        assert all(message["temporary"] and message["retry_after"] > 0 for message in refused)
        assert await read_close_code(events) == RATE_LIMITED
        await other.say(type="ping")
        assert (await other.read())["type"] == "pong"


async def test_endless_fragments_are_too_much_talk_whatever_they_hold(run: Run) -> None:
    running = await run(message_rate=1.0)
    reader, writer = await upgrade(running)
    writer.write(b"\x01\x80mask" + b"\x00\x80mask" * 1000)
    *_, close_frame = (await reader.read()).rpartition(b"\x88")
    assert close_frame[1:3] == RATE_LIMITED.to_bytes(2, "big")
    writer.close()


async def test_replays_cost_what_they_draw(run: Run) -> None:
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
        assert 5 < answers < 50, "each draws some ninety thousand bytes, and a token is four thousand"


def test_the_bucket_gives_a_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(5) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(5) == pytest.approx(0.1)
    assert bucket.take(5.15) == 0
    assert bucket.take(5.15) > 0
    assert [bucket.take(100) for _ in range(4)][:3] == [0, 0, 0]
    assert bucket.take(100) > 0


async def test_the_clients_own_close_is_answered(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await events.connection.close(1000, "bye")
        assert events.connection.close_code == 1000
    await until(lambda: running.service.hub.count == 0)


@pytest.mark.parametrize(("sent", "answered"), [(1000, 1000), (4321, 4321), (1006, 1002), (5000, 1002), (65535, 1002)])
async def test_a_close_code_that_must_not_be_sent_is_not_echoed(run: Run, sent: int, answered: int) -> None:
    running = await run()
    reader, writer = await upgrade(running)
    writer.write(mask(8, sent.to_bytes(2, "big")))
    *_, close_frame = (await reader.read()).rpartition(b"\x88")
    assert close_frame[1:3] == answered.to_bytes(2, "big")
    writer.close()


async def test_a_pong_is_no_message_whatever_it_holds(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await events.connection.pong(b"")
        await events.connection.pong(b'{"type":"capture","max_age":0}')
        await events.say(type="ping", request="after")
        assert await events.read() == {"type": "pong", "request": "after"}
    assert running.camera.captures == 0


async def test_who_leaves_in_a_hurry_leaves_no_error_behind(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    running = await run()
    for number in range(40):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.client.port)
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        if number % 2:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.write(UPGRADE)
        if number % 4 < 2:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(mask(8, b"\x03\xe8"))
        writer.close()
    async with running.watch() as events:
        await until(lambda: running.service.hub.count == 1)
        await events.say(type="ping")
        assert (await events.read())["type"] == "pong"
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_mistake_of_ours_drops_the_viewer_and_speaks_no_http_to_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    running = await run()
    reader, writer = await upgrade(running)
    monkeypatch.setattr("dog.web.handlers.websocket.parse_request", lambda _text: 1 / 0)
    writer.write(mask(1, b"{}"))
    said = b""
    with contextlib.suppress(ConnectionError):
        said = await reader.read()
    assert b"HTTP/" not in said
    assert "ZeroDivisionError" in caplog.text
    writer.close()


async def test_a_ping_of_the_clients_is_answered_with_its_own_bytes(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        await (await events.connection.ping(b"are you there"))


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "file://", "http://[::1", "junk", ""]
)
async def test_another_sites_page_is_refused_before_the_upgrade(run: Run, origin: str) -> None:
    running = await run()
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{running.url.replace('http', 'ws', 1)}/ws", origin=Origin(origin)).__aenter__()
    answer = refused.value.response
    assert answer.status_code == 403
    assert json.loads(answer.body or b"")["code"] == "forbidden"


async def test_the_own_page_a_listed_one_and_a_script_may_watch(run: Run) -> None:
    running = await run(origins=("https://friend.example",), base_url="https://dog.example/cam")
    for origin in (running.url, "https://friend.example", "https://dog.example", None):
        options: dict[str, Any] = {"origin": origin} if origin else {}
        async with running.watch(**options) as events:
            assert events.hello["type"] == "hello"


async def test_no_compression_is_agreed_on(run: Run) -> None:
    running = await run()
    async with running.watch(compression="deflate") as events:
        response = events.connection.response
        assert response is not None
        assert "Sec-WebSocket-Extensions" not in response.headers


async def test_who_vanishes_without_a_word_is_forgotten(run: Run) -> None:
    running = await run()
    async with running.watch() as events, running.watch():
        assert running.service.hub.count == 2
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        events.connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        events.connection.transport.abort()
        await until(lambda: running.service.hub.count == 1)


async def test_a_stop_lets_the_running_capture_end_and_sends_viewers_away_with_1012(run: Run) -> None:
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


async def test_a_disk_that_hangs_keeps_nobody_from_the_farewell(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.web.app.STOP_TIMEOUT", 0.05)
    running = await run(dead_time=0.0)
    go = asyncio.Event()
    save = running.service.store.save

    async def save_slowly(data: bytes, **about: Any) -> Snapshot:
        await go.wait()
        return await save(data, **about)

    monkeypatch.setattr(running.service.store, "save", save_slowly)
    async with running.watch() as events:
        await events.say(type="capture")
        await events.read_until("capturing")
        stopping = asyncio.create_task(running.client.close())
        assert await read_close_code(events) == 1012
        go.set()
        await stopping
    latest = running.service.find_camera(None).latest
    assert latest is not None, "what was being saved was not"


async def test_a_stop_fails_a_capture_that_does_not_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
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
