"""The real server as a process of its own: started on a free port, watched through a pipe, ended by its id.

Nothing here sleeps to wait: a thread reads the process's standard error (so that the pipe never fills) and wakes
whoever waits for a line. Blocks its caller; an async test may say `await asyncio.to_thread(server.stop)`.
"""

import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

__all__ = ["PYTHON_M_DOG", "ROOT", "ServerProcess", "clean_environment", "run_dog"]

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON_M_DOG = (sys.executable, "-m", "dog")
_LISTENING = re.compile(r"D\.O\.G\. is at (https?://\S+:(\d+))")


def clean_environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without any DOG_* of the developer's, and with the changes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DOG_")}
    return environment | dict(changes or {})


def _with_checkout(environment: dict[str, str]) -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT)} | environment


def run_dog(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 30
) -> subprocess.CompletedProcess[str]:
    """`dog ARGUMENTS` run to its end, with what it printed as text; for commands that end by themselves."""
    return subprocess.run(
        [*PYTHON_M_DOG, *arguments],
        cwd=cwd,
        env=_with_checkout(clean_environment(env)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class ServerProcess:
    """`dog serve ARGUMENTS` in the folder `cwd`.

    Listens on a free port (`--port 0`) unless the arguments name one. `command` is what runs dog: this interpreter
    and this checkout, or e.g. the installed program. `env` is added to `clean_environment()`. `tls` is what its clients
    need if it is told to speak HTTPS.
    """

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = PYTHON_M_DOG,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.tls = tls
        self.arguments = [*command, "serve", *arguments]
        if not any(argument.split("=")[0] == "--port" for argument in arguments):
            self.arguments += ["--port", "0"]
        self.cwd = cwd
        self.env = clean_environment(env)
        if command == PYTHON_M_DOG:
            self.env = _with_checkout(self.env)
        self.url = ""
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False

    @property
    def stderr(self) -> str:
        """All that it has said on standard error so far."""
        with self._changed:
            return "".join(self._lines)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def _process(self) -> subprocess.Popen[str]:
        assert self.process is not None, "the server was not started"
        return self.process

    def start(self, timeout: float = 30) -> Self:
        """Start it and wait until it listens; `url` and `port` are known then. Can be called again later.

        Raises AssertionError with all that it said when it ended instead, or does not listen in `timeout` seconds.
        """
        self.launch()
        said = self.wait_for(_LISTENING, timeout)
        self.url = said[1]
        self.port = int(said[2])
        return self

    def launch(self) -> Self:
        """Start it and wait for nothing."""
        self._lines = []
        self._ended = False
        self.process = subprocess.Popen(
            self.arguments,
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr as pipe:
            for line in pipe:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, pattern: str | re.Pattern[str], timeout: float = 15) -> re.Match[str]:
        """Wait until standard error has the pattern (a regular expression); what was said before counts.

        Raises AssertionError with all that it said when it ends without, or `timeout` seconds pass.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                text = "".join(self._lines)
                if found := re.search(pattern, text):
                    return found
                if self._ended:
                    raise AssertionError(f"The server ended without saying {pattern!r}. It said:\n{text}")
                if not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"{timeout} s without {pattern!r}. The server said:\n{text}")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = 15) -> int:
        """Wait for its end; the exit status, negative for a signal. `stderr` is complete then."""
        status = self._process.wait(timeout)
        with self._changed:
            self._changed.wait_for(lambda: self._ended, timeout)
        return status

    def stop(self, timeout: float = 15) -> int:
        """SIGTERM, the orderly end; its exit status."""
        self.send(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """SIGKILL, as a crash would; without harm when it has ended already or was never started."""
        if self.process is not None:
            self.process.kill()
            self.wait()
