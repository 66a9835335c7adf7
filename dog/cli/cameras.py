"""List the connected cameras: `dog cameras`."""

import click

from dog.logs import escape

__all__ = ["cameras"]


@click.command()
def cameras() -> None:
    """List the connected cameras and their lines for dog.toml.

    The list includes the sizes and controls of each camera.
    """
    from dog.cameras.discovery import describe_devices

    for line in describe_devices():
        click.echo(escape(line))
