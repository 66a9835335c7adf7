"""Times in the head of a response: when its image was exposed.

Some cameras answer with an image that they took earlier, and say so. Pure; times are Unix times in seconds.
"""

import re
from email.message import Message
from email.utils import parsedate_to_datetime

__all__ = ["CameraClock", "latest_exposure", "read_camera_time", "read_timestamp"]

MAX_CLOCK_DRIFT = 0.001
"""Drift of a camera's clock, in seconds per second. Quartz is ten times better."""

_NUMBER = re.compile(r"\s*(\d{1,12}(?:\.\d{1,9})?)\s*")


def latest_exposure(headers: Message, *, oldest: float, received: float) -> float | None:
    """Return the latest time of the exposure, or None if unknown.

    Times before `oldest` or in the future are wrong, and ignored. `Age` and `Last-Modified` are whole seconds.
    """
    times = []
    if (stamp := read_timestamp(headers)) is not None:
        times.append(stamp)
    if (age := _read_number(headers.get("Age"))) is not None:
        times.append(received - age)
    if (modified := _read_date(headers.get("Last-Modified"))) is not None:
        date = _read_date(headers.get("Date"))  # by the camera's own clock
        times.append(modified + 1 if date is None else received - (date - modified) + 1)
    return min((time for time in times if oldest <= time <= received), default=None)


class CameraClock:
    """A camera's clock that was never set: its offset is learned from images.

    The shortest delay of an image shows the offset. Times are of time.monotonic().
    """

    def __init__(self) -> None:
        self._shortest = 0.0
        self._last_received = 0.0
        self._last_stamp: float | None = None

    def latest_exposure(self, stamp: float, received: float) -> float:
        """Return the latest time of the exposure of an image with this stamp."""
        delay = received - stamp
        if self._last_stamp is None or stamp <= self._last_stamp:  # the first one, or the camera was restarted
            self._shortest = delay
        else:
            self._shortest = min(delay, self._shortest + MAX_CLOCK_DRIFT * (received - self._last_received))
        self._last_received, self._last_stamp = received, stamp
        return stamp + self._shortest


def read_timestamp(headers: Message) -> float | None:
    """Return the header X-Timestamp, in seconds by any clock."""
    return _read_number(headers.get("X-Timestamp"))


def read_camera_time(headers: Message) -> float | None:
    """Return the image's time by the camera's clock, which may be wrong."""
    stamp = read_timestamp(headers)
    return _read_date(headers.get("Last-Modified")) if stamp is None else stamp


def _read_number(text: str | None) -> float | None:
    match = _NUMBER.fullmatch(text or "")
    return float(match[1]) if match else None


def _read_date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, OverflowError):
        return None
