"""Test the cameras of the settings: `dog check`."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dog.cli.options import SettingOption, SettingsCommand
from dog.errors import CaptureError, SettingError, StartError, short_reason
from dog.logs import escape, print_line
from dog.redaction import redact_text
from dog.settings import CAMERA_SETTINGS, CONFIG, Settings, load

if TYPE_CHECKING:
    from dog.images import ImageInfo

__all__ = ["check"]

DRIVER_GRACE_SECONDS = 3.0
"""Seconds beyond its own time limit until a driver is cancelled."""


@dataclass(frozen=True, slots=True)
class CameraCheck:
    """The result of a camera's test: one line, and the image if there is one.

    `suggestion` is a line for dog.toml that may help.
    """

    name: str
    line: str
    image: bytes | None = None
    suffix: str = ""
    suggestion: str = ""


async def check_cameras(settings: Settings) -> AsyncIterator[CameraCheck]:
    """Take a test image with each configured camera, one after the other."""
    with tempfile.TemporaryDirectory(prefix="dog-check-") as folder:
        for name, own in settings.by_camera().items():
            yield await _check(name, own, Path(folder))


async def _check(name: str, settings: Settings, folder: Path) -> CameraCheck:
    from dog.cameras.factory import make_camera

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
        line = f"{error.message} ({error.detail})" if error.detail else error.message
        return CameraCheck(name, line, suggestion=error.suggested_setting)
    except TimeoutError:
        line = f"The camera did not answer within {settings.capture_timeout:g} s. Check it, then press again."
        return CameraCheck(name, line)
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
    suffix = {"image/jpeg": "jpg"}.get(image.content_type, kind.lower())
    return CameraCheck(name, line, data, suffix, await asyncio.to_thread(_suggest_discard, settings))


def _suggest_discard(settings: Settings) -> str:
    """Return the line for a camera that answers with earlier images, or ""."""
    if settings.camera_kind not in ("http", "https"):
        return ""
    from dog.cameras.earlier_images import count_earlier_images
    from dog.cameras.factory import source_factory
    from dog.cameras.http import HttpSource

    source = source_factory(settings)()
    assert isinstance(source, HttpSource)
    try:
        source.open()
        count = 0 if source.streams else count_earlier_images(source, settings.capture_timeout)
    except CaptureError:
        return ""
    finally:
        source.close()
    return f"discard = {settings.discard + count}" if count else ""


def _inspect(data: bytes) -> "tuple[bytes, ImageInfo]":
    from dog.images import inspect, repair

    data = repair(data)
    return data, inspect(data)


@click.command(
    cls=SettingsCommand,
    params=[
        *(SettingOption(setting) for setting in (*CAMERA_SETTINGS.values(), CONFIG)),
        click.Option(
            ["--save"],
            type=click.Path(file_okay=False, path_type=Path),
            metavar="FOLDER",
            help="Save the test photos in this folder, each named after its camera.",
        ),
    ],
    epilog="Exit status: 1 if a camera takes no photo. A running server blocks its cameras, so stop it first.",
)
def check(save: Path | None, **flags: str | None) -> None:
    """Take a test photo with each camera and report problems."""
    settings = load(flags, os.environ, Path())
    for warning in settings.warnings:
        print_line(f"dog: {escape(warning)}")

    async def report() -> bool:
        all_work = True
        async for checked in check_cameras(settings):
            click.echo(escape(redact_text(f"{checked.name}: {checked.line}")))
            if checked.suggestion:
                click.echo(escape(f"{checked.name}: for dog.toml: {checked.suggestion}"))
            if checked.image is None:
                all_work = False
            elif save is not None:
                _save(checked.image, save, f"{checked.name}.{checked.suffix}")
        return all_work

    sys.exit(0 if asyncio.run(report()) else 1)


def _save(image: bytes, folder: Path, name: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image)
    except OSError as error:
        problem = f"{str(folder / name)!r} can't be written: {short_reason(error)}."
        raise StartError(f"--save: {problem} Name another folder.") from None
