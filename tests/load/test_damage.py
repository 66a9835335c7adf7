"""How much damage is found: hundreds of random losses in JPEGs of every kind, counted.

The figures of docs/cameras.md are those of the long form. Not all can be found: after a loss, what follows may decode
to other blocks, and end where it should.
"""

import random
from typing import Any

import pytest

from dog.errors import BadImage
from dog.images import add_missing_end, inspect
from tests.load.conftest import Tell
from tests.support.damages import KINDS, Damage, cut, drop, pad_restarts, zero

DAMAGES: dict[str, tuple[Damage, float]] = {
    "cut early, with an end marker": (cut, 0.995),
    "1 KiB lost": (drop(1024), 0.95),
    "3 KiB lost": (drop(3072), 0.95),
    "3 KiB zeroed": (zero(3072), 0.98),
    "512 bytes zeroed": (zero(512), 0.98),
    "64 bytes zeroed": (zero(64), 0.4),
}
"""By what was done: the share that must be found."""


def is_refused(data: bytes) -> bool:
    try:
        inspect(add_missing_end(data))
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
def test_damage_is_found(name: str, rounds: int, tell: Tell) -> None:
    damage, least = DAMAGES[name]
    found: dict[str, int] = {}
    for kind, make in KINDS.items():
        wholes = [make(seed) for seed in range(min(rounds, 10))]
        assert not any(map(is_refused, wholes)), kind
        damaged = [damage(wholes[seed % len(wholes)], random.Random(seed)) for seed in range(rounds)]
        found[kind] = sum(map(is_refused, damaged))
    share = sum(found.values()) / (rounds * len(KINDS))
    missed = {kind: rounds - count for kind, count in found.items() if count < rounds}
    tell(f"{share:.1%} of {rounds * len(KINDS)} found; missed, by kind: {missed}")
    assert share >= least


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(20, id="short"),
        pytest.param(300, id="long", marks=[pytest.mark.load, pytest.mark.timeout(900)]),
    ],
)
def test_damage_is_found_behind_padding(rounds: int, tell: Tell) -> None:
    """As Logitech's webcams have it before restart markers."""
    kinds: list[Any] = [KINDS["restart markers by lines"], KINDS["restart markers by blocks"]]
    wholes = [pad_restarts(make(seed)) for make in kinds for seed in range(5)]
    assert not any(map(is_refused, wholes))
    damaged = [drop(1024)(wholes[seed % 10], random.Random(seed)) for seed in range(rounds)]
    share = sum(map(is_refused, damaged)) / rounds
    tell(f"{share:.1%} of {rounds} found")
    assert share >= 0.98
