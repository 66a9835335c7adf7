"""Comparison of the docs with the code: tables, quoted messages, commands."""

import ast
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from datetime import date
from pathlib import Path

import msgspec
import pytest

from dog import __version__
from dog import protocol as messages
from dog.captures.availability import MAX_RETRY_INTERVAL, MIN_RETRY_INTERVAL
from dog.captures.queue import KEY_TTL, MAX_IDEMPOTENCY_KEYS
from dog.captures.results import MAX_REMEMBERED
from dog.protocol import CameraStatus, Quality
from dog.push.hub import PING_INTERVAL, REPLAY_EVENTS, SILENCE_TIMEOUT
from dog.push.viewer import MAX_BACKLOG_BYTES
from dog.settings import COMMON_SETTINGS, Settings, settings_table
from dog.web.app import create_app
from dog.web.handlers.websocket import MAX_REFUSED_IN_A_ROW, MAX_REQUEST_BYTES, RATE_LIMITED_CODE
from dog.web.problems import STATUS
from tests.conftest import Serve
from tests.support.examples import DOCUMENTS
from tests.support.server_process import ROOT

README = (ROOT / "README.md").read_text()
ALBUM = (ROOT / "docs" / "album.md").read_text()
CAMERAS = (ROOT / "docs" / "cameras.md").read_text()
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
SECURITY = (ROOT / "docs" / "security.md").read_text()
NUMBERED = {"seq", "cursor", "at", "camera"}


def messages_by_tag() -> dict[str, type[messages.Message]]:
    """Return every message type by its tag on the wire."""
    found = {}
    for name in messages.__all__:
        thing = getattr(messages, name)
        if isinstance(thing, type) and issubclass(thing, msgspec.Struct):
            tag = thing.__struct_config__.tag
            if isinstance(tag, str) and thing is not messages.Message:
                found[tag] = thing
    return found  # type: ignore[return-value]


def read_rows(text: str) -> dict[str, set[str]]:
    """Return the fields by type, from all table rows of messages.

    A row is `| `type` | `field`, `field` | ... |`.
    """
    rows = re.findall(r"^\| `([a-z]+)` \| ((?:`\w+`(?:, )?)*) ?\|", text, re.MULTILINE)
    return {kind: set(re.findall(r"\w+", fields)) for kind, fields in rows}


@pytest.mark.parametrize(("kind", "message"), messages_by_tag().items())
def test_protocol_page_lists_the_fields_of_each_message(kind: str, message: type[msgspec.Struct]) -> None:
    fields = set(message.__struct_fields__)
    if "seq" in fields and kind != "hello":
        fields -= NUMBERED
    assert read_rows(PROTOCOL)[kind] == fields


def test_protocol_page_lists_exactly_the_messages_of_the_code() -> None:
    assert read_rows(PROTOCOL).keys() == messages_by_tag().keys()


def test_protocol_page_lists_every_error_code_with_its_status() -> None:
    documented: dict[str, int] = {}
    for codes, status in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (\d{3}) \|", PROTOCOL, re.MULTILINE):
        documented |= dict.fromkeys(re.findall(r"\w+", codes), int(status))
    assert documented == STATUS


def test_protocol_page_has_the_limits_of_the_code() -> None:
    assert (REPLAY_EVENTS, MAX_BACKLOG_BYTES, PING_INTERVAL, SILENCE_TIMEOUT) == (256, 64 * 1024, 25, 60)
    assert (MAX_REQUEST_BYTES, MAX_REFUSED_IN_A_ROW, RATE_LIMITED_CODE) == (4096, 20, 4029)
    assert (KEY_TTL, MAX_IDEMPOTENCY_KEYS, MAX_REMEMBERED) == (600, 4096, 256)
    settings = Settings()
    assert (settings.message_rate, settings.message_burst) == (10, 60)
    for words in (
        "the last 256 events",
        "when 64 KiB wait",
        "a ping every 25 s. A viewer that was silent for 60 s",
        "Over 4 KiB: close 1009",
        "10 messages per second, bursts of 60",
        "after 20 of those in a row, the viewer is closed with 4029",
        "idempotent for 10 minutes",
        "newest 4,096 per camera",
        "the last 256 are remembered",
    ):
        assert words in PROTOCOL, words


