"""Use the V4L2 driver in the guest, and print facts as JSON lines.

    in_guest.py USB VIVID FOLDER

USB and VIVID are the devices' paths; images are written into FOLDER. One process for all: imports take seconds.
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
from dog.cameras.frame_selection import Frame, Thresholds
from dog.cameras.source import FrameRequest, LiveCamera, SourceReader
from dog.cameras.v4l2 import V4l2Source, list_devices
from dog.errors import BadImage, CaptureError

PRESSES = 60
IDLE_FRAMES = 30
DAMAGE_FRAMES = 12
SEED = 4
NOBODY = 65534
LATENCY = 0.2
"""Seconds: longer than the delay of a frame's first byte, unless the computer is very busy."""

NUMBER = re.compile(rb"seq=(\d+) t=([\d.]+)")


def report(fact: str, **values: Any) -> None:
    print(json.dumps({"fact": fact, **values}, default=str), flush=True)


def try_open(device: str, **options: Any) -> str:
    """Open the device and read a frame. Return its size, or the error."""
    source = V4l2Source(device, **options)
    try:
        source.open()
        return f"{len(source.read(5.0).raw)} bytes"
    except CaptureError as error:
        return f"{error.code}: {error.message}"
    finally:
        source.close()


async def capture_image(source: V4l2Source, thresholds: Thresholds) -> CapturedImage:
    camera = LiveCamera(lambda: source, thresholds=thresholds)
    await camera.open(lambda error: None)
    try:
        return await camera.capture()
    finally:
        await camera.close()


