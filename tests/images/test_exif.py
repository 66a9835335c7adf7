"""EXIF in JPEGs: exiftool reads it, and the image is unchanged."""

import contextlib
import datetime as dt
import io
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from dog.errors import BadImage
from dog.images import inspect
from dog.images.exif import Stamp, anonymize_exif, write_exif
from dog.images.file_structure import walk_structure
from tests.support.pictures import draw, encode

STAMP = Stamp(
    id="abcdefghijklmnopqrstuvwx",
    captured_at=dt.datetime(2026, 3, 4, 5, 6, 7, 89_999, tzinfo=dt.timezone(-dt.timedelta(hours=3, minutes=30))),
    camera="front-door",
    software="D.O.G. 1.2.3",
    exposure=0.01,
)
LATER = replace(
    STAMP, id="z" * 24, captured_at=STAMP.captured_at + dt.timedelta(days=1, seconds=1.5), camera="b", exposure=2.5
)
OURS = {
    "IFD0:CameraLabel": "front-door",
    "ExifIFD:ImageUniqueID": STAMP.id,
    "ExifIFD:DateTimeOriginal": "2026:03:04 05:06:07",
    "ExifIFD:OffsetTimeOriginal": "-03:30",
    "ExifIFD:SubSecTimeOriginal": "089",
}
ALONE = OURS | {
    "IFD0:ImageDescription": "front-door",
    "IFD0:Software": "D.O.G. 1.2.3",
    "ExifIFD:CreateDate": "2026:03:04 05:06:07",
    "ExifIFD:OffsetTimeDigitized": "-03:30",
    "ExifIFD:SubSecTimeDigitized": "089",
    "ExifIFD:ExposureTime": "1/100",
    "ExifIFD:ExifImageWidth": 40,
    "ExifIFD:ExifImageHeight": 30,
}

EXIF = b"Exif\0\0"


def segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and bytes of each segment before the image data.

    The rest has marker 0.
    """
    position = 2
    while 0xE0 <= jpeg[position + 1] <= 0xFE:
        end = position + 2 + int.from_bytes(jpeg[position + 2 : position + 4])
        yield jpeg[position + 1], jpeg[position:end]
        position = end
    yield 0, jpeg[position:]


def make_segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def insert(jpeg: bytes, *bodies: tuple[int, bytes]) -> bytes:
    """Insert segments after the first one, which is JFIF's."""
    (_, first), *_ = segments(jpeg)
    cut = 2 + len(first)
    return jpeg[:cut] + b"".join(make_segment(marker, body) for marker, body in bodies) + jpeg[cut:]


def is_exif(segment: bytes) -> bool:
    return segment[4:10] == EXIF


def tiff_of(jpeg: bytes) -> bytes:
    return next(segment[10:] for _, segment in segments(jpeg) if is_exif(segment))


def without_jfif() -> bytes:
    jpeg = encode(draw(40, 30))
    (_, first), *_ = segments(jpeg)
    return jpeg[:2] + jpeg[2 + len(first) :]


def without_tables() -> bytes:
    """Return a webcam's MJPEG frame: no Huffman tables, and AVI1 for JFIF."""
    jpeg = without_jfif()
    while (begin := jpeg.find(b"\xff\xc4")) > 0:
        jpeg = jpeg[:begin] + jpeg[begin + 2 + int.from_bytes(jpeg[begin + 2 : begin + 4]) :]
    return jpeg[:2] + make_segment(0xE0, b"AVI1" + bytes(10)) + jpeg[2:]


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta><?xpacket end="w"?>'
)
PLAIN = {
    "baseline": encode(draw(40, 30)),
    "progressive": encode(draw(40, 30), progressive=True),
    "grey": encode(draw(40, 30, mode="L")),
    "CMYK": encode(draw(40, 30, mode="CMYK")),
    "with restart marks": encode(draw(40, 30), restart_marker_blocks=1),
    "of 300 dots an inch": encode(draw(40, 30), dpi=(300, 300)),
    "with a profile, XMP and a comment": encode(draw(40, 30), icc_profile=PROFILE, xmp=XMP, comment="A comment."),
    "without JFIF": without_jfif(),
    "a webcam's": without_tables(),
    "with filling between its segments": encode(draw(40, 30)).replace(b"\xff\xdb", b"\xff\xff\xff\xdb"),
}


