"""What scripts use beside the push: captures, snapshots and cameras as JSON, and how the service is."""

import asyncio
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from dog.errors import CameraOffline, CaptureError, RequestError
from dog.protocol import (
    MAX_REQUEST_LENGTH,
    CameraStatus,
    MaxAge,
    Outcome,
    SnapshotBody,
    explain_mismatch,
    timestamp,
)
from dog.snapshots import Snapshot
from dog.web.handlers.images import check_place, find_snapshot
from dog.web.http.bodies import read_body, respond_json
from dog.web.http.capture import capture_and_wait, rate_limit_permit
from dog.web.middleware.errors import Problem
from dog.web.service import SERVICE, Service

__all__ = [
    "delete_snapshot",
    "list_cameras",
    "list_snapshots",
    "pin_snapshot",
    "report_health",
    "report_metrics",
    "report_readiness",
    "show_capture",
    "show_snapshot_body",
    "start_capture",
    "unpin_snapshot",
]

PAGE = 50
"""Snapshots a request lists where it does not say how many."""


class CaptureRequest(Struct, frozen=True):
    """The body of POST /api/captures."""

    camera: str | None = None
    max_age: MaxAge | None = None


class PressedBody(SnapshotBody, frozen=True, kw_only=True):
    """What a press got, and how: `age` is the seconds since its exposure began."""

    outcome: Outcome
    age: float


class SnapshotDetails(SnapshotBody, frozen=True, kw_only=True):
    """Everything that is known of a snapshot.

    Its exposure had ended by `exposed_until`. None means unknown: a crash came before its row was on the disk, or
    somebody copied the file here. Neither the file's name nor its time of change says it.
    """

    pinned: bool
    exposed_until: str | None = None


