"""Attacks on who somebody is: cookies, tokens, tickets, the first link, names, roles; and on what is told to nobody."""

import base64
import dataclasses
import datetime as dt
import hashlib
import json
import re
import string
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import argon2
import pytest

from dog import __version__
from dog.auth import Accounts, accounts_path
from dog.web.apidocs.operation import FORM
from dog.web.routes import OPERATIONS
from tests.attacks.test_requests import HERE, PASSWORD, Said, add_token, add_user, ask, fill, send, take_photo
from tests.conftest import Run, Serve
from tests.support.server_process import ServerProcess, run_dog
from tests.web.test_roles import bearer, hear, open_push, say

COOKIE = "dog_session"


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    with Accounts(accounts_path(tmp_path / "snapshots")) as accounts:
        yield accounts


def in_days(days: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=days)


def log_in(server: ServerProcess, name: str = "ada", password: str = PASSWORD, **headers: str) -> Said:
    form = urlencode({"name": name, "password": password}).encode()
    return ask(server, "/login", "POST", {"Content-Type": FORM, **headers}, form)


def read_cookie(said: Said) -> str:
    found = re.match(rf"{COOKIE}=([\w-]{{43}}); ", said.headers["set-cookie"])
    assert found, said
    return found[1]


def show(server: ServerProcess, secret: str | bytes, name: str = COOKIE) -> int:
    """What who has this cookie gets where only the known get anything."""
    value = secret.encode() if isinstance(secret, str) else secret
    return ask(server, "/api/cameras", headers={"Cookie": name.encode() + b"=" + value}).status


def change_ways(secret: str) -> Iterator[str]:
    """Other texts that are nearly this one."""
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
    # Base64 has several spellings of the same bytes: of the last character only four of six bits say anything
    yield from (secret[:-1] + last for last in string.ascii_letters + string.digits + "-_" if last != secret[-1])


# ---- sessions


def test_a_session_that_is_forged_foreign_old_or_ended_is_worth_nothing(
    serve: Serve, tmp_path: Path, accounts: Accounts
) -> None:
    accounts.add_user("ada", "manage", PASSWORD)
    elsewhere = tmp_path / "elsewhere"
    add_user(elsewhere, "ada", "manage")
    with Accounts(accounts_path(elsewhere / "snapshots")) as others:
        foreign = others.add_session("ada", in_days(1))
    ended, old = accounts.add_session("ada", in_days(1)), accounts.add_session("ada", in_days(-0.001))
    server = serve("--auth")
    assert show(server, old) == show(server, foreign) == 401  # before a login, which clears away what is over
    secret = read_cookie(log_in(server))
    assert show(server, secret) == show(server, ended) == 200
    assert show(server, old) == show(server, foreign) == 401
    for forged in change_ways(secret):
        assert show(server, forged) == 401, forged
    for raw in (
        b"\xff" * 43,
        secret.encode() + b"\xff",
        secret.encode()[:-1] + b"\xc3\xa9",
        b'"' + secret.encode()[:-1],
    ):
        assert show(server, raw) == 401, raw
    for name in ("__Host-dog_session", "__Secure-dog_session", "DOG_SESSION", "session", "dog_session_"):
        assert show(server, secret, name) == 401, name
    assert ask(server, "/api/cameras", headers=dict(bearer(secret))).status == 401
    logged_out = ask(server, "/logout", "POST", {"Cookie": f"{COOKIE}={secret}", "Origin": server.url})
    assert logged_out.status == 303
    assert show(server, secret) == 401
    assert show(server, ended) == 200, "logging out ends one session"
    assert run_dog("user", "logout", "ada", cwd=tmp_path).returncode == 0
    while show(server, ended) == 200:  # known here within half a second
        pass
    assert show(server, ended) == 401


