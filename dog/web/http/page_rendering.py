"""Render pages, and find the browser's own snapshot by its cookie."""

from typing import Any

import aiohttp_jinja2
from aiohttp import web

from dog import __version__
from dog.snapshots import Snapshot, is_snapshot_id
from dog.web.app_keys import APP_STATE, AppState
from dog.web.middleware.authentication import IDENTITY, describe_identity
from dog.web.middleware.errors import relative_root

__all__ = ["SNAPSHOT_COOKIE", "find_own_snapshot", "redirect", "render"]

SNAPSHOT_COOKIE = "dog_snapshot"
"""The cookie with the id of the browser's last snapshot. It gives no rights."""


def render(request: web.Request, template: str, context: dict[str, Any]) -> web.Response:
    """Render a page of templates/ with the data that all pages need."""
    context = {
        "root": relative_root(request),
        "version": __version__,
        "clock_doubt": request.app[APP_STATE].clock.check(),
        **describe_identity(request.get(IDENTITY)),
        **context,
    }
    response = aiohttp_jinja2.render_template(template, request, context)
    response.headers["Cache-Control"] = "no-store"
    return response


def redirect(location: str) -> web.Response:
    """Redirect to a page of this site, after a form was submitted."""
    return web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store"})


async def find_own_snapshot(request: web.Request, service: AppState) -> Snapshot | None:
    """Return the snapshot in the cookie, or None if it is unknown."""
    snapshot_id = request.cookies.get(SNAPSHOT_COOKIE, "")
    return await service.store.get(snapshot_id) if is_snapshot_id(snapshot_id) else None
