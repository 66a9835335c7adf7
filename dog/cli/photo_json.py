"""The JSON output of photos, with absolute URLs."""

from typing import TYPE_CHECKING

import msgspec

from dog.protocol import encode

if TYPE_CHECKING:
    from dog.client import Photo

__all__ = ["encode_photo", "photo_urls"]


def encode_photo(photo: "Photo", **more: object) -> str:
    """Return a photo and the values `more` that are not None as JSON."""
    more = {name: value for name, value in more.items() if value is not None}
    return encode(msgspec.to_builtins(photo.body) | photo_urls(photo) | more).decode()


def photo_urls(photo: "Photo") -> dict[str, str]:
    """Return the photo's absolute URLs. The server may have sent paths."""
    return {"url": photo.url, "page": photo.page, "thumbnail": photo.thumbnail}