def exif_cleared(jpeg: bytes) -> bytes:
    """Return the JPEG without its EXIF."""
    return jpeg[:2] + b"".join(segment for _, segment in segments(jpeg) if not is_exif(segment))


def decode(jpeg: bytes) -> bytes:
    with Image.open(io.BytesIO(jpeg)) as image:
        return image.tobytes()


# ---- exiftool


Read = Callable[[bytes], dict[str, Any]]


class ExifTool:
    """A running exiftool: its start takes longer than its work."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen(
            [program, "-stay_open", "True", "-@", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, *arguments: str | Path) -> bytes:
        """Run a command, and return its output. It must succeed."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        lines = [f"#[CSTR]{argument}" for argument in arguments]  # with spaces at their ends
        lines += ["-echo3", "${status}", "-execute"]
        process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        process.stdin.flush()
        output = b""
        while not output.endswith(b"{ready}\n"):
            more = os.read(process.stdout.fileno(), 65536)
            assert more, "exiftool has ended"
            output += more
        assert output.endswith(b"0\n{ready}\n"), output
        return output.removesuffix(b"0\n{ready}\n")

    def close(self) -> None:
        self._process.communicate(b"-stay_open\nFalse\n")


@pytest.fixture(scope="module")
def exiftool() -> Iterator[ExifTool]:
    """Run exiftool. Without it, skip the test; in CI, fail."""
    if found := shutil.which("exiftool"):
        with closing(ExifTool(found)) as running:
            yield running
        return
    reason = "no exiftool; it is Debian's package libimage-exiftool-perl"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def read(exiftool: ExifTool, tmp_path: Path) -> Read:
    """Return `read(jpeg)`: exiftool's tags and its `ExifTool:Validate`."""
    file = tmp_path / "read.jpg"

    def run(jpeg: bytes) -> dict[str, Any]:
        file.write_bytes(jpeg)
        found = json.loads(exiftool.run("-json", "-G1", "-a", "-all", "-validate", "-warning", file))
        assert isinstance(found[0], dict)
        return found[0]

    return run


def make_canon(order: str) -> bytes:
    """Make EXIF with a maker note like Canon's.

    Its offsets are counted from the header.
    """
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    make_at, exif_at, note_at = 38, 44, 62
    owner_at = note_at + 18
    first = struct.pack(order + "HHHIIHHIII", 2, 0x010F, 2, 6, make_at, 0x8769, 4, 1, exif_at, 0)
    exif = struct.pack(order + "HHHIII", 1, 0x927C, 7, 18 + 32, note_at, 0)
    note = struct.pack(order + "HHHIII", 1, 0x0009, 2, 32, owner_at, 0) + b"Somebody".ljust(32, b"\0")
    return mark + struct.pack(order + "I", 8) + first + b"Canon\0" + exif + note


THEIRS = {
    "IFD0:Make": "Canon",
    "IFD0:Model": "A model",
    "IFD0:Software": "Firmware 1.0",
    "IFD0:Orientation": "Rotate 90 CW",
    "IFD0:Artist": "An artist",
    "ExifIFD:ExposureTime": 0.5,
    "ExifIFD:ISO": 100,
    "ExifIFD:FNumber": 2.8,
    "ExifIFD:CreateDate": "2001:01:01 00:00:01",
    "ExifIFD:UserComment": "A comment",
    "GPS:GPSLatitude": "12 deg 34' 56.00\"",
    "GPS:GPSLatitudeRef": "North",
    "Canon:OwnerName": "Somebody",
    "InteropIFD:InteropIndex": "R98 - DCF basic file (sRGB)",
}


