"""Images: files of every type, complete, cut, changed and too large."""

import gzip
import io
import random
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from dog.errors import BadImage
from dog.images import (
    MAX_IMAGE_PIXELS,
    average_color,
    grey_histogram,
    inspect,
    inspect_kept,
    scale_to_width,
    scaling,
)
from dog.images import file_structure as walking
from dog.images.decode_memory import TooMuchMemory
from tests.support.pictures import draw, encode, make_picture


def make_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def with_preview(image: bytes, preview: bytes) -> bytes:
    """Return a JPEG with a preview in its second segment, like a camera's."""
    payload = b"preview\0" + preview
    return image[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + image[2:]


def make_png(*chunks: tuple[bytes, bytes]) -> bytes:
    written = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def make_header(width: int, height: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


FRAMES = [draw(24, 18, seed) for seed in range(3)]
WHOLE = {
    "baseline JPEG": encode(draw(40, 30)),
    "grey JPEG": encode(draw(40, 30, mode="L")),
    "CMYK JPEG": encode(draw(40, 30, mode="CMYK")),
    "progressive JPEG": encode(draw(40, 30), progressive=True),
    "JPEG with restart marks": encode(draw(40, 30), restart_marker_blocks=1),
    "JPEG with a preview inside": with_preview(encode(draw(40, 30)), encode(draw(8, 6))),
    "PNG": encode(draw(24, 18), "PNG"),
    "PNG with a palette": encode(draw(24, 18).convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
    "PNG with alpha": encode(draw(24, 18, mode="RGBA"), "PNG"),
    "PNG of 16 bits": encode(Image.frombytes("I;16", (24, 18), bytes(range(216)) * 4), "PNG"),
    "PNG of two colours": encode(draw(24, 18, mode="1"), "PNG"),
    "animated PNG": encode(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]),
    "WebP": encode(draw(40, 30), "WEBP"),
    "lossless WebP": encode(draw(40, 30), "WEBP", lossless=True),
    "WebP with alpha": encode(draw(40, 30, mode="RGBA"), "WEBP"),
    "animated WebP": encode(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]),
}
TYPES = {name: f"image/{kind.lower()}" for name in WHOLE for kind in ("JPEG", "PNG", "WebP") if kind in name}


def refusal(data: bytes) -> BadImage:
    with pytest.raises(BadImage) as caught:
        inspect(data)
    return caught.value


@pytest.mark.parametrize("name", WHOLE)
def test_a_complete_image_is_recognised(name: str) -> None:
    info = inspect(WHOLE[name])
    with Image.open(io.BytesIO(WHOLE[name])) as image:
        assert (info.width, info.height) == image.size
    assert info.content_type == TYPES[name]
    with Image.open(io.BytesIO(info.thumbnail)) as thumbnail:
        thumbnail.load()
        assert (thumbnail.format, thumbnail.mode) == ("JPEG", "RGB")


@pytest.mark.parametrize("name", WHOLE)
def test_the_beginning_of_an_image_is_refused(name: str) -> None:
    data = WHOLE[name]
    for size in range(len(data)):
        with pytest.raises(BadImage):
            inspect(data[:size])


@pytest.mark.parametrize("name", WHOLE)
def test_a_cut_off_image_is_reported_as_cut_off(name: str) -> None:
    data = WHOLE[name]
    for size in 4, len(data) // 2, len(data) - 2, len(data) - 1:
        assert "cut off" in refusal(data[:size]).message


@pytest.mark.parametrize("name", WHOLE)
def test_bytes_after_the_end_are_ignored(name: str) -> None:
    for padding in b"\0" * 5000, b"\xff" * 100, b"\n", WHOLE["PNG"]:
        info = inspect(WHOLE[name] + padding)
        assert info == inspect(WHOLE[name])


def test_zeros_instead_of_the_end_are_refused() -> None:
    """A power cut may leave such a file: the right size, but only zeros."""
    for name, data in WHOLE.items():
        if "WebP" not in name:
            half = len(data) // 2
            assert refusal(data[:half] + bytes(len(data) - half)).code == "bad_image"


def test_the_end_of_a_preview_is_not_the_end_of_its_image() -> None:
    preview = encode(draw(8, 6))
    data = with_preview(encode(draw(40, 30)), preview)
    end_of_preview = data.index(preview) + len(preview)
    assert "cut off" in refusal(data[:end_of_preview]).message


def test_a_jpeg_that_begins_inside_another_one_is_refused() -> None:
    data = WHOLE["baseline JPEG"]
    assert "damaged" in refusal(data[: len(data) - 60] + data).message


def test_a_wrong_checksum_in_a_png_is_damage() -> None:
    data = bytearray(WHOLE["PNG"])
    place = data.index(b"IDAT") + 4
    data[place + 20] ^= 1
    refused = refusal(bytes(data))
    assert "damaged" in refused.message
    assert "checksum" in refused.detail


def test_a_png_without_pixels_is_damaged_despite_valid_chunks() -> None:
    for chunks in (
        [make_header(10, 10), (b"IEND", b"")],
        [make_header(10, 10), (b"IDAT", zlib.compress(b"\0" * 50)), (b"IEND", b"")],
        [make_header(0, 10), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")],
        [(b"IDAT", b""), (b"IEND", b"")],
        [(b"IHDR", b"short"), (b"IEND", b"")],
    ):
        assert "damaged" in refusal(make_png(*chunks)).message


def test_an_image_with_two_sizes_is_damaged() -> None:
    two = make_png(make_header(10, 10), make_header(20_000, 20_000), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    refused = refusal(two)
    assert "damaged" in refused.message
    assert "it has a second header at byte" in refused.detail


def test_a_wide_png_counts_with_the_copies_of_its_only_band() -> None:
    rows = zlib.compress(bytes(2 * (1 + 4 * 11_000_000)), 1)
    header = (b"IHDR", struct.pack(">IIBBBBB", 11_000_000, 2, 8, 6, 0, 0, 0))
    assert "MB of memory, more than 400" in refusal(make_png(header, (b"IDAT", rows), (b"IEND", b""))).message


def test_an_empty_webp_is_cut_off() -> None:
    assert "cut off" in refusal(b"RIFF\x0c\0\0\0WEBPVP8 \0\0\0\0").message
    assert "damaged" in refusal(b"RIFF\x16\0\0\0WEBPNONE" + bytes(14)).message


def test_a_jpeg_without_a_frame_header_is_damaged() -> None:
    assert "damaged" in refusal(b"\xff\xd8\xff\xd9").message
    assert "damaged" in refusal(b"\xff\xd8\xff\xe0\x00\x00\xff\xd9").message
    assert "damaged" in refusal(b"\xff\xd8\xff\xc0\x00\x03\x08\xff\xd9").message
    flat = bytearray(WHOLE["baseline JPEG"])
    frame = flat.index(b"\xff\xc0")
    flat[frame + 5 : frame + 7] = b"\0\0"
    assert "damaged" in refusal(bytes(flat)).message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"no camera found\n", "text, not an image"),
        (b"<!DOCTYPE html><html><body>401 Unauthorized</body></html>", "web page"),
        (b"\n <!-- login --> <HTML><head></head>", "web page"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG"),
        (encode(draw(), "GIF"), "a GIF"),
        (encode(draw(), "BMP"), "a BMP"),
        (encode(draw(), "TIFF"), "a TIFF"),
        (encode(draw(), "PPM"), "a PNM"),
        (encode(draw(), "PDF"), "a PDF"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1", "an AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "a HEIC"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(300), "a raw image of Canon (CR3)"),
        (b"FUJIFILMCCD-RAW 0201FF389501X-T3" + bytes(300), "a raw image of Fujifilm (RAF)"),
        (b"IIU\0\x18\0\0\0" + bytes(300), "a raw image of Panasonic (RW2)"),
        (b"IIRO\x08\0\0\0" + bytes(300), "a raw image of Olympus (ORF)"),
        (b"IIRS\x08\0\0\0" + bytes(300), "a raw image of Olympus (ORF)"),
        (b"MMOR\0\0\0\x08" + bytes(300), "a raw image of Olympus (ORF)"),
        (b"FOVb\0\0\2\0" + bytes(300), "a raw image of Sigma (X3F)"),
        (b"\0MRM\0\1\2\3" + bytes(300), "a raw image of Minolta (MRW)"),
        (b"8BPS\0\1" + bytes(300), "a Photoshop document (PSD)"),
        (b"8BPS\0\2" + bytes(300), "a Photoshop document (PSD)"),
        (encode(draw(32, 32), "ICO"), "an icon"),
        (gzip.compress(encode(draw())), "compressed by gzip"),
        (b"\x1aE\xdf\xa3\x93B\x82\x88matroska", "a video"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isom", "a video"),
        (b"RIFF\x10\0\0\0AVI LIST", "a video"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000"),
        (b"\xff\x0a\xfa\x1f", "a JPEG XL"),
        (bytes(range(128, 256)), "not an image"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "not an image"),
    ],
)
def test_an_unsupported_type_is_refused_by_its_name(data: bytes, words: str) -> None:
    assert words in refusal(data).message


def test_a_camera_s_text_is_in_the_detail_and_not_in_the_message() -> None:
    refused = refusal(b"error: /home/someone/.secret: permission denied\n")
    assert "secret" not in refused.message
    assert "secret" in refused.detail


def test_a_too_large_image_is_refused_before_decoding() -> None:
    """The pixels are random: decoding would raise `damaged`."""
    bomb = make_png(make_header(20_000, 20_000), (b"IDAT", b"rubbish"), (b"IEND", b""))
    assert "20000 x 20000 pixels, more than 250 million" in refusal(bomb).message
    lossless = bytearray(WHOLE["lossless WebP"])
    lossless[21:25] = struct.pack("<I", 0x3FFF | 0x3FFF << 14)
    assert "16384 x 16384 pixels" in refusal(bytes(lossless)).message
    jpeg = bytearray(WHOLE["baseline JPEG"])
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    assert "65000 x 65000 pixels" in refusal(bytes(jpeg)).message


def test_an_image_up_to_the_limit_is_accepted_without_a_warning() -> None:
    """Pillow warns from 89 million pixels on, and warnings are errors here."""
    width, height = 9_500, 10_000
    assert 89_478_485 < width * height < MAX_IMAGE_PIXELS
    info = inspect(encode(Image.new("L", (width, height), 99)))
    assert (info.width, info.height) == (width, height)


@pytest.mark.parametrize(
    ("size", "shrunk"),
    [((1280, 720), (320, 180)), ((300, 900), (107, 320)), ((100, 50), (100, 50)), ((3000, 2), (320, 1))],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_thumbnail_fits_its_box_keeps_its_shape_and_is_not_enlarged(
    kind: str, size: tuple[int, int], shrunk: tuple[int, int]
) -> None:
    with Image.open(io.BytesIO(inspect(make_picture(kind, width=size[0], height=size[1])).thumbnail)) as thumbnail:
        assert thumbnail.size == shrunk


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_turned_image_is_measured_and_shown_upright(kind: str, orientation: int) -> None:
    """Upright, it is red at the top left, green at the top right, blue below."""
    upright = Image.new("RGB", (800, 400), "blue")
    ImageDraw.Draw(upright).rectangle((0, 0, 399, 199), "red")
    ImageDraw.Draw(upright).rectangle((400, 0, 799, 199), "lime")
    lying = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    info = inspect(encode(lying, kind, exif=make_exif(orientation)))
    assert (info.width, info.height) == (800, 400)
    with Image.open(io.BytesIO(info.thumbnail)) as thumbnail:
        assert thumbnail.size == (320, 160)
        colours = [thumbnail.convert("RGB").getpixel(place) for place in ((80, 40), (240, 40), (160, 120))]
    for seen, meant in zip(colours, ((255, 0, 0), (0, 255, 0), (0, 0, 255)), strict=True):
        assert isinstance(seen, tuple)
        assert all(abs(a - b) < 30 for a, b in zip(seen, meant, strict=True))


@pytest.mark.parametrize("rubbish", [b"II*\0\x08\0\0\0\xff\xffrubbish", b"rubbish", b""])
def test_an_image_with_unreadable_exif_is_accepted(rubbish: bytes) -> None:
    for kind in "JPEG", "PNG", "WEBP":
        info = inspect(encode(draw(40, 30), kind, exif=b"Exif\0\0" + rubbish))
        assert (info.width, info.height) == (40, 30)


def test_transparent_pixels_are_white_in_the_thumbnail() -> None:
    clear = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    palette = Image.new("P", (100, 100), 0)
    palette.putpalette([255, 0, 0])
    for data in encode(clear, "PNG"), encode(clear, "WEBP"), encode(palette, "PNG", transparency=0):
        with Image.open(io.BytesIO(inspect(data).thumbnail)) as thumbnail:
            assert thumbnail.getpixel((50, 50)) == (255, 255, 255)


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped() -> None:
    grey = Image.frombytes("I;16", (100, 100), struct.pack("<H", 0x8000) * 10_000)
    with Image.open(io.BytesIO(inspect(encode(grey, "PNG")).thumbnail)) as thumbnail:
        value = thumbnail.getpixel((50, 50))
        assert isinstance(value, tuple)
        assert abs(value[0] - 128) <= 2


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (50, 50), colour) for colour in ("red", "blue")]
    for kind in "PNG", "WEBP":
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        with Image.open(io.BytesIO(inspect(data).thumbnail)) as thumbnail:
            value = thumbnail.getpixel((25, 25))
            assert isinstance(value, tuple)
            assert value[0] > 200 > 50 > value[2]


MODES = {
    "RGB": "RGB", "RGBA": "RGBA", "L": "L", "LA": "LA", "P": "P", "1": "1", "I;16": "I;16", "palette with alpha": "P"
}  # fmt: skip


@pytest.mark.parametrize("size", [(700, 1100), (1100, 37), (3, 900)], ids=str)
@pytest.mark.parametrize("name", MODES)
def test_bands_give_the_same_thumbnail_as_the_whole_image(
    name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = draw(*size, mode="L")
    image = draw(*size)
    match MODES[name]:
        case "I;16":
            image = grey.convert("I").point(lambda value: value * 257).convert("I;16")
        case "P":
            image = image.quantize(32)
        case "RGBA" | "LA" as mode:
            image = image.convert(mode)
            image.putalpha(grey)
        case mode:
            image = image.convert(mode)
    options = {"transparency": 3} if name == "palette with alpha" else {}
    data = encode(image, "PNG", **options)
    whole, counts = inspect(data), grey_histogram(data)
    monkeypatch.setattr(scaling, "_BAND_PIXELS", 10_000)
    assert inspect(data) == whole
    assert grey_histogram(data) == counts
    assert sum(counts) == size[0] * size[1]


# ---- limits against long decoding


def before_the_first_segment(filling: bytes) -> bytes:
    data = WHOLE["baseline JPEG"]
    return data[:2] + filling + data[2:]


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\x00", b"\xff\xd0", b"\xff\xd0\xff", b"\0"])
def test_a_jpeg_with_too_many_fill_bytes_is_refused(filling: bytes) -> None:
    assert "too much between its segments" in refusal(before_the_first_segment(filling * 70_000)).detail
    if filling == b"\xff":
        assert inspect(before_the_first_segment(filling * 100)) == inspect(WHOLE["baseline JPEG"])


def test_fill_bytes_inside_a_scan_are_limited_too() -> None:
    data = WHOLE["baseline JPEG"]
    assert "too much between its segments" in refusal(data[:-2] + b"\xff" * 70_000 + data[-2:]).detail
    assert inspect(data[:-2] + b"\xff" * 100 + data[-2:]) == inspect(data)


@pytest.mark.parametrize("segment", [b"\xff\x01", b"\xff\xfe\0\x02"])
def test_a_jpeg_with_too_many_segments_is_refused_and_a_thousand_are_accepted(segment: bytes) -> None:
    assert "more than 4096 segments" in refusal(before_the_first_segment(segment * 4096)).detail
    if segment != b"\xff\x01":
        assert inspect(before_the_first_segment(segment * 1000)) == inspect(WHOLE["baseline JPEG"])


@pytest.mark.parametrize("start", [b"\xff\xe1\x02\x08Exif\0\0", b"\xff\xed\x02\x10Photoshop 3.0\0"])
def test_a_jpeg_with_too_many_notes_is_refused_and_a_few_are_accepted(start: bytes) -> None:
    notes = start + bytes(512)
    assert "33 segments of EXIF and notes" in refusal(before_the_first_segment(notes * 33)).detail
    assert inspect(before_the_first_segment(notes * 32)) == inspect(WHOLE["baseline JPEG"])


def test_a_jpeg_with_too_many_scans_is_refused() -> None:
    """Each scan, even one of a few bytes, costs a pass over the whole image."""
    data = bytearray(WHOLE["progressive JPEG"])
    frame = data.index(b"\xff\xc2")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 10_000, 10_000)
    last = bytes(data[data.rindex(b"\xff\xda") : -2])
    assert "20 scans, too many for 10000 x 10000 pixels" in refusal(bytes(data[:-2]) + last * 10 + data[-2:]).detail
    small = WHOLE["progressive JPEG"]
    assert inspect_kept(small[:-2] + last * 10 + small[-2:]).width == 40


def test_a_png_with_too_many_chunks_is_refused_and_ten_thousand_are_accepted() -> None:
    data = WHOLE["PNG"]
    chunk = make_png((b"teST", b""))[8:]
    assert "more than 65536 chunks" in refusal(data[:33] + chunk * 65_536 + data[33:]).detail
    assert inspect(data[:33] + chunk * 10_000 + data[33:]) == inspect(data)


TEXTS = {
    "zTXt": b"Comment\0\0" + zlib.compress(b"x" * 3_000_000),
    "iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x/>" * 700_000),
    "tEXt": b"Comment\0" + b"y" * 5_000_000,
    "iCCP": b"printer\0\0" + zlib.compress(random.Random(1).randbytes(1_700_000)),
    "a bomb": b"Comment\0\0" + zlib.compress(bytes(80_000_000)),
    "rubbish": b"Comment\0\0" + b"rubbish",
}


@pytest.mark.documented("PNG with more than 1 MiB of compressed text", "kept; the text is not decompressed")
@pytest.mark.parametrize("name", TEXTS)
def test_a_png_with_much_text_looks_like_one_without(name: str) -> None:
    data = WHOLE["PNG"]
    chunk = make_png((name.encode() if len(name) == 4 else b"zTXt", TEXTS[name]))[8:]
    with_text = data[:33] + chunk + data[33:]
    assert inspect(with_text) == inspect_kept(with_text) == inspect(data)
    assert grey_histogram(with_text) == grey_histogram(data)


def test_a_web_page_of_only_comments_is_matched_in_linear_time() -> None:
    """A backtracking pattern would need time exponential in their number."""
    assert "text, not an image" in refusal(b"<!---->" * 140).message


@pytest.mark.parametrize("stuffing", [b"\xff\0", b"\xff\xd3", b"\0"])
def test_no_search_of_a_jpeg_is_longer_than_a_slice(stuffing: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search holds the interpreter's lock, and everything else waits."""
    lengths: list[int] = []

    class Pattern:
        def search(self, data: bytes, start: int, end: int = 2**60) -> re.Match[bytes] | None:
            found = pattern.search(data, start, end)
            lengths.append((found.end() if found else min(end, len(data))) - start)
            return found

    pattern = walking._JPEG_MARKER
    monkeypatch.setattr(walking, "_JPEG_MARKER", Pattern())
    data = WHOLE["baseline JPEG"]
    inspect_kept(data[:-2] + stuffing * 1_000_000 + data[-2:])
    assert 1_000_000 < sum(lengths) < 2_200_000
    assert max(lengths) <= 65_536


@pytest.mark.parametrize("slice_", [2, 3, 5, 16])
@pytest.mark.parametrize("name", [name for name in WHOLE if "JPEG" in name])
def test_a_marker_is_found_wherever_the_slices_end(name: str, slice_: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = WHOLE[name]
    expected = inspect(data)
    monkeypatch.setattr(walking, "SLICE_BYTES", slice_)
    assert inspect(data) == expected
    for size in range(2, len(data)):
        with pytest.raises(BadImage):
            walking.walk_jpeg(data[:size])


MEMORY = """
import sys, threading
from pathlib import Path
from dog.images import inspect
def measure():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])
data = sys.stdin.buffer.read()
before = measure()
for _ in range(3):
    thread = threading.Thread(target=inspect, args=(data,))
    thread.start()
    thread.join()
print(measure() - before)
"""


def test_the_memory_of_a_large_image_is_returned_to_the_system() -> None:
    """Decoding an image of 90 million pixels with a palette takes 450 MB."""
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell how much memory a process has")
    data = encode(Image.new("P", (9_500, 9_500), 3), "PNG", compress_level=1)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY],
        input=data,
        capture_output=True,
        check=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert int(done.stdout) < 100_000


# ---- random bytes: an image, or BadImage


def inspect_anything(data: bytes) -> None:
    try:
        info = inspect(data)
    except BadImage:
        return
    with Image.open(io.BytesIO(info.thumbnail)) as thumbnail:
        thumbnail.load()


@settings(deadline=None, max_examples=200)
@given(
    start=st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBPVP8 "]),
    rest=st.binary(max_size=300),
    end=st.sampled_from([b"", b"\xff\xd9"]),
)
def test_random_bytes_raise_only_bad_image(start: bytes, rest: bytes, end: bytes) -> None:
    inspect_anything(start + rest + end)


@settings(deadline=None, max_examples=400)
@given(
    name=st.sampled_from(sorted(WHOLE)),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 20), st.binary(max_size=8)), max_size=4),
)
def test_a_changed_image_raises_only_bad_image(name: str, changes: list[tuple[int, int, bytes]]) -> None:
    data = WHOLE[name]
    for place, removed, added in changes:
        place %= len(data) + 1
        data = data[:place] + added + data[place + removed :]
    inspect_anything(data)


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    seed=st.integers(0, 2**32),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    part=st.floats(0, 1, exclude_max=True),
)
def test_any_image_is_accepted_and_any_part_of_it_is_refused(
    kind: str, seed: int, width: int, height: int, part: float
) -> None:
    data = make_picture(kind, seed, width=width, height=height)
    info = inspect(data)
    assert (info.width, info.height) == (width, height)
    with pytest.raises(BadImage):
        inspect(data[: int(len(data) * part)])


