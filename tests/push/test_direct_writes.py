"""The hub's direct writes to descriptors, and its buffered writes."""

import asyncio
import json
import os
import random
import socket
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from dog.metrics import Metrics
from dog.protocol import Pong
from dog.push import viewer as viewer_module
from dog.push.hub import Hub
from dog.push.viewer import Viewer, WritePath
from tests.support.running import until
from tests.support.viewers import Connect, Connection, make_event, make_hub


class Spy:
    """Records what is written to a transport, and passes it on."""

    def __init__(self, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[bytes] = []
        self._write = connection.transport.write
        monkeypatch.setattr(connection.transport, "write", self._pass_on)

    def _pass_on(self, data: bytes) -> None:
        self.written.append(bytes(data))
        self._write(data)


async def test_events_bypass_the_transport_of_a_viewer_that_keeps_up(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = make_hub()
    connections = [await connect(hub) for _ in range(3)]
    for connection in connections:
        hub.join(connection.viewer, [])
        await connection.read()
    spies = [Spy(connection, monkeypatch) for connection in connections]
    hub.publish(make_event(1))
    for connection in connections:
        assert (await connection.read())["seq"] == 1
    assert [spy.written for spy in spies] == [[], [], []]


async def test_tls_viewers_are_written_to_through_their_transport(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = make_hub()
    secure, plain = await connect(hub, secure=True), await connect(hub)
    for connection in (secure, plain):
        hub.join(connection.viewer, [])
        await connection.read()
    spy = Spy(secure, monkeypatch)
    for number in (1, 2):
        hub.publish(make_event(number))
        assert (await secure.read())["seq"] == (await plain.read())["seq"] == number
    assert len([frame for frame in spy.written if b"capturing" in frame]) == 2


async def test_a_slow_viewer_gets_every_frame_whole_and_catches_up(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer_module, "MAX_BACKLOG_BYTES", 10_000_000)
    hub = make_hub()
    slow, reading = await connect(hub, receive_buffer=1024), await connect(hub)
    for connection in (slow, reading):
        hub.join(connection.viewer, [])
        await connection.read()
    published = 0
    for _ in range(3):  # falls behind and catches up, three times
        while slow.write_path() is WritePath.DIRECT:
            published += 1
            hub.publish(make_event(published))
        rest = slow.transport.get_write_buffer_size()
        for _ in range(50):
            published += 1
            hub.publish(make_event(published))
            slow.viewer.send(Pong())
        assert slow.transport.get_write_buffer_size() > rest
        while slow.write_path() is not WritePath.DIRECT:
            await slow.read()
    assert [(await reading.read())["seq"] for _ in range(published)] == list(range(1, published + 1))
    while (await slow.read()).get("seq") != published:
        pass
    assert (await slow.read())["type"] == "pong"  # sent after the last event
    spy = Spy(slow, monkeypatch)
    hub.publish(make_event(published + 1))
    assert (await slow.read())["seq"] == published + 1
    assert spy.written == [], "it has caught up, and is still written to through its transport"


async def test_a_viewer_that_reads_in_small_pieces_gets_every_frame_whole_and_in_order(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer_module, "MAX_BACKLOG_BYTES", 10_000_000)
    chance = random.Random(7)
    hub = make_hub()
    slow = await connect(hub, receive_buffer=1024)
    hub.join(slow.viewer, [])
    await slow.read()
    received, behind, sent = bytearray(), 0, 0
    for number in range(1, 4001):
        hub.publish(make_event(number))
        behind += slow.write_path() is not WritePath.DIRECT
        if chance.random() < 0.2:
            slow.viewer.send(Pong(request=str(sent)))
            sent += 1
        if chance.random() < 0.1 or slow.transport.get_write_buffer_size() > 4096:
            received += await slow.reader.read(chance.randrange(1, 2000))
    assert 100 < behind < 3900, "the reader is too slow, or too quick, to show anything"
    messages: list[dict[str, Any]] = []
    while len(messages) < 4000 + sent:
        received += await slow.reader.read(65536)
        messages += take_messages(received)
    assert [message["seq"] for message in messages if message["type"] == "capturing"] == list(range(1, 4001))
    assert [message["request"] for message in messages if message["type"] == "pong"] == [str(n) for n in range(sent)]


def take_messages(received: bytearray) -> list[dict[str, Any]]:
    """Remove and return the complete messages of the received bytes."""
    messages = []
    while len(received) >= 4:
        assert received[0] == 0x81, "a frame does not begin here"
        head, size = (4, int.from_bytes(received[2:4], "big")) if received[1] == 126 else (2, received[1])
        if len(received) < head + size:
            break
        message = json.loads(received[head : head + size])
        del received[: head + size]
        if message["type"] != "viewers":
            messages.append(message)
    return messages


@pytest.mark.parametrize("unsent", [50_000, 200_000])
async def test_bytes_buffered_before_the_handshake_are_sent_first(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, unsent: int
) -> None:
    """With the larger number, the transport has paused its first protocol."""
    monkeypatch.setattr(viewer_module, "MAX_BACKLOG_BYTES", 10_000_000)
    hub = make_hub()
    connection = await connect(hub, receive_buffer=4096, unsent=unsent)
    hub.join(connection.viewer, [])
    hub.publish(make_event(1))
    assert connection.write_path() is not WritePath.DIRECT
    assert await connection.reader.readexactly(unsent) == bytes(unsent)
    assert (await connection.read())["type"] == "hello"
    assert (await connection.read())["seq"] == 1
    await until(lambda: connection.write_path() is WritePath.DIRECT)


async def test_the_time_until_a_slow_viewer_catches_up_is_measured(connect: Connect) -> None:
    metrics = Metrics("test")
    now = 100.0
    hub = Hub(1000, "dog/test", metrics, clock=lambda: now)
    slow = await connect(hub, receive_buffer=1024)
    hub.join(slow.viewer, [])
    while slow.write_path() is WritePath.DIRECT:
        hub.publish(make_event(1))
    now = 107.0
    while slow.write_path() is not WritePath.DIRECT:
        await slow.read()
    assert metrics.registry.get_sample_value("dog_event_lag_seconds_count") == 1
    assert metrics.registry.get_sample_value("dog_event_lag_seconds_sum") == 7


async def test_a_reused_descriptor_gets_no_events_of_the_old_viewer(connect: Connect, tmp_path: Path) -> None:
    hub = make_hub()
    staying = [await connect(hub) for _ in range(3)]
    for round_ in range(30):
        leaving = await connect(hub)
        for connection in (staying[0], leaving):
            hub.join(connection.viewer, [])
        number = leaving.viewer.descriptor
        hub.publish(make_event(1))
        if round_ % 2:
            leaving.writer.transport.abort()
        else:
            leaving.transport.abort()
        files: list[FileIO] = []
        while not any(file.fileno() == number for file in files):
            await asyncio.sleep(0)
            hub.publish(make_event(2))
            files.append((tmp_path / f"{round_}-{len(files)}").open("wb", buffering=0))
            assert len(files) < 1000, "the descriptor is never free"
        hub.publish(make_event(3))
        for file in files:
            assert file.tell() == 0
            file.close()
        hub.leave(staying[0].viewer)


async def test_a_viewer_leaves_before_its_descriptor_is_closed(connect: Connect) -> None:
    """The transport reports a lost connection before it closes the socket.

    The hub relies on this.
    """
    hub = make_hub()
    lost = asyncio.get_running_loop().create_future()

    class Last(Viewer):
        def connection_lost(self, error: Exception | None) -> None:
            os.fstat(self.descriptor)  # still open
            super().connection_lost(error)
            lost.set_result((self.slot, hub.count))

    connection = await connect(hub, make=Last)
    hub.join(connection.viewer, [])
    connection.writer.close()
    assert await lost == (-1, 0)


async def test_the_other_viewers_get_events_after_one_leaves(connect: Connect) -> None:
    hub = make_hub()
    connections = [await connect(hub) for _ in range(8)]
    for connection in connections:
        hub.join(connection.viewer, [])
        await connection.read()
    for seq, index in enumerate((3, 0, -1, 2, 0, 0, 0), 1):  # in the middle, first, last, ...
        connections.pop(index).viewer.abort()
        hub.publish(make_event(seq))
        for connection in connections:
            assert (await connection.read())["seq"] == seq


async def test_an_unnoticed_disconnect_does_not_stop_the_fan_out(connect: Connect) -> None:
    hub = make_hub()
    connections = [await connect(hub) for _ in range(3)]
    for connection in connections:
        hub.join(connection.viewer, [])
        await connection.read()
    peer_socket = connections[1].writer.get_extra_info("socket")
    peer_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    os.dup2(os.open(os.devnull, os.O_RDWR), peer_socket.fileno())  # the kernel resets the connection at once
    for seq in (1, 2):
        hub.publish(make_event(seq))
        for connection in (connections[0], connections[2]):
            assert (await connection.read())["seq"] == seq


async def test_a_half_closed_slow_viewer_causes_no_error(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_module, "VIEWER_CLOSE_TIMEOUT", 0.1)
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
    hub = make_hub()
    connection = await connect(hub, receive_buffer=1024)
    hub.join(connection.viewer, [])
    while connection.write_path() is WritePath.DIRECT:
        hub.publish(make_event(1))
    connection.writer.write_eof()
    await until(lambda: connection.write_path() is WritePath.CLOSED)
    while await connection.reader.read(65536):
        pass
    await hub.wait_closed()
    ended = asyncio.Event()
    asyncio.get_running_loop().call_later(0.2, ended.set)  # after the timer that would have aborted it
    await ended.wait()
    assert errors == []


async def test_the_hub_waits_until_the_last_viewer_has_left(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_module, "VIEWER_CLOSE_TIMEOUT", 0.05)
    hub = make_hub()
    await hub.wait_closed()
    connections = [await connect(hub, receive_buffer=1024) for _ in range(3)]
    for connection in connections:
        hub.join(connection.viewer, [])
    hub.close(1012, "restarting")
    assert hub.count == 3
    await hub.wait_closed()
    assert hub.count == 0
