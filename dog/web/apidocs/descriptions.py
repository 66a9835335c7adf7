"""What the documents say of each type, field and header, and an example of it: one meaning for one name.

A field that means something else in one type stands here as `Type.field`. Times are known by their format.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["FIELDS", "HEADERS", "LEFT_OUT", "TYPES", "Word"]


class Word(NamedTuple):
    """`example` is a value as JSON has it; None where a type has its own. `more` is what its schema says besides."""

    what: str
    example: Any = None
    more: Mapping[str, Any] = {}


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
    "after": Word("The id of a snapshot. The response is the next one, when it exists.", ID),
    "age": Word("Seconds since the exposure began.", 0.42),
    "ahead": Word("`1` sends each part's header with the part before it, for Chromium.", "1"),
    "at": Word("The time of the event.", AT, TIME),
    "before": Word("The id of a snapshot. The list has those taken before it.", ID),
    "brightness": Word("The mean brightness of the image, from 0 to 1.", 0.438),
    "bytes": Word("The size of the image file, in bytes.", 252582),
    "camera": Word("The name of a camera. The first one if left out.", "main"),
    "cameras": Word("All cameras.", []),
    "capture": Word("The number of the capture. Later captures have higher numbers.", 7),
    "captured_at": Word("The time when the exposure began.", AT, TIME),
    "code": Word("The kind of error, for programs.", "camera_offline"),
    "content_type": Word("The media type of the image.", "image/jpeg"),
    "count": Word("The number of viewers.", 3),
    "created_at": Word("The time when it was created.", AT, TIME),
    "cursor": Word("The position of this event. Send it to resume from here.", CURSOR),
    "day": Word("A day in the server's time zone. Empty for all days.", "2026-11-22", DAY),
    "dead_time": Word("The minimum time between the starts of two exposures, in seconds.", 1.0),
    "detail": Word("What is wrong and what to do, for people.", "The camera is offline. Try again in a moment."),
    "epoch": Word("The server's start, in milliseconds since 1970. Each epoch counts `seq` from 1.", 1795346078123),
    "expired": Word("True if it has expired.", True),
    "expires_at": Word("The time when it expires.", "2026-11-29T11:14:38.123Z", TIME),
    "expires_in": Word("Its lifetime in seconds, from a minute to a year.", 604800),
    "exposed_until": Word("The time by which the exposure had ended, if known.", AT, TIME),
    "exposure": Word("The exposure time in seconds, if the driver reports it.", 0.02),
    "found": Word("The faults of the rejected frames: damaged, black, frozen.", ["black"]),
    "height": Word("The height in pixels.", 720),
    "Idempotency-Key": Word("A random text. A request with the same one is served by the same capture.", KEY),
    "If-Match": Word("Send the file only if it has this ETag, or any with `*`.", "*"),
    "If-None-Match": Word("Send the file only if it does not have this ETag.", f'"{ID}"'),
    "If-Range": Word("Send the range only if the file has this ETag.", f'"{ID}"'),
    "Last-Event-ID": Word("The cursor of the last event that you received. Browsers send it by themselves.", CURSOR),
    "latest": Word("Its newest snapshot, or null."),
    "limit": Word("The maximum number of snapshots.", 50),
    "link": Word("The id of the link, to revoke it.", LINK),
    "links": Word("The links.", []),
    "max_age": Word("The age in seconds that you accept. With 0, the exposure begins after the request.", 0),
    "message": Word("What is wrong and what to do, for people.", "The camera is not there. Plug it in."),
    "name": Word("Its name.", "main"),
    "next": Word("The page to go to after the login, below the site's root.", "snapshots"),
    "outcome": Word(
        "How the request is served: by a capture that was `started`, `joined` or `queued`, or by a saved snapshot"
        " (`cached`).",
        "started",
    ),
    "page": Word("The URL of its page.", f"/snapshots/{ID}"),
    "password": Word("The password.", "correct horse battery staple"),
    "pinned": Word("True if retention never removes it.", False),
    "Prefer": Word("`respond-async`: answer at once, before the capture has ended.", "respond-async"),
    "preview": Word("True if it has a live view.", True),
    "protocol": Word("The protocol's name and version.", "dog.v1"),
    "quality": Word("The result of the frame checks, for cameras that stay open."),
    "Range": Word("The range of bytes to send.", "bytes=0-1023"),
    "ready_at": Word("The time when its next exposure may begin.", AT, TIME),
    "reason": Word("The reason, for people.", "The camera is not there."),
    "recovered": Word("True if all events after your cursor follow now.", False),
    "request": Word("A random text. A repeated one is the same request.", KEY),
    "retaken": Word("The number of frames rejected before this one.", 1),
    "retry_after": Word("Seconds to wait before the next try.", 0.5),
    "role": Word("Your role: `view`, `capture` or `manage`. Each includes those before it.", "manage"),
    "seq": Word("The number of the event. It rises by one.", 42),
    "server": Word("The name and version of the server.", "dog/0.1.0"),
    "sha256": Word("The SHA-256 of the file, in hexadecimal digits.", "9f86d081884c7d659a2feaa0c55ad015" * 2),
    "since": Word("The cursor of the last event that you received.", CURSOR),
    "snapshot": Word("The id of the snapshot.", ID),
    "snapshots": Word("The snapshots.", []),
    "state": Word("Its present state.", "idle"),
    "status": Word("The state of the service.", "ok"),
    "temporary": Word("True if a retry can help.", True),
    "thumbnail": Word("The URL of its thumbnail, at most 320 by 320 pixels.", f"/snapshots/{ID}/thumbnail.jpg"),
    "title": Word("The status, in words.", "Service Unavailable"),
    "ticket": Word("The ticket.", "kW3mBq0yq3YH8lq5rIuT2u6tP1n4Zf7cXv9sDwGaEho"),
    "token": Word("The token.", "a-secret"),
    "type": Word("The type of the message."),
    "url": Word("The URL of the image.", f"/snapshots/{ID}.jpg"),
    "verdict": Word("The verdict on the image: `good` or `black`.", "good"),
    "viewers": Word("The number of viewers.", 3),
    "wait": Word("The maximum time to wait for it, in seconds.", 60),
    "width": Word("The width in pixels.", 1280),
    # ---- the same name for something else
    "CameraChanged.state": Word("Its present state.", "offline"),
    "CameraStatus.capture": Word("The number of the running capture.", 7),
    "CameraStatus.since": Word("The time since it is offline.", AT, TIME),
    "CaptureBody.snapshot": Word("The snapshot, when it is ready."),
    "CaptureBody.state": Word("`pending`, `capturing`, `ready` or `failed`.", "ready"),
    "Error.code": Word("The kind of error, for programs.", "rate_limited"),
    "Error.message": Word("What is wrong and what to do, for people.", "You send too many messages. Wait for 0.1 s."),
    "Hello.at": Word("The server's time now.", AT, TIME),
    "Hello.cursor": Word("The position before the events that follow.", CURSOR),
    "Hello.role": Word("The viewer's role: `view`, `capture` or `manage`. Each includes those before it.", "manage"),
    "Hello.seq": Word("The number before the first event that follows.", 42),
    "LoginForm.name": Word("Your user name.", "ada"),
    "PinForm.pinned": Word("`yes` to pin it, `no` to unpin it.", "yes"),
    "LinkBody.url": Word("The URL to give away.", f"/shared/{LINK}.{SIGNATURE}"),
    "Problem.status": Word("The HTTP status.", 503),
    "Problem.type": Word("Always about:blank. See `code`.", "about:blank"),
    "Removed.reason": Word("`deleted` by a user, or by `retention`.", "deleted"),
    "Removed.snapshots": Word("Their ids, at most 100. Further ones follow in another event.", [ID]),
    "Reply.capture": Word("The number of the capture that serves the request.", 7),
    "TicketBody.expires_in": Word("Its lifetime in seconds.", 30),
    "VisitorBody.name": Word("Your name, or your token's.", "ada"),
    "VisitorBody.role": Word("Your role: `view`, `capture` or `manage`. Each includes those before it.", "manage"),
}

LEFT_OUT = {
    "CameraChanged": {"reason"},
    "CameraStatus": {"capture", "reason", "since"},
    "CaptureBody": {"code", "message", "outcome", "retry_after"},
    "LinkBody": {"expired"},
    "Quality": {"found", "retaken"},
    "Reply": {"age", "captured_at", "retry_after", "snapshot", "url"},
}
"""Fields that an example is clearer without."""

HEADERS = {
    "Accept-Ranges": Word("bytes", "bytes"),
    "Age": Word("Seconds since the exposure began.", 12),
    "Cache-Control": Word("How caches may store it.", "no-cache"),
    "Content-Disposition": Word("The name of the file.", 'inline; filename="dog-20261122-111438.jpg"'),
    "Content-Range": Word("The range of these bytes.", "bytes 0-1023/252582"),
    "ETag": Word("The version of the content.", f'"{ID}"'),
    "Location": Word("The URL of the result.", f"/snapshots/{ID}"),
    "Preference-Applied": Word("respond-async", "respond-async"),
    "Retry-After": Word("Seconds to wait before the next try.", 1),
    "Set-Cookie": Word("The id of your last snapshot, or your session.", f"dog_snapshot={ID}"),
    "X-Captured-At": Word("The time when the exposure began.", AT, TIME),
    "X-Outcome": Word("How the request was served: started, joined, queued or cached.", "started"),
    "X-Robots-Tag": Word("Asks search engines not to list it.", "noindex"),
    "X-Snapshot": Word("The id of the snapshot.", ID),
}
