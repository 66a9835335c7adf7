"""Soak test: viewers come and go for an hour, and memory stays flat.

They connect, press, load, resume, attack, are slow and are disconnected. `make soak` runs it for an hour, or MINUTES.
`make test` runs it for seconds, which checks descriptors only.
"""

import asyncio
import contextlib
import os
import random
import statistics
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from benchmarks.private_network import OTHER_CLIENT, private_network
from benchmarks.processes import Skipped
from tests.conftest import Serve
from tests.load.conftest import Progress
from tests.load.health import LOOPBACK, count_descriptors, get, measure_memory
from tests.load.viewers import Connection, Listener, Published, Story, serve_arguments
from tests.support.camera_programs import write_script
from tests.support.junk_frames import make_frames
from tests.support.pushes import read_until
from tests.support.pushes import watch as watch_push
from tests.support.running import until
from tests.support.server_process import ServerProcess
from tests.support.websocket_frames import CLOSE, build_client_frame

MINUTES = float(os.environ.get("MINUTES", "60"))
SIZES = [
    pytest.param(60, 0.02, id="short"),
    pytest.param(300, MINUTES, id="long", marks=[pytest.mark.soak, pytest.mark.timeout(60 * MINUTES + 300)]),
]
MAX_STAY_EVENTS = 40
"""Maximum events that a guest stays for, or is away for."""
SAMPLES = 60
"""Number of measurements: one per minute in an hour."""
IDLE_PART = 0.25
"""The time of presses without visits, as a part of that with them."""
MAX_DELAY_MS = 100
"""Maximum growth of the 99th percentile of an honest viewer's presses, by the visits and attacks."""
MAX_GROWTH_BYTES = 3 * 2**20
"""Maximum growth from the median of the second third of the samples to that of the last third.

malloc varies by about one MiB. Between the thirds there are 20 minutes with some 50,000 visits, so a leak of 100 bytes
per visit fails. A viewer costs at least two KiB.
"""


class Room:
    """The state that all guests share."""

    def __init__(self, port: int, other_host: str) -> None:
        self.port = port
        self.other_host = other_host
        """The host of attacks: connections to it come from an address with limits, if possible."""
        self.story = Story()
        self.published = Published()
        self.visits: Counter[str] = Counter()
        self.over = False

    async def wait(self, chance: random.Random) -> None:
        """Wait until some more events were published."""
        await self.published.wait_for(self.published.seq + chance.randrange(MAX_STAY_EVENTS))


@contextlib.asynccontextmanager
async def connected(
    room: Room, query: str = "", *, host: str = LOOPBACK, receive_buffer: int = 0
) -> AsyncIterator[Connection]:
    connection = await Connection.open(room.port, query, host=host, receive_buffer=receive_buffer)
    try:
        yield connection
    finally:
        connection.close()


async def read_events(connection: Connection, listener: Listener, events: int, size: int = 65536) -> None:
    """Read until so many more events and all answers are received."""
    last = listener.last + events
    while listener.last < last or listener.answers:
        for frame in await connection.read(size):
            listener.receive(frame)


async def read_to_the_end(connection: Connection) -> None:
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            await connection.read()


def make_listener(room: Room) -> Listener:
    listener = Listener(room.story)
    listener.connect(None)
    return listener


async def watch(room: Room, chance: random.Random) -> None:
    """Connect, disconnect, and resume with the cursor."""
    listener = Listener(room.story)
    for _ in range(chance.randrange(1, 4)):
        cursor = listener.cursors[-1] if listener.cursors else None
        listener.connect(cursor)
        async with connected(room, f"?since={cursor}" if cursor else "") as connection:
            await read_events(connection, listener, chance.randrange(MAX_STAY_EVENTS))
            if chance.random() < 0.5:
                connection.reset()
        await room.wait(chance)


async def send_close(room: Room, chance: random.Random) -> None:
    async with connected(room) as connection:
        await read_events(connection, make_listener(room), chance.randrange(MAX_STAY_EVENTS))
        await connection.send(build_client_frame(CLOSE, b"\x03\xe8"))
        await read_to_the_end(connection)


async def press(room: Room, chance: random.Random) -> None:
    listener = make_listener(room)
    async with connected(room) as connection:
        for _ in range(chance.randrange(1, 5)):
            key = str(uuid.UUID(int=chance.getrandbits(128)))
            listener.answers.append({"type": "reply", "request": key})
            await connection.send_json(type="capture", request=key, max_age=chance.choice((0, 1, 10)))
            await read_events(connection, listener, chance.randrange(6))


