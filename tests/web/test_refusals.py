"""Responses to refused connections, chosen by the head of the request."""

import base64
import hashlib
import html
import http.client
import io
import json
import re
from pathlib import Path
from typing import Any

import aiohttp_jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dog.settings import load
from dog.web.app import create_app
from dog.web.connections.refusals import MESSAGES, Reason, Refusals, build_refusals
from dog.web.middleware.security_headers import SECURITY_HEADERS

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
HTML, JSON = "text/html; charset=utf-8", "application/problem+json"


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> Refusals:
    app = create_app(load({}, {}, tmp_path_factory.mktemp("refusals")))
    headers = app[SECURITY_HEADERS]
    return build_refusals(aiohttp_jinja2.get_env(app), headers, "total", 7)


def write_head(target: str, method: str = "GET", **fields: str) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "dog.example", **fields}.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode()


def parse(response: bytes, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    """Parse a response with http.client. No bytes may follow it."""

    class Socket:
        def makefile(self, *_: object) -> io.BytesIO:
            return file

    file = io.BytesIO(response)
    socket: Any = Socket()
    parsed = http.client.HTTPResponse(socket, method=method)
    parsed.begin()
    body = parsed.read()
    rest = file.read() if not file.closed else b""
    assert rest == b"", "bytes follow the body"
    return parsed, body


@pytest.mark.parametrize(
    ("head", "content_type"),
    [
        (write_head("/", Accept=BROWSER), HTML),
        (write_head("/?camera=door", accept="application/xml, TEXT/HTML"), HTML),
        (write_head("/snapshots/x", "POST", Accept=BROWSER), HTML),
        (write_head("/api", Accept=BROWSER), HTML),
        (write_head("http://dog.example/", Accept=BROWSER), HTML),
        (b"\r\n" + write_head("/", Accept=BROWSER), HTML),
        (b"GET / HTTP/1.0\nAccept: text/html\n\n", HTML),
        (b"GET / HTTP/1.1\r\nAccept: text/html", HTML),
        (write_head("/api/cameras", Accept=BROWSER), JSON),
        (write_head("http://dog.example/api/cameras", Accept=BROWSER), JSON),
        (write_head("/", Accept="image/avif,*/*"), JSON),
        (write_head("/"), JSON),
        (write_head("/", X_Accept="text/html"), JSON),
        (write_head("/", "POST") + b"Accept: text/html\r\n\r\n", JSON),
        (b"GET / HT", JSON),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", JSON),
        (b"", JSON),
    ],
)
def test_clients_that_accept_html_get_a_page_and_others_json(
    refusals: Refusals, head: bytes, content_type: str
) -> None:
    response, body = parse(refusals.choose(head))
    assert (response.status, response.headers["Content-Type"]) == (503, content_type)
    assert len(body) == int(response.headers["Content-Length"]) > 0
    assert response.headers["Retry-After"] == "7"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Connection"] == "close"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_json_is_a_problem_with_our_error_code(refusals: Refusals) -> None:
    problem = json.loads(parse(refusals.choose(write_head("/api/snapshots")))[1])
    assert problem == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": MESSAGES["total"],
        "code": "overloaded",
    }


@pytest.mark.parametrize("target", ["/", "/api/cameras"])
def test_a_head_request_gets_the_same_head_and_no_body(refusals: Refusals, target: str) -> None:
    whole = refusals.choose(write_head(target, Accept=BROWSER))
    response = refusals.choose(write_head(target, "HEAD", Accept=BROWSER))
    assert response == whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert parse(response, "HEAD")[1] == b""


def test_the_page_loads_nothing_and_its_csp_allows_its_style(refusals: Refusals) -> None:
    response, body = parse(refusals.choose(write_head("/", Accept=BROWSER)))
    page = body.decode()
    assert re.findall(r'(?:src|href|action)="([^"]*)"', page) == ["data:,", ""]
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'self' 'sha256-{digest}';" in response.headers["Content-Security-Policy"]
    assert "url(" not in style


def test_a_page_reloads_itself_but_a_form_is_not_sent_again(refusals: Refusals) -> None:
    refresh = b'<meta http-equiv="refresh" content="7">'
    page = parse(refusals.choose(write_head("/", Accept=BROWSER)))[1]
    assert refresh in page
    assert b"in 7 seconds." in page
    page = parse(refusals.choose(write_head("/", "POST", Accept=BROWSER)))[1]
    assert refresh not in page
    assert b"Go back, and send it again in 7 seconds." in page


parts = st.sampled_from(
    [b"GET", b"HEAD", b" ", b"/", b"/api/", b" HTTP/1.1", b"\r\n", b"\n", b"Accept:", b"text/html", b"\0"]
)


@given(head=st.binary() | st.lists(parts | st.binary(max_size=3)).map(b"".join))
def test_any_bytes_get_one_complete_response(refusals: Refusals, head: bytes) -> None:
    response = refusals.choose(head)
    method = "HEAD" if response.endswith(b"\r\n\r\n") else "GET"
    assert parse(response, method)[0].status == 503
    assert method == "GET" or head.lstrip(b"\r\n").startswith(b"HEAD ")


@pytest.mark.parametrize(("reason", "status"), [("head_too_big", 431), ("head_timeout", 408)])
def test_other_refusals_have_their_own_status_and_message(tmp_path: Path, reason: Reason, status: int) -> None:
    app = create_app(load({}, {}, tmp_path))
    headers = app[SECURITY_HEADERS]
    refusals = build_refusals(aiohttp_jinja2.get_env(app), headers, reason)
    response, body = parse(refusals.choose(write_head("/")))
    assert (response.status, response.headers["Retry-After"]) == (status, None)
    assert json.loads(body)["detail"] == MESSAGES[reason]
    response, body = parse(refusals.choose(write_head("/", Accept=BROWSER)))
    assert response.status == status
    page = html.unescape(body.decode())
    assert f"<p>{MESSAGES[reason]}</p>" in page
    assert "http-equiv" not in page
    assert "Try again now" in page
