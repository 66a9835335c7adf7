"""10,000 presses within a second: their captures, replies and memory."""

import itertools
import json
import socket
import time
from typing import Any

from benchmarks.bench import Bench
from benchmarks.processes import Broken, Server
from benchmarks.rows import Row, Spread
from benchmarks.servers import dog, make_photo

__all__ = ["measure_presses"]

CONNECTIONS, PRESSES_EACH, STEPS = 100, 100, 10
"""100 connections send 100 capture requests each, 10 at a time."""
PRESSES = CONNECTIONS * PRESSES_EACH
EXPOSURE_SECONDS = 1.5
RECEIVE_TIMEOUT = 30.0


def measure_presses(bench: Bench) -> list[Row]:
    photo = make_photo(bench.folder / "photo.jpg")
    rounds = bench.rounds(5, 3)
    script = f"sleep {EXPOSURE_SECONDS}\nexec cp '{photo}' \"$1\""
    with dog(bench, script, "--picture-cache", "0") as server:  # a cache would grow with each photo
        viewers = [Viewer(server) for _ in range(CONNECTIONS)]
        bursts = []
        for number in range(1, rounds + 1):
            bursts.append(_burst(server, viewers, number))
            bench.show_progress(f"{PRESSES:,} presses", number, rounds)
        for viewer in viewers:
            viewer.close()
    captures, answered, seconds, memory = zip(*bursts, strict=True)
    sent = f"pressed within {max(seconds):.2f} s"
    return [
        Row(
            label=f"captures for {PRESSES:,} presses",
            dog=Spread.of(captures),
            value=max(captures),
            unit="captures",
            target=2,
            note=sent,
        ),
        Row(
            label="presses answered",
            dog=Spread.of(answered),
            value=min(answered),
            target=PRESSES,
            at_least=True,
            note=sent,
        ),
        Row(
            label=f"memory growth for {PRESSES:,} more presses",
            dog=Spread.of([later - before for before, later in itertools.pairwise(memory)]),
            measured_unit="KiB",
            value=round((memory[-1] - memory[0]) / (rounds - 1), 1),
            unit="KiB",
            note=f"RSS {memory[0] / 1024:.1f} MiB after the first, {memory[-1] / 1024:.1f} MiB after the last",
        ),
    ]


def _burst(server: Server, viewers: "list[Viewer]", number: int) -> tuple[int, int, float, float]:
    """Send the presses of a round.

    Return the captures, the replies, the seconds to send, and the RSS in KiB.
    """
    began = time.monotonic()
    for step in range(STEPS):
        time.sleep(max(0.0, began + step / STEPS - time.monotonic()))
        for index, viewer in enumerate(viewers):
            viewer.press([f"{number}-{step}-{index}-{press}" for press in range(PRESSES_EACH // STEPS)])
    seconds = time.monotonic() - began
    if seconds > 1:
        raise Broken(f"this machine takes {seconds:.1f} s to send {PRESSES:,} presses; it must be less than 1 s")
    captures = set[int]()
    for viewer in viewers:
        captures |= viewer.read_replies()
    captures |= viewers[0].read_captures(captures)
    server.wait_until_idle()
    return len(captures), PRESSES - sum(len(viewer.waiting) for viewer in viewers), seconds, server.memory().rss / 1024


class Viewer:
    """A client that sends capture requests. `waiting`: keys without a reply."""

    def __init__(self, server: Server) -> None:
        self.waiting = set[str]()
        self._began = set[int]()
        self._ready = set[int]()
        self._connection = socket.create_connection(("127.0.0.1", server.port), timeout=RECEIVE_TIMEOUT)
        self._connection.sendall(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._stream = self._connection.makefile("rb")
        status = self._stream.readline()
        if b" 101 " not in status:
            raise Broken(f"the handshake failed: {status!r}")
        while self._stream.readline().strip():
            pass

    def press(self, keys: list[str]) -> None:
        self._send(*({"type": "capture", "max_age": 0, "request": key} for key in keys))
        self.waiting |= set(keys)

    def read_replies(self) -> set[int]:
        """Read until each press has its reply. Return the captures."""
        captures = set()
        while self.waiting:
            message = self._receive()
            if message["type"] == "reply":
                self.waiting.remove(message["request"])
                captures.add(message["capture"])
            elif message["type"] == "error":
                raise Broken(f"a press was refused: {message['message']}")
            self._on_event(message)
        return captures

    def read_captures(self, captures: set[int]) -> set[int]:
        """Read until these captures are ready, and return all captures that began."""
        while captures - self._ready:
            self._on_event(self._receive())
        self._send({"type": "ping"})
        while (message := self._receive())["type"] != "pong":
            self._on_event(message)
        began, self._began = self._began, set()
        return began

    def _on_event(self, message: dict[str, Any]) -> None:
        if message["type"] == "capturing":
            self._began.add(message["capture"])
        elif message["type"] == "ready":
            self._ready.add(message["capture"])
        elif message["type"] == "failed":
            raise Broken(f"a capture failed: {message['message']}")

    def close(self) -> None:
        self._stream.close()
        self._connection.close()

    def _send(self, *messages: dict[str, Any]) -> None:
        """Send each message in a masked frame, in one call.

        The mask is all zeroes.
        """
        texts = [json.dumps(message).encode() for message in messages]
        self._connection.sendall(b"".join(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text for text in texts))

    def _receive(self) -> dict[str, Any]:
        while True:
            opcode, size = self._stream.read(2)
            if size == 126:
                size = int.from_bytes(self._stream.read(2), "big")
            payload = self._stream.read(size)
            if opcode == 0x81:
                message: dict[str, Any] = json.loads(payload)
                return message
