"""Test the cameras of the settings: `dog check`."""

import asyncio
import os
import sys
from pathlib import Path

import click

from dog.cli.options import SettingOption, SettingsCommand
from dog.errors import StartError, short_reason
from dog.logs import escape, print_line
from dog.redaction import redact_text
from dog.settings import CAMERA_SETTINGS, CONFIG, load

__all__ = ["check"]


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
    from dog.cameras.discovery import check_cameras

    settings = load(flags, os.environ, Path())
    for warning in settings.warnings:
        print_line(f"dog: {escape(warning)}")

    async def report() -> bool:
        all_work = True
        async for checked in check_cameras(settings):
            click.echo(escape(redact_text(f"{checked.name}: {checked.line}")))
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
