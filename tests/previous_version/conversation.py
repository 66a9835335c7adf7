"""A recorded conversation: repeat its requests, and compare the answers.

A recording is a list of steps. A value that differs with each run is a mark such as `<id 3>`: any id, but the same one
wherever the recording has `<id 3>`. Marks without a number stand for any value of their kind. Everything else has to be
equal. An answer may have more fields than the recording, because clients ignore fields that they do not know.
"""

import asyncio
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

__all__ = ["KINDS", "MARK", "SERVER", "Player", "find_differences"]

KINDS = {
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "cursor": r"\d{13}-\d+",
    "sha256": r"[0-9a-f]{64}",
    "token": r"[a-z2-7]{24}\.[A-Za-z0-9_-]{43}",
    "secret": r"[A-Za-z0-9_-]{43}",
    "id": r"[a-z2-7]{24}",
    "hash": r"[0-9a-f]{16}",
    "url": r"http://[\d.]+:\d+",
}
"""Values in texts that differ with each run."""
ANY = {"stamp": r"\d{8}-\d{6}", "digits": r"\d+", "text": r"(?s:.+)"}
NUMBERS = {"seq": int, "epoch": int, "integer": int, "number": float}
MARK = re.compile(rf"<({'|'.join([*KINDS, *ANY, *NUMBERS])})( \d+)?>")
SERVER = "<url 1>"
"""The URL of the server."""
HEADERS = (
    "Accept-Ranges",
    "Age",
    "Allow",
    "Cache-Control",
    "Content-Disposition",
    "Content-Range",
    "Content-Type",
    "ETag",
    "Last-Event-ID",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "Set-Cookie",
    "WWW-Authenticate",
    "X-Captured-At",
    "X-Outcome",
    "X-Robots-Tag",
    "X-Snapshot",
)
"""Headers of responses that clients read."""
EVENTS = ("capturing", "ready", "failed", "camera", "removed")
_TIMEOUT = 20

Names = dict[str, Any]
"""The value of each mark that has appeared so far."""


# ---- comparing


def find_differences(expected: Any, actual: Any, names: Names, path: str = "") -> Iterator[str]:
    """Yield each difference between a recorded and a current value.

    Marks get their values in `names`.
    """
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            if key in actual:
                yield from find_differences(value, actual[key], names, f"{path}.{key}")
            else:
                yield f"{path}.{key} is missing; it was {value!r}"
    elif isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            yield f"{path} has {len(actual)} items, not {len(expected)}: {actual!r}"
        for number, (one, other) in enumerate(zip(expected, actual, strict=False)):
            yield from find_differences(one, other, names, f"{path}[{number}]")
    elif isinstance(expected, str) and (mark := MARK.fullmatch(expected)) and mark[1] in NUMBERS:
        kind = (int, float) if NUMBERS[mark[1]] is float else int
        if isinstance(actual, bool) or not isinstance(actual, kind):
            yield f"{path} is {actual!r}, not a number like {expected}"
        elif mark[2] and names.setdefault(expected, actual) != actual:
            yield f"{path} is {actual!r}, and {expected} was {names[expected]!r} before"
    elif isinstance(expected, str) and isinstance(actual, str):
        yield from _compare_texts(expected, actual, names, path)
    elif type(expected) is not type(actual) or expected != actual:
        yield f"{path} is {actual!r}, not {expected!r}"


def _compare_texts(expected: str, actual: str, names: Names, path: str) -> Iterator[str]:
    pattern, end = "", 0
    new: dict[str, str] = {}
    for mark in MARK.finditer(expected):
        pattern += re.escape(expected[end : mark.start()])
        end = mark.end()
        if mark[0] in names:
            pattern += re.escape(str(names[mark[0]]))
        elif mark[0] in new:
            pattern += f"(?P={new[mark[0]]})"
        elif mark[2]:
            new[mark[0]] = f"mark{len(new)}"
            pattern += f"(?P<{new[mark[0]]}>{KINDS[mark[1]]})"
        else:
            pattern += f"(?:{(KINDS | ANY)[mark[1]]})"
    found = re.fullmatch(pattern + re.escape(expected[end:]), actual)
    if found is None:
        known = {mark[0]: names[mark[0]] for mark in MARK.finditer(expected) if mark[0] in names}
        yield f"{path} is {actual!r}, not like {expected!r}{f', with {known}' if known else ''}"
    else:
        names.update({mark: found[group] for mark, group in new.items()})


# ---- playing


