"""One photo from a server, and the photos it has: `dog snap`, `dog gallery`."""

import asyncio
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from dog.cli.exit_status import OutputError, Status, describe_statuses
from dog.cli.options import SECONDS, certificate_option, read_token, token_option
from dog.cli.output_path import check_output
from dog.logs import escape
from dog.protocol import encode, parse_timestamp

if TYPE_CHECKING:
    from dog.client import Photo

__all__ = ["addresses_of", "gallery", "show_size", "show_time", "snap"]

_STATUSES = describe_statuses(Status.WELL, Status.FAILED, Status.USAGE, Status.UNREACHABLE, Status.INTERRUPTED)


@click.command(epilog=_STATUSES)
@click.argument("url", metavar="URL")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Save the photo in this file or folder; - writes it to standard output. Without -o, the file's name is the"
    " photo's time (in UTC), camera and id.",
)
@click.option("--max-age", type=SECONDS, help="Accept a photo of at most this age; 0 takes a new one.")
@click.option("--camera", metavar="NAME", help="Camera to use, if the server has several.")
@click.option("--timeout", type=SECONDS, default=60, show_default=True, help="Time to wait for the photo.")
@token_option
@certificate_option
@click.option("-f", "--force", is_flag=True, help="Replace an existing file.")
@click.option("--open", "show", is_flag=True, help="Open the photo in the desktop's image viewer.")
@click.option("--json", "as_json", is_flag=True, help="Print the photo's data as one JSON object.")
def snap(
    url: str,
    output: str | None,
    max_age: float | None,
    camera: str | None,
    timeout: float,
    token_file: Path | None,
    certificate: Path | None,
    force: bool,
    show: bool,
    as_json: bool,
) -> None:
    """Take a photo with the server at URL and save it as a file.

    URL is, for example, http://camera.local:8080. The name of the file is printed.
    """
    from dog.client import Client

    token = read_token(token_file)
    if output == "-" and (as_json or show):
        raise click.UsageError("-o - writes the photo itself to standard output. Remove --json and --open, or -o.")
    if output is not None:
        check_output(output, force, noun="A photo", folder=True)

    async def press() -> None:
        async with Client(url, timeout=timeout, token=token, certificate=certificate) as dog:
            with _tell_waiting(f"Waiting for the photo of {dog.url} ..."):
                photo = await dog.capture(max_age=max_age, camera=camera)
                path = await _keep(photo, output, force)
        if path is not None:
            click.echo(_describe(photo, path) if as_json else escape(str(path)))
            if show:
                _show(path)

    asyncio.run(press())


async def _keep(photo: "Photo", output: str | None, force: bool) -> Path | None:
    """Where the photo is now; None for standard output."""
    if output == "-":
        sys.stdout.buffer.write(await photo.read())
        sys.stdout.buffer.flush()
        return None
    path = _find_path(output, photo)
    try:
        await photo.save(path, overwrite=force or path.name == photo.name)  # that has the id: it is the same photo
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"{str(path)!r} can't be written: {reason}. Name another file; the photo is at {photo.page}"
        ) from None
    return path


def _find_path(output: str | None, photo: "Photo") -> Path:
    path = Path(output or ".")
    return path / photo.name if path.is_dir() else path


def _show(path: Path) -> None:
    """Leave the file to the desktop's viewer, which may stay open as long as it likes. Raises OutputError."""
    program = "open" if sys.platform == "darwin" else "xdg-open"
    nothing = subprocess.DEVNULL  # or whoever reads what this command prints would wait for the viewer's end
    try:
        subprocess.Popen([program, path], stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
    except OSError:
        raise OutputError(f"The program {program} is not installed. Open the photo yourself: {str(path)!r}.") from None


def _describe(photo: "Photo", path: Path) -> str:
    told = msgspec.to_builtins(photo.body) | addresses_of(photo)
    answer = {"outcome": photo.outcome, "age": photo.age, "path": str(path)}
    return encode(told | {name: value for name, value in answer.items() if value is not None}).decode()


def addresses_of(photo: "Photo") -> dict[str, str]:
    """What in its JSON is whole, although the server may tell paths."""
    return {"url": photo.url, "page": photo.page, "thumbnail": photo.thumbnail}


def _tell_waiting(text: str) -> AbstractContextManager[object]:
    """Something that moves, where somebody sits before a terminal."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console
    from rich.text import Text

    return Console(stderr=True).status(Text(text))


@click.command(epilog=_STATUSES)
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
            click.echo(encode(msgspec.to_builtins(photo.body) | addresses_of(photo)).decode())
    else:
        _print_table(photos)


def _print_table(photos: "list[Photo]") -> None:
    from rich.console import Console
    from rich.style import Style
    from rich.table import Table
    from rich.text import Text

    if not photos:
        click.echo("There are no photos yet.")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("Time", "Camera", "Pixels", "Size", "Id"):
        table.add_column(title, no_wrap=True, justify="right" if title in ("Pixels", "Size") else "left")
    for photo in photos:
        width, height = photo.size
        time = escape(show_time(photo.body.captured_at))
        link = Text(photo.id, Style(link=escape(photo.page)))  # in a terminal that can follow it
        table.add_row(time, Text(photo.camera), f"{width} x {height}", show_size(photo.bytes), link)
    console = Console(highlight=False)
    if not console.is_terminal:  # whoever reads it on wants all of it
        console.width = 200
    console.print(table)


def show_time(timestamp: str) -> str:
    """A time for a person, as the clock here has it; what is none, or can't be shown here, as it was told."""
    try:
        return f"{parse_timestamp(timestamp).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return timestamp


def show_size(size: float) -> str:
    """Bytes for a person: `53 KB`."""
    for unit in ("bytes", "KB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.0f} GB"
