"""HTTP smuggling: requests that proxy and service could split differently.

Each is sent as raw bytes to nginx, to Caddy and to the service itself. The service's log shows if it saw a second
request. The next clients' responses show if one got a wrong response.
"""

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.server_process import ServerProcess
from tests.support.sites import HERE, NAME, Site, needs, site

HIDDEN = "GET /hidden-{name} HTTP/1.1\r\nHost: {host}\r\n\r\n"
"""The smuggled request."""
POST = "POST /api/captures HTTP/1.1\r\nHost: {host}\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
END = "0\r\n\r\n"


def fill(*heads: str, body: str = END + HIDDEN, length: str = "Content-Length: {all}\r\n") -> str:
    return POST + length + "".join(heads) + "\r\n" + body


def chunked_as(line: str) -> str:
    return fill(line)


SHAPES = {
    # CL.TE: one request by the length, two by the chunks
    "CL.TE": fill(CHUNKED),
    "CL.TE, the length last": POST + CHUNKED + "Content-Length: {all}\r\n\r\n" + END + HIDDEN,
    # TE.CL: the reverse
    "TE.CL": POST + CHUNKED + "Content-Length: 4\r\n\r\n{size}\r\n" + HIDDEN + "\r\n" + END,
    "TE.CL, none": POST + CHUNKED + "Content-Length: 0\r\n\r\n{size}\r\n" + HIDDEN + "\r\n" + END,
    # TE.TE: a Transfer-Encoding that one of them does not support
    **{
        f"TE.TE, {name}": chunked_as(line)
        for name, line in {
            "xchunked": "Transfer-Encoding: xchunked\r\n",
            "a space before the colon": "Transfer-Encoding : chunked\r\n",
            "a space before the name": " Transfer-Encoding: chunked\r\n",
            "a tab": "Transfer-Encoding:\tchunked\r\n",
            "a vertical tab": "Transfer-Encoding: \x0bchunked\r\n",
            "a NUL": "Transfer-Encoding: chunked\x00\r\n",
            "twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "identity first": "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            "a list": "Transfer-Encoding: chunked, identity\r\n",
            "quoted": 'Transfer-Encoding: "chunked"\r\n',
            "in capitals": "tRANSFER-eNCODING: CHUNKED\r\n",
            "with an underscore": "Transfer_Encoding: chunked\r\n",
            "in a folded line": "Transfer-Encoding:\r\n chunked\r\n",
            "folded into another": "X: x\r\n Transfer-Encoding: chunked\r\n",
            "behind a bare LF": "X: x\nTransfer-Encoding: chunked\r\n",
            "behind a bare CR": "X: x\rTransfer-Encoding: chunked\r\n",
            "empty": "Transfer-Encoding: \r\n",
        }.items()
    },
    # which length?
    "two lengths": POST + "Content-Length: 0\r\nContent-Length: {all}\r\n\r\n" + HIDDEN,
    "two lengths, the other way": POST + "Content-Length: {all}\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "a list of lengths": POST + "Content-Length: 0, {all}\r\n\r\n" + HIDDEN,
    **{
        f"a length of {name}": POST + f"Content-Length: {value}\r\n\r\n" + HIDDEN
        for name, value in {
            "+{all}": "+{all}",
            "-0": "-0",
            "0x": "0x{all}",
            "{all}.0": "{all}.0",
            "{all}_": "{all}_",
            "nothing": "",
            "digits of another script": "٣٤",
            "more than fits": "18446744073709551616",
        }.items()
    },
    "a length with a space before the colon": POST + "Content-Length : {all}\r\n\r\n" + HIDDEN,
    "a length in a folded line": POST + "Content-Length:\r\n {all}\r\n\r\n" + HIDDEN,
    "a length folded into another": POST + "X: x\r\n Content-Length: {all}\r\n\r\n" + HIDDEN,
    "a GET with a body": "GET /healthz HTTP/1.1\r\nHost: {host}\r\nContent-Length: {all}\r\n\r\n" + HIDDEN,
    "a chunked body of HTTP/1.0": POST.replace("1.1", "1.0") + CHUNKED + "Content-Length: {all}\r\n\r\n" + END + HIDDEN,
    # where does a chunk end?
    **{
        f"a chunk with {name}": POST + CHUNKED + "\r\n" + chunks
        for name, chunks in {
            "an extension": "2;a=b\r\n{{}}\r\n0\r\n\r\n",
            "an extension with a bare LF": "2;a=\nxx\r\n{size}\r\n0\r\n\r\n" + HIDDEN,
            "an extension with a bare CR": "2;a=\r{{}}\r\n0\r\n\r\n" + HIDDEN,
            "a quoted line end": '2;a="\r\n{{}}\r\n{size}\r\n' + HIDDEN + "\r\n0\r\n\r\n",
            "a size of +2": "+2\r\n{{}}\r\n0\r\n\r\n" + HIDDEN,
            "a size of 0x2": "0x2\r\n{{}}\r\n0\r\n\r\n" + HIDDEN,
            "a size of -1": "-1\r\n\r\n" + HIDDEN,
            "a size of 2_0": "2_0\r\n{{}}\r\n0\r\n\r\n" + HIDDEN,
            "a size that overflows": "10000000000000002\r\n{{}}\r\n0\r\n\r\n" + HIDDEN,
            "no size": "\r\n{{}}\r\n0\r\n\r\n" + HIDDEN,
            "bare LFs": "2\n{{}}\n0\n\n" + HIDDEN,
            "more than its size": "2\r\n{{}}XX0\r\n\r\n" + HIDDEN,
            "a trailer that is a length": "2\r\n{{}}\r\n0\r\nContent-Length: {size}\r\n\r\n",
        }.items()
    },
    # where does the head end?
    "a folded head": "GET /healthz HTTP/1.1\r\nHost: {host}\r\nX: x\r\n GET /hidden-{name} HTTP/1.1\r\n\r\n",
    "bare LFs in the head": "GET /healthz HTTP/1.1\r\nHost: {host}\r\nX: x\n\n" + HIDDEN,
    "bare CRs in the head": "GET /healthz HTTP/1.1\r\nHost: {host}\r\nX: x\r\r" + HIDDEN,
    "line ends in the path": "GET /healthz%0d%0a%0d%0aGET%20/hidden-{name} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a request in the path": "GET /healthz HTTP/1.1 /hidden-{name} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a length in Connection": POST + "Connection: Content-Length\r\nContent-Length: {all}\r\n\r\n" + HIDDEN,
    # an invalid WebSocket handshake
    "an upgrade that is refused": (
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 7\r\n"
        "Content-Length: {all}\r\n\r\n" + HIDDEN
    ),
}
BARE = {"a chunk with bare LFs", "bare LFs in the head"}
"""A recipient may take a bare LF for the end of a line (RFC 9112, section 2.2)."""
SEEN_AS_TWO = {
    "itself": set[str](),
    "nginx": BARE,
    "caddy": BARE
    | {"CL.TE", "CL.TE, the length last", "TE.TE, a tab", "TE.TE, in capitals", "TE.TE, in a folded line"}
    | {"TE.TE, behind a bare LF", "a length of nothing", "a length folded into another"},
}
"""Shapes that the proxy itself splits in two, so that it and the service agree.

Caddy uses chunks even if there is a length, as a recipient may (RFC 9112, section 6.3). nginx refuses that."""


