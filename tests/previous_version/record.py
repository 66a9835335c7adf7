"""Record how a version behaves, to test later versions against it.

Its viewers, scripts and albums must work with them. Run it from the checkout that has the tests, with another checkout
of the version to record:

    git worktree add --detach ../previous TAG
    python -m tests.previous_version.record ../previous
    git worktree remove ../previous

It replaces the files in recorded/. The server of that version runs in temporary folders, on free ports:

1. It takes photos of 160 by 120 pixels, pins two, deletes one, shares two and revokes one link, for a user and three
   tokens. album.tar.gz is the folder afterwards, album.json lists what is in it, and kept.tar.gz is the folder of a
   `dog watch` that stopped in between. Share links expire after a year at the latest, and so do the notes on removed
   photos; the album's dates of both are moved to the year 2100.
2. It is started with the album again, and `converse` talks to it. conversation.jsonl has one step per line
   (conversation.py), with marks for values that differ with each run.
3. settings.json and dog.toml have every setting of its docs/settings.md, with the values below.
4. client.json has the public names of its client library, operation_ids.json the names in its OpenAPI document.

The secrets in the files belong to this album, and open nothing else.
"""

import asyncio
import contextlib
import datetime as dt
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.previous_version.album import CONFIG, RECORDED, unpack, write_cameras
from tests.previous_version.conversation import KINDS, SERVER, Player
from tests.support.server_process import PYTHON_M_DOG, ServerProcess, clean_environment

PASSWORD = "a-password-of-the-fixture"
FAR_FUTURE = int(dt.datetime(2100, 1, 1, tzinfo=dt.UTC).timestamp() * 1000)
VOLATILE = re.compile("|".join(rf"(?<![\w-])(?P<{kind}>{pattern})(?![\w-])" for kind, pattern in KINDS.items()))
TEXTS = ("message", "detail", "title", "server")
"""Fields with a text for people."""
RETIRED = {"black_share": 0.5, "settle": 0.1}
SETTINGS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 0,
    "base_url": "https://dog.example.org/cam",
    "origins": ["https://example.org"],
    "auth": True,
    "anonymous": "view",
    "open": False,
    "session_days": 3650,
    "hosts": ["dog.lan", "localhost"],
    "trusted_proxies": ["127.0.0.1", "10.0.0.0/8"],
    "tls_certificate": "dog-certificate.pem",
    "tls_key": "dog-key.pem",
    "camera": "script:camera",
    "password_file": "password",
    "dead_time": 0.5,
    "capture_timeout": 20,
    "image_type": "jpeg",
    "resolution": "160x120",
    "frame_rate": 5,
    "pixel_format": "MJPG",
    "controls": {"brightness": 128},
    "latency": 0.1,
    "preview_rate": 5,
    "warm_up": 1,
    "black_level": 0.2,
    "retake": 1,
    "frozen": False,
    "snapshots": "photos",
    "default_picture": "default.svg",
    "picture_cache": 8,
    "keep_days": 36500,
    "keep_photos": 1000,
    "keep_size": 1000,
    "keep_free": 1,
    "exif": True,
    "login_attempts": 5,
    "presses_per_minute": 60,
    "download_per_hour": 1000,
    "message_rate": 5,
    "message_burst": 30,
    "max_connections": 200,
    "max_connections_per_address": 100,
    "max_viewers_per_address": 50,
    "log_file": "dog.log",
    "log_level": "debug",
}


