"""The command line: one file for each group of commands, and here what all of them share.

What goes wrong is one line on standard error, and a status of statuses.py. What is heavy is imported by the command
that needs it.
"""

from typing import Any

import click

import dog
from dog.cli.accounts import token, user
from dog.cli.album import album
from dog.cli.cert import cert
from dog.cli.exit_status import Status, find_status
from dog.cli.looking import cameras, check
from dog.cli.photos import gallery, snap
from dog.cli.serve import serve
from dog.cli.stdout import tell_output_failures
from dog.cli.watch import watch
from dog.errors import DogError
from dog.logs import escape, print_line
from dog.redaction import redact_text

__all__ = ["main"]


class Commands(click.Group):
    """The commands; what goes wrong in any of them is one line."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        with tell_output_failures():
            return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DogError as error:
            print_line(f"dog: {escape(redact_text(str(error)))}")
            ctx.exit(find_status(error))
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "dog"
            message = " ".join(error.format_message().split()).rstrip(".")
            print_line(f"dog: {escape(redact_text(message))}. See {command} --help.")
            ctx.exit(Status.USAGE)
        except KeyboardInterrupt:  # a service that runs has its own way to end
            ctx.exit(Status.INTERRUPTED)


@click.group(
    cls=Commands,
    commands=[serve, check, cameras, album, user, token, cert, snap, gallery, watch],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(dog.__version__, prog_name="dog")
def main() -> None:
    """D.O.G.: a realtime camera on a web page. A press anywhere, the photo everywhere."""
