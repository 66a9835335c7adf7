"""Decoding of images: inspect and measure them, and scale them down."""

import contextlib
import dataclasses
import io
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
from dog.images.decode_memory import LARGE_DECODE_BYTES, TooMuchMemory, decode_bytes, reserve_decode_memory
from dog.images.file_structure import KINDS, Structure, damage_error, walk_structure
from dog.images.metadata import MAX_PROFILE_BYTES, UPRIGHT, find_png_profile, read_orientation
from dog.images.scaling import bands, scale_to_srgb

__all__ = [
    "THUMBNAIL_BOX",
    "ImageInfo",
    "average_color",
    "grey_histogram",
    "inspect",
    "inspect_kept",
    "measure",
    "scale_down",
    "scale_to_width",
]

THUMBNAIL_BOX: Final = (320, 320)
_THUMBNAIL_QUALITY = 80
_SCALED_QUALITY = 80
_SCALED_PIXEL_BYTES = 4

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

_PNG_IMAGE_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))

# The transpositions to an upright image by its EXIF orientation (CIPA DC-008, "Orientation").
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


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Type, size and thumbnail of an image, or of an animation's first frame.

    `width` and `height` are in pixels, for the upright image. `thumbnail` is a JPEG, empty if none was made. `color` is
    the thumbnail's average.
    """

    content_type: str
    width: int
    height: int
    thumbnail: bytes
    color: str = ""


def inspect(data: bytes) -> ImageInfo:
    """Inspect all of a new image, and make its thumbnail.

    Raises BadImage if it is damaged, UnsupportedImage if it can't be kept.
    """
    jpeg_decoding.load_simplejpeg()
    return _inspect(data, decode=True, is_new=True)


def inspect_kept(data: bytes) -> ImageInfo:
    """Inspect an image of the album, and make its thumbnail. Raises BadImage.

    Damage that Pillow can decode does not count: the photo was kept before. If it would take too much memory, its
    thumbnail is plain grey.
    """
    try:
        return _inspect(data, decode=True)
    except TooMuchMemory:
        info = measure(data)
        plain = Image.new("RGB", _thumbnail_size((info.width, info.height)), "grey")
        thumbnail = _encode_upright(plain, UPRIGHT, _THUMBNAIL_QUALITY)
        return dataclasses.replace(info, thumbnail=thumbnail, color=average_color(thumbnail))


def measure(data: bytes) -> ImageInfo:
    """Measure an image that was inspected before; check if it is complete."""
    return _inspect(data, decode=False)


def grey_histogram(data: bytes) -> list[int]:
    """Count pixels by grey level, a JPEG's at 1/8 size. Raises BadImage."""
    structure = walk_structure(data)
    with _decoder(data, structure) as image:
        image.draft("L", (max(1, structure.size[0] // 8), max(1, structure.size[1] // 8)))
        counts = (band.convert("L").histogram() for _, band in bands(image))
        return [sum(levels) for levels in zip(*counts, strict=True)]


def scale_down(data: bytes, max_width: int, quality: int) -> bytes:
    """Scale an image down to an upright JPEG, `max_width` pixels at most.

    Neither side is longer. A JPEG that fits is unchanged. Raises BadImage if the image is incomplete.
    """
    structure = walk_structure(data)
    longest = max(structure.size)
    if longest <= max_width and structure.content_type == "image/jpeg":
        return data
    scale = -(-longest // max_width)
    with _decoder(data, structure) as image:
        size = (max(1, structure.size[0] // scale), max(1, structure.size[1] // scale))
        image.draft("RGB", size)
        shown = scale_to_srgb(image, size, Image.Resampling.BOX, _find_profile(image, data, structure))
        return _encode_upright(shown, read_orientation(data, structure), quality)


def scale_to_width(data: bytes, width: int) -> bytes:
    """Scale an image down to an upright JPEG of this width in sRGB.

    It has no metadata. Raises BadImage, and TooMuchMemory for an image that could delay the decoding of new ones.
    """
    structure = walk_structure(data)
    orientation = read_orientation(data, structure)
    across, down = structure.size
    if orientation in _SIDEWAYS:
        size = max(1, round(width * across / down)), width
    else:
        size = width, max(1, round(width * down / across))
    with _decoder(data, structure, decode=False) as image:
        image.draft(None, size)
        needed = decode_bytes(data, structure)
        if structure.jpeg is not None:
            needed += _SCALED_PIXEL_BYTES * image.width * image.height
        if needed > LARGE_DECODE_BYTES:
            raise TooMuchMemory(f"Scaling the image would take {needed // 1_000_000} MB of memory.")
        scaled = scale_to_srgb(image, size, Image.Resampling.BICUBIC, _find_profile(image, data, structure))
        return _encode_upright(scaled, orientation, _SCALED_QUALITY, optimize=True)


def average_color(thumbnail: bytes) -> str:
    """Return the average colour of a thumbnail as `#rrggbb`, "" if damaged."""
    try:
        with JpegImageFile(io.BytesIO(thumbnail)) as image:
            image.draft("RGB", (THUMBNAIL_BOX[0] // 8, THUMBNAIL_BOX[1] // 8))
            return "#" + image.convert("RGB").resize((1, 1), Image.Resampling.BOX).tobytes().hex()
    except Exception:  # Pillow has no base class for errors
        return ""


def _inspect(data: bytes, *, decode: bool, is_new: bool = False) -> ImageInfo:
    structure = walk_structure(data)
    orientation = read_orientation(data, structure)
    with _decoder(data, structure, decode=decode) as image:
        thumbnail = _make_thumbnail(image, data, structure, orientation, is_new=is_new) if decode else b""
    width, height = structure.size
    if orientation in _SIDEWAYS:
        width, height = height, width
    return ImageInfo(structure.content_type, width, height, thumbnail, average_color(thumbnail) if decode else "")


def _make_thumbnail(image: ImageFile, data: bytes, structure: Structure, orientation: int, *, is_new: bool) -> bytes:
    """Decode all of an image, a new JPEG strictly, and make its thumbnail."""
    size = _thumbnail_size(structure.size)
    profile = _find_profile(image, data, structure)
    pixels: Image.Image | None = None
    if is_new and structure.jpeg is not None:
        pixels = jpeg_decoding.decode_jpeg(data, structure.jpeg, size, image.mode)
    if pixels is None:
        image.draft(None, size)
        pixels = image
    thumbnail = scale_to_srgb(pixels, size, Image.Resampling.BICUBIC, profile)
    return _encode_upright(thumbnail, orientation, _THUMBNAIL_QUALITY)


@contextlib.contextmanager
def _decoder(data: bytes, structure: Structure, *, decode: bool = True) -> Iterator[ImageFile]:
    """Open an image with Pillow, to decode it or to read its headers.

    All errors inside the block become BadImage.
    """
    content_type, size = structure.content_type, structure.size
    try:
        with (
            reserve_decode_memory(data, structure) if decode else contextlib.nullcontext(),
            _DECODERS[content_type](io.BytesIO(_without_notes(data, structure))) as image,
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


def _without_notes(data: bytes, structure: Structure) -> bytes:
    """Return a PNG with only the chunks of its first image.

    Pillow refuses compressed texts of more than 1 MiB, which browsers ignore.
    """
    if structure.content_type != "image/png":
        return data
    view = memoryview(data)
    kept = (view[begin:end] for name, begin, end in structure.chunks if name in _PNG_IMAGE_CHUNKS)
    return b"".join((view[: structure.chunks[0][1]], *kept))


def _find_profile(image: ImageFile, data: bytes, structure: Structure) -> bytes:
    """Return the ICC profile, or nothing if it is missing or too large."""
    if structure.content_type == "image/png":
        return find_png_profile(data, structure)
    profile: bytes = image.info.get("icc_profile") or b""
    return profile if len(profile) <= MAX_PROFILE_BYTES else b""


def _thumbnail_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size of that shape inside the thumbnail's box."""
    scale = min(1.0, *(most / side for most, side in zip(THUMBNAIL_BOX, size, strict=True)))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _encode_upright(image: Image.Image, orientation: int, quality: int, *, optimize: bool = False) -> bytes:
    """Turn an image upright, and encode it as a JPEG without metadata."""
    if orientation in _TRANSPOSE_UPRIGHT:
        image = image.transpose(_TRANSPOSE_UPRIGHT[orientation])
    image.info.clear()  # else a comment would be copied
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=optimize)
    return file.getvalue()
