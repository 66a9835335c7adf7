"""HTTP cameras: streams of JPEGs, or one image for each request.

The first response shows which of the two it is, by its bytes: cameras often declare a wrong type. Each read has a
deadline for the whole frame, so that a slow trickle can't hold the thread. Responses that are too large or no images
are refused.
"""

import re
import time
from collections import deque
from pathlib import Path

from dog.cameras.camera_url import STREAM_ENDED, CameraUrl, explain_connection_error
from dog.cameras.frame_selection import Frame, ImageFrame
from dog.cameras.http_requests import CameraClient, Response
from dog.cameras.mjpeg import JPEG_START, PART_HEADER, ImageParser, check_size, not_an_image, strip_header
from dog.cameras.network_timestamps import UnstampedFrames
from dog.cameras.response_times import CameraClock, latest_exposure, read_camera_time, read_timestamp
from dog.errors import CameraOffline

__all__ = ["HttpSource"]

PROBE_IMAGES = 3
"""Images in one response until it counts as a stream: a single image may contain a preview."""
MAX_PROBE_SECONDS = 1.0
"""Seconds after the first image until it is decided whether the response is a stream."""
MAX_PAUSE_SECONDS = 0.5
"""Seconds without data after a whole image until the response counts as complete."""
MAX_STAMP_AGE = 60.0
"""Seconds from the exposure, as the camera says, to the press. More of them show a clock that was never set."""
CLOCK_IMAGES = 3
"""Images from which the offset of a camera's clock is learned. Known cameras send at most two earlier ones first."""
NEW_PRESS_SECONDS = 1.0
"""Requests in shorter intervals are for the same photo."""
OTHER_TYPES = ("text/", "application/xhtml", "application/json", "audio/", "message/")
INCOMPLETE = "The camera ended its response before the image was complete. Check the network."
_SINGLE_IMAGE = re.compile(rb"\x89PNG|RIFF....WEBP", re.DOTALL)


