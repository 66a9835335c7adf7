"""The client library: a D.O.G. server from Python (docs/clients.md).

    async with Client("http://camera.local:8080") as dog:
        photo = await dog.capture(max_age=10)
        await photo.save(photo.name)
        async for event in dog.events():
            print(event)

It reconnects by itself. Of the service it imports only the protocol, errors and helpers.
"""

from dog.client.client import Client
from dog.client.errors import (
    AddressError,
    CaptureFailed,
    ClientError,
    Forbidden,
    PhotoDamaged,
    PhotoGone,
    Refused,
    Unreachable,
)
from dog.client.photos import Photo
from dog.client.push import Lost, Missed, PushEvent
from dog.protocol import (
    CameraChanged,
    CameraStatus,
    Capturing,
    Failed,
    Hello,
    Outcome,
    Ready,
    Removed,
    SnapshotBody,
    Viewers,
)

Heard = PushEvent
"""Deprecated name of PushEvent."""

__all__ = [
    "AddressError",
    "CameraChanged",
    "CameraStatus",
    "CaptureFailed",
    "Capturing",
    "Client",
    "ClientError",
    "Failed",
    "Forbidden",
    "Heard",
    "Hello",
    "Lost",
    "Missed",
    "Outcome",
    "Photo",
    "PhotoDamaged",
    "PhotoGone",
    "PushEvent",
    "Ready",
    "Refused",
    "Removed",
    "SnapshotBody",
    "Unreachable",
    "Viewers",
]
