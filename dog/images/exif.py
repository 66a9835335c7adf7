"""EXIF: write a photo's metadata into a JPEG, whose image is not changed.

One segment is inserted or replaced; all other bytes stay. Nothing of the camera's EXIF moves: new directories are
appended, with its entries and ours, and the header points to them. Many maker notes have offsets from that header, and
are lost if they move. No library can do this: Pillow and piexif (last released in 2019) rewrite everything, Pillow
without the thumbnail. (CIPA DC-008-2019, "Exif 2.32"; TIFF 6.0, section 2.)

Not corrected: offsets to data after the image, from the camera's EXIF or from an index of images (MPF) before it; and
the length of the first image in such an index.
"""

import datetime as dt
import logging
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice, pairwise

from dog import __version__
from dog.images.file_structure import EXIF_START, damage_error
from dog.images.tiff import (
    BYTE_ORDERS,
    LONG,
    MAX_ENTRIES,
    SHORT,
    Entry,
    Value,
    make_number,
    make_rational,
    make_text,
    make_undefined,
    merge,
    read_directory,
    read_first,
    read_subdirectory,
    read_value,
    write_directory,
)

__all__ = ["Stamp", "anonymize_exif", "make_stamp", "write_exif"]

log = logging.getLogger(__name__)

_MAX_EXIF_BYTES = 65_535 - 2 - 6
"""EXIF in one segment, without the segment's two length bytes and its name."""
_HEAD = EXIF_START + b"\0"
_SIGNATURE = b"D.O.G.\0\0"
"""Written before our first directory, with the offset and the length of the camera's EXIF (0 if it has none), so that a
second stamp can replace the first one."""
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TEM, _SOI, _EOI, _SOS, _APP0, _APP1, _APP2 = 0x01, 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xE2
_MAX_SEGMENT_DISTANCE = 2 * 65_536
"""Bytes between two segments; walk_jpeg() allows half of that."""
_OUR_ENTRIES = 16
"""More than the entries that a stamp adds to one directory."""
_CHANNELS = {1: bytes((1, 0, 0, 0)), 3: bytes((1, 2, 3, 0))}
"""Y, or Y, Cb and Cr. EXIF has no numbers for others."""

# In the first directory
_PROCESSING_SOFTWARE, _DESCRIPTION, _SOFTWARE, _POSITIONING, _CAMERA_LABEL = 0x000B, 0x010E, 0x0131, 0x0213, 0xC7A1
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_CAMERA_TAGS = frozenset((_DESCRIPTION, _SOFTWARE, _POSITIONING, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT))
_EXIF = 0x8769
# In the EXIF directory: a time, its offset from UTC and its subseconds
_ORIGINAL, _DIGITIZED = (0x9003, 0x9011, 0x9291), (0x9004, 0x9012, 0x9292)
_EXPOSURE, _VERSION, _UNIQUE_ID = 0x829A, 0x9000, 0xA420
_COMPONENTS, _FLASHPIX, _COLOUR_SPACE, _WIDTH, _HEIGHT = 0x9101, 0xA000, 0xA001, 0xA002, 0xA003


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The metadata of a photo for EXIF. `exposure` is in seconds, if known.

    `captured_at` is aware, and written with its offset, in milliseconds. Texts are cut to 255 bytes.

    ImageUniqueID is ours. DateTimeOriginal, with offset and subseconds, has our clock, as in the album: the clocks of
    many cameras start at power-on. The time of the camera's clock is kept in DateTimeDigitized.
    The camera's name is not the maker's Model or the owner's name (CameraOwnerName). It is in DNG's CameraLabel, and in
    ImageDescription, which readers show as the title, if the camera wrote none. An empty name is left out. We are the
    Software if the camera names none, otherwise the ProcessingSoftware. All other entries of the camera are kept.
    """

    id: str
    captured_at: dt.datetime
    camera: str
    software: str
    exposure: float | None = None

    def __post_init__(self) -> None:
        if self.captured_at.utcoffset() is None:
            raise ValueError(f"{self.captured_at!r} has no offset from UTC")


def make_stamp(*, id: str, camera: str, captured_at: dt.datetime, exposure: float | None) -> Stamp:
    """Return the EXIF of a snapshot, with its time in the machine's time zone."""
    return Stamp(
        id=id, captured_at=captured_at.astimezone(), camera=camera, software=f"D.O.G. {__version__}", exposure=exposure
    )


