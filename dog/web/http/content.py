"""Responses with an ETag: conditions, a range, HEAD (RFC 9110, 13 and 14).

The tag and the size of an image are known without its file, so only responses with a body read it. Popular content is
in memory: the newest images, thumbnails, the files of the page. Other images go from the file to the socket in a thread
(sendfile), or with TLS in chunks. No response holds an image: a client that does not read costs a chunk, also after the
image has left the cache.
"""

import asyncio
import datetime as dt
import email.utils
import functools
import hashlib
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from typing import Annotated, NamedTuple, Protocol

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from msgspec import Struct, field

from dog.clock import utc_now
from dog.errors import DogError
from dog.protocol import EXAMPLE_ID, doc
from dog.web.app_keys import APP_STATE
from dog.web.http.compression import MIN_COMPRESSED_BYTES, accepts_gzip, compress, is_text
from dog.web.middleware.authentication import IDENTITY
from dog.web.middleware.origins import cors_headers
from dog.web.middleware.security_headers import header_lines
from dog.web.problems import Problem
from dog.web.rate_limits import client_key

__all__ = ["MAX_READERS", "READ_SLOTS", "ConditionalHeaders", "Content", "chunks", "hash_content", "respond"]

CHUNK_BYTES = 32 * 1024
"""The most bytes of a response that wait for one client."""
READ_AHEAD_BYTES = 512 * 1024
"""Bytes that are sent or read from the disk at once. If a TLS client does not take them, they are read again."""
TAG = re.compile(r'(W/)?("[^"]*")')
RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII | re.IGNORECASE)

MAX_READERS = 3
"""Responses that may have read ahead at the same time."""
READ_SLOTS = web.AppKey("reading", asyncio.Semaphore)

log = logging.getLogger(__name__)


class ConditionalHeaders(Struct, frozen=True):
    """The headers of conditional and range requests (RFC 9110, 13 to 14).

    They only document: lists of ETags and ranges are not values of a type, and a malformed one is ignored.
    """

    if_match: Annotated[str | None, doc("Send the file only if it has this ETag, or any with `*`.", "*")] = field(
        default=None, name="If-Match"
    )
    if_none_match: Annotated[
        str | None, doc("Send the file only if it does not have this ETag.", f'"{EXAMPLE_ID}"')
    ] = field(default=None, name="If-None-Match")
    if_range: Annotated[str | None, doc("Send the range only if the file has this ETag.", f'"{EXAMPLE_ID}"')] = field(
        default=None, name="If-Range"
    )
    range: Annotated[str | None, doc("The range of bytes to send.", "bytes=0-1023")] = field(default=None, name="Range")


class Stored(Protocol):
    """Bytes that need not be in memory. Methods raise DogError."""

    async def size(self) -> int:
        """Return the number of bytes."""

    async def check(self) -> None:
        """Raise DogError if they can't be read."""

    def peek(self, start: int, stop: int, /) -> memoryview | None:
        """Return the bytes from one position to another if they are in memory."""

    async def read(self, start: int, stop: int, /) -> bytes:
        """Return bytes from a position on, at least one and none after `stop`."""

    async def send(self, connection: socket.socket, start: int, stop: int, /) -> tuple[int, bytes]:
        """Send bytes until the socket is full. Return the number, and the next."""


class Content(NamedTuple):
    """Bytes, their media type, and `tag`, which changes when they do."""

    data: bytes | Stored
    content_type: str
    tag: str
    modified_at: dt.datetime | None = None
    """The time of its creation, if it is worth sending. Content never changes later."""
    gzipped: "Content | None" = None
    """The same content, compressed in advance."""

    @classmethod
    def from_bytes(cls, data: bytes, content_type: str) -> "Content":
        """Return content with a hash of the bytes as its tag."""
        gzipped = None
        if is_text(content_type) and len(data) >= MIN_COMPRESSED_BYTES:
            packed = compress(data)
            gzipped = cls(packed, content_type, hash_content(packed))
        return cls(data, content_type, hash_content(data), gzipped=gzipped)


