"""The live page, its form that takes a photo, and the page of one photo."""

from typing import Any

import aiohttp_jinja2
from aiohttp import web

from dog import __version__
from dog.captures.camera_task import CameraTask
from dog.snapshots import Snapshot, is_snapshot_id
from dog.web.app_state import APP_STATE, AppState, find_snapshot
from dog.web.handlers.static_files import ASSETS
from dog.web.http.capture_requests import capture_and_wait
from dog.web.middleware.authentication import IDENTITY, cookie_path, describe_identity
from dog.web.middleware.errors import relative_root
from dog.web.middleware.origins import is_secure

__all__ = ["SNAPSHOT_COOKIE", "render", "show_live_page", "show_photo_page", "submit_capture_form"]

SNAPSHOT_COOKIE = "dog_snapshot"
"""The cookie with the id of the browser's last snapshot. It gives no rights."""
COOKIE_MAX_AGE_SECONDS = 365 * 24 * 3600
STRIP_LENGTH = 24
"""Photos in the live page's strip."""


async def show_live_page(request: web.Request) -> web.Response:
    """Show the live page of a camera (GET /)."""
    service = request.app[APP_STATE]
    camera, own = await _choose_camera(request, service)
    strip = await service.store.recent(limit=STRIP_LENGTH, camera=camera.name)
    newest = strip[0] if strip else None
    photo = own or newest
    describe = service.urls.describe
    assets = request.app[ASSETS]
    default = "default-picture" if assets.default_picture else assets.find_url("default.svg")
    response = render(
        request,
        "live.html",
        {
            "photo": describe(photo) if photo else None,
            "mine": own is not None,
            "strip_length": STRIP_LENGTH,
            "strip": [describe(snapshot) for snapshot in strip],
            "camera": camera.status(),
            "cameras": service.camera_statuses(),
            "viewers": service.hub.count,
            "default_picture": relative_root(request) + default,
        },
    )
    return response


async def submit_capture_form(request: web.Request) -> web.Response:
    """Take a photo, set the cookie, and redirect to the photo's page (POST /)."""
    service = request.app[APP_STATE]
    camera = service.find_camera(request.query.get("camera"))
    _, snapshot = await capture_and_wait(request, camera)
    response = web.Response(status=303, headers={"Location": f"snapshots/{snapshot.id}", "Cache-Control": "no-store"})
    response.set_cookie(
        SNAPSHOT_COOKIE,
        snapshot.id,
        max_age=COOKIE_MAX_AGE_SECONDS,
        path=cookie_path(request),
        secure=is_secure(request),
        samesite="Lax",
    )
    return response


async def show_photo_page(request: web.Request) -> web.Response:
    """Show the page of one photo (GET /snapshots/{id})."""
    service = request.app[APP_STATE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    older = await service.store.recent(limit=1, camera=snapshot.camera, before=snapshot.id)
    newer = await service.store.newer(snapshot)
    own = await _find_own_snapshot(request, service)
    describe = service.urls.describe
    return render(
        request,
        "snapshot.html",
        {
            "photo": describe(snapshot),
            "mine": own is not None and own.id == snapshot.id,
            "newer": describe(newer) if newer else None,
            "older": describe(older[0]) if older else None,
            "cameras": list(service.cameras),
            "pinned": snapshot.pinned,
            "exposure": _format_exposure(snapshot.origin.exposure),
        },
    )


async def _choose_camera(request: web.Request, service: AppState) -> tuple[CameraTask, Snapshot | None]:
    """Return the camera to show, and the browser's last snapshot of it.

    Without `camera`, it is the camera of that snapshot, or the first one if that camera was removed.
    """
    name = request.query.get("camera")
    own = await _find_own_snapshot(request, service)
    if own is not None and name is None:
        return service.find_camera(own.camera if own.camera in service.cameras else None), own
    return service.find_camera(name), own if own is not None and own.camera == name else None


async def _find_own_snapshot(request: web.Request, service: AppState) -> Snapshot | None:
    """Return the snapshot in the cookie, or None if it is unknown."""
    snapshot_id = request.cookies.get(SNAPSHOT_COOKIE, "")
    return await service.store.get(snapshot_id) if is_snapshot_id(snapshot_id) else None


def _format_exposure(seconds: float | None) -> str:
    """Format an exposure time as 1/125 s or 2.5 s, or as "" if it is unknown."""
    if not seconds:
        return ""
    return f"1/{round(1 / seconds)} s" if seconds < 0.3 else f"{seconds:.2g} s"


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
