"""Strict decoding of JPEGs: find damage, and add a missing end marker.

A decoder continues after damage and paints over missing data. libjpeg-turbo warns of it, but Pillow drops the
warnings. simplejpeg raises the first one, and only that, because libjpeg keeps no more. So if the first is harmless,
the JPEG is decoded again without its cause, and then restart interval by restart interval.

Not found: wrong data that can still be decoded; damage to arithmetic coding, where libjpeg has no warnings; and
damage to colours sampled in a way that libjpeg-turbo's own interface has no name for, such as 4x2 or 3x1.
"""

import itertools
import re
import struct
from collections.abc import Iterator
from typing import Any, Final

from PIL import Image

from dog.errors import BadImage, UnsupportedImage
from dog.images.decode_memory import reserve_decode_memory
from dog.images.file_structure import (
    EOI,
    KINDS,
    RST,
    SLICE_BYTES,
    SOF,
    SOS,
    Jpeg,
    Structure,
    cut_off_error,
    damage_error,
    walk_jpeg,
    walk_structure,
)

__all__ = ["DHT", "SEQUENTIAL_HUFFMAN", "add_missing_end", "decode_jpeg", "load_simplejpeg"]

_END: Final = bytes((0xFF, EOI))
DHT, _DAC, _DQT, _DRI = 0xC4, 0xCC, 0xDB, 0xDD
_DECODED: Final = SOF | {DHT, _DAC, _DQT, _DRI, SOS}
"""Segments that are needed for decoding. All others are notes."""
_SEQUENTIAL, _PROGRESSIVE = frozenset((0xC0, 0xC1, 0xC9)), frozenset((0xC2, 0xCA))
_ARITHMETIC = frozenset(range(0xC9, 0xD0)) - {_DAC}
SEQUENTIAL_HUFFMAN = frozenset((0xC0, 0xC1))
_COEFFICIENTS = 64
_RESTART_MARKER = re.compile(rb"\xff[\xd0-\xd7]")

_DAMAGE: Final = ("Corrupt JPEG data: ", "Premature end of JPEG file", "Inconsistent progression sequence")
"""The beginnings of libjpeg's warnings of damage (its jerror.h). Others are about unknown notes."""
_HARMLESS: Final = "Corrupt JPEG data: bad ICC marker"
_EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0x([0-9a-f]+)")
_MAX_PADDING = 16
"""Unused bytes before a marker. Logitech's webcams have up to ten before restart markers. More than this means that the
decoder has lost its position in the data."""
_MAX_INTERVALS = 4096
"""Restart intervals that are decoded one by one. Cameras have one for each line of blocks: 270 of 4320 lines."""
_MAX_HEADER_BYTES = 64 * 1024 * 1024
"""Bytes of headers that these intervals may have together: each is decoded with a copy of the header."""
_MAX_COMPONENTS = 4
"""Components of a scan (T.81, table B.3)."""
_MAX_SIDE = 65_500
"""Pixels of a side that libjpeg decodes."""


def load_simplejpeg() -> Any:
    """Import simplejpeg and return it. The first import takes 0.1 s (numpy)."""
    import simplejpeg  # type: ignore[import-untyped]

    return simplejpeg


