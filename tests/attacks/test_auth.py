"""Attacks on authentication: cookies, tokens, tickets, links, roles."""

import base64
import dataclasses
import datetime as dt
import hashlib
import json
import re
import string
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import argon2
import pytest

from dog import __version__
from dog.auth import Accounts
from dog.web.apidocs.operation import FORM_TYPE
from dog.web.routes import OPERATIONS
from tests.attacks.conftest import KeepConnection
from tests.conftest import Run, Serve
from tests.support.accounts import PASSWORD, add_token, add_user, bearer, open_accounts
from tests.support.hand_clock import MonotonicClock
from tests.support.operations import fill_path
from tests.support.pushes import open_push, receive, send_message
from tests.support.raw_requests import COOKIE, HERE, KeptConnection, fetch, log_in, read_cookie, send, take_photo
from tests.support.server_process import ServerProcess, run_dog


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    with open_accounts(tmp_path) as accounts:
        yield accounts


def in_days(days: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=days)


def cookie_status(server: ServerProcess | KeptConnection, secret: str | bytes, name: str = COOKIE) -> int:
    """Return the status of a request that needs a login, with this cookie."""
    value = secret.encode() if isinstance(secret, str) else secret
    return fetch(server, "/api/cameras", headers={"Cookie": name.encode() + b"=" + value}).status


def alter_secret(secret: str) -> Iterator[str]:
    """Yield texts that are nearly this secret."""
    yield from (
        secret[:-1],
        secret[1:],
        secret[:20],
        "",
        secret + "A",
        secret + "=",
        secret + "==",
        "A" + secret,
    )
    yield from (
        secret.swapcase(),
        secret.lower(),
        secret.upper(),
        secret[::-1],
        secret + secret,
        secret + "%00",
        quote(secret) + "%20",
    )
    yield from (
        base64.b64encode(secret.encode()).decode(),
        hashlib.sha256(secret.encode()).hexdigest(),
        "0" * 43,
        "*",
        "null",
        "true",
    )
    yield from ("' OR 1=1 --", "../" + secret, json.dumps([secret]), secret.replace(secret[5], "%" + secret[5], 1))
    # Base64 has several spellings of the same bytes: only four of six bits of the last character count
    yield from (secret[:-1] + last for last in string.ascii_letters + string.digits + "-_" if last != secret[-1])


# ---- sessions


def test_forged_foreign_expired_and_ended_sessions_are_invalid(
    serve: Serve, keep_connection: KeepConnection, tmp_path: Path, accounts: Accounts
) -> None:
    accounts.add_user("ada", "manage", PASSWORD)
    elsewhere = tmp_path / "elsewhere"
    add_user(elsewhere, "ada", "manage")
    with open_accounts(elsewhere) as others:
        foreign = others.add_session("ada", in_days(1))
    ended, old = accounts.add_session("ada", in_days(1)), accounts.add_session("ada", in_days(-0.001))
    server = serve("--auth")
    assert (
        cookie_status(server, old) == cookie_status(server, foreign) == 401
    )  # before a login, which deletes expired sessions
    secret = read_cookie(log_in(server))
    assert cookie_status(server, secret) == cookie_status(server, ended) == 200
    assert cookie_status(server, old) == cookie_status(server, foreign) == 401
    connection = keep_connection(server)
    for forged in alter_secret(secret):
        assert cookie_status(connection, forged) == 401, forged
    for raw in (
        b"\xff" * 43,
        secret.encode() + b"\xff",
        secret.encode()[:-1] + b"\xc3\xa9",
        b'"' + secret.encode()[:-1],
    ):
        assert cookie_status(server, raw) == 401, raw
    for name in ("__Host-dog_session", "__Secure-dog_session", "DOG_SESSION", "session", "dog_session_"):
        assert cookie_status(server, secret, name) == 401, name
    assert fetch(server, "/api/cameras", headers=dict(bearer(secret))).status == 401
    logged_out = fetch(server, "/logout", "POST", {"Cookie": f"{COOKIE}={secret}", "Origin": server.url})
    assert logged_out.status == 303
    assert cookie_status(server, secret) == 401
    assert cookie_status(server, ended) == 200, "logging out ends one session"
    assert run_dog("user", "logout", "ada", cwd=tmp_path).returncode == 0
    while cookie_status(connection, ended) == 200:  # the server reads it within half a second
        time.sleep(0.01)
    assert cookie_status(server, ended) == 401


