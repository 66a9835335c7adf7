"""Read the examples in the docs: fenced blocks, and indented lines."""

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.server_process import ROOT, clean_environment

__all__ = ["DOCUMENTS", "INDENTED", "Example", "make_dog", "read_examples", "strip_examples", "use_dog"]

DOCUMENTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *(ROOT / "docs").glob("*.md")]
INDENTED = "indented"
_FENCED = re.compile(
    r"^ *(?P<fence>`{3,}|~{3,}) *(?P<language>[^\n]*?) *\n(?P<text>.*?)^ *(?P=fence) *$", re.MULTILINE | re.DOTALL
)
_INDENTED = re.compile(r"(?<=\n\n)(?: {4}[^\n]+\n)+")


@dataclass(frozen=True)
class Example:
    """A fenced block with its language, or an indented line.

    The line has no comment.
    """

    document: str
    language: str
    text: str

    @property
    def name(self) -> str:
        """Its name: the language of a block, or the words of a line."""
        return " ".join(self.text.split()) if self.language == INDENTED else self.language


def read_examples(document: str, text: str) -> list[Example]:
    found = [Example(document, block["language"], block["text"]) for block in _FENCED.finditer(text)]
    rest = _FENCED.sub("", text)
    assert not re.search(r"^ *(```|~~~)", rest, re.MULTILINE), f"{document} has a block without an end"
    lines = [line for block in _INDENTED.findall(rest) for line in block.splitlines()]
    return found + [Example(document, INDENTED, re.sub(r"\s+# .*", "", line).strip()) for line in lines]


def strip_examples(text: str) -> str:
    """Return a page without its examples."""
    return _INDENTED.sub("", _FENCED.sub("", text))


def make_dog(folder: Path) -> Path:
    """Make a folder of programs with a program `dog` that runs this checkout."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    program = programs / "dog"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m dog "$@"\n')
    program.chmod(0o755)
    return programs


def use_dog(programs: Path) -> dict[str, str]:
    """Return an environment whose PATH has these programs."""
    return clean_environment({"PYTHONPATH": str(ROOT), "PATH": f"{programs}:{os.environ['PATH']}"})
