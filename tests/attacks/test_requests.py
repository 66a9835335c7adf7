"""Attacks on what the service reads: paths, headers, its log, where it leads to; on the real process, byte by byte.

The other attacks are in tests/test_attacks_*.py. docs/security.md has the table of all, which the last test holds to
the tests.
"""

import json
import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit

import msgspec
import pytest

from dog.auth import Accounts, Role, find_place
from dog.web.apidocs.operation import FORM, JSON, PATH_PARAMS, Operation
from dog.web.routes import OPERATIONS
from tests.conftest import Run, Serve
from tests.support.cameras import make_picture
from tests.support.server_process import ROOT, ServerProcess

__all__ = ["HERE", "PASSWORD", "Said", "add_token", "add_user", "ask", "fill", "send", "take_photo", "write"]

HERE = "127.0.0.1"
PASSWORD = "correct horse battery"
ENDLESS = {"/events": b'"type":"hello"', "/preview.mjpg": b"\xff\xd9"}
"""What goes on for ever is left when this has come."""

# ---- how everything is asked here


class Said(NamedTuple):
    """An answer as it came: `head` are its lines, the first is its status line."""

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
    """All that is answered to those bytes, up to the end of the connection, or `until` this has come."""
    said = b""
    with closing(socket.create_connection((HERE, server.port), timeout=30)) as connection:
        connection.sendall(data)
        while not (until and until in said) and (more := connection.recv(65536)):
            said += more
    return said


def ask(
    server: ServerProcess,
    path: str | bytes,
    method: str = "GET",
    headers: Mapping[str, str | bytes] | None = None,
    body: bytes = b"",
) -> Said:
    """The path and the headers go out as they are: bytes as bytes, text in UTF-8."""
    lines = [b" ".join((method.encode(), _bytes(path), b"HTTP/1.1")), b"Connection: close"]
    fields: dict[str, str | bytes] = {"Host": f"{HERE}:{server.port}", **(headers or {})}
    if body or method not in ("GET", "HEAD", "OPTIONS"):
        fields["Content-Length"] = str(len(body))
    lines += [name.encode() + b": " + _bytes(value) for name, value in fields.items()]
    until = ENDLESS.get(_bytes(path).partition(b"?")[0].decode("latin-1"), b"")
    said = send(server, b"\r\n".join((*lines, b"", body)), until).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    head, _, answered = said.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    assert status, said[:200]
    return Said(int(status[1]), head.decode("latin-1").split("\r\n"), answered)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def take_photo(server: ServerProcess, headers: Mapping[str, str | bytes] | None = None) -> dict[str, Any]:
    said = ask(server, "/api/captures", "POST", headers, b'{"max_age":0}')
    assert said.status == 201, said
    photo: dict[str, Any] = json.loads(said.body)
    return photo


def add_user(folder: Path, name: str, role: Role, password: str | None = PASSWORD) -> None:
    """To the accounts of the server of that folder, which may run or not."""
    with Accounts(find_place(folder / "snapshots")) as accounts:
        accounts.add_user(name, role, password)


def add_token(folder: Path, name: str, role: Role) -> dict[str, str]:
    """The header that shows it."""
    with Accounts(find_place(folder / "snapshots")) as accounts:
        return {"Authorization": f"Bearer {accounts.add_token(name, role, None)}"}


