"""Availability of a camera: online or offline, the reason, and retries.

online -- lost, or a capture finds no camera --> offline -- opened again --> online
                                                     ^__________________|  after 0.5 s, 1 s, ... up to 10 s,
                                                                           or when the device appears
"""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable

from dog.cameras import Camera
from dog.clock import utc_now as wall_clock
from dog.errors import CameraOffline, CaptureError

__all__ = ["MAX_RETRY_INTERVAL", "MIN_RETRY_INTERVAL", "Availability", "utc_now"]

MIN_RETRY_INTERVAL, MAX_RETRY_INTERVAL = 0.5, 10.0
"""Seconds between two attempts to open an offline camera. They double from the minimum to the maximum."""

SLOW_OPEN_SECONDS = 2.0
"""Seconds of opening, at the start, after which viewers are notified that the camera is online."""

log = logging.getLogger(__name__)


def utc_now() -> dt.datetime:
    """Return the time in UTC, to the millisecond, for events and snapshots."""
    now = wall_clock()
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class Availability:
    """Availability of one camera.

    `offline` is the error while the camera is offline, else None; `since` is when it went offline. `open_timeout` is
    the time limit of one attempt, in seconds. `on_change` is called after every change, also of the error's message.
    """

    def __init__(
        self,
        name: str,
        camera: Camera,
        *,
        open_timeout: float,
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.offline: CaptureError | None = None
        self.since: dt.datetime | None = None
        self.first_attempt_done = asyncio.Event()
        """Set after the first attempt to open the camera, successful or not."""
        self._name = name
        self._camera = camera
        self._open_timeout = open_timeout
        self._on_change = on_change
        self._clock = clock
        self._changed = asyncio.Event()
        self._retry_at = 0.0

    @property
    def retry_after(self) -> float:
        """Seconds until the next attempt to open the camera; 0 while it is online."""
        return max(0.0, self._retry_at - self._clock()) if self.offline is not None else 0.0

    def set_state(self, error: CaptureError | None) -> None:
        """Record that the camera is offline with this error, or online (None)."""
        previous, self.offline = self.offline, error
        if (previous and previous.message) == (error and error.message):
            return
        if error is not None:
            if previous is None:
                self._changed.set()
                self.since = utc_now()
                self._retry_at = self._clock() + MIN_RETRY_INTERVAL
            detail = f" ({error.detail})" if error.detail else ""
            log.warning("camera %s is offline: %s%s", self._name, error.message, detail)
        else:
            self._changed.set()
            self.since = None
            log.info("camera %s is back", self._name)
        self._on_change()

    async def run(self) -> None:
        """Open the camera, and again whenever it is offline, until cancelled."""
        began = self._clock()
        await self._open()
        self._changed.clear()
        self.first_attempt_done.set()
        if self._clock() - began > SLOW_OPEN_SECONDS and self.offline is None:
            self._on_change()
        while True:
            while self.offline is None:
                await self._changed.wait()
                self._changed.clear()
            wait = MIN_RETRY_INTERVAL
            while self.offline is not None:
                # A driver may set the delay: a camera locks an account after too many wrong passwords.
                own = self.offline.next_try if isinstance(self.offline, CameraOffline) else None
                self._retry_at = self._clock() + (own or wait)
                device_appeared = await self._pause(own or wait)
                if self.offline is not None:
                    await self._open()
                # A device that has just appeared may need a moment more.
                wait = MIN_RETRY_INTERVAL if device_appeared else min(2 * wait, MAX_RETRY_INTERVAL)

    async def _pause(self, seconds: float) -> bool:
        """Wait for the time, device or state. Return True if the device appeared."""
        device = asyncio.ensure_future(self._wait_for_device())
        waits = [device, asyncio.ensure_future(self._changed.wait())]
        try:
            done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return device in done
        finally:
            self._changed.clear()
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _wait_for_device(self) -> None:
        try:
            await self._camera.wait_for_device()
        except Exception:
            log.exception("camera %s: the driver failed while it waited for the device", self._name)
            await asyncio.Event().wait()

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._open_timeout):
                await self._camera.open(self.set_state)
        except CaptureError as error:
            self.set_state(error)
        except TimeoutError:
            message = f"The camera could not be opened within {self._open_timeout:g} s. Turn it off and on."
            self.set_state(CameraOffline(message))
        except Exception:
            log.exception("camera %s: the driver failed while it opened the device", self._name)
            self.set_state(CameraOffline("The camera's driver failed. See the server's log."))
        else:
            self.set_state(None)
