"""File structure of images: walk to the end mark, without decoding."""

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from dog.errors import BadImage, UnsupportedImage

__all__ = [
    "EOI",
    "EXIF_START",
    "KINDS",
    "MAX_IMAGE_BYTES",
    "MAX_IMAGE_PIXELS",
    "RST",
    "SLICE_BYTES",
    "SOF",
    "SOS",
    "Jpeg",
    "Segment",
    "Structure",
    "cut_off_error",
    "damage_error",
    "find_content_type",
    "walk_jpeg",
    "walk_structure",
]

MAX_IMAGE_BYTES: Final = 64 * 1024 * 1024
"""More than any camera's JPEG, and small enough for memory."""
MAX_IMAGE_PIXELS: Final = 250_000_000
"""More than any camera has. decode_memory.py limits most kinds to less."""
KINDS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WebP"}
_MAX_SEGMENTS = 4096
"""Segments of a JPEG. A file of 64 MiB with previews in segments of 64 KiB has 1024."""
_MAX_CHUNKS = 65_536
"""Chunks of a PNG: 64 MiB in chunks of 1 KiB. 8 KiB and more are usual."""
_MAX_FILLING_BYTES = 65_536
"""Unused bytes between a JPEG's segments. Decoders read them one by one."""
_MAX_SCANNED_PIXELS = 1_600_000_000
"""Pixels of a JPEG times its scans: a usual progressive one has 10. Each scan, even an empty one, costs the decoder a
pass over the whole image."""
_MAX_NOTES = 32
"""Segments of EXIF or Photoshop's notes in a JPEG, of up to 64 KiB; two are usual. Pillow parses them in Python, and
copies all EXIF so far for each further segment."""
SLICE_BYTES = 65_536
"""Searched at a time: a search holds the interpreter's lock, and the event loop waits."""
_PNG_START = b"\x89PNG\r\n\x1a\n"
_WEBP_START = re.compile(rb"RIFF....WEBP", re.DOTALL)
# Every marker except the restart markers of a scan. FF 00 is a stuffed byte there; FF FF begins with a fill byte.
_JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xff])")
EXIF_START = b"Exif\0"
"""Readers ignore the byte that follows it."""
_PRECISION = 8
"""Bits per colour in a JPEG that programs can show."""
_NOTES = (EXIF_START, b"Photoshop 3.0\0")
RST, _SOI, EOI, SOS, _TEM, _FILL = 0xD0, 0xD8, 0xD9, 0xDA, 0x01, 0xFF
SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