def test_protocol_page_lists_every_field_of_a_camera() -> None:
    row = re.search(r"^\| camera \| (.*?) \|", PROTOCOL, re.MULTILINE)
    assert row
    assert set(re.findall(r"\w+", row[1])) == set(CameraStatus.__struct_fields__)


def test_protocol_page_lists_every_field_of_a_quality() -> None:
    row = re.search(r"^\| quality \| (.*?) \|", PROTOCOL, re.MULTILINE)
    assert row
    assert set(re.findall(r"\w+", row[1])) == set(Quality.__struct_fields__)


def test_protocol_page_has_the_retry_delays_of_an_offline_camera() -> None:
    assert (MIN_RETRY_INTERVAL, MAX_RETRY_INTERVAL) == (0.5, 10)
    assert "0.5 s later, doubling to 10 s" in PROTOCOL


def test_album_page_has_the_thumbnail_size_of_the_test_card(serve: Serve) -> None:
    size = re.search(r"(\d+) kB each for the test card", ALBUM)
    assert size
    server = serve()
    request = urllib.request.Request(f"{server.url}/api/captures", method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        photo = json.load(answer)
    with urllib.request.urlopen(server.url + photo["thumbnail"], timeout=20) as answer:
        assert len(answer.read()) / 1000 == pytest.approx(int(size[1]), abs=1.5)  # encoders differ a little


def test_readme_lists_exactly_the_common_settings() -> None:
    assert settings_table(COMMON_SETTINGS) in README
    assert re.findall(r"^\| `(--[\w-]+)`", README, re.MULTILINE) == [setting.flag for setting in COMMON_SETTINGS]


def test_readme_fits_three_screens_of_fifty_lines() -> None:
    assert len(README.splitlines()) <= 150


def test_protocol_page_lists_exactly_the_urls_of_the_service(tmp_path: Path) -> None:
    app = create_app(Settings(snapshots=tmp_path))
    served = set()
    for route in app.router.routes():
        path = route.resource.canonical if route.resource else ""
        is_part = path.startswith(("/static", "/favicon", "/default-picture")) or path[1:].endswith("/")
        if route.method in ("GET", "POST") and not is_part:
            served.add(f"{route.method} {path}".replace("{id}.{suffix}", "{id}.jpg").replace("{number}", "{n}"))
    documented = {f"GET {path}" for path in re.findall(r"(?<=, )`(/\w+)`", PROTOCOL)}
    documented |= set(re.findall(r"`((?:GET|POST) /[^`]*)`", PROTOCOL)) - {"POST"}
    assert {url for url in documented if "?" not in url} == served


def test_every_pip_command_names_a_checkout_the_wheel_or_a_known_package() -> None:
    """Other tests run them: test_examples.py and test_readme_script.py."""
    extras = "v4l2,stream,tls"
    running = (f"'.[{extras}]'", f"'dist/dog_camera-{__version__}-py3-none-any.whl[{extras}]'", "websockets", "linuxpy")
    texts = [path.read_text() for path in (*DOCUMENTS, *(ROOT / "dog").rglob("*.py"), ROOT / "dog_camera.py")]
    named = {match for text in texts for match in re.findall(r"pip install ([^\s`&\"]+)", text)}
    assert named == {*running, "{package}"}
    assert not [text for text in texts if re.search(r"\bdog\[", text)]


def test_readme_and_contributing_name_only_existing_make_targets() -> None:
    text = README + (ROOT / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)`", text)) <= targets


def read_messages() -> set[str]:
    """Return all strings in the service's code.

    Of f-strings, return the texts between the values.
    """
    trees = (ast.parse(path.read_text()) for path in (ROOT / "dog").rglob("*.py"))
    return {
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_cameras_page_quotes_only_messages_of_the_code() -> None:
    section = CAMERAS.partition("\n## Error messages\n")[2].partition("\n## ")[0]
    quoted = re.findall(r"^\| ([^|]+) \| `\w+` \|", section, re.MULTILINE)
    assert len(quoted) > 20
    texts = read_messages()
    for message in (one for cell in quoted for one in cell.split(" / ")):
        for words in re.split(r"\*[^*]+\*|\.\.\.|\b\d+\b|SIGSEGV|(?<=but left) ", message.rstrip(".")):
            assert any(words.strip(" :.") in text for text in texts), f"no message says {words!r}"


def test_security_page_quotes_only_messages_of_the_code() -> None:
    shown = re.findall(r"^(?!\$)(.+)$", "".join(re.findall(r"```console\n(.*?)```", SECURITY, re.DOTALL)), re.MULTILINE)
    pieces = [part for line in shown for part in re.split(r"http://\S+(?: or| and)?|^[\d:]+ WARNING [\w.]+", line)]
    quoted = [piece.strip() for piece in pieces if piece.strip()]
    assert len(quoted) >= 4
    texts = read_messages()
    for words in quoted:
        assert any(words in text for text in texts), f"no message says {words!r}"


def find_anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^(`{3,}).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_anchor_in_a_link_is_a_heading(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]*)\)", document.read_text()):
        page = document.parent / target if target else document
        assert anchor in find_anchors(page.read_text()), f"{target}#{anchor}"