def write(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def fill(path: str, **parts: str) -> str:
    """The path with its parts: these, and examples."""
    return re.sub(r"\{(\w+)\}", lambda name: parts.get(name[1], str(PATH_PARAMS[name[1]].example)), path)


class Try(NamedTuple):
    """A request with something bad in one place."""

    place: str
    path: bytes
    method: str
    headers: dict[str, str | bytes]
    body: bytes


BESIDE = ("Accept", "Accept-Language", "Cookie", "If-None-Match", "Prefer", "Range", "Referer", "User-Agent")
"""Headers that are read, or logged, whatever is asked for."""
REWRITING = ("Destination", "X-Forwarded-Prefix", "X-Original-URL", "X-Rewrite-URL", "X-Sendfile")
"""What other servers take for a path, or write into one."""
MANY_READ = {"GET /", "GET /static/{name}", "GET /snapshots/{id}.{suffix}"}
"""A page, a file, a photo: asked with those; they are read before it is known what is asked for, or not at all."""


def put_everywhere(operation: Operation, bad: bytes) -> Iterator[Try]:
    """The operation with this in each part of its path, in each parameter, header, and field that it knows, and beside.

    In a path and a query it stands as it is, in a form encoded once, in JSON as text.
    """
    path = fill(operation.path).encode()
    for part in operation.path_params:
        yield Try(
            f"part {part}", fill(operation.path, **{part: "{}"}).encode().replace(b"{}", bad), operation.method, {}, b""
        )
    known = list(operation.query.__struct_fields__) if operation.query else []
    for name in dict.fromkeys((*known, "next", "path")):
        yield Try(f"query {name}", path + b"?" + name.encode() + b"=" + bad, operation.method, {}, b"")
    headers = [field.encode_name for field in _fields(operation.headers)]
    beside = (*BESIDE, *REWRITING) if write(operation) in MANY_READ else ()
    for header in dict.fromkeys((*headers, *beside)):
        value = b"dog_snapshot=" + bad + b"; dog_session=" + bad if header == "Cookie" else bad
        yield Try(f"header {header}", path, operation.method, {header: value}, b"")
    text = unquote(bad.decode("latin-1"), errors="replace")
    for field in _fields(operation.body):
        if operation.body_type == FORM:
            for written in (text, bad.decode("latin-1")):
                body = urlencode({"name": "ada", "password": "wrong", field.encode_name: written}).encode()
                yield Try(f"form {field.name}", path, operation.method, {"Content-Type": FORM}, body)
        else:
            body = json.dumps({field.encode_name: text}).encode()
            yield Try(f"body {field.name}", path, operation.method, {"Content-Type": JSON}, body)


def _fields(struct: Any) -> tuple[Any, ...]:
    return msgspec.structs.fields(struct) if struct is not None else ()


def test_every_place_where_something_bad_can_stand_is_tried() -> None:
    places = {f"{write(operation)} {one.place}" for operation in OPERATIONS for one in put_everywhere(operation, b"x")}
    assert places > {
        "GET /snapshots/{id}.{suffix} part suffix",
        "GET /latest.jpg query after",
        "GET /events header Last-Event-ID",
        "POST /api/captures header Idempotency-Key",
        "POST /api/captures body camera",
        "POST /login form next",
        "GET /static/{name} part name",
        "GET /shared/{token}/picture.{suffix} part token",
        "GET / header Cookie",
    }


# ---- paths

SECRET = b"the secret of this very run: " + secrets.token_hex(16).encode()


def paths_to(folder: Path) -> list[bytes]:
    """Ways to say the way to the secret file, from folders of several depths."""
    name, absolute = b"secret.txt", str(folder / "secret.txt").encode()
    ways = [b"../" + name, b"../../" + name, b"../../../" + name, absolute, b"/" + absolute, b"file://" + absolute]
    up = b"../"
    ups = [
        *(b"%2e%2e%2f", b"..%2f", b"%2e%2e/", b".%2e/", b"%252e%252e%252f", b"..%252f", b"%25252e%25252e%25252f"),
        *(b"..\\", b"..%5c", b"%2e%2e%5c", b"..%255c", b"....//", b"....%2f%2f", b"..;/", b"..;%2f", b"./../", b"..//"),
        *(b"%c0%ae%c0%ae%c0%af", b"..%c0%af", b"%e0%80%ae%e0%80%ae%e0%80%af", b"..%e0%80%af", b"..%f0%80%80%af"),
        *(b"..%c1%9c", b"%ef%bc%8e%ef%bc%8e%ef%bc%8f", b"..\xc0\xaf", b"..%u2215", b"..%00/", b"%00../", b"..%0a/"),
    ]
    ways += [up_ * depth + name for up_ in (up, *ups) for depth in (1, 2)]
    ways += [quote(absolute, safe="").encode(), quote(quote(absolute, safe=""), safe="").encode()]
    ways += [
        b"../" + name + end for end in (b"%00", b"%00.jpg", b"%2500.jpg", b"%0a", b"%20", b"?.jpg", b"%3f.jpg", b".jpg")
    ]
    return [*ways, b".dog%2faccess.sqlite3", b"..%2fsnapshots%2f.dog%2faccess.sqlite3", b"../../../../../../etc/passwd"]


@pytest.mark.timeout(300)
def test_no_parameter_of_any_address_leads_to_a_file_that_is_not_a_photo(serve: Serve, tmp_path: Path) -> None:
    """Asked by who may do everything, at every address, in every place."""
    for folder in (tmp_path, tmp_path / "snapshots", tmp_path / "snapshots" / ".dog"):
        folder.mkdir(exist_ok=True)
        (folder / "secret.txt").write_bytes(SECRET)
    token = add_token(tmp_path, "script", "manage")
    server = serve("--auth", "--dead-time", "0", "--login-attempts", "1", "--log-level", "warning")
    outside = {path.name for path in tmp_path.iterdir()}
    tried = 0
    for operation in OPERATIONS:
        for number, bad in enumerate(paths_to(tmp_path)):
            for index, one in enumerate(put_everywhere(operation, bad)):
                if not one.place.startswith("part") and (number + index) % 12:
                    continue  # in paths each way is tried; the others are read by few lines, the same everywhere
                tried += 1
                said = ask(server, one.path, one.method, {**token, **one.headers}, one.body)
                for hidden in (SECRET, b"SQLite format 3", b"root:x:0:"):
                    assert hidden not in said.body, (write(operation), one)
                assert said.status != 500, (write(operation), one, said)
    assert tried > 2500
    assert {path.name for path in tmp_path.iterdir()} == outside


def test_a_link_in_the_folder_of_photos_leads_nowhere(serve: Serve, tmp_path: Path) -> None:
    """Whoever can write there could read the rest by it: as a picture, as a thumbnail, as the folder of a day."""
    server = serve("--dead-time", "0", "--picture-cache", "0", "--exif", "false")
    photos = [take_photo(server) for _ in range(3)]
    files = {photo["snapshot"]: next((tmp_path / "snapshots").rglob(f"*_{photo['snapshot']}.jpg")) for photo in photos}
    first, second, third = files.values()
    secret = tmp_path / "secret.jpg"
    whole = make_picture("red")[:-2] + b"\xff\xfe" + (2 + len(SECRET)).to_bytes(2) + SECRET + b"\xff\xd9"
    secret.write_bytes(whole.ljust(first.stat().st_size, b"\0"))  # by its size alone nobody can tell
    first.unlink()
    first.symlink_to(secret)
    planted = second.with_name(second.name.replace(second.stem[-24:], "a" * 24))
    planted.symlink_to(secret)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = elsewhere / third.name.replace(third.stem[-24:], "b" * 24)
    other.write_bytes(secret.read_bytes())
    day = third.parent.parent / ("01" if third.parent.name != "01" else "02")
    day.symlink_to(elsewhere)
    thumbnail = third.with_name(third.stem + ".thumbnail.jpg")
    thumbnail.unlink(missing_ok=True)
    thumbnail.symlink_to(secret)

    def look() -> set[str]:
        """The ids of what is still served."""
        served = set()
        for snapshot in (*files, "a" * 24, "b" * 24):
            for path in (f"/snapshots/{snapshot}.jpg", f"/snapshots/{snapshot}/thumbnail.jpg", "/latest.jpg"):
                said = ask(server, path)
                assert SECRET not in said.body, path
                assert said.status in (200, 404, 500), (path, said)
            if ask(server, f"/snapshots/{snapshot}.jpg").status == 200:
                served.add(snapshot)
        return served

    assert look() <= {photos[1]["snapshot"], photos[2]["snapshot"]}
    server.stop()
    server = serve("--picture-cache", "0", "--exif", "false")  # which looks through all that is there
    assert look() <= {photos[1]["snapshot"], photos[2]["snapshot"]}
    assert photos[1]["snapshot"] in look()


# ---- headers

BREAKS = (
    *(b"x%0d%0aX-Evil:%201", b"x%0aX-Evil:%201", b"x%0dX-Evil:%201", b"x%250d%250aX-Evil:%201", b"x\rX-Evil: 1"),
    *(
        b"x%E5%98%8A%E5%98%8DX-Evil:%201",
        b"x%c4%8d%c4%8aX-Evil:%201",
        b"x%00%0d%0a%0d%0aX-Evil:%201",
        b"x%c2%85X-Evil:%201",
    ),
)


def test_no_parameter_of_any_address_becomes_a_header_or_a_second_answer(serve: Serve, tmp_path: Path) -> None:
    token = add_token(tmp_path, "script", "manage")
    server = serve(
        "--auth",
        "--dead-time",
        "0",
        "--login-attempts",
        "1",
        "--log-level",
        "warning",
        "--origins",
        "https://a.example",
    )
    for operation in OPERATIONS:
        for bad in BREAKS:
            for one in put_everywhere(operation, bad):
                said = ask(
                    server, one.path, one.method, {**token, "Origin": "https://a.example", **one.headers}, one.body
                )
                for line in re.split("[\r\n]", "\n".join(said.head)):
                    assert not line.lower().startswith("x-evil"), (write(operation), one, said.head)
                assert not re.search(rb"HTTP/1\.[01] \d\d\d ", said.body), (write(operation), one)
                assert said.status != 500, (write(operation), one, said)


# ---- the log

FORGED = "2026-11-22T11:14:38.123Z INFO dog.cli all is well"
STRANGE = f"x\r\n{FORGED}\n\x1b[2J\x1b]0;owned\x07\x00\x7f\x9b31m\u0085\u2028\u202e\u2066{FORGED}\b"
LINE = re.compile(
    r"(?:\d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.]+Z) +(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) +[\w.]+ +\S.*"
    r"|D\.O\.G\. is at .*"
)
"""As dog/logs.py writes one. A traceback's lines are indented."""


def check_log(text: str) -> None:
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)
    for line in text.split("\n")[:-1]:
        assert LINE.fullmatch(line) or line.startswith("    "), line
        assert not line.startswith(FORGED), line
        assert "all is well" not in line.partition("dog.cli")[0], line


