"""List the connected cameras: `dog cameras`."""

import importlib.util
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from dog.errors import install_command
from dog.logs import escape

if TYPE_CHECKING:
    from dog.cameras import Control

__all__ = ["cameras"]

MAX_LISTED_FORMATS = 12
"""Unsupported formats that are named."""


@click.command()
def cameras() -> None:
    """List the connected cameras and their lines for dog.toml.

    The list includes the sizes and controls of each camera.
    """
    for line in describe_devices():
        click.echo(escape(line))


def describe_devices() -> Iterator[str]:
    """Describe the connected cameras, each with its lines for dog.toml."""
    found = False
    names: set[str] = set()
    for line in itertools.chain(_describe_v4l2(names), _describe_picamera(names)):
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


def _describe_controls(controls: "Iterable[Control]") -> Iterator[str]:
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
