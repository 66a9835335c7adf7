"""Share links: each opens one photo, or the newest one of a camera.

The store has what a link shares and its expiry under the link's id. The token in its URL is that id, signed with the
store's secret, so that a guessed id does not make a URL. No response under such a URL names the snapshot.
Pages of other sites may show its images, because the URL is the credential, and `embed` lists those that may frame its
page.
"""

import contextlib
import datetime as dt
import functools
import hashlib
import re
import socket
from typing import Annotated, Any

from aiohttp import web
from aiohttp.typedefs import Handler
from itsdangerous import BadSignature, Signer
from msgspec import UNSET, Meta, Struct, UnsetType

from dog.captures.camera_task import CameraTask
from dog.clock import utc_now
from dog.errors import BadImage
from dog.images.exif import anonymize_exif
from dog.protocol import EXAMPLE_TIME, SnapshotId, Time, doc, timestamp
from dog.snapshots import ID_PATTERN, NotScaled, Share, Snapshot, SnapshotGone, StoredImage, is_snapshot_id
from dog.web.app_keys import APP_STATE, AppState, find_requested_snapshot
from dog.web.handlers.images import Width, age_header
from dog.web.handlers.preview import SharedPreviewQuery, disconnect, stream_preview
from dog.web.http.content import Content, hash_content, respond
from dog.web.http.page_rendering import redirect, render
from dog.web.http.requests import read_body, read_form, read_query, respond_json
from dog.web.middleware.errors import relative_root
from dog.web.middleware.security_headers import SHARE_POLICY
from dog.web.problems import STATUS, Problem

__all__ = [
    "EXAMPLE_TOKEN",
    "TOKEN_PATTERN",
    "UNLISTED",
    "CameraLinkRequest",
    "LinkBody",
    "LinkList",
    "LinkRequest",
    "SharedImage",
    "create_camera_link",
    "create_link",
    "list_camera_links",
    "list_links",
    "make_signer",
    "revoke_link",
    "show_camera_links_page",
    "show_links_page",
    "show_shared_image",
    "show_shared_latest",
    "show_shared_page",
    "show_shared_preview",
    "show_shared_scaled_image",
    "submit_camera_link_form",
    "submit_camera_revoke_form",
    "submit_link_form",
    "submit_revoke_form",
]

MINUTE, HOUR, DAY = 60, 3600, 86400
LIFETIMES = {HOUR: "an hour", DAY: "a day", 7 * DAY: "a week", 30 * DAY: "a month", 365 * DAY: "a year"}
"""Lifetimes to choose on the page. A script may send any number of seconds."""
TOKEN_PATTERN = rf"{ID_PATTERN}\.[A-Za-z0-9_-]{{42}}[AEIMQUYcgkosw048]"
"""An id and 32 bytes in Base64. The last digit's two unused bits are 0, so that a token has one spelling."""
EXAMPLE_TOKEN = "q3w7hk2mzt5c6rjx4dnebfva.0m9XGd2bq7hYvU4pWc1sZk8TnRfEaJ3LoI5VxQyKz6A"
UNLISTED = {"X-Robots-Tag": "noindex"}
IMAGE_HEADERS = {**UNLISTED, "Cross-Origin-Resource-Policy": "cross-origin"}
"""Headers of the images, which pages of other sites may show."""
MAX_USUAL_HEAD_BYTES = 64 * 1024
"""Bytes up to the first scan of nearly all JPEGs. Of others, all is read to find the EXIF data."""


class LinkRequest(Struct, frozen=True):
    """The lifetime of a share link."""

    expires_in: Annotated[
        float, Meta(ge=MINUTE, le=365 * DAY), doc("Its lifetime in seconds, from a minute to a year.", 604800)
    ] = 7 * DAY


class CameraLinkRequest(LinkRequest, frozen=True):
    """The lifetime of a camera's share link."""

    expires_in: Annotated[
        float, Meta(ge=MINUTE, le=365 * DAY), doc("Its lifetime in seconds, from a minute to a year.", 31536000)
    ] = 365 * DAY


