"""The protocol dog.v1: requests, replies and events (docs/protocol.md).

Each message is a frozen struct whose `type` is its tag on the wire. Unknown fields are ignored; fields with their
default value are omitted. No function does I/O or reads the clock.
"""

import datetime as dt
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from dog.errors import RequestError

__all__ = [
    "FIELD_RULES",
    "MAX_REQUEST_LENGTH",
    "PROTOCOL",
    "Auth",
    "CameraChanged",
    "CameraState",
    "CameraStatus",
    "Capture",
    "Capturing",
    "Error",
    "Event",
    "Failed",
    "Hello",
    "MaxAge",
    "Message",
    "Outcome",
    "Ping",
    "Pong",
    "Quality",
    "Ready",
    "Removal",
    "Removed",
    "Reply",
    "Request",
    "RequestKey",
    "Resume",
    "Role",
    "SnapshotBody",
    "Viewers",
    "encode",
    "explain_mismatch",
    "parse_request",
    "parse_timestamp",
    "timestamp",
]

PROTOCOL = "dog.v1"

CameraState = Literal["idle", "capturing", "cooling", "offline"]
Outcome = Literal["started", "joined", "queued", "cached"]
Removal = Literal["deleted", "retention"]
"""Why snapshots were removed: by a user, or by retention."""
Role = Literal["view", "capture", "manage"]
"""Each role includes the rights of those before it."""
MAX_REQUEST_LENGTH = 128
RequestKey = Annotated[str, Meta(max_length=MAX_REQUEST_LENGTH)]
"""Idempotency key, chosen by the client at random: a repeated key is the same request. A UUID has 36 characters."""
MaxAge = Annotated[float, Meta(ge=0)]
"""Maximum age of a snapshot, in seconds."""


class Message(Struct, tag_field="type", omit_defaults=True, frozen=True, kw_only=True):
    """One WebSocket message, one JSON object with a `type`."""


# ---- requests of viewers


class Capture(Message, frozen=True, kw_only=True, tag="capture"):
    request: RequestKey | None = None
    camera: str | None = None
    max_age: MaxAge | None = None


class Resume(Message, frozen=True, kw_only=True, tag="resume"):
    request: RequestKey | None = None
    cursor: str | None = None


class Auth(Message, frozen=True, kw_only=True, tag="auth"):
    request: RequestKey | None = None
    token: str | None = None


class Ping(Message, frozen=True, kw_only=True, tag="ping"):
    request: RequestKey | None = None


Request = Capture | Resume | Auth | Ping


# ---- a snapshot, on the push and over HTTP


