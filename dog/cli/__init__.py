"""The command line `dog`: one file for each command or group of commands.

An error is one line on standard error and an exit status (exit_status.py). A command imports heavy modules itself.
"""

import os
from typing import Any

import click

import dog
from dog.cli.album import album
from dog.cli.cameras import cameras
from dog.cli.cert import cert
from dog.cli.check import check
from dog.cli.exit_status import Status, exit_status
from dog.cli.gallery import gallery
from dog.cli.output import report_stdout_failures
from dog.cli.serve import serve
from dog.cli.snap import snap
from dog.cli.token import token
from dog.cli.user import user
from dog.cli.watch import watch
from dog.errors import DogError
from dog.logs import escape, print_line
from dog.redaction import redact_text

__all__ = ["main"]


class Commands(click.Group):
    """The group of all commands. It prints errors as one line."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        with report_stdout_failures():
            return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            os.getcwd()  # raises FileNotFoundError if the folder was removed: a command would fail later
            return super().invoke(ctx)
        except DogError as error:
            print_line(f"dog: {escape(redact_text(str(error)))}")
            ctx.exit(exit_status(error, ctx.invoked_subcommand))
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "dog"
            message = " ".join(error.format_message().split()).rstrip(".")
            print_line(f"dog: {escape(redact_text(message))}. See {command} --help.")
            ctx.exit(Status.USAGE)
        except PermissionError as error:  # for a folder above a file that a command looks for
            if error.filename is None:
                raise
            path = escape(repr(str(error.filename)))
            print_line(f"dog: {path} can't be used: permission denied. Allow it to this user.")
            ctx.exit(Status.FAILED)
        except FileNotFoundError as error:
            if error.filename is not None:  # a file of the command, not the working folder
                raise
            print_line("dog: The working folder was removed. Change to another one.")
            ctx.exit(Status.FAILED)
        except KeyboardInterrupt:  # a running service handles SIGINT itself
            ctx.exit(Status.INTERRUPTED)


@click.group(
    cls=Commands,
    commands=[serve, check, cameras, album, user, token, cert, snap, gallery, watch],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(dog.__version__, prog_name="dog")
def main() -> None:
    """D.O.G.: a realtime camera on a web page.
    A press anywhere, the photo everywhere.
    """
