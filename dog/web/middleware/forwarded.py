"""Forwarded and X-Forwarded-*: the client as a trusted proxy reports it.

They are read only on connections from an address in the setting `trusted_proxies`. They replace the request's own
remote, host and scheme, so that other code reads only those. From other clients they change nothing. But without
`auth` and `open`, a request with one of PROXY_HEADERS is refused (`check_direct`).
"""

import functools
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict, CIMultiDictProxy

from dog.errors import RequestError
from dog.settings import Settings
from dog.web.connections.aiohttp_internals import override_request
from dog.web.connections.connection_limits import CONNECTIONS
from dog.web.problems import Problem

__all__ = ["ForwardedInfo", "check_direct", "forwarded_middleware", "parse_forwarded_headers"]

PROXY_HEADERS = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
"""Headers that only a proxy adds."""
SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""Traefik sends ws and wss for WebSockets."""
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
PAIR = re.compile(
    rf"""[ \t]*(?:(?P<name>{TOKEN}+)=(?:(?P<plain>(?:{TOKEN}|[:\[\]])+)|"(?P<quoted>(?:[^"\\]|\\.)*)")[ \t]*)?"""
    r"(?P<end>[;,]|\Z)"
)
"""One `name=value` of Forwarded, or none, and its end (RFC 7239, section 4). Colons are often unquoted."""
HIDDEN = r"_[A-Za-z0-9._-]{1,64}"
NODE = re.compile(
    rf"(?:(?P<hidden>(?i:unknown)|{HIDDEN})|\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<ipv4>[0-9.]+))(?::(?:\d{{1,5}}|{HIDDEN}))?",
    re.ASCII,
)
"""A client address, with or without a port (RFC 7239, section 6)."""

Headers = CIMultiDict[str] | CIMultiDictProxy[str]
Trusts = Callable[[str], bool]


class ForwardedInfo(NamedTuple):
    """The values that the outermost trusted proxy reports. None: not reported."""

    address: str | None
    scheme: str | None
    host: str | None


@web.middleware
async def forwarded_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Apply a trusted proxy's headers, and hold a place of their client.

    Requests with malformed headers count for one unknown client. Raises Problem `bad_request` for them, and
    RequestError `overloaded` for too many requests.
    """
    connections = request.app[CONNECTIONS]
    if not connections.trusts(request.remote or ""):
        return await handler(request)
    try:
        info = parse_forwarded_headers(request.headers, connections.trusts)
    except Problem as problem:
        info, handler = ForwardedInfo("unknown", None, None), functools.partial(_refuse, problem)
    override_request(request, remote=info.address, scheme=info.scheme, host=info.host)
    async with connections.hold_place(request):
        return await handler(request)


async def _refuse(problem: Problem, _request: web.Request) -> NoReturn:
    raise problem


def parse_forwarded_headers(headers: Headers, trusts: Trusts) -> ForwardedInfo:
    """Parse the headers; `trusts` recognizes proxies. Raises `bad_request`.

    If both kinds of headers are there, they must agree: one of them may be the client's.
    """
    forwarded = _parse_forwarded(headers.getall("Forwarded", ()), trusts)
    x_forwarded = _parse_x_forwarded(headers, trusts)
    if forwarded is None or x_forwarded is None:
        return forwarded or x_forwarded or ForwardedInfo(None, None, None)
    differ = [mine != its for mine, its in zip(forwarded[1:], x_forwarded[1:], strict=True) if None not in (mine, its)]
    if forwarded.address != x_forwarded.address or any(differ):
        raise _bad_headers("Forwarded and X-Forwarded-* contradict each other")
    return ForwardedInfo(*(mine or its for mine, its in zip(forwarded, x_forwarded, strict=True)))


def _parse_forwarded(lines: Sequence[str], trusts: Trusts) -> ForwardedInfo | None:
    """Return Forwarded's element of the outermost trusted proxy (RFC 7239)."""
    elements = [element for line in lines for element in _split_forwarded(line) if element]
    if not elements:
        return None
    if any("for" in element for element in elements):
        depth, address = _find_client([element.get("for", "unknown") for element in elements], trusts)
    else:
        depth, address = 1, None
    element = elements[-depth]
    return ForwardedInfo(address, _parse_scheme(element.get("proto")), _normalize_host(element.get("host")))


def _split_forwarded(line: str) -> list[Mapping[str, str]]:
    elements: list[dict[str, str]] = [{}]
    end, position = ",", 0
    while position < len(line) or end != "":
        found = PAIR.match(line, position)
        if found is None:
            raise _bad_headers("Forwarded does not follow RFC 7239")
        if found["name"]:
            name = found["name"].lower()
            if name in elements[-1]:
                raise _bad_headers(f"Forwarded has {name[:20]!r} twice for one request")
            quoted = found["quoted"]
            elements[-1][name] = found["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        end, position = found["end"], found.end()
        if end == ",":
            elements.append({})
    return list(elements)


def _parse_x_forwarded(headers: Headers, trusts: Trusts) -> ForwardedInfo | None:
    """Parse X-Forwarded-For, -Proto and -Host. Return None if all are missing."""
    nodes, schemes, hosts = (_split(headers.getall(f"X-Forwarded-{name}", ())) for name in ("For", "Proto", "Host"))
    if not (nodes or schemes or hosts):
        return None
    depth, address = _find_client(nodes, trusts) if nodes else (1, None)
    return ForwardedInfo(address, _parse_scheme(_pick(schemes, depth)), _normalize_host(_pick(hosts, depth)))


def _split(lines: Iterable[str]) -> list[str]:
    return [one for line in lines for part in line.split(",") if (one := part.strip(" \t"))]


def _pick(values: list[str], depth: int) -> str | None:
    """Return the value at this depth from the right, or else the first."""
    return values[-min(depth, len(values))] if values else None


def _find_client(nodes: list[str], trusts: Trusts) -> tuple[int, str]:
    """Return the rightmost untrusted address, and its depth from the right.

    Addresses further left can't be trusted.
    """
    depth, address = 0, ""
    for depth, node in enumerate(reversed(nodes), 1):  # noqa: B007
        address = _parse_node(node)
        if not trusts(address):
            break
    return depth, address


def _parse_node(text: str) -> str:
    """Return an address without port and zone, or an obfuscated name."""
    found = NODE.fullmatch(text)
    if found and found["hidden"]:
        return found["hidden"].lower()
    written = (found["ipv6"] or found["ipv4"]) if found else text.partition("%")[0]
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        raise _bad_headers(f"{text[:80]!r} is not an address") from None
    return str(getattr(address, "ipv4_mapped", None) or address)


def _parse_scheme(text: str | None) -> str | None:
    if text is None:
        return None
    if text.lower() not in SCHEMES:
        raise _bad_headers(f"{text[:80]!r} is neither http nor https")
    return SCHEMES[text.lower()]


def _normalize_host(text: str | None) -> str | None:
    """Return the host in lower case. dog.web.middleware.host_check checks it."""
    return None if text is None else text.lower()


def _bad_headers(problem: str) -> Problem:
    return Problem("bad_request", f"The proxy sends headers that cannot be used: {problem}. Correct them in the proxy.")


def check_direct(request: web.Request, settings: Settings) -> None:
    """Raise RequestError `forbidden` for proxied requests without `open`."""
    if not settings.open and any(name in request.headers for name in PROXY_HEADERS):
        raise RequestError(
            "forbidden",
            "This request came through a proxy, and the service has no logins. Start it with --auth or --open,"
            " and name the proxy with --trusted-proxies.",
        )
