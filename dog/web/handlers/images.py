"""Image files of snapshots, scaled copies, thumbnails, and /latest.jpg."""

import asyncio
import datetime as dt
import functools
from typing import Annotated

from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from dog.captures.camera_task import CameraTask
from dog.protocol import EXAMPLE_ID, MaxAge, Outcome, ScaledWidth, doc, timestamp
from dog.snapshots import NotScaled, Snapshot, SnapshotGone, is_snapshot_id
from dog.web.app_keys import APP_STATE, AppState, find_requested_snapshot, find_snapshot
from dog.web.connections.connection_limits import CONNECTIONS
from dog.web.http.capture_requests import capture_and_wait, check_capture_allowed
from dog.web.http.content import Content, respond
from dog.web.http.requests import CameraQuery, read_query
from dog.web.middleware.authorization import recheck_access
from dog.web.problems import Problem

__all__ = [
    "LatestQuery",
    "Width",
    "age_header",
    "show_image",
    "show_latest",
    "show_scaled_image",
    "show_thumbnail",
]

MAX_WAIT_SECONDS, DEFAULT_WAIT_SECONDS = 60.0, 25.0
"""A wait of the default ends before the timeout of a usual proxy (30 or 60 s)."""
Wait = Annotated[float, Meta(ge=0, le=MAX_WAIT_SECONDS), doc("The maximum time to wait for it, in seconds.", 25)]
MAX_AGE_HEADER_SECONDS = 2**31
"""The upper limit of the header Age (RFC 9111, section 1.2.2)."""
CACHE_PRIVATE = "private, max-age=31536000, immutable"
"""A snapshot never changes (RFC 8246). With logins, shared caches must not store it."""
SHARED_CACHE_SECONDS = 60
"""Seconds after which a shared cache must ask again, because the snapshot may be deleted."""
After = Annotated[str, doc("The id of a snapshot. The response is the next one, when it exists.", EXAMPLE_ID)]
Width = Annotated[
    ScaledWidth,
    doc("The width in pixels of a scaled JPEG. If the image is not wider, you receive its file.", 1280),
]


class LatestQuery(CameraQuery, frozen=True):
    """The query of GET /latest.jpg."""

    max_age: MaxAge | UnsetType = UNSET
    after: After | None = None
    wait: Wait = DEFAULT_WAIT_SECONDS
    width: Width | UnsetType = UNSET


async def show_image(request: web.Request) -> web.StreamResponse:
    """Send a snapshot's image, as it was saved (GET /snapshots/{id}.{suffix})."""
    service, snapshot = await find_requested_snapshot(request)
    if request.match_info["suffix"] != snapshot.suffix:
        raise Problem("unknown_snapshot", f"This photo is a .{snapshot.suffix} file. Correct the end of the URL.")
    headers = {"Cache-Control": _cache_control(service)}
    return await _send_image(request, service, snapshot, headers, snapshot.captured_at)


async def show_scaled_image(request: web.Request) -> web.StreamResponse:
    """Send a scaled copy of an image (GET /snapshots/{id}/{width}.jpg)."""
    service, snapshot = await find_requested_snapshot(request)
    headers = {"Cache-Control": _cache_control(service)}
    width = int(request.match_info["width"])
    return await _send_image(request, service, snapshot, headers, snapshot.captured_at, width)


async def show_thumbnail(request: web.Request) -> web.StreamResponse:
    """Send the thumbnail of a snapshot (GET /snapshots/{id}/thumbnail.jpg)."""
    service, snapshot = await find_requested_snapshot(request)
    data, tag = service.store.thumbnail(snapshot), f"{snapshot.id}-thumbnail"
    content = Content(data, "image/jpeg", tag, snapshot.captured_at)
    try:
        return await respond(request, content, {"Cache-Control": _cache_control(service)})
    except SnapshotGone:
        raise Problem(
            "unknown_snapshot", "The thumbnail of this photo is missing. The next start of the server makes it again."
        ) from None