def test_a_login_replaces_the_session_that_the_browser_had(serve: Serve, tmp_path: Path) -> None:
    """Neither a forged cookie nor another user's session survives the login.

    This is session fixation.
    """
    add_user(tmp_path, "ada", "manage")
    add_user(tmp_path, "mallory", "view")
    server = serve("--auth")
    stranger = read_cookie(log_in(server, "mallory"))
    for planted in ("A" * 43, stranger, "x"):
        mine = read_cookie(log_in(server, Cookie=f"{COOKIE}={planted}", Origin=server.url))
        assert mine != planted
        assert cookie_status(server, mine) == 200
        assert cookie_status(server, planted) == 401, "the attacker would be logged in, too"
        again = read_cookie(log_in(server, Cookie=f"{COOKIE}={mine}", Origin=server.url))
        assert (cookie_status(server, mine), cookie_status(server, again)) == (401, 200)


def test_the_session_cookie_is_httponly_samesite_secure_and_prefixed(serve: Serve, tmp_path: Path) -> None:
    add_user(tmp_path, "ada", "view")
    server = serve("--auth", "--base-url", "https://dog.example.org", "--trusted-proxies", "127.0.0.1")
    response = log_in(server, **{"X-Forwarded-Proto": "https", "X-Forwarded-Host": "dog.example.org"})
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-dog_session=")
    assert {"HttpOnly", "Secure", "SameSite=Lax", "Path=/"} < set(cookie.split("; "))
    assert "Domain" not in cookie


def test_a_login_at_the_local_address_works_with_a_base_url_below_a_path(serve: Serve, tmp_path: Path) -> None:
    add_user(tmp_path, "ada", "view")
    server = serve("--auth", "--base-url", "https://www.example.org/cam")
    response = log_in(server)
    assert "Path=/" in response.headers["set-cookie"].split("; ")
    assert cookie_status(server, read_cookie(response)) == 200


# ---- tokens, tickets and the setup link


def test_truncated_padded_and_recased_tokens_are_invalid(
    serve: Serve, keep_connection: KeepConnection, accounts: Accounts
) -> None:
    token, removed = accounts.add_token("porch", "manage", None), accounts.add_token("old", "manage", None)
    expired = accounts.add_token("expired", "manage", in_days(-0.001))
    accounts.remove_token("old")
    server = keep_connection(serve("--auth"))
    path = "/api/cameras"
    assert fetch(server, path, headers=dict(bearer(token))).status == 200
    bare = token.removeprefix("dog_")
    for other in (
        removed,
        expired,
        bare,
        f"DOG_{bare}",
        f"dog-{bare}",
        f"dog_dog_{bare}",
        *(f"dog_{each}" for each in alter_secret(bare)),
    ):
        assert fetch(server, path, headers=dict(bearer(other))).status == 401, other
        assert fetch(server, f"{path}?ticket={quote(other)}").status == 401, other
    for scheme in ("Basic", "Token", "Bearer:", "Bearer,", "Digest", ""):
        assert fetch(server, path, headers={"Authorization": f"{scheme} {token}"}).status == 401, scheme
    for address in (
        f"?token={token}",
        f"?access_token={token}",
        f"?authorization=Bearer%20{token}",
        f"?ticket={token}",
    ):
        assert fetch(server, path + address).status == 401, address
    for header in ("Cookie", "X-Api-Key", "X-Auth-Token", "Proxy-Authorization"):
        value = f"{COOKIE}={token}" if header == "Cookie" else f"Bearer {token}"
        assert fetch(server, path, headers={header: value}).status == 401, header


