"""LiveCamera: makes a Camera of a Source. It stays open, so that a press is answered by the very next good frame.

    source -> Reader, a thread -> nobody wants it: let go
                        |-------> a capture waits: the first good frame whose exposure began after the press
                        `-------> the preview is watched: shown

One opening of the source is one Reader with its own thread. A device that is gone ends its Reader, which says why; one
whose driver hangs is abandoned with it. Either way the camera is closed then, and opened anew with another Reader.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable

from dog.cameras import OnFrame, OnLost, Still
from dog.cameras.frame_quality import Thresholds
from dog.cameras.source import Source
from dog.cameras.source_reader import FROZEN, Reader
from dog.errors import CameraOffline, CameraTimeout, CaptureError

__all__ = ["LiveCamera"]

OPENING = 10.0
"""Seconds that a source may take from its opening to its first frame."""
SLACK = 1.0
"""Seconds beyond its patience after which a source that does not come back from reading counts as hanging."""
CLOSING = 2.0
"""Seconds that a reader has to let go of its device; one that hangs ends with the process."""
LOOK = 0.02
"""Seconds between two looks whether it has."""
SIGN = 0.25
"""Seconds between two looks whether a device is there again."""

log = logging.getLogger(__name__)


class LiveCamera:
    """The frames of a source, as a camera. `make_source` makes it anew for each opening.

    `timeout` is the time limit for a capture, `frozen_after` how long no frame may come, both in seconds;
    `preview_rate` is how many frames a second are shown at most.
    """

    has_preview = True

    def __init__(
        self,
        make_source: Callable[[], Source],
        *,
        thresholds: Thresholds | None = None,
        timeout: float = 15.0,
        frozen_after: float = FROZEN,
        preview_rate: float = 10.0,
    ) -> None:
        self._make_source = make_source
        self._thresholds = thresholds or Thresholds()
        self._timeout = timeout
        self._frozen_after = frozen_after
        self._preview_rate = preview_rate
        self._show: OnFrame | None = None
        self._reader: Reader | None = None
        self._opened: asyncio.Future[None] | None = None
        self._lost: OnLost = lambda _error: None
        self._why: CaptureError | None = None
        self._ending: list[Reader] = []
        self._looking: threading.Thread | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._source: Source | None = None

    async def open(self, lost: OnLost) -> None:
        """Until the first frame has come. Raises CameraOffline and CameraBusy."""
        self._abandon()
        await self._await_ends()
        loop = asyncio.get_running_loop()
        self._lost = lost
        self._source = self._make_source()
        self._opened = opened = loop.create_future()
        self._reader = reader = Reader(
            self._source,
            thresholds=self._thresholds,
            patience=self._timeout,
            frozen_after=self._frozen_after,
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
            what = "was opened, but gave no picture" if reader.is_open else "could not be opened"
            error = CameraOffline(f"The camera {what} within {OPENING:g} s. Reconnect it.")
            self._note_ended(reader, error)
            raise error from None
        except asyncio.CancelledError:
            self._abandon()
            raise
        if reader is not self._reader and self._why is not None:  # gone again in the same moment
            raise self._why

    async def wait_for_device(self) -> None:
        was_there = await self._look()
        while True:
            await asyncio.sleep(SIGN)
            is_there = await self._look()
            if is_there and not was_there:
                return
            was_there = is_there

    async def capture(self) -> Still:
        """The first good frame whose exposure begins from now on. Raises what Camera.capture does."""
        opened = self._opened
        if opened is not None and not opened.done() and self._why is None:
            await asyncio.wait({opened}, timeout=OPENING)
        reader = self._reader
        if reader is None or opened is None or not opened.done():
            raise self._why or CameraOffline("The camera is not open yet. Try again in a moment.")
        wish = reader.ask(self._timeout)
        try:
            async with asyncio.timeout(self._timeout + SLACK):
                return await asyncio.wrap_future(wish)
        except TimeoutError:
            raise CameraTimeout(
                f"The camera gave no picture within {self._timeout:g} s. Check it, then press again."
            ) from None
        finally:
            reader.forget(wish)

    def show(self, show: OnFrame | None) -> None:
        self._show = show
        if self._reader is not None:
            self._reader.show(self._show_from(self._reader))

    async def close(self) -> None:
        self._abandon()
        with contextlib.suppress(CameraOffline):
            await self._await_ends()
        self._ending.clear()

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
            self._lost(error)
        elif opened is not None and not opened.cancelled():
            opened.set_exception(error)
            opened.exception()  # whoever waited may have gone

    def _watch_reader(self, reader: Reader) -> None:
        """Give up a reader that hangs in its source."""
        if reader is not self._reader:
            return
        limit = reader.read_limit + SLACK
        if reader.reads_for > limit:
            error = CameraOffline(f"The camera's driver has not answered for {limit:g} s. Reconnect the camera.")
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
            self._ending.append(self._reader)
            self._reader = None

    async def _await_ends(self) -> None:
        """Until all readers from before have let go of the device. Raises CameraOffline where one hangs in its driver.

        Another one beside it would hang as well, and so would the next.
        """
        until = time.monotonic() + CLOSING
        while self._ending:
            self._ending = [reader for reader in self._ending if reader.is_alive()]
            if self._ending and time.monotonic() >= until:
                raise CameraOffline(
                    "The camera's driver hangs. Reconnect the camera. If that does not help, restart the server."
                )
            if self._ending:
                await asyncio.sleep(LOOK)

    async def _look(self) -> bool:
        """Whether the device is there again: in a thread of its own, since a look may take long; one at a time."""
        if self._source is None or (self._looking is not None and self._looking.is_alive()):
            return False
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()
        self._looking = threading.Thread(target=_look_for, args=(self._source, loop, answer), daemon=True)
        self._looking.start()
        return await answer


def _look_for(source: Source, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[bool]") -> None:
    try:
        is_back = source.is_back()
    except Exception:
        log.exception("the camera's driver failed to look for its device")
        is_back = False

    def tell() -> None:
        if not answer.done():
            answer.set_result(is_back)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(tell)