async def read_slowly(room: Room, chance: random.Random) -> None:
    listener = make_listener(room)
    async with connected(room, receive_buffer=1) as connection:
        for _ in range(chance.randrange(1, 5)):
            await read_events(connection, listener, chance.randrange(6), size=chance.randrange(1, 200))
            await room.published.wait_for(listener.last + 6)


async def read_nothing(room: Room, chance: random.Random) -> None:
    """Request replays without reading until the server disconnects."""
    async with connected(room, receive_buffer=1) as connection:
        with contextlib.suppress(ConnectionError):
            while True:
                await connection.send_json(type="resume")
    await room.wait(chance)


async def load(room: Room, chance: random.Random) -> None:
    """Load pages, files and photos on one connection."""
    reader, writer = await asyncio.open_connection(LOOPBACK, room.port)
    try:
        paths = ["/", "/static/live.js", "/latest.jpg", "/api/snapshots?limit=3", "/metrics", "/api/captures"]
        for path in chance.choices(paths, k=chance.randrange(1, 8)):
            method = "POST" if path == "/api/captures" else "GET"
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert head.split()[1] in ("200", "201"), (path, head)
            await reader.readexactly(int(head.partition("Content-Length: ")[2].split()[0]))
        if chance.random() < 0.3:
            writer.write(b"GET / HTTP/1.1\r\nHo")
    finally:
        writer.transport.abort()
    await room.wait(chance)


async def send_junk(room: Room, chance: random.Random) -> None:
    async with connected(room) as connection:
        with contextlib.suppress(ConnectionError):
            await connection.send(make_frames(chance) + build_client_frame(CLOSE, b"") + bytes(5000))
        await read_to_the_end(connection)
    await room.wait(chance)


ATTACKED = ("/readyz", "/snapshots", "/api/snapshots?limit=200", "/latest.jpg", "/api/openapi.json", "/nothing")
MALFORMED = (b"GET\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")


