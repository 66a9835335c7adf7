"""Attacks with paths, headers, log lines and redirects, as raw bytes.

The last test compares the table of attacks in docs/security.md with the tests.
"""

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit

import msgspec
import pytest

from dog.web.apidocs.operation import FORM_TYPE, JSON, Operation
from dog.web.routes import OPERATIONS
from tests.attacks.conftest import KeepConnection
from tests.conftest import Run, Serve
from tests.support.accounts import PASSWORD, add_token, bearer, open_accounts
from tests.support.cameras import make_picture
from tests.support.operations import fill_path, operation_name
from tests.support.raw_requests import fetch, send, take_photo
from tests.support.server_process import ROOT


class Attempt(NamedTuple):
    """A request with an attack in one place."""

    place: str
    path: bytes
    method: str
    headers: dict[str, str | bytes]
    body: bytes


COMMON_HEADERS = ("Accept", "Accept-Language", "Cookie", "If-None-Match", "Prefer", "Range", "Referer", "User-Agent")
"""Headers that are read or logged for any request."""
PATH_HEADERS = ("Destination", "X-Forwarded-Prefix", "X-Original-URL", "X-Rewrite-URL", "X-Sendfile")
"""Headers that other servers use as a path."""
WITH_COMMON_HEADERS = {"GET /", "GET /static/{name}", "GET /snapshots/{id}.{suffix}"}
"""A page, a file and a photo are attacked with those headers too: they are the same for all."""


def make_attempts(operation: Operation, bad: bytes) -> Iterator[Attempt]:
    """Yield requests with the attack in each place of an operation.

    The places are parts, parameters, headers and fields. It is unchanged in paths and queries, encoded once in forms,
    and text in JSON.
    """
    path = fill_path(operation.path).encode()
    for part in operation.path_params:
        yield Attempt(
            f"part {part}",
            fill_path(operation.path, **{part: "{}"}).encode().replace(b"{}", bad),
            operation.method,
            {},
            b"",
        )
    parameters = list(operation.query.__struct_fields__) if operation.query else []
    for name in dict.fromkeys((*parameters, "next", "path")):
        yield Attempt(f"query {name}", path + b"?" + name.encode() + b"=" + bad, operation.method, {}, b"")
    headers = [field.encode_name for field in _fields(operation.headers)]
    common_headers = (*COMMON_HEADERS, *PATH_HEADERS) if operation_name(operation) in WITH_COMMON_HEADERS else ()
    for header in dict.fromkeys((*headers, *common_headers)):
        value = b"dog_snapshot=" + bad + b"; dog_session=" + bad if header == "Cookie" else bad
        yield Attempt(f"header {header}", path, operation.method, {header: value}, b"")
    text = unquote(bad.decode("latin-1"), errors="replace")
    for field in _fields(operation.body):
        if operation.body_type == FORM_TYPE:
            for written in (text, bad.decode("latin-1")):
                body = urlencode({"name": "ada", "password": "wrong", field.encode_name: written}).encode()
                yield Attempt(f"form {field.name}", path, operation.method, {"Content-Type": FORM_TYPE}, body)
        else:
            body = json.dumps({field.encode_name: text}).encode()
            yield Attempt(f"body {field.name}", path, operation.method, {"Content-Type": JSON}, body)


def _fields(struct: Any) -> tuple[Any, ...]:
    return msgspec.structs.fields(struct) if struct is not None else ()


def test_attacks_cover_every_parameter_of_every_operation() -> None:
    places = {
        f"{operation_name(operation)} {one.place}" for operation in OPERATIONS for one in make_attempts(operation, b"x")
    }
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


def traversal_paths(folder: Path) -> list[bytes]:
    """Return paths to the secret file: several folders, several encodings."""
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
def test_no_parameter_of_any_url_reads_a_file_that_is_not_a_photo(
    serve: Serve, keep_connection: KeepConnection, tmp_path: Path
) -> None:
    """A manager sends the paths to every operation, in every place."""
    for folder in (tmp_path, tmp_path / "snapshots", tmp_path / "snapshots" / ".dog"):
        folder.mkdir(exist_ok=True)
        (folder / "secret.txt").write_bytes(SECRET)
    token = bearer(add_token(tmp_path, "script", "manage"))
    server = serve("--auth", "--dead-time", "0", "--login-attempts", "1", "--log-level", "warning")
    connection = keep_connection(server)
    outside = {path.name for path in tmp_path.iterdir()}
    attempts = 0
    for operation in OPERATIONS:
        for number, bad in enumerate(traversal_paths(tmp_path)):
            for index, one in enumerate(make_attempts(operation, bad)):
                if not one.place.startswith("part") and (number + index) % 12:
                    continue  # every variant for paths; other places share little code, so a part is enough
                attempts += 1
                response = fetch(connection, one.path, one.method, {**token, **one.headers}, one.body)
                for hidden in (SECRET, b"SQLite format 3", b"root:x:0:"):
                    assert hidden not in response.body, (operation_name(operation), one)
                assert response.status != 500, (operation_name(operation), one, response)
    assert attempts > 2500
    assert {path.name for path in tmp_path.iterdir()} == outside


