"""Links to give away: each opens one photo until it expires or is revoked, and leads nowhere else.

What a link opens, and until when, stands in the store's ledger under the link's id. The token in its address is that
id, signed with the store's secret, so that no id can be guessed, or taken from elsewhere, and become an address. What
goes out under such an address never names the snapshot.
"""

import asyncio
import datetime as dt
import functools
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Annotated
from weakref import WeakValueDictionary

from aiohttp import web
from itsdangerous import BadSignature, Signer
from msgspec import Meta, Struct

from dog.clock import utc_now
from dog.images.exif import write_exif
from dog.protocol import timestamp
from dog.snapshots import ID_PATTERN, Share, Snapshot, SnapshotGone, SnapshotStore, is_snapshot_id, make_stamp
from dog.web.handlers.images import find_snapshot
from dog.web.handlers.pages import render
from dog.web.http.bodies import read_body, read_form, respond_json
from dog.web.http.content import Content, hash_content, respond
from dog.web.middleware.errors import STATUS, Problem, relative_root
from dog.web.service import SERVICE, Service

__all__ = [
    "SHARED_PICTURES",
    "TOKEN_PATTERN",
    "UNLISTED",
    "LinkBody",
    "LinkList",
    "LinkRequest",
    "SharedPicture",
    "SharedPictures",
    "create_link",
    "list_links",
    "make_signer",
    "press_link",
    "press_revoke",
    "revoke_link",
    "show_links",
    "show_shared",
    "show_shared_picture",
]

MINUTE, HOUR, DAY = 60, 3600, 86400
TERMS = {HOUR: "an hour", DAY: "a day", 7 * DAY: "a week", 30 * DAY: "a month", 365 * DAY: "a year"}
"""How long a link may work, on the page; a script may say any number of seconds."""
TOKEN_PATTERN = rf"{ID_PATTERN}\.[A-Za-z0-9_-]{{42}}[AEIMQUYcgkosw048]"
"""An id and 32 bytes in Base64, whose last digit has two bits to spare: they are 0, so that there is one spelling."""
UNLISTED = {"X-Robots-Tag": "noindex"}


class LinkRequest(Struct, frozen=True):
    """The body of POST /api/snapshots/{id}/links."""

    expires_in: Annotated[float, Meta(ge=MINUTE, le=365 * DAY)] = 7 * DAY


