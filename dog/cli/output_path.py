"""Check the file, folder or standard output that a command writes."""

import sys
from pathlib import Path

import click

__all__ = ["check_output"]


def check_output(output: str, force: bool, *, noun: str, folder: bool = False) -> None:
    """Raise click.UsageError if the output can't or must not be written.

    `-` is standard output. `folder` allows an existing folder, for a new file in it.
    """
    path = Path(output)
    if output == "-":
        if sys.stdout.isatty():
            raise click.UsageError(f"{noun} can't be shown in a terminal. Name a file, or redirect the output to one.")
        return
    if not path.parent.is_dir():
        raise click.UsageError(f"The folder {str(path.parent)!r} does not exist. Create it first.")
    if (folder and path.is_dir()) or not path.exists():
        return
    if not path.is_file():
        raise click.UsageError(f"{output!r} is not a file. Name a file.")
    if not force:
        raise click.UsageError(f"{output!r} exists already. Name another file, or add --force to replace it.")
