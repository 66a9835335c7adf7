"""Python modules as processes whose output can be pipes."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from tests.support.forked_process import ForkedProcess, can_fork
from tests.support.server_process import ROOT, clean_environment

__all__ = ["ModuleProcess", "PipedProcess", "start_dog", "start_module"]

Output = int | IO[Any]
"""A descriptor, a file, or one of subprocess.PIPE, STDOUT and DEVNULL."""


class PipedProcess(ForkedProcess):
    """A forked program whose output can be pipes, as with subprocess.Popen.

    The pipes are not buffered.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str],
        stdout: Output = 1,
        stderr: Output = 2,
    ) -> None:
        with contextlib.ExitStack() as child_ends:
            self.stdout, child_stdout = _open_output(stdout, child_ends)
            self.stderr, child_stderr = (
                (None, child_stdout) if stderr == subprocess.STDOUT else _open_output(stderr, child_ends)
            )
            super().__init__(arguments, cwd=cwd, env=env, stdout=child_stdout, stderr=child_stderr, module=module)

    def communicate(self, timeout: float = 60) -> tuple[bytes, bytes]:
        """Read the pipes to their ends, and wait for the process.

        It is killed after `timeout` seconds.
        """
        killing = threading.Timer(timeout, self.kill)
        killing.start()
        try:
            with ThreadPoolExecutor(2) as readers:
                output, errors = readers.map(_read_to_end, (self.stdout, self.stderr))
            self.wait()
            return output, errors
        finally:
            killing.cancel()
            killing.join()


ModuleProcess = subprocess.Popen[bytes] | PipedProcess


def start_module(
    module: str, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, **options: Any
) -> ModuleProcess:
    """Start `python -m MODULE ARGUMENTS`.

    It is forked if that makes no difference. The options are those of subprocess.Popen.
    """
    environment = {"PYTHONPATH": str(ROOT)} | clean_environment(env)
    if options.keys() <= {"stdout", "stderr"} and can_fork(environment):
        return PipedProcess(module, *arguments, cwd=cwd, env=environment, **options)
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        bufsize=0,  # unread output is still available to `communicate`
        **options,
    )


def start_dog(*arguments: str, cwd: Path, **options: Any) -> ModuleProcess:
    """Start `dog ARGUMENTS`."""
    return start_module("dog", *arguments, cwd=cwd, **options)


def _open_output(output: Output, child_ends: contextlib.ExitStack) -> "tuple[IO[bytes] | None, int]":
    """Return our end if it is a pipe, and the descriptor for the child."""
    if output == subprocess.PIPE:
        reading, writing = os.pipe()
        child_ends.callback(os.close, writing)
        return open(reading, "rb", buffering=0), writing
    if output == subprocess.DEVNULL:
        null = os.open(os.devnull, os.O_WRONLY)
        child_ends.callback(os.close, null)
        return None, null
    return None, output if isinstance(output, int) else output.fileno()


def _read_to_end(pipe: "IO[bytes] | None") -> bytes:
    if pipe is None:
        return b""
    with pipe:
        return pipe.read()
