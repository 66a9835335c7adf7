"""Servers as processes on their own core."""

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["CORES", "LOAD_CORE", "SERVER_CORE", "Broken", "Memory", "Server", "Skipped", "pinned"]

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]

_FOLDERS = re.compile(r"/\S*/")
"""Folders of this machine, which are removed from texts in the results."""


class Skipped(Exception):
    """A figure that can't be measured here. The message names what is missing."""


class Broken(Exception):
    """A measurement that failed. The message says why."""


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Run this process, and those that it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Memory:
    """Bytes of a process and its children. `pss` divides shared memory."""

    rss: int
    pss: int


class Server:
    """A server on SERVER_CORE for a `with` block.

    It prints its port if `port` is 0.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        listening: str = r"listening on (\d+)",
        port: int = 0,
    ) -> None:
        self.name = name
        self.port = self._given_port = port
        self._command = command
        self._cwd = cwd
        self._env = env
        self._listening = re.compile(listening)
        self._output_changed = threading.Condition()

    def __enter__(self) -> Self:
        self._lines: list[str] = []
        self._ended = False
        with pinned(SERVER_CORE):
            self._process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        with self._output_changed:
            return "".join(self._lines)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            for line in pipe:
                with self._output_changed:
                    self._lines.append(line)
                    self._output_changed.notify_all()
        with self._output_changed:
            self._ended = True
            self._output_changed.notify_all()

    def _wait_until_it_listens(self) -> None:
        with self._output_changed:
            while not (found := self._listening.search("".join(self._lines))):
                if self._ended or not self._output_changed.wait(30):
                    last = self._lines[-1].strip() if self._lines else "nothing"
                    raise Broken(f"{self.name} does not listen; its last line is: {_FOLDERS.sub('', last)}")
        self.port = self._given_port or int(found[1])

    # ---- memory and CPU time

    def memory(self) -> Memory:
        sizes = {"Rss": 0, "Pss": 0}
        for pid in self._processes():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                key, _, value = line.partition(":")
                if key in sizes:
                    sizes[key] += int(value.split()[0]) * 1024
        return Memory(sizes["Rss"], sizes["Pss"])

    def wait_until_idle(self) -> None:
        """Wait until the server has used no CPU time for half a second."""
        quiet_since, used = time.monotonic(), self._processor_ticks()
        while time.monotonic() - quiet_since < 0.5:
            time.sleep(0.05)
            if (now := self._processor_ticks()) != used:
                quiet_since, used = time.monotonic(), now

    def _processes(self) -> list[int]:
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def _processor_ticks(self) -> int:
        total = 0
        for pid in self._processes():
            with contextlib.suppress(FileNotFoundError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total
