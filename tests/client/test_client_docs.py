"""docs/clients.md: each example is run against the real server."""

import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dog.cli.exit_status import MEANINGS
from tests.conftest import Serve
from tests.support.examples import make_dog, read_examples, use_dog
from tests.support.server_process import ROOT, ServerProcess

CLIENTS = (ROOT / "docs" / "clients.md").read_text()
SERVER = "camera.local:8080"
EXAMPLES = read_examples("docs/clients.md", CLIENTS)
SHELL = [example.text for example in EXAMPLES if example.language == "console"]
PYTHON = [example.text for example in EXAMPLES if example.language == "python"]


def normalize(line: str) -> str:
    """Replace the variable parts of a line of output.

    They are times, numbers, ids and the width of columns.
    """
    line = line.replace(SERVER, "SERVER")
    line = re.sub(r"\b127\.0\.0\.1:\d+", "SERVER", line)
    line = re.sub(r"(?<![a-z2-7])[a-z2-7]{24}(?![a-z2-7])", "ID", line)
    return " ".join(re.sub(r"\d+", "0", line).split())


def read_commands(block: str) -> list[tuple[str, list[str]]]:
    """Return each command of a block with its output in the docs."""
    commands: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        else:
            commands[-1][1].append(normalize(line))
    return commands


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the examples, with this checkout as the program `dog`."""
    path = tmp_path / "here"
    make_dog(path)
    return path


@pytest.fixture
def server(serve: Serve) -> ServerProcess:
    return serve("--dead-time", "0")


@pytest.fixture
def capturing_in_background(server: ServerProcess) -> Iterator[threading.Event]:
    """Take a photo again and again, once the event is set."""
    begin, end = threading.Event(), threading.Event()

    def press() -> None:
        begin.wait()
        while not end.wait(0.1):
            request = urllib.request.Request(f"{server.url}/api/captures", b'{"max_age":0}', method="POST")
            urllib.request.urlopen(request, timeout=20).close()

    thread = threading.Thread(target=press)
    thread.start()
    yield begin
    end.set()
    begin.set()
    thread.join()


def environment(folder: Path) -> dict[str, str]:
    return use_dog(folder / "bin")


@pytest.mark.parametrize(("command", "output"), [one for block in SHELL for one in read_commands(block)])
def test_a_command_prints_what_the_docs_show(
    command: str, output: list[str], server: ServerProcess, folder: Path, capturing_in_background: threading.Event
) -> None:
    running = subprocess.Popen(
        ["sh", "-c", "exec " + command.replace(SERVER, f"127.0.0.1:{server.port}")]
        if command.startswith("dog watch")
        else ["sh", "-c", command.replace(SERVER, f"127.0.0.1:{server.port}")],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if command.startswith("dog watch"):
        assert running.stdout is not None
        wanted = list(output)
        for line in running.stdout:
            if "connected" in line:
                capturing_in_background.set()
            if normalize(line) == wanted[0]:
                wanted.pop(0)
            if not wanted:
                break
        running.terminate()
        running.communicate(timeout=30)
        assert wanted == []
        return
    if command.startswith("dog gallery"):
        running.communicate(timeout=30)  # there is no photo yet
        request = urllib.request.Request(f"{server.url}/api/captures", method="POST")
        urllib.request.urlopen(request, timeout=20).close()
        running = subprocess.Popen(running.args, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True)
    said, problems = running.communicate(timeout=30)
    assert (running.returncode, problems or "") == (0, "")
    assert [normalize(line) for line in said.splitlines()] == output


@pytest.mark.parametrize("script", PYTHON)
def test_a_script_does_what_the_docs_say(
    script: str, server: ServerProcess, folder: Path, capturing_in_background: threading.Event
) -> None:
    script = script.replace(SERVER, f"127.0.0.1:{server.port}")
    capturing_in_background.set()
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    problems = re.sub(r"Executing <.*> took [\d.]+ seconds\n", "", result.stderr)  # asyncio's, on a busy machine
    assert (problems, result.returncode) == ("", 0)
    assert result.stdout
    if "save(" in script:
        (photo,) = folder.glob("*.jpg")
        assert photo.read_bytes().startswith(b"\xff\xd8")


@pytest.mark.parametrize("trouble", ["failing", "forbidden", "gone"])
def test_the_capture_script_prints_one_line_if_there_is_no_photo(trouble: str, serve: Serve, folder: Path) -> None:
    (script,) = (one for one in PYTHON if "capture(" in one)
    server = serve("--camera", "faulty:cut", "--capture-timeout", "1", "--auth", str(trouble == "forbidden").lower())
    if trouble == "gone":
        server.kill()
    result = subprocess.run(
        [sys.executable, "-c", script.replace(SERVER, f"127.0.0.1:{server.port}")],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"No photo\. .+\n", result.stderr), result.stderr
    assert not list(folder.glob("*.jpg"))


def test_the_exit_statuses_in_the_docs_match_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", CLIENTS, re.MULTILINE)
    assert {int(status): meaning for status, meaning in rows} == {int(one): text for one, text in MEANINGS.items()}


def test_the_docs_have_examples_of_every_command_and_call() -> None:
    commands = {command.split()[1] for block in SHELL for command, _ in read_commands(block)}
    assert commands == {"snap", "gallery", "watch"}
    for call in ("capture(", "events(", "snapshots(", "cameras(", "photo(", "save("):
        assert any(call in script for script in PYTHON), call
