"""Every example in the docs, run by a test (RUNNERS).

An example that is not in RUNNERS fails. Nothing leaves this machine: network cameras are replaced by the tests' own,
and no webcam is plugged in.
"""

import contextlib
import json
import re
import shlex
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
from tests.support.albums import AlbumFolder, save
from tests.support.checkouts import copy_checkout
from tests.support.examples import DOCUMENTS, INDENTED, Example, make_dog, read_examples, use_dog
from tests.support.pictures import make_picture
from tests.support.server_process import ROOT, ServerProcess
from tests.support.sources import make_http_camera, make_rtsp_camera, needs_gstreamer

SERVER = "127.0.0.1:8080"
WEBCAM = "/dev/video0"
NETWORK_CAMERA = "192.0.2.7"
CAMERA_MISSING = "The camera is not there"

EXAMPLES = [one for path in sorted(DOCUMENTS) for one in read_examples(str(path.relative_to(ROOT)), path.read_text())]


class ExampleFolder:
    """A folder to run an example in, and the cameras that it needs."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.programs = make_dog(folder)
        self.env = use_dog(self.programs)
        self._stack = stack

    def use_test_cameras(self, text: str) -> str:
        """Return the example with the URLs and devices of the test's cameras."""
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
        """Start `dog serve ...`, parsed by a shell, on a free port.

        The command is not `dog` in this folder, but the same by a fork, which starts faster.
        """
        read = self.run(f"set -- {self.use_test_cameras(command)}\nprintf '%s\\n' \"$@\"")
        assert read.stderr == ""
        dog, serve, *arguments = read.stdout.splitlines()
        assert (dog, serve) == ("dog", "serve")
        server = ServerProcess(*arguments, cwd=self.folder, env=self.env)
        self._stack.callback(server.kill)
        return server.launch()

    def start(self, command: str = "dog serve") -> ServerProcess:
        server = self.launch(command)
        server.url = server.wait_for(r"D\.O\.G\. is at (http://\S+)", 30)[1]
        return server


def press(server: ServerProcess) -> dict[str, Any]:
    """Take a photo. Retry while the camera is being opened (Retry-After)."""
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


# ---- runners


def require_login(example: Example, place: ExampleFolder) -> None:
    """Check that only the link that the server prints logs in.

    The docs show it as `...`.
    """
    server = place.start(example.text)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        press(server)
    link = server.wait_for(r"(/enter/[\w-]+)", 30)[1]
    jar = urllib.request.HTTPCookieProcessor()
    with urllib.request.build_opener(jar).open(server.url + link, b"", timeout=20) as answer:
        assert b'id="shutter"' in answer.read()


def serve_https(first: str, second: str, place: ExampleFolder) -> None:
    """Run both blocks: the first serves, and the second sends requests."""
    *making, serving = first.splitlines()
    for command in making:
        ended = place.run(command)
        assert ended.returncode == 0, ended.stderr
    port = place.launch(serving).wait_for(r"D\.O\.G\. is at https://127\.0\.0\.1:(\d+)", 30)[1]
    hosts = place.folder / "hosts"
    hosts.write_text("127.0.0.1 dog.lan localhost\n")
    for command in second.splitlines():
        resolved = f"mount --bind {hosts} /etc/hosts && {command.replace(':8080', f':{port}')}"
        ended = place.run(f"unshare --mount sh -c {shlex.quote(resolved)}")
        assert ended.returncode == 0, ended.stderr
    assert (place.folder / "photo.jpg").read_bytes().startswith(b"\xff\xd8")


def install_with_pip(from_checkout: str, from_wheel: str, place: ExampleFolder) -> None:
    """Run both blocks, in a checkout with the wheel.

    pip downloads dependencies. They are those of both blocks, so they stay for the second, in the environment that both
    make by the same command.
    """
    checkout = copy_checkout(place.folder / "checkout")
    building = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    subprocess.run(building, cwd=checkout, check=True, capture_output=True)
    place.env.pop("PYTHONPATH")
    dependencies = []
    (making, *first), (making_again, *second) = from_checkout.splitlines(), from_wheel.splitlines()
    assert making == making_again == "python3 -m venv env"
    for commands in ([making, *first], second):
        for command in commands:
            ended = place.run(command, cwd=checkout, timeout=240)
            assert ended.returncode == 0, ended.stderr
        assert ended.stdout == f"dog, version {__version__}\n"
        found = place.run("env/bin/python -c 'import linuxpy, av, cryptography'", cwd=checkout)
        assert found.stderr == ""
        (metadata,) = checkout.glob("env/lib/python*/site-packages/dog_camera-*.dist-info/METADATA")
        dependencies.append(re.findall("^Requires-Dist: .*", metadata.read_text(), re.MULTILINE))
        assert place.run("env/bin/pip uninstall --yes dog-camera", cwd=checkout).returncode == 0
    assert dependencies[0] == dependencies[1] != []


