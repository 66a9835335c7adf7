"""The host check: refuse foreign host names, against DNS rebinding.

Any site's name can be resolved to this machine, and its page could then read photos and press as if it were ours.
An IP address is safe, because no other site's page has it.
"""

import functools
import ipaddress
import re
import socket
from urllib.parse import urlsplit

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware

from dog.errors import RequestError
from dog.settings import Settings
from dog.web.problems import Problem

__all__ = ["Hosts", "make_host_check"]

HOST = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.~%-]+)?)\]|(?P<name>[\w-][\w.-]*?)\.?)(?::(?P<port>\d{0,5}))?", re.ASCII
)
MAX_SHOWN_CHARS = 80
"""Characters of a name that an error message repeats."""


class Hosts:
    """The allowed names: localhost, this machine's, and those of settings."""

    def __init__(self, settings: Settings, machine: str) -> None:
        own = machine.rstrip(".").lower()
        short = own.partition(".")[0]
        public = urlsplit(settings.base_url or "").hostname
        names = {"localhost", own, short, f"{short}.local", public, settings.host, *settings.hosts}
        self._names = frozenset(_to_idna(name) for name in names if name)
        # Every request is checked, nearly always for the same name.
        self.allows = functools.lru_cache(maxsize=256)(self._allows)

    def _allows(self, host: str) -> bool:
        """Return True if this host is ours, with any port. Raises `bad_request`."""
        if _is_address(host):  # from an absolute URL, which aiohttp has parsed: IPv6 without brackets
            return True
        found = HOST.fullmatch(host)
        if found is None or int(found["port"] or 0) > 65535 or (found["ipv6"] and not _is_address(found["ipv6"])):
            raise Problem("bad_request", f"{host[:MAX_SHOWN_CHARS]!r} is not a valid host. Correct the URL.")
        if found["ipv6"] or _is_address(found["name"]):
            return True
        name = found["name"].lower()
        return name in self._names or name.endswith(".localhost")


def make_host_check(settings: Settings) -> Middleware:
    """Return the middleware to refuse other names, after the forwarded one.

    This machine's name is its own host name. Nothing is looked up in DNS.
    """
    hosts = Hosts(settings, socket.gethostname())

    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        hosts_sent = request.headers.getall("Host", [])
        if len(hosts_sent) > 1 or (
            not hosts_sent and (request.version >= HttpVersion11 or "Origin" in request.headers)
        ):
            raise Problem("bad_request", "The request has no Host header, or several. Send exactly one.")
        if not hosts.allows(request.host):  # without a Host header, it is the local IP address
            raise RequestError(
                "unknown_host",
                f"This service does not answer to the name {request.host[:MAX_SHOWN_CHARS]!r}."
                " Use its IP address, or allow the name with the setting `hosts`.",
            )
        return await handler(request)

    return check_host


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _to_idna(name: str) -> str:
    """Return a name as browsers send it, in IDNA."""
    try:
        return name.lower().encode("idna").decode()
    except UnicodeError:
        return name.lower()
