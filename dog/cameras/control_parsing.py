"""Controls of a camera, such as exposure: interface and parsing."""

from collections.abc import Mapping
from typing import Any, Protocol

from dog.errors import CameraOffline

__all__ = ["Control", "join_limited", "parse_control"]

MAX_LISTED = 20
"""Items of a list in a message."""


class Control(Protocol):
    """The interface of a camera's control."""

    @property
    def name(self) -> str: ...

    @property
    def default(self) -> object: ...

    @property
    def limits(self) -> str:
        """The allowed values in words: "from 0 to 255"."""

    def parse(self, value: bool | int | str) -> Any:
        """Convert a value for the driver. Raises ValueError outside the limits."""


def parse_control(name: str, value: bool | int | str, offered: Mapping[str, Control]) -> Any:
    """Convert a value for the driver, or raise CameraOffline with the choices."""
    if name not in offered:
        raise CameraOffline(
            f"The camera has no control {name}. Its controls are: {join_limited(sorted(offered) or ['none'])}."
        )
    try:
        return offered[name].parse(value)
    except ValueError:
        raise CameraOffline(f"The control {name} can't be {value}. It can be {offered[name].limits}.") from None


def join_limited(words: list[str], separator: str = ", ") -> str:
    """Join the first words, and add how many more there are."""
    more = f" and {len(words) - MAX_LISTED} more" if len(words) > MAX_LISTED else ""
    return separator.join(words[:MAX_LISTED]) + more
