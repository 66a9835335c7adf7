"""The settings of a camera, which may stand in [cameras.NAME] and count for that camera alone then."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from dog.redaction import redact
from dog.settings.about import CAMERA, About
from dog.settings.checks import CAMERA_KINDS, check_camera, check_pixel_format, check_resolution, split_camera

__all__ = ["CameraFields"]


class CameraFields(Struct, frozen=True, kw_only=True):
    """Which camera it is, and how its pictures are taken."""

    camera: Annotated[
        str,
        About(
            group=CAMERA,
            meaning="Which camera; docs/cameras.md says more of each kind.",
            right="one of " + ", ".join(f"{kind}{rest}" for kind, rest in CAMERA_KINDS.items()),
            metavar="CAMERA",
            check=check_camera,
        ),
    ] = "test"
    password_file: Annotated[
        Path | None,
        About(
            group=CAMERA,
            meaning="The file that has the password of the user in the camera's address (`rtsp://user@192.0.2.7/`).",
            right="the path of a file with the password and nothing else; empty for none",
            metavar="FILE",
            none=("",),
        ),
    ] = None
    dead_time: Annotated[
        float,
        Meta(ge=0, le=3600),
        About(
            group=CAMERA,
            meaning="The least time from one exposure's start to the next.",
            right="a number of seconds from 0 to 3600",
            metavar="SECONDS",
        ),
    ] = 1.0
    capture_timeout: Annotated[
        float,
        Meta(gt=0, le=600),
        About(
            group=CAMERA,
            meaning="How long the camera may take for one picture.",
            right="a number of seconds above 0, at most 600",
            metavar="SECONDS",
        ),
    ] = 15.0
    image_type: Annotated[
        Literal["jpg", "jpeg", "png", "webp"],
        About(
            group=CAMERA,
            meaning="The suffix of the path that the program is given.",
            right="one of jpg, jpeg, png, webp",
            metavar="SUFFIX",
        ),
    ] = "jpg"
    resolution: Annotated[
        str | None,
        About(
            group=CAMERA,
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
            group=CAMERA,
            meaning="How many frames a second the camera takes, where it has a choice.",
            right="a number above 0, at most 1000; empty for the camera's own choice",
            metavar="NUMBER",
            none=("",),
        ),
    ] = None
    pixel_format: Annotated[
        str | None,
        About(
            group=CAMERA,
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
            group=CAMERA,
            meaning="The camera's own controls, such as exposure, focus and white balance; `dog cameras` lists them.",
            right="NAME=VALUE with commas between them (in dog.toml a table), such as brightness=128; empty for none",
            metavar="CONTROLS",
        ),
    ] = {}
    latency: Annotated[
        float,
        Meta(ge=0, le=60),
        About(
            group=CAMERA,
            meaning="How long before the camera tells of a frame its exposure began, which nobody but you can know.",
            right="a number of seconds from 0 to 60",
            metavar="SECONDS",
        ),
    ] = 0.0
    preview_rate: Annotated[
        float,
        Meta(gt=0, le=60),
        About(
            group=CAMERA,
            meaning="How many frames a second the live view shows at most.",
            right="a number above 0, at most 60",
            metavar="NUMBER",
        ),
    ] = 10.0
    warm_up: Annotated[
        float,
        Meta(ge=0, le=60),
        About(
            group=CAMERA,
            meaning="How long exposure may take to settle after a camera was opened; no frame is taken before.",
            right="a number of seconds from 0 to 60",
            metavar="SECONDS",
        ),
    ] = 2.0
    settle: Annotated[
        float,
        Meta(gt=0, le=1),
        About(
            group=CAMERA,
            meaning="By how much the brightness of frames may differ, as a share of it, where exposure has settled.",
            right="a number above 0, at most 1",
            metavar="SHARE",
        ),
    ] = 0.02
    black_level: Annotated[
        float,
        Meta(ge=0, le=1),
        About(
            group=CAMERA,
            meaning="The brightness up to which a pixel is black, as a share of the brightest.",
            right="a number from 0 to 1",
            metavar="SHARE",
        ),
    ] = 0.1
    black_share: Annotated[
        float,
        Meta(gt=0, le=1),
        About(
            group=CAMERA,
            meaning="The share of black pixels from which a frame is black.",
            right="a number above 0, at most 1",
            metavar="SHARE",
        ),
    ] = 0.98
    retake: Annotated[
        float,
        Meta(ge=0, le=60),
        About(
            group=CAMERA,
            meaning="How long a better frame is waited for, where one is black or the very same as the one before.",
            right="a number of seconds from 0 to 60",
            metavar="SECONDS",
        ),
    ] = 2.0
    frozen: Annotated[
        bool,
        About(
            group=CAMERA,
            meaning="Whether a frame that is the very same as the one before is refused.",
            right="true, or false where what the camera sees does stand still",
            metavar="BOOLEAN",
        ),
    ] = True

    @property
    def camera_kind(self) -> str:
        """What stands before the colon: one of CAMERA_KINDS."""
        return split_camera(self.camera)[0]

    @property
    def camera_argument(self) -> str:
        """What stands after the colon: the program's path for `script`, nothing for `test`, `//...` of an address."""
        return split_camera(self.camera)[1]

    def describe_camera(self) -> dict[str, object]:
        """What a camera has that is not the default, without the secrets of its address and where they are."""
        default = CameraFields()
        values = {name: getattr(self, name) for name in CameraFields.__struct_fields__ if name != "password_file"}
        differing = {name: value for name, value in values.items() if value != getattr(default, name)}
        return {"camera": redact(self.camera), **{name: differing[name] for name in differing if name != "camera"}}
