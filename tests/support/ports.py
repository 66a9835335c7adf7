"""Free TCP ports, for programs that can't choose one themselves."""

import random
import socket
from contextlib import ExitStack, suppress

__all__ = ["find_free_port", "find_free_ports"]

CANDIDATES = range(16_384, 32_768)
"""Below the ports that Linux gives to connections and to listeners on port 0, which may take a free one at any time."""


def find_free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            port = random.SystemRandom().choice(CANDIDATES)  # other processes of the tests choose too
            with suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
        return ports


def find_free_port() -> int:
    return find_free_ports(1)[0]
