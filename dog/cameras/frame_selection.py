"""Frames of a source, and the selection of the one that serves a capture.

The selected frame is fresh and whole, neither black nor frozen, and its exposure has settled.
Nothing here has a thread or a clock: the caller passes frames and the time. Thresholds has the settings. The comments
and docs/cameras.md give the source of each default and constant.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Literal, Protocol

from dog.cameras import CapturedImage
from dog.cameras.network_timestamps import UNKNOWN_START
from dog.cameras.pixel_formats import shrink_to_preview
from dog.errors import BadImage, CameraFault, CameraTimeout, UnsupportedImage
from dog.images import grey_histogram, repair
from dog.protocol import Quality

__all__ = [
    "ExposureSettling",
    "Frame",
    "FrameInspector",
    "FrameSearch",
    "FrameSelector",
    "FrameStats",
    "ImageFrame",
    "Thresholds",
]

Fault = Literal["damaged", "black", "frozen"]

MIN_BLACK_FRACTION = 0.98
"""Fraction of black pixels in a black frame, as in ffmpeg's filter `blackdetect`."""
MAX_SETTLED_CHANGE = 0.02
"""Relative change of brightness between frames that does not count: an eye just notices it (Weber)."""
SETTLED_FRAMES = 3
"""Changes of brightness in a row that do not count, until the exposure has settled."""
MIN_UNSUPPORTED_FRAMES = 2
"""Frames of a stream of a kind that can't be kept, until a capture fails: one may have a damaged header."""
JPEG_START = b"\xff\xd8"
MIN_DETAIL_BYTES = 16 * 1024
"""A JPEG of this size is not black: one of 640 x 480 black pixels has about 5 KiB."""


class Frame(Protocol):
    """A frame, valid in its thread until the source has been read twice more."""

    @property
    def exposure_start(self) -> float:
        """The start of its exposure (time.monotonic()), never after the true one."""

    @property
    def exposure(self) -> float | None:
        """Its exposure time in seconds. None if unknown."""

    @property
    def raw(self) -> bytes | memoryview:
        """The bytes from the camera. Two frames of a live sensor are never equal."""

    def image(self) -> bytes:
        """Return the image file, a JPEG unchanged. Raises BadImage if incomplete."""

    def preview(self) -> bytes:
        """Return a cheaper JPEG, at most MAX_PREVIEW_WIDTH wide. Raises BadImage."""


@dataclass(eq=False)
class ImageFrame:
    """A frame that arrived as an image file."""

    raw: bytes
    exposure_start: float
    exposure = None

    def image(self) -> bytes:
        return self.raw

    def preview(self) -> bytes:
        return shrink_to_preview(self.raw)


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


@dataclass(frozen=True, slots=True)
class FrameInspector:
    """Measure frames against these thresholds."""

    thresholds: Thresholds

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
        """Add a frame. Return True if the last SETTLED_FRAMES changes were small."""
        last, self._last = self._last, brightness
        if last is not None and abs(brightness - last) <= MAX_SETTLED_CHANGE * max(brightness, last):
            self._same += 1
        else:
            self._same = 0
        return self._same >= SETTLED_FRAMES


@dataclass(slots=True)
class FrameSearch:
    """The search for one capture's frame. Times are monotonic."""

    requested_at: float
    deadline: float
    retake_deadline: float
    found: list[Fault] = field(default_factory=list)
    """The faults of rejected frames."""
    unsupported: int = 0
    """Frames that can't be kept."""
    preceding: FrameStats | None = None
    """The last frame before the request, if it is good."""