def test_a_ticket_used_by_twenty_clients_at_once_works_for_one(serve: Serve, tmp_path: Path) -> None:
    token = bearer(add_token(tmp_path, "porch", "view"))
    server = serve("--auth")
    for _ in range(5):
        ticket = json.loads(fetch(server, "/api/tickets", "POST", token).body)["ticket"]
        assert sorted(send_20_requests(server, f"/api/cameras?ticket={ticket}")) == [200] + [401] * 19
        assert fetch(server, f"/api/cameras?ticket={ticket}").status == 401


async def test_a_ticket_works_without_a_page(run: Run, accounts: Accounts) -> None:
    """A browser with a cookie requests the ticket.

    The request that uses it has no credentials.
    """
    accounts.add_user("ada", "capture", PASSWORD)
    cookie = {"Cookie": f"{COOKIE}={accounts.add_session('ada', in_days(1))}", "Sec-Fetch-Site": "same-origin"}
    running = await run(auth=True, dead_time=0.0)
    tickets = []
    for _ in range(2):
        async with running.client.post("/api/tickets", headers=cookie) as answer:
            tickets.append((await answer.json())["ticket"])
    async with open_push(running.url, f"?ticket={tickets[0]}") as push:
        assert (await receive(push, "hello"))["role"] == "capture"
    async with running.client.post(f"/api/captures?ticket={tickets[1]}") as answer:
        assert answer.status == 201


def test_a_setup_link_opened_by_twenty_clients_at_once_works_for_one(serve: Serve, tmp_path: Path) -> None:
    server = serve("--auth")
    link = server.wait_for(r"/enter/([\w-]{43})")[0]
    for forged in alter_secret(link.removeprefix("/enter/")):
        assert fetch(server, f"/enter/{quote(forged, safe='%')}").status in (404, 410), forged
        assert fetch(server, f"/enter/{quote(forged, safe='%')}", "POST").status in (404, 410), forged
    for method in ("GET", "HEAD", "GET"):
        assert fetch(server, link, method).status == 200, "opening the page does not use the link up"
    assert sorted(send_20_requests(server, link, "POST")) == [303] + [410] * 19
    assert fetch(server, link).status == 410
    server.stop()
    server = serve("--auth")
    assert server.wait_for(r"/enter/([\w-]{43})")[0] != link, "no manager has a password"
    assert fetch(server, link, "POST").status == 410
    server.stop()
    with open_accounts(tmp_path) as accounts:
        accounts.set_password("owner", PASSWORD)
    assert "/enter/" not in serve("--auth").stderr, "a manager has one"