def write_exif(image: bytes, stamp: Stamp) -> bytes:
    """Write the stamp into a JPEG, replacing an earlier one. Raises BadImage.

    Other images are unchanged. Unreadable EXIF is replaced. Only the first of several is kept, which is logged: a file
    may have one, and readers differ in the one they use. If the stamp does not fit into a segment with all that the
    camera wrote, the image is unchanged, which is logged.
    """
    if not image.startswith(b"\xff\xd8"):
        return image
    layout = _read_layout(image)
    tiff, order = _remove_stamp(layout.tiff)
    written = _append_stamp(tiff, order, layout, stamp)
    entries = len(read_first(tiff, order)[1])
    if len(written) > _MAX_EXIF_BYTES or entries > MAX_ENTRIES - _OUR_ENTRIES:
        log.warning(
            "The EXIF of the camera has %d bytes in %d entries, so ours does not fit: photo %s has only the camera's.",
            len(tiff),
            entries,
            stamp.id,
        )
        return image
    if layout.has_several:
        log.warning("The camera wrote EXIF more than once: photo %s has only the first.", stamp.id)
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(_HEAD) + len(written)) + _HEAD + written
    view = memoryview(image)
    edges = [layout.place, *(edge for segment in layout.replaced for edge in segment), len(image)]
    kept = (view[begin:end] for begin, end in islice(pairwise(edges), 0, None, 2))
    return b"".join((view[: layout.place], segment, *kept))


def anonymize_exif(head: bytes, id: str, new_id: str) -> bytes:
    """Replace a stamp's id by one of the same length, and blank its camera.

    `head` is the beginning of an image, of a JPEG up to its first scan at least. Return its bytes up to the end of the
    last change: none if nothing changes. No byte moves: the size and the rest of the file stay as they are. Raises
    BadImage if a JPEG's head has no scan.
    """
    if not head.startswith(b"\xff\xd8"):
        return b""
    changed, last = bytearray(head), 0
    for marker, begin, end in _segments(head):
        if marker == _APP1 and head.startswith(_HEAD, begin + 4) and id.encode() in head[begin:end]:
            begin, last = begin + 4 + len(_HEAD), end
            changed[begin:end] = _without_camera(head[begin:end]).replace(id.encode(), new_id.encode())
    return bytes(changed[:last])


def _without_camera(tiff: bytes) -> bytes:
    """Remove our entries with the camera's name. The length stays the same."""
    order = BYTE_ORDERS.get(tiff[:4], ">")
    first, entries, following = read_first(tiff, order)
    values = {tag: read_value(tiff, order, entry) for tag, entry in entries if isinstance(entry, bytes)}
    label = values.get(_CAMERA_LABEL)
    named = {tag for tag in (_CAMERA_LABEL, _DESCRIPTION) if label is not None and values.get(tag) == label}
    changed = bytearray(tiff)
    for tag, entry in entries:
        if tag in named and isinstance(entry, bytes) and len(values[tag].data) > 4:
            (at,) = struct.unpack_from(order + "I", entry, 8)
            changed[at : at + len(values[tag].data)] = bytes(len(values[tag].data))
    if named:
        left = write_directory(order, first, [entry for entry in entries if entry[0] not in named], following)
        changed[first : first + len(left) + 12 * len(named)] = left + bytes(12 * len(named))
    return bytes(changed[: len(tiff)])


# ---- the JPEG


