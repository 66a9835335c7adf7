"""Thumbnails: orientation and colours are as Chromium shows the image."""

import base64
import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import Browser

from dog.images import inspect, scale_to_width
from tests.support.damages import insert_after_soi
from tests.support.pictures import encode

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHORT, LONG, SIGNED_SHORT = 3, 4, 8
ORIENTATION, DIRECTORY, UNIT = 0x0112, 0x8769, 0x0128

Entry = tuple[int, int, int, int]
"""Tag, type, count and value."""


def picture() -> Image.Image:
    """Draw four patches of different brightness: dark at the top left."""
    image = Image.new("L", (48, 32), 250)
    for place, grey in (((0, 0), 10), ((24, 0), 90), ((0, 16), 170)):
        image.paste(grey, (*place, place[0] + 24, place[1] + 16))
    return image


def make_tiff(entries: list[Entry], below: list[Entry] | None = None, order: str = ">") -> bytes:
    """Make EXIF, with a directory below if there are entries for it."""
    if below:
        entries = [*entries, (DIRECTORY, LONG, 1, 8 + 2 + 12 * (len(entries) + 1) + 4)]
    written = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "I", 8)
    for directory in [entries, *([below] if below else [])]:
        written += struct.pack(order + "H", len(directory))
        for tag, kind, count, value in directory:
            packed = struct.pack(order + ("I" if kind == LONG else "H"), value).ljust(4, b"\0")
            written += struct.pack(order + "HHI", tag, kind, count) + packed
        written += bytes(4)
    return written


def in_jpeg(*bodies: bytes) -> bytes:
    segments = (b"\xff\xe1" + struct.pack(">H", 2 + len(body)) + body for body in bodies)
    return insert_after_soi(encode(picture()), b"".join(segments))


def in_exif(*tiffs: bytes) -> bytes:
    return in_jpeg(*(b"Exif\0\0" + tiff for tiff in tiffs))


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def in_png(*chunks: bytes, at_end: bool = False) -> bytes:
    data = encode(picture(), "PNG")
    place = data.index(b"IEND" if at_end else b"IDAT") - 4
    return data[:place] + b"".join(chunks) + data[place:]


def orientation(value: int, kind: int = SHORT, count: int = 1) -> Entry:
    return (ORIENTATION, kind, count, value)


def xmp(value: int) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
        f' tiff:Orientation="{value}"/></rdf:RDF></x:xmpmeta>'
    ).encode()


def raw_profile(tiff: bytes) -> bytes:
    """Return EXIF as ImageMagick's text."""
    body = b"Exif\0\0" + tiff
    text = f"\nexif\n{len(body):8}\n{body.hex()}\n"
    return chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text.encode()))


