"""Group client addresses: an IPv4 address or an IPv6 /64 is one client."""

import functools
import ipaddress

__all__ = ["client_network", "is_loopback", "is_within"]


@functools.lru_cache(maxsize=4096)
def client_network(address: str) -> str:
    """Return the client's IPv4 address or IPv6 /64 network; "" if invalid."""
    parsed = _parse(address)
    if parsed is None or parsed.version == 4:
        return "" if parsed is None else str(parsed)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


@functools.lru_cache(maxsize=4096)
def is_loopback(address: str) -> bool:
    """Return True if the address is a loopback address of this computer."""
    parsed = _parse(address)
    return parsed is not None and parsed.is_loopback


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def is_within(address: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Return True if one of the networks contains the address."""
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks)
