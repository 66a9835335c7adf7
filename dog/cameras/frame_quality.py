"""Quality of a frame: brightness, black frames, and settled exposure.

Thresholds has the settings. The comments and docs/cameras.md give the source of each default and constant.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from dog.images import grey_histogram

__all__ = ["Fault", "FrameInspector", "FrameStats", "Thresholds", "frame_digest"]

Fault = Literal["damaged", "black", "frozen"]

MIN_BLACK_FRACTION = 0.98
"""Fraction of black pixels in a black frame, as in ffmpeg's filter `blackdetect`."""
MAX_SETTLED_CHANGE = 0.02
"""Relative change of brightness between frames that does not count: an eye just notices it (Weber)."""
SETTLED_FRAMES = 3
"""Frames in a row with the same brightness, until the exposure counts as settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Limits for a good frame. Brightness is from 0 to 1, times in seconds.

    black_level: maximum brightness of a black pixel. ffmpeg's filter `blackdetect` takes 10 % of full brightness.
    warm_up: maximum time until the exposure counts as settled.
    retake: time to wait for a brighter or a changed frame. ffmpeg's `freezedetect` calls 2 s frozen.
    frozen: True to refuse a frame that equals the previous one.
    """

    black_level: float = 0.1
    warm_up: float = 2.0
    retake: float = 2.0
    frozen: bool = True


@dataclass(frozen=True, slots=True)
class FrameStats:
    """Mean brightness of a frame, from 0 to 1, and whether it is black."""

    brightness: float
    is_black: bool


class FrameInspector:
    """Measure frames against these thresholds."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds

    def inspect(self, image: bytes) -> FrameStats:
        """Measure an image's brightness. Raises BadImage if it is damaged."""
        counts = grey_histogram(image)
        pixels = sum(counts)
        dark = sum(counts[: int(self.thresholds.black_level * 255) + 1])
        mean = sum(grey * count for grey, count in enumerate(counts)) / (255 * pixels)
        return FrameStats(mean, dark >= MIN_BLACK_FRACTION * pixels)


class ExposureSettling:
    """Detect a settled exposure from the brightness of successive frames."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._same = 0

    def add_frame(self, brightness: float) -> bool:
        """Add a frame. Return True if SETTLED_FRAMES in a row were equally bright."""
        last, self._last = self._last, brightness
        if last is not None and abs(brightness - last) <= MAX_SETTLED_CHANGE * max(brightness, last):
            self._same += 1
        else:
            self._same = 0
        return self._same >= SETTLED_FRAMES


def frame_digest(raw: bytes | memoryview) -> bytes:
    """Return a digest of a frame's bytes, to compare frames."""
    return hashlib.blake2b(raw, digest_size=16).digest()
