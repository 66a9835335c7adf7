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
    "Auth": "Who this is, where the handshake did not say. A `hello` follows, or an `error`.",
    "CameraChanged": "A camera went offline, is offline for another reason, or came back.",
    "CameraList": "All cameras.",
    "CameraStatus": "One camera as it is now.",
    "Capture": "Take a picture, or give me one that is fresh enough.",
    "CaptureBody": "A capture, and what has become of it.",
    "CaptureRequest": "What kind of picture is wanted.",
    "Capturing": "An exposure begins now.",
    "Error": "What you said can't be done.",
    "Failed": "A capture gave no picture.",
    "Hello": "The whole state: always the first that you hear.",
    "LinkBody": "A link to one photo, to give away.",
    "LinkList": "Links to one photo, the oldest first.",
    "LinkRequest": "How long a link is to work.",
    "LoginForm": "Who logs in.",
    "PinForm": "Whether a photo is to be pinned.",
    "Ping": "Are you there?",
    "Pong": "I am.",
    "PressedBody": "The snapshot that a press got, and how.",
    "Problem": "What went wrong, as RFC 9457 has it.",
    "Quality": "What was found when the frames of a camera that stays open were looked at.",
    "Ready": "A new snapshot: the picture is safely kept and can be fetched.",
    "Removed": "Snapshots of one camera are gone.",
    "Reply": "What became of your request.",
    "Resume": "Send what came after the cursor; the same as `?since=`.",
    "SnapshotBody": "A snapshot: a picture, and what is known of it.",
    "SnapshotDetails": "All that is known of a snapshot.",
    "SnapshotList": "Snapshots, the newest first.",
    "TicketBody": "What opens one address, once.",
    "Viewers": "How many are watching. Told at most once a second, and not numbered.",
    "VisitorBody": "Who you are here.",
}

