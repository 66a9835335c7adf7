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
            meaning="Camera to use. docs/cameras.md describes each kind.",
            right="one of " + ", ".join(f"{kind}{rest}" for kind, rest in CAMERA_KINDS.items()),
            metavar="CAMERA",
            check=check_camera,
            common=True,
        ),
    ] = "test"
    password_file: Annotated[
        Path | None,
        About(
            group=CAMERA,
            meaning="File with the password of the user in the camera's URL (`rtsp://user@192.0.2.7/`).",
            right="the path of a file that contains only the password; leave it empty for none",
            metavar="FILE",
            none=("",),
        ),
    ] = None
    dead_time: Annotated[
        float,
        Meta(ge=0, le=3600),
        About(
            group=CAMERA,
            meaning="Minimum time from the start of one exposure to the start of the next.",
            right="a number of seconds from 0 to 3600",
            metavar="SECONDS",
            common=True,
        ),
    ] = 1.0
    capture_timeout: Annotated[
        float,
        Meta(gt=0, le=600),
        About(
            group=CAMERA,
            meaning="Maximum time that the camera may take for one photo.",
            right="a number of seconds above 0, at most 600",
            metavar="SECONDS",
        ),
    ] = 15.0
    image_type: Annotated[
        Literal["jpg", "jpeg", "png", "webp"],
        About(
            group=CAMERA,
            meaning="Image format of the test card, and suffix of the path that a camera program receives.",
            right="one of jpg, jpeg, png, webp",
            metavar="SUFFIX",
        ),
    ] = "jpg"
    resolution: Annotated[
        str | None,
        About(
            group=CAMERA,
            meaning="Size of the photos, if the camera supports several.",
            right="a width and a height in pixels such as 1280x720; leave it empty for the camera's largest size",
            metavar="WIDTHxHEIGHT",
            check=check_resolution,
            none=("",),
            common=True,
        ),
    ] = None
    frame_rate: Annotated[
        Annotated[float, Meta(gt=0, le=1000)] | None,
        About(
            group=CAMERA,
            meaning="Frames per second, if the camera supports several rates.",
            right="a number above 0, at most 1000; leave it empty for the camera's default",
            metavar="NUMBER",
            none=("",),
        ),
    ] = None
    pixel_format: Annotated[
        str | None,
        About(
            group=CAMERA,
            meaning="Pixel format of a V4L2 camera's frames.",
            right="a format that `dog cameras` lists, such as MJPG or YUYV; leave it empty for JPEG or, without JPEG,"
            " the best raw format",
            metavar="FORMAT",
            check=check_pixel_format,
            none=("",),
        ),
    ] = None
    controls: Annotated[
        dict[str, bool | int | float | str],
        About(
            group=CAMERA,
            meaning="Camera controls such as exposure, focus and white balance. `dog cameras` lists them.",
            right="NAME=VALUE pairs such as brightness=128, separated by commas (in dog.toml: a table); leave it empty"
            " for none",
            metavar="CONTROLS",
        ),
    ] = {}
    latency: Annotated[
        float,
        Meta(ge=0, le=60),
        About(
            group=CAMERA,
            meaning="Delay between a frame's exposure and its arrival. Measure it; docs/cameras.md shows how.",
            right="a number of seconds from 0 to 60",
            metavar="SECONDS",
        ),
    ] = 0.0
    preview_rate: Annotated[
        float,
        Meta(gt=0, le=60),
        About(
            group=CAMERA,
            meaning="Maximum number of frames per second in the live view.",
            right="a number above 0, at most 60",
            metavar="NUMBER",
        ),
    ] = 10.0
    warm_up: Annotated[
        float,
        Meta(ge=0, le=60),
        About(
            group=CAMERA,
            meaning="Maximum time for the exposure to settle after the camera is opened. Earlier frames are not used.",
            right="a number of seconds from 0 to 60",
            metavar="SECONDS",
        ),
    ] = 2.0
    black_level: Annotated[
        float,
        Meta(ge=0, le=1),
        About(
            group=CAMERA,
            meaning="Maximum brightness of a black pixel, as a fraction of full brightness.",
            right="a number from 0 to 1",
            metavar="FRACTION",
        ),
    ] = 0.1
    retake: Annotated[
        float,
        Meta(ge=0, le=60),
        About(
            group=CAMERA,
            meaning="Maximum time to wait for a better frame if one is black or identical to the previous one.",
            right="a number of seconds from 0 to 60",
            metavar="SECONDS",
        ),
    ] = 2.0
    frozen: Annotated[
        bool,
        About(
            group=CAMERA,
            meaning="Reject a frame that is identical to the previous one.",
            right="true, or false if the frames of the camera may be identical",
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
