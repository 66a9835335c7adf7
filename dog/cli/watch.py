"""What happens at a server, as it happens: `dog watch`."""

import asyncio
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from dog.cli.exit_status import OutputError, describe_statuses
from dog.cli.options import certificate_option, read_token, token_option
from dog.cli.photos import addresses_of, show_size, show_time
from dog.logs import escape, print_line
from dog.protocol import (
    CameraChanged,
    Capturing,
    Failed,
    Hello,
    Ready,
    Removed,
    Viewers,
    encode,
)
from dog.redaction import redact_text

if TYPE_CHECKING:
    from dog.cli.watch_state import Folder, WatchState
    from dog.client import Client, Photo, PushEvent

__all__ = ["watch"]

_FIELD = re.compile(r"\{(path|url|id|camera)\}")

T = TypeVar("T")


@click.command(epilog=describe_statuses())
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
    from dog.cli.watch_state import Folder, WatchState
    from dog.client import Client

    words = _split_command(command)
    with ExitStack() as stack:
        dog = Client(url, timeout=None, token=read_token(token_file), certificate=certificate)
        folder = stack.enter_context(Folder(save, dog.url)) if save else None
        temporary = None
        if words and folder is None:
            temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dog-")))
        place = folder.place if folder else WatchState(dog.url)
        asyncio.run(Watch(dog, place, folder, words, temporary, camera, as_json).run())


def _split_command(command: str | None) -> list[str]:
    """Raises click.UsageError where that is no command, or nobody has it."""
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


class Watch:
    """One watcher: prints what it hears, and sees to it that each new photo is kept and its command run."""

    def __init__(
        self,
        dog: "Client",
        place: "WatchState",
        folder: "Folder | None",
        command: Sequence[str],
        temporary: Path | None,
        camera: str | None,
        as_json: bool,
    ) -> None:
        self._dog = dog
        self._place = place
        self._folder = folder
        self._command = command
        self._temporary = temporary
        self._camera = camera
        self._as_json = as_json

    async def run(self) -> None:
        """Until cancelled. Raises ClientError and OutputError."""
        from dog.client import Missed

        hello: Hello | None = None
        async with self._dog as dog:
            async for event in dog.events(since=self._place.cursor):
                match event:
                    case Hello():
                        self._check_camera(event)
                        hello = event
                        self._print(event)
                        if self._place.cursor is None:
                            self._place.begin(hello)
                            await self._write_place()
                    case Missed() if hello is not None:
                        self._print(event)
                        await self._catch_up(hello)
                    case Ready() if self._is_wanted(event.camera):
                        if event.snapshot not in self._place.seen_ids:
                            await self._take(event)
                    case _ if self._is_wanted(getattr(event, "camera", None)):
                        self._print(event)

    def _is_wanted(self, camera: str | None) -> bool:
        return camera is None or self._camera in (None, camera)

    def _check_camera(self, hello: Hello) -> None:
        known = [status.name for status in hello.cameras]
        if self._camera is not None and self._camera not in known:
            raise click.UsageError(
                f"--camera: the server has no camera {self._camera!r}. Name one of {', '.join(known)}."
            )

    # ---- photos

    async def _catch_up(self, hello: Hello) -> None:
        """Deal with the photos that nobody can tell of any more, oldest first, and go on behind the hello."""
        missed: list[Photo] = []
        for status in hello.cameras:
            if self._is_wanted(status.name):
                async for photo in self._dog.snapshots(camera=status.name):
                    if photo.capture <= self._place.last(photo.camera):
                        break
                    missed.append(photo)
        missed.sort(key=lambda photo: photo.capture)
        with ExitStack() as stack:
            for photo in _track(missed, stack):
                if photo.id not in self._place.seen_ids:
                    told = msgspec.structs.asdict(photo.body)
                    known = {name: told[name] for name in Ready.__struct_fields__ if name in told}
                    await self._take(Ready(at=photo.body.captured_at, **known))
        self._place.cursor = hello.cursor
        await self._write_place()

    async def _take(self, event: Ready) -> None:
        """One new photo: its file, its line, its command, and then the place behind it."""
        from dog.client import PhotoDamaged, PhotoGone

        photo = self._dog.photo(event)
        path: Path | None = None
        try:
            path = await self._fetch(photo)
            self._print(event, path if self._folder else None)
        except PhotoGone:
            self._print(event)
            print_line(f"dog: Photo {photo.id} was deleted before it was downloaded.")
        except PhotoDamaged as error:  # which it will be the next time, too
            self._print(event)
            print_line(f"dog: {escape(redact_text(str(error)))}")
        else:
            if self._command:
                await self._execute(photo, path)
        finally:
            if self._temporary is not None and path is not None:
                path.unlink(missing_ok=True)
        self._place.note(photo, event.cursor)
        await self._write_place()

    async def _fetch(self, photo: "Photo") -> Path | None:
        if self._folder is not None:
            return await self._folder.keep(photo)
        if self._temporary is None:
            return None
        path = self._temporary / photo.name
        try:
            await photo.save(path, overwrite=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OutputError(
                f"{str(path)!r} can't be written: {reason}. Make room, or set TMPDIR to another folder."
            ) from None
        return path

    async def _write_place(self) -> None:
        if self._folder is not None:
            await asyncio.to_thread(self._folder.write)

    async def _execute(self, photo: "Photo", path: Path | None) -> None:
        """Run the command to its end. What is filled in is never read as a field again, nor by a shell of ours."""
        values = {"path": str(path), "url": photo.address, "id": photo.id, "camera": photo.camera}
        words = [_FIELD.sub(lambda found: values[found[1]], word) for word in self._command]
        try:
            process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL)
        except OSError as error:
            print_line(f"dog: {words[0]} can't be run for photo {photo.id}: {(error.strerror or str(error)).lower()}.")
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

    # ---- words

    def _print(self, event: "PushEvent", path: Path | None = None) -> None:
        if self._as_json:
            told = self._tell(event)
            click.echo(encode(told if path is None else told | {"path": str(path)}).decode())
            return
        line = _describe(event, self._dog)
        if line is not None:
            click.echo(escape(redact_text(line)) + (f"  {escape(str(path))}" if path else ""))

    def _tell(self, event: "PushEvent") -> dict[str, Any]:
        """The event as it was said, but with whole addresses."""
        told: dict[str, Any] = msgspec.json.decode(encode(event))
        match event:
            case Ready():
                told |= addresses_of(self._dog.photo(event))
            case Hello():
                for status, body in zip(event.cameras, told["cameras"], strict=True):
                    if status.latest is not None:
                        body["latest"] |= addresses_of(self._dog.photo(status.latest))
        return told


