"""The server as a process: start it, read its standard error, stop it.

It listens on a free port. A thread reads standard error, so that the pipe never fills, and notifies callers that wait
for a line. The methods block; an async test can use `await asyncio.to_thread(server.stop)`.
"""

import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.support.forked_process import ForkedProcess, can_fork

__all__ = ["PYTHON_M_DOG", "ROOT", "ServerProcess", "clean_environment", "run_dog"]

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON_M_DOG = (sys.executable, "-m", "dog")
_LISTENING = re.compile(r"D\.O\.G\. is at (https?://\S+:(\d+))")


def clean_environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this environment without DOG_* variables, with these changes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DOG_")}
    return environment | dict(changes or {})


def _with_checkout(environment: dict[str, str]) -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT)} | environment


def run_dog(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 30, program: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `dog ARGUMENTS` to its end, and return its status and output.

    `program` is Python code that changes something and then runs dog.
    """
    environment = _with_checkout(clean_environment(env))
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        files = stdout.fileno(), stderr.fileno()
        process = _start(PYTHON_M_DOG, arguments, cwd, environment, *files, program)
        try:
            status = process.wait(timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(
            [*PYTHON_M_DOG, *arguments], status, stdout.read().decode(), stderr.read().decode()
        )


def _start(
    command: Sequence[str],
    arguments: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    stdout: int,
    stderr: int,
    program: str = "",
) -> "subprocess.Popen[bytes] | ForkedProcess":
    """Start a command or a program, by a fork if that makes no difference."""
    if command == PYTHON_M_DOG and can_fork(env):
        return ForkedProcess(arguments, cwd=cwd, env=env, stdout=stdout, stderr=stderr, program=program)
    if program:
        command = (sys.executable, "-c", program)
    return subprocess.Popen(
        [*command, *arguments], cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
    )


class ServerProcess:
    """A process `dog serve ARGUMENTS` in the folder `cwd`.

    It listens on a free port (`--port 0`) unless the arguments have one. `command` runs dog: by default this
    interpreter and checkout. `program` is Python code that changes something and then runs dog. `env` is added to
    `clean_environment()`. `tls` is for its clients if it serves HTTPS.
    """

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = PYTHON_M_DOG,
        program: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.tls = tls
        self.command = command
        self.program = program
        self.arguments = ["serve", *arguments]
        if not any(argument.split("=")[0] == "--port" for argument in arguments):
            self.arguments += ["--port", "0"]
        self.cwd = cwd
        self.env = clean_environment(env)
        if command == PYTHON_M_DOG:
            self.env = _with_checkout(self.env)
        self.url = ""
        self.port = 0
        self.process: subprocess.Popen[bytes] | ForkedProcess | None = None
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False

    @property
    def stderr(self) -> str:
        """Its standard error so far."""
        with self._changed:
            return "".join(self._lines)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def _process(self) -> subprocess.Popen[bytes] | ForkedProcess:
        assert self.process is not None, "the server was not started"
        return self.process

    def start(self, timeout: float = 30) -> Self:
        """Start it and wait until it listens, then set `url` and `port`.

        It can be started again after its end. Raises AssertionError with its standard error if it ends, or does not
        listen within `timeout` seconds.
        """
        self.launch()
        found = self.wait_for(_LISTENING, timeout)
        self.url = found[1]
        self.port = int(found[2])
        return self

    def launch(self) -> Self:
        """Start it without waiting."""
        self._lines = []
        self._ended = False
        reading, writing = os.pipe()
        with open(os.devnull, "wb") as null, open(writing, "wb", buffering=0) as stderr:
            files = null.fileno(), stderr.fileno()
            self.process = _start(self.command, self.arguments, self.cwd, self.env, *files, self.program)
        threading.Thread(target=self._read, args=(reading,), daemon=True).start()
        return self

    def _read(self, stderr: int) -> None:
        with open(stderr, errors="replace") as pipe:
            for line in pipe:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, pattern: str | re.Pattern[str], timeout: float = 15) -> re.Match[str]:
        """Wait until standard error matches a regular expression.

        It is matched from the start on. Raises AssertionError with its standard error if it ends without a match, or
        after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                text = "".join(self._lines)
                if found := re.search(pattern, text):
                    return found
                if self._ended:
                    raise AssertionError(f"The server ended without printing {pattern!r}. It printed:\n{text}")
                if not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"{timeout} s without {pattern!r}. The server printed:\n{text}")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = 15) -> int:
        """Wait for its end, and return the exit status, negative for a signal.

        `stderr` is complete then.
        """
        status = self._process.wait(timeout)
        with self._changed:
            self._changed.wait_for(lambda: self._ended, timeout)
        return status

    def stop(self, timeout: float = 15) -> int:
        """Send SIGTERM, and return the exit status."""
        self.send(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """Send SIGKILL if it is running, and wait for its end."""
        if self.process is not None:
            self.process.kill()
            self.wait()
