"""The forms in which the push goes out: what a message is on the wire of a WebSocket, and as a Server-Sent Event.

What is written to all viewers of one form is the same, so it is built once for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dog.protocol import Event, Message
from dog.push.websocket_frames import PING, TEXT, build_close, build_frame

__all__ = ["ENCODINGS", "EVENT_STREAM", "WEBSOCKET", "Encoding"]


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """`build` makes bytes of a message and its JSON, `build_close` those of a farewell; `ping` keeps a line open."""

    build: Callable[[Message | Event, bytes], bytes]
    build_close: Callable[[int, str], bytes]
    ping: bytes


def _build_event(message: Message | Event, text: bytes) -> bytes:
    """As the HTML standard has it (9.2.5). What is not numbered has no id: the last one stays the reader's own."""
    cursor = getattr(message, "cursor", None)
    head = f"id: {cursor}\n" if cursor is not None else ""
    return f"{head}event: {message.__struct_config__.tag}\ndata: ".encode() + text + b"\n\n"


WEBSOCKET = Encoding(
    build=lambda _message, text: build_frame(TEXT, text),
    build_close=build_close,
    ping=build_frame(PING, b""),
)
EVENT_STREAM = Encoding(
    build=_build_event,
    build_close=lambda _code, _reason: b"",  # it ends, and a browser comes back
    ping=b":\n\n",
)
ENCODINGS = (WEBSOCKET, EVENT_STREAM)
