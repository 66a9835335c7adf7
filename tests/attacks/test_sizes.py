"""Attacks with bodies: polyglots, image bombs, malformed forms and JSON."""

import contextlib
import html.parser
import io
import json
import re
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from dog.web.apidocs.operation import FORM_TYPE, JSON
from tests.conftest import Serve
from tests.support.accounts import PASSWORD, add_token, add_user, bearer
from tests.support.camera_programs import write_copying_camera
from tests.support.cameras import make_picture
from tests.support.raw_requests import HERE, fetch, send, take_photo
from tests.support.server_process import ServerProcess

# ---- polyglot images

SCRIPT = b"<script>alert(document.cookie)</script>"


def make_polyglot(kind: str) -> bytes:
    """Return an image that is also a page, a script and a ZIP.

    The page is in its comment, and the ZIP at its end.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.html", SCRIPT)
    page = b"/*<html><body>" + SCRIPT + b"</body></html><!--*/=alert(1)/*"
    if kind == "JPEG":
        rest = make_picture()[2:]
        # in Latin-1, the start, the comment's marker and its length are a name and the start of a comment
        return b"\xff\xd8\xff\xfe" + b"/*" + page.ljust(0x2F2A - 2, b" ") + rest + archive.getvalue()
    whole = make_picture(kind="PNG")
    text = b"tEXt" + b"Comment\0" + page
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return whole[:33] + chunk + whole[33:] + archive.getvalue()


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.append(tag)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("exif", ["true", "false"])
def test_a_polyglot_image_is_served_as_an_image(serve: Serve, tmp_path: Path, kind: str, exif: str) -> None:
    polyglot, suffix = make_polyglot(kind), {"JPEG": "jpg", "PNG": "png"}[kind]
    (tmp_path / "polyglot").write_bytes(polyglot)
    server = serve("--camera", write_copying_camera(tmp_path / "polyglot"), "--exif", exif, "--image-type", suffix)
    photo = take_photo(server)
    link = json.loads(fetch(server, f"/api/snapshots/{photo['snapshot']}/links", "POST", body=b"{}").body)["url"]
    picture = fetch(server, photo["url"]).body
    tags = Tags()
    tags.feed(picture.decode("latin-1"))
    assert "script" in tags.found, "it is not a page"
    assert zipfile.ZipFile(io.BytesIO(picture)).namelist() == ["index.html"], "it is not an archive"
    for path in (photo["url"], "/latest.jpg", link + f"/picture.{suffix}"):
        for headers in ({}, {"Accept": "text/html"}, {"Range": "bytes=2-"}, {"Sec-Fetch-Dest": "script"}):
            response = fetch(server, path, headers=dict(headers))
            assert response.status in (200, 206)
            assert response.headers["content-type"] == f"image/{kind.lower()}"
            assert response.headers["x-content-type-options"] == "nosniff"
            assert re.fullmatch(rf'inline; filename="dog-[\d-]+\.{suffix}"', response.headers["content-disposition"])
            policy = response.headers["content-security-policy"]
            assert re.match(r"default-src 'none'; script-src 'self' 'sha256-[^' ]+'; ", policy), policy
            site = "cross-origin" if path.startswith("/shared/") else "same-origin"
            assert response.headers["cross-origin-resource-policy"] == site
    thumbnail = fetch(server, photo["thumbnail"])
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert b"script" not in thumbnail.body
    assert b"PK\x03\x04" not in thumbnail.body
    for other in ("html", "js", "svg", "zip", "jpg" if suffix == "png" else "png"):
        for path in (f"/snapshots/{photo['snapshot']}.{other}", f"{link}/picture.{other}"):
            assert fetch(server, path).status == 404, path
    for path in (photo["page"], "/", "/snapshots", "/api/snapshots"):
        assert SCRIPT not in fetch(server, path).body


# ---- image bombs

MAX_GROWTH_KIB = 48 * 1024
"""The limit of the peak memory's growth. A decoded bomb takes twenty times as much."""


MIB = 1024 * 1024


