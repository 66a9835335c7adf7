"""Descriptions and examples of all types, fields and headers.

One name has one meaning. A field with another meaning in one type is here as `Type.field`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["FIELDS", "HEADERS", "OMIT_FROM_EXAMPLES", "TYPES", "FieldDoc"]


class FieldDoc(NamedTuple):
    """A field's description, example (or None) and extra JSON Schema."""

    description: str
    example: Any = None
    schema: Mapping[str, Any] = {}


TIME = {"format": "date-time"}
DAY = {"anyOf": [{"format": "date"}, {"maxLength": 0}]}
AT = "2026-11-22T11:14:38.123Z"
CURSOR = "1795346078123-42"
ID = "dpfgal6exjlb46kbidaazznh"
LINK = "q3w7hk2mzt5c6rjx4dnebfva"
SIGNATURE = "0m9XGd2bq7hYvU4pWc1sZk8TnRfEaJ3LoI5VxQyKz6A"
KEY = "0b8f5d6c-7a51-4d0e-9a44-1f3c5a1e2b90"

TYPES = {
    "Auth": "Authenticate this connection by a token. The answer is `hello` or `error`.",
    "CameraChanged": "A camera went offline, is offline for another reason, or is back.",
    "CameraList": "All cameras.",
    "CameraStatus": "A camera and its present state.",
    "Capture": "Take a photo, or return a snapshot that is fresh enough.",
    "CaptureBody": "A capture and its result.",
    "CaptureRequest": "The camera, and the age that you accept.",
    "Capturing": "An exposure begins.",
    "Error": "Your request is refused.",
    "Failed": "A capture failed.",
    "Hello": "The whole state. The first message, unless you have to log in.",
    "LinkBody": "A share link to one snapshot.",
    "LinkList": "The share links to one snapshot, oldest first.",
    "LinkRequest": "The lifetime of a share link.",
    "LoginForm": "The login form.",
    "PinForm": "The form that pins or unpins a photo.",
    "Ping": "Request a `pong`.",
    "Pong": "The answer to `ping`.",
    "PressedBody": "The snapshot that serves a request.",
    "Problem": "An error, as in RFC 9457.",
    "Quality": "The result of the frame checks, for cameras that stay open.",
    "Ready": "A new snapshot: its image is saved and can be fetched.",
    "Removed": "Snapshots of one camera were removed.",
    "Reply": "The capture that serves your request.",
    "Resume": "Send the events after the cursor, as `?since=` does.",
    "SnapshotBody": "A snapshot: an image and its data.",
    "SnapshotDetails": "All data of a snapshot.",
    "SnapshotList": "Snapshots, newest first.",
    "TicketBody": "A ticket: it authenticates one request.",
    "Viewers": "The number of viewers. At most once per second, not numbered.",
    "VisitorBody": "Your identity on this server.",
}

