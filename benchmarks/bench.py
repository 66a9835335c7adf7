"""What every figure is given: viewers, rounds, a folder that goes away, the C programs, and how to tell progress."""

import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import Broken, Skipped

__all__ = ["HERE", "ROOT", "SPARE", "Bench", "raise_descriptor_limit"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DESCRIPTORS = 65536
SPARE = 1000
"""Descriptors that a server and the load need beside those of the viewers that read: the stuck ones, files, pipes."""


def raise_descriptor_limit() -> int:
    """Allow this process and those it starts as many descriptors as can be had, and say how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (DESCRIPTORS, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
        except (ValueError, OSError):
            continue
        return wanted
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@dataclass
class Bench:
    """`viewers` is how many there may be; `quick` asks for few rounds."""

    folder: Path
    viewers: int
    quick: bool = False
    figure: str = ""
    _programs: dict[str, Path] = field(default_factory=dict)

    def rounds(self, many: int, few: int) -> int:
        return few if self.quick else many

    def say(self, what: str, round: int = 0, rounds: int = 0) -> None:
        """Progress, on standard error: a line, or on a terminal a line that is written over."""
        text = f"{self.figure}: {what}" + (f", round {round} of {rounds}" if rounds else "")
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="" if round < rounds else "\n", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def new_folder(self, name: str) -> Path:
        """An empty folder of that name, or one like it."""
        number = 1
        while (folder := self.folder / f"{name}-{number}").exists():
            number += 1
        folder.mkdir()
        return folder

    def program(self, name: str) -> Path:
        """A C program of this folder, compiled. Raises Skipped where there is no compiler."""
        if name not in self._programs:
            compiler = shutil.which("cc") or shutil.which("gcc")
            if compiler is None:
                raise Skipped("it needs a C compiler (Debian: gcc and libc6-dev)")
            program = self.folder / name
            command: list[str | Path] = [compiler, "-O2", "-o", program, HERE / f"{name}.c"]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode:
                print(ended.stderr, file=sys.stderr)
                raise Broken(f"{name}.c can't be compiled")
            self._programs[name] = program
        return self._programs[name]