class Version:
    """The checkout of the version to record."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout.resolve()
        self.env = {"PYTHONPATH": str(self.checkout)}

    def run(self, *arguments: str, cwd: Path, text: str = "") -> str:
        command = [*PYTHON_M_DOG, *arguments]
        environment = clean_environment(self.env)
        return subprocess.run(command, cwd=cwd, env=environment, input=text, stdout=-1, text=True, check=True).stdout

    @contextlib.contextmanager
    def serve(self, cwd: Path) -> Iterator[ServerProcess]:
        server = ServerProcess(cwd=cwd, env=self.env).start()
        try:
            yield server
            assert server.stop() == 0, server.stderr
        finally:
            server.kill()


def make_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "dog.toml").write_text(CONFIG)
    write_cameras(folder)


def write_json(name: str, content: Any) -> None:
    (RECORDED / name).write_text(json.dumps(content, indent=1) + "\n")


# ---- the album


def record_album(version: Version, folder: Path) -> dict[str, Any]:
    """Write album.tar.gz, kept.tar.gz and album.json.

    Return the content of album.json.
    """
    make_folder(folder)
    version.run("user", "add", "keeper", "--role", "manage", "--password-file", "-", cwd=folder, text=PASSWORD)
    tokens = {
        role: re.findall(r"dog_[\w-]{43}", version.run("token", "add", f"{role}-script", "--role", role, cwd=folder))[0]
        for role in ("view", "capture", "manage")
    }
    (folder / "token").write_text(tokens["view"])
    (folder / "token").chmod(0o600)

    def call(method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {tokens['manage']}"}
        request = urllib.request.Request(server.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            content = response.read()
            return json.loads(content) if content else None

    def take(camera: str = "main") -> str:
        snapshot: str = call("POST", "/api/captures", {"camera": camera, "max_age": 0})["snapshot"]
        return snapshot

    with version.serve(folder) as server:
        photos = [take(), take()]
        watched = photos[-1:]
        with watch(version, folder, server.url) as state:
            photos += [take(), take()]
            watched += photos[-2:]
            while not all(photo in state.read_text() for photo in watched[1:]):
                time.sleep(0.1)
        photos += [take("side"), take(), take()]
        for photo in (photos[0], photos[4]):
            call("PUT", f"/api/snapshots/{photo}/pin")
        call("DELETE", f"/api/snapshots/{photos[1]}")
        link, revoked = (call("POST", f"/api/snapshots/{photos[2]}/links", {"expires_in": 31536000}) for _ in range(2))
        call("DELETE", f"/api/links/{revoked['link']}")
        session = log_in(server.url)
        for file in (folder / "kept").glob("*.json"):
            file.write_text(file.read_text().replace(server.url, "http://server"))
    keep_from_expiring(folder / "snapshots")
    with version.serve(folder) as server:
        album = {
            "tokens": tokens,
            "user": {"name": "keeper", "password": PASSWORD, "session": session},
            "photos": [call("GET", f"/api/snapshots/{photo}") for photo in photos if photo != photos[1]],
            "deleted": photos[1],
            "links": call("GET", f"/api/snapshots/{photos[2]}/links")["links"],
            "revoked": revoked["url"],
            "watched": watched[1:],
        }
    assert [one["link"] for one in album["links"]] == [link["link"]]
    pack(folder / "snapshots", RECORDED / "album.tar.gz")
    pack(folder / "kept", RECORDED / "kept.tar.gz")
    write_json("album.json", album)
    return album


@contextlib.contextmanager
def watch(version: Version, folder: Path, url: str) -> Iterator[Path]:
    """Run `dog watch`, and return the path of its state file."""
    command = [*PYTHON_M_DOG, "watch", url, "--save", "kept", "--token-file", "token"]
    environment = clean_environment(version.env)
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield folder / "kept" / ".dog-watch.json"
        process.send_signal(signal.SIGINT)
        process.stdout.read()


def log_in(url: str) -> str:
    """Return the value of the session cookie."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_arguments: Any) -> None:
            return None

    form = f"name=keeper&password={PASSWORD}&next=/".encode()
    request = urllib.request.Request(f"{url}/login", form, {"Origin": url})
    try:
        urllib.request.build_opener(Stay).open(request, timeout=30)
    except urllib.error.HTTPError as redirect:
        return str(redirect.headers["Set-Cookie"]).partition("=")[2].partition(";")[0]
    raise AssertionError("the login did not redirect")


def keep_from_expiring(snapshots: Path) -> None:
    found = 0
    for file in (snapshots / ".dog").iterdir():
        if file.is_file() and file.read_bytes().startswith(b"SQLite format 3"):
            database = sqlite3.connect(file)
            with database:
                tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
                for table, column in (("shares", "expires_at"), ("removed", "removed_at")):
                    if table in tables:
                        found += database.execute(f"UPDATE {table} SET {column} = ?", (FAR_FUTURE,)).rowcount
            database.close()
    assert found == 2, "the index has other tables; change keep_from_expiring"


