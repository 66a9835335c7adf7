"""The Reader: one opening of a source, in a thread of its own, from its opening to its end."""

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec

from dog.cameras import Still
from dog.cameras.frame_quality import ExposureSettling, Fault, FrameInspector, FrameStats, Thresholds, take_digest
from dog.cameras.source import Frame, Source
from dog.errors import BadImage, CameraFault, CameraOffline, CameraTimeout, CaptureError
from dog.images import complete
from dog.protocol import Quality

__all__ = ["FROZEN", "Reader"]

FROZEN = 2.0
"""Seconds without a frame after which a camera that streams is offline (ffmpeg's `freezedetect` has the same)."""

AGAIN = 0.2
"""Seconds until a source that does not stream is asked again, after a frame that was not good."""
JPEG_START = b"\xff\xd8"
MUCH = 16 * 1024
"""Bytes. A black JPEG of 640 x 480 pixels has some 5 KiB; of a larger one, each frame has more."""
FIRST = 8.0
"""Seconds for the first frame: a webcam may take that long to start."""

P = ParamSpec("P")

log = logging.getLogger(__name__)


class FrameRequest(Future[Still]):
    """A capture that waits for its frame; times are by time.monotonic()."""

    def __init__(self, timeout: float, retake: float) -> None:
        super().__init__()
        self.asked = time.monotonic()
        self.until = self.asked + timeout
        self.retake_until = min(self.until, self.asked + retake)
        self.found: list[Fault] = []
        self.ahead: FrameStats | None = None  # of the frame before the first that counts
        self.set_running_or_notify_cancel()


