"""V4L2 cameras: USB webcams and other /dev/video* devices, by linuxpy.

JPEGs are passed on unchanged. Raw frames are encoded only when their image is needed. v4l2_devices.py lists
devices, formats and controls, and chooses a format.
"""

import contextlib
import errno
import logging
import mmap
import os
import select
import stat
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from linuxpy.video import device as v4l2  # type: ignore[import-untyped]
from linuxpy.video import raw

from dog.cameras import pixel_formats as pixels
from dog.cameras.v4l2_devices import (
    CAPTURE,
    JPEG,
    MAX_RATE_DIFFERENCE,
    MMAP,
    choose_format,
    explain_device_error,
    is_capture_device,
    list_formats,
    open_device,
    read_fourcc,
    read_rate,
    set_controls,
)
from dog.errors import BadImage, CameraOffline

__all__ = ["V4l2Source", "find_exposure_start", "read_layout"]

BUFFER_COUNT = 5
"""Two held frames, one to fill, and two more so that no frame is lost."""
MAX_HELD_FRAMES = 2
"""Frames that are still valid."""

FLAG = raw.BufferFlag

log = logging.getLogger(__name__)


class _Frame:
    """A frame: a buffer that is not queued again yet. Raw ones have a layout."""

    exposure = None  # the exposure control has the wanted value, of later frames

    def __init__(self, data: memoryview, exposure_start: float, layout: pixels.RawLayout | None, damage: str) -> None:
        self.raw = data
        self.exposure_start = exposure_start
        self._layout = layout
        self._damage = damage
        self._image: bytes | None = None

    def image(self) -> bytes:
        if self._damage:
            raise BadImage("The camera's frame is damaged. Check the cable, then press again.", detail=self._damage)
        if self._image is None:
            self._image = bytes(self.raw) if self._layout is None else pixels.encode(self.raw, self._layout)
        return self._image

    def preview(self) -> bytes:
        if self._layout is None or self._damage:
            return pixels.shrink_to_preview(self.image())
        return pixels.encode_preview(self.raw, self._layout)


