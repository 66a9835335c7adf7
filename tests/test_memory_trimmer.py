"""Freed memory is returned to the system after many connections closed."""

import platform
import re
import sys
from pathlib import Path

import pytest

from dog.memory_trimmer import MemoryTrimmer, trim_memory


@pytest.mark.parametrize(
    ("counts", "trims"),
    [
        ([0, 10, 1, 1], 0),
        ([0, 10, 1, 1, 1], 1),
        ([0, 10, 1, 1, 1, 1, 1, 1], 1),
        ([0, 10, 8, 10, 8, 9, 9, 9], 0),
        ([0, 10, 8, 6, 4, 4, 4, 4], 1),
        ([0, 10, 7, 4, 1, 1, 1, 1], 1),
        ([0, 10, 0, 10, 0, 0, 0], 1),
        ([0, 10, 0, 10, 10, 0, 0, 0], 2),
    ],
)
def test_memory_is_trimmed_after_a_fall_by_three_and_a_delay(counts: list[int], trims: int) -> None:
    trimmed: list[int] = []
    trimmer = MemoryTrimmer(3, 2, lambda: trimmed.append(1))
    for count in counts:
        trimmer.observe(count)
    assert len(trimmed) == trims


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has malloc_trim")
def test_a_trim_returns_free_memory_between_used_blocks() -> None:
    blocks = [bytearray(100_000) for _ in range(1000)]
    used = blocks[::100]
    del blocks
    before = measure_resident()
    trim_memory()
    assert measure_resident() < before - 50_000_000
    assert len(used) == 10


def measure_resident() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0])


def test_trim_memory_does_nothing_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["dog.memory_trimmer"], "_malloc_trim", None)
    trim_memory()
