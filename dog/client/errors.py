"""The errors of the client library, as one tree.

    DogError
    └── ClientError
        ├── AddressError        the server URL is invalid
        ├── Unreachable         no server answers in time, or it is not a D.O.G. server
        ├── Forbidden           the server refuses the token or password, or requires one
        ├── PhotoDamaged        the photo's bytes differ from its length or hash
        └── Refused             the server refused the request
            ├── CaptureFailed   the camera or the disk failed
            └── PhotoGone       the photo does not exist, or was deleted

A message names the problem and its remedy. It may contain the server's URL, but never a password.
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
    """The base class of all errors that a client raises."""


class AddressError(ClientError):
    """The server URL is invalid. A valid one is http://camera.local:8080."""


class Unreachable(ClientError):
    """The server can't be reached, or did not answer in time."""


class Forbidden(ClientError):
    """The server refuses access (401, 403, 4401, 4403). A retry can't help."""


class PhotoDamaged(ClientError):
    """The image differs from its length or hash, after several attempts."""


class Refused(ClientError):
    """The server refused. `code`: docs/protocol.md; `retry_after`: seconds."""

    def __init__(self, code: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


class CaptureFailed(Refused):
    """The capture failed: `camera_offline`, `timeout`, `storage_full`..."""


class PhotoGone(Refused):
    """The photo does not exist on the server, or was deleted."""
