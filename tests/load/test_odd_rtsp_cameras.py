"""Odd RTSP cameras: fifty presses on each, and five hundred openings."""

import asyncio
import os
import time

import pytest

from dog.cameras.rtsp import RtspSource
from dog.cameras.source import LiveCamera
from tests.support.odd_rtsp import CAMERAS, press
from tests.support.sources import make_odd_rtsp_cameras, read_stamp

pytest.importorskip("av")
pytestmark = [pytest.mark.load, pytest.mark.timeout(600)]

OPENINGS = 500
MAX_GROWTH_KIB = 8 * 1024


@pytest.mark.parametrize("name", CAMERAS)
async def test_fifty_photos_of_an_odd_camera_are_fresh_whole_and_dated(name: str) -> None:
    with make_odd_rtsp_cameras() as odd:
        await press(odd.port, CAMERAS[name], presses=50, pause=0.3)


async def test_five_hundred_openings_take_no_more_memory_or_threads() -> None:
    with make_odd_rtsp_cameras() as odd:
        url = f"rtsp://127.0.0.1:{odd.port}/cam?codec=hevc&size=640x480&rate=100&gop=4&end-after=8"
        camera = LiveCamera(lambda: RtspSource(url))
        camera.set_preview(lambda _frame: None)  # decodes
        usage = []
        for _ in range(OPENINGS):
            lost = asyncio.Event()
            await camera.open(lambda _error, lost=lost: lost.set())  # type: ignore[misc]
            await lost.wait()
            usage.append((_resident_kib(), len(os.listdir("/proc/self/task"))))
        await camera.close()
    print(f"after {OPENINGS} openings: {usage[99]} KiB and threads at 100, {usage[-1]} at the end")
    early, late = usage[50:150], usage[-100:]
    assert max(memory for memory, _ in late) <= max(memory for memory, _ in early) + MAX_GROWTH_KIB
    assert max(threads for _, threads in late) <= max(threads for _, threads in early)


async def test_a_camera_with_a_frame_in_ten_seconds_gives_a_fresh_photo() -> None:
    with make_odd_rtsp_cameras() as odd:
        url = f"rtsp://127.0.0.1:{odd.port}/cam?rate=0.1"
        camera = LiveCamera(lambda: RtspSource(url, open_timeout=35), timeout=35, open_timeout=36, frozen_after=20)
        await camera.open(lambda _error: None)
        pressed = time.monotonic()
        captured = await camera.capture()
        assert captured.exposure_start is not None
        assert pressed <= captured.exposure_start <= read_stamp(captured.data) - 9
        await camera.close()


def _resident_kib() -> int:
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("VmRSS")).split()[1])
