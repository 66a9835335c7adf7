"""Malformed and nearly valid input disturbs only its sender.

It is messages, frames and HTTP requests. Each case is a connection, or a message on one. A healthy viewer watches
during the test, and the service must be in the same state afterwards. Messages come from Hypothesis. Frames and
requests come from seeded generators: Hypothesis is too slow for a hundred thousand of them.
"""

import contextlib
import itertools
import json
import random
import re
import socket
import struct
import zlib
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from dog.errors import RequestError
from dog.protocol import Auth, Capture, Ping, Resume, parse_request
from tests.conftest import Serve
from tests.load.conftest import Progress
from tests.load.health import get, undisturbed_viewer
from tests.support.junk_frames import make_frames
from tests.support.server_process import ServerProcess
from tests.support.websocket_frames import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    UPGRADE,
    Frame,
    FrameReader,
    build_client_frame,
    mutate,
    read_messages,
)


def sizes(short: int, long: int) -> list[Any]:
    return [
        pytest.param(short, id="short"),
        pytest.param(long, id="long", marks=[pytest.mark.load, pytest.mark.timeout(900)]),
    ]


BATCH = 50
"""Simultaneous connections, and messages on one connection."""
ROUNDS = 4
"""Maximum number of requests on one connection."""
ARGUMENTS = (
    *("--dead-time", "0.5", "--picture-cache", "0", "--message-rate", "1000", "--message-burst", "10000"),
    *("--max-connections-per-address", "1000"),
)


class Connection:
    """A connection that can send any bytes."""

    def __init__(self, port: int, data: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.send(data)

    def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def read(self) -> bytes:
        return self._socket.recv(65536)

    def read_to_the_end(self) -> bytes:
        """Stop sending, and read until the server closes the connection."""
        received = b""
        with self._socket, contextlib.suppress(ConnectionError):
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
            while data := self._socket.recv(65536):
                received += data
        return received

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


# ---- expected answers


def read_frames(received: bytes) -> list[Frame]:
    """Return the frames after the handshake and `hello`.

    All are whole, and none follows a close frame.
    """
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), received
    first, *frames = FrameReader().feed(rest)
    assert json.loads(first.payload)["type"] == "hello"
    return frames


def describe_answers(frames: list[Frame]) -> list[object]:
    """Return pongs by payload, messages by type or code, closes by code.

    Events are left out.
    """
    answers: list[object] = []
    for answer in frames:
        if answer.opcode == PONG:
            answers.append(answer.payload)
        elif answer.opcode == CLOSE:
            answers.append(int.from_bytes(answer.payload[:2], "big"))
        elif answer.opcode == TEXT:
            message = json.loads(answer.payload)
            if message["type"] in ("hello", "reply", "pong"):
                answers.append((message["type"], message.get("request")))
            elif message["type"] == "error":
                assert message["message"].endswith("."), message
                answers.append((message["code"], message.get("request")))
    return answers


def expect_answers(sent: bytes) -> list[object]:
    """Return the expected answers to the sent bytes, in the same form."""
    received, code = read_messages([sent])
    expected: list[object] = []
    for opcode, payload in received:
        if opcode == PING:
            expected.append(payload)
        elif opcode == TEXT:
            expected += expect_answer(payload.decode())
    return expected if code is None else [*expected, code]


def expect_answer(message: str) -> list[object]:
    try:
        match parse_request(message):
            case Auth():
                return []
            case Capture(request=None, camera=None | "main"):
                return [("reply", None)]
            case Capture(request=request, camera=None | "main"):
                return [
                    {("reply", request), ("bad_message", request)}
                ]  # the request was sent before, with another max_age
            case Capture(request=request):
                return [("unknown_camera", request)]
            case Resume():
                return [("hello", None)]
            case Ping(request=request):
                return [("pong", request)]
    except RequestError as error:
        return [(error.code, error.request)]