FIELDS = {
    "after": FieldDoc("The id of a snapshot. The response is the next one, when it exists.", ID),
    "age": FieldDoc("Seconds since the exposure began.", 0.42),
    "ahead": FieldDoc("`1` sends each part's header with the part before it, for Chromium.", "1"),
    "at": FieldDoc("The time of the event.", AT, TIME),
    "before": FieldDoc("The id of a snapshot. The list has those taken before it.", ID),
    "brightness": FieldDoc("The mean brightness of the image, from 0 to 1.", 0.438),
    "bytes": FieldDoc("The size of the image file, in bytes.", 252582),
    "camera": FieldDoc("The name of a camera. The first one if left out.", "main"),
    "cameras": FieldDoc("All cameras.", []),
    "capture": FieldDoc("The number of the capture. Later captures have higher numbers.", 7),
    "captured_at": FieldDoc("The time when the exposure began.", AT, TIME),
    "code": FieldDoc("The kind of error, for programs.", "camera_offline"),
    "content_type": FieldDoc("The media type of the image.", "image/jpeg"),
    "count": FieldDoc("The number of viewers.", 3),
    "created_at": FieldDoc("The time when it was created.", AT, TIME),
    "cursor": FieldDoc("The position of this event. Send it to resume from here.", CURSOR),
    "day": FieldDoc("A day in the server's time zone. Empty for all days.", "2026-11-22", DAY),
    "dead_time": FieldDoc("The minimum time between the starts of two exposures, in seconds.", 1.0),
    "detail": FieldDoc("The error and its remedy, for people.", "The camera is offline. Try again in a moment."),
    "epoch": FieldDoc("The server's start, in milliseconds since 1970. Each epoch counts `seq` from 1.", 1795346078123),
    "expired": FieldDoc("True if it has expired.", True),
    "expires_at": FieldDoc("The time when it expires.", "2026-11-29T11:14:38.123Z", TIME),
    "expires_in": FieldDoc("Its lifetime in seconds, from a minute to a year.", 604800),
    "exposed_until": FieldDoc("The time by which the exposure had ended, if known.", AT, TIME),
    "exposure": FieldDoc("The exposure time in seconds, if the driver reports it.", 0.02),
    "found": FieldDoc("The faults of the rejected frames: damaged, black, frozen.", ["black"]),
    "height": FieldDoc("The height in pixels.", 720),
    "Idempotency-Key": FieldDoc("A random text. A request with the same one is served by the same capture.", KEY),
    "If-Match": FieldDoc("Send the file only if it has this ETag, or any with `*`.", "*"),
    "If-None-Match": FieldDoc("Send the file only if it does not have this ETag.", f'"{ID}"'),
    "If-Range": FieldDoc("Send the range only if the file has this ETag.", f'"{ID}"'),
    "Last-Event-ID": FieldDoc(
        "The cursor of the last event that you received. Browsers send it by themselves.", CURSOR
    ),
    "latest": FieldDoc("Its newest snapshot, or null."),
    "limit": FieldDoc("The maximum number of snapshots.", 50),
    "link": FieldDoc("The id of the link, to revoke it.", LINK),
    "links": FieldDoc("The links.", []),
    "max_age": FieldDoc("The age in seconds that you accept. With 0, the exposure begins after the request.", 0),
    "message": FieldDoc("The error and its remedy, for people.", "The camera is not there. Plug it in."),
    "name": FieldDoc("Its name.", "main"),
    "next": FieldDoc("The page to go to after the login, below the site's root.", "snapshots"),
    "outcome": FieldDoc(
        "The way the request is served: by a capture that was `started`, `joined` or `queued`, or by a saved snapshot"
        " (`cached`).",
        "started",
    ),
    "page": FieldDoc("The URL of its page.", f"/snapshots/{ID}"),
    "password": FieldDoc("The password.", "correct horse battery staple"),
    "pinned": FieldDoc("True if retention never removes it.", False),
    "Prefer": FieldDoc("`respond-async`: answer at once, before the capture has ended.", "respond-async"),
    "preview": FieldDoc("True if it has a live view.", True),
    "protocol": FieldDoc("The protocol's name and version.", "dog.v1"),
    "quality": FieldDoc("The result of the frame checks, for cameras that stay open."),
    "Range": FieldDoc("The range of bytes to send.", "bytes=0-1023"),
    "ready_at": FieldDoc("The time when its next exposure may begin.", AT, TIME),
    "reason": FieldDoc("The reason, for people.", "The camera is not there."),
    "recovered": FieldDoc("True if all events after your cursor follow now.", False),
    "request": FieldDoc("A random text. A repeated one is the same request.", KEY),
    "retaken": FieldDoc("The number of frames rejected before this one.", 1),
    "retry_after": FieldDoc("Seconds to wait before the next try.", 0.5),
    "role": FieldDoc("Your role: `view`, `capture` or `manage`. Each includes those before it.", "manage"),
    "seq": FieldDoc("The number of the event. It rises by one.", 42),
    "server": FieldDoc("The name and version of the server.", "dog/0.1.0"),
    "sha256": FieldDoc("The SHA-256 of the file, in hexadecimal digits.", "9f86d081884c7d659a2feaa0c55ad015" * 2),
    "since": FieldDoc("The cursor of the last event that you received.", CURSOR),
    "snapshot": FieldDoc("The id of the snapshot.", ID),
    "snapshots": FieldDoc("The snapshots.", []),
    "state": FieldDoc("Its present state.", "idle"),
    "status": FieldDoc("The state of the service.", "ok"),
    "temporary": FieldDoc("True if a retry can help.", True),
    "thumbnail": FieldDoc("The URL of its thumbnail, at most 320 by 320 pixels.", f"/snapshots/{ID}/thumbnail.jpg"),
    "title": FieldDoc("The status, in words.", "Service Unavailable"),
    "ticket": FieldDoc("The ticket.", "kW3mBq0yq3YH8lq5rIuT2u6tP1n4Zf7cXv9sDwGaEho"),
    "token": FieldDoc("The token.", "a-secret"),
    "type": FieldDoc("The type of the message."),
    "url": FieldDoc("The URL of the image.", f"/snapshots/{ID}.jpg"),
    "verdict": FieldDoc("The verdict on the image: `good` or `black`.", "good"),
    "viewers": FieldDoc("The number of viewers.", 3),
    "wait": FieldDoc("The maximum time to wait for it, in seconds.", 60),
    "width": FieldDoc("The width in pixels.", 1280),
    # ---- fields with another meaning in one type
    "CameraChanged.state": FieldDoc("Its present state.", "offline"),
    "CameraStatus.capture": FieldDoc("The number of the running capture.", 7),
    "CameraStatus.since": FieldDoc("The time when it went offline.", AT, TIME),
    "CaptureBody.snapshot": FieldDoc("The snapshot, when it is ready."),
    "CaptureBody.state": FieldDoc("`pending`, `capturing`, `ready` or `failed`.", "ready"),
    "Error.code": FieldDoc("The kind of error, for programs.", "rate_limited"),
    "Error.message": FieldDoc("The error and its remedy, for people.", "You send too many messages. Wait for 0.1 s."),
    "Hello.at": FieldDoc("The server's time now.", AT, TIME),
    "Hello.cursor": FieldDoc("The position before the events that follow.", CURSOR),
    "Hello.role": FieldDoc(
        "The viewer's role: `view`, `capture` or `manage`. Each includes those before it.", "manage"
    ),
    "Hello.seq": FieldDoc("The number before the first event that follows.", 42),
    "LoginForm.name": FieldDoc("Your user name.", "ada"),
    "PinForm.pinned": FieldDoc("`yes` to pin it, `no` to unpin it.", "yes"),
    "LinkBody.url": FieldDoc("The URL to give away.", f"/shared/{LINK}.{SIGNATURE}"),
    "Problem.status": FieldDoc("The HTTP status.", 503),
    "Problem.type": FieldDoc("Always about:blank. See `code`.", "about:blank"),
    "Removed.reason": FieldDoc("`deleted` by a user, or by `retention`.", "deleted"),
    "Removed.snapshots": FieldDoc("Their ids, at most 100. Further ones follow in another event.", [ID]),
    "Reply.capture": FieldDoc("The number of the capture that serves the request.", 7),
    "TicketBody.expires_in": FieldDoc("Its lifetime in seconds.", 30),
    "VisitorBody.name": FieldDoc("Your name, or your token's.", "ada"),
    "VisitorBody.role": FieldDoc("Your role: `view`, `capture` or `manage`. Each includes those before it.", "manage"),
}

