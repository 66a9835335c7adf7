"""Run the service: `dog serve`.

dog/web/server.py runs it, and ends with status 0. If it can't start, it prints one line on standard error. The status
is 2 if only a person can help, and 75 if a later start may work. An internal error ends with a traceback and status 1.
"""

import logging
import os
import signal
import sys
from pathlib import Path

import click

from dog.cli.options import SettingOption, SettingsCommand
from dog.errors import SettingError, StartError, short_reason
from dog.logs import start_logging
from dog.settings import ALL_SETTINGS, load

__all__ = ["serve"]

log = logging.getLogger(__name__)


@click.command(
    cls=SettingsCommand,
    params=[SettingOption(setting) for setting in ALL_SETTINGS],
    epilog="An option overrides its variable (in brackets), and a variable overrides dog.toml. docs/settings.md"
    " explains all settings.",
)
def serve(**flags: str | None) -> None:
    """Serve the camera's page until Ctrl-C."""
    signal.signal(signal.SIGHUP, lambda *_: None)  # ignored until a certificate can be reloaded
    settings = load(flags, os.environ, Path())
    try:
        running = start_logging(settings.log_file, settings.log_level)
    except OSError as error:
        problem = f"{settings.log_file} can't be written: {short_reason(error)}"
        raise settings.error("log_file", f"{problem}. Name another file, or - for none.") from error
    with running:
        for warning in settings.warnings:
            log.warning("%s", warning)
        try:
            from dog.web.server import run

            status = run(settings, running)
        except (SettingError, StartError) as error:
            log.error("%s", error, extra={"terminal": False})
            raise
        except ImportError:  # dog_camera.py explains it in one line
            raise
        except Exception:
            log.exception("The service stopped because of an internal error")
            status = 1
    sys.exit(status)
