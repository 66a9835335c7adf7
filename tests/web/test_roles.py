"""Roles: each operation with each role, against the table of routes."""

import asyncio
import contextlib
import datetime as dt
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp.typedefs import LooseHeaders
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from dog.auth import ROLES, Accounts, Role, allows
from dog.client import Client, Forbidden
from dog.protocol import Hello
from dog.web.apidocs.operation import Operation
from dog.web.routes import OPERATIONS
from tests.conftest import Run, Serve
from tests.support.accounts import bearer, open_accounts
from tests.support.operations import PUBLIC_OPERATIONS, fill_path, operation_name
from tests.support.pushes import open_push, receive, send_message
from tests.support.running import Running, until
from tests.support.server_process import run_dog

MANAGE_OPERATIONS = {
    "DELETE /api/links/{link}",
    "DELETE /api/snapshots/{id}",
    "DELETE /api/snapshots/{id}/pin",
    "GET /api/cameras/{camera}/links",
    "GET /api/snapshots/{id}/links",
    "GET /cameras/{camera}/links",
    "GET /snapshots/{id}/delete",
    "GET /snapshots/{id}/links",
    "POST /api/cameras/{camera}/links",
    "POST /api/snapshots/{id}/links",
    "POST /cameras/{camera}/links",
    "POST /cameras/{camera}/links/{link}/revoke",
    "POST /snapshots/{id}/delete",
    "POST /snapshots/{id}/links",
    "POST /snapshots/{id}/links/{link}/revoke",
    "POST /snapshots/{id}/pin",
    "PUT /api/snapshots/{id}/pin",
}
"""Operations that require the role manage."""
CAPTURE_OPERATIONS = {"POST /", "POST /api/captures"}
ENDLESS = {"/events", "/preview.mjpg"}


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    with open_accounts(tmp_path) as accounts:
        yield accounts


async def get_status(running: Running, operation: Operation, headers: LooseHeaders) -> int:
    """Return the status of a response, without reading its body."""
    async with running.client.request(
        operation.method, fill_path(operation.path), headers=headers, allow_redirects=False
    ) as answer:
        return answer.status


def test_each_operation_requires_the_expected_role() -> None:
    taken = {operation_name(operation): operation.role for operation in OPERATIONS}
    assert {name for name, role in taken.items() if role is None} == PUBLIC_OPERATIONS
    assert {name for name, role in taken.items() if role == "manage"} == MANAGE_OPERATIONS
    assert {name for name, role in taken.items() if role == "capture"} == CAPTURE_OPERATIONS


@pytest.mark.parametrize("role", [None, *ROLES])
async def test_each_operation_is_allowed_exactly_for_its_role(run: Run, accounts: Accounts, role: Role | None) -> None:
    headers = {} if role is None else bearer(accounts.add_token("somebody", role, None))
    running = await run(auth=True, dead_time=0.0)
    for operation in OPERATIONS:
        if operation.path in ENDLESS and allows(role, operation.role):
            continue  # tested below
        status = await get_status(running, operation, headers)
        refusal = 401 if role is None else 403
        assert (status == refusal) == (not allows(role, operation.role)), (operation_name(operation), status)


# ---- the push


async def receive_close_code(push: ClientConnection) -> int:
    """Return the server's close code."""
    with contextlib.suppress(ConnectionClosed):
        async for _message in push:
            pass
    assert push.close_code is not None
    return push.close_code


async def test_a_first_message_with_a_token_makes_a_viewer_with_its_role(run: Run, accounts: Accounts) -> None:
    token = accounts.add_token("porch", "view", None)
    running = await run(auth=True)
    async with open_push(running.url) as push:
        first = await receive(push, "error", "hello")
        assert (first["type"], first["code"]) == ("error", "unauthorized")
        assert running.service.hub.count == 0
        await send_message(push, type="capture", request="r")
        assert (await receive(push, "error", "reply"))["code"] == "unauthorized"
        await send_message(push, type="resume", cursor="0-0")
        assert (await receive(push, "error", "hello"))["code"] == "unauthorized"
        await send_message(push, type="auth", token=token)
        assert (await receive(push, "hello"))["role"] == "view"
        assert running.service.hub.count == 1
        await send_message(push, type="capture", request="r")
        refused = await receive(push, "error", "reply")
        assert (refused["code"], refused["request"]) == ("forbidden", "r")
    assert running.camera.captures == 0


async def test_a_token_in_the_handshake_makes_a_viewer_with_its_role(run: Run, accounts: Accounts) -> None:
    token = accounts.add_token("shutter", "capture", None)
    running = await run(auth=True, dead_time=0.0)
    async with open_push(running.url, token=token) as push:
        assert (await receive(push, "hello", "error"))["role"] == "capture"
        await send_message(push, type="capture", request="r")
        assert (await receive(push, "reply", "error"))["outcome"] == "started"
        await receive(push, "ready")