def test_nothing_that_is_sent_becomes_a_line_or_a_control_character_of_the_log(serve: Serve, tmp_path: Path) -> None:
    """At the level that says most: with each request's address, and what the camera's program says."""
    script = tmp_path / "camera.sh"
    script.write_bytes(b"#!/bin/sh\ncat >&2 <<'END'\n" + STRANGE.replace("\0", "").encode() + b"\nEND\nexit 1\n")
    script.chmod(0o755)
    (tmp_path / "dog.toml").write_text(
        '[cameras.card]\ncamera = "test"\ndead_time = 0\n[cameras.broken]\ncamera = "script:./camera.sh"\n'
    )
    token = add_token(tmp_path, "script", "manage")
    server = serve("--auth", "--log-level", "debug", "--trusted-proxies", "127.0.0.1", "--login-attempts", "1")
    bad = quote(STRANGE, safe="").encode()
    for operation in OPERATIONS:
        for one in put_everywhere(operation, bad):
            ask(server, one.path, one.method, {**token, **one.headers}, one.body)
    raw = STRANGE.encode()
    taken = f"\u0085\u2028\u202e\u2066{FORGED}".encode() + b"\x9b31m"  # which may stand in a header
    for header in (
        "User-Agent",
        "Referer",
        "Cookie",
        "X-Forwarded-For",
        "Forwarded",
        "Host",
        "Origin",
        "Expect",
        "Authorization",
    ):
        for value in (raw, taken, bad, b"\x1b[2J"):
            ask(server, "/", headers={header: value})
    for line in (b"GET /" + raw, raw, b"GET / " + raw + b" HTTP/1.1", b"\x1b[2J / HTTP/1.1"):
        send(server, line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    said = ask(server, "/api/captures", "POST", token, b'{"camera":"broken","max_age":0}')
    assert said.status in (502, 503)
    server.wait_for("all is well")  # the camera's own words, at least, were logged
    server.stop()
    check_log(server.stderr)
    check_log((tmp_path / "server.log").read_text())


# ---- where one is led to

ELSEWHERE = (
    *(
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "\\/evil.example",
        "///evil.example",
        "////evil.example",
    ),
    *(
        "\t//evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "\r\n//evil.example",
        " //evil.example",
        "\x00//evil.example",
    ),
    *(
        "http://evil.example",
        "https:evil.example",
        "http:///evil.example",
        "HTTP:\\\\evil.example",
        "ht\ttp://evil.example",
    ),
    *(
        "javascript:alert(1)",
        "java\tscript:alert(1)",
        "data:text/html,x",
        "\x01javascript:alert(1)",
        "vbscript:x",
        "mailto:a@evil",
    ),
    *(
        "..//evil.example",
        "../..//evil.example",
        ".//evil.example",
        "./\\evil.example",
        "x/..//evil.example",
        "/..//evil.example",
    ),
    *(
        "@evil.example",
        "/@evil.example",
        ":80@evil.example",
        ".evil.example",
        "?//evil.example",
        "#//evil.example",
        "\u2028//evil.example",
    ),
    *(
        "%09//evil.example",
        "%2f%2fevil.example",
        "%5cevil.example",
        "／／evil.example",
        "\xa0//evil.example",
        "\ufeff//evil.example",
    ),
    *("x\r\nLocation: http://evil.example", "x\r\n\r\n<script>alert(1)</script>", "\udc80//evil", "é//evil.example"),
)


def follow(base: str, location: str) -> str:
    """Where a browser goes: it forgets tabs and line ends, and takes a backslash for a slash (WHATWG URL, 4.4)."""
    location = location.strip("".join(map(chr, range(0x21)))).translate({9: None, 10: None, 13: None})
    return urljoin(base, location.partition("?")[0].partition("#")[0].replace("\\", "/"))


@pytest.mark.parametrize("prefix", ["", "/cam"])
async def test_the_login_leads_to_no_other_site(run: Run, tmp_path: Path, prefix: str) -> None:
    """Neither when the form is sent, nor when somebody who is in already opens it; below a path prefix, too."""
    with Accounts(find_place(tmp_path / "snapshots")) as accounts:
        accounts.add_user("ada", "view", PASSWORD)
    base = f"https://dog.example.org{prefix}/login"
    running = await run(auth=True, base_url=f"https://dog.example.org{prefix}", trusted_proxies=("127.0.0.1",))
    headers = {"Host": "dog.example.org", "X-Forwarded-Proto": "https"}
    cookie = ""
    for where in ELSEWHERE:
        form = "name=ada&password=" + quote(PASSWORD) + "&next=" + quote(where.encode(errors="surrogateescape"))
        if not cookie or where in ELSEWHERE[:4]:
            asked = running.client.post(
                "/login", data=form, headers={**headers, "Content-Type": FORM}, allow_redirects=False
            )
        else:
            query = {"next": where.encode(errors="surrogateescape").decode(errors="replace")}
            asked = running.client.get(
                "/login", params=query, headers={**headers, "Cookie": cookie}, allow_redirects=False
            )
        async with asked as answer:
            assert answer.status == 303, where
            location = answer.headers["Location"]
            cookie = cookie or answer.headers["Set-Cookie"].partition(";")[0]
        led = urlsplit(follow(base, location))
        assert (led.scheme, led.netloc) == ("https", "dog.example.org"), (where, location)
        assert not led.path.startswith("//"), (where, location)
        assert location.isprintable(), (where, location)


def test_who_must_log_in_first_is_led_back_here_and_nowhere_else(serve: Serve, tmp_path: Path) -> None:
    server = serve("--auth")
    page: dict[str, str | bytes] = {"Accept": "text/html"}
    for path in (
        "//evil.example/snapshots",
        "/snapshots?next=//evil.example",
        "/snapshots/%0d%0aX-Evil:%201",
        "/?a=%26next%3d//evil",
    ):
        said = ask(server, path, headers=page)
        if said.status == 303:
            led = urlsplit(
                follow(
                    f"http://here{path if not path.startswith('//') else '/' + path.lstrip('/')}",
                    said.headers["location"],
                )
            )
            assert led.netloc == "here", said
            assert re.fullmatch(r"(?:\.\./|\./)+login\?next=[\w.%~-]*", said.headers["location"]), said
        else:
            assert said.status == 404, (path, said)


# ---- the table

SECURITY = (ROOT / "docs" / "security.md").read_text()


def test_each_test_that_the_table_of_attacks_names_is_there() -> None:
    table = SECURITY.partition("## Attacks, and what comes of them")[2].partition("\n## ")[0]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", table)
    for path, name in named:
        assert re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{name}"
    assert len(named) >= 30
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| attack"))]
    assert all("`tests/" in row for row in rows), "every attack has its test"
