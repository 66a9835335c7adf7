"""The access log of `--log-level debug`: a line per response, no secrets."""

import re
from urllib.parse import unquote

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from dog.redaction import HIDDEN

__all__ = ["AccessLog"]

SECRET_PATTERN = re.compile(r"[\w.-]{40,}")
"""The secret of an invitation or share link. The ids of photos are shorter."""


class AccessLog(AbstractAccessLogger):
    """Log each response: address, request, status, bytes, seconds, user agent."""

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
    """Return the decoded path and query names, with secrets removed."""
    path, mark, query = target.partition("?")
    names = "&".join(part.partition("=")[0] for part in query.split("&"))
    return SECRET_PATTERN.sub(HIDDEN, unquote(f"{path}{mark}{names}"))
