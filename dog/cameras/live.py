"""LiveCamera: makes a Camera of a Source. It stays open, so that a press is answered by the very next good frame.

    source -> Reader, a thread -> nobody wants it: let go
                        |-------> a capture waits: the first good frame whose exposure began after the press
                        `-------> the preview is watched: shown

One opening of the source is one Reader with its own thread. A device that is gone ends its Reader, which says why; one
whose driver hangs is abandoned with it. Either way the camera is closed then, and opened anew with another Reader.
"""

import asyncio
import logging
from collections.abc import Callable

from dog.cameras import Lost, Show, Still
from dog.cameras.quality import Thresholds
from dog.cameras.reader import Reader
from dog.cameras.source import Source
from dog.errors import CameraOffline, CameraTimeout, CaptureError

__all__ = ["LiveCamera"]

OPENING = 10.0
"""Seconds that a source may take from its opening to its first frame."""
SLACK = 1.0
"""Seconds beyond its patience after which a source that does not come back from reading counts as hanging."""
SIGN = 0.25
"""Seconds between two looks whether a device is there again."""

log = logging.getLogger(__name__)


class LiveCamera:
    """The frames of a source, as a camera. `make_source` makes it anew for each opening.

    `timeout` is the time limit for a capture, in seconds; `preview_rate` the most frames a second that are shown.
    """

    has_preview = True

    def __init__(
        self,
        make_source: Callable[[], Source],
        *,
        thresholds: Thresholds | None = None,
        timeout: float = 15.0,
        preview_rate: float = 10.0,
    ) -> None:
        self._make_source = make_source
        self._thresholds = thresholds or Thresholds()
        self._timeout = timeout
        self._preview_rate = preview_rate
        self._show: Show | None = None
        self._reader: Reader | None = None
        self._opened: asyncio.Future[None] | None = None
        self._lost: Lost = lambda _error: None
        self._why: CaptureError = CameraOffline("The camera has not been opened yet.")
        self._watch: asyncio.TimerHandle | None = None
        self._source: Source | None = None

    async def open(self, lost: Lost) -> None:
        """Until the first frame has come. Raises CameraOffline and CameraBusy."""
        self._abandon()
        loop = asyncio.get_running_loop()
        self._lost = lost
        self._source = self._make_source()
        self._opened = opened = loop.create_future()
        self._reader = reader = Reader(
            self._source,
            thresholds=self._thresholds,
            patience=self._timeout,
            preview_rate=self._preview_rate,
            opened=lambda: loop.call_soon_threadsafe(self._note_opened, reader),
            ended=lambda error: loop.call_soon_threadsafe(self._note_ended, reader, error),
        )
        reader.show(self._show_from(reader))
        reader.start()
        try:
            async with asyncio.timeout(OPENING):
                await asyncio.shield(opened)
        except TimeoutError:
            error = CameraOffline(f"The camera was opened, but gave no picture within {OPENING:g} s.")
            self._note_ended(reader, error)
            raise error from None

    async def wait_for_sign(self) -> None:
        source = self._source
        was_there = source is None or await asyncio.to_thread(source.is_back)
        while True:
            await asyncio.sleep(SIGN)
            is_there = source is not None and await asyncio.to_thread(source.is_back)
            if is_there and not was_there:
                return
            was_there = is_there

    async def capture(self) -> Still:
        """The first good frame whose exposure begins from now on. Raises what Camera.capture does."""
        if self._opened is not None and not self._opened.done():
            await asyncio.wait({self._opened}, timeout=OPENING)
        reader = self._reader
        if reader is None:
            raise self._why
        wish = reader.ask(self._timeout)
        try:
            async with asyncio.timeout(self._timeout + SLACK):
                return await asyncio.wrap_future(wish)
        except TimeoutError:
            raise CameraTimeout(f"The camera gave no picture within {self._timeout:g} s.") from None

    def show(self, show: Show | None) -> None:
        self._show = show
        if self._reader is not None:
            self._reader.show(self._show_from(self._reader))

    async def close(self) -> None:
        reader = self._reader
        self._abandon()
        if reader is not None:
            await asyncio.to_thread(reader.join, SLACK)  # one that hangs ends with the process

    def kill(self) -> None:
        """Its thread ends with the process."""

    def _show_from(self, reader: Reader) -> Callable[[bytes], object] | None:
        """For the reader's thread: what shows its frames, as long as they are wanted."""
        if self._show is None:
            return None
        loop = asyncio.get_running_loop()

        def pass_on(frame: bytes) -> None:
            if reader is self._reader and self._show is not None:
                self._show(frame)

        return lambda frame: loop.call_soon_threadsafe(pass_on, frame)

    def _note_opened(self, reader: Reader) -> None:
        if reader is self._reader and self._opened is not None and not self._opened.done():
            self._opened.set_result(None)
            self._watch_reader(reader)

    def _note_ended(self, reader: Reader, error: CaptureError) -> None:
        """The reader has ended by itself, or is given up."""
        if reader is not self._reader:
            return
        was_open = self._opened is not None and self._opened.done()
        self._why = error
        opened = self._opened
        self._abandon()
        if was_open:
            self._lost(error if isinstance(error, CameraOffline) else CameraOffline(error.message, detail=error.detail))
        elif opened is not None and not opened.cancelled():
            opened.set_exception(error)
            opened.exception()  # whoever waited may have gone

    def _watch_reader(self, reader: Reader) -> None:
        """Give up a reader that hangs in its source."""
        if reader is not self._reader:
            return
        limit = reader.read_limit + SLACK
        if reader.reads_for > limit:
            error = CameraOffline(f"The camera's driver has not answered for {limit:g} s.")
            reader.refuse(error)
            self._note_ended(reader, error)
        else:
            self._watch = asyncio.get_running_loop().call_later(SLACK / 2, self._watch_reader, reader)

    def _abandon(self) -> None:
        """Let the reader end when it can, and listen to it no more."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._reader is not None:
            self._reader.stop()
            self._reader = None
