"""The pictures themselves: each under its own address for ever, and the newest under one that stays."""

import asyncio
import datetime as dt
import functools
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from dog.auth import allows
from dog.captures.camera_task import CameraTask
from dog.protocol import FIELD_RULES, MaxAge, Outcome, timestamp
from dog.snapshots import Snapshot, SnapshotGone, is_snapshot_id
from dog.web.connections.connection import CONNECTIONS
from dog.web.http.capture import capture_and_wait, recheck_access
from dog.web.http.content import Content, respond
from dog.web.middleware.authentication import IDENTITY
from dog.web.middleware.authorization import access_denied
from dog.web.middleware.errors import Problem
from dog.web.middleware.origins import check_origin
from dog.web.service import SERVICE, Service

__all__ = ["Wait", "check_place", "find_snapshot", "show_latest", "show_picture", "show_thumbnail"]

LONGEST_WAIT = 60.0
Wait = Annotated[float, Meta(ge=0, le=LONGEST_WAIT)]
"""Seconds."""
LONGEST_AGE = 2**31
"""Seconds: what Age says of whatever is older (RFC 9111, section 1.2.2)."""
FOREVER = "public, max-age=31536000, immutable"
"""A snapshot never changes (RFC 8246)."""
ONLY_OURS = FOREVER.replace("public", "private")
"""The same where not everybody may see it: no cache that people share may keep it."""


async def find_snapshot(service: Service, snapshot_id: str) -> Snapshot:
    """The snapshot of that id. Raises Problem `unknown_snapshot`, and `gone_snapshot` for one that was removed."""
    snapshot = await service.store.get(snapshot_id) if is_snapshot_id(snapshot_id) else None
    if snapshot is None:
        if is_snapshot_id(snapshot_id) and await service.store.find_taken(snapshot_id) is not None:
            raise Problem("gone_snapshot", "This photo was deleted, or removed to make room. Choose another one.")
        raise Problem("unknown_snapshot", "This photo does not exist. Check the URL.")
    return snapshot


async def check_place(service: Service, snapshot_id: str) -> None:
    """Raise Problem `unknown_snapshot` where there never was one of that id, whose place a list could go on from."""
    if not is_snapshot_id(snapshot_id) or await service.store.find_taken(snapshot_id) is None:
        raise Problem("unknown_snapshot", "`before` names a photo that does not exist. Use an id from the list.")


async def show_picture(request: web.Request) -> web.StreamResponse:
    """GET /snapshots/{id}.{suffix}: the picture, bit for bit as the camera made it."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    if request.match_info["suffix"] != snapshot.suffix:
        raise Problem("unknown_snapshot", f"This photo is a .{snapshot.suffix} file. Correct the end of the URL.")
    return await _send(request, service, snapshot, {"Cache-Control": _keep(service)})


async def show_thumbnail(request: web.Request) -> web.StreamResponse:
    """GET /snapshots/{id}/thumbnail.jpg."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    try:
        data = await service.store.read_thumbnail(snapshot)
    except SnapshotGone:
        raise Problem(
            "unknown_snapshot", "The thumbnail of this photo is missing. The next start of the server makes it again."
        ) from None
    return respond(request, Content(data, "image/jpeg", f"{snapshot.id}-thumbnail"), {"Cache-Control": _keep(service)})


async def show_latest(request: web.Request) -> web.StreamResponse:
    """GET /latest.jpg: the newest picture; with `max_age` a new one where that is older; with `after` the next one."""
    service = request.app[SERVICE]
    max_age, wait = parse_seconds(request, "max_age", MaxAge), parse_seconds(request, "wait", Wait)
    outcome: Outcome | None = None
    if "after" in request.query:
        if max_age is not None:
            raise Problem("bad_message", "`after` and `max_age` cannot be combined. Send one of them.")
        camera, snapshot = await _wait_for_next(request, service, LONGEST_WAIT if wait is None else wait)
        if snapshot is None:
            return web.Response(status=204, headers={"Cache-Control": "no-store"})
    else:
        camera = service.find_camera(request.query.get("camera"))
        snapshot = camera.latest
        if max_age is not None:
            _check_press(request)
            reply, snapshot = await capture_and_wait(request, camera, max_age)
            outcome = reply.outcome
    if snapshot is None:
        raise Problem("unknown_snapshot", "There is no photo yet. Use ?max_age=0 to take one.")
    headers = {
        "Age": str(int(min(max(0.0, camera.age_of(snapshot)), LONGEST_AGE))),
        "Cache-Control": "no-cache",
        "X-Captured-At": timestamp(snapshot.captured_at),
        "X-Snapshot": snapshot.id,
    }
    if outcome is not None:
        headers["X-Outcome"] = outcome
    return await _send(request, service, snapshot, headers)


def _check_press(request: web.Request) -> None:
    """A GET that presses is for who may press, and not for any page that has an image of this address."""
    visitor = request[IDENTITY]
    if not allows(visitor.role, "capture"):
        raise access_denied(visitor, "capture")
    check_origin(request)


async def _wait_for_next(request: web.Request, service: Service, wait: float) -> tuple[CameraTask, Snapshot | None]:
    """The photo after the one that `after` names, of the same camera; None where there was none within `wait` s."""
    after = request.query["after"]
    taken = await service.store.find_taken(after) if is_snapshot_id(after) else None
    if taken is None:
        raise Problem(
            "unknown_snapshot",
            "`after` names a photo that does not exist. Use the id of the last one that you received.",
        )
    if request.query.get("camera", taken.camera) != taken.camera:
        raise Problem(
            "bad_message",
            f"`after` names a photo of the camera {taken.camera}. Name the same one as `camera`, or none.",
        )
    camera = service.find_camera(taken.camera)
    end = asyncio.get_running_loop().time() + wait
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


def _keep(service: Service) -> str:
    return FOREVER if service.anonymous.role is not None else ONLY_OURS


def parse_seconds(request: web.Request, name: str, type: Any) -> float | None:
    """A number of seconds in the query. Raises Problem `bad_message`."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        seconds: float = msgspec.convert(text, type, strict=False)
    except msgspec.ValidationError:
        raise Problem("bad_message", FIELD_RULES[name]) from None
    return seconds


@functools.lru_cache(maxsize=256)
def _name_file(captured_at: dt.datetime, suffix: str) -> str:
    """What a browser calls the picture when it keeps it."""
    return f'inline; filename="dog-{captured_at:%Y%m%d-%H%M%S}.{suffix}"'


async def _send(
    request: web.Request, service: Service, snapshot: Snapshot, headers: dict[str, str]
) -> web.StreamResponse:
    try:
        data = await service.store.open_picture(snapshot)
    except SnapshotGone:
        raise Problem(
            "unknown_snapshot", "The file of this photo is missing or damaged. Restore it from a backup."
        ) from None
    headers["Content-Disposition"] = _name_file(snapshot.captured_at, snapshot.suffix)
    return respond(request, Content(data, snapshot.content_type, snapshot.id), headers)
