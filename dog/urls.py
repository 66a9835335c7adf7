"""URLs of snapshots, share links and captures, for events and pages.

With the setting `base_url` they are absolute URLs, else absolute paths on the request's host.
"""

from dog.protocol import SnapshotBody, timestamp
from dog.snapshots import Snapshot

__all__ = ["UrlBuilder"]


class UrlBuilder:
    """Builder of URLs below `base_url` (no trailing slash); None: the host."""

    def __init__(self, base_url: str | None) -> None:
        self._base = base_url or ""

    def image(self, snapshot: Snapshot) -> str:
        return f"{self._base}/snapshots/{snapshot.id}.{snapshot.suffix}"

    def thumbnail(self, snapshot: Snapshot) -> str:
        return f"{self._base}/snapshots/{snapshot.id}/thumbnail.jpg"

    def page(self, snapshot: Snapshot) -> str:
        return f"{self._base}/snapshots/{snapshot.id}"

    def share_link(self, token: str) -> str:
        """Return the URL of a share link, by its token."""
        return f"{self._base}/shared/{token}"

    def capture(self, number: int) -> str:
        return f"{self._base}/api/captures/{number}"

    def describe(self, snapshot: Snapshot) -> SnapshotBody:
        """Describe a snapshot, with its URLs, for events, pages and the API."""
        return SnapshotBody(
            camera=snapshot.camera,
            capture=snapshot.capture,
            snapshot=snapshot.id,
            url=self.image(snapshot),
            page=self.page(snapshot),
            thumbnail=self.thumbnail(snapshot),
            captured_at=timestamp(snapshot.captured_at),
            width=snapshot.width,
            height=snapshot.height,
            bytes=snapshot.bytes,
            content_type=snapshot.content_type,
            exposure=snapshot.origin.exposure,
            sha256=snapshot.sha256,
            quality=snapshot.origin.quality,
            color=snapshot.color,
        )