async def test_an_invalid_token_closes_the_connection(run: Run, accounts: Accounts) -> None:
    running = await run(auth=True)
    async with open_push(running.url) as push:
        await send_message(push, type="auth", token="dog_" + 43 * "A")
        assert await receive_close_code(push) == 4401
    assert running.service.hub.count == 0


async def test_messages_in_the_same_packet_as_the_token_are_answered_to_the_viewer(
    run: Run, accounts: Accounts
) -> None:
    token = accounts.add_token("shutter", "capture", None)
    running = await run(auth=True, dead_time=0.0)
    async with open_push(running.url) as push:
        for message in (
            {"type": "ping"},
            {"type": "auth", "token": token},
            {"type": "capture", "request": "r"},
            {"type": "ping", "request": "p"},
        ):
            push.protocol.send_text(json.dumps(message).encode())
        packet = b"".join(push.protocol.data_to_send())
        push.transport.write(packet[:-5])
        answers = [await receive(push, "error", "pong", "hello", "reply") for _ in range(4)]
        assert [answer["type"] for answer in answers] == ["error", "error", "hello", "reply"]
        assert (answers[3]["request"], answers[3]["outcome"]) == ("r", "started")
        push.transport.write(packet[-5:])
        assert (await receive(push, "error", "pong"))["request"] == "p"
        assert running.service.metrics.registry.get_sample_value("dog_connections") == 1
    await until(lambda: running.service.metrics.registry.get_sample_value("dog_connections") == 0)


async def test_the_message_rate_counts_the_messages_before_the_token(run: Run, accounts: Accounts) -> None:
    token = accounts.add_token("shutter", "capture", None)
    running = await run(auth=True, message_rate=0.001, message_burst=3)
    async with open_push(running.url) as push:
        for message in ({"type": "ping"}, {"type": "auth", "token": token}, {"type": "ping"}, {"type": "ping"}):
            await send_message(push, **message)
        answers = [await receive(push, "error", "pong") for _ in range(4)]
        assert [answer.get("code") for answer in answers] == ["unauthorized", "unauthorized", None, "rate_limited"]


