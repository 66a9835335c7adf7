"""What is said: the requests, replies and events of dog.v1 (docs/protocol.md), from JSON and to it.

Each message is a frozen struct whose `type` is its tag on the wire. Fields that a side does not know are ignored;
fields that have nothing to say are left out. Nothing here does I/O or knows the time.
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
"""Why snapshots went: somebody deleted them, or they made room."""
Role = Literal["view", "capture", "manage"]
"""What somebody may do; each holds the ones before it."""
MAX_REQUEST_LENGTH = 128
RequestKey = Annotated[str, Meta(max_length=MAX_REQUEST_LENGTH)]
"""Chosen by the viewer, at random: it is the same request for whoever says it again. A UUID has 36 characters."""
MaxAge = Annotated[float, Meta(ge=0)]
"""Seconds."""


class Message(Struct, tag_field="type", omit_defaults=True, frozen=True, kw_only=True):
    """One WebSocket message, one JSON object with a `type`."""


# ---- from the viewer


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


# ---- what both the push and HTTP say of a snapshot


class Quality(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """What was found when a camera's frames were looked at.

    `verdict` is of the picture itself, `brightness` its mean from 0 to 1; `retaken` is how many frames were let go
    before it, and `found` what was found on those: `damaged` (cut off, mostly), `black`, `frozen`.
    """

    verdict: Literal["good", "black"]
    brightness: float
    retaken: int = 0
    found: tuple[str, ...] = ()


class SnapshotBody(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """A snapshot as it is told: `snapshot` is its id; sizes are in pixels and bytes.

    `exposure` is its time in seconds, where the driver knows it; `sha256` is of the file as it was saved.
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
    """What the events but Ready share. Whoever publishes one leaves `seq` and `cursor` to the hub."""

    seq: int = 0
    cursor: str = ""
    at: str
    camera: str


class Capturing(Numbered, frozen=True, kw_only=True, tag="capturing"):
    capture: int


class Ready(SnapshotBody, frozen=True, kw_only=True, tag_field="type", tag="ready"):
    """A new snapshot: all that SnapshotBody says, numbered. (It can't inherit from Numbered too: slots forbid it.)"""

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
    """Snapshots of one camera that are gone: at most 100 of their ids."""

    snapshots: list[str]
    reason: Removal


Event = Capturing | Ready | Failed | CameraChanged | Removed


# ---- to one viewer alone


class CameraStatus(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """One camera as it is now.

    `dead_time` is in seconds; `ready_at` is when the next exposure may begin; `capture` is the running one's number;
    `since` and `reason` are there while it is offline; `preview` is true where GET /preview.mjpg shows it.
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
    """A server always says it; one of before there were roles does not."""


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
    """How many are watching; not numbered."""

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
"""What each field that somebody else fills in has to be."""
_REQUEST_TYPES = ("capture", "resume", "auth", "ping")


def parse_request(text: str) -> Request:
    """What a viewer said.

    Raises RequestError: `bad_json`, `unknown_type` or `bad_message`, with the viewer's `request` where it gave one.
    """
    try:
        return _decode(text)
    except msgspec.ValidationError as error:
        raise _request_error(text, explain_mismatch(error)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RequestError("bad_json", f"The message is not valid JSON: {error}. Send a JSON object.") from None


def _request_error(text: str, problem: str) -> RequestError:
    """Why JSON that parses is no request of ours."""
    try:
        said = _decode_anything(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        if text.lstrip().startswith("{"):
            return RequestError("bad_message", problem)
        return RequestError("bad_message", 'The message is not a JSON object. Send one such as {"type":"capture"}.')
    key = said.get("request")
    request = key if isinstance(key, str) and len(key) <= MAX_REQUEST_LENGTH else None
    known = ", ".join(_REQUEST_TYPES)
    match said.get("type"):
        case None:
            return RequestError("bad_message", f"The message has no `type`. Send one of: {known}.", request=request)
        case str(kind) if kind not in _REQUEST_TYPES:
            return RequestError(
                "unknown_type", f"The message type {kind[:40]!r} is unknown. Send one of: {known}.", request=request
            )
    return RequestError("bad_message", problem, request=request)


def explain_mismatch(error: msgspec.ValidationError) -> str:
    """What would have been right, in words for whoever wrote it."""
    field = re.search(r"\$\.(\w+)", str(error))
    return FIELD_RULES.get(field[1], f"{error}.") if field else f"{error}."


def timestamp(moment: dt.datetime) -> str:
    """An aware datetime as the wire has it: RFC 3339 in UTC with milliseconds, `2026-11-22T11:14:38.123Z`."""
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> dt.datetime:
    """The other way, aware and in UTC. Raises ValueError for what is not RFC 3339 or has no offset."""
    try:
        moment: dt.datetime = msgspec.convert(text, Annotated[dt.datetime, Meta(tz=True)])
    except msgspec.ValidationError as error:
        raise ValueError(f"{text!r} is not a time in RFC 3339") from error
    return moment.astimezone(dt.UTC)
