"""Coded frames from RTP packets.

The formats are H.264 (RFC 6184), H.265 (RFC 7798) and JPEG (RFC 2435). A lost packet damages its own frame, and all
that depend on it: those up to the next keyframe. It is pure: packets in, frames out.
"""

import functools
import io
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

from PIL import Image

from dog.cameras.sdp import START_CODE, VideoDescription

__all__ = ["CodedFrame", "Depacketizer", "make_depacketizer"]

CLOCK_RATE = 90_000
"""Ticks of the timestamps in a second, for all kinds of video."""
MAX_LATE_PACKETS = 1000
"""Packets by which one is late. One with a still smaller number is of a camera that counts from another one."""
CONFIRMED_FRAMES = 3
"""Frames in a row that end with a marked packet, until a marker ends a frame."""
MAX_FRAME_BYTES = 32 * 1024 * 1024
JPEG_END = b"\xff\xd9"


class RtpPacket(NamedTuple):
    """An RTP packet (RFC 3550 section 5.1)."""

    payload_type: int
    is_marked: bool
    sequence: int
    timestamp: int
    sender: int
    payload: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """Parse a packet. Return None if it is not one."""
        if len(data) < 12 or data[0] >> 6 != 2:
            return None
        sequence, timestamp, sender = struct.unpack_from(">HII", data, 2)
        begin, end = 12 + 4 * (data[0] & 0x0F), len(data)
        if data[0] & 0x10 and len(data) >= begin + 4:  # a header extension
            begin += 4 + 4 * int.from_bytes(data[begin + 2 : begin + 4], "big")
        if data[0] & 0x20:  # padding
            end -= data[-1]
        return cls(data[1] & 0x7F, data[1] >> 7 == 1, sequence, timestamp, sender, data[begin:end])


@dataclass(frozen=True, slots=True)
class CodedFrame:
    """A coded frame.

    `arrival` is a time.monotonic(), and `stamp` seconds of the camera's clock. `is_keyframe`: it depends on no earlier
    one. `can_start`: that, or decoding gets complete some frames after it, as cameras without keyframes promise.
    `is_damaged`: a packet of it, or of a frame that it may depend on, is lost.
    """

    data: bytes
    arrival: float
    stamp: float
    is_keyframe: bool
    can_start: bool
    is_damaged: bool


class Depacketizer(ABC):
    """The order of packets and the camera's clock, for all formats."""

    def __init__(self, payload_type: int) -> None:
        self._payload_type = payload_type
        self._last: RtpPacket | None = None
        self._ticks = 0
        self._must_wait = False
        """True from a loss until the next whole frame that can start decoding."""

    def add(self, data: bytes, arrival: float) -> Iterator[CodedFrame]:
        """Add a packet that arrived then. Yields the frames that are complete."""
        packet, last = RtpPacket.parse(data), self._last
        if packet is None or packet.payload_type != self._payload_type:
            return
        is_lost = False
        if last is not None:
            step = (packet.sequence - last.sequence) % 0x10000
            if packet.sender == last.sender and (step == 0 or step > 0x10000 - MAX_LATE_PACKETS):
                return
            is_lost = step != 1 or packet.sender != last.sender
            self._ticks += (packet.timestamp - last.timestamp + 0x80000000) % 0x100000000 - 0x80000000
        self._last = packet
        self._must_wait = self._must_wait or is_lost
        yield from self._add(packet, arrival, is_lost)

    @abstractmethod
    def _add(self, packet: RtpPacket, arrival: float, is_lost: bool) -> Iterator[CodedFrame]: ...

    @property
    def _stamp(self) -> float:
        return self._ticks / CLOCK_RATE

    def _make_frame(
        self, data: bytes, arrival: float, stamp: float, *, is_whole: bool, is_keyframe: bool, can_start: bool
    ) -> CodedFrame:
        if can_start and is_whole:
            self._must_wait = False
        return CodedFrame(data, arrival, stamp, is_keyframe, can_start, is_damaged=self._must_wait or not is_whole)


