"""Cameras that speak RTSP, through PyAV (ffmpeg): MJPEG, H.264 and H.265.

JPEGs pass untouched. Of what must be decoded, the packets since the last whole picture are kept, and decoded when
somebody asks. What is stale is known by its timestamps, so ffmpeg may keep what it reads for its first look (it would
throw away the first whole picture with `nobuffer`). PyAV is slow to import: that is done when a stream is opened.
"""

import contextlib
import io
import ssl
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dog.cameras.camera_url import Address, explain
from dog.cameras.freshness import UNKNOWN, Stamped
from dog.cameras.pixel_formats import PREVIEW_QUALITY, PREVIEW_WIDTH, QUALITY
from dog.cameras.source import AFTER_REFUSAL, Frame, WholeFrame
from dog.errors import BadImage, CameraOffline

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["StreamSource"]

CONNECTING = 5.0
OPENING = 9.0
"""Seconds until a stream has given its first packets; many cameras send none before their next whole picture."""
LAGGING = 5.0
"""Seconds. A stream that lags behind so much is opened anew, which drops all that waits."""
MOST_PACKETS = 300
MOST_BYTES = 16 * 1024 * 1024
"""Kept since the last whole picture: ten seconds, at the rates and in the sizes of cameras."""
OPTIONS = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",
    "analyzeduration": "100000",  # microseconds
    "fpsprobesize": "0",
    "tls_verify": "1",
}

UNSAID = 2
"""How ffmpeg numbers colours that nothing is said of (AVCOL_SPC_UNSPECIFIED)."""
HIGH_DEFINITION = 720

NO_PICTURE_YET = (
    "The camera has not sent a whole picture yet. Set its keyframe interval (I-frame interval, GOP) to 2 s or less."
)
DAMAGED = "The camera's stream is damaged until its next whole picture. Press again."
PERHAPS_HALF = "The picture may be incomplete. Press again."
TAKEN = ("mjpeg", "h264", "hevc")


