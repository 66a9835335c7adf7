"""Limit log lines about malformed requests and exhausted descriptors."""

import asyncio
import errno
import logging
import math
import resource
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError

__all__ = ["LoopErrorHandler", "MalformedRequestFilter"]

LOG_INTERVAL = 10.0
"""Seconds between two log lines about the same kind of error."""

log = logging.getLogger(__name__)


class MalformedRequestFilter(logging.Filter):
    """A log filter: one line per LOG_INTERVAL for malformed requests.

    The line has only the kind of error: aiohttp's message quotes the request, which may contain a cookie.
    """

    logged_at = -math.inf
    suppressed = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)):
            return True
        if record.created - self.logged_at < LOG_INTERVAL:
            self.suppressed += 1
            return False
        reason = type(record.exc_info[1]).__name__
        more = f" (and {self.suppressed} more before)" if self.suppressed else ""
        record.msg, record.args, record.exc_info = "Not HTTP: %s%s", (reason, more), None
        record.levelno, record.levelname = logging.INFO, "INFO"
        self.logged_at, self.suppressed = record.created, 0
        return True


class LoopErrorHandler:
    """The loop's exception handler. It limits logs of missing descriptors."""

    logged_at = -math.inf

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, ValueError) and "_start_serving" in context["message"]:
            return  # asyncio tries to accept again after an error, but the server has been closed
        if isinstance(error, OSError) and error.errno == errno.ENOTCONN:
            return  # asyncio shuts down the sending half of a connection that the client has just closed
        if not (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
            loop.default_exception_handler(context)
        elif loop.time() - self.logged_at >= LOG_INTERVAL:
            self.logged_at = loop.time()
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            log.error("New connections can't be accepted: all %d descriptors are in use. Raise ulimit -n.", limit)
