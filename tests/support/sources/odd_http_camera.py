"""An HTTP camera in a thread of the test, as odd as the test wants."""

import contextlib
import io
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from PIL import Image

__all__ = ["OddHttpCamera", "Request", "make_head", "stamped_jpeg"]

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Request:
    """A request, with the number of its connection."""

    target: str
    headers: dict[str, str]
    connection: int


Answer = Callable[[Request], bytes | list[bytes] | None]
"""Return the bytes of a response, in pieces if need be. None: the connection stays open, and silent."""


class OddHttpCamera:
    """A server on 127.0.0.1 that keeps its connections open until `close`.

    With `closes`, each connection ends after its first response.
    """

    def __init__(
        self, answer: Answer, *, closes: bool = False, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[Request] = []
        self._answer = answer
        self._closes = closes
        self._tls = tls
        self._server = socket.create_server((host, 0))
        self.port: int = self._server.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            for number in itertools.count(1):
                one = self._server.accept()[0]
                if self._tls is not None:
                    one = self._tls.wrap_socket(one, server_side=True, do_handshake_on_connect=False)
                self._sockets.append(one)
                threading.Thread(target=self._serve, args=(one, number), daemon=True).start()

    def _serve(self, one: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            received = b""
            while chunk := one.recv(65536):
                received += chunk
                if b"\r\n\r\n" not in received:
                    continue
                first, *lines = received.decode("latin-1").split("\r\n")
                received = b""
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                request = Request(first.split()[1], headers, number)
                self.requests.append(request)
                answer = self._answer(request)
                for piece in [answer] if isinstance(answer, bytes) else answer or []:
                    one.sendall(piece)
                if self._closes:
                    one.shutdown(socket.SHUT_RDWR)
                    one.close()
                    return


def make_head(*headers: str, status: str = "200 OK") -> bytes:
    """Make the head of a response."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1")


def stamped_jpeg(made: float | None = None, size: int = 0) -> bytes:
    """Make a JPEG with a comment: number, time.monotonic(), `size` bytes."""
    number = next(_numbers)
    file = io.BytesIO()
    image = Image.new("RGB", (48, 32), (80 + number % 80, 130, 90))
    image.paste((255, 255, 255), (4, 4, 20, 20))
    image.save(file, "JPEG", quality=80)
    jpeg = file.getvalue()
    stamp = time.monotonic() if made is None else made
    note = f"seq={number} t={stamp:.6f}".encode() + b"\n--frame\r\n\r\n"[:size] + b"." * max(0, size - 13)
    return jpeg[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2) + note + jpeg[2:]