async def test_a_client_that_sends_no_token_in_time_is_disconnected(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dog.web.handlers.websocket.AUTH_TIMEOUT", 0.05)
    running = await run(auth=True)
    async with open_push(running.url) as push:
        assert (await receive(push, "error", "hello"))["code"] == "unauthorized"
        assert (await receive_close_code(push), push.close_reason) == (4401, "authentication timeout")


async def test_an_anonymous_viewer_can_authenticate_and_loses_no_event(run: Run, accounts: Accounts) -> None:
    token = accounts.add_token("shutter", "capture", None)
    running = await run(auth=True, anonymous="view", dead_time=0.0)
    async with open_push(running.url) as push:
        assert (await receive(push, "hello", "error"))["role"] == "view"
        await send_message(push, type="auth", token="dog_" + 43 * "A", request="a")
        refused = await receive(push, "error", "hello")
        assert (refused["code"], refused["request"]) == ("unauthorized", "a")
        await send_message(push, type="auth", token=token)
        again = await receive(push, "hello", "error")
        assert (again["role"], again["recovered"]) == ("capture", True)
        await send_message(push, type="capture")
        assert [(await receive(push, "capturing", "ready"))["seq"] for _ in range(2)] == [1, 2]
    assert running.service.hub.count == 0


@pytest.mark.parametrize(("taken", "code"), [("removed", 4401), ("role", 1012)])
async def test_a_role_change_closes_the_connections_that_use_it(
    run: Run, accounts: Accounts, taken: str, code: int
) -> None:
    token, other = (accounts.add_token(name, "manage", None) for name in ("one", "other"))
    running = await run(auth=True)
    async with open_push(running.url, token=token) as push, open_push(running.url, token=other) as bystander:
        await receive(push, "hello")
        await receive(bystander, "hello")
        async with running.client.get("/events", headers=bearer(token)) as events:
            await events.content.readuntil(b"hello")
            if taken == "removed":
                accounts.remove_token("one")
            else:
                accounts.set_token_role("one", "view")
            assert await receive_close_code(push) == code
            await events.content.read()  # to its end
        await send_message(bystander, type="ping", request="p")
        assert (await receive(bystander, "pong"))["request"] == "p"
        assert running.service.hub.count == 1


@pytest.mark.parametrize("way", ["after", "max_age", "the interface", "the page"])
async def test_a_wait_for_a_photo_gets_401_if_the_token_is_revoked(run: Run, accounts: Accounts, way: str) -> None:
    token, other = (accounts.add_token(name, "capture", None) for name in ("one", "other"))
    running = await run(auth=True, dead_time=0.0)
    async with running.client.post("/api/captures", headers=bearer(other)) as answer:
        first = (await answer.json())["snapshot"]
    running.camera.held = True
    ways = {"after": f"/latest.jpg?after={first}", "max_age": "/latest.jpg?max_age=0"}
    posts = {"the interface": "/api/captures", "the page": "/"}
    asking = (
        running.client.get(ways[way], headers=bearer(token))
        if way in ways
        else running.client.post(posts[way], headers=bearer(token), allow_redirects=False)
    )
    waiting = asyncio.ensure_future(asking)
    if way != "after":
        await running.camera.exposing.wait()
    changed = asyncio.Event()
    recheck_roles = running.service.live_sessions.recheck_roles

    def note() -> None:
        recheck_roles()
        changed.set()

    access = running.service.auth
    assert access is not None
    access.on_change = note
    accounts.remove_token("one")
    await changed.wait()
    pressing = asyncio.ensure_future(running.client.post("/api/captures", headers=bearer(other)))
    await running.camera.release()
    assert (await waiting).status == 401
    running.camera.held = False
    if not pressing.done() and way != "after":
        await running.camera.release()
    assert (await pressing).status == 201


# ---- tickets


async def test_a_ticket_works_for_one_request(run: Run, accounts: Accounts) -> None:
    token = accounts.add_token("porch", "view", None)
    running = await run(auth=True)
    assert (await running.client.post("/api/tickets")).status == 401
    async with running.client.post("/api/tickets", headers=bearer(token)) as answer:
        assert answer.status == 201
        response = await answer.json()
    async with open_push(running.url, f"?ticket={response['ticket']}") as push:
        assert (await receive(push, "hello", "error"))["role"] == "view"
    for address in (f"/api/cameras?ticket={response['ticket']}", "/api/cameras?ticket=", "/api/cameras?ticket=%00"):
        assert (await running.client.get(address)).status == 401


async def test_api_visitor_returns_the_role_and_name(run: Run, accounts: Accounts) -> None:
    token = accounts.add_token("Porch", "capture", None)
    running = await run(auth=True)
    async with running.client.get("/api/visitor", headers=bearer(token)) as answer:
        assert await answer.json() == {"role": "capture", "name": "Porch"}
    async with running.client.get("/api/visitor") as answer:
        assert await answer.json() == {}


async def test_logging_in_never_gives_fewer_rights_than_anonymous(run: Run, accounts: Accounts) -> None:
    watching, managing = (accounts.add_token(role, role, None) for role in ("view", "manage"))
    running = await run(auth=True, anonymous="capture", dead_time=0.0)
    for token, role in ((watching, "capture"), (managing, "manage")):
        async with running.client.get("/api/visitor", headers=bearer(token)) as answer:
            assert (await answer.json())["role"] == role
        async with running.client.post("/api/captures", headers=bearer(token)) as answer:
            assert answer.status == 201


# ---- without accounts


async def test_without_auth_local_clients_have_all_rights_and_no_login_page(run: Run) -> None:
    running = await run()
    async with running.watch() as events:
        assert events.hello["role"] == "manage"
    assert (await running.client.get("/login")).status == 404


@pytest.mark.parametrize("name", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"])
async def test_requests_through_an_unlisted_local_proxy_are_refused(run: Run, name: str) -> None:
    running = await run()
    async with running.client.get("/api/cameras", headers={name: "192.0.2.1"}) as answer:
        assert answer.status == 403
        assert "--trusted-proxies" in (await answer.json())["detail"]
    async with running.client.post("/api/captures", headers={name: "192.0.2.1"}) as answer:
        assert answer.status == 403
    assert running.camera.captures == 0
    served = await run(
        trusted_proxies=("127.0.0.1",),
        auth=True,
        anonymous="view",
        snapshots=running.service.settings.snapshots.parent / "other",
    )
    async with served.client.get("/api/cameras", headers={"X-Forwarded-For": "192.0.2.1"}) as answer:
        assert answer.status == 200


async def test_an_open_service_lets_all_clients_press_and_none_manage(run: Run) -> None:
    running = await run(open=True, dead_time=0.0)
    async with running.watch() as events:
        assert events.hello["role"] == "capture"
    async with running.client.post("/api/captures") as answer:
        assert answer.status == 201
        snapshot = (await answer.json())["snapshot"]
    async with running.client.delete(f"/api/snapshots/{snapshot}") as answer:
        assert answer.status == 403
        assert "--auth" in (await answer.json())["detail"]
    async with running.client.get(f"/snapshots/{snapshot}", headers={"Accept": "text/html"}) as answer:
        page = await answer.text()
    assert not [each for each in ("delete", "pin", "share") if f'id="{each}"' in page]


# ---- dog.client, and the commands on it


async def test_the_client_library_sends_its_token_and_explains_a_missing_one(run: Run, accounts: Accounts) -> None:
    token = accounts.add_token("script", "capture", None)
    running = await run(auth=True, dead_time=0.0)
    async with Client(running.url, token=token) as dog:
        photo = await dog.capture()
        assert len(await photo.read()) == photo.bytes
        hello = await anext(dog.events())
        assert isinstance(hello, Hello)
        assert hello.role == "capture"
    for wrong in (None, "dog_" + 43 * "A"):
        async with Client(running.url, token=wrong) as dog:
            with pytest.raises(Forbidden, match="refused access"):
                await dog.capture()
            with pytest.raises(Forbidden, match="refused access"):
                await anext(dog.events())


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "é", "a\r\nX-Evil: 1"])
def test_a_malformed_token_is_refused_by_the_client_library(token: str) -> None:
    with pytest.raises(ValueError, match="one word"):
        Client("http://127.0.0.1:1", token=token)


