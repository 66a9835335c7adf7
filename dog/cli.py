"""The command line: `dog serve`, `dog check`, `dog cameras`.

The options are made from the settings, and the settings judge what is in them. A wrong setting or an unfit place ends
the start with one line on standard error and status 2, a mistake of our own with a traceback and status 1; how the
service ends in order, with status 0, is in serving.py. What is heavy is imported by the command that needs it.
"""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

import dog
from dog.errors import SettingError, StartError
from dog.logs import escape, print_line, start_logging
from dog.redaction import redact_text
from dog.settings import CAMERA_SETTINGS, CONFIG, SETTINGS, Setting, load

__all__ = ["main"]

log = logging.getLogger(__name__)


class Commands(click.Group):
    """The commands; what goes wrong at the start of any of them is one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (SettingError, StartError) as error:
            print_line(f"dog: {escape(redact_text(str(error)))}")
            ctx.exit(2)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "dog"
            print_line(f"dog: {escape(redact_text(error.format_message()))} See {command} --help.")
            ctx.exit(2)
        except KeyboardInterrupt:  # before the service listens to signals
            ctx.exit(128 + signal.SIGINT)


class SettingOption(click.Option):
    """One setting as an option: plain text to click."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        about = setting.about
        super().__init__(
            [setting.flag],
            metavar=about.metavar,
            help=f"{about.meaning} Write {about.right}. [{setting.variable}; default: {setting.default}]",
        )


class SettingsCommand(click.Command):
    """A command whose options are all settings, which the help shows in their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                group = param.setting.about.group if isinstance(param, SettingOption) else "Help"
                groups.setdefault(group, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(dog.__version__, prog_name="dog")
def main() -> None:
    """D.O.G.: a realtime camera on a web page. A press anywhere, the photo everywhere."""


@main.command(
    cls=SettingsCommand,
    params=[SettingOption(setting) for setting in (*SETTINGS.values(), CONFIG)],
    epilog="Options count before variables (in brackets), and those before what dog.toml says.",
)
def serve(**flags: str | None) -> None:
    """Serve the camera's page until Ctrl-C."""
    settings = load(flags, os.environ, Path())
    try:
        running = start_logging(settings.log_file, settings.log_level)
    except OSError as error:
        problem = f"{settings.log_file} can't be written: {(error.strerror or str(error)).lower()}"
        raise settings.error("log_file", f"{problem}; name another file, or - for none") from None
    with running:
        for warning in settings.warnings:
            log.warning("%s", warning)
        try:
            from dog.serving import run

            status = run(settings, running)
        except (SettingError, StartError) as error:
            log.error("%s", error, extra={"terminal": False})
            raise
        except Exception:
            log.exception("The service ended by a mistake of its own")
            status = 1
    sys.exit(status)


@main.command(
    cls=SettingsCommand,
    params=[
        *(SettingOption(setting) for setting in (*CAMERA_SETTINGS.values(), CONFIG)),
        click.Option(
            ["--save"],
            type=click.Path(file_okay=False, path_type=Path),
            metavar="FOLDER",
            help="Keep the test pictures in this folder, each under its camera's name.",
        ),
    ],
    epilog="The status is 1 where a camera gave no picture. A running server has its cameras: stop it first.",
)
def check(save: Path | None, **flags: str | None) -> None:
    """Take a test picture with each configured camera, and say what is wrong."""
    from dog.survey import check_cameras

    settings = load(flags, os.environ, Path())

    async def report() -> bool:
        all_well = True
        async for checked in check_cameras(settings):
            click.echo(escape(redact_text(f"{checked.name}: {checked.line}")))
            if checked.picture is None:
                all_well = False
            elif save is not None:
                _keep(checked.picture, save, f"{checked.name}.{checked.suffix}")
        return all_well

    sys.exit(0 if asyncio.run(report()) else 1)


def _keep(picture: bytes, folder: Path, name: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StartError(f"--save: {str(folder / name)!r} can't be written: {reason}; name another folder") from None


@main.command()
def cameras() -> None:
    """List the cameras that are plugged in, with their sizes and controls, and what to write into dog.toml."""
    from dog.survey import describe_devices

    for line in describe_devices():
        click.echo(escape(line))
