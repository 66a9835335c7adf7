"""HTTP requests to a camera: login, redirects, and a camera that is busy.

User and password are sent only to the origin of the camera's URL, and a wrong password only once: cameras lock an
account after many attempts. Proxies are not used.

http.client accepts the headers that cameras really send. aiohttp's client refuses some of them, and costs more than
twice as much per frame.
"""

import contextlib
import http.client
import io
import socket
import ssl
import time
import zlib
from http import HTTPStatus
from urllib.parse import urljoin

from dog import __version__
from dog.cameras.camera_url import CameraUrl, explain_status
from dog.cameras.digest import NONCES_EXPIRE, Challenge
from dog.errors import CameraOffline
from dog.public_addresses import is_public

__all__ = ["CameraClient", "Response"]

READ_BYTES = 64 * 1024
MAX_REFUSAL_BYTES = 64 * 1024
"""Body of a refusal that is read, so that its connection can be used again."""
MIN_CONNECT_TIMEOUT = 5.0
MAX_REQUESTS = 10
"""Requests until a camera's redirects and challenges are given up."""
MAX_BUSY_RETRIES = 2
BUSY_PAUSE = 0.3
"""Seconds until a busy camera is asked again, if it names no time."""
PAGE_TYPES = ("text/html", "application/xhtml+xml")
GZIP_START = b"\x1f\x8b"


class CameraClient:
    """The requests to one camera. It remembers the camera's last challenge.

    With `private_addresses`, redirects from the Internet into a private network are followed.
    """

    def __init__(self, url: CameraUrl, *, private_addresses: bool = False) -> None:
        self._url = url
        self._private_addresses = private_addresses
        self._challenge: Challenge | None = None

    def get(self, deadline: float) -> "Response":
        """Send a GET; log in, follow redirects, and retry if the camera is busy.

        Returns the response with the status 200. Raises CameraOffline, OSError, HTTPException.
        """
        target, only_public = self._url, False
        connection: Connection | None = None
        is_new = False  # True if the challenge is of this call: then the password is wrong if its answer is refused
        retries = 0
        for _ in range(MAX_REQUESTS):
            authorization = self._authorize(target)
            response = self._exchange(target, authorization, connection, deadline, only_public=only_public)
            connection = None
            # Some cameras do not ask for a password: they refuse, or send or redirect to their login page.
            can_try_basic = self._url.has_user and self._challenge is None
            if response.status == HTTPStatus.OK and not (can_try_basic and response.content_type in PAGE_TYPES):
                return response
            if response.status == HTTPStatus.UNAUTHORIZED and self._url.has_user:
                self._challenge = self._read_challenge(response, target, authorization, is_new=is_new)
                is_new = True
                connection = response.release(deadline)
                continue
            response.close()
            if response.status == HTTPStatus.SERVICE_UNAVAILABLE and retries < MAX_BUSY_RETRIES:
                retries += 1
                if response.retry_after >= _remaining(deadline):
                    raise explain_status(response.status, self._url)
                time.sleep(response.retry_after)
            elif response.location:
                only_public = not self._private_addresses and (only_public or is_public(response.peer_address))
                target = _resolve_redirect(target, response.location)
            elif can_try_basic:
                self._challenge, target, only_public = Challenge(()), self._url, False
            else:
                raise explain_status(response.status, self._url)
        if connection is not None:
            connection.close()
        if response.status == HTTPStatus.UNAUTHORIZED:
            raise CameraOffline(NONCES_EXPIRE)
        raise CameraOffline("The camera redirects too often. Use the URL where it ends.")

    def _authorize(self, target: CameraUrl) -> str:
        """Return the header Authorization, or "" if none may be sent yet."""
        if self._challenge is None or target.origin != self._url.origin:
            return ""
        return self._challenge.answer(
            user=self._url.user, password=self._url.password, method="GET", uri=target.path_and_query
        )

    def _read_challenge(
        self, response: "Response", target: CameraUrl, authorization: str, *, is_new: bool
    ) -> Challenge:
        """Return the challenge. Raises CameraOffline if the password is wrong."""
        try:
            if target.origin != self._url.origin:
                raise CameraOffline(
                    "The camera redirects to another host or port, which asks for a password. Write that URL into"
                    " `camera`.",
                    detail=str(target),
                )
            challenge = Challenge(response.challenges)
            if authorization and not challenge.is_stale and (is_new or not challenge.is_digest):
                raise explain_status(response.status, self._url)
        except CameraOffline:
            response.close()
            raise
        return challenge

    def _exchange(
        self,
        target: CameraUrl,
        authorization: str,
        connection: "Connection | None",
        deadline: float,
        *,
        only_public: bool,
    ) -> "Response":
        """Send a GET, by this connection if it is open. Receive the head."""
        if connection is not None:
            with contextlib.suppress(ConnectionError, http.client.BadStatusLine):  # the camera ended it
                return self._request(target, authorization, connection, deadline)
        remaining = _remaining(deadline)
        # A host may have a second address, which needs time too.
        connect_timeout = max(remaining / 2, min(remaining, MIN_CONNECT_TIMEOUT))
        try:
            sock = target.connect(connect_timeout, only_public=only_public)
        except ssl.SSLError as error:
            if target.origin == self._url.origin:
                raise
            raise CameraOffline(
                "The camera redirects to another host or port, whose certificate is not trusted. Write that URL into"
                " `camera`.",
                detail=f"{target}: {error}",
            ) from None  # a fingerprint counts only for the URL in `camera`
        return self._request(target, authorization, Connection(sock), deadline)

    def _request(self, target: CameraUrl, authorization: str, connection: "Connection", deadline: float) -> "Response":
        head = [
            f"GET {target.path_and_query} HTTP/1.1",
            f"Host: {target.authority}",
            f"User-Agent: dog/{__version__}",
            "Accept: image/jpeg, multipart/x-mixed-replace, image/*;q=0.9, */*;q=0.5",
            "Cache-Control: no-cache",
            "Pragma: no-cache",
            # A nonce may be valid only for the connection of its challenge.
            f"Connection: {'keep-alive' if self._url.has_user else 'close'}",
        ]
        if authorization:
            head.append(f"Authorization: {authorization}")
        try:
            requested_at = time.monotonic()
            connection.send("\r\n".join([*head, "", ""]).encode("latin-1", "replace"), deadline)
            return Response(connection, requested_at)
        except BaseException:
            connection.close()
            raise