def test_what_a_browser_came_with_is_worth_nothing_once_somebody_has_logged_in(serve: Serve, tmp_path: Path) -> None:
    """Session fixation: neither a made-up cookie nor a stranger's own session is what the new one hangs on."""
    add_user(tmp_path, "ada", "manage")
    add_user(tmp_path, "mallory", "view")
    server = serve("--auth")
    stranger = read_cookie(log_in(server, "mallory"))
    for planted in ("A" * 43, stranger, "x"):
        mine = read_cookie(log_in(server, Cookie=f"{COOKIE}={planted}", Origin=server.url))
        assert mine != planted
        assert show(server, mine) == 200
        assert show(server, planted) == 401, "who planted it would be in, too"
        again = read_cookie(log_in(server, Cookie=f"{COOKIE}={mine}", Origin=server.url))
        assert (show(server, mine), show(server, again)) == (401, 200)


def test_the_session_s_cookie_is_kept_from_scripts_and_from_other_sites(serve: Serve, tmp_path: Path) -> None:
    add_user(tmp_path, "ada", "view")
    server = serve("--auth", "--base-url", "https://dog.example.org", "--trusted-proxies", "127.0.0.1")
    said = log_in(server, **{"X-Forwarded-Proto": "https", "X-Forwarded-Host": "dog.example.org"})
    cookie = said.headers["set-cookie"]
    assert cookie.startswith("__Host-dog_session=")
    assert {"HttpOnly", "Secure", "SameSite=Lax", "Path=/"} < set(cookie.split("; "))
    assert "Domain" not in cookie


def test_below_a_path_one_can_log_in_at_the_machine_s_own_address_too(serve: Serve, tmp_path: Path) -> None:
    add_user(tmp_path, "ada", "view")
    server = serve("--auth", "--base-url", "https://www.example.org/cam")
    said = log_in(server)
    assert "Path=/" in said.headers["set-cookie"].split("; ")
    assert show(server, read_cookie(said)) == 200


# ---- tokens, tickets and the first link


def test_a_token_that_is_cut_padded_or_in_another_case_is_none(
    serve: Serve, tmp_path: Path, accounts: Accounts
) -> None:
    token, removed = accounts.add_token("porch", "manage", None), accounts.add_token("old", "manage", None)
    expired = accounts.add_token("expired", "manage", in_days(-0.001))
    accounts.remove_token("old")
    server = serve("--auth")
    path = "/api/cameras"
    assert ask(server, path, headers=dict(bearer(token))).status == 200
    bare = token.removeprefix("dog_")
    for other in (
        removed,
        expired,
        bare,
        f"DOG_{bare}",
        f"dog-{bare}",
        f"dog_dog_{bare}",
        *(f"dog_{each}" for each in change_ways(bare)),
    ):
        assert ask(server, path, headers=dict(bearer(other))).status == 401, other
        assert ask(server, f"{path}?ticket={quote(other)}").status == 401, other
    for scheme in ("Basic", "Token", "Bearer:", "Bearer,", "Digest", ""):
        assert ask(server, path, headers={"Authorization": f"{scheme} {token}"}).status == 401, scheme
    for address in (
        f"?token={token}",
        f"?access_token={token}",
        f"?authorization=Bearer%20{token}",
        f"?ticket={token}",
    ):
        assert ask(server, path + address).status == 401, address
    for header in ("Cookie", "X-Api-Key", "X-Auth-Token", "Proxy-Authorization"):
        value = f"{COOKIE}={token}" if header == "Cookie" else f"Bearer {token}"
        assert ask(server, path, headers={header: value}).status == 401, header


def test_a_ticket_that_twenty_use_at_once_lets_one_in(serve: Serve, tmp_path: Path) -> None:
    token = add_token(tmp_path, "porch", "view")
    server = serve("--auth")
    for _ in range(5):
        ticket = json.loads(ask(server, "/api/tickets", "POST", token).body)["ticket"]
        assert sorted(ask_at_once(server, f"/api/cameras?ticket={ticket}")) == [200] + [401] * 19
        assert ask(server, f"/api/cameras?ticket={ticket}").status == 401


