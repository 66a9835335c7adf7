"""Detection rates of damage: random losses in JPEGs of every kind.

docs/cameras.md has the figures of the long form. Not every loss can be detected: the data after it may decode to other
blocks and end correctly.
"""

import os
import random
from pathlib import Path
from typing import Any

import pytest

from dog.errors import BadImage
from dog.images import inspect, load_simplejpeg, repair
from dog.snapshots import SnapshotStore
from dog.snapshots.retention import Limits
from tests.load.conftest import Progress
from tests.support.damages import KINDS, Damage, cut, drop, pad_restarts, scan_at, zero
from tests.support.stores import read_image, save

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


def damage_at_random(data: bytes, chance: random.Random) -> bytes:
    """Cut a JPEG, with or without an end marker, flip bits, or drop bytes."""
    begin, end = scan_at(data)
    place = chance.randrange(begin, end)
    match chance.choice(["cut", "cut, with an end marker", "flip", "drop"]):
        case "cut":
            return data[:place]
        case "cut, with an end marker":
            return data[:place].rstrip(b"\xff") + b"\xff\xd9"
        case "drop":
            return data[:place] + data[place + chance.randint(1, 4096) :]
        case _:
            changed = bytearray(data)
            for _ in range(chance.randint(1, 8)):
                changed[chance.randrange(begin, end)] ^= 1 << chance.randrange(8)
            return bytes(changed)


def resident_bytes() -> int:
    """Return this process's memory, or 0 if the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def warning(data: bytes) -> str:
    """Return the first warning of libjpeg, which decodes the whole image."""
    try:
        load_simplejpeg().decode_jpeg(data, "GRAY")
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.documented(
    "JPEG that was cut, or lost or changed bytes, so that data is missing", "refused; whole ones never are"
)
@pytest.mark.parametrize(
    "count",
    [
        pytest.param(120, id="short"),
        pytest.param(10_000, id="long", marks=[pytest.mark.load, pytest.mark.timeout(1800)]),
    ],
)
async def test_no_stored_jpeg_lacks_data_and_no_whole_one_is_refused(
    count: int, tmp_path: Path, progress: Progress
) -> None:
    wholes = [make(seed) for make in KINDS.values() for seed in range(min(20, count // 60))]
    store = SnapshotStore(tmp_path, exif=True, limits=Limits(photos=20))
    await store.open()
    refused = 0
    memory: list[int] = []
    try:
        for number in range(count):
            whole = wholes[number % len(wholes)]
            await save(store, 2 * number + 1, data=whole)
            try:
                snapshot = await save(store, 2 * number + 2, data=damage_at_random(whole, random.Random(number)))
            except BadImage:
                refused += 1
            else:
                found = warning(await read_image(store, snapshot))
                assert not found or "extraneous bytes" in found, (number, found)
            if number % (count // 10) == 0:
                memory.append(resident_bytes() // 1024)
    finally:
        await store.close()
    progress(f"{refused} of {count} damaged ones refused; memory in KiB: {memory}")
    assert refused > count // 2
    assert max(memory[5:]) - max(memory[2:5]) < 32 * 1024
