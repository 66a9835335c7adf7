"""A setting: its help, names and types, and its value: converted and checked.

A `check_` function tests what a type and its limits can't. It returns the value to use, or raises ValueError: without a
message if the setting's `expected` is enough help, otherwise with a message to show.
"""

import ipaddress
import re
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from dog.errors import SettingError

__all__ = [
    "ACCESS",
    "ADDRESS",
    "CAMERA",
    "CAMERA_KINDS",
    "COMMAND_LINE",
    "ENVIRONMENT",
    "GROUPS",
    "LIMITS",
    "LOG",
    "PICTURES",
    "Setting",
    "SettingInfo",
    "Source",
    "check_base_url",
    "check_camera",
    "check_host",
    "check_hosts",
    "check_networks",
    "check_origins",
    "check_pixel_format",
    "check_resolution",
    "convert",
    "flag_of",
    "format_default",
    "has_password",
    "settings_table",
    "shorten",
    "split_camera",
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


CAMERA_KINDS = {
    "test": "",
    "script": ":PATH",
    "v4l2": ":DEVICE",
    "rtsp": "://ADDRESS",
    "rtsps": "://ADDRESS",
    "http": "://ADDRESS",
    "https": "://ADDRESS",
    "picamera": ":NUMBER",
    "faulty": ":FAULTS",
}
"""The kinds of camera, and the form of the argument of each."""

_MAX_SHOWN_CHARACTERS = 80
_PASSWORD = re.compile(r"(?:^|[&;])[\w.-]*(?:pass|pwd|psw|secret|token)[\w.-]*=[^&;]", re.IGNORECASE)
_SHOWS_PASSWORD = (
    "everybody on this computer can read a password on the command line. Remove it and name a file that contains it"
    " with --password-file, or write the URL into the variable DOG_CAMERA or into dog.toml."
)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _parse(setting: Setting, text: str) -> Any:
    """Parse the text of a flag or a variable as dog.toml has it."""
    if setting.kind == tuple[str, ...]:
        return [part.strip() for part in text.split(",")] if text.strip() else []
    if setting.kind in (int, float, bool):
        try:
            return msgspec.convert(text, setting.kind, strict=False)
        except msgspec.ValidationError:
            return text
    if setting.info.metavar == "CONTROLS":
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        controls = {name.strip(): _parse_control(value.strip()) for name, _, value in pairs}
        if "" in controls or len(controls) < len(pairs) or not all(equals for _, equals, _ in pairs):
            raise ValueError
        return controls
    return text


def _parse_control(text: str) -> bool | int | float | str:
    """Parse a control's value into the type that dog.toml would have."""
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d{1,18}\.\d{1,18}", text, re.ASCII) else text


def convert(setting: Setting, given: Any, source: Source, start: Path) -> Any:
    """Convert a value and check its limits. Paths start at `start`."""
    info = setting.info
    shown = redact_camera(given) if setting.name == "camera" else shorten(given)
    if isinstance(given, str) and given in info.none_texts:
        return None
    try:
        value = _parse(setting, given) if source.place in (COMMAND_LINE, ENVIRONMENT) else given
        if value == "":
            raise ValueError
        for one in value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]:
            if isinstance(one, str) and _CONTROL_CHARACTER.search(one):
                raise ValueError(f"{shown} contains a control character. Write {info.expected}.")
        value = msgspec.convert(value, setting.type, dec_hook=_to_path)
        if info.check is not None:
            value = info.check(value)
        if setting.name == "camera":
            if source.place == COMMAND_LINE and has_password(value):
                raise ValueError(_SHOWS_PASSWORD)
            return _resolve_camera_path(value, start)
    except ValueError as error:
        # msgspec's messages are for programmers; one of ours may be their cause.
        message = error.__cause__ if isinstance(error, msgspec.ValidationError) else error
        problem = str(message or "") or f"{shown} is not valid. Write {info.expected}{_hint(setting, given, source)}."
        raise SettingError(source.written, source.place, problem) from None
    return start / value if isinstance(value, Path) else value


def _hint(setting: Setting, given: Any, source: Source) -> str:
    """Return the hint for a number in quotes in dog.toml."""
    from_file = source.place not in (COMMAND_LINE, ENVIRONMENT)
    return ", without quotes" if from_file and isinstance(given, str) and setting.kind in (int, float) else ""


