"""What scripts use beside the push: captures, snapshots and cameras as JSON, and how the service is."""

import asyncio
from typing import Annotated, Any

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError
from msgspec import Meta, Struct

from dog.errors import CameraOffline, CaptureError, RequestError
from dog.messages import (
    REQUEST_LENGTH,
    CameraStatus,
    MaxAge,
    Outcome,
    SnapshotBody,
    encode,
    explain_mismatch,
)
from dog.snapshots import Snapshot
from dog.web.pictures import find_snapshot
from dog.web.problems import Problem
from dog.web.service import SERVICE, Service

__all__ = [
    "list_cameras",
    "list_snapshots",
    "report_health",
    "report_metrics",
    "report_readiness",
    "show_capture",
    "show_snapshot_body",
    "start_capture",
]

PAGE = 50
"""Snapshots a request lists where it does not say how many."""


BODY_PATIENCE = 20.0
"""Seconds that a body of a few bytes may take to come."""


class CaptureRequest(Struct, frozen=True):
    """The body of POST /api/captures."""

    camera: str | None = None
    max_age: MaxAge | None = None


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
    snapshots: list[SnapshotBody]


class Listing(Struct, frozen=True):
    """The query of GET /api/snapshots."""

    limit: Annotated[int, Meta(ge=1, le=200)] = PAGE
    camera: str | None = None
    before: str | None = None


async def start_capture(request: web.Request) -> web.Response:
    """POST /api/captures: a press that waits for its photo, or with `Prefer: respond-async` does not."""
    service = request.app[SERVICE]
    wish = await _read_wish(request)
    key = _read_key(request)
    camera = service.find_camera(wish.camera)
    if "respond-async" in request.headers.get("Prefer", "").lower():
        reply = camera.request(max_age=wish.max_age, key=key)
        body = _describe_capture(service, reply.capture)
        body = msgspec.structs.replace(body, outcome=reply.outcome, retry_after=reply.retry_after)
        headers = {"Location": service.links.capture(reply.capture), "Preference-Applied": "respond-async"}
        return _respond(body, 202, headers)
    reply, snapshot = await camera.take(max_age=wish.max_age, key=key)
    status = 200 if reply.outcome == "cached" else 201
    return _respond(service.links.describe(snapshot), status, {"Location": service.links.page(snapshot)})


async def show_capture(request: web.Request) -> web.Response:
    """GET /api/captures/{number}: what became of a capture."""
    service = request.app[SERVICE]
    return _respond(_describe_capture(service, int(request.match_info["number"])))


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
        await find_snapshot(service, wish.before)
    snapshots = await service.store.recent(limit=wish.limit, camera=wish.camera, before=wish.before)
    return _respond(SnapshotList([service.links.describe(snapshot) for snapshot in snapshots]))


async def show_snapshot_body(request: web.Request) -> web.Response:
    """GET /api/snapshots/{id}."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    return _respond(service.links.describe(snapshot))


async def list_cameras(request: web.Request) -> web.Response:
    """GET /api/cameras: each as `hello` shows it."""
    return _respond(CameraList(request.app[SERVICE].statuses()))


async def report_health(_request: web.Request) -> web.Response:
    """GET /healthz: the process is alive."""
    return _respond({"status": "ok"})


async def report_readiness(request: web.Request) -> web.Response:
    """GET /readyz: every camera usable and the disk writable. Raises the CaptureError that a press would meet."""
    service = request.app[SERVICE]
    await service.store.check_writable()
    for camera in service.cameras.values():
        if camera.offline is not None:
            raise CameraOffline(camera.offline.message)
    return _respond({"status": "ready"})


async def report_metrics(request: web.Request) -> web.Response:
    """GET /metrics: the numbers of docs/metrics.md, as Prometheus asks for them."""
    accept = ",".join(request.headers.getall("Accept", ()))
    body, content_type = await request.app[SERVICE].metrics.render(accept)
    return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})


def _describe_capture(service: Service, number: int) -> CaptureBody:
    for name, camera in service.cameras.items():
        future = camera.find_capture(number)
        if future is not None:
            running = camera.running is not None and camera.running.capture == number
            return _describe_future(service, name, number, future, "capturing" if running else "pending")
    raise Problem("unknown_capture", "There is no such capture, or it is long ago; its photo may still be listed.")


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


async def _read_wish(request: web.Request) -> CaptureRequest:
    try:
        async with asyncio.timeout(BODY_PATIENCE):
            body = await request.read()
    except TimeoutError:
        raise Problem("request_timeout", f"The body did not come within {BODY_PATIENCE:g} s.") from None
    except (web.RequestPayloadError, PayloadEncodingError) as error:
        raise Problem("bad_message", f"The body can't be read: {error}.") from None
    if not body:
        return CaptureRequest()
    try:
        return msgspec.json.decode(body, type=CaptureRequest)
    except msgspec.ValidationError as error:
        raise RequestError("bad_message", explain_mismatch(error)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RequestError("bad_json", f"The body is not JSON: {error}.") from None


def _read_key(request: web.Request) -> str | None:
    """The Idempotency-Key, which may stand in quotes."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    key = key.strip().strip('"')
    if not 0 < len(key) <= REQUEST_LENGTH:
        raise Problem("bad_message", f"An Idempotency-Key has 1 to {REQUEST_LENGTH} characters.")
    return key


def _respond(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=encode(body),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