async def test_a_ticket_is_as_good_without_a_page(run: Run, accounts: Accounts) -> None:
    """For what shows neither a cookie nor a token, though it was asked for by a browser that has a cookie."""
    accounts.add_user("ada", "capture", PASSWORD)
    cookie = {"Cookie": f"{COOKIE}={accounts.add_session('ada', in_days(1))}", "Sec-Fetch-Site": "same-origin"}
    running = await run(auth=True, dead_time=0.0)
    tickets = []
    for _ in range(2):
        async with running.client.post("/api/tickets", headers=cookie) as answer:
            tickets.append((await answer.json())["ticket"])
    async with await open_push(running, f"?ticket={tickets[0]}") as push:
        assert (await hear(push, "hello"))["role"] == "capture"
    async with running.client.post(f"/api/captures?ticket={tickets[1]}") as answer:
        assert answer.status == 201


def test_the_first_link_that_twenty_open_at_once_lets_one_in(serve: Serve, tmp_path: Path) -> None:
    server = serve("--auth")
    link = server.wait_for(r"/enter/([\w-]{43})")[0]
    for forged in change_ways(link.removeprefix("/enter/")):
        assert ask(server, f"/enter/{quote(forged, safe='%')}").status in (404, 410), forged
        assert ask(server, f"/enter/{quote(forged, safe='%')}", "POST").status in (404, 410), forged
    for method in ("GET", "HEAD", "GET"):
        assert ask(server, link, method).status == 200, "a look uses nothing up"
    assert sorted(ask_at_once(server, link, "POST")) == [303] + [410] * 19
    assert ask(server, link).status == 410
    server.stop()
    server = serve("--auth")
    assert server.wait_for(r"/enter/([\w-]{43})")[0] != link, "nobody has a password who may manage"
    assert ask(server, link, "POST").status == 410
    server.stop()
    with Accounts(accounts_path(tmp_path / "snapshots")) as accounts:
        accounts.set_password("owner", PASSWORD)
    assert "/enter/" not in serve("--auth").stderr, "somebody has"


def test_nothing_that_lets_in_or_shows_a_photo_is_named_in_the_log(serve: Serve, tmp_path: Path) -> None:
    token = add_token(tmp_path, "script", "capture")
    server = serve("--auth", "--log-level", "debug", "--dead-time", "0")
    invitation = server.wait_for(r"/enter/([\w-]{43})")[1]
    entered = "\n".join(ask(server, f"/enter/{invitation}", "POST").head)
    (cookie,) = re.findall(rf"Set-Cookie: ({COOKIE}=[\w-]+)", entered)
    photo = take_photo(server, token)["snapshot"]
    manager = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
    made = ask(server, f"/api/snapshots/{photo}/links", "POST", manager, b"{}")
    shared = json.loads(made.body)["url"].rpartition("/")[2]
    ticket = json.loads(ask(server, "/api/tickets", "POST", token).body)["ticket"]
    for path in (f"/shared/{shared}", f"/shared/{shared}/picture.jpg", f"/latest.jpg?ticket={ticket}&camera=main"):
        assert ask(server, path).status == 200
    ask(server, f"/prefix/shared/{shared}?next=/enter/{invitation}")
    encoded = "".join(f"%{ord(letter):02X}" for letter in invitation)
    ask(server, f"/enter/{encoded}")
    ask(server, f"/latest.jpg?%74icket={encoded}")
    long = "x" * 9000  # as other services of this host make a browser's cookies
    bearer = token["Authorization"]
    for line in (f"Cookie: {cookie}; a={long}", f"Authorization: {bearer}{long}", f"Cookie : {cookie}", bearer):
        send(server, f"GET / HTTP/1.1\r\nHost: {HERE}\r\n{line}\r\n\r\n".encode())
    for target in (f"http://[::1/enter/{invitation}", f"/enter/{invitation} {cookie}", f"/enter/{invitation}\x01"):
        send(server, f"GET {target} HTTP/1.1\r\nHost: {HERE}\r\n\r\n".encode())
    assert server.stop() == 0
    log = (tmp_path / "server.log").read_text()
    for line in ("POST /enter/***", "GET /shared/***/picture.jpg", "GET /latest.jpg?ticket&camera"):
        assert line in log
    assert "Not HTTP: " in log
    assert (tmp_path / "server.log").stat().st_mode & 0o007 == 0
    keys = (encoded, invitation, shared, ticket, token["Authorization"].split()[1], cookie.partition("=")[2])
    assert [key for key in keys if key in log] == []


