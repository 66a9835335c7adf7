"""Client: take photos, receive events and list photos of one server."""

import asyncio
import math
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Self, TypeVar

import msgspec

from dog.client.errors import AddressError
from dog.client.http import Server, parse_server_url
from dog.client.photos import Photo, make_photo
from dog.client.push import Push, PushEvent
from dog.protocol import CameraStatus, Outcome, SnapshotBody, encode

__all__ = ["Client"]

MAX_QUEUED_EVENTS = 1000
"""Maximum number of events that wait for a slow reader. Then the server drops the connection, and replays the rest."""
PAGE_SIZE = 200
"""Photos in one response of a list, the server's maximum."""

T = TypeVar("T")


class _PhotoBody(SnapshotBody, frozen=True, kw_only=True):
    """The response to a capture request."""

    outcome: Outcome | None = None
    age: float | None = None


class _PhotoList(msgspec.Struct):
    snapshots: list[SnapshotBody]


class _CameraList(msgspec.Struct):
    cameras: list[CameraStatus]


class Client:
    """A client: `async with Client("http://camera.local:8080") as dog:`.

    Opening it does not connect yet. A call waits at most `timeout` seconds (None: no limit), and repeats its request if
    the connection is lost. If the server was never reached, a call raises Unreachable at once. `token` is one that
    `dog token add` printed, for a server that requires a login. `certificate` is a PEM file with the only certificate
    to trust, such as a self-signed one. Several tasks may use a client at the same time.
    Raise AddressError, ValueError for an invalid token, and OSError for a file without a certificate.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float | None = 60.0,
        token: str | None = None,
        certificate: str | os.PathLike[str] | None = None,
    ) -> None:
        server_url = parse_server_url(url)
        if token is not None and server_url.user is not None:
            raise AddressError("the URL has a user and a password, and there is a token. Leave one of them out.")
        self._server = Server(server_url, timeout, token, certificate)

    async def __aenter__(self) -> Self:
        self._server.open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._server.close()

    @property
    def url(self) -> str:
        """The server's URL, without user, password and trailing slash."""
        return self._server.display_url

    async def capture(
        self, *, max_age: float | None = None, camera: str | None = None, request: str | None = None
    ) -> Photo:
        """Take a photo, and wait for it.

        Its exposure began at most `max_age` seconds before the request: 0 takes a new photo, None allows one up to the
        camera's dead time old. `camera` is a name; None is the first camera. One call takes one photo, even if the
        connection is lost or the server restarts and the request is repeated. With the same `request` (up to 128 random
        characters, an idempotency key), several calls take one photo.
        Raise ValueError for an invalid `max_age`, CaptureFailed if the photo fails, Refused, Unreachable and Forbidden.
        """
        if max_age is not None and not (math.isfinite(max_age) and max_age >= 0):
            raise ValueError("max_age must be a number of seconds, 0 or more")
        fields = {"camera": camera, "max_age": max_age}
        answer = await self._server.capture(
            encode({name: value for name, value in fields.items() if value is not None}), request or str(uuid.uuid4())
        )
        body = self._decode(answer.body, _PhotoBody)
        return make_photo(self._server, body, body.outcome, body.age)

    async def events(self, *, since: str | None = None) -> AsyncIterator[PushEvent]:
        """Yield events as messages of `dog.protocol`, each once and in order.

        The first is a Hello with the whole state. A Hello and every numbered event has a `cursor`; `since` is one of
        them, and the events after it follow the Hello. A lost connection is reported as Lost, and made again until it
        succeeds. Then follow a Hello and the events that were missed, or Missed if the server no longer has them.
        Raise Unreachable if the server was never reached, and Forbidden.
        """
        events: asyncio.Queue[PushEvent | Exception] = asyncio.Queue(MAX_QUEUED_EVENTS)

        async def receive() -> None:
            try:
                await Push(self._server, events.put, since).run()
            except Exception as error:  # raised below, by the iterator
                await events.put(error)

        task = asyncio.create_task(receive(), name=f"push of {self.url}")
        try:
            while True:
                event = await events.get()
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def photo(self, snapshot: SnapshotBody) -> Photo:
        """Return the photo of a Ready, or of a camera status's `latest`."""
        return make_photo(self._server, snapshot)

    async def snapshots(self, *, camera: str | None = None, before: str | None = None) -> AsyncIterator[Photo]:
        """Yield photos, newest first: all, or those older than the id `before`.

        Raise PhotoGone if the photo `before` does not exist, Refused for an unknown camera, Unreachable and Forbidden.
        """
        while True:  # a server accepts a `before` that was deleted since the last page
            query = {"limit": str(PAGE_SIZE), "camera": camera, "before": before}
            answer = await self._server.get("api/snapshots", {k: v for k, v in query.items() if v is not None})
            page = self._decode(answer, _PhotoList).snapshots
            for body in page:
                yield make_photo(self._server, body)
            if len(page) != PAGE_SIZE:
                return
            before = page[-1].snapshot

    async def cameras(self) -> list[CameraStatus]:
        """Return the status of each camera. Raise Unreachable and Forbidden."""
        return self._decode(await self._server.get("api/cameras"), _CameraList).cameras

    def _decode(self, data: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise self._server.not_a_dog_server() from error
