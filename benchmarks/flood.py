"""Floods by one client that wrk can't send.

python -m benchmarks.flood KIND HOST PORT
"""

import contextlib
import itertools
import socket
import struct
import sys
import time

VIEWERS = 500
PARALLEL = 50
MESSAGE = b'{"type":"ping"}'
MESSAGE_FRAME = bytes((0x81, 0x80 | len(MESSAGE), 0, 0, 0, 0)) + MESSAGE
MESSAGES_PER_SECOND = 9
"""Messages of one viewer. With more than 10, it is disconnected."""
HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER's value to close a connection at once, so that its port is free again."""


def flood_with_connections(host: str, port: int) -> None:
    """Open and close connections, without a request."""
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def flood_with_malformed_requests(host: str, port: int) -> None:
    """Send requests that are not HTTP, and read the responses."""
    while True:
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(socket.create_connection((host, port))) for _ in range(PARALLEL)]
            for connection in connections:
                connection.sendall(b"GET\r\n\r\n")
            for connection in connections:
                with contextlib.suppress(OSError):
                    while connection.recv(4096):
                        pass


def flood_with_messages(host: str, port: int) -> None:
    """Send messages on the connections of many viewers, as fast as they may."""
    viewers = []
    for _ in range(VIEWERS):
        viewer = socket.create_connection((host, port))
        viewer.sendall(HANDSHAKE.format(host=host).encode())
        viewer.recv(65536)
        viewer.setblocking(False)
        viewers.append(viewer)
    began = time.monotonic()
    for number, viewer in enumerate(itertools.cycle(viewers)):
        with contextlib.suppress(BlockingIOError):
            viewer.send(MESSAGE_FRAME)
        with contextlib.suppress(BlockingIOError):
            viewer.recv(65536)
        time.sleep(max(0.0, began + number / (VIEWERS * MESSAGES_PER_SECOND) - time.monotonic()))


FLOODS = {
    "connections": flood_with_connections,
    "malformed": flood_with_malformed_requests,
    "messages": flood_with_messages,
}

if __name__ == "__main__":
    FLOODS[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