def test_symbolic_links_among_the_photos_are_not_followed(serve: Serve, tmp_path: Path) -> None:
    """Links are planted as an image, as a thumbnail, and as a day's folder."""
    server = serve("--dead-time", "0", "--picture-cache", "0", "--exif", "false")
    photos = [take_photo(server) for _ in range(3)]
    files = {photo["snapshot"]: next((tmp_path / "snapshots").rglob(f"*_{photo['snapshot']}.jpg")) for photo in photos}
    first, second, third = files.values()
    secret = tmp_path / "secret.jpg"
    whole = make_picture("red")[:-2] + b"\xff\xfe" + (2 + len(SECRET)).to_bytes(2) + SECRET + b"\xff\xd9"
    secret.write_bytes(whole.ljust(first.stat().st_size, b"\0"))  # the size must not reveal it
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

    def find_served() -> set[str]:
        """Return the ids of the photos that are served."""
        served = set()
        for snapshot in (*files, "a" * 24, "b" * 24):
            for path in (f"/snapshots/{snapshot}.jpg", f"/snapshots/{snapshot}/thumbnail.jpg", "/latest.jpg"):
                response = fetch(server, path)
                assert SECRET not in response.body, path
                assert response.status in (200, 404, 500), (path, response)
            if fetch(server, f"/snapshots/{snapshot}.jpg").status == 200:
                served.add(snapshot)
        return served

    assert find_served() <= {photos[1]["snapshot"], photos[2]["snapshot"]}
    server.stop()
    server = serve("--picture-cache", "0", "--exif", "false")  # a start without an image cache
    assert find_served() <= {photos[1]["snapshot"], photos[2]["snapshot"]}
    assert photos[1]["snapshot"] in find_served()


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


def test_no_parameter_of_any_url_injects_a_header_or_a_second_response(
    serve: Serve, keep_connection: KeepConnection, tmp_path: Path
) -> None:
    token = bearer(add_token(tmp_path, "script", "manage"))
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
    connection = keep_connection(server)
    for operation in OPERATIONS:
        for bad in BREAKS:
            for one in make_attempts(operation, bad):
                response = fetch(
                    connection, one.path, one.method, {**token, "Origin": "https://a.example", **one.headers}, one.body
                )
                for line in re.split("[\r\n]", "\n".join(response.head)):
                    assert not line.lower().startswith("x-evil"), (operation_name(operation), one, response.head)
                assert not re.search(rb"HTTP/1\.[01] \d\d\d ", response.body), (operation_name(operation), one)
                assert response.status != 500, (operation_name(operation), one, response)


# ---- the log

FORGED = "2026-11-22T11:14:38.123Z INFO dog.cli all is well"
STRANGE = f"x\r\n{FORGED}\n\x1b[2J\x1b]0;owned\x07\x00\x7f\x9b31m\u0085\u2028\u202e\u2066{FORGED}\b"
LINE = re.compile(
    r"(?:\d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.]+Z) +(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) +[\w.]+ +\S.*"
    r"|D\.O\.G\. is at .*"
)
"""A line of dog/logs.py. A traceback's lines are indented."""


def check_log(text: str) -> None:
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)
    for line in text.split("\n")[:-1]:
        assert LINE.fullmatch(line) or line.startswith("    "), line
        assert not line.startswith(FORGED), line
        assert "all is well" not in line.partition("dog.cli")[0], line


