"""Run the service: listen, handle signals, and shut down in time.

The first SIGTERM or SIGINT stops listening and cleans the application up. The second one, or the time limit, kills the
processes of the cameras and exits at once.
"""

import asyncio
import errno
import logging
import math
import os
import resource
import signal
import socket
import threading
from types import FrameType
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from dog.auth import AuthService
from dog.errors import SettingError, StartError
from dog.logs import Log, print_line
from dog.machine_addresses import network_addresses
from dog.settings import Settings, check_exposure, find_warnings
from dog.tls import Tls, make_tls
from dog.web.app import create_app, drain, kill
from dog.web.app_keys import APP_STATE
from dog.web.connections.aiohttp_internals import patch_aiohttp_server
from dog.web.connections.connection import HTTP_SETTINGS
from dog.web.connections.connection_limits import CONNECTIONS
from dog.web.middleware.access_log import AccessLog
from dog.web.middleware.security_headers import SECURITY_HEADERS

__all__ = ["run"]

SHUTDOWN_TIMEOUT = 4.5
"""Seconds from the first signal until the process exits in any case. Below five."""
HANDLER_TIMEOUT = 0.5
"""Seconds that aiohttp waits, twice, for requests that have no response after the drain."""
WANTED_DESCRIPTORS = 65536
"""The soft limit of open files that the service sets, if the hard limit allows it."""
LOG_INTERVAL = 10.0
"""Seconds between two log lines about the same kind of error."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


def run(settings: Settings, running: Log) -> int:
    """Return the exit status after a signal. Raises SettingError, StartError."""
    _raise_descriptor_limit()
    return asyncio.run(_run_until_signal(settings, running))


async def _run_until_signal(settings: Settings, running: Log) -> int:
    check_exposure(settings)
    tls = await asyncio.to_thread(make_tls, settings)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload_certificate, tls)
    app = create_app(settings)
    access_log = logging.getLogger("aiohttp.access") if settings.log_level == "debug" else None
    http_log = logging.getLogger("dog.http")
    http_log.addFilter(MalformedRequestFilter())
    runner = web.AppRunner(
        app,
        handle_signals=False,
        access_log=access_log,
        access_log_class=AccessLog,
        logger=http_log,
        **HTTP_SETTINGS,
        shutdown_timeout=HANDLER_TIMEOUT,
    )
    asyncio.get_running_loop().set_exception_handler(LoopErrorHandler())
    listening = asyncio.create_task(_listen(runner, settings, tls))
    Shutdown(app, running, listening).watch_signals()
    try:
        await asyncio.wait({listening})
    finally:
        await drain(app)  # before the cleanup, which closes all connections
        await runner.cleanup()
    if not listening.cancelled():
        listening.result()
    log.info("Stopped")
    return 0


def _reload_certificate(tls: Tls | None) -> None:
    """Handle SIGHUP."""
    if tls is not None:
        tls.reload()
    else:
        log.info("SIGHUP reloads only a certificate, and there is none. Restart D.O.G. to apply other settings.")


async def _listen(runner: web.AppRunner, settings: Settings, tls: Tls | None) -> None:
    """Start the application, print its URLs, and serve until cancelled."""
    await runner.setup()
    assert runner.server is not None
    patch_aiohttp_server(runner.server, runner.app[SECURITY_HEADERS])
    connections = runner.app[CONNECTIONS]
    factory = connections.make_protocol_factory(runner.server, tls)
    try:
        server = await asyncio.get_running_loop().create_server(
            factory, settings.host, settings.port, backlog=connections.backlog
        )
    except (OSError, UnicodeError) as error:  # an invalid host name, such as `a..b`, is a UnicodeError
        raise _listen_error(error, settings) from error
    listening = [listener.getsockname() for listener in server.sockets]
    urls = _urls(settings, listening)
    line = f"D.O.G. is at {' and '.join(urls)}  (Ctrl-C ends it)"
    print_line(line)  # at every log level
    log.info("%s", line, extra={"terminal": False})
    _print_setup_link(runner.app[APP_STATE].auth, [settings.base_url] if settings.base_url else urls)
    for warning in find_warnings(settings):
        log.warning("%s", warning)
    if settings.base_url and not settings.trusted_proxies:
        log.info(
            "Behind a proxy, all clients share its address and its limits: %d requests, %d viewers. "
            "List the proxy in trusted_proxies, so that each client has its own.",
            connections.limits.requests,
            connections.limits.viewers,
        )
    try:
        await (asyncio.Event().wait() if tls is None else tls.run())
    finally:
        server.close()


def _print_setup_link(auth: AuthService | None, urls: list[str]) -> None:
    """Print a link to log in while no `manage` user has a password.

    It is not in a file. Everybody with access to the service's output, as in systemd's journal, can use it.
    """
    if auth is not None and auth.needs_setup:
        invitation = auth.make_setup_secret()
        print_line("No user who may manage D.O.G. has a password yet. Open this link in your browser; it works once:")
        print_line(" or ".join(f"{url}/enter/{invitation}" for url in urls))


def _raise_descriptor_limit() -> None:
    """Raise the limit of open files, usually 1,024: each viewer needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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


def _listen_error(error: OSError | UnicodeError, settings: Settings) -> SettingError | StartError:
    """Return the error for a failure to listen, naming the setting."""
    host, port = settings.host, settings.port
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return settings.error("host", f"{host!r} is unknown. Write an address or a name of this machine.")
    match error.errno:
        case errno.EADDRINUSE:
            return settings.error(
                "port",
                f"{port} is in use on {host}. Stop the program that uses it, or write another one (0: a free one).",
            )
        case errno.EACCES | errno.EPERM:
            return settings.error("port", f"{port} is not permitted to this user. Write one from 1024 to 65535.")
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT | None:  # None: from Python 3.13 on, asyncio wraps the error
            return settings.error("host", f"{host!r} is not an address of this machine. Write one, or 127.0.0.1.")
    return StartError(f"The port {port} of {host} can't be used: {error.strerror}. Write another one.")


def _urls(settings: Settings, listening: list[tuple[str, int]]) -> list[str]:
    """Return URLs to open the service: first that of this machine, if any."""
    bound, port = listening[0][:2]
    if bound in ("0.0.0.0", "::"):
        family = socket.AF_INET6 if ":" in bound else socket.AF_INET
        hosts = ["::1" if ":" in bound else "127.0.0.1", *network_addresses(family)]
    else:
        hosts = [bound if settings.port == 0 else settings.host]  # with port 0, each address of a name has its own port
    scheme = "http" if settings.tls_certificate is None else "https"
    urls = [f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}" for host in hosts]
    return [*urls, settings.base_url] if settings.base_url else urls


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
