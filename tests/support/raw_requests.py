"""HTTP requests as raw bytes, so that nothing in them is corrected."""

import json
import re
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


def send(server: ServerProcess, data: bytes, until: bytes = b"") -> bytes:
    """Send raw bytes.

    Return the response, up to the end of the connection or to `until`.
    """
    response = b""
    with closing(socket.create_connection((HERE, server.port), timeout=30)) as connection:
        connection.sendall(data)
        while not (until and until in response) and (more := connection.recv(65536)):
            response += more
    return response


def fetch(
    server: ServerProcess,
    path: str | bytes,
    method: str = "GET",
    headers: Mapping[str, str | bytes] | None = None,
    body: bytes = b"",
) -> Response:
    """Send a request with an unchanged path and headers (text in UTF-8).

    Return the response.
    """
    lines = [b" ".join((method.encode(), _bytes(path), b"HTTP/1.1")), b"Connection: close"]
    fields: dict[str, str | bytes] = {"Host": f"{HERE}:{server.port}", **(headers or {})}
    if body or method not in ("GET", "HEAD", "OPTIONS"):
        fields["Content-Length"] = str(len(body))
    lines += [name.encode() + b": " + _bytes(value) for name, value in fields.items()]
    until = ENDLESS.get(_bytes(path).partition(b"?")[0].decode("latin-1"), b"")
    response = send(server, b"\r\n".join((*lines, b"", body)), until).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    head, _, body_bytes = response.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    assert status, response[:200]
    return Response(int(status[1]), head.decode("latin-1").split("\r\n"), body_bytes)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def take_photo(server: ServerProcess, headers: Mapping[str, str | bytes] | None = None) -> dict[str, Any]:
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