def run_deploying_example(example: Example, place: ExampleFolder) -> None:
    """Run both blocks of a kind, in the test of the first."""
    uses_pip = "pip install" in example.text
    first, second = (
        each
        for each in EXAMPLES
        if (each.document, each.name) == (example.document, example.name) and ("pip install" in each.text) == uses_pip
    )
    if example is first:
        run = install_with_pip if uses_pip else serve_https
        run(first.text, second.text, place)


def create_users_and_tokens(example: Example, place: ExampleFolder) -> None:
    """Run the commands. A file provides the password that a person would type."""
    password = place.folder / "password"
    password.write_text("correct horse battery staple")
    for command in re.findall(r"^\$ (.*)", example.text, re.MULTILINE):
        if command.startswith("dog serve"):
            require_login(Example(example.document, example.language, command), place)
            continue
        option = " --password-file password" if "user add" in command else ""
        ended = place.run(command + option)
        assert ended.returncode == 0, ended.stderr


def take_photo(example: Example, place: ExampleFolder) -> None:
    press(place.start(example.text))


def find_no_camera(example: Example, place: ExampleFolder) -> None:
    place.start(example.text).wait_for(f"camera main is offline: {CAMERA_MISSING}")


def expand_make(example: Example, place: ExampleFolder) -> Example:
    """Return the last command that make would run.

    Flags of an outer make are removed.
    """
    make = "env -u MAKEFLAGS -u ARGS make --no-print-directory --dry-run"
    planned = place.run(example.text.replace("make", make, 1), cwd=ROOT)
    assert planned.returncode == 0, planned.stderr
    return Example(example.document, INDENTED, planned.stdout.splitlines()[-1].replace("exec .venv/bin/", ""))


def with_make(run: Callable[[Example, ExampleFolder], None]) -> Callable[[Example, ExampleFolder], None]:
    return lambda example, place: run(expand_make(example, place), place)


def from_checkout(run: Callable[[Example, ExampleFolder], None]) -> Callable[[Example, ExampleFolder], None]:
    """Run a command of README without the prefix `.venv/bin/`."""
    return lambda example, place: run(replace(example, text=example.text.removeprefix(".venv/bin/")), place)


def start_with_shipped_script(example: Example, place: ExampleFolder) -> None:
    shutil.copy(ROOT / "camera_access.sh", place.folder)
    place.start(example.text)


def start_on_a_pi(example: Example, place: ExampleFolder) -> None:
    """Check that it serves, or names the missing package on other computers."""
    place.launch(example.text).wait_for(r"D\.O\.G\. is at|needs the package picamera2. Install it: sudo apt install")


def check_make_target(example: Example, place: ExampleFolder) -> None:
    """Check that each module and folder of the command exists. Do not run it."""
    command = expand_make(example, place).text
    module = re.search(r"-m (\w+)(?: -m \w+)?(.*)", command)
    assert module, command
    for name in module[1], *module[2].split():
        assert name == "pytest" or (ROOT / name).exists(), command


def list_cameras(example: Example, place: ExampleFolder) -> None:
    ended = place.run(example.text)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "camera" in ended.stdout


def check_no_camera(example: Example, place: ExampleFolder) -> None:
    ended = place.run(place.use_test_cameras(example.text))
    assert (ended.returncode, ended.stderr) == (1, "")
    assert ended.stdout.startswith(f"main: {CAMERA_MISSING}")


def compare_with_curl(example: Example, place: ExampleFolder) -> None:
    """Check that curl receives the response of the URL."""
    server = place.start()
    press(server)
    ended = place.run(example.text.replace(f"http://{SERVER}", server.url))
    assert ended.returncode == 0, ended.stderr
    if "-o photo.jpg" in example.text:
        with urllib.request.urlopen(f"{server.url}/latest.jpg", timeout=20) as answer:
            assert (place.folder / "photo.jpg").read_bytes() == answer.read()
    else:
        assert "\ndog_captures_total" in ended.stdout


