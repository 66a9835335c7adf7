"""Sources of frames, and LiveCamera, which makes a Camera of a Source.

    source -> SourceReader, a thread -> not needed: dropped
                              |-------> a capture waits: the first good frame exposed after the request
                              `-------> the preview is on: shown

A source knows only its device, so a driver is one file with a dozen lines for each method. Each opening of the source
has a SourceReader with its own thread. If the device is lost, the reader ends and reports why. If the driver hangs, the
reader is abandoned. Then the camera is closed, and opened again with a new reader.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, Protocol, runtime_checkable

from dog.cameras import CapturedImage, OnFrame, OnLost
from dog.cameras.frame_selection import Frame, FrameSearch, FrameSelector, Thresholds
from dog.errors import BadImage, CameraFault, CameraOffline, CameraTimeout, CaptureError

__all__ = ["LiveCamera", "Source"]

SOURCE_OPEN_TIMEOUT = 10.0
"""Seconds from a source's opening to its first frame. A network camera has `capture_timeout`, if that is longer."""
READ_GRACE_SECONDS = 1.0
"""Seconds beyond its timeout after which a read counts as hanging."""
READER_CLOSE_TIMEOUT = 2.0
"""Seconds for a reader to release its device. One that hangs ends with the process."""
CLOSE_POLL_INTERVAL = 0.02
"""Seconds between checks whether readers have ended."""
DEVICE_POLL_INTERVAL = 0.25
"""Seconds between checks whether a lost device is back."""

FROZEN_TIMEOUT = 2.0
"""Seconds without a frame until a streaming camera is offline (as in ffmpeg's `freezedetect`)."""

RETRY_INTERVAL = 0.2
"""Seconds until a source that does not stream is read again, after a bad frame."""
FIRST_FRAME_TIMEOUT = 8.0
"""Seconds for the first frame. Some webcams need that long to start."""

P = ParamSpec("P")

log = logging.getLogger(__name__)


class Source(Protocol):
    """A device or a URL that sends frames, for one opening. Its calls block."""

    @property
    def streams(self) -> bool:
        """True if all frames must be read, else a read takes one. Valid once open."""

    @property
    def settles(self) -> bool:
        """True if the exposure must settle after the opening."""

    def open(self) -> None:
        """Open the device and start it. Raises CameraOffline or CameraBusy."""

    def read(self, timeout: float) -> Frame:
        """Return the next frame, not decoded yet, within `timeout` seconds.

        Raises CameraOffline if no frame arrives in time, or the stream has ended. The source is closed then.
        """

    def close(self) -> None:
        """Release the device, also after a failed `open`. Raises nothing."""

    def is_back(self) -> bool:
        """Return True if a lost device is back. Quick; always False if unknown."""


@runtime_checkable
class HidesSecrets(Protocol):
    """A source whose camera may repeat its password in what it sends."""

    def hide_secrets(self, text: str) -> str:
        """Return a text without the secrets of the camera's URL."""


# ---- the thread that reads a source


class FrameRequest(Future[CapturedImage]):
    """A capture that waits for its frame."""

    def __init__(self, search: FrameSearch) -> None:
        super().__init__()
        self.search = search
        self.set_running_or_notify_cancel()