@dataclass(slots=True)
class _JpegLayout:
    """The layout of a JPEG: the place for EXIF, and facts for its entries."""

    place: int = 2
    replaced: list[tuple[int, int]] = field(default_factory=list)
    tiff: bytes = b""
    has_several: bool = False
    size: tuple[int, int] = (0, 0)
    components: int = 0
    density: tuple[int, int, int] = (72, 72, 2)
    is_srgb: bool = True


def _read_layout(image: bytes) -> _JpegLayout:
    """Read a JPEG up to its first scan. JFIF's APP0 stays first."""
    layout = _JpegLayout()
    pieces: list[bytes] = []
    at_start = True
    for marker, begin, end in _segments(image):
        body = image[begin + 4 : min(end, begin + 24)]
        at_start = at_start and marker == _APP0
        if at_start:
            layout.place = end
        if marker == _APP1 and body.startswith(EXIF_START):
            tiff = image[begin + 4 + len(_HEAD) : end]
            if not pieces:
                layout.place, pieces = begin, [tiff]
            elif layout.replaced[-1][1] == begin and tiff[:4] not in BYTE_ORDERS:
                # A continuation: some cameras write more than fits into a segment.
                pieces.append(tiff)
            else:
                layout.has_several = True
            layout.replaced.append((begin, end))
        elif marker == _APP0 and body.startswith(b"JFIF\0") and len(body) >= 12 and body[7] in (1, 2):
            unit, x, y = struct.unpack_from(">BHH", body, 7)
            layout.density = (x or 72, y or 72, unit + 1)
        elif marker == _APP2 and body.startswith(b"ICC_PROFILE\0"):
            layout.is_srgb = False
        elif marker in _SOF and len(body) >= 6:
            height, width, layout.components = struct.unpack_from(">HHB", body, 1)
            layout.size = (width, height)
    layout.tiff = b"".join(pieces)
    return layout