def take_photo_with_curl(example: Example, place: ExampleFolder) -> None:
    """Check that it prints the photo as JSON, and that the photo exists."""
    server = place.start()
    press(server)
    ended = place.run(example.text.replace(f"http://{SERVER}", server.url))
    assert ended.returncode == 0, ended.stderr
    with urllib.request.urlopen(server.url + json.loads(ended.stdout)["url"], timeout=20) as answer:
        assert answer.read().startswith(b"\xff\xd8")


def create_link_with_curl(example: Example, place: ExampleFolder) -> None:
    """Check that it prints a link, and that its image is the newest photo."""
    server = place.start()
    press(server)
    ended = place.run(example.text.replace(f"http://{SERVER}", server.url))
    assert ended.returncode == 0, ended.stderr
    with urllib.request.urlopen(server.url + json.loads(ended.stdout)["image"], timeout=20) as answer:
        assert answer.read().startswith(b"\xff\xd8")


def replay_conversation(example: Example, place: ExampleFolder) -> None:
    """Send the client's messages, and check the fields of the server's."""
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
def test_each_curl_command_prints_its_error_leaves_no_file_and_has_a_time_limit(
    example: Example, tmp_path: Path
) -> None:
    """Run it against a server that requires a login."""
    (tmp_path / "token").write_text("dog_none")
    with contextlib.ExitStack() as stack:
        place = ExampleFolder(tmp_path, stack)
        server = place.start("dog serve --auth true")
        for command in re.findall(r"\bcurl (?:\$\([^)]*\)|[^|\n)])*", example.text):
            here = re.sub(r"https?://[^/'\"]+", server.url, command).replace("--cacert dog-certificate.pem", "")
            ended = place.run(f"set -- . unused; {here}")
            assert ended.returncode == 22, command
            assert re.search("error: 40[14]", ended.stderr), command
            assert not list(tmp_path.glob("*.jpg")) + list(tmp_path.glob("unused")), command
            assert re.search(r"--max-time \d+", command), command


def read_settings(example: Example, place: ExampleFolder) -> None:
    """Check that each line is a setting in use, and each table a camera."""
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
    "fswebcam": "needs a webcam; `make test-cameras` runs it",
    "rpicam-still": "exists only on a Raspberry Pi",
    "imagesnap": "exists only on macOS",
}
"""Programs replaced by one that writes a photo to its last argument, with why."""


def take_photo_with_program(example: Example, place: ExampleFolder) -> None:
    script = place.folder / "camera_access.sh"
    script.write_text(place.use_test_cameras(example.text))
    script.chmod(0o755)
    found = re.search(r"^exec (\S+) ", example.text, re.MULTILINE)
    assert found
    if found[1] in STAND_INS:
        program = place.programs / found[1]
        program.write_text('#!/bin/sh\nfor picture; do :; done\ncp "$0.jpg" "$picture"\n')
        program.chmod(0o755)
        Path(f"{program}.jpg").write_bytes(make_picture())
    press(place.start("dog serve --camera script:./camera_access.sh"))


def maintain_album(example: Example, place: ExampleFolder) -> None:
    """Run the commands in the folder of an album with photos of two months."""
    album = AlbumFolder(place.folder)
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


def check_folder(example: Example, place: ExampleFolder) -> None:
    """Check that the path exists after a photo and a rebuild."""
    server = place.start()
    press(server)
    assert server.stop() == 0
    assert place.run("dog album rebuild").returncode == 0
    path = example.text.split()[0]
    assert list(place.folder.glob(re.sub(r"YYYY|MM|DD|<\w+>", "*", path))), path


def check_scaled(example: Example, place: ExampleFolder) -> None:
    """Check that the copies in the folder can be lost, also by a rebuild."""
    server = place.start()
    press(server)
    folder = place.folder / example.text.split()[0]
    for _ in range(2):
        with urllib.request.urlopen(f"{server.url}/latest.jpg?width=640", timeout=20) as answer:
            assert answer.headers["ETag"].endswith('-640"')
        assert server.stop() == 0  # it finishes to keep the copy
        assert [path.name.endswith("-640.jpg") for path in folder.iterdir()] == [True]
        assert place.run("dog album rebuild").returncode == 0
        assert not folder.exists()
        server.start()


def check_damaged(example: Example, place: ExampleFolder) -> None:
    """Check that a rebuild keeps damaged facts in the folder."""
    server = place.start()
    press(server)
    assert server.stop() == 0
    next(place.folder.glob("**/facts.sqlite3")).write_bytes(b"damaged" * 1000)
    assert place.run("dog album rebuild").returncode == 0
    [kept] = place.folder.glob("**/damaged/*.facts.sqlite3")
    assert kept.parent == place.folder / example.text.split()[0]