def hash_content(data: bytes) -> str:
    """Return a tag for bytes that have no id: a part of their SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


class BytesResponse(web.StreamResponse):
    """A 200 or 206 with a part of `data`. A slow client costs one chunk.

    A GET on a keep-alive connection is written without aiohttp, which would double the cost of the request.
    """

    def __init__(self, status: int, headers: dict[str, str], data: bytes | Stored, part: range) -> None:
        super().__init__(status=status)
        self._lines = headers
        self._data = data
        self._part = part
        self._size = len(part)
        self._is_direct = False

    @property
    def keep_alive(self) -> bool | None:
        return True if self._is_direct else super().keep_alive

    @property
    def body_length(self) -> int:
        return self._size

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        assert isinstance(request, web.Request)
        self._is_direct = request.method == "GET" and request.version == HttpVersion11 and bool(request.keep_alive)
        try:
            if self._is_direct:
                await self._send_directly(request)
                return None
            self.headers.update(self._lines)
            self.content_length = self._size
            writer = await super().prepare(request)
            if writer is not None and request.method != "HEAD":
                writer.send_headers()
                await self._write_bytes(request, self._part.start)
            return writer
        except DogError as error:  # it is too late for another response
            log.warning("%s: cut off. %s", request.path, error)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("The rest of the response can't be read.") from error
        finally:
            self._data = b""  # the response may be released late, and should not keep an image in memory

    async def write_eof(self, data: bytes = b"") -> None:
        if not self._is_direct:
            await super().write_eof(data)

    async def _send_directly(self, request: web.Request) -> None:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("The client has gone.")
        lines = "".join([f"{name}: {value}\r\n" for name, value in self._lines.items()])
        head = (
            f"HTTP/1.1 {self.status} {self.reason}\r\nDate: {_http_date(int(time.time()))}\r\n"
            f"Content-Length: {self._size}\r\n{lines}{header_lines(request, self._lines)}\r\n"
        ).encode()
        body = self._peek(self._part.start)
        taken = 0 if body is None else _try_writev(transport, head, body)
        del body
        if taken < len(head):
            transport.write(head[taken:])
        await self._write_bytes(request, self._part.start + max(0, taken - len(head)))

    async def _write_bytes(self, request: web.Request, start: int) -> None:
        """Write the bytes from `start` on."""
        while start < self._part.stop:
            body = self._peek(start)
            if body is not None:
                start += _write_chunks(request, body)
                del body  # or it would keep the image in memory
            else:
                async with request.app[READ_SLOTS]:
                    start += await self._send_stored(request, start)
            await request.writer.drain()

    def _peek(self, start: int) -> memoryview | None:
        """Return the rest of the part if it is in memory."""
        stop = self._part.stop
        return memoryview(self._data)[start:stop] if isinstance(self._data, bytes) else self._data.peek(start, stop)

    async def _send_stored(self, request: web.Request, start: int) -> int:
        """Send some bytes that are not in memory. Return their number."""
        assert not isinstance(self._data, bytes)
        stop = min(start + READ_AHEAD_BYTES, self._part.stop)
        connection = None if request.transport is None else _plain_socket(request.transport)
        if connection is None:
            sent, following = 0, await self._data.read(start, stop)
        else:
            sent, following = await self._data.send(connection, start, stop)
        return sent + _write_chunks(request, memoryview(following))


def _write_chunks(request: web.Request, data: memoryview) -> int:
    """Write chunks until the send buffer is not empty. Return the bytes sent."""
    written = 0
    for chunk in chunks(data):
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("The client has gone.")
        transport.write(bytes(chunk))  # not a view, which would keep all bytes in memory
        written += len(chunk)
        if transport.get_write_buffer_size():
            break
    return written


def chunks(data: memoryview) -> Iterator[memoryview]:
    """Split bytes into chunks of at most CHUNK_BYTES."""
    return (data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES))


def _try_writev(transport: asyncio.Transport, *buffers: bytes | memoryview) -> int:
    """Write to the socket if possible. Return the bytes that were taken."""
    connection = _plain_socket(transport)
    try:
        return 0 if connection is None else os.writev(connection.fileno(), buffers)
    except OSError:  # the socket is full or closed: the transport will find out
        return 0


def _plain_socket(transport: asyncio.Transport) -> socket.socket | None:
    """Return the socket if it can be written to (no TLS, no queue), or None."""
    if transport.is_closing() or transport.get_write_buffer_size():
        return None
    if transport.get_extra_info("sslcontext") is not None:
        return None
    connection: socket.socket = transport.get_extra_info("socket")
    return connection


async def respond(request: web.Request, content: Content, headers: dict[str, str]) -> web.StreamResponse:
    """Return the response to a GET or HEAD: 200, 206, or 304 if unchanged.

    A malformed range is ignored, as RFC 9110 requires, and so is one with an If-Range that does not match. A response
    without a body reads nothing.
    Raises Problem `precondition_failed` and `bad_range`, RequestError `rate_limited`, and the errors of `Stored`.
    """
    headers = {**headers, **cors_headers(request), "Accept-Ranges": "bytes"}
    if content.gzipped is not None:
        headers["Vary"] = f"{headers['Vary']}, Accept-Encoding" if "Vary" in headers else "Accept-Encoding"
        if accepts_gzip(request) and "Range" not in request.headers:  # clients can't decompress a part
            content, headers["Content-Encoding"] = content.gzipped, "gzip"
    data = content.data
    headers["ETag"] = etag = f'"{content.tag}"'
    modified_at = content.modified_at
    if modified_at is not None and modified_at <= utc_now():  # a wrong clock may have dated it (RFC 9110, 8.8.2.1)
        headers["Last-Modified"] = _format_date(modified_at)
    asked = request.headers
    if "If-Match" in asked and not _etag_matches(asked.getall("If-Match"), etag, weak=False):
        raise Problem("precondition_failed", "The file is not the one that If-Match names. Fetch it again.")
    if "If-None-Match" in asked:
        is_unchanged = _etag_matches(asked.getall("If-None-Match"), etag, weak=True)
    else:
        is_unchanged = "Last-Modified" in headers and asked.get("If-Modified-Since") == headers["Last-Modified"]
    if is_unchanged:
        return web.Response(status=304, headers=headers)
    if request.method == "GET":
        _check_download(request)
    size = len(data) if isinstance(data, bytes) else await data.size()
    wants_part = request.method == "GET" and asked.get("If-Range", etag) == etag
    part = _read_range(request, size) if wants_part else None
    headers["Content-Type"] = content.content_type
    if part is not None and not part:
        raise Problem(
            "bad_range",
            f"The range is outside of the file, which has {size} bytes. Ask for another range.",
            {"Content-Range": f"bytes */{size}"},
        )
    if request.method == "GET":
        _charge_download(request, size if part is None else len(part))
        if not isinstance(data, bytes):
            await data.check()
    if part is None:
        return BytesResponse(200, headers, data, range(size))
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    return BytesResponse(206, headers, data, part)


def _check_download(request: web.Request) -> None:
    """Raise `rate_limited` if the client has reached the download limit."""
    request.app[APP_STATE].rate_limits.download.check(client_key(request[IDENTITY], request.remote))


def _charge_download(request: web.Request, size: int) -> None:
    """Count bytes against the download limit."""
    request.app[APP_STATE].rate_limits.download.spend(client_key(request[IDENTITY], request.remote), size)


@functools.lru_cache(maxsize=1)
def _http_date(now: int) -> str:
    """Return a Unix time as an HTTP date (RFC 9110, section 5.6.7)."""
    return email.utils.formatdate(now, usegmt=True)


@functools.lru_cache(maxsize=256)
def _format_date(moment: dt.datetime) -> str:
    return email.utils.format_datetime(moment.astimezone(dt.UTC), usegmt=True)


def _etag_matches(conditions: list[str], etag: str, *, weak: bool) -> bool:
    """Return True if the ETags include this one or `*`; W/ only if `weak`."""
    text = ",".join(conditions)
    if text.strip() == "*":
        return True
    return any(tag == etag and (weak or not mark) for mark, tag in TAG.findall(text))


def _read_range(request: web.Request, size: int) -> range | None:
    """Return the requested range: None for all bytes, empty if outside them."""
    asked = RANGE.fullmatch(request.headers.get("Range", "").strip())
    if asked is None or asked[0] == "bytes=-":
        return None
    first, last = asked.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(size, int(last) + 1) if last else size)
