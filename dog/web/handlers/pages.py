"""The pages, rendered from templates/: the live page, the press without JavaScript, and the page of one snapshot."""

from typing import Any

import aiohttp_jinja2
from aiohttp import web

from dog import __version__
from dog.captures.camera_task import CameraTask
from dog.snapshots import Snapshot, is_snapshot_id
from dog.web.handlers.images import find_snapshot
from dog.web.handlers.static_files import ASSETS
from dog.web.http.capture import capture_and_wait
from dog.web.middleware.authentication import IDENTITY, cookie_path, describe_identity
from dog.web.middleware.errors import relative_root
from dog.web.middleware.origins import is_secure
from dog.web.service import SERVICE, Service

__all__ = ["COOKIE", "press", "render", "show_live", "show_snapshot"]

COOKIE = "dog_snapshot"
"""Holds the id of the viewer's last snapshot and nothing else; it gives no right."""
YEAR = 365 * 24 * 3600
STRIP = 24
"""Snapshots in the strip of the last ones."""


async def show_live(request: web.Request) -> web.Response:
    """GET /: the live page of one camera, with the visitor's own photo where the cookie names one of it."""
    service = request.app[SERVICE]
    camera, own = await _choose_camera(request, service)
    strip = await service.store.recent(limit=STRIP, camera=camera.name)
    newest = strip[0] if strip else None
    photo = own or newest
    describe = service.links.describe
    assets = request.app[ASSETS]
    default = "default-picture" if assets.default_picture else assets.find_url("default.svg")
    response = render(
        request,
        "live.html",
        {
            "photo": describe(photo) if photo else None,
            "mine": own is not None,
            "strip_length": STRIP,
            "strip": [describe(snapshot) for snapshot in strip],
            "camera": camera.status(),
            "cameras": service.camera_statuses(),
            "viewers": service.hub.count,
            "default_picture": relative_root(request) + default,
        },
    )
    return response


async def press(request: web.Request) -> web.Response:
    """POST /: the same press without JavaScript. To the new photo's page, with the cookie set."""
    service = request.app[SERVICE]
    camera = service.find_camera(request.query.get("camera"))
    _, snapshot = await capture_and_wait(request, camera)
    response = web.Response(status=303, headers={"Location": f"snapshots/{snapshot.id}", "Cache-Control": "no-store"})
    response.set_cookie(
        COOKIE,
        snapshot.id,
        max_age=YEAR,
        path=cookie_path(request),
        secure=is_secure(request),
        samesite="Lax",
    )
    return response


async def show_snapshot(request: web.Request) -> web.Response:
    """GET /snapshots/{id}: the page of one snapshot."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    older = await service.store.recent(limit=1, camera=snapshot.camera, before=snapshot.id)
    newer = await service.store.newer(snapshot)
    own = await _find_own(request, service)
    describe = service.links.describe
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
            "exposure": _write_exposure(snapshot.origin.exposure),
        },
    )


async def _choose_camera(request: web.Request, service: Service) -> tuple[CameraTask, Snapshot | None]:
    """The camera that is asked for, and the visitor's own snapshot where it is to be shown with it.

    Who names no camera gets that of their own snapshot, or the first where it is there no more.
    """
    name = request.query.get("camera")
    own = await _find_own(request, service)
    if own is not None and name is None:
        return service.find_camera(own.camera if own.camera in service.cameras else None), own
    return service.find_camera(name), own if own is not None and own.camera == name else None


async def _find_own(request: web.Request, service: Service) -> Snapshot | None:
    """The visitor's last snapshot; an unknown one is as good as none."""
    snapshot_id = request.cookies.get(COOKIE, "")
    return await service.store.get(snapshot_id) if is_snapshot_id(snapshot_id) else None


def _write_exposure(seconds: float | None) -> str:
    """As photographers have it: 1/125 s, or 2.5 s; empty where it is not known."""
    if not seconds:
        return ""
    return f"1/{round(1 / seconds)} s" if seconds < 0.3 else f"{seconds:.2g} s"


def render(request: web.Request, template: str, context: dict[str, Any]) -> web.Response:
    """A page of templates/, with the way to the site's root as `root`, and the doubt of the clock if there is one."""
    context = {
        "root": relative_root(request),
        "version": __version__,
        "clock_doubt": request.app[SERVICE].clock.check(),
        **describe_identity(request.get(IDENTITY)),
        **context,
    }
    response = aiohttp_jinja2.render_template(template, request, context)
    response.headers["Cache-Control"] = "no-store"
    return response
