"""Captures over HTTP. A new one counts against the client's rate limit."""

import functools
from collections.abc import Callable
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct, field

from dog.auth import allows
from dog.captures.camera_task import CameraTask
from dog.protocol import EXAMPLE_KEY, MAX_REQUEST_LENGTH, Reply, doc
from dog.snapshots import Snapshot
from dog.web.app_keys import APP_STATE
from dog.web.connections.connection_limits import CONNECTIONS
from dog.web.middleware.authentication import IDENTITY
from dog.web.middleware.authorization import access_denied, recheck_access
from dog.web.middleware.origins import check_origin
from dog.web.problems import Problem
from dog.web.rate_limits import client_key

__all__ = [
    "CaptureHeaders",
    "capture_and_wait",
    "check_capture_allowed",
    "rate_limit_permit",
    "read_idempotency_key",
]

IdempotencyKey = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_REQUEST_LENGTH),
    doc("A random text. A request with the same one is served by the same capture.", EXAMPLE_KEY),
]


class CaptureHeaders(Struct, frozen=True):
    """The headers of POST /api/captures.

    They only document: the key may be quoted, and `Prefer` is a list of which one word matters.
    """

    key: IdempotencyKey | None = field(default=None, name="Idempotency-Key")
    prefer: Annotated[
        str | None, doc("`respond-async`: answer at once, before the capture has ended.", "respond-async")
    ] = field(default=None, name="Prefer")


def rate_limit_permit(request: web.Request, key: str | None = None) -> Callable[[], None]:
    """Return a check for a new capture, which may raise `rate_limited`."""
    captures = request.app[APP_STATE].rate_limits.captures
    return functools.partial(captures.take, client_key(request[IDENTITY], request.remote), key)


async def capture_and_wait(
    request: web.Request, camera: CameraTask, max_age: float | None = None, key: str | None = None
) -> tuple[Reply, Snapshot]:
    """Return a new capture's snapshot. Raises RequestError and CaptureError."""
    request.app[CONNECTIONS].count_as_viewer(request)
    reply, snapshot = await camera.capture_and_wait(max_age, key, rate_limit_permit(request, key))
    recheck_access(request)
    return reply, snapshot


def check_capture_allowed(request: web.Request) -> None:
    """Raise Problem if the role or the origin does not allow captures (CSRF)."""
    identity = request[IDENTITY]
    if not allows(identity.role, "capture"):
        raise access_denied(identity, "capture")
    check_origin(request)


def read_idempotency_key(request: web.Request) -> str | None:
    """Return the Idempotency-Key without quotes, or raise Problem."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    key = key.strip().strip('"')
    if not 0 < len(key) <= MAX_REQUEST_LENGTH or not key.isprintable():  # bytes that are not UTF-8 are not printable
        raise Problem(
            "bad_message", f"The Idempotency-Key is not valid. Send 1 to {MAX_REQUEST_LENGTH} printable characters."
        )
    return key
