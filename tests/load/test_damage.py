"""Detection rates of damage: random losses in JPEGs of every kind.

docs/cameras.md has the figures of the long form. Not every loss can be detected: the data after it may decode to other
blocks and end correctly.
"""

import random
from typing import Any

import pytest

from dog.errors import BadImage
from dog.images import inspect, repair
from tests.load.conftest import Progress
from tests.support.damages import KINDS, Damage, cut, drop, pad_restarts, zero

DAMAGES: dict[str, tuple[Damage, float]] = {
    "cut early, with an end marker": (cut, 0.995),
    "1 KiB lost": (drop(1024), 0.95),
    "3 KiB lost": (drop(3072), 0.95),
    "3 KiB zeroed": (zero(3072), 0.98),
    "512 bytes zeroed": (zero(512), 0.98),
    "64 bytes zeroed": (zero(64), 0.4),
}
"""By kind of damage: the function that makes it, and the share that must be found."""


def is_refused(data: bytes) -> bool:
    try:
        inspect(repair(data))
    except BadImage:
        return True
    return False


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(3, id="short"),
        pytest.param(100, id="long", marks=[pytest.mark.load, pytest.mark.timeout(900)]),
    ],
)
@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(name: str, rounds: int, progress: Progress) -> None:
    damage, least = DAMAGES[name]
    found: dict[str, int] = {}
    for kind, make in KINDS.items():
        wholes = [make(seed) for seed in range(min(rounds, 10))]
        assert not any(map(is_refused, wholes)), kind
        damaged = [damage(wholes[seed % len(wholes)], random.Random(seed)) for seed in range(rounds)]
        found[kind] = sum(map(is_refused, damaged))
    share = sum(found.values()) / (rounds * len(KINDS))
    missed = {kind: rounds - count for kind, count in found.items() if count < rounds}
    progress(f"{share:.1%} of {rounds * len(KINDS)} found; missed, by kind: {missed}")
    assert share >= least


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(20, id="short"),
        pytest.param(300, id="long", marks=[pytest.mark.load, pytest.mark.timeout(900)]),
    ],
)
def test_damage_is_found_behind_padding(rounds: int, progress: Progress) -> None:
    """Logitech's webcams write padding before restart markers."""
    kinds: list[Any] = [KINDS["restart markers by lines"], KINDS["restart markers by blocks"]]
    wholes = [pad_restarts(make(seed)) for make in kinds for seed in range(5)]
    assert not any(map(is_refused, wholes))
    damaged = [drop(1024)(wholes[seed % 10], random.Random(seed)) for seed in range(rounds)]
    share = sum(map(is_refused, damaged)) / rounds
    progress(f"{share:.1%} of {rounds} found")
    assert share >= 0.98
