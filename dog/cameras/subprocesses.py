"""One run of a program, for the drivers that have one: started, watched, and ended with all that it started.

The rules: no shell; no descriptors but /dev/null and two pipes, which are always read, so that a talkative program
never blocks; a session and a process group of its own; when the program itself has ended, whatever it left of its
group is ended too, and nobody waits for a pipe that a child holds open. All of it blocks, so it wants a thread.
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
"""Seconds from SIGTERM to SIGKILL: time enough for a camera program to let go of its device."""

POLL_INTERVAL = 0.01
"""Seconds between two looks whether the program has ended or is to end; Linux tells of the end at once."""

REAP_TIMEOUT = 2.0
"""Seconds to wait for a killed program. One still there hangs in its device's driver, where no signal reaches."""

GROUP_END_TIMEOUT = 0.25
"""Seconds to wait for the rest of a killed group."""

PASSED_VARIABLES = re.compile(
    "PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|XDG_RUNTIME_DIR|LD_LIBRARY_PATH"
    "|SSL_CERT_FILE|SSL_CERT_DIR|CAMERA_.*"
)
"""The variables that a program is given; any other may hold a secret."""

MAX_TAIL_BYTES = 4096
"""Bytes kept of the end of each output."""


@dataclass(frozen=True, kw_only=True)
class ProcessResult:
    """How a run ended: `status` is the exit status, a signal as a negative number, None where no signal reaches."""

    status: int | None
    in_time: bool
    stopped: bool


class ProgramRun:
    """One run of a program. `run` belongs to a thread; `stop` and `kill` to whoever wants it to end early."""

    def __init__(self, arguments: Sequence[str | Path], timeout: float) -> None:
        self.arguments = arguments
        self.timeout = timeout
        self.stdout = Tail()
        self.stderr = Tail()
        self._stopping = threading.Event()
        self._killed = False
        # Held where the group is signalled and where the program is reaped: until then its pid, which is the group's
        # number, can't become another's.
        self._lock = threading.RLock()  # `kill` may come from a signal, in the middle of itself
        self._process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """End the program soon: SIGTERM, the grace, SIGKILL."""
        self._stopping.set()

    def kill(self) -> None:
        """End the program at once, or never start it if it hasn't been."""
        self._stopping.set()
        with self._lock:
            self._killed = True
            self._signal(signal.SIGKILL)

    def run(self) -> ProcessResult:
        """Until the program has ended, or its time is up and it was ended; none of its group is left then.

        Raises OSError where it can't be started.
        """
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
        """The process, or None if it is no longer wanted."""
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
        """Read the pipes until the program has ended, true; or the time, or who wants it to stop, has come, false."""
        while not self._has_ended():
            if time.monotonic() >= deadline or (stoppable and self._stopping.is_set()):
                return False
            if not _read(pipes, wait=POLL_INTERVAL):
                time.sleep(POLL_INTERVAL)
        return True

    def _has_ended(self) -> bool:
        """Whether the program has, without reaping it where the system can tell so (macOS: from Python 3.13 on)."""
        assert self._process is not None
        if not hasattr(os, "waitid"):
            return self._process.poll() is not None
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # whoever started us ignores SIGCHLD, and so the kernel reaps
            return True

    def _end_group(self, pipes: selectors.BaseSelector) -> int | None:
        """Kill what is left of the group, reap the program and return its status; None if no signal reaches it."""
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
            # macOS says EPERM of a group of zombies
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


class Tail:
    """The end of an output, as far back as KEPT bytes."""

    def __init__(self) -> None:
        self._bytes = b""

    def add(self, chunk: bytes) -> None:
        self._bytes = (self._bytes + chunk)[-MAX_TAIL_BYTES:]

    def lines(self) -> list[str]:
        """Those that say anything, without colours and control characters."""
        text = _ESCAPE.sub("", self._bytes.decode("utf-8", "replace"))
        lines = ("".join(c if c.isprintable() else " " for c in line) for line in text.splitlines())
        return [" ".join(words) for line in lines if (words := line.split())]


_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
"""The escape sequences of ECMA-48 that programs write: CSI (colours), OSC (titles), and the short ones."""


@contextlib.contextmanager
def _watch_end(pipes: selectors.BaseSelector, program: int) -> Iterator[None]:
    """Have the program's end wake who waits for its pipes, where the system can do that: they close a moment before."""
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
    """Read once what each pipe has, waiting at most so long for anything; false if there is nothing to wait for.

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
    """Until no process of a killed group is left: one amid a write may yet finish that. Nothing is signalled here.

    Where this process is the first of a container, the orphans are its own and it reaps them. Where the first one
    reaps none they stay as zombies, which write no more; hence the limit.
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