def test_the_commands_send_the_token_of_a_file_or_of_the_variable(serve: Serve, tmp_path: Path) -> None:
    with open_accounts(tmp_path) as accounts:
        token = accounts.add_token("script", "capture", None)
    server = serve("--auth", "--dead-time", "60")
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    for mode, response in (
        (0o644, f"dog: {file} can be read by other users of this computer. Run: chmod 600 {file}\n"),
        (0o600, ""),
    ):
        file.chmod(mode)
        ended = run_dog("snap", server.url, "--json", "--token-file", str(file), cwd=tmp_path)
        assert (ended.returncode, ended.stderr) == (0, response)
    listed = run_dog("gallery", server.url, "--json", cwd=tmp_path, env={"DOG_TOKEN": token})
    assert len(listed.stdout.splitlines()) == 1
    refused = run_dog("gallery", server.url, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "refused access: You must log in, or send a token, to do this" in refused.stderr
    both = run_dog("gallery", f"http://ada:pw@127.0.0.1:{server.port}", "--token-file", str(file), cwd=tmp_path)
    assert both.returncode != 0
    assert both.stderr.startswith("dog: the URL has a user and a password, and there is a token. Leave one")
    endless = run_dog("gallery", server.url, "--token-file", "/dev/zero", cwd=tmp_path)
    assert (endless.returncode, endless.stderr.count("\n")) == (2, 1)
    file.write_text("two words\n")
    wrong = run_dog("gallery", server.url, "--token-file", str(file), cwd=tmp_path)
    assert wrong.returncode == 2
    assert "contains no valid token" in wrong.stderr


# ---- pages of listed origins


def test_a_new_token_works_as_soon_as_its_command_has_ended(serve: Serve, tmp_path: Path) -> None:
    server = serve("--auth")
    for number in range(3):
        made = run_dog("token", "add", f"cron{number}", "--role", "view", cwd=tmp_path)
        request = urllib.request.Request(f"{server.url}/api/cameras", headers=bearer(made.stdout.strip()))
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200


async def test_a_page_of_a_listed_origin_needs_a_token_because_its_cookie_is_refused(
    run: Run, accounts: Accounts
) -> None:
    accounts.add_user("ada", "manage", None)
    session = accounts.add_session("ada", dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    token = accounts.add_token("listed", "view", None)
    listed = "http://127.0.0.1:3000"
    running = await run(auth=True, origins=(listed,), dead_time=0.0)
    page = {"Origin": listed, "Cookie": f"dog_session={session}"}
    for method, path in (("POST", "/api/captures"), ("POST", "/api/tickets"), ("POST", "/"), ("POST", "/logout")):
        assert (await running.client.request(method, path, headers=page)).status == 403
    handshake = f"{running.url.replace('http', 'ws', 1)}/ws"
    with pytest.raises(InvalidStatus, match="403"):
        await connect(handshake, origin=Origin(listed), additional_headers={"Cookie": page["Cookie"]})
    async with connect(handshake, origin=Origin(listed), additional_headers=bearer(token)) as push:
        assert (await receive(push, "hello", "error"))["role"] == "view"
    assert running.camera.captures == 0


async def test_an_anonymous_client_gets_no_ticket(run: Run) -> None:
    running = await run(auth=True, anonymous="view")
    assert (await running.client.post("/api/tickets")).status == 401


async def test_an_image_on_another_site_does_not_start_the_live_view(run: Run) -> None:
    running = await run()
    foreign = {"Sec-Fetch-Site": "cross-site", "Referer": "https://evil.example/"}
    assert (await running.client.get("/preview.mjpg", headers=foreign)).status == 403