class StreamSource:
    """The camera at an rtsp:// or rtsps:// address. `latency`: what it takes from exposing to sending, in seconds.

    `password_file` is read at each opening, where the address names a user alone.
    Raises ValueError where the address can't be one.
    """

    streams = True
    settles = False

    def __init__(self, url: str, *, latency: float = 0.0, password_file: Path | None = None) -> None:
        self._address = Address(url, password_file)
        self._latency = latency
        self._limit = Limit()
        self._container: InputContainer | None = None
        self._stream: VideoStream | None = None
        self._decoding: Decoding | None = None
        self._dates = Stamped(latency)

    def open(self) -> None:
        import av
        import av.logging

        av.logging.set_level(None)  # what ffmpeg says holds the address with its password
        self._limit.until = time.monotonic() + OPENING
        try:
            self._address.read_password()
            self._address.connect(CONNECTING).close()  # says better than ffmpeg what is wrong
            options = OPTIONS | {"ca_file": ssl.get_default_verify_paths().cafile or ""}
            timeout: Any = (self._limit, self._limit)
            self._container = av.open(self._address.whole, options=options, timeout=timeout)
            self._choose_stream(self._container)
        except Exception as error:
            raise self._explain(TimeoutError() if self._limit.is_over else error) from None

    def read(self, patience: float) -> Frame:
        self._limit.until = time.monotonic() + patience
        try:
            packet = self._read_packet()
            arrived = time.monotonic()
        except Exception as error:
            raise self._explain(self._timeout(patience) if self._limit.is_over else error) from None
        if self._limit.is_over:  # it is a last one, which ffmpeg had kept
            raise self._timeout(patience)
        return self._make_frame(packet, arrived)

    def close(self) -> None:
        self._stream = self._decoding = None
        if self._container is not None:
            with contextlib.suppress(Exception):
                self._container.close()
            self._container = None

    def is_back(self) -> bool:
        return self._address.listens()

    def _choose_stream(self, container: "InputContainer") -> None:
        if not container.streams.video:
            raise CameraOffline("The camera's address gives no video. Use the path of its video.")
        stream = container.streams.video[0]
        codec = stream.codec_context
        name = "in an unknown format" if codec is None else codec.name
        if codec is None or name not in TAKEN:
            raise CameraOffline(f"The camera's video is {name}. Set it to H.264, H.265 or MJPEG.")
        if codec.name != "mjpeg":
            self._decoding = Decoding(codec)
        # ffmpeg knows that a coded picture is whole only when the next one begins.
        self._dates = Stamped(self._latency, late=0 if self._decoding is None else 1)
        self._stream = stream

    def _read_packet(self) -> "Packet[VideoStream]":
        assert self._container is not None
        assert self._stream is not None
        packet = next(self._container.demux(self._stream), None)
        if packet is None or not packet.size:  # an empty one ends the stream
            raise CameraOffline("The camera ended its stream. Check whether it restarts, or has too many viewers.")
        return packet

    def _make_frame(self, packet: "Packet[VideoStream]", arrived: float) -> Frame:
        began = UNKNOWN
        if packet.pts is not None:
            began = self._dates.date(arrived, float(packet.pts * packet.time_base))
            if self._dates.lag > LAGGING:
                raise CameraOffline(
                    f"The camera's pictures come {self._dates.lag:.0f} s late. Its stream is opened again.",
                    detail=str(self._address),
                )
        if self._decoding is None:
            return WholeFrame(bytes(packet), began)
        self._decoding.add(packet)
        return CodedFrame(packet, began, self._decoding)

    def _timeout(self, patience: float) -> CameraOffline:
        return CameraOffline(f"The camera gave no picture for {patience:g} s. Reconnect it.", detail=str(self._address))

    def _explain(self, error: Exception) -> CameraOffline:
        import av.error

        if isinstance(error, CameraOffline):
            error.detail = error.detail or str(self._address)
            return error
        match error:
            case av.error.HTTPUnauthorizedError() if not self._address.has_user:
                said = (
                    "The camera asks for a user and a password. Write user@ before its host, and set `password_file`."
                )
            case av.error.HTTPUnauthorizedError():
                refusal = CameraOffline(
                    "The camera refuses the user or the password. Correct them.", detail=str(self._address)
                )
                refusal.next_try = AFTER_REFUSAL
                return refusal
            case av.error.HTTPForbiddenError():
                said = "The camera does not let this user see its pictures. Change that in the camera."
            case av.error.HTTPNotFoundError():
                said = "The camera has nothing at this path. Check its address."
            case _:
                return explain(error, self._address)
        return CameraOffline(said, detail=str(self._address))


class Limit:
    """The end of ffmpeg's time. PyAV takes it once, and asks it before each wait how many seconds are left."""

    until = 0.0

    def __float__(self) -> float:
        return max(0.0, self.until - time.monotonic())

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.until


class CodedFrame:
    """A frame that is decoded when it is asked for."""

    exposure = None

    def __init__(self, packet: "Packet[VideoStream]", began: float, decoding: "Decoding") -> None:
        self.began = began
        self._packet = packet
        self._decoding = decoding
        self._picture: bytes | None = None

    @property
    def raw(self) -> bytes:
        return bytes(self._packet)

    def picture(self) -> bytes:
        if self._picture is None:
            self._picture = encode(self._decoding.decode_last())
        return self._picture

    def preview(self) -> bytes:
        return encode(self._decoding.decode_last(), widest=PREVIEW_WIDTH, quality=PREVIEW_QUALITY)


