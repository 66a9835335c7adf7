"""The live page, and its form that takes a photo."""

from aiohttp import web

from dog.captures.camera_task import CameraTask
from dog.snapshots import Snapshot
from dog.web.app_keys import APP_STATE, AppState
from dog.web.handlers.static_files import ASSETS
from dog.web.http.capture_requests import capture_and_wait
from dog.web.http.page_rendering import SNAPSHOT_COOKIE, find_own_snapshot, redirect, render
from dog.web.http.requests import CameraQuery, read_query
from dog.web.middleware.authentication import cookie_path
from dog.web.middleware.errors import relative_root
from dog.web.middleware.origins import is_secure

__all__ = ["show_live_page", "submit_capture_form"]

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
    return render(
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


async def submit_capture_form(request: web.Request) -> web.Response:
    """Take a photo, set the cookie, and redirect to the photo's page (POST /)."""
    service = request.app[APP_STATE]
    camera = service.find_camera(read_query(request, CameraQuery).camera)
    _, snapshot = await capture_and_wait(request, camera)
    response = redirect(f"snapshots/{snapshot.id}")
    response.set_cookie(
        SNAPSHOT_COOKIE,
        snapshot.id,
        max_age=COOKIE_MAX_AGE_SECONDS,
        path=cookie_path(request),
        secure=is_secure(request),
        samesite="Lax",
    )
    return response


async def _choose_camera(request: web.Request, service: AppState) -> tuple[CameraTask, Snapshot | None]:
    """Return the camera to show, and the browser's last snapshot of it.

    Without `camera`, it is the camera of that snapshot, or the first one if that camera was removed.
    """
    name = read_query(request, CameraQuery).camera
    own = await find_own_snapshot(request, service)
    if own is not None and name is None:
        return service.find_camera(own.camera if own.camera in service.cameras else None), own
    return service.find_camera(name), own if own is not None and own.camera == name else None
