"""What goes wrong for a client, as one tree.

    DogError
    └── ClientError
        ├── AddressError        what was given is no address
        ├── Unreachable         nobody answers there, or not in time, or something that is no D.O.G.
        ├── Forbidden           the server lets nobody in who comes like this
        ├── PhotoDamaged        what came is not the picture that the server told of
        └── Refused             the server answered, and what it said was no
            ├── CaptureFailed   the camera or the disk gave no photo
            └── PhotoGone       there is no such photo, or not any more

A message names the thing, what was wrong and what to do. It may name the address, but never a password in it.
"""

from dog.errors import DogError

__all__ = [
    "AddressError",
    "CaptureFailed",
    "ClientError",
    "Forbidden",
    "PhotoDamaged",
    "PhotoGone",
    "Refused",
    "Unreachable",
]


class ClientError(DogError):
    """The root: whatever a client raises on purpose."""


class AddressError(ClientError):
    """What was given is no address such as http://camera.local:8080."""


class Unreachable(ClientError):
    """The server can't be reached, or did not answer in time."""


class Forbidden(ClientError):
    """The server lets nobody in who comes like this (401 or 403; 4401 or 4403 on the push): trying again is no use."""


class PhotoDamaged(ClientError):
    """What came, several times, differs in length or hash from the picture that the server told of."""


class Refused(ClientError):
    """The server said no. `code` is one of docs/protocol.md's; `retry_after` is in seconds, where waiting helps."""

    def __init__(self, code: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


class CaptureFailed(Refused):
    """A press that gave no photo: `camera_offline`, `timeout`, `storage_full` and the like."""


class PhotoGone(Refused):
    """There is no such photo on the server, or not any more."""
