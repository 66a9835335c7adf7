"""JPEG damage: damaged JPEGs are refused, and unusual ones accepted.

Those may have notes or padding. The kinds of JPEG and of damage are in tests/support/damages.py. How much damage is
found in all is counted by tests/load/test_damage.py.
"""

import base64
import contextlib
import dataclasses
import http.server
import io
import itertools
import json
import random
import re
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from dog.errors import BadImage
from dog.images import inspect, inspect_kept, jpeg_decoding, repair
from dog.images.file_structure import walk_jpeg
from dog.snapshots.store import SnapshotStore
from tests.conftest import Serve
from tests.support.camera_programs import write_copying_camera
from tests.support.damages import KINDS, Damage, cut, draw_detailed, drop, insert_after_soi, pad_restarts, scan_at, zero
from tests.support.pictures import encode
from tests.support.server_process import ROOT
from tests.support.stores import MOMENT, read_image

END = b"\xff\xd9"
CLEAR = [kind for kind in KINDS if kind != "progressive with restart markers"]
"""Kinds for which every damage by lost packets was found."""
ENDING = [kind for kind in KINDS if not kind.endswith("after its end") and kind != "MJPEG without Huffman tables"]
BASELINE = KINDS["baseline"](0)
RESTARTS = KINDS["restart markers by lines"](0)
DAHUA = b"\xff\xfe" + struct.pack(">H", 4094) + bytes(4092) + bytes(608)
"""A comment whose length is 608 bytes too small, as sent by Dahua's cameras."""

ARITHMETIC = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19i"
    "Z2hnPk1xeXBkeFxlZ2P/yQALCAASABgBAREA/8wABgAQEAX/2gAIAQEAAD8A3SnkPbnyb+/ZLrL4PgGplLoxFkcDXXU8MHaHOtOz"
    "+TWK2F9MDtS00MGQ0RmmMRXmYZ1FQN3U5LIH03tQw41bkcMOi+yVoa9bwxXskqHN29YUXm5VAoD/2Q=="
)


def refusal(data: bytes) -> BadImage:
    with pytest.raises(BadImage) as caught:
        inspect(repair(data))
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_an_undamaged_jpeg_is_accepted_unchanged(kind: str) -> None:
    data = KINDS[kind](5)
    assert (repair(data) is data) == (kind != "MJPEG without Huffman tables")
    assert (inspect(data).width, inspect(data).height) == (320, 240)


@pytest.mark.parametrize("kind", KINDS)
def test_simplejpeg_decodes_like_pillow(kind: str) -> None:
    data = KINDS[kind](5)
    assert dataclasses.replace(inspect(data), thumbnail=b"") == dataclasses.replace(inspect_kept(data), thumbnail=b"")
    pixels = [read_grey(one.thumbnail) for one in (inspect(data), inspect_kept(data))]
    assert sum(abs(a - b) for a, b in zip(*pixels, strict=True)) / len(pixels[0]) < 4


