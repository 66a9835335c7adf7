"""Pixel formats: raw frames are encoded as the original image.

ffmpeg's scaler makes the raw frames.
"""

import io

import av
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image, ImageChops, ImageStat

from dog.cameras.pixel_formats import FORMATS, MAX_PREVIEW_WIDTH, RawLayout, encode, encode_preview, shrink_to_preview
from dog.errors import BadImage
from tests.support.pictures import draw
from tests.support.pictures import encode as save

WIDTH, HEIGHT = 320, 240
FFMPEG = {"YUYV": "yuyv422", "NV12": "nv12", "YU12": "yuv420p", "RGB3": "rgb24", "BGR3": "bgr24", "GREY": "gray"}
BYTES = {"YUYV": 2, "NV12": 1, "YU12": 1, "RGB3": 3, "BGR3": 3, "GREY": 1}
"""Bytes per pixel of the first plane."""


def make_raw(
    picture: Image.Image, fourcc: str, *, limited: bool = True, bt709: bool = False, padding: int = 0
) -> tuple[bytes, RawLayout]:
    """Return a raw frame, with `padding` extra bytes per line."""
    frame = av.VideoFrame.from_image(picture).reformat(  # type: ignore[no-untyped-call]
        format=FFMPEG[fourcc],
        dst_colorspace=Colorspace.ITU709 if bt709 else Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG if limited else ColorRange.JPEG,
    )
    line = picture.width * BYTES[fourcc]
    raw = b""
    for number, plane in enumerate(frame.planes):
        part = 2 if number and fourcc == "YU12" else 1  # of the first plane's line
        raw += b"".join(
            bytes(plane)[start : start + line // part] + b"\xaa" * (padding // part)
            for start in range(0, plane.height * plane.line_size, plane.line_size)
        )
    return raw, RawLayout(fourcc, picture.width, picture.height, line + padding, limited, bt709)


def decode(picture: bytes, mode: str = "RGB") -> Image.Image:
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "JPEG"
        return image.convert(mode)


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    return max(ImageStat.Stat(ImageChops.difference(one, other)).mean)


@pytest.fixture(scope="module")
def shown() -> Image.Image:
    """Return the original image: all colours, with black and white corners."""
    picture = draw(WIDTH, HEIGHT, seed=3)
    picture.paste("black", (0, 0, 64, 64))
    picture.paste("white", (256, 176, 320, 240))
    return picture


@pytest.mark.parametrize("bt709", [False, True], ids=["BT.601", "BT.709"])
@pytest.mark.parametrize("limited", [True, False], ids=["limited", "full"])
@pytest.mark.parametrize("fourcc", ["YUYV", "NV12", "YU12"])
def test_colours_are_preserved_for_each_matrix_and_range(
    shown: Image.Image, fourcc: str, limited: bool, bt709: bool
) -> None:
    raw, layout = make_raw(shown, fourcc, limited=limited, bt709=bt709)
    picture = decode(encode(raw, layout))
    assert mean_difference(picture, shown) < 3  # measured at 2.2 at most; with a wrong range or matrix at 6 and more
    assert_close(picture.getpixel((32, 32)), (0, 0, 0))
    assert_close(picture.getpixel((288, 208)), (255, 255, 255))


def assert_close(seen: object, expected: tuple[int, int, int]) -> None:
    assert isinstance(seen, tuple)
    assert max(abs(a - b) for a, b in zip(seen, expected, strict=True)) <= 3, (seen, expected)


@pytest.mark.parametrize("fourcc", ["RGB3", "BGR3"])
def test_rgb_keeps_its_order(shown: Image.Image, fourcc: str) -> None:
    raw, layout = make_raw(shown, fourcc, limited=False)
    assert mean_difference(decode(encode(raw, layout)), shown) < 2


def test_grey_stays_grey(shown: Image.Image) -> None:
    raw, layout = make_raw(shown, "GREY", limited=False)
    picture = encode(raw, layout)
    with Image.open(io.BytesIO(picture)) as image:
        assert image.mode == "L"
    assert mean_difference(decode(picture, "L"), shown.convert("L")) < 1


@pytest.mark.parametrize("fourcc", ["RGB3", "BGR3", "GREY"])
def test_a_limited_range_is_stretched_to_black_and_white(fourcc: str) -> None:
    raw = bytes(16 if place < 8 else 235 for place in range(16) for _ in range(16 * BYTES[fourcc]))
    picture = decode(encode(raw, RawLayout(fourcc, 16, 16, 16 * BYTES[fourcc], limited=True)))
    assert picture.getpixel((8, 2)) == (0, 0, 0)
    assert picture.getpixel((8, 13)) == (255, 255, 255)


@pytest.mark.parametrize("fourcc", FORMATS)
def test_bytes_between_lines_are_ignored(shown: Image.Image, fourcc: str) -> None:
    raw, layout = make_raw(shown, fourcc)
    padded, padded_layout = make_raw(shown, fourcc, padding=64)
    assert encode(padded, padded_layout) == encode(raw, layout)
    assert encode(memoryview(padded), padded_layout) == encode(raw, layout)


@pytest.mark.parametrize("fourcc", FORMATS)
def test_a_frame_without_its_last_byte_raises_bad_image(shown: Image.Image, fourcc: str) -> None:
    raw, layout = make_raw(shown, fourcc)
    assert len(raw) == layout.size
    with pytest.raises(BadImage) as refusal:
        encode(raw[:-1], layout)
    assert refusal.value.detail == f"{len(raw) - 1} of {len(raw)} bytes"


@pytest.mark.parametrize("fourcc", FORMATS)
def test_bytes_after_the_frame_are_ignored(shown: Image.Image, fourcc: str) -> None:
    raw, layout = make_raw(shown, fourcc)
    assert encode(raw + bytes(4096), layout) == encode(raw, layout)


# ---- for the preview


def test_a_small_jpeg_is_unchanged_in_the_preview() -> None:
    picture = save(draw(MAX_PREVIEW_WIDTH, 720))
    assert shrink_to_preview(picture) is picture


@pytest.mark.parametrize(("width", "expected"), [(962, 481), (1280, 640), (1920, 960), (4000, 800)])
def test_a_large_jpeg_is_scaled_down_by_an_integer_factor(width: int, expected: int) -> None:
    shown = draw(width, width // 2, seed=5)
    small = decode(shrink_to_preview(save(shown, quality=95)))
    assert small.size == (expected, expected // 2)
    assert mean_difference(small, shown.resize(small.size, Image.Resampling.BOX)) < 3


@pytest.mark.parametrize("fourcc", FORMATS)
def test_a_large_raw_frame_is_scaled_down_with_the_same_colours(fourcc: str) -> None:
    shown = draw(1920, 1080, seed=7)
    raw, layout = make_raw(shown, fourcc, padding=64)
    small, picture = decode(encode_preview(raw, layout)), decode(encode(raw, layout))
    assert small.size == (960, 540)
    assert mean_difference(small, picture.resize(small.size, Image.Resampling.BOX)) < 3


def test_other_images_become_jpegs() -> None:
    shown = draw(640, 480, seed=6)
    assert mean_difference(decode(shrink_to_preview(save(shown, "PNG"))), shown) < 3


@pytest.mark.parametrize("broken", [b"", b"no picture", save(draw(1920, 1080))[:20_000]], ids=["empty", "text", "half"])
def test_an_unreadable_image_raises_bad_image(broken: bytes) -> None:
    with pytest.raises(BadImage):
        shrink_to_preview(broken)


def test_a_large_image_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    draw(1920, 1080).save(file, "JPEG", exif=exif)
    assert decode(shrink_to_preview(file.getvalue())).size == (540, 960)


def test_both_sides_of_the_preview_are_limited() -> None:
    small = decode(shrink_to_preview(save(draw(90, 7000), "PNG")))
    assert max(small.size) <= MAX_PREVIEW_WIDTH
