"""Times in the head of a response: when its image was exposed.

Some cameras answer with an image that they took earlier, and say so. Pure; times are Unix times in seconds.
"""

import re
from email.message import Message
from email.utils import parsedate_to_datetime

__all__ = ["latest_exposure", "read_camera_time"]

_NUMBER = re.compile(r"\s*(\d{1,12}(?:\.\d{1,9})?)\s*")


def latest_exposure(headers: Message, *, oldest: float, received: float) -> float | None:
    """Return the latest time of the exposure, or None if unknown.

    Times before `oldest` or in the future are wrong, and ignored. `Age` and `Last-Modified` are whole seconds.
    """
    times = []
    if (stamp := _read_number(headers.get("X-Timestamp"))) is not None:
        times.append(stamp)
    if (age := _read_number(headers.get("Age"))) is not None:
        times.append(received - age)
    if (modified := _read_date(headers.get("Last-Modified"))) is not None:
        date = _read_date(headers.get("Date"))  # by the camera's own clock
        times.append(modified + 1 if date is None else received - (date - modified) + 1)
    return min((time for time in times if oldest <= time <= received), default=None)


def read_camera_time(headers: Message) -> float | None:
    """Return the image's time by the camera's clock, which may be wrong."""
    stamp = _read_number(headers.get("X-Timestamp"))
    return _read_date(headers.get("Last-Modified")) if stamp is None else stamp


def _read_number(text: str | None) -> float | None:
    match = _NUMBER.fullmatch(text or "")
    return float(match[1]) if match else None


def _read_date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, OverflowError):
        return None
