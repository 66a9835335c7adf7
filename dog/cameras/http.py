"""Cameras that speak HTTP: a stream of JPEGs (multipart/x-mixed-replace), or an address that answers with one image.

Which of the two an address is, it says itself when it is asked. Everything is read against a deadline for the whole, so
that nothing that trickles holds the thread; what is no image is refused, by its size or its kind. No proxy is asked,
for cameras are near. User and password are sent only to the camera's own host, and a wrong one only once: cameras lock
out who tries again and again.

http.client takes the heads that cameras really send; aiohttp's client refuses some of them, and costs more than twice
as much for each frame.
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
from dog.cameras.camera_url import Address, explain
from dog.cameras.freshness import Unstamped
from dog.cameras.http_authentication import authorize
from dog.cameras.source import AFTER_REFUSAL, Frame, WholeFrame
from dog.errors import CameraOffline
from dog.images import LARGEST_PICTURE

__all__ = ["HttpSource"]

OPENING = 5.0
"""Seconds for connecting and the head of the answer."""
CHUNK = 64 * 1024
LONGEST_LINE = 8 * 1024
"""Bytes of a line of a part's head; what is longer is no head."""
MOST_LINES = 100
MOST_REDIRECTS = 5


class HttpSource:
    """The camera at an http:// or https:// address. `latency`: what it takes from exposing to sending, in seconds.

    `password_file` is read at each opening, where the address names a user alone.
    Raises ValueError where the address can't be one.
    """

    settles = False

    def __init__(self, url: str, *, latency: float = 0.0, password_file: Path | None = None) -> None:
        self.streams = True
        self._address = Address(url, password_file)
        self._latency = latency
        self._answer: Answer | None = None
        self._parts: MultipartReader | None = None
        self._dates = Unstamped(latency)

    def open(self) -> None:
        try:
            self._address.read_password()
            answer = self._answer = ask(self._address, time.monotonic() + OPENING)
            if answer.kind.startswith("multipart/"):
                self._parts = MultipartReader(answer)
            else:
                self.streams = False
                _check_kind(answer.kind)
                answer.close()
        except Exception as error:
            raise self._explain(error) from None

    def read(self, patience: float) -> Frame:
        deadline = time.monotonic() + patience
        try:
            return self._take(deadline) if self._parts is None else self._read_part(self._parts, deadline)
        except TimeoutError:
            raise CameraOffline(
                f"The camera gave no picture for {patience:g} s. Reconnect it.",
                detail=f"{self._address}: nothing, or not a whole one",
            ) from None
        except Exception as error:
            raise self._explain(error) from None

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()

    def is_back(self) -> bool:
        return self._address.listens()

    def _take(self, deadline: float) -> Frame:
        """One image. A camera may answer with one that is as old as its latency, and is asked when that is new."""
        began = time.monotonic()
        time.sleep(min(self._latency, _left(deadline)))
        answer = self._answer = ask(self._address, deadline)
        try:
            _check_kind(answer.kind)
            return WholeFrame(answer.rest(), began)
        finally:
            answer.close()

    def _read_part(self, parts: "MultipartReader", deadline: float) -> Frame:
        part = parts.read(deadline)
        # Without its length, a part has ended only when the next one begins.
        return WholeFrame(part, self._dates.date(time.monotonic(), late=0 if parts.tells_length else 1))

    def _explain(self, error: Exception) -> CameraOffline:
        if isinstance(error, CameraOffline):
            error.detail = f"{self._address}: {self._address.hide(error.detail)}"
            return error
        return explain(error, self._address)


def _check_kind(kind: str) -> None:
    if kind in ("text/html", "application/xhtml+xml"):
        raise CameraOffline(
            "The camera's address gives a web page, not a picture. Use the path of the picture or the stream."
        )
    if kind.startswith(("text/", "audio/", "video/", "message/")) or kind.endswith(("json", "xml", "mpegurl")):
        raise CameraOffline(f"The camera's address gives {kind}, not JPEGs or an image. Use another path.")


# ---- one request


class Answer:
    """An answer whose head has come. `kind` is its content type; its body is read up to `deadline`."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._line = DeadlineSocket(sock, deadline)
        self.response = http.client.HTTPResponse(self._line)  # type: ignore[arg-type]  # it asks for makefile alone
        self.kind = ""

    def begin(self) -> None:
        self.response.begin()
        self.kind = self.response.headers.get_content_type() if "Content-Type" in self.response.headers else ""

    def read(self, deadline: float) -> bytes:
        """What has come, at least one byte."""
        self._line.deadline = deadline
        chunk = self.response.read1(CHUNK)
        if not chunk:
            raise CameraOffline("The camera ended its stream. Check whether it restarts, or has too many viewers.")
        return chunk

    def rest(self) -> bytes:
        """All of the body. Raises CameraOffline where it is larger than a picture may be."""
        body = bytearray()
        while chunk := self.response.read1(CHUNK):
            body += chunk
            _check_size(len(body))
        if self.response.length:
            raise CameraOffline("The camera ended its answer before the picture was complete. Check the network.")
        return bytes(body)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.response.close()
        self._line.hang_up()


class DeadlineSocket(io.RawIOBase):
    """A socket's bytes, up to a deadline for all of them."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self.deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, CHUNK)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._sock.settimeout(_left(self.deadline))
        return self._sock.recv_into(buffer)

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.close()