def test_every_picture_in_the_readme_is_a_file() -> None:
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert pictures
    assert {path for path in pictures if not (ROOT / path).is_file()} == set()


def test_changelog_begins_with_the_version_of_the_package() -> None:
    headings = re.findall(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    newest = re.fullmatch(r"\[(.*)\] - (\d{4}-\d{2}-\d{2})", headings[1])
    assert newest
    assert newest[1] == __version__ == importlib.metadata.version("dog-camera")
    date.fromisoformat(newest[2])


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", *sorted(p.name for p in (ROOT / "docs").glob("*.md"))]
)
def test_every_link_in_the_docs_is_a_file(document: str) -> None:
    path = ROOT / document if (ROOT / document).exists() else ROOT / "docs" / document
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_curl_loop_of_the_album_page_gets_every_photo_and_continues_after_a_204(serve: Serve, tmp_path: Path) -> None:
    [loop] = re.findall(r"```sh\n(.*?)```", ALBUM, re.DOTALL)
    server = serve("--dead-time", "0")
    loop = loop.replace("http://127.0.0.1:8080", server.url)
    assert '?after=$id"' in loop
    assert "; do\n" in loop
    script = loop.replace('?after=$id"', '?after=$id&wait=0.2"').replace("; do\n", '; do\necho "$next" >>answers\n')
    folder = tmp_path / "seen"
    folder.mkdir()

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sh", "-c", script], cwd=folder, start_new_session=True)

    def press() -> str:
        request = urllib.request.Request(f"{server.url}/api/captures", data=b'{"max_age":0}', method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            snapshot: str = json.load(answer)["snapshot"]
            return snapshot

    def answers() -> list[str]:
        """Return the id in each response, or "" for a 204."""
        path = folder / "answers"
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def wait_until(happened: Callable[[], bool]) -> None:
        while not happened():
            assert process.poll() is None, "the loop has ended"
            time.sleep(0.01)

    process = start()
    try:
        process.wait(20)  # there is no photo yet
        assert answers() == []
        press()  # the loop starts after this photo
        process = start()
        wait_until(lambda: "" in answers())
        pressed = [press() for _ in range(5)]
        wait_until(lambda: pressed[-1] in answers() and answers()[-1] == "")
        assert [answer for answer in answers() if answer] == pressed
        assert {path.stem for path in folder.glob("*.jpg")} - {"new"} == set(pressed)
        for snapshot in pressed:
            with urllib.request.urlopen(f"{server.url}/snapshots/{snapshot}.jpg", timeout=20) as answer:
                assert (folder / f"{snapshot}.jpg").read_bytes() == answer.read()
        server.kill()
        process.wait(20)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
