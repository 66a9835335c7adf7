"""Repair: MJPEG frames get the Huffman tables that they omit."""

import contextlib
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dog.cameras.frame_selection import ImageFrame
from dog.errors import BadImage
from dog.images import repair
from dog.images.file_structure import SOS, walk_jpeg
from dog.snapshots.store import SnapshotStore
from tests.support.damages import draw_detailed, drop_segments, insert_after_soi, read_tables
from tests.support.pictures import draw, encode
from tests.support.stores import MOMENT, read_image

DHT = 0xC4
AVI1 = b"\xff\xe0\0\x10AVI1" + bytes(10)


def keep_tables(data: bytes, kept: set[int]) -> bytes:
    """Return a JPEG with only some of its tables, in one segment at its start."""
    body = b"".join(bytes((number,)) + table for number, table in read_tables(data).items() if number in kept)
    bare = drop_segments(data, DHT)
    return insert_after_soi(bare, b"\xff\xc4" + (2 + len(body)).to_bytes(2) + body) if body else bare


def read_pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


WHOLE = {
    "4:2:2": encode(draw_detailed(160, 120), subsampling="4:2:2"),
    "4:2:0 with restart markers": encode(draw_detailed(160, 120), restart_marker_rows=1),
    "grey": encode(draw_detailed(160, 120, mode="L")),
    "AVI1 instead of JFIF": insert_after_soi(drop_segments(encode(draw_detailed(160, 120)), 0xE0), AVI1),
}


@pytest.mark.documented(
    "MJPEG frame without Huffman tables", "kept and shown with the standard tables, so that every program opens it"
)
@pytest.mark.parametrize("kept", [set(), {0x00}, {0x00, 0x10}, {0x01, 0x11}], ids=str)
@pytest.mark.parametrize("kind", WHOLE)
def test_the_standard_tables_are_added_if_they_are_missing(kind: str, kept: set[int]) -> None:
    whole = WHOLE[kind]
    repaired = repair(keep_tables(whole, kept))
    assert read_tables(repaired) == read_tables(whole)
    assert read_pixels(repaired) == read_pixels(whole)
    assert repair(repaired) is repaired


def test_the_tables_and_the_end_marker_are_both_added() -> None:
    whole = WHOLE["4:2:2"]
    assert repair(drop_segments(whole, DHT)[:-2]) == repair(drop_segments(whole, DHT))


@pytest.mark.parametrize("option", ["optimize", "progressive"])
def test_the_camera_s_own_tables_stay(option: str) -> None:
    data = encode(draw_detailed(160, 120), "JPEG", **{option: True})
    assert repair(data) is data


def test_tables_between_two_scans_stay() -> None:
    """A progressive JPEG defines them there; one scan after another may too."""
    whole = WHOLE["grey"]
    scan = next(segment for segment in walk_jpeg(whole).segments if segment.marker == SOS)
    tables = b"\xff\xc4" + (2 + 17 + 12).to_bytes(2) + b"\1" + read_tables(WHOLE["4:2:2"])[1]
    two = whole[:-2] + tables + whole[scan.begin :]
    assert repair(two) is two


@pytest.mark.parametrize("image", [encode(draw(), "PNG"), encode(draw(), "WEBP")], ids=["PNG", "WebP"])
def test_other_images_are_unchanged(image: bytes) -> None:
    assert repair(image) is image


def test_a_previewed_frame_gets_the_tables_too() -> None:
    frame = ImageFrame(drop_segments(WHOLE["4:2:2"], DHT), 0.0)
    assert read_tables(frame.preview()) == read_tables(WHOLE["4:2:2"])


@pytest.mark.parametrize("exif", [False, True])
@pytest.mark.parametrize("cut", [0, 2])
async def test_a_stored_photo_is_repaired_with_and_without_exif(exif: bool, cut: int, tmp_path: Path) -> None:
    bare = drop_segments(WHOLE["4:2:2"], DHT)
    store = SnapshotStore(tmp_path, exif=exif)
    await store.open()
    try:
        snapshot = await store.save(bare[: len(bare) - cut], camera="door", capture=1, captured_at=MOMENT)
        kept = await read_image(store, snapshot)
    finally:
        await store.close()
    assert read_tables(kept) == read_tables(WHOLE["4:2:2"])
    assert kept.endswith(b"\xff\xd9")
    assert (b"Exif\0\0" in kept) == exif


@settings(deadline=None, max_examples=200)
@given(place=st.integers(0, 10_000), added=st.binary(max_size=12), removed=st.integers(0, 12))
def test_a_malformed_header_raises_only_bad_image(place: int, added: bytes, removed: int) -> None:
    bare = keep_tables(WHOLE["grey"], {0x00})
    place %= walk_jpeg(bare).segments[-1].end
    with contextlib.suppress(BadImage):
        repair(bare[:place] + added + bare[place + removed :])
