"""The settings themselves: one field each, with all that is said of it beside it, and what is made of that."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dog.errors import SettingError
from dog.settings.about import (
    ADDRESS,
    CAMERA,
    GROUPS,
    LIMITS,
    LOG,
    PICTURES,
    About,
    Setting,
    Source,
    flag_of,
    strip,
    write_default,
)
from dog.settings.access_fields import AccessFields
from dog.settings.checks import (
    check_base_url,
    check_host,
    check_origins,
)

__all__ = ["ALL_SETTINGS", "CAMERA_SETTINGS", "COMMON_SETTINGS", "CONFIG", "MAIN_CAMERA", "SETTINGS", "Settings"]


MAIN_CAMERA = "main"
"""The name of the camera that is not in a table of its own."""


class Settings(AccessFields, frozen=True, kw_only=True):
    """All settings, as `load` gives them. Made directly, as in tests, the values are taken as they are.

    `sources` has where each value that is not a default came from; `warnings` what was odd but no reason to stop;
    `cameras` the settings as each camera has them, by its name, where there are tables of them.
    """

    host: Annotated[
        str,
        About(
            group=ADDRESS,
            meaning="Address to listen on.",
            right="an address or a name of this machine (0.0.0.0: all IPv4 addresses, '::': all IPv6 addresses)",
            metavar="ADDRESS",
            check=check_host,
            common=True,
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(ge=0, le=65535),
        About(
            group=ADDRESS,
            meaning="Port to listen on.",
            right="a whole number from 0 to 65535 (0: any free port)",
            metavar="NUMBER",
            common=True,
        ),
    ] = 8080
    base_url: Annotated[
        str | None,
        About(
            group=ADDRESS,
            meaning="URL that people use, if a proxy is in front of this service.",
            right="a URL such as https://dog.example.org/cam, without user, query or fragment; leave it empty for none",
            metavar="URL",
            check=check_base_url,
            none=("",),
        ),
    ] = None
    origins: Annotated[
        tuple[str, ...],
        About(
            group=ADDRESS,
            meaning="Other websites whose pages may watch and take photos (CORS).",
            right="origins such as https://example.org, separated by commas (in dog.toml: a list); leave it empty for"
            " none",
            metavar="URLS",
            check=check_origins,
        ),
    ] = ()
    snapshots: Annotated[
        Path,
        About(
            group=PICTURES,
            meaning="Folder that the photos are stored in.",
            right="the path of a folder",
            metavar="FOLDER",
            common=True,
        ),
    ] = Path("snapshots")
    default_picture: Annotated[
        Path | None,
        About(
            group=PICTURES,
            meaning="Image that the page shows before the first photo.",
            right="the path of an image; leave it empty for a drawing of a dog",
            metavar="FILE",
            none=("",),
        ),
    ] = None
    picture_cache: Annotated[
        int,
        Meta(ge=0, le=1_000_000),
        About(
            group=PICTURES,
            meaning="Memory for a cache of the newest photos.",
            right="a whole number of MiB from 0 to 1000000",
            metavar="MIB",
        ),
    ] = 64
    keep_days: Annotated[
        Annotated[float, Meta(gt=0, le=36_500)] | None,
        About(
            group=PICTURES,
            meaning="Maximum age of photos. Older ones are deleted, except pinned ones.",
            right="a number of days above 0, at most 36500; leave it empty for no limit",
            metavar="DAYS",
            none=("",),
            common=True,
        ),
    ] = None
    keep_photos: Annotated[
        Annotated[int, Meta(ge=1, le=100_000_000)] | None,
        About(
            group=PICTURES,
            meaning="Maximum number of photos. The oldest ones are deleted, except pinned ones.",
            right="a whole number from 1 to 100000000; leave it empty for no limit",
            metavar="NUMBER",
            none=("",),
        ),
    ] = None
    keep_size: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        About(
            group=PICTURES,
            meaning="Maximum disk space for photos. The oldest ones are deleted, except pinned ones.",
            right="a whole number of MiB from 1 to 1000000000; leave it empty for no limit",
            metavar="MIB",
            none=("",),
        ),
    ] = None
    keep_free: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        About(
            group=PICTURES,
            meaning="Minimum free disk space. If there is less, the oldest photos are deleted, except pinned ones.",
            right="a whole number of MiB from 1 to 1000000000; leave it empty if photos may fill the disk",
            metavar="MIB",
            none=("",),
        ),
    ] = None
    exif: Annotated[
        bool,
        About(
            group=PICTURES,
            meaning="Write the time, the camera and the exposure into each JPEG as EXIF, without re-encoding it.",
            right="true, or false to keep each file bit for bit",
            metavar="BOOLEAN",
        ),
    ] = True
    message_rate: Annotated[
        float,
        Meta(gt=0, le=1000),
        About(
            group=LIMITS,
            meaning="Messages per second that a viewer may send on average.",
            right="a number above 0, at most 1000",
            metavar="NUMBER",
        ),
    ] = 10.0
    message_burst: Annotated[
        int,
        Meta(ge=1, le=10000),
        About(
            group=LIMITS,
            meaning="Messages that a viewer may send at once.",
            right="a whole number from 1 to 10000",
            metavar="NUMBER",
        ),
    ] = 60
    max_connections: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        About(
            group=LIMITS,
            meaning="Maximum number of open connections, viewers and scripts together.",
            right="a whole number from 1 to 1000000; a lower `ulimit -n` lowers the maximum",
            metavar="NUMBER",
        ),
    ] = 20_000
    max_connections_per_address: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        About(
            group=LIMITS,
            meaning="Maximum number of requests in progress per client address. Further requests wait for up to 10 s. "
            "All clients behind a proxy that is not trusted count as one address.",
            right="a whole number from 1 to 1000000",
            metavar="NUMBER",
        ),
    ] = 256
    max_viewers_per_address: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        About(
            group=LIMITS,
            meaning="Maximum number of viewers per client address: live pages, live views and waiting scripts.",
            right="a whole number from 1 to 1000000",
            metavar="NUMBER",
        ),
    ] = 2000
    log_file: Annotated[
        Path | None,
        About(
            group=LOG,
            meaning="Log file, in addition to standard error.",
            right='the path of a file; leave it empty or write "-" for none',
            metavar="FILE",
            none=("", "-"),
        ),
    ] = Path("server.log")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        About(
            group=LOG,
            meaning="Minimum level of the messages that are logged.",
            right="one of debug, info, warning, error",
            metavar="LEVEL",
        ),
    ] = "info"
    sources: dict[str, Source] = msgspec.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    cameras: "dict[str, Settings]" = msgspec.field(default_factory=dict)

    def by_camera(self) -> "dict[str, Settings]":
        """The settings as each camera has them, by its name; the first is what a press without a name means."""
        return self.cameras or {MAIN_CAMERA: self}

    def source_of(self, name: str) -> Source:
        """Where the setting's value came from; a default's source is the flag that would change it."""
        return self.sources.get(name) or Source(flag_of(name), "default")

    def error(self, name: str, problem: str) -> SettingError:
        """The error for a value that turned out wrong later: a port in use, a folder that can't be written."""
        source = self.source_of(name)
        return SettingError(source.written, source.place, problem)


