"""Images for tests, drawn with Pillow: small, and different for each seed."""

import io
import random
from typing import Any

from PIL import Image

__all__ = ["draw", "encode", "make_picture"]


def draw(width: int = 64, height: int = 48, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Draw patches of colour with some detail."""
    chance = random.Random(seed)
    patches = Image.frombytes("RGB", (8, 6), chance.randbytes(8 * 6 * 3))
    return patches.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encode(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def make_picture(kind: str = "JPEG", seed: int = 0, *, width: int = 64, height: int = 48) -> bytes:
    return encode(draw(width, height, seed), kind)