class Reader(threading.Thread):
    """Reads a source until it is stopped or the source ends. `opened` and `ended` are called in this thread.

    `patience` is how long a source that does not stream may take for a frame, `frozen_after` how long one that does, in
    seconds.
    """

    def __init__(
        self,
        source: Source,
        *,
        thresholds: Thresholds,
        patience: float,
        frozen_after: float,
        preview_rate: float,
        opened: Callable[[], object],
        ended: Callable[[CaptureError], object],
    ) -> None:
        super().__init__(name="camera", daemon=True)  # a driver that hangs must not keep the process
        self.read_limit = patience
        self.is_open = False
        """Whether its source has been opened."""
        self._source = source
        self._judge = FrameInspector(thresholds)
        self._settling: ExposureSettling | None = None
        self._frozen_after = frozen_after
        self._preview_interval = 1 / preview_rate
        self._opened = opened
        self._ended = ended
        self._stopping = False
        self._end: CaptureError | None = None
        self._work = threading.Condition()
        self._wish: FrameRequest | None = None
        self._show: Callable[[bytes], object] | None = None
        self._show_at = 0.0
        self._again_at = 0.0
        self._previous: Frame | None = None  # where the source streams
        self._last: bytes | None = None  # the digest of the last still, where the source does not stream
        self._reads_since: float | None = None

    # ---- from the event loop

    @property
    def reads_for(self) -> float:
        """Seconds for which it has been waiting for its source to come back with a frame."""
        since = self._reads_since
        return 0.0 if since is None else time.monotonic() - since

    def ask(self, timeout: float) -> FrameRequest:
        """Have the first good frame whose exposure begins from now on. A wish before that gets a CameraFault."""
        wish = FrameRequest(timeout, self._judge.thresholds.retake)
        with self._work:
            if self._wish is not None:
                self._wish.set_exception(CameraFault("Another capture replaced this one. Press again."))
            self._wish = None
            if self._end is not None:
                wish.set_exception(self._end)
            else:
                self._wish = wish
                self._work.notify()
        return wish

    def forget(self, wish: FrameRequest) -> None:
        """Look for no frame for this wish any more."""
        with self._work:
            if self._wish is wish:
                self._wish = None

    def show(self, show: Callable[[bytes], object] | None) -> None:
        """Have each frame of the preview from now on, in this reader's thread; None: no longer."""
        with self._work:
            self._show = show
            self._work.notify()

    def refuse(self, error: CaptureError) -> None:
        """Tell a capture that waits that there will be no frame."""
        with self._work:
            if self._wish is not None:
                self._wish.set_exception(error)
                self._wish = None

    def stop(self) -> None:
        """End soon: after the frame that is being read."""
        with self._work:
            self._stopping = True
            self._work.notify()

    # ---- in the thread

    def run(self) -> None:
        error: CaptureError = CameraOffline("The camera was closed. Press again when the server is back.")
        try:
            self._source.open()
            self.is_open = True
            if self._source.streams:
                self.read_limit = self._frozen_after
            self._read_frames()
        except CaptureError as refusal:
            error = refusal
        except OSError as refusal:
            error = CameraOffline(
                f"The operating system refused the capture: {refusal.strerror or refusal}. Press again."
            )
        except Exception:
            log.exception("the camera's driver failed")
            error = CameraOffline("The camera's driver failed. See the server's log.")
        # Told first: letting go of a device that is gone may take long.
        with self._work:
            self._end = error
        self.refuse(error)
        self._reads_since = None
        _tell(self._ended, error)
        self._source.close()

    def _read_frames(self) -> None:
        thresholds = self._judge.thresholds
        told = not self._source.streams
        if told:
            _tell(self._opened)
        if self._source.settles:
            self._settling = ExposureSettling()
        settled_by = math.inf
        while self._wait_for_work():
            self._reads_since = time.monotonic()
            frame = self._source.read(self.read_limit if told else FIRST)
            self._reads_since = None
            if not told:
                told = True
                settled_by = time.monotonic() + thresholds.warm_up
                _tell(self._opened)
            if self._settling is not None and self._has_settled(frame, settled_by):
                self._settling = None
            self._serve_wish(frame)
            self._serve_preview(frame)
            self._previous = frame

    def _wait_for_work(self) -> bool:
        """Until a frame is to be read; false when it is to end."""
        with self._work:
            while not self._stopping and not self._source.streams:
                wait = None
                if self._wish is not None:
                    wait = self._again_at - time.monotonic()
                elif self._show is not None:
                    wait = self._show_at - time.monotonic()
                if wait is not None and wait <= 0:
                    break
                self._work.wait(wait)
            return not self._stopping

    def _has_settled(self, frame: Frame, settled_by: float) -> bool:
        if time.monotonic() >= settled_by or self._settling is None:
            return True
        try:
            look = self._judge.look(frame.preview())
        except BadImage:
            return False
        return self._settling.has_settled(look.brightness)

    def _serve_wish(self, frame: Frame) -> None:
        wish = self._wish
        if wish is None or self._settling is not None:
            return
        try:
            still = self._consider(wish, frame)
        except CaptureError as error:
            self.refuse(error)
            return
        if still is None and not self._source.streams:
            self._again_at = time.monotonic() + AGAIN
        with self._work:
            if still is not None and self._wish is wish:
                self._wish = None
                wish.set_result(still)

    def _consider(self, wish: FrameRequest, frame: Frame) -> Still | None:
        """The still, if this frame is the one. Raises a CaptureError where time is up."""
        now = time.monotonic()
        if frame.began < wish.asked:
            if now >= wish.until:
                raise CameraTimeout(
                    "The camera's frames are all older than the press. Make its stream smaller, or `latency`."
                )
            wish.ahead = self._look_ahead(frame)
            return None
        checks_frozen = self._judge.thresholds.frozen
        if checks_frozen and self._previous is None and self._source.streams:
            return None  # only the next one can be compared
        try:
            picture = complete(frame.picture())
            ahead = wish.ahead if self._is_alike(frame) else None
            look = ahead or self._judge.look(picture)
        except BadImage as error:
            wish.ahead = None
            if now >= wish.until:
                error.detail = f"{len(wish.found) + 1} frames were let go; {error.detail}"
                raise
            wish.found.append("damaged")
            return None
        if now < wish.retake_until and look.black:
            wish.found.append("black")
            return None
        if checks_frozen and self._is_same(frame) and not look.black:
            if now >= wish.retake_until:
                raise CameraFault(
                    "The camera is frozen: it gives the very same picture again and again. Reconnect it. If the scene"
                    " really never changes, set `frozen = false`."
                )
            wish.found.append("frozen")
            return None
        quality = Quality(
            verdict="black" if look.black else "good",
            brightness=round(look.brightness, 3),
            retaken=len(wish.found),
            found=tuple(dict.fromkeys(wish.found)),
        )
        return Still(data=picture, began=frame.began, exposure=frame.exposure, quality=quality)

    def _look_ahead(self, frame: Frame) -> FrameStats | None:
        """How the frame before the one that counts looks, for which there is time: it comes while a capture waits.

        Where it is well, the next one, a moment later, need only be all there, if it is alike. None where it is not.
        """
        if not self._source.streams:
            return None
        try:
            look = self._judge.look(frame.preview())
        except BadImage:
            return None
        return None if look.black else look

    def _is_alike(self, frame: Frame) -> bool:
        """Whether this JPEG has so much in it that it can't be black where the one before is not."""
        before = self._previous
        return (
            before is not None
            and bytes(frame.raw[:2]) == bytes(before.raw[:2]) == JPEG_START
            and len(frame.raw) >= max(MUCH, len(before.raw) // 2)
        )

    def _is_same(self, frame: Frame) -> bool:
        """Whether this frame is the very same as the one before, or as the last still."""
        if self._source.streams:
            return self._previous is not None and self._previous.raw == frame.raw
        last, self._last = self._last, take_digest(frame.raw)
        return last == self._last

    def _serve_preview(self, frame: Frame) -> None:
        now = time.monotonic()
        show = self._show
        if show is None or now < self._show_at:
            return
        # No later than a whole interval behind: a pause is not made up for.
        self._show_at = max(self._show_at + self._preview_interval, now)
        try:
            preview = frame.preview()
        except BadImage as error:
            log.debug("a frame of the preview is let go: %s", error.message)
        else:
            _tell(show, preview)


def _tell(tell: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call what leads to the event loop; where that is closed, the process ends, and nobody is left to be told."""
    try:
        tell(*args, **kwargs)
    except RuntimeError as error:
        log.debug("nobody is left to be told: %s", error)
