"""HTTP Basic, with a token as the password."""

import base64
import json
import logging
import subprocess
from pathlib import Path

import httpx
import pytest
from aiohttp import ClientSession

from tests.conftest import Run, Serve
from tests.support.accounts import PASSWORD, add_session, add_token, add_user
from tests.support.raw_requests import COOKIE, Response, fetch, log_in, take_photo
from tests.support.server_process import ServerProcess

BROWSER = {"Accept-Language": "en", "User-Agent": "Mozilla/5.0"}
"""Headers of a browser over plain HTTP, for an image on a page without a referrer."""
CHALLENGE = "WWW-Authenticate: Basic realm="


def basic(password: str, name: str = "homeassistant") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


@pytest.fixture
def guarded(serve: Serve, tmp_path: Path) -> tuple[ServerProcess, str]:
    """Return a server with a photo, and a token that may manage."""
    token = add_token(tmp_path, "dashboard", "manage")
    server = serve("--auth", "--dead-time", "0", "--login-attempts", "4")
    take_photo(server, {"Authorization": f"Bearer {token}"})
    return server, token


def has_challenge(response: Response) -> bool:
    return any(line.startswith(CHALLENGE) for line in response.head)


def test_token_is_a_password_with_any_user_name(guarded: tuple[ServerProcess, str]) -> None:
    server, token = guarded
    for name in "", "admin", "küche", "a b":
        for scheme in "Basic", "basic", "BASIC":
            headers = {"Authorization": basic(token, name)["Authorization"].replace("Basic", scheme)}
            response = fetch(server, "/api/visitor", headers=headers)
            assert json.loads(response.body) == {"role": "manage", "name": "dashboard"}


def test_basic_is_subject_to_the_csrf_checks_of_cookies(guarded: tuple[ServerProcess, str]) -> None:
    server, token = guarded
    own = server.url.rstrip("/")
    foreign: list[dict[str, str]] = [
        {},
        BROWSER,
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "image"},
        {"Referer": "https://evil.example/"},
    ]
    for page in foreign:
        for method, path in ("POST", "/api/captures"), ("POST", "/"), ("GET", "/latest.jpg?max_age=0"):
            response = fetch(server, path, method, {**basic(token), **page})
            assert response.status == 403, (page, path)
            assert response.code == "forbidden"
        if page:
            for path in "/preview.mjpg", "/events":
                assert fetch(server, path, headers={**basic(token), **page}).status == 403, (page, path)
    assert (
        "as `Authorization: Bearer`" in json.loads(fetch(server, "/api/captures", "POST", basic(token)).body)["detail"]
    )
    for page in {"Origin": own}, {"Sec-Fetch-Site": "same-origin"}, {"Referer": f"{own}/"}:
        assert fetch(server, "/api/captures", "POST", {**basic(token), **page}).status == 201
        assert fetch(server, "/preview.mjpg", headers={**basic(token), **page}).status == 200
    for path in "/preview.mjpg", "/events":
        assert fetch(server, path, headers=basic(token)).status == 200, "a program that only watches"


def test_page_of_a_listed_origin_cannot_use_a_browsers_basic_credentials(serve: Serve, tmp_path: Path) -> None:
    token = add_token(tmp_path, "dashboard", "manage")
    server = serve("--auth", "--origins", "https://blog.example")
    page = {**basic(token), "Origin": "https://blog.example"}
    assert fetch(server, "/api/captures", "POST", page).status == 403
    assert fetch(server, "/api/captures", "POST", {**page, "Authorization": f"Bearer {token}"}).status == 201


def test_wrong_tokens_count_like_wrong_passwords(guarded: tuple[ServerProcess, str]) -> None:
    server, token = guarded
    wrong = [f"dog_{'x' * 43}", token[:-1], token + "x", "a password"]
    for password in wrong:
        response = fetch(server, "/latest.jpg", headers=basic(password))
        assert (response.status, response.code) == (401, "unauthorized"), password
    response = fetch(server, "/latest.jpg", headers=basic(wrong[0]))
    assert (response.status, response.code) == (429, "rate_limited")
    assert int(response.headers["retry-after"]) >= 1
    assert log_in(server).status == 429, "the login has the same count"
    assert fetch(server, "/latest.jpg", headers=basic(token)).status == 200, "a right token is no guess"


def test_other_schemes_and_a_proxys_password_are_ignored(serve: Serve, tmp_path: Path) -> None:
    """A browser sends a proxy's password with each request of our pages."""
    add_user(tmp_path, "ada", "capture")
    session = {"Cookie": f"{COOKIE}={add_session(tmp_path, 'ada')}"}
    server = serve("--auth", "--login-attempts", "2")
    for other in (
        basic("the proxy's password"),
        {"Authorization": "Digest username=x"},
        {"Authorization": "Negotiate YII="},
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic"},
        {"Authorization": f"Basic {base64.b64encode(bytes([255, 58, 255])).decode()}"},
    ):
        assert json.loads(fetch(server, "/api/visitor", headers={**session, **other}).body)["name"] == "ada"
        for _ in range(3):
            response = fetch(server, "/api/cameras", headers={**other, **BROWSER})
            assert (response.status, has_challenge(response)) == (401, False)
        assert fetch(server, "/login", headers={**other, **BROWSER}).status == 200
    assert log_in(server, password=PASSWORD).status == 303, "nothing was counted"


