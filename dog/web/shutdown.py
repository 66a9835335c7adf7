"""Shut the service down in time.

The first SIGTERM or SIGINT stops listening and cleans the application up. The second one, or the time limit, kills the
processes of the cameras and exits at once.
"""

import asyncio
import logging
import os
import signal
import threading
from types import FrameType

from aiohttp import web

from dog.logs import Log
from dog.web.app import kill

__all__ = ["Shutdown"]

SHUTDOWN_TIMEOUT = 4.5
"""Seconds from the first signal until the process exits in any case. Below five."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


class Shutdown:
    """The shutdown: in order on a signal, at once on a second or a timeout.

    The signal handlers are plain ones, so that they work even if the event loop is stuck. The loop has handlers too,
    which do nothing: they wake it up. Otherwise it would miss a signal that arrives just before it waits, or in another
    thread, until something else happens.
    """

    def __init__(self, app: web.Application, running: Log, listening: "asyncio.Task[None]") -> None:
        self._app = app
        self._running = running
        self._listening = listening
        self._loop = asyncio.get_running_loop()
        self._is_stopping = False

    def watch_signals(self) -> None:
        for number in SIGNALS:
            self._loop.add_signal_handler(number, lambda: None)
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._is_stopping:
            self._exit_now(128 + number, f"{name} again: exiting at once")
        self._is_stopping = True
        limit = threading.Timer(
            SHUTDOWN_TIMEOUT, self._exit_now, (1, f"The shutdown took more than {SHUTDOWN_TIMEOUT} s: exiting at once")
        )
        limit.daemon = True
        limit.start()
        self._loop.call_soon_threadsafe(self._stop_listening, name)

    def _stop_listening(self, name: str) -> None:
        log.info("Stopping (%s)...", name)
        self._listening.cancel()

    def _exit_now(self, status: int, reason: str) -> None:
        try:
            kill(self._app)
            log.error("%s", reason)
            self._running.stop()
        finally:
            os._exit(status)
