"""Controls: what every driver that has some tells of them, and how a person's word for one is read."""

from collections.abc import Mapping
from typing import Any, Protocol

from dog.errors import CameraOffline

__all__ = ["Control", "join_limited", "parse_control"]

MAX_LISTED = 20
"""Of whatever is listed in a message."""


class Control(Protocol):
    """One control of a camera."""

    @property
    def name(self) -> str: ...

    @property
    def default(self) -> object: ...

    @property
    def limits(self) -> str:
        """What may be written, in words: "from 0 to 255"."""

    def read(self, value: bool | int | str) -> Any:
        """As the driver wants it. Raises ValueError where it is not within the limits."""


def parse_control(name: str, value: bool | int | str, offered: Mapping[str, Control]) -> Any:
    """A setting's value as the driver wants it. Raises CameraOffline, with what the camera offers."""
    if name not in offered:
        raise CameraOffline(
            f"The camera has no control {name}. Its controls are: {join_limited(sorted(offered) or ['none'])}."
        )
    try:
        return offered[name].read(value)
    except ValueError:
        raise CameraOffline(f"The control {name} can't be {value}. It can be {offered[name].limits}.") from None


def join_limited(words: list[str], between: str = ", ") -> str:
    """The first few of them, and how many more there are."""
    return between.join(words[:MAX_LISTED]) + (
        f" and {len(words) - MAX_LISTED} more" if len(words) > MAX_LISTED else ""
    )