@pytest.fixture(params=["<", ">"], ids=["little-endian", "big-endian"])
def camera_jpeg(request: pytest.FixtureRequest, exiftool: ExifTool, tmp_path: Path) -> bytes:
    """Make a camera's JPEG, in either byte order.

    It has EXIF with GPS, maker note and thumbnail, followed by XMP.
    """
    jpeg, thumbnail = tmp_path / "camera.jpg", tmp_path / "thumbnail.jpg"
    jpeg.write_bytes(insert(PLAIN["baseline"], (0xE1, EXIF + make_canon(request.param))))
    thumbnail.write_bytes(encode(draw(16, 12)))
    options = [
        "-Model=A model", "-Software=Firmware 1.0", "-Orientation#=6", "-Artist=An artist", "-ExposureTime=1/2",
        "-ISO=100", "-FNumber=2.8", "-DateTimeOriginal=2001:01:01 00:00:00", "-CreateDate=2001:01:01 00:00:01",
        "-OffsetTimeOriginal=+09:00", "-UserComment=A comment", "-GPSLatitude=12 34 56", "-GPSLatitudeRef=N",
        "-InteropIndex=R98", "-InteropVersion=0100", "-ExifVersion=0220", "-ExifImageWidth=40", "-ExifImageHeight=30",
        "-XMP:Title=A title", f"-ThumbnailImage<={thumbnail}",
    ]  # fmt: skip
    exiftool.run("-overwrite_original", *options, jpeg)
    return jpeg.read_bytes()


# ---- a JPEG without EXIF


@pytest.mark.parametrize("name", PLAIN)
def test_exiftool_reads_every_field_without_warnings(read: Read, name: str) -> None:
    before, found = read(PLAIN[name]), read(write_exif(PLAIN[name], STAMP))
    assert ALONE.items() <= found.items(), found
    # Warnings about the original, such as webcams' fill bytes, are allowed.
    assert found["ExifTool:Validate"] == ("OK" if "filling" not in name else before["ExifTool:Validate"]), found
    ours = {key for key in found if key.startswith(("ExifTool:", "IFD0:", "ExifIFD:", "System:", "Composite:Sub"))}
    ours.add("Composite:ShutterSpeed")
    assert {key: before[key] for key in before if key not in ours} == {
        key: found[key] for key in found if key not in ours | {"File:ExifByteOrder"}
    }


@pytest.mark.parametrize("name", PLAIN)
def test_only_the_exif_segment_is_inserted(name: str) -> None:
    stamped = write_exif(PLAIN[name], STAMP)
    (first, segment), *_ = segments(PLAIN[name])
    cut = 2 + len(segment) if first == 0xE0 else 2
    exif = next(segment for _, segment in segments(stamped) if is_exif(segment))
    assert stamped == PLAIN[name][:cut] + exif + PLAIN[name][cut:]
    assert walk_structure(stamped)[:2] == walk_structure(PLAIN[name])[:2]


@pytest.mark.parametrize("name", PLAIN)
def test_the_decoded_pixels_are_identical(name: str) -> None:
    assert decode(write_exif(PLAIN[name], STAMP)) == decode(PLAIN[name])


def test_exif_keeps_the_print_resolution(read: Read) -> None:
    found = read(write_exif(PLAIN["of 300 dots an inch"], STAMP))
    assert (found["IFD0:XResolution"], found["IFD0:YResolution"], found["IFD0:ResolutionUnit"]) == (300, 300, "inches")
    found = read(write_exif(PLAIN["baseline"], STAMP))
    assert (found["IFD0:XResolution"], found["IFD0:YResolution"], found["IFD0:ResolutionUnit"]) == (72, 72, "inches")


def test_an_image_with_a_colour_profile_is_not_marked_as_srgb(read: Read) -> None:
    assert read(write_exif(PLAIN["with a profile, XMP and a comment"], STAMP))["ExifIFD:ColorSpace"] == "Uncalibrated"
    assert read(write_exif(PLAIN["baseline"], STAMP))["ExifIFD:ColorSpace"] == "sRGB"


@pytest.mark.parametrize(
    ("exposure", "written"),
    [(1 / 30, 1 / 30), (0.000_001, 0.000_001), (3599.5, 3599.5), (86_400.4, 86_400), (0.033_333, 0.033_333)],
)
def test_an_exposure_is_written_to_the_microsecond(exposure: float, written: float) -> None:
    with Image.open(io.BytesIO(write_exif(PLAIN["baseline"], replace(STAMP, exposure=exposure)))) as image:
        assert abs(float(image.getexif().get_ifd(0x8769)[0x829A]) - written) < 0.5e-6


