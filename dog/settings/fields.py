"""All settings: one field each, with its type, limits, default and help.

A value is converted from text or TOML, then checked. A `check_` function tests what a type and its limits can't. It
returns the value to use, or raises ValueError: without a message if the setting's `expected` is enough help, otherwise
with a message to show.
"""

import functools
import ipaddress
import re
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from dog.errors import SettingError
from dog.redaction import ESCAPE_PASSWORD, redact, redact_parameters

__all__ = [
    "ALL_SETTINGS",
    "CAMERA_KINDS",
    "CAMERA_SETTINGS",
    "COMMAND_LINE",
    "COMMON_SETTINGS",
    "CONFIG",
    "ENVIRONMENT",
    "MAIN_CAMERA",
    "RETENTION_SETTINGS",
    "RETIRED_SETTINGS",
    "SETTINGS",
    "Setting",
    "Settings",
    "Source",
    "convert",
    "flag_of",
    "has_password",
    "settings_table",
    "shorten",
    "split_camera",
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

    def error(self, problem: str) -> SettingError:
        return SettingError(self.written, self.place, problem)


class SettingInfo(Struct, frozen=True):
    """The help of a setting.

    `expected` describes valid values, and `metavar` names them in the help. `describe_type` makes those that follow
    from the type, and adds `note` to the valid values. `none_texts` are the texts for None. `common` marks the settings
    that people change: `dog serve --help` and the README show only these.
    """

    group: str
    meaning: str
    expected: str = ""
    note: str = ""
    metavar: str = ""
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


def describe_type(info: SettingInfo, kind: Any) -> SettingInfo:
    """Fill in the valid values, their name and the texts for None of a type."""
    limits, plain = msgspec.inspect.type_info(kind), strip_limits(kind)
    none_texts = info.none_texts
    if isinstance(limits, msgspec.inspect.UnionType):
        limits, none_texts = limits.types[0], none_texts or ("",)
    expected, note, metavar = info.expected, info.note, info.metavar or "FILE"
    if isinstance(limits, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        number = "whole number" if plain is int else "number"
        lowest = f"above {limits.gt}, at most" if limits.ge is None else f"from {limits.ge} to"
        expected = f"a {number}{_UNITS.get(info.metavar, '')} {lowest} {limits.le}"
        metavar = info.metavar or "NUMBER"
    elif get_origin(plain) is Literal:
        expected = f"one of {', '.join(get_args(plain))}"
    elif plain == tuple[str, ...]:
        note = ", separated by commas (in dog.toml: a list); leave it empty for none"
    elif plain is bool:
        expected, metavar = expected or "true or false", "BOOLEAN"
    return msgspec.structs.replace(info, expected=expected + note, metavar=metavar, none_texts=none_texts)


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
_CAMERAS = ", ".join(f"{kind}{argument}" for kind, argument in CAMERA_KINDS.items())

_UNITS = {"SECONDS": " of seconds", "DAYS": " of days", "MIB": " of MiB"}
_MAX_SHOWN_CHARACTERS = 80
_PASSWORD = re.compile(r"(?:[&;,/?_]|%26)[\w.-]*(?:pass|pwd|psw|secret|token)[\w.-]*(?:=|%3D)[^&;]", re.IGNORECASE)
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
            kind, argument = split_camera(value)
            return f"{kind}:{start / _to_path(Path, argument)}" if CAMERA_KINDS[kind] == ":PATH" else value
    except ValueError as error:
        # msgspec's messages are for programmers; one of ours may be their cause.
        message = error.__cause__ if isinstance(error, msgspec.ValidationError) else error
        problem = str(message or "") or f"{shown} is not valid. Write {info.expected}{_hint(setting, given, source)}."
        raise source.error(problem) from None
    return start / value if isinstance(value, Path) else value


def _hint(setting: Setting, given: Any, source: Source) -> str:
    """Return the hint for a number in quotes in dog.toml."""
    from_file = source.place not in (COMMAND_LINE, ENVIRONMENT)
    return ", without quotes" if from_file and isinstance(given, str) and setting.kind in (int, float) else ""


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
    shown = re.sub(r"\?.*", "?***", re.sub(r":.*@", ":***@", value, flags=re.DOTALL), flags=re.DOTALL)
    return shorten(redact_parameters(shown))


def split_camera(text: str) -> tuple[str, str]:
    """Split a camera such as `script:./snap.sh` into kind and argument.

    Raise ValueError with a message if the kind is unknown, or the argument is missing, wrong or not allowed.
    """
    kind, colon, argument = text.partition(":")
    if argument.startswith("//"):
        kind = kind.lower()
    needs = CAMERA_KINDS.get(kind)
    if needs is None:
        raise ValueError(f"{redact_camera(text)} is not a kind of camera. Write one of {_CAMERAS}.")
    if needs and not argument:
        raise ValueError(f"{redact_camera(text)} needs something after the colon. Write {kind}{needs}.")
    if colon and not needs:
        raise ValueError(f"{redact_camera(text)} takes nothing after the colon. Write {kind}.")
    if needs == "://ADDRESS" and not _is_url(text) and "@" in text:
        raise ValueError(f"{redact_camera(text)} is not a valid URL. {ESCAPE_PASSWORD}")
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
    kind, argument = split_camera(value)
    return f"{kind}:{argument}" if argument else kind


def has_password(camera: str) -> bool:
    """Return True if the camera's URL has a password, also in path or query."""
    parts = urlsplit(camera)
    return bool(parts.password) or bool(_PASSWORD.search(f"{parts.path}?{parts.query}"))


def check_fingerprint(value: str | None) -> str | None:
    digits = (value or "").replace(":", "").lower()
    if value is not None and not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError
    return digits or None


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


def check_embed(value: tuple[str, ...]) -> tuple[str, ...]:
    sites = check_origins(value)
    for one in sites:
        if "[" in one:
            raise ValueError(f"{shorten(one)} has an IPv6 address, which browsers ignore here. Write a host name.")
    return sites


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


camera_setting = functools.partial(SettingInfo, CAMERA)
access_setting = functools.partial(SettingInfo, ACCESS)
limit_setting = functools.partial(SettingInfo, LIMITS)
address_setting = functools.partial(SettingInfo, ADDRESS)
photo_setting = functools.partial(SettingInfo, PICTURES)
log_setting = functools.partial(SettingInfo, LOG)

MAIN_CAMERA = "main"
"""Name of the camera that has no table [cameras.NAME]."""


class Settings(Struct, frozen=True, kw_only=True):
    """All settings. The constructor, unlike `load`, does not check values.

    `sources` has the source of each value that is not a default, `warnings` the texts to log at the start.
    `cameras` has the settings of each camera by name; it is empty without tables of cameras.
    """

    camera: Annotated[
        str,
        camera_setting(
            "Camera to use. docs/cameras.md describes each kind.",
            expected=f"one of {_CAMERAS}",
            metavar="CAMERA",
            check=check_camera,
            common=True,
        ),
    ] = "test"
    password_file: Annotated[
        Path | None,
        camera_setting(
            "File with the password of the user in the camera's URL (`rtsp://user@192.0.2.7/`).",
            expected="the path of a file that contains only the password; leave it empty for none",
        ),
    ] = None
    dead_time: Annotated[
        float,
        Meta(ge=0, le=3600),
        camera_setting(
            "Minimum time from the start of one exposure to the start of the next.", metavar="SECONDS", common=True
        ),
    ] = 1.0
    capture_timeout: Annotated[
        float,
        Meta(gt=0, le=600),
        camera_setting("Maximum time that the camera may take for one photo.", metavar="SECONDS"),
    ] = 15.0
    image_type: Annotated[
        Literal["jpg", "jpeg", "png", "webp"],
        camera_setting(
            "Image format of the test card, and suffix of the path that a camera program receives.", metavar="SUFFIX"
        ),
    ] = "jpg"
    resolution: Annotated[
        Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}\Z")] | None,
        camera_setting(
            "Size of the photos, if the camera supports several.",
            expected="a width and a height in pixels such as 1280x720; leave it empty for the camera's largest size",
            metavar="WIDTHxHEIGHT",
            common=True,
        ),
    ] = None
    frame_rate: Annotated[
        Annotated[float, Meta(gt=0, le=1000)] | None,
        camera_setting(
            "Frames per second, if the camera supports several rates.", note="; leave it empty for the camera's default"
        ),
    ] = None
    pixel_format: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Z0-9]{4}\Z")] | None,
        camera_setting(
            "Pixel format of a V4L2 camera's frames.",
            expected="a format that `dog cameras` lists, such as MJPG or YUYV;"
            " leave it empty for JPEG or, without JPEG, the best raw format",
            metavar="FORMAT",
        ),
    ] = None
    controls: Annotated[
        dict[str, bool | int | float | str],
        camera_setting(
            "Camera controls such as exposure, focus and white balance. `dog cameras` lists them.",
            expected="NAME=VALUE pairs such as brightness=128, separated by commas (in dog.toml: a table);"
            " leave it empty for none",
            metavar="CONTROLS",
        ),
    ] = {}
    latency: Annotated[
        float,
        Meta(ge=0, le=60),
        camera_setting(
            "Delay between a frame's exposure and its arrival. Measure it; docs/cameras.md shows how.",
            metavar="SECONDS",
        ),
    ] = 0.0
    discard: Annotated[
        int,
        Meta(ge=0, le=10),
        camera_setting(
            "Images to request and drop before each photo, for HTTP cameras that answer with an earlier image."
            " `dog check` finds out how many."
        ),
    ] = 0
    tls_fingerprint: Annotated[
        str | None,
        camera_setting(
            "SHA-256 fingerprint of the camera's certificate. Only this one is accepted then, whatever its name, age or"
            " issuer. `dog check` prints it.",
            expected="64 hexadecimal digits, with or without colons; leave it empty to check certificates as usual",
            metavar="FINGERPRINT",
            check=check_fingerprint,
        ),
    ] = None
    preview_rate: Annotated[
        float, Meta(gt=0, le=60), camera_setting("Maximum number of frames per second in the live view.")
    ] = 10.0
    warm_up: Annotated[
        float,
        Meta(ge=0, le=60),
        camera_setting(
            "Maximum time for the exposure to settle after the camera is opened. Earlier frames are not used.",
            metavar="SECONDS",
        ),
    ] = 2.0
    black_level: Annotated[
        float,
        Meta(ge=0, le=1),
        camera_setting("Maximum brightness of a black pixel, as a fraction of full brightness.", metavar="FRACTION"),
    ] = 0.1
    retake: Annotated[
        float,
        Meta(ge=0, le=60),
        camera_setting(
            "Maximum time to wait for a better frame if one is black or identical to the previous one.",
            metavar="SECONDS",
        ),
    ] = 2.0
    frozen: Annotated[
        bool,
        camera_setting(
            "Reject a frame that is identical to the previous one.",
            expected="true, or false if the frames of the camera may be identical",
        ),
    ] = True

    auth: Annotated[
        bool, access_setting("Require people to log in and scripts to send a token. See docs/security.md.", common=True)
    ] = False
    anonymous: Annotated[
        Literal["nothing", "view", "capture", "manage"],
        access_setting("Role of people who are not logged in, if auth is on.", metavar="ROLE"),
    ] = "nothing"
    open: Annotated[
        bool,
        access_setting(
            "Allow everybody who can reach the service to watch and take photos without logging in.", common=True
        ),
    ] = False
    session_days: Annotated[float, Meta(gt=0, le=3650), access_setting("Lifetime of a login.", metavar="DAYS")] = 30.0
    hosts: Annotated[
        tuple[str, ...],
        access_setting(
            "More host names that browsers may use for the service. Its IP addresses, this machine's name and"
            " the host of base_url always work.",
            expected="names such as dog.lan",
            metavar="NAMES",
            check=check_hosts,
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        access_setting(
            "Proxies whose Forwarded and X-Forwarded-* headers are trusted.",
            expected="addresses or networks such as 127.0.0.1 or 10.0.0.0/8",
            metavar="ADDRESSES",
            check=check_networks,
        ),
    ] = ()
    private_addresses: Annotated[
        bool,
        access_setting("Follow redirects of a camera in the Internet to addresses in private networks."),
    ] = False
    tls_certificate: Annotated[
        Path | None,
        access_setting(
            "Certificate chain for HTTPS. `dog cert` makes a self-signed certificate.",
            expected="the path of a PEM file; leave it empty for plain HTTP",
            common=True,
        ),
    ] = None
    tls_key: Annotated[
        Path | None,
        access_setting(
            "Private key of the certificate, if it is not in the same file.",
            expected="the path of a PEM file; leave it empty if the certificate's file contains the key",
            common=True,
        ),
    ] = None
    login_attempts: Annotated[
        int,
        Meta(ge=1, le=10_000),
        limit_setting(
            "Failed logins that an account or a client address may have before further attempts have to wait."
        ),
    ] = 10
    presses_per_minute: Annotated[
        int,
        Meta(ge=1, le=100_000),
        limit_setting("New photos per minute that one user or one client address may take on average."),
    ] = 120
    requests_per_minute: Annotated[
        int,
        Meta(ge=60, le=1_000_000),
        limit_setting(
            "Requests per minute that one client address may send on average, and half as many at once. Photos by their"
            " ids, the files of the pages and the push are not counted."
        ),
    ] = 1200
    download_per_hour: Annotated[
        int,
        Meta(ge=1, le=1_000_000_000),
        limit_setting(
            "MiB per hour that one user or one client address may download on average: photos and live views.",
            metavar="MIB",
        ),
    ] = 50_000
    host: Annotated[
        str,
        address_setting(
            "Address to listen on.",
            expected="an address or a name of this machine (0.0.0.0: all IPv4 addresses, '::': all IPv6 addresses)",
            metavar="ADDRESS",
            check=check_host,
            common=True,
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65535), address_setting("Port to listen on.", note=" (0: any free port)", common=True)
    ] = 8080
    base_url: Annotated[
        str | None,
        address_setting(
            "URL that people use, if a proxy is in front of this service.",
            expected="a URL such as https://dog.example.org/cam, without user, query or fragment; leave it empty"
            " for none",
            metavar="URL",
            check=check_base_url,
        ),
    ] = None
    origins: Annotated[
        tuple[str, ...],
        address_setting(
            "Other websites whose pages may watch and take photos (CORS).",
            expected="origins such as https://example.org",
            metavar="URLS",
            check=check_origins,
        ),
    ] = ()
    embed: Annotated[
        tuple[str, ...],
        address_setting(
            "Other websites that may show the pages of share links in a frame, such as a dashboard.",
            expected="origins such as https://example.org",
            metavar="URLS",
            check=check_embed,
        ),
    ] = ()
    snapshots: Annotated[
        Path,
        photo_setting(
            "Folder that the photos are stored in.", expected="the path of a folder", metavar="FOLDER", common=True
        ),
    ] = Path("snapshots")
    snapshots_mount: Annotated[
        bool,
        photo_setting(
            "Start only if the folder of photos is a mount point. Otherwise, its disk may be missing.",
        ),
    ] = False
    default_picture: Annotated[
        Path | None,
        photo_setting(
            "Image that the page shows before the first photo.",
            expected="the path of an image; leave it empty for a drawing of a dog",
        ),
    ] = None
    picture_cache: Annotated[
        int, Meta(ge=0, le=1_000_000), photo_setting("Memory for a cache of the newest photos.", metavar="MIB")
    ] = 64
    keep_days: Annotated[
        Annotated[float, Meta(gt=0, le=36_500)] | None,
        photo_setting(
            "Maximum age of photos. Older ones are deleted, except pinned ones.",
            note="; leave it empty for no limit",
            metavar="DAYS",
            common=True,
        ),
    ] = None
    keep_photos: Annotated[
        Annotated[int, Meta(ge=1, le=100_000_000)] | None,
        photo_setting(
            "Maximum number of photos. The oldest ones are deleted, except pinned ones.",
            note="; leave it empty for no limit",
        ),
    ] = None
    keep_size: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        photo_setting(
            "Maximum disk space for photos. The oldest ones are deleted, except pinned ones.",
            note="; leave it empty for no limit",
            metavar="MIB",
        ),
    ] = None
    keep_free: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        photo_setting(
            "Minimum free disk space. If there is less, the oldest photos are deleted, except pinned ones.",
            note="; leave it empty if photos may fill the disk",
            metavar="MIB",
        ),
    ] = None
    keep_scaled: Annotated[
        int,
        Meta(ge=0, le=1_000_000),
        photo_setting(
            "Maximum disk space for smaller copies of photos, which phones load. They are made again when they are"
            " needed, and are deleted before any photo.",
            metavar="MIB",
        ),
    ] = 256
    exif: Annotated[
        bool,
        photo_setting(
            "Write the time, the camera and the exposure into each JPEG as EXIF, without re-encoding it. A JPEG that"
            " lacks its end marker or the standard Huffman tables gets them in any case.",
            expected="true, or false to write no EXIF",
        ),
    ] = True
    message_rate: Annotated[
        float, Meta(gt=0, le=1000), limit_setting("Messages per second that a viewer may send on average.")
    ] = 10.0
    message_burst: Annotated[int, Meta(ge=1, le=10000), limit_setting("Messages that a viewer may send at once.")] = 60
    max_connections: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        limit_setting(
            "Maximum number of open connections, viewers and scripts together.",
            note="; a lower `ulimit -n` lowers the maximum",
        ),
    ] = 20_000
    max_connections_per_address: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        limit_setting(
            "Maximum number of requests in progress per client address. Further requests wait for up to 10 s. "
            "All clients behind a proxy that is not trusted count as one address."
        ),
    ] = 256
    max_viewers_per_address: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        limit_setting("Maximum number of viewers per client address: live pages, live views and waiting scripts."),
    ] = 2000
    log_file: Annotated[
        Path | None,
        log_setting(
            "Log file, in addition to standard error.",
            expected='the path of a file; leave it empty or write "-" for none',
            none_texts=("", "-"),
        ),
    ] = Path("server.log")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        log_setting("Minimum level of the messages that are logged.", metavar="LEVEL"),
    ] = "info"
    sources: dict[str, Source] = msgspec.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    cameras: "dict[str, Settings]" = msgspec.field(default_factory=dict)

    def by_camera(self) -> "dict[str, Settings]":
        """Return the settings of each camera by name, the default one first."""
        return self.cameras or {MAIN_CAMERA: self}

    def source_of(self, name: str) -> Source:
        """Return the source of a setting's value; its flag for a default."""
        return self.sources.get(name) or Source(flag_of(name), "default")

    def error(self, name: str, problem: str) -> SettingError:
        """Return the error for a value that fails later, such as a used port."""
        return self.source_of(name).error(problem)

    @property
    def camera_kind(self) -> str:
        """The part before the colon: one of CAMERA_KINDS."""
        return split_camera(self.camera)[0]

    @property
    def camera_argument(self) -> str:
        """The part after the colon, such as a path or `//...` of a URL."""
        return split_camera(self.camera)[1]

    def retention(self) -> dict[str, Any]:
        """Return the limits of the album by name."""
        return {name: getattr(self, name) for name in RETENTION_SETTINGS}

    def describe_camera(self) -> dict[str, object]:
        """Return the camera's settings that are not defaults or secrets."""
        default = Settings()
        values = {name: getattr(self, name) for name in CAMERA_SETTINGS if name not in ("camera", "password_file")}
        differing = {name: value for name, value in values.items() if value != getattr(default, name)}
        return {"camera": redact(self.camera), **differing}