async def attack_by_urls(room: Room, chance: random.Random) -> None:
    """Flood from one address that a proxy names, and read photos slowly."""
    reader, writer = await asyncio.open_connection(LOOPBACK, room.port, limit=4096)
    fields = "Host: localhost\r\nX-Forwarded-For: 198.51.100.7"
    try:
        for path in chance.choices(ATTACKED, k=chance.randrange(1, 20)):
            method = chance.choice(("GET", "HEAD"))
            writer.write(f"{method} {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert head.split()[1] in ("200", "404", "429", "503"), (path, head)
            if method == "GET":
                await reader.readexactly(int(head.partition("Content-Length: ")[2].split()[0]))
        writer.write(f"GET /latest.jpg HTTP/1.1\r\n{fields}\r\n\r\n".encode() * chance.randrange(1, 10))
        await reader.read(1)
        await room.wait(chance)
    finally:
        writer.transport.abort()


async def attack_by_connections(room: Room, chance: random.Random) -> None:
    """Open and close connections, some with a malformed request.

    An address that has used up its time may wait for too long, and get 503.
    """
    for _ in range(chance.randrange(1, 30)):
        reader, writer = await asyncio.open_connection(room.other_host, room.port)
        try:
            if chance.random() < 0.5:
                writer.write(chance.choice(MALFORMED))
                status_line = await reader.readline()
                assert not status_line or status_line.split()[1] in (b"400", b"503"), status_line
        finally:
            writer.transport.abort()
    await room.wait(chance)


async def attack_by_messages(room: Room, chance: random.Random) -> None:
    """Send as many messages as a viewer may, without reading the responses."""
    with contextlib.suppress(ConnectionError, EOFError):
        async with connected(room, host=room.other_host) as connection:
            for _ in range(chance.randrange(1, 60)):
                await connection.send_json(type=chance.choice(("ping", "resume", "capture")))
            await room.wait(chance)
    await room.wait(chance)


ATTACKS = (attack_by_urls, attack_by_connections, attack_by_messages)
VISITS: list[Callable[[Room, random.Random], Awaitable[None]]] = [
    *(watch, watch, send_close, press, press, read_slowly, read_nothing, load, load, send_junk, *ATTACKS)
]


async def visit_repeatedly(room: Room, chance: random.Random) -> None:
    while not room.over:
        visit = chance.choice(VISITS)
        await visit(room, chance)
        room.visits[visit.__name__] += 1


async def press_steadily(room: Room, guests: list[asyncio.Task[None]]) -> None:
    """Take photos until the last guest has left."""
    listener = make_listener(room)
    async with connected(room) as connection:
        while not all(guest.done() for guest in guests):
            listener.answers.append({"type": "reply"})
            await connection.send_json(type="capture", max_age=0)
            pressed = listener.last
            while listener.answers or listener.last < pressed + 2:
                for frame in await connection.read():
                    listener.receive(frame)
                room.published.advance(listener.last)


@contextlib.contextmanager
def timed_presses(server: ServerProcess) -> Iterator[list[float]]:
    """Yield the times of photos, which a thread appends until the block ends.

    Each is that of an answer, and that from `capturing` to `ready`. The dead time before a photo does not count.
    """
    seconds: list[float] = []

    def time_message(push: ClientConnection, kind: str) -> float:
        began = time.perf_counter()
        read_until(push, kind)
        return time.perf_counter() - began

    def run(push: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                push.send('{"type":"ping"}')
                answer = time_message(push, "pong")
                read_until(push, "capturing")
                seconds.append(answer + time_message(push, "ready"))

    with watch_push(server) as push:
        thread = threading.Thread(target=run, args=(push,))
        thread.start()
        try:
            yield seconds
        finally:
            push.close()
            thread.join()


def find_p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98] * 1000


async def measure(room: Room, server: ServerProcess, minutes: float, progress: Progress) -> list[tuple[int, int]]:
    """Measure memory and descriptors SAMPLES times, then end the visits."""
    samples = []
    for number in range(1, SAMPLES + 1):
        await asyncio.sleep(minutes * 60 / SAMPLES)
        samples.append((measure_memory(server), count_descriptors(server)))
        memory, descriptors = samples[-1]
        progress(
            f"{number * minutes / SAMPLES:.1f} of {minutes:g} minutes, {room.visits.total()} visits,"
            f" {room.published.seq} events, {memory / 2**20:.1f} MiB, {descriptors} descriptors"
        )
    room.over = True
    return samples


@pytest.fixture
def other_host() -> Iterator[str]:
    """Return a host that connections come to from an address with limits.

    That needs a network of its own, and so root. Without it, it is this machine.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(private_network())
        except Skipped:
            yield LOOPBACK
        else:
            yield OTHER_CLIENT


@pytest.mark.parametrize(("guests", "minutes"), SIZES)
async def test_memory_and_descriptors_stay_flat_while_viewers_come_and_go(
    serve: Serve,
    tmp_path: Path,
    guests: int,
    minutes: float,
    other_host: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = request.node.get_closest_marker("soak") is not None

    def progress(line: str) -> None:
        if long:
            with capsys.disabled():
                print(f"\n{line}", end="", flush=True)

    script = write_script(tmp_path, 'exec cp "$PICTURE" "$1"')
    arguments = [*serve_arguments(guests, tmp_path), "--picture-cache", "0", "--log-level", "warning"]
    arguments += ["--open", "--trusted-proxies", LOOPBACK, "--host", LOOPBACK if other_host == LOOPBACK else "0.0.0.0"]
    pace = "0.5" if long else "0.02"
    server = await asyncio.to_thread(serve, "--camera", f"script:{script}", *arguments, "--dead-time", pace)
    room = Room(server.port, other_host)
    await asyncio.to_thread(get, server, "/latest.jpg?max_age=0")
    before = count_descriptors(server)
    with timed_presses(server) as idle:
        await press_steadily(room, [asyncio.create_task(asyncio.sleep(minutes * 60 * IDLE_PART))])
    with timed_presses(server) as attacked:
        async with asyncio.TaskGroup() as group:
            visiting = [group.create_task(visit_repeatedly(room, random.Random(number))) for number in range(guests)]
            group.create_task(press_steadily(room, visiting))
            measuring = group.create_task(measure(room, server, minutes, progress))
    await until(lambda: count_descriptors(server) <= before)
    third = SAMPLES // 3
    memory = [[sample[0] for sample in measuring.result()[part * third : (part + 1) * third]] for part in (1, 2)]
    grown = statistics.median(memory[1]) - statistics.median(memory[0])
    progress(f"{dict(room.visits)}; {grown / 2**20:+.2f} MiB from the second third to the last\n")
    latencies = find_p99(idle), find_p99(attacked)
    progress("99 % of presses: {:.0f} ms at idle, {:.0f} ms beside the attack\n".format(*latencies))
    assert set(room.visits) == {visit.__name__ for visit in VISITS}
    if long:
        assert grown < MAX_GROWTH_BYTES
        assert latencies[1] - latencies[0] < MAX_DELAY_MS
