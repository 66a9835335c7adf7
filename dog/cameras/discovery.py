"""Discovery: list cameras (`dog cameras`) and test them (`dog check`)."""

import asyncio
import importlib.util
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dog.cameras.controls import Control
from dog.cameras.factory import make_camera
from dog.errors import CameraTimeout, CaptureError, SettingError, install_command
from dog.images import ImageInfo, add_missing_end, inspect
from dog.settings import Settings

__all__ = ["CameraCheck", "check_cameras", "describe_devices"]

MAX_LISTED_FORMATS = 12
"""Unsupported formats that are named."""
DRIVER_GRACE_SECONDS = 3.0
"""Seconds beyond its own time limit until a driver is cancelled."""


@dataclass(frozen=True, slots=True)
class CameraCheck:
    """The result of a camera's test: one line, and the image if there is one."""

    name: str
    line: str
    image: bytes | None = None
    suffix: str = ""


async def check_cameras(settings: Settings) -> AsyncIterator[CameraCheck]:
    """Take a test image with each configured camera, one after the other."""
    with tempfile.TemporaryDirectory(prefix="dog-check-") as folder:
        for name, own in settings.by_camera().items():
            yield await _check(name, own, Path(folder))


async def _check(name: str, settings: Settings, folder: Path) -> CameraCheck:
    try:
        camera = make_camera(settings, folder)
    except SettingError as error:
        return CameraCheck(name, str(error))
    try:
        await camera.open(lambda _error: None)  # drivers have their own time limit for this
        pressed = time.monotonic()
        async with asyncio.timeout(settings.capture_timeout + DRIVER_GRACE_SECONDS):
            captured = await camera.capture()
        took = time.monotonic() - pressed
        data, image = await asyncio.to_thread(_inspect, captured.data)
    except CaptureError as error:
        return CameraCheck(name, f"{error.message} ({error.detail})" if error.detail else error.message)
    except TimeoutError:
        return CameraCheck(
            name,
            CameraTimeout(
                f"The camera did not answer within {settings.capture_timeout:g} s. Check it, then press again."
            ).message,
        )
    except OSError as error:
        return CameraCheck(name, f"The operating system refused the capture: {error.strerror or error}. Press again.")
    finally:
        await camera.close()
    kind = image.content_type.removeprefix("image/").upper()
    size = f"{image.width} x {image.height} pixels, {len(data) / 1000:.0f} kB"
    line = f"a {kind} of {size}, {took:.2f} s after the press"
    if captured.quality is not None and captured.quality.verdict == "black":
        line += "; it is black. Check the light and the lens, or set black_level"
    elif captured.quality is not None and captured.quality.retaken:
        line += f"; {captured.quality.retaken} frames before it were rejected: {', '.join(captured.quality.found)}"
    return CameraCheck(name, line, data, {"image/jpeg": "jpg"}.get(image.content_type, kind.lower()))


def _inspect(data: bytes) -> tuple[bytes, ImageInfo]:
    data = add_missing_end(data)
    return data, inspect(data)


def describe_devices() -> Iterator[str]:
    """Describe the connected cameras, each with its lines for dog.toml."""
    found = False
    names: set[str] = set()
    for line in _describe_v4l2(names):
        found = True
        yield line
    for line in _describe_picamera(names):
        found = True
        yield line
    if not found:
        yield "Linux and Picamera2 list no camera. Plug one in."
        yield 'A network camera is not listed. Write its URL, such as camera = "rtsp://192.0.2.7/stream".'


def _describe_v4l2(names: set[str]) -> Iterator[str]:
    if importlib.util.find_spec("linuxpy") is None:
        yield f"USB webcams can't be listed without the package linuxpy. Install it: {install_command('linuxpy')}"
        return
    from dog.cameras.v4l2 import list_devices

    for device in list_devices():
        yield f"{device.name} ({device.node})"
        if device.problem:
            yield f"  {device.problem}"
        for image_format in (one for one in device.formats if one.usable):
            yield f"  {image_format}"
        if unusable := [one.fourcc for one in device.formats if not one.usable]:
            codes = " ".join(unusable[:MAX_LISTED_FORMATS])
            yield f"  (and {len(unusable)} formats that D.O.G. does not support: {codes})"
        yield from _describe_controls(device.controls)
        yield from _toml_table(names, device.name, f"v4l2:{device.path}")


def _describe_picamera(names: set[str]) -> Iterator[str]:
    if importlib.util.find_spec("picamera2") is None:
        return
    from dog.cameras.picamera import list_devices

    for device in list_devices():
        yield f"{device.name} (number {device.number})"
        if device.problem:
            yield f"  {device.problem}"
        for mode in device.modes:
            yield f"  {mode}"
        yield from _describe_controls(device.controls)
        yield from _toml_table(names, device.name, f"picamera:{device.number}")


def _describe_controls(controls: Iterable[Control]) -> Iterator[str]:
    for control in controls:
        yield f"  {control.name} = {control.default}: {control.limits}"


def _toml_table(names: set[str], device: str, camera: str) -> Iterator[str]:
    """Yield a camera's lines for dog.toml, with a name that is not in use yet."""
    plain = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")[:28].strip("-") or "camera"
    name = next(one for one in (plain, *(f"{plain}-{n}" for n in range(2, 100))) if one not in names)
    names.add(name)
    yield "  In dog.toml:"
    yield f"    [cameras.{name}]"
    yield f'    camera = "{camera}"'
    yield ""
