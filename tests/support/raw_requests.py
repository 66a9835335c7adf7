"""HTTP requests as raw bytes, so that nothing in them is corrected."""

import json
import re
import select
import socket
from collections.abc import Mapping
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import urlencode

from dog.web.apidocs.operation import FORM_TYPE
from tests.support.accounts import PASSWORD
from tests.support.server_process import ServerProcess

__all__ = [
    "COOKIE",
    "ENDLESS",
    "HERE",
    "KeptConnection",
    "Response",
    "delete",
    "fetch",
    "log_in",
    "press",
    "read_cookie",
    "send",
    "take_photo",
]

HERE = "127.0.0.1"
ENDLESS = {"/events": b'"type":"hello"', "/preview.mjpg": b"\xff\xd9"}
"""Endless responses, and the bytes after which to stop reading."""


class Response(NamedTuple):
    """A response. `head` has its lines, with the status line."""

    status: int
    head: list[str]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in self.head[1:])}

    @property
    def code(self) -> Any:
        return json.loads(self.body)["code"]


def send(server: "ServerProcess | KeptConnection", data: bytes, until: bytes = b"") -> bytes:
    """Send raw bytes.

    Return the response, up to the end of the connection or to `until`.
    """
    response = b""
    with closing(socket.create_connection((HERE, server.port), timeout=30)) as connection:
        connection.sendall(data)
        while not (until and until in response) and (more := connection.recv(65536)):
            response += more
    return response


class KeptConnection:
    """A connection for many requests. One that the server closes is replaced.

    No byte may follow a response.
    """

    def __init__(self, server: ServerProcess) -> None:
        self.port = server.port
        self._socket: socket.socket | None = None

    def exchange(self, data: bytes, method: str) -> bytes:
        """Send a request. Return the response."""
        connection = self._connect()
        connection.sendall(data)
        response = b""
        while len(response) != (size := _response_size(response, method)):
            assert size is None or len(response) < size, f"more than a response: {response!r}"
            more = connection.recv(65536)
            if not more:
                self.close()
                return response
            response += more
        return response

    def _connect(self) -> socket.socket:
        if self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            more = self._socket.recv(65536)
            assert more == b"", f"more than a response: {more!r}"
            self.close()
        if self._socket is None:
            self._socket = socket.create_connection((HERE, self.port), timeout=30)
        return self._socket

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _response_size(response: bytes, method: str) -> int | None:
    """Return the size of a response, or None if it is not known."""
    head, end, rest = response.partition(b"\r\n\r\n")
    head_size = len(head + end)
    fields = head.lower() + b"\r\n"
    if not end or fields.startswith(b"http/1.0 ") or b"\r\nconnection: close\r\n" in fields:
        return None
    status = fields.split()[1]
    if status == b"100":
        rest_size = _response_size(rest, method)
        return None if rest_size is None else head_size + rest_size
    if method == "HEAD" or status in (b"204", b"304"):
        return head_size
    length = re.search(rb"\r\ncontent-length: (\d+)\r\n", fields)
    return None if length is None else head_size + int(length[1])


def fetch(
    server: ServerProcess | KeptConnection,
    path: str | bytes,
    method: str = "GET",
    headers: Mapping[str, str | bytes] | None = None,
    body: bytes = b"",
) -> Response:
    """Send a request with an unchanged path and headers (text in UTF-8).

    Return the response.
    """
    until = ENDLESS.get(_bytes(path).partition(b"?")[0].decode("latin-1"), b"")
    lines = [b" ".join((method.encode(), _bytes(path), b"HTTP/1.1"))]
    kept = server if isinstance(server, KeptConnection) and not until else None
    if kept is None:
        lines.append(b"Connection: close")
    fields: dict[str, str | bytes] = {"Host": f"{HERE}:{server.port}", **(headers or {})}
    if body or method not in ("GET", "HEAD", "OPTIONS"):
        fields["Content-Length"] = str(len(body))
    lines += [name.encode() + b": " + _bytes(value) for name, value in fields.items()]
    data = b"\r\n".join((*lines, b"", body))
    response = send(server, data, until) if kept is None else kept.exchange(data, method)
    response = response.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    head, _, body_bytes = response.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    assert status, response[:200]
    return Response(int(status[1]), head.decode("latin-1").split("\r\n"), body_bytes)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def take_photo(
    server: ServerProcess | KeptConnection, headers: Mapping[str, str | bytes] | None = None
) -> dict[str, Any]:
    response = fetch(server, "/api/captures", "POST", headers, b'{"max_age":0}')
    assert response.status == 201, response
    photo: dict[str, Any] = json.loads(response.body)
    return photo


COOKIE = "dog_session"


def log_in(server: ServerProcess, name: str = "ada", password: str = PASSWORD, **headers: str) -> Response:
    form = urlencode({"name": name, "password": password}).encode()
    return fetch(server, "/login", "POST", {"Content-Type": FORM_TYPE, **headers}, form)


def read_cookie(response: Response) -> str:
    found = re.match(rf"{COOKIE}=([\w-]{{43}}); ", response.headers["set-cookie"])
    assert found, response
    return found[1]


def press(server: ServerProcess) -> str:
    """Take a photo, and return its id."""
    snapshot: str = take_photo(server)["snapshot"]
    return snapshot


def delete(server: ServerProcess, snapshot: str) -> None:
    response = fetch(server, f"/api/snapshots/{snapshot}", "DELETE")
    assert response.status == 204, response
