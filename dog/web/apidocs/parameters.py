"""Structs that only document queries and headers, a field for each.

A handler that parses its query with a struct has that struct in its own module.
"""

from typing import Annotated

from msgspec import Meta, Struct, field

from dog.protocol import MAX_REQUEST_LENGTH, MaxAge
from dog.web.handlers.images import Wait

__all__ = [
    "CameraQuery",
    "CaptureHeaders",
    "ConditionalHeaders",
    "EventStreamHeaders",
    "LatestQuery",
    "PreviewQuery",
    "PushQuery",
]


class CameraQuery(Struct, frozen=True):
    """The query `?camera=`."""

    camera: str | None = None


class LatestQuery(CameraQuery, frozen=True):
    """The query of GET /latest.jpg."""

    max_age: MaxAge | None = None
    after: str | None = None
    wait: Wait | None = None


class PreviewQuery(CameraQuery, frozen=True):
    """The query of GET /preview.mjpg."""

    ahead: str | None = None


class PushQuery(Struct, frozen=True):
    """The query of GET /ws and GET /events."""

    since: str | None = None


class EventStreamHeaders(Struct, frozen=True):
    """The headers of GET /events."""

    last: str | None = field(default=None, name="Last-Event-ID")


class CaptureHeaders(Struct, frozen=True):
    """The headers of POST /api/captures."""

    key: Annotated[str, Meta(min_length=1, max_length=MAX_REQUEST_LENGTH)] | None = field(
        default=None, name="Idempotency-Key"
    )
    prefer: str | None = field(default=None, name="Prefer")


class ConditionalHeaders(Struct, frozen=True):
    """The headers of conditional and range requests (RFC 9110, 13 to 14)."""

    if_match: str | None = field(default=None, name="If-Match")
    if_none_match: str | None = field(default=None, name="If-None-Match")
    if_range: str | None = field(default=None, name="If-Range")
    range: str | None = field(default=None, name="Range")
