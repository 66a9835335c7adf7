"""List the photos of a server: `dog gallery`."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dog.cli.exit_status import STATUSES_HELP
from dog.cli.options import SECONDS, certificate_option, read_token, token_option
from dog.cli.output import encode_photo, format_size, format_time, print_table
from dog.logs import escape

if TYPE_CHECKING:
    from rich.text import Text

    from dog.client import Photo

__all__ = ["gallery"]


@click.command(epilog=STATUSES_HELP)
@click.argument("url", metavar="URL")
@click.option("--camera", metavar="NAME", help="Only photos of this camera.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Maximum number of photos.")
@click.option("--timeout", type=SECONDS, default=60, show_default=True, help="Time to wait for the server.")
@token_option
@certificate_option
@click.option("--json", "as_json", is_flag=True, help="Print each photo as one JSON object per line.")
def gallery(
    url: str,
    camera: str | None,
    limit: int,
    timeout: float,
    token_file: Path | None,
    certificate: Path | None,
    as_json: bool,
) -> None:
    """List the photos of the server at URL, newest first."""
    from dog.client import Client

    token = read_token(token_file)

    async def list_photos() -> "list[Photo]":
        async with Client(url, timeout=timeout, token=token, certificate=certificate) as dog:
            found: list[Photo] = []
            async for photo in dog.snapshots(camera=camera):
                found.append(photo)
                if len(found) == limit:
                    break
            return found

    photos = asyncio.run(list_photos())
    if as_json:
        for photo in photos:
            click.echo(encode_photo(photo))
        return
    print_table(
        ("Time", "Camera", "Pixels", "Size", "Id"),
        [_format_row(photo) for photo in photos],
        empty="There are no photos yet.",
        right_aligned=("Pixels", "Size"),
    )


def _format_row(photo: "Photo") -> "list[str | Text]":
    """Return the cells of a photo. The id is a link to its page."""
    from rich.style import Style
    from rich.text import Text

    width, height = photo.size
    link = Text(photo.id, Style(link=escape(photo.page)))
    return [format_time(photo.body.captured_at), photo.camera, f"{width} x {height}", format_size(photo.bytes), link]
