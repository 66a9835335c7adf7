"""HTTP cameras: JPEG streams (multipart/x-mixed-replace) or single images.

The first response shows which of the two it is. Each read has a deadline for the whole frame, so that a slow trickle
can't hold the thread. Responses that are too large or no images are refused. Proxies are not used. User and password
are sent only to the camera's own host, and a wrong password only once: cameras lock an account after many attempts.

http.client accepts the headers that cameras really send. aiohttp's client refuses some of them, and costs more than
twice as much per frame.
"""

import contextlib
import http.client
import io
import socket
import time
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urljoin

from dog import __version__
from dog.cameras.camera_url import CameraUrl, explain_connection_error, explain_status
from dog.cameras.credentials import authorization_header
from dog.cameras.frame_selection import Frame, ImageFrame
from dog.cameras.network_timestamps import UnstampedFrames
from dog.errors import CameraOffline
from dog.images import MAX_IMAGE_BYTES

__all__ = ["HttpSource"]

HTTP_OPEN_TIMEOUT = 5.0
"""Seconds for connecting and receiving the response headers."""
READ_BYTES = 64 * 1024
MAX_LINE_BYTES = 8 * 1024
"""Longest line of a part's header."""
MAX_HEADER_LINES = 100
MAX_REDIRECTS = 5


class HttpSource:
    """A camera with an http:// or https:// URL.

    `latency` is the time from exposure to sending, in seconds. `password_file` is read at each opening if the URL names
    only a user. Raises ValueError for an invalid URL.
    """

    settles = False

    def __init__(self, url: str, *, latency: float = 0.0, password_file: Path | None = None) -> None:
        self.streams = True
        self._url = CameraUrl(url, password_file)
        self._latency = latency
        self._response: Response | None = None
        self._parts: MultipartReader | None = None
        self._freshness = UnstampedFrames(latency)

    def open(self) -> None:
        try:
            self._url.read_password()
            response = self._response = send_request(self._url, time.monotonic() + HTTP_OPEN_TIMEOUT)
            if response.content_type.startswith("multipart/"):
                self._parts = MultipartReader(response)
            else:
                self.streams = False
                _check_content_type(response.content_type)
                response.close()
        except Exception as error:
            raise self._explain(error) from None

    def read(self, timeout: float) -> Frame:
        deadline = time.monotonic() + timeout
        try:
            return self._fetch_image(deadline) if self._parts is None else self._read_part(self._parts, deadline)
        except TimeoutError:
            raise CameraOffline(
                f"The camera sent no frame for {timeout:g} s. Reconnect it.",
                detail=f"{self._url}: no frame, or an incomplete one",
            ) from None
        except Exception as error:
            raise self._explain(error) from None

    def close(self) -> None:
        if self._response is not None:
            self._response.close()

    def is_back(self) -> bool:
        return self._url.is_listening()

    def _fetch_image(self, deadline: float) -> Frame:
        """Request an image after `latency`: a camera may return one of that age."""
        exposure_start = time.monotonic()
        time.sleep(min(self._latency, _remaining(deadline)))
        response = self._response = send_request(self._url, deadline)
        try:
            _check_content_type(response.content_type)
            return ImageFrame(response.read_body(), exposure_start)
        finally:
            response.close()

    def _read_part(self, parts: "MultipartReader", deadline: float) -> Frame:
        part = parts.read(deadline)
        # Without a length, a part ends when the next one begins.
        return ImageFrame(
            part, self._freshness.exposure_start(time.monotonic(), frames_late=0 if parts.has_length else 1)
        )

    def _explain(self, error: Exception) -> CameraOffline:
        if isinstance(error, CameraOffline):
            error.detail = f"{self._url}: {self._url.hide_secrets(error.detail)}"
            return error
        return explain_connection_error(error, self._url)


def _check_content_type(content_type: str) -> None:
    if content_type in ("text/html", "application/xhtml+xml"):
        raise CameraOffline("The camera's URL gives a web page, not an image. Use the path of the image or the stream.")
    if content_type.startswith(("text/", "audio/", "video/", "message/")) or content_type.endswith(
        ("json", "xml", "mpegurl")
    ):
        raise CameraOffline(f"The camera's URL gives {content_type}, not JPEGs or an image. Use another path.")


