"""The pictures themselves: each under its own address for ever, and the newest under one that stays."""

import datetime as dt
import functools

import msgspec
from aiohttp import web

from dog.messages import RIGHT, MaxAge, timestamp
from dog.snapshots import Snapshot, SnapshotGone, is_snapshot_id
from dog.web.content import Content, respond
from dog.web.problems import Problem
from dog.web.service import SERVICE, Service

__all__ = ["find_snapshot", "parse_max_age", "show_latest", "show_picture", "show_thumbnail"]

LONGEST_AGE = 2**31
"""Seconds: what Age says of whatever is older (RFC 9111, section 1.2.2)."""
FOREVER = "public, max-age=31536000, immutable"
"""A snapshot never changes (RFC 8246)."""


async def find_snapshot(service: Service, snapshot_id: str) -> Snapshot:
    """The snapshot of that id. Raises Problem `unknown_snapshot`."""
    snapshot = await service.store.get(snapshot_id) if is_snapshot_id(snapshot_id) else None
    if snapshot is None:
        raise Problem("unknown_snapshot", "There is no such photo here.")
    return snapshot


async def show_picture(request: web.Request) -> web.StreamResponse:
    """GET /snapshots/{id}.{suffix}: the picture, bit for bit as the camera made it."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    if request.match_info["suffix"] != snapshot.suffix:
        raise Problem("unknown_snapshot", f"This photo is a .{snapshot.suffix} file.")
    return await _send(request, service, snapshot, {"Cache-Control": FOREVER})


async def show_thumbnail(request: web.Request) -> web.StreamResponse:
    """GET /snapshots/{id}/thumbnail.jpg."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    try:
        data = await service.store.read_thumbnail(snapshot)
    except SnapshotGone:
        raise Problem("unknown_snapshot", "The thumbnail of this photo is gone.") from None
    return respond(request, Content(data, "image/jpeg", f"{snapshot.id}-thumbnail"), {"Cache-Control": FOREVER})


async def show_latest(request: web.Request) -> web.StreamResponse:
    """GET /latest.jpg: the newest picture; with `max_age` a new one where that is older."""
    service = request.app[SERVICE]
    camera = service.find_camera(request.query.get("camera"))
    max_age = parse_max_age(request.query.get("max_age"))
    if max_age is None:
        snapshot = camera.latest
    else:
        _, snapshot = await camera.take(max_age=max_age)
    if snapshot is None:
        raise Problem("unknown_snapshot", "There is no photo yet; ask with ?max_age=0 to have one taken.")
    headers = {
        "Age": str(int(min(max(0.0, camera.age_of(snapshot)), LONGEST_AGE))),
        "Cache-Control": "no-cache",
        "X-Captured-At": timestamp(snapshot.captured_at),
        "X-Snapshot": snapshot.id,
    }
    return await _send(request, service, snapshot, headers)


def parse_max_age(text: str | None) -> float | None:
    """Seconds, from a query. Raises Problem `bad_message`."""
    if text is None:
        return None
    try:
        return msgspec.convert(text, MaxAge, strict=False)
    except msgspec.ValidationError:
        raise Problem("bad_message", RIGHT["max_age"]) from None


@functools.lru_cache(maxsize=256)
def _name_file(captured_at: dt.datetime, suffix: str) -> str:
    """What a browser calls the picture when it keeps it."""
    return f'inline; filename="dog-{captured_at:%Y%m%d-%H%M%S}.{suffix}"'


async def _send(
    request: web.Request, service: Service, snapshot: Snapshot, headers: dict[str, str]
) -> web.StreamResponse:
    try:
        data = await service.store.read(snapshot)
    except SnapshotGone:
        raise Problem("unknown_snapshot", "The file of this photo is gone or damaged.") from None
    headers["Content-Disposition"] = _name_file(snapshot.captured_at, snapshot.suffix)
    return respond(request, Content(data, snapshot.content_type, snapshot.id), headers)
