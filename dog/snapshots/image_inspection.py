"""Inspect image files of the album, in this process or in several.

Reading an image's structure is Python code, so threads would wait for each other. Batches keep the memory bounded, and
the order is kept.
"""

import contextlib
import dataclasses
import errno
import hashlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol, TypeVar

from dog.errors import BadImage, StorageError
from dog.images import MAX_IMAGE_BYTES, ImageInfo, average_color, inspect_kept, measure
from dog.snapshots.image_files import SnapshotGone, read_thumbnail
from dog.snapshots.names import thumbnail_path

__all__ = [
    "DamagedFile",
    "ImageFile",
    "Inspect",
    "InspectedFile",
    "Outcome",
    "inspect_file",
    "inspect_here",
    "start_inspectors",
]

_MAX_PROCESSES = 4
"""More do not help, because one process writes the index."""
_MIN_FILES = 2000
"""With fewer, starting processes takes longer than it saves."""
_MAX_WAITING_BATCHES = 3
"""Batches for each process. They fit into the buffer of its pipe, so that sending never waits."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file to inspect.

    One that `has_thumbnail` was decoded when it was saved. It is only measured: decoding all would take minutes.
    """

    path: str
    has_thumbnail: bool = False


@dataclass(frozen=True, slots=True)
class InspectedFile:
    info: ImageInfo
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DamagedFile:
    reason: str
    is_empty: bool


class Batch(Protocol):
    """Some files that are inspected in one step."""

    @property
    def files(self) -> list[ImageFile]: ...


Outcome = InspectedFile | DamagedFile | OSError
"""The content of a file, or why it can't be read."""
B = TypeVar("B", bound=Batch)


class Inspect(Protocol):
    """A function that yields batches with the outcomes of their files."""

    def __call__(self, root: Path, batches: Iterable[B]) -> Iterator[tuple[B, list[Outcome]]]: ...


def inspect_file(root: Path, file: ImageFile) -> Outcome:
    """Inspect one file, whose path is relative to `root`."""
    try:
        size = (root / file.path).stat().st_size
        data = (root / file.path).read_bytes() if size <= MAX_IMAGE_BYTES else None
    except OSError as error:
        return error
    try:
        if data is None:
            raise BadImage("It is too large for a photo.", detail=f"{size} bytes")
        if file.has_thumbnail:
            info = dataclasses.replace(measure(data), color=_read_color(root / thumbnail_path(file.path)))
        else:
            info = inspect_kept(data)
    except BadImage as error:
        return DamagedFile(f"{error.message} {error.detail}", is_empty=data == b"")
    return InspectedFile(info, len(data), hashlib.sha256(data).hexdigest())


def _read_color(thumbnail: Path) -> str:
    """Return the average colour of a thumbnail, "" if it is unreadable."""
    try:
        return average_color(read_thumbnail(thumbnail))
    except (SnapshotGone, StorageError):
        return ""


def inspect_here(root: Path, batches: Iterable[B]) -> Iterator[tuple[B, list[Outcome]]]:
    """Inspect batches in this process."""
    for batch in batches:
        yield batch, [inspect_file(root, file) for file in batch.files]


@contextlib.contextmanager
def start_inspectors(files: int) -> Iterator[Inspect]:
    """Yield a function that inspects, on all cores if it is worth it."""
    count = min(len(os.sched_getaffinity(0)), _MAX_PROCESSES) if hasattr(os, "sched_getaffinity") else 1
    if count == 1 or files < _MIN_FILES:
        yield inspect_here
        return
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(_start_process()) for _ in range(count)]

        def inspect_in_processes(root: Path, batches: Iterable[B]) -> Iterator[tuple[B, list[Outcome]]]:
            return _inspect_in_turn(connections, root, batches)

        yield inspect_in_processes


def _inspect_in_turn(
    connections: list[Connection], root: Path, batches: Iterable[B]
) -> Iterator[tuple[B, list[Outcome]]]:
    """Give batches to processes in turn. Keep the order of outcomes."""
    waiting: deque[tuple[B, Callable[[], list[Outcome]]]] = deque()
    for number, batch in enumerate(batches):
        connection = connections[number % len(connections)]
        connection.send((root, batch.files))
        waiting.append((batch, connection.recv))
        if len(waiting) == len(connections) * _MAX_WAITING_BATCHES:
            yield _receive(*waiting.popleft())
    while waiting:
        yield _receive(*waiting.popleft())


def _receive(batch: B, receive: Callable[[], list[Outcome]]) -> tuple[B, list[Outcome]]:
    try:
        return batch, receive()
    except (EOFError, ConnectionResetError) as error:
        raise OSError(errno.ECHILD, "A process that inspects photos was killed") from error


@contextlib.contextmanager
def _start_process() -> Iterator[Connection]:
    """Start a process that ends with the connection to it. Yield that."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    # Ctrl-C at a terminal reaches all processes. This one stops the others.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = context.Process(target=_serve, args=(its,), name="inspecting", daemon=True)
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        its.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join()


def _serve(connection: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):  # the other process has ended
        while True:
            root, files = connection.recv()
            connection.send([inspect_file(root, file) for file in files])