class Player:
    """Carry out the requests of steps in turn, and return the answers.

    A step is one of:
    - {"method", "path", "headers", "body", "times"}: an HTTP request; the body is repeated so many times
    - {"camera": "hold" or "release"}: keep the camera from taking photos, or let it take them again
    - {"connect": NAME, "path", "headers"}: open a WebSocket (/ws) or an event stream (/events)
    - {"send": NAME, "message", "times"}, {"receive": NAME, "group": "events" or "answers"}, {"close": NAME}: use such a
      connection. Messages of the other group are kept for later, because the order of groups is not fixed
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url.rstrip("/")
        self._hold = folder / "hold"
        self._connections: dict[str, _WebSocket | _EventStream] = {}

    async def __aenter__(self) -> "Player":
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._session.close()

    async def play(self, step: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a step, without any marks.

        A step without an answer returns {}.
        """
        async with asyncio.timeout(_TIMEOUT):
            if "camera" in step:
                self._hold.touch() if step["camera"] == "hold" else self._hold.unlink()
                return {}
            if "connect" in step:
                return await self._connect(step)
            if "send" in step:
                message = step["message"]
                text = message * step.get("times", 1) if isinstance(message, str) else json.dumps(message)
                await self._websocket(step["send"]).send(text)
                return {}
            if "receive" in step:
                return await self._connections[step["receive"]].receive_of(step["group"])
            if "close" in step:
                await self._connections[step["close"]].close()
                return {}
            return await self._request(step)

    def _websocket(self, name: str) -> "_WebSocket":
        connection = self._connections[name]
        assert isinstance(connection, _WebSocket)
        return connection

    async def _connect(self, step: Mapping[str, Any]) -> dict[str, Any]:
        url, headers = self._url + step["path"], step.get("headers")
        if step["path"].startswith("/events"):
            stream = await self._session.get(url, headers=headers, timeout=aiohttp.ClientTimeout(total=None))
            self._connections[step["connect"]] = _EventStream(stream)
            return {"status": stream.status, "headers": _keep_headers(stream)}
        try:
            socket = await self._session.ws_connect(url, headers=headers)
        except aiohttp.WSServerHandshakeError as error:
            return {"status": error.status}
        self._connections[step["connect"]] = _WebSocket(socket)
        return {"status": 101}

    async def _request(self, step: Mapping[str, Any]) -> dict[str, Any]:
        body = step.get("body")
        data = json.dumps(body) if isinstance(body, dict) else body and body * step.get("times", 1)
        request = self._session.request(
            step["method"], self._url + step["path"], headers=step.get("headers"), data=data, allow_redirects=False
        )
        async with request as response:
            answer = {"status": response.status, "headers": _keep_headers(response)}
            content = await response.read()
            return answer | ({"body": _read_body(response.content_type, step["path"], content)} if content else {})


def _keep_headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: response.headers[name] for name in HEADERS if name in response.headers}


def _read_body(content_type: str, path: str, content: bytes) -> Any:
    """Return what clients use of a body.

    Of JSON that is everything, of a document its entries, of a file its hash.
    """
    if path == "/api/openapi.json":
        paths = json.loads(content)["paths"]
        return {"operations": {f"{method} {path}": True for path, methods in paths.items() for method in methods}}
    if path == "/api/asyncapi.json":
        messages = json.loads(content)["components"]["messages"]
        return {"messages": {name: True for name in messages}}
    if path == "/metrics":
        return {"metrics": {name: True for name in sorted(re.findall(r"^# TYPE (\S+ \w+)$", content.decode(), re.M))}}
    if content_type.endswith("json"):
        return json.loads(content)
    if content_type.startswith("image/"):
        return {"sha256": hashlib.sha256(content).hexdigest()}
    return None


class _Connection(ABC):
    """A push connection: its messages for all viewers, and for this one."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, dict[str, Any]]] = []

    @abstractmethod
    async def receive(self) -> tuple[str, dict[str, Any]]:
        """Return the type of the next message, and what to compare."""

    async def receive_of(self, group: str) -> dict[str, Any]:
        """Return the next message of a group, or the close code.

        Skip the numbers of viewers.
        """
        for kept in self._kept:
            if (kept[0] in EVENTS) == (group == "events"):
                self._kept.remove(kept)
                return kept[1]
        while True:
            kind, answer = await self.receive()
            if kind == "closed" or ((kind in EVENTS) == (group == "events") and kind != "viewers"):
                return answer
            if kind != "viewers":
                self._kept.append((kind, answer))


class _WebSocket(_Connection):
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        super().__init__()
        self._socket = socket

    async def send(self, text: str) -> None:
        await self._socket.send_str(text)

    async def receive(self) -> tuple[str, dict[str, Any]]:
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            return "closed", {"closed": self._socket.close_code}
        content = json.loads(message.data)
        return content["type"], {"message": content}

    async def close(self) -> None:
        await self._socket.close()


class _EventStream(_Connection):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        super().__init__()
        self._response = response

    async def receive(self) -> tuple[str, dict[str, Any]]:
        event: dict[str, Any] = {}
        while "data" not in event:
            async for line in self._response.content:
                if line == b"\n":
                    break
                name, _, value = line.decode().removesuffix("\n").partition(": ")
                event[name] = value
            if self._response.content.at_eof():
                return "closed", {"closed": None}
        event = {name: event[name] for name in ("id", "event", "data") if name in event}
        event["data"] = json.loads(event["data"])
        return event["event"], {"message": event}

    async def close(self) -> None:
        self._response.close()
