"""WebSocket frames stay whole for slow readers of mixed messages."""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.load.conftest import Progress
from tests.load.viewers import Connection, Listener, Published, Story, serve_arguments
from tests.support.camera_programs import write_script
from tests.support.websocket_frames import CONTINUATION, PING, TEXT, build_client_frame

SIZES = [
    pytest.param(6, 1_500, id="short"),
    pytest.param(40, 100_000, id="long", marks=[pytest.mark.load, pytest.mark.timeout(900)]),
]
VIEWERS_PER_NON_READER = 4
"""One of so many viewers requests replays without reading until it is disconnected, and reconnects."""
MAX_LAG_EVENTS = {True: 130, False: 40}
"""Events that a quiet viewer, or another one, may be behind; then captures pause until it has read on.

CAMERA_MESSAGE makes them 600 bytes each. So a quiet viewer is behind by more than the kernel buffers. Both stay below
the limit for slow viewers, with the answers to a flood of pings.
"""
CAMERA_MESSAGE = "\N{DOG FACE}" * 200
"""The error of the camera program, as long as viewers receive it."""
MAX_REPLAY_EVENTS = 60
"""Maximum length of a replay that a viewer requests."""
PINGS_AFTER_RESUME = 20
"""Pings after such a resume; their answers have 500 bytes each."""
RESUMES_WITHOUT_READING = 1000
"""Replays that a viewer requests without reading."""
EVENTS_BETWEEN = 40
"""Events before and after that."""
BROKEN: list[tuple[bytes, dict[str, Any]]] = [
    (b"{", {"code": "bad_json"}),
    (b"[]", {"code": "bad_message"}),
    ('{"type":"zoom","request":"ß"}'.encode(), {"code": "unknown_type", "request": "ß"}),
    (b'{"type":"capture","camera":"none","request":"c"}', {"code": "unknown_camera", "request": "c"}),
    (b'{"type":"capture","max_age":-1}', {"code": "bad_message"}),
    (b'{"type":"ping","request":"' + b"x" * 4000 + b'"}', {"code": "bad_message"}),
]