class Response:
    """A response whose head has arrived. Its reads have a deadline.

    `requested_at` and `received_at` are times of time.monotonic(): before the request, and of the head.
    """

    def __init__(self, connection: "Connection", requested_at: float) -> None:
        self.requested_at = requested_at
        self.peer_address = connection.peer_address
        self._connection = connection
        self._http = http.client.HTTPResponse(connection)  # type: ignore[arg-type]  # it uses only makefile
        self._http.begin()
        self.received_at = time.monotonic()
        self.status = self._http.status
        self.headers = headers = self._http.headers
        self.content_type = headers.get_content_type() if "Content-Type" in headers else ""
        self.challenges: list[str] = headers.get_all("WWW-Authenticate", [])
        self.location: str = headers.get("Location", "") if self.status in (301, 302, 303, 307, 308) else ""
        given = headers.get("Retry-After", "")
        self.retry_after = float(given) if given.isdecimal() else BUSY_PAUSE
        # Lengths are often wrong, so the body is read past its declared end.
        self.missing: int | None = self._http.length
        """Bytes until the declared end of the body, negative behind it; None if no length is declared."""
        self._http.length = None
        self._unpack: zlib._Decompress | None = None
        self._is_first = True

    @property
    def is_complete(self) -> bool:
        """True once the declared length has been received."""
        return self.missing is not None and self.missing <= 0

    def read(self, deadline: float) -> bytes:
        """Return the bytes that have arrived, at least one; none at the end.

        A little gzip may become very much, so it is unpacked in parts.
        """
        self._connection.deadline = deadline
        while True:
            packed = b"" if self._unpack is None else self._unpack.unconsumed_tail
            if packed and time.monotonic() > deadline:
                raise TimeoutError
            data = packed or self._receive()
            unpacked = data if self._unpack is None else self._unpack.decompress(data, READ_BYTES)
            if unpacked or not data:
                return unpacked

    def _receive(self) -> bytes:
        data = self._http.read1(READ_BYTES)
        if self.missing is not None:
            self.missing -= len(data)
        if self._is_first and data.startswith(GZIP_START):
            self._unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        self._is_first = False
        return data

    def release(self, deadline: float) -> "Connection | None":
        """Return the connection, if it can send another request. Ends the body."""
        received = 0
        with contextlib.suppress(OSError, http.client.HTTPException, zlib.error):
            while self.missing is None or self.missing > 0:
                data = self.read(deadline)
                received += len(data)
                if not data or received > MAX_REFUSAL_BYTES:
                    break
            if not self._http.will_close and (self.missing == 0 or self._http.isclosed()):
                return self._connection
        self.close()
        return None

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._http.close()
        self._connection.close()


class Connection:
    """A connected socket whose reads share one deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self.deadline = 0.0
        self.peer_address: str = sock.getpeername()[0]
        self._sock = sock

    def send(self, data: bytes, deadline: float) -> None:
        self.deadline = deadline
        self._sock.settimeout(_remaining(deadline))
        self._sock.sendall(data)

    def receive_into(self, buffer: memoryview) -> int:
        self._sock.settimeout(_remaining(self.deadline))
        return self._sock.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_ConnectionReader(self), READ_BYTES)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.close()


class _ConnectionReader(io.RawIOBase):
    """The reading side of a connection, for one response. Closes nothing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._connection.receive_into(buffer)


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
        message = f"The camera redirects to {target.scheme}://. Write that URL into `camera`."
        raise CameraOffline(message, detail=str(target))
    if target.origin == base.origin:
        target.tls_fingerprint = base.tls_fingerprint
    return target
