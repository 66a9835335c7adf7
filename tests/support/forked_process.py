"""Commands of D.O.G., forked from one process that has imported it.

`python -m dog` imports modules for half a second, and a thousand tests run it. So one process imports them once, and
forks for each command. The child runs the same main module (or another one) with its own arguments, environment, folder
and standard files. It is a process like any other: it gets signals alone, and ends by itself.

The child can also run a program, as `python -c PROGRAM` does. A program that changes a name of a module must change it
in the modules that have imported it: they are imported already.
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TextIO

__all__ = ["MODULES", "ForkedProcess", "can_fork"]

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = (
    *("dog.cli.album", "dog.cli.gallery", "dog.cli.serve", "dog.cli.snap", "dog.cli.token", "dog.cli.user"),
    *("dog.cli.watch", "dog.client", "dog.web.server", "rich.console", "rich.table", "simplejpeg", "encodings.idna"),
    *("PIL.ImageOps", "PIL.BmpImagePlugin", "PIL.GifImagePlugin", "PIL.PpmImagePlugin", "PIL.TiffImagePlugin"),
    "tests.support.sources.http_camera",
)
"""Modules that most commands import. The child imports all others."""
EARLY_VARIABLES = ("LANG", "LC_", "LD_", "PYTHON", "SSL_")
"""Beginnings of the variables that count when a process starts, or a module is imported."""
MAX_REQUEST_BYTES = 128 * 1024


def _find_network() -> int:
    """Return the number of this thread's network namespace."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


NETWORK = _find_network()


def can_fork(env: Mapping[str, str]) -> bool:
    """Return True if a forked process can have this environment and network."""

    def early(variables: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in variables.items() if name.startswith(EARLY_VARIABLES)}

    return _find_network() == NETWORK and early(env) == early(os.environ) | {"PYTHONPATH": str(ROOT)}


class ForkedProcess:
    """A running command, with the methods of subprocess.Popen that tests use.

    It runs `module`, or the Python code `program`.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdout: int,
        stderr: int,
        stdin: int | None = None,
        module: str = "dog",
        program: str = "",
    ) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self._status, child_status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = {"module": module, "program": program, "arguments": self.args, "cwd": str(cwd), "env": dict(env)}
        null = os.open(os.devnull, os.O_RDWR)
        descriptors = [null if stdin is None else stdin, stdout, stderr, child_status.fileno()]
        try:
            socket.send_fds(_connect(), [json.dumps(command).encode()], descriptors)
        finally:
            os.close(null)
            child_status.close()
        self.pid = int(self._status.recv(32))

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                received = self._status.recv(32)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self._status.close()
            assert received, "the process that forks has ended"
            self.returncode = int(received)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@functools.cache
def _connect() -> socket.socket:
    """Return the connection to the process that forks. It ends with this one."""
    connection, child_connection = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with child_connection:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked_process", str(child_connection.fileno())],
            cwd=ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a process with threads must not fork
            stdin=subprocess.DEVNULL,
            pass_fds=[child_connection.fileno()],
        )
    atexit.register(process.wait)
    atexit.register(connection.close)  # runs first
    return connection


# ---- in the process that forks


def _serve(requests: socket.socket) -> None:
    """Fork for each request until the connection ends."""
    running: dict[int, socket.socket] = {}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    wake, wakeup = os.pipe()
    for descriptor in (wake, wakeup):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wakeup)
    while True:
        ready, _, _ = select.select([requests.fileno(), wake], [], [])
        if wake in ready:
            os.read(wake, 1024)
            _report_ends(running)
        if requests.fileno() not in ready:
            continue
        data, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, 4)
        if not data:
            return
        status = socket.socket(fileno=descriptors.pop())
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for end in (requests, status, *running.values()):
                end.close()
            os.close(wake)
            os.close(wakeup)
            _run(json.loads(data), descriptors)
        status.send(str(pid).encode())
        running[pid] = status
        for descriptor in descriptors:
            os.close(descriptor)


def _report_ends(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with running.pop(pid) as end, contextlib.suppress(OSError):
            end.send(str(os.waitstatus_to_exitcode(status)).encode())


def _run(request: dict[str, object], descriptors: list[int]) -> NoReturn:
    """Become the module's program. It ends as any Python program does."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGCHLD, signal.SIG_DFL)):
        signal.signal(number, handler)
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    sys.stdout, sys.stderr = (_open_text(descriptor, old) for descriptor, old in ((1, sys.stdout), (2, sys.stderr)))
    module, program, arguments = request["module"], request["program"], request["arguments"]
    cwd, env = request["cwd"], request["env"]
    assert isinstance(module, str)
    assert isinstance(program, str)
    assert isinstance(arguments, list)
    assert isinstance(cwd, str)
    assert isinstance(env, dict)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    status = 0
    try:
        if program:
            sys.argv = ["-c", *arguments]
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(program, "<string>", "exec"), vars(main))
        else:
            sys.argv = [module, *arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        status = end.code or 0
    _end(status)


def _end(status: int) -> NoReturn:
    """End as Python does, but do not free the modules that the fork shares.

    That takes 50 ms, more than most commands. Python does it if the standard files can't be flushed, to report that.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(status)
    os._exit(status & 0xFF)


def _open_text(descriptor: int, old: TextIO) -> TextIO:
    """Open a standard file as Python does at its start.

    Whether it is a terminal, and seekable, is found out then.
    """
    return open(
        descriptor,
        "w",
        buffering=1 if descriptor == 2 or os.isatty(descriptor) else -1,
        encoding=old.encoding,
        errors=old.errors,
        newline="\n",
        closefd=False,
    )


def _import_modules() -> None:
    """Import the modules, and compute the kept results.

    Then exempt all these objects from garbage collection: a child would search them, at the latest when it ends, and
    that takes longer than most commands.
    """
    for module in MODULES:
        with contextlib.suppress(ImportError):
            __import__(module)
    from tests.support.kept_results import compute_results

    compute_results()
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _import_modules()
    _serve(socket.socket(fileno=int(sys.argv[1])))
