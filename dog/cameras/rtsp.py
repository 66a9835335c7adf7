"""RTSP cameras: MJPEG, H.264 and H.265, which PyAV (ffmpeg) decodes.

JPEGs are passed on unchanged. For the other codecs, the frames since the last keyframe are kept, and decoded when one
is needed. PyAV is slow to import: that happens when a stream is opened.
"""

import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dog.cameras.camera_url import STREAM_ENDED, CameraUrl, explain_connection_error
from dog.cameras.frame_selection import Frame, ImageFrame
from dog.cameras.network_timestamps import StampedFrames
from dog.cameras.pixel_formats import MAX_PREVIEW_WIDTH, PREVIEW_QUALITY, encode_video_frame
from dog.cameras.rtp import CodedFrame, Depacketizer, make_depacketizer
from dog.cameras.rtsp_session import RtspSession
from dog.errors import BadImage, CameraOffline

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["RTSP_OPEN_TIMEOUT", "RtspSource"]

RTSP_OPEN_TIMEOUT = 9.0
"""Seconds until the first frame of a stream."""
MAX_LAG_SECONDS = 5.0
"""A stream with a larger lag is opened again, which drops everything that waits."""
MAX_KEPT_PACKETS = 300
MAX_PACKET_BYTES = 16 * 1024 * 1024
"""Kept since the last keyframe: ten seconds, at usual rates and sizes."""

NO_KEYFRAME_YET = (
    "The camera has not sent a keyframe yet. Set its keyframe interval (I-frame interval, GOP) to 2 s or less."
)
DAMAGED = "The camera's stream is damaged until its next keyframe. Press again."


class RtspSource:
    """A camera with an rtsp:// or rtsps:// URL.

    `latency` is the time from exposure to sending, and `open_timeout` the longest start of the stream, in seconds.
    `password_file` is read at each opening if the URL names only a user. `tls_fingerprint` pins the certificate. Raises
    ValueError for an invalid URL.
    """

    streams = True
    settles = False

    def __init__(
        self,
        url: str,
        *,
        latency: float = 0.0,
        password_file: Path | None = None,
        tls_fingerprint: str | None = None,
        open_timeout: float = RTSP_OPEN_TIMEOUT,
    ) -> None:
        self._url = CameraUrl(url, password_file, tls_fingerprint)
        self._open_timeout = open_timeout
        self._freshness = StampedFrames(latency)
        self._session = RtspSession(self._url)
        self._depacketizer: Depacketizer | None = None
        self._decoder: PacketDecoder | None = None
        self._frames: deque[CodedFrame] = deque()

    def open(self) -> None:
        import av  # noqa: F401  (now, so that it delays no frame)

        deadline = time.monotonic() + self._open_timeout
        try:
            self._url.read_password()
            video = self._session.open(deadline)
            self._depacketizer = make_depacketizer(video)
            if video.codec != "mjpeg":
                self._decoder = PacketDecoder(video.codec, video.parameter_sets)
            self._await_frame(deadline)  # many cameras send none before their next keyframe
        except Exception as error:
            has_started = isinstance(error, TimeoutError) and self._depacketizer is not None
            raise self._no_frame(self._open_timeout) if has_started else self._explain(error) from None

    def read(self, timeout: float) -> Frame:
        deadline = time.monotonic() + timeout
        try:
            self._await_frame(deadline)
        except TimeoutError:
            raise self._no_frame(timeout) from None
        except (EOFError, ConnectionError):
            raise CameraOffline(STREAM_ENDED, detail=str(self._url)) from None
        except Exception as error:
            raise self._explain(error) from None
        return self._make_frame(self._frames.popleft())

    def close(self) -> None:
        self._session.close()
        self._frames.clear()
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def is_back(self) -> bool:
        return self._url.is_listening()

    def hide_secrets(self, text: str) -> str:
        return self._url.hide_secrets(text)

    def _await_frame(self, deadline: float) -> None:
        """Receive packets until a frame is complete."""
        assert self._depacketizer is not None
        while not self._frames:
            packet = self._session.read(deadline)
            self._frames.extend(self._depacketizer.add(packet, time.monotonic()))

    def _make_frame(self, coded: CodedFrame) -> Frame:
        exposure_start = self._freshness.exposure_start(coded.arrival, coded.stamp)
        if self._freshness.lag > MAX_LAG_SECONDS:
            raise CameraOffline(
                f"The camera's frames arrive {self._freshness.lag:.0f} s late. The stream is opened again.",
                detail=str(self._url),
            )
        if self._decoder is None:
            return ImageFrame(coded.data, exposure_start)
        self._decoder.add(coded)
        return LazyFrame(coded.data, exposure_start, self._decoder)

    def _no_frame(self, seconds: float) -> CameraOffline:
        message = (
            f"The camera sent no frame for {seconds:g} s. Reconnect it. If it sends frames so rarely, set `frame_rate`"
            " to its rate, and `capture_timeout` to the time of three frames."
        )
        return CameraOffline(message, detail=str(self._url))

    def _explain(self, error: Exception) -> CameraOffline:
        if isinstance(error, CameraOffline):
            error.detail = f"{error.detail} {self._url}".strip()
            return error
        return explain_connection_error(error, self._url)