class Room:
    """The state that all viewers share."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.story = Story()
        self.published = Published()
        self.readers: list[SlowViewer] = []
        self.moved = asyncio.Event()
        self.finished = False

    @property
    def is_too_far_behind(self) -> bool:
        """True if a viewer is so far behind that captures should pause."""
        return any(self.published.seq - viewer.position > MAX_LAG_EVENTS[viewer.quiet] for viewer in self.readers)


class SlowViewer:
    """A viewer that reads slowly and in pieces.

    It sends messages of every kind. A quiet one requests nothing that is long, and pauses for longer.
    """

    def __init__(self, room: Room, chance: random.Random, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.listener = Listener(room.story)
        self.room = room
        self.chance = chance
        self._sent = 0
        self._resumed_at = -1

    @property
    def position(self) -> int:
        """The last `seq`, or that before a replay that is still to come."""
        answers = self.listener.answers
        return self._resumed_at if answers and answers[0]["type"] == "hello" else self.listener.last

    async def connect(self) -> Connection:
        self.listener = Listener(self.room.story)
        self.listener.connect(None)
        # a smaller buffer gives a TCP window of 0, and then the kernel's timers decide
        buffer = 4096 if self.quiet else self.chance.choice((4096, 8192, 16384))
        self.connection = await Connection.open(self.room.port, receive_buffer=buffer)
        return self.connection

    async def watch(self) -> None:
        with contextlib.closing(await self.connect()):
            while not self.room.finished:
                await self._read()
                if self.chance.random() < 0.2:
                    await self._send_something()
                if self.chance.random() < 0.1:
                    await self._pause()
            self.listener.answers.append({"type": "pong", "request": "the last"})
            await self.connection.send_json(type="ping", request="the last")
            while self.listener.answers or self.listener.pongs:
                await self._read()

    async def _read(self) -> None:
        for frame in await self.connection.read(int(2 ** self.chance.uniform(0, 16))):
            self.listener.receive(frame)
        self.room.moved.set()

    async def _send_something(self) -> None:
        listener, chance = self.listener, self.chance
        self._sent += 1
        name = f"{id(self)} {self._sent}"
        match chance.choice(("ping frame", "ping", "fragments", "capture", "resume", "flood", "broken")):
            case "ping frame":
                payload = chance.randbytes(chance.randrange(126))
                listener.pongs.append(payload)
                await self.connection.send(build_client_frame(PING, payload))
            case "ping":
                listener.answers.append({"type": "pong", "request": name})
                await self.connection.send_json(type="ping", request=name)
            case "fragments":
                listener.answers.append({"type": "pong", "request": "whole"})
                listener.pongs.append(b"between")
                await self.connection.send(
                    build_client_frame(TEXT, b'{"type":"ping","req', final=False)
                    + build_client_frame(PING, b"between")
                    + build_client_frame(CONTINUATION, b'uest":"whole"}')
                )
            case "capture" if not self.room.is_too_far_behind:
                listener.answers.append({"type": "reply", "request": name})
                await self.connection.send_json(type="capture", request=name, max_age=chance.choice((0, 0, 3600)))
            case "resume" if listener.cursors and not listener.answers and not self.quiet:
                await self._resume(chance.choice(listener.cursors[-MAX_REPLAY_EVENTS:]))
            case "flood" if len(listener.cursors) > MAX_REPLAY_EVENTS and not listener.answers and not self.quiet:
                await self._resume(listener.cursors[-MAX_REPLAY_EVENTS:][0])
                for _ in range(PINGS_AFTER_RESUME):
                    listener.answers.append({"type": "pong", "request": CAMERA_MESSAGE[:128]})
                    await self.connection.send_json(type="ping", request=CAMERA_MESSAGE[:128])
                await self._pause()
            case "broken":
                message, error = chance.choice(BROKEN)
                listener.answers.append({"type": "error", "temporary": False} | error)
                await self.connection.send(build_client_frame(TEXT, message))

    async def _pause(self) -> None:
        """Pause reading for some events, but stay within the maximum lag."""
        published = self.room.published
        left = MAX_LAG_EVENTS[self.quiet] - (published.seq - self.position)
        if left > 0:
            await published.wait_for(published.seq + self.chance.randint(left // 2, left))

    async def _resume(self, cursor: str) -> None:
        self._resumed_at = self.listener.last
        self.listener.expect_hello(cursor)
        await self.connection.send_json(type="resume", cursor=cursor)


async def resume_without_reading(viewer: SlowViewer) -> int:
    """Request replays without reading until the server disconnects.

    Return how often that happened.
    """
    published = viewer.room.published
    dropped = 0
    while not viewer.room.finished:
        with contextlib.closing(await viewer.connect()) as connection:
            listener = viewer.listener
            while listener.answers:
                for frame in await connection.read():
                    listener.receive(frame)
            await published.wait_for(listener.last + viewer.chance.randrange(EVENTS_BETWEEN))
            cursor = listener.cursors[-1]
            with contextlib.suppress(ConnectionError):
                for _ in range(RESUMES_WITHOUT_READING):
                    listener.expect_hello(cursor)
                    await connection.send_json(type="resume", cursor=cursor)
            await published.wait_for(published.seq + EVENTS_BETWEEN)
            with contextlib.suppress(ConnectionError, EOFError):
                while listener.answers:
                    for frame in await connection.read(int(2 ** viewer.chance.uniform(0, 16))):
                        listener.receive(frame)
            assert listener.answers, "it received every replay, and was not disconnected"
        dropped += 1
    return dropped


async def press(room: Room, events: int, watching: Sequence[asyncio.Task[Any]], progress: Progress) -> None:
    """Press until the viewers have received so many events, and all are done.

    Read everything at once.
    """
    listener = Listener(room.story)
    listener.connect(None)
    told = 0
    with contextlib.closing(await Connection.open(room.port)) as connection:
        while not all(task.done() for task in watching):
            listener.answers.append({"type": "reply"})
            await connection.send_json(type="capture", max_age=0)
            pressed = listener.last
            while listener.answers or listener.last < pressed + 2:
                for frame in await connection.read():
                    listener.receive(frame)
                room.published.advance(listener.last)
            received = sum(viewer.listener.received for viewer in room.readers)
            room.finished = received >= events
            if received >= told + 10_000:
                told = received
                progress(f"{received} events")
            while room.is_too_far_behind and not room.finished:
                room.moved.clear()
                await room.moved.wait()


@pytest.mark.parametrize(("viewers", "events"), SIZES)
async def test_slow_viewers_get_whole_frames_and_others_lose_only_their_last_frame(
    serve: Serve, tmp_path: Path, viewers: int, events: int, progress: Progress
) -> None:
    arguments = serve_arguments(viewers, tmp_path)
    script = write_script(tmp_path, f"echo '{CAMERA_MESSAGE}' >&2; exit 1")
    server = await asyncio.to_thread(serve, "--camera", f"script:{script}", "--log-level", "error", *arguments)
    room = Room(server.port)
    room.readers = [SlowViewer(room, random.Random(number), quiet=number % 3 == 0) for number in range(viewers)]
    non_readers = [
        SlowViewer(room, random.Random(-number)) for number in range(1, viewers // VIEWERS_PER_NON_READER + 1)
    ]
    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(viewer.watch()) for viewer in room.readers]
        dropping = [group.create_task(resume_without_reading(viewer)) for viewer in non_readers]
        group.create_task(press(room, events, [*watching, *dropping], progress))
    received = sum(viewer.listener.received for viewer in room.readers)
    dropped = sum(task.result() for task in dropping)
    assert received >= events
    assert dropped >= len(non_readers)
    progress(f"{received} events, {dropped} times a viewer that did not read was disconnected\n")
