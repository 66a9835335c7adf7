"""Scaling down to RGB, in bands of rows.

Bands save memory: many kinds of image take several times their own size to be converted. Transparent pixels become
white, 16 bits become 8, and the colours of an ICC profile become sRGB, as in browsers.
"""

import io
from collections.abc import Iterator
from typing import Final

from PIL import Image

__all__ = ["bands", "scale_to_srgb"]

_BAND_PIXELS: Final = 250_000
_REDUCING_GAP: Final = 2.0
"""Means are taken down to this multiple of the final size, before a slower filter (as in Pillow)."""


def scale_to_srgb(image: Image.Image, size: tuple[int, int], resample: Image.Resampling, profile: bytes) -> Image.Image:
    """Scale an image down to RGB. `profile` is its ICC profile or empty."""
    width, height = image.size
    gap = 1.0 if resample is Image.Resampling.BOX else _REDUCING_GAP
    across, down = (max(1, int(side / most / gap)) for side, most in zip(image.size, size, strict=True))
    if (across, down) == (1, 1) and image.mode in ("L", "RGB", "CMYK") and not image.has_transparency_data:
        reduced = image
    else:
        reduced = _reduce(image, across, down)
    return _to_srgb(reduced.resize(size, resample, (0, 0, width / across, height / down)), profile)


def _reduce(image: Image.Image, across: int, down: int) -> Image.Image:
    """Take the means of so many pixels, in L, RGB or CMYK."""
    smalls = [(top, band.reduce((across, down))) for top, band in bands(image, down)]
    reduced = smalls[0][1]
    if len(smalls) > 1:
        reduced = Image.new(reduced.mode, (reduced.width, -(-image.height // down)))
        for top, small in smalls:
            reduced.paste(small, (0, top // down))
    return reduced


def bands(image: Image.Image, multiple: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Yield each band's top and pixels, in L, RGB or CMYK.

    Its height is a multiple of `multiple`, except the last one's.
    """
    height = max(1, _BAND_PIXELS // image.width // multiple) * multiple
    for top in range(0, image.height, height):
        is_whole = height >= image.height
        band = image if is_whole else image.crop((0, top, image.width, min(top + height, image.height)))
        yield top, _flatten(band)


def _flatten(image: Image.Image) -> Image.Image:
    """Convert to L, RGB or CMYK, with white instead of transparency."""
    if image.mode.startswith("I"):
        # Pillow's conversion would clip 16 bits at 255.
        return image.convert("I").point(lambda value: value / 256).convert("L")
    mode = "L" if image.mode in ("1", "L", "LA") else "CMYK" if image.mode == "CMYK" else "RGB"
    if image.has_transparency_data:
        image = image.convert(mode + "A")
        ground = Image.new(mode, image.size, "white")
        ground.paste(image.convert(mode), mask=image.getchannel("A"))
        return ground
    return image if image.mode == mode else image.convert(mode)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert to sRGB, or to RGB without a profile that can be used."""
    if profile:
        from PIL import ImageCms

        if image.mode == "L" and profile[16:20] == b"RGB ":
            image = image.convert("RGB")
        try:
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
        except ImageCms.PyCMSError:
            pass
        else:
            assert converted is not None
            return converted
    return image.convert("RGB")
