"""Print the events of a server as they happen: `dog watch`."""

import asyncio
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from dog.cli.exit_status import STATUSES_HELP, explain_write_errors
from dog.cli.options import certificate_option, read_token, token_option
from dog.cli.output import format_size, format_time, photo_urls, to_json
from dog.errors import short_reason
from dog.logs import escape, print_line
from dog.protocol import CameraChanged, Capturing, Failed, Hello, Ready, Removed, Viewers, encode
from dog.redaction import redact_text

if TYPE_CHECKING:
    from dog.cli.watch_state import WatchFolder, WatchState
    from dog.client import Client, Photo, PushEvent

__all__ = ["watch"]

_PLACEHOLDER = re.compile(r"\{(path|url|id|camera)\}")

T = TypeVar("T")


@click.command(epilog=STATUSES_HELP)
@click.argument("url", metavar="URL")
@click.option("--camera", metavar="NAME", help="Only events of this camera.")
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Save each new photo in this folder. A restarted command continues where it stopped: no photo is missing.",
)
@click.option(
    "--exec",
    "command",
    metavar="COMMAND",
    help="Run this command for each new photo, one at a time, with {path}, {url}, {id} and {camera} filled in. To use"
    " a shell, write sh -c. Without --save, the file is deleted afterwards.",
)
@token_option
@certificate_option
@click.option("--json", "as_json", is_flag=True, help="Print each event as one JSON object per line.")
def watch(
    url: str,
    camera: str | None,
    save: Path | None,
    command: str | None,
    token_file: Path | None,
    certificate: Path | None,
    as_json: bool,
) -> None:
    """Print each event of the server at URL, until Ctrl-C.

    If the connection is lost, the command connects again.
    """
    from dog.cli.watch_state import WatchFolder, WatchState
    from dog.client import Client

    words = _split_command(command)
    with ExitStack() as stack:
        dog = Client(url, timeout=None, token=read_token(token_file), certificate=certificate)
        folder = stack.enter_context(WatchFolder(save, dog.url)) if save else None
        temporary = None
        if words and folder is None:
            temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dog-")))
        state = folder.state if folder else WatchState(dog.url)
        asyncio.run(Watch(dog, state, folder, words, temporary, camera, as_json).run())


def _split_command(command: str | None) -> list[str]:
    """Split the command into words, or raise click.UsageError."""
    if command is None:
        return []
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise click.UsageError(
            f"--exec: {command!r} is not a valid command: {str(error).lower()}. Correct it."
        ) from None
    if not words or shutil.which(words[0]) is None:
        raise click.UsageError(
            f"--exec: the program {words[0] if words else ''!r} does not exist or can't be run. Name another one."
        )
    return words


