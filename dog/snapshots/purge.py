"""`dog album purge`: delete photos beyond the limits, confirm the clock.

A running server deletes by itself. The command then only confirms its clock.
"""

import contextlib
import time
from pathlib import Path

from dog.clock import Clock, Doubt
from dog.errors import DogError, StartError
from dog.snapshots.clock_confirmation import DoubtFiles
from dog.snapshots.lock import AlbumInUse, lock_album
from dog.snapshots.retention import Limits
from dog.snapshots.store import BlockingStore

__all__ = ["ClockInDoubt", "Purge"]

_CONFIRMATION_TIMEOUT_SECONDS = 15.0
"""The server checks every second."""
_CONFIRMATION_POLL_SECONDS = 0.05


class ClockInDoubt(DogError):
    """Nothing was deleted, because the clock is in doubt."""

    def __init__(self, doubt: Doubt) -> None:
        super().__init__(f"{doubt} Nothing was deleted. {doubt.advice}")


class Purge:
    """Purge an album, and count the results, such as the deleted photos."""

    def __init__(self, root: Path) -> None:
        self.deleted = 0
        self.is_confirmed = False
        self.is_left_to_server = False
        self._root = root

    def run(self, limits: Limits | None, *, confirm: bool, clock: Clock | None = None) -> None:
        """Delete the photos that exceed the limits. With `confirm`, end a doubt.

        Raises ClockInDoubt, StartError, StorageError and StorageFull.
        """
        try:
            with lock_album(self._root):  # check that the folder has an album
                pass
            album = BlockingStore(self._root, clock)
            with contextlib.closing(album):
                album.open()
                album.check()
                self._delete(album, limits, confirm)
        except AlbumInUse:
            self._confirm_to_server(DoubtFiles(self._root / ".dog"), confirm)

    def _delete(self, album: BlockingStore, limits: Limits | None, confirm: bool) -> None:
        doubt = album.clock.check()
        if doubt is not None:
            if not (confirm and album.clock.confirm(doubt)):
                raise ClockInDoubt(doubt)
            self.is_confirmed = True
        album.check_clock()
        while limits is not None and (deleted := album.purge(limits)):
            self.deleted += len(deleted)

    def _confirm_to_server(self, doubt_files: DoubtFiles, confirm: bool) -> None:
        self.is_left_to_server = True
        doubt = doubt_files.read()
        if doubt is None:
            return
        if not confirm:
            raise ClockInDoubt(doubt)
        self.is_confirmed = doubt_files.confirm()
        deadline = time.monotonic() + _CONFIRMATION_TIMEOUT_SECONDS
        while not doubt_files.is_acknowledged():
            if time.monotonic() >= deadline:
                raise StartError("The server did not acknowledge the confirmation in time. See its log, and try again.")
            time.sleep(_CONFIRMATION_POLL_SECONDS)
        if (still := doubt_files.read()) is not None:
            raise ClockInDoubt(still)