def _read_fields() -> dict[str, Setting]:
    """Return the settings by name, group by group."""
    found: dict[str, Setting] = {}
    for field in msgspec.structs.fields(Settings):
        for info in getattr(field.type, "__metadata__", ()):
            if isinstance(info, SettingInfo):
                found[field.name] = Setting(
                    name=field.name,
                    info=describe_type(info, field.type),
                    default=format_default(field),
                    type=field.type,
                    kind=strip_limits(field.type),
                )
    return dict(sorted(found.items(), key=lambda item: GROUPS.index(item[1].info.group)))


SETTINGS = _read_fields()
"""Every setting but `config`, by name."""

CAMERA_SETTINGS = {name: setting for name, setting in SETTINGS.items() if setting.info.group == CAMERA}
"""Settings that can also be in [cameras.NAME]. They apply only to that camera then."""

RETENTION_SETTINGS = ("keep_days", "keep_photos", "keep_size", "keep_free")

CONFIG = Setting(
    name="config",
    info=SettingInfo(
        "Settings file",
        "File that the settings are read from. Relative paths in it start at its folder.",
        expected="the path of a TOML file",
        metavar="FILE",
        common=True,
    ),
    default="dog.toml",
    in_file=False,
)
"""The only setting that can't be in the file. The default file does not have to exist."""

ALL_SETTINGS = (*SETTINGS.values(), CONFIG)
"""All settings of `dog serve`."""

COMMON_SETTINGS = tuple(setting for setting in ALL_SETTINGS if setting.info.common)
"""The dozen settings that most people change."""

RETIRED_SETTINGS = ("black_share", "settle")
"""Names whose flags, variables and keys are ignored. The constants are in dog/cameras/frame_selection.py."""
