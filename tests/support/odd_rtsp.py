"""Odd RTSP cameras, and presses on them that read the time in the photo."""

import asyncio
import contextlib
import time
from dataclasses import dataclass

from dog.cameras.frame_selection import Thresholds
from dog.cameras.rtsp import RtspSource
from dog.cameras.source import LiveCamera
from dog.errors import CameraOffline, CameraTimeout
from tests.support.sources import read_stamp

__all__ = ["CAMERAS", "OddCamera", "press"]

LATENCY = 0.02
"""The setting `latency`, in seconds."""
SLACK_SECONDS = 0.05
"""For the way of a frame."""
MAX_ROUNDS = 6


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

    It must be whole, made after its press, and dated by the time that it shows. On a busy machine frames are late, and
    so are their dates, or too few come: then all is done again.
    """
    errors: list[float] = []
    for _ in range(MAX_ROUNDS):
        with contextlib.suppress(CameraTimeout):
            errors = await _measure_dates(port, odd, presses, pause)
            if _are_right(errors, odd):
                return
    raise AssertionError(f"The dates were wrong {MAX_ROUNDS} times, at last by {errors}.")


def _are_right(errors: list[float], odd: OddCamera) -> bool:
    usual = sorted(errors)[len(errors) * 9 // 10 - 1]
    return min(errors) >= -0.001 and usual <= odd.interval + odd.reorder_delay + LATENCY + SLACK_SECONDS


async def _measure_dates(port: int, odd: OddCamera, presses: int, pause: float) -> list[float]:
    """Return the seconds by which photos are dated before their frames."""
    camera = LiveCamera(
        lambda: RtspSource(f"rtsp://127.0.0.1:{port}/cam?{odd.options}", latency=LATENCY),
        thresholds=Thresholds(frozen=False),
    )
    losses: list[CameraOffline] = []
    errors: list[float] = []
    await camera.open(losses.append)  # type: ignore[arg-type]
    try:
        for _ in range(presses):
            pressed = time.monotonic()
            captured = await camera.capture()
            made = read_stamp(captured.data)
            assert captured.exposure_start is not None
            assert pressed <= min(captured.exposure_start, made), (made, pressed, captured.exposure_start)
            errors.append(made - captured.exposure_start)
            await asyncio.sleep(pause)
    finally:
        await camera.close()
    assert not losses
    return errors
