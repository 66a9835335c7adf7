"""Bytes with a validator, sent as HTTP has it: conditions, one range, HEAD (RFC 9110, sections 13 and 14).

Everything that is served as a file is in memory by then (a picture, a thumbnail, what the page is made of), so that
what was checked is what is sent, and the event loop touches no file.
"""

import email.utils
import functools
import hashlib
import re
import time
from typing import NamedTuple

from aiohttp import HttpVersion11, web

from dog.web.problems import Problem
from dog.web.security import SECURITY_LINES

__all__ = ["Content", "respond"]

TAG = re.compile(r'(W/)?("[^"]*")')
RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)


class Content(NamedTuple):
    """Bytes, their type, and `tag`, which changes when they do."""

    data: bytes
    content_type: str
    tag: str

    @classmethod
    def of(cls, data: bytes, content_type: str) -> "Content":
        """Bytes that are known by nothing but themselves."""
        return cls(data, content_type, hashlib.sha256(data).hexdigest()[:16])


class WholeAnswer(web.StreamResponse):
    """A 200 that is known whole and written in one piece.

    It is for what everyone asks for at once: aiohttp's own way to the socket costs as much again as the request.
    """

    def __init__(self, content: Content, lines: str) -> None:
        """`lines` are those of the head that are the content's own."""
        super().__init__()
        self._content = content
        self._lines = lines

    @property
    def keep_alive(self) -> bool:
        return True

    @property
    def body_length(self) -> int:
        return len(self._content.data)

    async def prepare(self, request: web.BaseRequest) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("The client has gone.")
        data = self._content.data
        head = (
            f"HTTP/1.1 200 OK\r\nDate: {_date(int(time.time()))}\r\nContent-Length: {len(data)}\r\n"
            f"Content-Type: {self._content.content_type}\r\n{self._lines}\r\n"
        )
        transport.writelines((head.encode(), data))
        await request.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """It has been written."""


def respond(request: web.Request, content: Content, headers: dict[str, str]) -> web.StreamResponse:
    """The answer to a GET or HEAD: 200, 206, or 304 where the client has it already.

    A range that can't be understood is ignored, as RFC 9110 wants it, and so is one whose If-Range is not this very
    content's. Raises Problem `precondition_failed` and `bad_range`.
    """
    etag = f'"{content.tag}"'
    headers = {**headers, "ETag": etag, "Accept-Ranges": "bytes"}
    asked = request.headers
    if "If-Match" in asked and not _names(asked.getall("If-Match"), etag, weak=False):
        raise Problem("precondition_failed", "What is here is not what If-Match names.")
    if "If-None-Match" in asked and _names(asked.getall("If-None-Match"), etag, weak=True):
        return web.Response(status=304, headers=headers)
    size = len(content.data)
    wants_part = request.method == "GET" and asked.get("If-Range", etag) == etag
    part = _read_range(request, size) if wants_part else None
    if part is None and request.method == "GET" and request.version == HttpVersion11 and request.keep_alive:
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        return WholeAnswer(content, lines + request.app[SECURITY_LINES])
    if part is None:
        return web.Response(body=content.data, headers={**headers, "Content-Type": content.content_type})
    if not part:
        raise Problem("bad_range", f"There are {size} bytes here.", {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    headers["Content-Type"] = content.content_type
    return web.Response(status=206, body=content.data[part.start : part.stop], headers=headers)


@functools.lru_cache(maxsize=1)
def _date(now: int) -> str:
    """As HTTP writes seconds since 1970 (RFC 9110, section 5.6.7)."""
    return email.utils.formatdate(now, usegmt=True)


def _names(conditions: list[str], etag: str, *, weak: bool) -> bool:
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
