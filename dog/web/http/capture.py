"""A press as it comes by HTTP: where it has a new photo taken, that counts for whoever made it."""

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
    """What CameraTask asks before it has a new photo taken; it raises RequestError `rate_limited`."""
    presses = request.app[SERVICE].allowances.presses
    return functools.partial(presses.take, client_key(request[IDENTITY], request.remote), key)


async def capture_and_wait(
    request: web.Request, camera: CameraTask, max_age: float | None = None, key: str | None = None
) -> tuple[Reply, Snapshot]:
    """A press that waits for its photo, as CameraTask.take has it, and for as long as they may see that."""
    request.app[CONNECTIONS].count_as_viewer(request)
    reply, snapshot = await camera.capture_and_wait(max_age, key, rate_limit_permit(request, key))
    recheck_access(request)
    return reply, snapshot


def recheck_access(request: web.Request) -> None:
    """Raise RequestError `unauthorized` where what they came by was taken back while they waited."""
    access = request.app[SERVICE].access
    if access is not None and not allows(access.role_now(request[IDENTITY]), "view"):
        raise RequestError("unauthorized", "Your session or token has expired. Log in again, or send another token.")