@dataclass(slots=True)
class Watch:
    """The loop of `dog watch`: print events, save photos, run the command."""

    dog: "Client"
    state: "WatchState"
    folder: "WatchFolder | None"
    command: Sequence[str]
    temporary: Path | None
    camera: str | None
    as_json: bool

    async def run(self) -> None:
        """Process events until cancelled. Raise ClientError or OutputError."""
        from dog.client import Missed

        hello: Hello | None = None
        async with self.dog as dog:
            async for event in dog.events(since=self.state.cursor):
                match event:
                    case Hello():
                        self._check_camera(event)
                        hello = event
                        self._print(event)
                        if self.state.cursor is None:
                            self.state.start_at(hello)
                            await self._save_state()
                    case Missed() if hello is not None:
                        self._print(event)
                        await self._catch_up(hello)
                    case Ready() if self._is_selected(event.camera):
                        if event.snapshot not in self.state.seen_ids:
                            await self._process_photo(event)
                    case _ if self._is_selected(getattr(event, "camera", None)):
                        self._print(event)

    def _is_selected(self, camera: str | None) -> bool:
        return camera is None or self.camera in (None, camera)

    def _check_camera(self, hello: Hello) -> None:
        known = [status.name for status in hello.cameras]
        if self.camera is not None and self.camera not in known:
            raise click.UsageError(
                f"--camera: the server has no camera {self.camera!r}. Name one of {', '.join(known)}."
            )

    # ---- photos

    async def _catch_up(self, hello: Hello) -> None:
        """Process the photos whose events the server no longer has."""
        missed: list[Photo] = []
        for status in hello.cameras:
            if self._is_selected(status.name):
                async for photo in self.dog.snapshots(camera=status.name):
                    if photo.capture <= self.state.last_capture(photo.camera):
                        break
                    missed.append(photo)
        missed.sort(key=lambda photo: photo.capture)
        with ExitStack() as stack:
            for photo in _track(missed, stack):
                if photo.id not in self.state.seen_ids:
                    body = msgspec.structs.asdict(photo.body)
                    known = {name: body[name] for name in Ready.__struct_fields__ if name in body}
                    await self._process_photo(Ready(at=photo.body.captured_at, **known))
        self.state.cursor = hello.cursor
        await self._save_state()

    async def _process_photo(self, event: Ready) -> None:
        """Save a photo, print its line, run its command, and save the state."""
        from dog.client import PhotoDamaged, PhotoGone

        photo = self.dog.photo(event)
        path: Path | None = None
        try:
            path = await self._download(photo)
            self._print(event, path if self.folder else None)
        except PhotoGone:
            self._print(event)
            print_line(f"dog: Photo {photo.id} was deleted before it was downloaded.")
        except PhotoDamaged as error:  # a retry would get the same damaged image
            self._print(event)
            print_line(f"dog: {escape(redact_text(str(error)))}")
        else:
            if self.command:
                await self._run_command(photo, path)
        finally:
            if self.temporary is not None and path is not None:
                path.unlink(missing_ok=True)
        self.state.mark_seen(photo, event.cursor)
        await self._save_state()

    async def _download(self, photo: "Photo") -> Path | None:
        if self.folder is not None:
            return await self.folder.save_photo(photo)
        if self.temporary is None:
            return None
        path = self.temporary / photo.name
        with explain_write_errors(path, "Make room, or set TMPDIR to another folder."):
            await photo.save(path, overwrite=True)
        return path

    async def _save_state(self) -> None:
        if self.folder is not None:
            await asyncio.to_thread(self.folder.write_state)

    async def _run_command(self, photo: "Photo", path: Path | None) -> None:
        """Run the command, without a shell, and wait for its end."""
        values = {"path": str(path), "url": photo.address, "id": photo.id, "camera": photo.camera}
        words = [_PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in self.command]
        try:
            process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL)
        except OSError as error:
            print_line(f"dog: {words[0]} can't be run for photo {photo.id}: {short_reason(error)}.")
            return
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            if process.returncode is None:
                process.terminate()
                await process.wait()
            raise
        if status:
            ended = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
            print_line(f"dog: {words[0]} {ended} for photo {photo.id}.")

    # ---- output

    def _print(self, event: "PushEvent", path: Path | None = None) -> None:
        if self.as_json:
            fields = self._event_json(event)
            click.echo(to_json(fields if path is None else fields | {"path": str(path)}))
            return
        line = _describe(event, self.dog)
        if line is not None:
            click.echo(escape(redact_text(line)) + (f"  {escape(str(path))}" if path else ""))

    def _event_json(self, event: "PushEvent") -> dict[str, Any]:
        """Return the event's JSON object, with absolute URLs."""
        fields: dict[str, Any] = msgspec.json.decode(encode(event))
        match event:
            case Ready():
                fields |= photo_urls(self.dog.photo(event))
            case Hello():
                for status, body in zip(event.cameras, fields["cameras"], strict=True):
                    if status.latest is not None:
                        body["latest"] |= photo_urls(self.dog.photo(status.latest))
        return fields


def _describe(event: Any, dog: "Client") -> str | None:
    """Return the event as a line for people, in local time."""
    from dog.client import Lost, Missed

    match event:
        case Hello():
            names = ", ".join(status.name for status in event.cameras)
            return f"{format_time(event.at)}  connected to {dog.url}: {names}"
        case Capturing():
            return f"{format_time(event.at)}  {event.camera}: taking a photo"
        case Ready():
            photo = dog.photo(event)
            width, height = photo.size
            return (
                f"{format_time(event.at)}  {event.camera}: {width} x {height}, {format_size(photo.bytes)}  {photo.page}"
            )
        case Failed():
            return f"{format_time(event.at)}  {event.camera}: no photo. {event.message} ({event.code})"
        case Removed():
            why = "by retention" if event.reason == "retention" else "by a user"
            return f"{format_time(event.at)}  {event.camera}: photos removed {why}: {', '.join(event.snapshots)}"
        case CameraChanged(state="offline"):
            return f"{format_time(event.at)}  {event.camera}: offline. {event.reason or ''}"
        case CameraChanged():
            return f"{format_time(event.at)}  {event.camera}: {event.state}"
        case Viewers():
            return f"{' ' * 19}  {event.count} watching"
        case Lost():
            return f"{' ' * 19}  {event.reason} Trying again."
        case Missed():
            return f"{' ' * 19}  missed more than the server remembers; downloading the missed photos"
        case _ if hasattr(event, "at"):
            return f"{format_time(event.at)}  {getattr(event, 'camera', '')}: {event.__struct_config__.tag}"
    return None


def _track(photos: Sequence[T], stack: ExitStack) -> Iterator[T]:
    """Iterate over the photos; show progress if there are many."""
    if len(photos) < 10 or not sys.stderr.isatty():
        return iter(photos)
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
    return iter(stack.enter_context(bar).track(photos, description="Catching up"))