def report_devices(usb: str, vivid: str) -> None:
    for device in list_devices():
        report("device", **asdict(device))
    with subprocess.Popen(
        ["v4l2-ctl", "-d", usb, "--stream-mmap", "--stream-count=1000000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as other:
        assert other.stderr is not None
        other.stderr.read(1)  # it prints a "<" for each frame
        report("busy", result=try_open(usb), listed={device.node: device.problem for device in list_devices()})
        other.terminate()
        other.stderr.close()
    report("free again", result=try_open(usb))


def report_refusals(usb: str, vivid: str) -> None:
    child = os.fork()
    if child == 0:
        os.setuid(NOBODY)
        report("refused", what="permission", result=try_open(usb))
        os._exit(0)
    os.waitpid(child, 0)
    report("refused", what="absent", result=try_open("/dev/video99"))
    report("refused", what="metadata", result=try_open("/dev/video1"))
    report("refused", what="file", result=try_open("/etc/passwd"))
    report("refused", what="other device", result=try_open("/dev/null"))
    report("refused", what="resolution", result=try_open(usb, resolution=(1280, 720)))
    report("refused", what="frame rate", result=try_open(usb, resolution=(640, 480), frame_rate=30))
    report("refused", what="format", result=try_open(usb, pixel_format="NV12"))
    report("refused", what="control", result=try_open(usb, controls={"zoom": 1}))
    report("refused", what="value", result=try_open(usb, controls={"brightness": 256}))
    report("refused", what="menu", result=try_open(vivid, controls={"osd_text_mode": "Everything"}))
    report("refused", what="locked", result=try_open(vivid, controls={"gain": 33}))
    report("refused", what="nothing", result=try_open(vivid, resolution=(320, 180), frame_rate=15))


def read_control(device: str, name: str) -> int:
    output = subprocess.run(["v4l2-ctl", "-d", device, "-C", name], capture_output=True, text=True, check=True).stdout
    return int(output.split(":")[1].split()[0])


def set_controls(usb: str, vivid: str) -> None:
    try_open(usb, controls={"brightness": 200})
    try_open(vivid, controls={"gain": 33, "gain_automatic": False, "test_pattern": "100% red", "osd_text_mode": 1})
    report("controls", device="usb", brightness=read_control(usb, "brightness"))
    names = ("gain", "gain_automatic", "test_pattern", "osd_text_mode")
    report("controls", device="vivid", **{name: read_control(vivid, name) for name in names})
    try_open(vivid, controls={"gain_automatic": True, "osd_text_mode": "All", "test_pattern": 0})


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
"""A name, True for the webcam, the format, and vivid's other controls."""

STATIC_PATTERN: dict[str, int | str] = {
    "y_cbcr_encoding": 0,
    "quantization": 0,
    "test_pattern": "100% Colorbar",
    "osd_text_mode": "None",
}


async def capture_all(usb: str, vivid: str, folder: Path) -> None:
    """Take an image in each format.

    The patterns don't move, so equal frames are allowed.
    """
    for name, of_usb, fourcc, controls_of_vivid in FORMATS:
        device, size, controls = (
            (usb, None, controls_of_vivid) if of_usb else (vivid, (640, 360), STATIC_PATTERN | controls_of_vivid)
        )
        source = V4l2Source(device, resolution=size, pixel_format=fourcc, controls=controls)
        captured = await capture_image(source, Thresholds(frozen=False))
        (folder / f"{name}.jpg").write_bytes(captured.data)
        report("image", name=name, verdict=captured.quality.verdict if captured.quality else None)


class RecordingSource(V4l2Source):
    """A source that records each webcam frame's start and number.

    It also counts the encoded ones.
    """

    def __init__(self, device: str, latency: float) -> None:
        super().__init__(device, latency=latency)
        self.frames: list[tuple[float, int]] = []
        self.read_at: dict[int, float] = {}
        self.images = 0
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

        def image() -> bytes:
            self.images += 1
            return make()

        frame.image = image  # type: ignore[method-assign]
        return frame

    def wait_for(self, count: int) -> None:
        """Wait until `count` more frames have been read."""
        with self.more:
            until = len(self.frames) + count
            assert self.more.wait_for(lambda: len(self.frames) >= until, timeout=60)


def report_damage(vivid: str) -> None:
    """Let the driver mark one buffer as damaged, and report all frames."""
    source = V4l2Source(vivid, resolution=(320, 180), frame_rate=15)
    source.open()
    source.read(5.0)
    subprocess.run(["v4l2-ctl", "-d", vivid, "-c", "inject_v4l2_buf_flag_error=1"], check=True)
    results = []
    for _ in range(DAMAGE_FRAMES):
        frame = source.read(5.0)
        try:
            frame.image()
        except BadImage as error:
            results.append(f"{error.message} ({error.detail})")
        else:
            results.append("good")
    source.close()
    report("damage", result=results)


def record_requests() -> list[float]:
    """Record when the reader receives each request."""
    requested_at: list[float] = []
    ask = SourceReader.request_frame

    def note(reader: SourceReader, timeout: float) -> FrameRequest:
        request = ask(reader, timeout)
        requested_at.append(request.search.requested_at)
        return request

    SourceReader.request_frame = note  # type: ignore[assignment, method-assign]
    return requested_at


async def report_captures(usb: str, requested_at: list[float], latency: float) -> None:
    """Make many captures, each at another moment of a frame, and then none."""
    source = RecordingSource(usb, latency)
    camera = LiveCamera(lambda: source)
    await camera.open(lambda error: None)
    await camera.capture()  # the exposure has settled
    chance = random.Random(SEED)
    clocks = time.time() - time.monotonic()
    for _ in range(PRESSES):
        await asyncio.sleep(chance.uniform(0.05, 0.2))
        pressed = time.monotonic()
        captured = await camera.capture()
        got = time.monotonic()
        found = NUMBER.search(captured.data[:80])
        assert found is not None
        made = float(found[2]) - clocks
        first = next(number for began, number in source.frames if began >= requested_at[-1])
        times = {
            "pressed": pressed,
            "made": made,
            "began": captured.exposure_start,
            "read": source.read_at[int(found[1])],
            "got": got,
        }
        report("press", latency=latency, number=int(found[1]), first=first, **times)
    await asyncio.to_thread(source.wait_for, 1)
    images, cpu, since = source.images, time.process_time(), time.monotonic()
    await asyncio.to_thread(source.wait_for, IDLE_FRAMES)
    share = (time.process_time() - cpu) / (time.monotonic() - since)
    report("idle", frames=IDLE_FRAMES, images=source.images - images, cpu_share=share)
    await camera.close()
    report("closed", readers=[thread.name for thread in threading.enumerate() if thread.name == "camera"])


def main(usb: str, vivid: str, folder: str) -> None:
    report_devices(usb, vivid)
    report_refusals(usb, vivid)
    set_controls(usb, vivid)
    asyncio.run(capture_all(usb, vivid, Path(folder)))
    report_damage(vivid)
    requested_at = record_requests()
    for latency in (0.0, LATENCY):
        asyncio.run(report_captures(usb, requested_at, latency))
    report("end")


if __name__ == "__main__":
    main(*sys.argv[1:])