class SourceReader(threading.Thread):
    """A thread that reads a source until it is stopped or the source ends.

    It calls the callbacks. A frame may take `frozen_after` seconds if the source streams, otherwise `timeout`.
    """

    def __init__(
        self,
        source: Source,
        *,
        thresholds: Thresholds,
        timeout: float,
        frozen_after: float,
        preview_rate: float,
        on_opened: Callable[["SourceReader"], object],
        on_ended: Callable[["SourceReader", CaptureError], object],
    ) -> None:
        super().__init__(name="camera", daemon=True)  # a driver that hangs must not keep the process
        self.read_limit = timeout
        self.is_open = False
        """True once the source has been opened."""
        self._source = source
        self._selector = FrameSelector(thresholds)
        self._frozen_after = frozen_after
        self._preview_interval = 1 / preview_rate
        self._on_opened = on_opened
        self._on_ended = on_ended
        self._stopping = False
        self._end_error: CaptureError | None = None
        self._changed = threading.Condition()
        self._request: FrameRequest | None = None
        self._on_preview: Callable[[bytes], object] | None = None
        self._next_preview_at = 0.0
        self._next_read_at = 0.0
        self._reading_since: float | None = None

    # ---- called in the event loop

    @property
    def reading_seconds(self) -> float:
        """Duration of the current call of the source's `read`."""
        since = self._reading_since
        return 0.0 if since is None else time.monotonic() - since

    def request_frame(self, timeout: float) -> FrameRequest:
        """Request the first good frame exposed from now on. Ends an older request."""
        request = FrameRequest(self._selector.start_search(time.monotonic(), timeout))
        with self._changed:
            if self._request is not None:
                self._request.set_exception(CameraFault("Another capture replaced this one. Press again."))
            self._request = None
            if self._end_error is not None:
                request.set_exception(self._end_error)
            else:
                self._request = request
                self._changed.notify()
        return request

    def cancel_request(self, request: FrameRequest) -> None:
        """Stop looking for a frame for this request."""
        with self._changed:
            if self._request is request:
                self._request = None

    def set_preview(self, on_preview: Callable[[bytes], object] | None) -> None:
        """Set or remove the callback for preview frames. It runs in this thread."""
        with self._changed:
            self._on_preview = on_preview
            self._changed.notify()

    def fail_request(self, error: CaptureError) -> None:
        """Fail the waiting request, if there is one."""
        with self._changed:
            if self._request is not None:
                self._request.set_exception(error)
                self._request = None

    def stop(self) -> None:
        """End after the frame that is being read."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    # ---- in the thread

    def run(self) -> None:
        error: CaptureError = CameraOffline("The camera was closed. Press again when the server is back.")
        try:
            self._source.open()
            self.is_open = True
            if self._source.streams:
                self.read_limit = self._frozen_after
            self._selector.start(streams=self._source.streams, settles=self._source.settles)
            self._read_frames()
        except CaptureError as failure:
            error = failure
        except OSError as failure:
            error = CameraOffline(
                f"The operating system refused the capture: {failure.strerror or failure}. Press again."
            )
        except Exception:
            log.exception("the camera's driver failed")
            error = CameraOffline("The camera's driver failed. See the server's log.")
        # Report before closing: releasing a lost device may take long.
        with self._changed:
            self._end_error = error
        self.fail_request(error)
        self._reading_since = None
        _notify(self._on_ended, self, error)
        self._source.close()
        # Each of these refers to this reader in a circle. Its frames and their decoder would wait for the collector.
        error.__traceback__ = error.__context__ = self._on_preview = None

    def _read_frames(self) -> None:
        is_announced = not self._source.streams
        if is_announced:
            _notify(self._on_opened, self)
        while self._wait_for_work():
            self._reading_since = time.monotonic()
            frame = self._source.read(self.read_limit if is_announced else max(FIRST_FRAME_TIMEOUT, self.read_limit))
            self._reading_since = None
            if not is_announced:
                is_announced = True
                _notify(self._on_opened, self)
            self._serve_request(frame)
            self._serve_preview(frame)

    def _wait_for_work(self) -> bool:
        """Wait until a frame is needed. Return False if the reader must end."""
        with self._changed:
            while not self._stopping and not self._source.streams:
                wait = None
                if self._request is not None:
                    wait = self._next_read_at - time.monotonic()
                elif self._on_preview is not None:
                    wait = self._next_preview_at - time.monotonic()
                if wait is not None and wait <= 0:
                    break
                self._changed.wait(wait)
            return not self._stopping

    def _serve_request(self, frame: Frame) -> None:
        request = self._request
        try:
            captured = self._selector.add(frame, None if request is None else request.search, time.monotonic())
        except CaptureError as error:
            if isinstance(self._source, HidesSecrets):
                error.detail = self._source.hide_secrets(error.detail)
            self.fail_request(error)
            return
        if request is None:
            return
        if captured is None and not self._source.streams:
            self._next_read_at = time.monotonic() + RETRY_INTERVAL
        with self._changed:
            if captured is not None and self._request is request:
                self._request = None
                request.set_result(captured)

    def _serve_preview(self, frame: Frame) -> None:
        now = time.monotonic()
        on_preview = self._on_preview
        if on_preview is None or now < self._next_preview_at:
            return
        # After a pause, no burst of frames makes up for it.
        self._next_preview_at = max(self._next_preview_at + self._preview_interval, now)
        try:
            preview = frame.preview()
        except BadImage as error:
            log.debug("a frame is left out of the preview: %s", error.message)
        else:
            _notify(on_preview, preview)


def _notify(callback: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call a callback for the event loop, which may be closed at the exit."""
    try:
        callback(*args, **kwargs)
    except RuntimeError as error:
        log.debug("the event loop is closed: %s", error)