def test_sixteen_bits_of_grey_are_as_bright_as_eight() -> None:
    file = io.BytesIO()
    Image.new("I;16", (64, 64), 0x9C00).save(file, "PNG")
    assert find_peak(file.getvalue()) == 0x9C


def find_peak(data: bytes) -> int:
    counts = grey_histogram(data)
    return counts.index(max(counts))


# ---- scaled copies, and the average colour


def to_rgb(colour: str) -> bytes:
    return bytes.fromhex(colour.removeprefix("#"))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"])
@pytest.mark.parametrize("width", [100, 511])
def test_every_kind_of_pixel_is_scaled_to_a_jpeg(mode: str, width: int) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    image = Image.new("I;16", (512, 300), 40_000) if mode == "I;16" else draw(512, 300, 4, mode)
    data = encode(image, kind)
    with Image.open(io.BytesIO(scale_to_width(data, width))) as scaled:
        assert (scaled.format, scaled.mode, scaled.size) == ("JPEG", "RGB", (width, round(width * 300 / 512)))
        colour = average_color(encode(scaled))
    difference = [abs(a - b) for a, b in zip(to_rgb(colour), to_rgb(inspect(data).color), strict=True)]
    assert max(difference) < 5


def test_a_scaled_panorama_has_at_least_one_row() -> None:
    with Image.open(io.BytesIO(scale_to_width(make_picture(width=5000, height=3), 640))) as scaled:
        assert scaled.size == (640, 1)


