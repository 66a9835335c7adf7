"""Manage the stored photos: `dog album`."""

import contextlib
import datetime as dt
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, cast

import click

from dog.cli.exit_status import OutputError, Status
from dog.cli.options import DAY, SettingOption, find_folder, folder_options
from dog.cli.output import StdoutStream, check_output, format_size, print_json
from dog.cli.progress import format_photos, show_progress
from dog.errors import StartError, short_reason
from dog.files import open_atomic
from dog.logs import escape
from dog.settings import RETENTION_SETTINGS, SETTINGS, load

if TYPE_CHECKING:
    from dog.snapshots.export import Kind
    from dog.snapshots.verify import Finding

__all__ = ["album"]

_STATUSES = "Exit status: 0 success; 1 {}; 2 the command line is wrong{}; 130 stopped by Ctrl-C."
_UNUSABLE = ", there are no photos, or a running server uses them (stop it first)"


@click.group(no_args_is_help=False)
def album() -> None:
    """Verify, export, purge or back up the photos; rebuild the index."""
    signal.signal(signal.SIGTERM, _exit_by_signal)


def _exit_by_signal(number: int, _frame: FrameType | None) -> None:
    """Exit by an exception, so that unfinished files are removed."""
    sys.exit(128 + number)


def _escape_path(path: str) -> str:
    """Return a path for a terminal, even if it is not UTF-8."""
    return escape(path.encode("utf-8", "backslashreplace").decode())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print_finding(finding: "Finding", as_json: bool = False) -> None:
    if not as_json:
        click.echo(f"{_escape_path(finding.path)} {escape(finding.message)}")
        return
    print_json(type=finding.kind, path=_escape_path(finding.path), message=finding.message)


@album.command(params=folder_options(), epilog=_STATUSES.format("problems were found", _UNUSABLE))
@click.option("--json", "as_json", is_flag=True, help="Print each finding and the totals as one JSON object per line.")
def verify(snapshots: str | None, config: str | None, as_json: bool) -> None:
    """Read every photo and report damaged, missing and unknown files."""
    from dog.snapshots.verify import Verification

    wrong = taken = 0
    with show_progress("Verifying") as progress:
        verification = Verification(find_folder(snapshots, config), progress)
        with contextlib.closing(verification.run()) as findings:
            for finding in findings:
                _print_finding(finding, as_json)
                wrong += finding.is_wrong
                taken += not finding.is_wrong
    if as_json:
        print_json(type="verified", photos=verification.photos, bytes=verification.bytes, wrong=wrong, taken=taken)
    else:
        added = f"; added to the index: {taken}" if taken else ""
        click.echo(
            f"{_count(verification.photos, 'photo')}, {format_size(verification.bytes)}:"
            f" {_count(wrong, 'problem') if wrong else 'no problems'}{added}"
        )
    sys.exit(Status.FAILED if wrong else Status.SUCCESS)


@album.command(params=folder_options(), epilog=_STATUSES.format("photos are missing or changed", _UNUSABLE))
def rebuild(snapshots: str | None, config: str | None) -> None:
    """Build the index again from the photos, and repair damaged data.

    Pins, deletions, share links and hashes are in a file of their own, and stay. If you stop this, the old index stays.
    """
    from dog.snapshots.rebuild import Rebuilding

    wrong = False
    with show_progress("Rebuilding", format_photos) as progress, _print_log_lines():
        rebuilding = Rebuilding(find_folder(snapshots, config), progress)
        with contextlib.closing(rebuilding.run()) as findings:
            for finding in findings:
                _print_finding(finding)
                wrong = True
    click.echo(f"The index has {_count(rebuilding.photos, 'photo')}")
    sys.exit(Status.FAILED if wrong else Status.SUCCESS)


