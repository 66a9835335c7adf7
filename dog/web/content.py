"""Bytes with a validator, sent as HTTP has it: conditions, one range, HEAD (RFC 9110, sections 13 and 14).

Everything that is served as a file is in memory by then (a picture, a thumbnail, what the page is made of), so that
what was checked is what is sent, and the event loop touches no file.
"""

import hashlib
import re
from dataclasses import dataclass

from aiohttp import web

from dog.web.problems import Problem

__all__ = ["Content", "respond"]

TAG = re.compile(r'(W/)?("[^"]*")')
RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes, their type, and `tag`, which changes when they do."""

    data: bytes
    content_type: str
    tag: str

    @classmethod
    def of(cls, data: bytes, content_type: str) -> "Content":
        """Bytes that are known by nothing but themselves."""
        return cls(data, content_type, hashlib.sha256(data).hexdigest()[:16])


def respond(request: web.Request, content: Content, headers: dict[str, str]) -> web.Response:
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
    if part is None:
        return web.Response(body=content.data, headers={**headers, "Content-Type": content.content_type})
    if not part:
        raise Problem("bad_range", f"There are {size} bytes here.", {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    headers["Content-Type"] = content.content_type
    return web.Response(status=206, body=content.data[part.start : part.stop], headers=headers)


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
