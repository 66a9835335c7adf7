"""RTSP cameras, through PyAV (ffmpeg): MJPEG, H.264 and H.265.

JPEGs are passed on unchanged. For the other codecs, the packets since the last keyframe are kept, and decoded when a
frame is needed. Timestamps identify old frames, so ffmpeg may buffer the packets that it probes (`nobuffer` would lose
the first keyframe). PyAV is slow to import: that happens when a stream is opened.
"""

import contextlib
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dog.cameras.camera_url import CameraUrl, explain_connection_error, explain_status
from dog.cameras.frame_selection import Frame, ImageFrame
from dog.cameras.network_timestamps import UNKNOWN_START, StampedFrames
from dog.cameras.pixel_formats import MAX_PREVIEW_WIDTH, PREVIEW_QUALITY, encode_video_frame
from dog.errors import BadImage, CameraOffline

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["RtspSource"]

CONNECT_TIMEOUT = 5.0
RTSP_OPEN_TIMEOUT = 9.0
"""Seconds until the first packets of a stream. Many cameras send none before their next keyframe."""
MAX_LAG_SECONDS = 5.0
"""A stream with a larger lag is opened again, which drops everything that waits."""
MAX_KEPT_PACKETS = 300
MAX_PACKET_BYTES = 16 * 1024 * 1024
"""Kept since the last keyframe: ten seconds, at usual rates and sizes."""
FFMPEG_OPTIONS = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",
    "analyzeduration": "100000",  # microseconds
    "fpsprobesize": "0",
    "tls_verify": "1",
}


NO_KEYFRAME_YET = (
    "The camera has not sent a keyframe yet. Set its keyframe interval (I-frame interval, GOP) to 2 s or less."
)
DAMAGED = "The camera's stream is damaged until its next keyframe. Press again."
PERHAPS_INCOMPLETE = "The image may be incomplete. Press again."
SUPPORTED_CODECS = ("mjpeg", "h264", "hevc")


class RtspSource:
    """A camera with an rtsp:// or rtsps:// URL.

    `latency` is the time from exposure to sending, in seconds. `password_file` is read at each opening if the URL names
    only a user. Raises ValueError for an invalid URL.
    """

    streams = True
    settles = False

    def __init__(self, url: str, *, latency: float = 0.0, password_file: Path | None = None) -> None:
        self._url = CameraUrl(url, password_file)
        self._latency = latency
        self._deadline = Deadline()
        self._container: InputContainer | None = None
        self._stream: VideoStream | None = None
        self._decoder: PacketDecoder | None = None
        self._freshness = StampedFrames(latency)

    def open(self) -> None:
        import av
        import av.logging

        av.logging.set_level(None)  # ffmpeg's log contains the URL with its password
        self._deadline.at = time.monotonic() + RTSP_OPEN_TIMEOUT
        try:
            self._url.read_password()
            self._url.connect(CONNECT_TIMEOUT).close()  # its errors are better than ffmpeg's
            options = FFMPEG_OPTIONS | {"ca_file": ssl.get_default_verify_paths().cafile or ""}
            timeout: Any = (self._deadline, self._deadline)
            self._container = av.open(self._url.with_credentials, options=options, timeout=timeout)
            self._choose_stream(self._container)
        except Exception as error:
            raise self._explain(TimeoutError() if self._deadline.is_over else error) from None

    def read(self, timeout: float) -> Frame:
        self._deadline.at = time.monotonic() + timeout
        try:
            packet = self._read_packet()
            arrived = time.monotonic()
        except Exception as error:
            raise self._explain(self._timeout(timeout) if self._deadline.is_over else error) from None
        if self._deadline.is_over:  # ffmpeg returned a buffered packet
            raise self._timeout(timeout)
        return self._make_frame(packet, arrived)

    def close(self) -> None:
        self._stream = self._decoder = None
        if self._container is not None:
            with contextlib.suppress(Exception):
                self._container.close()
            self._container = None

    def is_back(self) -> bool:
        return self._url.is_listening()

    def _choose_stream(self, container: "InputContainer") -> None:
        if not container.streams.video:
            raise CameraOffline("The camera's URL gives no video. Use the path of its video.")
        stream = container.streams.video[0]
        codec = stream.codec_context
        name = "in an unknown format" if codec is None else codec.name
        if codec is None or name not in SUPPORTED_CODECS:
            raise CameraOffline(f"The camera's video is {name}. Set it to H.264, H.265 or MJPEG.")
        if codec.name != "mjpeg":
            self._decoder = PacketDecoder(codec)
        # ffmpeg returns a coded frame only when the next one begins.
        self._freshness = StampedFrames(self._latency, frames_late=0 if self._decoder is None else 1)
        self._stream = stream

    def _read_packet(self) -> "Packet[VideoStream]":
        assert self._container is not None
        assert self._stream is not None
        packet = next(self._container.demux(self._stream), None)
        if packet is None or not packet.size:  # an empty one ends the stream
            raise CameraOffline("The camera ended its stream. Check whether it restarts, or has too many viewers.")
        return packet

    def _make_frame(self, packet: "Packet[VideoStream]", arrived: float) -> Frame:
        exposure_start = UNKNOWN_START
        if packet.pts is not None:
            exposure_start = self._freshness.exposure_start(arrived, float(packet.pts * packet.time_base))
            if self._freshness.lag > MAX_LAG_SECONDS:
                raise CameraOffline(
                    f"The camera's frames arrive {self._freshness.lag:.0f} s late. The stream is opened again.",
                    detail=str(self._url),
                )
        if self._decoder is None:
            return ImageFrame(bytes(packet), exposure_start)
        self._decoder.add(packet)
        return CodedFrame(packet, exposure_start, self._decoder)

    def _timeout(self, timeout: float) -> CameraOffline:
        return CameraOffline(f"The camera sent no frame for {timeout:g} s. Reconnect it.", detail=str(self._url))

    def _explain(self, error: Exception) -> CameraOffline:
        import av.error

        if isinstance(error, CameraOffline):
            error.detail = error.detail or str(self._url)
            return error
        statuses: dict[type[Exception], int] = {
            av.error.HTTPUnauthorizedError: 401,
            av.error.HTTPForbiddenError: 403,
            av.error.HTTPNotFoundError: 404,
        }
        status = statuses.get(type(error))
        if status is None:
            return explain_connection_error(error, self._url)
        refusal = explain_status(status, self._url)
        refusal.detail = str(self._url)
        return refusal