async def show_latest(request: web.Request) -> web.StreamResponse:
    """Send the newest image (GET /latest.jpg).

    With `max_age`, take a photo if it is older. With `after`, wait for the next photo.
    """
    service = request.app[APP_STATE]
    query = read_query(request, LatestQuery)
    outcome: Outcome | None = None
    if query.after is not None:
        if query.max_age is not UNSET:
            raise Problem("bad_message", "`after` and `max_age` cannot be combined. Send one of them.")
        camera, snapshot = await _wait_for_next(request, query)
        if snapshot is None:
            return web.Response(status=204, headers={"Cache-Control": "no-store"})
    else:
        camera = service.find_camera(query.camera)
        snapshot = camera.latest
        if query.max_age is not UNSET:
            check_capture_allowed(request)
            reply, snapshot = await capture_and_wait(request, camera, query.max_age)
            outcome = reply.outcome
    if snapshot is None:
        raise Problem("unknown_snapshot", "There is no photo yet. Use ?max_age=0 to take one.")
    headers = {
        "Age": age_header(camera, snapshot),
        "Cache-Control": "no-cache",
        "X-Captured-At": timestamp(snapshot.captured_at),
        "X-Snapshot": snapshot.id,
    }
    if outcome is not None:
        headers["X-Outcome"] = outcome
    width = snapshot.width if query.width is UNSET else query.width
    return await _send_image(request, service, snapshot, headers, width=width)


def age_header(camera: CameraTask, snapshot: Snapshot) -> str:
    return str(int(min(max(0.0, camera.age_of(snapshot)), MAX_AGE_HEADER_SECONDS)))


async def _wait_for_next(request: web.Request, query: LatestQuery) -> tuple[CameraTask, Snapshot | None]:
    """Return the camera of `after` and its next snapshot, None after `wait` s."""
    service, after = request.app[APP_STATE], query.after or ""
    taken = await service.store.find_name(after) if is_snapshot_id(after) else None
    if taken is None:
        raise Problem(
            "unknown_snapshot",
            "`after` names a photo that does not exist. Use the id of the last one that you received.",
        )
    if query.camera not in (None, taken.camera):
        raise Problem(
            "bad_message",
            f"`after` names a photo of the camera {taken.camera}. Name the same one as `camera`, or none.",
        )
    camera = service.find_camera(taken.camera)
    end = asyncio.get_running_loop().time() + query.wait
    while True:
        next_snapshot = camera.results.next_snapshot
        snapshot = await service.store.newer(taken)
        left = end - asyncio.get_running_loop().time()
        if snapshot is not None or left <= 0:
            return camera, snapshot
        request.app[CONNECTIONS].count_as_viewer(request)
        await asyncio.wait({next_snapshot}, timeout=left)
        if next_snapshot.done():
            next_snapshot.result()
        recheck_access(request)


def _cache_control(service: AppState) -> str:
    if service.anonymous.role is None:
        return CACHE_PRIVATE
    return f"public, s-maxage={SHARED_CACHE_SECONDS}, {CACHE_PRIVATE.removeprefix('private, ')}"


@functools.lru_cache(maxsize=256)
def _content_disposition(captured_at: dt.datetime, suffix: str) -> str:
    """Return the Content-Disposition, with the file name for a download."""
    return f'inline; filename="dog-{captured_at:%Y%m%d-%H%M%S}.{suffix}"'


async def _send_image(
    request: web.Request,
    service: AppState,
    snapshot: Snapshot,
    headers: dict[str, str],
    modified_at: dt.datetime | None = None,
    width: int | None = None,
) -> web.StreamResponse:
    """Send the image, or a copy of this width if it is wider."""
    headers["Content-Disposition"] = _content_disposition(snapshot.captured_at, snapshot.suffix)
    content = Content(service.store.image(snapshot), snapshot.content_type, snapshot.id, modified_at)
    try:
        if width is not None and width < snapshot.width:
            scaled = Content(service.store.scaled(snapshot, width), "image/jpeg", f"{snapshot.id}-{width}", modified_at)
            name = _content_disposition(snapshot.captured_at, f"{width}.jpg")
            try:
                return await respond(request, scaled, {**headers, "Content-Disposition": name})
            except NotScaled:
                headers["Cache-Control"] = "no-store"
        return await respond(request, content, headers)
    except SnapshotGone:
        await find_snapshot(service, snapshot.id)  # it was deleted: raise that Problem
        raise Problem(
            "unknown_snapshot", "The file of this photo is missing or damaged. Restore it from a backup."
        ) from None
