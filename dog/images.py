"""Is it a whole picture? Its type, its size and its thumbnail, from its bytes alone.

A name or a declared type is never believed. Each format is first walked from its first byte to its end mark,
which finds what a decoder forgives (a JPEG without its last bytes, a PNG whose checksums are wrong), and is
measured before anything is decoded. Then all of it is decoded, once: for a JPEG at reduced size, where every
byte is read all the same. What is refused is refused with BadImage, whatever the bytes.

A JPEG and a WebP have no checksums: one that is changed in its middle can still be a picture, if not the one taken.
"""

import contextlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from PIL import Image, _imaging
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from dog.errors import BadImage

__all__ = ["LARGEST_PICTURE", "LARGEST_PIXELS", "THUMBNAIL_BOX", "Picture", "inspect", "make_histogram", "measure"]

LARGEST_PICTURE: Final = 64 * 1024 * 1024
"""Bytes. More than any camera's JPEG, and little enough to be held in memory."""
LARGEST_PIXELS: Final = 100_000_000
"""Making the thumbnail of a PNG of this size took 800 MB of memory at most (RGBA), 410 MB (RGB)."""
_MOST_SEGMENTS = 4096
"""Of a JPEG. A 64 MiB file of previews in segments of 64 KiB has 1024 of them."""
_MOST_CHUNKS = 65_536
"""Of a PNG: 64 MiB in chunks of 1 KiB; usual are 8 KiB and more."""
_MOST_FILLING = 65_536
"""Bytes between a JPEG's segments that say nothing. Decoders go through them one by one."""
_MOST_PASSES = 16
"""Over all of the picture, by the scans of a JPEG of the largest size; a smaller one may have as many more. A usual
progressive one has 10, and each costs the decoder a walk over the whole picture, though it says nothing.
"""
_MOST_NOTES = 32
"""Segments of EXIF or Photoshop's notes in a JPEG, of 64 KiB each; usual are two. Pillow takes those apart in Python,
and copies all EXIF that it has for each further segment of it.
"""
_SLICE = 65_536
"""Bytes searched at a time: one search holds the interpreter's lock, and the event loop waits for it."""
THUMBNAIL_BOX: Final = (320, 320)
_THUMBNAIL_QUALITY = 80

_PNG_START = b"\x89PNG\r\n\x1a\n"
_WEBP_START = re.compile(rb"RIFF....WEBP", re.DOTALL)
# Every marker but the restart marks inside a scan; FF 00 is a stuffed byte there, and FF FF begins with filling.
_JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xff])")
_NOTES = (b"Exif\0\0", b"Photoshop 3.0\0")
_SOI, _EOI, _SOS, _TEM, _FILL = 0xD8, 0xD9, 0xDA, 0x01, 0xFF
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

_DECODERS: Final[dict[str, type[ImageFile]]] = {
    "image/jpeg": JpegImageFile,
    "image/png": PngImageFile,
    "image/webp": WebPImageFile,
}
_KINDS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WebP"}