@dataclass(frozen=True)
class Elsewhere:
    """Examples that another test runs: exactly `blocks`, if that is given."""

    test: str
    blocks: int | None = None

    def __call__(self, example: Example, _place: ExampleFolder) -> None:
        path, name = self.test.split("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), self.test
        if self.blocks is not None:
            same = [one for one in EXAMPLES if (one.document, one.name) == (example.document, example.name)]
            assert len(same) == self.blocks, f"{self.test} runs only {self.blocks} blocks"


@dataclass(frozen=True)
class NotRun:
    """An example that no test can run. A command must be valid for a shell."""

    reason: str
    is_command: bool = True

    def __call__(self, example: Example, _place: ExampleFolder) -> None:
        if self.is_command:
            ended = subprocess.run(["sh", "-n", "-c", example.text], capture_output=True, text=True, check=False)
            assert (ended.returncode, ended.stderr) == (0, "")


SCRIPT = "tests/docs/test_readme_script.py::test_script_takes_a_photo_with_the_command_in_its_first_line"
LOOP = "tests/docs/test_docs.py::test_curl_loop_of_the_album_page_gets_every_photo_and_continues_after_a_204"
BACKUPS = "tests/cli/test_backup.py::test_the_commands_of_the_album_page_restore_an_album"
COMMANDS = "tests/client/test_client_docs.py::test_a_command_prints_what_the_docs_show"
SCRIPTS = "tests/client/test_client_docs.py::test_a_script_does_what_the_docs_say"
PAGE = "tests/browser/test_client.py::test_example_in_the_docs_shows_photos_and_takes_one"
TOKEN = "tests/browser/test_token.py::test_example_in_the_docs_works_on_a_server_with_logins"
DASHBOARD = "tests/browser/test_dashboards.py::test_example_in_the_docs_shows_the_camera_three_times"
PROXIES = "tests/browser/test_without_websockets.py::test_page_uses_the_websocket_behind_a_proxy_that_passes_it"
PROMETHEUS = "tests/test_metrics.py::test_promtool_accepts_the_configuration_queries_and_alerts_of_the_docs"
TARGETS = "tests/packaging/test_make.py::test_plain_make_prints_every_target_and_does_nothing"
CI = "tests/packaging/test_make.py::test_ci_runs_the_checks_and_the_tests_and_nothing_else"
ERRORS = "tests/settings/test_settings.py::test_the_errors_in_the_docs_match_the_code"

RUNNERS: dict[str, dict[str, Callable[[Example, ExampleFolder], None]]] = {
    "README.md": {
        "make run": with_make(take_photo),
        "make test": Elsewhere(CI),
        ".venv/bin/dog cameras": from_checkout(list_cameras),
        ".venv/bin/dog check --camera v4l2:/dev/video0": from_checkout(check_no_camera),
        'make run ARGS="--camera v4l2:/dev/video0"': with_make(find_no_camera),
        "make run ARGS=\"--camera 'rtsp://192.0.2.7/stream1'\"": with_make(take_photo),
        'make run ARGS="--camera picamera:0"': with_make(start_on_a_pi),
        'make run ARGS="--camera script:./camera_access.sh"': with_make(start_with_shipped_script),
        'make run ARGS="--host 0.0.0.0 --auth"': with_make(require_login),
        ".venv/bin/dog user add ada --role manage": from_checkout(create_users_and_tokens),
        "python": Elsewhere(SCRIPT, blocks=1),
        "curl -fsS --max-time 60 -o photo.jpg 'http://127.0.0.1:8080/latest.jpg?max_age=10'": compare_with_curl,
    },
    "CONTRIBUTING.md": {"make": Elsewhere(TARGETS), "make test": Elsewhere(CI), "make check": Elsewhere(CI)},
    "docs/album.md": {
        "sh": Elsewhere(LOOP, blocks=1),
        "bash": Elsewhere(BACKUPS, blocks=3),
        "console": maintain_album,
        "snapshots/YYYY/MM/DD/<time>_<camera>_<capture>_<id>.jpg in UTC, next to its .thumbnail.jpg": check_folder,
        "snapshots/.dog/facts.sqlite3 what no photo holds; back it up with the photos": check_folder,
        "snapshots/.dog/index.sqlite3 the index of the photos": check_folder,
        "snapshots/.dog/scaled/ smaller copies for phones; needs no backup": check_scaled,
        "snapshots/.dog/damaged/ incomplete photos and a damaged facts.sqlite3": check_damaged,
    },
    "docs/architecture.md": {
        "viewer -> request -> capture queue -> camera task -> camera -> store -> event -> hub -> every viewer": NotRun(
            "is a drawing", is_command=False
        ),
    },
    "docs/benchmarks.md": {"make bench": check_make_target},
    "docs/cameras.md": {
        "dog cameras": list_cameras,
        "dog check --camera v4l2:/dev/video0": check_no_camera,
        "dog serve --camera v4l2:/dev/video0": find_no_camera,
        "toml": read_settings,
        "sudo usermod -aG video $USER": NotRun("changes the computer's users"),
        "dog serve --camera 'rtsp://192.0.2.7/stream1'": take_photo,
        "dog serve --camera 'http://192.0.2.7/video.cgi?size=4&rate=15' --latency 0.3": take_photo,
        "sudo apt install python3-picamera2": NotRun("installs a package of a Raspberry Pi"),
        "python3 -m venv --system-site-packages .venv": NotRun("belongs to the line above it"),
        "dog serve --camera faulty:cut=0.3,dark=0.1,seed=7": take_photo,
        "sh": take_photo_with_program,
        "make test-cameras": check_make_target,
        "apt-get install --no-install-recommends qemu-system-x86 busybox-static cpio kmod zstd xz-utils "
        "fswebcam v4l-utils": NotRun("installs packages"),
    },
    "docs/clients.md": {
        "console": Elsewhere(COMMANDS),
        "python": Elsewhere(SCRIPTS),
        "html": Elsewhere(PAGE, blocks=1),
        "js": Elsewhere(TOKEN, blocks=1),
        "html dashboard": Elsewhere(DASHBOARD, blocks=1),
        "curl -fsS --max-time 60 -X POST http://127.0.0.1:8080/api/cameras/main/links": create_link_with_curl,
    },
    "docs/deploying.md": {
        "sh": run_deploying_example,
        "toml": read_settings,
        "nginx": Elsewhere(PROXIES, blocks=1),
        "ini": NotRun("a change of the unit; tests/cli/test_start_status.py compares the folders in its error"),
        "console": NotRun("needs root, systemd or podman; tests/packaging/test_deploy.py installs into a folder"),
    },
    "docs/metrics.md": {
        "curl -fsS --max-time 10 http://127.0.0.1:8080/metrics": compare_with_curl,
        "yaml": Elsewhere(PROMETHEUS, blocks=2),
        "promql": Elsewhere(PROMETHEUS),
    },
    "docs/protocol.md": {
        "text": replay_conversation,
        "curl -fsS --max-time 60 -X POST http://127.0.0.1:8080/api/captures": take_photo_with_curl,
    },
    "docs/security.md": {"console": create_users_and_tokens},
    "docs/settings.md": {"toml": read_settings, "": Elsewhere(ERRORS, blocks=1)},
}
"""The runner of each example, by its document and its name."""


def marks_for(example: Example) -> list[pytest.MarkDecorator]:
    """Return the marks for the programs and the time that an example needs."""
    marks = [needs_gstreamer] if "rtsp://" in example.text and example.language != "toml" else []
    if "pip install" in example.text:
        marks.append(pytest.mark.timeout(400))
    if "exec ffmpeg " in example.text:
        marks.append(pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg"))
    return marks


@pytest.mark.parametrize(
    "example", [pytest.param(one, id=f"{one.document}: {one.name}", marks=marks_for(one)) for one in EXAMPLES]
)
def test_example_does_what_the_docs_say(example: Example, tmp_path: Path) -> None:
    run = RUNNERS.get(example.document, {}).get(example.name)
    assert run, f"No test runs this example of {example.document}. Add it to RUNNERS.\n{example.text}"
    with contextlib.ExitStack() as stack:
        run(example, ExampleFolder(tmp_path, stack))


def test_runners_name_only_existing_examples() -> None:
    named = {(document, name) for document, names in RUNNERS.items() for name in names}
    assert named <= {(example.document, example.name) for example in EXAMPLES}


def test_read_examples_returns_every_fenced_block_and_every_indented_line() -> None:
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


def test_read_examples_rejects_a_block_without_an_end() -> None:
    with pytest.raises(AssertionError, match=r"a\.md has a block without an end"):
        read_examples("a.md", "```sh\ndog serve\n")
