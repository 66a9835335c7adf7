"""Run the service: listen, print its URLs, and clean up at the end."""

import asyncio
import errno
import logging
import resource
import signal
import socket

from aiohttp import web

from dog.auth import AuthService
from dog.errors import SettingError, StartError
from dog.logs import Log, print_line
from dog.machine_addresses import network_addresses
from dog.settings import Settings, check_exposure, find_warnings
from dog.tls import Tls, make_tls
from dog.web.app import create_app, drain
from dog.web.app_keys import APP_STATE
from dog.web.connections.aiohttp_internals import patch_aiohttp_server
from dog.web.connections.connection import HTTP_SETTINGS
from dog.web.connections.connection_limits import CONNECTIONS
from dog.web.connections.listener import listen
from dog.web.log_filters import LoopErrorHandler, MalformedRequestFilter
from dog.web.middleware.access_log import AccessLog
from dog.web.middleware.security_headers import SECURITY_HEADERS
from dog.web.shutdown import Shutdown

__all__ = ["run"]

HANDLER_TIMEOUT = 0.5
"""Seconds that aiohttp waits, twice, for requests that have no response after the drain."""
WANTED_DESCRIPTORS = 65536
"""The soft limit of open files that the service sets, if the hard limit allows it."""

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
    """Handle SIGHUP.

    A line is always logged: that opens a new log file if logrotate has moved the old one.
    """
    if tls is not None:
        tls.reload()
    else:
        log.info("SIGHUP: there is no certificate to reload. Restart D.O.G. to apply other settings.")


async def _listen(runner: web.AppRunner, settings: Settings, tls: Tls | None) -> None:
    """Start the application, print its URLs, and serve until cancelled."""
    await runner.setup()
    assert runner.server is not None
    patch_aiohttp_server(runner.server, runner.app[SECURITY_HEADERS])
    connections = runner.app[CONNECTIONS]
    try:
        listener = await listen(connections, runner.server, settings.host, settings.port, tls)
    except (OSError, UnicodeError) as error:  # an invalid host name, such as `a..b`, is a UnicodeError
        raise _listen_error(error, settings) from error
    listening = [listening.getsockname() for listening in listener.sockets]
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
        listener.close()


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
            return settings.error(
                "host", f"{host!r} is not an address of this machine. Write one that is, such as 127.0.0.1."
            )
    return StartError(f"The port {port} of {host} can't be used: {error.strerror}. Write another port.")


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