class LinkBody(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """A link as it is told to whoever may give it away; `url` is what to give."""

    link: str
    url: str
    snapshot: str
    created_at: str
    expires_at: str
    expired: bool = False


class LinkList(Struct, frozen=True):
    links: list[LinkBody]


# ---- giving away


async def create_link(request: web.Request) -> web.Response:
    """POST /api/snapshots/{id}/links."""
    service = request.app[SERVICE]
    wish = await read_body(request, LinkRequest)
    snapshot = await find_snapshot(service, request.match_info["id"])
    body = await _give_away(service, snapshot, wish)
    return respond_json(body, 201, {"Location": body.url})


async def list_links(request: web.Request) -> web.Response:
    """GET /api/snapshots/{id}/links."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    return respond_json(LinkList(await _describe_all(service, snapshot)))


async def revoke_link(request: web.Request) -> web.Response:
    """DELETE /api/links/{link}."""
    link = request.match_info["link"]
    if not is_snapshot_id(link) or not await request.app[SERVICE].store.revoke(link):
        raise Problem("unknown_link", "This link does not exist, or was revoked before. List the links of the photo.")
    return web.Response(status=204)


async def show_links(request: web.Request) -> web.Response:
    """GET /snapshots/{id}/links: the page that makes links to a photo, and revokes them."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    links = await _describe_all(service, snapshot)
    return render(
        request,
        "sharing.html",
        {
            "photo": service.links.describe(snapshot),
            "links": links[::-1],
            "terms": TERMS,
            "usual": LinkRequest().expires_in,
        },
    )


async def press_link(request: web.Request) -> web.Response:
    """POST /snapshots/{id}/links: the form of that page."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    wish = await read_form(request, LinkRequest)
    await _give_away(service, snapshot, wish)
    return _lead_back(request, snapshot)


async def press_revoke(request: web.Request) -> web.Response:
    """POST /snapshots/{id}/links/{link}/revoke: the form beside a link. One that is revoked already is as well."""
    service = request.app[SERVICE]
    snapshot = await find_snapshot(service, request.match_info["id"])
    share = await service.store.find_share(request.match_info["link"])
    if share is not None:
        if share.snapshot != snapshot.id:
            raise Problem("unknown_link", "This photo does not have that link. Load the page again.")
        await service.store.revoke(share.id)
    return _lead_back(request, snapshot)


async def _give_away(service: Service, snapshot: Snapshot, wish: LinkRequest) -> LinkBody:
    share = await service.store.share(snapshot, utc_now() + dt.timedelta(seconds=wish.expires_in))
    return _describe(service, make_signer(await service.store.secret()), share)


async def _describe_all(service: Service, snapshot: Snapshot) -> list[LinkBody]:
    signer = make_signer(await service.store.secret())
    return [_describe(service, signer, share) for share in await service.store.shares_of(snapshot)]


def _describe(service: Service, signer: Signer, share: Share) -> LinkBody:
    return LinkBody(
        link=share.id,
        url=service.links.share_link(signer.sign(share.id).decode()),
        snapshot=share.snapshot,
        created_at=timestamp(share.created_at),
        expires_at=timestamp(share.expires_at),
        expired=_has_expired(share),
    )


def _lead_back(request: web.Request, snapshot: Snapshot) -> web.Response:
    where = f"{relative_root(request)}snapshots/{snapshot.id}/links"
    return web.Response(status=303, headers={"Location": where, "Cache-Control": "no-store"})


# ---- what a link opens

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _apart(handler: Handler) -> Handler:
    """What goes wrong is told on a page that leads nowhere else, too."""

    @functools.wraps(handler)
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            problem.headers |= UNLISTED
            if "text/html" not in request.headers.get("Accept", ""):
                raise
            response = _render(request, {"photo": None, "detail": problem.message})
            response.set_status(STATUS[problem.code])
            response.headers.update(problem.headers)
            return response

    return answer


@_apart
async def show_shared(request: web.Request) -> web.StreamResponse:
    """GET /shared/{token}: the photo, and nothing that leads further."""
    share, snapshot = await _open(request)
    return _render(
        request,
        {
            "photo": {
                "captured_at": timestamp(snapshot.captured_at),
                "width": snapshot.width,
                "height": snapshot.height,
                "bytes": snapshot.bytes,
                "url": f"{relative_root(request)}shared/{request.match_info['token']}/picture.{snapshot.suffix}",
                "name": _name_file(snapshot),
            },
            "expires_at": timestamp(share.expires_at),
        },
    )


@_apart
async def show_shared_picture(request: web.Request) -> web.StreamResponse:
    """GET /shared/{token}/picture.{suffix}: the picture, asked about each time, for the link may be revoked.

    It is the file as it was saved; where its EXIF names the photo, that is written anew, and the rest is bit for bit.
    """
    share, snapshot = await _open(request)
    if request.match_info["suffix"] != snapshot.suffix:
        raise Problem("unknown_link", f"This photo is a .{snapshot.suffix} file. Correct the end of the URL.")
    try:
        picture = await request.app[SHARED_PICTURES].make(request.app[SERVICE].store, share, snapshot)
    except SnapshotGone:
        raise Problem(
            "gone_link", "The file of this photo is missing or damaged. Ask the person who sent you the link."
        ) from None
    headers = {
        "Cache-Control": "private, max-age=0, must-revalidate",
        "Content-Disposition": f'inline; filename="{_name_file(snapshot)}"',
        **UNLISTED,
    }
    return respond(request, Content(picture, snapshot.content_type, picture.tag), headers)


class SharedPicture:
    """The bytes that a link's address has."""

    def __init__(self, data: bytes) -> None:
        self.tag = hash_content(data)
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    async def read(self, start: int, stop: int) -> bytes:
        return self._data[start:stop]


class SharedPictures:
    """The pictures that are being sent to those who have a link: one copy for a link, however many open it."""

    def __init__(self) -> None:
        self._pictures: WeakValueDictionary[str, SharedPicture] = WeakValueDictionary()
        self._lock = asyncio.Lock()

    async def make(self, store: SnapshotStore, share: Share, snapshot: Snapshot) -> SharedPicture:
        """Return the picture of a link. Raises SnapshotGone and StorageError."""
        async with self._lock:  # two that are made at once would be two copies
            picture = self._pictures.get(share.id)
            if picture is None:
                data = await store.read(snapshot)
                picture = await asyncio.to_thread(_make_picture, data, share, snapshot)
                self._pictures[share.id] = picture
            return picture


SHARED_PICTURES = web.AppKey("shared_pictures", SharedPictures)


def _make_picture(data: bytes, share: Share, snapshot: Snapshot) -> SharedPicture:
    """The file; where our stamp has the photo's id in it, with another that has the link's, and no camera's name."""
    if snapshot.id.encode() in data:
        exposure = snapshot.origin.exposure
        stamp = make_stamp(id=share.id, camera="", captured_at=snapshot.captured_at, exposure=exposure)
        data = write_exif(data, stamp)
    return SharedPicture(data)


async def _open(request: web.Request) -> tuple[Share, Snapshot]:
    """What a token stands for. Raises Problem `unknown_link`, and `gone_link` where it did once."""
    store = request.app[SERVICE].store
    token = request.match_info["token"]
    try:
        if re.fullmatch(TOKEN_PATTERN, token) is None:
            raise BadSignature("It does not have the form of a token.")
        link = make_signer(await store.secret()).unsign(token).decode()
    except BadSignature:
        raise Problem("unknown_link", "This link does not exist. Check that you copied all of it.") from None
    share = await store.find_share(link)
    if share is not None and _has_expired(share):
        at = share.expires_at
        raise Problem("gone_link", f"It expired on {at.day} {at:%B %Y, %H:%M} UTC. Ask for a new one.")
    snapshot = None if share is None else await store.get(share.snapshot)
    if share is None or snapshot is None:
        raise Problem("gone_link", "It was revoked, or the photo was deleted. Ask the person who sent it to you.")
    return share, snapshot


def make_signer(secret: bytes) -> Signer:
    """Makes tokens of the ids of links, and ids of tokens; it compares in constant time."""
    return Signer(secret, salt="dog.shared", key_derivation="hmac", digest_method=hashlib.sha256)


def _render(request: web.Request, context: dict[str, object]) -> web.Response:
    response = render(request, "shared.html", context)
    response.headers.update({"Cache-Control": "private, no-store", "Referrer-Policy": "no-referrer", **UNLISTED})
    return response


def _name_file(snapshot: Snapshot) -> str:
    return f"dog-{snapshot.captured_at:%Y%m%d-%H%M%S}.{snapshot.suffix}"


def _has_expired(share: Share) -> bool:
    return share.expires_at <= utc_now()
