"""Pixel formats, by V4L2's names: encode raw frames and previews as JPEGs."""

import io
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from dog.errors import BadImage
from dog.images import repair, scale_down

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = [
    "FORMATS",
    "MAX_PREVIEW_WIDTH",
    "RawLayout",
    "encode",
    "encode_preview",
    "encode_video_frame",
    "shrink_to_preview",
]

JPEG_QUALITY = 90
"""Quality of encoded JPEGs, in Pillow's scale. Most cameras use the same."""
PREVIEW_QUALITY = 75
MAX_PREVIEW_WIDTH = 960
"""Pixels. A wider frame is halved, or more: the preview sends ten frames a second, also to phones."""

UNSPECIFIED_COLORSPACE = 2
"""ffmpeg's number for an unspecified colour space (AVCOL_SPC_UNSPECIFIED)."""
MIN_BT709_HEIGHT = 720
MAX_PIXEL_ASPECT = 4
"""No camera has longer pixels: such a value is an error."""

FORMATS = ("YUYV", "NV12", "YU12", "RGB3", "BGR3", "GREY")
"""Supported raw formats, as V4L2 names them (four characters, linux/videodev2.h)."""


@dataclass(frozen=True, slots=True)
class RawLayout:
    """Memory layout of a raw frame.

    `stride` is the bytes per line of the first plane. `limited`: black is 16 and white 235, otherwise 0 and 255.
    `bt709`: Y'CbCr by BT.709, otherwise by BT.601.
    """

    fourcc: str
    width: int
    height: int
    stride: int
    limited: bool = True
    bt709: bool = False

    @property
    def size(self) -> int:
        """Bytes of a whole frame."""
        return self.stride * self.height * 3 // 2 if self.fourcc in ("NV12", "YU12") else self.stride * self.height


def encode(raw: bytes | memoryview, layout: RawLayout) -> bytes:
    """Encode a raw frame as a JPEG. Raises BadImage if bytes are missing."""
    return _save(_unpack(raw, layout, 1), JPEG_QUALITY)


def encode_preview(raw: bytes | memoryview, layout: RawLayout) -> bytes:
    """Encode a raw frame as a preview JPEG, or raise BadImage if incomplete."""
    return _save(_unpack(raw, layout, -(-layout.width // MAX_PREVIEW_WIDTH)), PREVIEW_QUALITY)


def shrink_to_preview(image: bytes) -> bytes:
    """Scale an image down to a preview JPEG. Raises BadImage if incomplete."""
    return scale_down(repair(image), MAX_PREVIEW_WIDTH, PREVIEW_QUALITY)


def _save(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _unpack(frame: bytes | memoryview, layout: RawLayout, scale: int) -> Image.Image:
    """Unpack a raw frame to an image, scaled down by an integer factor."""
    if len(frame) < layout.size:
        raise BadImage(
            "The frame is cut off. Check the cable, then press again.", detail=f"{len(frame)} of {layout.size} bytes"
        )
    raw = bytes(frame)
    width, height, stride = layout.width, layout.height, layout.stride
    match layout.fourcc:
        case "RGB3" | "BGR3" as fourcc:
            image = Image.frombytes("RGB", (width, height), raw, "raw", fourcc.removesuffix("3"), stride, 1)
            return _expand_range(image.reduce(scale), layout)
        case "GREY":
            return _expand_range(_plane(raw, width, height, stride).reduce(scale), layout)
        case "YUYV":
            luma = _plane(raw[0::2], width, height, stride // 2)
            blue = _plane(raw[1::4], width // 2, height, stride // 4)
            red = _plane(raw[3::4], width // 2, height, stride // 4)
        case "NV12":
            luma = _plane(raw, width, height, stride)
            chroma = raw[stride * height :]
            blue = _plane(chroma[0::2], width // 2, height // 2, stride // 2)
            red = _plane(chroma[1::2], width // 2, height // 2, stride // 2)
        case "YU12":
            luma = _plane(raw, width, height, stride)
            blue, red = (
                _plane(raw[start:], width // 2, height // 2, stride // 2)
                for start in (stride * height, stride * height * 5 // 4)
            )
        case other:
            raise ValueError(f"unknown format {other}")
    return _merge_planes(luma.reduce(scale), blue, red, layout)


def _plane(data: bytes, width: int, height: int, stride: int) -> Image.Image:
    return Image.frombytes("L", (width, height), data, "raw", "L", stride, 1)


def _merge_planes(luma: Image.Image, blue: Image.Image, red: Image.Image, layout: RawLayout) -> Image.Image:
    """Merge Y', Cb and Cr. JPEG uses BT.601 (T.871); BT.709 becomes R'G'B'."""
    blue, red = (plane.resize(luma.size, Image.Resampling.BILINEAR) for plane in (blue, red))
    if layout.bt709:
        return Image.merge("RGB", (luma, blue, red)).convert("RGB", _bt709_to_rgb(layout.limited))
    if layout.limited:
        blue, red = blue.point(_CHROMA), red.point(_CHROMA)
    return Image.merge("YCbCr", (_expand_range(luma, layout), blue, red))


def _expand_range(image: Image.Image, layout: RawLayout) -> Image.Image:
    """Expand a limited range (16 to 235) to the full one (0 to 255)."""
    return image.point(_LUMA * len(image.getbands())) if layout.limited else image


def _clip(value: float) -> int:
    return max(0, min(255, round(value)))


_LUMA = [_clip((value - 16) * 255 / 219) for value in range(256)]
_CHROMA = [_clip((value - 128) * 255 / 224 + 128) for value in range(256)]


def _bt709_to_rgb(limited: bool) -> tuple[float, ...]:
    """Return Image.convert's matrix from Y'CbCr to R'G'B' (BT.709-6, 3.2-3.4)."""
    red, blue = 0.2126, 0.0722
    green = 1 - red - blue
    y, c, low = (255 / 219, 255 / 224, 16) if limited else (1.0, 1.0, 0)
    to_red, to_blue = 2 * (1 - red) * c, 2 * (1 - blue) * c
    green_blue, green_red = -to_blue * blue / green, -to_red * red / green
    return (
        *(y, 0, to_red, -y * low - 128 * to_red),
        *(y, green_blue, green_red, -y * low - 128 * (green_blue + green_red)),
        *(y, to_blue, 0, -y * low - 128 * to_blue),
    )


def encode_video_frame(
    frame: "VideoFrame",
    *,
    max_width: int = sys.maxsize,
    quality: int = JPEG_QUALITY,
    pixel_aspect: float = 1.0,
) -> bytes:
    """Encode a frame as a JPEG with square pixels, at most `max_width` wide.

    `pixel_aspect` is the width of a pixel divided by its height; 0 if unknown. An unspecified colour space is BT.709
    from 720 lines on, otherwise BT.601.
    """
    from av.video.reformatter import Colorspace

    colours = None
    if frame.colorspace == UNSPECIFIED_COLORSPACE:
        colours = Colorspace.ITU709 if frame.height >= MIN_BT709_HEIGHT else Colorspace.ITU601
    width, height = frame.width, frame.height
    if 1 / MAX_PIXEL_ASPECT <= pixel_aspect <= MAX_PIXEL_ASPECT:
        # the shorter side of a pixel is stretched, so that no detail is lost
        width, height = round(width * max(1.0, pixel_aspect)), round(height / min(1.0, pixel_aspect))
    scale = -(-width // max_width)
    size = {"width": width // scale, "height": height // scale}
    return _save(frame.to_image(**size, src_colorspace=colours), quality)  # type: ignore[no-untyped-call]