def test_no_secret_of_a_login_or_share_link_is_logged(serve: Serve, tmp_path: Path) -> None:
    token = bearer(add_token(tmp_path, "script", "capture"))
    server = serve("--auth", "--log-level", "debug", "--dead-time", "0")
    invitation = server.wait_for(r"/enter/([\w-]{43})")[1]
    entered = "\n".join(fetch(server, f"/enter/{invitation}", "POST").head)
    (cookie,) = re.findall(rf"Set-Cookie: ({COOKIE}=[\w-]+)", entered)
    photo = take_photo(server, token)["snapshot"]
    manager = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
    made = fetch(server, f"/api/snapshots/{photo}/links", "POST", manager, b"{}")
    shared = json.loads(made.body)["url"].rpartition("/")[2]
    ticket = json.loads(fetch(server, "/api/tickets", "POST", token).body)["ticket"]
    for path in (f"/shared/{shared}", f"/shared/{shared}/picture.jpg", f"/latest.jpg?ticket={ticket}&camera=main"):
        assert fetch(server, path).status == 200
    fetch(server, f"/prefix/shared/{shared}?next=/enter/{invitation}")
    encoded = "".join(f"%{ord(letter):02X}" for letter in invitation)
    fetch(server, f"/enter/{encoded}")
    fetch(server, f"/latest.jpg?%74icket={encoded}")
    long = "x" * 9000  # as cookies of other services on this host can be
    value = token["Authorization"]
    for line in (f"Cookie: {cookie}; a={long}", f"Authorization: {value}{long}", f"Cookie : {cookie}", value):
        send(server, f"GET / HTTP/1.1\r\nHost: {HERE}\r\nConnection: close\r\n{line}\r\n\r\n".encode())
    for target in (f"http://[::1/enter/{invitation}", f"/enter/{invitation} {cookie}", f"/enter/{invitation}\x01"):
        send(server, f"GET {target} HTTP/1.1\r\nHost: {HERE}\r\nConnection: close\r\n\r\n".encode())
    assert server.stop() == 0
    log = (tmp_path / "server.log").read_text()
    for line in ("POST /enter/***", "GET /shared/***/picture.jpg", "GET /latest.jpg?ticket&camera"):
        assert line in log
    assert "Not HTTP: " in log
    assert (tmp_path / "server.log").stat().st_mode & 0o007 == 0
    keys = (encoded, invitation, shared, ticket, token["Authorization"].split()[1], cookie.partition("=")[2])
    assert [key for key in keys if key in log] == []


