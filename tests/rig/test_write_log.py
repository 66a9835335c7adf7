"""The log of writes: which of them a power cut may lose."""

import os
import random
import struct
from pathlib import Path

import pytest

from tests.rig.write_log import count_flushed, read_log, replay, replay_some

NONE, FLUSH, FUA, MARK = 0, 1, 2, 8
WRITES = [
    (NONE, b"a"),
    (FLUSH, b""),
    (MARK, b"ready:x:1"),
    (NONE, b"b"),
    (FLUSH | FUA, b"c"),
    (NONE, b"d"),
    (FUA, b"e"),
]
"""The flags of entries, and the byte that fills two sectors, or a mark. Each has a place of its own."""


@pytest.fixture
def log(tmp_path: Path) -> int:
    data = struct.pack("<QQQI", 0x6A736677736872, 1, len(WRITES), 512).ljust(512, b"\0")
    for number, (flags, content) in enumerate(WRITES):
        is_write = flags != MARK and content
        header = struct.pack("<QQQQ", 2 * number, 2 if is_write else 0, flags, len(content) if flags == MARK else 0)
        data += (header + (b"" if is_write else content)).ljust(512, b"\0") + (content * 1024 if is_write else b"")
    (tmp_path / "log").write_bytes(data)
    return os.open(tmp_path / "log", os.O_RDONLY)


@pytest.fixture
def disk(tmp_path: Path) -> int:
    (tmp_path / "disk").write_bytes(bytes(len(WRITES) * 1024))
    return os.open(tmp_path / "disk", os.O_RDWR)


def read_disk(disk: int) -> str:
    return "".join(chr(os.pread(disk, 1, number * 1024)[0] or ord("-")) for number in range(len(WRITES)))


@pytest.mark.parametrize(
    ("cut", "flushed", "without_flush", "everything"),
    [
        (1, 0, "-------", "a------"),
        (2, 1, "a------", "a------"),
        (4, 1, "a------", "a--b---"),
        (5, 4, "a--bc--", "a--bc--"),
        (6, 4, "a--bc--", "a--bcd-"),
        (7, 4, "a--bc-e", "a--bcde"),
    ],
)
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_cut_keeps_what_was_flushed_and_a_share_of_the_rest(
    log: int, disk: int, cut: int, flushed: int, without_flush: str, everything: str, share: float
) -> None:
    entries = read_log(log)
    assert [entry.mark for entry in entries if entry.mark] == ["ready:x:1"]
    assert count_flushed(entries, cut) == flushed
    replay(log, entries[:flushed], disk)
    replay_some(log, entries[flushed:cut], disk, share, random.Random(1))
    assert read_disk(disk) == (everything if share else without_flush)
    os.close(log)
    os.close(disk)
