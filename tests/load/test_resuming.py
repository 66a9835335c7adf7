"""Viewers that are disconnected at any byte resume and miss no event."""

import asyncio
import contextlib
import itertools
import random
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.load.conftest import Progress
from tests.load.viewers import Connection, Listener, Published, Story, serve_arguments
from tests.support.camera_programs import write_script

SIZES = [
    pytest.param(40, 20, id="short"),
    pytest.param(2000, 300, id="long", marks=[pytest.mark.load, pytest.mark.timeout(900)]),
]
MAX_LAG_EVENTS = 200
"""Maximum lag of the slowest viewer before the next press: the server keeps 256 events."""
MAX_AWAY_EVENTS_PER_CAPTURE = 1 / 3
"""Maximum events that a viewer is away for, per capture of the test: fewer than the maximum lag."""
MAX_BYTES_PER_CAPTURE = 200
"""Maximum bytes that a viewer reads before a disconnection, per capture of the test."""


async def press(
    connection: Connection, captures: int, published: Published, slowest: "SlowestViewer", progress: Progress
) -> None:
    """Press as a script does, and send each request twice.

    Wait for viewers that are too far behind.
    """
    listener = Listener(Story())
    listener.connect(None)
    for number in range(captures + 1):
        while listener.last < 2 * number or listener.answers:
            for frame in await connection.read():
                listener.receive(frame)
            published.advance(listener.last)
        await slowest.wait_for(listener.last - MAX_LAG_EVENTS)
        if number < captures:
            for outcome in ({"outcome": "started"}, {}):
                listener.answers.append({"type": "reply", "request": str(number), "capture": number + 1} | outcome)
                await connection.send_json(type="capture", request=str(number), max_age=0)
        if number % 10 == 0:
            progress(f"{number} captures")


class SlowestViewer:
    """The position of the slowest viewer."""

    def __init__(self, listeners: list[Listener]) -> None:
        self.listeners = listeners
        self.moved = asyncio.Event()

    async def wait_for(self, seq: int) -> None:
        """Wait until every viewer has its first hello and all events up to this."""
        while any(listener.last < max(seq, 0) for listener in self.listeners):
            self.moved.clear()
            await self.moved.wait()


async def watch_and_disconnect(
    port: int, listener: Listener, captures: int, published: Published, slowest: SlowestViewer, chance: random.Random
) -> int:
    """Watch until the last event. Return the number of connections."""
    last = 2 * captures
    for connections in itertools.count(1):
        # Some resume from an older cursor than their newest event, and receive events again.
        cursor = listener.cursors[max(-len(listener.cursors), -chance.choice((1, 1, 3)))] if listener.cursors else None
        listener.connect(cursor)
        connection = await Connection.open(port, f"?since={cursor}" if cursor else "")
        budget = chance.randrange(captures * MAX_BYTES_PER_CAPTURE)
        try:
            while budget > 0 and listener.last < last:
                for frame in await connection.read(budget):
                    listener.receive(frame)
                    budget -= len(frame.payload)
                slowest.moved.set()
        finally:
            chance.choice((connection.close, connection.reset))()
        if listener.last == last:
            return connections
        if listener.cursors:
            await published.wait_for(
                min(listener.last + chance.randrange(round(captures * MAX_AWAY_EVENTS_PER_CAPTURE)), last)
            )
    raise AssertionError


@pytest.mark.parametrize(("viewers", "captures"), SIZES)
async def test_viewers_disconnected_at_random_resume_and_receive_every_event_in_order(
    serve: Serve, tmp_path: Path, viewers: int, captures: int, progress: Progress
) -> None:
    (tmp_path / "n").write_text("0\n")
    script = write_script(
        tmp_path, 'read n < n; echo $((n + 1)) > n; [ $((n % 4)) = 3 ] && exit 1; exec cp "$PICTURE" "$1"'
    )
    arguments = serve_arguments(viewers, tmp_path)
    server = await asyncio.to_thread(serve, "--camera", f"script:{script}", *arguments)
    story, published = Story(), Published()
    listeners = [Listener(story) for _ in range(viewers)]
    slowest = SlowestViewer(listeners)
    with contextlib.closing(await Connection.open(server.port)) as presser:
        async with asyncio.TaskGroup() as group:
            group.create_task(press(presser, captures, published, slowest, progress))
            watching = [
                group.create_task(
                    watch_and_disconnect(server.port, listener, captures, published, slowest, random.Random(number))
                )
                for number, listener in enumerate(listeners)
            ]
    ends = story.check(2 * captures)
    assert ends == {"capturing": captures, "failed": captures // 4, "ready": captures - captures // 4}
    assert {listener.last for listener in listeners} == {2 * captures}
    connections = sum(task.result() for task in watching)
    assert connections > 2 * viewers
    assert sum(listener.received for listener in listeners) > sum(len(listener.cursors) - 1 for listener in listeners)
    progress(f"{viewers} viewers connected {connections} times\n")