@pytest.mark.parametrize("exposure", [None, 0.0, -1.0, float("nan"), float("inf"), 1e-12, 1e12])
def test_an_invalid_exposure_is_left_out(exposure: float | None) -> None:
    with Image.open(io.BytesIO(write_exif(PLAIN["baseline"], replace(STAMP, exposure=exposure)))) as image:
        assert 0x829A not in image.getexif().get_ifd(0x8769)


def test_a_camera_name_may_have_any_letters_and_any_length(read: Read) -> None:
    found = read(write_exif(PLAIN["baseline"], replace(STAMP, camera="Küche 猫", software="é" * 1000)))
    assert (found["IFD0:CameraLabel"], found["IFD0:ImageDescription"]) == ("Küche 猫", "Küche 猫")
    assert found["IFD0:Software"] == "é" * 127


def test_a_stamp_without_a_utc_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        replace(STAMP, captured_at=dt.datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_images_other_than_jpegs_are_unchanged(kind: str) -> None:
    picture = encode(draw(), kind)
    assert write_exif(picture, STAMP) is picture


# ---- a camera's EXIF


def test_the_camera_s_exif_is_kept_next_to_ours(read: Read, camera_jpeg: bytes) -> None:
    before, found = read(camera_jpeg), read(write_exif(camera_jpeg, STAMP))
    assert THEIRS.items() <= before.items(), before
    assert (OURS | THEIRS | {"IFD0:ProcessingSoftware": "D.O.G. 1.2.3"}).items() <= found.items(), found
    ours = {"ExifTool", "System", "Composite"}, {*OURS, "ExifIFD:ExifVersion", "IFD1:ThumbnailOffset"}
    for key, value in before.items():
        if key.split(":")[0] not in ours[0] and key not in ours[1]:
            assert found[key] == value, key
    # Its only warning: ProcessingSoftware is a tag of TIFF that Exif does not list.
    assert found["ExifTool:Validate"] == "1 Warning (minor)"
    assert found["ExifTool:Warning"] == "[minor] Non-standard IFD0 tag 0x000b ProcessingSoftware"


def test_the_camera_s_exif_bytes_keep_their_offsets(camera_jpeg: bytes) -> None:
    """The offsets of any maker note stay valid."""
    before, after = tiff_of(camera_jpeg), tiff_of(write_exif(camera_jpeg, STAMP))
    assert after[:4] + before[4:8] + after[8 : len(before)] == before


def test_all_bytes_except_the_exif_are_unchanged(camera_jpeg: bytes) -> None:
    stamped = write_exif(camera_jpeg, STAMP)
    assert exif_cleared(stamped) == exif_cleared(camera_jpeg)
    assert [marker for marker, _ in segments(stamped)] == [marker for marker, _ in segments(camera_jpeg)]
    assert decode(stamped) == decode(camera_jpeg)


def test_the_orientation_of_the_camera_is_kept(camera_jpeg: bytes) -> None:
    before, after = inspect(camera_jpeg), inspect(write_exif(camera_jpeg, STAMP))
    assert (before.width, before.height) == (30, 40)
    assert after == before


def test_the_thumbnail_in_exif_is_kept(exiftool: ExifTool, camera_jpeg: bytes, tmp_path: Path) -> None:
    file = tmp_path / "stamped.jpg"
    file.write_bytes(write_exif(camera_jpeg, STAMP))
    assert exiftool.run("-b", "-ThumbnailImage", file) == encode(draw(16, 12))


def test_the_only_time_of_a_camera_is_kept_as_the_digitized_one(read: Read, exiftool: ExifTool, tmp_path: Path) -> None:
    file = tmp_path / "camera.jpg"
    file.write_bytes(PLAIN["baseline"])
    options = ["-DateTimeOriginal=2001:02:03 04:05:06", "-OffsetTimeOriginal=+09:00", "-SubSecTimeOriginal=7"]
    exiftool.run("-overwrite_original", *options, file)
    found = read(write_exif(file.read_bytes(), STAMP))
    assert (
        OURS
        | {
            "ExifIFD:CreateDate": "2001:02:03 04:05:06",
            "ExifIFD:OffsetTimeDigitized": "+09:00",
            "ExifIFD:SubSecTimeDigitized": 7,
        }
    ).items() <= found.items(), found
    assert found["ExifTool:Validate"] == "OK"


def test_a_blank_description_is_replaced_and_another_one_is_kept(
    read: Read, exiftool: ExifTool, tmp_path: Path
) -> None:
    file = tmp_path / "camera.jpg"
    for description, kept in ("   ", "front-door"), ("Mine", "Mine"):
        file.write_bytes(PLAIN["baseline"])
        exiftool.run("-overwrite_original", f"-ImageDescription={description}", file)
        found = read(write_exif(file.read_bytes(), STAMP))
        assert (found["IFD0:ImageDescription"], found["IFD0:CameraLabel"]) == (kept, "front-door")


def test_a_stamp_replaces_an_earlier_one(camera_jpeg: bytes) -> None:
    for jpeg in (camera_jpeg, *PLAIN.values()):
        once = write_exif(jpeg, LATER)
        assert write_exif(write_exif(jpeg, STAMP), LATER) == once
        assert write_exif(once, LATER) == once


# ---- a share link's


NEW_ID = "b" * len(STAMP.id)


@pytest.mark.parametrize("name", PLAIN)
def test_a_hidden_photo_has_another_id_and_no_camera(read: Read, name: str) -> None:
    check_hidden(read, write_exif(PLAIN[name], STAMP))


def test_a_hidden_photo_keeps_the_camera_s_exif(read: Read, camera_jpeg: bytes) -> None:
    check_hidden(read, write_exif(camera_jpeg, STAMP))


def test_a_photo_whose_exif_was_edited_is_hidden(
    read: Read, exiftool: ExifTool, camera_jpeg: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "edited.jpg"
    for jpeg in camera_jpeg, PLAIN["baseline"]:
        file.write_bytes(write_exif(jpeg, STAMP))
        exiftool.run("-overwrite_original", "-Artist=Another artist", "-Orientation#=3", file)
        check_hidden(read, file.read_bytes())


def check_hidden(read: Read, stamped: bytes) -> None:
    head = anonymize_exif(stamped, STAMP.id, NEW_ID)
    hidden = head + stamped[len(head) :]
    assert 0 < len(head) < len(hidden) == len(stamped)
    assert STAMP.id.encode() not in hidden
    assert STAMP.camera.encode() not in hidden
    before, found = read(stamped), read(hidden)
    assert found["ExifIFD:ImageUniqueID"] == NEW_ID
    gone = {"IFD0:CameraLabel"} | ({"IFD0:ImageDescription"} & before.keys())
    changed = {*gone, "ExifIFD:ImageUniqueID", "ExifTool:Warning", "ExifTool:Validate"}
    assert before.keys() - found.keys() <= gone | {"ExifTool:Warning"}
    for key in before.keys() - changed:
        assert key.startswith("System:") or found[key] == before[key], key
    if before["ExifTool:Validate"] == "OK":
        assert found["ExifTool:Validate"] == "OK"
    assert decode(hidden) == decode(stamped)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_images_have_nothing_to_hide(kind: str) -> None:
    assert anonymize_exif(encode(draw(40, 30), kind) + STAMP.id.encode(), STAMP.id, NEW_ID) == b""


def test_a_head_without_a_scan_is_not_taken_for_hidden(camera_jpeg: bytes) -> None:
    stamped = write_exif(camera_jpeg, STAMP)
    for size in 100, 300, stamped.index(STAMP.id.encode()) + 4:
        with pytest.raises(BadImage):
            anonymize_exif(stamped[:size], STAMP.id, NEW_ID)


@given(st.data())
def test_hiding_any_damaged_exif_raises_nothing_but_bad_image(data: st.DataObject) -> None:
    stamped = bytearray(write_exif(PLAIN["baseline"], STAMP))
    end = stamped.index(b"\xff\xdb")
    for _ in range(data.draw(st.integers(1, 6))):
        stamped[data.draw(st.integers(2, end))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadImage):
        head = anonymize_exif(bytes(stamped), STAMP.id, NEW_ID)
        assert len(head) <= len(stamped), "no byte moves"
        assert head[:2] == stamped[: len(head)][:2]


# ---- broken, double and too large


def test_exif_that_cannot_be_read_is_replaced(read: Read) -> None:
    for broken in b"", b"II*\0", b"MM\0*\0\0\0\0", b"MM\0*\xff\xff\xff\xff\0\0", b"nothing at all", bytes(1000):
        jpeg = insert(PLAIN["baseline"], (0xE1, EXIF + broken))
        found = read(write_exif(jpeg, STAMP))
        assert found["ExifTool:Validate"] == "OK", (broken, found)
        assert ALONE.items() <= found.items()
        assert exif_cleared(write_exif(jpeg, STAMP)) == PLAIN["baseline"]


def test_the_readable_part_of_broken_exif_is_kept() -> None:
    """The orientation is before the cut."""
    entry = struct.pack(">HHII", 0x0112, 3, 1, 6 << 16)
    for rest in b"", b"\x01\x13", struct.pack(">HHII", 0x8769, 4, 1, 0xFFFFFFFF):
        broken = b"MM\0*\0\0\0\x08\0\x05" + entry + rest
        stamped = write_exif(insert(PLAIN["baseline"], (0xE1, EXIF + broken)), STAMP)
        assert inspect(stamped).width == 30
        with Image.open(io.BytesIO(stamped)) as image:
            assert image.getexif().get_ifd(0x8769)[0xA420] == STAMP.id


WHOLE = make_canon("<")
ODD = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=300).map(lambda tail: b"II*\0\x08\0\0\0" + tail),
    st.binary(max_size=300).map(lambda tail: b"MM\0*\0\0\0\x08" + tail),
    st.lists(st.tuples(st.integers(4, len(WHOLE) - 1), st.integers(0, 255)), max_size=8).map(
        lambda changes: bytes(dict(changes).get(place, byte) for place, byte in enumerate(WHOLE))
    ),
    st.integers(0, len(WHOLE)).map(lambda size: WHOLE[:size]),
)