@contextlib.contextmanager
def _print_log_lines() -> Iterator[None]:
    """Print the log lines of `dog.snapshots` on standard error."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            click.echo(f"dog: {_escape_path(record.getMessage())}", err=True)

    log, lines = logging.getLogger("dog.snapshots"), Lines(logging.INFO)
    log.setLevel(logging.INFO)
    log.addHandler(lines)
    try:
        yield
    finally:
        log.removeHandler(lines)


@album.command(
    params=[*folder_options(), *(SettingOption(SETTINGS[name]) for name in RETENTION_SETTINGS)],
    epilog=_STATUSES.format("the clock may be wrong, so nothing was deleted", ", or there are no photos"),
)
@click.option("--confirm", is_flag=True, help="Confirm that the clock is right, if the service doubts it.")
def purge(snapshots: str | None, config: str | None, confirm: bool, **limits: str | None) -> None:
    """Delete the photos that exceed the limits keep_*.

    A running server does this by itself. If the clock may be wrong, nothing is deleted until you set or confirm it.
    """
    from dog.snapshots import Limits
    from dog.snapshots.purge import Purge

    settings = load({"snapshots": snapshots, "config": config, **limits}, os.environ, Path())
    chosen = Limits.from_settings(**settings.retention())
    logging.getLogger("dog.clock").setLevel(logging.ERROR)  # this command reports a doubtful clock itself
    with _print_log_lines():
        purge = Purge(settings.snapshots)
        purge.run(chosen, confirm=confirm)
    if purge.is_confirmed:
        click.echo("The clock is confirmed.")
    if purge.is_left_to_server:
        click.echo("A running server uses these photos and deletes by itself what exceeds the limits.")
    elif chosen is None:
        click.echo(
            "No limit is set, so nothing was deleted. Set one of keep_days, keep_photos, keep_size and keep_free."
        )
    else:
        click.echo(f"{_count(purge.deleted, 'photo')} deleted")


@album.command(params=folder_options(), epilog=_STATUSES.format("a photo was left out, or no photo was found", ""))
@click.option("--from", "first", type=DAY, metavar="DAY", help="Only photos of this day or later: YYYY-MM-DD, in UTC.")
@click.option("--until", "last", type=DAY, metavar="DAY", help="Only photos of this day or earlier.")
@click.option("--camera", metavar="NAME", help="Only photos of this camera.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["zip", "tar"]),
    help="Archive format. Without this option, FILE's name decides.",
)
@click.option("-o", "--output", metavar="FILE", required=True, help="Archive to write; - writes it to standard output.")
@click.option("-f", "--force", is_flag=True, help="Replace an existing file.")
def export(
    snapshots: str | None,
    config: str | None,
    first: dt.date | None,
    last: dt.date | None,
    camera: str | None,
    kind: "Kind | None",
    output: str,
    force: bool,
) -> None:
    """Write the photos into one archive, unchanged, oldest first.

    A server may take photos at the same time. Missing or changed photos are not reported: use `dog album verify`.
    """
    from dog.snapshots.export import export as write
    from dog.snapshots.export import list_photos

    if first and last and first > last:
        raise click.UsageError("--until is before --from. Swap them.")
    kind = kind or _archive_kind(output)
    check_output(output, force, noun="An archive")
    root = find_folder(snapshots, config)
    try:
        photos = list_photos(root, first=first, last=last, camera=camera)
    except OSError as error:
        problem = f"The folder of snapshots {str(root)!r} can't be read: {short_reason(error)}."
        raise StartError(f"{problem} Name another one with --snapshots.") from None
    if not photos:
        raise OutputError(f"There are no such photos in {str(root)!r}. Nothing was written.")
    missing: list[str] = []

    def leave_out(path: str, why: str) -> None:
        missing.append(path)
        click.echo(f"dog: {_escape_path(path)} is left out. {escape(why)}", err=True)

    with show_progress("Exporting") as progress, _explain_output_errors(output), _open_output(output, force) as sink:
        progress.begin(sum(photo.size for photo in photos))
        count = write(root, photos, kind, sink, left_out=leave_out, advance=progress.advance)
    left = f", and {len(missing)} left out" if missing else ""
    click.echo(f"{_count(count, 'photo')} exported{left}", err=True)
    sys.exit(Status.FAILED if missing else Status.SUCCESS)


@album.command(params=folder_options(), epilog=_STATUSES.format("the backup can't be made", ", or there are no photos"))
@click.option("-o", "--output", metavar="FILE", required=True, help="Tar to write; - writes it to standard output.")
@click.option("-f", "--force", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
def backup(snapshots: str | None, config: str | None, output: str, force: bool, as_json: bool) -> None:
    """Copy the databases into a tar, also while a server runs.

    It has pins, deletions, share links, hashes, users and tokens, but no photos. Copy those after it, as docs/album.md
    shows. Keep the file secret.
    """
    from dog.auth import accounts_path
    from dog.snapshots.backup import add_accounts, copy_databases, write_tar

    if as_json and output == "-":
        raise click.UsageError("--json and the tar can't both be on standard output. Name a file.")
    check_output(output, force, noun="A backup")
    root = find_folder(snapshots, config)
    with show_progress("Backing up") as progress, copy_databases(root, progress) as folder:
        add_accounts(accounts_path(root), folder)
        with _explain_output_errors(output), _open_output(output, force, mode=0o600) as sink:
            size = write_tar(folder, root / ".dog", sink, progress)
    if as_json:
        print_json(type="backup", path=output, bytes=size)
    else:
        click.echo(f"{format_size(size)} backed up", err=True)


@contextlib.contextmanager
def _explain_output_errors(output: str) -> Iterator[None]:
    """Raise OSError of the block as OutputError."""
    try:
        yield
    except OSError as error:
        if output == "-":
            raise OutputError(f"Standard output can't be written: {short_reason(error)}.") from None
        raise OutputError(f"{output!r} can't be written: {short_reason(error)}. Name another file.") from None


def _archive_kind(output: str) -> "Kind":
    if output == "-" or output.endswith(".zip"):
        return "zip"
    if output.endswith(".tar"):
        return "tar"
    raise click.UsageError(f"{output!r} does not end in .zip or .tar. Change the name, or add --format.")


def _open_output(output: str, force: bool, mode: int = 0o666) -> "contextlib.AbstractContextManager[IO[bytes]]":
    if output == "-":
        return contextlib.nullcontext(cast(IO[bytes], StdoutStream()))
    return open_atomic(Path(output).resolve(), overwrite=force, mode=mode)
