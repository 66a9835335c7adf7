"""The gallery, the page of one photo, and its forms: pin and delete."""

import datetime as dt
import itertools
from typing import Annotated, Literal
from urllib.parse import urlencode

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from dog.protocol import CameraName, doc
from dog.snapshots import Snapshot
from dog.web.app_keys import APP_STATE, AppState, check_before, find_requested_snapshot, find_snapshot
from dog.web.http.page_rendering import find_own_snapshot, redirect, render
from dog.web.http.requests import ListStart, read_form, read_query
from dog.web.middleware.errors import relative_root
from dog.web.problems import Problem

__all__ = [
    "GalleryQuery",
    "PinForm",
    "show_delete_page",
    "show_gallery",
    "show_photo_page",
    "submit_delete_form",
    "submit_pin_form",
]

PHOTOS_PER_PAGE = 60
"""A multiple of 2, 3, 4, 5 and 6 columns."""
Day = Annotated[
    str,
    Meta(extra_json_schema={"anyOf": [{"format": "date"}, {"maxLength": 0}]}),
    doc("A day in the server's time zone. Empty for all days.", "2026-11-22"),
]


class GalleryQuery(Struct, frozen=True):
    """The query of GET /snapshots. Empty values of a form count as left out."""

    camera: CameraName | None = None
    day: Day | None = None
    before: ListStart | None = None


class PinForm(Struct, frozen=True):
    """The form that pins or unpins a photo."""

    pinned: Annotated[Literal["yes", "no"], doc("`yes` to pin it, `no` to unpin it.", "yes")]


async def show_gallery(request: web.Request) -> web.Response:
    """Show the photos by day, newest first (GET /snapshots)."""
    service = request.app[APP_STATE]
    camera, day, before = (text or None for text in msgspec.structs.astuple(read_query(request, GalleryQuery)))
    if before is not None:
        await check_before(service, before)
    found = await service.store.recent(
        limit=PHOTOS_PER_PAGE + 1, camera=camera, before=before, between=None if day is None else _day_bounds(day)
    )
    shown = found[:PHOTOS_PER_PAGE]
    filters = {name: value for name, value in (("camera", camera), ("day", day)) if value is not None}
    older = urlencode({**filters, "before": shown[-1].id}) if len(found) > PHOTOS_PER_PAGE else None
    return render(
        request,
        "gallery.html",
        {
            "days": [
                {"day": date, "tiles": [_describe_tile(service, snapshot) for snapshot in snapshots]}
                for date, snapshots in itertools.groupby(shown, lambda one: one.captured_at.astimezone().date())
            ],
            "camera": camera,
            "cameras": list(service.cameras),
            "day": day,
            "before": before,
            "newest": urlencode(filters),
            "zone": dt.datetime.now().astimezone().tzname(),
            "older": older,
        },
    )


async def show_photo_page(request: web.Request) -> web.Response:
    """Show the page of one photo (GET /snapshots/{id})."""
    service, snapshot = await find_requested_snapshot(request)
    older = await service.store.recent(limit=1, camera=snapshot.camera, before=snapshot.id)
    newer = await service.store.newer(snapshot)
    own = await find_own_snapshot(request, service)
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


async def submit_pin_form(request: web.Request) -> web.Response:
    """Pin or unpin a photo (POST /snapshots/{id}/pin)."""
    service, snapshot = await find_requested_snapshot(request)
    form = await read_form(request, PinForm)
    if not await service.store.pin(snapshot, form.pinned == "yes"):
        await find_snapshot(service, snapshot.id)  # it was removed: raise the Problem
    return redirect(f"{relative_root(request)}snapshots/{snapshot.id}")


async def show_delete_page(request: web.Request) -> web.Response:
    """Show the page that asks for confirmation (GET /snapshots/{id}/delete)."""
    service, snapshot = await find_requested_snapshot(request)
    return render(request, "deletion.html", {"photo": service.urls.describe(snapshot), "pinned": snapshot.pinned})


async def submit_delete_form(request: web.Request) -> web.Response:
    """Delete a photo, show the next older one (POST /snapshots/{id}/delete)."""
    service, snapshot = await find_requested_snapshot(request)
    older = await service.store.recent(limit=1, camera=snapshot.camera, before=snapshot.id)
    await service.store.remove(snapshot.id)
    return redirect(relative_root(request) + (f"snapshots/{older[0].id}" if older else "snapshots"))


def _format_exposure(seconds: float | None) -> str:
    """Format an exposure time as 1/125 s or 2.5 s, or as "" if it is unknown."""
    if not seconds:
        return ""
    return f"1/{round(1 / seconds)} s" if seconds < 0.3 else f"{seconds:.2g} s"


def _day_bounds(text: str) -> tuple[dt.datetime, dt.datetime]:
    """Return the start of a local day and of the next, or raise Problem."""
    try:
        day = dt.date.fromisoformat(text)
        start, end = (dt.datetime.combine(date, dt.time()).astimezone() for date in (day, day + dt.timedelta(days=1)))
    except (ValueError, OverflowError):
        raise Problem("bad_message", "`day` must be a date such as 2026-11-22.") from None
    return start, end


def _describe_tile(service: AppState, snapshot: Snapshot) -> dict[str, object]:
    return {
        "photo": service.urls.describe(snapshot),
        "pinned": snapshot.pinned,
        "time": f"{snapshot.captured_at.astimezone():%H:%M:%S}",
    }
