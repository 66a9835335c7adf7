"""A camera that fails on purpose, for tests and demonstrations.

    faulty:cut=0.3,dark=0.1,seed=7     three in ten frames are cut off, one in ten is black
    faulty:dies=50,back=8              after 50 frames it is gone, and back 8 s later

It sends ten test cards a second. The same seed gives the same random faults.
"""

import copy
import functools
import io
import math
import random
import threading
import time
from dataclasses import dataclass, fields
from typing import Any

from PIL import Image

from dog.cameras.pixel_formats import shrink_to_preview
from dog.cameras.test_card import SIZE, TestCard
from dog.errors import CameraBusy, CameraOffline

__all__ = ["Faults", "FaultyCard", "FaultyDevice"]

FRAME_INTERVAL = 0.1
"""Seconds between frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The faults of a camera. Shares are from 0 to 1, times in seconds.

    hang: frames until a read never returns. slow: time for each frame. busy: time for which another program has the
    camera. dark, frozen, cut: share of frames that are black, equal to the previous one, cut off. dies: frames until
    the camera is gone. back: time until it is there again. seed: for the random faults.
    """

    hang: float = math.inf
    slow: float = 0.0
    busy: float = 0.0
    dark: float = 0.0
    frozen: float = 0.0
    cut: float = 0.0
    dies: float = math.inf
    back: float = 5.0
    seed: int = 0

    @staticmethod
    def parse(text: str) -> "Faults":
        """Parse `cut=0.3,seed=7`; `cut` alone is the worst. Raises ValueError."""
        worst: dict[str, Any] = {"hang": 0, "slow": 1, "busy": math.inf, "dark": 1, "frozen": 1, "cut": 1, "dies": 0}
        types: dict[str, Any] = {field.name: type(field.default) for field in fields(Faults)}
        values: dict[str, Any] = {}
        for part in text.split(","):
            name, equals, value = part.strip().partition("=")
            if name not in types or (not equals and name not in worst):
                raise ValueError(
                    f"{part.strip()!r} is not a fault. Known are {', '.join(worst)}, each alone or with a number as in"
                    " cut=0.3, and back=SECONDS and seed=NUMBER."
                )
            try:
                values[name] = types[name](value) if equals else worst[name]
            except ValueError:
                raise ValueError(f"{part.strip()!r} has no number. Write one such as {name}=1.") from None
            if (equals and not 0 <= values[name] <= 1e6) or (name in ("dark", "frozen", "cut") and values[name] > 1):
                raise ValueError(f"{part.strip()!r} is out of range. Shares are from 0 to 1, all else to 1000000.")
        return Faults(**values)


class FaultyDevice:
    """The device behind all openings: busy or gone, and its random generator."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.chance = random.Random(faults.seed)
        self.card = TestCard()
        self._busy_until: float | None = None
        self._gone_until = -math.inf

    def open(self) -> None:
        """Raise CameraBusy or CameraOffline if the device is busy or gone."""
        now = time.monotonic()
        if self._busy_until is None:
            self._busy_until = now + self.faults.busy
        if now < self._busy_until:
            raise CameraBusy("Another program uses the camera (faulty on purpose).")
        if self.is_gone:
            raise CameraOffline("The camera is not there (faulty on purpose).")

    def die(self) -> None:
        self._gone_until = time.monotonic() + self.faults.back

    @property
    def is_gone(self) -> bool:
        return time.monotonic() < self._gone_until


class FaultyCard:
    """A source of test cards: one opening of a faulty device."""

    settles = False

    def __init__(self, device: FaultyDevice) -> None:
        self.streams = device.faults.slow == 0  # a slow stream would count as frozen
        self._device = device
        self._frames = 0
        self._next = 0.0
        self._last: CardFrame | None = None

    def open(self) -> None:
        self._device.open()
        self._next = time.monotonic()

    def read(self, _timeout: float) -> "CardFrame":
        device = self._device
        if self._frames >= device.faults.hang:
            threading.Event().wait()
        if self._frames >= device.faults.dies:
            device.die()
            raise CameraOffline("The camera was unplugged (faulty on purpose).")
        self._frames += 1
        self._next = max(self._next, time.monotonic()) + (device.faults.slow or FRAME_INTERVAL)
        exposure_start = time.monotonic()
        time.sleep(max(0.0, self._next - exposure_start))
        if self._last is None or device.chance.random() >= device.faults.frozen:
            is_dark, is_cut = (device.chance.random() < share for share in (device.faults.dark, device.faults.cut))
            self._last = CardFrame(device, exposure_start, b"frame %d" % self._frames, is_dark, is_cut)
            return self._last
        self._last = self._last.repeat(exposure_start)
        return self._last

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def is_back(self) -> bool:
        return not self._device.is_gone


class CardFrame:
    """A test card that is drawn once, when it is needed."""

    exposure = None

    def __init__(self, device: FaultyDevice, exposure_start: float, raw: bytes, is_dark: bool, is_cut: bool) -> None:
        self.exposure_start = exposure_start
        self.raw = raw
        self.is_dark = is_dark
        self.is_cut = is_cut
        self._draw = functools.cache(lambda: draw_black() if is_dark else device.card.read(0).image())

    def repeat(self, exposure_start: float) -> "CardFrame":
        """Return the same frame with a later start."""
        later = copy.copy(self)
        later.exposure_start = exposure_start
        return later

    def image(self) -> bytes:
        image = self._draw()
        return image[: len(image) // 2] if self.is_cut else image

    def preview(self) -> bytes:
        return shrink_to_preview(self.image())


def draw_black() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", SIZE, "black").save(file, "JPEG")
    return file.getvalue()
