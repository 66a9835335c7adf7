"""The AsyncAPI 3.0 document of the push (dog.protocol) and the live view."""

from collections.abc import Iterable
from typing import Any, get_args
from urllib.parse import urlsplit

from dog import __version__
from dog.protocol import Error, Event, Hello, Pong, Reply, Request, Viewers
from dog.web.apidocs.operation import Operation
from dog.web.apidocs.schemas import Schema, Schemas

__all__ = ["make_asyncapi"]

SENT_TO_ONE = (Hello, Reply, Error, Pong)
SENT_TO_ALL = (*get_args(Event), Viewers)
REQUESTS = get_args(Request)

DESCRIPTION = (
    "Each message of the push is one JSON object with a `type`. Ignore fields and types that you do not know. Times are"
    " RFC 3339 in UTC, durations are in seconds. `hello` comes first and is the whole state. After a loss, reconnect"
    " with the last `cursor`: the events after it follow, if the server still has them (the last 256)."
)
CLOSE_CODES = (
    "After the close codes 1001 (going away), 1012 (restart), 1013 (overloaded) and 4029 (rate limited), reconnect with"
    " full jitter: 0.5 s, doubling to 20 s. After 4401 (unauthorized) and 4403 (forbidden), do not reconnect. If you"
    " receive `error` with `unauthorized` instead of `hello`, send `auth` within ten seconds."
)
STREAM = (
    "The same messages as Server-Sent Events, for clients that only listen. `event` is the type of the message, `data`"
    " the message, and `id` its cursor, which a browser sends when it reconnects. A comment is sent every 25 s."
)
LIVE_VIEW = (
    "The frames of a camera's live view. Each is a JPEG in messages of at most 16 KiB, and an empty message at its end."
    " Send an empty text message when you have drawn it: the next frame comes only then. After 2 s without a new frame,"
    " the server sends only the empty message. Answer it, too."
)
PREVIEW_MESSAGES = {
    "piece": ("A piece of a frame, or, if it is empty, its end.", "image/jpeg", {"type": "string", "format": "binary"}),
    "drawn": ("You have drawn the frame.", "text/plain", {"type": "string", "maxLength": 0}),
}
REPLY_TYPES = {
    "capture": ("reply", "error"),
    "resume": ("hello", "error"),
    "ping": ("pong", "error"),
    "auth": ("hello", "error"),
}


def make_asyncapi(push: Operation, events: Operation, preview: Operation, base_url: str | None) -> dict[str, Any]:
    """Make the document from the operations that open its channels."""
    schemas = Schemas()
    messages = {_type(kind): _message(kind, schemas.request_schema(kind), schemas) for kind in REQUESTS}
    messages |= {
        _type(kind): _message(kind, schemas.response_schema(kind), schemas) for kind in (*SENT_TO_ONE, *SENT_TO_ALL)
    }
    frames = {
        name: {"name": name, "title": name, "summary": summary, "contentType": content_type, "payload": payload}
        for name, (summary, content_type, payload) in PREVIEW_MESSAGES.items()
    }
    streamed = [_type(kind) for kind in (Hello, *SENT_TO_ALL)]
    document: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "info": {"title": "D.O.G., the push and the live view", "version": __version__, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {
            "ws": {
                "address": push.path,
                "title": push.summary,
                "description": CLOSE_CODES,
                "messages": _references("#/components/messages", messages),
                "bindings": {"ws": {"method": "GET", "query": _query_schema(push, schemas)}},
            },
            "events": {
                "address": events.path,
                "title": events.summary,
                "description": STREAM,
                "messages": _references("#/components/messages", streamed),
            },
            "preview": {
                "address": preview.path,
                "title": preview.summary,
                "description": LIVE_VIEW,
                "messages": _references("#/components/messages", frames),
                "bindings": {"ws": {"method": "GET", "query": _query_schema(preview, schemas)}},
            },
        },
        "operations": {
            **{_type(kind): _receive_operation(_type(kind)) for kind in REQUESTS},
            "tellOne": _send_operation("ws", "To one viewer.", map(_type, SENT_TO_ONE)),
            "tellAll": _send_operation("ws", "To every viewer.", map(_type, SENT_TO_ALL)),
            "stream": {
                **_send_operation("events", "To every viewer, after its hello.", streamed),
                "bindings": {"http": {"method": "GET", "query": _query_schema(events, schemas)}},
            },
            "showFrames": _send_operation("preview", "To one client of a live view.", ["piece"]),
            "acknowledge": {
                "action": "receive",
                "channel": {"$ref": "#/channels/preview"},
                "messages": _channel_references("preview", ["drawn"]),
            },
        },
        "components": {"messages": messages | frames, "schemas": schemas.components},
    }
    if base_url is not None:
        public = urlsplit(base_url)
        location = {"host": public.netloc, "pathname": public.path or "/"}
        document["servers"] = {
            "ws": {**location, "protocol": "wss" if public.scheme == "https" else "ws"},
            "events": {**location, "protocol": public.scheme},
        }
        for name, channel in document["channels"].items():
            channel["servers"] = [{"$ref": f"#/servers/{'events' if name == 'events' else 'ws'}"}]
    return document


def _type(kind: Any) -> str:
    return str(kind.__struct_config__.tag)


def _message(kind: Any, schema: Schema, schemas: Schemas) -> dict[str, Any]:
    return {
        "name": _type(kind),
        "title": _type(kind),
        "summary": schemas.components[kind.__name__]["description"],
        "payload": schema,
        "examples": [{"payload": schemas.example(schema)}],
    }


def _references(path: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
    return {name: {"$ref": f"{path}/{name}"} for name in names}


def _channel_references(channel: str, names: Iterable[str]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]


def _receive_operation(name: str) -> dict[str, Any]:
    channel = {"$ref": "#/channels/ws"}
    return {
        "action": "receive",
        "channel": channel,
        "messages": _channel_references("ws", [name]),
        "reply": {"channel": channel, "messages": _channel_references("ws", REPLY_TYPES[name])},
    }


def _send_operation(channel: str, summary: str, names: Iterable[str]) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": _channel_references(channel, names),
    }


def _query_schema(operation: Operation, schemas: Schemas) -> Schema:
    """Return the schema of the query in the URL that opens a channel."""
    parameters = schemas.parameters(operation.query) if operation.query is not None else []
    return {
        "type": "object",
        "properties": {name: schema for name, _, schema in parameters},
    }