class HttpSource:
    """A camera with an http:// or https:// URL.

    `latency` is the time from exposure to sending, and `open_timeout` the time limit of the opening, in seconds.
    `password_file` is read at each opening if the URL names only a user. Before each image, `discard` others are
    requested and dropped. `tls_fingerprint` pins the certificate. With `private_addresses`, redirects from the Internet
    into a private network are followed. Raises ValueError for an invalid URL.
    """

    settles = False

    def __init__(
        self,
        url: str,
        *,
        latency: float = 0.0,
        open_timeout: float = 15.0,
        password_file: Path | None = None,
        discard: int = 0,
        tls_fingerprint: str | None = None,
        private_addresses: bool = False,
    ) -> None:
        self.streams = True
        self._url = CameraUrl(url, password_file, tls_fingerprint)
        self._client = CameraClient(self._url, private_addresses=private_addresses)
        self._latency = latency
        self._open_timeout = open_timeout
        self._discard = discard
        self._response: Response | None = None
        self._parser = ImageParser()
        self._freshness = UnstampedFrames(latency)
        self._frames: deque[ImageFrame] = deque()  # received by the opening
        self._clock = CameraClock()
        self.camera_time: float | None = None
        """The time of the last single image by the camera's own clock, if it sends one."""
        self._last_fetch = -NEW_PRESS_SECONDS
        self._oldest_stamp = 0.0

    def open(self) -> None:
        deadline = time.monotonic() + self._open_timeout
        try:
            self._url.read_password()
            response = self._response = self._client.get(deadline)
            self._parser = ImageParser(response.content_type)
            self.streams = self._is_stream(response, deadline)
            if not self.streams:
                response.close()
                self._frames.clear()
                self._learn_clock(response, deadline)
        except Exception as error:
            raise self._explain(error) from None

    def read(self, timeout: float) -> Frame:
        deadline = time.monotonic() + timeout
        try:
            return self._read_frame(deadline) if self.streams else self._fetch_image(deadline)
        except TimeoutError:
            setting = "frame_rate" if self.streams else "capture_timeout"
            raise CameraOffline(
                f"The camera sent no frame for {timeout:g} s. Reconnect it. If it is that slow, set `{setting}`.",
                detail=f"{self._url}: no frame, or an incomplete one",
            ) from None
        except Exception as error:
            raise self._explain(error) from None

    def close(self) -> None:
        if self._response is not None:
            self._response.close()

    def is_back(self) -> bool:
        return self._url.is_listening()

    def hide_secrets(self, text: str) -> str:
        return self._url.hide_secrets(text)

    def _explain(self, error: Exception) -> CameraOffline:
        if isinstance(error, CameraOffline):
            error.detail = f"{self._url}: {self._url.hide_secrets(error.detail)}"
            return error
        return explain_connection_error(error, self._url)

    # ---- streams

    def _is_stream(self, response: Response, deadline: float) -> bool:
        """Return True if more images follow the first one of a response.

        Raises CameraOffline if it has no images.
        """
        if response.missing is not None and response.content_type.startswith("image/"):
            return False
        if not self._read_first_image(response, deadline):
            return False
        deadline = min(deadline, time.monotonic() + MAX_PROBE_SECONDS)
        while len(self._frames) < PROBE_IMAGES:
            try:
                if not self._receive(response, deadline):
                    return False
            except TimeoutError:
                if self._parser.has_begun or len(self._frames) > 1:
                    return True
                has_ended = response.is_complete or self._parser.rest.rstrip().endswith(b"--")
                return response.content_type.startswith("multipart/") and not has_ended
        return True

    def _read_first_image(self, response: Response, deadline: float) -> bool:
        """Receive the first image. Return False if the response is not a stream.

        Text and other kinds of images are refused when a photo is taken, but a declared type that can't be one at once.
        """
        while not self._frames:
            rest = self._parser.rest
            is_odd = bool(rest) and not self._parser.has_begun and not PART_HEADER.match(rest)
            if is_odd and _SINGLE_IMAGE.match(rest):
                return False
            content = b"" if self._parser.has_begun else strip_header(rest)
            try:
                limit = min(deadline, time.monotonic() + MAX_PAUSE_SECONDS) if is_odd else deadline
                if self._receive(response, limit):
                    continue
            except TimeoutError:
                if not content:
                    raise
            if response.content_type.startswith("multipart/") and not content:
                raise CameraOffline(INCOMPLETE if self._parser.has_begun else STREAM_ENDED)
            if response.content_type.startswith(("multipart/", *OTHER_TYPES)):
                raise not_an_image(content, response.content_type)
            return False
        return True

    def _receive(self, response: Response, deadline: float) -> bool:
        """Receive bytes, and add their frames. Return False at the end."""
        chunk = response.read(deadline)
        self._parser.add(chunk)
        arrived = time.monotonic()
        while (image := self._parser.next_image()) is not None:
            # A late image ended only when the next one began.
            start = self._freshness.exposure_start(arrived, frames_late=1 if image.is_late else 0)
            self._frames.append(ImageFrame(image.data, start))
        return bool(chunk)

    def _read_frame(self, deadline: float) -> Frame:
        assert self._response is not None
        while not self._frames:
            if not self._receive(self._response, deadline):
                raise CameraOffline(STREAM_ENDED)
        return self._frames.popleft()

    # ---- single images

    def _fetch_image(self, deadline: float) -> Frame:
        """Request an image after `latency`: a camera may return one of that age."""
        started = time.monotonic()
        if started > self._last_fetch + NEW_PRESS_SECONDS:
            self._oldest_stamp = started - MAX_STAMP_AGE
        time.sleep(max(0.0, min(self._latency, deadline - started)))
        requested_at = time.monotonic()
        for _ in range(self._discard + 1):
            response = self._response = self._client.get(deadline)
            try:
                image = _read_single_image(response, deadline)
            finally:
                response.close()
        self._last_fetch = time.monotonic()
        self.camera_time = read_camera_time(response.headers)
        exposure_start = (requested_at if self._discard else response.requested_at) - self._latency
        return ImageFrame(image, min(exposure_start, self._latest_exposure(response)))

    def _learn_clock(self, response: Response, deadline: float) -> None:
        """Learn the offset of a camera's clock, if it sends times.

        Without that, the first image of a camera that sends earlier ones would count as new.
        """
        for _ in range(CLOCK_IMAGES):
            now = time.monotonic()
            is_slow = now + CLOCK_IMAGES * (now - response.requested_at) > deadline
            if is_slow or read_timestamp(response.headers) is None:
                break
            self._fetch_image(deadline)

    def _latest_exposure(self, response: Response) -> float:
        """Return the latest time at which the image was exposed, by its headers."""
        unix_time = time.time() - time.monotonic()
        received = response.received_at
        latest = latest_exposure(response.headers, oldest=unix_time + self._oldest_stamp, received=unix_time + received)
        stamp = read_timestamp(response.headers)
        if latest is not None:
            return latest - unix_time
        return received if stamp is None else self._clock.latest_exposure(stamp, received)


def _read_single_image(response: Response, deadline: float) -> bytes:
    """Return the image of a response, with all that follows it at once.

    Lengths are often wrong, so a JPEG must also have its end marker. Raises CameraOffline, OSError.
    """
    body, parser = bytearray(), ImageParser(response.content_type)
    jpeg = None
    is_whole = False
    while not (is_whole and response.is_complete):
        is_enough = is_whole or response.is_complete
        try:
            chunk = response.read(min(deadline, time.monotonic() + MAX_PAUSE_SECONDS) if is_enough else deadline)
        except TimeoutError:
            if is_enough:
                break
            raise
        if not chunk:
            break
        body += chunk
        check_size(len(body))
        if _SINGLE_IMAGE.match(body):
            is_whole = response.missing is not None
        elif jpeg is None:
            parser.add(chunk)
            jpeg = parser.next_image()
            is_whole = jpeg is not None
    if jpeg is not None and not body.startswith(JPEG_START):
        return jpeg.data  # a part of a multipart body
    if jpeg is None and response.missing is not None and response.missing > 0:
        raise CameraOffline(INCOMPLETE)
    if not body:
        raise not_an_image(b"", response.content_type)
    return bytes(body)  # a press inspects it, and reports anything that is not an image