@given(st.lists(ODD, min_size=1, max_size=3))
@example([b"MM\0*\0\0\0\x18D.O.G.\0\0\0\0\0\x08\0\0\xff\xff\0\0"])
@example([b"MM\0*\0\0\0\x18D.O.G.\0\0\0\0\0\x18\0\0\0\x18\0\0"])
def test_any_exif_leaves_the_image_and_our_entries_intact(bodies: list[bytes]) -> None:
    jpeg = insert(PLAIN["baseline"], *((0xE1, EXIF + body) for body in bodies))
    stamped = write_exif(jpeg, STAMP)
    assert exif_cleared(stamped) == PLAIN["baseline"]
    with Image.open(io.BytesIO(stamped)) as image:
        exif = image.getexif()
        assert exif[0xC7A1] == STAMP.camera
        assert exif.get_ifd(0x8769)[0xA420] == STAMP.id
        assert exif.get_ifd(0x8769)[0x9011] == "-03:30"
    assert write_exif(stamped, LATER) == write_exif(jpeg, LATER)


@given(st.data())
def test_a_damaged_jpeg_raises_nothing_but_bad_image(data: st.DataObject) -> None:
    jpeg = write_exif(PLAIN[data.draw(st.sampled_from(sorted(PLAIN)))], LATER)
    changed = bytearray(jpeg[: data.draw(st.integers(0, len(jpeg)))])
    for _ in range(data.draw(st.integers(0, 8))):
        if changed:
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        write_exif(bytes(changed), STAMP)
    except BadImage:
        with pytest.raises(BadImage):
            walk_structure(bytes(changed))


