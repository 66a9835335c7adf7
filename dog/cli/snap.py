"""Take a photo with a server and save it: `dog snap`."""

import asyncio
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dog.cli.exit_status import STATUSES_HELP, OutputError, explain_write_errors
from dog.cli.options import SECONDS, certificate_option, read_token, token_option
from dog.cli.output import check_output, encode_photo
from dog.logs import escape
from dog.protocol import SCALED_WIDTHS

if TYPE_CHECKING:
    from dog.client import Photo

__all__ = ["snap"]


@click.command(epilog=STATUSES_HELP)
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
@click.option(
    "--width",
    type=click.Choice([str(width) for width in SCALED_WIDTHS]),
    help="Save a copy that is scaled down to this width in pixels, as a JPEG.",
)
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
    width: str | None,
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

    async def take_photo() -> None:
        async with Client(url, timeout=timeout, token=token, certificate=certificate) as dog:
            with _show_spinner(f"Waiting for the photo of {dog.url} ..."):
                photo = await dog.capture(max_age=max_age, camera=camera)
                path = await _save(photo, output, force, None if width is None else int(width))
        if path is not None:
            if as_json:
                click.echo(encode_photo(photo, outcome=photo.outcome, age=photo.age, path=str(path)))
            else:
                click.echo(escape(str(path)))
            if show:
                _open_viewer(path)

    asyncio.run(take_photo())


async def _save(photo: "Photo", output: str | None, force: bool, width: int | None) -> Path | None:
    """Save the photo and return its path; None for standard output."""
    if output == "-":
        sys.stdout.buffer.write(await photo.read(width=width))
        sys.stdout.buffer.flush()
        return None
    name = photo.scaled_name(width)
    path = _output_path(output, name)
    with explain_write_errors(path, f"Name another file; the photo is at {photo.page}"):
        # The name contains the id, so a file of that name is the same photo.
        await photo.save(path, overwrite=force or path.name == name, width=width)
    return path


def _output_path(output: str | None, name: str) -> Path:
    path = Path(output or ".")
    return path / name if path.is_dir() else path


def _open_viewer(path: Path) -> None:
    """Open the file in the desktop's image viewer, or raise OutputError."""
    program = "open" if sys.platform == "darwin" else "xdg-open"
    nothing = subprocess.DEVNULL  # a pipe from this command must not stay open until the viewer is closed
    try:
        subprocess.Popen([program, path], stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
    except OSError:
        raise OutputError(f"The program {program} is not installed. Open the photo yourself: {str(path)!r}.") from None


def _show_spinner(text: str) -> AbstractContextManager[object]:
    """Show a spinner with this text if standard error is a terminal."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console
    from rich.text import Text

    return Console(stderr=True).status(Text(text))
