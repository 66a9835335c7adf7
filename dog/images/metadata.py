"""Metadata that changes how an image looks: its orientation and colours.

Both count exactly if browsers honour them, so that a thumbnail looks like the photo on its page. The rules for the
orientation were tried with Chromium 156: tests/browser/test_thumbnails.py compares them.
"""

import struct
import zlib

from dog.images.file_structure import EXIF_START, SOS, Structure
from dog.images.tiff import BYTE_ORDERS, SHORT, read_first, read_subdirectory

__all__ = ["MAX_PROFILE_BYTES", "UPRIGHT", "find_png_profile", "read_orientation"]

UPRIGHT = 1
MAX_PROFILE_BYTES = 4 * 1024 * 1024
"""A printer's profile has 1 to 3 MiB, a camera's some KiB."""
_APP1 = 0xE1
_ORIENTATION, _EXIF_DIRECTORY = 0x0112, 0x8769


def read_orientation(data: bytes, structure: Structure) -> int:
    """Return the EXIF orientation from 1 (upright) to 8 that browsers honour.

    It is the first valid SHORT in the first EXIF of a JPEG, or of a PNG before its pixels. XMP, WebP and entries of
    another type do not count.
    """
    tiff = _find_exif(data, structure)
    order = BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return UPRIGHT
    _, entries, _ = read_first(tiff, order)
    for tag, entry in entries + read_subdirectory(tiff, order, entries, _EXIF_DIRECTORY):
        if tag == _ORIENTATION and isinstance(entry, bytes):
            _, kind, count, orientation = struct.unpack_from(order + "HHIH", entry)
            if kind == SHORT and count == 1 and 1 <= orientation <= 8:
                return int(orientation)
    return UPRIGHT


def _find_exif(data: bytes, structure: Structure) -> bytes:
    """Return the EXIF that browsers read, or nothing."""
    if structure.jpeg is not None:
        for segment in structure.jpeg.segments:
            if segment.marker == SOS:
                break
            if segment.marker == _APP1 and data.startswith(EXIF_START, segment.begin + 4):
                return data[segment.begin + 4 + len(EXIF_START) + 1 : segment.end]
    return _find_chunk(data, structure, b"eXIf")


def find_png_profile(data: bytes, structure: Structure) -> bytes:
    """Return a PNG's ICC profile, or nothing if it has none that is readable."""
    _, _, compressed = _find_chunk(data, structure, b"iCCP").partition(b"\0")
    decompressor = zlib.decompressobj()
    try:
        profile = decompressor.decompress(compressed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if decompressor.eof else b""


def _find_chunk(data: bytes, structure: Structure, wanted: bytes) -> bytes:
    """Return the content of a PNG's first such chunk before its pixels."""
    for name, begin, end in structure.chunks:
        if name == b"IDAT":
            break
        if name == wanted:
            return data[begin + 8 : end - 4]
    return b""