class V4l2Source:
    """A camera by its path, such as /dev/video0, resolved at each opening.

    A path below /dev/v4l/by-id/ is stable. The default `resolution` is the largest with at least 10 frames a second;
    JPEG is preferred to raw formats unless `pixel_format` names one (such as YUYV). The default `frame_rate` is the
    driver's. `controls` have the names that `dog cameras` lists; a menu's value is a number or a word. Other controls
    are not changed.

    The driver's timestamps are trusted. uvcvideo, for USB, stamps the arrival of a frame's first byte, after the
    exposure. `latency` is the time from the start of the exposure to that, in seconds.
    """

    streams = True
    settles = True

    def __init__(
        self,
        device: str,
        *,
        resolution: tuple[int, int] | None = None,
        frame_rate: float | None = None,
        pixel_format: str | None = None,
        latency: float = 0.0,
        controls: Mapping[str, bool | int | str] | None = None,
    ) -> None:
        self._device = device
        self._resolution = resolution
        self._frame_rate = frame_rate
        self._pixel_format = pixel_format
        self._latency = latency
        self._controls = dict(controls or {})
        self._descriptor = -1
        self._maps: list[mmap.mmap] = []
        self._poll = select.poll()
        self._layout: pixels.RawLayout | None = None
        self._interval = 0.0
        self._held: deque[tuple[int, memoryview]] = deque()
        self._last_stamp: float | None = None
        self._empty_at = 0.0
        self._errors = 0

    def open(self) -> None:
        self._descriptor = open_device(self._device)
        try:
            if not is_capture_device(v4l2.read_capabilities(self._descriptor)):
                raise CameraOffline(
                    "The device is not a camera. Choose one that `dog cameras` lists.", detail=self._device
                )
            fourcc = self._set_format()
            set_controls(self._descriptor, self._controls)
            # Controls may change the layout: one rotates, another sets the range.
            pix_format = v4l2.get_raw_format(self._descriptor, CAPTURE).fmt.pix
            self._layout = None if fourcc in JPEG else read_layout(pix_format)
            self._start()
        except OSError as error:
            raise explain_device_error(error, self._device, "started") from error

    def _set_format(self) -> str:
        """Set the format and the rate, and return the format."""
        formats = list(list_formats(self._descriptor))
        choice = choose_format(formats, self._resolution, self._frame_rate, self._pixel_format)
        pix_format = v4l2.set_format(self._descriptor, CAPTURE, choice.width, choice.height, choice.fourcc).fmt.pix
        got = (read_fourcc(pix_format.pixelformat), pix_format.width, pix_format.height)
        if got != (choice.fourcc, choice.width, choice.height):
            raise CameraOffline(
                f"The camera gave {got[0]} {got[1]}x{got[2]} instead of"
                f" {choice.fourcc} {choice.width}x{choice.height}. Set another `resolution`."
            )
        if choice.rate is not None:
            v4l2.set_fps(self._descriptor, CAPTURE, choice.rate)
        self._interval = self._read_interval()
        log.info("%s gives %s %dx%d", self._device, *got)
        return choice.fourcc

    def _read_interval(self) -> float:
        """Return the seconds from frame to frame, or 0 if unknown."""
        try:
            rate = read_rate(v4l2.get_parm(self._descriptor, CAPTURE).parm.capture.timeperframe)
        except OSError:
            return 0.0
        if rate is None:
            return 0.0
        if self._frame_rate is not None and abs(rate - self._frame_rate) > MAX_RATE_DIFFERENCE * self._frame_rate:
            raise CameraOffline(
                f"The camera gives {float(rate):g} frames a second instead of {self._frame_rate:g}."
                " Set another `frame_rate`."
            )
        return float(1 / rate)

    def _start(self) -> None:
        count = v4l2.request_buffers(self._descriptor, CAPTURE, MMAP, BUFFER_COUNT).count
        for index in range(count):
            buffer = v4l2.query_buffer(self._descriptor, CAPTURE, MMAP, index)
            self._maps.append(v4l2.mmap_from_buffer(self._descriptor, buffer))
            v4l2.enqueue_buffer(self._descriptor, CAPTURE, MMAP, 0, index)
        self._empty_at = time.monotonic()
        v4l2.stream_on(self._descriptor, CAPTURE)
        self._poll.register(self._descriptor, select.POLLIN)

    def read(self, timeout: float) -> _Frame:
        try:
            self._requeue_oldest()
            buffer = self._dequeue(timeout)
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise CameraOffline("The camera was unplugged. Plug it in again.", detail=self._device) from error
            raise CameraOffline(
                f"The camera's driver reports: {error.strerror}. Reconnect the camera.",
                detail=f"{self._device}: {error}",
            ) from error
        if buffer is None:
            exposure_start = self._empty_at - self._interval - self._latency
            return _Frame(memoryview(b""), exposure_start, None, "the driver reports: I/O error")
        data = memoryview(self._maps[buffer.index])[: buffer.bytesused]
        self._held.append((buffer.index, data))
        damage = ""
        if buffer.flags & FLAG.ERROR:
            damage = "the driver reports an error"
        elif not buffer.bytesused:
            damage = "it is empty"
        return _Frame(data, self._find_exposure_start(buffer), self._layout, damage)

    def _requeue_oldest(self) -> None:
        """Queue the oldest held buffers, to be filled again."""
        while len(self._held) >= MAX_HELD_FRAMES:
            index, data = self._held.popleft()
            data.release()
            v4l2.enqueue_buffer(self._descriptor, CAPTURE, MMAP, 0, index)

    def _dequeue(self, timeout: float) -> Any:
        """Wait for a buffer; None if it was lost. Raises OSError, CameraOffline."""
        now = time.monotonic()
        ready = self._poll.poll(0)
        if not ready:
            self._empty_at = now
            ready = self._poll.poll(timeout * 1000)
        if not ready:
            raise CameraOffline(f"The camera sent no frame for {timeout:g} s. Reconnect it.", detail=self._device)
        try:
            buffer = v4l2.dequeue_buffer(self._descriptor, CAPTURE, MMAP)
        except OSError as error:
            # VIDIOC_DQBUF's documentation: EIO may be temporary, such as a lost signal, and lose the buffer. It may
            # also be the end of the stream, which poll then reports as well.
            self._errors += 1
            if error.errno == errno.EIO and not ready[0][1] & select.POLLERR and self._errors < len(self._maps):
                return None
            if error.errno == errno.EAGAIN:
                raise OSError(errno.EIO, os.strerror(errno.EIO)) from error
            raise
        self._errors = 0
        return buffer

    def _find_exposure_start(self, buffer: Any) -> float:
        stamp: float = buffer.timestamp.secs + buffer.timestamp.usecs * 1e-6
        last, self._last_stamp = self._last_stamp, stamp
        exposure_start = find_exposure_start(
            stamp, buffer.flags, last=last, interval=self._interval, empty_at=self._empty_at, now=time.monotonic()
        )
        return exposure_start - self._latency

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        with contextlib.suppress(OSError, KeyError):
            self._poll.unregister(descriptor)
        with contextlib.suppress(OSError):
            v4l2.stream_off(descriptor, CAPTURE)
        for _, data in self._held:
            data.release()
        self._held.clear()
        for buffer in self._maps:
            try:
                buffer.close()
            except BufferError:
                log.warning("a frame of %s is still in use while the device is closed", self._device)
        self._maps.clear()
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def is_back(self) -> bool:
        try:
            is_device = stat.S_ISCHR(os.stat(self._device).st_mode)
        except OSError:
            return False
        # A new device belongs to root for a moment, until udev has changed its group.
        return is_device and os.access(self._device, os.R_OK | os.W_OK)


