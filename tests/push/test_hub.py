"""The hub on real sockets: order, replay, slow and silent viewers."""

import asyncio
import json
import os
import socket
import time

import pytest

from dog.protocol import Pong
from dog.push import hub as hub_module
from dog.push import viewer as viewer_module
from dog.push.hub import REPLAY_EVENTS
from dog.push.viewer import MAX_BACKLOG_BYTES, WritePath
from dog.push.websocket_frames import build_frame
from tests.support.viewers import Connect, make_event, make_hub


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frames_of_any_size_are_parsed_by_another_library(size: int) -> None:
    from websockets.client import ClientProtocol
    from websockets.frames import Frame, Opcode
    from websockets.protocol import OPEN
    from websockets.uri import parse_uri

    peer = ClientProtocol(parse_uri("ws://127.0.0.1/"))
    peer.state = OPEN
    peer.reader.feed_data(build_frame(1, b"x" * size))
    parser = Frame.parse(peer.reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as parsed:
        next(parser)
    frame = parsed.value.value
    assert (frame.opcode, frame.data, frame.fin) == (Opcode.TEXT, b"x" * size, True)


async def test_events_are_numbered_without_gaps_and_reach_all_viewers_in_order(connect: Connect) -> None:
    hub = make_hub()
    connections = [await connect(hub) for _ in range(3)]
    for connection in connections:
        hub.join(connection.viewer, [])
    for capture in range(1, 11):
        hub.publish(make_event(capture))
    for connection in connections:
        hello = await connection.read()
        assert (hello["type"], hello["seq"], hello["cursor"]) == ("hello", 0, "1000-0")
        events = [await connection.read() for _ in range(10)]
        assert [event["seq"] for event in events] == list(range(1, 11))
        assert [event["cursor"] for event in events] == [f"1000-{seq}" for seq in range(1, 11)]
        assert [event["capture"] for event in events] == list(range(1, 11))


async def test_a_resuming_viewer_gets_a_hello_at_its_cursor_and_the_missed_events(connect: Connect) -> None:
    hub = make_hub()
    for capture in range(1, 6):
        hub.publish(make_event(capture))
    connection = await connect(hub)
    hub.join(connection.viewer, [], since="1000-3")
    hello = await connection.read()
    assert (hello["recovered"], hello["seq"], hello["cursor"]) == (True, 3, "1000-3")
    assert [(await connection.read())["seq"] for _ in range(2)] == [4, 5]


@pytest.mark.parametrize(
    "cursor",
    [None, "", "999-3", "1001-3", "1000-6", "1000--1", "1000-x", "1000-٣", "1000-" + "9" * 5000, "x", "1000"],
)
async def test_a_cursor_that_cannot_be_replayed_is_not_recovered(connect: Connect, cursor: str | None) -> None:
    hub = make_hub()
    for capture in range(1, 6):
        hub.publish(make_event(capture))
    connection = await connect(hub)
    hub.join(connection.viewer, [], since=cursor)
    hello = await connection.read()
    assert (hello["recovered"], hello["seq"]) == (False, 5)
    hub.publish(make_event(6))
    assert (await connection.read())["seq"] == 6


async def test_the_replay_buffer_holds_exactly_256_events(connect: Connect) -> None:
    hub = make_hub()
    for capture in range(1, REPLAY_EVENTS + 11):
        hub.publish(make_event(capture))
    whole, lost = await connect(hub), await connect(hub)
    hub.join(whole.viewer, [], since="1000-10")
    hub.join(lost.viewer, [], since="1000-9")
    assert (await whole.read())["recovered"] is True
    assert [(await whole.read())["seq"] for _ in range(REPLAY_EVENTS)] == list(range(11, REPLAY_EVENTS + 11))
    assert (await lost.read())["recovered"] is False


async def test_a_connected_viewer_may_resume(connect: Connect) -> None:
    hub = make_hub()
    connection = await connect(hub)
    hub.join(connection.viewer, [])
    await connection.read()
    for capture in (1, 2):
        hub.publish(make_event(capture))
    assert [(await connection.read())["seq"] for _ in range(2)] == [1, 2]
    hub.resume(connection.viewer, [], "1000-1")
    hello = await connection.read()
    assert (hello["type"], hello["recovered"], hello["seq"]) == ("hello", True, 1)
    assert (await connection.read())["seq"] == 2


async def test_a_viewer_that_does_not_read_is_dropped_and_the_others_get_all_events(connect: Connect) -> None:
    hub = make_hub()
    stalled, reading = await connect(hub, receive_buffer=4096), await connect(hub)
    hub.join(stalled.viewer, [])
    hub.join(reading.viewer, [])
    await reading.read()
    seq = 0
    while stalled.write_path() is not WritePath.CLOSED:
        seq += 1
        hub.publish(make_event(seq))
        assert (await reading.read())["seq"] == seq
        assert stalled.transport.get_write_buffer_size() <= MAX_BACKLOG_BYTES + 1024
        assert seq < 10_000, "it is never dropped"
    assert stalled.transport.is_closing()
    hub.publish(make_event(seq + 1))
    assert (await reading.read())["seq"] == seq + 1


async def test_a_slow_viewer_is_not_dropped_because_of_its_replay(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer_module, "MAX_BACKLOG_BYTES", 2048)
    hub = make_hub()
    for capture in range(1, REPLAY_EVENTS + 1):
        hub.publish(make_event(capture))
    slow = await connect(hub, receive_buffer=1024)
    slow.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024)
    hub.join(slow.viewer, [], since="1000-0")
    hub.publish(make_event(REPLAY_EVENTS + 1))
    assert slow.transport.get_write_buffer_size() > 2048, "the line is not slow enough to show anything"
    assert (await slow.read())["recovered"] is True
    assert [(await slow.read())["seq"] for _ in range(REPLAY_EVENTS + 1)] == list(range(1, REPLAY_EVENTS + 2))


