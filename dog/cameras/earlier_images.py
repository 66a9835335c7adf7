"""Detect a camera that answers with the image of an earlier request.

Such a camera (an ESP32-CAM, for example) takes an image at one request and sends it at the next. So after a pause, the
scene jumps not in the first image but in a later one. The jump is seen in the time that the camera sends with its
images or, without that, in what moves or in a clock in the image.
"""

import io
import itertools
from collections.abc import Sequence
from time import sleep

from PIL import Image, ImageChops

from dog.cameras.http import HttpSource
from dog.images import inspect, repair

__all__ = ["count_earlier_images", "find_jump"]

BURST = 4
"""Images before and after a pause, in one round."""
ROUNDS = 2
"""Rounds that must agree."""
PAUSE_SECONDS = 2.0
MIN_JUMP = 3.0
"""Least size of the jump, as a multiple of any other change."""
MIN_LEVELS = 8
"""Levels of grey, of 255, that count as a change."""
_SMALL = (160, 120)
"""Size in pixels for comparisons: small enough to average out the noise of a sensor."""


def count_earlier_images(source: HttpSource, timeout: float) -> int:
    """Return how many earlier images an open source sends first after a pause.

    It is 0 if nothing shows when the images were taken. `timeout` is in seconds, for one image. Raises CameraOffline,
    and BadImage if an image is damaged.
    """
    counts = set()
    for _ in range(ROUNDS):
        images, times = [], []
        for number in range(2 * BURST):
            if number == BURST:
                sleep(PAUSE_SECONDS)
            images.append(_shrink(bytes(source.read(timeout).raw)))
            times.append(source.camera_time)
        known = [one for one in times if one is not None]
        if len(known) == len(times):
            changes = [other - one for one, other in itertools.pairwise(known)]
            counts.add(find_jump(changes, PAUSE_SECONDS / 2))
        else:
            changes = [_difference(one, other) for one, other in itertools.pairwise(images)]
            counts.add(find_jump(changes, MIN_LEVELS))
    return counts.pop() if len(counts) == 1 else 0


def find_jump(changes: Sequence[float], smallest: float) -> int:
    """Return the index of the only large change after the pause, or 0.

    The change across the pause has the index 0; the BURST - 1 changes before it must be small too.
    """
    *others, largest = sorted(changes, key=abs)
    index = changes.index(largest) - (BURST - 1)
    is_clear = largest >= max(smallest, MIN_JUMP * abs(others[-1]))
    return max(0, index) if is_clear else 0


def _shrink(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(inspect(repair(data)).thumbnail)) as image:
        return image.convert("L").resize(_SMALL, Image.Resampling.BOX)


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Return the largest difference of a pixel, in levels of grey."""
    return float(ImageChops.difference(one, other).getextrema()[1])  # type: ignore[arg-type]
