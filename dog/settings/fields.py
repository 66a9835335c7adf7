"""The settings themselves: one field each, with all that is said of it beside it, and what is made of that."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from dog.errors import SettingError
from dog.settings.about import About, Setting, Source, flag_of, strip, write_default
from dog.settings.checks import (
    CAMERA_KINDS,
    check_base_url,
    check_camera,
    check_host,
    check_origins,
    check_pixel_format,
    check_resolution,
    split_camera,
)

__all__ = ["CAMERA_SETTINGS", "CONFIG", "MAIN_CAMERA", "SETTINGS", "Settings"]


MAIN_CAMERA = "main"
"""The name of the camera that is not in a table of its own."""


_ADDRESS = "Where it is reached"
_CAMERA = "The camera"
_PICTURES = "The pictures"
_VIEWERS = "The viewers"
_LOG = "The log"


class Settings(Struct, frozen=True, kw_only=True):
    """All settings, as `load` gives them. Made directly, as in tests, the values are taken as they are.

    `sources` has where each value that is not a default came from; `warnings` what was odd but no reason to stop;
    `cameras` the settings as each camera has them, by its name, where there are tables of them.
    """

    host: Annotated[
        str,
        About(
            group=_ADDRESS,
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
            group=_ADDRESS,
            meaning="The port to listen on.",
            right="a whole number from 0 to 65535 (0: a free one)",
            metavar="NUMBER",
        ),
    ] = 8080
    base_url: Annotated[
        str | None,
        About(
            group=_ADDRESS,
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
            group=_ADDRESS,
            meaning="Other sites whose pages may watch and take pictures.",
            right="origins such as https://example.org, with commas between them (in dog.toml a list); empty for none",
            metavar="URLS",
            check=check_origins,
        ),
    ] = ()
    camera: Annotated[
        str,
        About(
            group=_CAMERA,
            meaning="Which camera; docs/cameras.md says more of each kind.",
            right="one of " + ", ".join(f"{kind}{rest}" for kind, rest in CAMERA_KINDS.items()),
            metavar="CAMERA",
            check=check_camera,
        ),
    ] = "test"
    dead_time: Annotated[
        float,
        Meta(ge=0, le=3600),
        About(
            group=_CAMERA,
            meaning="The least time from one exposure's start to the next.",
            right="a number of seconds from 0 to 3600",
            metavar="SECONDS",
        ),
    ] = 1.0
    capture_timeout: Annotated[
        float,
        Meta(gt=0, le=600),
        About(
            group=_CAMERA,
            meaning="How long the camera may take for one picture.",
            right="a number of seconds above 0, at most 600",
            metavar="SECONDS",
        ),
    ] = 15.0
    image_type: Annotated[
        Literal["jpg", "jpeg", "png", "webp"],
        About(
            group=_CAMERA,
            meaning="The suffix of the path that the program is given.",
            right="one of jpg, jpeg, png, webp",
            metavar="SUFFIX",
        ),
    ] = "jpg"
    resolution: Annotated[
        str | None,
        About(
            group=_CAMERA,
            meaning="The size of the pictures, where the camera has several.",
            right="a width and a height in pixels such as 1280x720; empty for the camera's largest",
            metavar="WIDTHxHEIGHT",
            check=check_resolution,
            none=("",),
        ),
    ] = None
    frame_rate: Annotated[
        Annotated[float, Meta(gt=0, le=1000)] | None,
        About(
            group=_CAMERA,
            meaning="How many frames a second the camera takes, where it has a choice.",
            right="a number above 0, at most 1000; empty for the camera's own choice",
            metavar="NUMBER",
            none=("",),
        ),
    ] = None
    pixel_format: Annotated[
        str | None,
        About(
            group=_CAMERA,
            meaning="The format of a V4L2 camera's frames.",
            right="one that `dog cameras` lists, such as MJPG or YUYV; empty for JPEG, or else the best of what is raw",
            metavar="FORMAT",
            check=check_pixel_format,
            none=("",),
        ),
    ] = None
    controls: Annotated[
        dict[str, bool | int | float | str],
        About(
            group=_CAMERA,
            meaning="The camera's own controls, such as exposure, focus and white balance; `dog cameras` lists them.",
            right="NAME=VALUE with commas between them (in dog.toml a table), such as brightness=128; empty for none",
            metavar="CONTROLS",
        ),
    ] = {}
    latency: Annotated[
        float,
        Meta(ge=0, le=60),
        About(
            group=_CAMERA,
            meaning="How long before the camera tells of a frame its exposure began, which nobody but you can know.",
            right="a number of seconds from 0 to 60",
            metavar="SECONDS",
        ),
    ] = 0.0
    preview_rate: Annotated[
        float,
        Meta(gt=0, le=60),
        About(
            group=_CAMERA,
            meaning="How many frames a second the live view shows at most.",
            right="a number above 0, at most 60",
            metavar="NUMBER",
        ),
    ] = 10.0
    warm_up: Annotated[
        float,
        Meta(ge=0, le=60),
        About(
            group=_CAMERA,
            meaning="How long exposure may take to settle after a camera was opened; no frame is taken before.",
            right="a number of seconds from 0 to 60",
            metavar="SECONDS",
        ),
    ] = 2.0
    settle: Annotated[
        float,
        Meta(gt=0, le=1),
        About(
            group=_CAMERA,
            meaning="By how much the brightness of frames may differ, as a share of it, where exposure has settled.",
            right="a number above 0, at most 1",
            metavar="SHARE",
        ),
    ] = 0.02
    black_level: Annotated[
        float,
        Meta(ge=0, le=1),
        About(
            group=_CAMERA,
            meaning="The brightness up to which a pixel is black, as a share of the brightest.",
            right="a number from 0 to 1",
            metavar="SHARE",
        ),
    ] = 0.1
    black_share: Annotated[
        float,
        Meta(gt=0, le=1),
        About(
            group=_CAMERA,
            meaning="The share of black pixels from which a frame is black.",
            right="a number above 0, at most 1",
            metavar="SHARE",
        ),
    ] = 0.98
    retake: Annotated[
        float,
        Meta(ge=0, le=60),
        About(
            group=_CAMERA,
            meaning="How long a better frame is waited for, where one is black or the very same as the one before.",
            right="a number of seconds from 0 to 60",
            metavar="SECONDS",
        ),
    ] = 2.0
    frozen: Annotated[
        bool,
        About(
            group=_CAMERA,
            meaning="Whether a frame that is the very same as the one before is refused.",
            right="true, or false where what the camera sees does stand still",
            metavar="BOOLEAN",
        ),
    ] = True
    snapshots: Annotated[
        Path,
        About(
            group=_PICTURES,
            meaning="The folder where the pictures are kept.",
            right="the path of a folder",
            metavar="FOLDER",
        ),
    ] = Path("snapshots")
    default_picture: Annotated[
        Path | None,
        About(
            group=_PICTURES,
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
            group=_PICTURES,
            meaning="How much memory the newest pictures may take, for they are what everyone asks for at once.",
            right="a whole number of MiB from 0 to 1000000",
            metavar="MIB",
        ),
    ] = 64
    message_rate: Annotated[
        float,
        Meta(gt=0, le=1000),
        About(
            group=_VIEWERS,
            meaning="How many messages a second a viewer may send in the long run.",
            right="a number above 0, at most 1000",
            metavar="NUMBER",
        ),
    ] = 10.0
    message_burst: Annotated[
        int,
        Meta(ge=1, le=10000),
        About(
            group=_VIEWERS,
            meaning="How many messages a viewer may send at once.",
            right="a whole number from 1 to 10000",
            metavar="NUMBER",
        ),
    ] = 60
    max_connections: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        About(
            group=_VIEWERS,
            meaning="How many may be connected at once, viewers and scripts together.",
            right="a whole number from 1 to 1000000; never more are taken than `ulimit -n` has room for",
            metavar="NUMBER",
        ),
    ] = 20_000
    max_connections_per_address: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        About(
            group=_VIEWERS,
            meaning="How many of them may come from one address; behind a proxy, all come from the proxy's.",
            right="a whole number from 1 to 1000000",
            metavar="NUMBER",
        ),
    ] = 256
    log_file: Annotated[
        Path | None,
        About(
            group=_LOG,
            meaning="The file that keeps the log, beside standard error.",
            right='the path of a file; empty or "-" for none',
            metavar="FILE",
            none=("", "-"),
        ),
    ] = Path("server.log")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        About(
            group=_LOG,
            meaning="How much is logged.",
            right="one of debug, info, warning, error",
            metavar="LEVEL",
        ),
    ] = "info"
    sources: dict[str, Source] = {}
    warnings: tuple[str, ...] = ()
    cameras: "dict[str, Settings]" = {}

    @property
    def camera_kind(self) -> str:
        """What stands before the colon: one of CAMERA_KINDS."""
        return split_camera(self.camera)[0]

    @property
    def camera_argument(self) -> str:
        """What stands after the colon: the program's path for `script`, nothing for `test`, `//...` of an address."""
        return split_camera(self.camera)[1]

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
    """Every field that says what it is about; `sources` and `warnings` are not set by anybody."""
    found = {}
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
    return found


SETTINGS = _read_fields()
"""Every setting but `config`, by name, in the order of the fields."""

CAMERA_SETTINGS = {name: setting for name, setting in SETTINGS.items() if setting.about.group == _CAMERA}
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
