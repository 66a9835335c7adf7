"""Free TCP ports of this machine."""

import socket
from contextlib import ExitStack

__all__ = ["find_free_port", "find_free_ports"]


def find_free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def find_free_port() -> int:
    return find_free_ports(1)[0]