def compress_zeros(size: int) -> bytes:
    """Return so many zeros, compressed: fast copies of the first MiB."""
    compressor = zlib.compressobj(wbits=-15)
    piece = compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    rest = compressor.compress(bytes(size % MIB)) + compressor.flush()
    checksum = size % 65521 << 16 | 1  # Adler-32 of zeros
    return zlib.compress(b"")[:2] + piece * (size // MIB) + rest + struct.pack(">I", checksum)


def make_png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    whole = b"\x89PNG\r\n\x1a\n"
    for kind, data in (header, *chunks, (b"IEND", b"")):
        whole += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return whole


def make_large_jpeg() -> bytes:
    jpeg = bytearray(make_picture())
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(jpeg)


def make_large_webp() -> bytes:
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16_383).to_bytes(3, "little") * 2
    picture = make_picture(kind="WebP")[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(extended) + len(picture)) + b"WEBP" + extended + picture


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a PNG of 1 GiB when decoded": (
        lambda: make_png(16_384, 16_384, (b"IDAT", compress_zeros(16_384 * (1 + 4 * 16_384)))),
        "16384 x 16384 pixels, more than 250 million",
    ),
    "a JPEG of 12 GB when decoded": (make_large_jpeg, "65500 x 65500 pixels, more than 250 million"),
    "a WebP of 1 GiB when decoded": (make_large_webp, "16383 x 16383 pixels|16384 x 16384 pixels|damaged"),
    "a small PNG with 1 GiB of pixels too many": (lambda: make_png(64, 48, (b"IDAT", compress_zeros(1024 * MIB))), ""),
    "a small PNG with a colour profile of 1 GiB": (
        lambda: make_png(64, 48, (b"iCCP", b"x\0\0" + compress_zeros(1024 * MIB)), (b"IDAT", compress_zeros(257 * 48))),
        "",
    ),
    "a small PNG with a comment of 1 GiB": (
        lambda: make_png(
            64, 48, (b"zTXt", b"Comment\0\0" + compress_zeros(1024 * MIB)), (b"IDAT", compress_zeros(257 * 48))
        ),
        "",
    ),
}
"""The function that makes each bomb, and its error; "" if it may be accepted."""


def read_peak(server: ServerProcess) -> int:
    """Return the peak memory of the process in KiB."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc/self/status")
@pytest.mark.parametrize("bomb", BOMBS)
def test_an_image_bomb_is_refused_and_takes_no_memory(serve: Serve, tmp_path: Path, bomb: str) -> None:
    make, words = BOMBS[bomb]
    picture = tmp_path / "picture"
    picture.write_bytes(make_picture(size=(640, 480)))
    server = serve("--camera", write_copying_camera(tmp_path / "picture"), "--dead-time", "0")
    take_photo(server)
    before = read_peak(server)
    picture.write_bytes(make())
    assert picture.stat().st_size < 6_000_000
    for _ in range(3):
        response = fetch(server, "/api/captures", "POST", body=b'{"max_age":0}')
        if words:
            assert (response.status, response.code) == (502, "bad_image"), response
            assert re.search(words, json.loads(response.body)["detail"]), response
        else:
            assert response.status in (201, 502), response
    assert read_peak(server) - before < MAX_GROWTH_KIB
    picture.write_bytes(make_picture(size=(640, 480)))
    take_photo(server)


# ---- forms and JSON


class Target(NamedTuple):
    """A server for several tests, the id of a photo, and a manager's token."""

    server: ServerProcess
    photo: str
    token: dict[str, str]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("asked")
    add_user(folder, "ada", "manage")
    token = bearer(add_token(folder, "script", "manage"))
    server = ServerProcess("--auth", "--dead-time", "0", "--login-attempts", "1000", cwd=folder).start()
    yield Target(server, take_photo(server, token)["snapshot"], token)
    server.kill()
    assert "Traceback" not in server.stderr, server.stderr


ENOUGH_BYTES = 64 * MIB
"""Bytes of a form that would show in the memory. After them, it is sent more slowly."""