def test_only_programs_that_fetch_images_are_asked_for_basic(guarded: tuple[ServerProcess, str]) -> None:
    server, token = guarded
    photo = json.loads(fetch(server, "/api/snapshots", headers=basic(token)).body)["snapshots"][0]
    images = ["/latest.jpg", "/latest.jpg?t=3", "/preview.mjpg", photo["url"], photo["thumbnail"]]
    for path in images:
        assert has_challenge(fetch(server, path)), path
        assert fetch(server, path).headers["www-authenticate"] != "", "and Bearer"
        for header in (
            BROWSER,
            {"Sec-Fetch-Site": "same-origin"},
            {"Referer": server.url},
            {"Origin": server.url},
            {"Cookie": f"{COOKIE}=ended"},
        ):
            response = fetch(server, path, headers=header)
            assert (response.status, has_challenge(response)) == (401, False), (path, header)
    for path in "/", "/snapshots", "/api/snapshots", "/api/cameras", "/events", "/metrics", "/nowhere":
        assert not has_challenge(fetch(server, path)), path
    assert not has_challenge(fetch(server, "/latest.jpg", "GET", {"Accept": "text/html", **BROWSER}))


async def test_basic_over_plain_http_from_elsewhere_is_logged_seldom_without_the_token(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = add_token(tmp_path, "dashboard", "view")
    running = await run(auth=True, trusted_proxies=("127.0.0.1",))
    await running.service.cameras["main"].capture_and_wait(0)
    caplog.set_level(logging.WARNING)
    for address, scheme in (
        ("127.0.0.9", "http"),
        ("192.0.2.4", "https"),
        ("192.0.2.5", "http"),
        ("192.0.2.6", "http"),
    ):
        headers = {**basic(token), "X-Forwarded-For": address, "X-Forwarded-Proto": scheme}
        async with running.client.get("/latest.jpg", headers=headers) as answer:
            assert answer.status == 200
    [warning] = [each.getMessage() for each in caplog.records if "plain HTTP" in each.getMessage()]
    assert warning.startswith("192.0.2.5 sends its token as a password over plain HTTP")
    assert token not in caplog.text
    assert basic(token)["Authorization"].partition(" ")[2] not in caplog.text


# ---- the clients themselves


async def test_home_assistants_generic_camera_fetches_the_newest_photo(guarded: tuple[ServerProcess, str]) -> None:
    """It uses httpx, and sends Basic at once (docs/clients.md)."""
    server, token = guarded
    async with httpx.AsyncClient(headers={"User-Agent": "HomeAssistant/2026.11"}, follow_redirects=True) as client:
        auth = httpx.BasicAuth("dog", token)
        answer = await client.get(f"{server.url}/latest.jpg", auth=auth, timeout=10)
        answer.raise_for_status()
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.content[:2] == b"\xff\xd8"
        assert len(answer.history) == 0
        refused = await client.get(f"{server.url}/latest.jpg", auth=httpx.BasicAuth("dog", "wrong"), timeout=10)
        assert refused.status_code == 401


async def test_home_assistants_mjpeg_camera_watches_the_live_view(guarded: tuple[ServerProcess, str]) -> None:
    """It uses aiohttp, and sends Basic at once."""
    server, token = guarded
    async with (
        ClientSession(headers={"User-Agent": "HomeAssistant/2026.11"}) as session,
        session.get(f"{server.url}/preview.mjpg", headers=basic(token)) as answer,
    ):
        assert (answer.status, answer.content_type) == (200, "multipart/x-mixed-replace")
        assert b"\xff\xd8" in await answer.content.readuntil(b"\xff\xd9")


def run_program(*arguments: str | Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([str(each) for each in arguments], capture_output=True, timeout=60, check=False)


def test_wget_fetches_an_image_after_a_challenge(guarded: tuple[ServerProcess, str], tmp_path: Path) -> None:
    server, token = guarded
    file = tmp_path / "photo.jpg"
    ended = run_program(
        "wget", "--quiet", "--user=any", f"--password={token}", f"--output-document={file}", f"{server.url}/latest.jpg"
    )
    assert ended.returncode == 0, ended.stderr
    assert file.read_bytes()[:2] == b"\xff\xd8"


def test_curl_fetches_an_image_and_the_live_view(guarded: tuple[ServerProcess, str]) -> None:
    server, token = guarded
    ended = run_program("curl", "-sS", "--user", f"any:{token}", f"{server.url}/latest.jpg")
    assert ended.stdout[:2] == b"\xff\xd8", ended.stderr
    command = ["curl", "-sS", "--user", f"any:{token}", f"{server.url}/preview.mjpg"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        assert b"image/jpeg" in watching.stdout.readline() + watching.stdout.readline()
        watching.terminate()
