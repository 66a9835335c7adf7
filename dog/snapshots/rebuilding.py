"""The index made again from the folder, while no server has it.

The new one is made beside the old one and takes its place when it is whole. The ledger is carried over, and so is what
the old one alone knew of photos that are as they were. Where it knew another hash, that one stays: what is damaged is
never blessed. Everything here blocks.
"""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Generator, Iterator
from pathlib import Path

from dog.snapshots import files
from dog.snapshots.checking import Finding, Progress, hold, list_all
from dog.snapshots.folder import list_day, list_days
from dog.snapshots.index import Index, is_surroundings
from dog.snapshots.names import Snapshot, make_id, picture_name
from dog.snapshots.reconciling import reconcile
from dog.snapshots.succession import UNREADABLE, Predecessor, Successor

__all__ = ["Rebuilding"]


class _Counted(Successor):
    """Each photo that it takes is a step of the progress."""

    def __init__(self, path: Path, old: Path, progress: Progress) -> None:
        super().__init__(path, old)
        self._progress = progress

    def add(self, snapshot: Snapshot) -> None:
        super().add(snapshot)
        self._progress.advance(1)


def _check_free(path: Path) -> None:
    """Raises sqlite3.Error where the old index can't be read for now: what it knows would be lost for no reason."""
    try:
        if path.is_file():
            Predecessor(path).close()
    except sqlite3.Error as error:
        if is_surroundings(error):
            raise


class Rebuilding:
    """The index made again. `photos` says how many it has, and `carried` of how many the old one knew more.

    `aside` is where the old index is kept; None where there was none.
    """

    def __init__(self, root: Path, progress: Progress) -> None:
        self.photos = 0
        self.carried = 0
        self.aside: Path | None = None
        self._root = root
        self._progress = progress

    def run(self) -> Generator[Finding, None, None]:
        """What is not as the old index says. Raises StartError and NoIndex, and then the old index is still there."""
        with hold(self._root) as private:
            incoming = private / "incoming"
            files.empty_folder(incoming)
            path, new = private / "index.sqlite3", incoming / f"{make_id()}.index.sqlite3"
            _check_free(path)
            try:
                findings = self._make(new, path, private)
                self._exchange(path, new, private / "damaged")
            finally:
                Index.delete(new)
            yield from findings

    def _make(self, new: Path, path: Path, private: Path) -> list[Finding]:
        days, _ = list_days(self._root)
        self._progress.begin(sum(len(list_day(self._root, day).pictures) for day in days))
        with contextlib.closing(_Counted(new, path, self._progress)) as index:
            reconcile(index, self._root, private, new.parent)
            said = "is not as it was saved, and keeps the hash that it had; bring it back from a backup, or delete it"
            findings = [Finding("changed", each, said) for each in index.changed]
            if index.old is not None:
                try:
                    findings += self._find_missing(index.old, index, private / "damaged")
                except UNREADABLE as error:
                    index.note_unread(error)
            index.settle()
            self.photos, self.carried = index.count(), index.carried
        return findings

    def _find_missing(self, old: Index, new: Index, damaged: Path) -> Iterator[Finding]:
        for snapshot in list_all(old):
            if new.get(snapshot.id) is not None or new.ledger.find_removed(snapshot.id) is not None:
                continue
            path = picture_name(snapshot)
            if (aside := damaged / Path(path).name).exists():
                yield Finding("missing", path, f"is not whole and was moved to {aside}; bring it back from a backup")
            else:
                yield Finding("missing", path, "is missing, and in the index no longer; bring it back from a backup")

    def _exchange(self, path: Path, new: Path, damaged: Path) -> None:
        """Put the new index in place of the old one. At any moment one of them is there."""
        if path.exists():
            damaged.mkdir(exist_ok=True)
            self.aside = damaged / f"{make_id()}.{path.name}"
            if path.is_dir():
                os.replace(path, self.aside)
            for file, copy in zip(Index.files(path), Index.files(self.aside), strict=True):
                if file.is_file():
                    shutil.copyfile(file, copy)
        for beside in Index.files(path)[1:]:
            files.remove(beside)  # of the old one: SQLite would read it into the new one
        with open(new, "rb") as made:
            os.fsync(made.fileno())
        os.replace(new, path)
        files.sync_folder(path.parent)