class Quality(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """Result of the inspection of a camera's frames.

    `verdict` and `brightness` (mean, 0 to 1) are of the snapshot's own frame. `retaken` is the number of frames that
    were rejected before it, and `found` has the reasons: `damaged` (mostly truncated), `black`, `frozen`.
    """

    verdict: Literal["good", "black"]
    brightness: float
    retaken: int = 0
    found: tuple[str, ...] = ()


class SnapshotBody(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """Description of a snapshot. `snapshot` is its id, `bytes` its size.

    `exposure` is in seconds, if known. `sha256` is the hash of the saved file.
    """

    camera: str
    capture: int
    snapshot: str
    url: str
    page: str
    thumbnail: str
    captured_at: str
    width: int
    height: int
    bytes: int
    content_type: str
    exposure: float | None = None
    sha256: str = ""
    quality: Quality | None = None


# ---- to every viewer, numbered by the hub


class Numbered(Message, frozen=True, kw_only=True):
    """The base of events. Ready is another type with the same fields.

    The hub sets `seq` and `cursor`.
    """

    seq: int = 0
    cursor: str = ""
    at: str
    camera: str


class Capturing(Numbered, frozen=True, kw_only=True, tag="capturing"):
    capture: int


class Ready(SnapshotBody, frozen=True, kw_only=True, tag_field="type", tag="ready"):
    """A new snapshot: SnapshotBody as an event. (Slots forbid two bases.)"""

    seq: int = 0
    cursor: str = ""
    at: str


class Failed(Numbered, frozen=True, kw_only=True, tag="failed"):
    capture: int
    code: str
    message: str
    retry_after: float | None = None


class CameraChanged(Numbered, frozen=True, kw_only=True, tag="camera"):
    state: CameraState
    reason: str | None = None


class Removed(Numbered, frozen=True, kw_only=True, tag="removed"):
    """Removed snapshots of one camera: at most 100 ids."""

    snapshots: list[str]
    reason: Removal


Event = Capturing | Ready | Failed | CameraChanged | Removed


# ---- to one viewer alone


class CameraStatus(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """The current status of a camera.

    `dead_time` is in seconds. `ready_at` is when the next exposure may begin. `capture` is the number of the running
    capture. `since` and `reason` are set while it is offline. `preview` is true if GET /preview.mjpg shows it.
    """

    name: str
    state: CameraState
    dead_time: float
    ready_at: str
    latest: SnapshotBody | None
    capture: int | None = None
    since: str | None = None
    reason: str | None = None
    preview: bool = False


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    protocol: str
    server: str
    at: str
    epoch: int
    seq: int
    cursor: str
    recovered: bool
    cameras: list[CameraStatus]
    viewers: int
    role: Role | None = None
    """Always set, except by old servers without roles."""


class Reply(Message, frozen=True, kw_only=True, tag="reply"):
    request: str | None = None
    outcome: Outcome
    capture: int
    snapshot: str | None = None
    url: str | None = None
    captured_at: str | None = None
    age: float | None = None
    retry_after: float | None = None


class Error(Message, frozen=True, kw_only=True, tag="error"):
    request: str | None = None
    code: str
    message: str
    temporary: bool
    retry_after: float | None = None


class Pong(Message, frozen=True, kw_only=True, tag="pong"):
    request: str | None = None


class Viewers(Message, frozen=True, kw_only=True, tag="viewers"):
    """The number of viewers; not a numbered event."""

    count: int


# ---- JSON

encode = msgspec.json.Encoder().encode
_decode: Callable[[str], Request] = msgspec.json.Decoder(Request).decode
_decode_anything = msgspec.json.Decoder(dict[str, Any]).decode
FIELD_RULES = {
    "before": "`before` must be the id of a snapshot.",
    "camera": "`camera` must be the name of a camera, as text.",
    "cursor": "`cursor` must be the cursor of an event, as text.",
    "expires_in": "`expires_in` must be a number of seconds, from a minute to a year (60 to 31536000).",
    "limit": "`limit` must be a whole number from 1 to 200.",
    "max_age": "`max_age` must be a number of seconds, 0 or more.",
    "name": "`name` must be your name, as text.",
    "password": "`password` must be text.",
    "pinned": "`pinned` must be yes or no.",
    "request": f"`request` must be text of at most {MAX_REQUEST_LENGTH} characters.",
    "token": "`token` must be text.",
    "wait": "`wait` must be a number of seconds from 0 to 60.",
    "type": "`type` must be text.",
}
"""Error messages for fields that clients send: the valid values of each."""
_REQUEST_TYPES = ("capture", "resume", "auth", "ping")


def parse_request(text: str) -> Request:
    """Parse a viewer's request.

    Raise RequestError `bad_json`, `unknown_type` or `bad_message`, with the viewer's `request`, if any.
    """
    try:
        return _decode(text)
    except msgspec.ValidationError as error:
        raise _request_error(text, explain_mismatch(error)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RequestError("bad_json", f"The message is not valid JSON: {error}. Send a JSON object.") from None


def _request_error(text: str, problem: str) -> RequestError:
    """Return the error for JSON that parses, but is not a valid request."""
    try:
        fields = _decode_anything(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        if text.lstrip().startswith("{"):
            return RequestError("bad_message", problem)
        return RequestError("bad_message", 'The message is not a JSON object. Send one such as {"type":"capture"}.')
    key = fields.get("request")
    request = key if isinstance(key, str) and len(key) <= MAX_REQUEST_LENGTH else None
    types = ", ".join(_REQUEST_TYPES)
    match fields.get("type"):
        case None:
            return RequestError("bad_message", f"The message has no `type`. Send one of: {types}.", request=request)
        case str(kind) if kind not in _REQUEST_TYPES:
            return RequestError(
                "unknown_type", f"The message type {kind[:40]!r} is unknown. Send one of: {types}.", request=request
            )
    return RequestError("bad_message", problem, request=request)


def explain_mismatch(error: msgspec.ValidationError) -> str:
    """Return a message for the client, with the wrong field's valid values."""
    field = re.search(r"\$\.(\w+)", str(error))
    return FIELD_RULES.get(field[1], f"{error}.") if field else f"{error}."


def timestamp(moment: dt.datetime) -> str:
    """Format an aware datetime (RFC 3339, UTC): `2026-11-22T11:14:38.123Z`."""
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> dt.datetime:
    """Parse RFC 3339 with an offset to a datetime in UTC, or raise ValueError."""
    try:
        moment: dt.datetime = msgspec.convert(text, Annotated[dt.datetime, Meta(tz=True)])
    except msgspec.ValidationError as error:
        raise ValueError(f"{text!r} is not a time in RFC 3339 with an offset") from error
    return moment.astimezone(dt.UTC)
