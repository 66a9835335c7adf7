"""Bytes with a validator, sent as HTTP has it: conditions, one range, HEAD (RFC 9110, sections 13 and 14).

What everyone asks for is in memory: the newest pictures, thumbnails, the files of the page. A picture that is not is
read in pieces by a thread while it is sent, so that a client that does not read costs one piece and not a picture.
"""

import asyncio
import email.utils
import functools
import hashlib
import logging
import os
import re
import time
from collections.abc import Awaitable, Iterator
from typing import NamedTuple, Protocol

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from dog.errors import DogError
from dog.web.middleware.authentication import IDENTITY
from dog.web.middleware.origins import allow_origin
from dog.web.middleware.security_headers import SECURITY_HEADER_LINES
from dog.web.problems import Problem
from dog.web.rate_limits import client_key
from dog.web.service import SERVICE

__all__ = ["MAX_READERS", "READ_SLOTS", "Content", "chunks", "hash_content", "respond"]

CHUNK_BYTES = 32 * 1024
"""Bytes of an answer that wait for one client at most."""
READ_AHEAD_BYTES = 512 * 1024
"""Bytes that are read from the disk at once. Those that a client does not take at once are dropped, and read again."""
TAG = re.compile(r'(W/)?("[^"]*")')
RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)

MAX_READERS = 3
"""Responses that may have read ahead at the same time."""
READ_SLOTS = web.AppKey("reading", asyncio.Semaphore)

log = logging.getLogger(__name__)


class ChunkReader(Protocol):
    """Bytes that are not in memory."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int, /) -> Awaitable[bytes]:
        """Return the bytes from one position to another. Raises DogError."""


class Content(NamedTuple):
    """Bytes, their type, and `tag`, which changes when they do."""

    data: bytes | ChunkReader
    content_type: str
    tag: str

    @classmethod
    def of(cls, data: bytes, content_type: str) -> "Content":
        """Bytes that are known by nothing but themselves."""
        return cls(data, content_type, hash_content(data))


def hash_content(data: bytes) -> str:
    """Return a tag for bytes that have no other name."""
    return hashlib.sha256(data).hexdigest()[:16]


class BytesResponse(web.StreamResponse):
    """A 200 or 206 with these bytes of `data`. A client that does not read them costs a piece, not a copy.

    What everyone asks for at once is given to the kernel past aiohttp, whose way costs as much again as the request.
    """

    def __init__(self, status: int, headers: dict[str, str], data: bytes | ChunkReader, part: range) -> None:
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
        except DogError as error:  # it is too late for another answer
            log.warning("%s: cut off. %s", request.path, error)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("The rest of the answer can't be read.") from error
        finally:
            self._data = b""  # an answer may be forgotten late, but is not to keep a picture

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
            f"Content-Length: {self._size}\r\n{lines}{request.app[SECURITY_HEADER_LINES]}\r\n"
        ).encode()
        taken = 0
        if isinstance(self._data, bytes):
            taken = _try_writev(transport, head, memoryview(self._data)[self._part.start : self._part.stop])
        if taken < len(head):
            transport.write(head[taken:])
        await self._write_bytes(request, self._part.start + max(0, taken - len(head)))

    async def _write_bytes(self, request: web.Request, start: int) -> None:
        """Write the rest, from `start` on."""
        data, end = self._data, self._part.stop
        while start < end:
            if isinstance(data, bytes):
                start += _write_chunks(request, memoryview(data)[start:end])
            else:
                async with request.app[READ_SLOTS]:
                    read = await data.read(start, min(start + READ_AHEAD_BYTES, end))
                    start += _write_chunks(request, memoryview(read))
                    del read
            await request.writer.drain()


def _write_chunks(request: web.Request, data: memoryview) -> int:
    """Write pieces until the client has to be waited for. Return how many bytes that were."""
    written = 0
    for chunk in chunks(data):
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("The client has gone.")
        transport.write(chunk)
        written += len(chunk)
        if transport.get_write_buffer_size():
            break
    return written


def chunks(data: memoryview) -> Iterator[memoryview]:
    """Cut bytes into pieces that may wait for a client."""
    return (data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES))


def _try_writev(transport: asyncio.Transport, *buffers: bytes | memoryview) -> int:
    """How many bytes the kernel took at once: none where others wait for it already, or are to be encrypted."""
    if transport.get_write_buffer_size() or transport.get_extra_info("sslcontext") is not None:
        return 0
    try:
        return os.writev(transport.get_extra_info("socket").fileno(), buffers)
    except OSError:  # it takes nothing now, or has gone: the transport finds out which
        return 0


def respond(request: web.Request, content: Content, headers: dict[str, str]) -> web.StreamResponse:
    """The answer to a GET or HEAD: 200, 206, or 304 where the client has it already.

    A range that can't be understood is ignored, as RFC 9110 wants it, and so is one whose If-Range is not this very
    content's. Raises Problem `precondition_failed` and `bad_range`, and RequestError `rate_limited`.
    """
    etag = f'"{content.tag}"'
    headers = {**headers, **allow_origin(request), "ETag": etag, "Accept-Ranges": "bytes"}
    asked = request.headers
    if "If-Match" in asked and not _etag_matches(asked.getall("If-Match"), etag, weak=False):
        raise Problem("precondition_failed", "The file is not the one that If-Match names. Fetch it again.")
    if "If-None-Match" in asked and _etag_matches(asked.getall("If-None-Match"), etag, weak=True):
        return web.Response(status=304, headers=headers)
    size = len(content.data)
    wants_part = request.method == "GET" and asked.get("If-Range", etag) == etag
    part = _read_range(request, size) if wants_part else None
    headers["Content-Type"] = content.content_type
    _charge_download(request, size if part is None else len(part))
    if part is None:
        return BytesResponse(200, headers, content.data, range(size))
    if not part:
        raise Problem(
            "bad_range",
            f"The range is outside of the file, which has {size} bytes. Ask for another range.",
            {"Content-Range": f"bytes */{size}"},
        )
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    return BytesResponse(206, headers, content.data, part)


def _charge_download(request: web.Request, size: int) -> None:
    """So many bytes are sent to whoever asked."""
    client = client_key(request[IDENTITY], request.remote)
    if client is not None and request.method == "GET":
        download = request.app[SERVICE].rate_limits.download
        download.check(client)
        download.spend(client, size)


@functools.lru_cache(maxsize=1)
def _http_date(now: int) -> str:
    """As HTTP writes seconds since 1970 (RFC 9110, section 5.6.7)."""
    return email.utils.formatdate(now, usegmt=True)


def _etag_matches(conditions: list[str], etag: str, *, weak: bool) -> bool:
    """Whether a list of ETags has this one, or is `*`; a weak one counts where it may."""
    text = ",".join(conditions)
    if text.strip() == "*":
        return True
    return any(tag == etag and (weak or not mark) for mark, tag in TAG.findall(text))


def _read_range(request: web.Request, size: int) -> range | None:
    """The bytes that are asked for: None for all, an empty range where there are none."""
    asked = RANGE.fullmatch(request.headers.get("Range", "").strip())
    if asked is None or asked[0] == "bytes=-":
        return None
    first, last = asked.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(size, int(last) + 1) if last else size)