class LazyFrame:
    """A coded frame that is decoded when its image is needed."""

    exposure = None

    def __init__(self, raw: bytes, exposure_start: float, decoder: "PacketDecoder") -> None:
        self.raw = raw
        self.exposure_start = exposure_start
        self._decoder = decoder
        self._image: bytes | None = None

    def image(self) -> bytes:
        if self._image is None:
            self._image = self._decoder.encode_last()
        return self._image

    def preview(self) -> bytes:
        return self._decoder.encode_last(max_width=MAX_PREVIEW_WIDTH, quality=PREVIEW_QUALITY)


class PacketDecoder:
    """The frames since the last keyframe, and the decoder's progress.

    They are decoded once, and only if an image is needed. If there are more than may be kept, each frame is decoded
    when it arrives, until the next keyframe. A damaged frame spoils all frames up to the next keyframe.

    `codec` is ffmpeg's name, and `parameter_sets` are those outside the stream, with start codes.
    """

    def __init__(self, codec: str, parameter_sets: bytes = b"") -> None:
        import av
        from av.codec.context import Flags, ThreadType

        context: VideoCodecContext = av.CodecContext.create(codec, "r")  # type: ignore[assignment]
        context.thread_type = ThreadType.SLICE  # threads for frames would delay some
        context.flags |= Flags.low_delay
        if parameter_sets:
            context.extradata = parameter_sets
        self._codec = context
        self._added = 0
        self._kept: list[Packet[VideoStream]] = []
        self._size = 0
        self._decoded = 0
        self._must_restart = True  # True to flush the decoder and begin with the first kept packet
        self._can_keep = True
        self._last: VideoFrame | None = None
        self._with_previous: VideoFrame | None = None
        """A frame of the last two packets, each of which has one of its fields (interlaced video)."""
        self._problem = NO_KEYFRAME_YET

    def add(self, coded: CodedFrame) -> None:
        from av.packet import Packet

        if coded.is_keyframe or (self._problem and coded.can_start):
            self._kept = []
            self._size = self._decoded = 0
            self._must_restart = self._can_keep = True
            self._problem = ""
        if coded.is_damaged and self._problem != NO_KEYFRAME_YET:
            self._problem = DAMAGED
        if self._problem:
            return
        packet: Packet[VideoStream] = Packet(coded.data)  # type: ignore[assignment]
        self._added += 1
        packet.pts = self._added  # ffmpeg returns it with the frame: the camera's stamps may stand still
        self._kept.append(packet)
        self._size += packet.size
        if not self._can_keep or len(self._kept) > MAX_KEPT_PACKETS or self._size > MAX_PACKET_BYTES:
            self._can_keep = False
            self._decode()
            self._kept = []
            self._decoded = 0

    def encode_last(self, **options: Any) -> bytes:
        """Return the last frame as a JPEG. Raises BadImage if it is incomplete.

        `options` are those of `encode_video_frame`.
        """
        frame = self.decode_last()
        return encode_video_frame(frame, pixel_aspect=float(self._codec.sample_aspect_ratio or 0), **options)

    def decode_last(self) -> "VideoFrame":
        """Return the last frame. Raises BadImage if it is incomplete."""
        if self._kept and not self._problem:
            self._decode()
        if self._problem:
            raise BadImage(self._problem)
        if self._last is None:
            raise BadImage(DAMAGED, detail="the decoder gave nothing for it")
        return self._last

    def close(self) -> None:
        """Free the decoder with its threads, whatever still refers to this."""
        self._kept = []
        self._last = self._with_previous = None
        del self._codec

    def _decode(self) -> None:
        """Decode the kept packets that were not decoded yet."""
        import av.error

        if self._must_restart:
            self._codec.flush_buffers()
            self._must_restart = False
        waiting, self._decoded = self._kept[self._decoded :], len(self._kept)
        if not waiting and self._last is not None:
            return
        self._last = self._with_previous = None
        try:
            for packet in waiting:
                self._take_frames(self._codec.decode(packet))
            if self._last is None and self._can_keep:
                # Frames are reordered: the decoder returns this one only at an end of stream, and must restart then.
                self._take_frames(self._codec.decode(None))
                self._must_restart = True
                self._decoded = 0
            self._last = self._last or self._with_previous
        except av.error.FFmpegError:
            self._problem = DAMAGED

    def _take_frames(self, frames: "list[VideoFrame]") -> None:
        for frame in frames:
            if frame.is_corrupt:
                self._problem = DAMAGED
            if frame.pts == self._kept[-1].pts:
                self._last = frame
            elif frame.interlaced_frame and len(self._kept) > 1 and frame.pts == self._kept[-2].pts:
                self._with_previous = frame