def ask(address: Address, deadline: float) -> Answer:
    """GET, over redirects and with the password where it is asked for. Raises CameraOffline, OSError, HTTPException."""
    there, authorization = address, ""
    for _ in range(MOST_REDIRECTS):
        answer = _get(there, authorization, deadline)
        status = answer.response.status
        if status == HTTPStatus.OK:
            return answer
        headers = answer.response.headers
        answer.close()
        if status == HTTPStatus.UNAUTHORIZED and address.has_user and not authorization:
            if there.host != address.host:
                raise CameraOffline(
                    "The camera redirects to another host, which asks for a password. Use the address of that host."
                )
            authorization = authorize(headers.get_all("WWW-Authenticate", ()), address, there.target)
        elif status in (301, 302, 303, 307, 308) and "Location" in headers:
            there, authorization = _follow(there, headers["Location"]), ""
        else:
            raise _refuse(status, address)
    raise CameraOffline("The camera redirects too often. Use the address where it ends.")


def _get(address: Address, authorization: str, deadline: float) -> Answer:
    sock = address.connect(min(OPENING, _left(deadline)))
    try:
        head = [
            f"GET {address.target} HTTP/1.1",
            f"Host: {address.authority}",
            f"User-Agent: dog/{__version__}",
            "Accept: image/jpeg, multipart/x-mixed-replace, image/*;q=0.9, */*;q=0.5",
            "Cache-Control: no-cache",
            "Pragma: no-cache",
            "Connection: close",
        ]
        if authorization:
            head.append(f"Authorization: {authorization}")
        sock.settimeout(_left(deadline))
        sock.sendall("\r\n".join([*head, "", ""]).encode("latin-1", "replace"))
        answer = Answer(sock, deadline)
        answer.begin()
    except BaseException:
        sock.close()
        raise
    return answer


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time is up")
    return left


def _follow(here: Address, location: str) -> Address:
    try:
        there = Address(urljoin(here.url, location))
    except ValueError:
        raise CameraOffline("The camera redirects to an invalid address. Use another path.", detail=location) from None
    if there.scheme not in ("http", "https") or (here.scheme == "https" and there.scheme == "http"):
        raise CameraOffline(f"The camera redirects to {there.scheme}://. Use that address.", detail=str(there))
    return there


def _refuse(status: int, address: Address) -> CameraOffline:
    detail = f"status {status}"
    match status:
        case 401 if not address.has_user:
            said = "The camera asks for a user and a password. Write user@ before its host, and set `password_file`."
        case 401:
            said = "The camera refuses the user or the password. Correct them."
        case 403:
            said = "The camera does not let this user see its pictures. Change that in the camera."
        case 404 | 410:
            said = "The camera has nothing at this path. Check its address."
        case 503:
            said = "The camera is busy (status 503). Check whether it has too many viewers."
        case _:
            said = f"The camera answers with status {status} instead of a picture. Check its address."
    refusal = CameraOffline(said, detail=detail)
    if status == HTTPStatus.UNAUTHORIZED and address.has_user:
        refusal.next_try = AFTER_REFUSAL
    return refusal


# ---- the parts of a stream


class MultipartReader:
    """The parts of a multipart body. The delimiter is the one that is really there, whatever the head says it were."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._came = bytearray()
        self._delimiter = b""
        self.tells_length = True

    def read(self, deadline: float) -> bytes:
        """The next part that is not empty and not text."""
        while True:
            head = self._read_head(deadline)
            length = head.get("content-length", "")
            self.tells_length = length.isdecimal()
            part = self._exactly(int(length), deadline) if self.tells_length else self._to_delimiter(deadline)
            if part and not head.get("content-type", "").startswith("text/"):
                return part

    def _read_head(self, deadline: float) -> dict[str, str]:
        """The lines up to an empty one, with the delimiter before them."""
        head: dict[str, str] = {}
        has_begun = False
        for _ in range(MOST_LINES):
            line = self._read_line(deadline).strip()
            name, colon, value = line.decode("latin-1").partition(":")
            if line.startswith(b"--"):
                self._delimiter = self._delimiter or line
                has_begun = True
            elif colon and name.replace("-", "").isalnum():
                head[name.lower()] = value.strip().lower()
                has_begun = True
            elif line:
                break
            elif has_begun:
                return head
        raise CameraOffline("The camera's stream is damaged: a picture has no head. Check the network.")

    def _read_line(self, deadline: float) -> bytes:
        end = self._find(b"\n", LONGEST_LINE, deadline)
        line = bytes(self._came[:end])
        del self._came[: end + 1]
        return line

    def _exactly(self, length: int, deadline: float) -> bytes:
        _check_size(length)
        while len(self._came) < length:
            self._came += self._answer.read(deadline)
        part = bytes(self._came[:length])
        del self._came[:length]
        return part

    def _to_delimiter(self, deadline: float) -> bytes:
        if not self._delimiter:
            raise CameraOffline("The camera's stream is damaged: the end of a picture is unknown. Check the network.")
        end = self._find(b"\n" + self._delimiter, LARGEST_PICTURE, deadline)
        part = bytes(self._came[:end]).removesuffix(b"\r")
        del self._came[: end + 1]
        return part

    def _find(self, mark: bytes, most: int, deadline: float) -> int:
        """Where the mark begins, once it has come."""
        looked = 0
        while (end := self._came.find(mark, looked)) < 0:
            looked = max(0, len(self._came) - len(mark) + 1)
            if looked > most:
                raise CameraOffline(
                    "The camera's stream is damaged: a picture or its head does not end. Check the network."
                )
            self._came += self._answer.read(deadline)
        return end


def _check_size(size: int) -> None:
    if size > LARGEST_PICTURE:
        raise CameraOffline(
            f"The camera sends a picture of more than {LARGEST_PICTURE // 1024**2} MiB. Set it to a smaller size."
        )