class VideoDepacketizer(Depacketizer):
    """Frames of H.264 or H.265.

    A frame has slices, and units without pixels before them. It ends where the first slice of the next one begins, or
    another timestamp. A marker on its last packet tells that sooner. But some cameras mark each slice, so markers count
    only once they are confirmed.
    """

    HEADER_BYTES: ClassVar[int]
    AGGREGATE: ClassVar[int]
    FRAGMENT: ClassVar[int]

    def __init__(self, payload_type: int) -> None:
        super().__init__(payload_type)
        self._fragment = bytearray()
        self._prefix: list[bytes] = []  # the units before the next slice
        self._units: list[bytes] = []  # of the frame
        self._is_whole = self._is_keyframe = self._can_start = self._is_marked = False
        self._frame_stamp = self._arrival = 0.0
        self._confirmed: int | None = 0  # frames that ended with a marker; None: markers are wrong

    def _add(self, packet: RtpPacket, arrival: float, is_lost: bool) -> Iterator[CodedFrame]:
        if is_lost:
            self._fragment.clear()
            self._prefix = []
            self._is_whole = self._is_marked = False
        if self._units and self._stamp != self._frame_stamp:
            yield self._end_frame()
        has_slice = False
        for unit in self._split(packet.payload):
            if not self._is_slice(unit):
                self._prefix.append(unit)
                continue
            has_slice, is_first = True, self._is_first_slice(unit)
            if self._units and is_first:
                yield self._end_frame()
            elif self._is_marked and not is_first:
                self._confirmed = None
            if not self._units:
                self._is_whole, self._frame_stamp = is_first, self._stamp
                self._is_keyframe, self._can_start = self._is_intra(unit), any(map(self._is_recovery, self._prefix))
            self._units += [*self._prefix, unit]
            self._prefix = []
            self._arrival, self._is_marked = arrival, False
        if len(self._fragment) + sum(map(len, [*self._prefix, *self._units])) > MAX_FRAME_BYTES:
            self._fragment.clear()
            self._units, self._prefix = [], []
            self._must_wait = True
        if has_slice and packet.is_marked:
            self._is_marked = True
            if self._units and self._confirmed is not None and self._confirmed >= CONFIRMED_FRAMES:
                yield self._end_frame()

    def _end_frame(self) -> CodedFrame:
        if self._confirmed is not None and self._is_whole:
            self._confirmed = self._confirmed + 1 if self._is_marked else 0
        data = b"".join(START_CODE + unit for unit in self._units)
        self._units = []
        return self._make_frame(
            data,
            self._arrival,
            self._frame_stamp,
            is_whole=self._is_whole,
            is_keyframe=self._is_keyframe,
            can_start=self._is_keyframe or self._can_start,
        )

    def _split(self, payload: bytes) -> Iterator[bytes]:
        """Yield the units that a packet has, or completes."""
        header, body = payload[: self.HEADER_BYTES], payload[self.HEADER_BYTES :]
        if not body:
            return
        kind = self._kind(header)
        if kind == self.AGGREGATE:
            while len(body) > 2:
                size = int.from_bytes(body[:2], "big")
                if len(body[2 : 2 + size]) > self.HEADER_BYTES:
                    yield body[2 : 2 + size]
                body = body[2 + size :]
        elif kind == self.FRAGMENT:
            if body[0] & 0x80:
                self._fragment[:] = self._unit_header(header, body[0])
            elif not self._fragment:
                return  # its beginning is lost
            self._fragment += body[1:]
            if body[0] & 0x40:
                if len(self._fragment) > self.HEADER_BYTES:
                    yield bytes(self._fragment)
                self._fragment.clear()
        else:
            yield payload

    @abstractmethod
    def _kind(self, header: bytes) -> int: ...

    @abstractmethod
    def _unit_header(self, header: bytes, fragment: int) -> bytes:
        """Return the header of a fragment's unit."""

    @abstractmethod
    def _is_slice(self, unit: bytes) -> bool: ...

    def _is_first_slice(self, unit: bytes) -> bool:
        """Return True if a slice begins at the first block."""
        return unit[self.HEADER_BYTES] >= 0x80

    @abstractmethod
    def _is_intra(self, unit: bytes) -> bool:
        """Return True if decoding can start with this slice's frame."""

    def _is_recovery(self, unit: bytes) -> bool:
        """Return True if decoding can start at this unit, and gets complete later."""
        return False


class H264Depacketizer(VideoDepacketizer):
    """Frames of H.264.

    The numbers are types of units (RFC 6184, table 1) and of SEI messages (H.264, annex D).
    """

    HEADER_BYTES, AGGREGATE, FRAGMENT = 1, 24, 28
    IDR, SEI, RECOVERY_POINT = 5, 6, 6

    def _kind(self, header: bytes) -> int:
        return header[0] & 0x1F

    def _unit_header(self, header: bytes, fragment: int) -> bytes:
        return bytes((header[0] & 0xE0 | fragment & 0x1F,))

    def _is_slice(self, unit: bytes) -> bool:
        return 1 <= self._kind(unit) <= 5

    def _is_first_slice(self, unit: bytes) -> bool:
        return self._kind(unit) not in (3, 4) and super()._is_first_slice(unit)  # 3 and 4: the rest of a slice

    def _is_intra(self, unit: bytes) -> bool:
        return self._kind(unit) == self.IDR

    def _is_recovery(self, unit: bytes) -> bool:
        position = 1
        while self._kind(unit) == self.SEI and position + 2 <= len(unit):
            numbers = []
            for _ in ("type", "size"):
                number = 0
                while position < len(unit) and unit[position] == 0xFF:
                    number, position = number + 0xFF, position + 1
                numbers.append(number + unit[position] if position < len(unit) else number)
                position += 1
            if numbers[0] == self.RECOVERY_POINT:
                return True
            position += numbers[1]
        return False