class FrameSelector:
    """The choice of frames for captures, since the opening of a source."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._inspector = FrameInspector(thresholds)
        self._streams = True
        self._settling: ExposureSettling | None = None
        self._settled_by: float | None = None
        self._previous_frame: Frame | None = None  # if the source streams
        self._last_digest: bytes | None = None  # of the last captured frame, if the source does not stream

    def start(self, *, streams: bool, settles: bool) -> None:
        """Start with a source that was opened (see Source)."""
        self._streams = streams
        self._settling = ExposureSettling() if settles else None

    def start_search(self, now: float, timeout: float) -> FrameSearch:
        """Start to search for a frame exposed from now on."""
        deadline = now + timeout
        return FrameSearch(now, deadline, min(deadline, now + self._thresholds.retake))

    def add(self, frame: Frame, search: FrameSearch | None, now: float) -> CapturedImage | None:
        """Add the next frame. Return its image if it serves the search.

        Raises CameraTimeout, CameraFault and BadImage if the search has failed.
        """
        if self._settling is not None and self._has_settled(frame, self._settling, now):
            self._settling = None
        try:
            if search is None or self._settling is not None:
                return None
            return self._check(search, frame, now)
        finally:
            self._previous_frame = frame

    def _has_settled(self, frame: Frame, settling: ExposureSettling, now: float) -> bool:
        if self._settled_by is None:  # warm-up begins with the first frame
            self._settled_by = now + self._thresholds.warm_up
        if now >= self._settled_by:
            return True
        try:
            stats = self._inspector.inspect(frame.preview())
        except BadImage:
            return False
        return settling.add_frame(stats.brightness)

    def _check(self, search: FrameSearch, frame: Frame, now: float) -> CapturedImage | None:
        """Return the image if this frame serves the search. Raises CaptureError."""
        if frame.exposure_start < search.requested_at:
            if now >= search.deadline and frame.exposure_start == UNKNOWN_START:
                raise CameraTimeout(
                    "The camera sends too few frames, or too irregularly, to tell how old they are. Raise its frame"
                    " rate, or `capture_timeout`."
                )
            if now >= search.deadline:
                raise CameraTimeout(
                    "The camera's frames are all older than the press. Choose a smaller stream, or lower `latency`."
                )
            search.preceding = self._inspect_preceding(frame)
            return None
        checks_frozen = self._thresholds.frozen
        if checks_frozen and self._previous_frame is None and self._streams:
            return None  # a comparison needs an earlier frame
        try:
            image = repair(frame.image())
            preceding = search.preceding if self._is_similar(frame) else None
            stats = preceding or self._inspector.inspect(image)
        except BadImage as error:
            search.preceding = None
            if isinstance(error, UnsupportedImage):
                search.unsupported += 1
                if search.unsupported >= (MIN_UNSUPPORTED_FRAMES if self._streams else 1):
                    raise
            if now >= search.deadline:
                error.detail = f"{len(search.found) + 1} frames were rejected; {error.detail}"
                raise
            search.found.append("damaged")
            return None
        if now < search.retake_deadline and stats.is_black:
            search.found.append("black")
            return None
        if checks_frozen and self._is_same(frame) and not stats.is_black:
            if now >= search.retake_deadline:
                raise CameraFault(
                    "The camera is frozen: it sends the same frame again and again. Reconnect it. If the scene"
                    " really never changes, set `frozen = false`."
                )
            search.found.append("frozen")
            return None
        quality = Quality(
            verdict="black" if stats.is_black else "good",
            brightness=round(stats.brightness, 3),
            retaken=len(search.found),
            found=tuple(dict.fromkeys(search.found)),
        )
        return CapturedImage(data=image, exposure_start=frame.exposure_start, exposure=frame.exposure, quality=quality)

    def _inspect_preceding(self, frame: Frame) -> FrameStats | None:
        """Inspect a frame before the search. Return None if it is not good.

        If it is good, a similar frame that follows only has to be complete.
        """
        if not self._streams:
            return None
        try:
            stats = self._inspector.inspect(frame.preview())
        except BadImage:
            return None
        return None if stats.is_black else stats

    def _is_similar(self, frame: Frame) -> bool:
        """Return True if this JPEG, by its size, is like the previous one."""
        before = self._previous_frame
        return (
            before is not None
            and bytes(frame.raw[:2]) == bytes(before.raw[:2]) == JPEG_START
            and len(frame.raw) >= max(MIN_DETAIL_BYTES, len(before.raw) // 2)
        )

    def _is_same(self, frame: Frame) -> bool:
        """Return True if this frame equals the previous (or last captured) one."""
        if self._streams:
            return self._previous_frame is not None and self._previous_frame.raw == frame.raw
        last, self._last_digest = self._last_digest, hashlib.blake2b(frame.raw, digest_size=16).digest()
        return last == self._last_digest