def test_exif_after_other_segments_keeps_its_place() -> None:
    others = [(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP), (0xE2, b"ICC_PROFILE\0\1\1" + PROFILE)]
    jpeg = insert(PLAIN["baseline"], *others, (0xE1, EXIF + WHOLE), (0xFE, b"A comment."))
    stamped = write_exif(jpeg, STAMP)
    assert exif_cleared(stamped) == exif_cleared(jpeg)
    assert [is_exif(segment) for _, segment in segments(stamped)] == [is_exif(segment) for _, segment in segments(jpeg)]


def test_only_the_first_of_two_exif_segments_is_kept_and_that_is_logged(
    read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    """exiftool uses the last one, Pillow and browsers the first."""
    other = tiff_of(write_exif(PLAIN["baseline"], LATER))
    for between in [], [(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)]:
        jpeg = insert(PLAIN["baseline"], (0xE1, EXIF + WHOLE), *between, (0xE1, EXIF + other))
        stamped = write_exif(jpeg, STAMP)
        found = read(stamped)
        assert (OURS | {"IFD0:Make": "Canon", "Canon:OwnerName": "Somebody"}).items() <= found.items(), found
        assert found["ExifTool:Validate"] == "OK", found
        assert exif_cleared(stamped) == insert(PLAIN["baseline"], *between)
        assert "The camera wrote EXIF more than once" in caplog.messages[-1]


@pytest.fixture
def large(exiftool: ExifTool, tmp_path: Path) -> Callable[[bytes, int], bytes]:
    """Return `large(jpeg, size)`, which enlarges the EXIF by its thumbnail."""

    def fill(jpeg: bytes, size: int) -> bytes:
        file, thumbnail = tmp_path / "large.jpg", tmp_path / "large_thumbnail.jpg"
        small = encode(draw(16, 12))
        length = size - len(tiff_of(jpeg)) + len(small)
        thumbnail.write_bytes(small[:-2] + bytes(length - len(small)) + small[-2:])
        file.write_bytes(jpeg)
        exiftool.run("-overwrite_original", f"-ThumbnailImage<={thumbnail}", file)
        return file.read_bytes()

    return fill


@pytest.mark.documented(
    "JPEG whose EXIF leaves no room (64 KiB)", "kept with all of the camera's EXIF, without ours; the log says so"
)
@pytest.mark.parametrize("size", [65_300, 65_400])
def test_the_stamp_is_left_out_and_logged_if_it_does_not_fit(
    camera_jpeg: bytes, large: Callable[[bytes, int], bytes], size: int, caplog: pytest.LogCaptureFixture
) -> None:
    filled = large(camera_jpeg, size)
    assert len(tiff_of(filled)) == size
    assert write_exif(filled, STAMP) == filled
    assert [record.getMessage() for record in caplog.records] == [
        f"The EXIF of the camera has {size} bytes in 7 entries, so ours does not fit: photo {STAMP.id} has only the"
        " camera's."
    ]


@pytest.mark.parametrize("tag", ["UserComment", "Copyright", "MakerNoteUnknownText"])
def test_a_large_value_of_the_camera_is_kept_next_to_the_stamp(
    read: Read, exiftool: ExifTool, camera_jpeg: bytes, tmp_path: Path, tag: str
) -> None:
    file, text = tmp_path / "camera.jpg", tmp_path / "value.txt"
    is_note = tag.startswith("MakerNote")  # the other one has offsets, so exiftool does not replace it
    file.write_bytes(PLAIN["baseline"] if is_note else camera_jpeg)
    text.write_text("x" * 58_000)
    exiftool.run("-overwrite_original", f"-EXIF:{tag}<={text}", file)
    assert len(tiff_of(file.read_bytes())) > 58_000
    stamped = write_exif(file.read_bytes(), STAMP)
    theirs = {} if is_note else {key: value for key, value in THEIRS.items() if not key.endswith(tag)}
    assert (OURS | theirs).items() <= read(stamped).items()
    assert b"x" * 58_000 in tiff_of(stamped)


def test_exif_that_just_fits_keeps_its_thumbnail(
    read: Read, camera_jpeg: bytes, large: Callable[[bytes, int], bytes]
) -> None:
    found = read(write_exif(large(camera_jpeg, 64_000), STAMP))
    assert (OURS | THEIRS).items() <= found.items(), found
    assert found["IFD1:ThumbnailLength"] > 60_000


def test_exif_in_two_segments_is_joined(read: Read) -> None:
    """The thumbnail begins in the first segment and ends in the second."""
    bodies = split_exif(60_000, 30_000)
    found = read(write_exif(insert(PLAIN["baseline"], *bodies), STAMP))
    assert (ALONE | {"IFD0:Orientation": "Rotate 90 CW"}).items() <= found.items(), found
    assert found["IFD1:ThumbnailLength"] > 59_000


def test_exif_of_more_than_one_segment_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    jpeg = insert(PLAIN["baseline"], *split_exif(150_000, 65_000))
    assert write_exif(jpeg, STAMP) == jpeg
    assert "ours does not fit" in caplog.text


def split_exif(size: int, part: int) -> list[tuple[int, bytes]]:
    """Return EXIF with a thumbnail, in segments of `part` bytes."""
    small = encode(draw(16, 12))
    thumbnail = small[:-2] + bytes(size - len(small) - 56) + small[-2:]
    first = struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 26)
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(thumbnail), 0)
    tiff = b"II*\0\x08\0\0\0" + first + second + thumbnail
    return [(0xE1, EXIF + tiff[begin : begin + part]) for begin in range(0, len(tiff), part)]


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b" "])
def test_exif_whose_name_ends_with_another_byte_is_the_camera_s_too(fill: bytes) -> None:
    """Browsers ignore this byte: two segments would turn the photo."""
    tiff = b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, 8, 0) + bytes(4)
    stamped = write_exif(insert(PLAIN["baseline"], (0xE1, b"Exif\0" + fill + tiff)), STAMP)
    assert stamped.count(b"Exif\0") == 1
    assert inspect(stamped).width == 30