_OTHER_KINDS = (
    (re.compile(rb"GIF8[79]a"), "a GIF"),
    (re.compile(rb"BM.{4}\0{4}", re.DOTALL), "a BMP"),
    (re.compile(rb"II\*\0|MM\0\*"), "a TIFF or a raw picture"),
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

# In blocks of its usual 16 MiB, Pillow's memory mostly stays with the process when it is freed: 460 of 510 MB after
# a PNG of 100 million pixels. Blocks this large the C library asks of the system one by one, and gives back.
_imaging.set_block_size(64 * 1024 * 1024)

# The EXIF orientation, and what makes the picture upright again (CIPA DC-008, "Orientation").
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class Picture:
    """A whole picture. `width` and `height` are in pixels, upright as a browser shows it; `thumbnail` is a JPEG,
    empty where none was made.

    Of an animation, the first frame counts.
    """

    content_type: str
    width: int
    height: int
    thumbnail: bytes


def inspect(data: bytes) -> Picture:
    """Look at every byte of a picture and make its thumbnail. Raises BadImage, and says what is wrong with it."""
    return _look(data, decode=True)


def measure(data: bytes) -> Picture:
    """The same of a picture that was inspected before, and must only be all there still: it gets no thumbnail."""
    return _look(data, decode=False)


def make_histogram(data: bytes) -> list[int]:
    """How many pixels of a picture have each grey from 0 to 255, decoded at an eighth of its size where that is quick.

    Raises BadImage where it is not whole.
    """
    content_type, size = _walk(data)
    with _decoder(data, content_type, size) as image:
        image.draft("L", (max(1, size[0] // 8), max(1, size[1] // 8)))
        return image.convert("L").histogram()


def _look(data: bytes, *, decode: bool) -> Picture:
    content_type, size = _walk(data)
    with _decoder(data, content_type, size) as image:
        if decode:
            image.draft(None, _fit(size))
            image.load()
        orientation = _orientation(image)
        thumbnail = _shrink(image, orientation) if decode else b""
    width, height = size
    if orientation in _ON_ITS_SIDE:
        width, height = height, width
    return Picture(content_type, width, height, thumbnail)


def _walk(data: bytes) -> tuple[str, tuple[int, int]]:
    """The type and the size, after a walk to the end mark."""
    content_type = _recognise(data)
    width, height = _WALKS[content_type](data)
    if width * height > LARGEST_PIXELS:
        raise BadImage(
            f"The picture has {width} x {height} pixels, more than {LARGEST_PIXELS // 1_000_000} million;"
            " set the camera to a smaller size."
        )
    return content_type, (width, height)


@contextlib.contextmanager
def _decoder(data: bytes, content_type: str, size: tuple[int, int]) -> Iterator[ImageFile]:
    """Pillow's image, not decoded yet. Whatever goes wrong with it inside becomes BadImage."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of EXIF that it can't read; that says nothing of the picture.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with _DECODERS[content_type](io.BytesIO(data)) as image:
                if image.size != size:
                    raise ValueError(f"it says to be {size} and then {image.size}")
                yield image
    except MemoryError as error:
        raise BadImage(
            f"The picture has {size[0]} x {size[1]} pixels, more than this machine's memory can hold;"
            " set the camera to a smaller size."
        ) from error
    except Exception as error:
        # Pillow has no error of its own: its parsers raise whatever they stumble over.
        raise _damaged(_KINDS[content_type], f"{type(error).__name__}: {error}") from error


# ---- what is it?


def _recognise(data: bytes) -> str:
    """The content type, by the first bytes."""
    if not data:
        raise BadImage("The picture is empty: the camera left a file with nothing in it.")
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if data.startswith(_PNG_START):
        return "image/png"
    if _WEBP_START.match(data):
        return "image/webp"
    for start, kind in (b"\xff\xd8", "JPEG"), (_PNG_START, "PNG"), (b"RIFF", "WebP"):
        if len(data) < 12 and start.startswith(data[: len(start)]):
            raise _cut_off(kind, len(data))
    for pattern, name in _OTHER_KINDS:
        if pattern.match(data):
            raise _not_taken(name)
    raise _no_picture(data)


def _no_picture(data: bytes) -> BadImage:
    text = _text(data[:1000])
    if text is None:
        return BadImage(
            "The camera left something that is not a picture; it must be a JPEG, a PNG or a WebP.",
            detail=f"it begins with {data[:16].hex(' ')}",
        )
    if _HTML.match(text):
        return BadImage(
            "The camera left a web page, not a picture; open the camera's address in a browser and see.",
            detail=text[:200],
        )
    if _SVG.match(text):
        return _not_taken("an SVG")
    return BadImage("The camera left text, not a picture; see the server's log.", detail=text[:200])


def _text(data: bytes) -> str | None:
    """What it says, if it is text."""
    text = data.decode("utf-8", errors="replace")
    strange = sum(character == "\ufffd" or not (character.isprintable() or character.isspace()) for character in text)
    return text if strange * 20 <= len(text) else None


def _not_taken(name: str) -> BadImage:
    return BadImage(f"The picture is {name}; the camera must leave a JPEG, a PNG or a WebP.")


def _cut_off(kind: str, size: int) -> BadImage:
    return BadImage(f"The picture is cut off: it is a {kind}, and its end is missing.", detail=f"{size} bytes")


def _damaged(kind: str, detail: str) -> BadImage:
    return BadImage(f"The picture is damaged: it is a {kind} that can't be read.", detail=detail)


# ---- is it all there? From the first byte to the end mark; what comes after it does not matter.


def _walk_jpeg(data: bytes) -> tuple[int, int]:
    """Marker by marker (ITU-T T.81, annex B), over the previews inside segments to the picture's own end."""
    size: tuple[int, int] | None = None
    position = 2
    segments = scans = filling = notes = 0
    while True:
        begin = _find_marker(data, position)
        if not scans:
            filling += begin - position
        marker, position = data[begin + 1], begin + 2
        if marker == _FILL:
            filling += 1
            position -= 1
        if filling > _MOST_FILLING:
            raise _damaged("JPEG", f"there is too much between its segments, at byte {begin}")
        if marker == _FILL:
            continue
        if marker == _EOI:
            break
        segments += 1
        if segments > _MOST_SEGMENTS:
            raise _damaged("JPEG", f"it has more than {_MOST_SEGMENTS} segments")
        if marker == _TEM:
            continue
        if marker == _SOI:
            raise _damaged("JPEG", f"another one begins inside it, at byte {begin}")
        segment = position
        position += int.from_bytes(data[segment : segment + 2])
        if position > len(data) or segment + 2 > len(data):
            raise _cut_off("JPEG", len(data))
        if marker in _SOF:
            if position < segment + 7:
                raise _damaged("JPEG", f"the frame header at byte {segment} is too short")
            height, width = struct.unpack_from(">HH", data, segment + 3)
            size = (width, height)
        scans += marker == _SOS
        notes += data.startswith(_NOTES, segment + 2)
    if notes > _MOST_NOTES:
        raise _damaged("JPEG", f"it has {notes} segments of EXIF and notes")
    if size is None:
        raise _damaged("JPEG", "it has no frame header")
    if scans * min(size[0] * size[1], LARGEST_PIXELS) > _MOST_PASSES * LARGEST_PIXELS:
        raise _damaged("JPEG", f"it has {scans} scans, too many for {size[0]} x {size[1]} pixels")
    return size


def _find_marker(data: bytes, position: int) -> int:
    """Where the next marker or filling begins. Raises BadImage when there is none to the end."""
    while True:
        end = position + _SLICE
        match = _JPEG_MARKER.search(data, position, end)
        if match is not None:
            return match.start()
        if end >= len(data):
            raise _cut_off("JPEG", len(data))
        # The last byte again: it may be the first of a marker.
        position = end - 1


def _walk_png(data: bytes) -> tuple[int, int]:
    """Chunk by chunk, each with its checksum (PNG, third edition, section 5.3)."""
    view = memoryview(data)
    size: tuple[int, int] | None = None
    position = len(_PNG_START)
    for _ in range(_MOST_CHUNKS):
        if position + 12 > len(data):
            raise _cut_off("PNG", len(data))
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _cut_off("PNG", len(data))
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise _damaged("PNG", f"the checksum of the chunk at byte {position} is wrong")
        if size is None:
            if name != b"IHDR" or length != 13:
                raise _damaged("PNG", "it does not begin with its header")
            size = struct.unpack_from(">II", data, position + 8)
        if name == b"IEND":
            return size
        position = end
    raise _damaged("PNG", f"it has more than {_MOST_CHUNKS} chunks")


def _walk_webp(data: bytes) -> tuple[int, int]:
    """The length it states, and the size in its first chunk (RFC 9649, sections 2.4 to 2.7)."""
    if len(data) < 8 + int.from_bytes(data[4:8], "little") or len(data) < 30:
        raise _cut_off("WebP", len(data))
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            packed = int.from_bytes(data[21:25], "little")
            return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    raise _damaged("WebP", "it does not begin with a picture")


_WALKS = {"image/jpeg": _walk_jpeg, "image/png": _walk_png, "image/webp": _walk_webp}


# ---- the thumbnail


def _fit(size: tuple[int, int]) -> tuple[int, int]:
    """The largest size of that shape inside the box. A JPEG is decoded to no more than just above it."""
    scale = min(1.0, *(most / side for most, side in zip(THUMBNAIL_BOX, size, strict=True)))
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def _orientation(image: Image.Image) -> int:
    """As EXIF states it; 1, upright, where it states none or can't be read: that is no reason to refuse a picture."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _shrink(image: Image.Image, orientation: int) -> bytes:
    """A JPEG that fits into the box, never larger than the picture, upright, on white where it is transparent."""
    if image.mode.startswith("I"):
        # 16 bits of grey: Pillow would cut off what is brighter than 255, not scale it.
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    image.thumbnail(THUMBNAIL_BOX, reducing_gap=2.0)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    if mode == "RGBA":
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_THUMBNAIL_QUALITY)
    return file.getvalue()
