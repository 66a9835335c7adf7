"""Compress text by gzip, for clients that accept it.

Images are compressed already, and events must not wait for the next ones.
"""

import gzip
import re

from aiohttp import web
from aiohttp.typedefs import Handler

__all__ = ["MIN_COMPRESSED_BYTES", "accepts_gzip", "compress", "compression_middleware", "is_text"]

MIN_COMPRESSED_BYTES = 1024
"""A shorter text fits into one packet anyway."""
PAGE_LEVEL, FILE_LEVEL = 5, 9
"""Levels of gzip: for a page of one request, and for a file that is compressed once."""
_TEXT_TYPE = re.compile(r"text/(?!event-stream)|application/.*(?:json|openmetrics-text)|image/svg\+xml")
_ACCEPTED_GZIP = re.compile(r"(?:^|,)\s*(gzip|\*)\s*(?:;\s*q=([\d.]+)\s*)?(?=,|$)", re.IGNORECASE)
"""An entry of Accept-Encoding that includes gzip, with its quality."""


def is_text(content_type: str) -> bool:
    """Return True if content of this type is worth compressing."""
    return _TEXT_TYPE.match(content_type) is not None


def compress(data: bytes, level: int = FILE_LEVEL) -> bytes:
    """Return the data as gzip, always the same."""
    return gzip.compress(data, level, mtime=0)


def accepts_gzip(request: web.BaseRequest) -> bool:
    """Return True if the client accepts gzip (RFC 9110, section 12.5.3)."""
    found: dict[str, str] = dict(_ACCEPTED_GZIP.findall(request.headers.get("Accept-Encoding", "").lower()))
    quality = found.get("gzip", found.get("*", "0"))
    return quality == "" or quality.strip("0.") != ""


@web.middleware
async def compression_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Compress pages and JSON."""
    response = await handler(request)
    if not isinstance(response, web.Response) or not isinstance(body := response.body, bytes):
        return response
    if len(body) >= MIN_COMPRESSED_BYTES and is_text(response.content_type):
        response.headers["Vary"] = "Accept-Encoding"
        if accepts_gzip(request):
            response.body = compress(body, PAGE_LEVEL)
            response.headers["Content-Encoding"] = "gzip"
    return response
