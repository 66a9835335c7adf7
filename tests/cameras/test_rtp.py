"""Frames from RTP packets, with packets made by hand."""

import io
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dog.cameras.rtp import CodedFrame, Depacketizer, make_depacketizer
from dog.cameras.sdp import START_CODE, VideoDescription

KEY, OTHER, MORE = b"\x65\x88key", b"\x41\x9aother", b"\x41\x3arest"
"""Slices: the first of an H.264 keyframe, the first of another frame, and a further one."""
SPS, SEI_RECOVERY = b"\x67sps", b"\x06\x06\x01\xc4\x80"


def make(codec: str) -> Depacketizer:
    return make_depacketizer(VideoDescription(codec, 96, "", ""))


class Stream:
    """Packets in a row, and the frames that came of them."""

    def __init__(self, codec: str = "h264") -> None:
        self.depacketizer = make(codec)
        self.sequence = 65530
        self.frames: list[CodedFrame] = []

    def send(self, payload: bytes, frame: int, *, marked: bool = False, lost: bool = False, sender: int = 7) -> None:
        head = struct.pack(">BBHII", 0x80, 96 | 0x80 * marked, self.sequence & 0xFFFF, frame * 9000, sender)
        self.sequence += 1
        if not lost:
            self.frames += self.depacketizer.add(head + payload, float(frame))

    @property
    def damaged(self) -> list[bool]:
        return [frame.is_damaged for frame in self.frames]


def units(*parts: bytes) -> bytes:
    return b"".join(START_CODE + part for part in parts)


def test_a_frame_has_all_units_of_its_timestamp_and_the_sets_before_it() -> None:
    stream = Stream()
    for payload in (SPS, KEY, SPS, MORE):
        stream.send(payload, 1)
    stream.send(OTHER, 2)
    stream.send(OTHER, 3)
    assert [frame.data for frame in stream.frames] == [units(SPS, KEY, SPS, MORE), units(OTHER)]
    assert [(frame.is_keyframe, frame.stamp) for frame in stream.frames] == [(True, 0.0), (False, 0.1)]


def test_without_timestamps_a_first_slice_begins_a_frame() -> None:
    stream = Stream()
    for payload in (KEY, MORE, OTHER, MORE, OTHER):
        stream.send(payload, 1)
    assert [frame.data for frame in stream.frames] == [units(KEY, MORE), units(OTHER, MORE)]


def test_a_marker_ends_a_frame_once_three_were_right() -> None:
    stream = Stream()
    for number in range(6):
        stream.send(OTHER, number, marked=True)
        assert len(stream.frames) == (number if number < 3 else number + 1)
    stream.send(MORE, 5, marked=True)  # wrong: it is of the same frame
    stream.send(OTHER, 6, marked=True)
    assert stream.damaged == [False] * 6 + [True]
    stream.send(MORE, 6, marked=True)
    stream.send(OTHER, 7)
    assert stream.frames[-1].data == units(OTHER, MORE)


def test_units_come_in_fragments_and_aggregates() -> None:
    stream = Stream()
    stream.send(b"\x78" + b"".join(len(unit).to_bytes(2) + unit for unit in (SPS, KEY)), 1)
    for number, part in enumerate((b"\x9a", b"oth", b"er")):
        flags = (0x80, 0, 0x40)[number]
        stream.send(bytes((0x5C, 1 | flags)) + part, 2)
    stream.send(OTHER, 3)
    assert [frame.data for frame in stream.frames] == [units(SPS, KEY), units(OTHER)]


def test_h265_has_fragments_and_keyframes_too() -> None:
    stream = Stream("hevc")
    stream.send(bytes((49 << 1, 1, 0x80 | 19)) + b"\x80k", 1)
    stream.send(bytes((49 << 1, 1, 0x40 | 19)) + b"ey", 1)
    stream.send(bytes((1 << 1, 1)) + b"\x80other", 2)
    stream.send(bytes((1 << 1, 1)) + b"\x80other", 3)
    assert [frame.data for frame in stream.frames] == [units(bytes((19 << 1, 1)) + b"\x80key"), units(b"\2\1\x80other")]
    assert [frame.is_keyframe for frame in stream.frames] == [True, False]


@pytest.mark.parametrize(("lost", "before"), [((3, 0), [1]), ((3, 1), [1, 2]), ((4, 0), [1, 2])])
def test_after_a_loss_all_frames_are_damaged_until_a_whole_keyframe(lost: tuple[int, int], before: list[int]) -> None:
    stream = Stream()
    for number in range(1, 12):
        for position, payload in enumerate((KEY if number in (1, 8) else OTHER, MORE)):
            stream.send(payload, number, lost=(number, position) == lost)
    whole = [round(frame.stamp * 10) + 1 for frame in stream.frames if not frame.is_damaged]
    assert whole == [*before, 8, 9, 10]  # without the frame before the loss, which may lack its end