def ask_at_once(server: ServerProcess, path: str, method: str = "GET") -> list[int]:
    """Twenty that have all connected before the first asks; their statuses."""
    ready = threading.Barrier(20)
    statuses: list[int] = []

    def come() -> None:
        ready.wait()
        statuses.append(ask(server, path, method).status)

    threads = [threading.Thread(target=come) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


# ---- how a secret is looked for


class Noting(dict[bytes, Any]):
    """A dictionary that notes what is looked for in it."""

    def __init__(self, known: dict[bytes, Any], looked_for: list[object]) -> None:
        super().__init__(known)
        self.looked_for = looked_for

    def get(self, key: bytes, default: Any = None) -> Any:
        self.looked_for.append(key)
        return super().get(key, default)

    def __iter__(self) -> Any:
        raise AssertionError("they are gone through one by one")

    items = values = keys = __iter__


async def test_however_much_of_a_secret_is_right_its_hash_is_looked_up_once_and_nothing_is_compared(
    run: Run, accounts: Accounts
) -> None:
    """So that the time tells nothing of how near a guess was: near guesses have hashes that are as far as any."""
    accounts.add_user("ada", "view", PASSWORD)
    token, session = accounts.add_token("porch", "view", None), accounts.add_session("ada", in_days(1))
    running = await run(auth=True)
    access = running.service.access
    assert access is not None
    known, looked_for = access._data, list[object]()
    access._data = dataclasses.replace(
        known, tokens=Noting(known.tokens, looked_for), sessions=Noting(known.sessions, looked_for)
    )
    for secret, prefix, headers in (
        (token, "dog_", bearer),
        (session, "", lambda text: {"Cookie": f"{COOKIE}={text}"}),
    ):
        bare = secret.removeprefix(prefix)
        for right in range(44):
            guess = prefix + bare[:right] + "".join("A" if each != "A" else "B" for each in bare[right:])
            looked_for.clear()
            async with running.client.get("/api/visitor", headers=headers(guess)) as answer:
                assert answer.status == (401 if prefix and right < 43 else 200)
            assert looked_for == [hashlib.sha256(guess.encode()).digest()]
    access._data = known


# ---- who there is


async def test_every_wrong_login_is_as_much_work_and_gets_the_same_answer_whether_there_is_such_a_user_or_not(
    run: Run, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.add_user("ada", "manage", PASSWORD)
    accounts.add_user("owner", "manage", None)  # as the first link makes one: without a password
    verified: list[tuple[str, str]] = []
    verify = argon2.PasswordHasher.verify

    def note(self: argon2.PasswordHasher, hash: str, password: bytes) -> bool:
        verified.append((hash.rpartition("$")[0].rpartition("$")[0], threading.current_thread().name))
        return verify(self, hash, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", note)
    running = await run(auth=True, login_attempts=100)
    answers, work = set(), set()
    names = ("ada", "owner", "nobody", "Ada ", "ada\0", "x" * 200, "é" * 90)
    for accept, tried in (("*/*", names), ("text/html", names[:3])):
        for name in tried:
            verified.clear()
            form = {"name": name, "password": "wrong password"}
            async with running.client.post("/login", data=form, headers={"Accept": accept}) as answer:
                headers = {key: value for key, value in answer.headers.items() if key not in ("Date", "Content-Length")}
                said = (await answer.text()).replace(f'value="{name}"', "")  # it is there to be mended
            answers.add((accept, answer.status, tuple(sorted(headers.items())), said))
            assert len(verified) == 1, name
            work.update(verified)
    assert len(answers) == 2, answers
    assert len(work) == 1, work
    [(parameters, thread)] = work
    assert parameters.startswith("$argon2id$")
    assert thread.startswith("passwords")


async def test_who_tries_too_often_waits_as_long_for_a_user_as_for_nobody(run: Run, accounts: Accounts) -> None:
    accounts.add_user("ada", "manage", PASSWORD)
    running = await run(auth=True, login_attempts=1, trusted_proxies=("127.0.0.1",))
    told = []
    for number, name in enumerate(("ada", "nobody")):
        answers = []
        for attempt in range(2):
            headers = {"X-Forwarded-For": f"192.0.2.{2 * number + attempt}"}
            form = {"name": name, "password": "wrong password"}
            async with running.client.post("/login", data=form, headers=headers) as answer:
                answers.append((answer.status, answer.headers.get("Retry-After"), (await answer.json())["code"]))
        told.append(answers)
    assert told[0] == told[1] == [(401, None, "wrong_password"), (429, "1", "rate_limited")]


# ---- what somebody may


async def test_nobody_gives_themselves_a_role_by_asking_for_it(run: Run, accounts: Accounts) -> None:
    accounts.add_user("guest", "view", PASSWORD)
    token = accounts.add_token("porch", "view", None)
    running = await run(auth=True, dead_time=0.0)
    asked = {
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
    beside = {"X-Role": "manage", "X-Remote-User": "owner", "X-Forwarded-User": "owner", "Remote-User": "owner"}
    for known in (cookie, bearer(token)):
        headers = {**known, **beside, "Sec-Fetch-Site": "same-origin"}
        async with running.client.get("/api/visitor?role=manage", headers=headers) as answer:
            assert (await answer.json())["role"] == "view"
        for path in ("/api/captures", "/api/captures?role=capture", "/?role=manage"):
            async with running.client.post(path, json=asked, headers=headers) as answer:
                assert answer.status == 403, path
        async with running.client.post("/api/tickets?role=manage", json=asked, headers=headers) as answer:
            ticket = (await answer.json())["ticket"]
        async with running.client.get(f"/api/visitor?ticket={ticket}&role=manage") as answer:
            assert (await answer.json())["role"] == "view"
        async with await open_push(running, "?role=manage", token) as push:
            assert (await hear(push, "hello"))["role"] == "view"
            await say(push, type="capture", role="manage", request="r")
            assert (await hear(push, "error", "reply"))["code"] in ("forbidden", "bad_message")
            await say(push, type="auth", token=token, role="manage")
            again = await hear(push, "hello", "error")
            assert again.get("role", "view") == "view"
    assert running.camera.captures == 0
    assert {user.name: user.role for user in accounts.users()} == {"guest": "view"}


# ---- what nobody can see

ASKED: tuple[dict[str, str], ...] = (
    *({}, {"Accept": "text/html"}, {"If-None-Match": "*"}, {"If-None-Match": '"{id}"'}, {"If-Match": '"nothing"'}),
    *(
        {"Range": "bytes=0-0"},
        {"Range": "bytes=999999999-"},
        {"Cookie": "dog_snapshot={id}"},
        {"Expect": "100-continue"},
    ),
)
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND")


def test_who_is_not_known_learns_of_no_camera_no_photo_no_path_and_no_version(serve: Serve, tmp_path: Path) -> None:
    """Asked for a photo that is there they are told what they are told of one that is not, however they ask."""
    camera = "attic-window"
    (tmp_path / "dog.toml").write_text(f'[cameras.{camera}]\ncamera = "test"\ndead_time = 0\n')
    token = add_token(tmp_path, "script", "manage")
    server = serve("--auth")
    photo = take_photo(server, token)["snapshot"]
    link = json.loads(ask(server, f"/api/snapshots/{photo}/links", "POST", token).body)["link"]
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
            for headers in ASKED if method in ("GET", "HEAD") else ASKED[:2]:
                told = []
                for snapshot, of_link in ((photo, link), ("a" * 24, "b" * 24)):
                    fields = {name: value.replace("{id}", snapshot) for name, value in headers.items()}
                    filled = fill(path, id=snapshot, link=of_link, token=f"{of_link}.{'A' * 43}", invitation="A" * 43)
                    said = ask(server, filled + f"?camera=x&after={snapshot}&before={snapshot}", method, dict(fields))
                    head = [line for line in said.head if not line.startswith(("Date: ", "Server: "))]
                    whole = "\n".join((*head, said.body.decode()))
                    for named in (quote(filled), filled, snapshot, of_link):
                        whole = whole.replace(named, "")
                    told.append(whole)
                    assert not [each for each in hidden if each in whole], (method, filled, headers, said)
                    if path != "/static/{name}":
                        assert said.status not in (206, 304, 412, 416, 500), (method, filled, headers, said)
                assert told[0] == told[1], (method, path, headers)


def test_no_condition_gets_an_answer_out_of_a_photo_that_one_may_not_see(serve: Serve, tmp_path: Path) -> None:
    token = add_token(tmp_path, "script", "capture")
    server = serve("--auth")
    photo = take_photo(server, token)
    for path in (photo["url"], photo["thumbnail"], "/latest.jpg"):
        etag = ask(server, path, headers=token).headers["etag"]
        known = ask(server, path, headers={**token, "If-None-Match": etag})
        assert known.status == 304
        for headers in (
            {"If-None-Match": etag},
            {"If-Match": etag},
            {"If-Range": etag, "Range": "bytes=0-9"},
            {"Range": "bytes=0-"},
        ):
            for method in ("GET", "HEAD"):
                said = ask(server, path, method, dict(headers))
                assert said.status == 401, (method, path, headers)
                assert "etag" not in said.headers


async def test_who_is_not_known_hears_nothing_of_what_happens(run: Run, accounts: Accounts) -> None:
    token = accounts.add_token("shutter", "capture", None)
    running = await run(auth=True, dead_time=0.0)
    async with await open_push(running) as push:
        said = await hear(push, "error", "hello")
        assert set(said) == {"type", "code", "message", "temporary"}
        for text in (
            '{"type":"ping"}',
            '{"type":"resume","cursor":"0-0"}',
            '{"type":"capture"}',
            "[]",
            "{",
            '{"type":"auth","token":5}',
        ):
            await push.send(text)
            assert (await hear(push, "error", "pong", "hello"))["code"] in ("unauthorized", "bad_message", "bad_json")
        async with running.client.post("/api/captures", headers=bearer(token)) as answer:
            assert answer.status == 201
        await push.send('{"type":"ping"}')
        last = json.loads(await push.recv())
        assert (last["type"], last["code"]) == ("error", "unauthorized"), "an event came before it"
    assert running.service.hub.count == 0


def test_a_request_that_is_no_http_is_not_told_what_the_service_is_made_of(serve: Serve) -> None:
    server = serve("--auth")
    for asked in (
        b"GET /\rx HTTP/1.1",
        b"\x16\x03\x01",
        b"GET / HTTP/9.9",
        b"GET  / HTTP/1.1",
        b"x" * 9000,
        b"GET / HTTP/1.1\r\nHost",
    ):
        said = send(server, asked + b"\r\n\r\n").decode("latin-1").lower()
        assert "400 bad request" in said, asked
        assert not [each for each in ("aiohttp", "python", "traceback", "/site-packages") if each in said], said