def pack(folder: Path, archive: Path) -> None:
    """Pack a folder, without the names of this computer's users."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name, filter=anonymous)


# ---- the conversation


class Recorder:
    """Plays steps, and keeps them with their answers and with marks."""

    def __init__(self, player: Player, url: str, album: dict[str, Any]) -> None:
        self._player = player
        self._known = json.dumps(album)
        self._marks: dict[tuple[str, object], str] = {("url", url): SERVER}
        self.steps: list[dict[str, Any]] = []

    async def play(self, **step: Any) -> Any:
        """Return the answer."""
        answer = await self._player.play(step)
        sent = json.loads(VOLATILE.sub(self._find_mark, json.dumps(step)))
        self.steps.append(sent | ({"answer": self._mark(answer)} if answer else {}))
        return answer

    async def http(
        self, method: str, path: str, body: Any = None, *, role: str | None = None, **headers: str
    ) -> dict[str, Any]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | self.authorize(role)
        step = {"method": method, "path": path} | ({"headers": sent} if sent else {})
        answer: dict[str, Any] = await self.play(**step, **({} if body is None else {"body": body}))
        return answer

    def authorize(self, role: str | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {json.loads(self._known)['tokens'][role]}"} if role else {}

    async def receive(self, name: str, group: str, *types: str) -> Any:
        """Receive messages of these types, in this order, and return the last one."""
        for kind in types:
            answer = await self.play(receive=name, group=group)
            message = answer.get("message") or {}
            message = message.get("data") or message
            assert message.get("type", "closed") == kind, (kind, answer)
        return message

    def _mark(self, value: Any, key: str = "", *, known: bool = False) -> Any:
        """Replace what differs with each run.

        `known` is for the fields of a photo of the album.
        """
        if isinstance(value, dict):
            known = str(value["snapshot"]) in self._known if "snapshot" in value else known
            return {name: self._mark(one, name, known=known) for name, one in value.items()}
        if isinstance(value, list):
            return [self._mark(one, key, known=known) for one in value]
        if value is None or isinstance(value, bool):
            return value
        if key in ("at", "ready_at"):
            return "<time>"
        if key in TEXTS or (key == "reason" and " " in value):
            return "<text>"
        if key in ("Age", "Retry-After"):
            return "<digits>"
        if isinstance(value, str):
            return self._mark_text(value)
        if key in ("seq", "epoch"):
            return self._name(key, value)
        if key in ("viewers", "bytes") and not known:
            return "<integer>"
        return "<number>" if key in ("age", "retry_after", "brightness") else value

    def _mark_text(self, text: str) -> str:
        def name(found: re.Match[str]) -> str:
            return found[0] if found[0] in self._known else self._name(str(found.lastgroup), found[0])

        text = re.sub(r"Max-Age=\d{5,}", "Max-Age=<digits>", text)
        return VOLATILE.sub(name, re.sub(r"\d{8}-\d{6}", "<stamp>", text))

    def _find_mark(self, found: re.Match[str]) -> str:
        return self._marks.get((str(found.lastgroup), found[0]), found[0])

    def _name(self, kind: str, value: object) -> str:
        number = sum(known == kind for known, _ in self._marks) + 1
        return self._marks.setdefault((kind, value), f"<{kind} {number}>")


async def record_conversation(version: Version, folder: Path, album: dict[str, Any]) -> None:
    make_folder(folder)
    unpack("album.tar.gz", folder)
    with version.serve(folder) as server:
        async with Player(server.url, folder) as player:
            recorder = Recorder(player, server.url, album)
            await converse(recorder, album, server)
    lines = [json.dumps(step) + "\n" for step in recorder.steps]
    (RECORDED / "conversation.jsonl").write_text("".join(lines))


async def converse(r: Recorder, album: dict[str, Any], server: ServerProcess) -> None:
    """Use everything that clients use.

    What has to be joined comes first, while no photo is fresh.
    """
    await push(r, album)
    await authenticate(r, album)
    await captures(r)
    await photos(r, album)
    await share_links(r, album)
    await login(r, album, server)
    await pages(r, album)
    await refusals(r, album)
    await service(r)


async def push(r: Recorder, album: dict[str, Any]) -> None:
    authorized = r.authorize("capture")
    await r.play(connect="a", path="/ws", headers=authorized)
    hello = await r.receive("a", "answers", "hello")
    await r.play(connect="listener", path="/events", headers=r.authorize("view"))
    await r.receive("listener", "answers", "hello")
    await r.play(camera="hold")
    for request, max_age in (("started", 0), ("joined", 5)):
        await r.play(send="a", message={"type": "capture", "request": request, "camera": "main", "max_age": max_age})
    await r.receive("a", "answers", "reply", "reply")
    await r.receive("a", "events", "capturing")
    await r.play(send="a", message={"type": "capture", "request": "queued", "camera": "main", "max_age": 0})
    await r.receive("a", "answers", "reply")
    await r.http("GET", "/api/cameras", role="view")
    await r.play(camera="release")
    ready = await r.receive("a", "events", "ready", "capturing", "ready")
    await r.receive("listener", "events", "capturing", "ready", "capturing", "ready")
    await r.play(send="a", message={"type": "capture", "request": "cached", "max_age": 3600})
    await r.play(send="a", message={"type": "capture", "request": "started", "camera": "main", "max_age": 0})
    await r.receive("a", "answers", "reply", "reply")
    await r.play(send="a", message={"type": "capture", "camera": "side"})
    await r.receive("a", "answers", "reply")
    await r.receive("a", "events", "capturing", "ready")
    await r.play(send="a", message={"type": "capture", "camera": "card", "request": "card"})
    await r.receive("a", "answers", "reply")
    await r.receive("a", "events", "capturing", "ready")
    await r.play(send="a", message={"type": "capture", "request": "fails", "camera": "broken", "max_age": 0})
    await r.receive("a", "answers", "reply")
    await r.receive("a", "events", "capturing", "failed")
    await r.play(send="a", message={"type": "ping", "request": "p"})
    await r.play(send="a", message={"type": "ping"})
    await r.receive("a", "answers", "pong", "pong")
    for wrong in (
        "no JSON",
        "[]",
        {"type": "nonsense", "request": "u"},
        {"request": "no type"},
        {"type": "capture", "camera": "unknown", "request": "c"},
        {"type": "capture", "max_age": -1, "request": "m"},
        {"type": "capture", "max_age": 9, "camera": "main", "request": "started"},
        {"type": "resume", "cursor": "not a cursor"},
        {"type": "auth", "token": 5},
    ):
        await r.play(send="a", message=wrong)
    await r.receive("a", "answers", *["error"] * 7)
    await r.receive("a", "answers", "hello", "error")
    await r.http("DELETE", f"/api/snapshots/{ready['snapshot']}", role="manage")
    await r.receive("a", "events", "removed")
    await r.play(send="a", message={"type": "resume", "request": "r", "cursor": hello["cursor"]})
    await r.receive("a", "answers", "hello")
    await r.receive("a", "events", "capturing", "ready", "capturing", "ready")
    await r.play(close="a")
    await r.play(connect="b", path=f"/ws?since={ready['cursor']}", headers=authorized)
    await r.receive("b", "answers", "hello")
    await r.receive("b", "events", *["capturing", "ready"] * 2, "capturing", "failed", "removed")
    await r.play(close="b")
    await r.play(connect="c", path="/ws?since=1000000000000-1", headers=authorized)
    await r.receive("c", "answers", "hello")
    await r.play(close="c")
    last = r.authorize("view") | {"Last-Event-ID": ready["cursor"]}
    await r.play(connect="d", path="/events", headers=last)
    await r.receive("d", "answers", "hello")
    await r.receive("d", "events", "capturing", "ready")
    await r.play(close="d")
    await r.play(close="listener")


async def authenticate(r: Recorder, album: dict[str, Any]) -> None:
    await r.play(connect="e", path="/ws")
    await r.receive("e", "answers", "error")
    await r.play(send="e", message={"type": "auth", "request": "t", "token": album["tokens"]["view"]})
    await r.receive("e", "answers", "hello")
    await r.play(send="e", message={"type": "capture", "request": "not allowed"})
    await r.receive("e", "answers", "error")
    await r.play(close="e")
    await r.play(connect="f", path="/ws")
    await r.receive("f", "answers", "error")
    await r.play(send="f", message={"type": "auth", "token": "dog_unknown"})
    await r.receive("f", "answers", "error", "closed")
    await r.play(connect="long", path="/ws", headers=r.authorize("view"))
    await r.receive("long", "answers", "hello")
    await r.play(send="long", message="x", times=5000)
    await r.receive("long", "answers", "closed")
    await r.play(connect="g", path="/ws", headers={"Origin": "https://example.org"} | r.authorize("view"))
    await r.play(connect="h", path="/events")
    await r.http("GET", "/ws", role="view")
    await r.http("GET", "/api/visitor")
    for role in ("view", "capture", "manage"):
        await r.http("GET", "/api/visitor", role=role)
    ticket = await r.http("POST", "/api/tickets", role="view")
    await r.http("GET", f"/api/cameras?ticket={ticket['body']['ticket']}")
    await r.http("GET", f"/api/cameras?ticket={ticket['body']['ticket']}")


async def captures(r: Recorder) -> None:
    first = await r.http("POST", "/api/captures", {"max_age": 0}, role="capture", Idempotency_Key="http-1")
    await r.http("POST", "/api/captures", {"max_age": 0}, role="capture", Idempotency_Key="http-1")
    await r.http("POST", "/api/captures", {"max_age": 3600, "camera": "main"}, role="capture")
    await r.http("GET", f"/api/captures/{first['body']['capture']}", role="view")
    await r.http("GET", "/api/captures/99999", role="view")
    await r.http("POST", "/api/captures", {"camera": "broken", "max_age": 0}, role="capture")
    await r.play(connect="i", path="/ws", headers=r.authorize("view"))
    await r.receive("i", "answers", "hello")
    later = await r.http("POST", "/api/captures", {"max_age": 0}, role="capture", Prefer="respond-async")
    await r.receive("i", "events", "capturing", "ready")
    await r.http("GET", later["headers"]["Location"], role="view")
    await r.play(close="i")
    await r.http("GET", "/latest.jpg?max_age=3600", role="capture")
    await r.http("GET", "/latest.jpg?max_age=0", role="capture")
    await r.http("GET", "/latest.jpg?camera=side", role="view")
    await r.http("GET", "/latest.jpg?max_age=0", role="view")
    await r.http("POST", "/api/captures", role="view")
    await r.http("POST", "/api/captures", "{", role="capture")
    await r.http("POST", "/api/captures", {"camera": "unknown"}, role="capture")
    await r.http("POST", "/api/captures", {"camera": 5}, role="capture")
    await r.http("POST", "/", role="capture", Content_Type="application/x-www-form-urlencoded")


async def photos(r: Recorder, album: dict[str, Any]) -> None:
    first, last = album["photos"][0], album["photos"][-1]
    await r.http("GET", f"/api/snapshots?camera=main&limit=2&before={last['snapshot']}", role="view")
    await r.http("GET", f"/api/snapshots?before={album['photos'][2]['snapshot']}", role="view")
    await r.http("GET", "/api/snapshots?limit=1", role="view")
    await r.http("GET", f"/latest.jpg?after={first['snapshot']}", role="view")
    newest = await r.http("GET", "/latest.jpg", role="view")
    await r.http("GET", f"/latest.jpg?after={newest['headers']['X-Snapshot']}&wait=0", role="view")
    for photo in album["photos"]:
        await r.http("GET", f"/api/snapshots/{photo['snapshot']}", role="view")
        await r.http("GET", photo["url"], role="view")
        await r.http("GET", photo["thumbnail"], role="view")
        await r.http("GET", photo["page"], role="view")
    etag = (await r.http("HEAD", first["url"], role="view"))["headers"]["ETag"]
    await r.http("GET", first["url"], role="view", If_None_Match=etag)
    await r.http("GET", first["url"], role="view", If_Match='"another"')
    await r.http("GET", first["url"], role="view", Range="bytes=0-99")
    await r.http("GET", first["url"], role="view", Range="bytes=99999999-")
    for path in ("/snapshots/{}.jpg", "/snapshots/{}", "/api/snapshots/{}", "/snapshots/{}/thumbnail.jpg"):
        await r.http("GET", path.format(album["deleted"]), role="view")
        await r.http("GET", path.format("a" * 24), role="view")
    taken = await r.http("POST", "/api/captures", {"max_age": 0}, role="capture")
    path = f"/api/snapshots/{taken['body']['snapshot']}"
    await r.http("PUT", f"{path}/pin", role="view")
    await r.http("PUT", f"{path}/pin", role="manage")
    await r.http("GET", path, role="view")
    await r.http("DELETE", f"{path}/pin", role="manage")
    await r.http("GET", path, role="view")
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    await r.http("POST", f"{path.removeprefix('/api')}/pin", "pinned=yes", role="manage", **form)
    await r.http("GET", f"{path.removeprefix('/api')}/delete", role="manage")
    await r.http("POST", f"{path.removeprefix('/api')}/delete", role="manage", **form)
    await r.http("GET", path, role="view")
    await r.http("DELETE", path, role="manage")
    await r.http("GET", "/latest.jpg?after=" + taken["body"]["snapshot"] + "&wait=0", role="view")


async def share_links(r: Recorder, album: dict[str, Any]) -> None:
    photo, link = album["photos"][0]["snapshot"], album["links"][0]
    await r.http("GET", f"/api/snapshots/{link['snapshot']}/links", role="manage")
    await r.http("GET", link["url"])
    await r.http("GET", f"{link['url']}/picture.jpg")
    await r.http("GET", album["revoked"])
    await r.http("GET", "/shared/unknown")
    made = (await r.http("POST", f"/api/snapshots/{photo}/links", {"expires_in": 60}, role="manage"))["body"]
    await r.http("POST", f"/api/snapshots/{photo}/links", {"expires_in": 1}, role="manage")
    await r.http("POST", f"/api/snapshots/{photo}/links", role="view")
    await r.http("GET", f"/api/snapshots/{photo}/links", role="manage")
    await r.http("GET", made["url"])
    await r.http("GET", f"{made['url']}/picture.jpg")
    await r.http("DELETE", f"/api/links/{made['link']}", role="manage")
    await r.http("DELETE", f"/api/links/{made['link']}", role="manage")
    await r.http("GET", made["url"])
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    await r.http("POST", f"/snapshots/{photo}/links", "expires_in=3600", role="manage", **form)
    await r.http("GET", f"/snapshots/{photo}/links", role="manage")
    made = (await r.http("GET", f"/api/snapshots/{photo}/links", role="manage"))["body"]["links"][0]
    await r.http("POST", f"/snapshots/{photo}/links/{made['link']}/revoke", role="manage", **form)


async def login(r: Recorder, album: dict[str, Any], server: ServerProcess) -> None:
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    cookie = {"Cookie": f"dog_session={album['user']['session']}"}
    await r.http("GET", "/api/visitor", **cookie)
    await r.http("GET", "/login?next=/snapshots")
    await r.http("POST", "/login", "name=keeper&password=wrong&next=/", **form)
    entered = await r.http("POST", "/login", f"name=keeper&password={PASSWORD}&next=/snapshots", **form)
    cookie = {"Cookie": entered["headers"]["Set-Cookie"].partition(";")[0]}
    await r.http("GET", "/api/visitor", **cookie)
    await r.http("GET", "/login", **cookie)
    await r.http("POST", "/logout", **cookie, **form)
    await r.http("POST", "/logout", **cookie, Origin="https://example.org")
    await r.http("POST", "/logout", **cookie, **form, Origin=server.url)
    await r.http("GET", "/api/visitor", **cookie)
    await r.http("GET", "/enter/unknown")


async def pages(r: Recorder, album: dict[str, Any]) -> None:
    cookie = {"Cookie": f"dog_snapshot={album['photos'][0]['snapshot']}"}
    await r.http("GET", "/", role="view", **cookie)
    await r.http("GET", "/?camera=side", role="view")
    await r.http("GET", "/?camera=unknown", role="view")
    await r.http("GET", "/snapshots", role="view")
    await r.http("GET", f"/snapshots?camera=main&day={album['photos'][0]['captured_at'][:10]}", role="view")
    await r.http("GET", f"/snapshots?before={album['photos'][3]['snapshot']}", role="view")
    await r.http("GET", "/snapshots?day=nonsense", role="view")
    await r.http("GET", "/snapshots", Accept="text/html")
    for path in ("/api", "/static/dog-client.js", "/static/icon.svg", "/favicon.ico", "/default-picture"):
        await r.http("GET", path, role="view")


async def refusals(r: Recorder, album: dict[str, Any]) -> None:
    await r.http("GET", "/api/cameras")
    await r.http("GET", "/api/cameras", Authorization="Bearer dog_unknown")
    await r.http("GET", "/nowhere", role="view")
    await r.http("PUT", "/api/cameras", role="view")
    await r.http("GET", "/api/cameras", role="view", Host="elsewhere.example")
    await r.http("GET", "/preview.mjpg", role="view")
    await r.http("GET", "/preview.mjpg?camera=unknown", role="view")
    await r.http("POST", "/api/captures", {}, role="capture", Origin="https://example.org")
    await r.play(method="POST", path="/api/captures", headers=r.authorize("capture"), body="x", times=20_000)
    await r.http("GET", "/api/snapshots?limit=nonsense", role="view")


async def service(r: Recorder) -> None:
    await r.http("GET", "/api/cameras", role="view")
    await r.http("GET", "/healthz")
    await r.http("GET", "/readyz", role="view")
    await r.http("GET", "/metrics", role="view")
    await r.http("GET", "/api/openapi.json", role="view")
    await r.http("GET", "/api/asyncapi.json", role="view")


# ---- settings and names


def record_settings(version: Version) -> None:
    """Write dog.toml and settings.json.

    Each setting has its flag, its variable and a value.
    """
    page = (version.checkout / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `(--[\w-]+)` \| `(DOG_\w+)` \| `(\w+)` \|", page, re.MULTILINE)
    assert {key for _, _, key in rows} == set(SETTINGS), "docs/settings.md has other settings; change SETTINGS"
    rows += [("--" + name.replace("_", "-"), f"DOG_{name.upper()}", name) for name in RETIRED]
    values = SETTINGS | RETIRED
    write_json("settings.json", {key: {"flag": f, "variable": v, "value": values[key]} for f, v, key in rows})
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items() if key != "controls"]
    lines += ["\n[controls]\n", *(f"{name} = {value}\n" for name, value in SETTINGS["controls"].items())]
    lines += ['\n[cameras.side]\ncamera = "test"\nimage_type = "webp"\n', *(f"{k} = {v}\n" for k, v in RETIRED.items())]
    (RECORDED / "dog.toml").write_text("".join(lines))


NAMES = """
import dog.client, json
found = {name: getattr(dog.client, name) for name in dog.client.__all__}
for name, value in found.items():
    members = {*dir(value), *getattr(value, "__annotations__", ())} if isinstance(value, type) else ()
    found[name] = sorted(member for member in members if member[0] != "_" and not hasattr(Exception, member))
print(json.dumps(found))
"""
OPERATION_IDS = """
import json
from dog.web.routes import OPERATIONS
print(json.dumps(sorted(operation.id for operation in OPERATIONS)))
"""


def record_names(version: Version, folder: Path) -> None:
    """Write client.json and operation_ids.json."""
    environment = clean_environment(version.env)
    for file, code in ("client.json", NAMES), ("operation_ids.json", OPERATION_IDS):
        command = [sys.executable, "-c", code]
        printed = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True).stdout
        write_json(file, json.loads(printed))


def main(checkout: str) -> None:
    version = Version(Path(checkout))
    shutil.rmtree(RECORDED, ignore_errors=True)
    RECORDED.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        record_settings(version)
        record_names(version, folder)
        album = record_album(version, folder / "album")
        time.sleep(6)  # until no photo is fresh enough for the request that shall be joined
        asyncio.run(record_conversation(version, folder / "conversation", album))


if __name__ == "__main__":
    main(sys.argv[1])