_LOSSLESS, _HIERARCHICAL = (0xC3, 0xCB), (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)
"""Frames of JPEGs that no browser shows (T.81, table B.1). A lossless one crashes simplejpeg 1.9: libjpeg-turbo ignores
the reduced size, and writes behind the end of the result."""
_OTHER_KINDS = (
    (re.compile(rb"GIF8[79]a"), "a GIF"),
    (re.compile(rb"BM.{4}\0{4}", re.DOTALL), "a BMP"),
    (re.compile(rb"II\*\0|MM\0\*"), "a TIFF or a raw image"),
    (re.compile(rb".{4}ftypcrx ", re.DOTALL), "a raw image of Canon (CR3)"),
    (re.compile(rb"FUJIFILMCCD-RAW"), "a raw image of Fujifilm (RAF)"),
    (re.compile(rb"IIU\0"), "a raw image of Panasonic (RW2)"),
    (re.compile(rb"IIR[OS]|MMOR"), "a raw image of Olympus (ORF)"),
    (re.compile(rb"FOVb"), "a raw image of Sigma (X3F)"),
    (re.compile(rb"\0MRM"), "a raw image of Minolta (MRW)"),
    (re.compile(rb"8BPS"), "a Photoshop document (PSD)"),
    (re.compile(rb"\0\0\x01\0.\0"), "an icon"),
    (re.compile(rb"\x1f\x8b\x08"), "compressed by gzip"),
    (re.compile(rb"\x1aE\xdf\xa3"), "a video"),
    (re.compile(rb".{4}ftyp(?:avif|avis)", re.DOTALL), "an AVIF"),
    (re.compile(rb".{4}ftyp(?:hei|hev|mif1|msf1)", re.DOTALL), "a HEIC"),
    (re.compile(rb".{4}ftyp", re.DOTALL), "a video"),
    (re.compile(rb"RIFF.{4}AVI ", re.DOTALL), "a video"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "a JPEG 2000"),
    (re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"), "a JPEG XL"),
    (re.compile(rb"P[1-7]\s"), "a PNM"),
    (re.compile(rb"%PDF-"), "a PDF"),
)
_HTML = re.compile(r"\s*+(?:<!--.*?-->\s*+)*+<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_SVG = re.compile(r".*<svg\b", re.IGNORECASE | re.DOTALL)


class Structure(NamedTuple):
    """Type and size of an image, with a JPEG's segments or a PNG's chunks.

    Each chunk has its name, begin and end.
    """

    content_type: str
    size: tuple[int, int]
    jpeg: "Jpeg | None" = None
    chunks: Sequence[tuple[bytes, int, int]] = ()


def walk_structure(data: bytes) -> Structure:
    """Walk an image to its end. Raises BadImage, UnsupportedImage."""
    structure = _WALKS[find_content_type(data)](data)
    width, height = structure.size
    if width * height > MAX_IMAGE_PIXELS:
        raise UnsupportedImage(
            f"The image has {width} x {height} pixels, more than {MAX_IMAGE_PIXELS // 1_000_000} million."
            " Set the camera to a smaller size."
        )
    return structure


def find_content_type(data: bytes) -> str:
    """Return the content type, by the first bytes. Raises as walk_structure()."""
    if not data:
        raise BadImage("The image is empty. Check what the camera writes.")
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if data.startswith(_PNG_START):
        return "image/png"
    if _WEBP_START.match(data):
        return "image/webp"
    for start, kind in (b"\xff\xd8", "JPEG"), (_PNG_START, "PNG"), (b"RIFF", "WebP"):
        if len(data) < 12 and start.startswith(data[: len(start)]):
            raise cut_off_error(kind, len(data))
    for pattern, name in _OTHER_KINDS:
        if pattern.match(data):
            raise _unsupported_error(name)
    raise _not_an_image_error(data)


def _not_an_image_error(data: bytes) -> BadImage:
    text = _text(data[:1000])
    if text is None:
        return BadImage(
            "The camera left something that is not an image. It must be a JPEG, a PNG or a WebP.",
            detail=f"it begins with {data[:16].hex(' ')}",
        )
    if _HTML.match(text):
        return UnsupportedImage(
            "The camera left a web page, not an image. Open its URL in a browser to see it.", detail=text[:200]
        )
    if _SVG.match(text):
        return _unsupported_error("an SVG")
    return UnsupportedImage("The camera left text, not an image. See the server's log.", detail=text[:200])


def _text(data: bytes) -> str | None:
    """Return the data as text, or None if it is not text."""
    text = data.decode("utf-8", errors="replace")
    strange = sum(character == "\ufffd" or not (character.isprintable() or character.isspace()) for character in text)
    return text if strange * 20 <= len(text) else None


def _unsupported_error(name: str) -> UnsupportedImage:
    return UnsupportedImage(f"The image is {name}. The camera must leave a JPEG, a PNG or a WebP.")


def cut_off_error(kind: str, size: int) -> BadImage:
    return BadImage(f"The image is cut off: the end of the {kind} is missing.", detail=f"{size} bytes")


def damage_error(kind: str, detail: str) -> BadImage:
    return BadImage(f"The image is damaged: the {kind} can't be read.", detail=detail)


# ---- walking from the first byte to the end mark. Bytes after it are ignored.


@dataclass(frozen=True, slots=True)
class Segment:
    """A JPEG's segment. A scan's data follows its segment (SOS)."""

    marker: int
    begin: int
    end: int


@dataclass(slots=True)
class Jpeg:
    """The structure of a JPEG: its size, segments, and end marker's position."""

    size: tuple[int, int] = (0, 0)
    segments: list[Segment] = field(default_factory=list)
    end: int = 0


def walk_jpeg(data: bytes) -> Jpeg:
    """Walk a JPEG by its markers (ITU-T T.81, annex B), past its previews."""
    jpeg = Jpeg()
    size: tuple[int, int] | None = None
    position = 2
    scans = filling = notes = 0
    while True:
        begin = _find_marker(data, position)
        if not scans:
            filling += begin - position
        marker, position = data[begin + 1], begin + 2
        if marker == _FILL:
            filling += 1
            position -= 1
        if filling > _MAX_FILLING_BYTES:
            raise damage_error("JPEG", f"there is too much between its segments, at byte {begin}")
        if marker == _FILL:
            continue
        if marker == EOI:
            break
        if len(jpeg.segments) == _MAX_SEGMENTS:
            raise damage_error("JPEG", f"it has more than {_MAX_SEGMENTS} segments")
        if marker == _TEM:
            jpeg.segments.append(Segment(marker, begin, position))
            continue
        if marker == _SOI:
            raise damage_error("JPEG", f"another JPEG begins inside it, at byte {begin}")
        segment = position
        position += int.from_bytes(data[segment : segment + 2])
        if position > len(data) or segment + 2 > len(data):
            raise cut_off_error("JPEG", len(data))
        if marker in SOF:
            if position < segment + 7:
                raise damage_error("JPEG", f"the frame header at byte {segment} is too short")
            precision, height, width = struct.unpack_from(">BHH", data, segment + 2)
            size = (width, height)
            if marker in _LOSSLESS or marker in _HIERARCHICAL:
                raise _unsupported_error(f"a {'lossless' if marker in _LOSSLESS else 'hierarchical'} JPEG")
            if precision != _PRECISION:
                raise _unsupported_error(f"a JPEG of {precision} bits per colour")
        jpeg.segments.append(Segment(marker, begin, position))
        scans += marker == SOS
        notes += data.startswith(_NOTES, segment + 2)
    if notes > _MAX_NOTES:
        raise damage_error("JPEG", f"it has {notes} segments of EXIF and notes")
    if size is None:
        raise damage_error("JPEG", "it has no frame header")
    if scans > 1 and scans * min(size[0] * size[1], MAX_IMAGE_PIXELS) > _MAX_SCANNED_PIXELS:
        raise damage_error("JPEG", f"it has {scans} scans, too many for {size[0]} x {size[1]} pixels")
    jpeg.size, jpeg.end = size, begin
    return jpeg


def _find_marker(data: bytes, position: int) -> int:
    """Find the next marker or fill byte. Raises BadImage without one."""
    while True:
        end = position + SLICE_BYTES
        match = _JPEG_MARKER.search(data, position, end)
        if match is not None:
            return match.start()
        if end >= len(data):
            raise cut_off_error("JPEG", len(data))
        # Search the last byte again: it may begin a marker.
        position = end - 1


def _walk_png(data: bytes) -> Structure:
    """Walk a PNG, and check its checksums (PNG, third edition, section 5.3)."""
    view = memoryview(data)
    size: tuple[int, int] | None = None
    chunks: list[tuple[bytes, int, int]] = []
    position = len(_PNG_START)
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(data):
            raise cut_off_error("PNG", len(data))
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise cut_off_error("PNG", len(data))
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise damage_error("PNG", f"the checksum of the chunk at byte {position} is wrong")
        if size is None:
            if name != b"IHDR" or length != 13:
                raise damage_error("PNG", "it does not begin with its header")
            size = struct.unpack_from(">II", data, position + 8)
        elif name == b"IHDR":
            raise damage_error("PNG", f"it has a second header at byte {position}")
        chunks.append((name, position, end))
        if name == b"IEND":
            return Structure("image/png", size, chunks=chunks)
        position = end
    raise damage_error("PNG", f"it has more than {_MAX_CHUNKS} chunks")


def _walk_webp(data: bytes) -> Structure:
    """Check a WebP's length, and read its size."""
    return Structure("image/webp", _read_webp_size(data))


def _read_webp_size(data: bytes) -> tuple[int, int]:
    """Return the size of a WebP that is not cut off (RFC 9649, 2.4 to 2.7)."""
    if len(data) < 8 + int.from_bytes(data[4:8], "little") or len(data) < 30:
        raise cut_off_error("WebP", len(data))
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            packed = int.from_bytes(data[21:25], "little")
            return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    raise damage_error("WebP", "it does not begin with an image")


def _walk_jpeg(data: bytes) -> Structure:
    jpeg = walk_jpeg(data)
    return Structure("image/jpeg", jpeg.size, jpeg)


_WALKS: Final[dict[str, Callable[[bytes], Structure]]] = {
    "image/jpeg": _walk_jpeg,
    "image/png": _walk_png,
    "image/webp": _walk_webp,
}
