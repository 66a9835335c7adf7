"""The access log of `--log-level debug`: a line for each answer, without what would let its reader in."""

import re
from urllib.parse import unquote

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from dog.redaction import HIDDEN

__all__ = ["AccessLog"]

SECRET_PATTERN = re.compile(r"[\w.-]{40,}")
"""What ends a link that lets in or shows a photo, wherever it stands; ids of photos are shorter."""


class AccessLog(AbstractAccessLogger):
    """Who asked, for what, what became of it (status, bytes, seconds), and by which program."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        self.logger.info(
            '%s "%s %s HTTP/%d.%d" %d %d %.3f "%s"',
            request.remote or "-",
            request.method,
            _redact_target(request.path_qs),
            *request.version,
            response.status,
            response.body_length,
            time,
            request.headers.get("User-Agent", "-"),
        )


def _redact_target(target: str) -> str:
    """The path, decoded so that no secret hides in it, and the names of the query."""
    path, mark, query = target.partition("?")
    names = "&".join(part.partition("=")[0] for part in query.split("&"))
    return SECRET_PATTERN.sub(HIDDEN, unquote(f"{path}{mark}{names}"))
