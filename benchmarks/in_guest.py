"""Presses on one webcam in the guest, by three programs in turn.

It prints JSON lines.

    in_guest.py DEVICE FOLDER ROUNDS

Each press is at a random moment of a frame. The webcam writes its time into each frame. If a frame is older than the
press, the request is repeated. The driver is called in the event loop that its camera runs in, as in the service. Both
programs are called over one open connection.
"""

import asyncio
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from dog.cameras.source import LiveCamera
from dog.cameras.v4l2 import V4l2Source

TURNS = 3
IDLE_SECONDS = 5.0
"""Time for which an idle program's CPU time is measured."""
PORT = 9000
REQUEST_TIMEOUT = 60.0
FRAME_TIME = re.compile(rb"t=([\d.]+)")

Take = Callable[[], Awaitable[bytes]]


def main(device: str, folder: Path, rounds: int) -> None:
    for turn in range(TURNS):
        measure_ustreamer(device, rounds, turn)
        asyncio.run(measure_driver(device, rounds, turn))
        measure_service(device, folder, rounds, turn)


def measure_ustreamer(device: str, rounds: int, turn: int) -> None:
    arguments = ["--device", device, "--format", "MJPEG", "--resolution", "640x480", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        ["ustreamer", *arguments, "--port", str(PORT)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        asyncio.run(measure("ustreamer", process.pid, Client("/snapshot").fetch, rounds, turn))
    finally:
        stop(process)


def measure_service(device: str, folder: Path, rounds: int, turn: int) -> None:
    arguments = ["--camera", f"v4l2:{device}", "--resolution", "640x480", "--dead-time", "0", "--port", str(PORT)]
    process = subprocess.Popen(
        [sys.executable, "-m", "dog", "serve", *arguments, "--snapshots", str(folder / "snapshots"), "--log-file", ""],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        asyncio.run(measure("dog serve", process.pid, Client("/latest.jpg?max_age=0").fetch, rounds, turn))
    finally:
        stop(process)


async def measure_driver(device: str, rounds: int, turn: int) -> None:
    camera = LiveCamera(lambda: V4l2Source(device, resolution=(640, 480)))

    async def take() -> bytes:
        return (await camera.capture()).data

    await camera.open(lambda error: None)
    await measure("driver", os.getpid(), take, rounds, turn)
    await camera.close()


async def measure(label: str, process: int, take: Take, rounds: int, turn: int) -> None:
    """Print the seconds and requests of each press, then the idle CPU time."""
    await wait_for_first(take)
    chance = random.Random(turn)
    for _ in range(rounds):
        await asyncio.sleep(0.05 + chance.random() / 10)
        pressed, began = time.time(), time.perf_counter()
        attempts = 1
        while not is_newer(await take(), pressed):
            attempts += 1
        print_measurement(label, seconds=time.perf_counter() - began, attempts=attempts)
    before, since = read_processor_time(process), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    print_measurement(label, idle=(read_processor_time(process) - before) / (time.monotonic() - since))


def is_newer(picture: bytes, pressed: float) -> bool:
    made = FRAME_TIME.search(picture[:4096])  # after the EXIF
    return made is not None and float(made[1]) >= pressed


async def wait_for_first(take: Take) -> None:
    until = time.monotonic() + REQUEST_TIMEOUT
    while True:
        try:
            await take()
        except (OSError, http.client.HTTPException):
            if time.monotonic() >= until:
                raise
            await asyncio.sleep(0.1)
        else:
            return


class Client:
    """An HTTP client for one path, with a persistent connection if possible."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=REQUEST_TIMEOUT)

    async def fetch(self) -> bytes:
        try:
            self._connection.request("GET", self._path)
            answer = self._connection.getresponse()
            body = answer.read()
        except BaseException:
            self._connection.close()
            raise
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"{answer.status} {answer.reason}")
        return body


def stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait()


def read_processor_time(process: int) -> float:
    """Return the CPU seconds of all threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def print_measurement(label: str, **values: object) -> None:
    print("measured:", json.dumps({"what": label, **values}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
