"""Availability: whether a camera is there; if not, since when and why, and when it is tried again.

open -- lost, or a capture that met nothing --> offline -- tried again --> open
                                                    ^________________|  0.5 s later, 1 s, ... up to 10 s,
                                                                        or at a sign such as being plugged in
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
"""Seconds between two tries to open an offline camera: doubling from the one to the other."""

SLOW_OPEN_SECONDS = 2.0
"""Seconds after which viewers may have seen that a camera is still being opened, and are told that it is there."""

log = logging.getLogger(__name__)


def utc_now() -> dt.datetime:
    """Now, to the millisecond, as everything here is told and stored."""
    now = wall_clock()
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class Availability:
    """One camera's: `offline` is why it is not there, None while it is; `since` when that began.

    `limit` is how many seconds one try may take; `on_change` is called whenever the camera went offline, came back, or is
    offline for another reason.
    """

    def __init__(
        self,
        name: str,
        camera: Camera,
        *,
        limit: float,
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.offline: CaptureError | None = None
        self.since: dt.datetime | None = None
        self.first_attempt_done = asyncio.Event()
        """Set when the camera was opened, or could not be, for the first time."""
        self._name = name
        self._camera = camera
        self._open_timeout = limit
        self._on_change = on_change
        self._clock = clock
        self._changed = asyncio.Event()
        self._retry_at = 0.0

    @property
    def retry_after(self) -> float:
        """Seconds until the camera is tried again; 0 while it is there."""
        return max(0.0, self._retry_at - self._clock()) if self.offline is not None else 0.0

    def set_state(self, error: CaptureError | None) -> None:
        """The camera is not there, for this reason; None: it is."""
        was, self.offline = self.offline, error
        if (was and was.message) == (error and error.message):
            return
        if error is not None:
            if was is None:
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
        """Open the camera, and open it again whenever it is offline; for ever."""
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
                # A driver that knows better says so: a camera locks the account that tries a wrong password too often.
                own = self.offline.next_try if isinstance(self.offline, CameraOffline) else None
                self._retry_at = self._clock() + (own or wait)
                device_appeared = await self._pause(own or wait)
                if self.offline is not None:
                    await self._open()
                # What gave a sign a moment ago may want a moment more.
                wait = MIN_RETRY_INTERVAL if device_appeared else min(2 * wait, MAX_RETRY_INTERVAL)

    async def _pause(self, seconds: float) -> bool:
        """For so long, or until the camera is there, or gives a sign: true then."""
        sign = asyncio.ensure_future(self._wait_for_device())
        waits = [sign, asyncio.ensure_future(self._changed.wait())]
        try:
            done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return sign in done
        finally:
            self._changed.clear()
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _wait_for_device(self) -> None:
        try:
            await self._camera.wait_for_device()
        except Exception:
            log.exception("the driver of camera %s failed to wait for it", self._name)
            await asyncio.Event().wait()

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._open_timeout):
                await self._camera.open(self.set_state)
        except CaptureError as error:
            self.set_state(error)
        except TimeoutError:
            self.set_state(
                CameraOffline(f"The camera could not be opened within {self._open_timeout:g} s. Turn it off and on.")
            )
        except Exception:
            log.exception("the driver of camera %s failed to open it", self._name)
            self.set_state(CameraOffline("The camera's driver failed. See the server's log."))
        else:
            self.set_state(None)
