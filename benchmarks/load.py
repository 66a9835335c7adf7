"""Viewers: wsload (wsload.c) as a process on LOAD_CORE, over a pipe."""

import contextlib
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.bench import Bench
from benchmarks.processes import LOAD_CORE, Broken, Server, pinned
from benchmarks.servers import Trigger

__all__ = ["Load", "Round"]

ROUND_INTERVAL = 0.2
"""Seconds between the end of one round and the next trigger."""
SETTLE_SECONDS = 1.5
"""D.O.G. sends the number of viewers once a second while they connect."""


@dataclass(frozen=True)
class Round:
    """Milliseconds until the first, half, 99 % and all viewers were reached."""

    first: float
    p50: float
    p99: float
    last: float
    bytes: int


class Load:
    """Viewers of a server, until the `with` block ends.

    `stuck` more viewers never read. `seconds` is the time of all handshakes. At the end, `stuck` is the number of stuck
    viewers still connected.
    """

    def __init__(
        self, bench: Bench, server: Server, trigger: Trigger, *, viewers: int, stuck: int = 0, fillings: int = 0
    ) -> None:
        self.server = server
        self.pause = ROUND_INTERVAL
        self.seconds = 0.0
        self.stuck = stuck
        options = ["-s", str(stuck), "-f", str(fillings), "-F", trigger.filling]
        if trigger.settled:
            options += ["-w", trigger.settled]
        arguments = ["127.0.0.1", str(server.port), "/ws", str(viewers), trigger.text, trigger.match]
        if trigger.post:
            arguments.append(trigger.post)
        self._command: list[str | Path] = [bench.program("wsload"), *options, *arguments]

    def __enter__(self) -> Self:
        with pinned(LOAD_CORE):
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
            )
        try:
            self.seconds = self._read_result()["seconds"]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                assert self._process.stdin
                self._process.stdin.close()
                self.stuck = self._read_result()["stuck"]
        finally:
            self._end()

    def _end(self) -> None:
        with self._process:
            self._process.kill()

    def wait_until_settled(self) -> None:
        time.sleep(SETTLE_SECONDS)
        self.server.wait_until_idle()

    def round(self) -> Round:
        time.sleep(self.pause)
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # wsload has ended: its output says why
            self._process.stdin.write(b"go\n")
        return Round(**self._read_result())

    def _read_result(self) -> dict[str, Any]:
        assert self._process.stdout
        assert self._process.stderr
        line = self._process.stdout.readline()
        if not line:
            raise Broken(
                f"the viewers of {self.server.name} ended: {self._process.stderr.read().decode().strip()[-500:]}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer
