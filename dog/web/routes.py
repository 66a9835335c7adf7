"""The table of all URLs, with handlers, roles, parameters and responses.

The first path that matches is used. To add a URL, write its handler, and its Operation here.
"""

import functools

from aiohttp import web

from dog.web.apidocs import documents
from dog.web.apidocs.operation import (
    IMAGE_TYPES,
    SNAPSHOT_ERRORS,
    Operation,
    ResponseDoc,
    file_responses,
    json_response,
    no_content,
    page_response,
    redirect,
)
from dog.web.handlers import (
    api,
    gallery,
    images,
    live_page,
    login,
    preview,
    preview_socket,
    share_links,
    sse,
    static_files,
    websocket,
)
from dog.web.http.capture_requests import CaptureHeaders
from dog.web.http.content import ConditionalHeaders
from dog.web.http.requests import CameraQuery, PushQuery

__all__ = ["OPERATIONS", "TAGS"]

TAGS = {
    "captures": "Take photos.",
    "photos": "The snapshots and their data.",
    "sharing": "Share links: each opens one photo, or a camera's newest one, until it expires.",
    "push": "Events in real time.",
    "cameras": "The cameras and their live views.",
    "pages": "Pages for people. They work without JavaScript, too.",
    "access": "Login, roles and tickets.",
    "documents": "This reference, for people and for tools.",
    "service": "Health and metrics of the service.",
    "parts": "The files of the pages.",
}
"""The chapters of the documents, in their order."""

CAPTURE_ERRORS = (
    "rate_limited",
    "bad_image",
    "camera_busy",
    "camera_error",
    "camera_offline",
    "storage_error",
    "storage_full",
    "timeout",
)
"""Errors of an operation that takes a photo."""
SCALED = (
    "A JPEG of this width, upright, in sRGB and without metadata. It is made at the first request. If the image is not"
    " wider, or cannot be scaled, the response is its file."
)
SNAPSHOT_HEADERS = ("X-Captured-At", "X-Outcome", "X-Snapshot")

UNLISTED = tuple(share_links.UNLISTED)
SHARED_IMAGE_HEADERS = tuple(share_links.IMAGE_HEADERS)
PREVIEW_ERRORS = ("no_preview", "rate_limited", "camera_offline", "camera_busy", "camera_error", "timeout")
LOGGED_IN = redirect("You are logged in.", "Set-Cookie")


async def _show_icon(_request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "static/icon.svg"})


async def _remove_slash(request: web.Request) -> web.Response:
    """Redirect a URL that ends with a slash, as people type it, to its page."""
    query = f"?{request.rel_url.raw_query_string}" if request.query_string else ""
    return web.Response(status=301, headers={"Location": f"..{request.path.rstrip('/')}{query}"})


# the common parts of some operations
_page = functools.partial(Operation, tag="pages", responses=page_response("The page."))
_form = functools.partial(Operation, role="manage", tag="pages")
_manage = functools.partial(Operation, role="manage")
_access = functools.partial(Operation, role=None, tag="access")
_file = functools.partial(Operation, headers=ConditionalHeaders)
_document = functools.partial(_file, tag="documents")
_slash = functools.partial(
    Operation,
    handler=_remove_slash,
    role=None,
    tag="parts",
    responses=(ResponseDoc(status=301, description="To the page.", headers=("Location",)),),
)

