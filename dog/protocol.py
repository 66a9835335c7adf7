"""The protocol dog.v1: requests, replies and events (docs/protocol.md).

Each message is a frozen struct whose `type` is its tag on the wire. Unknown fields are ignored; fields with their
default value are omitted. No function does I/O or reads the clock.
"""

import datetime as dt
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from dog.errors import RequestError

__all__ = [
    "EXAMPLE_CURSOR",
    "EXAMPLE_ID",
    "EXAMPLE_KEY",
    "EXAMPLE_TIME",
    "FIELD_RULES",
    "MAX_REQUEST_LENGTH",
    "PROTOCOL",
    "SCALED_WIDTHS",
    "Age",
    "Auth",
    "CameraChanged",
    "CameraName",
    "CameraState",
    "CameraStatus",
    "Capture",
    "CaptureNumber",
    "Capturing",
    "Error",
    "ErrorCode",
    "ErrorMessage",
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
    "ReplyOutcome",
    "Request",
    "RequestKey",
    "Resume",
    "RetryAfter",
    "Role",
    "ScaledWidth",
    "SnapshotBody",
    "SnapshotId",
    "Time",
    "Viewers",
    "doc",
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
ScaledWidth = Literal[640, 1280, 1920, 2560]
"""The width in pixels of a scaled copy: for small and large phones, and for usual screens."""
SCALED_WIDTHS: tuple[int, ...] = get_args(ScaledWidth)
MAX_REQUEST_LENGTH = 128


def doc(description: str, example: Any = None) -> Meta:
    """Describe a field in the API documents. A docstring describes its type."""
    return Meta(description=description, examples=None if example is None else [example])


EXAMPLE_ID = "dpfgal6exjlb46kbidaazznh"
EXAMPLE_TIME = "2026-11-22T11:14:38.123Z"
EXAMPLE_CURSOR = "1795346078123-42"
EXAMPLE_KEY = "0b8f5d6c-7a51-4d0e-9a44-1f3c5a1e2b90"

# ---- what a field means, if several types have it

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
EchoedKey = Annotated[str, doc("A random text. A repeated one is the same request.", EXAMPLE_KEY)]
RequestKey = Annotated[EchoedKey, Meta(max_length=MAX_REQUEST_LENGTH)]
"""Idempotency key, chosen by the client at random: a repeated key is the same request. A UUID has 36 characters."""
CameraName = Annotated[str, doc("The name of a camera. The first one if left out.", "main")]
MaxAge = Annotated[
    float,
    Meta(ge=0),
    doc("The age in seconds that you accept. With 0, the exposure begins after the request.", 0),
]
CaptureNumber = Annotated[int, doc("The number of the capture. Later captures have higher numbers.", 7)]
SnapshotId = Annotated[str, doc("The id of the snapshot.", EXAMPLE_ID)]
ImageUrl = Annotated[str, doc("The URL of the image.", f"/snapshots/{EXAMPLE_ID}.jpg")]
ExposureStart = Annotated[Time, doc("The time when the exposure began.", EXAMPLE_TIME)]
ReplyOutcome = Annotated[
    Outcome,
    doc(
        "The way the request is served: by a capture that was `started`, `joined` or `queued`, or by a saved snapshot"
        " (`cached`).",
        "started",
    ),
]
Age = Annotated[float, doc("Seconds since the exposure began.", 0.42)]
ErrorCode = Annotated[str, doc("The kind of error, for programs.", "camera_offline")]
ErrorMessage = Annotated[str, doc("The error and its remedy, for people.", "The camera is not there. Plug it in.")]
RetryAfter = Annotated[float, doc("Seconds to wait before the next try.", 0.5)]
OfflineReason = Annotated[str, doc("The reason, for people.", "The camera is not there.")]
Cursor = Annotated[str, doc("The position of this event. Send it to resume from here.", EXAMPLE_CURSOR)]
EventNumber = Annotated[int, doc("The number of the event. It rises by one.", 42)]
EventTime = Annotated[Time, doc("The time of the event.", EXAMPLE_TIME)]


class Message(Struct, tag_field="type", omit_defaults=True, frozen=True, kw_only=True):
    """One WebSocket message, one JSON object with a `type`."""


# ---- requests of viewers


class Capture(Message, frozen=True, kw_only=True, tag="capture"):
    """Take a photo, or return a snapshot that is fresh enough."""

    request: RequestKey | None = None
    camera: CameraName | None = None
    max_age: MaxAge | None = None


class Resume(Message, frozen=True, kw_only=True, tag="resume"):
    """Send the events after the cursor, as `?since=` does."""

    request: RequestKey | None = None
    cursor: Cursor | None = None


class Auth(Message, frozen=True, kw_only=True, tag="auth"):
    """Authenticate this connection by a token.

    The answer is `hello` or `error`.
    """

    request: RequestKey | None = None
    token: Annotated[str | None, doc("The token.", "a-secret")] = None


class Ping(Message, frozen=True, kw_only=True, tag="ping"):
    """Request a `pong`."""

    request: RequestKey | None = None


Request = Capture | Resume | Auth | Ping


# ---- a snapshot, on the push and over HTTP


class Quality(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """The result of the frame checks, for cameras that stay open."""

    verdict: Annotated[Literal["good", "black"], doc("The verdict on the image: `good` or `black`.", "good")]
    brightness: Annotated[float, doc("The mean brightness of the image, from 0 to 1.", 0.438)]
    retaken: Annotated[int, doc("The number of frames rejected before this one.", 1)] = 0
    found: Annotated[tuple[str, ...], doc("The faults of the rejected frames: damaged, black, frozen.", ["black"])] = ()


class SnapshotBody(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """A snapshot: an image and its data."""

    camera: CameraName
    capture: CaptureNumber
    snapshot: SnapshotId
    url: ImageUrl
    page: Annotated[str, doc("The URL of its page.", f"/snapshots/{EXAMPLE_ID}")]
    thumbnail: Annotated[
        str, doc("The URL of its thumbnail, at most 320 by 320 pixels.", f"/snapshots/{EXAMPLE_ID}/thumbnail.jpg")
    ]
    captured_at: ExposureStart
    width: Annotated[int, doc("The width in pixels.", 1280)]
    height: Annotated[int, doc("The height in pixels.", 720)]
    bytes: Annotated[int, doc("The size of the image file, in bytes.", 252582)]
    content_type: Annotated[str, doc("The media type of the image.", "image/jpeg")]
    exposure: Annotated[float | None, doc("The exposure time in seconds, if the driver reports it.", 0.02)] = None
    sha256: Annotated[
        str, doc("The SHA-256 of the file, in hexadecimal digits.", "9f86d081884c7d659a2feaa0c55ad015" * 2)
    ] = ""
    quality: Annotated[Quality | None, doc("The result of the frame checks, for cameras that stay open.")] = None
    color: Annotated[
        str, doc("The average colour, as `#rrggbb`. Left out for photos of earlier versions.", "#7f7c7e")
    ] = ""


# ---- to every viewer, numbered by the hub


class Numbered(Message, frozen=True, kw_only=True):
    """The base of events. Ready is another type with the same fields.

    The hub sets `seq` and `cursor`.
    """

    seq: EventNumber = 0
    cursor: Cursor = ""
    at: EventTime
    camera: CameraName


class Capturing(Numbered, frozen=True, kw_only=True, tag="capturing"):
    """An exposure begins."""

    capture: CaptureNumber


class Ready(SnapshotBody, frozen=True, kw_only=True, tag_field="type", tag="ready"):  # slots forbid two bases
    """A new snapshot: its image is saved and can be fetched."""

    seq: EventNumber = 0
    cursor: Cursor = ""
    at: EventTime


class Failed(Numbered, frozen=True, kw_only=True, tag="failed"):
    """A capture failed."""

    capture: CaptureNumber
    code: ErrorCode
    message: ErrorMessage
    retry_after: RetryAfter | None = None


class CameraChanged(Numbered, frozen=True, kw_only=True, tag="camera"):
    """A camera went offline, is offline for another reason, or is back."""

    state: Annotated[CameraState, doc("Its present state.", "offline")]
    reason: OfflineReason | None = None


class Removed(Numbered, frozen=True, kw_only=True, tag="removed"):
    """Snapshots of one camera were removed."""

    snapshots: Annotated[list[str], doc("Their ids, at most 100. Further ones follow in another event.", [EXAMPLE_ID])]
    reason: Annotated[Removal, doc("`deleted` by a user, or by `retention`.", "deleted")]


Event = Capturing | Ready | Failed | CameraChanged | Removed


# ---- to one viewer alone


class CameraStatus(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """A camera and its present state."""

    name: Annotated[str, doc("Its name.", "main")]
    state: Annotated[CameraState, doc("Its present state.", "idle")]
    dead_time: Annotated[float, doc("The minimum time between the starts of two exposures, in seconds.", 1.0)]
    ready_at: Annotated[Time, doc("The time when its next exposure may begin.", EXAMPLE_TIME)]
    latest: Annotated[SnapshotBody | None, doc("Its newest snapshot, or null.")]
    capture: Annotated[int | None, doc("The number of the running capture.", 7)] = None
    since: Annotated[Time | None, doc("The time when it went offline.", EXAMPLE_TIME)] = None
    reason: OfflineReason | None = None
    preview: Annotated[bool, doc("True if it has a live view.", True)] = False


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """The whole state. The first message, unless you have to log in."""

    protocol: Annotated[str, doc("The protocol's name and version.", "dog.v1")]
    server: Annotated[str, doc("The name and version of the server.", "dog/0.1.0")]
    at: Annotated[Time, doc("The server's time now.", EXAMPLE_TIME)]
    epoch: Annotated[
        int, doc("The server's start, in milliseconds since 1970. Each epoch counts `seq` from 1.", 1795346078123)
    ]
    seq: Annotated[int, doc("The number before the first event that follows.", 42)]
    cursor: Annotated[str, doc("The position before the events that follow.", EXAMPLE_CURSOR)]
    recovered: Annotated[bool, doc("True if all events after your cursor follow now.", False)]
    cameras: Annotated[list[CameraStatus], doc("All cameras.")]
    viewers: Annotated[int, doc("The number of viewers.", 3)]
    role: Annotated[
        Role | None,
        doc("The viewer's role: `view`, `capture` or `manage`. Each includes those before it.", "manage"),
    ] = None
    """Always set, except by old servers without roles."""


class Reply(Message, frozen=True, kw_only=True, tag="reply"):
    """The capture that serves your request."""

    request: EchoedKey | None = None
    outcome: ReplyOutcome
    capture: Annotated[int, doc("The number of the capture that serves the request.", 7)]
    snapshot: SnapshotId | None = None
    url: ImageUrl | None = None
    captured_at: ExposureStart | None = None
    age: Age | None = None
    retry_after: RetryAfter | None = None


class Error(Message, frozen=True, kw_only=True, tag="error"):
    """Your request is refused."""

    request: EchoedKey | None = None
    code: Annotated[ErrorCode, doc("The kind of error, for programs.", "rate_limited")]
    message: Annotated[str, doc("The error and its remedy, for people.", "You send too many messages. Wait for 0.1 s.")]
    temporary: Annotated[bool, doc("True if a retry can help.", True)]
    retry_after: RetryAfter | None = None


class Pong(Message, frozen=True, kw_only=True, tag="pong"):
    """The answer to `ping`."""

    request: EchoedKey | None = None


class Viewers(Message, frozen=True, kw_only=True, tag="viewers"):
    """The number of viewers. At most once per second, not numbered."""

    count: Annotated[int, doc("The number of viewers.", 3)]


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
    "width": "`width` must be {} or {}.".format(", ".join(map(str, SCALED_WIDTHS[:-1])), SCALED_WIDTHS[-1]),
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
