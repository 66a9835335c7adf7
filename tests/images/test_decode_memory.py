"""Memory: each decode takes what was computed for it, 400 MB at most."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dog.errors import UnsupportedImage
from dog.images import grey_histogram, inspect, inspect_kept, measure, repair, scale_down
from dog.images.decode_memory import MAX_DECODE_BYTES, decode_bytes
from dog.images.file_structure import SOS, walk_jpeg, walk_structure
from tests.support.pictures import draw, encode
from tests.support.server_process import ROOT

WIDTH, HEIGHT = 2000, 1500
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "PNG, RGB": ("RGB", "PNG", {}),
    "PNG, RGBA": ("RGBA", "PNG", {}),
    "PNG, grey and alpha": ("LA", "PNG", {}),
    "PNG, grey": ("L", "PNG", {}),
    "PNG, 16 bits": ("I;16", "PNG", {}),
    "PNG, palette": ("P", "PNG", {}),
    "PNG, two colours": ("1", "PNG", {}),
    "WebP": ("RGB", "WEBP", {"method": 0}),
    "WebP, lossless": ("RGB", "WEBP", {"lossless": True, "quality": 0, "method": 0}),
    "WebP, alpha": ("RGBA", "WEBP", {"method": 0}),
    "JPEG": ("RGB", "JPEG", {}),
    "JPEG, CMYK": ("CMYK", "JPEG", {}),
    "progressive JPEG": ("RGB", "JPEG", {"progressive": True}),
    "progressive JPEG, 4:4:4": ("RGB", "JPEG", {"progressive": True, "subsampling": "4:4:4"}),
    "progressive JPEG, 4:2:2": ("RGB", "JPEG", {"progressive": True, "subsampling": "4:2:2"}),
    "progressive JPEG, CMYK": ("CMYK", "JPEG", {"progressive": True}),
    "progressive JPEG, grey": ("L", "JPEG", {"progressive": True}),
}
"""Pillow's mode, format and options, by a name for the kind."""

MEASURE = """
import json, sys
from pathlib import Path
from dog.images import grey_histogram, inspect, scale_down, scale_to_width

def read(name):
    return 1024 * int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0])

peaks = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    data = path.read_bytes()
    peaks[path.name] = []
    for function in (
        inspect, grey_histogram, lambda data: scale_down(data, 960, 80), lambda data: scale_to_width(data, 1920)
    ):
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak
        before = read("VmRSS")
        function(data)
        peaks[path.name].append(read("VmHWM") - before)
print(json.dumps(peaks))
"""


def make_picture(mode: str, kind: str, options: dict[str, Any]) -> bytes:
    """Make an image of one colour: it takes as much memory as others."""
    colours: dict[str, Any] = {"L": 99, "I;16": 30_000, "1": 1, "P": 3, "LA": (99, 77), "RGB": (9, 99, 200)}
    colour = colours.get(mode, (9, 99, 200, 77))
    return encode(Image.new(mode, (WIDTH, HEIGHT), colour), kind, **options)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="this system does not tell peaks of memory")
def test_each_kind_takes_the_memory_that_was_computed(tmp_path: Path) -> None:
    computed = {}
    for kind in "JPEG", "PNG", "WEBP":  # the first call of each loads code
        (tmp_path / f"0 {kind}").write_bytes(encode(draw(200, 200), kind))
    for name, (mode, kind, options) in KINDS.items():
        data = make_picture(mode, kind, options)
        (tmp_path / name).write_bytes(data)
        computed[name] = decode_bytes(data, walk_structure(data))
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # so that free memory is returned
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT, env=environment)
    peaks = json.loads(done.stdout)
    scaled = {name: peaks[name].pop() for name in computed}  # a JPEG is decoded at full size
    assert {name: peak for name, peak in scaled.items() if peak > computed[name] + 4 * WIDTH * HEIGHT} == {}
    both = {name: (peaks[name], computed[name]) for name in computed}
    assert {name: pair for name, pair in both.items() if max(pair[0]) > pair[1]} == {}
    # A thumbnail takes less than a preview: this shows whether the bytes for each pixel are right.
    slack = {name: needed - peak for name, ((peak, *_), needed) in both.items()}
    assert {name: (both[name], spare) for name, spare in slack.items() if not 20_000_000 < spare < 36_000_000} == {}