class CaptureBody(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """A capture as it is told: `state` is pending, capturing, ready or failed."""

    capture: int
    camera: str
    state: str
    outcome: Outcome | None = None
    retry_after: float | None = None
    snapshot: SnapshotBody | None = None
    code: str | None = None
    message: str | None = None


class CameraList(Struct, frozen=True):
    cameras: list[CameraStatus]


class SnapshotList(Struct, frozen=True):
    snapshots: list[SnapshotDetails]


class Listing(Struct, frozen=True):
    """The query of GET /api/snapshots."""

    limit: Annotated[int, Meta(ge=1, le=200)] = PAGE
    camera: str | None = None
    before: str | None = None


async def start_capture(request: web.Request) -> web.Response:
    """POST /api/captures: a press that waits for its photo, or with `Prefer: respond-async` does not."""
    service = request.app[SERVICE]
    wish = await read_body(request, CaptureRequest)
    key = _read_key(request)
    camera = service.find_camera(wish.camera)
    if "respond-async" in request.headers.get("Prefer", "").lower():
        reply = camera.request(wish.max_age, key, rate_limit_permit(request, key))
        body = _describe_capture(service, reply.capture)
        body = msgspec.structs.replace(body, outcome=reply.outcome, retry_after=reply.retry_after)
        headers = {"Location": service.links.capture(reply.capture), "Preference-Applied": "respond-async"}
        return respond_json(body, 202, headers)
    reply, snapshot = await capture_and_wait(request, camera, wish.max_age, key)
    status = 200 if reply.outcome == "cached" else 201
    pressed = PressedBody(
        **msgspec.structs.asdict(service.links.describe(snapshot)),
        outcome=reply.outcome,
        age=round(max(0.0, camera.age_of(snapshot)), 3),
    )
    return respond_json(pressed, status, {"Location": service.links.page(snapshot)})


async def show_capture(request: web.Request) -> web.Response:
    """GET /api/captures/{number}: what became of a capture."""
    service = request.app[SERVICE]
    return respond_json(_describe_capture(service, int(request.match_info["number"])))


async def list_snapshots(request: web.Request) -> web.Response:
    """GET /api/snapshots: the newest first; `before` an id goes on from there."""
    service = request.app[SERVICE]
    try:
        wish = msgspec.convert(dict(request.query), Listing, strict=False)
    except msgspec.ValidationError as error:
        raise Problem("bad_message", explain_mismatch(error)) from None
    if wish.camera is not None:
        service.find_camera(wish.camera)
    if wish.before is not None:
        await check_place(service, wish.before)
    snapshots = await service.store.recent(limit=wish.limit, camera=wish.camera, before=wish.before)
    return respond_json(SnapshotList([_detail(service, snapshot) for snapshot in snapshots]))


async def show_snapshot_body(request: web.Request) -> web.Response:
    """GET /api/snapshots/{id}."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    return respond_json(_detail(service, snapshot))


async def delete_snapshot(request: web.Request) -> web.Response:
    """DELETE /api/snapshots/{id}."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    await service.store.remove(snapshot.id)
    return web.Response(status=204)


async def pin_snapshot(request: web.Request) -> web.Response:
    """PUT /api/snapshots/{id}/pin."""
    return await _pin(request, True)


async def unpin_snapshot(request: web.Request) -> web.Response:
    """DELETE /api/snapshots/{id}/pin."""
    return await _pin(request, False)


async def _pin(request: web.Request, pinned: bool) -> web.Response:
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    if not await service.store.pin(snapshot, pinned):
        await find_snapshot(service, snapshot.id)  # it is gone by now, which this says
    return web.Response(status=204)


async def list_cameras(request: web.Request) -> web.Response:
    """GET /api/cameras: each as `hello` shows it."""
    return respond_json(CameraList(request.app[SERVICE].statuses()))


async def report_health(_request: web.Request) -> web.Response:
    """GET /healthz: the process is alive."""
    return respond_json({"status": "ok"})


async def report_readiness(request: web.Request) -> web.Response:
    """GET /readyz: every camera usable and the disk writable. Raises the CaptureError that a press would meet.

    A clock in doubt is named, but keeps nobody from taking photos.
    """
    service = request.app[SERVICE]
    await service.store.check_writable()
    for camera in service.cameras.values():
        if camera.offline is not None:
            raise CameraOffline(camera.offline.message)
    doubt = service.clock.check()
    return respond_json({"status": "ready"} | ({} if doubt is None else {"clock": f"{doubt} {doubt.advice}"}))


async def report_metrics(request: web.Request) -> web.Response:
    """GET /metrics: the numbers of docs/metrics.md, as Prometheus asks for them."""
    accept = ",".join(request.headers.getall("Accept", ()))
    body, content_type = await request.app[SERVICE].metrics.render(accept)
    return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})


def _detail(service: Service, snapshot: Snapshot) -> SnapshotDetails:
    until = snapshot.origin.exposed_until
    return SnapshotDetails(
        **msgspec.structs.asdict(service.links.describe(snapshot)),
        pinned=snapshot.pinned,
        exposed_until=None if until is None else timestamp(until),
    )


def _describe_capture(service: Service, number: int) -> CaptureBody:
    for name, camera in service.cameras.items():
        future = camera.results.find(number)
        if future is not None:
            running = camera.running is not None and camera.running.capture == number
            return _describe_future(service, name, number, future, "capturing" if running else "pending")
    raise Problem("unknown_capture", "This capture is unknown or too old. Look for its photo in the album.")


def _describe_future(
    service: Service, camera: str, number: int, future: asyncio.Future[Snapshot], state: str
) -> CaptureBody:
    if not future.done():
        return CaptureBody(capture=number, camera=camera, state=state)
    match future.exception():
        case CaptureError(code=code, message=message) | RequestError(code=code, message=message):
            return CaptureBody(capture=number, camera=camera, state="failed", code=code, message=message)
        case _:
            snapshot = service.links.describe(future.result())
            return CaptureBody(capture=number, camera=camera, state="ready", snapshot=snapshot)


def _read_key(request: web.Request) -> str | None:
    """The Idempotency-Key, which may stand in quotes."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    key = key.strip().strip('"')
    if not 0 < len(key) <= MAX_REQUEST_LENGTH or not key.isprintable():  # nor are bytes that are no UTF-8
        raise Problem(
            "bad_message", f"The Idempotency-Key is not valid. Send 1 to {MAX_REQUEST_LENGTH} printable characters."
        )
    return key
