"""Odd RTSP cameras, and presses on them that read the time in the photo."""

import asyncio
import time
from dataclasses import dataclass

from dog.cameras.frame_selection import Thresholds
from dog.cameras.rtsp import RtspSource
from dog.cameras.source import LiveCamera
from dog.errors import CameraOffline
from tests.support.sources import read_stamp

__all__ = ["CAMERAS", "OddCamera", "press"]

SLACK_SECONDS = 0.05
"""For the way of a frame on a busy machine."""


@dataclass(frozen=True, slots=True)
class OddCamera:
    """Options of such a camera (see odd_rtsp_camera).

    `interval` is the longest time between frames, and `reorder_delay` that of B-frames, in seconds.
    """

    options: str
    interval: float = 0.05
    reorder_delay: float = 0.0


CAMERAS = {
    "fast": OddCamera("clock=fast"),
    "twice as fast": OddCamera("clock=double&codec=hevc"),
    "slow": OddCamera("clock=slow"),
    "half as fast": OddCamera("clock=half"),
    "set back again and again": OddCamera("clock=back"),
    "standing still": OddCamera("clock=still"),
    "fewer frames by night": OddCamera("clock=night&night-rate=11", interval=0.1),
    "losing packets": OddCamera("lose=middle"),
    "losing packets of H.265": OddCamera("lose=frame&codec=hevc"),
    "with B-frames": OddCamera("between=2", reorder_delay=0.2),
    "with a long GOP": OddCamera("gop=400"),
    "with 10 bits": OddCamera("format=yuv420p10le&codec=hevc"),
}


async def press(port: int, odd: OddCamera, presses: int, pause: float) -> None:
    """Press that often, and check each photo.

    It must be whole, made after its press, and dated by the time that it shows.
    """
    latency = 0.02
    camera = LiveCamera(
        lambda: RtspSource(f"rtsp://127.0.0.1:{port}/cam?{odd.options}", latency=latency),
        thresholds=Thresholds(frozen=False),
    )
    losses: list[CameraOffline] = []
    errors: list[float] = []  # seconds by which photos are dated before their frames
    await camera.open(losses.append)  # type: ignore[arg-type]
    try:
        for _ in range(presses):
            pressed = time.monotonic()
            captured = await camera.capture()
            made = read_stamp(captured.data)
            assert captured.exposure_start is not None
            assert pressed <= captured.exposure_start <= made + 0.001, (made, pressed, captured.exposure_start)
            errors.append(made - captured.exposure_start)
            await asyncio.sleep(pause)
    finally:
        await camera.close()
    assert not losses
    usual = sorted(errors)[len(errors) * 9 // 10 - 1]  # a frame is late now and then on a busy machine
    assert usual <= odd.interval + odd.reorder_delay + latency + SLACK_SECONDS, errors
