"""Controls of a V4L2 device, such as exposure and focus."""

import contextlib
import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from linuxpy.ioctl import ioctl  # type: ignore[import-untyped]
from linuxpy.video import device as v4l2  # type: ignore[import-untyped]
from linuxpy.video import raw

from dog.cameras.controls import parse_control
from dog.errors import CameraOffline

__all__ = ["Control", "list_controls", "set_controls"]


@dataclass(frozen=True, slots=True)
class Control:
    """A control: its name in settings, its limits, and a menu's words."""

    name: str
    kind: str
    minimum: int
    maximum: int
    step: int
    default: int
    menu: Mapping[int, str] = field(default_factory=dict)
    inactive: bool = False
    id: int = 0

    @property
    def limits(self) -> str:
        """The allowed values: "from 0 to 255 in steps of 5", "0 (Off) or 1 (On)"."""
        if self.kind == "boolean":
            return "true or false"
        if self.kind == "button":
            return "true"
        if self.menu:
            return " or ".join(f"{number} ({words})" for number, words in self.menu.items())
        return f"from {self.minimum} to {self.maximum}" + (f" in steps of {self.step}" if self.step > 1 else "")

    def parse(self, value: bool | int | str) -> int:
        """Convert a value to the number to set, or raise ValueError."""
        if isinstance(value, str):
            for number, words in self.menu.items():
                if _name(words) == _name(value):
                    return number
            raise ValueError(value)
        number = int(value)
        if self.menu:
            allowed = number in self.menu
        elif self.kind == "button":
            allowed = number == 1
        else:
            allowed = self.minimum <= number <= self.maximum and (number - self.minimum) % max(self.step, 1) == 0
        if not allowed:
            raise ValueError(value)
        return number


_KINDS = {
    raw.CtrlType.INTEGER: "integer",
    raw.CtrlType.BOOLEAN: "boolean",
    raw.CtrlType.MENU: "menu",
    raw.CtrlType.INTEGER_MENU: "menu",
    raw.CtrlType.BUTTON: "button",
    raw.CtrlType.BITMASK: "bits",
}
"""Types of controls whose value is one number."""


def _name(words: str) -> str:
    """Return a name as v4l2-ctl writes it, such as exposure_time_absolute."""
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def list_controls(descriptor: int) -> Iterator[Control]:
    """Yield the controls that can be set."""
    flags = raw.ControlFlag
    entry = raw.v4l2_query_ext_ctrl(id=flags.NEXT_CTRL)
    while True:
        try:
            ioctl(descriptor, raw.IOC.QUERY_EXT_CTRL, entry)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return
            raise
        number = entry.id
        if entry.type in _KINDS and not entry.flags & (flags.DISABLED | flags.READ_ONLY):
            yield Control(
                name=_name(entry.name.decode(errors="replace")),
                kind=_KINDS[entry.type],
                minimum=entry.minimum,
                maximum=entry.maximum,
                step=entry.step,
                default=entry.default_value,
                menu=_read_menu(descriptor, entry),
                inactive=bool(entry.flags & (flags.INACTIVE | flags.GRABBED)),
                id=number,
            )
        entry.id = number | flags.NEXT_CTRL


def _read_menu(descriptor: int, control: Any) -> dict[int, str]:
    if _KINDS[control.type] != "menu":
        return {}
    menu: dict[int, str] = {}
    for index in range(control.minimum, control.maximum + 1):
        item = raw.v4l2_querymenu(id=control.id, index=index)
        with contextlib.suppress(OSError):  # a menu may skip numbers
            ioctl(descriptor, raw.IOC.QUERYMENU, item)
            menu[index] = str(item.value) if control.type == raw.CtrlType.INTEGER_MENU else item.name.decode("latin-1")
    return menu


def set_controls(descriptor: int, wanted: Mapping[str, bool | int | str]) -> None:
    """Set controls; retry those that another locks (auto_exposure does)."""
    waiting = dict(wanted)
    while waiting:
        offered = {control.name: control for control in list_controls(descriptor)}
        values = {name: parse_control(name, value, offered) for name, value in waiting.items()}
        refusals: dict[str, str] = {}
        for name, value in values.items():
            if offered[name].inactive:
                refusals[name] = "another control locks it, such as an automatic one; set that too"
                continue
            try:
                v4l2.set_control(descriptor, offered[name].id, value)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    raise
                refusals[name] = f"the camera refuses it ({error.strerror})"
        if len(refusals) == len(waiting):
            name, reason = next(iter(refusals.items()))
            raise CameraOffline(f"The control {name} can't be set to {waiting[name]}: {reason}. Set another value.")
        waiting = {name: waiting[name] for name in refusals}
