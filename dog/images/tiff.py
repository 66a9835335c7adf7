"""TIFF directories, as in EXIF: read and write them (TIFF 6.0, section 2).

`tiff` has all bytes from the header on; offsets are counted from there. `order` is the byte order for struct.
"""

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

__all__ = [
    "BYTE_ORDERS",
    "LONG",
    "MAX_ENTRIES",
    "SHORT",
    "Entry",
    "Value",
    "find_number",
    "make_number",
    "make_rational",
    "make_text",
    "make_undefined",
    "merge",
    "read_directory",
    "read_first",
    "read_subdirectory",
    "read_value",
    "write_directory",
]

BYTE_ORDERS: Final = {b"II*\0": "<", b"MM\0*": ">"}
_ASCII, SHORT, LONG, _RATIONAL, _UNDEFINED, _DIRECTORY = 2, 3, 4, 5, 7, 13
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
"""Bytes of one value of each type. 129 is UTF-8, of Exif 3.0."""
MAX_ENTRIES = 512
"""Entries of a directory. A camera's has less than a hundred; 64 KiB of them would be slow in Python."""
_MAX_TEXT_BYTES = 255


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a new entry: type, number of values, and their bytes."""

    kind: int
    count: int
    data: bytes


Entry = tuple[int, bytes | Value]
"""A tag, with the 12 bytes of an existing entry or the value of a new one."""


def read_first(tiff: bytes, order: str) -> tuple[int, list[Entry], int]:
    """Return the first directory's offset, entries and next offset (or zeros)."""
    if len(tiff) < 8:
        return 0, [], 0
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    return first, *(read_directory(tiff, order, first) or ([], 0))


def read_subdirectory(tiff: bytes, order: str, entries: list[Entry], pointer: int) -> list[Entry]:
    """Return the entries of the directory that the entry `pointer` points to."""
    at = find_number(order, entries, pointer)
    found = read_directory(tiff, order, at) if at else None
    return found[0] if found else []


def read_directory(tiff: bytes, order: str, at: int) -> tuple[list[Entry], int] | None:
    """Return a directory's readable entries, and the next one's offset (or 0)."""
    if at + 2 > len(tiff):
        return None
    (count,) = struct.unpack_from(order + "H", tiff, at)
    end = at + 2 + 12 * count
    entries: list[Entry] = []
    for begin in range(at + 2, min(end, len(tiff) - 11), 12)[:MAX_ENTRIES]:
        tag, kind, number, place = struct.unpack_from(order + "HHII", tiff, begin)
        size = _SIZES.get(kind, 0) * number
        if size <= 4 or place + size <= len(tiff):
            entries.append((tag, tiff[begin : begin + 12]))
    following = struct.unpack_from(order + "I", tiff, end)[0] if end + 4 <= len(tiff) else 0
    return entries, following if following < len(tiff) else 0


def read_value(tiff: bytes, order: str, entry: bytes) -> Value:
    """Return the value of an entry, empty if its type is unknown."""
    _, kind, count, place = struct.unpack(order + "HHII", entry)
    size = _SIZES.get(kind, 0) * count
    return Value(kind, count, entry[8 : 8 + size] if size <= 4 else tiff[place : place + size])


def find_number(order: str, entries: list[Entry], wanted: int) -> int:
    """Return the number in the entry of that tag, or 0 without one."""
    for tag, entry in entries:
        if tag == wanted and isinstance(entry, bytes):
            _, kind, count, number = struct.unpack(order + "HHII", entry)
            if kind in (LONG, _DIRECTORY) and count == 1:
                return int(number)
    return 0


def write_directory(order: str, at: int, entries: list[Entry], following: int = 0) -> bytes:
    """Encode a directory at an offset, with new values, to an even length."""
    values_at = at + 2 + 12 * len(entries) + 4
    table = bytearray(struct.pack(order + "H", len(entries)))
    values = bytearray()
    for tag, entry in entries:
        if isinstance(entry, bytes):
            table += entry
            continue
        table += struct.pack(order + "HHI", tag, entry.kind, entry.count)
        if len(entry.data) <= 4:
            table += entry.data.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", values_at + len(values))
            values += entry.data + bytes(len(entry.data) % 2)
    return bytes(table + struct.pack(order + "I", following) + values)


def merge(existing: list[Entry], new: dict[int, bytes | Value]) -> list[Entry]:
    """Replace entries with ours, sorted by tag as TIFF requires."""
    return sorted([*(entry for entry in existing if entry[0] not in new), *new.items()], key=lambda entry: entry[0])


def make_text(text: str) -> Value:
    """Return up to 255 bytes of UTF-8, which most readers expect."""
    data = text.partition("\0")[0].encode("utf-8", "replace")[:_MAX_TEXT_BYTES]
    data = data.decode("utf-8", "ignore").encode("utf-8") + b"\0"
    return Value(_ASCII, len(data), data)


def make_undefined(data: bytes) -> Value:
    return Value(_UNDEFINED, len(data), data)


def make_number(order: str, kind: int, number: int) -> Value:
    return Value(kind, 1, struct.pack(order + ("H" if kind == SHORT else "I"), number))


def make_rational(order: str, number: Fraction) -> Value:
    return Value(_RATIONAL, 1, struct.pack(order + "II", number.numerator, number.denominator))
