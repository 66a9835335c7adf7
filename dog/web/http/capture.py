"""Captures over HTTP. A new one counts against the client's rate limit."""

import functools
from collections.abc import Callable

from aiohttp import web

from dog.auth import allows
from dog.captures.camera_task import CameraTask
from dog.errors import RequestError
from dog.protocol import Reply
from dog.snapshots import Snapshot
from dog.web.connections.connection import CONNECTIONS
from dog.web.middleware.authentication import IDENTITY
from dog.web.rate_limits import client_key
from dog.web.service import SERVICE

__all__ = ["capture_and_wait", "rate_limit_permit", "recheck_access"]


def rate_limit_permit(request: web.Request, key: str | None = None) -> Callable[[], None]:
    """Return a check for a new capture, which may raise `rate_limited`."""
    captures = request.app[SERVICE].rate_limits.captures
    return functools.partial(captures.take, client_key(request[IDENTITY], request.remote), key)


async def capture_and_wait(
    request: web.Request, camera: CameraTask, max_age: float | None = None, key: str | None = None
) -> tuple[Reply, Snapshot]:
    """Return a new capture's snapshot. Raises RequestError and CaptureError."""
    request.app[CONNECTIONS].count_as_viewer(request)
    reply, snapshot = await camera.capture_and_wait(max_age, key, rate_limit_permit(request, key))
    recheck_access(request)
    return reply, snapshot


def recheck_access(request: web.Request) -> None:
    """Raise RequestError `unauthorized` if the session or token has ended."""
    auth = request.app[SERVICE].auth
    if auth is not None and not allows(auth.current_role(request[IDENTITY]), "view"):
        raise RequestError("unauthorized", "Your session or token has expired. Log in again, or send another token.")