OPERATIONS = (
    # first, because it is requested most
    _file(
        "GET /snapshots/{id}.{suffix}",
        images.show_image,
        "The image file of a snapshot, as it was saved",
        name="show_picture",
        tag="photos",
        responses=file_responses("The image.", *IMAGE_TYPES, headers=("Content-Disposition", "Last-Modified")),
    ),
    _page("GET /snapshots/{id}", gallery.show_photo_page, "The page of one photo", name="show_snapshot"),
    _page(
        "GET /snapshots",
        gallery.show_gallery,
        "The gallery: the photos by day, newest first",
        query=gallery.GalleryQuery,
        errors=("bad_message", "unknown_snapshot", "storage_error"),
    ),
    _form(
        "POST /snapshots/{id}/pin",
        gallery.submit_pin_form,
        "Pin or unpin a photo (form)",
        name="press_pin",
        body=gallery.PinForm,
        responses=redirect("To the photo's page."),
    ),
    _page(
        "GET /snapshots/{id}/delete",
        gallery.show_delete_page,
        "The page that asks for confirmation before a photo is deleted",
        name="ask_deletion",
        role="manage",
    ),
    _form(
        "POST /snapshots/{id}/delete",
        gallery.submit_delete_form,
        "Delete a photo (form)",
        name="press_delete",
        responses=redirect("To the next older photo, or the gallery."),
    ),
    _file(
        "GET /snapshots/{id}/thumbnail.jpg",
        images.show_thumbnail,
        "The thumbnail, at most 320 by 320 pixels",
        tag="photos",
        responses=file_responses("The thumbnail.", "image/jpeg", headers=("Last-Modified",)),
    ),
    _file(
        "GET /snapshots/{id}/{width}.jpg",
        images.show_scaled_image,
        "The image of a snapshot, scaled down",
        tag="photos",
        description=SCALED,
        responses=file_responses("The image.", *IMAGE_TYPES, headers=("Content-Disposition", "Last-Modified")),
    ),
    _file(
        "GET /latest.jpg",
        images.show_latest,
        "The newest image",
        tag="photos",
        description="With `max_age`, a new one is taken if the newest is older. With `after`, the id of a snapshot, it"
        " is the next one of the same camera. If it was not taken yet, the server waits `wait` seconds for it, or 25. A"
        " loop that always sends the last id receives every image.",
        query=images.LatestQuery,
        responses=(
            *file_responses("The image.", *IMAGE_TYPES, headers=("Age", "Content-Disposition", *SNAPSHOT_HEADERS)),
            ResponseDoc(status=204, description="There was no newer one within the time."),
        ),
        errors=("bad_message", "unknown_camera", *SNAPSHOT_ERRORS, *CAPTURE_ERRORS),
    ),
    Operation(
        "POST /api/captures",
        api.start_capture,
        "Take a photo, or return one that is fresh enough",
        role="capture",
        tag="captures",
        description="The response comes when the snapshot is saved. If you repeat an `Idempotency-Key` within 10"
        " minutes, you receive the same snapshot. With `Prefer: respond-async` the response comes at once: 202, with"
        " the URL of the capture.",
        headers=CaptureHeaders,
        body=api.CaptureRequest,
        responses=(
            ResponseDoc(description="A saved snapshot.", body=api.PressedBody, headers=("Location",)),
            ResponseDoc(status=201, description="A new snapshot.", body=api.PressedBody, headers=("Location",)),
            ResponseDoc(
                status=202,
                description="The request was accepted.",
                body=api.CaptureBody,
                headers=("Location", "Preference-Applied"),
            ),
        ),
        errors=("unknown_camera", *CAPTURE_ERRORS),
    ),
    Operation(
        "GET /api/captures/{number}",
        api.show_capture,
        "A capture and its result",
        tag="captures",
        description="The last 256 are remembered.",
        responses=json_response("The capture.", api.CaptureBody),
    ),
    Operation(
        "GET /api/snapshots",
        api.list_snapshots,
        "Snapshots, newest first",
        tag="photos",
        query=api.SnapshotListQuery,
        responses=json_response("The snapshots.", api.SnapshotList),
        errors=("bad_message", "unknown_camera", "unknown_snapshot", "storage_error"),
    ),
    Operation(
        "GET /api/snapshots/{id}",
        api.show_snapshot_body,
        "One snapshot",
        tag="photos",
        responses=json_response("The snapshot.", api.SnapshotDetails),
    ),
    _manage(
        "DELETE /api/snapshots/{id}",
        api.delete_snapshot,
        "Delete a snapshot for everyone",
        tag="photos",
        responses=no_content("It is deleted."),
    ),
    _manage(
        "PUT /api/snapshots/{id}/pin",
        api.pin_snapshot,
        "Pin a snapshot, so that retention never removes it",
        tag="photos",
        responses=no_content("It is pinned."),
    ),
    _manage(
        "DELETE /api/snapshots/{id}/pin",
        api.unpin_snapshot,
        "Unpin a snapshot",
        tag="photos",
        responses=no_content("It is unpinned."),
    ),
    _page(
        "GET /snapshots/{id}/links",
        share_links.show_links_page,
        "The page that creates and revokes share links",
        name="show_links",
        role="manage",
        errors=("storage_full",),
    ),
    _form(
        "POST /snapshots/{id}/links",
        share_links.submit_link_form,
        "Create a share link (form)",
        name="press_link",
        body=share_links.LinkRequest,
        responses=redirect("To the photo's page of share links."),
    ),
    _form(
        "POST /snapshots/{id}/links/{link}/revoke",
        share_links.submit_revoke_form,
        "Revoke a share link (form)",
        name="press_revoke",
        responses=redirect("To the photo's page of share links."),
    ),
    _page(
        "GET /cameras/{camera}/links",
        share_links.show_camera_links_page,
        "The page that creates and revokes a camera's share links",
        name="show_camera_links",
        role="manage",
        errors=("storage_error", "storage_full"),
    ),
    _form(
        "POST /cameras/{camera}/links",
        share_links.submit_camera_link_form,
        "Create a camera's share link (form)",
        name="press_camera_link",
        body=share_links.CameraLinkRequest,
        responses=redirect("To the camera's page of share links."),
    ),
    _form(
        "POST /cameras/{camera}/links/{link}/revoke",
        share_links.submit_camera_revoke_form,
        "Revoke a camera's share link (form)",
        name="press_camera_revoke",
        responses=redirect("To the camera's page of share links."),
    ),
    Operation(
        "GET /shared/{token}",
        share_links.show_shared_page,
        "The page of a share link: the photo, and no other links",
        name="show_shared",
        role=None,
        tag="sharing",
        responses=(ResponseDoc(description="The page.", body=("text/html",), headers=UNLISTED),),
    ),
    _file(
        "GET /shared/{token}/picture.{suffix}",
        share_links.show_shared_image,
        "The image of a share link",
        name="show_shared_picture",
        role=None,
        tag="sharing",
        responses=file_responses("The image.", *IMAGE_TYPES, headers=("Content-Disposition", *SHARED_IMAGE_HEADERS)),
    ),
    _file(
        "GET /shared/{token}/{width}.jpg",
        share_links.show_shared_scaled_image,
        "The image of a share link, scaled down",
        role=None,
        tag="sharing",
        description=SCALED,
        responses=file_responses("The image.", *IMAGE_TYPES, headers=("Content-Disposition", *SHARED_IMAGE_HEADERS)),
    ),
    _file(
        "GET /shared/{token}/latest.jpg",
        share_links.show_shared_latest,
        "The newest image of a camera, by its share link",
        role=None,
        tag="sharing",
        query=share_links.SharedLatestQuery,
        responses=file_responses(
            "The image.",
            *IMAGE_TYPES,
            headers=("Age", "Content-Disposition", "X-Captured-At", *SHARED_IMAGE_HEADERS),
        ),
        errors=("bad_message", "unknown_snapshot"),
    ),
    Operation(
        "GET /shared/{token}/preview.mjpg",
        share_links.show_shared_preview,
        "The live view of a camera, by its share link",
        role=None,
        tag="sharing",
        description="It continues until you disconnect, the server stops, or the link expires or is revoked.",
        query=preview.SharedPreviewQuery,
        responses=(
            ResponseDoc(
                description="An endless stream of JPEGs.",
                body=("multipart/x-mixed-replace",),
                headers=SHARED_IMAGE_HEADERS,
            ),
        ),
        errors=PREVIEW_ERRORS,
    ),
    _manage(
        "POST /api/cameras/{camera}/links",
        share_links.create_camera_link,
        "Create a share link to the newest photo of a camera",
        tag="sharing",
        description="`image` works in `<img>` on any page, `preview` is the live view, and `url` is a page that the"
        " sites of the setting `embed` may show in an `<iframe>`. They show that camera and nothing else, until the"
        " link expires or is revoked.",
        body=share_links.CameraLinkRequest,
        responses=(ResponseDoc(status=201, description="The link.", body=share_links.LinkBody, headers=("Location",)),),
    ),
    _manage(
        "GET /api/cameras/{camera}/links",
        share_links.list_camera_links,
        "The share links of a camera that were not revoked, oldest first",
        tag="sharing",
        responses=json_response("The links.", share_links.LinkList),
        errors=("storage_error", "storage_full"),
    ),
    _manage(
        "POST /api/snapshots/{id}/links",
        share_links.create_link,
        "Create a share link",
        tag="sharing",
        description="Everybody who has its `url` sees that photo and nothing else, until it expires or is revoked.",
        body=share_links.LinkRequest,
        responses=(ResponseDoc(status=201, description="The link.", body=share_links.LinkBody, headers=("Location",)),),
    ),
    _manage(
        "GET /api/snapshots/{id}/links",
        share_links.list_links,
        "The share links of a snapshot that were not revoked, oldest first",
        tag="sharing",
        responses=json_response("The links.", share_links.LinkList),
        errors=("storage_full",),
    ),
    _manage(
        "DELETE /api/links/{link}",
        share_links.revoke_link,
        "Revoke a share link",
        tag="sharing",
        responses=no_content("It is revoked."),
    ),
    _access(
        "GET /login",
        login.show_login_page,
        "The login page",
        name="show_login",
        query=login.LoginQuery,
        responses=(*page_response("The page."), *redirect("You are logged in already.")),
        errors=("not_found",),
    ),
    _access(
        "POST /login",
        login.submit_login_form,
        "Log in (form)",
        name="press_login",
        body=login.LoginForm,
        responses=LOGGED_IN,
        errors=("not_found", "wrong_password", "rate_limited"),
    ),
    _access(
        "POST /logout",
        login.log_out_browser,
        "Log out",
        name="press_logout",
        responses=redirect("You are logged out.", "Set-Cookie"),
        errors=("not_found",),
    ),
    _page(
        "GET /enter/{invitation}",
        login.show_setup_page,
        "The page of the setup link that a start prints",
        name="show_enter",
        role=None,
        tag="access",
    ),
    _access(
        "POST /enter/{invitation}",
        login.submit_setup_form,
        "Log one browser in by the setup link",
        name="press_enter",
        body=login.SetupForm,
        responses=LOGGED_IN,
    ),
    _access(
        "GET /api/visitor",
        login.show_visitor,
        "Your name and role",
        responses=json_response("Your identity.", login.VisitorBody),
    ),
    Operation(
        "POST /api/tickets",
        login.create_ticket,
        "Create a ticket for a request that cannot have a token",
        tag="access",
        description="Add it to a URL as `?ticket=`. It authenticates one request as you, within half a minute.",
        responses=(ResponseDoc(status=201, description="The ticket.", body=login.TicketBody),),
        errors=("not_found",),
    ),
    Operation(
        "GET /ws",
        websocket.open_websocket,
        "The push, as a WebSocket",
        name="watch",
        role=None,
        tag="push",
        description="The AsyncAPI document describes its messages.",
        query=PushQuery,
        responses=(ResponseDoc(status=101, description="You are a viewer now, or have ten seconds to send a token."),),
        errors=("forbidden", "unauthorized", "upgrade_required"),
        head=False,
    ),
    Operation(
        "GET /events",
        sse.stream_events,
        "The push, as Server-Sent Events",
        name="stream",
        tag="push",
        description="It continues until you disconnect. The AsyncAPI document describes its messages.",
        query=PushQuery,
        headers=sse.EventStreamHeaders,
        responses=(ResponseDoc(description="An endless stream of events.", body=("text/event-stream",)),),
        errors=("forbidden",),
    ),
    Operation(
        "GET /preview",
        preview_socket.open_preview,
        "The live view of a camera, as a WebSocket",
        name="open_preview",
        tag="cameras",
        description="The AsyncAPI document describes its messages.",
        query=CameraQuery,
        responses=(ResponseDoc(status=101, description="Frames follow."),),
        errors=("forbidden", "upgrade_required", "unknown_camera", *PREVIEW_ERRORS),
        head=False,
    ),
    Operation(
        "GET /preview.mjpg",
        preview.show_preview,
        "The live view of a camera",
        tag="cameras",
        description="It continues until you disconnect or the server stops. `ahead=1` is for Chromium.",
        query=preview.PreviewQuery,
        responses=(ResponseDoc(description="An endless stream of JPEGs.", body=("multipart/x-mixed-replace",)),),
        errors=("unknown_camera", *PREVIEW_ERRORS),
    ),
    Operation(
        "GET /api/cameras",
        api.list_cameras,
        "All cameras and their present state",
        tag="cameras",
        responses=json_response("The cameras.", api.CameraList),
    ),
    _page(
        "GET /",
        live_page.show_live_page,
        "The live page of a camera",
        name="show_live",
        query=CameraQuery,
        errors=("unknown_camera", "storage_error"),
    ),
    Operation(
        "POST /",
        live_page.submit_capture_form,
        "Take a photo (form)",
        name="press",
        role="capture",
        tag="pages",
        query=CameraQuery,
        responses=redirect("To the photo's page.", "Set-Cookie"),
        errors=("unknown_camera", *CAPTURE_ERRORS),
    ),
    _document(
        "GET /api",
        documents.show_api_page,
        "The API reference",
        name="show_page",
        responses=file_responses("The page.", "text/html"),
    ),
    _document(
        "GET /api/openapi.json",
        documents.show_openapi,
        "All URLs, as OpenAPI 3.1",
        responses=file_responses("The document.", "application/json"),
    ),
    _document(
        "GET /api/asyncapi.json",
        documents.show_asyncapi,
        "The push, as AsyncAPI 3.0",
        responses=file_responses("The document.", "application/json"),
    ),
    Operation(
        "GET /healthz",
        api.report_health,
        "Check that the process is alive",
        role=None,
        tag="service",
        responses=json_response("It is alive.", dict[str, str]),
    ),
    Operation(
        "GET /readyz",
        api.report_readiness,
        "Check that every camera is usable and the disk is writable",
        tag="service",
        responses=json_response("Photos can be taken.", dict[str, str]),
        errors=("camera_offline", "storage_error", "storage_full"),
    ),
    Operation(
        "GET /metrics",
        api.report_metrics,
        "The metrics for Prometheus",
        tag="service",
        responses=(ResponseDoc(description="The metrics.", body=("text/plain", "application/openmetrics-text")),),
    ),
    _file(
        "GET /static/{name}",
        static_files.show_asset,
        "A stylesheet, a script or an image",
        role=None,
        tag="parts",
        responses=file_responses("The file.", *static_files.CONTENT_TYPES.values()),
        errors=("not_found",),
    ),
    _file(
        "GET /default-picture",
        static_files.show_default_picture,
        "The default image of the live page, if a setting names one",
        tag="parts",
        responses=file_responses("The image.", *IMAGE_TYPES, "image/svg+xml"),
        errors=("not_found",),
    ),
    _slash("GET /snapshots/", summary="The gallery, with a slash", name="redirect_to_gallery"),
    _slash("GET /api/", summary="The API reference, with a slash", name="redirect_to_api"),
    Operation(
        "GET /favicon.ico",
        _show_icon,
        "The icon, at the URL that browsers try",
        role=None,
        tag="parts",
        responses=(ResponseDoc(status=302, description="To the icon.", headers=("Location",)),),
    ),
)
