"""The album: its gallery, day by day, and what a person decides of one photo. It works without JavaScript, too."""

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlencode

from aiohttp import web
from msgspec import Struct

from dog.snapshots import Snapshot
from dog.web.handlers.images import check_place, find_snapshot
from dog.web.handlers.pages import render
from dog.web.http.bodies import read_form
from dog.web.middleware.errors import relative_root
from dog.web.problems import Problem
from dog.web.service import SERVICE, Service

__all__ = ["GalleryQuery", "PinForm", "ask_deletion", "press_delete", "press_pin", "show_gallery"]

PAGE = 60
"""Photos on one page of the gallery: it is even by 2, 3, 4, 5 and 6 columns."""


class GalleryQuery(Struct, frozen=True):
    """The query of GET /snapshots; what is empty is as good as left out, for so a form sends it."""

    camera: str | None = None
    day: str | None = None
    before: str | None = None


class PinForm(Struct, frozen=True):
    """The form of a photo's page."""

    pinned: Literal["yes", "no"]


async def show_gallery(request: web.Request) -> web.Response:
    """GET /snapshots: the photos by day, newest first; `camera` and `day` choose, `before` an id goes on from there."""
    service = request.app[SERVICE]
    camera, day, before = (request.query.get(name) or None for name in GalleryQuery.__struct_fields__)
    if before is not None:
        await check_place(service, before)
    found = await service.store.recent(
        limit=PAGE + 1, camera=camera, before=before, between=None if day is None else _find_day(day)
    )
    shown = found[:PAGE]
    chosen = {name: value for name, value in (("camera", camera), ("day", day)) if value is not None}
    older = urlencode({**chosen, "before": shown[-1].id}) if len(found) > PAGE else None
    return render(
        request,
        "gallery.html",
        {
            "days": [
                {"day": date, "tiles": [_describe_tile(service, snapshot) for snapshot in snapshots]}
                for date, snapshots in _group_by_day(shown)
            ],
            "camera": camera,
            "cameras": list(service.cameras),
            "day": day,
            "before": before,
            "newest": urlencode(chosen),
            "zone": dt.datetime.now().astimezone().tzname(),
            "older": older,
        },
    )


async def press_pin(request: web.Request) -> web.Response:
    """POST /snapshots/{id}/pin: the form of the photo's page; `pinned` is yes or no."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    wish = await read_form(request, PinForm)
    if not await service.store.pin(snapshot, wish.pinned == "yes"):
        await find_snapshot(service, snapshot.id)  # it is gone by now, which this says
    return _lead(request, f"snapshots/{snapshot.id}")


async def ask_deletion(request: web.Request) -> web.Response:
    """GET /snapshots/{id}/delete: the page that asks whether it is meant."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    return render(request, "deletion.html", {"photo": service.links.describe(snapshot), "pinned": snapshot.pinned})


async def press_delete(request: web.Request) -> web.Response:
    """POST /snapshots/{id}/delete: the form of that page. To the next older photo, or the gallery."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    older = await service.store.recent(limit=1, camera=snapshot.camera, before=snapshot.id)
    await service.store.remove(snapshot.id)
    return _lead(request, f"snapshots/{older[0].id}" if older else "snapshots")


def _lead(request: web.Request, where: str) -> web.Response:
    """To another page."""
    return web.Response(
        status=303, headers={"Location": f"{relative_root(request)}{where}", "Cache-Control": "no-store"}
    )


def _find_day(text: str) -> tuple[dt.datetime, dt.datetime]:
    """The first moment of a day where this server stands, and of the next. Raises Problem `bad_message`."""
    try:
        day = dt.date.fromisoformat(text)
        start, end = (dt.datetime.combine(date, dt.time()).astimezone() for date in (day, day + dt.timedelta(days=1)))
    except (ValueError, OverflowError):
        raise Problem("bad_message", "`day` must be a date such as 2026-11-22.") from None
    return start, end


def _group_by_day(snapshots: Sequence[Snapshot]) -> list[tuple[dt.date, list[Snapshot]]]:
    """In their order: the clock may have jumped, and then a day comes twice."""
    groups = itertools.groupby(snapshots, lambda snapshot: snapshot.captured_at.astimezone().date())
    return [(date, list(group)) for date, group in groups]


def _describe_tile(service: Service, snapshot: Snapshot) -> dict[str, object]:
    return {
        "photo": service.links.describe(snapshot),
        "pinned": snapshot.pinned,
        "time": f"{snapshot.captured_at.astimezone():%H:%M:%S}",
    }