@pytest.mark.parametrize("path", ["/login", "/api/captures", "/snapshots/{id}/pin", "/logout"])
@pytest.mark.parametrize("way", ["chunked", "with a length", "of parts"])
def test_an_endless_form_is_refused_disconnected_and_takes_no_memory(target: Target, path: str, way: str) -> None:
    server, photo, token = target
    before = read_peak(server)
    kind = "multipart/form-data; boundary=x" if way == "of parts" else JSON if "/api/" in path else FORM_TYPE
    length = f"Content-Length: {1_000_000 * MIB}" if way == "with a length" else "Transfer-Encoding: chunked"
    lines = (f"POST {path.replace('{id}', photo)} HTTP/1.1", f"Host: {HERE}", f"Content-Type: {kind}", length)
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' if way == "of parts" else b"name="
    piece = part + bytes(65536)
    if way != "with a length":
        piece = b"%x\r\n%b\r\n" % (len(piece), piece)
    response, taken = b"", 0
    with contextlib.closing(socket.create_connection((HERE, server.port), timeout=30)) as connection:
        connection.sendall("\r\n".join((*lines, f"Authorization: {token['Authorization']}", "", "")).encode())
        with contextlib.suppress(ConnectionError):
            while True:  # until the server disconnects
                connection.sendall(piece)
                taken += len(piece)
                if taken > ENOUGH_BYTES:
                    time.sleep(0.001)
        with contextlib.suppress(ConnectionError):
            while more := connection.recv(65536):
                response += more
    assert taken >= 16 * 1024
    assert not response or re.match(rb"HTTP/1\.1 (?:413|400|303) ", response), response  # a reset may lose the response
    assert read_peak(server) - before < 16 * 1024
    assert fetch(server, "/healthz").status == 200


MALFORMED_FORMS: dict[str, tuple[str, bytes]] = {
    "1,000 fields": (FORM_TYPE, b"&".join(b"field%d=1" % number for number in range(1000))),
    "one name a thousand times": (FORM_TYPE, b"&".join(b"name=%d" % number for number in range(1000))),
    "nothing": (FORM_TYPE, b""),
    "only separators": (FORM_TYPE, b"&" * 16_000),
    "no UTF-8": (FORM_TYPE, b"name=\xff\xfe&password=\xff"),
    "half a character": (FORM_TYPE, b"name=%ed%a0%80&password=%ff"),
    "NUL": (FORM_TYPE, b"name=%00&password=%00"),
    "an unknown charset": (f"{FORM_TYPE}; charset=klingon", b"name=ada&password=x"),
    "a charset of two bytes": (f"{FORM_TYPE}; charset=utf-16", b"name=ada&password=x"),
    "a charset that is no text": (f"{FORM_TYPE}; charset=hex", b"name=ada&password=x"),
    "a charset that is a cipher": (f"{FORM_TYPE}; charset=rot13", b"name=ada&password=x"),
    "a charset that never ends": (f"{FORM_TYPE}; charset={'x' * 4000}", b"name=ada&password=x"),
    "parts without a boundary": ("multipart/form-data", b"x"),
    "parts that are none": ("multipart/form-data; boundary=x", b"garbage"),
    "a part that has no end": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\na',
    ),
    "a part without a name": ("multipart/form-data; boundary=x", b"--x\r\n\r\na\r\n--x--\r\n"),
    "a part in an unknown code": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="name"\r\nContent-Transfer-Encoding: x\r\n\r\na\r\n--x--\r\n',
    ),
    "a part in an unknown charset": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="name"\r\nContent-Type: text/plain; charset=x\r\n\r\na\r\n'
        b"--x--\r\n",
    ),
    "parts in parts": (
        "multipart/form-data; boundary=x",
        b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\na\r\n--y--\r\n--x--\r\n",
    ),
    "a file": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="name"; filename="../../../x"\r\n\r\na\r\n--x--\r\n',
    ),
    "JSON": (JSON, b'{"name":"ada","password":"' + PASSWORD.encode() + b'"}'),
    "a page": ("text/html", SCRIPT),
    "compressed": (f"{FORM_TYPE}\r\nContent-Encoding: gzip", zlib.compress(bytes(10_000_000))),
}


