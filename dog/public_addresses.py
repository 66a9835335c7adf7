"""Tell public addresses from private ones, for URLs that others choose.

A server in the Internet must not make D.O.G. send requests into the private network, for example by a redirect.
"""

import ipaddress
import socket

__all__ = ["is_public", "resolve_public"]

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Return True if the address belongs to the Internet; False if invalid.

    An IPv6 address that contains an IPv4 address (mapped, 6to4, NAT64) is judged by that one.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is None:
            return parsed in _GLOBAL_UNICAST and parsed.is_global
        parsed = inner
    return parsed.is_global and not parsed.is_multicast


def resolve_public(host: str) -> list[str]:
    """Return the public addresses of a host. Raises OSError if it is unknown.

    Connect to one of these, not to the name: it could resolve to a private address the next time.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [address for *_, (address, *_) in found if is_public(str(address))]  # type: ignore[misc]
