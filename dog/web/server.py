"""How the service begins and ends: the listening, the signals, and the limit to how long an end may take.

The first SIGTERM or SIGINT cancels the listening, wherever it is, and the application is cleaned up; the second, or the
time limit, kills what the cameras run and leaves the process without waiting for anything.
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
from dog.settings import Settings, check_exposure, find_warnings
from dog.tls import Tls, make_tls
from dog.web.app import create_app, drain, kill
from dog.web.connections.connection import CONNECTIONS, HTTP_SETTINGS
from dog.web.middleware.access_log import AccessLog
from dog.web.middleware.errors import patch_aiohttp_server
from dog.web.middleware.origins import SECURITY_HEADERS
from dog.web.service import SERVICE

__all__ = ["find_network_address", "run"]

END_LIMIT = 4.5
"""Seconds from the first signal until the process ends in any case: within five, with time to write that it did."""
HANDLER_LIMIT = 0.5
"""Seconds that aiohttp waits, twice, for requests that are still being answered when the drain is done."""
DESCRIPTORS = 65536
"""The soft limit of open files that is asked for, where the hard one allows it."""
MISHAP_INTERVAL = 10.0
"""Seconds between two lines about the same trouble."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)
# addresses kept for documentation (RFC 5737, RFC 3849): a way to them is the way to the network
ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}

log = logging.getLogger(__name__)


def run(settings: Settings, running: Log) -> int:
    """Serve until a signal, and give the exit status. Raises SettingError or StartError where it can't start."""
    _raise_descriptor_limit()
    return asyncio.run(_serve(settings, running))


async def _serve(settings: Settings, running: Log) -> int:
    check_exposure(settings)
    tls = await asyncio.to_thread(make_tls, settings)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _hear_hangup, tls)
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
        shutdown_timeout=HANDLER_LIMIT,
    )
    asyncio.get_running_loop().set_exception_handler(LoopErrorHandler())
    listening = asyncio.create_task(_listen(runner, settings, tls))
    Shutdown(app, running, listening).watch_signals()
    try:
        await asyncio.wait({listening})
    finally:
        await drain(app)  # before the cleanup, which lets nobody speak any more
        await runner.cleanup()
    if not listening.cancelled():
        listening.result()
    log.info("Stopped")
    return 0


def _hear_hangup(tls: Tls | None) -> None:
    if tls is not None:
        tls.reload()
    else:
        log.info("SIGHUP: there is no certificate to read again; other settings count from the next start on")


async def _listen(runner: web.AppRunner, settings: Settings, tls: Tls | None) -> None:
    """Start the application, listen, say where, and go on until cancelled."""
    await runner.setup()
    assert runner.server is not None
    patch_aiohttp_server(runner.server, runner.app[SECURITY_HEADERS])
    connections = runner.app[CONNECTIONS]
    guard = connections.guard(runner.server, tls)
    try:
        server = await asyncio.get_running_loop().create_server(
            guard, settings.host, settings.port, backlog=connections.backlog
        )
    except (OSError, UnicodeError) as error:  # a name that can't be one, such as `a..b`, is a UnicodeError
        raise _explain(error, settings) from error
    listening = [listener.getsockname() for listener in server.sockets]
    addresses = _addresses(settings, listening)
    line = f"D.O.G. is at {' and '.join(addresses)}  (Ctrl-C ends it)"
    print_line(line)  # whatever the log's level is
    log.info("%s", line, extra={"terminal": False})
    _print_setup_link(runner.app[SERVICE].access, [settings.base_url] if settings.base_url else addresses)
    for trap in find_warnings(settings):
        log.warning("%s", trap)
    if settings.base_url and not settings.trusted_proxies:
        log.info(
            "Behind a proxy, all clients share its address and its limits: %d requests, %d viewers. "
            "List the proxy in trusted_proxies, and each client has its own.",
            connections.limits.requests,
            connections.limits.viewers,
        )
    try:
        await (asyncio.Event().wait() if tls is None else tls.run())
    finally:
        server.close()


def _print_setup_link(access: AuthService | None, addresses: list[str]) -> None:
    """Print the link that lets one browser in, as long as nobody has a password who may manage.

    It is in no file of ours; whoever reads what the service prints, as in systemd's journal, can be that one.
    """
    if access is not None and access.needs_setup:
        invitation = access.make_setup_secret()
        print_line("Nobody has a password yet who may manage. This link lets one browser in, once:")
        print_line(" or ".join(f"{address}/enter/{invitation}" for address in addresses))


