"""Decoding of images: inspect and measure them, and make thumbnails."""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from PIL import Image, _imaging
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from dog.errors import BadImage
from dog.images import jpeg_decoding
from dog.images.file_structure import KINDS, damage_error, walk_structure

__all__ = ["THUMBNAIL_BOX", "ImageInfo", "grey_histogram", "inspect", "inspect_kept", "measure", "scale_down"]

THUMBNAIL_BOX: Final = (320, 320)
_THUMBNAIL_QUALITY = 80

_DECODERS: Final[dict[str, type[ImageFile]]] = {
    "image/jpeg": JpegImageFile,
    "image/png": PngImageFile,
    "image/webp": WebPImageFile,
}

# With Pillow's usual blocks of 16 MiB, most freed memory stays with the process: 460 of 510 MB after a PNG of 100
# million pixels. The C library returns blocks of this size to the system.
_imaging.set_block_size(64 * 1024 * 1024)

# Pillow warns of EXIF that it can't read, which does not matter here.
warnings.filterwarnings("ignore", module=r"PIL\.")

# The EXIF orientation, and the transposition to an upright image (CIPA DC-008, "Orientation").
_ORIENTATION = 0x0112
_TRANSPOSE_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)


_MIN_LARGE_PIXELS: Final = 25_000_000
"""Pixels. A larger image takes up to 8 bytes of memory per pixel, so only one is decoded at a time."""
_large_decode_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Type, size and thumbnail of an image, or of an animation's first frame.

    `width` and `height` are in pixels, for the upright image. `thumbnail` is a JPEG, empty if none was made.
    """

    content_type: str
    width: int
    height: int
    thumbnail: bytes


def inspect(data: bytes) -> ImageInfo:
    """Inspect all of a new image, and make its thumbnail. Raises BadImage."""
    jpeg_decoding.load_simplejpeg()
    return _inspect(data, decode=True, is_new=True)


def inspect_kept(data: bytes) -> ImageInfo:
    """Inspect an image of the album, and make its thumbnail. Raises BadImage.

    Damage that Pillow can decode does not count: the photo was kept before.
    """
    return _inspect(data, decode=True)


def measure(data: bytes) -> ImageInfo:
    """Measure an image that was inspected before; check if it is complete."""
    return _inspect(data, decode=False)


def grey_histogram(data: bytes) -> list[int]:
    """Count pixels by grey level, a JPEG's at 1/8 size. Raises BadImage."""
    content_type, size = walk_structure(data)
    with _decoder(data, content_type, size) as image:
        image.draft("L", (max(1, size[0] // 8), max(1, size[1] // 8)))
        return _to_eight_bits(image).convert("L").histogram()


def scale_down(data: bytes, max_width: int, quality: int) -> bytes:
    """Scale an image down to an upright JPEG, `max_width` pixels at most.

    Neither side is longer. A JPEG that fits is unchanged. Raises BadImage if the image is incomplete.
    """
    content_type, size = walk_structure(data)
    if max(size) <= max_width and content_type == "image/jpeg":
        return data
    scale = -(-max(size) // max_width)
    with _decoder(data, content_type, size) as image:
        small = (max(1, size[0] // scale), max(1, size[1] // scale))
        image.draft("RGB", small)
        shown = _to_eight_bits(image).resize(small, Image.Resampling.BOX, reducing_gap=2.0).convert("RGB")
        return _encode_upright(shown, _orientation(image), quality)


def _inspect(data: bytes, *, decode: bool, is_new: bool = False) -> ImageInfo:
    content_type, size = walk_structure(data)
    with _decoder(data, content_type, size) as image:
        pixels: Image.Image | None = None
        if is_new and content_type == "image/jpeg":
            pixels = jpeg_decoding.decode_jpeg(data, _thumbnail_size(size), image.mode)
        if decode and pixels is None:
            image.draft(None, _thumbnail_size(size))
            image.load()
            pixels = image
        orientation = _orientation(image)
        thumbnail = b"" if pixels is None else _shrink(pixels, orientation)
    width, height = size
    if orientation in _SIDEWAYS:
        width, height = height, width
    return ImageInfo(content_type, width, height, thumbnail)


@contextlib.contextmanager
def _decoder(data: bytes, content_type: str, size: tuple[int, int]) -> Iterator[ImageFile]:
    """Open an image with Pillow. All errors inside the block become BadImage."""
    is_large = size[0] * size[1] > _MIN_LARGE_PIXELS
    try:
        with (
            _large_decode_lock if is_large else contextlib.nullcontext(),
            _DECODERS[content_type](io.BytesIO(data)) as image,
        ):
            if image.size != size:
                raise ValueError(f"its headers have two sizes, {size} and {image.size}")
            yield image
    except BadImage:
        raise
    except MemoryError as error:
        raise BadImage(
            f"The image has {size[0]} x {size[1]} pixels, more than this machine's memory can hold."
            " Set the camera to a smaller size."
        ) from error
    except Exception as error:
        # Pillow has no base class for errors: its parsers raise any of them.
        raise damage_error(KINDS[content_type], f"{type(error).__name__}: {error}") from error


def _thumbnail_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size of that shape inside the thumbnail's box."""
    scale = min(1.0, *(most / side for most, side in zip(THUMBNAIL_BOX, size, strict=True)))
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) if it is missing or unreadable."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return orientation if orientation in _TRANSPOSE_UPRIGHT else 1


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16 bits of grey to 8. Pillow would clip them at 255."""
    return image.convert("I").point(lambda value: value / 256).convert("L") if image.mode.startswith("I") else image


def _shrink(image: Image.Image, orientation: int) -> bytes:
    """Make the thumbnail, an upright JPEG on white that is not enlarged."""
    image = _to_eight_bits(image)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    image.thumbnail(THUMBNAIL_BOX, reducing_gap=2.0)
    if mode == "RGBA":
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    return _encode_upright(image, orientation, _THUMBNAIL_QUALITY)


def _encode_upright(image: Image.Image, orientation: int, quality: int) -> bytes:
    """Turn an image upright, and encode it as a JPEG without metadata."""
    if orientation in _TRANSPOSE_UPRIGHT:
        image = image.transpose(_TRANSPOSE_UPRIGHT[orientation])
    image.info.clear()  # else a comment would be copied
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()
