"""Figures and their rows, as they are stored in results.json."""

import statistics
from collections.abc import Sequence

import msgspec
from msgspec import Struct

__all__ = ["FAILED", "Figure", "Machine", "Results", "Row", "Spread", "merge", "ratios", "read", "write"]

FAILED = "failed: "
"""Prefix of `skipped` if the measurement failed, and nothing was missing."""


class Spread(Struct, frozen=True, kw_only=True):
    """Median, minimum and maximum of several measurements."""

    median: float
    minimum: float
    maximum: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        rounded = [round(number, 3) for number in (statistics.median(values), min(values), max(values))]
        return cls(median=rounded[0], minimum=rounded[1], maximum=rounded[2], count=len(values))


_NAMES_IN_FILE = {"label": "what", "rival_name": "beside", "measured_unit": "measured", "stretch": "beyond"}


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_NAMES_IN_FILE):
    """A row: measurements of D.O.G. and a rival, and the result.

    The measurements are in `measured_unit`, such as ms. The result `value` (in `unit`, empty for a ratio) should be at
    most `target` and `stretch`, or at least if `at_least`. For a row that was not measured, `skipped` says why.
    """

    label: str
    dog: Spread | None = None
    rival_name: str = ""
    rival: Spread | None = None
    measured_unit: str = ""
    value: float | None = None
    unit: str = ""
    target: float | None = None
    stretch: float | None = None
    at_least: bool = False
    note: str = ""
    skipped: str = ""

    @property
    def verdict(self) -> str:
        if self.value is None or self.target is None:
            return ""
        if self.stretch is not None and self._meets(self.stretch):
            return "stretch reached"
        return "reached" if self._meets(self.target) else "not reached"

    def _meets(self, limit: float) -> bool:
        assert self.value is not None
        return self.value >= limit if self.at_least else self.value <= limit


class Figure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A figure with its rows, as results.json holds it.

    `measured_at` is RFC 3339 in UTC, and `quick` means few rounds. `commit` is the last one that changed dog/. `others`
    is the share of the CPU time that other programs used, from 0 to 1.
    """

    measured_at: str
    commit: str = ""
    viewers: int
    others: float = 0.0
    quick: bool = False
    rows: list[Row]


class Machine(Struct, frozen=True, kw_only=True):
    cores: int
    processor: str
    kernel: str
    python: str


class Results(Struct, frozen=True, kw_only=True):
    """The contents of results.json."""

    machine: Machine
    versions: dict[str, str]
    figures: dict[str, Figure]


def merge(before: Results, now: Results) -> Results:
    """Add the old figures if the machine and the versions are the same."""
    if (before.machine, before.versions) != (now.machine, now.versions):
        return now
    return msgspec.structs.replace(now, figures=before.figures | now.figures)


def ratios(dog: Sequence[float], rival: Sequence[float]) -> float:
    """Return the median ratio of pairs, which cancels the machine's drift."""
    return round(statistics.median(mine / theirs for mine, theirs in zip(dog, rival, strict=True)), 3)


def read(text: bytes | str) -> Results:
    return msgspec.json.decode(text, type=Results)


def write(results: Results) -> bytes:
    return msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n"