@pytest.mark.parametrize("what", MALFORMED_FORMS)
def test_every_form_refuses_a_malformed_body_with_a_message(target: Target, what: str) -> None:
    """The login needs no role, the other forms have a manager's token."""
    server, photo, token = target
    kind, body = MALFORMED_FORMS[what]
    for path in ("/login", f"/snapshots/{photo}/pin", f"/snapshots/{photo}/links"):
        response = fetch(server, path, "POST", {**token, "Content-Type": kind}, body)
        assert response.status in (303, 400, 401, 413, 415), (path, response)  # a share link needs no form
        if response.status != 303:
            assert response.code in ("bad_message", "bad_request", "too_big", "wrong_password"), (path, response)
        assert "set-cookie" not in response.headers
    assert "Traceback" not in server.stderr


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"[" * 8000,
            b'{"a":' * 3000,
            b"[" * 4000 + b"]" * 4000,
            b'{"camera":' + b"[" * 8000,
            b'{"a":' * 1500 + b"1" + b"}" * 1500,
        ),
        *(
            b'{"max_age":' + b"9" * 10_000 + b"}",
            b'{"max_age":1e999999}',
            b'{"max_age":-1}',
            b'{"max_age":NaN}',
            b'{"max_age":1e-999}',
        ),
        *(
            b'{"camera":"\\ud800"}',
            b'{"camera":"\xff"}',
            b"\xff\xfe{\x00}\x00",
            b'{"camera":"' + b"a" * 15_000 + b'"}',
            b"nul",
            b'"',
        ),
        *(
            b'{"' + b"a" * 15_000 + b'":1}',
            b'{"camera":{"$ne":null}}',
            b'{"__proto__":{"role":"manage"},"camera":0}',
            b"[]",
            b"0",
        ),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_malformed_deep_and_large_json_is_refused_with_a_message(target: Target, body: bytes) -> None:
    server, photo, token = target
    for path in ("/api/captures", f"/api/snapshots/{photo}/links"):
        response = fetch(server, path, "POST", {**token, "Content-Type": JSON}, body)
        assert response.status in ((201, 400, 404) if b'"a":' in body[:6] or b'{"' in body[:3] else (400,)), (
            path,
            response,
        )
        if response.status != 201:
            assert response.code in ("bad_json", "bad_message", "unknown_camera"), (path, response)
    assert "Traceback" not in server.stderr


# ---- bodies that do not arrive

IMPATIENT = """
import dog.web.http.requests
dog.web.http.requests.BODY_TIMEOUT = 0.5
from dog.cli import main
main(prog_name="dog")
"""


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Target]:
    """Start a server with a shorter timeout for bodies."""
    token = bearer(add_token(tmp_path, "script", "manage"))
    server = ServerProcess("--auth", "--dead-time", "0", cwd=tmp_path, program=IMPATIENT)
    server.start()
    yield Target(server, take_photo(server, token)["snapshot"], token)
    server.kill()
    assert "Traceback" not in server.stderr


def test_a_body_that_does_not_arrive_times_out(impatient: Target) -> None:
    server, photo, token = impatient
    paths = {
        "/login": FORM_TYPE,
        f"/snapshots/{photo}/pin": FORM_TYPE,
        f"/snapshots/{photo}/links": FORM_TYPE,
        "/api/captures": JSON,
    }

    def send_beginning(path: str) -> bytes:
        lines = (f"POST {path} HTTP/1.1", f"Host: {HERE}", f"Authorization: {token['Authorization']}")
        head = "\r\n".join((*lines, f"Content-Type: {paths[path]}", "Content-Length: 100", "", "name=a"))
        return send(server, head.encode(), b'"}')

    with ThreadPoolExecutor(len(paths)) as pool:  # at the same time, because each waits for its timeout
        for path, response in zip(paths, pool.map(send_beginning, paths), strict=True):
            assert re.match(rb"HTTP/1\.1 408 ", response), (path, response)