@pytest.mark.parametrize(("size", "kind"), [((5500, 4600), "PNG"), ((2300, 2000), "WEBP"), ((2600, 9000), "JPEG")])
def test_an_image_that_takes_much_memory_is_not_scaled(size: tuple[int, int], kind: str) -> None:
    data = encode(Image.new("RGB", size), kind)
    with pytest.raises(TooMuchMemory):
        scale_to_width(data, 2560 if kind == "JPEG" else 640)


@pytest.mark.parametrize("colour", ["#ff8000", "#102030", "#ffffff", "#000000"])
@pytest.mark.parametrize("size", [(1, 1), (70, 50), (2000, 9)])
def test_the_average_colour_of_one_colour_is_that_colour(colour: str, size: tuple[int, int]) -> None:
    data = encode(Image.new("RGB", size, colour), "PNG")
    for info in inspect(data), inspect_kept(data):
        assert max(abs(a - b) for a, b in zip(to_rgb(info.color), to_rgb(colour), strict=True)) <= 3
        assert average_color(info.thumbnail) == info.color


def test_the_average_colour_counts_all_pixels() -> None:
    image = Image.new("RGB", (400, 300), "white")
    image.paste("black", (0, 0, 300, 300))
    assert max(abs(part - 64) for part in to_rgb(inspect(encode(image)).color)) <= 4
    assert average_color(b"no thumbnail") == ""
