"""The push in a document that tools can read: AsyncAPI 3.0, made of the very types of dog.protocol."""

from collections.abc import Iterable
from typing import Any, get_args
from urllib.parse import urlsplit

from dog import __version__
from dog.protocol import Error, Event, Hello, Pong, Reply, Request, Viewers
from dog.web.apidocs.descriptions import TYPES
from dog.web.apidocs.operation import Operation
from dog.web.apidocs.schemas import Schema, Schemas

__all__ = ["make_asyncapi"]

TO_ONE = (Hello, Reply, Error, Pong)
TO_ALL = (*get_args(Event), Viewers)
HEARD = get_args(Request)

DESCRIPTION = (
    "Each message is one JSON object with a `type`. Ignore fields and types that you do not know. Times are RFC 3339 in"
    " UTC, durations are in seconds. `hello` comes first and is the whole state. After a loss, reconnect with"
    " the last `cursor`: the events after it follow, if the server still has them (the last 256)."
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
ANSWERS = {
    "capture": ("reply", "error"),
    "resume": ("hello", "error"),
    "ping": ("pong", "error"),
    "auth": ("hello", "error"),
}


def make_asyncapi(push: Operation, events: Operation, base_url: str | None) -> dict[str, Any]:
    """The document. `push` and `events` are the operations by which the two channels are opened."""
    schemas = Schemas()
    messages = {_tag(kind): _describe(kind, schemas.request_schema(kind), schemas) for kind in HEARD}
    messages |= {_tag(kind): _describe(kind, schemas.response_schema(kind), schemas) for kind in (*TO_ONE, *TO_ALL)}
    told = [_tag(kind) for kind in (Hello, *TO_ALL)]
    document: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "info": {"title": "D.O.G., the push", "version": __version__, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {
            "ws": {
                "address": push.path,
                "title": push.summary,
                "description": CLOSE_CODES,
                "messages": _refer("#/components/messages", messages),
                "bindings": {"ws": {"method": "GET", "query": _query(push, schemas)}},
            },
            "events": {
                "address": events.path,
                "title": events.summary,
                "description": STREAM,
                "messages": _refer("#/components/messages", told),
            },
        },
        "operations": {
            **{_tag(kind): _hear(_tag(kind)) for kind in HEARD},
            "tellOne": _tell("ws", "To one viewer.", map(_tag, TO_ONE)),
            "tellAll": _tell("ws", "To every viewer.", map(_tag, TO_ALL)),
            "stream": {
                **_tell("events", "To every viewer, after its hello.", told),
                "bindings": {"http": {"method": "GET", "query": _query(events, schemas)}},
            },
        },
        "components": {"messages": messages, "schemas": schemas.components},
    }
    if base_url is not None:
        public = urlsplit(base_url)
        place = {"host": public.netloc, "pathname": public.path or "/"}
        document["servers"] = {
            "ws": {**place, "protocol": "wss" if public.scheme == "https" else "ws"},
            "events": {**place, "protocol": public.scheme},
        }
        for name, channel in document["channels"].items():
            channel["servers"] = [{"$ref": f"#/servers/{name}"}]
    return document


def _tag(kind: Any) -> str:
    return str(kind.__struct_config__.tag)


def _describe(kind: Any, schema: Schema, schemas: Schemas) -> dict[str, Any]:
    return {
        "name": _tag(kind),
        "title": _tag(kind),
        "summary": TYPES[kind.__name__],
        "payload": schema,
        "examples": [{"payload": schemas.example(schema)}],
    }


def _refer(place: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
    return {name: {"$ref": f"{place}/{name}"} for name in names}


def _refer_in(channel: str, names: Iterable[str]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]


def _hear(name: str) -> dict[str, Any]:
    channel = {"$ref": "#/channels/ws"}
    return {
        "action": "receive",
        "channel": channel,
        "messages": _refer_in("ws", [name]),
        "reply": {"channel": channel, "messages": _refer_in("ws", ANSWERS[name])},
    }


def _tell(channel: str, summary: str, names: Iterable[str]) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": _refer_in(channel, names),
    }


def _query(operation: Operation, schemas: Schemas) -> Schema:
    """What may stand in the query of the address that opens a channel."""
    fields = schemas.fields(operation.query) if operation.query is not None else []
    return {
        "type": "object",
        "properties": {name: {**schema, "description": word.what} for name, _, schema, word in fields},
    }
