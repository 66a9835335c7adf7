"""A Camera made of a Source, which stays open between captures.

    source -> SourceReader, a thread -> not needed: dropped
                              |-------> a capture waits: the first good frame exposed after the request
                              `-------> the preview is on: shown

Each opening of the source has a SourceReader with its own thread. If the device is lost, the reader ends and reports
why. If the driver hangs, the reader is abandoned. Then the camera is closed, and opened again with a new reader.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable

from dog.cameras import CapturedImage, OnFrame, OnLost
from dog.cameras.frame_quality import Thresholds
from dog.cameras.source import Source
from dog.cameras.source_reader import FROZEN_TIMEOUT, SourceReader
from dog.errors import CameraOffline, CameraTimeout, CaptureError

__all__ = ["LiveCamera"]

OPEN_TIMEOUT = 10.0
"""Seconds from a source's opening to its first frame."""
READ_GRACE_SECONDS = 1.0
"""Seconds beyond its timeout after which a read counts as hanging."""
CLOSE_TIMEOUT = 2.0
"""Seconds for a reader to release its device. One that hangs ends with the process."""
CLOSE_POLL_INTERVAL = 0.02
"""Seconds between checks whether readers have ended."""
DEVICE_POLL_INTERVAL = 0.25
"""Seconds between checks whether a lost device is back."""

log = logging.getLogger(__name__)


class LiveCamera:
    """A camera that captures frames of a source, which each opening makes.

    `timeout` is the time limit of a capture, `frozen_after` the longest pause between frames, both in seconds;
    `preview_rate` is the preview's limit in frames a second.
    """

    has_preview = True

    def __init__(
        self,
        make_source: Callable[[], Source],
        *,
        thresholds: Thresholds | None = None,
        timeout: float = 15.0,
        frozen_after: float = FROZEN_TIMEOUT,
        preview_rate: float = 10.0,
    ) -> None:
        self._make_source = make_source
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
            on_opened=lambda: loop.call_soon_threadsafe(self._set_opened, reader),
            on_ended=lambda error: loop.call_soon_threadsafe(self._set_ended, reader, error),
        )
        reader.set_preview(self._preview_callback(reader))
        reader.start()
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                await asyncio.shield(opened)
        except TimeoutError:
            problem = "was opened, but sent no frame" if reader.is_open else "could not be opened"
            error = CameraOffline(f"The camera {problem} within {OPEN_TIMEOUT:g} s. Reconnect it.")
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
            await asyncio.wait({opened}, timeout=OPEN_TIMEOUT)
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
            opened.exception()  # perhaps no caller waits for it any more

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
        until = time.monotonic() + CLOSE_TIMEOUT
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