class Deadline:
    """A deadline that PyAV converts to the remaining seconds before each wait."""

    at = 0.0

    def __float__(self) -> float:
        return max(0.0, self.at - time.monotonic())

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.at


class CodedFrame:
    """A coded frame that is decoded when its image is needed."""

    exposure = None

    def __init__(self, packet: "Packet[VideoStream]", exposure_start: float, decoder: "PacketDecoder") -> None:
        self.exposure_start = exposure_start
        self._packet = packet
        self._decoder = decoder
        self._image: bytes | None = None

    @property
    def raw(self) -> bytes:
        return bytes(self._packet)

    def image(self) -> bytes:
        if self._image is None:
            self._image = encode_video_frame(self._decoder.decode_last())
        return self._image

    def preview(self) -> bytes:
        return encode_video_frame(self._decoder.decode_last(), max_width=MAX_PREVIEW_WIDTH, quality=PREVIEW_QUALITY)


class PacketDecoder:
    """The packets since the last keyframe, and the decoder's progress.

    They are decoded once, and only if an image is needed. If there are more than may be kept, each packet is decoded
    when it arrives, until the next keyframe. A damaged packet spoils all frames up to the next keyframe.

    Some cameras repeat the parameter sets between the slices of a keyframe, and ffmpeg then takes each slice for a
    frame. Slices have the same timestamp, and are joined. Keyframes of such cameras, and those that come before this is
    known, are not used: another slice may follow.
    """

    def __init__(self, codec: "VideoCodecContext") -> None:
        from av.codec.context import Flags, ThreadType

        codec.thread_type = ThreadType.SLICE  # threads for frames would delay some
        codec.flags |= Flags.low_delay
        self._codec = codec
        self._kept: list[Packet[VideoStream]] = []
        self._size = 0
        self._decoded = 0
        self._must_restart = True  # True to flush the decoder and begin with the first kept packet
        self._sends_slices: bool | None = None
        self._can_keep = True
        self._last: VideoFrame | None = None
        self._problem = NO_KEYFRAME_YET

    def add(self, packet: "Packet[VideoStream]") -> None:
        if self._sends_slices is None and packet.pts is None:
            packet.pts = 0  # RTSP begins at 0; ffmpeg omits the timestamp of the first packet
        if self._kept and packet.pts is not None and packet.pts == self._kept[-1].pts:
            self._sends_slices = True
            packet = join_slices(self._kept.pop(), packet)
            self._must_restart, self._decoded = True, 0
        elif self._sends_slices is None and self._kept:
            self._sends_slices = False
        if packet.is_keyframe:
            self._kept = []
            self._size = self._decoded = 0
            self._must_restart = self._can_keep = True
            self._problem = ""
        if packet.is_corrupt:
            self._problem = DAMAGED
        if self._problem:
            return
        self._kept.append(packet)
        self._size += packet.size
        if not self._can_keep or len(self._kept) > MAX_KEPT_PACKETS or self._size > MAX_PACKET_BYTES:
            self._can_keep = False
            self._decode()
            self._kept = []
            self._decoded = 0

    def decode_last(self) -> "VideoFrame":
        """Return the last packet's frame. Raises BadImage if it is incomplete."""
        if self._kept and not self._problem:
            self._decode()
        if self._problem:
            raise BadImage(self._problem)
        if self._sends_slices is not False and self._kept and self._kept[-1].is_keyframe:
            raise BadImage(PERHAPS_INCOMPLETE)
        if self._last is None:
            raise BadImage(DAMAGED, detail="the decoder gave nothing for it")
        return self._last

    def _decode(self) -> None:
        """Decode the kept packets that were not decoded yet."""
        import av.error

        if self._must_restart:
            self._codec.flush_buffers()
            self._must_restart = False
        waiting, self._decoded = self._kept[self._decoded :], len(self._kept)
        self._last = None
        try:
            for packet in waiting:
                self._take_frames(self._codec.decode(packet))
            if self._last is None and self._can_keep:
                # Frames are reordered: the decoder returns this one only at an end of stream, and must restart then.
                self._take_frames(self._codec.decode(None))
                self._must_restart = True
                self._decoded = 0
        except av.error.FFmpegError:
            self._problem = DAMAGED

    def _take_frames(self, frames: "list[VideoFrame]") -> None:
        for frame in frames:
            if frame.is_corrupt:
                self._problem = DAMAGED
            if frame.pts == self._kept[-1].pts:
                self._last = frame


def join_slices(first: "Packet[VideoStream]", second: "Packet[VideoStream]") -> "Packet[VideoStream]":
    """Join two slices of one frame."""
    from av.packet import Packet

    whole: Packet[VideoStream] = Packet(bytes(first) + bytes(second))  # type: ignore[assignment]
    whole.pts, whole.dts, whole.time_base = first.pts, first.dts, first.time_base
    whole.is_keyframe = first.is_keyframe
    return whole
