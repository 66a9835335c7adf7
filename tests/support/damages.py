"""JPEGs like those of cameras, and damage by lost, cut and bad data."""

import random
import re
import struct
from collections.abc import Callable
from typing import Final

from PIL import Image

from dog.images.file_structure import walk_jpeg
from tests.support.pictures import encode

__all__ = [
    "KINDS",
    "Damage",
    "cut",
    "draw_detailed",
    "drop",
    "drop_segments",
    "insert_after_soi",
    "pad_restarts",
    "read_tables",
    "scan_at",
    "zero",
]

Damage = Callable[[bytes, random.Random], bytes]


def draw_detailed(width: int = 320, height: int = 240, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Draw noise over patches, as detailed as a camera's image: about 40 kB."""
    chance = random.Random(seed)
    patches = Image.frombytes("RGB", (8, 6), chance.randbytes(8 * 6 * 3)).resize((width, height))
    noise = Image.frombytes("RGB", (width // 2, height // 2), chance.randbytes(width // 2 * (height // 2) * 3))
    return Image.blend(patches, noise.resize((width, height), Image.Resampling.BICUBIC), 0.2).convert(mode)


def _with_thumbnail(seed: int) -> bytes:
    """Make a JPEG with a thumbnail in EXIF, with its own end marker."""
    thumbnail = encode(draw_detailed(64, 48, seed))
    tiff = b"II*\0" + struct.pack("<IHIH", 8, 0, 14, 2)
    tiff += struct.pack("<HHIIHHIII", 0x0201, 4, 1, 44, 0x0202, 4, 1, len(thumbnail), 0) + thumbnail
    body = b"Exif\0\0" + tiff
    return insert_after_soi(encode(draw_detailed(seed=seed)), b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body)


def _without_huffman_tables(seed: int) -> bytes:
    """Make a JPEG like those of UVC cameras, which omit the standard's tables."""
    return drop_segments(encode(draw_detailed(seed=seed), subsampling="4:2:2"), 0xC4)


def drop_segments(data: bytes, marker: int) -> bytes:
    """Remove all segments of this kind before the first scan."""
    kept, position = [data[:2]], 2
    while data[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if data[position + 1] != marker:
            kept.append(data[position:end])
        position = end
    return b"".join([*kept, data[position:]])


KINDS: Final[dict[str, Callable[[int], bytes]]] = {
    "baseline": lambda seed: encode(draw_detailed(seed=seed)),
    "4:4:4": lambda seed: encode(draw_detailed(seed=seed), subsampling="4:4:4", quality=90),
    "MJPEG without Huffman tables": _without_huffman_tables,
    "restart markers by lines": lambda seed: encode(draw_detailed(seed=seed), restart_marker_rows=1),
    "restart markers by blocks": lambda seed: encode(draw_detailed(seed=seed), restart_marker_blocks=7),
    "progressive": lambda seed: encode(draw_detailed(seed=seed), progressive=True),
    "progressive with restart markers": lambda seed: encode(
        draw_detailed(seed=seed), progressive=True, restart_marker_rows=1
    ),
    "grey": lambda seed: encode(draw_detailed(seed=seed, mode="L")),
    "CMYK": lambda seed: encode(draw_detailed(seed=seed, mode="CMYK")),
    "a thumbnail in EXIF": _with_thumbnail,
    "data after its end": lambda seed: encode(draw_detailed(seed=seed)) + b"\0\0\0\x18ftypmp42" + bytes(3000) + b"SEFT",
    "a second image after its end": lambda seed: encode(draw_detailed(seed=seed)) + encode(draw_detailed(64, 48, seed)),
}
"""Undamaged JPEGs of each kind, drawn from a seed."""


def insert_after_soi(data: bytes, added: bytes) -> bytes:
    return data[:2] + added + data[2:]


def read_tables(data: bytes) -> dict[int, bytes]:
    """Return the Huffman tables by class and number."""
    tables = {}
    for segment in walk_jpeg(data).segments:
        body = data[segment.begin + 4 : segment.end] if segment.marker == 0xC4 else b""
        while body:
            end = 17 + sum(body[1:17])
            tables[body[0]], body = body[1:end], body[end:]
    return tables


def scan_at(data: bytes) -> tuple[int, int]:
    """Return the positions of the first scan's data and the end marker.

    The end marker is the image's, not a thumbnail's.
    """
    position = 2
    begin = 0
    while data[position + 1] != 0xD9:
        is_scan = data[position + 1] == 0xDA
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
        if is_scan:
            begin = begin or position
            found = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]").search(data, position)
            assert found is not None
            position = found.start()
    return begin, position


def cut(data: bytes, chance: random.Random) -> bytes:
    """Cut the compressed data at a random place, and keep the end marker."""
    begin, end = scan_at(data)
    place = chance.randrange(begin, end)
    return data[:place].rstrip(b"\xff") + data[end:]


def drop(size: int) -> Damage:
    """Remove `size` bytes in the middle, like lost packets."""

    def lose(data: bytes, chance: random.Random) -> bytes:
        begin, end = scan_at(data)
        place = chance.randrange(begin, end - size)
        return data[:place] + data[place + size :]

    return lose


def zero(size: int) -> Damage:
    """Replace `size` bytes by zeros."""

    def clear(data: bytes, chance: random.Random) -> bytes:
        begin, end = scan_at(data)
        place = chance.randrange(begin, end - size)
        return data[:place] + bytes(size) + data[place + size :]

    return clear


def pad_restarts(data: bytes, padding: bytes = bytes(4)) -> bytes:
    """Put padding before each restart marker, as Logitech's webcams do."""
    begin, end = scan_at(data)
    return data[:begin] + re.sub(rb"(?=\xff[\xd0-\xd7])", padding, data[begin:end]) + data[end:]
