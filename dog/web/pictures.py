"""The pictures themselves: each under its own address for ever, and the newest under one that stays."""

import asyncio
import datetime as dt

from aiohttp import web

from dog.messages import timestamp
from dog.snapshots import Snapshot, is_snapshot_id
from dog.web.problems import Problem
from dog.web.service import SERVICE, Service

__all__ = ["find_snapshot", "parse_max_age", "show_latest", "show_picture", "show_thumbnail"]

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
    path = service.store.thumbnail_path(snapshot)
    if not await asyncio.to_thread(path.is_file):
        raise Problem("unknown_snapshot", "The thumbnail of this photo is gone.")
    return web.FileResponse(path, headers={"Cache-Control": FOREVER, "Content-Type": "image/jpeg"})


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
    age = (dt.datetime.now(dt.UTC) - snapshot.captured_at).total_seconds()
    headers = {
        "Age": str(max(0, int(age))),
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
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not seconds >= 0:
        raise Problem("bad_message", "`max_age` is a number of seconds, 0 or more.")
    return seconds


async def _send(
    request: web.Request, service: Service, snapshot: Snapshot, headers: dict[str, str]
) -> web.StreamResponse:
    """The file, with ETag, Range and HEAD by aiohttp's FileResponse; what that would refuse without a word is refused
    here with one.
    """
    path = service.store.picture_path(snapshot)
    if not await asyncio.to_thread(path.is_file):
        raise Problem("unknown_snapshot", "The file of this photo is gone.")
    _check_range(request, snapshot.bytes)
    name = f"dog-{snapshot.captured_at:%Y%m%d-%H%M%S}.{snapshot.suffix}"
    return web.FileResponse(
        path,
        headers={
            **headers,
            "Content-Type": snapshot.content_type,
            "Content-Disposition": f'inline; filename="{name}"',
        },
    )


def _check_range(request: web.Request, size: int) -> None:
    try:
        start = request.http_range.start
    except ValueError:
        start = size
    if start is not None and start >= size:
        raise Problem("bad_range", f"The picture has {size} bytes.", {"Content-Range": f"bytes */{size}"})
