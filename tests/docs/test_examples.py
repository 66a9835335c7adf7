"""Every example in the docs is run by a test: the table of all, and the running of those that no other test runs.

An example that HOW does not name fails its test, and so does one more block where another test has a number of them.
Nothing leaves this machine: a network camera of the docs is one of the tests' own, and a webcam is not plugged in.
"""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from dog import __version__
from dog.settings import load
from tests.cli.test_album import Album, save
from tests.packaging.test_deploy import copy_checkout
from tests.support.examples import DOCUMENTS, INDENTED, Example, make_dog, read_examples, use_dog
from tests.support.pictures import make_picture
from tests.support.server_process import ROOT, ServerProcess
from tests.support.sources import make_http_camera, make_rtsp_camera, needs_gstreamer

SERVER = "127.0.0.1:8080"
WEBCAM = "/dev/video0"
NETWORK_CAMERA = "192.0.2.7"
NOT_THERE = "The camera is not there"

EXAMPLES = [one for path in sorted(DOCUMENTS) for one in read_examples(str(path.relative_to(ROOT)), path.read_text())]


class Place:
    """A folder to run an example in, as a reader would, and the cameras that it asks for."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.programs = make_dog(folder)
        self.env = use_dog(self.programs)
        self._stack = stack

    def reach(self, text: str) -> str:
        """The example with addresses of what there is here."""
        if "rtsp://" in text:
            camera = self._stack.enter_context(make_rtsp_camera("h264"))
            text = text.replace(f"{NETWORK_CAMERA}/stream1", f"127.0.0.1:{camera.port}/cam")
        if "http://" in text:
            camera = self._stack.enter_context(make_http_camera())
            text = text.replace(f"{NETWORK_CAMERA}/video.cgi", f"127.0.0.1:{camera.port}/stream")
            text = text.replace(f"{NETWORK_CAMERA}/snapshot.jpg", f"127.0.0.1:{camera.port}/still")
        assert NETWORK_CAMERA not in text
        return text.replace(WEBCAM, str(self.folder / "video0"))

    def run(self, command: str, cwd: Path | None = None, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["sh", "-c", command],
            cwd=cwd or self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def launch(self, command: str) -> ServerProcess:
        """`dog serve ...` with the words that a shell makes of it, but on a free port."""
        read = self.run(f"set -- {self.reach(command)}\nprintf '%s\\n' \"$@\"")
        assert read.stderr == ""
        dog, serve, *arguments = read.stdout.splitlines()
        assert (dog, serve) == ("dog", "serve")
        server = ServerProcess(*arguments, cwd=self.folder, env=self.env, command=[str(self.programs / dog)])
        self._stack.callback(server.kill)
        return server.launch()

    def start(self, command: str = "dog serve") -> ServerProcess:
        server = self.launch(command)
        server.url = server.wait_for(r"D\.O\.G\. is at (http://\S+)", 30)[1]
        return server


def press(server: ServerProcess) -> dict[str, Any]:
    """A new photo; a camera that is still being opened is asked again, as the answer says."""
    request = urllib.request.Request(f"{server.url}/api/captures", b'{"max_age":0}', method="POST")
    for last in [False] * 20 + [True]:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                photo: dict[str, Any] = json.load(answer)
            break
        except urllib.error.HTTPError as error:
            if error.code != 503 or last:
                raise
            time.sleep(int(error.headers["Retry-After"]))
    with urllib.request.urlopen(server.url + photo["url"], timeout=20) as answer:
        assert answer.read().startswith(b"\xff\xd8")
    return photo


# ---- the ways of running one


def let_nobody_in(example: Example, place: Place) -> None:
    """Nobody but who has the link that it prints, in the place of `...`."""
    server = place.start(example.text)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        press(server)
    link = server.wait_for(r"(/enter/[\w-]+)", 30)[1]
    jar = urllib.request.HTTPCookieProcessor()
    with urllib.request.build_opener(jar).open(server.url + link, b"", timeout=20) as answer:
        assert b'id="shutter"' in answer.read()


def serve_https(example: Example, place: Place) -> None:
    """What makes a certificate and a token, and serves with them, comes first; what asks finds that."""
    same = [each.text for each in EXAMPLES if (each.document, each.name) == (example.document, example.name)]
    first, second = (text for text in same if "pip install" not in text)
    *making, serving = first.splitlines()
    for command in making:
        ended = place.run(command)
        assert ended.returncode == 0, ended.stderr
    port = place.launch(serving).wait_for(r"D\.O\.G\. is at https://127\.0\.0\.1:(\d+)", 30)[1]
    for command in second.splitlines():
        ended = place.run(command.replace("dog.lan:8080", f"127.0.0.1:{port}"))
        assert ended.returncode == 0, ended.stderr
    assert (place.folder / "photo.jpg").read_bytes().startswith(b"\xff\xd8")


def install_with_pip(example: Example, place: Place) -> None:
    """Its commands, in a checkout with the wheel that `make wheel` builds; pip takes what is needed from its index."""
    checkout = copy_checkout(place.folder / "checkout")
    if "dist/" in example.text:
        building = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
        subprocess.run(building, cwd=checkout, check=True, capture_output=True)
    place.env.pop("PYTHONPATH")
    for command in example.text.splitlines():
        ended = place.run(command, cwd=checkout, timeout=240)
        assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"dog, version {__version__}\n"
    found = place.run("env/bin/python -c 'import linuxpy, av, cryptography'", cwd=checkout)
    assert found.stderr == ""


def follow_the_deploying_page(example: Example, place: Place) -> None:
    (install_with_pip if "pip install" in example.text else serve_https)(example, place)


def let_people_in(example: Example, place: Place) -> None:
    """Its commands; a password is given by a file where a person would type it."""
    password = place.folder / "password"
    password.write_text("correct horse battery staple")
    for command in re.findall(r"^\$ (.*)", example.text, re.MULTILINE):
        if command.startswith("dog serve"):
            let_nobody_in(Example(example.document, example.language, command), place)
            continue
        asks = " --password-file password" if "user add" in command else ""
        ended = place.run(command + asks)
        assert ended.returncode == 0, ended.stderr


def take_photo(example: Example, place: Place) -> None:
    press(place.start(example.text))


def find_no_camera(example: Example, place: Place) -> None:
    place.start(example.text).wait_for(f"camera main is offline: {NOT_THERE}")


def see_what_make_runs(example: Example, place: Place) -> Example:
    """The last command that make would run; what a make around the tests was told does not count."""
    make = "env -u MAKEFLAGS -u ARGS make --no-print-directory --dry-run"
    planned = place.run(example.text.replace("make", make, 1), cwd=ROOT)
    assert planned.returncode == 0, planned.stderr
    return Example(example.document, INDENTED, planned.stdout.splitlines()[-1].replace("exec .venv/bin/", ""))


def with_make(run: Callable[[Example, Place], None]) -> Callable[[Example, Place], None]:
    return lambda example, place: run(see_what_make_runs(example, place), place)


def from_checkout(run: Callable[[Example, Place], None]) -> Callable[[Example, Place], None]:
    """Run a command of README without `.venv/bin/`, where `make run` installs it."""
    return lambda example, place: run(replace(example, text=example.text.removeprefix(".venv/bin/")), place)


def start_with_the_shipped_script(example: Example, place: Place) -> None:
    shutil.copy(ROOT / "camera_access.sh", place.folder)
    place.start(example.text)


def start_on_a_pi(example: Example, place: Place) -> None:
    """It serves, or says what is missing on a computer that is none."""
    place.launch(example.text).wait_for(r"D\.O\.G\. is at|needs the package picamera2. Install it: sudo apt install")


def start_make(example: Example, place: Place) -> None:
    """As far as seeing that each program and folder of its commands is there."""
    command = see_what_make_runs(example, place).text
    module = re.search(r"-m (\w+)(?: -m \w+)?(.*)", command)
    assert module, command
    for name in module[1], *module[2].split():
        assert name == "pytest" or (ROOT / name).exists(), command


def list_cameras(example: Example, place: Place) -> None:
    ended = place.run(example.text)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "camera" in ended.stdout


def check_no_camera(example: Example, place: Place) -> None:
    ended = place.run(place.reach(example.text))
    assert (ended.returncode, ended.stderr) == (1, "")
    assert ended.stdout.startswith(f"main: {NOT_THERE}")


def ask_with_curl(example: Example, place: Place) -> None:
    """Its answer is that of the address itself."""
    server = place.start()
    press(server)
    ended = place.run(example.text.replace(f"http://{SERVER}", server.url))
    assert ended.returncode == 0, ended.stderr
    if "-o photo.jpg" in example.text:
        with urllib.request.urlopen(f"{server.url}/latest.jpg", timeout=20) as answer:
            assert (place.folder / "photo.jpg").read_bytes() == answer.read()
    else:
        assert "\ndog_captures_total" in ended.stdout


def take_photo_with_curl(example: Example, place: Place) -> None:
    """It prints the photo as JSON, and the photo is there."""
    server = place.start()
    press(server)
    ended = place.run(example.text.replace(f"http://{SERVER}", server.url))
    assert ended.returncode == 0, ended.stderr
    with urllib.request.urlopen(server.url + json.loads(ended.stdout)["url"], timeout=20) as answer:
        assert answer.read().startswith(b"\xff\xd8")


def hold_the_conversation(example: Example, place: Place) -> None:
    """Send what the client sends, and receive each message that the server sends, with the fields that are shown."""
    server = place.start()
    press(server)  # the camera is open now
    lines = re.findall(r"^(client|server): (.*)$", example.text, re.MULTILINE)
    assert len(lines) == len(example.text.splitlines()) > 1
    with connect(f"{server.url.replace('http', 'ws', 1)}/ws") as dog:
        for speaker, text in lines:
            if speaker == "client":
                dog.send(text)
                continue
            shown = json.loads(text.replace(",...", ""))
            message = json.loads(dog.recv(timeout=30))
            while message["type"] == "viewers":
                message = json.loads(dog.recv(timeout=30))
            assert message["type"] == shown["type"]
            assert message.get("request") == shown.get("request")
            assert shown.keys() <= message.keys()
            assert ",..." in text or message.keys() - {"retry_after"} == shown.keys()


CURL = [one for one in EXAMPLES if re.search(r"\bcurl ", one.text)]


@pytest.mark.parametrize("example", [pytest.param(one, id=f"{one.document}: {one.name}") for one in CURL])
def test_each_curl_of_the_docs_fails_with_a_message_leaves_no_file_and_has_a_time_limit(
    example: Example, tmp_path: Path
) -> None:
    """From a server that lets nobody in, and has no such path."""
    (tmp_path / "token").write_text("dog_none")
    with contextlib.ExitStack() as stack:
        place = Place(tmp_path, stack)
        server = place.start("dog serve --auth true")
        for command in re.findall(r"\bcurl (?:\$\([^)]*\)|[^|\n)])*", example.text):
            here = re.sub(r"https?://[^/'\"]+", server.url, command).replace("--cacert dog-certificate.pem", "")
            ended = place.run(f"set -- . unused; {here}")
            assert ended.returncode == 22, command
            assert re.search("error: 40[14]", ended.stderr), command
            assert not list(tmp_path.glob("*.jpg")) + list(tmp_path.glob("unused")), command
            assert re.search(r"--max-time \d+", command), command


def read_settings(example: Example, place: Place) -> None:
    """Every line of it is a setting that counts, and every table a camera."""
    (place.folder / "dog.toml").write_text(example.text)
    settings = load({}, {}, place.folder)
    written = tomllib.loads(example.text)
    tables = written.pop("cameras", {})
    assert written or tables
    assert settings.sources.keys() == written.keys()
    if tables:
        assert settings.cameras.keys() == tables.keys()
    for name, table in tables.items():
        camera = settings.cameras[name]
        assert camera.sources.keys() == written.keys() | table.keys()
        if "password_file" in table:
            table["password_file"] = place.folder / table["password_file"]
        assert {key: getattr(camera, key) for key in table} == table


STAND_INS = {
    "fswebcam": "has no webcam; `make test-cameras` has it take pictures of one",
    "rpicam-still": "is there on a Raspberry Pi alone",
    "imagesnap": "is there on macOS alone",
}
"""Programs in whose place stands one that leaves a picture at its last argument, and why."""


def take_photo_with_program(example: Example, place: Place) -> None:
    script = place.folder / "camera_access.sh"
    script.write_text(place.reach(example.text))
    script.chmod(0o755)
    found = re.search(r"^exec (\S+) ", example.text, re.MULTILINE)
    assert found
    if found[1] in STAND_INS:
        program = place.programs / found[1]
        program.write_text('#!/bin/sh\nfor picture; do :; done\ncp "$0.jpg" "$picture"\n')
        program.chmod(0o755)
        Path(f"{program}.jpg").write_bytes(make_picture())
    press(place.start("dog serve --camera script:./camera_access.sh"))


def look_after_an_album(example: Example, place: Place) -> None:
    """Its commands one after the other, in the folder of an album with photos of two months."""
    album = Album(place.folder)
    with album.opened() as archive:
        save(archive, datetime(2026, 10, 31, 23, 59, tzinfo=UTC))
    for command in example.text.splitlines():
        ended = place.run(command)
        assert ended.returncode == 0, ended.stderr
    with zipfile.ZipFile(place.folder / "november.zip") as exported:
        assert {name: exported.read(name) for name in exported.namelist()} == album.in_archive()
    server = place.start()
    with urllib.request.urlopen(f"{server.url}/api/snapshots", timeout=20) as answer:
        assert len(json.load(answer)["snapshots"]) == len(album.photos) + 1


def see_the_folder(example: Example, place: Place) -> None:
    """What the picture of the folder shows is there once it was used, and made again."""
    server = place.start()
    press(server)
    assert server.stop() == 0
    assert place.run("dog album rebuild").returncode == 0
    path = example.text.split()[0]
    assert list(place.folder.glob(re.sub(r"YYYY|MM|DD|<\w+>", "*", path))), path


@dataclass(frozen=True)
class Elsewhere:
    """The test that runs them, and how many it has; None where it runs all that there are."""

    test: str
    blocks: int | None = None

    def __call__(self, example: Example, _place: Place) -> None:
        path, name = self.test.split("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), self.test
        if self.blocks is not None:
            same = [one for one in EXAMPLES if (one.document, one.name) == (example.document, example.name)]
            assert len(same) == self.blocks, f"{self.test} runs {self.blocks} of them"


@dataclass(frozen=True)
class NotRun:
    """Why no test can; where it is a command, a shell understands it all the same."""

    reason: str
    is_command: bool = True

    def __call__(self, example: Example, _place: Place) -> None:
        if self.is_command:
            ended = subprocess.run(["sh", "-n", "-c", example.text], capture_output=True, text=True, check=False)
            assert (ended.returncode, ended.stderr) == (0, "")


SCRIPT = "tests/docs/test_readme_script.py::test_installed_as_its_first_line_says_it_takes_a_photo"
LOOP = "tests/docs/test_docs.py::test_the_loop_of_curl_in_the_album_sees_every_photo_and_goes_on_when_it_was_quiet"
COMMANDS = "tests/client/test_client_docs.py::test_a_command_prints_what_the_docs_show"
SCRIPTS = "tests/client/test_client_docs.py::test_a_script_does_what_the_docs_say"
PAGE = "tests/browser/test_client.py::test_the_example_of_the_document_shows_every_photo_and_takes_one"
TOKEN = "tests/browser/test_token.py::test_the_example_of_the_document_shows_photos_where_the_server_asks_who_is_there"
PROMETHEUS = "tests/test_metrics.py::test_promtool_accepts_the_configuration_queries_and_alerts_of_the_docs"
TARGETS = "tests/packaging/test_make.py::test_plain_make_prints_every_target_and_does_nothing"
CI = "tests/packaging/test_make.py::test_ci_runs_the_checks_and_the_tests_and_nothing_else"
ERRORS = "tests/settings/test_settings.py::test_the_errors_in_the_docs_are_those_of_the_code"

HOW: dict[str, dict[str, Callable[[Example, Place], None]]] = {
    "README.md": {
        "make run": with_make(take_photo),
        "make test": Elsewhere(CI),
        ".venv/bin/dog cameras": from_checkout(list_cameras),
        ".venv/bin/dog check --camera v4l2:/dev/video0": from_checkout(check_no_camera),
        'make run ARGS="--camera v4l2:/dev/video0"': with_make(find_no_camera),
        "make run ARGS=\"--camera 'rtsp://192.0.2.7/stream1'\"": with_make(take_photo),
        'make run ARGS="--camera picamera:0"': with_make(start_on_a_pi),
        'make run ARGS="--camera script:./camera_access.sh"': with_make(start_with_the_shipped_script),
        'make run ARGS="--host 0.0.0.0 --auth"': with_make(let_nobody_in),
        ".venv/bin/dog user add ada --role manage": from_checkout(let_people_in),
        "python": Elsewhere(SCRIPT, blocks=1),
        "curl -fsS --max-time 60 -o photo.jpg 'http://127.0.0.1:8080/latest.jpg?max_age=10'": ask_with_curl,
    },
    "CONTRIBUTING.md": {"make": Elsewhere(TARGETS), "make test": Elsewhere(CI), "make check": Elsewhere(CI)},
    "docs/album.md": {
        "sh": Elsewhere(LOOP, blocks=1),
        "console": look_after_an_album,
        "snapshots/YYYY/MM/DD/<time>_<camera>_<capture>_<id>.jpg and .thumbnail.jpg beside it, in UTC": see_the_folder,
        "snapshots/.dog/index.sqlite3 the index": see_the_folder,
        "snapshots/.dog/damaged/ what was put aside": see_the_folder,
    },
    "docs/architecture.md": {
        "viewer -> request -> capture queue -> camera task -> camera -> store -> event -> hub -> every viewer": NotRun(
            "is a drawing", is_command=False
        ),
    },
    "docs/benchmarks.md": {"make bench": start_make},
    "docs/cameras.md": {
        "dog cameras": list_cameras,
        "dog check --camera v4l2:/dev/video0": check_no_camera,
        "dog serve --camera v4l2:/dev/video0": find_no_camera,
        "toml": read_settings,
        "sudo usermod -aG video $USER": NotRun("changes the computer's users"),
        "dog serve --camera 'rtsp://192.0.2.7/stream1'": take_photo,
        "dog serve --camera 'http://192.0.2.7/video.cgi?size=4&rate=15' --latency 0.3": take_photo,
        "sudo apt install python3-picamera2": NotRun("installs what a Raspberry Pi alone has"),
        "python3 -m venv --system-site-packages .venv": NotRun("belongs to the line above it"),
        "dog serve --camera faulty:cut=0.3,dark=0.1,seed=7": take_photo,
        "sh": take_photo_with_program,
        "make test-cameras": start_make,
        "apt-get install --no-install-recommends qemu-system-x86 busybox-static cpio kmod zstd xz-utils "
        "fswebcam v4l-utils": NotRun("installs packages"),
    },
    "docs/clients.md": {
        "console": Elsewhere(COMMANDS),
        "python": Elsewhere(SCRIPTS),
        "html": Elsewhere(PAGE, blocks=1),
        "js": Elsewhere(TOKEN, blocks=1),
    },
    "docs/deploying.md": {
        "sh": follow_the_deploying_page,
        "toml": read_settings,
        "console": NotRun("needs root, systemd or podman; tests/packaging/test_deploy.py installs into a folder"),
    },
    "docs/metrics.md": {
        "curl -fsS --max-time 10 http://127.0.0.1:8080/metrics": ask_with_curl,
        "yaml": Elsewhere(PROMETHEUS, blocks=2),
        "promql": Elsewhere(PROMETHEUS),
    },
    "docs/protocol.md": {
        "text": hold_the_conversation,
        "curl -fsS --max-time 60 -X POST http://127.0.0.1:8080/api/captures": take_photo_with_curl,
    },
    "docs/security.md": {"console": let_people_in},
    "docs/settings.md": {"toml": read_settings, "": Elsewhere(ERRORS, blocks=1)},
}
"""How each is run, by its document and its name there."""


def needs(example: Example) -> list[pytest.MarkDecorator]:
    """What has to be installed for it."""
    marks = [needs_gstreamer] if "rtsp://" in example.text and example.language != "toml" else []
    if "pip install" in example.text:
        marks.append(pytest.mark.timeout(400))
    if "exec ffmpeg " in example.text:
        marks.append(pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg"))
    return marks


@pytest.mark.parametrize(
    "example", [pytest.param(one, id=f"{one.document}: {one.name}", marks=needs(one)) for one in EXAMPLES]
)
def test_an_example_does_what_the_docs_say(example: Example, tmp_path: Path) -> None:
    how = HOW.get(example.document, {}).get(example.name)
    assert how, f"No test runs this example of {example.document}; HOW says how each is run:\n{example.text}"
    with contextlib.ExitStack() as stack:
        how(example, Place(tmp_path, stack))


def test_the_table_names_no_example_that_is_not_there() -> None:
    named = {(document, name) for document, names in HOW.items() for name in names}
    assert named <= {(example.document, example.name) for example in EXAMPLES}


def test_every_fenced_block_and_every_indented_line_is_an_example() -> None:
    text = """# One

    dog cameras   # all of them
    dog serve

- a list

  ~~~ toml
  a = 1
  ~~~

````console
```
````

A word.
    no code, for no empty line is above
"""
    found = [(example.language, example.text) for example in read_examples("a.md", text)]
    assert found == [
        *(("toml", "  a = 1\n"), ("console", "```\n")),
        *((INDENTED, "dog cameras"), (INDENTED, "dog serve")),
    ]


def test_a_block_without_an_end_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match=r"a\.md has a block without an end"):
        read_examples("a.md", "```sh\ndog serve\n")