def _describe(event: Any, dog: "Client") -> str | None:
    """The event in words, with the time of here where it has one."""
    from dog.client import Lost, Missed

    match event:
        case Hello():
            names = ", ".join(status.name for status in event.cameras)
            return f"{show_time(event.at)}  connected to {dog.url}: {names}"
        case Capturing():
            return f"{show_time(event.at)}  {event.camera}: taking a photo"
        case Ready():
            photo = dog.photo(event)
            width, height = photo.size
            return f"{show_time(event.at)}  {event.camera}: {width} x {height}, {show_size(photo.bytes)}  {photo.page}"
        case Failed():
            return f"{show_time(event.at)}  {event.camera}: no photo. {event.message} ({event.code})"
        case Removed():
            why = "by retention" if event.reason == "retention" else "by a user"
            return f"{show_time(event.at)}  {event.camera}: photos removed {why}: {', '.join(event.snapshots)}"
        case CameraChanged(state="offline"):
            return f"{show_time(event.at)}  {event.camera}: offline. {event.reason or ''}"
        case CameraChanged():
            return f"{show_time(event.at)}  {event.camera}: {event.state}"
        case Viewers():
            return f"{' ' * 19}  {event.count} watching"
        case Lost():
            return f"{' ' * 19}  {event.reason} Trying again."
        case Missed():
            return f"{' ' * 19}  missed more than the server remembers; downloading the missed photos"
        case _ if hasattr(event, "at"):
            return f"{show_time(event.at)}  {getattr(event, 'camera', '')}: {event.__struct_config__.tag}"
    return None


def _track(photos: Sequence[T], stack: ExitStack) -> Iterator[T]:
    """The photos one by one, with a bar where somebody sits before a terminal and it may take long."""
    if len(photos) < 10 or not sys.stderr.isatty():
        return iter(photos)
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
    return iter(stack.enter_context(bar).track(photos, description="Catching up"))