def _resolve_camera_path(camera: str, start: Path) -> str:
    """Return the camera with the absolute path of its program."""
    kind, argument = split_camera(camera)
    return f"{kind}:{start / _to_path(Path, argument)}" if CAMERA_KINDS[kind] == ":PATH" else camera


def _to_path(kind: type, value: Any) -> Any:
    """Convert a string to a path for msgspec, or raise ValueError."""
    if not isinstance(value, str):
        raise ValueError
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"{shorten(value)} begins with an unknown home folder. Write the whole path.") from None


def shorten(value: object) -> str:
    """Return a value for an error message: short, and on one line."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else text[:_MAX_SHOWN_CHARACTERS] + "..."


def redact_camera(value: object) -> str:
    """Return a camera for an error message, without its password."""
    if not isinstance(value, str):
        return shorten(value)
    return shorten(re.sub(r"\?.*", "?***", re.sub(r":.*@", ":***@", value, flags=re.DOTALL), flags=re.DOTALL))


def split_camera(text: str) -> tuple[str, str]:
    """Split a camera such as `script:./snap.sh` into kind and argument.

    Raise ValueError with a message if the kind is unknown, or the argument is missing, wrong or not allowed.
    """
    kind, colon, argument = text.partition(":")
    needs = CAMERA_KINDS.get(kind)
    if needs is None:
        known = ", ".join(f"{name}{needed}" for name, needed in CAMERA_KINDS.items())
        raise ValueError(f"{redact_camera(text)} is not a kind of camera. Write one of {known}.")
    if needs and not argument:
        raise ValueError(f"{redact_camera(text)} needs something after the colon. Write {kind}{needs}.")
    if colon and not needs:
        raise ValueError(f"{redact_camera(text)} takes nothing after the colon. Write {kind}.")
    if needs == "://ADDRESS" and not _is_url(text):
        raise ValueError(f"{redact_camera(text)} is not a valid URL. Write one such as {kind}://192.0.2.7/stream.")
    if needs == ":NUMBER" and not (argument.isascii() and argument.isdigit()):
        raise ValueError(f"{redact_camera(text)} has no number after the colon. Write {kind}:0 for the first camera.")
    return kind, argument


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def check_camera(value: str) -> str:
    split_camera(value)
    return value


def has_password(camera: str) -> bool:
    """Return True if the camera's URL has a password, even in its query."""
    parts = urlsplit(camera)
    return bool(parts.password) or bool(_PASSWORD.search(parts.query))


def check_resolution(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", value, re.ASCII):
        raise ValueError
    return value


def check_pixel_format(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[A-Z0-9]{4}", value, re.ASCII):
        raise ValueError
    return value


def check_host(value: str) -> str:
    if re.fullmatch(r"[^:]+:\d+", value):
        raise ValueError(f"{shorten(value)} contains a port. Leave it out, and write the port as the setting port.")
    if not re.fullmatch(r"[\w.:%-]+", value):
        raise ValueError
    return value


def check_hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    for one in value:
        if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", one):
            raise ValueError(
                f"{shorten(one)} is not a host name. Write one such as dog.lan, without a scheme, a port or a path."
            )
    return tuple(one.lower() for one in value)


def check_networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for one in value:
        try:
            ipaddress.ip_network(one)
        except ValueError:
            raise ValueError(
                f"{shorten(one)} is not an address or a network. Write one such as 127.0.0.1 or 10.0.0.0/8."
            ) from None
    return value


def check_base_url(value: str | None) -> str | None:
    if value is None:
        return None
    origin, path = _split_url(value)
    path = path.rstrip("/")
    if not re.fullmatch(r"(/[\w~%+@-][\w.~%+@-]*)*", path, re.ASCII):
        raise ValueError
    return origin + path


def check_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    origins = []
    for one in value:
        try:
            origin, path = _split_url(one)
        except ValueError:
            raise ValueError(f"{shorten(one)} is not an origin. Write one such as https://example.org.") from None
        if path not in ("", "/"):
            raise ValueError(f"{shorten(one)} has a path. Remove everything after the host or the port.")
        origins.append(origin)
    return tuple(origins)


def _split_url(url: str) -> tuple[str, str]:
    """Split an http(s) URL into the origin, as browsers send it, and path."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError from None  # its message has no remedy
    if parts.scheme not in _DEFAULT_PORTS or not re.fullmatch(r"[a-z0-9.-]+|[0-9a-f:.]+", host):
        raise ValueError
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ValueError
    written = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        written += f":{port}"
    return f"{parts.scheme}://{written}", parts.path
