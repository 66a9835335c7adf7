"""Orientation: sizes and thumbnails are as Chromium shows the image."""

import base64
import io
import struct
import zlib

import pytest
from PIL import Image
from playwright.async_api import Browser

from dog.images import inspect
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
        const grey = (x, y) => context.getImageData(x * canvas.width / 4, y * canvas.height / 4, 1, 1).data[0];
        shown.push([canvas.width, canvas.height, grey(1, 1), grey(3, 1), grey(1, 3), grey(3, 3)]);
    }
    return shown;
}"""
"""Size, and brightness in the middle of each quarter."""


@pytest.mark.documented(
    "orientation as SHORT in a JPEG's EXIF, or in a PNG's before its pixels",
    "size and thumbnail are upright, as browsers show the photo",
)
@pytest.mark.documented(
    "orientation in a WebP, in XMP, as LONG or in a PNG's text",
    "ignored, as in browsers, so that photo and thumbnail agree",
)
async def test_sizes_and_thumbnails_are_turned_exactly_as_in_chromium(browser: Browser) -> None:
    urls = [f"data:image;base64,{base64.b64encode(data).decode()}" for data in CASES.values()]
    page = await browser.new_page()
    try:
        shown = dict(zip(CASES, await page.evaluate(SHOWN, urls), strict=True))
    finally:
        await page.close()
    for name, data in CASES.items():
        info = inspect(data)
        assert [info.width, info.height] == shown[name][:2], name
        with Image.open(io.BytesIO(info.thumbnail)) as thumbnail:
            places = [(thumbnail.width * x // 4, thumbnail.height * y // 4) for y in (1, 3) for x in (1, 3)]
            greys = [thumbnail.convert("L").getpixel(place) for place in places]
        for seen, meant in zip(greys, shown[name][2:], strict=True):
            assert isinstance(seen, int)
            assert abs(seen - meant) < 20, (name, greys, shown[name])
    assert len({tuple(one) for one in shown.values()}) == 8
