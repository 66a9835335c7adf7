"""Every file of an album held against its index, while no server has it.

No file is changed. What may come into the index is a photo that was brought here, and the hash of one of which the
index knows none: it is held to that from then on. Everything here blocks, and a larger album takes no more memory.
"""

import contextlib
import hashlib
import os
import sqlite3
import stat
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from dog.errors import BadImage, DogError, StartError, StorageError
from dog.images import MAX_IMAGE_BYTES, inspect_kept
from dog.snapshots.folder import list_days
from dog.snapshots.image_files import SnapshotGone, read_picture, read_thumbnail
from dog.snapshots.index import Index, is_surroundings
from dog.snapshots.index_replacement import INDEX, OLD_INDEX
from dog.snapshots.lock import Lock
from dog.snapshots.names import (
    SUFFIXES,
    Snapshot,
    SnapshotName,
    is_picture,
    is_thumbnail,
    parse_path,
    picture_name,
    thumbnail_name,
)
from dog.snapshots.reconcile import describe

__all__ = ["Finding", "IndexUnavailable", "Progress", "Verification", "list_all", "lock_album"]

_READERS = 4
"""Threads that read: a disk is asked for more than one file at a time, and hashing waits for none of them."""
_WAITING = 4 * _READERS
"""Photos that are read ahead of the one that is told next."""
_CHUNK = 1024 * 1024
_PAGE = 500

Kind = Literal["changed", "size", "missing", "unreadable", "thumbnail", "unknown", "taken"]


class IndexUnavailable(DogError):
    """There is no index that could be read. `str()` is one line that says what to do."""