def test_no_input_adds_a_line_or_a_control_character_to_the_log(
    serve: Serve, keep_connection: KeepConnection, tmp_path: Path
) -> None:
    """The level is debug, which logs each URL and the camera program's output."""
    script = tmp_path / "camera.sh"
    script.write_bytes(b"#!/bin/sh\ncat >&2 <<'END'\n" + STRANGE.replace("\0", "").encode() + b"\nEND\nexit 1\n")
    script.chmod(0o755)
    (tmp_path / "dog.toml").write_text(
        '[cameras.card]\ncamera = "test"\ndead_time = 0\n[cameras.broken]\ncamera = "script:./camera.sh"\n'
    )
    token = bearer(add_token(tmp_path, "script", "manage"))
    server = serve("--auth", "--log-level", "debug", "--trusted-proxies", "127.0.0.1", "--login-attempts", "1")
    connection = keep_connection(server)
    bad = quote(STRANGE, safe="").encode()
    for operation in OPERATIONS:
        for one in make_attempts(operation, bad):
            fetch(connection, one.path, one.method, {**token, **one.headers}, one.body)
    raw = STRANGE.encode()
    taken = f"\u0085\u2028\u202e\u2066{FORGED}".encode() + b"\x9b31m"  # allowed in a header
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
            fetch(server, "/", headers={header: value})
    for line in (b"GET /" + raw, raw, b"GET / " + raw + b" HTTP/1.1", b"\x1b[2J / HTTP/1.1"):
        send(server, line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    response = fetch(server, "/api/captures", "POST", token, b'{"camera":"broken","max_age":0}')
    assert response.status in (502, 503)
    server.wait_for("all is well")  # at least the camera's output was logged
    server.stop()
    check_log(server.stderr)
    check_log((tmp_path / "server.log").read_text())


# ---- redirects

FOREIGN_URLS = (
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
    """Resolve a redirect like a browser (WHATWG URL, 4.4).

    Tabs and line ends are removed, and `\\` counts as `/`.
    """
    location = location.strip("".join(map(chr, range(0x21)))).translate({9: None, 10: None, 13: None})
    return urljoin(base, location.partition("?")[0].partition("#")[0].replace("\\", "/"))


@pytest.mark.parametrize("prefix", ["", "/cam"])
async def test_the_login_never_redirects_to_another_site(run: Run, tmp_path: Path, prefix: str) -> None:
    """Also if the user is logged in already, and below a path prefix."""
    with open_accounts(tmp_path) as accounts:
        accounts.add_user("ada", "view", PASSWORD)
    base = f"https://dog.example.org{prefix}/login"
    running = await run(auth=True, base_url=f"https://dog.example.org{prefix}", trusted_proxies=("127.0.0.1",))
    headers = {"Host": "dog.example.org", "X-Forwarded-Proto": "https"}
    cookie = ""
    for next_url in FOREIGN_URLS:
        form = "name=ada&password=" + quote(PASSWORD) + "&next=" + quote(next_url.encode(errors="surrogateescape"))
        if not cookie or next_url in FOREIGN_URLS[:4]:
            pending = running.client.post(
                "/login", data=form, headers={**headers, "Content-Type": FORM_TYPE}, allow_redirects=False
            )
        else:
            query = {"next": next_url.encode(errors="surrogateescape").decode(errors="replace")}
            pending = running.client.get(
                "/login", params=query, headers={**headers, "Cookie": cookie}, allow_redirects=False
            )
        async with pending as answer:
            assert answer.status == 303, next_url
            location = answer.headers["Location"]
            cookie = cookie or answer.headers["Set-Cookie"].partition(";")[0]
        target = urlsplit(follow(base, location))
        assert (target.scheme, target.netloc) == ("https", "dog.example.org"), (next_url, location)
        assert not target.path.startswith("//"), (next_url, location)
        assert location.isprintable(), (next_url, location)


def test_the_redirect_after_a_required_login_stays_on_this_site(serve: Serve, tmp_path: Path) -> None:
    server = serve("--auth")
    page: dict[str, str | bytes] = {"Accept": "text/html"}
    for path in (
        "//evil.example/snapshots",
        "/snapshots?next=//evil.example",
        "/snapshots/%0d%0aX-Evil:%201",
        "/?a=%26next%3d//evil",
    ):
        response = fetch(server, path, headers=page)
        if response.status == 303:
            target = urlsplit(
                follow(
                    f"http://here{path if not path.startswith('//') else '/' + path.lstrip('/')}",
                    response.headers["location"],
                )
            )
            assert target.netloc == "here", response
            assert re.fullmatch(r"(?:\.\./|\./)+login\?next=[\w.%~-]*", response.headers["location"]), response
        else:
            assert response.status == 404, (path, response)


# ---- the table

SECURITY = (ROOT / "docs" / "security.md").read_text()


def test_every_test_named_in_the_table_of_attacks_exists() -> None:
    table = SECURITY.partition("## Attacks, and what comes of them")[2].partition("\n## ")[0]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", table)
    for path, name in named:
        assert re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{name}"
    assert len(named) >= 30
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| attack"))]
    assert all("`tests/" in row for row in rows), "an attack has no test"
