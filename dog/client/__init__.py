"""The client: a D.O.G. server from Python, over its WebSocket and HTTP (docs/protocol.md, docs/clients.md).

    async with Client("http://camera.local:8080") as dog:
        photo = await dog.capture(max_age=10)
        await photo.save(photo.name)
        async for event in dog.events():
            print(event)

It heals its connections by itself, and imports nothing of the service but what is said.
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
"""The name of PushEvent in the first version."""

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
