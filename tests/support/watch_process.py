"""The command `dog watch` as a process."""

import os
import signal
import subprocess
import threading
from pathlib import Path

from tests.support.module_process import start_dog

__all__ = ["WatchProcess"]


class WatchProcess:
    """A `dog watch` process. A thread reads its lines and notifies `wait_for`."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        reading, writing = os.pipe()
        with open(writing, "wb", buffering=0) as output:
            self.process = start_dog("watch", *arguments, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
        self._thread = threading.Thread(target=self._read, args=(reading,), daemon=True)
        self._thread.start()

    def _read(self, output: int) -> None:
        with open(output) as pipe:
            for line in pipe:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until at least `count` lines contain the text."""
        with self._changed:
            assert self._changed.wait_for(lambda: sum(text in line for line in self.lines) >= count, 30), self.lines

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        self.process.send_signal(number)
        status = self.process.wait(20)
        self._thread.join(20)
        return status