def _raise_descriptor_limit() -> None:
    """Every viewer is a descriptor, and the usual 1,024 are soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class MalformedRequestFilter(logging.Filter):
    """A request that is no HTTP is the sender's mistake: a line now and then, and not ours to trace.

    The line names the kind of mistake alone: aiohttp's own words quote the request, which may be somebody's cookie.
    """

    said_at = -math.inf
    unsaid = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)):
            return True
        if record.created - self.said_at < MISHAP_INTERVAL:
            self.unsaid += 1
            return False
        reason = type(record.exc_info[1]).__name__
        more = f" (and {self.unsaid} more before)" if self.unsaid else ""
        record.msg, record.args, record.exc_info = "Not HTTP: %s%s", (reason, more), None
        record.levelno, record.levelname = logging.INFO, "INFO"
        self.said_at, self.unsaid = record.created, 0
        return True


class LoopErrorHandler:
    """What the event loop could tell nobody. Used up descriptors would fill the log: they are said now and then."""

    said_at = -math.inf

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, ValueError) and "_start_serving" in context["message"]:
            return  # asyncio wants to accept again what it could not before, and the end has come in between
        if isinstance(error, OSError) and error.errno == errno.ENOTCONN:
            return  # it shuts the sending half of a connection whose other side has gone in this very moment
        if not (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
            loop.default_exception_handler(context)
        elif loop.time() - self.said_at >= MISHAP_INTERVAL:
            self.said_at = loop.time()
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            log.error("New connections can't be taken: all %d descriptors are in use (ulimit -n)", limit)


def _explain(error: OSError | UnicodeError, settings: Settings) -> SettingError | StartError:
    """Which setting is to blame for not being able to listen, and what to do."""
    host, port = settings.host, settings.port
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return settings.error("host", f"{host!r} is not known here; write an address or a name of this machine")
    match error.errno:
        case errno.EADDRINUSE:
            return settings.error(
                "port", f"{port} is in use on {host}; end what uses it, or write another one (0: a free one)"
            )
        case errno.EACCES | errno.EPERM:
            return settings.error("port", f"{port} is not permitted to this user; write one from 1024 to 65535")
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT | None:  # none: from Python 3.13 on, asyncio sums it up
            return settings.error("host", f"{host!r} is no address of this machine; write one that is, or 127.0.0.1")
    return StartError(f"Can't listen on {host} port {port}: {error.strerror}")


def _addresses(settings: Settings, listening: list[tuple[str, int]]) -> list[str]:
    """Addresses that a person can open: the first is for this machine, unless it is listened elsewhere only."""
    bound, port = listening[0][:2]
    if bound in ("0.0.0.0", "::"):
        family = socket.AF_INET6 if ":" in bound else socket.AF_INET
        hosts = ["::1" if ":" in bound else "127.0.0.1", *find_network_address(family)]
    else:
        hosts = [bound if settings.port == 0 else settings.host]  # a name may have a free port for each address
    scheme = "http" if settings.tls_certificate is None else "https"
    urls = [f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}" for host in hosts]
    return [*urls, settings.base_url] if settings.base_url else urls


def find_network_address(family: socket.AddressFamily) -> list[str]:
    """This machine's address in its network, where it has one. Nothing is sent to find out."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((ELSEWHERE[family], 9))
            return [probe.getsockname()[0]]
    except OSError:
        return []


class Shutdown:
    """The two ends: in order at the first signal, at once at the second or when the first took too long.

    The handlers are plain ones, so that a second signal is heard and the limit holds even where the event loop is what
    is stuck. The loop's own, which do nothing, are there to wake it: a signal that arrives just before it begins to
    wait, or in another thread, would otherwise be heard when something else happens.
    """

    def __init__(self, app: web.Application, running: Log, listening: "asyncio.Task[None]") -> None:
        self._app = app
        self._running = running
        self._listening = listening
        self._loop = asyncio.get_running_loop()
        self._asked = False

    def watch_signals(self) -> None:
        for number in SIGNALS:
            self._loop.add_signal_handler(number, lambda: None)
            signal.signal(number, self._hear)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._asked:
            self._force(128 + number, f"{name} again: ending at once")
        self._asked = True
        limit = threading.Timer(END_LIMIT, self._force, (1, f"The end took more than {END_LIMIT} s: ending at once"))
        limit.daemon = True
        limit.start()
        self._loop.call_soon_threadsafe(self._begin, name)

    def _begin(self, name: str) -> None:
        log.info("Stopping (%s)...", name)
        self._listening.cancel()

    def _force(self, status: int, reason: str) -> None:
        try:
            kill(self._app)
            log.error("%s", reason)
            self._running.stop()
        finally:
            os._exit(status)