class Decoding:
    """The packets since the last whole picture, and how far they are decoded.

    They are decoded once, and only when a picture is wanted; unless there are more than may be kept: from then on each
    is decoded when it comes, until the next whole picture. A packet that is damaged spoils all up to that one, too.

    Some senders repeat the parameter sets between the slices of a whole picture, and then ffmpeg takes each slice for a
    picture: these have the same time, and are joined. Of such a sender, and before that is known, the whole pictures
    themselves are not given: another slice may follow.
    """

    def __init__(self, codec: "VideoCodecContext") -> None:
        from av.codec.context import Flags, ThreadType

        codec.thread_type = ThreadType.SLICE  # threads for frames would keep some back
        codec.flags |= Flags.low_delay
        self._codec = codec
        self._kept: list[Packet[VideoStream]] = []
        self._size = 0
        self._decoded = 0
        self._begins = True  # whether the decoder is to forget all and begin with the first that is kept
        self._splits: bool | None = None
        self._keeps = True
        self._last: VideoFrame | None = None
        self._trouble = NO_PICTURE_YET

    def add(self, packet: "Packet[VideoStream]") -> None:
        if self._splits is None and packet.pts is None:
            packet.pts = 0  # as RTSP begins; ffmpeg leaves it out with the first packet
        if self._kept and packet.pts is not None and packet.pts == self._kept[-1].pts:
            self._splits = True
            packet = join(self._kept.pop(), packet)
            self._begins, self._decoded = True, 0
        elif self._splits is None and self._kept:
            self._splits = False
        if packet.is_keyframe:
            self._kept = []
            self._size = self._decoded = 0
            self._begins = self._keeps = True
            self._trouble = ""
        if packet.is_corrupt:
            self._trouble = DAMAGED
        if self._trouble:
            return
        self._kept.append(packet)
        self._size += packet.size
        if not self._keeps or len(self._kept) > MOST_PACKETS or self._size > MOST_BYTES:
            self._keeps = False
            self._decode()
            self._kept = []
            self._decoded = 0

    def decode_last(self) -> "VideoFrame":
        """The picture of the last packet. Raises BadImage where that is not whole."""
        if self._kept and not self._trouble:
            self._decode()
        if self._trouble:
            raise BadImage(self._trouble)
        if self._splits is not False and self._kept and self._kept[-1].is_keyframe:
            raise BadImage(PERHAPS_HALF)
        if self._last is None:
            raise BadImage(DAMAGED, detail="the decoder gave nothing for it")
        return self._last

    def _decode(self) -> None:
        """All that is kept and was not decoded yet."""
        import av.error

        if self._begins:
            self._codec.flush_buffers()
            self._begins = False
        waiting, self._decoded = self._kept[self._decoded :], len(self._kept)
        self._last = None
        try:
            for packet in waiting:
                self._look_at(self._codec.decode(packet))
            if self._last is None and self._keeps:
                # Pictures are sent out of order: the decoder gives this one only at an end, after which it begins anew.
                self._look_at(self._codec.decode(None))
                self._begins = True
                self._decoded = 0
        except av.error.FFmpegError:
            self._trouble = DAMAGED

    def _look_at(self, frames: "list[VideoFrame]") -> None:
        for frame in frames:
            if frame.is_corrupt:
                self._trouble = DAMAGED
            if frame.pts == self._kept[-1].pts:
                self._last = frame


def join(first: "Packet[VideoStream]", second: "Packet[VideoStream]") -> "Packet[VideoStream]":
    """Two halves of one picture."""
    from av.packet import Packet

    whole: Packet[VideoStream] = Packet(bytes(first) + bytes(second))  # type: ignore[assignment]
    whole.pts, whole.dts, whole.time_base = first.pts, first.dts, first.time_base
    whole.is_keyframe = first.is_keyframe
    return whole


def encode(frame: "VideoFrame", *, widest: int = sys.maxsize, quality: int = QUALITY) -> bytes:
    """As a JPEG, made smaller where it is wider than `widest`.

    Where nothing says how its colours are meant, they are BT.709 from 720 lines on, else BT.601.
    """
    from av.video.reformatter import Colorspace

    colours = None
    if frame.colorspace == UNSAID:
        colours = Colorspace.ITU709 if frame.height >= HIGH_DEFINITION else Colorspace.ITU601
    file = io.BytesIO()
    scale = -(-frame.width // widest)
    size = {"width": frame.width // scale, "height": frame.height // scale}
    image = frame.to_image(**size, src_colorspace=colours)  # type: ignore[no-untyped-call]
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()
