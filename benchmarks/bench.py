"""Context of a benchmark run: viewers, rounds, C programs, progress."""

import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import Broken, Skipped

__all__ = ["HERE", "ROOT", "SPARE_DESCRIPTORS", "Bench", "raise_descriptor_limit"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MAX_DESCRIPTORS = 65536
SPARE_DESCRIPTORS = 1000
"""Descriptors in addition to those of the viewers: stuck viewers, files, pipes."""


def raise_descriptor_limit() -> int:
    """Raise the descriptor limit of this process and its children.

    Return the new limit.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (MAX_DESCRIPTORS, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
        except (ValueError, OSError):
            continue
        return wanted
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@dataclass
class Bench:
    """Context of a run.

    `viewers` is their maximum number; `quick` means few rounds.
    """

    folder: Path
    viewers: int
    quick: bool = False
    figure: str = ""
    _programs: dict[str, Path] = field(default_factory=dict)

    def rounds(self, many: int, few: int) -> int:
        return few if self.quick else many

    def show_progress(self, text: str, round: int = 0, rounds: int = 0) -> None:
        """Print progress on standard error.

        On a terminal, the rounds overwrite one line.
        """
        text = f"{self.figure}: {text}" + (f", round {round} of {rounds}" if rounds else "")
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="" if round < rounds else "\n", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def new_folder(self, name: str) -> Path:
        """Create an empty folder, named `name` and a number."""
        number = 1
        while (folder := self.folder / f"{name}-{number}").exists():
            number += 1
        folder.mkdir()
        return folder

    def program(self, name: str) -> Path:
        """Compile a C program of this folder.

        Raise Skipped if there is no compiler.
        """
        if name not in self._programs:
            compiler = shutil.which("cc") or shutil.which("gcc")
            if compiler is None:
                raise Skipped("a C compiler is missing (Debian: gcc and libc6-dev)")
            program = self.folder / name
            command: list[str | Path] = [compiler, "-O2", "-o", program, HERE / f"{name}.c"]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode:
                print(ended.stderr, file=sys.stderr)
                raise Broken(f"{name}.c does not compile")
            self._programs[name] = program
        return self._programs[name]
