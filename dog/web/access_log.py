"""The access log of `--log-level debug`: a line for each answer, without what would let its reader in."""

import re

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from dog.redaction import HIDDEN, redact

__all__ = ["AccessLog"]

SECRET = re.compile(r"[\w.-]{40,}")
"""What ends a link that lets in or shows a photo, wherever it stands; ids of photos are shorter."""


class AccessLog(AbstractAccessLogger):
    """Who asked, for what, what became of it (status, bytes, seconds), and by which program."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        self.logger.info(
            '%s "%s %s" %d %d %.3f "%s"',
            request.remote or "-",
            request.method,
            SECRET.sub(HIDDEN, redact(request.path_qs)),
            response.status,
            response.body_length,
            time,
            request.headers.get("User-Agent", "-"),
        )
