"""The log of the kernel's dm-log-writes: writes to a disk, and marks.

A write is logged as soon as a flush that began after it is complete, or at once if it has FUA, which is a flush of its
own. So the first entries of the log are what the disk holds for sure at some moment, and a mark comes after all that
was flushed before it. A cut after any entry is one that a real disk can show.
"""

import fcntl
import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Entry", "count_flushed", "mark", "read_log", "replay", "replay_some"]

_SECTOR = 512
_MAGIC = 0x6A736677736872
_SUPERBLOCK = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
_FLUSH, _FUA, _DISCARD, _MARK = 1, 2, 4, 8
_PIECE_BYTES = 4096
"""A write reaches the disk in pieces of this size. Each may be lost, if no flush follows."""

_IOCTL = struct.Struct("=3I2I2I3IQ128s129s7x")
"""dm_ioctl of linux/dm-ioctl.h."""
_TARGET_MESSAGE = 3 << 30 | _IOCTL.size << 16 | 0xFD << 8 | 14


def mark(device: str, text: str) -> None:
    """Add a mark to the log of a mapped device. It has no spaces.

    It does what `dmsetup message DEVICE 0 mark TEXT` does, but at once.
    """
    message = struct.pack("=Q", 0) + f"mark {text}\0".encode()
    size = _IOCTL.size + len(message)
    request = bytearray(_IOCTL.pack(4, 0, 0, size, _IOCTL.size, 0, 0, 0, 0, 0, 0, device.encode(), b"") + message)
    control = os.open("/dev/mapper/control", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(control, _TARGET_MESSAGE, request)
    finally:
        os.close(control)


@dataclass(frozen=True, slots=True)
class Entry:
    """A write, a flush or a mark. The data are in the log, from `data_at` on."""

    flags: int
    at: int
    size: int
    data_at: int
    mark: str


def read_log(log: int) -> list[Entry]:
    """Return the entries of a log that is complete."""
    magic, version, count, sector = _SUPERBLOCK.unpack(os.pread(log, _SUPERBLOCK.size, 0))
    assert (magic, version, sector) == (_MAGIC, 1, _SECTOR)
    entries = []
    position = _SECTOR
    for _ in range(count):
        header = os.pread(log, _SECTOR, position)
        first_sector, sectors, flags, length = _ENTRY.unpack_from(header)
        assert not flags & _DISCARD, "the file system discards"
        text = header[_ENTRY.size : _ENTRY.size + length].decode() if flags & _MARK else ""
        position += _SECTOR
        entries.append(Entry(flags, first_sector * _SECTOR, sectors * _SECTOR, position, text))
        position += sectors * _SECTOR
    return entries


def count_flushed(entries: list[Entry], cut: int) -> int:
    """Return how many entries before a cut are on the disk for sure.

    A flush means all entries before it, but not the data that it has itself.
    """
    return next((number for number in reversed(range(cut)) if entries[number].flags & _FLUSH), 0)


def replay(log: int, entries: list[Entry], disk: int) -> None:
    """Write entries to a disk."""
    for entry in entries:
        for at, data in _pieces(log, entry):
            os.pwrite(disk, data, at)


def replay_some(log: int, entries: list[Entry], disk: int, share: float, chance: random.Random) -> None:
    """Write a random share of unflushed entries. FUA is never lost."""
    for entry in entries:
        for at, data in _pieces(log, entry):
            if entry.flags & _FUA or chance.random() < share:
                os.pwrite(disk, data, at)


def _pieces(log: int, entry: Entry) -> Iterator[tuple[int, bytes]]:
    for start in range(0, entry.size, _PIECE_BYTES):
        size = min(_PIECE_BYTES, entry.size - start)
        yield entry.at + start, os.pread(log, size, entry.data_at + start)