def read_grey(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("L").tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_data_that_ends_early_is_refused_despite_an_end_marker(kind: str) -> None:
    for seed in range(25):
        refused = refusal(cut(KINDS[kind](seed % 3), random.Random(seed)))
        assert refused.message in (
            "The image is damaged: a part of the JPEG is lost.",
            "The image is cut off: the end of the JPEG is missing.",
        )


@pytest.mark.parametrize(
    "damage", [drop(1024), drop(3072), zero(512), zero(3072)], ids=["1024", "3072", "z512", "z3072"]
)
@pytest.mark.parametrize("kind", CLEAR)
def test_lost_packets_are_noticed(kind: str, damage: Damage) -> None:
    for seed in range(12):
        assert refusal(damage(KINDS[kind](seed % 3), random.Random(seed))).code == "bad_image"


def test_the_detail_has_the_decoder_s_warning() -> None:
    assert refusal(cut(BASELINE, random.Random(1))).detail == "Corrupt JPEG data: premature end of data segment"


# ---- without its end marker


@pytest.mark.documented("JPEG that lacks only its end marker", "kept, with the marker added")
@pytest.mark.parametrize("kind", ENDING)
def test_a_jpeg_that_lacks_only_its_end_marker_gets_it(kind: str) -> None:
    data = KINDS[kind](7)
    for whole in repair(data[:-2]), repair(data[:-1]):
        assert whole == data
        assert inspect(whole) == inspect(data)


@pytest.mark.parametrize("kind", ENDING)
def test_zeros_that_fill_a_buffer_after_the_data_are_removed(kind: str) -> None:
    data = KINDS[kind](7)
    for padding in 1, 17, 20_000:
        assert inspect(repair(data[:-2] + bytes(padding))) == inspect(data)
    assert repair(data[:-2] + bytes(20_000)) == data
    begin, end = scan_at(data)
    assert "cut off" in refusal(data[: (begin + end) // 2] + bytes(20_000)).message


def test_a_zero_after_ff_is_not_padding() -> None:
    blocks = (Image.frombytes("L", (8, 8), random.Random(seed).randbytes(64)) for seed in range(5000))
    data = next(data for block in blocks if (data := encode(block, quality=100)).endswith(b"\xff\0" + END))
    assert repair(data[:-2] + bytes(100)) == data


@pytest.mark.parametrize(
    "notes", [b"\xff\xe0\0\x10JFIF\0\2\1\0\0\1\0\1\0\0", b"\xff\xe2\0\x12ICC_PROFILE\0\5\2ab"], ids=["JFIF 2", "ICC"]
)
def test_a_jpeg_with_unknown_notes_still_gets_its_end_marker(notes: bytes) -> None:
    data = insert_after_soi(BASELINE, notes)
    assert repair(data[:-2]) == data


@pytest.mark.parametrize("kind", ENDING)
def test_a_jpeg_whose_data_ends_early_gets_no_end_marker(kind: str) -> None:
    data = KINDS[kind](7)
    begin, _ = scan_at(data)
    for size in (*range(begin, len(data) - 2, 613), *range(len(data) - 12, len(data) - 2)):
        assert "cut off" in refusal(data[:size]).message, size


@pytest.mark.parametrize("end", [b"", END])
def test_a_progressive_jpeg_without_its_last_scans_is_cut_off(end: bytes) -> None:
    data = KINDS["progressive"](7)
    scans = [found.start() for found in re.finditer(rb"\xff\xda\x00[\x08\x0c]", data)]
    assert len(scans) == 10
    for place in scans[1:]:
        assert "cut off" in refusal(data[:place] + end).message


def test_a_component_without_a_scan_is_cut_off() -> None:
    grey = KINDS["grey"](7)
    frame = grey.index(b"\xff\xc0")
    header = b"\xff\xc0\0\x11" + grey[frame + 4 : frame + 9] + b"\3" + grey[frame + 10 : frame + 13]
    three = grey[:frame] + header + b"\2\x11\0" + b"\3\x11\0"
    assert "cut off" in refusal(three + grey[frame + 13 :]).message


def test_an_arithmetic_jpeg_without_its_end_marker_is_refused() -> None:
    """The JPEG is draw(24, 18) in grey, by `jpegtran -arithmetic`.

    Pillow can't make one.
    """
    data = base64.b64decode(ARITHMETIC)
    assert inspect(repair(data)).width == 24
    for size in len(data) - 2, len(data) - 20:
        assert jpeg_decoding._first_warning(data[:size] + END, (24, 18)) == ""
        assert "cut off" in refusal(data[:size]).message


# ---- padding and notes


@pytest.mark.parametrize(
    "data",
    [
        pad_restarts(RESTARTS),
        pad_restarts(RESTARTS, b"\x5a" * 10),
        pad_restarts(KINDS["restart markers by blocks"](0)),
        pad_restarts(encode(draw_detailed(mode="L"), restart_marker_rows=2)),
        BASELINE[:-2] + bytes(9) + END,
        insert_after_soi(BASELINE, DAHUA),
        insert_after_soi(pad_restarts(RESTARTS), DAHUA),
        BASELINE.replace(b"JFIF\0\1", b"JFIF\0\7"),
    ],
    ids=["zeros", "other bytes", "by blocks", "grey", "before the end", "comment", "comment and zeros", "JFIF 7"],
)
def test_unused_bytes_are_not_damage(data: bytes) -> None:
    assert data not in (BASELINE, RESTARTS)
    assert jpeg_decoding._first_warning(data, (320, 240))
    assert inspect(repair(data)).width == 320


def test_left_over_data_is_not_padding() -> None:
    begin, end = scan_at(BASELINE)
    assert "a part of the JPEG is lost" in refusal(BASELINE[:end] + BASELINE[begin : begin + 40] + END).message


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["restart markers by lines", "restart markers by blocks"])
def test_damage_behind_padding_is_found(kind: str, seed: int) -> None:
    """libjpeg reports only its first warning, which is about the padding."""
    padded = pad_restarts(KINDS[kind](seed % 3))
    begin, end = scan_at(padded)
    begin = padded.index(b"\xff\xd1", begin) + 2
    place = random.Random(seed).randrange(begin, end - 700)
    damaged = padded[:place] + padded[place + 700 :]
    assert "extraneous" in jpeg_decoding._first_warning(damaged, (320, 240))
    assert "a part of the JPEG is lost" in refusal(damaged).message


def test_a_lost_restart_interval_is_found() -> None:
    padded = pad_restarts(RESTARTS)
    marks = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", padded)]
    refused = refusal(padded[: marks[3]] + padded[marks[4] :])
    assert "restart markers" in (refused.detail or "")
    refused = refusal(padded[: marks[0]] + padded[marks[8] :])  # the numbers continue as if nothing was lost
    assert "restart markers" in (refused.detail or "")


def test_damage_behind_a_wrong_comment_is_found() -> None:
    for seed in range(10):
        damaged = insert_after_soi(cut(BASELINE, random.Random(seed)), DAHUA)
        assert "608 extraneous" in jpeg_decoding._first_warning(damaged, (320, 240))
        assert "a part of the JPEG is lost" in refusal(damaged).message


@pytest.mark.parametrize("slice_", [2, 3, 16, 4096])
def test_restart_markers_are_found_wherever_the_slices_end(slice_: int, monkeypatch: pytest.MonkeyPatch) -> None:
    begin, end = scan_at(RESTARTS)
    expected = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", RESTARTS)]
    assert len(expected) == 14
    monkeypatch.setattr(jpeg_decoding, "SLICE_BYTES", slice_)
    assert list(jpeg_decoding._restart_markers(RESTARTS, begin, end)) == expected


def test_too_many_intervals_are_not_decoded_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pad_restarts(encode(draw_detailed(), restart_marker_blocks=1))
    assert len(list(jpeg_decoding._interval_warnings(data))) == 300
    monkeypatch.setattr(jpeg_decoding, "_MAX_INTERVALS", 299)
    assert list(jpeg_decoding._interval_warnings(data)) == []
    assert inspect(data).width == 320


# ---- in the album


def test_intervals_with_a_large_header_are_not_decoded_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one is decoded with a copy of the header.

    4096 with 1 MiB of tables took 8 s.
    """
    data = pad_restarts(encode(draw_detailed(32_768, 8, mode="L"), restart_marker_blocks=1), b"\0" * 12)
    table = data[(begin := data.index(b"\xff\xdb") + 4) : begin + 65]
    tables = b"\xff\xdb" + struct.pack(">H", 2 + 1000 * len(table)) + 1000 * table
    decoded = 0
    first_warning = jpeg_decoding._first_warning

    def count(data: bytes, size: tuple[int, int]) -> str:
        nonlocal decoded
        decoded += 1
        return first_warning(data, size)

    monkeypatch.setattr(jpeg_decoding, "_first_warning", count)
    inspect(data)
    assert decoded > 4000
    decoded = 0
    inspect(insert_after_soi(data, tables))
    assert decoded < 10


@pytest.mark.parametrize("components", [0, 5, 255])
def test_a_scan_of_too_many_components_is_malformed(components: int) -> None:
    begin = BASELINE.index(b"\xff\xda")
    scan = b"\xff\xda" + struct.pack(">HB", 6 + 2 * components, components) + b"\1\0" * components + b"\0\x3f\0"
    data = BASELINE[:begin] + scan + BASELINE[begin:]
    assert refusal(data).message == "The image is damaged: the JPEG can't be read."
    with pytest.raises(BadImage, match="damaged"):
        jpeg_decoding.decode_jpeg(data, walk_jpeg(data), (1, 1), "RGB")


async def test_the_album_adds_a_missing_end_marker(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path, exif=True)
    await store.open()
    try:
        snapshot = await store.save(BASELINE[:-2], camera="porch", capture=1, captured_at=MOMENT)
        kept = store.image_path(snapshot).read_bytes()
        assert kept.endswith(END)
        assert kept == await read_image(store, snapshot)
        assert len(kept) == snapshot.bytes
        with pytest.raises(BadImage):
            await store.save(cut(BASELINE, random.Random(2)), camera="porch", capture=2, captured_at=MOMENT)
        assert await store.count() == 1
    finally:
        await store.close()


async def test_a_damaged_photo_in_the_album_is_kept(tmp_path: Path) -> None:
    """A new thumbnail is made, because browsers can show the photo."""
    store = SnapshotStore(tmp_path)
    await store.open()
    snapshot = await store.save(BASELINE, camera="porch", capture=1, captured_at=MOMENT)
    path, thumbnail = store.image_path(snapshot), store.thumbnail_path(snapshot)
    await store.close()
    path.write_bytes(zero(3072)(BASELINE, random.Random(3)))
    thumbnail.unlink()
    again = SnapshotStore(tmp_path)
    await again.open()
    try:
        assert await again.count() == 1
        assert thumbnail.exists()
    finally:
        await again.close()


# ---- from cameras


def take(url: str) -> bytes:
    with urllib.request.urlopen(f"{url}/latest.jpg?max_age=0", timeout=30) as answer:
        return bytes(answer.read())


def take_refused(url: str) -> dict[str, str]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        take(url)
    with caught.value:
        problem: dict[str, str] = json.load(caught.value)
    return problem


def test_a_script_with_a_damaged_image_fails_with_the_reason(serve: Serve, tmp_path: Path) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(cut(BASELINE, random.Random(4)))
    server = serve("--camera", write_copying_camera(picture))
    problem = take_refused(server.url)
    assert "a part of the JPEG is lost" in problem["detail"]
    picture.write_bytes(BASELINE[:-2])
    assert take(server.url).endswith(END)


@contextlib.contextmanager
def stream(make_frame: Callable[[int], bytes]) -> Iterator[str]:
    """Run an HTTP camera with 20 frames a second.

    A comment makes each differ from the previous one.
    """
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
            self.end_headers()
            with contextlib.suppress(OSError):
                for number in itertools.count():
                    frame = insert_after_soi(make_frame(number), b"\xff\xfe\0\x06" + struct.pack(">I", number))
                    head = f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {len(frame)}\r\n\r\n"
                    self.wfile.write(head.encode() + frame + b"\r\n")
                    if ended.wait(0.05):
                        return

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_damaged_frames_of_a_streaming_camera_are_skipped(serve: Serve) -> None:
    frames = [KINDS["MJPEG without Huffman tables"](seed) for seed in range(8)]
    damaged = [drop(1024)(frame, random.Random(seed)) for seed, frame in enumerate(frames)]

    def make_frame(number: int) -> bytes:
        """Return an undamaged frame at random, one in four.

        So captures don't get in step with them.
        """
        return (frames if random.Random(number).random() < 0.25 else damaged)[number % 8]

    with stream(make_frame) as url:
        server = serve("--camera", url)
        for _ in range(4):
            inspect(take(server.url))


def test_a_camera_whose_frames_lack_the_end_marker_works(serve: Serve) -> None:
    frames = [KINDS["restart markers by lines"](seed)[:-2] for seed in range(8)]
    with stream(lambda number: frames[number % 8]) as url:
        server = serve("--camera", url)
        assert take(server.url).endswith(END)
        with urllib.request.urlopen(f"{server.url}/preview.mjpg", timeout=30) as preview:
            assert preview.read(2000)


def test_a_camera_with_only_damaged_frames_fails_in_time(serve: Serve) -> None:
    frames = [cut(KINDS["baseline"](seed), random.Random(seed)) for seed in range(8)]
    with stream(lambda number: frames[number % 8]) as url:
        server = serve("--camera", url, "--capture-timeout", "3")
        began = time.monotonic()
        problem = take_refused(server.url)
        assert 3 <= time.monotonic() - began < 15
        assert "a part of the JPEG is lost" in problem["detail"]
        with urllib.request.urlopen(f"{server.url}/healthz", timeout=30) as answer:
            assert answer.status == 200


# ---- the start


def test_the_command_does_not_import_numpy() -> None:
    program = "import sys, dog.cli, dog.web.app, dog.snapshots.store; print({'numpy', 'simplejpeg'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"