class Response:
    """A response whose headers have arrived. Its reads have a deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._socket = DeadlineSocket(sock, deadline)
        self.http_response = http.client.HTTPResponse(self._socket)  # type: ignore[arg-type]  # it uses only makefile
        self.http_response.begin()
        headers = self.http_response.headers
        self.content_type = headers.get_content_type() if "Content-Type" in headers else ""

    def read(self, deadline: float) -> bytes:
        """Return the bytes that have arrived, at least one."""
        self._socket.deadline = deadline
        chunk = self.http_response.read1(READ_BYTES)
        if not chunk:
            raise CameraOffline("The camera ended its stream. Check whether it restarts, or has too many viewers.")
        return chunk

    def read_body(self) -> bytes:
        """Return the body. Raises CameraOffline if it exceeds MAX_IMAGE_BYTES."""
        body = bytearray()
        while chunk := self.http_response.read1(READ_BYTES):
            body += chunk
            _check_size(len(body))
        if self.http_response.length:
            raise CameraOffline("The camera ended its response before the image was complete. Check the network.")
        return bytes(body)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.http_response.close()
        self._socket.close_socket()


class DeadlineSocket(io.RawIOBase):
    """A socket whose reads share one deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self.deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, READ_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._sock.settimeout(_remaining(self.deadline))
        return self._sock.recv_into(buffer)

    def close_socket(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.close()


def send_request(url: CameraUrl, deadline: float) -> Response:
    """Send a GET; follow redirects and authenticate.

    Raises CameraOffline, OSError, HTTPException.
    """
    target, authorization = url, ""
    for _ in range(MAX_REDIRECTS):
        response = _get(target, authorization, deadline)
        status = response.http_response.status
        if status == HTTPStatus.OK:
            return response
        headers = response.http_response.headers
        response.close()
        if status == HTTPStatus.UNAUTHORIZED and url.has_user and not authorization:
            if target.host != url.host:
                raise CameraOffline(
                    "The camera redirects to another host, which asks for a password. Use the URL of that host."
                )
            authorization = authorization_header(
                headers.get_all("WWW-Authenticate", ()), url.user, url.password, target.path_and_query
            )
        elif status in (301, 302, 303, 307, 308) and "Location" in headers:
            target, authorization = _resolve_redirect(target, headers["Location"]), ""
        else:
            raise explain_status(status, url)
    raise CameraOffline("The camera redirects too often. Use the URL where it ends.")


def _get(url: CameraUrl, authorization: str, deadline: float) -> Response:
    sock = url.connect(min(HTTP_OPEN_TIMEOUT, _remaining(deadline)))
    try:
        head = [
            f"GET {url.path_and_query} HTTP/1.1",
            f"Host: {url.authority}",
            f"User-Agent: dog/{__version__}",
            "Accept: image/jpeg, multipart/x-mixed-replace, image/*;q=0.9, */*;q=0.5",
            "Cache-Control: no-cache",
            "Pragma: no-cache",
            "Connection: close",
        ]
        if authorization:
            head.append(f"Authorization: {authorization}")
        sock.settimeout(_remaining(deadline))
        sock.sendall("\r\n".join([*head, "", ""]).encode("latin-1", "replace"))
        return Response(sock, deadline)
    except BaseException:
        sock.close()
        raise


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("the time is up")
    return remaining


def _resolve_redirect(base: CameraUrl, location: str) -> CameraUrl:
    try:
        target = CameraUrl(urljoin(base.url, location))
    except ValueError:
        raise CameraOffline("The camera redirects to an invalid URL. Use another path.", detail=location) from None
    if target.scheme not in ("http", "https") or (base.scheme == "https" and target.scheme == "http"):
        raise CameraOffline(f"The camera redirects to {target.scheme}://. Use that URL.", detail=str(target))
    return target


class MultipartReader:
    """The parts of a multipart body. Headers often name a wrong delimiter."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._buffer = bytearray()
        self._delimiter = b""
        self.has_length = True

    def read(self, deadline: float) -> bytes:
        """Return the next part that is neither empty nor text."""
        while True:
            headers = self._read_headers(deadline)
            length = headers.get("content-length", "")
            self.has_length = length.isdecimal()
            part = self._read_exactly(int(length), deadline) if self.has_length else self._read_to_delimiter(deadline)
            if part and not headers.get("content-type", "").startswith("text/"):
                return part

    def _read_headers(self, deadline: float) -> dict[str, str]:
        """Read the delimiter and the header lines of a part, up to the empty line."""
        headers: dict[str, str] = {}
        has_begun = False
        for _ in range(MAX_HEADER_LINES):
            line = self._take(self._find(b"\n", MAX_LINE_BYTES, deadline), separator=1).strip()
            name, colon, value = line.decode("latin-1").partition(":")
            if line.startswith(b"--"):
                self._delimiter = self._delimiter or line
                has_begun = True
            elif colon and name.replace("-", "").isalnum():
                headers[name.lower()] = value.strip().lower()
                has_begun = True
            elif line:
                break
            elif has_begun:
                return headers
        raise CameraOffline("The camera's stream is damaged: a frame has no header. Check the network.")

    def _take(self, size: int, separator: int = 0) -> bytes:
        """Remove bytes and the separator that follows from the buffer."""
        taken = bytes(self._buffer[:size])
        del self._buffer[: size + separator]
        return taken

    def _read_exactly(self, length: int, deadline: float) -> bytes:
        _check_size(length)
        while len(self._buffer) < length:
            self._buffer += self._response.read(deadline)
        return self._take(length)

    def _read_to_delimiter(self, deadline: float) -> bytes:
        if not self._delimiter:
            raise CameraOffline("The camera's stream is damaged: the end of a frame is unknown. Check the network.")
        end = self._find(b"\n" + self._delimiter, MAX_IMAGE_BYTES, deadline)
        return self._take(end, separator=1).removesuffix(b"\r")

    def _find(self, mark: bytes, max_bytes: int, deadline: float) -> int:
        """Receive until the mark is in the buffer, and return its position."""
        searched = 0
        while (end := self._buffer.find(mark, searched)) < 0:
            searched = max(0, len(self._buffer) - len(mark) + 1)
            if searched > max_bytes:
                raise CameraOffline(
                    "The camera's stream is damaged: a frame or its header does not end. Check the network."
                )
            self._buffer += self._response.read(deadline)
        return end


def _check_size(size: int) -> None:
    if size > MAX_IMAGE_BYTES:
        raise CameraOffline(
            f"The camera sends an image of more than {MAX_IMAGE_BYTES // 1024**2} MiB. Set it to a smaller size."
        )
