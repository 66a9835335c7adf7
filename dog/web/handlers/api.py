"""Captures, snapshots and cameras as JSON; health and metrics."""

import asyncio
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from dog.errors import CameraOffline, CaptureError, RequestError
from dog.protocol import (
    EXAMPLE_TIME,
    Age,
    CameraName,
    CameraStatus,
    CaptureNumber,
    ErrorCode,
    ErrorMessage,
    MaxAge,
    ReplyOutcome,
    RetryAfter,
    SnapshotBody,
    Time,
    doc,
    timestamp,
)
from dog.snapshots import Snapshot, SnapshotStore
from dog.web.app_keys import APP_STATE, AppState, check_before, find_requested_snapshot, find_snapshot
from dog.web.http.capture_requests import capture_and_wait, rate_limit_permit, read_idempotency_key
from dog.web.http.requests import ListStart, read_body, read_query, respond_json
from dog.web.problems import Problem

__all__ = [
    "READINESS",
    "ReadinessCheck",
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

DEFAULT_LIMIT = 50
"""Snapshots in a list if the request has no `limit`."""
READINESS_SECONDS = 2.0
"""Seconds for which one check of the disk serves all requests."""


ExposureEnd = Annotated[Time, doc("The time by which the exposure had ended, if known.", EXAMPLE_TIME)]


class CaptureRequest(Struct, frozen=True):
    """The camera, and the age that you accept."""

    camera: CameraName | None = None
    max_age: MaxAge | None = None


class PressedBody(SnapshotBody, frozen=True, kw_only=True):
    """The snapshot that serves a request."""

    outcome: ReplyOutcome
    age: Age


class SnapshotDetails(SnapshotBody, frozen=True, kw_only=True):
    """All data of a snapshot."""

    pinned: Annotated[bool, doc("True if retention never removes it.", False)]
    exposed_until: ExposureEnd | None = None
    """None means unknown: the server crashed before the snapshot's row was on the disk, or the file was copied here.
    Neither the file's name nor its mtime has this time."""


class CaptureBody(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """A capture and its result."""

    capture: CaptureNumber
    camera: CameraName
    state: Annotated[str, doc("`pending`, `capturing`, `ready` or `failed`.", "ready")]
    outcome: ReplyOutcome | None = None
    retry_after: RetryAfter | None = None
    snapshot: Annotated[SnapshotBody | None, doc("The snapshot, when it is ready.")] = None
    code: ErrorCode | None = None
    message: ErrorMessage | None = None


class CameraList(Struct, frozen=True):
    """All cameras."""

    cameras: Annotated[list[CameraStatus], doc("All cameras.")]


class SnapshotList(Struct, frozen=True):
    """Snapshots, newest first."""

    snapshots: Annotated[list[SnapshotDetails], doc("The snapshots.")]


class SnapshotListQuery(Struct, frozen=True):
    """The query of GET /api/snapshots."""

    limit: Annotated[int, Meta(ge=1, le=200), doc("The maximum number of snapshots.", 50)] = DEFAULT_LIMIT
    camera: CameraName | None = None
    before: ListStart | None = None


async def start_capture(request: web.Request) -> web.Response:
    """Take a photo, and wait for it or not (POST /api/captures)."""
    service = request.app[APP_STATE]
    body = await read_body(request, CaptureRequest)
    key = read_idempotency_key(request)
    camera = service.find_camera(body.camera)
    if "respond-async" in request.headers.get("Prefer", "").lower():
        reply = camera.request(body.max_age, key, rate_limit_permit(request, key))
        if reply.snapshot is None:
            capture = _find_capture(service, reply.capture)
        else:  # its capture may be older than the start of the service
            body_of = service.urls.describe(await find_snapshot(service, reply.snapshot))
            capture = CaptureBody(capture=reply.capture, camera=camera.name, state="ready", snapshot=body_of)
        capture = msgspec.structs.replace(capture, outcome=reply.outcome, retry_after=reply.retry_after)
        headers = {"Location": service.urls.capture(reply.capture), "Preference-Applied": "respond-async"}
        return respond_json(capture, 202, headers)
    reply, snapshot = await capture_and_wait(request, camera, body.max_age, key)
    status = 200 if reply.outcome == "cached" else 201
    pressed = PressedBody(
        **msgspec.structs.asdict(service.urls.describe(snapshot)),
        outcome=reply.outcome,
        age=round(max(0.0, camera.age_of(snapshot)), 3),
    )
    return respond_json(pressed, status, {"Location": service.urls.page(snapshot)})


async def show_capture(request: web.Request) -> web.Response:
    """Show a capture and its result (GET /api/captures/{number})."""
    service = request.app[APP_STATE]
    return respond_json(_find_capture(service, int(request.match_info["number"])))


async def list_snapshots(request: web.Request) -> web.Response:
    """List snapshots, newest first, from `before` on (GET /api/snapshots)."""
    service = request.app[APP_STATE]
    query = read_query(request, SnapshotListQuery)
    if query.camera is not None:
        service.find_camera(query.camera)
    if query.before is not None:
        await check_before(service, query.before)
    snapshots = await service.store.recent(limit=query.limit, camera=query.camera, before=query.before)
    return respond_json(SnapshotList([_snapshot_details(service, snapshot) for snapshot in snapshots]))


async def show_snapshot_body(request: web.Request) -> web.Response:
    """Show all data of a snapshot (GET /api/snapshots/{id})."""
    service, snapshot = await find_requested_snapshot(request)
    return respond_json(_snapshot_details(service, snapshot))


async def delete_snapshot(request: web.Request) -> web.Response:
    """Delete a snapshot for everyone (DELETE /api/snapshots/{id})."""
    service, snapshot = await find_requested_snapshot(request)
    await service.store.remove(snapshot.id)
    return web.Response(status=204)


async def pin_snapshot(request: web.Request) -> web.Response:
    """Pin a snapshot (PUT /api/snapshots/{id}/pin)."""
    return await _set_pinned(request, True)


async def unpin_snapshot(request: web.Request) -> web.Response:
    """Unpin a snapshot (DELETE /api/snapshots/{id}/pin)."""
    return await _set_pinned(request, False)


async def _set_pinned(request: web.Request, pinned: bool) -> web.Response:
    service, snapshot = await find_requested_snapshot(request)
    if not await service.store.pin(snapshot, pinned):
        await find_snapshot(service, snapshot.id)  # it was removed: raise the Problem
    return web.Response(status=204)


async def list_cameras(request: web.Request) -> web.Response:
    """List the cameras, as in `hello` (GET /api/cameras)."""
    return respond_json(CameraList(request.app[APP_STATE].camera_statuses()))


async def report_health(_request: web.Request) -> web.Response:
    """Report that the process is alive (GET /healthz)."""
    return respond_json({"status": "ok"})


class ReadinessCheck:
    """A check of the disk that serves all requests of two seconds.

    It syncs a file, which would delay saving if each request did it.
    """

    def __init__(self) -> None:
        self._check: asyncio.Task[None] | None = None
        self._expires_at = 0.0

    async def check_disk(self, store: SnapshotStore) -> None:
        """Raise StorageFull or StorageError if photos can't be saved."""
        now = asyncio.get_running_loop().time()
        if self._check is None or (self._check.done() and self._expires_at <= now):
            self._check = asyncio.create_task(store.check_writable())
            self._check.add_done_callback(lambda check: check.cancelled() or check.exception())
            self._expires_at = now + READINESS_SECONDS
        await asyncio.shield(self._check)


READINESS = web.AppKey("readiness", ReadinessCheck)


async def report_readiness(request: web.Request) -> web.Response:
    """Report that photos can be taken, or raise CaptureError (GET /readyz).

    All cameras must be usable and the disk writable. A clock that cannot be trusted is only reported.
    """
    service = request.app[APP_STATE]
    await request.app[READINESS].check_disk(service.store)
    for camera in service.cameras.values():
        if camera.offline is not None:
            raise CameraOffline(camera.offline.message)
    doubt = service.clock.check()
    return respond_json({"status": "ready"} | ({} if doubt is None else {"clock": f"{doubt} {doubt.advice}"}))


async def report_metrics(request: web.Request) -> web.Response:
    """Report the metrics of docs/metrics.md (GET /metrics)."""
    accept = ",".join(request.headers.getall("Accept", ()))
    body, content_type = await request.app[APP_STATE].metrics.render(accept)
    return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})


def _snapshot_details(service: AppState, snapshot: Snapshot) -> SnapshotDetails:
    until = snapshot.origin.exposed_until
    return SnapshotDetails(
        **msgspec.structs.asdict(service.urls.describe(snapshot)),
        pinned=snapshot.pinned,
        exposed_until=None if until is None else timestamp(until),
    )


def _find_capture(service: AppState, number: int) -> CaptureBody:
    for name, camera in service.cameras.items():
        future = camera.results.find(number)
        if future is not None:
            running = camera.running is not None and camera.running.capture == number
            return _capture_body(service, name, number, future, "capturing" if running else "pending")
    raise Problem("unknown_capture", "This capture is unknown or too old. Its photo may be in the gallery.")


def _capture_body(
    service: AppState, camera: str, number: int, future: asyncio.Future[Snapshot], state: str
) -> CaptureBody:
    if not future.done():
        return CaptureBody(capture=number, camera=camera, state=state)
    match future.exception():
        case CaptureError(code=code, message=message) | RequestError(code=code, message=message):
            return CaptureBody(capture=number, camera=camera, state="failed", code=code, message=message)
        case _:
            snapshot = service.urls.describe(future.result())
            return CaptureBody(capture=number, camera=camera, state="ready", snapshot=snapshot)
