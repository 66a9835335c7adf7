"""Memory that a decode takes. It is known before the decode starts.

The figures are the peaks of libjpeg-turbo 3, libwebp 1.6 and Pillow 13: tests/images/test_decode_memory.py measures
them. A JPEG with one scan is decoded at reduced size, a few rows at a time, so that its size hardly matters. With
several scans, such as a progressive one, libjpeg keeps all coefficients.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Final

from dog.errors import UnsupportedImage
from dog.images.file_structure import KINDS, SOF, SOS, Structure

__all__ = ["LARGE_DECODE_BYTES", "MAX_DECODE_BYTES", "TooMuchMemory", "decode_bytes", "reserve_decode_memory"]

MAX_DECODE_BYTES: Final = 400_000_000
LARGE_DECODE_BYTES: Final = 100_000_000
"""A decode that takes more runs alone: a lock excludes others of that size."""
_WORKING_BYTES: Final = 32_000_000
"""Buffers, a JPEG at reduced size, and the bands in which an image is scaled down (scaling.py)."""
_COLUMN_BYTES: Final = 256
"""Row buffers of a JPEG, in bytes for each pixel of its width."""
_BLOCK_BYTES: Final = 128
"""64 coefficients of two bytes."""
_WEBP_PIXEL_BYTES: Final = 16
"""Two canvases and a result of libwebp, and Pillow's image."""
_WEBP_COPIES: Final = 3
"""Copies of a WebP file."""
_PNG_PIXEL_BYTES: Final = {(16, 0): 2, (1, 0): 1, (2, 0): 1, (4, 0): 1, (8, 0): 1}
"""Bytes of a pixel, by bit depth and colour type. A palette's image has 1, all others have 4."""
_PALETTE: Final = 3
_WIDE: Final = 64
"""Width by height from which a band may be the whole image (scaling.py), which is then converted at once."""
_WIDE_PIXEL_BYTES: Final = 16
"""More bytes for each pixel of such an image: up to four copies of it, and the decoder's rows."""
_PROGRESSIVE: Final = frozenset((0xC2, 0xCA))

_large_decode_lock = threading.Lock()


class TooMuchMemory(UnsupportedImage):
    """A decode would take more than MAX_DECODE_BYTES."""


@contextlib.contextmanager
def reserve_decode_memory(data: bytes, structure: Structure) -> Iterator[None]:
    """Reserve the memory of a decode, waiting for another large one to end.

    Raises TooMuchMemory.
    """
    needed = decode_bytes(data, structure)
    if needed > MAX_DECODE_BYTES:
        width, height = structure.size
        raise TooMuchMemory(
            f"The {KINDS[structure.content_type]} has {width} x {height} pixels: decoding it would take"
            f" {needed // 1_000_000} MB of memory, more than {MAX_DECODE_BYTES // 1_000_000}."
            " Set the camera to a smaller size, or to baseline JPEG."
        )
    with _large_decode_lock if needed > LARGE_DECODE_BYTES else contextlib.nullcontext():
        yield


def decode_bytes(data: bytes, structure: Structure) -> int:
    """Return the most bytes that decoding, scaling and measuring take."""
    width, height = structure.size
    if structure.jpeg is not None:
        return _coefficient_bytes(data, structure) + _COLUMN_BYTES * width + _WORKING_BYTES
    if structure.content_type == "image/webp":
        return _WEBP_PIXEL_BYTES * width * height + _WEBP_COPIES * len(data) + _WORKING_BYTES
    depth, colours = data[24], data[25]
    pixel_bytes = 1 if colours == _PALETTE else _PNG_PIXEL_BYTES.get((depth, colours), 4)
    if width > _WIDE * height:
        pixel_bytes += _WIDE_PIXEL_BYTES
    return pixel_bytes * width * height + len(data) + _WORKING_BYTES


def _coefficient_bytes(data: bytes, structure: Structure) -> int:
    """Return the bytes of all coefficients of a JPEG, or 0 if it has one scan."""
    assert structure.jpeg is not None
    segments = structure.jpeg.segments
    frame = next(segment for segment in segments if segment.marker in SOF)
    scan = next((segment for segment in segments if segment.marker == SOS), None)
    factors = [(one >> 4, one & 15) for one in data[frame.begin + 11 : frame.end : 3]]
    if scan is None or not factors or (frame.marker not in _PROGRESSIVE and data[scan.begin + 4] >= len(factors)):
        return 0
    # Each component has whole units (MCUs), of as many blocks as its sampling factors.
    columns = -(-structure.size[0] // (8 * max(1, *(factor[0] for factor in factors))))
    rows = -(-structure.size[1] // (8 * max(1, *(factor[1] for factor in factors))))
    return _BLOCK_BYTES * columns * rows * sum(horizontal * vertical for horizontal, vertical in factors)