def _read_fields() -> dict[str, Setting]:
    """Every field that says what it is about, group by group; `sources` and `warnings` are not set by anybody."""
    found: dict[str, Setting] = {}
    for field in msgspec.structs.fields(Settings):
        for said in getattr(field.type, "__metadata__", ()):
            if isinstance(said, About):
                found[field.name] = Setting(
                    name=field.name,
                    about=said,
                    default=write_default(field),
                    type=field.type,
                    kind=strip(field.type),
                )
    return dict(sorted(found.items(), key=lambda item: GROUPS.index(item[1].about.group)))


SETTINGS = _read_fields()
"""Every setting but `config`, by name, in the order of the fields."""

CAMERA_SETTINGS = {name: setting for name, setting in SETTINGS.items() if setting.about.group == CAMERA}
"""Those that may stand in [cameras.NAME] too, and count for that camera alone then."""

CONFIG = Setting(
    name="config",
    about=About(
        group="Settings file",
        meaning="File that the settings are read from. Relative paths in it start at its folder.",
        right="the path of a TOML file",
        metavar="FILE",
        common=True,
    ),
    default="dog.toml",
    in_file=False,
)
"""The one setting that cannot be in the file. Its default file does not have to exist."""

ALL_SETTINGS = (*SETTINGS.values(), CONFIG)
"""Every setting, as `dog serve` has them."""

COMMON_SETTINGS = tuple(setting for setting in ALL_SETTINGS if setting.about.common)
"""The dozen settings that people change."""
