"""Make the driver that a camera's settings name.

Drivers that need another package are imported only then."""

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path

from dog.cameras import Camera
from dog.cameras.camera_url import CameraUrl
from dog.cameras.credentials import read_password
from dog.cameras.faulty import Faults, FaultyCard, FaultyDevice
from dog.cameras.frame_selection import Thresholds
from dog.cameras.script import ScriptCamera
from dog.cameras.source import FROZEN_TIMEOUT, READ_GRACE_SECONDS, SOURCE_OPEN_TIMEOUT, LiveCamera, Source
from dog.cameras.test_card import TestCard
from dog.errors import install_command
from dog.settings import Settings

__all__ = ["make_camera", "source_factory"]

AV_PACKAGE = ("av", install_command("av"))
REQUIRED_PACKAGES = {
    "v4l2": ("linuxpy", install_command("linuxpy")),
    "rtsp": AV_PACKAGE,
    "rtsps": AV_PACKAGE,
    "picamera": (
        "picamera2",
        "sudo apt install python3-picamera2, and a virtual environment is made with --system-site-packages",
    ),
}
"""The package that a kind of camera needs, and how to install it."""

KIND_SETTINGS = {
    "test": ("image_type",),
    "script": ("image_type",),
    "v4l2": ("resolution", "frame_rate", "pixel_format", "controls", "latency"),
    "picamera": ("resolution", "frame_rate", "controls"),
    "rtsp": ("latency", "password_file", "frame_rate"),
    "rtsps": ("latency", "password_file", "frame_rate", "tls_fingerprint"),
    "http": ("latency", "password_file", "frame_rate", "discard"),
    "https": ("latency", "password_file", "frame_rate", "discard", "tls_fingerprint"),
}
"""The settings that only some kinds of cameras use, by kind."""
NETWORK_KINDS = ("rtsp", "rtsps", "http", "https")
ALL_KIND_SETTINGS = sorted({name for names in KIND_SETTINGS.values() for name in names})

log = logging.getLogger(__name__)


def make_camera(settings: Settings, folder: Path) -> Camera:
    """Make a camera's driver, which writes to `folder`. Raises SettingError."""
    for name in ALL_KIND_SETTINGS:
        if name in settings.sources and name not in KIND_SETTINGS.get(settings.camera_kind, ()):
            source = settings.sources[name]
            log.warning(
                "%s (%s): a %s camera does not use this setting", source.written, source.place, settings.camera_kind
            )
    package, install = REQUIRED_PACKAGES.get(settings.camera_kind, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        raise settings.error("camera", f"this kind of camera needs the package {package}. Install it: {install}")
    if settings.camera_kind == "script":
        return ScriptCamera(
            Path(settings.camera_argument),
            folder=folder,
            image_type=settings.image_type,
            timeout=settings.capture_timeout,
        )
    if settings.password_file is not None and "password_file" in KIND_SETTINGS.get(settings.camera_kind, ()):
        try:
            read_password(settings.password_file)  # and again at each opening
        except ValueError as error:
            raise settings.error("password_file", str(error)) from error
    try:
        make_source = source_factory(settings)
    except ValueError as error:
        raise settings.error("camera", str(error)) from None
    return LiveCamera(
        make_source,
        thresholds=Thresholds(
            black_level=settings.black_level, warm_up=settings.warm_up, retake=settings.retake, frozen=settings.frozen
        ),
        timeout=settings.capture_timeout,
        open_timeout=_open_timeout(settings),
        frozen_after=max(FROZEN_TIMEOUT, 2 / settings.frame_rate) if settings.frame_rate else FROZEN_TIMEOUT,
        preview_rate=settings.preview_rate,
    )


def _open_timeout(settings: Settings) -> float:
    """Return the seconds for opening: more for a slow network camera."""
    if settings.camera_kind not in NETWORK_KINDS:
        return SOURCE_OPEN_TIMEOUT
    return max(SOURCE_OPEN_TIMEOUT, settings.capture_timeout + READ_GRACE_SECONDS)


def source_factory(settings: Settings) -> Callable[[], Source]:
    """Return a function that makes a source. Raises ValueError for the user."""
    argument = settings.camera_argument
    if settings.camera_kind in NETWORK_KINDS:
        CameraUrl(settings.camera, settings.password_file)  # an invalid URL is an error now, not at the first opening
    size = None
    if settings.resolution is not None:
        width, height = map(int, settings.resolution.split("x"))
        size = (width, height)
    controls = {name: str(value) if isinstance(value, float) else value for name, value in settings.controls.items()}
    match settings.camera_kind:
        case "v4l2":
            from dog.cameras.v4l2 import V4l2Source

            return lambda: V4l2Source(
                argument,
                resolution=size,
                frame_rate=settings.frame_rate,
                pixel_format=settings.pixel_format,
                latency=settings.latency,
                controls=controls,
            )
        case "rtsp" | "rtsps":
            from dog.cameras.rtsp import RTSP_OPEN_TIMEOUT, RtspSource

            return lambda: RtspSource(
                settings.camera,
                latency=settings.latency,
                password_file=settings.password_file,
                tls_fingerprint=settings.tls_fingerprint,
                open_timeout=max(RTSP_OPEN_TIMEOUT, settings.capture_timeout),
            )
        case "http" | "https":
            from dog.cameras.http import HttpSource

            return lambda: HttpSource(
                settings.camera,
                latency=settings.latency,
                open_timeout=settings.capture_timeout,
                password_file=settings.password_file,
                discard=settings.discard,
                tls_fingerprint=settings.tls_fingerprint,
                private_addresses=settings.private_addresses,
            )
        case "picamera":
            from dog.cameras.picamera import PicameraSource

            return lambda: PicameraSource(
                int(argument), resolution=size, frame_rate=settings.frame_rate, controls=controls
            )
        case "faulty":
            device = FaultyDevice(Faults.parse(argument))
            return lambda: FaultyCard(device)
        case _:
            return lambda: TestCard(image_type=settings.image_type)