class H265Depacketizer(VideoDepacketizer):
    """Frames of H.265.

    The numbers are types of units (RFC 7798, section 4.4; H.265, table 7-1).
    """

    HEADER_BYTES, AGGREGATE, FRAGMENT = 2, 48, 49
    INTRA = range(16, 24)

    def _kind(self, header: bytes) -> int:
        return header[0] >> 1 & 0x3F

    def _unit_header(self, header: bytes, fragment: int) -> bytes:
        return bytes((header[0] & 0x81 | (fragment & 0x3F) << 1, header[1]))

    def _is_slice(self, unit: bytes) -> bool:
        return self._kind(unit) < 32

    def _is_intra(self, unit: bytes) -> bool:
        return self._kind(unit) in self.INTRA


class JpegDepacketizer(Depacketizer):
    """JPEGs, whose headers are made from a few bytes before each fragment.

    A JPEG that lacks fragments ends where the first one is missing.
    """

    def __init__(self, payload_type: int) -> None:
        super().__init__(payload_type)
        self._header = b""
        self._tables: dict[int, bytes] = {}
        """The quantisation tables of each Q from 128 to 254."""
        self._scan = bytearray()
        self._is_whole = False
        self._arrival = self._frame_stamp = 0.0

    def _add(self, packet: RtpPacket, arrival: float, is_lost: bool) -> Iterator[CodedFrame]:
        if self._header and self._stamp != self._frame_stamp:
            self._is_whole = False  # without its last packet
            yield self._end_frame()
        self._is_whole = self._is_whole and not is_lost
        body = packet.payload
        if len(body) < 8:
            return
        offset, kind, quality = int.from_bytes(body[1:4], "big"), body[4], body[5]
        size = (body[6] * 8, body[7] * 8)
        body = body[8:]
        interval = 0
        if kind & 0x40:
            interval, body = int.from_bytes(body[:2], "big"), body[4:]
        if offset == 0:
            tables = b""
            has_tables = True
            if quality >= 128:
                end = 4 + int.from_bytes(body[2:4], "big")
                tables, body = body[4:end], body[end:]
                if tables and quality < 255:
                    self._tables[quality] = tables  # later frames may leave them out (RFC 2435, section 3.1.8)
                tables = tables or self._tables.get(quality, b"")
                has_tables = bool(tables)
            self._header = _jpeg_header(kind & 1, quality, size, tables, interval) if all(size) else b""
            self._scan.clear()
            self._is_whole, self._frame_stamp = has_tables, self._stamp
        self._is_whole = self._is_whole and offset == len(self._scan) <= MAX_FRAME_BYTES
        if self._is_whole:
            self._scan += body
        self._arrival = arrival
        if packet.is_marked and self._header:
            yield self._end_frame()

    def _end_frame(self) -> CodedFrame:
        data = self._header + bytes(self._scan) + (JPEG_END if self._is_whole else b"")
        self._header = b""
        return self._make_frame(
            data, self._arrival, self._frame_stamp, is_whole=self._is_whole, is_keyframe=True, can_start=True
        )


@functools.lru_cache(maxsize=8)
def _jpeg_header(kind: int, quality: int, size: tuple[int, int], tables: bytes, interval: int) -> bytes:
    """Return a JPEG's bytes before its scan.

    RFC 2435 has libjpeg's headers: the same tables for a quality, and the standard Huffman tables.
    """
    file = io.BytesIO()
    subsampling = ("4:2:2", "4:2:0")[kind]
    Image.new("YCbCr", size).save(file, "JPEG", quality=min(quality, 99), subsampling=subsampling)
    head, marker, scan = file.getvalue().partition(b"\xff\xda")
    for number in range(2 if tables else 0):
        table = tables[64 * number : 64 * number + 64] or tables[:64]
        head += b"\xff\xdb\0\x43" + bytes((number,)) + table
    if interval:
        head += b"\xff\xdd\0\4" + interval.to_bytes(2, "big")
    return head + marker + scan[: int.from_bytes(scan[:2], "big")]


def make_depacketizer(video: VideoDescription) -> Depacketizer:
    """Make the depacketizer for a video's codec."""
    kinds: dict[str, Callable[[int], Depacketizer]]
    kinds = {"h264": H264Depacketizer, "hevc": H265Depacketizer, "mjpeg": JpegDepacketizer}
    return kinds[video.codec](video.payload_type)