def test_a_damaged_keyframe_ends_no_damage() -> None:
    stream = Stream()
    for number in range(1, 9):
        stream.send(KEY if number in (3, 6) else OTHER, number, lost=number == 2)
        stream.send(MORE, number, lost=number == 3)
    assert stream.damaged[-1] is False
    assert sum(stream.damaged) >= 4


def test_a_recovery_point_can_start_but_is_no_keyframe() -> None:
    stream = Stream()
    stream.send(KEY, 1)
    stream.send(OTHER, 2, lost=True)
    for number in (3, 4):
        stream.send(SEI_RECOVERY, number, lost=number == 3)
        stream.send(OTHER, number)
    stream.send(OTHER, 5)
    assert stream.damaged[-2:] == [True, False]
    assert [(frame.is_keyframe, frame.can_start) for frame in stream.frames][-2:] == [(False, False), (False, True)]


def test_repeated_and_late_packets_are_dropped_and_a_new_stream_is_not() -> None:
    stream = Stream()
    stream.send(KEY, 1)
    stream.sequence -= 1
    stream.send(KEY, 1)
    stream.send(OTHER, 2)
    assert stream.damaged == [False]
    stream.sequence = 20
    stream.send(KEY, 50, sender=8)
    stream.send(OTHER, 51, sender=8)
    assert stream.damaged[-1] is False


def rtp_jpeg(image: Image.Image, quality: int, size: int = 200) -> Iterable[bytes]:
    """Return the payloads of a JPEG by RFC 2435."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    _, _, rest = file.getvalue().partition(b"\xff\xda")
    scan = rest[int.from_bytes(rest[:2]) : -2]
    for at in range(0, len(scan), size):
        head = struct.pack(">IBBBB", at, 1, quality, image.width // 8, image.height // 8)
        yield head + scan[at : at + size]


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_a_jpeg_gets_the_headers_that_its_encoder_left_out(quality: int) -> None:
    image = Image.effect_noise((64, 48), 40).convert("RGB")
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    stream = Stream("mjpeg")
    payloads = list(rtp_jpeg(image, quality))
    for number, payload in enumerate(payloads):
        stream.send(payload, 1, marked=number == len(payloads) - 1)
    assert Image.open(io.BytesIO(stream.frames[0].data)).tobytes() == Image.open(file).tobytes()


@pytest.mark.parametrize("lost", [1, -1])
def test_a_jpeg_without_a_fragment_is_damaged_alone(lost: int) -> None:
    payloads = list(rtp_jpeg(Image.effect_noise((64, 48), 40).convert("RGB"), 80))
    stream = Stream("mjpeg")
    for frame in (1, 2, 3):
        for number, payload in enumerate(payloads):
            is_lost = frame == 2 and number == lost % len(payloads)
            stream.send(payload, frame, marked=number == len(payloads) - 1, lost=is_lost)
    assert stream.damaged == [False, True, False]
    assert not stream.frames[1].data.endswith(b"\xff\xd9")


def test_later_jpegs_may_leave_out_tables_that_were_sent() -> None:
    image = Image.effect_noise((64, 48), 40).convert("RGB")
    file = io.BytesIO()
    image.save(file, "JPEG", quality=40, subsampling="4:2:0")
    tables = b"".join(part[3:67] for part in file.getvalue().split(b"\xff\xdb")[1:3])
    first, *others = rtp_jpeg(image, 40, size=100_000)
    assert not others

    def with_tables(remembered: int, sent: bytes) -> bytes:
        return first[:5] + bytes((remembered,)) + first[6:8] + b"\0\0" + len(sent).to_bytes(2) + sent + first[8:]

    stream = Stream("mjpeg")
    for number, (remembered, sent) in enumerate([(200, b""), (200, tables), (200, b""), (201, b""), (255, tables)]):
        stream.send(with_tables(remembered, sent), number, marked=True)
    assert stream.damaged == [True, False, False, True, False]
    for at in (1, 2, 4):
        assert Image.open(io.BytesIO(stream.frames[at].data)).tobytes() == Image.open(file).tobytes()


@given(st.sampled_from(["h264", "hevc", "mjpeg"]), st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_are_taken(codec: str, packets: list[bytes]) -> None:
    depacketizer = make(codec)
    for number, packet in enumerate(packets):
        list(depacketizer.add(packet, 0.0))
        list(depacketizer.add(struct.pack(">BBHII", 0x80, 96 | 0x80, number, number, 0) + packet, 0.0))
