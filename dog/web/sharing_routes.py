"""The addresses of links to give away, as routes.py has them: those that make links, and those that a link opens."""

from dog.web import sharing
from dog.web.operations import FORM, NO_SNAPSHOT, OF_A_FILE, PICTURES, Answer, Operation, file, nothing, page, told
from dog.web.parameters import OfFile

__all__ = ["SHARING"]

NO_LINK = ("gone_link", "unknown_link")
UNLISTED = tuple(sharing.UNLISTED)

SHARING = (
    Operation(
        method="GET",
        path="/snapshots/{id}/links",
        handler=sharing.show_links,
        role="manage",
        tag="pages",
        summary="The page that creates and revokes share links",
        answers=page("The page."),
        problems=(*NO_SNAPSHOT, "storage_error", "storage_full"),
    ),
    Operation(
        method="POST",
        path="/snapshots/{id}/links",
        handler=sharing.press_link,
        role="manage",
        tag="pages",
        summary="Create a share link (form)",
        body=sharing.LinkRequest,
        body_type=FORM,
        answers=(Answer(status=303, what="Back to the page of the links.", headers=("Location",)),),
        problems=(*NO_SNAPSHOT, "storage_error", "storage_full"),
    ),
    Operation(
        method="POST",
        path="/snapshots/{id}/links/{link}/revoke",
        handler=sharing.press_revoke,
        role="manage",
        tag="pages",
        summary="Revoke a share link (form)",
        answers=(Answer(status=303, what="Back to the page of the links.", headers=("Location",)),),
        problems=("unknown_link", *NO_SNAPSHOT, "storage_error", "storage_full"),
    ),
    Operation(
        method="GET",
        path="/shared/{token}",
        handler=sharing.show_shared,
        role=None,
        tag="sharing",
        summary="The page of a share link: the photo, and no other links",
        answers=(Answer(what="The page.", body=("text/html",), headers=UNLISTED),),
        problems=(*NO_LINK, "storage_error", "storage_full"),
    ),
    Operation(
        method="GET",
        path="/shared/{token}/picture.{suffix}",
        handler=sharing.show_shared_picture,
        role=None,
        tag="sharing",
        summary="The image of a share link",
        headers=OfFile,
        answers=file("The image.", *PICTURES, headers=("Content-Disposition", *UNLISTED)),
        problems=(*NO_LINK, "storage_error", "storage_full", *OF_A_FILE),
    ),
    Operation(
        method="POST",
        path="/api/snapshots/{id}/links",
        handler=sharing.create_link,
        role="manage",
        tag="sharing",
        summary="Create a share link",
        description="Everybody who has its `url` sees that photo and nothing else, until it expires or is revoked.",
        body=sharing.LinkRequest,
        answers=(Answer(status=201, what="The link.", body=sharing.LinkBody, headers=("Location",)),),
        problems=(*NO_SNAPSHOT, "storage_error", "storage_full"),
    ),
    Operation(
        method="GET",
        path="/api/snapshots/{id}/links",
        handler=sharing.list_links,
        role="manage",
        tag="sharing",
        summary="The share links of a snapshot that were not revoked, oldest first",
        answers=told("The links.", sharing.LinkList),
        problems=(*NO_SNAPSHOT, "storage_error", "storage_full"),
    ),
    Operation(
        method="DELETE",
        path="/api/links/{link}",
        handler=sharing.revoke_link,
        role="manage",
        tag="sharing",
        summary="Revoke a share link",
        answers=nothing("It is revoked."),
        problems=("unknown_link", "storage_error", "storage_full"),
    ),
)