OMIT_FROM_EXAMPLES = {
    "CameraChanged": {"reason"},
    "CameraStatus": {"capture", "reason", "since"},
    "CaptureBody": {"code", "message", "outcome", "retry_after"},
    "LinkBody": {"expired"},
    "Quality": {"found", "retaken"},
    "Reply": {"age", "captured_at", "retry_after", "snapshot", "url"},
}
"""Optional fields that are left out of the examples, for clarity."""

HEADERS = {
    "Accept-Ranges": FieldDoc("bytes", "bytes"),
    "Age": FieldDoc("Seconds since the exposure began.", 12),
    "Cache-Control": FieldDoc("The rules for caches.", "no-cache"),
    "Content-Disposition": FieldDoc("The name of the file.", 'inline; filename="dog-20261122-111438.jpg"'),
    "Content-Range": FieldDoc("The range of these bytes.", "bytes 0-1023/252582"),
    "ETag": FieldDoc("The version of the content.", f'"{ID}"'),
    "Location": FieldDoc("The URL of the result.", f"/snapshots/{ID}"),
    "Preference-Applied": FieldDoc("respond-async", "respond-async"),
    "Retry-After": FieldDoc("Seconds to wait before the next try.", 1),
    "Set-Cookie": FieldDoc("The id of your last snapshot, or your session.", f"dog_snapshot={ID}"),
    "X-Captured-At": FieldDoc("The time when the exposure began.", AT, TIME),
    "X-Outcome": FieldDoc("The way the request was served: started, joined, queued or cached.", "started"),
    "X-Robots-Tag": FieldDoc("Asks search engines not to list it.", "noindex"),
    "X-Snapshot": FieldDoc("The id of the snapshot.", ID),
}