class LinkBody(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """A share link to one snapshot, or to a camera's newest one."""

    link: Annotated[str, doc("The id of the link, to revoke it.", "q3w7hk2mzt5c6rjx4dnebfva")]
    url: Annotated[str, doc("The URL to give away.", f"/shared/{EXAMPLE_TOKEN}")]
    snapshot: SnapshotId | None = None
    camera: Annotated[str | None, doc("The camera whose newest photo it shows.", "main")] = None
    image: Annotated[str | None, doc("A camera's link: its newest image.", f"/shared/{EXAMPLE_TOKEN}/latest.jpg")] = (
        None
    )
    preview: Annotated[str | None, doc("A camera's link: its live view.", f"/shared/{EXAMPLE_TOKEN}/preview.mjpg")] = (
        None
    )
    created_at: Annotated[Time, doc("The time when it was created.", EXAMPLE_TIME)]
    expires_at: Annotated[Time, doc("The time when it expires.", "2026-11-29T11:14:38.123Z")]
    expired: Annotated[bool, doc("True if it has expired.", True)] = False


class LinkList(Struct, frozen=True):
    """The share links to one snapshot or camera, oldest first."""

    links: Annotated[list[LinkBody], doc("The links.")]


class SharedLatestQuery(Struct, frozen=True):
    """The query of GET /shared/{token}/latest.jpg."""

    width: Width | UnsetType = UNSET


# ---- creating, listing and revoking


async def create_link(request: web.Request) -> web.Response:
    """Create a share link (POST /api/snapshots/{id}/links)."""
    body = await read_body(request, LinkRequest)
    service, snapshot = await find_requested_snapshot(request)
    return await _create(service, snapshot, body)


async def create_camera_link(request: web.Request) -> web.Response:
    """Create a camera's share link (POST /api/cameras/{camera}/links)."""
    body = await read_body(request, CameraLinkRequest)
    service, camera = _find_requested_camera(request)
    return await _create(service, camera.name, body)


async def list_links(request: web.Request) -> web.Response:
    """List the share links of a snapshot (GET /api/snapshots/{id}/links)."""
    service, snapshot = await find_requested_snapshot(request)
    return respond_json(LinkList(await _list_share_links(service, snapshot)))


async def list_camera_links(request: web.Request) -> web.Response:
    """List a camera's share links (GET /api/cameras/{camera}/links)."""
    service, camera = _find_requested_camera(request)
    return respond_json(LinkList(await _list_share_links(service, camera.name)))


async def revoke_link(request: web.Request) -> web.Response:
    """Revoke a share link (DELETE /api/links/{link})."""
    if not await _revoke(request.app[APP_STATE], _requested_link(request)):
        raise _unknown_link()
    return web.Response(status=204)


async def show_links_page(request: web.Request) -> web.Response:
    """Show the page of a photo's share links (GET /snapshots/{id}/links)."""
    service, snapshot = await find_requested_snapshot(request)
    context = {"photo": service.urls.describe(snapshot), "camera": None}
    return await _render_links_page(request, service, snapshot, context, LinkRequest())


async def show_camera_links_page(request: web.Request) -> web.Response:
    """Show the page of a camera's share links (GET /cameras/{camera}/links)."""
    service, camera = _find_requested_camera(request)
    latest = camera.latest
    context = {
        "photo": None if latest is None else service.urls.describe(latest),
        "camera": camera.name,
        "has_preview": camera.preview.has_preview,
        "sites": service.settings.embed,
    }
    return await _render_links_page(request, service, camera.name, context, CameraLinkRequest())


async def submit_link_form(request: web.Request) -> web.Response:
    """Create a share link by a form (POST /snapshots/{id}/links)."""
    service, snapshot = await find_requested_snapshot(request)
    await _store_share_link(service, snapshot, await read_form(request, LinkRequest))
    return redirect(f"{relative_root(request)}snapshots/{snapshot.id}/links")


async def submit_camera_link_form(request: web.Request) -> web.Response:
    """Create a camera's share link by a form (POST /cameras/{camera}/links)."""
    service, camera = _find_requested_camera(request)
    await _store_share_link(service, camera.name, await read_form(request, CameraLinkRequest))
    return redirect(f"{relative_root(request)}cameras/{camera.name}/links")


async def submit_revoke_form(request: web.Request) -> web.Response:
    """Revoke a link by a form (POST /snapshots/{id}/links/{link}/revoke)."""
    service, snapshot = await find_requested_snapshot(request)
    share = await service.store.find_share(_requested_link(request))
    if share is not None:
        if share.snapshot != snapshot.id:
            raise Problem("unknown_link", "This photo does not have that link. Load the page again.")
        await _revoke(service, share.id)
    return redirect(f"{relative_root(request)}snapshots/{snapshot.id}/links")


async def submit_camera_revoke_form(request: web.Request) -> web.Response:
    """Revoke a camera's link (POST /cameras/{camera}/links/{link}/revoke)."""
    service, camera = _find_requested_camera(request)
    share = await service.store.find_share(_requested_link(request))
    if share is not None:
        if share.camera != camera.name:
            raise Problem("unknown_link", "This camera does not have that link. Load the page again.")
        await _revoke(service, share.id)
    return redirect(f"{relative_root(request)}cameras/{camera.name}/links")


def _requested_link(request: web.Request) -> str:
    """Return the id of a link in the URL, or raise Problem."""
    link = request.match_info["link"]
    if not is_snapshot_id(link):
        raise _unknown_link()
    return link


def _unknown_link() -> Problem:
    return Problem("unknown_link", "This link does not exist, or was revoked before. List the links again.")


def _find_requested_camera(request: web.Request) -> tuple[AppState, CameraTask]:
    """Return the service and the camera in the URL, or raise RequestError."""
    service = request.app[APP_STATE]
    return service, service.find_camera(request.match_info["camera"])


async def _create(service: AppState, shared: Snapshot | str, body: LinkRequest) -> web.Response:
    link = await _store_share_link(service, shared, body)
    return respond_json(link, 201, {"Location": link.url})


async def _store_share_link(service: AppState, shared: Snapshot | str, link: LinkRequest) -> LinkBody:
    share = await service.store.share(shared, utc_now() + dt.timedelta(seconds=link.expires_in))
    return _link_body(service, make_signer(await service.store.secret()), share)


async def _list_share_links(service: AppState, shared: Snapshot | str) -> list[LinkBody]:
    signer = make_signer(await service.store.secret())
    return [_link_body(service, signer, share) for share in await service.store.shares_of(shared)]


async def _revoke(service: AppState, link: str) -> bool:
    """Revoke a link, and close what it opened. Return True if it existed."""
    revoked = await service.store.revoke(link)
    service.link_access.close(link)
    return revoked


async def _render_links_page(
    request: web.Request, service: AppState, shared: Snapshot | str, context: dict[str, Any], defaults: LinkRequest
) -> web.Response:
    links = await _list_share_links(service, shared)
    page = {"links": links[::-1], "terms": LIFETIMES, "usual": defaults.expires_in}
    return render(request, "sharing.html", context | page)


def _link_body(service: AppState, signer: Signer, share: Share) -> LinkBody:
    url = service.urls.share_link(signer.sign(share.id).decode())
    return LinkBody(
        link=share.id,
        url=url,
        snapshot=share.snapshot,
        camera=share.camera,
        image=f"{url}/latest.jpg" if share.camera else None,
        preview=f"{url}/preview.mjpg" if share.camera else None,
        created_at=timestamp(share.created_at),
        expires_at=timestamp(share.expires_at),
        expired=_is_expired(share),
    )


# ---- the URLs of a share link


def _unlisted_errors(handler: Handler) -> Handler:
    """Wrap a handler: show its errors on a page without links, as noindex."""

    @functools.wraps(handler)
    async def wrapped(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            problem.headers |= UNLISTED
            if "text/html" not in request.headers.get("Accept", ""):
                raise
            response = _render_shared_page(request, {"photo": None, "follows": False, "detail": problem.message})
            response.set_status(STATUS[problem.code])
            response.headers.update(problem.headers)
            return response

    return wrapped


@_unlisted_errors
async def show_shared_page(request: web.Request) -> web.StreamResponse:
    """Show the photo, without other links (GET /shared/{token})."""
    share, snapshot = await _find_shared_snapshot(request)
    url = f"{relative_root(request)}shared/{request.match_info['token']}"
    image = "latest.jpg" if share.camera or snapshot is None else f"picture.{snapshot.suffix}"
    return _render_shared_page(
        request,
        {
            "photo": snapshot
            and {
                "captured_at": timestamp(snapshot.captured_at),
                "width": snapshot.width,
                "height": snapshot.height,
                "bytes": snapshot.bytes,
                "color": snapshot.color,
                "url": f"{url}/{image}",
                "page": None if share.camera else url,
                "name": _file_name(snapshot, snapshot.suffix),
            },
            "follows": share.camera is not None,
            "expires_at": timestamp(share.expires_at),
        },
    )


@_unlisted_errors
async def show_shared_image(request: web.Request) -> web.StreamResponse:
    """Send the image of a share link (GET /shared/{token}/picture.{suffix}).

    It is the file as it was saved. Only EXIF data that names the photo is replaced. Caches must revalidate it.
    """
    share, snapshot = await _find_shared_photo(request, "latest.jpg")
    if request.match_info["suffix"] != snapshot.suffix:
        raise Problem("unknown_link", f"This photo is a .{snapshot.suffix} file. Correct the end of the URL.")
    return await _send_shared_image(request, share, snapshot, share.id, {}, snapshot.width)


@_unlisted_errors
async def show_shared_scaled_image(request: web.Request) -> web.StreamResponse:
    """Send a scaled copy of the image (GET /shared/{token}/{width}.jpg)."""
    share, snapshot = await _find_shared_photo(request, "latest.jpg?width=640")
    width = int(request.match_info["width"])
    return await _send_shared_image(request, share, snapshot, share.id, {}, width)


@_unlisted_errors
async def show_shared_latest(request: web.Request) -> web.StreamResponse:
    """Send a camera's newest image (GET /shared/{token}/latest.jpg)."""
    query = read_query(request, SharedLatestQuery)
    share = await _find_share(request)
    camera = _find_shared_camera(request, share)
    snapshot = camera.latest
    if snapshot is None:
        raise Problem("unknown_snapshot", "This camera has not taken a photo yet. Try again later.")
    headers = {"Age": age_header(camera, snapshot), "X-Captured-At": timestamp(snapshot.captured_at)}
    width = snapshot.width if query.width is UNSET else query.width
    return await _send_shared_image(request, share, snapshot, f"{share.id} {snapshot.id}", headers, width)


@_unlisted_errors
async def show_shared_preview(request: web.Request) -> web.StreamResponse:
    """Send a camera's live view (GET /shared/{token}/preview.mjpg).

    It ends when the link is revoked or expires.
    """
    query = read_query(request, SharedPreviewQuery)
    share = await _find_share(request)
    with request.app[APP_STATE].link_access.registered(share, disconnect(request)):
        camera = _find_shared_camera(request, await _find_share(request))  # it may have been revoked meanwhile
        return await stream_preview(request, camera, query.ahead == "1", IMAGE_HEADERS)


async def _send_shared_image(
    request: web.Request,
    share: Share,
    snapshot: Snapshot,
    version: str,
    headers: dict[str, str],
    width: int,
) -> web.StreamResponse:
    """Send the image, or a copy of this width if it is wider."""
    store = request.app[APP_STATE].store
    headers |= {"Cache-Control": "private, max-age=0, must-revalidate", **IMAGE_HEADERS}
    tag = hash_content(version.encode())
    try:
        if width < snapshot.width:
            scaled = Content(store.scaled(snapshot, width), "image/jpeg", f"{tag}-{width}")
            name = {"Content-Disposition": f'inline; filename="{_file_name(snapshot, f"{width}.jpg")}"'}
            with contextlib.suppress(NotScaled):
                return await respond(request, scaled, headers | name)
        image = SharedImage(store.image(snapshot), share, snapshot)
        name = {"Content-Disposition": f'inline; filename="{_file_name(snapshot, snapshot.suffix)}"'}
        return await respond(request, Content(image, snapshot.content_type, tag), headers | name)
    except SnapshotGone:
        raise Problem(
            "gone_link", "The file of this photo is missing or damaged. Ask the person who sent you the link."
        ) from None


class SharedImage:
    """The image of a share link: the file with another id, and no camera.

    Its size and its tag (from the link's id) are known without reading. Only the bytes up to the end of the EXIF data
    are in memory while they are sent.
    """

    def __init__(self, image: StoredImage, share: Share, snapshot: Snapshot) -> None:
        self._image = image
        self._ids = snapshot.id, share.id
        self._head = b""
        """The bytes up to the end of what differs from the file. `check` sets it."""

    async def size(self) -> int:
        return await self._image.size()

    async def check(self) -> None:
        await self._image.check()
        size = await self.size()
        for stop in min(MAX_USUAL_HEAD_BYTES, size), size:
            with contextlib.suppress(BadImage):  # the head is longer, or damaged
                self._head = anonymize_exif(await self._image.read(0, stop), *self._ids)
                return
        raise SnapshotGone("The file of this photo is damaged: it is not an image.")

    def peek(self, start: int, stop: int) -> memoryview | None:
        return None if start < len(self._head) else self._image.peek(start, stop)

    async def read(self, start: int, stop: int) -> bytes:
        return self._head[start:stop] or await self._image.read(start, stop)

    async def send(self, connection: socket.socket, start: int, stop: int) -> tuple[int, bytes]:
        if start < len(self._head):
            return 0, self._head[start:stop]
        return await self._image.send(connection, start, stop)


async def _find_shared_snapshot(request: web.Request) -> tuple[Share, Snapshot | None]:
    """Return a token's share link and snapshot, or raise Problem.

    The snapshot is None if the camera has not taken a photo yet.
    """
    share = await _find_share(request)
    if share.snapshot is None:
        return share, _find_shared_camera(request, share).latest
    snapshot = await request.app[APP_STATE].store.get(share.snapshot)
    if snapshot is None:
        raise _ended_link()
    return share, snapshot


async def _find_shared_photo(request: web.Request, of_camera: str) -> tuple[Share, Snapshot]:
    """Return the link and the snapshot of a photo's token, or raise Problem.

    `of_camera` is the URL below a camera's link that has the same image.
    """
    share, snapshot = await _find_shared_snapshot(request)
    if share.camera is not None or snapshot is None:
        raise Problem("unknown_link", f"This link shows the newest photo of a camera. Request its {of_camera}.")
    return share, snapshot


async def _find_share(request: web.Request) -> Share:
    """Return a token's share link, or raise Problem or `rate_limited`."""
    service = request.app[APP_STATE]
    token = request.match_info["token"]
    try:
        if re.fullmatch(TOKEN_PATTERN, token) is None:
            raise BadSignature("It does not have the form of a token.")
        link = make_signer(await service.store.secret()).unsign(token).decode()
    except BadSignature:
        service.link_access.count_wrong_token(request.remote or "")
        raise Problem("unknown_link", "This link does not exist. Check that you copied all of it.") from None
    share = await service.store.find_share(link)
    if share is None:
        raise _ended_link()
    if _is_expired(share):
        raise Problem("gone_link", f"It expired at {share.expires_at:%Y-%m-%d %H:%M:%S} UTC. Ask for a new one.")
    return share


def _find_shared_camera(request: web.Request, share: Share) -> CameraTask:
    """Return the camera of a share link, or raise Problem."""
    if share.camera is None:
        raise Problem("unknown_link", "This link shows a single photo. Open it without this end.")
    camera = request.app[APP_STATE].cameras.get(share.camera)
    if camera is None:
        raise Problem("gone_link", "Its camera was removed. Ask the person who sent it to you.")
    return camera


def _ended_link() -> Problem:
    return Problem("gone_link", "It was revoked, or the photo was deleted. Ask the person who sent it to you.")


def make_signer(secret: bytes) -> Signer:
    """Make the signer of tokens. It compares in constant time."""
    return Signer(secret, salt="dog.shared", key_derivation="hmac", digest_method=hashlib.sha256)


def _render_shared_page(request: web.Request, context: dict[str, object]) -> web.Response:
    response = render(request, "shared.html", context)
    response.headers.update(
        {
            "Cache-Control": "private, no-store",
            "Content-Security-Policy": request.app[SHARE_POLICY],
            "Referrer-Policy": "no-referrer",
            **UNLISTED,
        }
    )
    return response


def _file_name(snapshot: Snapshot, ending: str) -> str:
    return f"dog-{snapshot.captured_at:%Y%m%d-%H%M%S}.{ending}"


def _is_expired(share: Share) -> bool:
    return share.expires_at <= utc_now()