def make_flat_jpeg(width: int, height: int) -> bytes:
    """Make a grey JPEG, 4:2:0, without drawing it: all its units are the same."""
    data = encode(Image.new("RGB", (16, 16), (128, 128, 128)), subsampling="4:2:0")
    jpeg = walk_jpeg(data)
    head = bytearray(data[: next(segment.end for segment in jpeg.segments if segment.marker == SOS)])
    frame = head.index(b"\xff\xc0")
    head[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    # Four blocks of luma (00 1010), two of chroma (00 00), by the standard's tables.
    return bytes(head) + b"\x28\xa2\x8a\x00" * (-(-width // 16) * -(-height // 16)) + b"\xff\xd9"


@pytest.mark.documented(
    "baseline JPEG of a camera with 102 or 108 megapixels", "kept; it is decoded at reduced size, a few rows at a time"
)
@pytest.mark.parametrize("size", [(11648, 8736), (9000, 12000), (16384, 12288)])
def test_a_large_baseline_jpeg_is_accepted(size: tuple[int, int]) -> None:
    data = make_flat_jpeg(*size)
    info = inspect(repair(data))
    assert (info.width, info.height) == size
    assert decode_bytes(data, walk_structure(data)) < 40_000_000
    assert measure(info.thumbnail).width in (320, 240)


def with_size(data: bytes, place: int, packed: bytes) -> bytes:
    return data[:place] + packed + data[place + len(packed) :]


def enlarge_jpeg(width: int, height: int, **options: Any) -> bytes:
    data = encode(draw(32, 32), "JPEG", **options)
    frame = data.index(b"\xff\xc2" if "progressive" in options else b"\xff\xc0")
    return with_size(data, frame + 5, struct.pack(">HH", height, width))


def separate_scans(data: bytes) -> bytes:
    """Give a baseline JPEG's scan only its first component."""
    begin = data.index(b"\xff\xda")
    return data[:begin] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + data[begin + 14 :]


def enlarge_webp(width: int, height: int) -> bytes:
    data = encode(draw(32, 32), "WEBP", lossless=True)
    packed = int.from_bytes(data[21:25], "little") >> 28 << 28 | height - 1 << 14 | width - 1
    return with_size(data, 21, packed.to_bytes(4, "little"))


def enlarge_png(width: int, height: int, mode: str) -> bytes:
    from zlib import crc32

    data = encode(draw(32, 32, mode=mode), "PNG")
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return with_size(data, 12, header + struct.pack(">I", crc32(header)))


TOO_LARGE = {
    "WebP of 100 megapixels": enlarge_webp(10_000, 10_000),
    "WebP of 249 megapixels": enlarge_webp(16_000, 15_600),
    "WebP of 24 megapixels": enlarge_webp(6_000, 4_000),
    "PNG, grey and alpha": enlarge_png(10_000, 9_700, "LA"),
    "PNG, RGBA": enlarge_png(15_000, 6_500, "RGBA"),
    "progressive JPEG of 102 megapixels, 4:4:4": enlarge_jpeg(11_648, 8_736, progressive=True, subsampling="4:4:4"),
    "baseline JPEG with a scan for each colour": separate_scans(enlarge_jpeg(9_000, 12_000, subsampling="4:4:4")),
    "progressive JPEG of 160 megapixels, 4:2:0": enlarge_jpeg(16_000, 10_000, progressive=True),
}


@pytest.mark.documented(
    "image whose decode takes more than 400 MB, such as a WebP of 100 megapixels",
    "refused at once, with the memory that it would take",
)
@pytest.mark.parametrize("name", TOO_LARGE)
def test_an_image_that_takes_too_much_memory_is_refused_before_its_decode(name: str) -> None:
    data = TOO_LARGE[name]
    assert decode_bytes(data, walk_structure(data)) > MAX_DECODE_BYTES
    for function in inspect, grey_histogram, lambda data: scale_down(data, 960, 80):
        with pytest.raises(UnsupportedImage, match=r" MB of memory, more than 400\. Set the camera to"):
            function(data)


def test_a_progressive_jpeg_without_its_end_is_not_decoded_either() -> None:
    data = TOO_LARGE["progressive JPEG of 102 megapixels, 4:4:4"]
    with pytest.raises(UnsupportedImage, match="MB of memory"):
        repair(data[:-2])


def test_a_kept_image_that_takes_too_much_memory_stays_with_a_grey_thumbnail() -> None:
    """The album may have one from a version that decoded it."""
    info = inspect_kept(TOO_LARGE["WebP of 24 megapixels"])
    assert (info.width, info.height) == (6_000, 4_000)
    assert (measure(info.thumbnail).width, measure(info.thumbnail).height) == (320, 213)
