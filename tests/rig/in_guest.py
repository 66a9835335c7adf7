"""What a program in the guest finds when it uses the driver itself: facts as JSON lines, for the tests to judge.

    in_guest.py USB VIVID FOLDER

USB and VIVID are the devices' paths; pictures are written into FOLDER. One run for all: importing takes seconds here.
"""

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dog.cameras import CapturedImage
from dog.cameras.frame_quality import Thresholds
from dog.cameras.live import LiveCamera
from dog.cameras.source import Frame
from dog.cameras.source_reader import FrameRequest, SourceReader
from dog.cameras.v4l2 import V4l2Source, list_devices
from dog.errors import BadImage, CaptureError

PRESSES = 60
IDLE_FRAMES = 30
DAMAGE_FRAMES = 12
SEED = 4
NOBODY = 65534
LATENCY = 0.2
"""Seconds: more than a frame's first byte is on its way here, but for when the machine is very busy."""

NUMBER = re.compile(rb"seq=(\d+) t=([\d.]+)")


def tell(fact: str, **values: Any) -> None:
    print(json.dumps({"fact": fact, **values}, default=str), flush=True)


def attempt(device: str, **options: Any) -> str:
    """What the driver says to this: its frame's size, or the refusal."""
    source = V4l2Source(device, **options)
    try:
        source.open()
        return f"{len(source.read(5.0).raw)} bytes"
    except CaptureError as error:
        return f"{error.code}: {error.message}"
    finally:
        source.close()


async def take(source: V4l2Source, thresholds: Thresholds) -> CapturedImage:
    camera = LiveCamera(lambda: source, thresholds=thresholds)
    await camera.open(lambda error: None)
    try:
        return await camera.capture()
    finally:
        await camera.close()


