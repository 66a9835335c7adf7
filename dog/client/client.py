"""Client: one server, to take photos, to hear what happens and to look at what there is."""

import asyncio
import math
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from dog.client.errors import AddressError
from dog.client.http import Server
from dog.client.photos import Photo, make_photo
from dog.client.push import Push, PushEvent
from dog.client.server_url import parse_server_url
from dog.protocol import CameraStatus, Outcome, SnapshotBody, encode

__all__ = ["Client"]

MAX_QUEUED_EVENTS = 1000
"""Events that may wait for who reads slowly. Then the server's patience ends, and they are had by the cursor later."""
PAGE_SIZE = 200
"""Photos listed at once, the most that a server gives."""

T = TypeVar("T")


class _PhotoBody(SnapshotBody, frozen=True, kw_only=True):
    """The answer to a press."""

    outcome: Outcome | None = None
    age: float | None = None


class _PhotoList(msgspec.Struct):
    snapshots: list[SnapshotBody]


class _CameraList(msgspec.Struct):
    cameras: list[CameraStatus]


class Client:
    """A D.O.G. server, by its address: `async with Client("http://camera.local:8080") as dog:`.

    Opening it connects to nothing yet. Calls that ask for something wait `timeout` seconds for it at most (None: for
    ever), and ask again where a connection dies meanwhile; a server that was never reached is told as Unreachable at
    once. `token` is one that `dog token add` printed, for a server that asks who is there; `certificate` is a PEM file
    with the only one to trust, such as a self-signed one. Everything may be used by several tasks at the same time.
    Raises AddressError, ValueError for what can't be a token, and OSError for a file without a certificate.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float | None = 60.0,
        token: str | None = None,
        certificate: str | os.PathLike[str] | None = None,
    ) -> None:
        address = parse_server_url(url)
        if token is not None and address.user is not None:
            raise AddressError("the address has a user and a password, and there is a token: leave one of them out")
        self._server = Server(address, timeout, token, certificate)

    async def __aenter__(self) -> Self:
        self._server.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.close()

    @property
    def url(self) -> str:
        """The server's address, without a password or a last slash."""
        return self._server.display_url

    async def capture(
        self, *, max_age: float | None = None, camera: str | None = None, request: str | None = None
    ) -> Photo:
        """Press the shutter and wait for the photo.

        The photo's exposure began no earlier than `max_age` seconds before the press: 0 is a new one, and None allows
        what is no older than the camera's dead time. `camera` is its name, None the first. One call is one photo, also
        where the connection dies and the press is said again: a server that was started anew meanwhile knows it by the
        photo that was taken for it. `request`, up to 128 characters chosen at random, makes it one press over several
        calls.
        Raises ValueError for a `max_age` that is no number of seconds, CaptureFailed where there will be no photo,
        Refused, Unreachable and Forbidden.
        """
        if max_age is not None and not (math.isfinite(max_age) and max_age >= 0):
            raise ValueError("max_age is a number of seconds, 0 or more")
        wish = {"camera": camera, "max_age": max_age}
        answer = await self._server.capture(
            encode({name: value for name, value in wish.items() if value is not None}), request or str(uuid.uuid4())
        )
        body = self._decode(answer.body, _PhotoBody)
        return make_photo(self._server, body, body.outcome, body.age)

    async def events(self, *, since: str | None = None) -> AsyncIterator[PushEvent]:
        """What happens, as messages of `dog.protocol`, each once and in order: first a Hello, which is the whole state.

        A Hello and whatever is numbered has a `cursor`; with `since` one of them, what came after it comes first. A
        dead connection is told as Lost and made again for as long as it takes; then follow a Hello and what was missed,
        or, where the server can't tell that any more, Missed.
        Raises Unreachable where the server was never reached, and Forbidden.
        """
        heard: asyncio.Queue[PushEvent | Exception] = asyncio.Queue(MAX_QUEUED_EVENTS)

        async def listen() -> None:
            try:
                await Push(self._server, heard.put, since).run()
            except Exception as error:  # for whoever reads the events
                await heard.put(error)

        listening = asyncio.create_task(listen(), name=f"the push of {self.url}")
        try:
            while True:
                event = await heard.get()
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    def photo(self, snapshot: SnapshotBody) -> Photo:
        """The photo that a Ready, or the `latest` of a camera's status, tells of."""
        return make_photo(self._server, snapshot)

    async def snapshots(self, *, camera: str | None = None, before: str | None = None) -> AsyncIterator[Photo]:
        """All photos there are, newest first, or those older than the one with the id `before`.

        Raises PhotoGone where there is no `before`, Refused for an unknown camera, Unreachable and Forbidden.
        """
        while True:  # also from a photo that is deleted meanwhile, a server goes on
            query = {"limit": str(PAGE_SIZE), "camera": camera, "before": before}
            answer = await self._server.get("api/snapshots", {k: v for k, v in query.items() if v is not None})
            page = self._decode(answer, _PhotoList).snapshots
            for body in page:
                yield make_photo(self._server, body)
            if len(page) != PAGE_SIZE:
                return
            before = page[-1].snapshot

    async def cameras(self) -> list[CameraStatus]:
        """Each camera as it is now. Raises Unreachable and Forbidden."""
        return self._decode(await self._server.get("api/cameras"), _CameraList).cameras

    def _decode(self, data: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise self._server.not_a_dog_server() from error
