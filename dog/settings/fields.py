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

__all__ = ["CAMERA_SETTINGS", "CONFIG", "MAIN_CAMERA", "SETTINGS", "Settings"]


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
            meaning="The address to listen on.",
            right="an address or a name of this machine (0.0.0.0: all of IPv4, '::': all of IPv6)",
            metavar="ADDRESS",
            check=check_host,
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(ge=0, le=65535),
        About(
            group=ADDRESS,
            meaning="The port to listen on.",
            right="a whole number from 0 to 65535 (0: a free one)",
            metavar="NUMBER",
        ),
    ] = 8080
    base_url: Annotated[
        str | None,
        About(
            group=ADDRESS,
            meaning="The address that people use, where a proxy stands before this service.",
            right="an address such as https://dog.example.org/cam, without user, query or fragment; empty for none",
            metavar="URL",
            check=check_base_url,
            none=("",),
        ),
    ] = None
    origins: Annotated[
        tuple[str, ...],
        About(
            group=ADDRESS,
            meaning="Other sites whose pages may watch and take pictures.",
            right="origins such as https://example.org, with commas between them (in dog.toml a list); empty for none",
            metavar="URLS",
            check=check_origins,
        ),
    ] = ()
    snapshots: Annotated[
        Path,
        About(
            group=PICTURES,
            meaning="The folder where the pictures are kept.",
            right="the path of a folder",
            metavar="FOLDER",
        ),
    ] = Path("snapshots")
    default_picture: Annotated[
        Path | None,
        About(
            group=PICTURES,
            meaning="The picture that the page shows before there is a first one.",
            right="the path of a picture; empty for the drawn dog",
            metavar="FILE",
            none=("",),
        ),
    ] = None
    picture_cache: Annotated[
        int,
        Meta(ge=0, le=1_000_000),
        About(
            group=PICTURES,
            meaning="How much memory the newest pictures may take, for they are what everyone asks for at once.",
            right="a whole number of MiB from 0 to 1000000",
            metavar="MIB",
        ),
    ] = 64
    keep_days: Annotated[
        Annotated[float, Meta(gt=0, le=36_500)] | None,
        About(
            group=PICTURES,
            meaning="How long photos are kept; pinned ones stay.",
            right="a number of days above 0, at most 36500; empty for ever",
            metavar="DAYS",
            none=("",),
        ),
    ] = None
    keep_photos: Annotated[
        Annotated[int, Meta(ge=1, le=100_000_000)] | None,
        About(
            group=PICTURES,
            meaning="How many photos are kept; then the oldest go, but for pinned ones.",
            right="a whole number from 1 to 100000000; empty for any number",
            metavar="NUMBER",
            none=("",),
        ),
    ] = None
    keep_size: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        About(
            group=PICTURES,
            meaning="How much the photos may take on the disk; then the oldest go, but for pinned ones.",
            right="a whole number of MiB from 1 to 1000000000; empty for any size",
            metavar="MIB",
            none=("",),
        ),
    ] = None
    keep_free: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        About(
            group=PICTURES,
            meaning="How much of the disk stays free, whatever fills it; the oldest photos go, but for pinned ones.",
            right="a whole number of MiB from 1 to 1000000000; empty where photos may fill the disk",
            metavar="MIB",
            none=("",),
        ),
    ] = None
    exif: Annotated[
        bool,
        About(
            group=PICTURES,
            meaning="Whether each JPEG says when, where and by which camera it was taken; its picture stays the same.",
            right="true, or false where files are to be kept bit for bit",
            metavar="BOOLEAN",
        ),
    ] = True
    message_rate: Annotated[
        float,
        Meta(gt=0, le=1000),
        About(
            group=LIMITS,
            meaning="How many messages a second a viewer may send in the long run.",
            right="a number above 0, at most 1000",
            metavar="NUMBER",
        ),
    ] = 10.0
    message_burst: Annotated[
        int,
        Meta(ge=1, le=10000),
        About(
            group=LIMITS,
            meaning="How many messages a viewer may send at once.",
            right="a whole number from 1 to 10000",
            metavar="NUMBER",
        ),
    ] = 60
    max_connections: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        About(
            group=LIMITS,
            meaning="How many may be connected at once, viewers and scripts together.",
            right="a whole number from 1 to 1000000; never more are taken than `ulimit -n` has room for",
            metavar="NUMBER",
        ),
    ] = 20_000
    max_connections_per_address: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        About(
            group=LIMITS,
            meaning="How many requests one address may have at once; more wait for up to 10 s. "
            "Behind a proxy that is not trusted, all have its address.",
            right="a whole number from 1 to 1000000",
            metavar="NUMBER",
        ),
    ] = 256
    max_viewers_per_address: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        About(
            group=LIMITS,
            meaning="How many viewers one address may have at once: live pages, live views, and scripts that wait.",
            right="a whole number from 1 to 1000000",
            metavar="NUMBER",
        ),
    ] = 2000
    log_file: Annotated[
        Path | None,
        About(
            group=LOG,
            meaning="The file that keeps the log, beside standard error.",
            right='the path of a file; empty or "-" for none',
            metavar="FILE",
            none=("", "-"),
        ),
    ] = Path("server.log")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        About(
            group=LOG,
            meaning="How much is logged.",
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
        group="All of these from a file",
        meaning="The file that settings are read from; relative paths in it start at its own folder.",
        right="the path of a TOML file",
        metavar="FILE",
    ),
    default="dog.toml",
)
"""The one setting that can't stand in the file. Its default need not be there."""