def send_20_requests(server: ServerProcess, path: str, method: str = "GET") -> list[int]:
    """Send 20 requests at the same time. Return their statuses."""
    ready = threading.Barrier(20)
    statuses: list[int] = []

    def send_one() -> None:
        ready.wait()
        statuses.append(fetch(server, path, method).status)

    threads = [threading.Thread(target=send_one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


# ---- lookup of secrets


class RecordingDict(dict[bytes, Any]):
    """A dictionary that records its lookups."""

    def __init__(self, known: dict[bytes, Any], lookups: list[object]) -> None:
        super().__init__(known)
        self.lookups = lookups

    def get(self, key: bytes, default: Any = None) -> Any:
        self.lookups.append(key)
        return super().get(key, default)

    def __iter__(self) -> Any:
        raise AssertionError("the secrets are compared one by one")

    items = values = keys = __iter__


async def test_any_secret_is_checked_by_one_lookup_of_its_hash(run: Run, accounts: Accounts) -> None:
    """Timing reveals nothing: similar guesses have very different hashes."""
    accounts.add_user("ada", "view", PASSWORD)
    token, session = accounts.add_token("porch", "view", None), accounts.add_session("ada", in_days(1))
    running = await run(auth=True)
    access = running.service.auth
    assert access is not None
    known, lookups = access._data, list[object]()
    access._data = dataclasses.replace(
        known, tokens=RecordingDict(known.tokens, lookups), sessions=RecordingDict(known.sessions, lookups)
    )
    for secret, prefix, headers in (
        (token, "dog_", bearer),
        (session, "", lambda text: {"Cookie": f"{COOKIE}={text}"}),
    ):
        bare = secret.removeprefix(prefix)
        for right in range(44):
            guess = prefix + bare[:right] + "".join("A" if each != "A" else "B" for each in bare[right:])
            lookups.clear()
            async with running.client.get("/api/visitor", headers=headers(guess)) as answer:
                assert answer.status == (401 if prefix and right < 43 else 200)
            assert lookups == [hashlib.sha256(guess.encode()).digest()]
    access._data = known


# ---- existing users


async def test_wrong_logins_cost_and_respond_the_same_for_existing_and_unknown_users(
    run: Run, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.add_user("ada", "manage", PASSWORD)
    accounts.add_user("owner", "manage", None)  # as the setup link creates it: without a password
    verified: list[tuple[str, str]] = []
    verify = argon2.PasswordHasher.verify

    def record_verify(self: argon2.PasswordHasher, hash: str, password: bytes) -> bool:
        verified.append((hash.rpartition("$")[0].rpartition("$")[0], threading.current_thread().name))
        return verify(self, hash, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", record_verify)
    running = await run(auth=True, login_attempts=100)
    answers, work = set(), set()
    names = ("ada", "owner", "nobody", "Ada ", "ada\0", "x" * 200, "é" * 90)
    for accept, tried in (("*/*", names), ("text/html", names[:3])):
        for name in tried:
            verified.clear()
            form = {"name": name, "password": "wrong password"}
            async with running.client.post("/login", data=form, headers={"Accept": accept}) as answer:
                headers = {key: value for key, value in answer.headers.items() if key not in ("Date", "Content-Length")}
                response = (await answer.text()).replace(f'value="{name}"', "")  # the form shows the name again
            answers.add((accept, answer.status, tuple(sorted(headers.items())), response))
            assert len(verified) == 1, name
            work.update(verified)
    assert len(answers) == 2, answers
    assert len(work) == 1, work
    [(parameters, thread)] = work
    assert parameters.startswith("$argon2id$")
    assert thread.startswith("passwords")


async def test_login_limits_are_the_same_for_existing_and_unknown_users(
    run: Run, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.add_user("ada", "manage", PASSWORD)
    running = await run(auth=True, login_attempts=1, trusted_proxies=("127.0.0.1",))
    monkeypatch.setattr(running.service.auth, "_clock", MonotonicClock())  # no delay ends before the next attempt
    seen = []
    for number, name in enumerate(("ada", "nobody")):
        answers = []
        for attempt in range(2):
            headers = {"X-Forwarded-For": f"192.0.2.{2 * number + attempt}"}
            form = {"name": name, "password": "wrong password"}
            async with running.client.post("/login", data=form, headers=headers) as answer:
                answers.append((answer.status, answer.headers.get("Retry-After"), (await answer.json())["code"]))
        seen.append(answers)
    assert seen[0] == seen[1] == [(401, None, "wrong_password"), (429, "1", "rate_limited")]


async def test_login_limits_do_not_reveal_the_user_of_a_network(
    run: Run, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack a network from which Ada has logged in, from inside it."""
    for name in "ada", "ben":
        accounts.add_user(name, "view", PASSWORD)
    running = await run(auth=True, login_attempts=3, trusted_proxies=("127.0.0.1",))
    clock = MonotonicClock()
    monkeypatch.setattr(running.service.auth, "_clock", clock)

    async def log_in(name: str, password: str) -> tuple[int, str | None]:
        headers, form = {"X-Forwarded-For": "192.0.2.9"}, {"name": name, "password": password}
        async with running.client.post("/login", data=form, headers=headers, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Retry-After")

    assert (await log_in("ada", PASSWORD))[0] == 303
    running.client.session.cookie_jar.clear()  # the attacker has no session
    for number in range(8):
        while (await log_in(f"other{number}", "wrong password"))[0] == 429:
            clock.now += 1
    for _ in range(3):
        responses = {await log_in(name, "wrong password") for name in ("ada", "ben", "nobody")}
        assert len(responses) == 1, responses
        assert {status for status, _ in responses} == {429}
        clock.now += 10


# ---- roles


async def test_a_role_in_a_request_is_ignored(run: Run, accounts: Accounts) -> None:
    accounts.add_user("guest", "view", PASSWORD)
    token = accounts.add_token("porch", "view", None)
    running = await run(auth=True, dead_time=0.0)
    fields = {
        "role": "manage",
        "roles": ["manage"],
        "user": "owner",
        "admin": True,
        "anonymous": "manage",
        "kind": "local",
    }
    form = {
        "name": "guest",
        "password": PASSWORD,
        "role": "manage",
        "key": "owner",
        "is_admin": "true",
        "user.role": "manage",
    }
    async with running.client.post("/login?role=manage", data=form, allow_redirects=False) as answer:
        assert answer.status == 303
        cookie = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0] + "; role=manage; dog_role=manage"}
    running.client.session.cookie_jar.clear()
    role_headers = {"X-Role": "manage", "X-Remote-User": "owner", "X-Forwarded-User": "owner", "Remote-User": "owner"}
    for known in (cookie, bearer(token)):
        headers = {**known, **role_headers, "Sec-Fetch-Site": "same-origin"}
        async with running.client.get("/api/visitor?role=manage", headers=headers) as answer:
            assert (await answer.json())["role"] == "view"
        for path in ("/api/captures", "/api/captures?role=capture", "/?role=manage"):
            async with running.client.post(path, json=fields, headers=headers) as answer:
                assert answer.status == 403, path
        async with running.client.post("/api/tickets?role=manage", json=fields, headers=headers) as answer:
            ticket = (await answer.json())["ticket"]
        async with running.client.get(f"/api/visitor?ticket={ticket}&role=manage") as answer:
            assert (await answer.json())["role"] == "view"
        async with open_push(running.url, "?role=manage", token) as push:
            assert (await receive(push, "hello"))["role"] == "view"
            await send_message(push, type="capture", role="manage", request="r")
            assert (await receive(push, "error", "reply"))["code"] in ("forbidden", "bad_message")
            await send_message(push, type="auth", token=token, role="manage")
            again = await receive(push, "hello", "error")
            assert again.get("role", "view") == "view"
    assert running.camera.captures == 0
    assert {user.name: user.role for user in accounts.users()} == {"guest": "view"}


# ---- unauthenticated clients

PROBES: tuple[dict[str, str], ...] = (
    *({}, {"Accept": "text/html"}, {"If-None-Match": "*"}, {"If-None-Match": '"{id}"'}, {"If-Match": '"nothing"'}),
    *(
        {"Range": "bytes=0-0"},
        {"Range": "bytes=999999999-"},
        {"Cookie": "dog_snapshot={id}"},
        {"Expect": "100-continue"},
    ),
)
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND")


def test_unauthenticated_responses_reveal_no_camera_photo_path_or_version(
    serve: Serve, keep_connection: KeepConnection, tmp_path: Path
) -> None:
    """Responses for an existing and for an unknown photo are the same."""
    camera = "attic-window"
    (tmp_path / "dog.toml").write_text(f'[cameras.{camera}]\ncamera = "test"\ndead_time = 0\n')
    token = bearer(add_token(tmp_path, "script", "manage"))
    server = keep_connection(serve("--auth", "--login-attempts", "10000"))
    photo = take_photo(server, token)["snapshot"]
    link = json.loads(fetch(server, f"/api/snapshots/{photo}/links", "POST", token).body)["link"]
    hidden = (camera, photo, link, str(tmp_path), "snapshots/2", __version__, "aiohttp", "sqlite", "Traceback")
    for path in {operation.path for operation in OPERATIONS} | {
        "/nowhere",
        "/api/nowhere",
        "/snapshots/",
        "//",
        "/%2e%2e/",
        "/static/",
    }:
        for method in METHODS:
            for headers in PROBES if method in ("GET", "HEAD") else PROBES[:2]:
                seen = []
                for snapshot, of_link in ((photo, link), ("a" * 24, "b" * 24)):
                    fields = {name: value.replace("{id}", snapshot) for name, value in headers.items()}
                    filled = fill_path(
                        path, id=snapshot, link=of_link, token=f"{of_link}.{'A' * 43}", invitation="A" * 43
                    )
                    response = fetch(
                        server, filled + f"?camera=x&after={snapshot}&before={snapshot}", method, dict(fields)
                    )
                    head = [line for line in response.head if not line.startswith(("Date: ", "Server: "))]
                    whole = "\n".join((*head, response.body.decode()))
                    for named in (quote(filled), filled, snapshot, of_link):
                        whole = whole.replace(named, "")
                    seen.append(whole)
                    assert not [each for each in hidden if each in whole], (method, filled, headers, response)
                    if path != "/static/{name}":
                        assert response.status not in (206, 304, 412, 416, 500), (method, filled, headers, response)
                assert seen[0] == seen[1], (method, path, headers)


def test_conditional_requests_reveal_nothing_about_a_forbidden_photo(serve: Serve, tmp_path: Path) -> None:
    token = bearer(add_token(tmp_path, "script", "capture"))
    server = serve("--auth")
    photo = take_photo(server, token)
    for path in (photo["url"], photo["thumbnail"], "/latest.jpg"):
        etag = fetch(server, path, headers=token).headers["etag"]
        known = fetch(server, path, headers={**token, "If-None-Match": etag})
        assert known.status == 304
        for headers in (
            {"If-None-Match": etag},
            {"If-Match": etag},
            {"If-Range": etag, "Range": "bytes=0-9"},
            {"Range": "bytes=0-"},
        ):
            for method in ("GET", "HEAD"):
                response = fetch(server, path, method, dict(headers))
                assert response.status == 401, (method, path, headers)
                assert "etag" not in response.headers


async def test_an_unauthenticated_push_gets_no_events(run: Run, accounts: Accounts) -> None:
    token = accounts.add_token("shutter", "capture", None)
    running = await run(auth=True, dead_time=0.0)
    async with open_push(running.url) as push:
        response = await receive(push, "error", "hello")
        assert set(response) == {"type", "code", "message", "temporary"}
        for text in (
            '{"type":"ping"}',
            '{"type":"resume","cursor":"0-0"}',
            '{"type":"capture"}',
            "[]",
            "{",
            '{"type":"auth","token":5}',
        ):
            await push.send(text)
            assert (await receive(push, "error", "pong", "hello"))["code"] in (
                "unauthorized",
                "bad_message",
                "bad_json",
            )
        async with running.client.post("/api/captures", headers=bearer(token)) as answer:
            assert answer.status == 201
        await push.send('{"type":"ping"}')
        last = json.loads(await push.recv())
        assert (last["type"], last["code"]) == ("error", "unauthorized"), "an event was received before it"
    assert running.service.hub.count == 0


def test_the_response_to_a_malformed_request_has_no_version(serve: Serve) -> None:
    server = serve("--auth")
    for fields in (
        b"GET /\rx HTTP/1.1",
        b"\x16\x03\x01",
        b"GET / HTTP/9.9",
        b"GET  / HTTP/1.1",
        b"x" * 9000,
        b"GET / HTTP/1.1\r\nHost",
    ):
        response = send(server, fields + b"\r\n\r\n").decode("latin-1").lower()
        assert "400 bad request" in response, fields
        assert not [each for each in ("aiohttp", "python", "traceback", "/site-packages") if each in response], response


def test_a_login_without_the_cookie_of_its_page_is_refused_before_the_password_is_checked(
    serve: Serve, tmp_path: Path
) -> None:
    add_user(tmp_path, "ada", "manage")
    server = serve("--auth", "--login-attempts", "1")
    page = fetch(server, "/login")
    cookie = {"Cookie": page.headers["set-cookie"].partition(";")[0]}
    form = {"Content-Type": FORM_TYPE}
    wrong, right = (
        urlencode({"name": "ada", "password": password, "cookies": "tested"}).encode() for password in ("x", PASSWORD)
    )
    for _ in range(3):
        response = fetch(server, "/login", "POST", form, wrong)
        assert (response.status, response.code) == (400, "bad_request")
        assert "did not keep this site's cookie" in json.loads(response.body)["detail"]
    assert fetch(server, "/login", "POST", {**form, **cookie}, right).status == 303
    assert log_in(server).status == 303, "a script does not load the page first"