# ---- the camera


class LiveCamera:
    """A camera that captures frames of a source, which each opening makes.

    `timeout` is the time limit of a capture, `open_timeout` that of the opening, `frozen_after` the longest pause
    between frames, all in seconds; `preview_rate` is the preview's limit in frames a second.
    """

    has_preview = True

    def __init__(
        self,
        make_source: Callable[[], Source],
        *,
        thresholds: Thresholds | None = None,
        timeout: float = 15.0,
        open_timeout: float = SOURCE_OPEN_TIMEOUT,
        frozen_after: float = FROZEN_TIMEOUT,
        preview_rate: float = 10.0,
    ) -> None:
        self._make_source = make_source
        self._open_timeout = open_timeout
        self._thresholds = thresholds or Thresholds()
        self._timeout = timeout
        self._frozen_after = frozen_after
        self._preview_rate = preview_rate
        self._on_preview: OnFrame | None = None
        self._reader: SourceReader | None = None
        self._first_frame: asyncio.Future[None] | None = None
        self._on_lost: OnLost = lambda _error: None
        self._close_error: CaptureError | None = None
        self._ending_readers: list[SourceReader] = []
        self._poll_thread: threading.Thread | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._source: Source | None = None

    async def open(self, on_lost: OnLost) -> None:
        """Open the source, wait for a frame. Raises CameraOffline and CameraBusy."""
        self._abandon_reader()
        await self._await_ended_readers()
        loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._source = self._make_source()
        self._first_frame = opened = loop.create_future()
        self._reader = reader = SourceReader(
            self._source,
            thresholds=self._thresholds,
            timeout=self._timeout,
            frozen_after=self._frozen_after,
            preview_rate=self._preview_rate,
            on_opened=lambda reader: loop.call_soon_threadsafe(self._set_opened, reader),
            on_ended=lambda reader, error: loop.call_soon_threadsafe(self._set_ended, reader, error),
        )
        reader.set_preview(self._preview_callback(reader))
        reader.start()
        try:
            async with asyncio.timeout(self._open_timeout):
                await asyncio.shield(opened)
        except TimeoutError:
            problem = "was opened, but sent no frame" if reader.is_open else "could not be opened"
            error = CameraOffline(f"The camera {problem} within {self._open_timeout:g} s. Reconnect it.")
            self._set_ended(reader, error)
            raise error from None
        except asyncio.CancelledError:
            self._abandon_reader()
            raise
        if reader is not self._reader and self._close_error is not None:  # lost again in the same moment
            raise self._close_error

    async def wait_for_device(self) -> None:
        was_there = await self._poll_device()
        while True:
            await asyncio.sleep(DEVICE_POLL_INTERVAL)
            is_there = await self._poll_device()
            if is_there and not was_there:
                return
            was_there = is_there

    async def capture(self) -> CapturedImage:
        """Return the first good frame exposed from now on. See Camera.capture."""
        opened = self._first_frame
        if opened is not None and not opened.done() and self._close_error is None:
            await asyncio.wait({opened}, timeout=self._open_timeout)
        reader = self._reader
        if reader is None or opened is None or not opened.done():
            raise self._close_error or CameraOffline("The camera is not open yet. Try again in a moment.")
        request = reader.request_frame(self._timeout)
        try:
            async with asyncio.timeout(self._timeout + READ_GRACE_SECONDS):
                return await asyncio.wrap_future(request)
        except TimeoutError:
            raise CameraTimeout(
                f"The camera sent no frame within {self._timeout:g} s. Check it, then press again."
            ) from None
        finally:
            reader.cancel_request(request)

    def set_preview(self, on_frame: OnFrame | None) -> None:
        self._on_preview = on_frame
        if self._reader is not None:
            self._reader.set_preview(self._preview_callback(self._reader))

    async def close(self) -> None:
        self._abandon_reader()
        with contextlib.suppress(CameraOffline):
            await self._await_ended_readers()
        self._ending_readers.clear()

    def kill(self) -> None:
        """Do nothing: the reader's thread ends with the process."""

    def _preview_callback(self, reader: SourceReader) -> Callable[[bytes], object] | None:
        """Return a callback that posts frames to the event loop, or None."""
        if self._on_preview is None:
            return None
        loop = asyncio.get_running_loop()

        def pass_on(frame: bytes) -> None:
            if reader is self._reader and self._on_preview is not None:
                self._on_preview(frame)

        return lambda frame: loop.call_soon_threadsafe(pass_on, frame)

    def _set_opened(self, reader: SourceReader) -> None:
        if reader is self._reader and self._first_frame is not None and not self._first_frame.done():
            self._first_frame.set_result(None)
            self._check_reader(reader)

    def _set_ended(self, reader: SourceReader, error: CaptureError) -> None:
        """Close the camera after its reader ended or was given up."""
        if reader is not self._reader:
            return
        was_open = self._first_frame is not None and self._first_frame.done()
        self._close_error = error
        opened = self._first_frame
        self._abandon_reader()
        if was_open:
            self._on_lost(error)
        elif opened is not None and not opened.cancelled():
            opened.set_exception(error)
            opened.exception()  # nobody may wait for it any more

    def _check_reader(self, reader: SourceReader) -> None:
        """Give up a reader whose source hangs; otherwise check again soon."""
        if reader is not self._reader:
            return
        limit = reader.read_limit + READ_GRACE_SECONDS
        if reader.reading_seconds > limit:
            error = CameraOffline(f"The camera's driver has not answered for {limit:g} s. Reconnect the camera.")
            reader.fail_request(error)
            self._set_ended(reader, error)
        else:
            self._watchdog = asyncio.get_running_loop().call_later(READ_GRACE_SECONDS / 2, self._check_reader, reader)

    def _abandon_reader(self) -> None:
        """Stop the reader, and ignore its reports from now on."""
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        if self._reader is not None:
            self._reader.stop()
            self._ending_readers.append(self._reader)
            self._reader = None

    async def _await_ended_readers(self) -> None:
        """Wait for earlier readers to end. Raises CameraOffline if one hangs."""
        until = time.monotonic() + READER_CLOSE_TIMEOUT
        while self._ending_readers:
            self._ending_readers = [reader for reader in self._ending_readers if reader.is_alive()]
            if self._ending_readers and time.monotonic() >= until:
                raise CameraOffline(
                    "The camera's driver hangs. Reconnect the camera. If that does not help, restart the server."
                )
            if self._ending_readers:
                await asyncio.sleep(CLOSE_POLL_INTERVAL)

    async def _poll_device(self) -> bool:
        """Return True if the device is back. One check at a time, in a thread."""
        if self._source is None or (self._poll_thread is not None and self._poll_thread.is_alive()):
            return False
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()
        self._poll_thread = threading.Thread(target=_check_device, args=(self._source, loop, answer), daemon=True)
        self._poll_thread.start()
        return await answer


def _check_device(source: Source, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[bool]") -> None:
    try:
        is_back = source.is_back()
    except Exception:
        log.exception("the camera's driver failed to check for its device")
        is_back = False

    def set_answer() -> None:
        if not answer.done():
            answer.set_result(is_back)

    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(set_answer)