async def test_events_during_a_pending_replay_do_not_exceed_the_backlog(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer_module, "MAX_BACKLOG_BYTES", 20_000)
    hub = make_hub()
    for capture in range(1, 201):
        hub.publish(make_event(capture))
    slow = await connect(hub, receive_buffer=1024)
    slow.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024)
    hub.join(slow.viewer, [], since="1000-0")
    while slow.transport.get_write_buffer_size() > 19_000:  # until the rest of the replay is below the limit
        await slow.reader.read(1000)
    rest = slow.transport.get_write_buffer_size()
    for _ in range(19_000 // 18):
        slow.viewer.send(Pong())
    assert rest > 10_000
    assert slow.transport.get_write_buffer_size() > 30_000
    assert slow.write_path() is not WritePath.CLOSED
    while slow.write_path() is not WritePath.DIRECT:
        await slow.reader.read(1000)
    waiting = 0
    while slow.write_path() is not WritePath.CLOSED:  # then the usual limit applies again
        waiting = slow.transport.get_write_buffer_size()
        slow.viewer.send(Pong())
    assert waiting <= 20_000


async def test_the_count_of_viewers_is_sent_at_most_once_a_second(connect: Connect) -> None:
    hub = make_hub()
    watching = await connect(hub)
    others = [await connect(hub) for _ in range(20)]
    began = time.monotonic()
    hub.join(watching.viewer, [])
    assert json.loads((await watching.read_frame())[1])["viewers"] == 1
    counts = [json.loads((await watching.read_frame())[1])["count"]]
    for other in others:
        hub.join(other.viewer, [])
    for other in others[:5]:
        hub.leave(other.viewer)
    counts.append(json.loads((await watching.read_frame())[1])["count"])
    assert counts == [1, 16]
    assert time.monotonic() - began >= 1
    hub.leave(others[5].viewer)
    assert json.loads((await watching.read_frame())[1])["count"] == 15, "sixteen was sent more than once"


async def test_a_closed_viewer_gets_its_close_frame_and_nothing_after_it(connect: Connect) -> None:
    hub = make_hub()
    connection = await connect(hub)
    hub.join(connection.viewer, [])
    hub.close(1012, "restarting")
    hub.publish(make_event(1))
    connection.viewer.send(Pong())
    await connection.read()
    opcode, payload = await connection.read_frame()
    assert (opcode, payload) == (8, (1012).to_bytes(2, "big") + b"restarting")
    assert await connection.reader.read() == b""


async def test_a_simultaneous_disconnect_does_not_stop_the_close_of_the_others(connect: Connect) -> None:
    hub = make_hub()
    connections = [await connect(hub) for _ in range(3)]
    for connection in connections:
        hub.join(connection.viewer, [])
        await connection.read()
    peer_socket = connections[1].writer.get_extra_info("socket")
    peer_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    os.close(os.dup(peer_socket.fileno()))
    os.dup2(os.open(os.devnull, os.O_RDWR), peer_socket.fileno())  # the kernel resets the connection at once
    hub.close(1012, "restarting")
    for connection in (connections[0], connections[2]):
        opcode = 1
        while opcode == 1:
            opcode, _ = await connection.read_frame()
        assert opcode == 8


async def test_a_viewer_that_joins_a_closed_hub_is_closed(connect: Connect) -> None:
    hub = make_hub()
    hub.close(1012, "restarting")
    late = await connect(hub)
    hub.join(late.viewer, [])
    assert await late.read_frame() == (8, (1012).to_bytes(2, "big") + b"restarting")
    assert hub.count == 0


async def test_a_viewer_that_ignores_its_close_frame_is_aborted(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer_module, "VIEWER_CLOSE_TIMEOUT", 0.05)
    connection = await connect(make_hub())
    connection.viewer.close(4029)
    await connection.read_frame()
    connection.writer.write(b"still here")
    await connection.read_to_the_end(send=b"and sending")


async def test_one_timer_pings_all_viewers_and_drops_silent_ones(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "PING_INTERVAL", 0.05)
    hub = make_hub()
    active, silent = await connect(hub), await connect(hub)
    for connection in (active, silent):
        hub.join(connection.viewer, [])
        await connection.read()
    silent.viewer.last_received_at -= hub_module.SILENCE_TIMEOUT + 1
    pings = asyncio.create_task(hub.keep_alive())
    opcode = 1
    while opcode == 1:
        opcode, _ = await active.read_frame()
    assert opcode == 9
    await silent.read_to_the_end()
    assert not active.transport.is_closing()
    pings.cancel()