def test_images_after_the_first_are_still_found() -> None:
    """Their offsets are counted from the index (MPF), which follows EXIF."""
    frames = [draw(40, 30, seed) for seed in range(3)]
    several = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    stamped = write_exif(several, STAMP)
    with Image.open(io.BytesIO(several)) as before, Image.open(io.BytesIO(stamped)) as after:
        for frame in range(3):
            before.seek(frame)
            after.seek(frame)
            assert after.tobytes() == before.tobytes()


def test_a_directory_begins_at_an_even_offset() -> None:
    """TIFF requires it, for any length of the camera's EXIF."""
    for end in b"", b"x":
        tiff = tiff_of(write_exif(insert(PLAIN["baseline"], (0xE1, EXIF + WHOLE + end)), STAMP))
        assert struct.unpack_from("<I", tiff, 4)[0] % 2 == 0


@pytest.mark.parametrize(
    ("name", "components"), [("baseline", (1, 2, 3, 0)), ("grey", (1, 0, 0, 0)), ("CMYK", (0,) * 4)]
)
def test_the_components_entry_matches_the_image(name: str, components: tuple[int, ...]) -> None:
    with Image.open(io.BytesIO(write_exif(PLAIN[name], STAMP))) as image:
        assert tuple(image.getexif().get_ifd(0x8769)[0x9101]) == components


