"""Subprocesses of drivers: start a program, and end it with its children.

No shell is used. The program gets /dev/null and two pipes, which are always read, so that much output never blocks it.
It has its own session and process group. When it has ended, the rest of its group is killed, and nothing waits for a
pipe that a child holds open. All of this blocks: run it in a thread.
"""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

__all__ = ["ProcessResult", "ProgramRun", "Tail"]

TERM_GRACE_SECONDS = 1.0
"""Seconds from SIGTERM to SIGKILL: enough for a camera program to release its device."""

POLL_INTERVAL = 0.01
"""Seconds between checks whether the program has ended or must end. Linux reports the end at once."""

REAP_TIMEOUT = 2.0
"""Seconds to wait for a killed program. One that is still there hangs in its device's driver."""

GROUP_END_TIMEOUT = 0.25
"""Seconds to wait for the rest of a killed group."""

PASSED_VARIABLES = re.compile(
    "PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|XDG_RUNTIME_DIR|LD_LIBRARY_PATH"
    "|SSL_CERT_FILE|SSL_CERT_DIR|CAMERA_.*"
)
"""Environment variables that a program gets. Any other may contain a secret."""

MAX_TAIL_BYTES = 4096
"""The end of each output that is kept."""


@dataclass(frozen=True, kw_only=True)
class ProcessResult:
    """The end of a run: exit status, -signal, or None if it can't be ended."""

    status: int | None
    in_time: bool
    stopped: bool


class ProgramRun:
    """A run of a program. Other threads can end it with `stop` or `kill`."""

    def __init__(self, arguments: Sequence[str | Path], timeout: float) -> None:
        self.arguments = arguments
        self.timeout = timeout
        self.stdout = Tail()
        self.stderr = Tail()
        self._stopping = threading.Event()
        self._killed = False
        # Held to signal the group and to reap the program: its pid, which is also the group's number, is not reused
        # before that.
        self._lock = threading.RLock()  # a signal handler may call `kill` during `kill`
        self._process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """End the program soon: SIGTERM, then SIGKILL after TERM_GRACE_SECONDS."""
        self._stopping.set()

    def kill(self) -> None:
        """Kill the program at once. If it has not started, it never will."""
        self._stopping.set()
        with self._lock:
            self._killed = True
            self._signal(signal.SIGKILL)

    def run(self) -> ProcessResult:
        """Run the program to its end or limit, end its group. Raises OSError."""
        process = self._start()
        if process is None:
            return ProcessResult(status=-signal.SIGKILL, in_time=False, stopped=True)
        started_at = time.monotonic()
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout, process.stderr, selectors.DefaultSelector() as pipes:
            for pipe, tail in ((process.stdout, self.stdout), (process.stderr, self.stderr)):
                os.set_blocking(pipe.fileno(), False)
                pipes.register(pipe, selectors.EVENT_READ, tail)
            with _watch_end(pipes, process.pid):
                in_time = self._wait(pipes, started_at + self.timeout)
                if not in_time:
                    self._signal_group(signal.SIGTERM)
                    self._wait(pipes, time.monotonic() + TERM_GRACE_SECONDS, stoppable=False)
                status = self._end_group(pipes)
                _read(pipes)
        stopped = self._killed or (not in_time and self._stopping.is_set())
        return ProcessResult(status=status, in_time=in_time, stopped=stopped)

    def _start(self) -> "subprocess.Popen[bytes] | None":
        """Start the process. Return None if it was killed before."""
        environment = {name: value for name, value in os.environ.items() if PASSED_VARIABLES.fullmatch(name)}
        with self._lock:
            if self._killed:
                return None
            self._process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment,
                # A session rather than only a group: without a terminal it can't stop to ask for a password.
                start_new_session=True,
            )
            return self._process

    def _wait(self, pipes: selectors.BaseSelector, deadline: float, *, stoppable: bool = True) -> bool:
        """Read the pipes until the program ends; False at a deadline or `stop`."""
        while not self._has_ended():
            if time.monotonic() >= deadline or (stoppable and self._stopping.is_set()):
                return False
            if not _read(pipes, wait=POLL_INTERVAL):
                time.sleep(POLL_INTERVAL)
        return True

    def _has_ended(self) -> bool:
        """Return True if it has ended. Reaps it only on macOS before Python 3.13."""
        assert self._process is not None
        if not hasattr(os, "waitid"):
            return self._process.poll() is not None
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # our parent ignores SIGCHLD, so the kernel reaps
            return True

    def _end_group(self, pipes: selectors.BaseSelector) -> int | None:
        """Kill the group, reap the program, return its status; None if impossible."""
        assert self._process is not None
        self._signal_group(signal.SIGKILL)
        if not self._wait(pipes, time.monotonic() + REAP_TIMEOUT, stoppable=False):
            return None
        with self._lock:
            process, self._process = self._process, None
            status = process.wait()
        _wait_for_group(process.pid)
        return status

    def _signal_group(self, number: signal.Signals) -> None:
        with self._lock:
            self._signal(number)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            # macOS returns EPERM for a group of zombies
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


class Tail:
    """The end of an output, as far back as KEPT bytes."""

    def __init__(self) -> None:
        self._bytes = b""

    def add(self, chunk: bytes) -> None:
        self._bytes = (self._bytes + chunk)[-MAX_TAIL_BYTES:]

    def lines(self) -> list[str]:
        """Return the non-empty lines without colours and control characters."""
        text = _ESCAPE.sub("", self._bytes.decode("utf-8", "replace"))
        lines = ("".join(c if c.isprintable() else " " for c in line) for line in text.splitlines())
        return [" ".join(words) for line in lines if (words := line.split())]


_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
"""Escape sequences of ECMA-48 that programs write: CSI (colours), OSC (titles), and the short ones."""


@contextlib.contextmanager
def _watch_end(pipes: selectors.BaseSelector, program: int) -> Iterator[None]:
    """Wake the selector at the program's end, shortly after the pipes close."""
    try:
        descriptor = os.pidfd_open(program)
    except (AttributeError, OSError):  # not on Linux, or too old a one
        yield
        return
    try:
        pipes.register(descriptor, selectors.EVENT_READ)
        yield
    finally:
        os.close(descriptor)


def _read(pipes: selectors.BaseSelector, wait: float = 0.0) -> bool:
    """Read each pipe once within `wait` seconds. Return False if none is left.

    Once is enough at the end too: a pipe holds 64 KiB, as much as is read, unless a program has enlarged it.
    """
    for key, _ in pipes.select(wait) if pipes.get_map() else ():
        if key.data is None:  # the program's end
            continue
        pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]
        try:
            chunk = os.read(pipe.fileno(), 65536)
        except BlockingIOError:
            continue
        if chunk:
            key.data.add(chunk)
        else:
            pipes.unregister(pipe)
    return bool(pipes.get_map())


def _wait_for_group(group: int) -> None:
    """Wait until no process of a killed group is left. Sends no signal.

    One may still finish a write. As the first process of a container, this one reaps the orphans. If the first process
    does not reap, they stay as zombies, which no longer write; hence the time limit.
    """
    deadline = time.monotonic() + GROUP_END_TIMEOUT
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-group, os.WNOHANG)[0]:
                pass
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        if time.monotonic() >= deadline:
            return
        time.sleep(POLL_INTERVAL / 4)
