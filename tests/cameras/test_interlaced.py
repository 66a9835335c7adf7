"""Interlaced H.264 whose two fields are in packets of their own (PAFF).

No encoder at hand writes it, so it is written here: blocks without compression (I_PCM), 64 x 64 pixels.
"""

import io
import struct

import pytest
from PIL import Image

from dog.cameras.rtp import make_depacketizer
from dog.cameras.rtsp import PacketDecoder
from dog.cameras.sdp import VideoDescription
from dog.errors import BadImage

pytest.importorskip("av")

ACROSS = DOWN = 4
"""Blocks of 16 x 16 pixels in a frame."""
INTRA_SLICE, I_PCM = 7, 25
FRAGMENT_BYTES = 1400


class Bits:
    """Bits of a unit (ITU-T H.264, 7.3)."""

    def __init__(self) -> None:
        self._text = ""

    def add(self, *fields: tuple[int, int]) -> "Bits":
        """Add numbers, each with its count of bits."""
        self._text += "".join(f"{number:0{count}b}" for count, number in fields)
        return self

    def golomb(self, *numbers: int) -> "Bits":
        """Add numbers as Exp-Golomb codes (9.1)."""
        for number in numbers:
            self.add((2 * (number + 1).bit_length() - 1, number + 1))
        return self

    def block(self, level: int) -> None:
        """Add a grey block."""
        self.golomb(I_PCM)
        self._text += "0" * (-len(self._text) % 8)
        self._text += f"{level:08b}" * 256 + f"{128:08b}" * 128

    def unit(self, header: int) -> bytes:
        """Return the unit, with its stop bit and escapes (7.4.1)."""
        text = self._text + "1"
        text += "0" * (-len(text) % 8)
        unit, zeros = bytearray((header,)), 0
        for byte in int(text, 2).to_bytes(len(text) // 8):
            if zeros >= 2 and byte <= 3:
                unit.append(3)
                zeros = 0
            unit.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return bytes(unit)


def make_sets() -> tuple[bytes, bytes]:
    """Return parameter sets: main profile, fields, in the order of display."""
    sps = Bits().add((8, 77), (8, 0), (8, 30)).golomb(0, 4, 2, 1).add((1, 0)).golomb(ACROSS - 1, DOWN // 2 - 1)
    pps = Bits().golomb(0, 0).add((2, 0)).golomb(0, 0, 0).add((3, 0)).golomb(0, 0, 0).add((3, 0))
    return sps.add((1, 0), (1, 0), (1, 1), (1, 0), (1, 0)).unit(0x67), pps.unit(0x68)


def make_field(frame: int, level: int, *, is_key: bool, is_bottom: bool) -> bytes:
    field = Bits().golomb(0, INTRA_SLICE, 0).add((8, frame), (1, 1), (1, is_bottom))
    if is_key:
        field.golomb(0).add((2, 0))
    else:
        field.add((1, 0))
    field.golomb(0)
    for _ in range(ACROSS * DOWN // 2):
        field.block(level)
    return field.unit(0x65 if is_key else 0x61)


def fragments(unit: bytes) -> list[bytes]:
    """Return a unit in fragments (RFC 6184, section 5.8)."""
    parts = [unit[at : at + FRAGMENT_BYTES] for at in range(1, len(unit), FRAGMENT_BYTES)]
    if len(parts) == 1:
        return [unit]
    ends = [0x80, *([0] * (len(parts) - 2)), 0x40]
    return [bytes((unit[0] & 0xE0 | 28, end | unit[0] & 0x1F)) + part for end, part in zip(ends, parts, strict=True)]


@pytest.mark.documented("interlaced H.264 with each field in packets of its own", "each whole frame gives a photo")
@pytest.mark.parametrize("has_own_stamps", [False, True])
@pytest.mark.parametrize("keyframe_interval", [1, 3])
def test_each_pair_of_fields_gives_an_image(has_own_stamps: bool, keyframe_interval: int) -> None:
    depacketizer, decoder = make_depacketizer(VideoDescription("h264", 96, "", "")), PacketDecoder("h264")
    images, sequence = [], 0
    for frame in range(12):
        number = frame % keyframe_interval
        top, bottom = 40 + 10 * frame, 45 + 10 * frame
        units = [*make_sets()] if number == 0 else []
        units.append(make_field(number, top, is_key=number == 0, is_bottom=False))
        units.append(make_field(number, bottom, is_key=False, is_bottom=True))
        for unit in units:
            is_bottom = unit is units[-1]
            stamp = 3600 * frame + (1800 if is_bottom and has_own_stamps else 0)
            parts = fragments(unit)
            for at, part in enumerate(parts):
                marked = 0x80 if is_bottom and at == len(parts) - 1 else 0
                packet = struct.pack(">BBHII", 0x80, 96 | marked, sequence, stamp, 7) + part
                sequence += 1
                for coded in depacketizer.add(packet, stamp / 90_000):
                    decoder.add(coded)
                    try:
                        image = Image.open(io.BytesIO(decoder.encode_last())).convert("L")
                    except BadImage:  # a first field alone
                        continue
                    assert image.size == (64, 64)
                    rows = image.resize((1, 64)).tobytes()
                    images.append(abs(rows[20] - rows[21]))
    assert len(images) >= 11
    assert all(difference >= 2 for difference in images), "the rows are of both fields"