RUBBISH = b"rubbish" * 4
RESOLUTION = make_tiff([(UNIT, SHORT, 1, 2)])
CASES = {
    **{f"JPEG, {value}": in_exif(make_tiff([orientation(value)])) for value in range(10)},
    **{f"JPEG, {value}, little-endian": in_exif(make_tiff([orientation(value)], order="<")) for value in (3, 8)},
    "JPEG, LONG": in_exif(make_tiff([orientation(5, LONG)])),
    "JPEG, LONG, little-endian": in_exif(make_tiff([orientation(7, LONG)], order="<")),
    "JPEG, SSHORT": in_exif(make_tiff([orientation(8, SIGNED_SHORT)])),
    "JPEG, count 2": in_exif(make_tiff([orientation(8, SHORT, 2)])),
    "JPEG, count 0": in_exif(make_tiff([orientation(8, SHORT, 0)])),
    "JPEG, a valid entry after another": in_exif(make_tiff([orientation(12), orientation(8, LONG), orientation(5)])),
    "JPEG, two entries": in_exif(make_tiff([orientation(5), orientation(3)])),
    "JPEG, directory below": in_exif(make_tiff([(UNIT, SHORT, 1, 2)], [orientation(7)])),
    "JPEG, both directories": in_exif(make_tiff([orientation(3)], [orientation(7)])),
    "JPEG, XMP alone": in_jpeg(b"http://ns.adobe.com/xap/1.0/\0" + xmp(8)),
    "JPEG, EXIF without it and XMP": in_jpeg(b"Exif\0\0" + RESOLUTION, b"http://ns.adobe.com/xap/1.0/\0" + xmp(8)),
    "JPEG, two segments": in_exif(make_tiff([orientation(7)]), make_tiff([orientation(1)])),
    "JPEG, second segment alone": in_exif(RESOLUTION, make_tiff([orientation(7)])),
    "JPEG, rubbish first": in_exif(RUBBISH, make_tiff([orientation(7)])),
    "JPEG, another fill byte": in_jpeg(b"Exif\0\x20" + make_tiff([orientation(7)])),
    "JPEG, another name": in_jpeg(b"exif\0\0" + make_tiff([orientation(7)])),
    "JPEG, other TIFF version": in_exif(make_tiff([orientation(7)]).replace(b"MM\0*", b"MM\0+")),
    "JPEG, cut directory": in_exif(make_tiff([orientation(7)]).replace(b"\0\1\1\x12", b"\0\7\1\x12")[:22]),
    **{f"PNG, {value}": in_png(chunk(b"eXIf", make_tiff([orientation(value)]))) for value in range(10)},
    "PNG, little-endian": in_png(chunk(b"eXIf", make_tiff([orientation(5)], order="<"))),
    "PNG, after the pixels": in_png(chunk(b"eXIf", make_tiff([orientation(7)])), at_end=True),
    "PNG, LONG": in_png(chunk(b"eXIf", make_tiff([orientation(7, LONG)]))),
    "PNG, two": in_png(*(chunk(b"eXIf", make_tiff([orientation(value)])) for value in (8, 3))),
    "PNG, second alone": in_png(chunk(b"eXIf", RESOLUTION), chunk(b"eXIf", make_tiff([orientation(7)]))),
    "PNG, with a JPEG's name": in_png(chunk(b"eXIf", b"Exif\0\0" + make_tiff([orientation(7)]))),
    "PNG, XMP": in_png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(7))),
    "PNG, raw profile": in_png(raw_profile(make_tiff([orientation(7)]))),
    "WebP, EXIF": encode(picture(), "WEBP", exif=b"Exif\0\0" + make_tiff([orientation(7)]), lossless=True),
    "WebP, XMP": encode(picture(), "WEBP", xmp=xmp(7), lossless=True),
}

SHOWN = """async urls => {
    const shown = [];
    for (const url of urls) {
        const image = new Image();
        image.src = url;
        await image.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const pixel = (x, y) => context.getImageData(x * canvas.width / 4, y * canvas.height / 4, 1, 1).data;
        const quarters = [pixel(1, 1), pixel(3, 1), pixel(1, 3), pixel(3, 3)];
        shown.push([canvas.width, canvas.height, ...quarters.map(([red, green, blue]) => [red, green, blue])]);
    }
    return shown;
}"""
"""Width, height, and the colour in the middle of each quarter."""


async def show(browser: Browser, images: Iterable[bytes]) -> list[list[Any]]:
    """Return what SHOWN reads of each image in Chromium."""
    page = await browser.new_page()
    try:
        urls = [f"data:image;base64,{base64.b64encode(data).decode()}" for data in images]
        shown: list[list[Any]] = await page.evaluate(SHOWN, urls)
        return shown
    finally:
        await page.close()