def converse(server: ServerProcess, sent: list[bytes]) -> None:
    """Send each on its own connection, all at once, and check the answers."""
    cuts = [zlib.crc32(data) % (len(data) + 1) for data in sent]  # so many bytes are sent with the handshake
    connections = [Connection(server.port, UPGRADE + data[:cut]) for data, cut in zip(sent, cuts, strict=True)]
    heads = [connection.read() for connection in connections]
    for connection, data, cut in zip(connections, sent, cuts, strict=True):
        connection.send(data[cut:])
    streams = [head + connection.read_to_the_end() for head, connection in zip(heads, connections, strict=True)]
    for received, data in zip(streams, sent, strict=True):
        answers, expected = describe_answers(read_frames(received)), expect_answers(data)
        for answer, right in zip(answers, expected, strict=False):
            assert answer == right or (isinstance(right, set) and answer in right), data
        assert len(answers) == len(expected), data


# ---- messages

NAMES = st.sampled_from(["type", "request", "camera", "max_age", "cursor", "token", "colour", ""])
WORDS = st.sampled_from(["capture", "resume", "auth", "ping", "hello", "main", "0-0", "1-1", "1e999", "NaN"])
NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([10**400, -(10**400), 2**63, 2**64, -(2**63) - 1, 1e308, 5e-324, -0.0])
)
TEXTS = WORDS | st.text(st.characters(), max_size=20) | st.text('\0\x1f\ud800\udfff\U0010ffff"\\/é€', max_size=9)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
VALID = st.fixed_dictionaries(
    {"type": st.sampled_from(["capture", "resume", "auth", "ping"])},
    optional={
        "request": st.text(max_size=129) | st.uuids().map(str),
        "camera": st.sampled_from(["main", "attic"]),
        "max_age": st.floats(0) | st.integers(0, 10),
        "cursor": st.from_regex(r"[0-9]{1,25}-[0-9]{1,25}", fullmatch=True) | st.text(max_size=9),
        "token": st.text(max_size=9),
    },
)
NEARLY_VALID = st.builds(lambda right, wrong: right | wrong, VALID, st.dictionaries(NAMES, VALUES, max_size=2))


def write(value: object, ascii_only: bool) -> bytes:
    """Return JSON, but with NaN and Infinity.

    Unless `ascii_only`, it also has raw surrogates.
    """
    return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


WRITTEN = st.builds(write, VALID | NEARLY_VALID | VALUES | st.dictionaries(NAMES, VALUES), st.booleans())
NESTED = st.builds(
    lambda opening, closing, depth, wrong: opening * depth + b"1" + closing * (depth - wrong),
    *(
        st.sampled_from([b"[", b'{"type":', b'{"request":[', b"[[", b'{"a":']),
        st.sampled_from([b"]", b"}", b"]}", b""]),
    ),
    *(st.integers(1, 400) | st.just(1000), st.integers(0, 1)),
)
BROKEN = st.builds(
    lambda text, changes, end: mutate(text, changes)[: end or None],
    *(WRITTEN, st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=3), st.integers(-9, 0)),
)
MESSAGES = WRITTEN | WRITTEN | BROKEN | NESTED | st.binary(max_size=50)


