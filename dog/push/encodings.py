"""Encodings of the push: WebSocket frames and Server-Sent Events.

All viewers with one encoding get the same bytes, so a message is built once for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dog.protocol import Event, Message
from dog.push.websocket_frames import PING, TEXT, build_close, build_frame

__all__ = ["ENCODINGS", "EVENT_STREAM", "WEBSOCKET", "Encoding"]


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """Builders of messages (with their JSON) and closes, and a ping's bytes."""

    build: Callable[[Message | Event, bytes], bytes]
    build_close: Callable[[int, str], bytes]
    ping: bytes


def _build_event(message: Message | Event, text: bytes) -> bytes:
    """Build a Server-Sent Event (HTML standard, 9.2.5). Its id is the cursor."""
    cursor = getattr(message, "cursor", None)
    head = f"id: {cursor}\n" if cursor is not None else ""
    return f"{head}event: {message.__struct_config__.tag}\ndata: ".encode() + text + b"\n\n"


WEBSOCKET = Encoding(
    build=lambda _message, text: build_frame(TEXT, text), build_close=build_close, ping=build_frame(PING, b"")
)
EVENT_STREAM = Encoding(
    build=_build_event,
    build_close=lambda _code, _reason: b"",  # the stream ends, and a browser reconnects
    ping=b":\n\n",
)
ENCODINGS = (WEBSOCKET, EVENT_STREAM)
