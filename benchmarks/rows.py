"""A figure's rows, as they are measured, kept in results.json, and judged."""

import statistics
from collections.abc import Sequence

import msgspec
from msgspec import Struct

__all__ = ["FAILED", "Figure", "Machine", "Results", "Row", "Spread", "merge", "ratios", "read", "write"]

FAILED = "failed: "
"""So begins why a row was skipped when it is not something that is missing here."""


class Spread(Struct, frozen=True, kw_only=True):
    """Of several measurements."""

    median: float
    minimum: float
    maximum: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        rounded = [round(number, 3) for number in (statistics.median(values), min(values), max(values))]
        return cls(median=rounded[0], minimum=rounded[1], maximum=rounded[2], count=len(values))


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row: what was measured of D.O.G. and beside it (in `measured`, e.g. ms), and what that makes.

    `value` (in `unit`, none for a ratio) is held against `target` and `beyond`: at most those, or at least where
    `at_least`. A row that was not measured says in `skipped` why.
    """

    what: str
    dog: Spread | None = None
    beside: str = ""
    rival: Spread | None = None
    measured: str = ""
    value: float | None = None
    unit: str = ""
    target: float | None = None
    beyond: float | None = None
    at_least: bool = False
    note: str = ""
    skipped: str = ""

    @property
    def verdict(self) -> str:
        if self.value is None or self.target is None:
            return ""
        if self.beyond is not None and self._meets(self.beyond):
            return "beyond"
        return "reached" if self._meets(self.target) else "not reached"

    def _meets(self, limit: float) -> bool:
        assert self.value is not None
        return self.value >= limit if self.at_least else self.value <= limit


class Figure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`measured_at` is RFC 3339 in UTC; `viewers` how many there were; `quick` says that the rounds were few.

    `commit` is the last that changed dog/; `others` the share of the processors' time that other programs took
    meanwhile, from 0 to 1.
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
    """What results.json holds."""

    machine: Machine
    versions: dict[str, str]
    figures: dict[str, Figure]


def merge(before: Results, now: Results) -> Results:
    """Today's figures, and with them those of before where they are of the same machine and versions."""
    if (before.machine, before.versions) != (now.machine, now.versions):
        return now
    return msgspec.structs.replace(now, figures=before.figures | now.figures)


def ratios(dog: Sequence[float], rival: Sequence[float]) -> float:
    """The median of what was measured in turn, one by the other: the machine's drift falls out."""
    return round(statistics.median(mine / theirs for mine, theirs in zip(dog, rival, strict=True)), 3)


def read(text: bytes | str) -> Results:
    return msgspec.json.decode(text, type=Results)


def write(results: Results) -> bytes:
    return msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n"