class Progress(Protocol):
    """Is told how far it is."""

    def begin(self, total: int) -> object: ...

    def advance(self, by: int) -> object: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to be said of one file. `path` is relative to the folder; `said` goes on from it, with what to do."""

    kind: Kind
    path: str
    said: str

    @property
    def is_wrong(self) -> bool:
        return self.kind != "taken"


@contextlib.contextmanager
def lock_album(root: Path) -> Iterator[Path]:
    """The album for us alone: its private folder. Raises StartError where there is none, or a server has it."""
    private = root / ".dog"
    try:
        if not root.is_dir() or not (private.is_dir() or list_days(root)[0]):
            raise StartError(f"There are no snapshots in {str(root)!r}. Name the right folder with --snapshots.")
        for folder in private, private / "incoming":
            if folder.is_symlink():
                raise StartError(f"{str(folder)!r} is a symbolic link, and must be a folder. Remove it.")
            folder.mkdir(exist_ok=True)
        lock = Lock(root, private / "lock")
    except OSError as error:
        raise StartError(f"The folder of snapshots {str(root)!r} can't be used: {_strerror(error)}.") from error
    try:
        yield private
    except sqlite3.Error as error:
        raise IndexUnavailable(f"The index of {str(root)!r} can't be used: {error}. {_remedy(error)}.") from error
    except OSError as error:
        raise StorageError(f"{str(error.filename or root)!r}: {_strerror(error)}. Solve that first.") from error
    finally:
        lock.release()


def _remedy(error: sqlite3.Error) -> str:
    return "Solve that first" if is_surroundings(error) else "Rebuild it with `dog album rebuild`"


def _strerror(error: BaseException | None) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def list_all(index: Index) -> Iterator[Snapshot]:
    """Newest first."""
    page = index.recent(_PAGE)
    while page:
        yield from page
        page = index.recent(_PAGE, before=page[-1].id)


class _Verified(Index):
    """The index, which can be told the hash of a photo afterwards."""

    def note_hash(self, snapshot_id: str, sha256: str) -> None:
        self._database.execute("UPDATE snapshots SET sha256 = ? WHERE id = ?", (sha256, snapshot_id))


class Verification:
    """One look at every file of an album. `photos` and `bytes` say how many the index knows."""

    def __init__(self, root: Path, progress: Progress) -> None:
        self.photos = 0
        self.bytes = 0
        self._root = root
        self._progress = progress
        self._stop = threading.Event()

    def run(self) -> Generator[Finding, None, None]:
        """What there is to say; close it, too, when it is not read to its end. Raises StartError and NoIndex."""
        with lock_album(self._root) as private, contextlib.closing(_open_index(private)) as index:
            self.photos, self.bytes = index.totals()
            self._progress.begin(self.bytes)
            yield from self._check_photos(index)
            yield from self._check_names(index)

    def _check_photos(self, index: _Verified) -> Iterator[Finding]:
        waiting: deque[tuple[Snapshot, Future[tuple[str, list[Finding]]]]] = deque()

        def settle() -> list[Finding]:
            snapshot, looking = waiting.popleft()
            digest, findings = looking.result()
            if digest and not snapshot.sha256:
                index.note_hash(snapshot.id, digest)
            self._progress.advance(snapshot.bytes)
            return findings

        with ThreadPoolExecutor(_READERS, thread_name_prefix="verifying") as readers:
            try:
                for snapshot in list_all(index):
                    waiting.append((snapshot, readers.submit(self._look, snapshot)))
                    if len(waiting) == _WAITING:
                        yield from settle()
                while waiting:
                    yield from settle()
            finally:
                self._stop.set()
                readers.shutdown(wait=False, cancel_futures=True)

    def _look(self, snapshot: Snapshot) -> tuple[str, list[Finding]]:
        """The hash of a photo's file, empty where it has none, and what is to be said of it and its thumbnail."""
        path = picture_name(snapshot)
        try:
            digest = self._hash(path, snapshot.bytes)
        except FileNotFoundError:
            said = "is missing; restore it from a backup before the next start, which removes it from the index"
            return "", [Finding("missing", path, said)]
        except OSError as error:
            return "", [Finding("unreadable", path, f"can't be read: {_strerror(error)}")]
        except SnapshotGone as error:
            return "", [Finding("size", path, str(error))]
        findings = []
        if not snapshot.sha256:
            findings.append(Finding("taken", path, "had no hash in the index; its present hash was added"))
        elif digest != snapshot.sha256:
            said = "is not as it was saved: its hash differs; restore it from a backup, or delete it"
            findings.append(Finding("changed", path, said))
        return digest, findings + self._look_at_thumbnail(path)

    def _hash(self, path: str, size: int) -> str:
        # Opening a pipe must not wait for somebody to write to it.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(self._root / path, flags), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SnapshotGone("was replaced by something that is not a file; restore it from a backup")
            if status.st_size != size:
                raise SnapshotGone(f"has {status.st_size} bytes instead of {size}; restore it from a backup")
            digest = hashlib.sha256()
            while (chunk := file.read(_CHUNK)) and not self._stop.is_set():
                digest.update(chunk)
        return digest.hexdigest()

    def _look_at_thumbnail(self, path: str) -> list[Finding]:
        thumbnail = thumbnail_name(path)
        try:
            read_thumbnail(self._root / thumbnail)
        except SnapshotGone as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return [Finding("thumbnail", thumbnail, "is missing; the next start of the server makes it again")]
            said = "is damaged; remove it, and the next start of the server makes it again"
            return [Finding("thumbnail", thumbnail, said)]
        except StorageError as error:
            return [Finding("unreadable", thumbnail, f"can't be read: {_strerror(error.__cause__)}")]
        return []

    # ---- what the index does not know

    def _check_names(self, index: Index) -> Iterator[Finding]:
        for path, is_file in _walk(self._root):
            if is_file and is_thumbnail(path):
                yield from self._check_thumbnail_name(path, index)
            elif is_file and is_picture(path) and (taken := parse_path(path)) is not None:
                yield from self._check_picture_name(path, taken, index)
            else:
                yield Finding("unknown", path, "does not belong to this album; move it elsewhere")

    def _check_thumbnail_name(self, path: str, index: Index) -> Iterator[Finding]:
        pictures = [path.removesuffix("thumbnail.jpg") + suffix for suffix in SUFFIXES.values()]
        taken = parse_path(pictures[0])
        known = None if taken is None else index.get(taken.id)
        if known is not None and picture_name(known) in pictures:
            return  # also where the photo itself is missing, which has been said
        if not any((self._root / picture).is_file() for picture in pictures):
            yield Finding("unknown", path, "is a thumbnail without a photo; the next start of the server removes it")

    def _check_picture_name(self, path: str, taken: SnapshotName, index: Index) -> Iterator[Finding]:
        known = index.get(taken.id)
        if known is not None:
            if picture_name(known) != path:
                said = f"has the same id as {picture_name(known)}; move one of them elsewhere"
                yield Finding("unknown", path, said)
        elif index.ledger.find_removed(taken.id) is not None:
            yield Finding("unknown", path, "was deleted and exists again; the next start of the server removes it")
        else:
            finding = self._take_in(path, taken, index)
            yield finding
            if not finding.is_wrong:
                yield from self._look_at_thumbnail(path)

    def _take_in(self, path: str, taken: SnapshotName, index: Index) -> Finding:
        """A photo that was brought here enters the index if it is whole, as it would at the server's next start."""
        try:
            size = (self._root / path).stat().st_size
            if size > MAX_IMAGE_BYTES:
                raise BadImage(f"It has more than {MAX_IMAGE_BYTES // 1024**2} MiB.")
            data = read_picture(self._root / path, size)
            picture = inspect_kept(data)
        except (OSError, StorageError, SnapshotGone) as error:
            return Finding("unreadable", path, f"can't be read: {_strerror(error.__cause__ or error)}")
        except BadImage as error:
            return Finding("unknown", path, f"is not in the index and can't be added: {error.message}")
        if SUFFIXES[picture.content_type] != taken.suffix:
            return Finding(
                "unknown", path, f"has a wrong suffix, because it is {picture.content_type}; move it elsewhere"
            )
        index.add(describe(taken, picture, len(data), hashlib.sha256(data).hexdigest()))
        return Finding("taken", path, "was not in the index; it was added with its present hash")


def _open_index(private: Path) -> _Verified:
    path = private / INDEX
    if (private / OLD_INDEX).exists():
        raise IndexUnavailable(
            f"The index of {str(private.parent)!r} is incomplete: a rebuild did not finish."
            " Run `dog album rebuild`, or start the server."
        )
    if not path.is_file():
        raise IndexUnavailable(f"{str(private.parent)!r} has no index. Create it with `dog album rebuild`.")
    return _Verified(path)


def _walk(root: Path, below: str = "", levels: tuple[int, ...] = (4, 2, 2)) -> Iterator[tuple[str, bool]]:
    """Every name but the days' folders and what is hidden, and whether it is a plain file in a day's folder."""
    with os.scandir(root / below) as scanned:
        entries = sorted((entry for entry in scanned if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        name = entry.name
        is_number = name.isascii() and name.isdigit()
        if levels and len(name) == levels[0] and is_number and entry.is_dir(follow_symlinks=False):
            yield from _walk(root, f"{below}{name}/", levels[1:])
        else:
            yield below + name, not levels and entry.is_file(follow_symlinks=False)