def list_all(usb: str, vivid: str) -> None:
    for device in list_devices():
        tell("device", **asdict(device))
    with subprocess.Popen(
        ["v4l2-ctl", "-d", usb, "--stream-mmap", "--stream-count=1000000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as other:
        assert other.stderr is not None
        other.stderr.read(1)  # it says a "<" for each frame
        tell("busy", said=attempt(usb), listed={device.node: device.problem for device in list_devices()})
        other.terminate()
        other.stderr.close()
    tell("free again", said=attempt(usb))


def refuse(usb: str, vivid: str) -> None:
    child = os.fork()
    if child == 0:
        os.setuid(NOBODY)
        tell("refused", what="permission", said=attempt(usb))
        os._exit(0)
    os.waitpid(child, 0)
    tell("refused", what="absent", said=attempt("/dev/video99"))
    tell("refused", what="metadata", said=attempt("/dev/video1"))
    tell("refused", what="file", said=attempt("/etc/passwd"))
    tell("refused", what="other device", said=attempt("/dev/null"))
    tell("refused", what="resolution", said=attempt(usb, resolution=(1280, 720)))
    tell("refused", what="frame rate", said=attempt(usb, resolution=(640, 480), frame_rate=30))
    tell("refused", what="format", said=attempt(usb, pixel_format="NV12"))
    tell("refused", what="control", said=attempt(usb, controls={"zoom": 1}))
    tell("refused", what="value", said=attempt(usb, controls={"brightness": 256}))
    tell("refused", what="menu", said=attempt(vivid, controls={"osd_text_mode": "Everything"}))
    tell("refused", what="locked", said=attempt(vivid, controls={"gain": 33}))
    tell("refused", what="nothing", said=attempt(vivid, resolution=(320, 180), frame_rate=15))


def read_control(device: str, name: str) -> int:
    said = subprocess.run(["v4l2-ctl", "-d", device, "-C", name], capture_output=True, text=True, check=True).stdout
    return int(said.split(":")[1].split()[0])


def set_controls(usb: str, vivid: str) -> None:
    attempt(usb, controls={"brightness": 200})
    attempt(vivid, controls={"gain": 33, "gain_automatic": False, "test_pattern": "100% red", "osd_text_mode": 1})
    tell("controls", device="usb", brightness=read_control(usb, "brightness"))
    names = ("gain", "gain_automatic", "test_pattern", "osd_text_mode")
    tell("controls", device="vivid", **{name: read_control(vivid, name) for name in names})
    attempt(vivid, controls={"gain_automatic": True, "osd_text_mode": "All", "test_pattern": 0})


FORMATS: tuple[tuple[str, bool, str | None, dict[str, int | str]], ...] = (
    ("usb-mjpg", True, None, {}),
    ("usb-yuyv", True, "YUYV", {}),
    ("vivid-yuyv", False, "YUYV", {}),
    ("vivid-nv12", False, "NV12", {}),
    ("vivid-rgb3", False, "RGB3", {}),
    ("vivid-bgr3", False, "BGR3", {}),
    ("vivid-grey", False, "GREY", {}),
    ("vivid-yuyv-709", False, "YUYV", {"y_cbcr_encoding": "Rec. 709"}),
    ("vivid-nv12-full", False, "NV12", {"quantization": "Full Range"}),
    ("vivid-rgb3-limited", False, "RGB3", {"quantization": "Limited Range"}),
)
"""A name, whether it is the webcam's, the format, and what vivid is told beside."""

STILL: dict[str, int | str] = {
    "y_cbcr_encoding": 0,
    "quantization": 0,
    "test_pattern": "100% Colorbar",
    "osd_text_mode": "None",
}


async def take_all(usb: str, vivid: str, folder: Path) -> None:
    """A picture of each format; the patterns stand still, so the same one again is no mistake."""
    for name, of_usb, fourcc, told in FORMATS:
        device, size, controls = (usb, None, told) if of_usb else (vivid, (640, 360), STILL | told)
        source = V4l2Source(device, resolution=size, pixel_format=fourcc, controls=controls)
        still = await take(source, Thresholds(frozen=False))
        (folder / f"{name}.jpg").write_bytes(still.data)
        tell("picture", name=name, verdict=still.quality.verdict if still.quality else None)


class Noting(V4l2Source):
    """Notes when each of the webcam's frames began and its number, and how many were made pictures of."""

    def __init__(self, device: str, latency: float) -> None:
        super().__init__(device, latency=latency)
        self.frames: list[tuple[float, int]] = []
        self.read_at: dict[int, float] = {}
        self.pictures = 0
        self.more = threading.Condition()

    def read(self, timeout: float) -> Frame:  # type: ignore[override]
        frame = super().read(timeout)
        found = NUMBER.search(bytes(frame.raw[:80]))
        assert found is not None
        with self.more:
            self.frames.append((frame.exposure_start, int(found[1])))
            self.read_at[int(found[1])] = time.monotonic()
            self.more.notify()
        make = frame.image

        def picture() -> bytes:
            self.pictures += 1
            return make()

        frame.image = picture  # type: ignore[method-assign]
        return frame

    def wait_for(self, count: int) -> None:
        """Until so many more frames have been read."""
        with self.more:
            until = len(self.frames) + count
            assert self.more.wait_for(lambda: len(self.frames) >= until, timeout=60)


def damage(vivid: str) -> None:
    """Have the driver call one buffer damaged, and look at all that come."""
    source = V4l2Source(vivid, resolution=(320, 180), frame_rate=15)
    source.open()
    source.read(5.0)
    subprocess.run(["v4l2-ctl", "-d", vivid, "-c", "inject_v4l2_buf_flag_error=1"], check=True)
    said = []
    for _ in range(DAMAGE_FRAMES):
        frame = source.read(5.0)
        try:
            frame.image()
        except BadImage as error:
            said.append(f"{error.message} ({error.detail})")
        else:
            said.append("good")
    source.close()
    tell("damage", said=said)


def note_presses() -> list[float]:
    """When each press is heard of by the reader of frames."""
    asked: list[float] = []
    ask = SourceReader.request_frame

    def note(reader: SourceReader, timeout: float) -> FrameRequest:
        request = ask(reader, timeout)
        asked.append(request.requested_at)
        return request

    SourceReader.request_frame = note  # type: ignore[assignment, method-assign]
    return asked


async def press(usb: str, asked: list[float], latency: float) -> None:
    """Many presses, each at another moment of a frame; then none."""
    source = Noting(usb, latency)
    camera = LiveCamera(lambda: source)
    await camera.open(lambda error: None)
    await camera.capture()  # the exposure has settled
    chance = random.Random(SEED)
    clocks = time.time() - time.monotonic()
    for _ in range(PRESSES):
        await asyncio.sleep(chance.uniform(0.05, 0.2))
        pressed = time.monotonic()
        still = await camera.capture()
        got = time.monotonic()
        found = NUMBER.search(still.data[:80])
        assert found is not None
        made = float(found[2]) - clocks
        first = next(number for began, number in source.frames if began >= asked[-1])
        times = {
            "pressed": pressed,
            "made": made,
            "began": still.exposure_start,
            "read": source.read_at[int(found[1])],
            "got": got,
        }
        tell("press", latency=latency, number=int(found[1]), first=first, **times)
    await asyncio.to_thread(source.wait_for, 1)
    pictures, cpu, since = source.pictures, time.process_time(), time.monotonic()
    await asyncio.to_thread(source.wait_for, IDLE_FRAMES)
    share = (time.process_time() - cpu) / (time.monotonic() - since)
    tell("idle", frames=IDLE_FRAMES, pictures=source.pictures - pictures, cpu_share=share)
    await camera.close()
    tell("closed", readers=[thread.name for thread in threading.enumerate() if thread.name == "camera"])


def main(usb: str, vivid: str, folder: str) -> None:
    list_all(usb, vivid)
    refuse(usb, vivid)
    set_controls(usb, vivid)
    asyncio.run(take_all(usb, vivid, Path(folder)))
    damage(vivid)
    asked = note_presses()
    for latency in (0.0, LATENCY):
        asyncio.run(press(usb, asked, latency))
    tell("end")


if __name__ == "__main__":
    main(*sys.argv[1:])