def _segments(image: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker, begin and end of each segment before the first scan."""
    position = 2
    while match := _MARKER.search(image, position, position + _MAX_SEGMENT_DISTANCE):
        begin, marker = match.start(), image[match.start() + 1]
        if marker == _SOS:
            return
        position = begin + 2
        if marker in (_SOI, _EOI):
            break
        if marker != _TEM:
            position += int.from_bytes(image[position : position + 2])
            if not begin + 4 <= position <= len(image):
                break
        yield marker, begin, position
    raise damage_error("JPEG", f"no scan is found from byte {position} on")


# ---- writing the stamp


def _append_stamp(tiff: bytes, order: str, layout: _JpegLayout, stamp: Stamp) -> bytes:
    """Append a new Exif IFD, the signature and a new IFD0."""
    first, entries, following = read_first(tiff, order)
    exif = read_subdirectory(tiff, order, entries, _EXIF)
    base = (tiff or b"MM\0*" + bytes(4)) + bytes(len(tiff) % 2)
    inner = write_directory(order, len(base), merge(exif, _exif_entries(exif, order, layout, stamp)))
    inner += _SIGNATURE + struct.pack(order + "II", first, len(tiff))
    outer_at = len(base) + len(inner)
    new = _first_entries(tiff, entries, order, layout, stamp) | {_EXIF: make_number(order, LONG, len(base))}
    outer = write_directory(order, outer_at, merge(entries, new), following)
    return base[:4] + struct.pack(order + "I", outer_at) + base[8:] + inner + outer


def _first_entries(
    tiff: bytes, existing: list[Entry], order: str, layout: _JpegLayout, stamp: Stamp
) -> dict[int, bytes | Value]:
    """Return our entries of the first directory. Blank ones count as missing."""
    present = {tag for tag, entry in existing if tag in _CAMERA_TAGS and _has_value(tiff, order, entry)}
    new: dict[int, bytes | Value] = {}
    if stamp.camera:
        new[_CAMERA_LABEL] = make_text(stamp.camera)
        if _DESCRIPTION not in present:
            new[_DESCRIPTION] = make_text(stamp.camera)
    new[_PROCESSING_SOFTWARE if _SOFTWARE in present else _SOFTWARE] = make_text(stamp.software)
    x, y, unit = layout.density if present.isdisjoint((_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT)) else (72, 72, 2)
    required = {
        _X_RESOLUTION: make_rational(order, Fraction(x)),
        _Y_RESOLUTION: make_rational(order, Fraction(y)),
        _RESOLUTION_UNIT: make_number(order, SHORT, unit),
        _POSITIONING: make_number(order, SHORT, 1),
    }
    return new | {tag: value for tag, value in required.items() if tag not in present}


def _has_value(tiff: bytes, order: str, entry: bytes | Value) -> bool:
    return isinstance(entry, bytes) and bool(read_value(tiff, order, entry).data.strip(b" \0"))


def _exif_entries(existing: list[Entry], order: str, layout: _JpegLayout, stamp: Stamp) -> dict[int, bytes | Value]:
    """Return our entries of the EXIF directory."""
    present = {tag: entry for tag, entry in existing if isinstance(entry, bytes)}
    at, offset = stamp.captured_at, f"{stamp.captured_at:%z}"
    times = (
        make_text(at.isoformat(" ", "seconds")[:19].replace("-", ":")),
        make_text(f"{offset[:3]}:{offset[3:5]}"),
        make_text(f"{at.microsecond // 1000:03}"),
    )
    new: dict[int, bytes | Value] = {_UNIQUE_ID: make_text(stamp.id), **dict(zip(_ORIGINAL, times, strict=True))}
    if _ORIGINAL[0] in present and _DIGITIZED[0] not in present:
        # The camera has only one time.
        moved = [(to, present[tag]) for tag, to in zip(_ORIGINAL, _DIGITIZED, strict=True) if tag in present]
        new |= {to: struct.pack(order + "H", to) + entry[2:] for to, entry in moved}
    elif _DIGITIZED[0] not in present:
        new |= dict(zip(_DIGITIZED, times, strict=True))
    version = present.get(_VERSION, b"")[8:]
    if not version.isdigit() or version < b"0231":
        new[_VERSION] = make_undefined(b"0232")  # a time's offset came with 0231
    exposure = _round(stamp.exposure)
    if exposure and _EXPOSURE not in present:
        new[_EXPOSURE] = make_rational(order, exposure)
    width, height = layout.size
    required = {
        _COMPONENTS: make_undefined(_CHANNELS.get(layout.components, bytes(4))),
        _FLASHPIX: make_undefined(b"0100"),
        _COLOUR_SPACE: make_number(order, SHORT, 1 if layout.is_srgb else 0xFFFF),
        _WIDTH: make_number(order, LONG, width),
        _HEIGHT: make_number(order, LONG, height),
    }
    return new | {tag: value for tag, value in required.items() if tag not in present}


def _round(exposure: float | None) -> Fraction | None:
    """Round to microseconds, or to seconds from one hour on. None if invalid."""
    if exposure is None or not math.isfinite(exposure) or not 0 < exposure < 2**32 - 1:
        return None
    return Fraction(exposure).limit_denominator(1_000_000 if exposure < 3600 else 1)


# ---- the camera's EXIF


def _remove_stamp(tiff: bytes) -> tuple[bytes, str]:
    """Return the camera's EXIF (or nothing) without a stamp, and byte order."""
    order = BYTE_ORDERS.get(tiff[:4], "")
    if not order or len(tiff) < 8:
        return b"", ">"
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    mark = tiff[first - 16 : first] if first >= 24 else b""
    if len(mark) == 16 and mark.startswith(_SIGNATURE):
        first, length = struct.unpack_from(order + "II", mark, 8)
        tiff = tiff[:4] + struct.pack(order + "I", first) + tiff[8:length]
    return (tiff, order) if first >= 8 and read_directory(tiff, order, first) is not None else (b"", ">")