@pytest.mark.parametrize("cases", sizes(400, 60_000))
def test_malformed_messages_get_the_answers_of_the_protocol_and_disturb_nobody(
    serve: Serve, progress: Progress, cases: int
) -> None:
    server = serve(*ARGUMENTS)
    numbers = itertools.count(1)

    @hypothesis.settings(
        max_examples=cases // BATCH,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(st.lists(MESSAGES, min_size=BATCH, max_size=BATCH))
    @hypothesis.example([b"[" * 4000, b'{"type":' * 500, b'{"type":"ping","x":' + b"[" * 2000 + b"]" * 2000 + b"}"])
    def send(messages: list[bytes]) -> None:
        converse(server, [b"".join(build_client_frame(TEXT, message) for message in messages)])
        viewer.check()
        if not (cased := next(numbers) * BATCH) % 5000:
            progress(f"{cased} messages")

    with undisturbed_viewer(server) as viewer:
        send()


# ---- frames


@pytest.mark.parametrize("cases", sizes(500, 80_000))
def test_malformed_frames_close_only_their_own_connection_with_the_right_code(
    serve: Serve, progress: Progress, cases: int
) -> None:
    server = serve(*ARGUMENTS)
    chance = random.Random(cases)
    with undisturbed_viewer(server) as viewer:
        for number in range(0, cases, BATCH):
            converse(server, [make_frames(chance) for _ in range(BATCH - 5)])
            for _ in range(5):
                Connection(server.port, UPGRADE + make_frames(chance)).reset()
            viewer.check()
            if not number % 5000:
                progress(f"{number} frames")


# ---- HTTP

METHODS = [b"GET"] * 9 + [b"POST"] * 5 + [b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"get", b"G\0T"]
METHODS += [b"", b"PRI", b"M" * 9000, b"\xff\xfe", b"G ET"]
PATHS = [
    *(b"/", b"/ws", b"/latest.jpg", b"/default-picture", b"/favicon.ico", b"/healthz", b"/readyz", b"/metrics"),
    *(b"/api/captures", b"/api/captures/1", b"/api/captures/999999999999999999", b"/api/captures/-1"),
    *(b"/api/snapshots", b"/api/snapshots/x", b"/api/cameras", b"/snapshots/x", b"/snapshots/x.jpg"),
    *(b"/snapshots/%FF", b"/snapshots/..%2f..%2fetc%2fpasswd.jpg", b"/snapshots/x/thumbnail.jpg", b"/static/live.js"),
    *(b"/static/..%2fsetup.cfg", b"/static/%00", b"/static/", b"//", b"//evil.example/", b"/%", b"/%zz", b"/\xff\xfe"),
    *(b"*", b"", b"http://evil.example/", b"http://[::1", b"http://a:b@c:99999/", b"evil.example:443", b"/..", b"/#a"),
    *(b"/" + b"a" * 9000, b"/\0", b"/\xed\xa0\x80", b"/?", b"ws://x/ws", b"/ws/", b"/;a=b", b"/\t", b"http:///"),
]
QUERIES = [
    *(b"max_age=0", b"max_age=nan", b"max_age=inf", b"max_age=1e999", b"max_age=-1", b"max_age=", b"max_age=%00"),
    *(b"camera=main", b"camera=%FF", b"camera=", b"camera=main&camera=attic", b"limit=0", b"limit=201", b"limit=1e3"),
    *(b"limit=99999999999999999999999", b"limit=\xd9\xa1", b"before=x", b"before=%00", b"before=" + b"9" * 3000),
    *(b"since=0-0", b"since=-", b"since=1-" + b"9" * 5000, b"since=%F0%9F%90%B6", b"&&&==", b"%", b"a" * 5000, b"\xff"),
]
VALUES_OF = {
    b"Host": [
        b"localhost",
        b"dog",
        b"",
        b"a b",
        b"[::1",
        b"::::",
        b"a@b",
        b"\xff",
        b"dog:99999",
        b"dog:x",
        b"a/b?c#d",
        b"a" * 3000,
    ],
    b"Content-Length": [
        b"0",
        b"2",
        b"15",
        b"-1",
        b"+5",
        b"5,5",
        b"1e3",
        b"0x10",
        b"9" * 30,
        b"",
        b"a",
        b"17000",
        b"5 ",
    ],
    b"Transfer-Encoding": [b"chunked", b"chunked", b"gzip, chunked", b"identity", b"chunked, chunked", b"x", b"\0"],
    b"Connection": [b"close", b"keep-alive", b"Upgrade", b"upgrade, close", b",,,", b"notupgrade", b"\xff"],
    b"Upgrade": [b"websocket", b"WebSocket ", b"h2c", b"", b"websocket, h2c"],
    b"Sec-WebSocket-Key": [b"AAAAAAAAAAAAAAAAAAAAAA==", b"x", b"", b"\xff" * 24, b"A" * 24, b"A" * 5000],
    b"Sec-WebSocket-Version": [b"13", b"13", b"8", b"", b"13, 8", b"99999999999999999999"],
    b"Sec-WebSocket-Extensions": [b"permessage-deflate", b";;;", b"\xff"],
    b"Sec-WebSocket-Protocol": [b"dog.v1", b",", b"\xff"],
    b"Origin": [b"http://dog", b"null", b"", b"http://[::1", b"\xff", b"http://a\xe2\x84\x80b", b"https://dog:99999"],
    b"Range": [
        b"bytes=0-",
        b"bytes=-1",
        b"bytes=9-1",
        b"bytes=0-0,2-3",
        b"bytes=" + b"9" * 5000 + b"-",
        b"x",
        b"bytes=-",
    ],
    b"If-None-Match": [b"*", b'"x"', b'W/"x"', b'"', b",,,", b"\xff", b'"a",' * 999],
    b"If-Match": [b"*", b'"x"', b'"', b"x", b""],
    b"If-Modified-Since": [b"Thu, 01 Jan 1970 00:00:00 GMT", b"x", b"Mon, 99 Foo 99999 99:99:99 GMT", b"9" * 99],
    b"If-Unmodified-Since": [b"Thu, 01 Jan 1970 00:00:00 GMT", b"\xff", b"Fri, 31 Dec 999999 23:59:60 GMT"],
    b"If-Range": [b'"x"', b"x", b"Thu, 01 Jan 1970 00:00:00 GMT", b"\xff"],
    b"Cookie": [
        b"dog_snapshot=../../x",
        b"dog_snapshot=",
        b"=;;;=",
        b'dog_snapshot="\\',
        b"\xff",
        b"a" * 5000,
        b"a=b;" * 999,
    ],
    b"Accept": [b"text/html", b"*/*", b"text/html;q=x", b"\xff", b"application/openmetrics-text;version=9"],
    b"Accept-Encoding": [b"gzip", b"gzip;q=nan", b"br, zstd, x", b"\xff"],
    b"Prefer": [b"respond-async", b"respond-async, wait=x", b"\xff"],
    b"Idempotency-Key": [b"k", b'"k"', b"", b'"', b"\xff", b"k" * 200],
    b"Content-Type": [b"application/json", b"text/plain; charset=x", b"multipart/form-data", b"\xff", b";"],
    b"Content-Encoding": [b"gzip", b"deflate", b"br", b"zstd", b"x", b"identity", b"gzip, gzip", b""],
    b"Expect": [b"100-continue", b"x", b""],
    b"Trailer": [b"Content-Length"],
    b"X-Forwarded-For": [b"\xff", b"127.0.0.1"],
}
FIELDS = list(VALUES_OF)
BROKEN_LINES = [
    b"NoColon",
    b": no name",
    b"Sp ace: x",
    b" folded",
    b"A\0: b",
    b"A: b\0",
    b"\xff: x",
    b"A:" + b"b" * 9000,
    b"A\r: b",
]
BODIES = [
    *(
        b"",
        b"{}",
        b'{"max_age":0}',
        b'{"max_age":-1}',
        b'{"camera":"attic"}',
        b"[" * 5000,
        b"\xff",
        b"{" + b" " * 17000,
    ),
    *(
        zlib.compress(bytes(100_000), wbits=31),
        zlib.compress(b"{}", wbits=31)[:-4],
        zlib.compress(b"{}"),
        b"\x1f\x8b\x08",
    ),
]
CHUNKS = [
    *(b"2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n", b"2\r\n{}0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"\r\n", b"0\r\n\r\n"),
    *(
        b"FFFFFFFFFFFFFFFFF\r\n{}",
        b"2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n",
        b"2 \r\n{}\r\n0\r\n\r\n",
        b"g\r\n",
        b"0x2\r\n{}\r\n",
    ),
    *(
        b"2\n{}\n0\n\n",
        b"1" * 5000 + b"\r\n",
        b"2;" + b"x" * 9000 + b"\r\n{}\r\n",
        b"1\r\n{\r\n" * 900,
        b"0\r\nNoColon\r\n\r\n",
    ),
]


GZIP = b"Host: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"
KNOWN = [  # found by this test: each was a traceback or worse
    b"CONNECT \r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nExpect: \xff\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + GZIP + b"abc",
    b"GET /healthz HTTP/1.1\r\n" + GZIP + b"abc",
    b"POST /api/captures HTTP/1.1\r\n" + GZIP + b"abc",
    b"POST /api/captures HTTP/1.1\r\n" + GZIP,
]


def make_requests(chance: random.Random) -> bytes:
    """Return pipelined requests with some errors; the last one may be cut off."""
    sent = b"".join(_make_request(chance) for _ in range(chance.choice((1, 1, 1, 2, ROUNDS))))
    match chance.randrange(6):
        case 0:
            return mutate(
                sent, [(chance.randrange(2000), chance.randrange(256)) for _ in range(chance.randrange(1, 5))]
            )
        case 1:
            return sent[: chance.randrange(len(sent) + 1)]
        case 2:
            place = chance.randrange(len(sent) + 1)
            return sent[:place] + chance.choice((b"\r\n", b"\0", b"\r", b"\n", b" ", b"HTTP/1.1")) + sent[place:]
        case 3 if chance.random() < 0.2:
            return chance.randbytes(chance.randrange(1, 300))
    return sent


def _make_request(chance: random.Random) -> bytes:
    path = chance.choice(PATHS)
    if chance.random() < 0.3:
        path += b"?" + b"&".join(chance.choices(QUERIES, k=chance.randrange(1, 3)))
    version = (
        b"HTTP/1.1" if chance.random() < 0.9 else chance.choice((b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"x", b""))
    )
    fields = {b"Host": b"localhost"}
    if path.startswith(b"/ws") and chance.random() < 0.9:
        fields |= {name: VALUES_OF[name][0] for name in FIELDS[4:7]} | {b"Connection": b"Upgrade"}
    for name in chance.choices(FIELDS, k=chance.choice((0, 1, 1, 2, 5))):
        fields[name] = chance.choice(VALUES_OF[name])
    body = b""
    if chance.random() < 0.4:
        body = chance.choice(CHUNKS if b"Transfer-Encoding" in fields else BODIES)
        if not {b"Transfer-Encoding", b"Content-Length"} & set(fields):
            fields[b"Content-Length"] = b"%d" % len(body)
    lines = [b" ".join((chance.choice(METHODS), path, version)), *(b": ".join(field) for field in fields.items())]
    if chance.random() < 0.1:
        lines.append(chance.choice((chance.choice(BROKEN_LINES), *lines[1:])))
    end = b"\r\n" if chance.random() < 0.95 else chance.choice((b"\n", b"\r", b"\r\n\r\n", b"\n\r"))
    return end.join((*lines, b"", b"")) + body


def check_answers(received: bytes, sent: bytes) -> None:
    assert not received or re.match(rb"HTTP/\d\.\d \d{3} ", received), (sent, received)
    statuses = [int(status) for status in re.findall(rb"(?:^|\n|})HTTP/\d\.\d (\d{3}) ", received)]
    assert all(status < 500 for status in statuses), (sent, statuses)


@pytest.mark.parametrize("cases", sizes(500, 60_000))
def test_malformed_http_is_never_answered_with_500_and_disturbs_nobody(
    serve: Serve, progress: Progress, cases: int
) -> None:
    server = serve(*ARGUMENTS)
    chance = random.Random(cases)
    with undisturbed_viewer(server) as viewer:
        for number in range(0, cases, BATCH):
            sent = [*KNOWN, *(make_requests(chance) for _ in range(BATCH - len(KNOWN)))]
            connections = [Connection(server.port, data) for data in sent]
            for _ in range(ROUNDS):  # when this is answered, the requests before it are, too
                get(server, "/api/snapshots?limit=1")
            viewer.check()
            for connection in connections[-5:]:
                connection.reset()
            for data, received in zip(
                sent, [connection.read_to_the_end() for connection in connections[:-5]], strict=False
            ):
                check_answers(received, data)
            if not number % 5000:
                progress(f"{number} requests")
