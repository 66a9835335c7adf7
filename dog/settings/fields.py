"""All settings: one field each, with its type, limits, default and help."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from dog.errors import SettingError
from dog.redaction import redact
from dog.settings.setting import (
    ACCESS,
    ADDRESS,
    CAMERA,
    CAMERA_KINDS,
    GROUPS,
    LIMITS,
    LOG,
    PICTURES,
    Setting,
    SettingInfo,
    Source,
    check_base_url,
    check_camera,
    check_host,
    check_hosts,
    check_networks,
    check_origins,
    check_pixel_format,
    check_resolution,
    flag_of,
    format_default,
    split_camera,
    strip_limits,
)

__all__ = [
    "ALL_SETTINGS",
    "CAMERA_SETTINGS",
    "COMMON_SETTINGS",
    "CONFIG",
    "MAIN_CAMERA",
    "RETIRED_SETTINGS",
    "SETTINGS",
    "Settings",
    "retired_warning",
]

MAIN_CAMERA = "main"
"""Name of the camera that has no table [cameras.NAME]."""


class Settings(Struct, frozen=True, kw_only=True):
    """All settings. The constructor, unlike `load`, does not check values.

    `sources` has the source of each value that is not a default, `warnings` the texts to log at the start.
    `cameras` has the settings of each camera by name; it is empty without tables of cameras.
    """

    camera: Annotated[
        str,
        SettingInfo(
            group=CAMERA,
            meaning="Camera to use. docs/cameras.md describes each kind.",
            expected="one of " + ", ".join(f"{kind}{rest}" for kind, rest in CAMERA_KINDS.items()),
            metavar="CAMERA",
            check=check_camera,
            common=True,
        ),
    ] = "test"
    password_file: Annotated[
        Path | None,
        SettingInfo(
            group=CAMERA,
            meaning="File with the password of the user in the camera's URL (`rtsp://user@192.0.2.7/`).",
            expected="the path of a file that contains only the password; leave it empty for none",
            metavar="FILE",
            none_texts=("",),
        ),
    ] = None
    dead_time: Annotated[
        float,
        Meta(ge=0, le=3600),
        SettingInfo(
            group=CAMERA,
            meaning="Minimum time from the start of one exposure to the start of the next.",
            expected="a number of seconds from 0 to 3600",
            metavar="SECONDS",
            common=True,
        ),
    ] = 1.0
    capture_timeout: Annotated[
        float,
        Meta(gt=0, le=600),
        SettingInfo(
            group=CAMERA,
            meaning="Maximum time that the camera may take for one photo.",
            expected="a number of seconds above 0, at most 600",
            metavar="SECONDS",
        ),
    ] = 15.0
    image_type: Annotated[
        Literal["jpg", "jpeg", "png", "webp"],
        SettingInfo(
            group=CAMERA,
            meaning="Image format of the test card, and suffix of the path that a camera program receives.",
            expected="one of jpg, jpeg, png, webp",
            metavar="SUFFIX",
        ),
    ] = "jpg"
    resolution: Annotated[
        str | None,
        SettingInfo(
            group=CAMERA,
            meaning="Size of the photos, if the camera supports several.",
            expected="a width and a height in pixels such as 1280x720; leave it empty for the camera's largest size",
            metavar="WIDTHxHEIGHT",
            check=check_resolution,
            none_texts=("",),
            common=True,
        ),
    ] = None
    frame_rate: Annotated[
        Annotated[float, Meta(gt=0, le=1000)] | None,
        SettingInfo(
            group=CAMERA,
            meaning="Frames per second, if the camera supports several rates.",
            expected="a number above 0, at most 1000; leave it empty for the camera's default",
            metavar="NUMBER",
            none_texts=("",),
        ),
    ] = None
    pixel_format: Annotated[
        str | None,
        SettingInfo(
            group=CAMERA,
            meaning="Pixel format of a V4L2 camera's frames.",
            expected="a format that `dog cameras` lists, such as MJPG or YUYV; leave it empty for JPEG or, "
            "without JPEG,"
            " the best raw format",
            metavar="FORMAT",
            check=check_pixel_format,
            none_texts=("",),
        ),
    ] = None
    controls: Annotated[
        dict[str, bool | int | float | str],
        SettingInfo(
            group=CAMERA,
            meaning="Camera controls such as exposure, focus and white balance. `dog cameras` lists them.",
            expected="NAME=VALUE pairs such as brightness=128, separated by commas (in dog.toml: a table); "
            "leave it empty"
            " for none",
            metavar="CONTROLS",
        ),
    ] = {}
    latency: Annotated[
        float,
        Meta(ge=0, le=60),
        SettingInfo(
            group=CAMERA,
            meaning="Delay between a frame's exposure and its arrival. Measure it; docs/cameras.md shows how.",
            expected="a number of seconds from 0 to 60",
            metavar="SECONDS",
        ),
    ] = 0.0
    preview_rate: Annotated[
        float,
        Meta(gt=0, le=60),
        SettingInfo(
            group=CAMERA,
            meaning="Maximum number of frames per second in the live view.",
            expected="a number above 0, at most 60",
            metavar="NUMBER",
        ),
    ] = 10.0
    warm_up: Annotated[
        float,
        Meta(ge=0, le=60),
        SettingInfo(
            group=CAMERA,
            meaning="Maximum time for the exposure to settle after the camera is opened. Earlier frames are not used.",
            expected="a number of seconds from 0 to 60",
            metavar="SECONDS",
        ),
    ] = 2.0
    black_level: Annotated[
        float,
        Meta(ge=0, le=1),
        SettingInfo(
            group=CAMERA,
            meaning="Maximum brightness of a black pixel, as a fraction of full brightness.",
            expected="a number from 0 to 1",
            metavar="FRACTION",
        ),
    ] = 0.1
    retake: Annotated[
        float,
        Meta(ge=0, le=60),
        SettingInfo(
            group=CAMERA,
            meaning="Maximum time to wait for a better frame if one is black or identical to the previous one.",
            expected="a number of seconds from 0 to 60",
            metavar="SECONDS",
        ),
    ] = 2.0
    frozen: Annotated[
        bool,
        SettingInfo(
            group=CAMERA,
            meaning="Reject a frame that is identical to the previous one.",
            expected="true, or false if the frames of the camera may be identical",
            metavar="BOOLEAN",
        ),
    ] = True

    auth: Annotated[
        bool,
        SettingInfo(
            group=ACCESS,
            meaning="Require people to log in and scripts to send a token. See docs/security.md.",
            expected="true or false",
            metavar="BOOLEAN",
            common=True,
        ),
    ] = False
    anonymous: Annotated[
        Literal["nothing", "view", "capture", "manage"],
        SettingInfo(
            group=ACCESS,
            meaning="Role of people who are not logged in, if auth is on.",
            expected="one of nothing, view, capture, manage",
            metavar="ROLE",
        ),
    ] = "nothing"
    open: Annotated[
        bool,
        SettingInfo(
            group=ACCESS,
            meaning="Allow everybody who can reach the service to watch and take photos without logging in.",
            expected="true or false",
            metavar="BOOLEAN",
            common=True,
        ),
    ] = False
    session_days: Annotated[
        float,
        Meta(gt=0, le=3650),
        SettingInfo(
            group=ACCESS,
            meaning="Lifetime of a login.",
            expected="a number of days above 0, at most 3650",
            metavar="DAYS",
        ),
    ] = 30.0
    hosts: Annotated[
        tuple[str, ...],
        SettingInfo(
            group=ACCESS,
            meaning="More host names that browsers may use for the service. Its IP addresses, this machine's name and"
            " the host of base_url always work.",
            expected="names such as dog.lan, separated by commas (in dog.toml: a list); leave it empty for none",
            metavar="NAMES",
            check=check_hosts,
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        SettingInfo(
            group=ACCESS,
            meaning="Proxies whose Forwarded and X-Forwarded-* headers are trusted.",
            expected="addresses or networks such as 127.0.0.1 or 10.0.0.0/8, separated by commas (in dog.toml: a list);"
            " leave it empty for none",
            metavar="ADDRESSES",
            check=check_networks,
        ),
    ] = ()
    tls_certificate: Annotated[
        Path | None,
        SettingInfo(
            group=ACCESS,
            meaning="Certificate chain for HTTPS. `dog cert` makes a self-signed certificate.",
            expected="the path of a PEM file; leave it empty for plain HTTP",
            metavar="FILE",
            none_texts=("",),
            common=True,
        ),
    ] = None
    tls_key: Annotated[
        Path | None,
        SettingInfo(
            group=ACCESS,
            meaning="Private key of the certificate, if it is not in the same file.",
            expected="the path of a PEM file; leave it empty if the certificate's file contains the key",
            metavar="FILE",
            none_texts=("",),
            common=True,
        ),
    ] = None
    login_attempts: Annotated[
        int,
        Meta(ge=1, le=10_000),
        SettingInfo(
            group=LIMITS,
            meaning="Failed logins that an account or a client address may have before further attempts have to wait.",
            expected="a whole number from 1 to 10000",
            metavar="NUMBER",
        ),
    ] = 10
    presses_per_minute: Annotated[
        int,
        Meta(ge=1, le=100_000),
        SettingInfo(
            group=LIMITS,
            meaning="New photos per minute that one user or one client address may take on average.",
            expected="a whole number from 1 to 100000",
            metavar="NUMBER",
        ),
    ] = 120
    download_per_hour: Annotated[
        int,
        Meta(ge=1, le=1_000_000_000),
        SettingInfo(
            group=LIMITS,
            meaning="MiB per hour that one user or one client address may download on average: photos and live views.",
            expected="a whole number of MiB from 1 to 1000000000",
            metavar="MIB",
        ),
    ] = 50_000
    host: Annotated[
        str,
        SettingInfo(
            group=ADDRESS,
            meaning="Address to listen on.",
            expected="an address or a name of this machine (0.0.0.0: all IPv4 addresses, '::': all IPv6 addresses)",
            metavar="ADDRESS",
            check=check_host,
            common=True,
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(ge=0, le=65535),
        SettingInfo(
            group=ADDRESS,
            meaning="Port to listen on.",
            expected="a whole number from 0 to 65535 (0: any free port)",
            metavar="NUMBER",
            common=True,
        ),
    ] = 8080
    base_url: Annotated[
        str | None,
        SettingInfo(
            group=ADDRESS,
            meaning="URL that people use, if a proxy is in front of this service.",
            expected="a URL such as https://dog.example.org/cam, without user, query or fragment; leave it "
            "empty for none",
            metavar="URL",
            check=check_base_url,
            none_texts=("",),
        ),
    ] = None
    origins: Annotated[
        tuple[str, ...],
        SettingInfo(
            group=ADDRESS,
            meaning="Other websites whose pages may watch and take photos (CORS).",
            expected="origins such as https://example.org, separated by commas (in dog.toml: a list); "
            "leave it empty for"
            " none",
            metavar="URLS",
            check=check_origins,
        ),
    ] = ()
    snapshots: Annotated[
        Path,
        SettingInfo(
            group=PICTURES,
            meaning="Folder that the photos are stored in.",
            expected="the path of a folder",
            metavar="FOLDER",
            common=True,
        ),
    ] = Path("snapshots")
    default_picture: Annotated[
        Path | None,
        SettingInfo(
            group=PICTURES,
            meaning="Image that the page shows before the first photo.",
            expected="the path of an image; leave it empty for a drawing of a dog",
            metavar="FILE",
            none_texts=("",),
        ),
    ] = None
    picture_cache: Annotated[
        int,
        Meta(ge=0, le=1_000_000),
        SettingInfo(
            group=PICTURES,
            meaning="Memory for a cache of the newest photos.",
            expected="a whole number of MiB from 0 to 1000000",
            metavar="MIB",
        ),
    ] = 64
    keep_days: Annotated[
        Annotated[float, Meta(gt=0, le=36_500)] | None,
        SettingInfo(
            group=PICTURES,
            meaning="Maximum age of photos. Older ones are deleted, except pinned ones.",
            expected="a number of days above 0, at most 36500; leave it empty for no limit",
            metavar="DAYS",
            none_texts=("",),
            common=True,
        ),
    ] = None
    keep_photos: Annotated[
        Annotated[int, Meta(ge=1, le=100_000_000)] | None,
        SettingInfo(
            group=PICTURES,
            meaning="Maximum number of photos. The oldest ones are deleted, except pinned ones.",
            expected="a whole number from 1 to 100000000; leave it empty for no limit",
            metavar="NUMBER",
            none_texts=("",),
        ),
    ] = None
    keep_size: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        SettingInfo(
            group=PICTURES,
            meaning="Maximum disk space for photos. The oldest ones are deleted, except pinned ones.",
            expected="a whole number of MiB from 1 to 1000000000; leave it empty for no limit",
            metavar="MIB",
            none_texts=("",),
        ),
    ] = None
    keep_free: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        SettingInfo(
            group=PICTURES,
            meaning="Minimum free disk space. If there is less, the oldest photos are deleted, except pinned ones.",
            expected="a whole number of MiB from 1 to 1000000000; leave it empty if photos may fill the disk",
            metavar="MIB",
            none_texts=("",),
        ),
    ] = None
    exif: Annotated[
        bool,
        SettingInfo(
            group=PICTURES,
            meaning="Write the time, the camera and the exposure into each JPEG as EXIF, without re-encoding it.",
            expected="true, or false to keep each file bit for bit",
            metavar="BOOLEAN",
        ),
    ] = True
    message_rate: Annotated[
        float,
        Meta(gt=0, le=1000),
        SettingInfo(
            group=LIMITS,
            meaning="Messages per second that a viewer may send on average.",
            expected="a number above 0, at most 1000",
            metavar="NUMBER",
        ),
    ] = 10.0
    message_burst: Annotated[
        int,
        Meta(ge=1, le=10000),
        SettingInfo(
            group=LIMITS,
            meaning="Messages that a viewer may send at once.",
            expected="a whole number from 1 to 10000",
            metavar="NUMBER",
        ),
    ] = 60
    max_connections: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        SettingInfo(
            group=LIMITS,
            meaning="Maximum number of open connections, viewers and scripts together.",
            expected="a whole number from 1 to 1000000; a lower `ulimit -n` lowers the maximum",
            metavar="NUMBER",
        ),
    ] = 20_000
    max_connections_per_address: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        SettingInfo(
            group=LIMITS,
            meaning="Maximum number of requests in progress per client address. Further requests wait for up to 10 s. "
            "All clients behind a proxy that is not trusted count as one address.",
            expected="a whole number from 1 to 1000000",
            metavar="NUMBER",
        ),
    ] = 256
    max_viewers_per_address: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        SettingInfo(
            group=LIMITS,
            meaning="Maximum number of viewers per client address: live pages, live views and waiting scripts.",
            expected="a whole number from 1 to 1000000",
            metavar="NUMBER",
        ),
    ] = 2000
    log_file: Annotated[
        Path | None,
        SettingInfo(
            group=LOG,
            meaning="Log file, in addition to standard error.",
            expected='the path of a file; leave it empty or write "-" for none',
            metavar="FILE",
            none_texts=("", "-"),
        ),
    ] = Path("server.log")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        SettingInfo(
            group=LOG,
            meaning="Minimum level of the messages that are logged.",
            expected="one of debug, info, warning, error",
            metavar="LEVEL",
        ),
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
        source = self.source_of(name)
        return SettingError(source.written, source.place, problem)

    @property
    def camera_kind(self) -> str:
        """The part before the colon: one of CAMERA_KINDS."""
        return split_camera(self.camera)[0]

    @property
    def camera_argument(self) -> str:
        """The part after the colon, such as a path or `//...` of a URL."""
        return split_camera(self.camera)[1]

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
                    info=info,
                    default=format_default(field),
                    type=field.type,
                    kind=strip_limits(field.type),
                )
    return dict(sorted(found.items(), key=lambda item: GROUPS.index(item[1].info.group)))


SETTINGS = _read_fields()
"""Every setting but `config`, by name."""

CAMERA_SETTINGS = {name: setting for name, setting in SETTINGS.items() if setting.info.group == CAMERA}
"""Settings that can also be in [cameras.NAME]. They apply only to that camera then."""

CONFIG = Setting(
    name="config",
    info=SettingInfo(
        group="Settings file",
        meaning="File that the settings are read from. Relative paths in it start at its folder.",
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
"""Names whose flags, variables and keys are ignored. The constants are in dog/cameras/frames.py."""


def retired_warning(source: Source) -> str:
    """Return the warning for a retired setting, as the person wrote it."""
    return f"{source.written} ({source.place}): this is no longer a setting and is ignored. Remove it."
