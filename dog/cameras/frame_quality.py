"""Is it a good frame? Cut off, black, the same as the last ones, and whether the exposure has settled.

Thresholds has the settings. The comments and docs/cameras.md say where each default and each constant comes from.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from dog.images import grey_histogram

__all__ = ["Fault", "FrameInspector", "FrameStats", "Thresholds", "frame_digest"]

Fault = Literal["damaged", "black", "frozen"]

MIN_BLACK_FRACTION = 0.98
"""Fraction of black pixels from which a frame is black, as ffmpeg's filter `blackdetect` has it."""
MAX_SETTLED_CHANGE = 0.02
"""Change of brightness from frame to frame, as a fraction, that is none: about what an eye just notices (Weber)."""
SETTLED_FRAMES = 3
"""Frames in a row whose brightness is the same, until exposure counts as settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When a frame is not good. Brightness and shares are from 0 to 1, times in seconds.

    black_level: brightness of a black pixel at most; ffmpeg's filter `blackdetect` takes 10 % of full brightness.
    warm_up: most time until exposure counts as settled.
    retake: how long a brighter frame, or another one, is waited for; ffmpeg's `freezedetect` calls 2 s frozen.
    frozen: whether a frame that is the very same as the last ones is refused.
    """

    black_level: float = 0.1
    warm_up: float = 2.0
    retake: float = 2.0
    frozen: bool = True


@dataclass(frozen=True, slots=True)
class FrameStats:
    """What a picture looks like: its mean brightness from 0 to 1, and whether it is black."""

    brightness: float
    is_black: bool


class FrameInspector:
    """Looks at pictures by these thresholds."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds

    def inspect(self, image: bytes) -> FrameStats:
        """Raises BadImage where the picture is cut off or damaged."""
        counts = grey_histogram(image)
        pixels = sum(counts)
        dark = sum(counts[: int(self.thresholds.black_level * 255) + 1])
        mean = sum(grey * count for grey, count in enumerate(counts)) / (255 * pixels)
        return FrameStats(mean, dark >= MIN_BLACK_FRACTION * pixels)


class ExposureSettling:
    """Has the exposure settled? Told the brightness of one frame after the other."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._same = 0

    def has_settled(self, brightness: float) -> bool:
        """With this frame: whether SETTLED in a row are as bright as the one before each."""
        last, self._last = self._last, brightness
        if last is not None and abs(brightness - last) <= MAX_SETTLED_CHANGE * max(brightness, last):
            self._same += 1
        else:
            self._same = 0
        return self._same >= SETTLED_FRAMES


def frame_digest(raw: bytes | memoryview) -> bytes:
    """What tells whether two frames are the very same."""
    return hashlib.blake2b(raw, digest_size=16).digest()
