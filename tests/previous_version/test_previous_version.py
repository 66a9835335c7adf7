"""Albums, scripts and settings of the previous version still work.

record.py made what is compared here.
"""

import io
import json
import re
import ssl
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import dog.client
from dog.web.routes import OPERATIONS
from tests.conftest import Serve
from tests.previous_version.album import CONFIG, RECORDED, unpack, write_cameras
from tests.previous_version.conversation import MARK, SERVER, Player, find_differences
from tests.support.server_process import ServerProcess, run_dog
from tests.support.watch_process import WatchProcess

ALBUM: dict[str, Any] = json.loads((RECORDED / "album.json").read_text())
SETTINGS: dict[str, Any] = json.loads((RECORDED / "settings.json").read_text())
CLIENT: dict[str, list[str]] = json.loads((RECORDED / "client.json").read_text())
PHOTOS: list[dict[str, Any]] = ALBUM["photos"]


@pytest.fixture
def server(serve: Serve, tmp_path: Path) -> ServerProcess:
    """Today's server on a copy of the recorded album."""
    unpack("album.tar.gz", tmp_path)
    write_cameras(tmp_path)
    (tmp_path / "dog.toml").write_text(CONFIG)
    return serve()


def call(
    server: ServerProcess, method: str, path: str, *, role: str | None = "view", cookie: str = ""
) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {ALBUM['tokens'][role]}"} if role else {}
    headers |= {"Cookie": cookie} if cookie else {}
    request = urllib.request.Request(server.url + path, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def read(server: ServerProcess, path: str, **who: Any) -> Any:
    status, body = call(server, "GET", path, **who)
    assert status == 200, body
    return json.loads(body)


# ---- the album


def test_every_photo_of_the_album_is_there_with_its_data_and_its_thumbnail(server: ServerProcess) -> None:
    assert len(PHOTOS) == 6
    assert {photo["content_type"] for photo in PHOTOS} == {"image/jpeg", "image/webp"}
    listed = read(server, "/api/snapshots")["snapshots"]
    assert [one["snapshot"] for one in listed] == [photo["snapshot"] for photo in reversed(PHOTOS)]
    for photo in PHOTOS:
        found = read(server, f"/api/snapshots/{photo['snapshot']}")
        assert not list(find_differences(photo, found, {}))
        status, image = call(server, "GET", photo["url"])
        assert (status, len(image)) == (200, photo["bytes"])
        assert call(server, "GET", photo["thumbnail"])[0] == 200
        assert call(server, "GET", photo["page"])[0] == 200


def test_the_index_of_the_album_is_taken_as_it_is(server: ServerProcess, tmp_path: Path) -> None:
    assert server.stop() == 0
    assert "WARNING" not in server.stderr
    assert "ERROR" not in server.stderr
    folder = tmp_path / "snapshots" / ".dog"
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        ["access.sqlite3", "epoch", "facts.sqlite3", "incoming", "index.old.sqlite3", "index.sqlite3", "lock"]
    )
    verified = run_dog("album", "verify", cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_rebuild_of_the_index_keeps_pins_removals_and_share_links(server: ServerProcess, tmp_path: Path) -> None:
    assert server.stop() == 0
    rebuilt = run_dog("album", "rebuild", cwd=tmp_path)
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
    server.start()
    assert_decisions_count(server)
    for photo in PHOTOS:
        assert not list(find_differences(photo, read(server, f"/api/snapshots/{photo['snapshot']}"), {}))


def test_pins_removals_and_share_links_of_the_album_still_count(server: ServerProcess) -> None:
    assert_decisions_count(server)


def assert_decisions_count(server: ServerProcess) -> None:
    pinned = [photo["snapshot"] for photo in PHOTOS if photo["pinned"]]
    assert len(pinned) == 2
    for photo in PHOTOS:
        assert read(server, f"/api/snapshots/{photo['snapshot']}")["pinned"] is (photo["snapshot"] in pinned)
    for path in ("/snapshots/{}.jpg", "/snapshots/{}", "/snapshots/{}/thumbnail.jpg", "/api/snapshots/{}"):
        assert call(server, "GET", path.format(ALBUM["deleted"]))[0] == 410
    (link,) = ALBUM["links"]
    assert read(server, f"/api/snapshots/{link['snapshot']}/links", role="manage")["links"] == [link]
    assert call(server, "GET", link["url"], role=None)[0] == 200
    status, image = call(server, "GET", f"{link['url']}/picture.jpg", role=None)
    assert (status, Image.open(io.BytesIO(image)).size) == (200, (160, 120))
    assert call(server, "GET", ALBUM["revoked"], role=None)[0] == 410
    assert call(server, "DELETE", f"/api/links/{link['link']}", role="manage")[0] == 204
    assert call(server, "GET", link["url"], role=None)[0] == 410


def test_users_tokens_and_sessions_of_the_album_still_have_their_roles(server: ServerProcess, tmp_path: Path) -> None:
    for role in ("view", "capture", "manage"):
        assert read(server, "/api/visitor", role=role) == {"role": role, "name": f"{role}-script"}
    user = ALBUM["user"]
    keeper = {"role": "manage", "name": user["name"]}
    assert read(server, "/api/visitor", role=None, cookie=f"dog_session={user['session']}") == keeper
    assert call(server, "POST", "/api/captures", role="view")[0] == 403
    assert call(server, "POST", "/api/captures", role="capture")[0] in (200, 201)
    assert call(server, "GET", "/api/cameras", role=None)[0] == 401
    users = run_dog("user", "list", cwd=tmp_path)
    assert "keeper" in users.stdout
    assert "manage" in users.stdout
    tokens = run_dog("token", "list", cwd=tmp_path)
    assert all(f"{role}-script" in tokens.stdout for role in ("view", "capture", "manage"))


# ---- viewers and scripts


async def test_a_recorded_conversation_gets_the_same_answers(server: ServerProcess, tmp_path: Path) -> None:
    steps = [json.loads(line) for line in (RECORDED / "conversation.jsonl").read_text().splitlines()]
    assert len(steps) > 200
    names: dict[str, Any] = {SERVER: server.url}
    problems: list[str] = []
    async with Player(server.url, tmp_path) as player:
        for number, step in enumerate(steps, 1):
            sent = json.loads(MARK.sub(lambda mark: str(names[mark[0]]), json.dumps(step | {"answer": None})))
            answer = await player.play(sent)
            found = list(find_differences(step.get("answer", {}), answer, names))
            problems += [f"line {number}: {difference}" for difference in found]
            if found and ("receive" in step or "connect" in step):
                break  # the next answers on this connection depend on it
    assert not problems, "\n".join(problems)


def test_a_watcher_continues_from_its_state_file_and_fetches_missed_photos_only(
    server: ServerProcess, tmp_path: Path
) -> None:
    unpack("kept.tar.gz", tmp_path)
    kept = tmp_path / "kept"
    state = kept / ".dog-watch.json"
    state.write_text(state.read_text().replace("http://server", server.url))
    before = {file.name: file.stat().st_ino for file in kept.glob("*.jpg")}
    assert len(before) == len(ALBUM["watched"]) == 2
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(ALBUM["tokens"]["view"])
    for name in before:  # a photo that is fetched again would come back
        (kept / name).unlink()
    watcher = WatchProcess(
        server.url, "--save", "kept", "--token-file", "token", "--exec", "echo fetched {id}", cwd=tmp_path
    )
    missed = [photo for photo in PHOTOS if photo["capture"] > 4]
    try:
        watcher.wait_for(f"fetched {missed[-1]['snapshot']}")
        fetched = [line.removeprefix("fetched ") for line in watcher.lines if line.startswith("fetched ")]
        assert fetched == [photo["snapshot"] for photo in missed]
        call(server, "POST", "/api/captures", role="capture")
        watcher.wait_for("fetched ", len(missed) + 1)
    finally:
        watcher.end()
    assert not [line for line in watcher.lines if "Traceback" in line]
    images = [file for file in kept.iterdir() if file.name != state.name]
    assert len(images) == len(missed) + 1
    for photo in missed:
        (file,) = kept.glob(f"*_{photo['snapshot']}.*")
        assert file.read_bytes() == call(server, "GET", photo["url"])[1]


@pytest.mark.parametrize("name", list(CLIENT))
def test_a_public_name_of_the_client_library_is_still_there(name: str) -> None:
    found = getattr(dog.client, name)
    known = {
        *dir(found),
        *(one for base in getattr(found, "__mro__", ()) for one in vars(base).get("__annotations__", ())),
    }
    assert set(CLIENT[name]) <= known


def test_every_operation_id_of_the_openapi_document_is_still_there() -> None:
    recorded = json.loads((RECORDED / "operation_ids.json").read_text())
    assert set(recorded) <= {operation.id for operation in OPERATIONS}


# ---- settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the recorded settings name."""
    write_cameras(tmp_path)
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "password").chmod(0o600)
    (tmp_path / "default.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    made = run_dog("cert", cwd=tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr
    return tmp_path


def as_text(value: Any) -> str:
    """Return a setting's value as a flag or a variable has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, dict):
        return ",".join(f"{name}={one}" for name, one in value.items())
    return str(value)


def assert_serves(server: ServerProcess, folder: Path, cameras: list[str]) -> None:
    """The settings count. Obsolete ones are named in a warning."""
    context = ssl.create_default_context(cafile=folder / SETTINGS["tls_certificate"]["value"])
    with urllib.request.urlopen(f"https://localhost:{server.port}/api/cameras", context=context, timeout=20) as answer:
        found = json.load(answer)["cameras"]
    assert [(one["name"], one["dead_time"]) for one in found] == [(name, 0.5) for name in cameras]
    assert (folder / "photos" / ".dog" / "index.sqlite3").exists()
    assert (folder / "dog.log").exists()
    assert all(re.search(f"WARNING.*{name}", server.stderr, re.IGNORECASE) for name in ("black.share", "settle"))


def test_a_settings_file_with_every_setting_still_starts(serve: Serve, folder: Path) -> None:
    text = (RECORDED / "dog.toml").read_text()
    assert set(SETTINGS) <= set(tomllib.loads(text))
    (folder / "dog.toml").write_text(text)
    server = serve(env={"PYTHONWARNINGS": "error"})
    assert_serves(server, folder, ["main", "side"])


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_every_flag_and_every_variable_still_starts(serve: Serve, folder: Path, way: str) -> None:
    given = {one[way]: as_text(one["value"]) for one in SETTINGS.values()}
    if way == "flag":
        server = serve(*(part for pair in given.items() for part in pair))
    else:
        server = serve("--port", "0", env=given)
    assert_serves(server, folder, ["main"])