FIELDS = {
    "after": Word("The id of a snapshot: the next one is wanted, and waited for.", ID),
    "age": Word("Seconds since its exposure began.", 0.42),
    "ahead": Word("`1` has each part's header come with the part before, as Chromium needs it.", "1"),
    "at": Word("When this happened.", AT, TIME),
    "before": Word("The id of a snapshot: those taken before it are wanted.", ID),
    "brightness": Word("The picture's mean brightness, from 0 to 1.", 0.438),
    "bytes": Word("The size of the picture's file.", 252582),
    "camera": Word("The name of a camera; the first one where you name none.", "main"),
    "cameras": Word("Every camera.", []),
    "capture": Word("The number of the capture; numbers rise for ever.", 7),
    "captured_at": Word("When the exposure began.", AT, TIME),
    "code": Word("What went wrong, in a word for programs.", "camera_offline"),
    "content_type": Word("The picture's media type.", "image/jpeg"),
    "count": Word("How many are watching.", 3),
    "created_at": Word("When it was made.", AT, TIME),
    "cursor": Word("Where this stands among the events: say it to go on from here.", CURSOR),
    "day": Word("A day, where the server stands; nothing for all.", "2026-11-22", DAY),
    "dead_time": Word("Seconds from one exposure's start to the next at least.", 1.0),
    "detail": Word("What was wrong and what to do, for people.", "What was wrong, and what to do."),
    "epoch": Word("The server's start, in milliseconds since 1970. `seq` counts anew from there.", 1795346078123),
    "expired": Word("It works no more.", True),
    "expires_at": Word("Until when it works.", "2026-11-29T11:14:38.123Z", TIME),
    "expires_in": Word("Seconds that it is to work, from a minute to a year.", 604800),
    "exposed_until": Word("Time by which the exposure had ended, if it is known.", AT, TIME),
    "exposure": Word("Seconds that the exposure took, where the driver knows.", 0.02),
    "found": Word("What was found on the frames that were let go: damaged, black, frozen.", ["black"]),
    "height": Word("Pixels.", 720),
    "Idempotency-Key": Word("Any text of yours, chosen at random: with the same one it is the same press.", KEY),
    "If-Match": Word("Only where it is the one with this ETag, or any.", "*"),
    "If-None-Match": Word("Only where it is not the one with this ETag.", f'"{ID}"'),
    "If-Range": Word("The range only where it is the one with this ETag.", f'"{ID}"'),
    "Last-Event-ID": Word("The cursor of the last event that you had; browsers say it by themselves.", CURSOR),
    "latest": Word("Its newest snapshot; null before there is one."),
    "limit": Word("How many at most.", 50),
    "link": Word("The link's id, to revoke it by.", LINK),
    "links": Word("The links.", []),
    "max_age": Word("Seconds that the picture may be old; 0 for one whose exposure begins after this.", 0),
    "message": Word("What was wrong and what to do, for people.", "The camera is offline."),
    "name": Word("Its name.", "main"),
    "next": Word("Where to go then, below the site's root.", "snapshots"),
    "outcome": Word(
        "What became of the press: a capture was `started`, `joined` or `queued`, or a picture is there (`cached`).",
        "started",
    ),
    "page": Word("Where its page is.", f"/snapshots/{ID}"),
    "password": Word("The password.", "correct horse battery staple"),
    "pinned": Word("Whether it is kept, whatever has to make room.", False),
    "Prefer": Word("`respond-async`: don't wait for the picture.", "respond-async"),
    "preview": Word("Whether it has a live view.", True),
    "protocol": Word("The protocol's name and version.", "dog.v1"),
    "quality": Word("What was found when its frames were looked at, where they were."),
    "Range": Word("The bytes that are wanted.", "bytes=0-1023"),
    "ready_at": Word("When its next exposure may begin.", AT, TIME),
    "reason": Word("Why, for people.", "The camera is not there."),
    "recovered": Word("Whether all that came after your cursor follows now.", False),
    "request": Word("Any text of yours, chosen at random: said again, it is the same request.", KEY),
    "retaken": Word("How many frames were let go before this one.", 1),
    "retry_after": Word("Seconds after which it may work.", 0.5),
    "role": Word("What you may do: `view`, `capture` or `manage`, each with those before.", "manage"),
    "seq": Word("The event's number; it rises by one.", 42),
    "server": Word("The server's software.", "dog/0.1.0"),
    "sha256": Word("Of the file, in hexadecimal digits.", "9f86d081884c7d659a2feaa0c55ad015" * 2),
    "since": Word("The cursor of the last event that you had.", CURSOR),
    "snapshot": Word("The snapshot's id.", ID),
    "snapshots": Word("The snapshots.", []),
    "state": Word("What it does now.", "idle"),
    "status": Word("How it is.", "ok"),
    "temporary": Word("Whether it may work in a moment.", True),
    "thumbnail": Word("Where its thumbnail is: 320 by 320 pixels at most.", f"/snapshots/{ID}/thumbnail.jpg"),
    "title": Word("The status, in words.", "Service Unavailable"),
    "ticket": Word("The ticket.", "kW3mBq0yq3YH8lq5rIuT2u6tP1n4Zf7cXv9sDwGaEho"),
    "token": Word("The token.", "a-secret"),
    "type": Word("What kind of message this is."),
    "url": Word("Where the picture is.", f"/snapshots/{ID}.jpg"),
    "verdict": Word("What the picture itself is.", "good"),
    "viewers": Word("How many are watching.", 3),
    "wait": Word("Seconds to wait for it at most.", 60),
    "width": Word("Pixels.", 1280),
    # ---- the same name for something else
    "CameraChanged.state": Word("What it does now.", "offline"),
    "CameraStatus.capture": Word("The number of the capture that runs.", 7),
    "CameraStatus.since": Word("Since when it is offline.", AT, TIME),
    "CaptureBody.snapshot": Word("The snapshot, once it is there."),
    "CaptureBody.state": Word("`pending`, `capturing`, `ready` or `failed`.", "ready"),
    "Error.code": Word("What was wrong, in a word for programs.", "rate_limited"),
    "Error.message": Word("What was wrong and what to do, for people.", "Too many messages."),
    "Hello.at": Word("The server's time now.", AT, TIME),
    "Hello.cursor": Word("Where the events begin that follow.", CURSOR),
    "Hello.role": Word("What this viewer may do: `view`, `capture` or `manage`, each with those before.", "manage"),
    "Hello.seq": Word("The number before the first event that follows.", 42),
    "LoginForm.name": Word("Your name here.", "ada"),
    "PinForm.pinned": Word("Whether it is to be pinned.", "yes"),
    "LinkBody.url": Word("What to give away: the address that opens the photo.", f"/shared/{LINK}.{SIGNATURE}"),
    "Problem.status": Word("The HTTP status.", 503),
    "Problem.type": Word("Always about:blank: `code` says more.", "about:blank"),
    "Removed.reason": Word("`deleted` by somebody, or it made room (`retention`).", "deleted"),
    "Removed.snapshots": Word("Their ids, 100 at most; more come in another event.", [ID]),
    "Reply.capture": Word("The number of the capture that serves it.", 7),
    "TicketBody.expires_in": Word("Seconds for which it works.", 30),
    "VisitorBody.name": Word("Your name, or your token's.", "ada"),
    "VisitorBody.role": Word("What you may do: `view`, `capture` or `manage`, each with those before.", "manage"),
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
    "Age": Word("Seconds since its exposure began.", 12),
    "Cache-Control": Word("How long it may be kept.", "no-cache"),
    "Content-Disposition": Word("What to call the file.", 'inline; filename="dog-20261122-111438.jpg"'),
    "Content-Range": Word("Which bytes these are.", "bytes 0-1023/252582"),
    "ETag": Word("Changes when the content does.", f'"{ID}"'),
    "Location": Word("Where to go on.", f"/snapshots/{ID}"),
    "Preference-Applied": Word("respond-async", "respond-async"),
    "Retry-After": Word("Seconds after which it may work.", 1),
    "Set-Cookie": Word("The id of your last snapshot, or a session that began or ended.", f"dog_snapshot={ID}"),
    "X-Captured-At": Word("When its exposure began.", AT, TIME),
    "X-Outcome": Word("What became of the press: started, joined, queued or cached.", "started"),
    "X-Robots-Tag": Word("Search engines are to leave it alone.", "noindex"),
    "X-Snapshot": Word("The snapshot's id.", ID),
}