def measure_error(data: bytes, colours: list[list[int]]) -> int:
    """Return the largest difference between a thumbnail and these colours."""
    with Image.open(io.BytesIO(data)) as thumbnail:
        shown = thumbnail.convert("RGB")
    places = [(shown.width * x // 4, shown.height * y // 4) for y in (1, 3) for x in (1, 3)]
    seen = [shown.crop((x, y, x + 1, y + 1)).tobytes() for x, y in places]
    return max(abs(a - b) for one, other in zip(seen, colours, strict=True) for a, b in zip(one, other, strict=True))


@pytest.mark.documented(
    "orientation as SHORT in a JPEG's EXIF, or in a PNG's before its pixels",
    "size and thumbnail are upright, as browsers show the photo",
)
@pytest.mark.documented(
    "orientation in a WebP, in XMP, as LONG or in a PNG's text",
    "ignored, as in browsers, so that photo and thumbnail agree",
)
async def test_sizes_and_thumbnails_are_turned_exactly_as_in_chromium(browser: Browser) -> None:
    shown = dict(zip(CASES, await show(browser, CASES.values()), strict=True))
    for name, (width, height, *colours) in shown.items():
        info = inspect(CASES[name])
        assert (info.width, info.height) == (width, height), name
        assert measure_error(info.thumbnail, colours) < 20, name
        scaled = scale_to_width(CASES[name], width - 8)
        with Image.open(io.BytesIO(scaled)) as image:
            assert image.size == (width - 8, round((width - 8) * height / width)), name
            assert not image.getexif(), name
        assert measure_error(scaled, colours) < 20, name
    assert len({str(one) for one in shown.values()}) == 8


# ---- colours

ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
"""X, Y and Z of red, green and blue, adapted to D50."""
D50 = (0.96420, 1.0, 0.82491)


def make_profile(colours: bytes, primaries: tuple[tuple[float, float, float], ...], gamma: float) -> bytes:
    """Make an ICC profile (version 2) of primaries and a gamma."""
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    curves = (b"rTRC", b"gTRC", b"bTRC") if primaries else (b"kTRC",)
    tags = {b"wtpt": xyz(D50), b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78)}
    tags |= {name: xyz(one) for name, one in zip(names, primaries, strict=False)}
    tags |= {name: b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2) for name in curves}
    table, content, begin = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        table += name + struct.pack(">II", begin + len(content), len(body))
        content += body + bytes(-len(body) % 4)
    size = begin + len(content)
    head = struct.pack(">I4xI", size, 0x02400000) + b"mntr" + colours + b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    return (head + b"".join(struct.pack(">i", round(one * 65536)) for one in D50)).ljust(128, b"\0") + table + content


def xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(one * 65536)) for one in values)


PROFILES = {
    "Adobe RGB": make_profile(b"RGB ", ADOBE_RGB, 2.19921875),
    "Display P3, gamma 1.8": make_profile(b"RGB ", DISPLAY_P3, 1.8),
    "swapped": make_profile(b"RGB ", (DISPLAY_P3[2], DISPLAY_P3[0], DISPLAY_P3[1]), 2.2),
    "linear": make_profile(b"RGB ", DISPLAY_P3, 1.0),
    "for grey": make_profile(b"GRAY", (), 1.0),
    "cut off": make_profile(b"RGB ", ADOBE_RGB, 1.0)[:300],
    "not a profile": b"rubbish" * 99,
}


def colour_patches(mode: str, scale: int = 1) -> Image.Image:
    image = Image.new("RGB", (48, 32), (201, 60, 33))
    for place, colour in (((24, 0), (40, 170, 80)), ((0, 16), (60, 70, 190)), ((24, 16), (130, 130, 130))):
        image.paste(colour, (*place, place[0] + 24, place[1] + 16))
    return image.resize((48 * scale, 32 * scale), Image.Resampling.NEAREST).convert(mode)


FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "JPEG": ("RGB", "JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    "grey JPEG": ("L", "JPEG", {"quality": 95}),
    "PNG": ("RGB", "PNG", {}),
    "grey PNG": ("L", "PNG", {}),
    "PNG with alpha": ("RGBA", "PNG", {}),
    "WebP": ("RGB", "WEBP", {"lossless": True}),
}


@pytest.mark.documented(
    "image with an ICC profile", "the thumbnail is converted to sRGB, and looks like the photo in a browser"
)
async def test_thumbnails_have_the_colours_that_chromium_shows(browser: Browser) -> None:
    cases, large_cases = (
        {
            (file, profile): encode(colour_patches(mode, scale), kind, icc_profile=PROFILES[profile], **options)
            for file, (mode, kind, options) in FILES.items()
            for profile in PROFILES
        }
        for scale in (1, 5)
    )
    shown = dict(zip(cases, await show(browser, cases.values()), strict=True))
    thumbnails = {name: inspect(data).thumbnail for name, data in cases.items()}
    copies = {name: scale_to_width(data, 200) for name, data in large_cases.items()}
    for made in thumbnails, copies:
        errors = {name: measure_error(data, shown[name][2:]) for name, data in made.items()}
        assert {name: error for name, error in errors.items() if error > 10} == {}