@pytest.mark.parametrize(
    "rest", [b"", b"\xff\xe1\0\1\xff\xda", b"\xff\xe1\xff\xff", b"\xff\xd8\0\2\xff\xda", b"\xff\xd9\0\2\xff\xda"]
)
def test_a_jpeg_without_a_scan_is_refused(rest: bytes) -> None:
    with pytest.raises(BadImage):
        write_exif(b"\xff\xd8" + rest, STAMP)


def test_a_segment_after_the_first_exif_is_not_joined_to_it() -> None:
    alone = write_exif(insert(PLAIN["baseline"], (0xE1, EXIF + WHOLE)), STAMP)
    assert write_exif(insert(PLAIN["baseline"], (0xE1, EXIF + WHOLE), (0xE1, EXIF + WHOLE)), STAMP) == alone
    apart = insert(PLAIN["baseline"], (0xE1, EXIF + WHOLE), (0xFE, b"A comment."), (0xE1, EXIF + b"more"))
    assert tiff_of(write_exif(apart, STAMP)) == tiff_of(alone)


def test_an_offset_beyond_the_camera_s_exif_does_not_point_into_ours() -> None:
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIII", 1, 0x0112, 3, 1, 6 << 16, 26)
    tiff = tiff_of(write_exif(insert(PLAIN["baseline"], (0xE1, EXIF + tiff)), STAMP))
    (first,) = struct.unpack_from(">I", tiff, 4)
    (count,) = struct.unpack_from(">H", tiff, first)
    assert struct.unpack_from(">I", tiff, first + 2 + 12 * count) == (0,)
