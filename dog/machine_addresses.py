"""This machine's names and network addresses."""

import contextlib
import socket
import struct
import sys

__all__ = ["machine_names", "network_addresses"]

# Addresses for documentation (RFC 5737, RFC 3849). The route to them is the route to the network.
DOCUMENTATION_ADDRESSES = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
SIOCGIFADDR = 0x8915
"""The ioctl that returns an interface's IPv4 address (netdevice(7))."""


def network_addresses(family: socket.AddressFamily) -> list[str]:
    """Return this machine's network address, if any. Sends nothing."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((DOCUMENTATION_ADDRESSES[family], 9))
            return [probe.getsockname()[0]]
    except OSError:
        return []


def machine_names() -> list[str]:
    """Return this machine's names and addresses, the most usual first."""
    host = socket.gethostname()
    short = host.split(".")[0]
    return [host, short, f"{short}.local", "localhost", "127.0.0.1", "::1", *_machine_addresses()]


def _machine_addresses() -> list[str]:
    """Return this machine's addresses in its networks."""
    found = network_addresses(socket.AF_INET) + network_addresses(socket.AF_INET6)
    if sys.platform == "linux":
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            for _, interface in socket.if_nameindex():
                with contextlib.suppress(OSError):  # no IPv4 address
                    reply = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("40s", interface.encode()))
                    found.append(socket.inet_ntoa(reply[20:24]))
    return found
