"""A press as it comes by HTTP: where it has a new photo taken, that counts for whoever made it."""

import functools
from collections.abc import Callable

from aiohttp import web

from dog.web.allowances import find_client
from dog.web.service import SERVICE
from dog.web.visitors import VISITOR

__all__ = ["permit"]


def permit(request: web.Request, key: str | None = None) -> Callable[[], None]:
    """What CameraTask asks before it has a new photo taken; it raises RequestError `rate_limited`."""
    presses = request.app[SERVICE].allowances.presses
    return functools.partial(presses.take, find_client(request[VISITOR], request.remote), key)