def decode_jpeg(data: bytes, jpeg: Jpeg, smallest: tuple[int, int], mode: str) -> Image.Image | None:
    """Decode a JPEG in Pillow's mode `mode`, to 1/8, 1/4, 1/2 or full size.

    The size is the smallest that is not below `smallest`. Return None if another decoder is needed: for modes other
    than L and RGB, and for kinds that this one lacks. Raises BadImage if the data is damaged or a scan is missing.
    """
    _check_scans(data, jpeg)
    width, height = jpeg.size
    scale = max((n for n in (1, 2, 4, 8) if width >= n * smallest[0] and height >= n * smallest[1]), default=1)
    try:
        pixels = load_simplejpeg().decode_jpeg(
            data, "GRAY" if mode != "RGB" else "RGB", min_width=-(-width // scale), min_height=-(-height // scale)
        )
    except ValueError as error:
        _raise_if_damaged(str(error), data, jpeg)
        return None
    if mode not in ("L", "RGB"):
        return None
    return Image.frombuffer(mode, (pixels.shape[1], pixels.shape[0]), pixels, "raw", mode, 0, 1)


def add_missing_end(data: bytes) -> tuple[bytes, Structure]:
    """Return a JPEG, with its end marker if it lacks only that.

    Its structure is returned too. Other images are unchanged. Raises BadImage if more is missing, or if
    walk_structure() does.
    """
    try:
        return data, walk_structure(data)
    except UnsupportedImage:
        raise
    except BadImage:
        for begun in dict.fromkeys((data.removesuffix(b"\xff"), _without_padding(data))):
            whole = begun + _END
            structure = _walk_without_warning(whole)
            if structure is not None:
                return whole, structure
        raise


def _without_padding(data: bytes) -> bytes:
    """Remove zeros that fill a buffer after the data. One after FF is data."""
    stripped = data.rstrip(b"\0")
    return stripped + b"\0" if stripped.endswith(b"\xff") and stripped != data else stripped


def _walk_without_warning(whole: bytes) -> Structure | None:
    """Return a JPEG's structure if libjpeg finds all data in it."""
    try:
        structure = walk_structure(whole)
        jpeg = structure.jpeg
        if jpeg is None or any(segment.marker in _ARITHMETIC for segment in jpeg.segments):
            return None
        _check_scans(whole, jpeg)
        with reserve_decode_memory(whole, structure):
            warning = _first_warning(_without_notes(whole, jpeg), jpeg.size)
            if warning:
                _raise_if_damaged(warning, whole, jpeg)
    except UnsupportedImage:
        raise
    except BadImage:
        return None
    return structure if not warning or _EXTRANEOUS.fullmatch(warning) else None


def _first_warning(data: bytes, size: tuple[int, int]) -> str:
    """Return libjpeg's first warning or error, or "". Decodes at 1/8."""
    try:
        load_simplejpeg().decode_jpeg(data, "GRAY", min_width=-(-size[0] // 8), min_height=-(-size[1] // 8))
    except ValueError as error:
        return str(error)
    return ""


def _raise_if_damaged(warning: str, data: bytes, jpeg: Jpeg) -> None:
    """Raise BadImage if this warning, or one that it hides, is of damage."""
    if not _is_damage(warning) or _EXTRANEOUS.fullmatch(warning):
        plain = _without_notes(data, jpeg)
        warning = _first_warning(plain, jpeg.size)
        found = _EXTRANEOUS.fullmatch(warning)
        if found and int(found[2], 16) & ~7 == RST and not _is_damage(warning):
            warning = next(filter(_is_damage, _interval_warnings(plain)), warning)
    if _is_damage(warning):
        raise BadImage("The image is damaged: a part of the JPEG is lost.", detail=warning)


def _is_damage(warning: str) -> bool:
    found = _EXTRANEOUS.fullmatch(warning)
    if found:
        return int(found[1]) > _MAX_PADDING
    return warning.startswith(_DAMAGE) and warning != _HARMLESS


def _without_notes(data: bytes, jpeg: Jpeg) -> bytes:
    """Return the JPEG without notes and without bytes between its segments."""
    kept = [data[:2]]
    ends = [segment.begin for segment in jpeg.segments[1:]] + [jpeg.end]
    for segment, next_begin in zip(jpeg.segments, ends, strict=True):
        if segment.marker in _DECODED:
            kept.append(data[segment.begin : next_begin if segment.marker == SOS else segment.end])
    return b"".join([*kept, _END])


def _interval_warnings(data: bytes) -> Iterator[str]:
    """Yield the first warning for each restart interval of a JPEG.

    An interval does not depend on earlier ones, so it is decoded as an image of its own: one line of blocks. Yields
    nothing unless it is sequential with one scan, and if there are too many intervals.
    """
    jpeg = walk_jpeg(data)
    found = {segment.marker: segment for segment in jpeg.segments}
    frame = next(segment for segment in jpeg.segments if segment.marker in SOF)
    scans = [segment for segment in jpeg.segments if segment.marker == SOS]
    if len(scans) != 1 or frame.marker not in SEQUENTIAL_HUFFMAN or _DRI not in found:
        return
    block_width, block_height = _block_size(data[frame.begin : frame.end])
    columns, rows = -(-jpeg.size[0] // block_width), -(-jpeg.size[1] // block_height)
    length = int.from_bytes(data[found[_DRI].begin + 4 : found[_DRI].begin + 6])
    if not 0 < length * block_width <= _MAX_SIDE or columns * rows > length * _MAX_INTERVALS:
        return
    count = -(-columns * rows // length)
    if count * scans[0].end > _MAX_HEADER_BYTES:
        return
    markers = list(itertools.islice(_restart_markers(data, scans[0].end, jpeg.end), count))
    if [data[at + 1] for at in markers] != [RST + number % 8 for number in range(count - 1)]:
        yield f"Corrupt JPEG data: {len(markers)} restart markers, or in a wrong order, instead of {count - 1}"
        return
    begins = [scans[0].end, *(at + 2 for at in markers)]
    for number, (begin, end) in enumerate(zip(begins, [*markers, jpeg.end], strict=True)):
        blocks = min(length, columns * rows - number * length)
        size = (blocks * block_width, block_height)
        header = data[: frame.begin + 5] + struct.pack(">HH", *reversed(size)) + data[frame.begin + 9 : scans[0].end]
        yield _first_warning(header + data[begin:end] + _END, size)


def _block_size(frame: bytes) -> tuple[int, int]:
    """Return the pixels of a scan's smallest unit (MCU) with all components."""
    factors = [(one >> 4, one & 15) for one in frame[11::3]]
    if len(factors) == 1:
        return 8, 8
    return 8 * max(factor[0] for factor in factors), 8 * max(factor[1] for factor in factors)


def _restart_markers(data: bytes, begin: int, end: int) -> Iterator[int]:
    """Yield the position of each restart marker. Searches a slice at a time."""
    while begin < end:
        stop = min(begin + SLICE_BYTES, end)
        position = begin
        while found := _RESTART_MARKER.search(data, position, stop):
            yield found.start()
            position = found.end()
        if stop == end:
            return
        # Search the last byte again: it may begin a marker.
        begin = max(position, stop - 1)


def _check_scans(data: bytes, jpeg: Jpeg) -> None:
    """Raise BadImage if a component lacks a scan, or bits of a coefficient.

    JPEGs that are neither sequential nor progressive are left to the decoder.
    """
    frame = next(segment for segment in jpeg.segments if segment.marker in SOF)
    if frame.marker not in _SEQUENTIAL | _PROGRESSIVE:
        return
    # By component: the lowest bit so far of each coefficient.
    lowest: dict[int, list[int | None]] = {
        component: [None] * _COEFFICIENTS for component in data[frame.begin + 10 : frame.end : 3]
    }
    for segment in jpeg.segments:
        if segment.marker != SOS:
            continue
        scan = data[segment.begin + 4 : segment.end]
        if not scan or not 0 < scan[0] <= _MAX_COMPONENTS or len(scan) < 4 + 2 * scan[0]:
            raise damage_error(KINDS["image/jpeg"], f"the scan header at byte {segment.begin} is malformed")
        first, last, bits = scan[1 + 2 * scan[0] : 4 + 2 * scan[0]]
        if frame.marker in _SEQUENTIAL:
            first, last, bits = 0, _COEFFICIENTS - 1, 0
        for component in scan[1 : 1 + 2 * scan[0] : 2]:
            if component in lowest:
                for coefficient in range(first, min(last, _COEFFICIENTS - 1) + 1):
                    lowest[component][coefficient] = bits & 15
    if any(bit != 0 for bits_of in lowest.values() for bit in bits_of):
        raise cut_off_error("JPEG", len(data))