def write(shape: str, name: str, host: str) -> bytes:
    """Fill in a shape.

    `all` is the body's length, and `size` the smuggled request's, as a chunk size.
    """
    hidden = HIDDEN.format(name=name, host=host)
    head, _, body = shape.partition("\r\n\r\n")
    values = {"name": name, "host": host, "size": f"{len(hidden):x}"}
    length = len(body.format(all=0, **values))
    return f"{head}\r\n\r\n{body}".format(all=length, **values).encode()


class Target:
    """The server that gets the bytes: a proxy or the service itself."""

    def __init__(self, kind: str, server: ServerProcess, site: Site | None = None) -> None:
        self.kind = kind
        self.server = server
        self._site = site
        self.host = f"{NAME}:{site.port}" if site else "localhost"

    def open(self) -> socket.socket:
        if self._site is not None:
            return self._site.open()
        return socket.create_connection((HERE, self.server.port), timeout=20)

    def send(self, data: bytes) -> bytes:
        """Send bytes and a last request. Return all that is received."""
        with closing(self.open()) as connection:
            connection.settimeout(20)
            received = b""
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                connection.sendall(data)
                # a complete last request, which also completes an unfinished body
                connection.sendall(self.write_request("last", "Connection: close\r\n"))
                while data := connection.recv(65536):
                    received += data
            return received

    def write_request(self, name: str, more: str = "") -> bytes:
        return f"GET /healthz?{name} HTTP/1.1\r\nHost: {self.host}\r\n{more}\r\n".encode()

    def find_requests(self, word: str) -> list[str]:
        """Return the lines of the service's log about requests to this path.

        It may be the start of the path.
        """
        return [line for line in self.server.stderr.splitlines() if re.search(rf'"[A-Z]+ /{word}', line)]


@pytest.fixture(
    scope="module",
    params=["itself", pytest.param("nginx", marks=needs("nginx")), pytest.param("caddy", marks=needs("caddy"))],
)
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    options = ("--dead-time", "0", "--max-connections-per-address", "1000")
    if request.param == "itself":
        server = ServerProcess("--log-level", "debug", *options, cwd=folder).start()
        try:
            yield Target(request.param, server)
        finally:
            server.kill()
        assert "Traceback" not in server.stderr, server.stderr
    else:
        with site(request.param, folder, *options, "--trusted-proxies", HERE) as there:
            yield Target(request.param, there.server, there)


def test_two_separate_requests_are_logged_as_two(target: Target) -> None:
    """This proves that the other test would notice a smuggled request."""
    received = target.send(
        target.write_request("first") + f"GET /hidden-by-nobody HTTP/1.1\r\nHost: {target.host}\r\n\r\n".encode()
    )
    assert received.count(b"HTTP/1.1 200") == 2
    assert received.count(b"HTTP/1.1 404") == 1
    target.server.wait_for("/hidden-by-nobody")
    assert target.find_requests("hidden-by-nobody")


@pytest.mark.parametrize("shape", SHAPES)
def test_the_smuggled_request_never_gets_a_response(target: Target, shape: str) -> None:
    name = str(list(SHAPES).index(shape))
    received = target.send(write(SHAPES[shape], name, target.host))
    # Other clients share the proxy's connections to the service. Each must get its own response.
    for number in range(4):
        with closing(target.open()) as other:
            other.settimeout(20)
            other.sendall(target.write_request(f"other-{name}-{number}", "Connection: close\r\n"))
            answer = b"".join(iter(lambda: other.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert answer.count(b"HTTP/1.1 ") == 1
        target.server.wait_for(rf"/healthz\?other-{name}-{number} ")
    seen = len(target.find_requests(f"hidden-{name} "))
    if shape in SEEN_AS_TWO[target.kind]:
        assert received.count(b"HTTP/1.1 404 ") == seen, "a response that its sender did not get"
    else:
        assert seen == 0
        assert received.count(b"HTTP/1.1 ") <= 2, received
