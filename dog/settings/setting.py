"""A setting: its help, its names and types, and the source of its value."""

import types
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Struct

__all__ = [
    "ACCESS",
    "ADDRESS",
    "CAMERA",
    "COMMAND_LINE",
    "ENVIRONMENT",
    "GROUPS",
    "LIMITS",
    "LOG",
    "PICTURES",
    "Setting",
    "SettingInfo",
    "Source",
    "flag_of",
    "format_default",
    "settings_table",
    "strip_limits",
    "variable_of",
]

ADDRESS = "Address"
ACCESS = "Access"
CAMERA = "Camera"
PICTURES = "Photos"
LIMITS = "Limits"
LOG = "Log"
GROUPS = (ADDRESS, ACCESS, CAMERA, PICTURES, LIMITS, LOG)


COMMAND_LINE = "command line"
ENVIRONMENT = "environment"
"""Places of values that are text. A value of dog.toml has a type."""


class Source(Struct, frozen=True):
    """The source of a value: the setting as it was written, and the place."""

    written: str
    place: str


class SettingInfo(Struct, frozen=True, kw_only=True):
    """The help of a setting.

    `expected` describes valid values; `none_texts` are the texts for None. `common` marks the settings that people
    change: `dog serve --help` and the README show only these.
    """

    group: str
    meaning: str
    expected: str
    metavar: str
    check: Callable[[Any], Any] | None = None
    none_texts: tuple[str, ...] = ()
    common: bool = False


def flag_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def variable_of(name: str) -> str:
    return f"DOG_{name.upper()}"


class Setting(Struct, frozen=True, kw_only=True):
    """A setting: its names, types and help.

    `default` is its text in the help; only `type` has the limits. `in_file` is False for `config`, which names the
    file.
    """

    name: str
    info: SettingInfo
    default: str
    type: Any = str
    kind: Any = str
    in_file: bool = True

    @property
    def flag(self) -> str:
        return flag_of(self.name)

    @property
    def variable(self) -> str:
        return variable_of(self.name)


def strip_limits(kind: Any) -> Any:
    """Return a type without its limits and without None."""
    if get_origin(kind) in (Union, types.UnionType):
        return strip_limits(next(one for one in get_args(kind) if one is not types.NoneType))
    return strip_limits(kind.__origin__) if get_origin(kind) is Annotated else kind


def format_default(field: msgspec.structs.FieldInfo) -> str:
    """Return a field's default as the help shows it."""
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if value is None or value == () or value == {}:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings_table(settings: Iterable[Setting]) -> str:
    """Return a table of settings in Markdown."""
    lines = ["| flag | variable | in dog.toml | default | meaning | what to write |", "| --- " * 6 + "|"]
    for one in settings:
        key = f"`{one.name}`" if one.in_file else ""
        default = one.default if one.default == "none" else f"`{one.default}`"
        texts = f"{one.info.meaning} | {one.info.expected}"
        lines.append(f"| `{one.flag}` | `{one.variable}` | {key} | {default} | {texts} |")
    return "\n".join(lines) + "\n"
