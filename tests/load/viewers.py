"""Light viewers, thousands in one event loop, which check every byte.

The Listener of each viewer knows which message may come next. All share one Story, because every viewer must receive
the same events. They wait for events that others have seen, never for time.
"""

import asyncio
import base64
import collections
import hashlib
import heapq
import itertools
import json
import os
import re
import resource
import socket
import struct
from pathlib import Path
from typing import Any, Self

from tests.support.server_process import run_dog
from tests.support.websocket_frames import PING, PONG, TEXT, Frame, FrameReader, build_client_frame

__all__ = ["Connection", "Listener", "Published", "Story", "serve_arguments"]

Message = dict[str, Any]
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def serve_arguments(viewers: int, folder: Path) -> list[str]:
    """Return arguments of `dog serve` for so many busy viewers of one address.

    Raise our own limit of descriptors.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * viewers:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * viewers + 1000), hard))
    arguments = ["--dead-time", "0", "--message-rate", "1000", "--message-burst", "10000"]
    for option in sorted(
        set(re.findall(r"--max-connections[\w-]*", run_dog("serve", "--help-all", cwd=folder).stdout))
    ):
        arguments += [option, str(2 * viewers + 1000)]
    return arguments


class Connection:
    """A WebSocket.

    `read` raises EOFError or ConnectionError after the server has closed it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._buffered: list[Frame] = []

    @classmethod
    async def open(cls, port: int, query: str = "", *, host: str = "127.0.0.1", receive_buffer: int = 0) -> Self:
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self = cls(connection)
        try:
            await self._loop.sock_connect(connection, (host, port))
            await self._handshake(query)
        except BaseException:
            connection.close()
            raise
        return self

    async def _handshake(self, query: str) -> None:
        key = base64.b64encode(os.urandom(16))
        lines = (
            f"GET /ws{query} HTTP/1.1",
            "Host: 127.0.0.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key.decode()}",
        )
        await self._loop.sock_sendall(self._socket, "\r\n".join((*lines, "", "")).encode())
        said = b""
        while b"\r\n\r\n" not in said:
            said += await self._receive(65536)
        head, _, rest = said.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 503 "):
            raise ConnectionRefusedError("the service is overloaded")
        assert head.startswith(b"HTTP/1.1 101 "), said
        assert base64.b64encode(hashlib.sha1(key + _GUID).digest()) in head
        self._buffered = self._reader.feed(rest)

    async def _receive(self, size: int) -> bytes:
        data = await self._loop.sock_recv(self._socket, size)
        if not data:
            raise EOFError
        return data

    async def read(self, size: int = 65536) -> list[Frame]:
        """Read at most so many bytes. Return the complete frames, often none.

        Answer pings.
        """
        early, self._buffered = self._buffered, []
        frames = early or self._reader.feed(await self._receive(size))
        for frame in frames:
            if frame.opcode == PING:
                await self.send(build_client_frame(PONG, frame.payload))
        return [frame for frame in frames if frame.opcode != PING]

    async def send_json(self, **message: object) -> None:
        await self.send(build_client_frame(TEXT, json.dumps(message).encode()))

    async def send(self, frames: bytes) -> None:
        await self._loop.sock_sendall(self._socket, frames)

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Disconnect by RST, as a router that lost its state does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


class Story:
    """Every event by its `seq`: each viewer must receive the same bytes."""

    def __init__(self) -> None:
        self.events: dict[int, Message] = {}
        self._read: dict[bytes, Message] = {}

    def read(self, payload: bytes) -> Message:
        message = self._read.get(payload)
        if message is None:
            message = json.loads(payload)
            assert isinstance(message, dict)
            if "seq" in message and message["type"] != "hello":
                assert message["seq"] not in self.events, f"sent in two forms: {message}"
                self.events[message["seq"]] = self._read[payload] = message
        return message

    def check(self, last: int) -> collections.Counter[str]:
        """Check events 1 to `last`: every `capturing` has one end.

        Return the number of each type.
        """
        assert set(self.events) >= set(range(1, last + 1))
        events = [self.events[seq] for seq in range(1, last + 1)]
        for capturing, ended in zip(events[::2], events[1::2], strict=True):
            assert capturing["type"] == "capturing"
            assert ended["type"] in ("ready", "failed")
            assert ended["capture"] == capturing["capture"]
        captures = [event["capture"] for event in events[::2]]
        assert captures == sorted(set(captures))
        return collections.Counter(event["type"] for event in events)


class Listener:
    """The messages that one viewer has received, over all its connections.

    `cursors` are those before and after each event from `first` on. `answers` and `pongs` are expected on this
    connection, in this order.
    """

    def __init__(self, story: Story) -> None:
        self.first = 0
        self.cursors: list[str] = []
        self.received = 0
        self.answers: collections.deque[Message] = collections.deque()
        self.pongs: collections.deque[bytes] = collections.deque()
        self._story = story
        self._at: int | None = None

    @property
    def last(self) -> int:
        """The `seq` of the newest event; -1 before the first hello."""
        return self.first + len(self.cursors) - 1

    def connect(self, cursor: str | None) -> None:
        """Expect a new connection with this cursor: `hello` comes first."""
        self._at = None
        self.pongs.clear()
        self.answers.clear()
        self.expect_hello(cursor)

    def expect_hello(self, cursor: str | None) -> None:
        self.answers.append({"type": "hello", "recovered": cursor is not None} | ({"cursor": cursor} if cursor else {}))

    def receive(self, frame: Frame) -> None:
        if frame.opcode == PONG:
            assert frame.payload == self.pongs.popleft()
            return
        assert frame.opcode == TEXT, frame
        message = self._story.read(frame.payload)
        if message["type"] == "hello":
            self._check_answer(message)
            if not self.cursors:
                self.first, self.cursors = message["seq"], [message["cursor"]]
            self._at = message["seq"]
        elif "seq" in message:
            assert self._at is not None, f"{message} came before hello"
            assert message["seq"] == self._at + 1, f"{message} follows {self._at}"
            self.received += 1
            self._at = message["seq"]
            if self._at > self.last:
                self.cursors.append(message["cursor"])
        elif message["type"] != "viewers":
            self._check_answer(message)

    def _check_answer(self, message: Message) -> None:
        assert self.answers, f"unexpected answer {message}"
        expected = self.answers.popleft()
        assert message | expected == message, f"{message} is not the expected answer {expected}"


class Published:
    """The number of events that the fastest viewer has, to wait for one."""

    def __init__(self) -> None:
        self.seq = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def advance(self, seq: int) -> None:
        self.seq = max(self.seq, seq)
        while self._waiting and self._waiting[0][0] <= self.seq:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

    async def wait_for(self, seq: int) -> None:
        if seq > self.seq:
            future = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (seq, next(self._order), future))
            await future