def find_exposure_start(
    stamp: float, flags: int, *, last: float | None, interval: float, empty_at: float, now: float
) -> float:
    """Return the start of a frame's exposure as a time.monotonic().

    That is the clock of the drivers' timestamps. A timestamp is of the exposure's start, or of the frame's end. In the
    latter case, the exposure took at most one interval. The interval grows in the dark, so the time since the last
    frame counts if that is longer. Without such a timestamp, the frame ended after `empty_at`, the last time when no
    frame was ready.
    """
    if flags & FLAG.TIMESTAMP_MASK != FLAG.TIMESTAMP_MONOTONIC or not 0 < stamp <= now:
        return empty_at - interval
    if flags & FLAG.TSTAMP_SRC_MASK == FLAG.TSTAMP_SRC_SOE:
        return stamp
    return stamp - max(interval, stamp - last if last is not None else 0.0)


def read_layout(pix_format: Any) -> pixels.RawLayout:
    """Return a format's layout, with the defaults of linux/videodev2.h.

    The defaults (V4L2_MAP_..._DEFAULT) do not cover grey. Monochrome sensors, and vivid, have the full range.
    """
    space, encoding, range_ = raw.Colorspace, raw.YcbcrEncoding, raw.Quantization
    fourcc = read_fourcc(pix_format.pixelformat)
    if pix_format.quantization == range_.DEFAULT:
        limited = fourcc not in ("RGB3", "BGR3", "GREY") and pix_format.colorspace != space.JPEG
    else:
        limited = pix_format.quantization == range_.LIM_RANGE
    if pix_format.ycbcr_enc == encoding.DEFAULT:
        bt709 = pix_format.colorspace in (space.REC709, space.DCI_P3)
    else:
        bt709 = pix_format.ycbcr_enc in (encoding._709, encoding.XV709)
    return pixels.RawLayout(fourcc, pix_format.width, pix_format.height, pix_format.bytesperline, limited, bt709)
